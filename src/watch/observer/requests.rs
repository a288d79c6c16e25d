//! What other processes ask: the state, and dropping tasks.

use std::sync::mpsc;

use crate::engine::Superseded;
use crate::model::{JobName, Oid};
use crate::watch::control;
use crate::watch::control::{Listener, Reply, RunningTask, State, WaitingTask};

use super::{Message, Observer};

impl Observer<'_> {
    pub(super) fn listen(&self) -> Option<Listener> {
        let to = self.inbox.sender.clone();
        let listener = Listener::start(&self.repo.ci_dir(), move |request| {
            let (reply, answer) = mpsc::channel();
            to.send(Message::Ask(request, reply)).ok()?;
            answer.recv().ok()
        });
        match listener {
            Ok(listener) => Some(listener),
            Err(error) => {
                self.warn(format!(
                    "`git ci status` and `git ci cancel` will not reach this process: {error}"
                ));
                None
            }
        }
    }

    pub(super) fn state(&self) -> State {
        let running = self
            .running
            .iter()
            .map(|((commit, job), since)| RunningTask {
                commit: *commit,
                job: job.clone(),
                elapsed_ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
            });
        let mut state = State {
            observer: self.options.holder.clone(),
            running: running.collect(),
            waiting: Vec::new(),
            waiting_count: 0,
        };
        state
            .running
            .sort_by_key(|task| std::cmp::Reverse(task.elapsed_ms));
        let mut usual = 1;
        for id in &self.order {
            if self.handled.contains(id) {
                continue;
            }
            let Some(offered) = self.offered.get(id) else {
                // Not looked into yet: as many jobs as the one before it has.
                state.waiting_count += usual;
                continue;
            };
            usual = offered.jobs.len() as u64;
            for job in offered.jobs.iter() {
                let key = (*id, job.job.name.clone());
                if offered.has(job)
                    || self.running.contains_key(&key)
                    || self.dropped.contains(&key)
                {
                    continue;
                }
                state.waiting_count += 1;
                if state.waiting.len() < control::MOST_WAITING {
                    let (commit, job) = key;
                    state.waiting.push(WaitingTask { commit, job });
                }
            }
        }
        state
    }

    /// Drops tasks, those that run included.
    pub(super) fn cancel(&mut self, commit: Option<Oid>, job: Option<&JobName>) -> Reply {
        let (mut running, mut waiting) = (0, 0);
        let mut touched = Vec::new();
        for id in self.order.clone() {
            if self.handled.contains(&id) || commit.is_some_and(|commit| commit != id) {
                continue;
            }
            // One that is far back in the queue has not been looked into.
            let _ = self.offer(&id, false);
            let Some(offered) = self.offered.get(&id) else {
                continue;
            };
            for planned in offered.jobs.iter() {
                let name = &planned.job.name;
                let key = (id, name.clone());
                if offered.has(planned) || job.is_some_and(|job| job != name) {
                    continue;
                }
                if self.dropped.insert(key.clone()) {
                    match self.running.contains_key(&key) {
                        true => running += 1,
                        false => waiting += 1,
                    }
                }
            }
            touched.push(id);
        }
        for id in touched {
            self.settle(id);
        }
        let superseded = self.options.superseded;
        self.options.superseded = Superseded::End;
        self.publish(true);
        self.options.superseded = superseded;
        Reply::Cancelled { running, waiting }
    }
}
