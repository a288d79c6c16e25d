//! Why a host cannot be used, and what would help.

use std::io;
use std::time::Duration;

use crate::git::MINIMUM_GIT;
use crate::model::printable_line;

use super::super::wire::{Trouble, WIRE};
use super::Transport;

/// Why there is no connection to a host.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The command that connects could not be started.
    #[error("start the command that connects to it")]
    Start(#[source] io::Error),
    /// The connection ended before an agent answered.
    #[error("connect: {}", last_line(.0))]
    Ended(String),
    /// No agent answered in time.
    #[error("connect within {} s{}", .timeout.as_secs_f32(), after(.stderr))]
    Timeout {
        /// How long was waited.
        timeout: Duration,
        /// What the command said.
        stderr: String,
    },
    /// There is no agent, and ours cannot run there.
    #[error("find git-ci there, and {theirs} cannot run the one for {ours} that is here")]
    NoAgent {
        /// The platform here.
        ours: String,
        /// The platform there.
        theirs: String,
    },
    /// What is at `ci-host.NAME.agent` is none.
    #[error("run {0} there: it is no git-ci that speaks version {WIRE} of the protocol")]
    Agent(String),
    /// The upload did not work.
    #[error("upload git-ci to it: {0}")]
    Upload(String),
    /// The hub cannot work.
    #[error("{reason}")]
    Trouble {
        /// Which trouble.
        trouble: Trouble,
        /// The hub's words.
        reason: String,
    },
    /// What came is not the protocol.
    #[error("understand it: {0}")]
    Protocol(String),
    /// No sign of life.
    #[error("hear from it for {} s", .0.as_secs_f32())]
    Silence(Duration),
    /// It was told not to use this host.
    #[error("use it: it is drained")]
    Drained,
}

impl HostError {
    /// The error with its causes on one line.
    pub fn line(&self) -> String {
        crate::error::with_causes(self)
    }

    /// What would help.
    pub fn hint(&self, name: &str, transport: &Transport) -> Option<String> {
        let by_hand = match transport {
            Transport::Ssh { command, address } => format!("{command} {address}"),
            _ => transport.describe(),
        };
        let text = match self {
            Self::Ended(stderr) | Self::Timeout { stderr, .. } => stderr.as_str(),
            Self::NoAgent { .. } => {
                return Some(format!(
                    "install it there with `cargo install git-ci`, and set ci-host.{name}.agent \
                     where it is not found"
                ));
            }
            Self::Agent(_) => {
                return Some(format!(
                    "install this version there, or `git config --unset ci-host.{name}.agent`"
                ));
            }
            Self::Trouble { trouble, .. } => {
                return match trouble {
                    Trouble::NoGit => Some(format!(
                        "install git on the host, {MINIMUM_GIT} or newer; it needs nothing else"
                    )),
                    Trouble::Root => Some(format!(
                        "ci-host.{name}.root names the directory that the host may use"
                    )),
                    Trouble::Store => Some("free some space on the host".into()),
                    Trouble::Version => Some("install this version of git-ci on the host".into()),
                    Trouble::Other => None,
                };
            }
            _ => return None,
        };
        let has = |needle: &str| text.contains(needle);
        if has("REMOTE HOST IDENTIFICATION HAS CHANGED") {
            return Some(format!(
                "the host's key is another than before: find out why; `{by_hand}` says more"
            ));
        }
        if has("Host key verification failed") || has("host key is known") {
            return Some(format!(
                "the host's key is not known yet: `{by_hand}` by hand shows it for you to check"
            ));
        }
        if has("Permission denied") {
            return Some(format!(
                "wrong user, or a key that the host does not know: `{by_hand}` must work without \
                 a password; ci-host.{name}.address is user@host"
            ));
        }
        if has("Could not resolve") || has("not known") {
            return Some(format!("check the name in ci-host.{name}.address"));
        }
        if has("Connection refused") {
            return Some("the host is up, but no sshd listens there".into());
        }
        if has("timed out") || has("No route") || has("unreachable") {
            return Some("the host is off, or the network between is".into());
        }
        None
    }
}

/// The last line that says something, safe to show.
fn last_line(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    let line = line.unwrap_or("the connection ended before an agent answered");
    // ssh's warning about a changed key ends in a line that says less than its second.
    let changed = "REMOTE HOST IDENTIFICATION HAS CHANGED";
    let line = if text.contains(changed) {
        "remote host identification has changed"
    } else {
        line.trim()
    };
    let cut: String = line.chars().take(300).collect();
    printable_line(cut.as_bytes()).into_owned()
}

fn after(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(": {}", last_line(text))
    }
}
