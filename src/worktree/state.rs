//! What a slot's lock file says: who has the slot, and what became of its worktree.
//!
//! Nothing in it is needed, and none of it is believed further than it can do harm: what
//! is empty, torn or made up counts as a slot that was left in disorder, in which
//! processes may still run. Only the lock says whether somebody has the slot.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::checkout::Past;
use crate::lock;
use crate::model::{InputId, JobName, LogId, Oid};
use crate::private;
use crate::process::{Birth, Peer};

/// No state is longer, in bytes.
const MOST: u64 = 1 << 20;

/// Who has a slot, and for what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process that holds the lock.
    pub pid: u32,
    /// When it was started, in clock ticks since boot: with the id, it names a process for good.
    #[serde(default)]
    pub started: u64,
    /// The process that it works for.
    pub dispatcher: u32,
    /// When the dispatcher was started.
    pub dispatcher_started: u64,
    /// Where these ids mean anything; see [`Peer::place`].
    #[serde(default)]
    pub place: String,
    /// The commit.
    pub commit: Oid,
    /// The job.
    pub job: JobName,
    /// Since when, in seconds since the epoch.
    pub since: u64,
    /// The task's log: readable while the task runs.
    #[serde(default)]
    pub log: Option<LogId>,
    /// What tells the task's processes from those of others.
    #[serde(default)]
    pub born: Option<Birth>,
}

impl Holder {
    /// This process, working for `dispatcher`.
    pub fn new(dispatcher: u32, commit: Oid, job: &JobName, log: LogId) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let (own, works_for) = (Peer::this(), Peer::here(dispatcher));
        Self {
            pid: own.pid,
            started: own.started,
            dispatcher,
            dispatcher_started: works_for.started,
            place: own.place,
            commit,
            job: job.clone(),
            since: now.unwrap_or_default().as_secs(),
            log: Some(log),
            born: Some(Birth::now()),
        }
    }

    /// The process that holds the lock.
    pub fn agent(&self) -> Peer {
        Peer {
            pid: self.pid,
            started: self.started,
            place: self.place.clone(),
        }
    }

    /// The process that it works for.
    pub fn works_for(&self) -> Peer {
        Peer {
            pid: self.dispatcher,
            started: self.dispatcher_started,
            place: self.place.clone(),
        }
    }

    /// What it does, as part of a sentence, without an end: "`git ci run` (process 7) runs
    /// test on 1a2b3c4d5e for 12 s".
    pub fn describe(&self) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let seconds = now.unwrap_or_default().as_secs().saturating_sub(self.since);
        let stopped = if self.works_for().is_stopped() || self.agent().is_stopped() {
            " and is stopped"
        } else {
            ""
        };
        format!(
            "{} runs {} on {} for {seconds} s{stopped}",
            self.works_for().describe(),
            self.job,
            self.commit.short()
        )
    }
}

/// The task whose slot is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptFor {
    /// Its commit.
    pub(super) commit: Oid,
    /// Its job.
    pub(super) job: JobName,
}

/// What a slot's lock file says.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct SlotState {
    /// Changes with every lease, so that a process can tell whether another had the slot.
    #[serde(default)]
    pub(super) token: u64,
    /// The last lease ended with nothing of its task left.
    #[serde(default)]
    pub(super) clean: bool,
    /// The worktree that this is about: who has another cache directory has another one.
    #[serde(default, with = "crate::model::path::option")]
    pub(super) path: Option<PathBuf>,
    /// The log of the last task that ended there in good order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last: Option<LogId>,
    /// It stays as it is until somebody has looked at what this task left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kept_for: Option<KeptFor>,
    /// Why its checkouts take longer than they might, where that will not change by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) slow: Option<String>,
    /// The commit that the worktree was last brought to.
    #[serde(default)]
    pub(super) commit: Option<Oid>,
    /// Who has it, while somebody has.
    #[serde(default)]
    pub(super) holder: Option<Holder>,
    /// What was set up in it, by name, and on what that depended.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) setups: BTreeMap<JobName, InputId>,
    /// The worktree's inode: another one has none of that.
    #[serde(default)]
    pub(super) inode: u64,
    /// What was in the worktree a moment ago.
    #[serde(default)]
    pub(super) past: Past,
}

impl SlotState {
    /// What the file says; `None` where that makes no sense, which is so of a new one.
    pub(super) fn read(file: &File) -> Option<Self> {
        let mut text = Vec::new();
        let mut at = 0;
        let mut bytes = [0; 4096];
        loop {
            let count = file.read_at(&mut bytes, at).ok()?;
            if count == 0 {
                break;
            }
            text.extend_from_slice(&bytes[..count]);
            at += count as u64;
            if at > MOST {
                return None;
            }
        }
        serde_json::from_slice(&text).ok()
    }

    pub(super) fn write(&self, file: &File) -> io::Result<()> {
        let mut text = serde_json::to_vec(self)?;
        text.push(b'\n');
        // What was there stays until the new text is there: on a full disk it can say
        // less, and nothing wrong.
        file.write_all_at(&text, 0)?;
        file.set_len(text.len() as u64)
    }
}

/// The directory of this user's locks. Each user has worktrees of their own, so those who
/// share a repository do not share its slots: the owner's locks are in `slots`, those of
/// others in directories below it.
pub(super) fn locks(ci_dir: &Path) -> PathBuf {
    ci_dir.join(locks_name(ci_dir))
}

/// Its name below the `ci` directory.
pub(super) fn locks_name(ci_dir: &Path) -> PathBuf {
    match ci_dir.parent().and_then(private::other_user) {
        Some(uid) => PathBuf::from(format!("slots/u{uid}")),
        None => PathBuf::from("slots"),
    }
}

/// The directories of all users' locks.
pub(super) fn all_locks(ci_dir: &Path) -> Vec<PathBuf> {
    let slots = ci_dir.join("slots");
    let others = fs::read_dir(&slots).into_iter().flatten().flatten();
    let others: Vec<_> = others
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"u"))
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    std::iter::once(slots).chain(others).collect()
}

pub(super) fn slot_lock(locks: &Path, slot: u32) -> PathBuf {
    locks.join(format!("slot-{slot}.lock"))
}

/// What runs now, in all processes that use the repository's slots, whoever's they are.
pub(crate) fn holders(ci_dir: &Path) -> Vec<(u32, Holder)> {
    let mut found = Vec::new();
    for locks in all_locks(ci_dir) {
        holders_in(&locks, &mut found);
    }
    found.sort_by_key(|(slot, _)| *slot);
    found
}

/// What the lock files of all slots say, with their numbers.
fn all_states(ci_dir: &Path) -> impl Iterator<Item = (u32, SlotState)> {
    let entries = all_locks(ci_dir)
        .into_iter()
        .flat_map(|locks| fs::read_dir(locks).into_iter().flatten().flatten());
    entries.filter_map(|entry| {
        let slot = number_of(&entry.file_name())?;
        let file = private::open(&entry.path(), private::Open::Read).ok()?;
        Some((slot, SlotState::read(&file)?))
    })
}

/// The slot whose number the name of a lock file has.
fn number_of(name: &OsStr) -> Option<u32> {
    let number = name
        .to_str()?
        .strip_prefix("slot-")?
        .strip_suffix(".lock")?;
    number.parse().ok()
}

/// Why checkouts take longer than they might, each reason once: of the last task in each slot.
pub(crate) fn slow_reasons(ci_dir: &Path) -> Vec<String> {
    let reasons = all_states(ci_dir).filter_map(|(_, state)| state.slow);
    let found: BTreeSet<_> = reasons.collect();
    found.into_iter().collect()
}

/// A slot that is as a task left it.
#[derive(Debug)]
pub(crate) struct AsLeft {
    /// The slot.
    pub slot: u32,
    /// Its worktree.
    pub path: PathBuf,
    /// No other task gets it, until somebody was in it.
    pub is_kept: bool,
}

/// The slot that is as the task with this log left it.
pub(crate) fn as_left(ci_dir: &Path, log: &LogId) -> Option<AsLeft> {
    let mut states = all_states(ci_dir).filter(|(_, state)| state.clean);
    let (slot, state) = states.find(|(_, state)| state.last.as_ref() == Some(log))?;
    Some(AsLeft {
        slot,
        path: state.path?,
        is_kept: state.kept_for.is_some(),
    })
}

/// Whether a slot is kept for somebody to look at.
pub(super) fn is_kept(lock: &Path) -> bool {
    let file = private::open(lock, private::Open::Read).ok();
    let state = file.and_then(|file| SlotState::read(&file));
    state.is_some_and(|state| state.kept_for.is_some())
}

fn holders_in(locks: &Path, found: &mut Vec<(u32, Holder)>) {
    for entry in fs::read_dir(locks).into_iter().flatten().flatten() {
        if let Some(slot) = number_of(&entry.file_name())
            && let Some(holder) = holder(&entry.path())
        {
            found.push((slot, holder));
        }
    }
}

/// Who has a slot now. Held by nobody, whatever the file says is of the past.
pub(super) fn holder(lock: &Path) -> Option<Holder> {
    let file = private::open(lock, private::Open::Read).ok()?;
    if lock::is_held(&file) {
        SlotState::read(&file)?.holder
    } else {
        None
    }
}

/// Locks a file, making it where needed; `None` where somebody else has the lock.
///
/// # Errors
/// Where there is something else than a file, or one that cannot be used.
pub(super) fn try_lock(path: &Path) -> io::Result<Option<File>> {
    loop {
        let file = private::open(path, private::Open::Update)?;
        if !lock::try_exclusive(&file)? {
            return Ok(None);
        }
        if lock::is_at(&file, path)? {
            return Ok(Some(file));
        }
    }
}
