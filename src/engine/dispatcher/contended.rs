//! Tasks that somebody else works on, and the rights to work on them.
//!
//! Of tasks that test the same only one runs at a time, in all runs on the repository.
//! Whoever finds a task claimed does others first, looks again now and then, and says for
//! whom it waits. Whoever is stopped by Ctrl-Z gives up what it has claimed and not begun.

use std::time::{Duration, Instant};

use crate::model::{Event, Outcome, Task, Why};
use crate::process::Peer;
use crate::runner::{Request, WITHIN, is_within};

use super::super::claims::Claim;
use super::super::queue::Waiting;
use super::{Dispatcher, Running};

/// A task that waits for no longer than this waits in silence.
const SILENT: Duration = Duration::from_secs(1);

/// How often to say for whom something waits, and how often the same.
const INTERVAL: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(60);

impl Dispatcher<'_> {
    /// Claims a task, so that it may run; `None` where somebody else has it, and it was
    /// put with those that wait for that, or given up.
    pub(super) fn claim(&mut self, mut waiting: Waiting) -> Option<(Waiting, Option<Claim>)> {
        if !waiting.task.recorded {
            return Some((waiting, None));
        }
        match self.around.claims.try_claim(&waiting.task) {
            Ok(Some(claim)) => {
                waiting.contended = None;
                Some((waiting, Some(claim)))
            }
            Ok(None) => {
                self.contend(waiting);
                None
            }
            // It may be done twice, which costs time and nothing else.
            Err(error) => {
                if !std::mem::replace(&mut self.said_no_claims, true) {
                    self.warn(format!(
                        "failed to keep other runs from the same tasks: {error}"
                    ));
                }
                Some((waiting, None))
            }
        }
    }

    /// Lets a task wait for whoever works on it.
    fn contend(&mut self, mut waiting: Waiting) {
        let task = &waiting.task;
        if is_within(&task.job.name, &task.commit.tree) {
            let reason = format!(
                "run {} on {} within itself: this run was started by it, and would wait for \
                 its end ({WITHIN} says so)",
                task.job.name,
                task.commit.id.short()
            );
            return self.turn_away_because(waiting.task, Why::Spawn, reason);
        }
        let since = *waiting.contended.get_or_insert_with(Instant::now);
        if since.elapsed() >= SILENT
            && let Some(owner) = self.around.claims.owner(task)
            && owner != Peer::this()
        {
            let stopped = match owner.is_stopped() {
                true => format!(
                    ", which is stopped: `kill -CONT {}` continues it",
                    owner.pid
                ),
                false => String::new(),
            };
            self.say_waiting(format!(
                "waiting for {} on {}: it is a task of {}{stopped}",
                task.job.name,
                task.commit.id.short(),
                owner.describe()
            ));
        }
        self.contended.push(waiting);
    }

    /// Says for whom something waits. Several workers mostly wait for the same.
    pub(super) fn say_waiting(&mut self, message: String) {
        let recent = |(said, at): &(String, Instant)| {
            at.elapsed() < INTERVAL || *said == message && at.elapsed() < AGAIN
        };
        if !self.said_waiting.as_ref().is_some_and(recent) {
            self.said_waiting = Some((message.clone(), Instant::now()));
            self.around.reporter.event(&Event::Note { message });
        }
    }

    /// Gives up what has been claimed and not begun, before this process is stopped.
    pub(super) fn let_go(&mut self) {
        let running = self
            .workers
            .iter_mut()
            .filter_map(|one| one.running.as_mut());
        for running in running.filter(|running| !running.started) {
            running.let_go = running.claim.take().is_some();
        }
    }

    /// Claims it again. What somebody else has or had meanwhile does not begin here.
    pub(super) fn take_back(&mut self) {
        for worker in 0..self.workers.len() {
            let Some(running) = &mut self.workers[worker].running else {
                continue;
            };
            if !std::mem::take(&mut running.let_go) {
                continue;
            }
            let task = running.waiting.task.clone();
            let claim = self.around.claims.try_claim(&task);
            let known = self.known_by_now(&task).is_some();
            let worker = &mut self.workers[worker];
            if let Some(running) = &mut worker.running {
                match claim {
                    Ok(Some(claim)) if !known => running.claim = Some(claim),
                    Err(_) if !known => {}
                    _ => {
                        running.recalled = true;
                        worker.desk.control.send(task.id, Request::Terminate);
                    }
                }
            }
        }
    }

    /// Takes a task back that was recalled, unless it has come to an end of its own.
    pub(super) fn put_back_recalled(
        &mut self,
        running: Running,
        outcome: &Outcome,
    ) -> Option<Running> {
        let recalled = running.recalled && *outcome == Outcome::Cancelled;
        if !recalled || self.stop.is_some() || running.given_up {
            return Some(running);
        }
        self.queue.put_back(running.waiting);
        None
    }

    /// Ends a task without a verdict and without a record.
    fn turn_away_because(&mut self, mut task: Task, why: Why, reason: String) {
        task.recorded = false;
        self.end_without_runner(task, Outcome::Errored { why, reason });
    }
}
