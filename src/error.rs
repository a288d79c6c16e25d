//! What the user is told when a command cannot do its work: a failure with a kind,
//! which picks the exit code, the chain of its causes, and hints that name a way out.
//!
//! Modules have error types of their own, lowercase fragments that complete
//! "failed to …"; `commands` turns them into a [`Failure`]. A job that said no is
//! no failure: see [`Outcome`](crate::model::Outcome).

use std::collections::TryReserveError;
use std::error::Error;
use std::fmt;

/// Picks the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The command line is wrong: 129, as git's own usage errors.
    Usage,
    /// The configuration, the repository or the machine rules it out: 128, as where git
    /// says "fatal". `git bisect run` gives up at this code and believes nothing.
    Fatal,
    /// There is no verdict, or it could not be stored, or processes, threads, descriptors
    /// or memory ran out on the way: 125, which makes `git bisect run` skip the commit.
    NoVerdict,
    /// A state that should be impossible: 134, as after `abort`.
    Bug,
}

impl FailureKind {
    /// The exit code of git-ci.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 129,
            Self::Fatal => 128,
            Self::NoVerdict => 125,
            Self::Bug => 134,
        }
    }
}

/// Why a command ended without doing its work.
#[derive(Debug)]
pub(crate) struct Failure {
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
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// The command line asks for something that cannot be: exit code 129.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Usage, message)
    }

    /// The configuration, the repository or the machine rules it out: exit code 128.
    pub(crate) fn fatal(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Fatal, message)
    }

    /// "failed to `error`", with the error's own sources as causes.
    pub(crate) fn of(kind: FailureKind, error: &(dyn Error + 'static)) -> Self {
        let kind = if is_exhausted(error) {
            FailureKind::NoVerdict
        } else {
            kind
        };
        let mut failure = Self::new(kind, format!("failed to {error}"));
        failure.add_causes(error.source());
        failure
    }

    /// "failed to `doing`", because of `error`: exit code 128.
    pub(crate) fn failed_to(doing: impl fmt::Display, error: impl Into<Box<dyn Error>>) -> Self {
        let error = error.into();
        let kind = if is_exhausted(&*error) {
            FailureKind::NoVerdict
        } else {
            FailureKind::Fatal
        };
        let mut failure = Self::new(kind, format!("failed to {doing}"));
        failure.add_causes(Some(&*error));
        failure
    }

    fn add_causes(&mut self, mut cause: Option<&dyn Error>) {
        while let Some(error) = cause {
            self.causes.push(error.to_string());
            cause = error.source();
        }
    }

    /// Adds what brought it about.
    #[must_use]
    pub(crate) fn because(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// Adds a way out.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// An error with what brought it about, on one line: "ERROR: CAUSE: CAUSE".
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// Whether an error came about since the system has no more processes, threads,
/// descriptors or memory for this user, which says nothing about what was asked for.
pub(crate) fn is_exhausted(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let code = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::raw_os_error);
        let refused = code.is_some_and(|code| EXHAUSTED.contains(&code));
        if refused || error.is::<TryReserveError>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// `EAGAIN` (of `fork`), `ENOMEM`, `ENFILE`, `EMFILE`: the same on every architecture of Linux.
pub(crate) const EXHAUSTED: [i32; 4] = [11, 12, 23, 24];

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {}
