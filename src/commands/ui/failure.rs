//! From the errors of the rooms to what the user is told: which exit code, and which hints.

use crate::config::LoadError;
use crate::engine::EngineError;
use crate::error::{Failure, FailureKind};
use crate::git::revs::RevError;
use crate::git::snapshot::SnapshotError;
use crate::git::{GitError, RepoError};
use crate::notes::NotesError;
use crate::settings::SettingsError;
use crate::upkeep::gc::GcError;
use crate::watch::{self, PatternError, SessionError, WatchError};
use crate::worktree::LeaseError;

impl From<RepoError> for Failure {
    fn from(error: RepoError) -> Self {
        Failure::of(FailureKind::Fatal, &error)
    }
}

impl From<GitError> for Failure {
    fn from(error: GitError) -> Self {
        Failure::of(FailureKind::Fatal, &error)
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Failure::of(FailureKind::Fatal, &error)
    }
}

impl From<RevError> for Failure {
    fn from(error: RevError) -> Self {
        let kind = match &error {
            RevError::Option(_) => FailureKind::Usage,
            // As git has it, which calls an unknown revision fatal.
            _ => FailureKind::Fatal,
        };
        Failure::of(kind, &error)
    }
}

impl From<SnapshotError> for Failure {
    fn from(error: SnapshotError) -> Self {
        let is_conflict = matches!(error, SnapshotError::Conflicts(_));
        let failure = Failure::of(FailureKind::Fatal, &error);
        if is_conflict {
            failure.hint("mend them, and `git add` what you mended")
        } else {
            failure
        }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let near = match &error {
            LoadError::NoSuchJob { near, .. } => near.clone(),
            _ => None,
        };
        let missing = match &error {
            LoadError::NoSuchJob { known, .. } => known.is_empty(),
            error => matches!(error, LoadError::Missing(_) | LoadError::NoWorkTree),
        };
        let kind = match &error {
            LoadError::NoSuchJob { .. } => FailureKind::Usage,
            _ => FailureKind::Fatal,
        };
        let mut failure = Failure::of(kind, &error);
        if missing {
            failure = failure.hint(
                "`git ci init` writes a jobs file; `git ci run -x CMD` runs a command without one",
            );
        }
        match near {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure,
        }
    }
}

impl From<NotesError> for Failure {
    fn from(error: NotesError) -> Self {
        match &error {
            NotesError::Identity { .. } => Failure::of(FailureKind::Fatal, &error)
                .hint("git config --global user.name 'Your Name'")
                .hint("git config --global user.email you@example.com"),
            NotesError::Ref(_) => Failure::of(FailureKind::Fatal, &error)
                .hint("ci.notesRef names the ref; `git ci doctor` looks at it"),
            NotesError::ReadOnly { .. } => Failure::of(FailureKind::Fatal, &error)
                .hint("in a clone that you can write to: git clone DIR"),
            NotesError::Locked { path, .. } => {
                let path = path.display().to_string();
                let command = format!("rm {}", shell_words::quote(&path));
                Failure::of(FailureKind::Fatal, &error).hint(command)
            }
            NotesError::Blocked { obstacle, .. } => {
                let commands = obstacle.commands().into_iter();
                commands.fold(Failure::of(FailureKind::Fatal, &error), Failure::hint)
            }
            NotesError::Elsewhere { name, .. } => {
                let command = format!("git symbolic-ref --delete {}", shell_words::quote(name));
                Failure::of(FailureKind::Fatal, &error).hint(command)
            }
            NotesError::Tree(_) => Failure::of(FailureKind::Fatal, &error)
                .hint("`git ci doctor` finds the last notes that are whole, and how to go back"),
            NotesError::Write(error) if error.is_full() => Failure::of(FailureKind::Fatal, error)
                .hint("`git ci gc` and `git gc` make room; then the same command goes on"),
            _ => Failure::of(FailureKind::Fatal, &error),
        }
    }
}

impl From<LeaseError> for Failure {
    fn from(error: LeaseError) -> Self {
        Failure::of(FailureKind::Fatal, &error)
    }
}

impl From<watch::WatchLockError> for Failure {
    fn from(error: watch::WatchLockError) -> Self {
        let failure = Failure::of(FailureKind::Fatal, &error);
        match error {
            watch::WatchLockError::Held(_) => {
                failure.hint("`git ci watch --wait` takes over once that process ends")
            }
            watch::WatchLockError::Io { .. } => failure,
        }
    }
}

impl From<PatternError> for Failure {
    fn from(error: PatternError) -> Self {
        Failure::of(FailureKind::Usage, &error)
    }
}

impl From<WatchError> for Failure {
    fn from(error: WatchError) -> Self {
        match error {
            WatchError::Jobs(error) => error.into(),
            other => Failure::of(FailureKind::Fatal, &other),
        }
    }
}

impl From<GcError> for Failure {
    fn from(error: GcError) -> Self {
        Self::of(FailureKind::Fatal, &error)
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Watch(error) => error.into(),
            SessionError::Engine(error) => error.into(),
            SessionError::Thread(source) => Self::failed_to("start a thread to watch with", source),
        }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let kind = match &error {
            EngineError::Panicked => FailureKind::Bug,
            EngineError::Store { .. }
            | EngineError::Again(_)
            | EngineError::Workers { .. }
            | EngineError::Writer(_)
            | EngineError::Reports(_) => FailureKind::NoVerdict,
            EngineError::Prepare { .. } | EngineError::Signals(_) => FailureKind::Fatal,
        };
        let mut failure = Failure::of(kind, &error);
        if let EngineError::Store { source, .. } | EngineError::Again(source) = error {
            failure.hints = Failure::from(source).hints;
        }
        failure
    }
}
