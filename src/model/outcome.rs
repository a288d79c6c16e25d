//! What a task ended with, and how much of it a record keeps.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What one job said about one commit.
///
/// A job that ran and said no is an outcome, never an error. `Errored` means no
/// verdict was reached (no worktree, command not found, host lost); the next run
/// retries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// Exit code 0.
    Passed,
    /// Exit code 125: this commit cannot be tested, as in `git bisect run`.
    Skipped,
    /// Any other exit code that says something about the commit.
    Failed {
        /// 1 to 255; never 125, 126 or 127, nor 128 and a signal that has its own outcome.
        code: i32,
    },
    /// Ended by a signal that is no sign of somebody else: it crashed, or sent it to itself.
    Signaled {
        /// The signal's number; never one by which programs are ended from outside.
        signal: i32,
    },
    /// Still running after the job's `timeout`; its processes were ended.
    TimedOut {
        /// The limit it ran into.
        limit: Duration,
    },
    /// No verdict.
    Errored {
        /// The short form that a record keeps.
        why: Why,
        /// The long form for people; completes "failed to …". It may hold paths
        /// of the machine and is never stored in a note.
        reason: String,
    },
    /// Ended by git-ci on request, before a verdict. Never recorded.
    Cancelled,
}

/// Signals by which a process ends itself when its code is wrong: `SIGILL`, `SIGTRAP`,
/// `SIGABRT`, `SIGBUS`, `SIGFPE`, `SIGSEGV`, `SIGSYS`, as Linux numbers them on all but
/// a few machines.
const CRASHES: [i32; 7] = [4, 5, 6, 7, 8, 11, 31];

/// Signals by which a process is ended from outside, by a person, a supervisor or the
/// kernel when memory runs out: `SIGHUP`, `SIGINT`, `SIGQUIT`, `SIGKILL`, `SIGTERM`.
const KILLS: [i32; 5] = [1, 2, 3, 9, 15];

/// What a shell adds to the number of the signal that ended its last command.
const SHELL: i32 = 128;

/// Whether a signal tells of a crash, and so of the code.
pub(super) fn is_crash(signal: i32) -> bool {
    CRASHES.contains(&signal)
}

/// Whether a shell exits with `code` when its last command was ended from outside.
pub(super) fn is_kill_code(code: i32) -> bool {
    KILLS.contains(&(code - SHELL))
}

impl Outcome {
    /// The outcome that an exit code stands for.
    ///
    /// A shell tells by 128+n that signal n ended its last command. Crashes and kills are
    /// told apart from exit codes, so that a job means the same with and without a shell
    /// around it; the rest stays a code (141, for `SIGPIPE`, is what scripts with
    /// `pipefail` return on purpose).
    pub fn from_exit_code(code: i32) -> Self {
        match code {
            _ if is_crash(code - SHELL) || is_kill_code(code) => Self::from_signal(code - SHELL),
            0 => Self::Passed,
            125 => Self::Skipped,
            126 | 127 => Self::Errored {
                why: Why::Exit(code),
                reason: if code == 127 {
                    "find the job's command (exit code 127)".to_owned()
                } else {
                    "execute the job's command (exit code 126)".to_owned()
                },
            },
            _ => Self::Failed { code },
        }
    }

    /// The outcome where a signal ended the job that git-ci did not send.
    ///
    /// A kill is no verdict: what ended the job, mostly the lack of memory, is not in
    /// the commit. Everything else is the job's own doing, also what it may owe to a
    /// limit (`SIGXCPU`) or an alarm: git-ci sets no limits.
    pub fn from_signal(signal: i32) -> Self {
        let sender = match signal {
            _ if !KILLS.contains(&signal) => return Self::Signaled { signal },
            9 => "; the kernel does so where memory runs out",
            _ => "",
        };
        Self::Errored {
            why: Why::Signal(signal),
            reason: format!(
                "reach a verdict: signal {signal} ended the job, and git-ci did not send it{sender}"
            ),
        }
    }

    /// Whether it speaks against the commit: what may be tried again.
    pub fn is_failure(&self) -> bool {
        matches!(
            self,
            Self::Failed { .. } | Self::Signaled { .. } | Self::TimedOut { .. }
        )
    }

    /// What a record says of this outcome, reached on the given try (counted from 1);
    /// `None` where nothing is recorded.
    pub fn verdict(&self, try_: u32) -> Option<(Status, Option<Why>)> {
        Some(match self {
            Self::Passed if try_ > 1 => (Status::Flaky, None),
            Self::Passed => (Status::Pass, None),
            Self::Skipped => (Status::Skip, None),
            Self::Failed { code } => (Status::Fail, Some(Why::Exit(*code))),
            Self::Signaled { signal } => (Status::Fail, Some(Why::Signal(*signal))),
            Self::TimedOut { .. } => (Status::Fail, Some(Why::Timeout)),
            Self::Errored { why, .. } => (Status::Error, Some(*why)),
            Self::Cancelled => return None,
        })
    }
}

/// The first word of a record. What needs attention is upper case, and so sorts first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Status {
    /// No verdict was reached; the next run retries.
    #[serde(rename = "ERROR")]
    Error,
    /// The job said no.
    #[serde(rename = "FAIL")]
    Fail,
    /// The job said yes, but only after it had said no.
    #[serde(rename = "FLAKY")]
    Flaky,
    /// The job said yes.
    #[serde(rename = "pass")]
    Pass,
    /// The job said that this commit cannot be tested.
    #[serde(rename = "skip")]
    Skip,
}

impl Status {
    /// All of them, in the order in which they sort.
    pub const ALL: [Self; 5] = [Self::Error, Self::Fail, Self::Flaky, Self::Pass, Self::Skip];

    /// As it stands in a note; at most five characters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fail => "FAIL",
            Self::Flaky => "FLAKY",
            Self::Pass => "pass",
            Self::Skip => "skip",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Status {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(())
    }
}

/// The value of a record's `why=`: `exit:N`, `signal:N`, `timeout`, or what kept a verdict from being reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Why {
    /// The exit code.
    Exit(i32),
    /// The number of the signal that ended it.
    Signal(i32),
    /// It ran into its timeout.
    Timeout,
    /// The worktree could not be brought to the commit.
    Worktree,
    /// No room was left on a disk, or nothing could be written to it.
    Disk,
    /// The command of the job's `key` failed.
    Key,
    /// The log could not be written.
    Log,
    /// The job's process could not be started or followed.
    Spawn,
    /// What its worktree must have could not be set up.
    Setup,
    /// A job that it needs did not pass where it was to run, having passed elsewhere.
    Needs,
    /// The runner went away while the job ran.
    RunnerLost,
    /// The host was lost more often than a task may be moved.
    HostLost,
}

impl Why {
    const WORDS: [(&'static str, Self); 10] = [
        ("timeout", Self::Timeout),
        ("worktree", Self::Worktree),
        ("disk", Self::Disk),
        ("key", Self::Key),
        ("log", Self::Log),
        ("spawn", Self::Spawn),
        ("setup", Self::Setup),
        ("needs", Self::Needs),
        ("runner-lost", Self::RunnerLost),
        ("host-lost", Self::HostLost),
    ];
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit:{code}"),
            Self::Signal(signal) => write!(f, "signal:{signal}"),
            word => {
                let found = Self::WORDS.iter().find(|(_, why)| why == word);
                f.write_str(found.map_or("unknown", |(text, _)| text))
            }
        }
    }
}

impl FromStr for Why {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |digits: &str| {
            // `parse` would take a sign, too.
            match digits.len() {
                1..=3 if digits.bytes().all(|c| c.is_ascii_digit()) => {
                    digits.parse().map_err(|_| ())
                }
                _ => Err(()),
            }
        };
        if let Some(digits) = text.strip_prefix("exit:") {
            return number(digits).map(Self::Exit);
        }
        if let Some(digits) = text.strip_prefix("signal:") {
            return number(digits).map(Self::Signal);
        }
        Self::WORDS
            .into_iter()
            .find_map(|(word, why)| (word == text).then_some(why))
            .ok_or(())
    }
}

impl TryFrom<String> for Why {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
            .map_err(|()| format!("unknown reason {text:?}"))
    }
}

impl From<Why> for String {
    fn from(why: Why) -> String {
        why.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_sort_by_the_attention_they_need() {
        let mut words = Status::ALL.map(Status::as_str);
        words.sort_unstable();
        assert_eq!(words, Status::ALL.map(Status::as_str));
    }

    #[test]
    fn a_crash_fails_and_a_kill_is_no_verdict_with_and_without_a_shell() {
        for signal in [4, 5, 6, 7, 8, 11, 31] {
            let crash = Outcome::Signaled { signal };
            assert_eq!(Outcome::from_signal(signal), crash);
            assert_eq!(Outcome::from_exit_code(128 + signal), crash);
        }
        for signal in [1, 2, 3, 9, 15] {
            let killed = Outcome::from_signal(signal);
            let verdict = Some((Status::Error, Some(Why::Signal(signal))));
            assert_eq!(killed.verdict(1), verdict);
            assert_eq!(Outcome::from_exit_code(128 + signal), killed);
        }
        // A pipe that nobody reads, an alarm, a limit, and what is no signal at all.
        for code in [128, 138, 141, 142, 152, 193, 255] {
            assert_eq!(Outcome::from_exit_code(code), Outcome::Failed { code });
        }
        assert_eq!(Outcome::from_signal(13), Outcome::Signaled { signal: 13 });
    }

    #[test]
    fn why_round_trips() {
        for text in [
            "exit:101",
            "signal:9",
            "timeout",
            "worktree",
            "disk",
            "log",
            "spawn",
            "runner-lost",
            "host-lost",
        ] {
            assert_eq!(text.parse::<Why>().unwrap().to_string(), text);
        }
        for bad in ["", "exit:", "exit:+1", "exit:1000", "signal:x", "Timeout"] {
            assert!(bad.parse::<Why>().is_err(), "{bad}");
        }
    }
}
