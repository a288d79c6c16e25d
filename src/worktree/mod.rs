//! The pool of slots: reusable worktrees, each with its lock, leased for one task at a time.
//!
//! A slot is locked by `flock` on its file below `<ci>/slots/`, so death gives it back.
//! The file says who has the lock and what became of the worktree; what was not
//! released cleanly is not trusted. All git-ci processes of one user on a repository share
//! the slots. Whoever finds none takes the ticket, and the next free slot is theirs, so
//! that a run with a task every few milliseconds cannot starve another.
//!
//! Nobody is kept from a slot by somebody who does nothing with it:
//!
//! - The ticket is held only while its holder asks for a slot. A holder that is stopped
//!   does not ask: where a slot stays free for a second, the ticket is ignored.
//! - A slot whose lock file or directory cannot be used is passed over, and said once.
//! - A slot that a stopped process has is replaced by one more, with the next number,
//!   until it goes on; so is one whose task started this very run and waits for it.
//! - A slot that was left in disorder and in which somebody else is (a person's shell) is
//!   left to them, and replaced by one more.
//! - An agent whose dispatcher is dead ends by itself; one that does not is killed.
//!
//! | File | What it is for |
//! |---|---|
//! | `state` | lock files and what they say |
//! | `pool` | leasing and giving back |
//! | `waiting` | who is waited for, what is waited out |
//! | `reclaim` | giving back disk space |
//! | `linked` | worktrees that jobs made beside theirs |
//! | `room` | whether a job could write |

mod linked;
mod pool;
mod reclaim;
mod room;
mod state;
mod waiting;

use std::io;

use crate::checkout::CheckoutError;

pub(crate) use crate::git::MARK;
pub(crate) use pool::{Lease, Pool};
pub(crate) use reclaim::{IdleSlot, remove_tree, slots_on_disk, stale_pins, tidy, tree_size};
pub(crate) use room::check as check_room;
pub(crate) use state::{AsLeft, Holder, as_left, holders, slow_reasons};
pub(crate) use waiting::{standstill, wait_for_orphans};

/// Why there is no worktree.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeaseError {
    /// A slot's lock file.
    #[error("lock slot {slot}")]
    Lock {
        /// The slot.
        slot: u32,
        /// Why.
        source: io::Error,
    },
    /// The place for its worktree.
    #[error(
        "use slot {slot} in {}; `git config ci.worktreeDir DIR` puts worktrees elsewhere",
        .path.display()
    )]
    Place {
        /// The slot.
        slot: u32,
        /// Where it would be.
        path: std::path::PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Processes of an earlier task are still there.
    #[error("end what an earlier task left running in slot {slot}")]
    Stragglers {
        /// The slot.
        slot: u32,
        /// Why.
        source: io::Error,
    },
    /// Every slot is out of use, and there are too many of these to replace them.
    #[error(
        "find a slot: {0} are held by processes that are stopped, wait for this one, or \
         are in the worktree; continue or end them"
    )]
    OutOfUse(u32),
    /// The worktree.
    #[error(transparent)]
    Checkout(#[from] CheckoutError),
    /// A dead run's agents are still ending their jobs.
    #[error("wait for the jobs of an earlier run to end")]
    Orphans(#[source] io::Error),
}

#[cfg(test)]
mod tests;
