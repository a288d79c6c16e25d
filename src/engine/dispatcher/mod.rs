//! The dispatcher: the only part of the engine that knows the whole run.
//!
//! Workers ask it for tasks and send it outcomes; signals, the writer and whoever decides what
//! is wanted reach it on the same channel. What each task is at stands in the table of
//! [`tasks`](super::tasks), which also says what comes next; here is what has to be done
//! about it. The dispatcher alone decides what is stored and reported, so there is one order of
//! events, and no verdict is reported before it is stored.
//!
//! Nothing here blocks except the channel. Jobs, logs and claims are the workers', notes are
//! the writer's, and what is seen of it is made by the reporter in a thread of its own.

mod contention;
mod placement;
mod requests;
mod results;
mod storing;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGQUIT, SIGTSTP};

use crate::fail;
use crate::git::{Look, Repo};
use crate::logs::LogStore;
use crate::model::{
    Counts, DefId, Event, JSON_FORMAT, LogId, Outcome, RunnerLabel, Status, Surroundings, Task,
    TaskId,
};
use crate::notes::Records;
use crate::plan::{Action, Plan, PlannedJob, ReusePolicy};
use crate::process::{self, Arrived};
use crate::runner::{Assignment, Memory, Request};

use super::claims::{Claims, Right};
use super::control::Process;
use super::message::{CommitDone, Message, Superseded, Wanted, WorkerCommand, WorkerHandle};
use super::reports::Reports;
use super::tasks::{Changes, OnError, Tasks};
use super::writer::Writer;
use super::{EngineError, Summary};
use placement::{Paces, Worker};
use storing::{PendingRecord, Trouble};

/// What the dispatcher works with.
pub(super) struct Context<'a, 'scope> {
    pub(super) repo: &'a Repo,
    /// Who this is, for other processes.
    pub(super) process: Process,
    pub(super) records: Records,
    pub(super) claims: &'a Claims,
    pub(super) memory: Memory,
    /// The runners that are on other machines.
    pub(super) hosts: HashSet<RunnerLabel>,
    pub(super) writer: Option<Writer>,
    pub(super) reports: Reports<'scope>,
    pub(super) logs: &'a LogStore,
    pub(super) look: Option<Look>,
    pub(super) reuse: ReusePolicy,
    pub(super) on_error: OnError,
    /// Hears of commits that are done. It must not block.
    pub(super) on_done: Option<Box<dyn Fn(CommitDone) + 'a>>,
    pub(super) fail_fast: bool,
    pub(super) stay: bool,
}

/// Nobody reads what the first signal did, and sends another, within so short a time; parents
/// that pass it on do: git, `timeout`.
const TO_BE_READ: Duration = Duration::from_millis(200);

/// For so long a display that hangs keeps a second signal from being one.
const TO_BE_SEEN: Duration = Duration::from_secs(1);

/// For so long the end of a run waits for a look at the work tree.
const LOOK: Duration = Duration::from_millis(500);

/// The log's end is shown of no more failures that were known already: many of them are
/// many logs to read.
const KNOWN_TAILS: u64 = 10;

/// A task whose machine was lost goes elsewhere at most this often.
const MOVES: u32 = 2;

/// How many commits a runner is told ahead.
const AHEAD: usize = 32;

/// A task that a worker has.
struct Running {
    task: Task,
    try_: u32,
    log: LogId,
    claim: Option<Right>,
    /// The worker asks whether it may go on once it has claimed what the task tests.
    claiming: bool,
    /// Its process has been started.
    started: bool,
    /// Its claim was given up while this process was stopped.
    let_go: bool,
    /// It was told to end since somebody else has its claim.
    recalled: bool,
}

/// Why nothing more is handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    /// What runs may go on.
    NoMore,
    Gently,
    AtOnce,
}

pub(super) struct Dispatcher<'a, 'scope> {
    ctx: Context<'a, 'scope>,
    workers: Vec<Worker>,
    paces: Paces,
    tasks: Tasks,
    pending: Vec<PendingRecord>,
    /// What the writer has.
    storing: Vec<PendingRecord>,
    /// When it was given the last batch.
    stored_at: Option<Instant>,
    /// It could not store that.
    trouble: Option<Trouble>,
    stop: Option<Stop>,
    signal: Option<i32>,
    /// When that came that was told last, and when it was shown what it did.
    told: Option<(Instant, Arc<OnceLock<Instant>>)>,
    /// How many failures were known so far.
    known_failures: u64,
    error: Option<EngineError>,
    counts: Counts,
    /// How many tasks were cancelled on request.
    cancelled: u64,
    /// What is watched, as it was last told.
    watching: Option<Event>,
    /// The last that was said about what is waited for.
    said_waiting: Option<(String, Instant)>,
    /// What runners remarked, each said once.
    remarks: HashSet<String>,
    /// It was said that tasks cannot be claimed.
    said_no_claims: bool,
    /// What runners have shown that they are, by the definition of what they ran.
    learned: HashMap<DefId, Vec<Surroundings>>,
    /// The jobs of which was said that they look at the commit.
    bound: HashSet<DefId>,
}

impl<'a, 'scope> Dispatcher<'a, 'scope> {
    pub(super) fn new(ctx: Context<'a, 'scope>, handles: Vec<WorkerHandle>) -> Self {
        Self {
            tasks: Tasks::new(ctx.on_error),
            ctx,
            workers: handles.into_iter().map(Worker::new).collect(),
            paces: Paces::default(),
            pending: Vec::new(),
            storing: Vec::new(),
            stored_at: None,
            trouble: None,
            stop: None,
            signal: None,
            told: None,
            known_failures: 0,
            error: None,
            counts: Counts::default(),
            cancelled: 0,
            watching: None,
            said_waiting: None,
            remarks: HashSet::new(),
            said_no_claims: false,
            learned: HashMap::new(),
            bound: HashSet::new(),
        }
    }

    /// Does what `plan` and later lists want; returns when every worker has stopped.
    pub(super) fn run(mut self, plan: Plan, inbox: &Receiver<Message>) -> Summary {
        let start = Instant::now();
        self.begin(plan);
        while !self.is_done() {
            let message = match self.timeout() {
                Some(timeout) => inbox.recv_timeout(timeout),
                None => inbox.recv().map_err(RecvTimeoutError::from),
            };
            match message {
                Ok(message) => {
                    self.handle(message);
                    // What has come meanwhile belongs to the same batch of results.
                    while let Ok(message) = inbox.try_recv() {
                        self.handle(message);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                // Every sender is gone, and with them every worker.
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.try_again();
            self.hand_out();
            self.flush();
        }
        let event = Event::RunFinished {
            counts: self.counts,
            elapsed: start.elapsed(),
            signal: self.signal,
            uncommitted: match self.signal {
                None => self.ctx.look.take().and_then(|look| look.finish(LOOK)),
                Some(_) => None,
            },
        };
        self.ctx.reports.tell(event);
        if let Some(writer) = self.ctx.writer
            && let Err(source) = writer.finish()
        {
            self.error.get_or_insert(EngineError::Again(source));
        }
        if self.ctx.reports.finish() {
            self.error.get_or_insert(EngineError::Panicked);
        }
        Summary {
            counts: self.counts,
            gave_up: self.tasks.gave_up(),
            cancelled: self.cancelled,
            signal: self.signal,
            error: self.error,
        }
    }

    /// How long to wait for a message at most.
    fn timeout(&self) -> Option<Duration> {
        let due = self.tasks.next_due();
        let due = due.map(|at| at.saturating_duration_since(Instant::now()));
        let gathering = !self.pending.is_empty() && self.storing.is_empty();
        let store = gathering.then(|| self.until_store());
        due.into_iter().chain(store).min()
    }

    fn is_done(&self) -> bool {
        self.workers
            .iter()
            .all(|worker| worker.handle.commands.is_none() && worker.running.is_none())
            && self.storing.is_empty()
            && self.pending.is_empty()
    }

    fn begin(&mut self, plan: Plan) {
        let mut estimate = Some(Duration::ZERO);
        for entry in &plan.entries {
            if let Action::Run = entry.action {
                let one = self.ctx.records.estimate(&entry.task.job.name);
                estimate = estimate.zip(one).map(|(sum, one)| sum + one);
            }
        }
        self.ctx.reports.tell(Event::RunStarted {
            format: JSON_FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commits: plan.commits() as u64,
            tasks: plan.to_run() as u64,
            reused: plan.reused() as u64,
            slots: self.workers.iter().filter(|one| one.is_slot()).count() as u64,
            estimate,
        });
        if !plan.entries.is_empty() {
            self.want(Wanted::of_plan(plan), 0, Superseded::Finish);
        }
        self.hand_out();
        self.flush();
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Ask { worker } => self.workers[worker].idle = true,
            Message::Claimed { worker, claim } => self.handle_claimed(worker, claim),
            Message::Contended { worker, owner } => self.handle_contended(worker, owner),
            Message::Waiting { worker, reason } => {
                let handle = &self.workers[worker].handle;
                let whose = match handle.place.machine {
                    0 => "a slot".to_owned(),
                    _ => format!("a slot on {}", handle.label),
                };
                self.say_waiting(format!("waiting for {whose}: {reason}"));
            }
            // Several agents come upon the same.
            Message::Remark(message) => {
                if self.remarks.insert(message.clone()) {
                    self.warn(message);
                }
            }
            Message::Started { worker } => self.handle_started(worker),
            Message::Output { worker, line } => {
                if let Some(running) = &self.workers[worker].running {
                    let id = running.task.id;
                    self.ctx.reports.tell(Event::TaskOutput { id, line });
                }
            }
            Message::Retried {
                worker,
                try_,
                outcome,
                tail,
            } => self.handle_retried(worker, try_, &outcome, tail),
            Message::Finished { worker, ended } => {
                self.workers[worker].idle = true;
                if let Some(running) = self.workers[worker].running.take() {
                    self.handle_finished(worker, running, ended);
                }
            }
            Message::Presence { worker, presence } => self.handle_presence(worker, presence),
            Message::Gone { worker: at } => {
                let worker = &mut self.workers[at];
                worker.idle = false;
                if worker.handle.commands.take().is_some() {
                    if let Some(running) = worker.running.take() {
                        self.tasks.forget(running.task.id);
                    }
                    self.tasks.unbind(at);
                    self.error.get_or_insert(EngineError::Panicked);
                    self.stop(Stop::Gently);
                }
            }
            Message::Stored(result) => self.handle_stored(result),
            Message::WriterGone => {
                self.handle_no_writer();
                self.error.get_or_insert(EngineError::Panicked);
                self.stop(Stop::Gently);
            }
            Message::Signal(signal) => self.handle_signal(signal),
            Message::Want {
                wanted,
                more,
                superseded,
            } => self.want(wanted, more, superseded),
            Message::Control(request, to) => self.handle_control(request, &to),
            Message::Tell(event) => self.tell(event),
            Message::Close => self.ctx.stay = false,
        }
    }

    /// Makes `wanted` all there is to do: ends what runs and is not in it (unless that may
    /// finish), takes over what is known by now, and queues the rest in its order.
    fn want(&mut self, wanted: Vec<Wanted>, more: u64, superseded: Superseded) {
        if self.stop.is_some() {
            return;
        }
        if let Err(error) = self.ctx.records.refresh(self.ctx.repo) {
            self.warn(format!("failed to look for new results: {error}"));
        }
        let Changes {
            new,
            terminate,
            done,
        } = self.tasks.want(wanted, more, superseded);
        self.terminate(&terminate);
        done.into_iter().for_each(|done| self.tell_done(done));
        let (mut known, mut homeless, mut is_failed) = (Vec::new(), Vec::new(), false);
        let mut touched = BTreeSet::new();
        for mut one in new {
            let (action, reason) = match one.decided.take() {
                Some(decided) => decided,
                None => self.decide(&one.commit, &one.job),
            };
            let task = one.job.task(self.tasks.next_id(), &one.commit, reason);
            match action {
                Action::Reuse(verdict) => {
                    let is_failure = verdict.record.status == Status::Fail;
                    is_failed |= is_failure && !task.job.allow_failure;
                    self.tasks.add_ended(&one, task.clone());
                    known.push((task, verdict));
                }
                Action::Run if self.has_place(&task) => {
                    tracing::debug!(target: "tasks", task = task.id.0, commit = %task.commit.id, job = %task.job.name, reason = %task.reason.text(), "wanted");
                    self.tasks.queue(&one, task);
                }
                Action::Run => {
                    self.tasks.add_ended(&one, task.clone());
                    homeless.push(task);
                }
            }
            touched.insert(one.commit.id);
        }
        for commit in &touched {
            self.unblock(commit);
        }
        if is_failed && self.ctx.fail_fast {
            self.stop(Stop::Gently);
        }
        if self.ctx.stay {
            let waiting = self.tasks.to_come() as u64;
            self.ctx.reports.tell(Event::Queue { waiting });
        }
        // Logs are read for some of what is known, for which workers need not wait.
        self.hand_out();
        for (task, verdict) in known {
            self.reuse(&task, *verdict, None);
        }
        for task in homeless {
            self.turn_away(task);
        }
    }

    /// Queues what had to wait for another run, or for a pause after an ERROR. Of the latter
    /// there may be a verdict by now.
    fn try_again(&mut self) {
        if self.stop.is_some() {
            return;
        }
        for id in self.tasks.due(Instant::now()) {
            let Some(entry) = self.tasks.get(id) else {
                continue;
            };
            let (commit, planned) = (entry.task.commit.clone(), PlannedJob::of_task(&entry.task));
            let (action, reason) = self.decide(&commit, &planned);
            let task = planned.task(self.tasks.next_id(), &commit, reason);
            tracing::debug!(target: "tasks", task = task.id.0, before = id.0, "again");
            match action {
                Action::Run => self.tasks.renew(id, task, false),
                Action::Reuse(verdict) => {
                    self.tasks.renew(id, task.clone(), true);
                    self.reuse(&task, *verdict, None);
                }
            }
        }
    }

    /// Gives every idle worker a task, or sends it home when none can come any more.
    fn hand_out(&mut self) {
        // Slots first: who works ahead gets what they leave.
        for ahead in [false, true] {
            for worker in 0..self.workers.len() {
                if self.workers[worker].place().ahead == ahead {
                    self.serve(worker);
                }
            }
        }
        self.look_for_help();
        // A task that a worker has may still come back; until then nobody goes home.
        if self.stop.is_some() || (self.tasks.is_over() && !self.ctx.stay) {
            for worker in &mut self.workers {
                if worker.running.is_none() {
                    worker.handle.commands = None;
                }
            }
        }
    }

    /// Hands a task to an idle worker, which claims what it tests first.
    fn assign(&mut self, worker: usize, id: TaskId) {
        let Some(entry) = self.tasks.get(id) else {
            return;
        };
        let (task, place) = (entry.task.clone(), entry.place());
        let log = new_log_id();
        let assignment = Assignment {
            task: task.clone(),
            try_: 1,
            log: log.clone(),
            ahead: self.tasks.ahead(place, AHEAD),
        };
        let at = self.workers[worker].place();
        self.tasks
            .bind(id, worker, |other| at.suits(&other.task.job));
        let state = &mut self.workers[worker];
        state.near = Some(place);
        state.idle = false;
        let command = WorkerCommand::Run(Box::new(assignment));
        let commands = state.handle.commands.as_ref();
        if commands.is_some_and(|commands| commands.send(command).is_ok()) {
            fail::point("handed-out");
            tracing::debug!(target: "tasks", task = id.0, worker, "taken");
            state.running = Some(Running {
                claiming: task.recorded,
                task,
                try_: 1,
                log,
                claim: None,
                started: false,
                let_go: false,
                recalled: false,
            });
        } else {
            // It panicked; its farewell is on the way.
            self.tasks.put_back(id);
        }
    }

    fn warn(&mut self, message: String) {
        self.ctx.reports.tell(Event::Warning { message });
    }

    /// Reports what somebody else has seen.
    fn tell(&mut self, event: Event) {
        if let Event::Watching { .. } = event {
            self.watching = Some(event);
            self.tell_watching();
        } else {
            self.ctx.reports.tell(event);
        }
    }

    fn tell_done(&self, done: CommitDone) {
        if let Some(on_done) = &self.ctx.on_done {
            on_done(done);
        }
    }

    fn handle_started(&mut self, worker: usize) {
        let state = &mut self.workers[worker];
        let Some(running) = &mut state.running else {
            return;
        };
        running.started = true;
        let Running {
            task, try_, log, ..
        } = running;
        let event = Event::TaskStarted {
            id: task.id,
            commit: task.commit.id,
            subject: task.commit.subject.clone(),
            job: task.job.name.clone(),
            try_: *try_,
            worker,
            runner: state.handle.label.clone(),
            log: log.clone(),
            estimate: self.ctx.records.estimate(&task.job.name),
            reason: task.reason.text(),
            rule: task.reason.rule(),
        };
        self.tasks.start(task.id, Instant::now());
        self.ctx.reports.tell(event);
    }

    fn handle_retried(&mut self, worker: usize, try_: u32, outcome: &Outcome, tail: Vec<String>) {
        let Some(running) = &mut self.workers[worker].running else {
            return;
        };
        running.try_ = try_;
        let task = &running.task;
        let event = Event::TaskRetried {
            id: task.id,
            commit: task.commit.id,
            subject: task.commit.subject.clone(),
            job: task.job.name.clone(),
            try_,
            why: outcome.verdict(1).and_then(|(_, why)| why),
            tail,
        };
        self.ctx.reports.tell(event);
    }

    fn handle_signal(&mut self, Arrived { signal, at }: Arrived) {
        if signal == SIGTSTP {
            self.request(Request::Pause);
            self.let_go();
            self.ctx.reports.suspend();
            // Returns when somebody has continued it.
            process::stop();
            self.take_back();
            self.request(Request::Resume);
            return;
        }
        // Once more is who has seen what the first one did, and not a parent that passes it on; a
        // terminal that is gone is gone once, whoever tells of it.
        let before = self.told.as_ref().is_some_and(|(told, shown)| {
            shown.get().is_none_or(|shown| at < *shown + TO_BE_READ) && at < *told + TO_BE_SEEN
        });
        if self.signal.is_some() && (before || signal == SIGHUP) {
            return;
        }
        let (stop, message) = match self.signal {
            None if signal != SIGQUIT => (
                Stop::Gently,
                "interrupted: ending the running jobs; once more kills them",
            ),
            _ => (Stop::AtOnce, "killing the running jobs"),
        };
        self.signal.get_or_insert(signal);
        self.warn(message.to_owned());
        self.told = Some((at, self.ctx.reports.when_shown()));
        self.stop(stop);
    }

    /// Hands out nothing more, and ends what runs where that is asked for.
    fn stop(&mut self, stop: Stop) {
        if self.stop.is_some_and(|now| now >= stop) {
            return;
        }
        self.stop = Some(stop);
        match stop {
            Stop::NoMore => {}
            Stop::Gently => self.request(Request::Terminate),
            Stop::AtOnce => self.request(Request::Kill),
        }
        if let Some(trouble) = &mut self.trouble {
            // Once more, and not again.
            trouble.due = Instant::now();
        }
        self.counts.cancelled += self.tasks.clear();
    }

    /// Asks every runner that has a task.
    fn request(&self, request: Request) {
        for worker in &self.workers {
            if let Some(running) = &worker.running {
                worker.handle.control.send(running.task.id, request);
            }
        }
    }

    /// Has these tasks ended.
    fn terminate(&self, tasks: &[TaskId]) {
        for worker in &self.workers {
            if let Some(running) = &worker.running
                && tasks.contains(&running.task.id)
            {
                let control = &worker.handle.control;
                control.send(running.task.id, Request::Terminate);
            }
        }
    }

    /// Whether nobody wants the verdict of a task any more.
    fn is_abandoned(&self, id: TaskId) -> bool {
        let entry = self.tasks.get(id);
        entry.is_some_and(super::tasks::Entry::is_abandoned)
    }
}

/// A log's name that no other log has: 64 bits from the system's random source.
fn new_log_id() -> LogId {
    LogId::of(process::random())
}
