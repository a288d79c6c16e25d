//! The hub: what runs at a host's end of a connection, below its [guard](super::guard).
//!
//! It stores the commits that come in a bare cache repository, and runs tasks through
//! the same [`LocalRunner`] and agent as a dispatcher on this machine would: one agent
//! a lane, each the subreaper of its jobs. What is said is in [`wire`](super::wire).
//!
//! One thread owns all state and never blocks but on its channel, so it always notices
//! when its right to run anything lapses. Reading, writing, git and the lanes have
//! threads of their own. The hub is a subreaper, too: when it ends, for whatever
//! reason it can still act on, it kills every process below it, agents included. When
//! it is killed itself the agents see their input end.

use std::collections::VecDeque;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use crate::artifacts::ArtifactStore;
use crate::git::{Cache, CacheError, Git, GitError};
use crate::model::{Outcome, TaskId, Why};
use crate::process;
use crate::worktree;

use super::guard::{Guarded, MARGIN};
use super::lifeline::{Lifeline, now};
use super::outbox::Outbox;
use super::protocol::{ArtifactSetup, Observed, RunTask, Setup, receive, send};
use super::wire::{About, FromHost, HELLO_TIMEOUT, HostSetup, ToHost, Trouble, WIRE, ready_line};
use super::{Control, LocalRunner, LocalSpec, Progress, Request, Runner as _};

mod store;

/// More commits than this are not worth telling.
const TOLD: usize = 256;

/// What jobs left stays here no longer: the dispatcher has it.
const ARTIFACT_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// While more frames than this wait to be written, no more of the jobs' output is taken
/// from the agents: what is on the way delays what is said after it.
const OUTPUT_WAITING: usize = 4;

/// Why a hub ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The system refuses what a hub needs.
    #[error("prepare to run jobs")]
    Prepare(#[source] io::Error),
    /// What came in is not this protocol.
    #[error("understand the dispatcher: {0}")]
    Channel(String),
    /// The dispatcher speaks another version.
    #[error("speak version {0} of the protocol: this git-ci speaks version {WIRE}")]
    Version(u32),
    /// git is missing, too old or failed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The place for caches and worktrees.
    #[error("use {} for caches and worktrees", .path.display())]
    Root {
        /// The place.
        path: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A pack could not be stored.
    #[error("store objects: {0}")]
    Store(String),
    /// An agent died.
    #[error("keep an agent: {0}")]
    Agent(String),
    /// Nothing was heard for too long.
    #[error("hear from the dispatcher for {} s", .0.as_secs_f32())]
    Silence(Duration),
    /// What would end the jobs in its place is gone.
    #[error("go on without a guard")]
    Guard(#[source] io::Error),
    /// A process survived.
    #[error("end every process of the jobs")]
    Processes(#[source] io::Error),
}

impl HubError {
    fn trouble(&self) -> Trouble {
        match self {
            Self::Git(GitError::NotFound(_) | GitError::TooOld { .. }) => Trouble::NoGit,
            Self::Root { .. } => Trouble::Root,
            Self::Store(_) => Trouble::Store,
            Self::Version(_) => Trouble::Version,
            _ => Trouble::Other,
        }
    }
}

/// How a hub is started.
#[derive(Debug)]
pub struct HubSpec {
    /// What the line says that ends the noise before it.
    pub nonce: String,
    /// The program that agents are started from: this one.
    pub program: PathBuf,
}

/// What can happen to a hub.
enum HubEvent {
    Frame(ToHost),
    /// The dispatcher's end of the channel; with what was wrong with it.
    Ended(Option<String>),
    Progress(FromHost),
    /// The guard is gone.
    Unguarded,
    /// A lane's task ended.
    Done {
        lane: usize,
        task: TaskId,
        try_: u32,
        result: Result<(Outcome, Observed), String>,
    },
    Taken(u64),
    Stored(u64),
    NotStored(String),
}

/// One task at a time, in a thread with an agent.
struct Lane {
    tasks: Sender<RunTask>,
    control: Control,
    limit: Box<dyn Fn(Duration)>,
    running: Option<(TaskId, u32)>,
}

struct Hub {
    setup: HostSetup,
    program: PathBuf,
    dir: PathBuf,
    cache: Cache,
    lanes: Vec<Lane>,
    /// Until when jobs may run.
    until: Duration,
    waiting: VecDeque<(RunTask, u64)>,
    stored: u64,
    packs: Sender<store::Work>,
    out: Arc<Outbox<FromHost>>,
    events: Sender<HubEvent>,
}

/// Serves one dispatcher until it says goodbye, its end of the channel closes, or it
/// is silent for too long.
///
/// # Errors
/// Where that was not the dispatcher's wish. It is told, if it can be.
pub fn serve(
    spec: &HubSpec,
    guard: Guarded,
    input: impl Read + Send + 'static,
    mut output: impl Write + Send + 'static,
) -> Result<(), HubError> {
    process::become_subreaper().map_err(HubError::Prepare)?;
    let (events, inbox) = mpsc::channel();
    output
        .write_all(ready_line(&spec.nonce).as_bytes())
        .and_then(|()| output.flush())
        .map_err(HubError::Prepare)?;
    let out = Arc::new(Outbox::new());
    let frames = Arc::clone(&out);
    let (written, all_written) = mpsc::channel::<()>();
    let spawn = |name: &str| thread::Builder::new().name(name.to_owned());
    let writing = spawn("writer").spawn(move || {
        // A channel that is broken is noticed by who reads from it.
        while let Some(frame) = frames.next() {
            if send(&mut output, &frame).is_err() {
                break;
            }
        }
        frames.break_off();
        drop(written);
    });
    writing.map_err(HubError::Prepare)?;
    let reader = events.clone();
    spawn("reader")
        .spawn(move || read(input, &reader))
        .map_err(HubError::Prepare)?;

    let served = work(spec, guard, &events, &inbox, &out);
    // Whatever happened, nothing of a job stays. Only then may the dispatcher hear of it.
    let ended = process::end_everything().map_err(HubError::Processes);
    // Where something survived it is not told anything: then it waits before it gives
    // the tasks to others.
    if let (Err(error), Ok(())) = (&served, &ended) {
        out.push(FromHost::Failed {
            trouble: error.trouble(),
            reason: crate::error::with_causes(error),
        });
    }
    out.close();
    // A channel that takes nothing any more must not keep the hub.
    let _ = all_written.recv_timeout(Duration::from_secs(1));
    let cache = served?;
    ended?;
    if let Some(cache) = cache {
        // Nobody waits for this, and nobody is hurt where it fails.
        let _ = cache.tidy();
        let artifacts = ArtifactStore::new(&cache.repository().join("ci"));
        let _ = artifacts.remove_older(ARTIFACT_AGE);
    }
    Ok(())
}

/// Passes on what comes in.
fn read(input: impl Read, to: &Sender<HubEvent>) {
    let mut input = BufReader::with_capacity(64 << 10, input);
    loop {
        let event = match receive::<ToHost>(&mut input) {
            Ok(Some(frame)) => HubEvent::Frame(frame),
            Ok(None) => HubEvent::Ended(None),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => HubEvent::Ended(None),
            Err(error) => HubEvent::Ended(Some(error.to_string())),
        };
        let last = matches!(event, HubEvent::Ended(_));
        if to.send(event).is_err() || last {
            return;
        }
    }
}

/// Does everything up to the end of the connection; returns the cache where the
/// dispatcher left in good order.
fn work(
    spec: &HubSpec,
    mut guard: Guarded,
    events: &Sender<HubEvent>,
    inbox: &Receiver<HubEvent>,
    out: &Arc<Outbox<FromHost>>,
) -> Result<Option<Cache>, HubError> {
    let ending = events.clone();
    guard
        .on_end(move || drop(ending.send(HubEvent::Unguarded)))
        .map_err(HubError::Prepare)?;
    let setup = match inbox.recv_timeout(HELLO_TIMEOUT) {
        Ok(HubEvent::Frame(ToHost::Hello { wire: WIRE, setup })) => *setup,
        Ok(HubEvent::Frame(ToHost::Hello { wire, .. })) => return Err(HubError::Version(wire)),
        Ok(HubEvent::Ended(None)) => return Ok(None),
        Ok(HubEvent::Ended(Some(error))) => return Err(HubError::Channel(error)),
        Ok(_) => return Err(HubError::Channel("it does not begin with hello".to_owned())),
        Err(_) => return Err(HubError::Silence(HELLO_TIMEOUT)),
    };
    let mut life = Lifeline::new(setup.silence, now());
    let (mut hub, about) = Hub::new(spec, setup, events, out)?;
    hub.renew(&mut guard, life.until())?;
    out.push(FromHost::Hello {
        wire: WIRE,
        about: Box::new(about),
    });
    let beat = life.beat(now());
    out.urge(FromHost::Beat { beat });
    loop {
        let due = life.due().unwrap_or_default().min(life.until());
        let event = inbox.recv_timeout(due.saturating_sub(now()));
        // Before anything else: what has come may have waited while this machine stood still.
        let at = now();
        if at >= life.until() {
            return Err(HubError::Silence(hub.setup.silence));
        }
        if life.due().is_some_and(|due| at >= due) {
            let beat = life.beat(at);
            out.urge(FromHost::Beat { beat });
        }
        match event {
            Ok(HubEvent::Frame(ToHost::Ack { beat })) => {
                life.ack(beat);
                hub.renew(&mut guard, life.until())?;
            }
            Ok(HubEvent::Frame(ToHost::Bye)) => return Ok(Some(hub.cache)),
            Ok(HubEvent::Ended(None)) => return Ok(None),
            Ok(HubEvent::Ended(Some(error))) => return Err(HubError::Channel(error)),
            Ok(event) => hub.handle(event)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
        hub.start_tasks()?;
    }
}

impl Hub {
    fn new(
        spec: &HubSpec,
        setup: HostSetup,
        events: &Sender<HubEvent>,
        out: &Arc<Outbox<FromHost>>,
    ) -> Result<(Self, About), HubError> {
        let git = Git::find()?;
        let version = git.version().to_string();
        let safe = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !setup.project.chars().all(safe) || setup.project.starts_with('.') {
            return Err(HubError::Channel("it names a project badly".to_owned()));
        }
        let root = root(setup.root.as_deref())?;
        let dir = root.join(&setup.project);
        let cache = Cache::open(git, &dir, &setup.format, &setup.shallow, &setup.beyond).map_err(
            |error| match error {
                CacheError::Git(error) => HubError::Git(error),
                error @ CacheError::Io { .. } => HubError::Root {
                    path: root,
                    source: error.into(),
                },
            },
        )?;
        let mut have = cache.have()?;
        have.truncate(TOLD);
        let running = worktree::holders(&cache.repository().join("ci"));
        let free = rustix::fs::statvfs(&dir).map_or(0, |fs| fs.f_bavail * fs.f_frsize);
        let about = About {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            platform: uname(),
            git: version,
            free,
            clock: jiff::Timestamp::now().as_millisecond(),
            have,
            running,
        };
        let (packs, work) = mpsc::channel();
        let (to_store, told) = (cache.clone(), events.clone());
        thread::Builder::new()
            .name("store".into())
            .spawn(move || store::take(&to_store, &work, &told))
            .map_err(HubError::Prepare)?;
        let hub = Self {
            setup,
            program: spec.program.clone(),
            dir,
            cache,
            lanes: Vec::new(),
            until: Duration::ZERO,
            waiting: VecDeque::new(),
            stored: 0,
            packs,
            out: Arc::clone(out),
            events: events.clone(),
        };
        Ok((hub, about))
    }

    /// Hands down until when jobs may run.
    fn renew(&mut self, guard: &mut Guarded, until: Duration) -> Result<(), HubError> {
        let until = until + MARGIN;
        if until != self.until {
            self.until = until;
            guard.renew(until).map_err(HubError::Guard)?;
            for lane in &self.lanes {
                (lane.limit)(until);
            }
        }
        Ok(())
    }

    fn handle(&mut self, event: HubEvent) -> Result<(), HubError> {
        match event {
            HubEvent::Unguarded => return Err(HubError::Guard(io::ErrorKind::BrokenPipe.into())),
            HubEvent::Frame(frame) => self.frame(frame)?,
            HubEvent::Progress(frame) => self.say(frame),
            HubEvent::Done {
                lane,
                task,
                try_,
                result,
            } => {
                self.lanes[lane].running = None;
                // Something of its job is still there: so everything ends.
                let (result, observed) = result.map_err(HubError::Agent)?;
                self.say(FromHost::Done {
                    task,
                    try_,
                    result,
                    observed,
                });
            }
            HubEvent::Taken(bytes) => self.say(FromHost::Taken { bytes }),
            HubEvent::Stored(pack) => self.stored = pack,
            HubEvent::NotStored(error) => return Err(HubError::Store(error)),
            HubEvent::Ended(_) => {}
        }
        Ok(())
    }

    fn frame(&mut self, frame: ToHost) -> Result<(), HubError> {
        match frame {
            ToHost::Pack { pack, bytes } => {
                let _ = self.packs.send(store::Work::Piece { pack, bytes });
            }
            ToHost::PackEnd { pack, keep } => {
                let _ = self.packs.send(store::Work::End { pack, keep });
            }
            ToHost::Run { task, after } => {
                let id = (task.task, task.try_);
                let running = self.lanes.iter().any(|lane| lane.running == Some(id));
                let mut waiting = self.waiting.iter();
                if running || waiting.any(|(task, _)| (task.task, task.try_) == id) {
                    return Err(HubError::Channel("a task that is here already".to_owned()));
                }
                self.waiting.push_back((*task, after));
            }
            ToHost::Request {
                task,
                try_,
                request,
            } => self.request(task, try_, request),
            ToHost::Hello { .. } | ToHost::Ack { .. } | ToHost::Bye => {
                return Err(HubError::Channel("a frame out of turn".to_owned()));
            }
        }
        Ok(())
    }

    fn request(&mut self, task: TaskId, try_: u32, request: Request) {
        let id = (task, try_);
        if let Some(lane) = self.lanes.iter().find(|lane| lane.running == Some(id)) {
            return lane.control.send(task, request);
        }
        let before = self.waiting.len();
        if matches!(request, Request::Terminate | Request::Kill) {
            self.waiting
                .retain(|(waiting, _)| (waiting.task, waiting.try_) != id);
        }
        if self.waiting.len() < before {
            self.say(FromHost::Done {
                task,
                try_,
                result: Outcome::Cancelled,
                observed: Observed::default(),
            });
        }
    }

    /// Gives free lanes what waits and has its commit here.
    fn start_tasks(&mut self) -> Result<(), HubError> {
        while let Some(next) = self
            .waiting
            .iter()
            .position(|(_, after)| *after <= self.stored)
        {
            let Some(lane) = self.free_lane()? else {
                break;
            };
            if let Some((task, _)) = self.waiting.remove(next) {
                self.lanes[lane].running = Some((task.task, task.try_));
                // A lane ends only with the hub.
                let _ = self.lanes[lane].tasks.send(task);
            }
        }
        Ok(())
    }

    fn free_lane(&mut self) -> Result<Option<usize>, HubError> {
        let free = self.lanes.iter().position(|lane| lane.running.is_none());
        if free.is_some() || self.lanes.len() >= self.setup.lanes as usize {
            return Ok(free);
        }
        let lane = self.lanes.len();
        let (tasks, inbox) = mpsc::channel();
        let runner = LocalRunner::new(LocalSpec {
            program: self.program.clone(),
            labels: Arc::from([]),
            setup: Setup {
                repository: self.cache.repository().to_owned(),
                worktrees: self.dir.clone(),
                slots: self.setup.slots,
                label: self.setup.label.clone(),
                dispatcher: std::process::id(),
                output: self.setup.output,
                artifacts: ArtifactSetup {
                    most: self.setup.artifacts,
                    send: true,
                },
                machine: self.setup.machine.clone(),
                // Nobody has a shell there.
                keep_failed: false,
            },
        });
        let control = runner.control();
        let limit = runner.limit();
        limit(self.until);
        let events = self.events.clone();
        let out = Arc::clone(&self.out);
        // With fewer lanes tasks wait for each other; without one the hub is of no use.
        let started = thread::Builder::new()
            .name(format!("lane-{lane}"))
            .spawn(move || run_lane(lane, runner, &inbox, &events, &out));
        match started {
            Ok(_) => {}
            Err(error) if self.lanes.is_empty() => return Err(HubError::Prepare(error)),
            Err(_) => return Ok(None),
        }
        self.lanes.push(Lane {
            tasks,
            control,
            limit: Box::new(limit),
            running: None,
        });
        Ok(Some(lane))
    }

    fn say(&self, frame: FromHost) {
        // The writer ends where the channel is broken, which the reader notices.
        self.out.push(frame);
    }
}

/// Runs what a lane is given.
fn run_lane(
    lane: usize,
    mut runner: LocalRunner,
    tasks: &Receiver<RunTask>,
    events: &Sender<HubEvent>,
    out: &Outbox<FromHost>,
) {
    for frame in tasks {
        let (task, try_) = (frame.task, frame.try_);
        let mut observed = Observed::default();
        let result = runner.execute(frame, &mut |progress| {
            let frame = match progress {
                Progress::Started { slot } => FromHost::Started { task, try_, slot },
                Progress::Output { at, bytes } => {
                    // What does not fit on the way stays with the agent, which knows
                    // what may be left out.
                    out.wait_for_room(OUTPUT_WAITING);
                    FromHost::Output {
                        task,
                        try_,
                        at,
                        bytes: bytes.to_vec(),
                    }
                }
                Progress::Waiting(reason) => FromHost::Waiting {
                    task,
                    try_,
                    reason: reason.to_owned(),
                },
                Progress::Note(message) => FromHost::Note {
                    task,
                    try_,
                    message: message.to_owned(),
                },
                Progress::Artifact(part) => {
                    out.wait_for_room(OUTPUT_WAITING);
                    FromHost::Artifact { task, try_, part }
                }
                // The dispatcher counts for itself.
                Progress::Ran(_) => return,
                Progress::Observed(seen) => {
                    observed = seen;
                    return;
                }
            };
            let _ = events.send(HubEvent::Progress(frame));
        });
        let done = HubEvent::Done {
            lane,
            task,
            try_,
            result: match result {
                Ok(outcome) => Ok((outcome, observed)),
                Err(lost) if lost.survived => Err(lost.reason),
                // Nothing of the task is left, so that another runner may have it.
                Err(lost) => {
                    let why = Why::RunnerLost;
                    let reason = lost.reason;
                    Ok((Outcome::Errored { why, reason }, observed))
                }
            },
        };
        if events.send(done).is_err() {
            return;
        }
    }
}

/// Where the hub keeps its things.
fn root(configured: Option<&str>) -> Result<PathBuf, HubError> {
    use etcetera::base_strategy::{BaseStrategy as _, Xdg};
    let no_home = |error: etcetera::HomeDirError| HubError::Root {
        path: PathBuf::from("~"),
        source: error.into(),
    };
    let Some(configured) = configured else {
        return Ok(Xdg::new().map_err(no_home)?.cache_dir().join("git-ci/host"));
    };
    let path = match configured.strip_prefix("~/") {
        Some(rest) => etcetera::home_dir().map_err(no_home)?.join(rest),
        None => PathBuf::from(configured),
    };
    if Path::is_absolute(&path) {
        return Ok(path);
    }
    Err(HubError::Root {
        path,
        source: "it is no absolute path".into(),
    })
}

/// As `uname -sm` says.
pub fn uname() -> String {
    let uname = rustix::system::uname();
    format!(
        "{} {}",
        uname.sysname().to_string_lossy(),
        uname.machine().to_string_lossy()
    )
}
