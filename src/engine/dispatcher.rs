//! The dispatcher: the only part of the engine that knows the whole run.
//!
//! Workers ask it for tasks and send it outcomes; signals and the writer reach it on
//! the same channel. It alone decides what is stored and calls the reporter, so the
//! reporter sees one order of events, and no verdict is reported before it is stored.
//!
//! Nothing here blocks except the channel. Anything slow belongs in a worker or in
//! the writer.

mod crew;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use jiff::Span;
use signal_hook::consts::SIGTSTP;

use crate::fail;
use crate::git::{Records, Repo};
use crate::model::{
    Commit, Counts, EVENT_FORMAT, Event, LogId, Oid, Outcome, Record, RunnerLabel, Status, Task,
    TaskId, TaskKey,
};
use crate::plan::{Action, Known, Plan, PlannedJob, Trust};
use crate::reporter::Reporter;
use crate::runner::{Assignment, Request};

use super::claims::{Claim, Claims};
use super::message::{Desk, Ended, Message, Order, Superseded, Wanted};
use super::queue::{Queue, Waiting};
use super::writer::Writer;
use super::{EngineError, Summary};
use crew::{Paces, Worker};

/// How often a task that another run works on is looked at again.
const CLAIM_INTERVAL: Duration = Duration::from_millis(50);

/// While tasks run, results are stored at most this often: each time the disk has to
/// sync the same number of files, however many results there are.
const STORE_INTERVAL: Duration = Duration::from_millis(40);

/// What the dispatcher works with.
pub(super) struct Surroundings<'a> {
    pub(super) repo: &'a Repo,
    pub(super) records: Records,
    pub(super) claims: Claims,
    pub(super) writer: Option<Writer>,
    pub(super) reporter: &'a mut dyn Reporter,
    pub(super) trust: Trust,
    pub(super) fail_fast: bool,
    pub(super) stay: bool,
}

/// A task whose machine was lost goes elsewhere at most this often.
const MOVES: u32 = 2;

/// How many commits a runner is told ahead.
const AHEAD: usize = 32;

/// A task that a worker has.
struct Running {
    waiting: Waiting,
    try_: u32,
    log: LogId,
    claim: Option<Claim>,
    /// Nobody wants its verdict any more, and it was told to end.
    given_up: bool,
}

/// A verdict on its way into the notes, and what is said once it is there.
struct Unstored {
    commit: Oid,
    record: Record,
    event: Event,
    /// Held until the record is stored, so that no other run misses it.
    claim: Option<Claim>,
}

/// Why nothing more is handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    Gently,
    AtOnce,
}

pub(super) struct Dispatcher<'a> {
    around: Surroundings<'a>,
    workers: Vec<Worker>,
    paces: Paces,
    queue: Queue,
    /// Tasks that another run (or an equal task of this one) has claimed.
    contended: Vec<Waiting>,
    unstored: Vec<Unstored>,
    /// What the writer has.
    storing: Vec<Unstored>,
    /// When it was given the last batch.
    stored_at: Option<Instant>,
    stop: Option<Stop>,
    signal: Option<i32>,
    error: Option<EngineError>,
    counts: Counts,
    /// The id of the next task.
    next: u64,
    /// What came to an end while the run stays: not started again, whatever its verdict.
    ended: HashSet<TaskKey>,
}

impl<'a> Dispatcher<'a> {
    pub(super) fn new(around: Surroundings<'a>, desks: Vec<Desk>) -> Self {
        Self {
            around,
            workers: desks.into_iter().map(Worker::new).collect(),
            paces: Paces::default(),
            queue: Queue::default(),
            contended: Vec::new(),
            unstored: Vec::new(),
            storing: Vec::new(),
            stored_at: None,
            stop: None,
            signal: None,
            error: None,
            counts: Counts::default(),
            next: 0,
            ended: HashSet::new(),
        }
    }

    /// Works `plan` off; returns when every worker has stopped.
    pub(super) fn work_off(mut self, plan: Plan, inbox: &Receiver<Message>) -> Summary {
        let start = Instant::now();
        self.begin(plan);
        let mut ticked = Instant::now();
        while !self.done() {
            let wait = self.patience(ticked);
            let message = match wait {
                Some(wait) => inbox.recv_timeout(wait),
                None => inbox.recv().map_err(RecvTimeoutError::from),
            };
            match message {
                Ok(message) => {
                    self.take(message);
                    // What has come meanwhile belongs to the same batch of results.
                    while let Ok(message) = inbox.try_recv() {
                        self.take(message);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                // Every sender is gone, and with them every worker.
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.hand_out();
            self.flush();
            if let Some(interval) = self.around.reporter.tick_interval()
                && ticked.elapsed() >= interval
            {
                ticked = Instant::now();
                self.around.reporter.tick();
            }
        }
        let event = Event::RunFinished {
            counts: self.counts,
            elapsed: start.elapsed(),
            signal: self.signal,
        };
        self.around.reporter.event(&event);
        if let Some(writer) = self.around.writer {
            writer.finish();
        }
        Summary {
            counts: self.counts,
            signal: self.signal,
            error: self.error,
        }
    }

    /// How long to wait for a message at most.
    fn patience(&self, ticked: Instant) -> Option<Duration> {
        let tick = self.around.reporter.tick_interval();
        let tick = tick.map(|interval| interval.saturating_sub(ticked.elapsed()));
        let claim = (!self.contended.is_empty()).then_some(CLAIM_INTERVAL);
        let gathering = !self.unstored.is_empty() && self.storing.is_empty();
        let store = gathering.then(|| self.until_store());
        tick.into_iter().chain(claim).chain(store).min()
    }

    /// How long results may gather before they are stored: not at all when the last
    /// batch is a while ago, or nothing runs that could add to this one.
    fn until_store(&self) -> Duration {
        let busy = self.workers.iter().any(|worker| worker.running.is_some());
        match self.stored_at {
            Some(at) if busy => STORE_INTERVAL.saturating_sub(at.elapsed()),
            _ => Duration::ZERO,
        }
    }

    fn done(&self) -> bool {
        self.workers
            .iter()
            .all(|worker| worker.desk.orders.is_none() && worker.running.is_none())
            && self.storing.is_empty()
            && self.unstored.is_empty()
    }

    fn begin(&mut self, plan: Plan) {
        let mut estimate = Some(Duration::ZERO);
        for entry in &plan.entries {
            if let Action::Run = entry.action {
                let one = self.around.records.estimate(&entry.task.job.name);
                estimate = estimate.zip(one).map(|(sum, one)| sum + one);
            }
        }
        self.around.reporter.event(&Event::RunStarted {
            format: EVENT_FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commits: plan.commits() as u64,
            tasks: plan.to_run() as u64,
            reused: plan.reused() as u64,
            slots: self.workers.iter().filter(|one| one.is_slot()).count() as u64,
            estimate,
        });
        self.next = plan.entries.len() as u64;
        for entry in plan.entries {
            match entry.action {
                Action::Run => {
                    self.queue.push(entry.task, false);
                }
                Action::Reuse(known) => self.reuse(&entry.task, *known, None),
            }
        }
        self.hand_out();
        self.flush();
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Ask { worker } => self.workers[worker].idle = true,
            Message::Started { worker } => self.started(worker),
            Message::Output { worker, line } => {
                if let Some(running) = &self.workers[worker].running {
                    let id = running.waiting.task.id;
                    self.around.reporter.event(&Event::TaskOutput { id, line });
                }
            }
            Message::Finished { worker, ended } => {
                self.workers[worker].idle = true;
                if let Some(running) = self.workers[worker].running.take() {
                    self.came_back(worker, running, ended);
                }
            }
            Message::Presence { worker, presence } => self.presence(worker, presence),
            Message::Gone { worker } => {
                let worker = &mut self.workers[worker];
                worker.idle = false;
                if worker.desk.orders.take().is_some() {
                    worker.running = None;
                    self.error.get_or_insert(EngineError::Panicked);
                    self.stop(Stop::Gently);
                }
            }
            Message::Stored(result) => self.stored(result),
            Message::WriterGone => {
                self.around.writer = None;
                self.storing.clear();
                self.error.get_or_insert(EngineError::Panicked);
                self.stop(Stop::Gently);
            }
            Message::Signal(signal) => self.signal(signal),
            Message::Want { wanted, superseded } => self.want(wanted, superseded),
            Message::Tell(event) => self.around.reporter.event(&event),
            Message::Close => self.around.stay = false,
        }
    }

    /// Makes `wanted` all there is to do: drops what is not in it, ends what runs and is
    /// not in it (unless that may finish), and queues the rest in its order.
    fn want(&mut self, wanted: Vec<Wanted>, superseded: Superseded) {
        if self.stop.is_some() {
            return;
        }
        let mut listed = HashSet::new();
        for Wanted { commit, jobs, .. } in &wanted {
            listed.extend(jobs.iter().map(|job| key(commit, job)));
        }
        self.ended.retain(|key| listed.contains(key));
        let mut busy = HashSet::new();
        for worker in &mut self.workers {
            let Some(running) = &mut worker.running else {
                continue;
            };
            let key = running.waiting.task.key();
            if listed.contains(&key) && !running.given_up {
                busy.insert(key);
            } else if !running.given_up && superseded == Superseded::End {
                running.given_up = true;
                let task = running.waiting.task.id;
                worker.desk.control.send(task, Request::Terminate);
            }
        }
        let storing = self.unstored.iter().chain(&self.storing);
        busy.extend(storing.map(|one| {
            let record = &one.record;
            (one.commit, record.job.clone(), record.def.clone())
        }));

        // A task that stays wanted keeps what is known of its losses, or it could go from
        // host to host for ever.
        let waited = self
            .queue
            .clear()
            .into_iter()
            .chain(self.contended.drain(..));
        let lost: HashMap<TaskKey, (u32, Option<usize>)> = waited
            .filter(|waiting| waiting.moves > 0)
            .map(|waiting| (waiting.task.key(), (waiting.moves, waiting.lost_by)))
            .collect();
        if let Err(error) = self.around.records.refresh(self.around.repo) {
            self.warn(format!("failed to look for new results: {error}"));
        }
        for Wanted {
            commit,
            jobs,
            urgent,
        } in wanted
        {
            for job in jobs.iter() {
                let key = key(&commit, job);
                if busy.contains(&key) || self.ended.contains(&key) {
                    continue;
                }
                let task = Task {
                    id: TaskId(self.next),
                    commit: Arc::clone(&commit),
                    job: Arc::clone(&job.job),
                    def: job.def.clone(),
                    recorded: job.recorded,
                };
                self.next += 1;
                match self.known(&task) {
                    Some(known) => self.reuse(&task, known, None),
                    None if self.has_place(&task) => {
                        let waiting = self.queue.push(task, urgent);
                        if let Some((moves, lost_by)) = lost.get(&key) {
                            (waiting.moves, waiting.lost_by) = (*moves, *lost_by);
                        }
                    }
                    None => self.turn_away(task),
                }
            }
        }
        let waiting = self.queue.len() as u64;
        self.around.reporter.event(&Event::Queue { waiting });
    }

    /// Gives every idle worker a task, or sends it home when none can come any more.
    fn hand_out(&mut self) {
        if !self.contended.is_empty() {
            for waiting in std::mem::take(&mut self.contended).into_iter().rev() {
                self.queue.put_back(waiting);
            }
        }
        // Slots first: who works ahead gets what they leave.
        for ahead in [false, true] {
            for worker in 0..self.workers.len() {
                if self.workers[worker].place().ahead == ahead {
                    self.serve(worker);
                }
            }
        }
        self.look_for_help();
        // A task that runs may still come back; until then nobody goes home.
        let over = self.queue.is_empty() && self.contended.is_empty();
        let busy = self.workers.iter().any(|worker| worker.running.is_some());
        if self.stop.is_some() || (over && !busy && !self.around.stay) {
            for worker in &mut self.workers {
                if worker.running.is_none() {
                    worker.desk.orders = None;
                }
            }
        }
    }

    /// Hands one task to an idle worker, unless it need not or must not run now.
    fn assign(&mut self, worker: usize, waiting: Waiting) {
        let task = &waiting.task;
        let mut claim = None;
        if task.recorded {
            match self.around.claims.try_claim(task) {
                Ok(Some(got)) => claim = Some(got),
                Ok(None) => return self.contended.push(waiting),
                Err(source) => {
                    let path = self.around.repo.ci_dir();
                    self.error
                        .get_or_insert(EngineError::Prepare { path, source });
                    self.queue.put_back(waiting);
                    return self.stop(Stop::Gently);
                }
            }
            // Another run may have stored the verdict before it gave up its claim.
            if let Some(known) = self.known_by_now(task) {
                return self.reuse(&waiting.task, known, claim);
            }
        }
        let log = new_log_id();
        let order = Order {
            assignment: Assignment {
                task: task.clone(),
                try_: 1,
                log: log.clone(),
                ahead: self.queue.ahead(waiting.place(), AHEAD),
            },
        };
        let state = &mut self.workers[worker];
        state.near = Some(waiting.place());
        state.idle = false;
        let orders = state.desk.orders.as_ref();
        if orders.is_some_and(|orders| orders.send(order).is_ok()) {
            fail::point("handed-out");
            state.running = Some(Running {
                waiting,
                try_: 1,
                log,
                claim,
                given_up: false,
            });
        } else {
            // It panicked; its farewell is on the way.
            self.queue.put_back(waiting);
        }
    }

    /// The verdict of a task that was not known when the run began, if it is now.
    fn known_by_now(&mut self, task: &Task) -> Option<Known> {
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
    fn known(&self, task: &Task) -> Option<Known> {
        if !task.recorded {
            return None;
        }
        let known = self
            .around
            .records
            .known(&task.commit, &task.job.name, &task.def)?;
        self.around.trust.accepts_for(&known, task).then_some(known)
    }

    fn warn(&mut self, message: String) {
        self.around.reporter.event(&Event::Warning { message });
    }

    fn started(&mut self, worker: usize) {
        let worker_state = &self.workers[worker];
        let Some(Running {
            waiting: Waiting { task, .. },
            try_,
            log,
            ..
        }) = &worker_state.running
        else {
            return;
        };
        let event = Event::TaskStarted {
            id: task.id,
            commit: task.commit.id,
            subject: task.commit.subject.clone(),
            job: task.job.name.clone(),
            try_: *try_,
            worker,
            runner: worker_state.desk.label.clone(),
            log: log.clone(),
            estimate: self.around.records.estimate(&task.job.name),
        };
        self.around.reporter.event(&event);
    }

    fn finished(&mut self, running: Running, outcome: Outcome, ended: Ended, runner: RunnerLabel) {
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
            def: task.def.clone(),
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
                    try_,
                    why,
                    tree: task.commit.tree,
                    def: task.def,
                    log,
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
    fn reuse(&mut self, task: &Task, known: Known, claim: Option<Claim>) {
        let stored = known.stands_at(task);
        let mut record = known.record;
        let event = Event::TaskReused {
            id: task.id,
            commit: task.commit.id,
            subject: task.commit.subject.clone(),
            job: task.job.name.clone(),
            def: task.def.clone(),
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
    fn flush(&mut self) {
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

    fn stored(&mut self, result: Result<(), crate::git::NotesError>) {
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

    fn signal(&mut self, signal: i32) {
        if signal == SIGTSTP {
            self.request(Request::Pause);
            self.around.reporter.suspend();
            // Stops the process here, until somebody continues it.
            let _ = signal_hook::low_level::emulate_default_handler(SIGTSTP);
            self.request(Request::Resume);
            return;
        }
        let stop = match self.signal {
            None => Stop::Gently,
            Some(_) => Stop::AtOnce,
        };
        self.signal.get_or_insert(signal);
        let message = match stop {
            Stop::Gently => "interrupted: ending the running jobs; once more kills them",
            Stop::AtOnce => "killing the running jobs",
        };
        self.warn(message.to_owned());
        self.stop(stop);
    }

    /// Hands out nothing more and ends what runs.
    fn stop(&mut self, stop: Stop) {
        if self.stop.is_some_and(|now| now >= stop) {
            return;
        }
        self.stop = Some(stop);
        self.request(match stop {
            Stop::Gently => Request::Terminate,
            Stop::AtOnce => Request::Kill,
        });
        self.counts.cancelled += (self.queue.len() + self.contended.len()) as u64;
        drop(self.queue.clear());
        self.contended.clear();
    }

    /// Asks every runner that has a task.
    fn request(&self, request: Request) {
        for Worker { running, desk, .. } in &self.workers {
            if let Some(running) = running {
                desk.control.send(running.waiting.task.id, request);
            }
        }
    }

    /// Counts a verdict and makes it known.
    fn report(&mut self, event: Event) {
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

/// What the task of `job` on `commit` goes by.
fn key(commit: &Commit, job: &PlannedJob) -> TaskKey {
    (commit.id, job.job.name.clone(), job.def.clone())
}

/// A log's name that no other log has: 64 bits from the system's random source.
fn new_log_id() -> LogId {
    use std::hash::{BuildHasher as _, RandomState};
    let id = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
    #[expect(clippy::unwrap_used, reason = "a u64 is sixteen hexadecimal digits")]
    id.parse().unwrap()
}
