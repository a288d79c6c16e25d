//! Giving back the disk space of slots that nobody uses.
//!
//! A slot's lock is held while it goes, so that no task can get it in the middle. The
//! lock file itself stays for ever: somebody may have it open and be about to lock it.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::MARK;
use super::pool::worktree_lock;
use super::state::{SlotState, locks, locks_name, slot_lock, try_lock};
use crate::git::{GitError, Repo, slot_of};
use crate::private;
use crate::process;

/// A slot that nobody uses, nor can while this exists.
#[derive(Debug)]
pub(crate) struct IdleSlot {
    /// Where its worktree is.
    pub path: PathBuf,
    /// When it was last leased or given back.
    pub used: SystemTime,
    /// The lock; `None` where nobody ever made the file.
    lock: Option<File>,
    /// The lock of the worktree.
    _worktree: Option<File>,
}

/// The numbers of all slots that have a worktree below `root`, or, from older versions, an
/// entry in git's books that says so.
pub(crate) fn slots_on_disk(repo: &Repo, root: &Path) -> Vec<u32> {
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(&root).into_iter().flatten().flatten() {
        found.extend(number(&entry.path()));
    }
    for entry in repo.linked_worktrees() {
        if entry.path.parent() == Some(&root) {
            found.extend(number(&entry.path));
        }
    }
    found.into_iter().collect()
}

fn number(path: &Path) -> Option<u32> {
    path.file_name()?
        .to_str()?
        .strip_prefix("slot-")?
        .parse()
        .ok()
}

impl IdleSlot {
    /// Takes the lock of a slot; `None` where it is in use.
    ///
    /// # Errors
    /// Where there can be no lock.
    pub(crate) fn take(ci_dir: &Path, root: &Path, slot: u32) -> io::Result<Option<Self>> {
        private::dir_in(ci_dir, locks_name(ci_dir))?;
        let used = last_use(ci_dir, root, slot);
        let Some(lock) = try_lock(&slot_lock(&locks(ci_dir), slot))? else {
            return Ok(None);
        };
        let mut idle = Self::new(root, slot, used, Some(lock));
        if root.is_dir() {
            idle._worktree = try_lock(&worktree_lock(root, slot))?;
            if idle._worktree.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(idle))
    }

    /// Like [`take`](Self::take), without making anything, for who only wants to look.
    ///
    /// # Errors
    /// Where there can be no lock.
    pub(crate) fn look(ci_dir: &Path, root: &Path, slot: u32) -> io::Result<Option<Self>> {
        let file = slot_lock(&locks(ci_dir), slot);
        if file.exists() {
            Self::take(ci_dir, root, slot)
        } else {
            Ok(Some(Self::new(
                root,
                slot,
                last_use(ci_dir, root, slot),
                None,
            )))
        }
    }

    fn new(root: &Path, slot: u32, used: SystemTime, lock: Option<File>) -> Self {
        Self {
            path: root.join(format!("slot-{slot}")),
            used,
            lock,
            _worktree: None,
        }
    }

    /// Whether what is there is no slot, or no more: one of an older version, or what a
    /// job left of one. The next lease would make it anew.
    pub(crate) fn is_abandoned(&self) -> bool {
        slot_of(&self.path).is_none() || !self.path.join(".git/HEAD").exists()
    }

    /// Whether the worktree is another repository's: where `ci.worktreeDir` is set for
    /// several, they share a directory and not the locks.
    pub(crate) fn is_foreign(&self, repo: &Repo) -> bool {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        slot_of(&self.path).is_some_and(|of| real(&of) != real(repo.common_dir()))
    }

    /// Removes the worktree, strikes it off git's books, and ends what an unclean task
    /// may have left running in it.
    ///
    /// # Errors
    /// Where something cannot be removed; the next lease copes with what is left.
    pub(crate) fn remove(mut self, repo: &Repo) -> io::Result<()> {
        let Some(lock) = &mut self.lock else {
            return Err(io::Error::other("it is not locked"));
        };
        let mut state = SlotState::read(lock).unwrap_or_default();
        if !state.clean && state.token > 0 {
            let born = state
                .holder
                .as_ref()
                .and_then(|holder| holder.born.as_ref());
            process::evict(MARK, &self.path, born)?;
        }
        // Whoever had it last must not trust what they remember of it.
        state = SlotState {
            token: state.token.wrapping_add(1),
            clean: true,
            ..SlotState::default()
        };
        // On a full disk nothing at all says the same.
        state.write(lock).or_else(|_| lock.set_len(0))?;
        remove_tree(&self.path)?;
        repo.forget_worktree(&self.path)
    }
}

/// Removes from the user's repository what is there for slots that nobody has: pins that
/// were left by the killed, and entries in the list of worktrees, which older versions
/// made. Whatever cannot be done now can be done later.
pub(crate) fn tidy(repo: &Repo, root: &Path) {
    let take = |slot| IdleSlot::take(&repo.ci_dir(), root, slot).ok().flatten();
    for pin in repo.loose_pins() {
        if let Some(_idle) = number(Path::new(&pin)).and_then(take) {
            let _ = repo.delete_pin(&pin);
        }
    }
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    for entry in repo.linked_worktrees() {
        if entry.path.parent() == Some(&root)
            && let Some(_idle) = number(&entry.path).and_then(take)
        {
            let _ = repo.forget_worktree(&entry.path);
        }
    }
}

/// The pins of slots that nobody has, each with the slot's lock where there is one.
///
/// # Errors
/// Where git cannot list refs.
pub(crate) fn stale_pins(repo: &Repo, root: &Path) -> Result<Vec<(String, IdleSlot)>, GitError> {
    let pins = repo.pins()?.into_iter();
    let idle = pins.filter_map(|pin| {
        let slot = number(Path::new(&pin))?;
        let idle = IdleSlot::look(&repo.ci_dir(), root, slot).ok().flatten()?;
        Some((pin, idle))
    });
    Ok(idle.collect())
}

/// When a slot was last leased or given back.
fn last_use(ci_dir: &Path, root: &Path, slot: u32) -> SystemTime {
    let written = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified());
    let worktree = root.join(format!("slot-{slot}"));
    written(&slot_lock(&locks(ci_dir), slot))
        .or_else(|_| written(&worktree))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Removes a directory with everything in it, also where directories are read-only, as
/// some tools make those of their caches. That there is none is right, too.
///
/// # Errors
/// Those of removing files, and where something is mounted in it, which is not removed.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    process::refuse_mounts(path)?;
    let remove = || match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    };
    match remove() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path);
            remove()
        }
        done => done,
    }
}

fn open_up(dir: &Path) {
    // What does not work here fails again, and is reported, when it is removed.
    let _ = fs::set_permissions(dir, Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// What a file or a directory with everything in it takes on the disk, in bytes.
pub(crate) fn tree_size(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return 0;
    };
    let mut size = meta.blocks() * 512;
    if meta.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            size += tree_size(&entry.path());
        }
    }
    size
}
