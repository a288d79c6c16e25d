//! Jobs of one commit of which one needs the other: what waits for what, and who has it.

use std::collections::HashMap;

use crate::engine::message::CommitDone;
use crate::model::{JobName, Oid, TaskId};
use crate::plan::PlannedJob;

use super::{End, Entry, State, Tasks};

/// Which jobs are in a chain with which others: of each its number.
pub(super) fn chains(jobs: &[PlannedJob]) -> HashMap<JobName, usize> {
    let mut chains: HashMap<JobName, usize> = HashMap::new();
    for (number, job) in jobs.iter().enumerate() {
        let job = &job.job;
        if job.needs.is_empty() {
            continue;
        }
        for name in job.needs.iter().map(|need| &need.job).chain([&job.name]) {
            if let Some(before) = chains.insert(name.clone(), number) {
                // What was a chain of its own is a part of this one.
                let same = chains.values_mut().filter(|chain| **chain == before);
                same.for_each(|chain| *chain = number);
            }
        }
    }
    chains
}

impl Tasks {
    /// Queues the tasks of a commit that wait for nothing any more. Returns those of which a
    /// job that they need has ended without having passed, and that job: see
    /// [`end_blocked`](Self::end_blocked).
    pub(in crate::engine) fn unblock(&mut self, commit: &Oid) -> Vec<(TaskId, JobName)> {
        let Some(progress) = self.commits.get(commit) else {
            return Vec::new();
        };
        let (mut free, mut unmet) = (Vec::new(), Vec::new());
        'tasks: for id in &progress.blocked {
            let mut waits = false;
            for need in &self.entries[id].task.job.needs {
                let key = (*commit, need.job.clone(), need.def);
                let live = self.live.get(&key).map(|id| &self.entries[id]);
                match self.ended.get(&key) {
                    Some(End::Passed) => {}
                    None if live.is_some_and(|live| live.passed) => {}
                    Some(_) => {
                        unmet.push((*id, need.job.clone()));
                        continue 'tasks;
                    }
                    // What is not wanted is made up for by whoever runs the task.
                    None => waits |= progress.keys.contains(&key),
                }
            }
            if !waits {
                free.push(*id);
            }
        }
        for id in free {
            self.set(id, State::Queued);
        }
        unmet
    }

    /// A task has come to its end since a job that it needs did not pass. Says which commit is
    /// done by it.
    pub(in crate::engine) fn end_blocked(&mut self, id: TaskId) -> Option<CommitDone> {
        let entry = self.remove(id)?;
        let commit = entry.task.commit.id;
        self.ended.insert(entry.task.key(), End::Blocked);
        self.done(&commit)
    }

    /// Gives what waits of a task's chain to the worker that has the task, as far as that
    /// worker `can` have it.
    pub(in crate::engine) fn bind(
        &mut self,
        id: TaskId,
        worker: usize,
        can: impl Fn(&Entry) -> bool,
    ) {
        for other in self.chain_of(id) {
            if can(&self.entries[&other]) {
                self.bind_one(other, Some(worker));
            }
        }
    }

    /// Whoever may have it gets what waits for a worker that is away.
    pub(in crate::engine) fn unbind(&mut self, worker: usize) {
        let bound = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.bound == Some(worker));
        let bound: Vec<_> = bound.map(|(id, _)| *id).collect();
        for id in bound {
            self.bind_one(id, None);
        }
    }

    pub(super) fn bind_one(&mut self, id: TaskId, worker: Option<usize>) {
        self.displace(id);
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.bound = worker;
        }
        self.place(id);
    }

    /// The tasks of the table that are in the chain of this one, and it.
    pub(super) fn chain_of(&self, id: TaskId) -> Vec<TaskId> {
        let Some(entry) = self.entries.get(&id) else {
            return Vec::new();
        };
        let progress = self.commits.get(&entry.task.commit.id);
        let (Some(chain), Some(progress)) = (entry.chain, progress) else {
            return Vec::new();
        };
        let live = progress.keys.iter().filter_map(|key| self.live.get(key));
        let same = |id: &&TaskId| self.entries[id].chain == Some(chain);
        live.filter(same).copied().collect()
    }
}
