//! The dispatcher: the only part of the engine that knows the whole run.
//!
//! Workers ask it for tasks and send it outcomes; signals and the writer reach it on
//! the same channel. It alone decides what is stored and calls the reporter, so the
//! reporter sees one order of events, and no verdict is reported before it is stored.
//!
//! Nothing here blocks except the channel. Anything slow belongs in a worker or in
//! the writer.

mod contended;
mod crew;
mod results;
mod storing;

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGQUIT, SIGTSTP};

use crate::fail;
use crate::git::{Look, Records, Repo};
use crate::logs::LogStore;
use crate::model::{
    Commit, Counts, DefId, Event, JSON_FORMAT, LogId, RunnerLabel, Status, Surroundings, TaskId,
    TaskKey,
};
use crate::plan::{Action, Entry, Plan, PlannedJob, Trust};
use crate::process::{self, Arrived};
use crate::reporter::Reporter;
use crate::runner::{Assignment, Memory, Request};

use super::claims::{Claim, Claims};
use super::message::{Desk, Message, Order, Superseded, Wanted};
use super::queue::{Queue, Waiting};
use super::writer::Writer;
use super::{EngineError, Summary};
use crew::{Paces, Worker};
use storing::{Trouble, Unstored};

/// How often a task that another run works on is looked at again.
const CLAIM_INTERVAL: Duration = Duration::from_millis(50);

/// What the dispatcher works with.
pub(super) struct Around<'a> {
    pub(super) repo: &'a Repo,
    pub(super) records: Records,
    pub(super) claims: Claims,
    pub(super) memory: Memory,
    /// The runners that are on other machines.
    pub(super) hosts: HashSet<RunnerLabel>,
    pub(super) writer: Option<Writer>,
    pub(super) reporter: &'a mut dyn Reporter,
    pub(super) logs: &'a LogStore,
    pub(super) look: Option<Look>,
    pub(super) trust: Trust,
    pub(super) fail_fast: bool,
    pub(super) stay: bool,
}

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
    waiting: Waiting,
    try_: u32,
    log: LogId,
    claim: Option<Claim>,
    /// Its process has been started.
    started: bool,
    /// Its claim was given up while this process was stopped.
    let_go: bool,
    /// It was told to end since somebody else has its claim.
    recalled: bool,
    /// Nobody wants its verdict any more, and it was told to end.
    given_up: bool,
}

/// Why nothing more is handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    /// What runs may go on.
    NoMore,
    Gently,
    AtOnce,
}

pub(super) struct Dispatcher<'a> {
    around: Around<'a>,
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
    /// It could not store that.
    trouble: Option<Trouble>,
    stop: Option<Stop>,
    signal: Option<i32>,
    /// When it was said what a signal did.
    told: Option<Instant>,
    /// How many failures were known so far.
    known_failures: u64,
    error: Option<EngineError>,
    counts: Counts,
    /// The id of the next task.
    next: u64,
    /// The last that was said about what is waited for.
    said_waiting: Option<(String, Instant)>,
    /// What runners remarked, each said once.
    remarks: HashSet<String>,
    /// It was said that tasks cannot be claimed.
    said_no_claims: bool,
    /// What came to an end while the run stays: not started again, whatever its verdict.
    ended: HashSet<TaskKey>,
    /// What runners have shown that they are, by the definition of what they ran.
    learned: HashMap<DefId, Vec<Surroundings>>,
    /// The jobs of which was said that they look at the commit.
    bound: HashSet<DefId>,
}

impl<'a> Dispatcher<'a> {
    pub(super) fn new(around: Around<'a>, desks: Vec<Desk>) -> Self {
        Self {
            around,
            workers: desks.into_iter().map(Worker::new).collect(),
            paces: Paces::default(),
            queue: Queue::default(),
            contended: Vec::new(),
            unstored: Vec::new(),
            storing: Vec::new(),
            stored_at: None,
            trouble: None,
            stop: None,
            signal: None,
            told: None,
            known_failures: 0,
            error: None,
            counts: Counts::default(),
            next: 0,
            said_waiting: None,
            remarks: HashSet::new(),
            said_no_claims: false,
            ended: HashSet::new(),
            learned: HashMap::new(),
            bound: HashSet::new(),
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
            uncommitted: match self.signal {
                None => self.around.look.and_then(|look| look.finish(LOOK)),
                Some(_) => None,
            },
        };
        self.around.reporter.event(&event);
        if let Some(writer) = self.around.writer
            && let Err(source) = writer.finish()
        {
            self.error.get_or_insert(EngineError::Again(source));
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
            format: JSON_FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commits: plan.commits() as u64,
            tasks: plan.to_run() as u64,
            reused: plan.reused() as u64,
            slots: self.workers.iter().filter(|one| one.is_slot()).count() as u64,
            estimate,
        });
        self.next = plan.entries.len() as u64;
        let is_failure = |entry: &Entry| match &entry.action {
            Action::Reuse(known) => {
                known.record.status == Status::Fail && !entry.task.job.allow_failure
            }
            Action::Run => false,
        };
        let failed = plan.entries.iter().any(is_failure);
        let mut reused = Vec::new();
        for entry in plan.entries {
            match entry.action {
                Action::Run => {
                    self.queue.push(entry.task, false);
                }
                Action::Reuse(known) => reused.push((entry.task, known)),
            }
        }
        if failed && self.around.fail_fast {
            self.stop(Stop::Gently);
        }
        // Logs are read for some of what is known, for which workers need not wait.
        self.hand_out();
        for (task, known) in reused {
            self.reuse(&task, *known, None);
        }
        self.flush();
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Ask { worker } => self.workers[worker].idle = true,
            Message::Waiting { worker, reason } => {
                let place = self.workers[worker].place().machine;
                let label = &self.workers[worker].desk.label;
                let whose = match place {
                    0 => "a slot".to_owned(),
                    _ => format!("a slot on {label}"),
                };
                self.say_waiting(format!("waiting for {whose}: {reason}"));
            }
            // Several agents come upon the same.
            Message::Remark(message) => {
                if self.remarks.insert(message.clone()) {
                    self.warn(message);
                }
            }
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
            Message::Stored(result) => self.handle_stored(result),
            Message::WriterGone => {
                self.handle_no_writer();
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
            (one.commit, record.job.clone(), record.def)
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
                let (action, reason) = self.decide(&commit, job);
                let task = job.task(TaskId(self.next), &commit, reason);
                self.next += 1;
                match action {
                    Action::Reuse(known) => self.reuse(&task, *known, None),
                    Action::Run if self.has_place(&task) => {
                        let waiting = self.queue.push(task, urgent);
                        if let Some((moves, lost_by)) = lost.get(&key) {
                            (waiting.moves, waiting.lost_by) = (*moves, *lost_by);
                        }
                    }
                    Action::Run => self.turn_away(task),
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
        let Some((waiting, claim)) = self.claim(waiting) else {
            return;
        };
        let task = &waiting.task;
        // Another run may have stored the verdict before it gave up its claim.
        if task.recorded
            && let Some(known) = self.known_by_now(task)
        {
            return self.reuse(&waiting.task, known, claim);
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
                started: false,
                let_go: false,
                recalled: false,
                given_up: false,
            });
        } else {
            // It panicked; its farewell is on the way.
            self.queue.put_back(waiting);
        }
    }

    fn warn(&mut self, message: String) {
        self.around.reporter.event(&Event::Warning { message });
    }

    fn started(&mut self, worker: usize) {
        let worker_state = &mut self.workers[worker];
        let Some(Running {
            waiting: Waiting { task, .. },
            try_,
            log,
            started,
            ..
        }) = &mut worker_state.running
        else {
            return;
        };
        *started = true;
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
            reason: task.reason.text(),
            rule: task.reason.rule(),
        };
        self.around.reporter.event(&event);
    }

    fn signal(&mut self, Arrived { signal, at }: Arrived) {
        if signal == SIGTSTP {
            self.request(Request::Pause);
            self.let_go();
            self.around.reporter.suspend();
            // Returns when somebody has continued it.
            process::stop();
            self.take_back();
            self.request(Request::Resume);
            return;
        }
        // Once more is who has seen what the first one did; a terminal that is gone is gone
        // once, whoever tells of it.
        let before = self.told.is_some_and(|told| at < told);
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
        self.told = Some(Instant::now());
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
}

/// What the task of `job` on `commit` goes by.
fn key(commit: &Commit, job: &PlannedJob) -> TaskKey {
    (commit.id, job.job.name.clone(), job.def)
}

/// A log's name that no other log has: 64 bits from the system's random source.
fn new_log_id() -> LogId {
    use std::hash::{BuildHasher as _, RandomState};
    let id = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
    #[expect(clippy::unwrap_used, reason = "a u64 is sixteen hexadecimal digits")]
    id.parse().unwrap()
}
