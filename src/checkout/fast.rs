//! The move in process: only what differs is touched.
//!
//! In this order, so that a `kill -9` at any point leaves a state that the next move
//! recognises: find out everything, take the index's lock, set `HEAD`, change files, put
//! the new index in place. A lock that is left says that files may be of the commit
//! that `HEAD` names or of the one before. Files are not synced: after a power cut nobody
//! trusts a worktree.

use std::path::Path;
use std::time::Instant;

use gix::ObjectId;
use rustix::fs::{FileType, RawMode};
use rustix::time::Timespec;

use super::Goal;
use super::admin::Admin;
use super::apart::{Caches, tell_apart};
use super::diff::diff;
use super::files::{Holds, Tree, is_special, umask};
use super::ignored::ignores;
use super::index::{Changes, Image, Written, mtime};
use super::left::WALK_COUNTS;
use super::past::{self, Past};
use super::pipes;
use super::rules::CheckoutRules;
use super::scan::scan;
use super::slow::Slow;
use super::template::Template;
use crate::git::reading::Objects;
use crate::git::{Gate, Repo};
use crate::model::{Clean, Oid};

/// A worktree that was left in a state that is known.
pub(super) struct Known {
    admin: Admin,
    ground: CheckoutRules,
    /// What the template's ground was then.
    seen: u64,
    objects: Objects,
    image: Image,
    /// The tree that the image is of.
    tree: ObjectId,
    umask: RawMode,
    /// What the walk after the last job found.
    walked: Option<Walked>,
    /// When the last job had ended.
    job_ended: Option<Timespec>,
}

/// What a job did to the worktree.
struct Walked {
    at: Instant,
    /// Entries of the image whose files are to be written anew.
    restore: Vec<usize>,
    /// Tracked files that are gone, or not what the commit has.
    changed: u64,
    untracked: Vec<Vec<u8>>,
    nested: Vec<Vec<u8>>,
}

/// What is left to do after a move.
pub(super) enum Left {
    /// Nothing.
    Nothing,
    /// Files that are not tracked and not known to be ignored: git has to look.
    Untracked,
}

impl Known {
    /// What git has just made of the worktree at `commit`, where all of it is plain.
    pub(super) fn after_git(
        repo: &Repo,
        template: &Template,
        admin: Admin,
        ground: CheckoutRules,
        commit: &Oid,
    ) -> Result<Self, Slow> {
        let objects = repo.objects();
        let image = Image::load(&admin.index(), objects.object_hash()).ok_or(Slow::Index)?;
        let attributes = (0..image.len()).filter(|&i| {
            let path = image.path(i);
            path == b".gitattributes" || path.ends_with(b"/.gitattributes")
        });
        for i in attributes {
            let blob = objects.find_blob(image.id(i)).map_err(|_| Slow::Object)?;
            if !crate::git::attributes::keeps_blobs(&blob.data) {
                return Err(Slow::attributes(image.path(i)));
            }
        }
        let tree = tree_of(&objects, commit).ok_or(Slow::Object)?;
        Ok(Self {
            admin,
            ground,
            seen: template.ground(),
            objects,
            image,
            tree,
            umask: umask(),
            walked: None,
            job_ended: None,
        })
    }

    /// Walks over the worktree at `path` after a job; returns how many tracked files it
    /// changed or removed.
    pub(super) fn look(&mut self, path: &Path) -> Result<u64, Slow> {
        self.job_ended = Some(past::precisely());
        let walked = self.walk(&mut Tree::open(path)?)?;
        let changed = walked.changed;
        self.walked = Some(walked);
        // The job's git may have noted files there that somebody else wrote, and another
        // process would take them for ours.
        // Where the job put something else in place of the git directory, that stays as it is.
        let index = rustix::fs::lstat(self.admin.index().as_path());
        if self.admin.is_there() && index.is_ok_and(|stat| mtime(&stat) != self.image.written) {
            self.image.written = self.admin.lock_index()?.commit(&self.image)?;
        }
        Ok(changed)
    }

    /// What the worktree held when it was left, for a move by git.
    pub(super) fn into_image(self) -> Image {
        self.image
    }

    /// Brings the worktree to the commit.
    pub(super) fn move_to(&mut self, goal: &Goal<'_>, past: &mut Past) -> Result<Left, Slow> {
        let Goal {
            template,
            path,
            commit,
            clean,
            ..
        } = *goal;
        if self.seen != template.ground() || !self.ground.unchanged() {
            return Err(Slow::Changed);
        }
        if !self.admin.is_there() {
            return Err(Slow::Replaced);
        }
        self.admin.renew(template)?;
        super::module_dirs::tidy(self.admin.dir())?;
        past.begin();
        let mut files = Tree::open(path)?;
        let walked = match self.walked.take() {
            Some(walked) if walked.at.elapsed() < WALK_COUNTS => walked,
            _ => self.walk(&mut files)?,
        };
        let new = tree_of(&self.objects, commit).ok_or(Slow::Object)?;
        let mut changes = diff(&self.objects, &self.image, self.tree, new)?;
        for &i in &walked.restore {
            let change = Some((self.image.mode(i), self.image.id(i)));
            let path = self.image.path(i).to_vec();
            changes.entry(path).or_insert(change);
        }

        if changes.is_empty() && !self.admin.was_interrupted() && self.admin.has_index(&self.image)
        {
            self.admin.set_head(commit)?;
            return self.sweep(goal, &mut files, &walked, past);
        }
        let lock = self.admin.lock_index()?;
        self.admin.set_head(commit)?;
        // What the job built last must be older than what it is built from next.
        if let Some(time) = self.job_ended.filter(|_| !walked.untracked.is_empty()) {
            past::wait_for_tick(time);
        }
        let gate = goal.repo.git().gate();
        let written = self.apply(&mut files, &changes, past, gate)?;
        self.image = self.image.with(&written);
        self.tree = new;
        let left = self.sweep(goal, &mut files, &walked, past)?;
        if clean != Clean::All {
            let paths = written.keys();
            let written: Vec<_> = paths.flat_map(|path| self.image.find(path)).collect();
            let read = |id| Some(self.objects.find_blob(id).ok()?.data.clone());
            let caches = Caches::of(&walked.untracked);
            tell_apart(&mut files, &mut self.image, &written, caches, past, &read)?;
        }
        self.image.written = lock.commit(&self.image)?;
        Ok(left)
    }

    /// Finds out what was done to the files.
    fn walk(&mut self, files: &mut Tree) -> Result<Walked, Slow> {
        let found = scan(files, &self.image)?;
        let mut walked = Walked {
            at: Instant::now(),
            restore: Vec::new(),
            changed: 0,
            untracked: found.untracked,
            nested: found.nested,
        };
        // Those that are as they were left are kept. The others are written anew: also
        // where somebody put back what was there, since caches may know of the time between.
        for i in found.suspects {
            let (mode, id, path) = (self.image.mode(i), self.image.id(i), self.image.path(i));
            let blob = self.objects.find_blob(id).map_err(|_| Slow::Object)?;
            let known = self.image.stamp(i);
            match files.compare(path, mode, &blob.data, self.umask, known) {
                Holds::AsWritten(stamp) => {
                    drop(blob);
                    self.image.refresh(i, &stamp);
                }
                Holds::Touched => walked.restore.push(i),
                Holds::Other => {
                    walked.restore.push(i);
                    walked.changed += 1;
                }
            }
        }
        Ok(walked)
    }

    /// Changes the files, while the `gate` is open; returns the entries that the index gets
    /// for them.
    fn apply(
        &self,
        files: &mut Tree,
        changes: &Changes,
        past: &mut Past,
        gate: &Gate,
    ) -> Result<Written, Slow> {
        let mut written = Written::new();
        let mut leave = |files: &mut Tree, path: &[u8]| match files.status(path) {
            Some(stat) => past.leaves(path, &stat),
            None if self.image.find(path).is_ok() => past.lost(path),
            None => {}
        };
        // What goes, goes first: a file may be in the place of a new directory.
        for (path, _) in changes.iter().filter(|(_, change)| change.is_none()) {
            leave(files, path);
            files.remove(path)?;
            written.insert(path.clone(), None);
        }
        for (path, change) in changes {
            let Some((mode, id)) = *change else { continue };
            if gate.is_closed() {
                return Err(Slow::Interrupted);
            }
            leave(files, path);
            let blob = self.objects.find_blob(id).map_err(|_| Slow::Object)?;
            let stamp = files.write(path, mode, &blob.data)?;
            written.insert(path.clone(), Some((stamp, id)));
        }
        Ok(written)
    }

    /// Removes what is not tracked, as far as that can be decided here.
    fn sweep(
        &self,
        goal: &Goal<'_>,
        files: &mut Tree,
        walked: &Walked,
        past: &mut Past,
    ) -> Result<Left, Slow> {
        let Goal { repo, clean, .. } = *goal;
        if clean == Clean::None {
            return Ok(Left::Nothing);
        }
        for path in &walked.nested {
            files.remove_all(path)?;
        }
        let mut left = Vec::new();
        for path in &walked.untracked {
            if let Some(stat) = files.status(path)
                && self.image.find(path).is_err()
            {
                past.leaves(path, &stat);
                left.push((path, stat));
            }
        }
        let mut untracked = false;
        for (path, stat) in left {
            if self.image.has_below(path) {
                // A directory of a job has become one of the tree.
                untracked = true;
                break;
            }
            let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            match clean {
                _ if is_special(&stat) => files.remove_all(path)?,
                Clean::All => files.remove_all(path)?,
                _ if ignores(repo, &self.ground, files, path, is_dir)? => {}
                _ => {
                    untracked = true;
                    break;
                }
            }
        }
        if !untracked {
            return Ok(Left::Nothing);
        }
        let ignored = |files: &mut Tree, path: &[u8]| {
            ignores(repo, &self.ground, files, path, true).is_ok_and(|ignored| ignored)
        };
        pipes::remove(
            files,
            goal.location,
            &self.image,
            &walked.untracked,
            ignored,
        )?;
        Ok(Left::Untracked)
    }
}

fn tree_of(objects: &gix::Repository, commit: &Oid) -> Option<ObjectId> {
    let id = ObjectId::try_from(commit.as_bytes()).ok()?;
    let commit = objects.find_commit(id).ok()?;
    commit.tree_id().ok().map(|tree| tree.detach())
}
