//! Results on their way: from the end of a try into the notes, and only then to the
//! reporter; and verdicts that are known already.

use std::time::{Duration, Instant};

use jiff::Span;

use crate::fail;
use crate::model::{Event, Oid, Outcome, Record, RunnerLabel, Seen, Status, Task};
use crate::plan::{Known, Trust};

use super::super::EngineError;
use super::super::claims::Claim;
use super::super::message::Ended;
use super::super::queue::Waiting;
use super::{Dispatcher, Running, Stop};

/// While tasks run, results are stored at most this often: each time the disk has to
/// sync the same number of files, however many results there are.
const STORE_INTERVAL: Duration = Duration::from_millis(40);

/// A verdict on its way into the notes, and what is said once it is there.
pub(super) struct Unstored {
    pub(super) commit: Oid,
    pub(super) record: Record,
    pub(super) event: Event,
    /// Held until the record is stored, so that no other run misses it.
    pub(super) claim: Option<Claim>,
}

impl Dispatcher<'_> {
    /// How long results may gather before they are stored: not at all when the last
    /// batch is a while ago, or nothing runs that could add to this one.
    pub(super) fn until_store(&self) -> Duration {
        let busy = self.workers.iter().any(|worker| worker.running.is_some());
        match self.stored_at {
            Some(at) if busy => STORE_INTERVAL.saturating_sub(at.elapsed()),
            _ => Duration::ZERO,
        }
    }

    /// The verdict of a task that was not known when the run began, if it is now.
    pub(super) fn known_by_now(&mut self, task: &Task) -> Option<Known> {
        if self.around.trust == Trust::Nothing {
            return None;
        }
        if let Err(error) = self.around.records.refresh(self.around.repo) {
            self.warn(format!("failed to look for new results: {error}"));
            return None;
        }
        self.known(task)
    }

    /// The verdict of a task that is on record already.
    pub(super) fn known(&self, task: &Task) -> Option<Known> {
        if !task.recorded {
            return None;
        }
        let known = self
            .around
            .records
            .known(&task.commit, &task.job.name, &task.def)?;
        self.around.trust.accepts_for(&known, task).then_some(known)
    }

    pub(super) fn finished(
        &mut self,
        running: Running,
        outcome: Outcome,
        ended: Ended,
        runner: RunnerLabel,
    ) {
        fail::point("outcome");
        if self.around.stay && !running.given_up {
            self.ended.insert(running.waiting.task.key());
        }
        let Running {
            waiting: Waiting { task, .. },
            try_,
            log,
            claim,
            given_up,
        } = running;
        // Of two records the newer counts, so this one must be newer than all that is
        // known, whatever became of the clock since.
        let newest = self.around.records.newest(&task.def, &task.commit.tree);
        let after = newest.and_then(|at| at.checked_add(Span::new().seconds(1)).ok());
        let finished = after.map_or(ended.finished, |after| after.max(ended.finished));
        // It may have come to a verdict just before it heard that nobody wants it.
        let verdict = outcome.verdict(try_).filter(|_| !given_up);
        let (status, why) = match verdict {
            Some((status, why)) => (Some(status), why),
            None => (None, None),
        };
        let reason = match outcome {
            Outcome::Errored { reason, .. } => Some(reason),
            _ => None,
        };
        let event = Event::TaskFinished {
            id: task.id,
            commit: task.commit.id,
            subject: task.commit.subject.clone(),
            job: task.job.name.clone(),
            def: task.def,
            status,
            why,
            reason,
            allowed: task.job.allow_failure,
            try_,
            duration: ended.duration,
            runner: runner.clone(),
            log: log.clone(),
            tail: ended.tail,
        };
        match status {
            Some(status) if task.recorded => self.unstored.push(Unstored {
                commit: task.commit.id,
                record: Record {
                    status,
                    job: task.job.name.clone(),
                    duration: ended.duration,
                    finished,
                    runner,
                    why,
                    tests: None,
                    try_,
                    on: ended.observed.on,
                    env: None,
                    def: task.def,
                    log,
                    input: None,
                    tree: task.commit.tree,
                    seen: Seen::Nothing,
                    rest: None,
                },
                event,
                claim,
            }),
            _ => self.report(event),
        }
        let failed = status == Some(Status::Fail) && !task.job.allow_failure;
        if failed && self.around.fail_fast {
            self.stop(Stop::Gently);
        }
    }

    /// Takes a known verdict over; where it stands in another commit's note, the
    /// record is copied to this commit's.
    pub(super) fn reuse(&mut self, task: &Task, known: Known, claim: Option<Claim>) {
        let stored = known.stands_at(task);
        let mut record = known.record;
        let event = Event::TaskReused {
            id: task.id,
            commit: task.commit.id,
            subject: task.commit.subject.clone(),
            job: task.job.name.clone(),
            def: task.def,
            status: record.status,
            why: record.why,
            from: known.from,
            log: record.log.clone(),
            allowed: task.job.allow_failure,
        };
        if stored {
            return self.report(event);
        }
        record.job = task.job.name.clone();
        self.unstored.push(Unstored {
            commit: task.commit.id,
            record,
            event,
            claim,
        });
    }

    /// Gives the writer what has gathered, unless it is busy.
    pub(super) fn flush(&mut self) {
        if self.unstored.is_empty() || !self.storing.is_empty() || !self.until_store().is_zero() {
            return;
        }
        self.stored_at = Some(Instant::now());
        match &self.around.writer {
            Some(writer) if !matches!(self.error, Some(EngineError::Store { .. })) => {
                self.storing = std::mem::take(&mut self.unstored);
                let lines = self.storing.iter();
                writer.store(lines.map(|one| (one.commit, one.record.clone())).collect());
            }
            _ => {
                // After a failed write, results that came in late are lost as well.
                let late = std::mem::take(&mut self.unstored).len();
                if let Some(EngineError::Store { count, .. }) = &mut self.error {
                    *count += late;
                }
            }
        }
    }

    pub(super) fn stored(&mut self, result: Result<(), crate::git::NotesError>) {
        let batch = std::mem::take(&mut self.storing);
        match result {
            Ok(()) => {
                fail::point("stored");
                for one in batch {
                    self.around.records.insert(one.commit, one.record);
                    drop(one.claim);
                    self.report(one.event);
                }
            }
            Err(source) => {
                let count = batch.len();
                self.error
                    .get_or_insert(EngineError::Store { count, source });
                self.stop(Stop::Gently);
            }
        }
    }

    /// Counts a verdict and makes it known.
    pub(super) fn report(&mut self, event: Event) {
        let (status, allowed) = match &event {
            Event::TaskFinished {
                status, allowed, ..
            } => (*status, *allowed),
            Event::TaskReused {
                status, allowed, ..
            } => {
                self.counts.reused += 1;
                (Some(*status), *allowed)
            }
            _ => return self.around.reporter.event(&event),
        };
        let count = match status {
            Some(Status::Pass) => &mut self.counts.passed,
            Some(Status::Flaky) => &mut self.counts.flaky,
            Some(Status::Fail) if allowed => &mut self.counts.allowed,
            Some(Status::Fail) => &mut self.counts.failed,
            Some(Status::Skip) => &mut self.counts.skipped,
            Some(Status::Error) => &mut self.counts.errored,
            None => &mut self.counts.cancelled,
        };
        *count += 1;
        self.around.reporter.event(&event);
    }
}
