//! What others may know of the table.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::model::{JobName, Oid, Task};

use super::{End, Entry, State, Tasks};

impl Tasks {
    /// Whether a job of a commit was cancelled on request.
    pub(in crate::engine) fn is_cancelled(&self, commit: &Oid, job: &JobName) -> bool {
        let keys = self.commits.get(commit).map(|progress| &progress.keys);
        let key = keys.and_then(|keys| keys.iter().find(|key| key.1 == *job));
        key.and_then(|key| self.ended.get(key)) == Some(&End::Cancelled)
    }

    /// How many tasks wait for a worker.
    pub(in crate::engine) fn queued(&self) -> usize {
        let bound = self.bound.values().map(BTreeSet::len);
        self.urgent.len() + self.queued.len() + bound.sum::<usize>()
    }

    /// How many tasks wait for a worker, or for jobs that they need.
    pub(in crate::engine) fn to_come(&self) -> usize {
        self.queued() + self.blocked
    }

    /// Whether nothing waits, and nothing can come back from a worker to wait again.
    pub(in crate::engine) fn is_over(&self) -> bool {
        self.queued() == 0 && self.blocked == 0 && self.timers.is_empty() && self.busy == 0
    }

    /// How many tasks stayed without a verdict.
    pub(in crate::engine) fn gave_up(&self) -> u64 {
        self.gave_up
    }

    /// The tasks whose process runs, and since when.
    pub(in crate::engine) fn running(&self) -> impl Iterator<Item = (&Task, Instant)> {
        self.entries.values().filter_map(|entry| match entry.state {
            State::Running(since) if !entry.abandoned => Some((&entry.task, since)),
            _ => None,
        })
    }

    /// The tasks that wait for their process, most urgent first.
    pub(in crate::engine) fn waiting(&self) -> Vec<&Task> {
        let waits = |entry: &&Entry| {
            !entry.abandoned && !matches!(entry.state, State::Running(_) | State::Storing)
        };
        let mut waiting: Vec<_> = self.entries.values().filter(waits).collect();
        waiting.sort_unstable_by_key(|entry| (!entry.urgent, entry.rank));
        waiting.iter().map(|entry| &entry.task).collect()
    }

    /// How many tasks are wanted, too, and not in the table yet: about as many a commit as
    /// those have that are in it.
    pub(in crate::engine) fn more(&self) -> u64 {
        let jobs = self.commits.values().map(|progress| progress.keys.len());
        self.more * jobs.max().unwrap_or(1) as u64
    }
}
