//! What other processes ask: what runs and waits, and cancelling tasks.

use std::sync::mpsc::Sender;

use crate::engine::control::{MOST_WAITING, Reply, Request, RunningTask, State, WaitingTask};
use crate::model::{Event, JobName, Oid};

use super::Dispatcher;

impl Dispatcher<'_, '_> {
    pub(super) fn handle_control(&mut self, request: Request, to: &Sender<Reply>) {
        let reply = match request {
            Request::State => Reply::State(self.state()),
            Request::Cancel { commit, job } => self.cancel(commit, job.as_ref()),
        };
        // Whoever asked may be gone.
        let _ = to.send(reply);
    }

    fn state(&self) -> State {
        let running = self.tasks.running().map(|(task, since)| RunningTask {
            commit: task.commit.id,
            job: task.job.name.clone(),
            elapsed_ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        let mut running: Vec<_> = running.collect();
        running.sort_by_key(|task| std::cmp::Reverse(task.elapsed_ms));
        let waiting = self.tasks.waiting();
        let waiting_count = waiting.len() as u64 + self.tasks.more();
        let waiting = waiting.into_iter().take(MOST_WAITING);
        State {
            process: self.ctx.process.clone(),
            running,
            waiting: waiting
                .map(|task| WaitingTask {
                    commit: task.commit.id,
                    job: task.job.name.clone(),
                })
                .collect(),
            waiting_count,
        }
    }

    /// Cancels tasks, those that run included.
    fn cancel(&mut self, commit: Option<Oid>, job: Option<&JobName>) -> Reply {
        let cancelled = self.tasks.cancel(commit, job);
        self.terminate(&cancelled.terminate);
        // Those that a worker has are counted when it is back.
        self.counts.cancelled += cancelled.queued;
        let (running, waiting) = (cancelled.running, cancelled.waiting);
        self.cancelled += running + waiting;
        for done in cancelled.done {
            self.tell_done(done);
        }
        for commit in &cancelled.touched {
            self.unblock(commit);
        }
        self.tell_watching();
        let waiting_now = self.tasks.to_come() as u64;
        self.ctx.reports.tell(Event::Queue {
            waiting: waiting_now,
        });
        Reply::Cancelled { running, waiting }
    }

    /// Tells what is watched, with what was cancelled of it.
    pub(super) fn tell_watching(&mut self) {
        let Some(mut event) = self.watching.clone() else {
            return;
        };
        if let Event::Watching { commits, .. } = &mut event {
            for watched in commits {
                let id = watched.commit;
                let jobs = watched.jobs.iter();
                let cancelled = jobs
                    .filter(|job| self.tasks.is_cancelled(&id, job))
                    .cloned();
                let mut cancelled: Vec<_> = cancelled.collect();
                cancelled.retain(|job| !watched.cancelled.contains(job));
                watched.cancelled.append(&mut cancelled);
            }
        }
        self.ctx.reports.tell(event);
    }
}
