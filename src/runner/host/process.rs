//! The process that is a connection: `ssh`, `srun`, or what else was configured.

use std::io::{self, PipeReader, PipeWriter, Read as _};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use crate::git::forget_repository;
use crate::process::{self, Leader, Streams};

/// What is kept of what the process says on standard error, in bytes.
const SAID: usize = 4096;

/// How long it may take to end by itself, and again after it was asked to.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// The process. Its exit status is never looked at: it is no verdict.
pub(super) struct Process {
    /// `None` once it has ended.
    leader: Mutex<Option<Leader>>,
    stderr: Arc<Mutex<Vec<u8>>>,
}

impl Process {
    /// Starts it, in a session of its own: a Ctrl-C is for the dispatcher to interpret,
    /// and what it would ask at the terminal it does without.
    pub(super) fn start(mut command: Command) -> io::Result<(Self, PipeWriter, Inlet)> {
        forget_repository(&mut command);
        let (stdin, to) = io::pipe()?;
        let (from, stdout) = io::pipe()?;
        let (mut speech, stderr) = io::pipe()?;
        let streams = Streams {
            stdin: Some(stdin.into()),
            stdout: Some(stdout.into()),
            stderr: Some(stderr.into()),
        };
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&stderr);
        // Before there is a process to be left behind.
        thread::Builder::new()
            .name("stderr".into())
            .spawn(move || {
                let mut bytes = [0; 1024];
                while let Ok(count @ 1..) = speech.read(&mut bytes) {
                    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                    heard.extend_from_slice(&bytes[..count]);
                    let surplus = heard.len().saturating_sub(SAID);
                    heard.drain(..surplus);
                }
            })?;
        let leader = process::start(&command, streams)?;
        let process = Self {
            leader: Mutex::new(Some(leader)),
            stderr,
        };
        let inlet = Inlet {
            from,
            bytes: Vec::new(),
        };
        Ok((process, to, inlet))
    }

    /// What it said on standard error.
    pub(super) fn stderr(&self) -> String {
        let stderr = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&stderr).trim().to_owned()
    }

    /// Signals it and what it started.
    pub(super) fn signal(&self, signal: Signal) {
        let leader = self.leader.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(leader) = &*leader {
            leader.signal(signal);
        }
    }

    /// Ends it, whose input must have been closed: gently first, since `srun` gives its
    /// allocation back then.
    pub(super) fn end(&self) {
        for signal in [None, Some(Signal::TERM), Some(Signal::KILL)] {
            if let Some(signal) = signal {
                self.signal(signal);
            }
            let start = Instant::now();
            while start.elapsed() < END_TIMEOUT {
                if self.ended() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    fn ended(&self) -> bool {
        let mut leader = self.leader.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(process) = leader.as_ref()
            && !matches!(process.ended(), Ok(None))
            && let Some(process) = leader.take()
        {
            // What it leaves in its session has nobody to talk to.
            process.end(Duration::ZERO);
        }
        leader.is_none()
    }
}

/// What comes from the machine.
pub(super) struct Inlet {
    from: PipeReader,
    /// What has come and was not used.
    pub(super) bytes: Vec<u8>,
}

impl Inlet {
    /// Waits for more, no longer than until `deadline`: how many bytes came, 0 at the
    /// end; `None` where the time was over.
    pub(super) fn fill(&mut self, deadline: Instant) -> io::Result<Option<usize>> {
        let timeout = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let mut fds = [PollFd::from_borrowed_fd(self.from.as_fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut bytes = [0; 32 << 10];
        let count = self.from.read(&mut bytes)?;
        self.bytes.extend_from_slice(&bytes[..count]);
        Ok(Some(count))
    }
}
