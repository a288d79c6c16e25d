//! Why an agent ends before its time.

use std::io;

use super::protocol::PROTOCOL;
use crate::git::RepoError;

/// Why an agent ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The dispatcher is gone.
    #[error("go on without a dispatcher")]
    DispatcherGone,
    /// The dispatcher did not say in time that it may go on.
    #[error("hear in time that it may go on")]
    TimeOver,
    /// What came in is not this protocol, or the channel broke.
    #[error("talk to the dispatcher")]
    Channel(#[source] io::Error),
    /// The dispatcher speaks another version.
    #[error("speak version {0} of the protocol: this git-ci speaks version {PROTOCOL}")]
    Version(u32),
    /// The repository cannot be opened.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The system refuses what an agent needs.
    #[error("prepare to run jobs")]
    Prepare(#[source] io::Error),
    /// A job's process could not be followed or ended.
    #[error("keep hold of a job's processes")]
    Processes(#[source] io::Error),
}
