//! Everything that touches the repository: gix in process where that is fast and
//! right, a `git` subprocess where only git is.
//!
//! Nothing outside this module uses gix. Nothing inside it knows jobs or runs.

mod cache;
mod care;
mod checkout;
mod command;
mod files;
mod notes;
mod notes_read;
mod notes_ref;
mod notes_tree;
mod objects;
mod pack;
mod records;
mod repo;
pub mod revs;

pub use cache::{Cache, CacheError};
pub use care::care;
pub use checkout::{Checkout, CheckoutError};
pub use command::{Git, GitError, MINIMUM_GIT, REPOSITORY_VARIABLES, Version, forget_repository};
pub use files::ReadError;
pub use notes::{NoteStore, NotesError, notes_tip, read_note};
pub use notes_read::TreeError;
pub use notes_ref::RefError;
pub use objects::WriteError;
pub use records::Records;
pub use repo::{Repo, RepoError};
