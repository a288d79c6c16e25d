//! What the user is told when a command cannot do its work: a failure with a kind,
//! which picks the exit code, the chain of its causes, and hints that name a way out.
//!
//! Modules have error types of their own, lowercase fragments that complete
//! "failed to …"; `commands` turns them into a [`Failure`]. A job that said no is
//! no failure: see [`Outcome`](crate::model::Outcome).

use std::error::Error;
use std::fmt;

/// Picks the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The command line, the configuration or the repository rules it out: 2.
    Usage,
    /// The machine, git or a file stood in the way: no verdict, 3.
    Infrastructure,
    /// A state that should be impossible: 70, as `EX_SOFTWARE` in sysexits.h.
    Bug,
}

impl FailureKind {
    /// The exit code of git-ci.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::Infrastructure => 3,
            Self::Bug => 70,
        }
    }
}

/// Why a command ended without doing its work.
#[derive(Debug)]
pub struct Failure {
    /// Picks the exit code.
    pub kind: FailureKind,
    /// The first line, without "error: ".
    pub message: String,
    /// What brought it about, nearest first.
    pub causes: Vec<String>,
    /// Ways out, most promising first.
    pub hints: Vec<String>,
}

impl Failure {
    /// A failure without a cause below it.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// The user asked for something that cannot be: exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Usage, message)
    }

    /// "failed to `error`", with the error's own sources as causes.
    pub fn of(kind: FailureKind, error: &dyn Error) -> Self {
        let mut failure = Self::new(kind, format!("failed to {error}"));
        failure.add_causes(error.source());
        failure
    }

    /// "failed to `doing`", because of `error`: exit code 3.
    pub fn failed_to(doing: impl fmt::Display, error: impl Into<Box<dyn Error>>) -> Self {
        let mut failure = Self::new(FailureKind::Infrastructure, format!("failed to {doing}"));
        failure.add_causes(Some(&*error.into()));
        failure
    }

    fn add_causes(&mut self, mut cause: Option<&dyn Error>) {
        while let Some(error) = cause {
            self.causes.push(error.to_string());
            cause = error.source();
        }
    }

    /// Adds a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {}
