//! Everything that touches the repository: gix in process where that is fast and
//! right, a `git` subprocess where only git is.
//!
//! Nothing outside this module uses gix. Nothing inside it knows jobs or runs.

mod command;
mod repo;

pub use command::{Git, GitError, MINIMUM_GIT, REPOSITORY_VARIABLES, Version, forget_repository};
pub use repo::{Repo, RepoError};
