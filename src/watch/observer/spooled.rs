//! What hooks left: commits that the refs alone may not tell of.
//!
//! Most of them the refs do tell of. What remains are commits behind a checkpoint, or
//! made before anybody watched, and those on a detached `HEAD`. They are wanted for as
//! long as a watched tip, or that `HEAD`, reaches them; what a rebase replaced is not.
//! The spool is drained only after all of it is handled, and so has its records.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use crate::model::Oid;
use crate::spool::{Entry, Position, Source, Spool};

use super::Observer;

/// What was read from the spool and is not drained yet.
#[derive(Default)]
pub(super) struct Spooled {
    /// Everything, for whoever looks at the spool after this observer.
    pub(super) entries: Vec<Entry>,
    position: Option<Position>,
    /// Why it could not be read, once that was told.
    problem: Option<String>,
    /// The commits of it that are wanted. Sorted.
    pub(super) wanted: Vec<Oid>,
}

impl Observer<'_> {
    /// Reads the spool; whether that changes what is wanted.
    pub(super) fn read_spool(&mut self, moved: bool) -> bool {
        let spool = Spool::new(&self.repo.ci_dir());
        let pending = match spool.read() {
            Ok(pending) => pending,
            Err(error) => {
                // That loses nothing that the refs tell of.
                let error = error.to_string();
                if self.spooled.problem.as_ref() != Some(&error) {
                    self.warn(format!("failed to read what hooks have noted: {error}"));
                    self.spooled.problem = Some(error);
                }
                return false;
            }
        };
        if !moved && pending.entries == self.spooled.entries {
            return false;
        }
        let wanted = self.reached(&pending.entries);
        let changed = wanted != self.spooled.wanted;
        // Also where nothing of it is wanted: then it can be drained at once.
        self.pace.dirty |= !pending.entries.is_empty();
        self.spooled = Spooled {
            wanted,
            position: (!pending.entries.is_empty()).then_some(pending.position),
            entries: pending.entries,
            problem: None,
        };
        changed
    }

    /// The commits of these entries that are still part of something.
    fn reached(&mut self, entries: &[Entry]) -> Vec<Oid> {
        let mut tips: HashSet<Oid> = self.tips.at.values().copied().collect();
        let mut commits = HashSet::new();
        for entry in entries {
            if let Source::Detached(dir) = &entry.source {
                tips.extend(detached_head(dir));
            }
            // Collected meanwhile, or no commit: nobody misses it.
            if let Ok(Some(commit)) = self.history.peel(&entry.commit) {
                commits.insert(commit);
            }
        }
        tips.retain(|tip| matches!(self.history.peel(tip), Ok(Some(_))));
        let (commits, tips): (Vec<_>, Vec<_>) =
            (commits.into_iter().collect(), tips.into_iter().collect());
        let replaced = self.history.unseen(&commits, &tips);
        let mut wanted = commits;
        wanted.retain(|commit| !replaced.contains(commit));
        wanted.sort_unstable();
        wanted
    }

    /// Empties the spool of what was read, once all of it is handled.
    pub(super) fn drain_spool(&mut self) {
        let handled = |commit| self.backlog.handled.contains(commit);
        if !self.spooled.wanted.iter().all(handled) {
            return;
        }
        let Some(position) = self.spooled.position.take() else {
            return;
        };
        // Where that fails it is read again, and everything in it is known by then.
        let _ = Spool::new(&self.repo.ci_dir()).drain(&position);
    }
}

/// The commit that the `HEAD` of a work tree is detached at.
fn detached_head(git_dir: &Path) -> Option<Oid> {
    let head = fs::read_to_string(git_dir.join("HEAD")).ok()?;
    head.trim_end().parse().ok()
}
