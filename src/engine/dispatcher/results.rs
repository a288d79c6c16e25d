//! Results: what the end of a try means, and verdicts that are known already. How they
//! come into the notes, and only then to the reporter, is in [`storing`](super::storing).

use std::sync::Arc;
use std::time::Instant;

use jiff::Span;

use crate::engine::claims::Right;
use crate::engine::message::Ended;
use crate::engine::worker::tail;
use crate::fail;
use crate::model::{
    Commit, Criteria, EnvId, Event, Forget, Forgotten, MAX_LINE, Oid, Outcome, Reason, Record,
    Reuse, RunnerLabel, Seen, Status, Surroundings, Task, TestReport, latest, surroundings,
};
use crate::plan::{self, Action, Known, PlannedJob, ReusePolicy};
use crate::runner::{Files, Head, Keys, Observed, platform};

use super::storing::PendingRecord;
use super::{Dispatcher, KNOWN_TAILS, Running, Stop};

impl Dispatcher<'_, '_> {
    /// The verdict of a task that was not known when the run began, if it is now.
    pub(super) fn known_by_now(&mut self, task: &Task) -> Option<Known> {
        if self.ctx.reuse == ReusePolicy::Nothing {
            return None;
        }
        if let Err(error) = self.ctx.records.refresh(self.ctx.repo) {
            self.warn(format!("failed to look for new results: {error}"));
            return None;
        }
        self.known(task)
    }

    /// What a record must agree in to be the verdict of a task: as planned, and as runners
    /// have shown meanwhile that they are.
    pub(super) fn criteria(&self, planned: &Arc<Criteria>) -> Arc<Criteria> {
        let learned = self
            .learned
            .get(&planned.def)
            .map_or(&[][..], Vec::as_slice);
        let is_new = |one: &&Surroundings| !planned.runners.contains(one);
        if !learned.iter().any(|one| is_new(&one)) {
            return Arc::clone(planned);
        }
        let mut criteria = Criteria::clone(planned);
        criteria
            .runners
            .extend(learned.iter().filter(is_new).cloned());
        Arc::new(criteria)
    }

    /// What is to be done about a job on a commit, as far as is known now.
    pub(super) fn decide(&self, commit: &Commit, planned: &PlannedJob) -> (Action, Reason) {
        let records = &self.ctx.records;
        let criteria = self.criteria(&planned.criteria);
        plan::decide(
            planned,
            commit,
            self.ctx.reuse,
            || records.known(commit, &criteria),
            || records.why_not(commit, &criteria),
        )
    }

    /// The verdict of a task that is on record already.
    pub(super) fn known(&self, task: &Task) -> Option<Known> {
        if !task.recorded || task.criteria.reuse == Reuse::Never {
            return None;
        }
        let criteria = self.criteria(&task.criteria);
        let known = self.ctx.records.known(&task.commit, &criteria)?;
        let reuse = self.ctx.reuse;
        reuse.accepts(&known, &task.commit.id).then_some(known)
    }

    /// Makes what came of a task known, and puts it on record.
    pub(super) fn finish(
        &mut self,
        running: Running,
        outcome: Outcome,
        ended: Ended,
        runner: RunnerLabel,
    ) {
        fail::point("outcome");
        let try_ = ended.try_;
        let Running {
            task, log, claim, ..
        } = running;
        let is_abandoned = self.is_abandoned(task.id);
        self.learn(&task, &runner, &ended.observed);
        let env = env_of(&task, &ended.observed);
        let seen = self.seen(&task, &ended.observed, &outcome);
        // Of two records the newer counts, so this one must be newer than all that is
        // known, whatever became of the clock since.
        let criteria = self.criteria(&task.criteria);
        let newest = self.ctx.records.newest(&task.commit, &criteria);
        let newest = newest.filter(|at| *at <= latest(ended.finished));
        let after = newest.and_then(|at| at.checked_add(Span::new().seconds(1)).ok());
        let finished = after.map_or(ended.finished, |after| after.max(ended.finished));
        // It may have come to a verdict just before it heard that nobody wants it.
        let verdict = outcome.verdict(try_).filter(|_| !is_abandoned);
        let (status, why) = match verdict {
            Some((status, why)) => (Some(status), why),
            None => (None, None),
        };
        let has_passed = matches!(status, Some(Status::Pass | Status::Flaky));
        self.tasks.store(task.id, has_passed);
        self.unblock(&task.commit.id);
        let reason = match outcome {
            Outcome::Errored { reason, .. } => Some(reason),
            _ => None,
        };
        let tests = ended.tests.as_ref().map(TestReport::counts);
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
            changed: ended.observed.changed,
            before: ended.observed.before,
            log: log.clone(),
            stored: None,
            tests: ended.tests,
            tail: ended.tail,
        };
        let is_host = self.ctx.hosts.contains(&runner);
        let here = || (!is_host).then(platform);
        match status {
            Some(status) if task.recorded => {
                // What is dated in the future is behind this one now, and must stay so.
                let future = self.ctx.records.future(&task.commit, &criteria);
                let forgets = future.into_iter().map(|log| Forget {
                    job: task.job.name.clone(),
                    at: finished,
                    runner: runner.clone(),
                    what: Forgotten::Log(log),
                });
                let forgets = forgets.collect();
                let record = Record {
                    status,
                    job: task.job.name.clone(),
                    duration: ended.duration,
                    finished,
                    runner,
                    why,
                    tests,
                    try_,
                    on: ended.observed.on.or_else(here),
                    env,
                    def: task.def,
                    log,
                    input: task.criteria.input(&task.commit),
                    tree: task.commit.tree,
                    seen,
                    rest: None,
                };
                self.pending.push(PendingRecord {
                    commit: task.commit.noted(),
                    record,
                    forgets,
                    event,
                    claim,
                });
            }
            _ => {
                self.ctx.logs.settle(&log);
                self.report(event);
            }
        }
        let failed = status == Some(Status::Fail) && !task.job.allow_failure;
        if failed && self.ctx.fail_fast {
            self.stop(Stop::Gently);
        }
    }

    /// Takes a known verdict over; where it stands in another commit's note, the
    /// record is copied to this commit's.
    pub(super) fn reuse(&mut self, task: &Task, known: Known, claim: Option<Right>) {
        let stored = known.stands_at(&task.commit.noted());
        let reason = Reason::of_known(&known, &task.commit);
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
            reason: reason.text(),
            rule: reason.rule(),
            stored: stored.then_some(true),
            tail: self.known_tail(&record, task.job.allow_failure),
        };
        if stored {
            return self.report(event);
        }
        if let Seen::Commit(other) = record.seen
            && other != task.commit.id
        {
            // The job says by now that it does not care; whoever knows only the line must
            // not take this for a copy that means nothing here.
            record.seen = Seen::Ignored(other);
        }
        if record.to_string().len() > MAX_LINE {
            record.rest = None;
        }
        self.pending.push(PendingRecord {
            commit: task.commit.noted(),
            record,
            forgets: Vec::new(),
            event,
            claim,
        });
    }

    /// The end of the log of a failure that was known.
    fn known_tail(&mut self, record: &Record, allowed: bool) -> Vec<String> {
        if record.status != Status::Fail || allowed || self.known_failures >= KNOWN_TAILS {
            return Vec::new();
        }
        self.known_failures += 1;
        tail(self.ctx.logs, &record.log)
    }

    /// What the record of a task says of whether it looked at the commit. Says once of each
    /// job that its verdicts hold for less than they might.
    fn seen(&mut self, task: &Task, observed: &Observed, outcome: &Outcome) -> Seen {
        let looked = observed.head != Head::Unread;
        let said = matches!(outcome, Outcome::Errored { .. } | Outcome::Cancelled);
        let is_news = task.recorded && task.job.reuse == Reuse::Auto && !task.criteria.binds;
        if looked && is_news && !said && self.bound.insert(task.def) {
            let job = &task.job.name;
            let what = match observed.head {
                Head::Unwatched => "it could not be seen whether it read HEAD",
                _ => "it read HEAD",
            };
            let message = format!(
                "{job}: {what}, so its verdict counts for that commit only; \
                 where the commit does not matter to it, say reuse = \"tree\""
            );
            self.ctx.reports.tell(Event::Note { message });
        }
        task.criteria.seen(looked, task.commit.id)
    }

    /// Takes note of what a runner is like, where that may be news.
    fn learn(&mut self, task: &Task, runner: &RunnerLabel, observed: &Observed) {
        let Some(on) = observed.on.clone() else {
            return;
        };
        if self.ctx.hosts.contains(runner) {
            self.ctx.memory.learn(runner, &on);
        }
        if let (Some(key), Some(question)) = (observed.key, Keys::question(&task.job)) {
            let host = self.ctx.hosts.contains(runner).then_some(runner);
            self.ctx.memory.learn_key(host, question, key);
        }
        let env = env_of(task, observed);
        let said = Surroundings { on, env };
        if !task.criteria.runners.contains(&said) {
            let learned = self.learned.entry(task.def).or_default();
            if !learned.contains(&said) {
                learned.push(said);
            }
        }
    }

    /// Counts the end of a task and makes it known.
    pub(super) fn report(&mut self, event: Event) {
        let (id, status, allowed, stored) = match &event {
            Event::TaskFinished {
                id,
                status,
                allowed,
                stored,
                ..
            } => (*id, *status, *allowed, *stored),
            Event::TaskReused {
                id,
                status,
                allowed,
                stored,
                ..
            } => {
                self.counts.reused += 1;
                (*id, Some(*status), *allowed, *stored)
            }
            _ => return self.ctx.reports.tell(event),
        };
        self.counts.unstored += u64::from(stored == Some(false));
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
        tracing::debug!(target: "tasks", task = id.0, ?status, ?stored, "ended");
        let result = event.result();
        self.ctx.reports.tell(event);
        let is_stored = stored != Some(false);
        let commit = self.tasks.get(id).map(|entry| entry.task.commit.id);
        if let Some(done) = self.tasks.end(id, result, is_stored, Instant::now()) {
            self.tell_done(done);
        }
        if let Some(commit) = commit {
            self.unblock(&commit);
        }
    }

    /// Goes on with the jobs of a commit that waited for others of it.
    pub(super) fn unblock(&mut self, commit: &Oid) {
        for (id, needs) in self.tasks.unblock(commit) {
            let Some(entry) = self.tasks.get(id) else {
                continue;
            };
            let task = &entry.task;
            let event = Event::TaskBlocked {
                id,
                commit: task.commit.id,
                subject: task.commit.subject.clone(),
                job: task.job.name.clone(),
                needs,
            };
            tracing::debug!(target: "tasks", task = id.0, "blocked");
            self.counts.blocked += 1;
            self.ctx.reports.tell(event);
            if let Some(done) = self.tasks.end_blocked(id) {
                self.tell_done(done);
            }
            // Others need this one.
            self.unblock(commit);
        }
    }
}

/// The hash of what counted for a task besides its tree, its job and the platform.
fn env_of(task: &Task, observed: &Observed) -> Option<EnvId> {
    let files = match observed.files {
        Files::AsPlanned => task.criteria.env,
        Files::By(files) => files,
    };
    surroundings(files, observed.key)
}
