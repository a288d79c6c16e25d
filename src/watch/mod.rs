//! The observer: sees each new commit once, whatever way it came, and says what is wanted.
//!
//! ```text
//! an event, a poll ─→ refs ─→ tips ─┐
//! checkpoints ──────────────────────┴─→ what is new ─→ in which order ─→ dispatcher
//!        ↑                                                                   │
//!        └── everything up to there has its verdict ←── stored results ──────┘
//! ```
//!
//! The observer runs in a thread of its own beside the dispatcher. It knows what is wanted,
//! the dispatcher what has become of it: the observer sends whole lists of what is wanted,
//! and hears of each commit when all of it is stored. What it must not forget is in refs and
//! notes, so it may die at any time.
//!
//! An ERROR is no verdict. The engine tries such a task again, a few times with growing
//! pauses; then it counts as handled for this process, so that one commit that cannot be
//! tested does not hold a checkpoint for ever. So does a task that the user cancelled.
//!
//! Times are measured with [`Instant`](std::time::Instant), which stands still while the
//! machine sleeps (on Linux) and does not jump with the clock: pauses and timeouts count
//! running time only.

mod jobs;
mod notice;
mod observer;
mod remote;
mod result;
mod session;
mod tips;
pub(crate) mod wanted;
mod watch_lock;
mod whereabouts;

pub(crate) use jobs::{CriteriaOf, Source, WatchJobs};
pub(crate) use observer::{Inbox, Observed, Observer, Options, WatchError, tips};
pub(crate) use remote::Remote;
#[cfg(test)]
pub(crate) use result::CommitResult;
pub(crate) use result::{Abandon, ResultCommand, on_result};
pub(crate) use session::{Session, SessionError};
pub(crate) use tips::{PatternError, Patterns};
pub(crate) use watch_lock::{WatchLock, WatchLockError};
