//! Processes of jobs: started in a group of their own, and not left before every one
//! of them is gone, whatever session or parent it chose for itself.
//!
//! All of it relies on the calling process being a child subreaper: an orphan below
//! it becomes its child instead of init's, and so cannot hide.

mod detach;
mod job;
mod marked;
mod tree;

pub use detach::{go_on, start_detached};
pub use job::{ExitKind, JobProcess, SpawnSpec};
pub use marked::{kill_marked, start_time};
pub use tree::{become_subreaper, end_everything, restore_signals, signal_everything};
