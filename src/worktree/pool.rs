//! Leasing slots and giving them back.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::checkout::{Checkout, CheckoutError, Past, Templates};
use crate::git::Repo;
use crate::model::{Clean, DefId, EnvId, InputId, JobName, Oid};
use crate::private;
use crate::process;

use super::linked;
use super::state::{self, KeptFor, SlotState, slot_lock, try_lock};
use super::waiting::end_orphan;
use super::{Holder, LeaseError, MARK};

/// More slots than this are not used in place of others.
const MOST_SPARE: u32 = 16;

/// No more slots than this are kept as tasks left them.
const MOST_KEPT: usize = 8;

/// How often to look who has the slots that are taken.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How long a slot is left alone before it is looked at again whether somebody is in it.
const OCCUPIED: Duration = Duration::from_secs(60);

/// How long a slot must have been free before the ticket of somebody else is ignored.
const IDLE_TICKET: Duration = Duration::from_secs(1);

/// The slots of a repository, as one process uses them.
pub(crate) struct Pool<'a> {
    repo: &'a Repo,
    ci_dir: PathBuf,
    locks: PathBuf,
    root: PathBuf,
    slots: u32,
    /// What slots are made from.
    templates: Rc<Templates>,
    /// Worktrees that this process has brought somewhere, with the token of that lease and the
    /// jobs that have passed there.
    kept: HashMap<u32, (u64, Checkout<'a>, Vec<DefId>)>,
    last: Option<u32>,
    ticket: Option<File>,
    /// Slots that others have and do nothing with, so that there may be one more for each.
    out: HashSet<u32>,
    /// Slots that were left to others who are in them, and when that was seen.
    occupied: HashMap<u32, Instant>,
    /// One of these waits for this process.
    nested: bool,
    looked: Option<Instant>,
    /// Since when a slot was seen to be free whenever it was looked at.
    free_since: Option<Instant>,
    /// What is wrong with slots, for those who can mend it.
    notes: Vec<String>,
    /// What was said already.
    said: HashSet<String>,
}

/// The right to use a slot, until released or dropped.
pub(crate) struct Lease<'p, 'a> {
    pool: &'p mut Pool<'a>,
    slot: u32,
    locks: Locks,
    state: SlotState,
    checkout: Checkout<'a>,
    /// The commit that the worktree was at when it was leased.
    before: Option<Oid>,
    /// The jobs that have passed in the worktree since it was brought to that commit.
    passed: Vec<DefId>,
}

/// What keeps others from a slot.
struct Locks {
    /// The slot's own, with its state.
    slot: File,
    /// That of the worktree. Whoever lost sight of the first, because it was removed or
    /// is in a copy of the repository at the same path, comes upon this.
    _worktree: File,
}

impl<'a> Pool<'a> {
    /// The pool of `slots` worktrees below `root`.
    pub(crate) fn new(repo: &'a Repo, root: PathBuf, slots: u32) -> Self {
        let ci_dir = repo.ci_dir();
        Self {
            repo,
            locks: state::locks(&ci_dir),
            ci_dir,
            root,
            slots,
            templates: Templates::new(),
            kept: HashMap::new(),
            last: None,
            ticket: None,
            out: HashSet::new(),
            occupied: HashMap::new(),
            nested: false,
            looked: None,
            free_since: None,
            notes: Vec::new(),
            said: HashSet::new(),
        }
    }

    /// Takes a slot if one is free: the one that is at `near` already, else the one
    /// this process had last, else the first. `None` where there is none: the caller
    /// holds the ticket then, if nobody else does, and should either try again soon or
    /// [give up](Self::give_up).
    ///
    /// # Errors
    /// Where no slot can be used, or what ran in the slot before cannot be ended.
    pub(crate) fn try_lease(
        &mut self,
        near: &Oid,
        holder: &Holder,
    ) -> Result<Option<Lease<'_, 'a>>, LeaseError> {
        self.look_around();
        if !self.take_ticket()? {
            return Ok(None);
        }
        let Some((slot, locks, old)) = self.pick_empty(near)? else {
            return Ok(None);
        };
        // Until the file says who has the slot: see `standstill`.
        let _ticket = self.ticket.take();
        self.free_since = None;
        self.lease(slot, locks, old, holder).map(Some)
    }

    /// Takes the slot that is kept as a job on a commit has left it, where there is one. Once it
    /// is released it is a slot as any other.
    ///
    /// # Errors
    /// Where it cannot be used.
    pub(crate) fn lease_kept(
        &mut self,
        commit: &Oid,
        job: &JobName,
        holder: &Holder,
    ) -> Result<Option<Lease<'_, 'a>>, LeaseError> {
        let wanted = KeptFor {
            commit: *commit,
            job: job.clone(),
        };
        for slot in 1..=self.slots + MOST_SPARE {
            if state::is_kept(&slot_lock(&self.locks, slot))
                && let Some((locks, Some(old))) = self.find(slot)?
                && old.kept_for.as_ref() == Some(&wanted)
                && old.path == Some(self.path(slot))
            {
                return self.lease(slot, locks, Some(old), holder).map(Some);
            }
        }
        Ok(None)
    }

    /// Takes a slot that is locked.
    fn lease(
        &mut self,
        slot: u32,
        locks: Locks,
        old: Option<SlotState>,
        holder: &Holder,
    ) -> Result<Lease<'_, 'a>, LeaseError> {
        let path = self.path(slot);
        let kept = self.kept.remove(&slot);
        let old = old.unwrap_or_default();
        let same = old.path.as_ref() == Some(&path);
        let orderly = same && old.clean;
        let before = old.commit.filter(|_| orderly && path.is_dir());
        let (checkout, passed) = match kept {
            Some((token, checkout, passed)) if token == old.token && orderly => (checkout, passed),
            _ => {
                // What became of it after an unclean end is anybody's guess.
                let past = if orderly { old.past } else { Past::unknown() };
                let checkout = Checkout::new(self.repo, &self.templates, path.clone(), past);
                (checkout, Vec::new())
            }
        };
        let inode = inode(&path);
        let setups = if same && inode == old.inode {
            old.setups
        } else {
            BTreeMap::new()
        };
        let state = SlotState {
            token: old.token.wrapping_add(1),
            clean: false,
            last: None,
            kept_for: None,
            slow: None,
            path: Some(path),
            commit: None,
            holder: Some(holder.clone()),
            setups,
            inode,
            past: Past::default(),
        };
        let written = state.write(&locks.slot);
        written.map_err(|source| LeaseError::Lock { slot, source })?;
        Ok(Lease {
            pool: self,
            slot,
            locks,
            state,
            checkout,
            before,
            passed,
        })
    }

    /// Waits for no slot any more: somebody else may be next.
    pub(crate) fn give_up(&mut self) {
        self.ticket = None;
        self.free_since = None;
    }

    /// What is wrong with slots that were passed over; each is told once.
    pub(crate) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Who has the slots that are waited for, longest first, as far as that is known.
    pub(crate) fn holders(&self) -> Vec<Holder> {
        let numbers = 1..=self.numbers();
        let mut holders: Vec<Holder> = numbers
            .filter_map(|slot| state::holder(&slot_lock(&self.locks, slot)))
            .collect();
        holders.sort_by_key(|holder| holder.since);
        holders
    }

    fn path(&self, slot: u32) -> PathBuf {
        self.root.join(format!("slot-{slot}"))
    }

    /// How many slots there are, with those in place of others.
    fn numbers(&self) -> u32 {
        let mut numbers = self.slots;
        let mut slot = 0;
        while slot < numbers && numbers < self.slots + MOST_SPARE {
            slot += 1;
            numbers += u32::from(self.is_out(slot));
        }
        numbers
    }

    /// Whether there may be another slot for this one.
    fn is_out(&self, slot: u32) -> bool {
        self.out.contains(&slot) || self.occupied.contains_key(&slot)
    }

    /// Looks now and then who has the slots that are taken.
    fn look_around(&mut self) {
        if self.looked.is_some_and(|at| at.elapsed() < LOOK_INTERVAL) {
            return;
        }
        let mark = std::env::var_os(MARK).map(PathBuf::from);
        self.occupied.retain(|_, at| at.elapsed() < OCCUPIED);
        self.out.clear();
        self.nested = false;
        let mut slot = 0;
        while slot < self.numbers() {
            slot += 1;
            let Some(holder) = state::holder(&slot_lock(&self.locks, slot)) else {
                if state::is_kept(&slot_lock(&self.locks, slot)) {
                    self.out.insert(slot);
                }
                continue;
            };
            let nested = holder.agent().is_ancestor() || mark == Some(self.path(slot));
            self.nested |= nested;
            if nested || holder.works_for().is_stopped() || holder.agent().is_stopped() {
                self.out.insert(slot);
            }
            // Once it is gone the slot is free.
            end_orphan(&holder);
        }
        self.looked = Some(Instant::now());
        // Only where somebody else has the ticket is it of interest.
        if self.ticket.is_none() {
            let free = (1..=self.numbers()).any(|slot| self.seems_free(slot));
            self.free_since = if free {
                self.free_since.or(self.looked)
            } else {
                None
            };
        }
    }

    fn seems_free(&self, slot: u32) -> bool {
        let file = private::open(&slot_lock(&self.locks, slot), private::Open::Read);
        match file {
            Ok(file) => !crate::lock::is_held(&file),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Whether this process may take a slot now: it has the ticket, or may do without.
    fn take_ticket(&mut self) -> Result<bool, LeaseError> {
        if self.ticket.is_some() {
            return Ok(true);
        }
        let lock = |source| LeaseError::Lock { slot: 0, source };
        private::dir_in(&self.ci_dir, state::locks_name(&self.ci_dir)).map_err(lock)?;
        match try_lock(&self.locks.join("ticket")) {
            Ok(Some(ticket)) => {
                self.ticket = Some(ticket);
                return Ok(true);
            }
            Ok(None) => {}
            Err(error) => {
                // It is about who comes first, and nothing else.
                self.note(format!("slots are not given out in turn: {error}"));
                return Ok(true);
            }
        }
        // Whoever has the ticket may wait for the task that waits for this one.
        let idle = self
            .free_since
            .is_some_and(|at| at.elapsed() >= IDLE_TICKET);
        Ok(self.nested || idle)
    }

    fn note(&mut self, note: String) {
        if self.said.insert(note.clone()) {
            self.notes.push(note);
        }
    }

    /// Locks the best free slot.
    fn pick(&mut self, near: &Oid) -> Result<Option<(u32, Locks, Option<SlotState>)>, LeaseError> {
        let numbers = self.numbers();
        let mut best: Option<(u32, Locks, Option<SlotState>)> = None;
        let (mut busy, mut broken) = (false, None);
        let first = self.last.into_iter().filter(|&last| last <= numbers);
        let order = first.chain((1..=numbers).filter(|slot| Some(*slot) != self.last));
        for slot in order.collect::<Vec<_>>() {
            if self.occupied.contains_key(&slot) {
                continue;
            }
            let (locks, state) = match self.find(slot) {
                Ok(Some(found)) => found,
                Ok(None) => {
                    busy |= !self.is_out(slot);
                    continue;
                }
                Err(error) => {
                    broken.get_or_insert(error);
                    continue;
                }
            };
            if state.as_ref().is_some_and(|state| state.kept_for.is_some()) {
                // Another one takes its place, once it is looked for again.
                busy |= self.out.insert(slot);
                continue;
            }
            let exact = state
                .as_ref()
                .is_some_and(|state| state.commit == Some(*near));
            if exact || best.is_none() {
                best = Some((slot, locks, state));
            }
            if exact {
                break;
            }
        }
        match (best, broken) {
            (Some(best), Some(error)) => {
                self.note_broken(&error);
                Ok(Some(best))
            }
            (None, Some(error)) if busy => {
                self.note_broken(&error);
                Ok(None)
            }
            (None, Some(error)) => Err(error),
            (None, None) if !busy => match self.out.len() + self.occupied.len() {
                0 => Ok(None),
                out => Err(LeaseError::OutOfUse(out as u32)),
            },
            (best, None) => Ok(best),
        }
    }

    /// Locks the best free slot in which nothing runs. What an unclean task left there is
    /// ended; where somebody else is in a worktree that is in disorder, it is left to them,
    /// and another slot is used.
    fn pick_empty(
        &mut self,
        near: &Oid,
    ) -> Result<Option<(u32, Locks, Option<SlotState>)>, LeaseError> {
        loop {
            let Some((slot, locks, state)) = self.pick(near)? else {
                return Ok(None);
            };
            let path = self.path(slot);
            if let Some(point) = process::mounts_at(&path).first() {
                self.note(format!(
                    "slot {slot} is left as it is: something is mounted at {}; \
                     `umount` gives it back",
                    point.display()
                ));
                self.occupied.insert(slot, Instant::now());
                continue;
            }
            let (mut clean, mut left) = (false, None);
            let mut born = None;
            if let Some(old) = &state {
                let same = old.path.as_ref() == Some(&path);
                clean = same && old.clean;
                // Another worktree had this number, and nobody else will remember it.
                left = old.path.as_ref().filter(|_| !same && !old.clean);
                born = old.holder.as_ref().and_then(|holder| holder.born.as_ref());
            }
            if clean {
                return Ok(Some((slot, locks, state)));
            }
            let end = |path: &PathBuf| {
                process::evict(MARK, path, born)
                    .map_err(|source| LeaseError::Stragglers { slot, source })
            };
            left.map(end).transpose()?;
            let others = end(&path)?;
            let Some(&one) = others.first() else {
                return Ok(Some((slot, locks, state)));
            };
            self.note(format!(
                "slot {slot} is left to {}, which is in its worktree {}",
                process::describe(one),
                path.display(),
            ));
            self.occupied.insert(slot, Instant::now());
        }
    }

    fn note_broken(&mut self, error: &LeaseError) {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        self.note(format!(
            "failed to {error}: {}; other slots are used",
            cause.unwrap_or_default()
        ));
    }

    /// Locks a slot; `None` where somebody has it.
    fn find(&self, slot: u32) -> Result<Option<(Locks, Option<SlotState>)>, LeaseError> {
        let lock = |source| LeaseError::Lock { slot, source };
        let place = |source| LeaseError::Place {
            slot,
            path: self.path(slot),
            source,
        };
        let Some(file) = try_lock(&slot_lock(&self.locks, slot)).map_err(lock)? else {
            return Ok(None);
        };
        private::make_private_dir(&self.root).map_err(place)?;
        private::check_own_dir(&self.path(slot)).map_err(place)?;
        let Some(worktree) = try_lock(&worktree_lock(&self.root, slot)).map_err(place)? else {
            return Ok(None);
        };
        let state = SlotState::read(&file);
        let locks = Locks {
            slot: file,
            _worktree: worktree,
        };
        Ok(Some((locks, state)))
    }
}

/// What tells a worktree from another in its place; 0 where there is none.
fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |meta| meta.ino())
}

/// The lock of a worktree, beside it.
pub(super) fn worktree_lock(root: &Path, slot: u32) -> PathBuf {
    root.join(format!(".slot-{slot}.lock"))
}

impl Lease<'_, '_> {
    /// The slot's number, from 1.
    pub(crate) fn slot(&self) -> u32 {
        self.slot
    }

    /// See [`Pool::take_notes`].
    pub(crate) fn take_notes(&mut self) -> Vec<String> {
        self.pool.take_notes()
    }

    /// Its worktree.
    pub(crate) fn path(&self) -> &Path {
        self.checkout.path()
    }

    /// The commit that the worktree was at before, where it is known.
    pub(crate) fn before(&self) -> Option<Oid> {
        self.before
    }

    /// Brings the worktree to a commit, cleaned as asked.
    ///
    /// # Errors
    /// Those of [`Checkout::move_to`].
    pub(crate) fn move_to(&mut self, commit: &Oid, clean: Clean) -> Result<(), CheckoutError> {
        linked::remove(self.checkout.path());
        if self.before != Some(*commit) || clean != Clean::None {
            self.passed.clear();
        }
        if clean == Clean::All && !self.state.setups.is_empty() {
            self.state.setups.clear();
            // Where this cannot be written the worktree has less than the file says, until the
            // lease ends.
            let _ = self.write_state();
        }
        self.checkout.move_to(commit, clean)?;
        self.state.commit = Some(*commit);
        let inode = inode(self.checkout.path());
        if inode != self.state.inode {
            self.state.inode = inode;
            self.state.setups.clear();
            self.passed.clear();
        }
        Ok(())
    }

    /// Has `HEAD` at another commit than the one that the worktree was brought to, unless it is
    /// that.
    ///
    /// # Errors
    /// Those of [`Checkout::set_head`].
    pub(crate) fn set_head(&mut self, head: &Oid) -> Result<(), CheckoutError> {
        if self.state.commit == Some(*head) {
            return Ok(());
        }
        self.checkout.set_head(head)
    }

    /// Whether a job has passed in the worktree since it was brought to this commit.
    pub(crate) fn has_passed(&self, job: DefId, commit: &Oid) -> bool {
        self.before == Some(*commit) && self.passed.contains(&job)
    }

    /// A job has passed here.
    pub(crate) fn note_passed(&mut self, job: DefId) {
        if !self.passed.contains(&job) {
            self.passed.push(job);
        }
    }

    /// Whether a set-up was done here, with the same things on which it depends.
    pub(crate) fn has_setup(&self, name: &JobName, of: InputId) -> bool {
        self.state.setups.get(name) == Some(&of)
    }

    /// A set-up is about to be done: until it is, the worktree has none.
    ///
    /// # Errors
    /// Where that cannot be noted.
    pub(crate) fn begin_setup(&mut self, name: &JobName) -> io::Result<()> {
        self.state.setups.remove(name);
        self.write_state()
    }

    /// A set-up is done. What others than those of `beside` have made may be gone by it.
    ///
    /// It lasts beyond this task where git ignores all that it made. What git does not ignore
    /// goes before the next: the first such thing is returned, a directory with a slash.
    ///
    /// # Errors
    /// Where that cannot be told or noted.
    pub(crate) fn end_setup(
        &mut self,
        name: &JobName,
        of: InputId,
        beside: &[&JobName],
    ) -> io::Result<Option<Vec<u8>>> {
        let passing = self.checkout.first_untracked();
        let passing = passing.map_err(io::Error::other)?;
        self.state.setups.retain(|other, _| beside.contains(&other));
        if passing.is_none() {
            self.state.setups.insert(name.clone(), of);
        }
        self.write_state()?;
        Ok(passing)
    }

    fn write_state(&self) -> io::Result<()> {
        self.state.write(&self.locks.slot)
    }

    /// See [`Checkout::made_by`].
    pub(crate) fn made_by(&self) -> Option<EnvId> {
        self.checkout.made_by()
    }

    /// Looks at what the task did, once nothing of it is running any more; returns how many
    /// tracked files it changed or removed, where that can be said.
    pub(crate) fn look(&mut self) -> Option<u64> {
        self.checkout.look()
    }

    /// Whether what a job said is about the commit and not about the machine; `failed` is
    /// what it said.
    ///
    /// # Errors
    /// Those of [`Checkout::verify`].
    pub(crate) fn verify(&self, commit: &Oid, failed: bool) -> Result<(), CheckoutError> {
        self.checkout.verify(commit, failed)
    }

    /// Has the slot kept, once it is released, until somebody has looked at what this task left;
    /// `false` where enough are.
    pub(crate) fn keep_for(&mut self, commit: &Oid, job: &JobName) -> bool {
        let kept_for = Some(KeptFor {
            commit: *commit,
            job: job.clone(),
        });
        let others = 1..=self.pool.slots + MOST_SPARE;
        let others = others.filter(|slot| *slot != self.slot);
        let mut count = 0;
        for slot in others {
            if !state::is_kept(&slot_lock(&self.pool.locks, slot)) {
                continue;
            }
            count += 1;
            // What it left before is of no interest any more.
            if let Ok(Some((locks, Some(mut state)))) = self.pool.find(slot)
                && state.kept_for == kept_for
            {
                state.kept_for = None;
                count -= usize::from(state.write(&locks.slot).is_ok());
            }
        }
        if count < MOST_KEPT {
            self.state.kept_for = kept_for;
        }
        count < MOST_KEPT
    }

    /// Gives the slot back; nothing of the task may be running any more.
    pub(crate) fn release(mut self) {
        self.state.past = self.checkout.past().clone();
        self.state.slow = self.checkout.why_slow();
        self.checkout.release();
        self.state.clean = true;
        self.state.last = self.state.holder.take().and_then(|holder| holder.log);
        // Where this cannot be written the slot counts as left in disorder, which is
        // slower next time and nothing worse.
        if self.state.write(&self.locks.slot).is_ok() {
            self.pool.last = Some(self.slot);
            self.pool
                .kept
                .insert(self.slot, (self.state.token, self.checkout, self.passed));
        }
    }
}
