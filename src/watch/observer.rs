//! The observer's loop: hints, results and requests come in over one channel; lists of
//! what is wanted, and moved checkpoints, go out.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use crate::config::LoadError;
use crate::engine::{Feed, Superseded, Wanted};
use crate::fail;
use crate::git::{
    CheckpointError, Checkpoints, Graph, History, HistoryError, Move, RefError, RefReader, Repo,
    care,
};
use crate::model::{Commit, DefId, Event, JobName, Oid, Status, WatchedCommit};
use crate::plan::PlannedJob;

use super::control::{self, Listener, Reply, Request, RunningTask, State, WaitingTask};
use super::ear::Ear;
use super::jobs::{Change, WatchJobs};
use super::lease::Observer as Holder;
use super::notice::{self, Notice, Places};
use super::result::{CommitResult, OnResult, TaskResult, worst};
use super::tips::{Patterns, short_name};
use super::wanted::{self, Order};

/// At most so many commits are with the dispatcher at once; the rest waits as ids only.
const WINDOW: usize = 500;

/// The dispatcher's list is filled up when this many of it are done.
const REFILL: usize = 250;

/// Events come in swarms: how long it must be quiet before a look, and for how long a
/// swarm can put it off.
const QUIET: Duration = Duration::from_millis(2);
const SWARM: Duration = Duration::from_millis(20);

/// Checkpoints move at most this often.
const ADVANCE: Duration = Duration::from_millis(200);

/// After something went wrong that may pass by itself.
const AGAIN: Duration = Duration::from_secs(1);

/// The pauses before an ERROR is tried again; after the last it counts as handled.
const RETRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// The display is told of so many commits.
const SHOWN: usize = 40;

/// git may tidy up once so many commits were handled.
const CARE: u32 = 100;

/// Why watching came to an end.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
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
pub struct Options {
    /// Which refs.
    pub patterns: Patterns,
    /// Which commits go first.
    pub order: Order,
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
    /// Who this is.
    pub holder: Holder,
    /// A first fetch is under way: until it is done there may be more to come.
    pub fetching: Option<Arc<AtomicBool>>,
    /// Who is told of commits that are done.
    pub on_result: Option<OnResult>,
}

/// To the observer.
pub(super) enum Message {
    /// Something may have changed.
    Hint,
    /// The dispatcher reports.
    Happened(Box<Event>),
    /// Another process asks.
    Ask(Request, Sender<Reply>),
    /// The run is over.
    Over,
}

/// The channel to an observer, made before it.
pub struct Inbox {
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
    /// The reporter through which the dispatcher is heard.
    pub fn ear(&self) -> Ear {
        Ear(self.sender.clone())
    }

    /// What wakes the observer.
    pub fn bell(&self) -> impl Fn() + Send + Sync + Clone + 'static {
        let sender = self.sender.clone();
        move || {
            // An observer that ended needs no waking.
            let _ = sender.send(Message::Hint);
        }
    }

    /// What tells the observer that the run is over.
    pub fn end(&self) -> impl FnOnce() + 'static {
        let sender = self.sender.clone();
        move || {
            let _ = sender.send(Message::Over);
        }
    }
}

/// A commit that the dispatcher has, or had.
struct Offered {
    commit: Arc<Commit>,
    jobs: Arc<[PlannedJob]>,
    done: HashSet<(JobName, DefId)>,
    results: Vec<TaskResult>,
}

/// A task whose last try ended without a verdict.
struct Errored {
    tries: usize,
    /// When to try again; `None` while it is being tried.
    due: Option<Instant>,
}

/// Sees what is new, says what is wanted, moves checkpoints.
pub struct Observer<'a> {
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

    /// The watched refs and the commits they are at.
    tips: BTreeMap<String, Oid>,
    /// When each ref was last seen to move: the number of the look.
    moved: HashMap<String, u64>,
    look: u64,
    looked: Instant,
    /// How long that took.
    took: Duration,
    /// What the last look saw has not been worked on yet.
    first: bool,
    graph: Graph,
    /// Commits that are wanted whatever has been seen: where watching began.
    forced: Vec<Oid>,
    /// What is wanted, in order; handled ones included.
    order: Vec<Oid>,
    handled: HashSet<Oid>,
    offered: HashMap<Oid, Offered>,
    /// What was sent to the dispatcher last.
    sent: Vec<Oid>,
    errored: HashMap<(Oid, JobName), Errored>,
    /// Dropped on request.
    dropped: HashSet<(Oid, JobName)>,
    running: HashMap<(Oid, JobName), Instant>,
    /// The latest commits that were handled, for the display.
    recent: VecDeque<(Arc<Commit>, Vec<JobName>)>,

    /// A look is due.
    stale: bool,
    /// Checkpoints may be able to move.
    dirty: bool,
    advanced: Option<Instant>,
    /// Not before this, after something went wrong.
    pause: Option<Instant>,
    complaint: Option<String>,
    since_care: u32,
    closed: bool,
}

impl<'a> Observer<'a> {
    /// Prepares to observe: reads the checkpoints, and marks the beginning where nobody
    /// has watched before.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub fn new(
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
            tips: BTreeMap::new(),
            moved: HashMap::new(),
            look: 0,
            looked: Instant::now(),
            took: Duration::ZERO,
            first: true,
            graph: Graph::default(),
            forced: Vec::new(),
            order: Vec::new(),
            handled: HashSet::new(),
            offered: HashMap::new(),
            sent: Vec::new(),
            errored: HashMap::new(),
            dropped: HashSet::new(),
            running: HashMap::new(),
            recent: VecDeque::new(),
            stale: true,
            dirty: false,
            advanced: None,
            pause: None,
            complaint: None,
            since_care: 0,
            closed: false,
        };
        observer.begin()?;
        Ok(observer)
    }

    /// Marks where watching begins.
    fn begin(&mut self) -> Result<(), WatchError> {
        self.read_tips()?;
        if let Some(since) = self.options.since {
            let known: Vec<_> = self.checkpoints.names().cloned().collect();
            self.checkpoints.forget(&known)?;
            self.checkpoints.begin(BTreeMap::new())?;
            let names = self.tips.keys().cloned();
            let moves: Vec<_> = names.map(|name| Move { name, to: since }).collect();
            self.checkpoints.advance(&moves)?;
        } else if self.checkpoints.is_first() {
            self.checkpoints.begin(self.tips.clone())?;
        }
        Ok(())
    }

    /// Observes until the run is over; returns the tips that it saw last.
    ///
    /// # Errors
    /// Where the repository went away; the run was told to end then.
    pub fn run(mut self) -> Result<BTreeMap<String, Oid>, WatchError> {
        let outcome = self.observe();
        if outcome.is_err() {
            // Nothing is wanted any more, and nothing will be.
            self.feed.want(Vec::new(), Superseded::End);
            self.feed.close();
        }
        outcome.map(|()| self.tips)
    }

    fn observe(&mut self) -> Result<(), WatchError> {
        let _listener = self.listen();
        if !self.options.once {
            self.start_notice();
        }
        let names = self.tips.keys();
        for pattern in self.options.patterns.idle(names) {
            self.warn(format!("nothing matches {pattern} yet"));
        }
        let watched = self.options.patterns.describe().join(", ");
        self.note(format!("watching {watched}"));
        loop {
            self.look_around()?;
            if self.dirty && self.may_advance() {
                self.advance()?;
            }
            self.retry();
            self.close_when_idle()?;
            match self.inbox.receiver.recv_timeout(self.patience()) {
                Ok(Message::Over) => break,
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => {
                    self.stale |= self.looked.elapsed() >= self.interval()
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.drain() {
                break;
            }
        }
        // Whatever was stored last may let a checkpoint move.
        while let Ok(message) = self.inbox.receiver.try_recv() {
            self.take(message);
        }
        self.pause = None;
        if self.dirty {
            self.advance()?;
        }
        Ok(())
    }

    /// Takes what has come meanwhile; waits for the end of a swarm of hints. Whether the
    /// run is over.
    fn drain(&mut self) -> bool {
        let begun = Instant::now();
        loop {
            let wait = match self.stale && begun.elapsed() < SWARM {
                true => QUIET,
                false => Duration::ZERO,
            };
            match self.inbox.receiver.recv_timeout(wait) {
                Ok(Message::Over) => return true,
                Ok(message) => self.take(message),
                Err(_) => return false,
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Hint => self.stale = true,
            Message::Happened(event) => self.happened(*event),
            Message::Ask(request, to) => {
                let reply = match request {
                    Request::State => Reply::State(self.state()),
                    Request::Cancel { commit, job } => self.cancel(commit, job.as_ref()),
                };
                // Whoever asked may be gone.
                let _ = to.send(reply);
            }
            Message::Over => {}
        }
    }

    // ---- what is new ------------------------------------------------------------

    /// Looks at the jobs file and the refs, if that is due, and says what is wanted.
    fn look_around(&mut self) -> Result<(), WatchError> {
        if !self.stale || self.closed || self.pause.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        self.stale = false;
        self.pause = None;
        self.looked = Instant::now();
        self.check_place()?;
        if self.options.once && !self.first {
            return Ok(());
        }
        let moved = match self.read_tips() {
            Ok(moved) => moved,
            Err(error) => {
                self.check_place()?;
                self.complain(&error);
                return Ok(());
            }
        };
        let jobs = self.look_at_jobs(moved);
        if let Err(error) = self.notice.extend() {
            self.say_polling(&error);
        }
        if moved || self.first {
            // Also after a walk that failed.
            self.first = true;
            if let Err(error) = self.walk() {
                self.check_place()?;
                self.complain(&error);
                return Ok(());
            }
            self.dirty = true;
            fail::point("noticed");
        }
        self.complaint = None;
        if self.first || jobs {
            self.first = false;
            self.took = self.looked.elapsed();
            self.publish(jobs);
        }
        Ok(())
    }

    fn check_place(&self) -> Result<(), WatchError> {
        let common = self.repo.common_dir();
        let there = fs::metadata(common).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.place)
            && common.join("HEAD").exists();
        match there {
            true => Ok(()),
            false => Err(WatchError::Gone(common.to_owned())),
        }
    }

    /// Reads the watched refs; whether anything moved.
    fn read_tips(&mut self) -> Result<bool, WatchError> {
        let prefixes = self.options.patterns.prefixes();
        let refs = self.refs.read(&prefixes).map_err(WatchError::Refs)?;
        let mut tips = BTreeMap::new();
        for (name, id) in refs {
            if !self.options.patterns.matches(&name) {
                continue;
            }
            if self.tips.get(&name) == Some(&id) {
                tips.insert(name, id);
                continue;
            }
            // A tag of something else than a commit is nothing to test.
            if let Some(commit) = self.history.peel(&id)? {
                tips.insert(name, commit);
            }
        }
        self.look += 1;
        let mut moved = tips.len() != self.tips.len();
        for (name, id) in &tips {
            if self.tips.get(name) != Some(id) {
                moved = true;
                self.moved.insert(name.clone(), self.look);
            }
        }
        self.moved.retain(|name, _| tips.contains_key(name));
        self.tips = tips;
        Ok(moved)
    }

    fn look_at_jobs(&mut self, moved: bool) -> bool {
        match self.jobs.look(moved) {
            None => return false,
            Some(Change::Jobs(count)) => {
                let jobs = if count == 1 { "job" } else { "jobs" };
                self.note(format!(
                    "the jobs file has changed: {count} {jobs} from now on"
                ));
                return true;
            }
            Some(Change::Mended) => self.note("the jobs file is in order again".to_owned()),
            Some(Change::Broken(error)) => {
                self.warn(format!("the old jobs still count: failed to {error}"));
            }
        }
        false
    }

    /// Finds what the tips reach and the checkpoints do not.
    fn walk(&mut self) -> Result<(), WatchError> {
        let mut seen = self.checkpoints.ids();
        let begun: Vec<_> = self.checkpoints.all_begun().map(|(_, id)| id).collect();
        for id in &begun {
            // A commit that is gone hides nothing.
            if let Ok(parents) = self.history.parents(id) {
                seen.extend(parents.iter().copied());
            }
        }
        let hidden: HashSet<_> = seen.iter().copied().collect();
        let mut tips: Vec<_> = self.tips.values().copied().collect();
        tips.retain(|id| !hidden.contains(id));
        tips.sort_unstable();
        tips.dedup();
        let graph = self.history.unseen(&tips, &seen)?;

        let mut forced = Vec::new();
        for (name, tip) in &self.tips {
            if let Some(begun) = self.checkpoints.begun(name)
                && (begun == *tip || self.history.reaches(tip, &begun)?)
            {
                forced.push(begun);
            }
        }
        forced.sort_unstable();
        forced.dedup();

        let mut by_urgency: Vec<_> = self.tips.iter().collect();
        by_urgency.sort_by_cached_key(|(name, id)| {
            let moved = self.moved.get(*name).copied().unwrap_or(0);
            let time = graph.get(id).map_or(i64::MIN, |commit| commit.time);
            (std::cmp::Reverse((moved, time)), (*name).clone())
        });
        let by_urgency: Vec<_> = by_urgency.into_iter().map(|(_, id)| *id).collect();
        self.order = wanted::order(&graph, &by_urgency, &forced, self.options.order);
        self.graph = graph;
        self.forced = forced;
        let live: HashSet<_> = self.order.iter().copied().collect();
        self.handled.retain(|id| live.contains(id));
        self.offered.retain(|id, _| live.contains(id));
        self.errored.retain(|(id, _), _| live.contains(id));
        self.dropped.retain(|(id, _)| live.contains(id));
        Ok(())
    }

    // ---- what is wanted ---------------------------------------------------------

    /// Tells the dispatcher what is wanted, unless it knows.
    fn publish(&mut self, anew: bool) {
        if self.closed {
            return;
        }
        let tips: HashSet<_> = self.tips.values().copied().collect();
        let order = std::mem::take(&mut self.order);
        let mut list = Vec::new();
        for id in &order {
            if list.len() >= WINDOW {
                break;
            }
            if self.handled.contains(id) {
                continue;
            }
            match self.offer(id, anew) {
                Ok(Some(wanted)) => list.push(Wanted {
                    urgent: tips.contains(id) && self.options.order == Order::Tips,
                    ..wanted
                }),
                Ok(None) => {
                    self.handled.insert(*id);
                    self.dirty = true;
                }
                Err(error) => self.complain(&error),
            }
        }
        self.order = order;
        let sent: Vec<_> = list.iter().map(|wanted| wanted.commit.id).collect();
        if anew || sent != self.sent {
            self.sent = sent;
            self.feed.want(list, self.options.superseded);
        }
        self.show();
    }

    /// A commit with what is left to do on it; `None` where that is nothing.
    ///
    /// # Errors
    /// Where the commit cannot be read.
    fn offer(&mut self, id: &Oid, anew: bool) -> Result<Option<Wanted>, HistoryError> {
        if anew || !self.offered.contains_key(id) {
            let commit = Arc::new(self.history.commit(id)?);
            let jobs = match self.jobs.of(&commit) {
                Ok(jobs) => jobs,
                Err(error) => {
                    self.warn(format!("{} is not tested: failed to {error}", id.short()));
                    return Ok(None);
                }
            };
            let offered = Offered {
                commit,
                jobs,
                done: HashSet::new(),
                results: Vec::new(),
            };
            let before = self.offered.remove(id);
            let done = before.map(|before| before.done).unwrap_or_default();
            self.offered.insert(*id, Offered { done, ..offered });
        }
        let Some(offered) = self.offered.get(id) else {
            return Ok(None);
        };
        let kept = |job: &&PlannedJob| !self.dropped.contains(&(*id, job.job.name.clone()));
        let jobs: Arc<[_]> = offered.jobs.iter().filter(kept).cloned().collect();
        if jobs.is_empty() || offered.is_done(&jobs) {
            return Ok(None);
        }
        Ok(Some(Wanted {
            commit: Arc::clone(&offered.commit),
            jobs,
            urgent: false,
        }))
    }

    /// Tells the display what is watched.
    fn show(&mut self) {
        let mut refs: HashMap<Oid, Vec<String>> = HashMap::new();
        for (name, id) in &self.tips {
            refs.entry(*id)
                .or_default()
                .push(short_name(name).to_owned());
        }
        let offered = self
            .sent
            .iter()
            .filter_map(|id| self.offered.get(id))
            .map(|offered| {
                let names = offered.jobs.iter().map(|job| job.job.name.clone());
                (Arc::clone(&offered.commit), names.collect())
            });
        let mut shown: Vec<(Arc<Commit>, Vec<JobName>)> = offered.collect();
        let waiting: HashSet<_> = self.sent.iter().collect();
        let recent = self
            .recent
            .iter()
            .filter(|(commit, _)| !waiting.contains(&commit.id));
        shown.extend(recent.cloned());
        shown.sort_by_key(|(commit, _)| std::cmp::Reverse(commit.time));
        shown.truncate(SHOWN);
        let commits = shown.into_iter().map(|(commit, jobs)| WatchedCommit {
            commit: commit.id,
            subject: commit.subject.clone(),
            refs: refs.remove(&commit.id).unwrap_or_default(),
            jobs,
        });
        self.feed.tell(Event::Watching {
            commits: commits.collect(),
            took_us: u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX),
        });
    }

    // ---- what came of it --------------------------------------------------------

    fn happened(&mut self, event: Event) {
        let (commit, def, result) = match event {
            Event::TaskStarted { commit, job, .. } => {
                self.running.insert((commit, job), Instant::now());
                return;
            }
            Event::TaskFinished {
                commit,
                job,
                def,
                status,
                why,
                allowed,
                duration,
                log,
                ..
            } => {
                self.running.remove(&(commit, job.clone()));
                let Some(status) = status else { return };
                let duration = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
                let result = TaskResult {
                    job,
                    status,
                    why,
                    allowed,
                    reused: false,
                    duration_ms: Some(duration),
                    log,
                };
                (commit, def, result)
            }
            Event::TaskReused {
                commit,
                job,
                def,
                status,
                why,
                allowed,
                log,
                ..
            } => {
                let result = TaskResult {
                    job,
                    status,
                    why,
                    allowed,
                    reused: true,
                    duration_ms: None,
                    log,
                };
                (commit, def, result)
            }
            _ => return,
        };
        if result.status == Status::Error && self.try_again(commit, &result.job) {
            return;
        }
        let Some(offered) = self.offered.get_mut(&commit) else {
            return;
        };
        offered.done.insert((result.job.clone(), def));
        offered.results.push(result);
        self.settle(commit);
    }

    /// Counts a commit as handled if nothing is left to do on it.
    fn settle(&mut self, id: Oid) {
        let Some(offered) = self.offered.get(&id) else {
            return;
        };
        let left = |job: &&PlannedJob| !self.dropped.contains(&(id, job.job.name.clone()));
        let jobs: Vec<_> = offered.jobs.iter().filter(left).cloned().collect();
        if !offered.is_done(&jobs) || !self.handled.insert(id) {
            return;
        }
        self.dirty = true;
        self.since_care += 1;
        let names = offered
            .jobs
            .iter()
            .map(|job| job.job.name.clone())
            .collect();
        self.recent.push_front((Arc::clone(&offered.commit), names));
        self.recent.truncate(SHOWN);
        self.pass_on(id);
        let done = self
            .sent
            .iter()
            .filter(|id| self.handled.contains(*id))
            .count();
        let all_sent = self.sent.len() < WINDOW;
        if !all_sent && (done >= REFILL || done == self.sent.len()) {
            self.publish(false);
        }
    }

    /// Tells whoever wants to know that a commit is done, unless all of it was known.
    fn pass_on(&mut self, id: Oid) {
        let Some((to, offered)) = self.options.on_result.as_ref().zip(self.offered.get(&id)) else {
            return;
        };
        if offered.results.iter().all(|task| task.reused) {
            return;
        }
        let at = self.tips.iter().filter(|(_, tip)| **tip == id);
        let result = CommitResult {
            commit: id,
            subject: offered.commit.subject.clone(),
            refs: at.map(|(name, _)| name.clone()).collect(),
            status: worst(&offered.results),
            tasks: offered.results.clone(),
        };
        if !to.send(result) {
            let id = id.short();
            self.warn(format!(
                "the command for results is too slow: that of {id} is left out"
            ));
        }
    }

    /// Whether a task without a verdict is going to be tried again.
    fn try_again(&mut self, commit: Oid, job: &JobName) -> bool {
        let key = (commit, job.clone());
        let errored = self.errored.entry(key).or_insert(Errored {
            tries: 0,
            due: None,
        });
        errored.tries += 1;
        if self.options.once {
            // It stays in the way of the checkpoint, for the next time.
            return true;
        }
        let Some(pause) = RETRIES.get(errored.tries - 1) else {
            return false;
        };
        errored.due = Some(Instant::now() + *pause);
        true
    }

    /// Has tasks tried again whose pause is over.
    fn retry(&mut self) {
        let now = Instant::now();
        let mut due = HashSet::new();
        for (key, errored) in &mut self.errored {
            if errored.due.is_some_and(|due| due <= now) {
                errored.due = None;
                due.insert(key.clone());
            }
        }
        if due.is_empty() || self.closed {
            return;
        }
        // What is not wanted for a moment is forgotten, and so may begin again. Its
        // other jobs must not be ended by that.
        let sent = self.sent.clone();
        let mut without = Vec::new();
        for id in &sent {
            if let Ok(Some(mut wanted)) = self.offer(id, false) {
                let kept = |job: &&PlannedJob| !due.contains(&(*id, job.job.name.clone()));
                wanted.jobs = wanted.jobs.iter().filter(kept).cloned().collect();
                without.push(wanted);
            }
        }
        self.feed.want(without, self.options.superseded);
        self.publish(true);
    }

    // ---- checkpoints ------------------------------------------------------------

    fn may_advance(&self) -> bool {
        let all = self.order.iter().all(|id| self.handled.contains(id));
        let rested = all || self.advanced.is_none_or(|at| at.elapsed() >= ADVANCE);
        rested && self.pause.is_none_or(|until| Instant::now() >= until)
    }

    /// Moves every checkpoint as far as it may go.
    fn advance(&mut self) -> Result<(), WatchError> {
        self.dirty = false;
        self.advanced = Some(Instant::now());
        let moves = match self.moves() {
            Ok(moves) => moves,
            Err(error) => {
                self.check_place()?;
                self.complain(&error);
                self.dirty = true;
                return Ok(());
            }
        };
        if !moves.is_empty() {
            fail::point("moving");
            if let Err(error) = self.checkpoints.advance(&moves) {
                self.check_place()?;
                if self.ends() {
                    return Err(error.into());
                }
                self.complain(&error);
                self.dirty = true;
                return Ok(());
            }
            fail::point("moved");
            if let Err(error) = self.walk() {
                self.complain(&error);
                self.stale = true;
            }
        }
        if self.since_care >= CARE && self.running.is_empty() {
            self.since_care = 0;
            care(self.repo);
        }
        Ok(())
    }

    fn moves(&mut self) -> Result<Vec<Move>, HistoryError> {
        let complete = wanted::complete(&self.graph, &self.forced, |id| self.handled.contains(id));
        let mut moves = Vec::new();
        for (name, tip) in &self.tips {
            let now = self.checkpoints.of(name);
            if now == Some(*tip) {
                continue;
            }
            let begun = self.checkpoints.begun(name);
            if begun.is_some_and(|id| self.forced.contains(&id) && !self.handled.contains(&id)) {
                continue;
            }
            let new = self.graph.contains(tip) || self.forced.contains(tip);
            let to = match (new, now) {
                (true, _) => wanted::furthest(&self.graph, &complete, *tip),
                // All of it was seen by way of other refs. A checkpoint never goes
                // back to where it has been.
                (false, Some(now)) => self.history.reaches(tip, &now)?.then_some(*tip),
                (false, None) => Some(*tip),
            };
            if let Some(to) = to.filter(|to| Some(*to) != now) {
                let name = name.clone();
                moves.push(Move { name, to });
            }
        }
        Ok(moves)
    }

    // ---- the end ----------------------------------------------------------------

    fn close_when_idle(&mut self) -> Result<(), WatchError> {
        if self.closed || !self.ends() || !self.is_idle() {
            return Ok(());
        }
        // One more look: what came while the last task ran is not left behind.
        self.stale = true;
        self.look_around()?;
        if self.is_idle() {
            self.closed = true;
            self.feed.close();
        }
        Ok(())
    }

    /// Whether this is to end by itself.
    fn ends(&self) -> bool {
        self.options.until_idle || self.options.once
    }

    fn is_idle(&self) -> bool {
        let waits = |id: &Oid| !self.handled.contains(id) && !self.gave_up(id);
        let fetching = self.options.fetching.as_ref();
        let fetching = fetching.is_some_and(|first| first.load(Ordering::Acquire));
        !self.stale && !self.dirty && !fetching && !self.order.iter().any(waits)
    }

    /// Whether all that is left of a commit ended without a verdict, and is not tried again.
    fn gave_up(&self, id: &Oid) -> bool {
        let Some(offered) = self.offered.get(id).filter(|_| self.options.once) else {
            return false;
        };
        offered
            .jobs
            .iter()
            .all(|job| offered.has(job) || self.errored.contains_key(&(*id, job.job.name.clone())))
    }

    // ---- requests ---------------------------------------------------------------

    fn listen(&self) -> Option<Listener> {
        let to = self.inbox.sender.clone();
        let listener = Listener::start(&self.repo.ci_dir(), move |request| {
            let (reply, answer) = mpsc::channel();
            to.send(Message::Ask(request, reply)).ok()?;
            answer.recv().ok()
        });
        match listener {
            Ok(listener) => Some(listener),
            Err(error) => {
                self.warn(format!(
                    "`git ci status` and `git ci cancel` will not reach this process: {error}"
                ));
                None
            }
        }
    }

    fn state(&self) -> State {
        let running = self
            .running
            .iter()
            .map(|((commit, job), since)| RunningTask {
                commit: *commit,
                job: job.clone(),
                elapsed_ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
            });
        let mut state = State {
            observer: self.options.holder.clone(),
            running: running.collect(),
            waiting: Vec::new(),
            waiting_count: 0,
        };
        state
            .running
            .sort_by_key(|task| std::cmp::Reverse(task.elapsed_ms));
        for id in &self.order {
            if self.handled.contains(id) {
                continue;
            }
            let Some(offered) = self.offered.get(id) else {
                // Not looked into yet: as many jobs as other commits have.
                state.waiting_count += 1;
                continue;
            };
            for job in offered.jobs.iter() {
                let key = (*id, job.job.name.clone());
                if offered.has(job)
                    || self.running.contains_key(&key)
                    || self.dropped.contains(&key)
                {
                    continue;
                }
                state.waiting_count += 1;
                if state.waiting.len() < control::MOST_WAITING {
                    let (commit, job) = key;
                    state.waiting.push(WaitingTask { commit, job });
                }
            }
        }
        state
    }

    /// Drops tasks, those that run included.
    fn cancel(&mut self, commit: Option<Oid>, job: Option<&JobName>) -> Reply {
        let (mut running, mut waiting) = (0, 0);
        let mut touched = Vec::new();
        for id in self.order.clone() {
            if self.handled.contains(&id) || commit.is_some_and(|commit| commit != id) {
                continue;
            }
            // One that is far back in the queue has not been looked into.
            let _ = self.offer(&id, false);
            let Some(offered) = self.offered.get(&id) else {
                continue;
            };
            for planned in offered.jobs.iter() {
                let name = &planned.job.name;
                let key = (id, name.clone());
                if offered.has(planned) || job.is_some_and(|job| job != name) {
                    continue;
                }
                if self.dropped.insert(key.clone()) {
                    match self.running.contains_key(&key) {
                        true => running += 1,
                        false => waiting += 1,
                    }
                }
            }
            touched.push(id);
        }
        for id in touched {
            self.settle(id);
        }
        let superseded = self.options.superseded;
        self.options.superseded = Superseded::End;
        self.publish(true);
        self.options.superseded = superseded;
        Reply::Cancelled { running, waiting }
    }

    // ---- time and talk ----------------------------------------------------------

    fn patience(&self) -> Duration {
        let now = Instant::now();
        let mut wait = self.interval().saturating_sub(self.looked.elapsed());
        let mut until = |at: Instant| wait = wait.min(at.saturating_duration_since(now));
        self.errored
            .values()
            .filter_map(|one| one.due)
            .for_each(&mut until);
        if let Some(pause) = self.pause.filter(|_| self.stale || self.dirty) {
            until(pause);
        } else if self.dirty {
            until(self.advanced.map_or(now, |at| at + ADVANCE));
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
        let _ = fs::create_dir_all(&places.spool);
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
        self.pause = Some(Instant::now() + AGAIN);
        self.stale = true;
        let mut text = format!("failed to {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            text += &format!(": {error}");
            cause = error.source();
        }
        if self.complaint.as_ref() != Some(&text) {
            self.warn(format!("{text}; trying again"));
            self.complaint = Some(text);
        }
    }
}

impl Offered {
    fn has(&self, job: &PlannedJob) -> bool {
        self.done.contains(&(job.job.name.clone(), job.def.clone()))
    }

    fn is_done(&self, jobs: &[PlannedJob]) -> bool {
        jobs.iter().all(|job| self.has(job))
    }
}

/// The watched refs and the commits they are at, as of now.
///
/// # Errors
/// Where refs or commits cannot be read.
pub fn tips(repo: &Repo, patterns: &Patterns) -> Result<BTreeMap<String, Oid>, WatchError> {
    let refs = RefReader::new(repo).read(&patterns.prefixes());
    let mut history = History::new(repo);
    let mut tips = BTreeMap::new();
    for (name, id) in refs.map_err(WatchError::Refs)? {
        if patterns.matches(&name)
            && let Some(commit) = history.peel(&id)?
        {
            tips.insert(name, commit);
        }
    }
    Ok(tips)
}

fn places(repo: &Repo, options: &Options, jobs: &WatchJobs<'_>) -> Places {
    let refs = options.patterns.prefixes().into_iter();
    Places {
        common_dir: repo.common_dir().to_owned(),
        refs: refs.map(|dir| repo.common_dir().join(dir)).collect(),
        spool: repo.ci_dir().join("spool"),
        jobs_file: jobs.path(),
    }
}
