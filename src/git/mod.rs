//! Everything that touches the repository: gix in process where that is fast and
//! right, a `git` subprocess where only git is.
//!
//! Nothing outside this module uses gix. Nothing inside it knows jobs or runs.

mod audit;
mod cache;
mod care;
mod checkout;
mod checkpoint;
mod command;
mod commit_object;
mod commits;
mod conversion;
mod files;
mod gate;
mod here;
mod history;
mod litter;
mod notes;
mod notes_check;
mod notes_commit;
mod notes_read;
mod notes_ref;
mod notes_tree;
mod objects;
mod pack;
mod pack_format;
mod packs;
mod pins;
mod reading;
mod records;
mod ref_store;
mod refs;
mod repo;
pub mod revs;
mod state;
mod store;
mod uncommitted;
mod worktrees;

pub use audit::{Audit, audit_notes, has_reflog, identity, setting_scope};
pub use cache::{Beyond, Cache, CacheError};
pub use care::care;
pub use checkout::{Checkout, CheckoutError, MARK, Past, Templates};
pub use checkpoint::{CHECKPOINTS, CheckpointError, Checkpoints, Move};
pub use command::{
    Git, GitError, MINIMUM_GIT, REPOSITORY_VARIABLES, STARTER, Version, forget_repository,
};
pub use commits::CommitReader;
pub use conversion::Conversion;
pub use files::ReadError;
pub use gate::Gate;
pub use here::{Head, Here};
pub use history::{Graph, GraphCommit, History, HistoryError};
pub use litter::{Leftover, StaleKeep};
pub use notes::{Appended, NoteStore, NotesError, notes_tip, read_note};
pub use notes_check::{Remedy, find_remedy};
pub use notes_read::TreeError;
pub use notes_ref::{Obstacle, RefError, obstacle};
pub use objects::WriteError;
pub use records::{Records, Unread};
pub use refs::{RefReader, Wanted as WantedRefs};
pub use repo::{Repo, RepoError};
pub use uncommitted::Look;
pub use worktrees::{LinkedWorktree, slot_of};
