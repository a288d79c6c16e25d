//! Observing a remote: a fetch now and then, in a thread of its own.
//!
//! Only the tracking refs `refs/remotes/<remote>/` are written, whatever refspecs are
//! configured: with a mirror's, a fetch that prunes would take local branches away. Tags
//! stay out, `FETCH_HEAD` is left alone, and nothing ever asks for a password: a fetch has
//! no terminal, whatever transport it uses, and no program to ask with.

use std::io::{Read as _, Seek as _};
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use crate::engine::Feed;
use crate::git::Repo;
use crate::model::{Event, printable};
use crate::process::{self, ExitKind, Streams};

/// A fetch that takes longer is ended.
const LIMIT: Duration = Duration::from_secs(600);

/// Pauses after errors grow up to this, unless the usual one is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// How long a fetch that is ended may take to tidy up.
const GRACE: Duration = Duration::from_secs(2);

/// How often a fetch that runs is looked at.
const GLANCE: Duration = Duration::from_millis(50);

/// No more of what git has to say is passed on.
const MOST_SAID: u64 = 2000;

/// A remote, and how often to look there.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    /// Its name in git's configuration.
    pub name: String,
    /// The pause between fetches.
    pub every: Duration,
}

impl Remote {
    /// The refs that fetching keeps up to date, as a pattern.
    pub(crate) fn pattern(&self) -> String {
        format!("refs/remotes/{}/*", self.name)
    }

    /// Fetches until `stop` closes. After each fetch, whatever came of it, `fetched` is called.
    pub(crate) fn keep_fetching(
        &self,
        repo: &Repo,
        feed: &Feed,
        stop: &Receiver<()>,
        fetched: impl Fn(),
    ) {
        let mut failures = 0u32;
        loop {
            match self.fetch(repo, stop) {
                Ok(true) => {
                    if failures > 0 {
                        let message = format!("fetching {} works again", self.name);
                        feed.tell(Event::Note { message });
                    }
                    failures = 0;
                }
                Ok(false) => return,
                Err(reason) => {
                    failures += 1;
                    let message = format!(
                        "failed to fetch {}: {reason}; trying again in {} s",
                        self.name,
                        self.pause(failures).as_secs_f32()
                    );
                    feed.tell(Event::Warning { message });
                }
            }
            fetched();
            match stop.recv_timeout(self.pause(failures)) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => return,
            }
        }
    }

    fn pause(&self, failures: u32) -> Duration {
        let grown = self.every.saturating_mul(1 << failures.min(16));
        grown.min(LONGEST_PAUSE.max(self.every))
    }

    /// Fetches once; `false` where it was told to stop.
    fn fetch(&self, repo: &Repo, stop: &Receiver<()>) -> Result<bool, String> {
        let mut stderr = tempfile::tempfile().map_err(|error| error.to_string())?;
        let to = stderr.try_clone().map_err(|error| error.to_string())?;
        let streams = Streams {
            stderr: Some(to.into()),
            ..Streams::default()
        };
        let fetch = process::start(&self.command(repo), streams);
        let mut fetch = fetch.map_err(|error| error.to_string())?;
        let begun = Instant::now();
        let status = loop {
            match fetch.wait_for(GLANCE) {
                Ok(Some(status)) => break status,
                Ok(None) => {}
                Err(error) => return Err(error.to_string()),
            }
            let stopped = !matches!(stop.try_recv(), Err(TryRecvError::Empty));
            if stopped || begun.elapsed() > LIMIT {
                fetch.end(GRACE);
                return if stopped {
                    Ok(false)
                } else {
                    Err(format!("it took longer than {} s", LIMIT.as_secs()))
                };
            }
        };
        fetch.reap().map_err(|error| error.to_string())?;
        if status == ExitKind::Exited(0) {
            return Ok(true);
        }
        let mut text = Vec::new();
        // Without its words there is still the exit code.
        let _ = stderr.rewind();
        let _ = stderr.take(MOST_SAID).read_to_end(&mut text);
        let text = printable(&text);
        let lines: Vec<_> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        Err(if lines.is_empty() {
            status.to_string()
        } else {
            lines.join(" ")
        })
    }

    fn command(&self, repo: &Repo) -> Command {
        let mut command = repo.git_command();
        command
            .args([
                "fetch",
                "--quiet",
                "--prune",
                "--no-tags",
                "--no-write-fetch-head",
            ])
            .args([
                "--no-auto-maintenance",
                "--no-recurse-submodules",
                "--refmap=",
            ])
            .arg(&self.name)
            .arg(format!("+refs/heads/*:refs/remotes/{}/*", self.name))
            .env("GIT_ASKPASS", "false")
            .env("SSH_ASKPASS", "false")
            .env("SSH_ASKPASS_REQUIRE", "never")
            .env("GCM_INTERACTIVE", "never");
        // So that ssh says what it would have asked, and notices a line that is dead.
        let configured = std::env::var("GIT_SSH_COMMAND").ok();
        let ssh = configured.or_else(|| repo.config("core.sshcommand").map(str::to_owned));
        if std::env::var_os("GIT_SSH").is_none() || ssh.is_some() {
            let ssh = ssh.unwrap_or_else(|| "ssh".to_owned());
            let program = ssh.split_whitespace().next().unwrap_or_default();
            if program.rsplit('/').next() == Some("ssh") {
                let batch = "-o BatchMode=yes -o ServerAliveInterval=15";
                command.env("GIT_SSH_COMMAND", format!("{ssh} {batch}"));
            }
        }
        command
    }
}
