//! A runner on another machine: one connection a host, several tasks over it.
//!
//! A [`Host`] has a thread that keeps its connection while there is work, tries again
//! after a growing time where that fails, and says to whom it may concern whether
//! tasks can be taken. Its [`HostRunner`]s hand tasks over and wait for news of them.
//!
//! A host is believed what it says about its results, once that is checked to be
//! something a job can say, and nothing else. What it sends is bounded, it names no
//! commit, no job and no file but what a job left, and a frame out of turn ends the connection.

mod artifacts;
mod conn;
mod error;
mod keeper;
mod open;
mod packer;
mod process;
mod transport;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::git::Repo;
use crate::model::{Outcome, RunnerLabel, TaskId, Why, printable_line};

use super::pending_requests::PendingRequests;
use super::protocol::{OutputLimits, RunTask};
use super::wire::{About, HostSetup, ToHost};
use super::{Assignment, Control, Location, Lost, Presence, Progress, Request, Runner, Tell};

use artifacts::ArrivingArtifacts;
use conn::{Conn, TaskUpdate};
use keeper::Inner;

pub use error::HostError;
pub use open::{probe, protocol_line};
pub use transport::Transport;

/// How long a host may take to confirm that it killed a task.
const KILL_TIMEOUT: Duration = Duration::from_secs(3);

/// What a host may remark on one task; the rest is dropped.
const MOST_REMARKS: u32 = 100;

/// How long a host that could not even start a task rests.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);

/// A host as it is configured.
#[derive(Clone)]
pub struct HostSpec {
    /// Its name, which records call it by.
    pub name: RunnerLabel,
    /// What tells it apart from other machines; not 0.
    pub machine: usize,
    /// How to get there.
    pub transport: Transport,
    /// What it calls itself in the `labels` of jobs.
    pub labels: Arc<[String]>,
    /// Where the agent is; `None` looks for it, and uploads this program where there is none.
    pub agent: Option<String>,
    /// What its hub works with.
    pub setup: HostSetup,
    /// How long without a sign of life until its tasks are given to others.
    pub lease: Duration,
    /// How long a connection may take until the hub answers.
    pub timeout: Duration,
    /// Let go of the connection after this long without work.
    pub release: Option<Duration>,
    /// While this file exists it gets no tasks.
    pub drain: PathBuf,
    /// Where commits come from.
    pub repo: Arc<Repo>,
    /// The program to upload: this one.
    pub program: PathBuf,
}

/// A host and the thread that keeps its connection; ends with the last of its runners.
pub struct Host {
    inner: Arc<Inner>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

impl Host {
    /// A host that nothing connects to before there is work.
    ///
    /// # Errors
    /// Where there are no threads left.
    pub fn new(spec: HostSpec) -> io::Result<Arc<Self>> {
        let inner = Arc::new(Inner::new(spec));
        let kept = Arc::clone(&inner);
        let keeper = thread::Builder::new()
            .name("keeper".into())
            .spawn(move || keeper::keep(&kept))?;
        Ok(Arc::new(Self {
            inner,
            keeper: Mutex::new(Some(keeper)),
        }))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.inner.close();
        let keeper = self
            .keeper
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(keeper) = keeper.take() {
            // It is bounded in what it still does; a panic of its ends nothing else.
            let _ = keeper.join();
        }
    }
}

/// Hands tasks to a host, one at a time.
pub struct HostRunner {
    host: Arc<Host>,
    ahead: bool,
    current: Arc<Mutex<Current>>,
}

/// The task that a runner has on the host, and what was asked of it before it had it.
#[derive(Default)]
struct Current {
    task: Option<OnHost>,
    early: PendingRequests,
    /// It was asked to end, so that it may say it was cancelled.
    asked: bool,
}

struct OnHost {
    id: (TaskId, u32),
    conn: Arc<Conn>,
    news: mpsc::Sender<TaskUpdate>,
}

impl Current {
    /// Passes a request on to the host, or keeps it until the task is on its way there.
    fn ask(&mut self, task: TaskId, request: Request) {
        let on = match &self.task {
            Some(on) if on.id.0 == task => on,
            _ => return self.early.keep(task, request),
        };
        let reached = on.conn.send(ToHost::Request {
            task,
            try_: on.id.1,
            request,
        });
        let ends = matches!(request, Request::Terminate | Request::Kill);
        if ends && (request == Request::Kill || !reached) {
            let _ = on.news.send(TaskUpdate::Hurry);
        }
        self.asked |= ends;
    }
}

impl HostRunner {
    /// A runner on `host`; see [`Location::ahead`].
    pub fn new(host: &Arc<Host>, ahead: bool) -> Self {
        Self {
            host: Arc::clone(host),
            ahead,
            current: Arc::default(),
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stays with the task until it is done.
    fn follow(
        &self,
        id: (TaskId, u32),
        conn: &Conn,
        (sender, news): (&mpsc::Sender<TaskUpdate>, &mpsc::Receiver<TaskUpdate>),
        assignment: &Assignment,
        watch: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Outcome, Lost> {
        let spec = &self.host.inner.spec;
        let mut arrivals = Arrivals::new(spec.setup.output);
        let mut artifacts = ArrivingArtifacts::new(spec, assignment);
        let mut until: Option<Instant> = None;
        let mut started = false;
        let mut remarks = MOST_REMARKS;
        // What it did wrong: nothing that it says after that is believed.
        let mut wrong: Option<&'static str> = None;
        loop {
            let next = match until {
                None => news.recv().map_err(RecvTimeoutError::from),
                Some(until) => news.recv_timeout(until.saturating_duration_since(Instant::now())),
            };
            match next {
                Ok(TaskUpdate::Waiting(_) | TaskUpdate::Note(_)) if remarks == 0 => {}
                Ok(TaskUpdate::Waiting(reason)) => {
                    remarks -= 1;
                    watch(Progress::Waiting(&short_line(&reason, 500)));
                }
                Ok(TaskUpdate::Note(message)) => {
                    remarks -= 1;
                    let message = short_line(&message, 500);
                    watch(Progress::Note(&format!("{}: {message}", self.label())));
                }
                Ok(TaskUpdate::Started { .. }) if started => {
                    let what = *wrong.insert("it starts one task several times");
                    conn.give_up(what);
                }
                Ok(TaskUpdate::Started { slot }) => {
                    started = true;
                    watch(Progress::Started { slot });
                }
                Ok(TaskUpdate::Output { at, bytes }) => match arrivals.accept(at, bytes.len()) {
                    Ok(()) => watch(Progress::Output { at, bytes: &bytes }),
                    Err(what) => {
                        wrong = Some(what);
                        conn.give_up(what);
                    }
                },
                Ok(TaskUpdate::Artifact(part)) => {
                    if let Err(what) = artifacts.accept(part) {
                        wrong = Some(what);
                        conn.give_up(what);
                    }
                }
                Ok(TaskUpdate::Done(result, observed)) => {
                    if let Some(error) = artifacts.finish() {
                        let job = &assignment.task.job.name;
                        watch(Progress::Note(&format!(
                            "failed to keep what {job} left: {error}"
                        )));
                    }
                    watch(Progress::Observed(observed));
                    let asked = self.current().asked;
                    let judged = judge(result, assignment, asked);
                    match wrong.map_or(judged, Err) {
                        // Its disk may be full: others may do better.
                        Ok(Outcome::Errored {
                            why: why @ (Why::Worktree | Why::Spawn | Why::RunnerLost),
                            reason,
                        }) => {
                            // Or it would take one task after the other, and do none.
                            std::thread::sleep(TROUBLE_PAUSE);
                            return Err(Lost { why, reason });
                        }
                        Ok(outcome) => return Ok(outcome),
                        Err(what) => {
                            if !conn.distrust(id, sender.clone(), what) {
                                return self.outwait(news, what);
                            }
                        }
                    }
                }
                Ok(TaskUpdate::Lost(reason)) => {
                    let reason = format!("keep the host {}: {reason}", self.label());
                    let why = Why::HostLost;
                    return Err(Lost { why, reason });
                }
                Ok(TaskUpdate::Hurry) => {
                    until.get_or_insert(Instant::now() + KILL_TIMEOUT);
                }
                // Nobody waits for a verdict, and the hub's own watch sees to the rest.
                Err(_) => {
                    conn.forget(id);
                    return Ok(Outcome::Cancelled);
                }
            }
        }
    }
}

impl HostRunner {
    /// Waits until a host whose connection has ended cannot be running a task any more.
    fn outwait(&self, news: &mpsc::Receiver<TaskUpdate>, what: &str) -> Result<Outcome, Lost> {
        let until = Instant::now() + self.host.inner.spec.lease;
        // Only one who is in a hurry has anything to say now.
        match news.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(TaskUpdate::Hurry) => Ok(Outcome::Cancelled),
            _ => Err(Lost {
                why: Why::HostLost,
                reason: format!("keep the host {}: {what}", self.label()),
            }),
        }
    }
}

/// What of a task's output has arrived from a host.
struct Arrivals {
    limits: OutputLimits,
    since: Instant,
    /// The position after the newest byte.
    end: u64,
    /// All bytes.
    sum: u64,
}

impl Arrivals {
    fn new(limits: OutputLimits) -> Self {
        Self {
            limits,
            since: Instant::now(),
            end: 0,
            sum: 0,
        }
    }

    /// Counts bytes, or says why a host that sends them does not do as it was asked.
    fn accept(&mut self, at: u64, count: usize) -> Result<(), &'static str> {
        let OutputLimits { head, tail, pace } = self.limits;
        let end = at.checked_add(count as u64);
        let end = end.filter(|_| at >= self.end);
        self.end = end.ok_or("it sends output out of order")?;
        self.sum += count as u64;
        // The host may send as much at once as belongs to the end, when it begins to and
        // when it ends, and its clock may run a little faster.
        let time = self.since.elapsed().as_secs_f64() + 1.0;
        let paced = (1.1 * time * pace as f64) as u64;
        if self.sum > (head + 2 * tail) as u64 + paced {
            return Err("it sends more output than was asked for");
        }
        Ok(())
    }
}

/// What a host says, on one line of at most so many characters.
fn short_line(text: &str, most: usize) -> String {
    let mut text = printable_line(text.as_bytes()).into_owned();
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
    }
    text
}

/// What a host says a task ended with, if a job of this kind can end so.
fn judge(result: Outcome, assignment: &Assignment, asked: bool) -> Result<Outcome, &'static str> {
    match result {
        Outcome::Passed | Outcome::Skipped => Ok(result),
        // What a code or a signal stands for is judged here: an older agent may differ.
        Outcome::Failed {
            code: code @ (1..=124 | 128..=255),
        } => Ok(Outcome::from_exit_code(code)),
        Outcome::Signaled {
            signal: signal @ 1..=64,
        } => Ok(Outcome::from_signal(signal)),
        Outcome::TimedOut { .. } => match assignment.task.job.timeout {
            Some(limit) => Ok(Outcome::TimedOut { limit }),
            None => Err("it says that a job without a limit timed out"),
        },
        Outcome::Errored { why, reason } => {
            let reason = short_line(&reason, 1000);
            let why = match why {
                Why::Exit(126 | 127) | Why::Signal(1..=64) | Why::Worktree | Why::Spawn => why,
                _ => Why::RunnerLost,
            };
            Ok(Outcome::Errored { why, reason })
        }
        Outcome::Cancelled if asked => Ok(result),
        Outcome::Cancelled => Err("it ended a task that nobody asked it to end"),
        Outcome::Failed { .. } | Outcome::Signaled { .. } => Err("it says what no job can say"),
    }
}

impl Runner for HostRunner {
    fn label(&self) -> &RunnerLabel {
        &self.host.inner.spec.name
    }

    fn control(&self) -> Control {
        let current = Arc::clone(&self.current);
        let inner = Arc::clone(&self.host.inner);
        Control::new(move |task: TaskId, request: Request| {
            let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
            current.ask(task, request);
        })
        .waking(move || inner.wake())
    }

    fn place(&self) -> Location {
        let spec = &self.host.inner.spec;
        Location {
            machine: spec.machine,
            labels: Arc::clone(&spec.labels),
            slots: spec.setup.slots,
            resources: Arc::new(spec.setup.machine.counts()),
            ahead: self.ahead,
        }
    }

    fn attend(&mut self, tell: Tell) -> Presence {
        self.host.inner.attend(tell)
    }

    fn run(
        &mut self,
        assignment: &Assignment,
        watch: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Outcome, Lost> {
        let id = (assignment.task.id, assignment.try_);
        let conn = self.host.inner.connection().map_err(|reason| Lost {
            why: Why::HostLost,
            reason: format!("reach the host {}: {reason}", self.label()),
        })?;
        let (sender, news) = mpsc::channel();
        conn.expect(id, sender.clone());
        let task = RunTask::new(assignment);
        let after = conn.want(&assignment.task.commit.id, &assignment.ahead);
        {
            // Nobody asks anything before the host has heard of the task.
            let mut current = self.current();
            current.task = Some(OnHost {
                id,
                conn: Arc::clone(&conn),
                news: sender.clone(),
            });
            current.asked = false;
            // Where the connection has ended, news say so.
            conn.send(ToHost::Run {
                task: Box::new(task),
                after,
            });
            for request in current.early.take(id.0) {
                current.ask(id.0, request);
            }
        }
        let outcome = self.follow(id, &conn, (&sender, &news), assignment, watch);
        self.current().task = None;
        outcome
    }
}

/// What was found out about a host.
#[derive(Debug)]
pub struct Probe {
    /// What its hub says.
    pub about: About,
    /// How far its clock is ahead, in milliseconds; negative where it is behind.
    pub skew: i64,
    /// How long it took until the hub answered.
    pub took: Duration,
}

type Tasks = HashMap<(TaskId, u32), mpsc::Sender<TaskUpdate>>;
