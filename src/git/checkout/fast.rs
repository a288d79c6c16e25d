//! The move in process: only what differs is touched.
//!
//! In this order, so that a `kill -9` at any point leaves a state that the next move
//! recognises: find out everything, take the index's lock, set `HEAD`, change files, put
//! the new index in place. A lock that is left says that files may be of the commit
//! that `HEAD` names or of the one before. Files are not synced: after a power cut nobody
//! trusts a worktree.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use gix::ObjectId;
use gix::ignore::Search;
use gix::ignore::search::Ignore;
use rustix::fs::{FileType, RawMode};

use super::super::Repo;
use super::super::reading::Objects;
use super::admin::Admin;
use super::diff::{NotPlain, diff};
use super::files::{Tree, umask};
use super::index::{Changes, Image, Written};
use super::plain::Ground;
use super::scan::scan;
use super::template::Template;
use crate::model::{Clean, Oid};

/// A worktree that was left in a state that is known.
pub(super) struct Known {
    admin: Admin,
    ground: Ground,
    /// What the template's ground was then.
    seen: u64,
    objects: Objects,
    image: Image,
    /// The tree that the image is of.
    tree: ObjectId,
    umask: RawMode,
}

/// Why a move was given up. Whatever the reason, git does it then.
pub(super) struct GivenUp;

impl From<NotPlain> for GivenUp {
    fn from(_: NotPlain) -> Self {
        Self
    }
}

impl From<io::Error> for GivenUp {
    fn from(_: io::Error) -> Self {
        Self
    }
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
        ground: Ground,
        commit: &Oid,
    ) -> Option<Self> {
        let objects = repo.objects();
        let image = Image::load(&admin.index(), objects.object_hash())?;
        let attributes = (0..image.len()).filter(|&i| {
            let path = image.path(i);
            path == b".gitattributes" || path.ends_with(b"/.gitattributes")
        });
        for i in attributes {
            let blob = objects.find_blob(image.id(i)).ok()?;
            if !super::plain::attributes(&blob.data) {
                return None;
            }
        }
        let tree = tree_of(&objects, commit)?;
        Some(Self {
            admin,
            ground,
            seen: template.ground(),
            objects,
            image,
            tree,
            umask: umask(),
        })
    }

    /// Brings the worktree at `path` to `commit`.
    pub(super) fn move_to(
        &mut self,
        repo: &Repo,
        template: &Template,
        path: &Path,
        commit: &Oid,
        clean: Clean,
    ) -> Result<Left, GivenUp> {
        let known = self.seen == template.ground() && self.ground.unchanged();
        if !known || !self.admin.is_there() {
            return Err(GivenUp);
        }
        self.admin.renew(template)?;
        let mut files = Tree::open(path)?;
        let found = scan(&files, &self.image)?;
        let new = tree_of(&self.objects, commit).ok_or(GivenUp)?;
        let mut changes = diff(&self.objects, &self.image, self.tree, new)?;
        self.judge(&mut files, &found.suspects, &mut changes)?;

        if changes.is_empty() && !self.admin.was_interrupted() && self.admin.has_index(&self.image)
        {
            self.admin.set_head(commit)?;
        } else {
            let lock = self.admin.lock_index()?;
            self.admin.set_head(commit)?;
            let written = self.apply(&mut files, &changes)?;
            self.image = self.image.with(&written);
            self.tree = new;
            self.image.written = lock.commit(&self.image)?;
        }
        self.sweep(repo, &mut files, found.nested, found.untracked, clean)
    }

    /// Decides about files that are not provably as they were: those that still hold what
    /// they should are kept, the others are added to what must change.
    fn judge(
        &mut self,
        files: &mut Tree,
        suspects: &[usize],
        changes: &mut Changes,
    ) -> Result<(), GivenUp> {
        for &i in suspects {
            if changes.contains_key(self.image.path(i)) {
                continue;
            }
            let (mode, id) = (self.image.mode(i), self.image.id(i));
            let blob = self.objects.find_blob(id).map_err(|_| GivenUp)?;
            match files.holds(self.image.path(i), mode, &blob.data, self.umask) {
                Some(stamp) => {
                    drop(blob);
                    self.image.refresh(i, &stamp);
                }
                None => {
                    changes.insert(self.image.path(i).to_vec(), Some((mode, id)));
                }
            }
        }
        Ok(())
    }

    /// Changes the files; returns the entries that the index gets for them.
    fn apply(&self, files: &mut Tree, changes: &Changes) -> Result<Written, GivenUp> {
        let mut written = Written::new();
        // What goes, goes first: a file may be in the place of a new directory.
        for (path, _) in changes.iter().filter(|(_, change)| change.is_none()) {
            files.remove(path)?;
            written.insert(path.clone(), None);
        }
        for (path, change) in changes {
            let Some((mode, id)) = *change else { continue };
            let blob = self.objects.find_blob(id).map_err(|_| GivenUp)?;
            let stamp = files.write(path, mode, &blob.data)?;
            written.insert(path.clone(), Some((stamp, id)));
        }
        Ok(written)
    }

    /// Removes what is not tracked, as far as that can be decided here.
    fn sweep(
        &self,
        repo: &Repo,
        files: &mut Tree,
        nested: Vec<Vec<u8>>,
        untracked: Vec<Vec<u8>>,
        clean: Clean,
    ) -> Result<Left, GivenUp> {
        if clean == Clean::None {
            return Ok(Left::Nothing);
        }
        for path in nested {
            files.remove_all(&path)?;
        }
        for path in untracked {
            let Some(kind) = files.look(&path) else {
                continue;
            };
            let is_dir = kind == FileType::Directory;
            if self.image.find(&path).is_ok() {
                continue;
            }
            if self.image.has_below(&path) {
                // A directory of a job has become one of the tree.
                return Ok(Left::Untracked);
            }
            match clean {
                _ if files.is_special(&path) => files.remove_all(&path)?,
                Clean::All => files.remove_all(&path)?,
                _ if self.ignores(repo, files, &path, is_dir)? => {}
                _ => return Ok(Left::Untracked),
            }
        }
        Ok(Left::Nothing)
    }

    /// Whether the rules of the worktree as it is now ignore `path`, or a directory above it.
    fn ignores(
        &self,
        repo: &Repo,
        files: &mut Tree,
        path: &[u8],
        is_dir: bool,
    ) -> Result<bool, GivenUp> {
        let parse = Ignore {
            support_precious: false,
        };
        let excludes = self.ground.excludes.clone();
        let mut search = Search::from_git_dir(repo.common_dir(), excludes, &mut Vec::new(), parse)?;
        let mut end = 0;
        loop {
            // The rules of the directory that ends here count for what is below it.
            let file = [&path[..end], b".gitignore"].concat();
            if let Some(rules) = files.read(&file) {
                let file = Path::new(OsStr::from_bytes(&file));
                search.add_patterns_buffer(&rules, file, Some(Path::new("")), parse)?;
            }
            let slash = path[end..].iter().position(|&byte| byte == b'/');
            let (part, is_dir) = match slash {
                Some(slash) => (&path[..end + slash], true),
                None => (path, is_dir),
            };
            let ignored = search
                .pattern_matching_relative_path(
                    gix::bstr::BStr::new(part),
                    Some(is_dir),
                    gix::glob::pattern::Case::Sensitive,
                )
                .is_some_and(|found| !found.pattern.is_negative());
            match slash {
                _ if ignored => return Ok(true),
                None => return Ok(false),
                Some(slash) => end += slash + 1,
            }
        }
    }
}

fn tree_of(objects: &gix::Repository, commit: &Oid) -> Option<ObjectId> {
    let id = ObjectId::try_from(commit.as_bytes()).ok()?;
    let commit = objects.find_commit(id).ok()?;
    commit.tree_id().ok().map(|tree| tree.detach())
}
