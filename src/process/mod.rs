//! Processes: started in a session of their own, and not left before every one of
//! them is gone, whatever session or parent it chose for itself.
//!
//! It relies on the calling process being a child subreaper: an orphan below it becomes
//! its child instead of init's, and so cannot hide. What is left where that process was
//! killed itself is found by what it is.
//!
//! | File | What it is for |
//! |---|---|
//! | `session` | leaders of sessions: started, signalled, ended |
//! | `job` | a job's process: such a leader with a pipe for its output |
//! | `environment` | what of the caller's environment is kept from jobs |
//! | `tree` | everything below this process |
//! | `adopted` | what a process below this one left when it was killed |
//! | `memory` | what becomes of this process without memory |
//! | `mounts` | what is mounted where |
//! | `occupants` | who is in a directory that a task left in disorder |
//! | `peer` | a process of another run, named in a file |
//! | `signals` | signals that end or stop this process |
//! | `detach` | a process that goes on by itself |
//! | `start` | what this process does first, whatever it is started for |
//! | `stat` | what the kernel says of a process |
//! | `sys` | calls that the standard library does not offer |

mod adopted;
mod detach;
mod environment;
mod job;
mod memory;
mod mounts;
mod occupants;
mod peer;
mod session;
mod signals;
mod start;
mod stat;
mod sys;
mod tree;

pub(crate) use adopted::{end_adopted, reap_adopted};
pub(crate) use detach::start_detached;
pub(crate) use environment::{environment_of_jobs, keep_from_jobs};
pub(crate) use job::{JobProcess, SpawnSpec, command};
pub(crate) use mounts::{mounts_at, refuse_mounts};
pub(crate) use occupants::{Birth, describe, evict};
pub(crate) use peer::{Peer, check_proc};
pub(crate) use session::{ExitKind, Leader, Leftover, Streams, start, start_agent};
pub(crate) use signals::{Arrived, Listening, listen, stop, take_along_what_was_started};
pub(crate) use start::{outlast_signals, prepare};
pub(crate) use stat::start_time;
pub(crate) use tree::{
    anything_lives, become_subreaper, end_everything, everything_is_stopped, signal_everything,
};

/// 64 bits that nobody else has: from the system's random source.
pub(crate) fn random() -> u64 {
    #[expect(clippy::expect_used, reason = "every system that this runs on has one")]
    getrandom::u64().expect("the system's random source")
}
