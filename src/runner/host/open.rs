//! From nothing to a hub that has said hello.

use std::fs::File;
use std::io::{self, PipeWriter, Write as _};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::model::printable_line;

use super::super::protocol::{Decoder, send};
use super::super::wire::{About, FromHost, ToHost, WIRE};
use super::process::{Inlet, Process};
use super::{HostError, HostSpec, Probe};

/// What may be printed before an agent answers, in bytes.
const NOISE: usize = 1 << 20;

/// How long an upload may take.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(600);

/// A connection on which both sides have said hello.
pub(super) struct Opened {
    pub(super) to: PipeWriter,
    pub(super) from: Inlet,
    pub(super) decoder: Decoder,
    pub(super) about: About,
    /// The host's clock against ours, in milliseconds.
    pub(super) skew: i64,
}

/// What `git ci agent --protocol` prints.
pub fn protocol_line() -> String {
    format!("git-ci wire {WIRE}")
}

/// Connects to a host, asks it about itself, and says goodbye.
///
/// # Errors
/// Where it cannot be used.
pub fn probe(spec: &HostSpec) -> Result<Probe, HostError> {
    let start = Instant::now();
    let mut kept = None;
    let opened = open(spec, |process| kept = Some(Arc::clone(process)));
    let result = opened.map(|mut opened| {
        let _ = send(&mut opened.to, &ToHost::Bye);
        Probe {
            about: opened.about,
            skew: opened.skew,
            took: start.elapsed(),
        }
    });
    if let Some(process) = kept {
        process.end();
    }
    result
}

/// Connects; `hold` gets the process as soon as there is one, to end it.
pub(super) fn open(spec: &HostSpec, hold: impl FnOnce(&Arc<Process>)) -> Result<Opened, HostError> {
    let nonce = format!("{:016x}", crate::process::random());
    let script = script(spec, &nonce);
    let command = spec.transport.command(&script, spec.timeout);
    let (process, to, from) = Process::start(command).map_err(HostError::Start)?;
    let process = Arc::new(process);
    hold(&process);
    let mut opening = Opening {
        spec,
        process,
        to,
        from,
        mark: format!("git-ci:{nonce}:"),
        deadline: Instant::now() + spec.timeout,
    };
    opening.reach_agent()?;
    opening.say_hello()
}

/// What is run on the host: finds an agent, or takes one. No character in it is special
/// within single quotes to any login shell.
fn script(spec: &HostSpec, nonce: &str) -> String {
    let protocol = protocol_line();
    let root = match &spec.setup.root {
        None => "${XDG_CACHE_HOME:-$HOME/.cache}/git-ci/host".to_owned(),
        Some(root) => at_home(root),
    };
    let run = format!("agent --stdio --nonce {nonce}");
    let is_one = format!("2>/dev/null)\" = \"{protocol}\" ]");
    if let Some(agent) = &spec.agent {
        let agent = at_home(agent);
        return format!(
            "n={nonce}; a=\"{agent}\"; if [ \"$(\"$a\" agent --protocol {is_one}; then \
             exec \"$a\" {run}; fi; echo; echo \"git-ci:$n:wrong\""
        );
    }
    format!(
        "n={nonce}; \
         for a in git-ci \"$HOME/.cargo/bin/git-ci\" \"$HOME/.local/bin/git-ci\" /usr/local/bin/git-ci; do \
         if [ \"$(\"$a\" agent --protocol {is_one}; then exec \"$a\" {run}; fi; done; \
         echo; echo \"git-ci:$n:none:$(uname -sm)\"; read h s || exit; \
         d=\"{root}/agents\"; a=\"$d/$h\"; \
         if [ \"$(\"$a\" agent --protocol {is_one}; then exec \"$a\" {run}; fi; \
         (umask 077 && mkdir -p \"$d\") && t=\"$a.$$\" && : >\"$t\" && echo \"git-ci:$n:send\" && \
         head -c \"$s\" >\"$t\" && chmod 700 \"$t\" && \
         if [ \"$(\"$t\" agent --protocol {is_one}; then mv -f \"$t\" \"$a\" && exec \"$a\" {run}; fi; \
         rm -f \"$t\"; echo \"git-ci:$n:broken\""
    )
}

/// A path as the script has it; the settings saw to it that it holds nothing special.
fn at_home(path: &str) -> String {
    match path.strip_prefix("~/") {
        Some(rest) => format!("$HOME/{rest}"),
        None => path.to_owned(),
    }
}

struct Opening<'a> {
    spec: &'a HostSpec,
    process: Arc<Process>,
    to: PipeWriter,
    from: Inlet,
    mark: String,
    deadline: Instant,
}

impl Opening<'_> {
    /// Waits for the line of a running agent, uploading ours where there is none.
    fn reach_agent(&mut self) -> Result<(), HostError> {
        loop {
            let line = self.marked_line()?;
            match line.split_once(':').unwrap_or((line.as_str(), "")) {
                ("ready", _) => return Ok(()),
                ("wrong", _) => {
                    let agent = self.spec.agent.clone().unwrap_or_default();
                    return Err(HostError::Agent(agent));
                }
                ("none", theirs) => {
                    let ours = super::super::hub::uname();
                    if theirs != ours {
                        let theirs = printable_line(theirs.as_bytes()).into_owned();
                        return Err(HostError::NoAgent { ours, theirs });
                    }
                    let (hash, size) = identity(&self.spec.program).map_err(upload_error)?;
                    writeln!(self.to, "{hash} {size}").map_err(upload_error)?;
                }
                ("send", _) => {
                    self.deadline = Instant::now() + UPLOAD_TIMEOUT;
                    let mut program = File::open(&self.spec.program).map_err(upload_error)?;
                    io::copy(&mut program, &mut self.to)
                        .and_then(|_| self.to.flush())
                        .map_err(upload_error)?;
                }
                ("broken", _) => {
                    let stderr = self.process.stderr();
                    let stderr = stderr.lines().last().unwrap_or("it does not run there");
                    let stderr = printable_line(stderr.as_bytes()).into_owned();
                    return Err(HostError::Upload(stderr));
                }
                (other, _) => {
                    let other = printable_line(other.as_bytes()).into_owned();
                    return Err(HostError::Protocol(other));
                }
            }
        }
    }

    /// The rest of the next line that holds the mark; what comes before it is noise.
    fn marked_line(&mut self) -> Result<String, HostError> {
        let mark = self.mark.clone().into_bytes();
        let mut looked = 0;
        loop {
            let bytes = &self.from.bytes;
            let found = bytes[looked..]
                .windows(mark.len())
                .position(|part| part == mark.as_slice())
                .map(|at| looked + at);
            match found {
                Some(at) => {
                    let begin = at + mark.len();
                    if let Some(end) = bytes[begin..].iter().position(|&byte| byte == b'\n') {
                        let line = String::from_utf8_lossy(&bytes[begin..begin + end]);
                        let line = line.trim_end().to_owned();
                        self.from.bytes.drain(..begin + end + 1);
                        return Ok(line);
                    }
                    looked = at;
                }
                None => looked = bytes.len().saturating_sub(mark.len()),
            }
            if bytes.len() > NOISE {
                let what = "it prints and prints, and no agent answers".to_owned();
                return Err(HostError::Protocol(what));
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<(), HostError> {
        let stderr = |process: &Process| {
            // What it has to say may come a little after its output has ended.
            std::thread::sleep(Duration::from_millis(50));
            process.stderr()
        };
        while Instant::now() < self.deadline {
            match self.from.fill(self.deadline) {
                Ok(None) => {}
                Ok(Some(0)) | Err(_) => return Err(HostError::Ended(stderr(&self.process))),
                Ok(Some(_)) => return Ok(()),
            }
        }
        Err(HostError::Timeout {
            timeout: self.spec.timeout,
            stderr: stderr(&self.process),
        })
    }

    fn say_hello(mut self) -> Result<Opened, HostError> {
        let hello = ToHost::Hello {
            wire: WIRE,
            setup: Box::new(self.spec.setup.clone()),
        };
        let protocol = |error: io::Error| HostError::Protocol(error.to_string());
        let before = now_ms();
        // Where the hub is gone already, what it said is there to be read.
        let _ = send(&mut self.to, &hello);
        let mut decoder = Decoder::default();
        loop {
            decoder.feed(&std::mem::take(&mut self.from.bytes));
            match decoder.next_frame::<FromHost>().map_err(protocol)? {
                None => self.fill()?,
                Some(FromHost::Hello { wire: WIRE, about }) => {
                    let skew = about.clock.saturating_sub((before + now_ms()) / 2);
                    return Ok(Opened {
                        to: self.to,
                        from: self.from,
                        decoder,
                        about: *about,
                        skew,
                    });
                }
                Some(FromHost::Failed { trouble, reason }) => {
                    let reason: String = reason.chars().take(500).collect();
                    let reason = printable_line(reason.as_bytes()).into_owned();
                    return Err(HostError::Trouble { trouble, reason });
                }
                Some(_) => {
                    let what = "it speaks another version of the protocol".to_owned();
                    return Err(HostError::Protocol(what));
                }
            }
        }
    }
}

fn upload_error(error: io::Error) -> HostError {
    HostError::Upload(error.to_string())
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// The content hash of this program, and its size.
fn identity(program: &Path) -> io::Result<(String, u64)> {
    static KNOWN: OnceLock<(String, u64)> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(known.clone());
    }
    let mut hash = Sha256::new();
    let size = io::copy(&mut File::open(program)?, &mut HashWriter(&mut hash))?;
    let id = faster_hex::hex_string(&hash.finalize()[..16]);
    Ok(KNOWN.get_or_init(|| (id, size)).clone())
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
