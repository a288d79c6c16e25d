//! What came of it: results, tasks that are tried again, commits that are done.

use std::collections::HashSet;
use std::time::Instant;

use crate::model::{Event, JSON_FORMAT, JobName, Oid, Status};
use crate::plan::PlannedJob;
use crate::watch::result::{CommitResult, TaskResult, worst};

use super::{Errored, Observer, REFILL, RETRIES, SHOWN, WINDOW};

impl Observer<'_> {
    pub(super) fn happened(&mut self, event: Event) {
        let is_stored = !matches!(
            event,
            Event::TaskFinished {
                stored: Some(false),
                ..
            } | Event::TaskReused {
                stored: Some(false),
                ..
            }
        );
        let (commit, def, result) = match event {
            Event::TaskStarted { commit, job, .. } => {
                self.running.insert((commit, job), Instant::now());
                return;
            }
            Event::TaskFinished {
                commit,
                job,
                def,
                status,
                why,
                allowed,
                duration,
                log,
                ..
            } => {
                self.running.remove(&(commit, job.clone()));
                let Some(status) = status else { return };
                let duration = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
                let result = TaskResult {
                    job,
                    status,
                    why,
                    allowed,
                    reused: false,
                    duration_ms: Some(duration),
                    log,
                };
                (commit, def, result)
            }
            Event::TaskReused {
                commit,
                job,
                def,
                status,
                why,
                allowed,
                log,
                ..
            } => {
                let result = TaskResult {
                    job,
                    status,
                    why,
                    allowed,
                    reused: true,
                    duration_ms: None,
                    log,
                };
                (commit, def, result)
            }
            _ => return,
        };
        // A verdict that is not on record is none for whoever comes next.
        let is_verdict = is_stored && result.status != Status::Error;
        if !is_verdict && self.try_again(commit, &result.job) {
            return;
        }
        let Some(offered) = self.offered.get_mut(&commit) else {
            return;
        };
        offered.done.insert((result.job.clone(), def));
        offered.results.push(result);
        self.settle(commit);
    }

    /// Counts a commit as handled if nothing is left to do on it.
    pub(super) fn settle(&mut self, id: Oid) {
        let Some(offered) = self.offered.get(&id) else {
            return;
        };
        let left = |job: &&PlannedJob| !self.dropped.contains(&(id, job.job.name.clone()));
        let jobs: Vec<_> = offered.jobs.iter().filter(left).cloned().collect();
        if !offered.is_done(&jobs) || !self.handled.insert(id) {
            return;
        }
        self.dirty = true;
        self.since_care += 1;
        let seen = self.seen(offered);
        self.recent.push_front(seen);
        self.recent.truncate(SHOWN);
        self.pass_on(id);
        let done = self
            .sent
            .iter()
            .filter(|id| self.handled.contains(*id))
            .count();
        let all_sent = self.sent.len() < WINDOW;
        if !all_sent && (done >= REFILL || done == self.sent.len()) {
            self.publish(false);
        }
    }

    /// Tells whoever wants to know that a commit is done, unless all of it was known.
    pub(super) fn pass_on(&mut self, id: Oid) {
        let Some((to, offered)) = self.options.on_result.as_ref().zip(self.offered.get(&id)) else {
            return;
        };
        if offered.results.iter().all(|task| task.reused) {
            return;
        }
        let at = self.tips.iter().filter(|(_, tip)| **tip == id);
        let result = CommitResult {
            format: JSON_FORMAT,
            commit: id,
            subject: offered.commit.subject.clone(),
            refs: at.map(|(name, _)| name.to_string()).collect(),
            status: worst(&offered.results),
            tasks: offered.results.clone(),
        };
        if !to.send(result) {
            let id = id.short();
            self.warn(format!(
                "the command for results is too slow: that of {id} is left out"
            ));
        }
    }

    /// Whether a task without a verdict is going to be tried again.
    pub(super) fn try_again(&mut self, commit: Oid, job: &JobName) -> bool {
        let key = (commit, job.clone());
        let errored = self.errored.entry(key).or_insert(Errored {
            tries: 0,
            due: None,
        });
        errored.tries += 1;
        if self.options.once {
            self.gave_up += 1;
            // It stays in the way of the checkpoint, for the next time.
            return true;
        }
        let Some(pause) = RETRIES.get(errored.tries - 1) else {
            self.gave_up += 1;
            return false;
        };
        errored.due = Some(Instant::now() + *pause);
        true
    }

    /// Has tasks tried again whose pause is over.
    pub(super) fn retry(&mut self) {
        let now = Instant::now();
        let mut due = HashSet::new();
        for (key, errored) in &mut self.errored {
            if errored.due.is_some_and(|due| due <= now) {
                errored.due = None;
                due.insert(key.clone());
            }
        }
        if due.is_empty() || self.closed {
            return;
        }
        // What is not wanted for a moment is forgotten, and so may begin again. Its
        // other jobs must not be ended by that.
        let sent = self.sent.clone();
        let mut without = Vec::new();
        for id in &sent {
            if let Ok(Some(mut wanted)) = self.offer(id, false) {
                let kept = |job: &&PlannedJob| !due.contains(&(*id, job.job.name.clone()));
                wanted.jobs = wanted.jobs.iter().filter(kept).cloned().collect();
                without.push(wanted);
            }
        }
        self.feed.want(without, self.options.superseded);
        self.publish(true);
    }
}
