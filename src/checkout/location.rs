//! Where a worktree is in a slot, and where its git directory is: the slot itself, and the
//! submodules in it.
//!
//! Everything is reached from the slot, one component at a time: a job may have put a link
//! to anywhere in place of a submodule, of its git directory, or of what is above them.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::admin::Admin;
use super::files::{Tree, remove_path};
use super::index::FILE;
use super::template::Template;
use crate::git::worktrees::slot_of_git_dir;

/// Where git keeps the git directories of submodules, in that of what they are in.
pub(super) const MODULES: &str = "modules";

/// A worktree in a slot, and its git directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    slot: PathBuf,
    /// The worktree, below the slot; empty for the slot itself.
    below: Vec<u8>,
    /// The git directory, below the slot.
    dir: Vec<u8>,
}

impl Location {
    /// The slot at `path`.
    pub(super) fn slot(path: &Path) -> Self {
        Self {
            slot: path.to_owned(),
            below: Vec::new(),
            dir: b".git".to_vec(),
        }
    }

    /// The submodule `name` at `path` in this worktree.
    pub(super) fn submodule(&self, path: &[u8], name: &str) -> Self {
        let below = if self.below.is_empty() {
            path.to_vec()
        } else {
            [&self.below, b"/".as_slice(), path].concat()
        };
        Self {
            slot: self.slot.clone(),
            below,
            dir: [
                self.dir.as_slice(),
                b"/",
                MODULES.as_bytes(),
                b"/",
                name.as_bytes(),
            ]
            .concat(),
        }
    }

    /// Whether this is the slot, and no submodule in it.
    pub(super) fn is_slot(&self) -> bool {
        self.below.is_empty()
    }

    /// Where the slot is.
    pub(super) fn slot_path(&self) -> &Path {
        &self.slot
    }

    /// Where the worktree is, below the slot.
    pub(super) fn below(&self) -> &[u8] {
        &self.below
    }

    /// Where the worktree is.
    pub(super) fn path(&self) -> PathBuf {
        self.slot.join(OsStr::from_bytes(&self.below))
    }

    /// Where the index is, below the slot.
    pub(super) fn index(&self) -> Vec<u8> {
        [&self.dir, b"/index".as_slice()].concat()
    }

    /// Finds the git directory, if it is one of ours, of the repository `common`, and the
    /// worktree leads to it.
    pub(super) fn find(&self, common: &Path) -> Option<Admin> {
        if self.is_slot() {
            return Admin::find(common, &self.slot);
        }
        let mut files = Tree::open(&self.slot).ok()?;
        if files.read(&self.dot_git())? != self.link()
            || files.kind(&self.dir) != Some(FileType::Directory)
        {
            return None;
        }
        let admin = Admin::at(self.dir_path())?.of(self.worktree());
        let of = slot_of_git_dir(admin.dir())?;
        (of == common).then_some(admin)
    }

    /// Makes the git directory of a submodule, which has none or a wrong one, and an empty
    /// worktree for it.
    pub(super) fn make(&self, common: &Path, template: &Template) -> io::Result<Admin> {
        let mut files = Tree::open(&self.slot)?;
        files.make_dir(&self.dir)?;
        files.make_empty_dir(&self.below)?;
        files.write(&self.dot_git(), FILE, &self.link())?;
        let admin = Admin::at(self.dir_path()).ok_or(io::ErrorKind::NotADirectory)?;
        let mut admin = admin.of(self.worktree());
        remove_path(&admin.index())?;
        admin.renew(template)?;
        admin.set_state(common, "")?;
        Ok(admin)
    }

    /// Whether what is at `path` in the worktree, a submodule, leads to a git directory of
    /// the slot, or nowhere.
    pub(super) fn is_sound(&self, files: &mut Tree, path: &[u8]) -> bool {
        let dot_git = [path, b"/.git"].concat();
        let Some(text) = files.read(&dot_git) else {
            return files.kind(&dot_git).is_none();
        };
        let target = text.strip_prefix(b"gitdir: ").map(<[u8]>::trim_ascii_end);
        target.is_some_and(|target| {
            let at = self.path().join(OsStr::from_bytes(path));
            let led = normal(&at.join(OsStr::from_bytes(target)));
            led.starts_with(self.slot.join(".git").join(MODULES))
        })
    }

    fn dir_path(&self) -> PathBuf {
        self.slot.join(OsStr::from_bytes(&self.dir))
    }

    /// The file that leads from the worktree to the git directory, below the slot.
    fn dot_git(&self) -> Vec<u8> {
        [&self.below, b"/.git".as_slice()].concat()
    }

    /// What is in it.
    fn link(&self) -> Vec<u8> {
        [b"gitdir: ", up(&self.below).as_slice(), &self.dir, b"\n"].concat()
    }

    /// The way back, which the git directory's configuration has.
    fn worktree(&self) -> Vec<u8> {
        [up(&self.dir).as_slice(), &self.below].concat()
    }
}

/// The way from `path` to the slot: so many steps up.
fn up(path: &[u8]) -> Vec<u8> {
    b"../".repeat(path.split(|&byte| byte == b'/').count())
}

/// A path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(normal.pop()),
            part => normal.push(part),
        }
    }
    normal
}
