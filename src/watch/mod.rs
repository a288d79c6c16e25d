//! The observer: sees each new commit once, whatever way it came, and says what is wanted.
//!
//! ```text
//! an event, a poll ─→ refs ─→ tips ─┐
//! checkpoints ──────────────────────┴─→ what is new ─→ in which order ─→ dispatcher
//!        ↑                                                                   │
//!        └── everything up to there has its verdict ←── stored results ──────┘
//! ```
//!
//! The observer runs in a thread of its own beside the dispatcher, and never touches its
//! state: it sends whole lists of what is wanted, and hears of results when they are
//! stored. What it must not forget is in refs and notes, so it may die at any time.
//!
//! An ERROR is no verdict. Such a task is tried again, a few times with growing pauses;
//! then it counts as handled for this process, so that one commit that cannot be tested
//! does not hold a checkpoint for ever. So does a task that the user cancelled.
//!
//! Times are measured with [`Instant`](std::time::Instant), which stands still while the
//! machine sleeps (on Linux) and does not jump with the clock: pauses and timeouts count
//! running time only.

pub mod control;
mod ear;
mod jobs;
mod lease;
mod notice;
mod observer;
mod remote;
mod result;
mod tips;
pub mod wanted;
mod whereabouts;

/// What an observer is doing, for whoever wants to show it.
pub mod state {
    pub use super::control::{RunningTask, State, WaitingTask, read};
}

pub use ear::Ear;
pub use jobs::{CriteriaOf, Source, WatchJobs};
pub use lease::{Lease, LeaseError, Observer as Holder, observer};
pub use notice::{BACKSTOP, POLL};
pub use observer::{Inbox, Observed, Observer, Options, WatchError, tips};
pub use remote::Remote;
pub use result::{Abandon, CommitResult, OnResult, ResultCommand, on_result};
pub use tips::{PatternError, Patterns};
