//! The observer's loop: hints, results and requests come in over one channel; lists of
//! what is wanted, and moved checkpoints, go out.

mod look;
mod offer;
mod outcome;
mod progress;
mod spooled;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use crate::config::LoadError;
use crate::engine::control::{Reply, Request};
use crate::engine::{CommitDone, Feed, OnError, Superseded, Wanted};
use crate::error::with_causes;
use crate::git::{
    CheckpointError, Checkpoints, Graph, History, HistoryError, RefError, RefReader, Repo,
};
use crate::model::{Commit, Event, JobName, Oid, RefName};
use crate::private;
use crate::spool::Entry;

use crate::watch::jobs::WatchJobs;
use crate::watch::notice::{self, Notice, WatchedPaths};
use crate::watch::result::OnResult;
use crate::watch::tips::Patterns;
use crate::watch::wanted::QueueOrder;
use crate::watch::whereabouts::Whereabouts;

use spooled::Spooled;

/// At most so many commits are with the dispatcher at once; the rest waits as ids only.
const WINDOW: usize = 500;

/// The dispatcher's list is filled up when this many of it are done.
const REFILL: usize = 250;

/// Events come in bursts: how long it must be quiet before a look, and for how long a
/// burst can put it off.
const QUIET_PERIOD: Duration = Duration::from_millis(2);
const LONGEST_BURST: Duration = Duration::from_millis(20);

/// Checkpoints move at most this often.
const ADVANCE_INTERVAL: Duration = Duration::from_millis(200);

/// How long to wait after something went wrong that may pass by itself.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The pauses before an ERROR is tried again; after the last it counts as handled.
const RETRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// The display is told of so many commits.
const SHOWN: usize = 40;

/// git may tidy up once so many commits were handled.
const GC_EVERY: u32 = 100;

/// Why watching came to an end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WatchError {
    /// The repository was deleted or moved.
    #[error("watch {}: the repository is not there any more", .0.display())]
    Gone(std::path::PathBuf),
    /// The refs.
    #[error("read the refs")]
    Refs(#[source] RefError),
    /// The checkpoints, before anything was tested.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The history, before anything was tested.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The jobs file.
    #[error(transparent)]
    Jobs(#[from] LoadError),
}

/// How to observe.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Which refs.
    pub patterns: Patterns,
    /// Which commits go first.
    pub order: QueueOrder,
    /// What becomes of running tasks that nobody wants any more.
    pub superseded: Superseded,
    /// Look this often, and do without events.
    pub poll: Option<Duration>,
    /// End when nothing is left.
    pub until_idle: bool,
    /// Look once, try each task once, and end.
    pub once: bool,
    /// Begin behind this commit, whatever was seen before.
    pub since: Option<Oid>,
    /// A first fetch is under way: until it is done there may be more to come.
    pub fetching: Option<Arc<AtomicBool>>,
    /// Who is told of commits that are done.
    pub on_result: Option<OnResult>,
}

impl Options {
    /// What the end of a task without a verdict means.
    pub(crate) fn on_error(&self) -> OnError {
        if self.once {
            // It stays in the way of the checkpoint, for the next time.
            OnError::Leave
        } else {
            OnError::Retry(&RETRIES)
        }
    }
}

/// To the observer.
enum Message {
    /// Something may have changed.
    Hint,
    /// The engine is done with a commit.
    Done(Box<CommitDone>),
    /// Another process wants tasks cancelled.
    Cancel(Request, Sender<Reply>),
    /// The run is over.
    Over,
}

/// The channel to an observer, made before it.
pub(crate) struct Inbox {
    sender: Sender<Message>,
    receiver: Receiver<Message>,
}

impl Default for Inbox {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel();
        Self { sender, receiver }
    }
}

impl Inbox {
    /// What the engine tells of commits that are done.
    pub(crate) fn on_done(&self) -> impl Fn(CommitDone) + 'static {
        let sender = self.sender.clone();
        move |done| {
            // An observer that ended needs no telling.
            let _ = sender.send(Message::Done(Box::new(done)));
        }
    }

    /// Answers the requests of other processes. What they cancel may not be with the
    /// dispatcher yet, so the observer comes first there.
    pub(crate) fn answers(&self, feed: Feed) -> impl Fn(Request) -> Option<Reply> + Send + 'static {
        let sender = self.sender.clone();
        move |request| match request {
            Request::State => feed.answer(request),
            Request::Cancel { .. } => {
                let (reply, answer) = mpsc::channel();
                sender.send(Message::Cancel(request, reply)).ok()?;
                answer.recv().ok()
            }
        }
    }

    /// What wakes the observer.
    pub(crate) fn bell(&self) -> impl Fn() + Send + Sync + Clone + 'static {
        let sender = self.sender.clone();
        move || {
            // An observer that ended needs no waking.
            let _ = sender.send(Message::Hint);
        }
    }

    /// What tells the observer that the run is over.
    pub(crate) fn end(&self) -> impl FnOnce() + 'static {
        let sender = self.sender.clone();
        move || {
            let _ = sender.send(Message::Over);
        }
    }
}

/// What an observer leaves behind.
#[derive(Debug)]
pub(crate) struct Observed {
    /// The tips that it saw last.
    pub tips: BTreeMap<RefName, Oid>,
    /// What it read in the spool last.
    pub spooled: Vec<Entry>,
}

/// A commit as the display is told of it.
#[derive(Clone)]
struct Seen {
    commit: Arc<Commit>,
    jobs: Vec<JobName>,
    /// Those of the jobs that were cancelled on request.
    cancelled: Vec<JobName>,
}

/// Sees what is new, says what is wanted, moves checkpoints.
pub(crate) struct Observer<'a> {
    repo: &'a Repo,
    options: Options,
    inbox: Inbox,
    feed: Feed,
    jobs: WatchJobs<'a>,
    refs: RefReader<'a>,
    history: History,
    checkpoints: Checkpoints<'a>,
    notice: Notice,
    /// Device and inode of the git directory.
    place: (u64, u64),

    tips: Tips,
    backlog: Backlog,
    pace: Pace,
    /// What hooks left.
    spooled: Spooled,
    /// What was sent to the dispatcher last, in order.
    sent: Vec<Wanted>,
    /// So many commits are sent at once.
    window: usize,
    /// The latest commits that were handled, for the display.
    recent: VecDeque<Seen>,
    /// What is checked out in this work tree.
    head: Option<Oid>,
    /// Nothing more will be wanted.
    closed: bool,
}

/// Where the watched refs are.
#[derive(Default)]
struct Tips {
    /// The watched refs and the commits they are at.
    at: BTreeMap<RefName, Oid>,
    /// When each ref was last seen to move: the number of the look.
    moved: HashMap<RefName, u64>,
    /// Where those were at the last look for which jobs ask.
    asked_for: HashMap<RefName, Oid>,
    /// The number of the last look.
    look: u64,
    /// What refs name and nobody can read.
    broken: HashSet<Oid>,
    /// Where history ended too early, and that was said.
    ends: HashSet<Oid>,
}

/// What is new, and what of it is done.
#[derive(Default)]
struct Backlog {
    graph: Graph,
    /// Commits that are wanted whatever has been seen: where watching began. Sorted.
    forced: Vec<Oid>,
    /// What is wanted, in order; handled ones included.
    order: Vec<Oid>,
    handled: HashSet<Oid>,
    /// Commits that the engine left without a verdict, for the next time.
    left: HashSet<Oid>,
}

/// What is due, and when.
struct Pace {
    /// A look is due.
    stale: bool,
    /// What the last look saw has not been worked on yet.
    unseen: bool,
    looked: Instant,
    /// How long that took.
    took: Duration,
    /// Checkpoints may be able to move.
    dirty: bool,
    advanced: Option<Instant>,
    /// Not before this, after something went wrong.
    pause: Option<Instant>,
    /// What went wrong last, which is said once.
    complaint: Option<String>,
    /// How many commits were handled since git could tidy up.
    since_gc: u32,
}

impl Pace {
    fn new() -> Self {
        Self {
            stale: true,
            unseen: true,
            looked: Instant::now(),
            took: Duration::ZERO,
            dirty: false,
            advanced: None,
            pause: None,
            complaint: None,
            since_gc: 0,
        }
    }

    fn is_paused(&self) -> bool {
        self.pause.is_some_and(|until| Instant::now() < until)
    }
}

impl<'a> Observer<'a> {
    /// Prepares to observe: reads the checkpoints, and marks the beginning where nobody
    /// has watched before.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub(crate) fn new(
        repo: &'a Repo,
        options: Options,
        jobs: WatchJobs<'a>,
        inbox: Inbox,
        feed: Feed,
    ) -> Result<Self, WatchError> {
        let gone = |_| WatchError::Gone(repo.common_dir().to_owned());
        let meta = fs::metadata(repo.common_dir()).map_err(gone)?;
        let mut observer = Self {
            repo,
            inbox,
            feed,
            refs: RefReader::new(repo),
            history: History::new(repo),
            checkpoints: Checkpoints::load(repo)?,
            notice: Notice::polling(places(repo, &options, &jobs)),
            jobs,
            options,
            place: (meta.dev(), meta.ino()),
            tips: Tips::default(),
            backlog: Backlog::default(),
            pace: Pace::new(),
            spooled: Spooled::default(),
            sent: Vec::new(),
            window: WINDOW,
            recent: VecDeque::new(),
            head: None,
            closed: false,
        };
        observer.begin()?;
        Ok(observer)
    }

    /// Observes until the run is over.
    ///
    /// # Errors
    /// Where the repository went away; the run was told to end then.
    pub(crate) fn run(mut self) -> Result<Observed, WatchError> {
        let outcome = self.observe();
        if outcome.is_err() {
            // Nothing is wanted any more, and nothing will be.
            self.feed.want(Vec::new(), 0, Superseded::End);
            self.feed.close();
        }
        outcome.map(|()| Observed {
            tips: self.tips.at,
            spooled: self.spooled.entries,
        })
    }

    fn observe(&mut self) -> Result<(), WatchError> {
        // Without it the slow look finds out.
        let common_dir = self.repo.common_dir();
        let _whereabouts = Whereabouts::watch(common_dir, self.inbox.bell()).ok();
        if !self.options.once {
            self.start_notice();
        }
        let names = self.tips.at.keys();
        for pattern in self.options.patterns.idle(names) {
            self.warn(format!("nothing matches {pattern} yet"));
        }
        let watched = self.options.patterns.describe().join(", ");
        self.note(format!("watching {watched}"));
        loop {
            self.look_around()?;
            if self.pace.dirty && self.may_advance() {
                self.advance()?;
            }
            self.close_when_idle()?;
            match self.inbox.receiver.recv_timeout(self.timeout()) {
                Ok(Message::Over) => break,
                Ok(message) => self.handle(message),
                Err(RecvTimeoutError::Timeout) => {
                    self.pace.stale |= self.pace.looked.elapsed() >= self.interval()
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.drain() {
                break;
            }
        }
        // Whatever was stored last may let a checkpoint move.
        while let Ok(message) = self.inbox.receiver.try_recv() {
            self.handle(message);
        }
        self.pace.pause = None;
        if self.pace.dirty {
            self.advance()?;
        }
        Ok(())
    }

    /// Takes what has come meanwhile; waits for the end of a burst of hints. Whether the
    /// run is over.
    fn drain(&mut self) -> bool {
        let begun = Instant::now();
        loop {
            let wait = if self.pace.stale && begun.elapsed() < LONGEST_BURST {
                QUIET_PERIOD
            } else {
                Duration::ZERO
            };
            match self.inbox.receiver.recv_timeout(wait) {
                Ok(Message::Over) => return true,
                Ok(message) => self.handle(message),
                Err(_) => return false,
            }
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Hint => self.pace.stale = true,
            Message::Done(done) => self.handle_done(*done),
            Message::Cancel(request, to) => self.cancel(request, to),
            Message::Over => {}
        }
    }

    /// How long to wait for a message at most.
    fn timeout(&self) -> Duration {
        let pace = &self.pace;
        let now = Instant::now();
        let mut wait = self.interval().saturating_sub(pace.looked.elapsed());
        let mut until = |at: Instant| wait = wait.min(at.saturating_duration_since(now));
        if let Some(pause) = pace.pause.filter(|_| pace.stale || pace.dirty) {
            until(pause);
        } else if pace.dirty {
            until(pace.advanced.map_or(now, |at| at + ADVANCE_INTERVAL));
        }
        wait
    }

    /// How often to look.
    fn interval(&self) -> Duration {
        match (self.options.poll, self.notice.has_events()) {
            (Some(poll), _) => poll,
            (None, true) => notice::BACKSTOP,
            (None, false) => notice::POLL,
        }
    }

    fn start_notice(&mut self) {
        if self.options.poll.is_some() {
            return;
        }
        let places = places(self.repo, &self.options, &self.jobs);
        // Whatever cannot be made is polled for.
        let _ = private::dir_in(places.spool.parent().unwrap_or(&places.spool), "spool");
        match Notice::start(places, self.inbox.bell()) {
            Ok(notice) => self.notice = notice,
            Err(error) => self.say_polling(&error),
        }
    }

    fn say_polling(&self, error: &notify::Error) {
        self.warn(format!(
            "no events from the file system ({error}): looking every {} s instead",
            notice::POLL.as_secs()
        ));
    }

    fn note(&self, message: String) {
        self.feed.tell(Event::Note { message });
    }

    fn warn(&self, message: String) {
        self.feed.tell(Event::Warning { message });
    }

    /// Says once what goes wrong, and has it tried again in a moment.
    fn complain(&mut self, error: &dyn std::error::Error) {
        self.pace.pause = Some(Instant::now() + RETRY_PAUSE);
        self.pace.stale = true;
        let text = describe(error);
        if self.pace.complaint.as_ref() != Some(&text) {
            self.warn(format!("{text}; trying again"));
            self.pace.complaint = Some(text);
        }
    }
}

/// An error with its causes, on one line.
fn describe(error: &dyn std::error::Error) -> String {
    format!("failed to {}", with_causes(error))
}

/// The watched refs and the commits they are at, as of now.
///
/// # Errors
/// Where refs cannot be read.
pub(crate) fn tips(repo: &Repo, patterns: &Patterns) -> Result<BTreeMap<RefName, Oid>, WatchError> {
    let refs = RefReader::new(repo).read(&patterns.wanted());
    let mut history = History::new(repo);
    let mut tips = BTreeMap::new();
    for (name, id) in refs.map_err(WatchError::Refs)? {
        if patterns.matches(&name)
            // What cannot be read is left out, as an observer does.
            && let Ok(Some(commit)) = history.peel(&id)
        {
            tips.insert(name, commit);
        }
    }
    Ok(tips)
}

fn places(repo: &Repo, options: &Options, jobs: &WatchJobs<'_>) -> WatchedPaths {
    let wanted = options.patterns.wanted();
    let dirs = wanted.dirs.iter().map(|dir| OsStr::from_bytes(dir));
    // What is checked out is a branch, most of the time.
    let heads = wanted.head.then_some(OsStr::new("refs/heads/"));
    WatchedPaths {
        common_dir: repo.common_dir().to_owned(),
        head_dir: wanted.head.then(|| repo.git_dir().to_owned()),
        refs: dirs
            .chain(heads)
            .map(|dir| repo.common_dir().join(dir))
            .collect(),
        spool: repo.ci_dir().join("spool"),
        jobs_file: jobs.path(),
    }
}
