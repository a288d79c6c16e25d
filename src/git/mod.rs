//! Everything that touches the repository: gix in process where that is fast and
//! right, a `git` subprocess where only git is.
//!
//! Nothing outside this module uses gix. Nothing inside it knows jobs or runs.

pub(crate) mod attributes;
mod auto_gc;
mod branches;
mod cache;
mod checkpoint;
pub(crate) mod command;
pub(crate) mod commit_object;
mod commits;
mod config_writer;
pub(crate) mod conversion;
mod durable;
mod files;
mod gate;
mod history;
mod hook_repo;
mod inputs;
mod litter;
pub(crate) mod objects;
mod pack;
pub(crate) mod pack_format;
pub(crate) mod packs;
mod patterns;
pub(crate) mod pins;
mod queries;
pub(crate) mod reading;
pub(crate) mod ref_store;
pub(crate) mod ref_writer;
pub(crate) mod refs;
mod repo;
pub mod revs;
mod small_file;
pub mod snapshot;
mod state;
mod store;
mod uncommitted;
pub(crate) mod worktrees;

pub use auto_gc::auto_gc;
pub use branches::{Branches, is_named as is_branch_named};
pub use cache::{Beyond, Cache, CacheError};
pub use checkpoint::{CHECKPOINTS, CheckpointError, Checkpoints, Move};
pub use command::{
    Git, GitError, MARK, MINIMUM_GIT, REPOSITORY_VARIABLES, STARTER, Version, forget_repository,
    trace_git,
};
pub use commits::CommitReader;
pub use conversion::Conversion;
pub use durable::WriteError;
pub use files::ReadError;
pub use gate::Gate;
pub use history::{Graph, GraphCommit, History, HistoryError};
pub use hook_repo::{Head, HookRepo};
pub use inputs::{InputReader, JobInputs};
pub use litter::{Leftover, StaleKeep};
pub use queries::{branch, has_reflog, identity, setting_scope};
pub use ref_writer::{Obstacle, obstacle};
pub use refs::{RefError, RefReader, Wanted as WantedRefs};
pub use repo::{Repo, RepoError};
pub use uncommitted::Look;
pub use worktrees::{LinkedWorktree, slot_of};

pub(crate) use config_writer::ConfigWriter;
pub(crate) use patterns::Patterns;
pub(crate) use small_file::read_file;
