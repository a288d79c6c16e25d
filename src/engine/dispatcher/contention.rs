//! Tasks that somebody else works on, and the rights to work on them.
//!
//! Of tasks that test the same only one runs at a time, in all runs on the repository.
//! Whoever finds a task claimed does others first, looks again now and then, and says for
//! whom it waits. Whoever is stopped by Ctrl-Z gives up what it has claimed and not begun.

use std::io;
use std::time::{Duration, Instant};

use crate::engine::claims::{Claim, Right};
use crate::engine::message::{Ended, WorkerCommand};
use crate::model::{Event, Outcome, Task, Why};
use crate::process::Peer;
use crate::runner::{Request, WITHIN, is_within};

use super::{Dispatcher, Running};

/// How often a task that another run works on is looked at again.
const CLAIM_INTERVAL: Duration = Duration::from_millis(50);

/// A task that waits for no longer than this waits in silence.
const SILENT: Duration = Duration::from_secs(1);

/// How often to say for whom something waits, and how often the same.
const SAY_INTERVAL: Duration = Duration::from_secs(5);
const REPEAT_INTERVAL: Duration = Duration::from_secs(60);

impl Dispatcher<'_, '_> {
    /// A worker has claimed what its task tests: it goes on, unless the verdict is known by
    /// now or nobody wants it any more.
    pub(super) fn handle_claimed(&mut self, worker: usize, claim: io::Result<Right>) {
        let Some(running) = &mut self.workers[worker].running else {
            return;
        };
        running.claiming = false;
        let (task, claim) = (running.task.clone(), claim);
        let claim = match claim {
            Ok(claim) => Some(claim),
            // It may be done twice, which costs time and nothing else.
            Err(error) => {
                if !std::mem::replace(&mut self.said_no_claims, true) {
                    self.warn(format!(
                        "failed to keep other runs from the same tasks: {error}"
                    ));
                }
                None
            }
        };
        let unwanted = self.stop.is_some() || self.is_abandoned(task.id);
        // Another run may have stored the verdict before it gave up its claim.
        let known = if unwanted {
            None
        } else {
            self.known_by_now(&task)
        };
        let state = &mut self.workers[worker];
        let command = if unwanted || known.is_some() {
            WorkerCommand::Skip
        } else {
            WorkerCommand::Go
        };
        if let Some(commands) = &state.handle.commands {
            // One that panicked says farewell.
            let _ = commands.send(command);
        }
        if let Some(known) = known {
            state.running = None;
            self.tasks.store(task.id, false);
            self.reuse(&task, known, claim);
        } else if unwanted {
            let label = state.handle.label.clone();
            if let Some(running) = state.running.take() {
                let ended = Ended::unbegun(Outcome::Cancelled);
                self.finish(running, Outcome::Cancelled, ended, label);
            }
        } else if let Some(running) = &mut state.running {
            running.claim = claim;
        }
    }

    /// A worker found its task claimed by `owner`, as far as that is known.
    pub(super) fn handle_contended(&mut self, worker: usize, owner: Option<Peer>) {
        let state = &mut self.workers[worker];
        state.idle = true;
        let Some(running) = state.running.take() else {
            return;
        };
        let task = running.task;
        if self.stop.is_some() || self.is_abandoned(task.id) {
            return self.end_without_runner(task, Outcome::Cancelled);
        }
        if is_within(&task.job.name, &task.commit.tree) {
            let reason = format!(
                "run {} on {} within itself: this run was started by it, and would wait for \
                 its end ({WITHIN} says so)",
                task.job.name,
                task.commit.id.short()
            );
            return self.turn_away_because(task, Why::Spawn, reason);
        }
        tracing::debug!(target: "tasks", task = task.id.0, ?owner, "contended");
        let now = Instant::now();
        let since = self.tasks.contend(task.id, now, CLAIM_INTERVAL);
        if now.duration_since(since) >= SILENT
            && let Some(owner) = owner
            && owner != Peer::this()
        {
            let stopped = if owner.is_stopped() {
                format!(
                    ", which is stopped: `kill -CONT {}` continues it",
                    owner.pid
                )
            } else {
                String::new()
            };
            self.say_waiting(format!(
                "waiting for {} on {}: it is a task of {}{stopped}",
                task.job.name,
                task.commit.id.short(),
                owner.describe()
            ));
        }
    }

    /// Says for whom something waits. Several workers mostly wait for the same.
    pub(super) fn say_waiting(&mut self, message: String) {
        let recent = |(said, at): &(String, Instant)| {
            at.elapsed() < SAY_INTERVAL || *said == message && at.elapsed() < REPEAT_INTERVAL
        };
        if !self.said_waiting.as_ref().is_some_and(recent) {
            self.said_waiting = Some((message.clone(), Instant::now()));
            self.ctx.reports.tell(Event::Note { message });
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
            let task = running.task.clone();
            let claim = self.ctx.claims.try_claim(&task);
            let known = self.known_by_now(&task).is_some();
            let worker = &mut self.workers[worker];
            if let Some(running) = &mut worker.running {
                match claim {
                    Ok(Claim::Held(claim)) if !known => running.claim = Some(claim),
                    Err(_) if !known => {}
                    _ => {
                        running.recalled = true;
                        worker.handle.control.send(task.id, Request::Terminate);
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
        if !recalled || self.stop.is_some() || self.is_abandoned(running.task.id) {
            return Some(running);
        }
        self.tasks.put_back(running.task.id);
        None
    }

    /// Ends a task without a verdict and without a record.
    fn turn_away_because(&mut self, mut task: Task, why: Why, reason: String) {
        task.recorded = false;
        self.end_without_runner(task, Outcome::Errored { why, reason });
    }
}
