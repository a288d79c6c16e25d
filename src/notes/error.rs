//! Why notes cannot be read or written.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::read::TreeError;
use crate::git::WriteError;
use crate::git::command::GitError;
use crate::git::ref_writer::Obstacle;
use crate::git::refs::RefError;
use crate::model::Oid;

/// Why notes cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum NotesError {
    /// git does not know who writes; a hint should name `git config user.name` and `user.email`.
    #[error("find out who you are: {message}")]
    Identity {
        /// What git said.
        message: String,
    },
    /// The repository is read-only for us.
    #[error("write to {path}")]
    ReadOnly {
        /// The first directory that must be writable and is not.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The ref cannot be read.
    #[error(transparent)]
    Ref(#[from] RefError),
    /// Another process locked the ref and did not let go, or died.
    #[error(
        "lock {name}: {path} is {}s old; if no git process is at work, remove it",
        held.as_secs()
    )]
    Locked {
        /// The ref.
        name: String,
        /// The lock file, which may be removed where its owner is dead.
        path: PathBuf,
        /// Its age.
        held: Duration,
    },
    /// Something is in the way of the ref, as a directory is in that of a file.
    #[error("update {name}: {obstacle} is in its way")]
    Blocked {
        /// The ref.
        name: String,
        /// What it is.
        obstacle: Obstacle,
        /// What git says.
        source: GitError,
    },
    /// The ref is a name for another one, which is somebody's branch or the like.
    #[error("write to {name}: it is a symbolic ref to {target}, and not to notes")]
    Elsewhere {
        /// The ref.
        name: String,
        /// Where it leads to.
        target: String,
    },
    /// The ref could not be moved.
    #[error("update {name}")]
    Update {
        /// The ref.
        name: String,
        /// What git says.
        source: GitError,
    },
    /// The ref could not be made durable.
    #[error("sync {name} to the disk")]
    Sync {
        /// The ref.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A commit's id has not the length of this repository's ids.
    #[error("note something about {id}: not an id of this repository")]
    ForeignId {
        /// The id.
        id: Oid,
    },
    /// The notes cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The objects cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// git does not run.
    #[error(transparent)]
    Git(#[from] GitError),
}
