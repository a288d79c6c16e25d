//! The pool of slots: reusable worktrees, each with its lock, leased for one task at a time.
//!
//! A slot is locked by `flock` on its file below `<ci>/slots/`, so death gives it back.
//! The file says who has the lock and what became of the worktree; what was not
//! released cleanly is not trusted. All git-ci processes on a repository share the
//! slots. Whoever finds none takes the ticket, and the next free slot is theirs, so that
//! a run with a task every few milliseconds cannot starve another.

mod reclaim;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::git::{Checkout, CheckoutError, Past, Repo, Templates};
use crate::model::{Clean, JobName, LogId, Oid};
use crate::private;
use crate::process;

pub use crate::git::MARK;
pub use reclaim::{IdleSlot, remove_tree, slots_on_disk, stale_pins, tidy, tree_size};

/// How long orphans of a dead run may take to end.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait for a moment without new tasks.
const STANDSTILL_PATIENCE: Duration = Duration::from_secs(2);

/// Why there is no worktree.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// A slot's lock file.
    #[error("lock slot {slot}")]
    Lock {
        /// The slot.
        slot: u32,
        /// Why.
        source: io::Error,
    },
    /// The place for its worktree.
    #[error("use slot {slot}")]
    Place {
        /// The slot.
        slot: u32,
        /// Why not.
        source: io::Error,
    },
    /// Processes of an earlier task are still there.
    #[error("end what an earlier task left running in slot {slot}")]
    Stragglers {
        /// The slot.
        slot: u32,
        /// Why.
        source: io::Error,
    },
    /// The worktree.
    #[error(transparent)]
    Checkout(#[from] CheckoutError),
    /// A dead run's agents are still ending their jobs.
    #[error("wait for the jobs of an earlier run to end")]
    Orphans(#[source] io::Error),
}

/// Who has a slot, and for what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process that holds the lock.
    pub pid: u32,
    /// The process that it works for.
    pub dispatcher: u32,
    /// When the dispatcher was started, in clock ticks since boot: with the id, it names a process for good.
    pub dispatcher_started: u64,
    /// The commit.
    pub commit: Oid,
    /// The job.
    pub job: JobName,
    /// Since when, in seconds since the epoch.
    pub since: u64,
    /// The task's log: readable while the task runs.
    #[serde(default)]
    pub log: Option<LogId>,
}

impl Holder {
    /// This process, working for `dispatcher`.
    pub fn new(dispatcher: u32, commit: Oid, job: &JobName, log: LogId) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            pid: std::process::id(),
            dispatcher,
            dispatcher_started: process::start_time(dispatcher).unwrap_or(0),
            commit,
            job: job.clone(),
            since: now.unwrap_or_default().as_secs(),
            log: Some(log),
        }
    }

    /// Whether the process it works for is still there.
    fn dispatcher_lives(&self) -> bool {
        process::start_time(self.dispatcher) == Some(self.dispatcher_started)
    }
}

/// What a slot's lock file says.
#[derive(Debug, Default, Serialize, Deserialize)]
struct SlotState {
    /// Changes with every lease, so that a process can tell whether another had the slot.
    token: u64,
    /// The last lease ended with nothing of its task left.
    clean: bool,
    /// The commit that the worktree was last brought to.
    commit: Option<Oid>,
    /// Who has it, while somebody has.
    holder: Option<Holder>,
    /// What was in the worktree a moment ago.
    #[serde(default)]
    past: Past,
}

impl SlotState {
    fn read(file: &mut File) -> Option<Self> {
        let mut text = String::new();
        file.rewind().ok()?;
        file.read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    fn write(&self, file: &mut File) -> io::Result<()> {
        let mut text = serde_json::to_vec(self)?;
        text.push(b'\n');
        file.rewind()?;
        file.set_len(0)?;
        file.write_all(&text)
    }
}

/// The slots of a repository, as one process uses them.
pub struct Pool<'a> {
    repo: &'a Repo,
    ci_dir: PathBuf,
    locks: PathBuf,
    root: PathBuf,
    slots: u32,
    /// What slots are made from.
    templates: Rc<Templates>,
    /// Worktrees that this process has brought somewhere, with the token of that lease.
    kept: HashMap<u32, (u64, Checkout<'a>)>,
    last: Option<u32>,
    ticket: Option<File>,
}

/// The right to use a slot, until released or dropped.
pub struct Lease<'p, 'a> {
    pool: &'p mut Pool<'a>,
    slot: u32,
    file: File,
    state: SlotState,
    checkout: Checkout<'a>,
}

impl<'a> Pool<'a> {
    /// The pool of `slots` worktrees below `root`.
    pub fn new(repo: &'a Repo, root: PathBuf, slots: u32) -> Self {
        Self {
            repo,
            ci_dir: repo.ci_dir(),
            locks: locks(&repo.ci_dir()),
            root,
            slots,
            templates: Templates::new(),
            kept: HashMap::new(),
            last: None,
            ticket: None,
        }
    }

    /// Takes a slot if one is free: the one that is at `near` already, else the one
    /// this process had last, else the first. `None` where there is none: the caller
    /// holds the ticket then, if nobody else does, and should try again soon.
    ///
    /// # Errors
    /// Where locks cannot be made, or what ran in the slot before cannot be ended.
    pub fn try_lease(
        &mut self,
        near: &Oid,
        holder: &Holder,
    ) -> Result<Option<Lease<'_, 'a>>, LeaseError> {
        let lock = |slot, source| LeaseError::Lock { slot, source };
        if self.ticket.is_none() {
            private::dir_in(&self.ci_dir, "slots").map_err(|error| lock(0, error))?;
            self.ticket = try_lock(&self.locks.join("ticket")).map_err(|error| lock(0, error))?;
            if self.ticket.is_none() {
                return Ok(None);
            }
        }
        let Some((slot, mut file, old)) = self.pick(near)? else {
            return Ok(None);
        };
        // Until the file says who has the slot: see `standstill`.
        let _ticket = self.ticket.take();

        let path = self.root.join(format!("slot-{slot}"));
        private::make_private_dir(&self.root)
            .and_then(|()| private::check_own_dir(&path))
            .map_err(|source| LeaseError::Place { slot, source })?;
        let kept = self.kept.remove(&slot);
        let old = old.unwrap_or_default();
        if !old.clean && old.token > 0 {
            process::kill_marked(MARK, &path)
                .map_err(|source| LeaseError::Stragglers { slot, source })?;
        }
        let checkout = match kept {
            Some((token, checkout)) if token == old.token && old.clean => checkout,
            _ => {
                // What became of it after an unclean end is anybody's guess.
                let past = if old.clean { old.past } else { Past::unknown() };
                Checkout::new(self.repo, &self.templates, path, past)
            }
        };
        let state = SlotState {
            token: old.token.wrapping_add(1),
            clean: false,
            commit: None,
            holder: Some(holder.clone()),
            past: Past::default(),
        };
        state.write(&mut file).map_err(|error| lock(slot, error))?;
        Ok(Some(Lease {
            pool: self,
            slot,
            file,
            state,
            checkout,
        }))
    }

    /// Locks the best free slot.
    fn pick(&self, near: &Oid) -> Result<Option<(u32, File, Option<SlotState>)>, LeaseError> {
        let mut best: Option<(u32, File, Option<SlotState>)> = None;
        let first = self.last.into_iter().filter(|&last| last <= self.slots);
        let order = first.chain((1..=self.slots).filter(|slot| Some(*slot) != self.last));
        for slot in order {
            let path = slot_lock(&self.locks, slot);
            let locked = try_lock(&path).map_err(|source| LeaseError::Lock { slot, source })?;
            let Some(mut file) = locked else { continue };
            let state = SlotState::read(&mut file);
            let exact = state
                .as_ref()
                .is_some_and(|state| state.commit == Some(*near));
            if exact || best.is_none() {
                best = Some((slot, file, state));
            }
            if exact {
                break;
            }
        }
        Ok(best)
    }
}

impl Lease<'_, '_> {
    /// The slot's number, from 1.
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// Its worktree.
    pub fn path(&self) -> &Path {
        self.checkout.path()
    }

    /// Brings the worktree to a commit, cleaned as asked.
    ///
    /// # Errors
    /// Those of [`Checkout::move_to`].
    pub fn move_to(&mut self, commit: &Oid, clean: Clean) -> Result<(), CheckoutError> {
        self.checkout.move_to(commit, clean)?;
        self.state.commit = Some(*commit);
        Ok(())
    }

    /// Looks at what the task did, once nothing of it is running any more; returns how many
    /// tracked files it changed or removed, where that can be said.
    pub fn look(&mut self) -> Option<u64> {
        self.checkout.look()
    }

    /// Whether what a job said is about the commit and not about the machine; `failed` is
    /// what it said.
    ///
    /// # Errors
    /// Those of [`Checkout::verify`].
    pub fn verify(&self, commit: &Oid, failed: bool) -> Result<(), CheckoutError> {
        self.checkout.verify(commit, failed)
    }

    /// Gives the slot back; nothing of the task may be running any more.
    pub fn release(mut self) {
        self.state.past = self.checkout.past().clone();
        self.checkout.release();
        self.state.clean = true;
        self.state.holder = None;
        // Where this cannot be written the slot counts as left in disorder, which is
        // slower next time and nothing worse.
        if self.state.write(&mut self.file).is_ok() {
            self.pool.last = Some(self.slot);
            self.pool
                .kept
                .insert(self.slot, (self.state.token, self.checkout));
        }
    }
}

/// What runs now, in all processes that use the repository's slots.
pub fn holders(ci_dir: &Path) -> Vec<(u32, Holder)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(locks(ci_dir)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix("slot-")?.strip_suffix(".lock"));
        let Some(slot) = number.and_then(|number| number.parse().ok()) else {
            continue;
        };
        // Held by nobody: whatever it says is of the past.
        if let Ok(mut file) = File::open(entry.path())
            && is_held(&file)
            && let Some(holder) = SlotState::read(&mut file).and_then(|state| state.holder)
        {
            found.push((slot, holder));
        }
    }
    found.sort_by_key(|(slot, _)| *slot);
    found
}

/// Nobody can lease a slot until this is dropped.
#[derive(Debug)]
pub struct Standstill {
    _ticket: File,
    /// Who has a slot meanwhile.
    pub holders: Vec<(u32, Holder)>,
}

/// Keeps new tasks from beginning, for the moment that it takes to move something out of
/// their way; `None` where somebody is waiting for a slot and keeps the ticket.
///
/// # Errors
/// Where locks cannot be made.
pub fn standstill(ci_dir: &Path) -> io::Result<Option<Standstill>> {
    let locks = private::dir_in(ci_dir, "slots")?;
    let start = Instant::now();
    loop {
        if let Some(ticket) = try_lock(&locks.join("ticket"))? {
            return Ok(Some(Standstill {
                _ticket: ticket,
                holders: holders(ci_dir),
            }));
        }
        if start.elapsed() > STANDSTILL_PATIENCE {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until no agent of a dead dispatcher is still ending its jobs, so that nothing
/// is started beside what is about to be killed.
///
/// # Errors
/// Where that takes longer than half a minute.
pub fn wait_for_orphans(ci_dir: &Path) -> Result<(), LeaseError> {
    let start = Instant::now();
    loop {
        let orphan = holders(ci_dir)
            .into_iter()
            .find(|(_, holder)| !holder.dispatcher_lives());
        let Some((slot, holder)) = orphan else {
            return Ok(());
        };
        if start.elapsed() > ORPHAN_PATIENCE {
            let message = format!("process {} still holds slot {slot}", holder.pid);
            return Err(LeaseError::Orphans(io::Error::new(
                io::ErrorKind::TimedOut,
                message,
            )));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn locks(ci_dir: &Path) -> PathBuf {
    ci_dir.join("slots")
}

fn slot_lock(locks: &Path, slot: u32) -> PathBuf {
    locks.join(format!("slot-{slot}.lock"))
}

/// Whether somebody has the lock. Looking makes nothing, and those who look do not see each other.
fn is_held(file: &File) -> bool {
    flock(file, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
}

/// Locks a file, making it where needed; `None` where somebody else has the lock.
fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let file = private::open(path, private::Open::Update)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
