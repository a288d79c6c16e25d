//! The git directory of a slot: a directory `.git` in its worktree, of a repository of
//! its own.
//!
//! A job can do anything to it, and nothing in it is believed that could lead elsewhere:
//! before each task [`renew`](Admin::renew) brings it back to what its
//! [`Template`] says, and what of it is a job's goes, objects included (one that a job
//! made would hide the user's of the same name). What stays is the index, which tells what
//! was tracked, and what git-ci notes about the files. Where there is no such directory,
//! or a link or something else in its place, the slot is made anew.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::git::read_file;
use crate::git::worktrees::{OF, STATE, slot_of_git_dir};
use crate::model::Oid;

use super::files::{open_dir, remove_path, umask};
use super::index::{Image, Time, mtime};
use super::layout::{self, Children, Node};
use super::mark::Mark;
use super::template::Template;

/// What git-ci and git keep there besides what the template has.
const KEPT: [(&str, Node); 5] = [
    ("HEAD", Node::AnyFile),
    ("index", Node::AnyFile),
    // A sign, until the next index is in place.
    ("index.lock", Node::AnyFile),
    (STATE, Node::AnyFile),
    ("modules", Node::AnyDir),
];

/// The files of ours are small.
const MAX_SIZE: u64 = 1 << 20;

/// The git directory of a slot, or of a submodule in one.
pub(super) struct Admin {
    dir: PathBuf,
    /// Of the directory that was found, to tell it from another in its place.
    identity: (u64, u64),
    known: layout::Known,
    /// Where its worktree is, where that is not the directory above.
    worktree: Option<Vec<u8>>,
    children: Children,
    /// The template's that `children` are of.
    generation: u64,
}

impl Admin {
    /// Finds that of the worktree at `path`, if it is one of ours and of the repository
    /// `common`.
    pub(super) fn find(common: &Path, path: &Path) -> Option<Self> {
        if !fs::symlink_metadata(path).ok()?.is_dir() {
            return None;
        }
        let admin = Self::at(path.join(".git"))?;
        let of = slot_of_git_dir(&admin.dir)?;
        (of == common).then_some(admin)
    }

    /// The directory `dir`, if that is what it is.
    pub(super) fn at(dir: PathBuf) -> Option<Self> {
        let mark = mark(&dir).filter(|mark| mark.kind() == FileType::Directory)?;
        Some(Self {
            dir,
            identity: mark.identity(),
            known: layout::Known::default(),
            worktree: None,
            children: Children::new(),
            generation: 0,
        })
    }

    /// The same, of a worktree at the relative path `worktree`.
    pub(super) fn of(mut self, worktree: Vec<u8>) -> Self {
        self.worktree = Some(worktree);
        self
    }

    /// Whether the directory `dir` is one that git-ci made.
    pub(super) fn is_ours(dir: &Path) -> bool {
        slot_of_git_dir(dir).is_some()
    }

    /// Makes that of the worktree at `path`, which must be an empty directory.
    pub(super) fn make(common: &Path, path: &Path, template: &Template) -> io::Result<Self> {
        let dir = path.join(".git");
        fs::create_dir(&dir)?;
        let mut admin = Self::at(dir).ok_or(io::ErrorKind::NotADirectory)?;
        admin.renew(template)?;
        admin.set_state(common, "")?;
        Ok(admin)
    }

    /// Where it is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether it is still what was found.
    pub(super) fn is_there(&self) -> bool {
        mark(&self.dir).is_some_and(|mark| {
            mark.kind() == FileType::Directory && mark.identity() == self.identity
        })
    }

    /// Brings it to what it has to be, and removes what a job left.
    ///
    /// # Errors
    /// Where something cannot be removed or written.
    pub(super) fn renew(&mut self, template: &Template) -> io::Result<()> {
        if self.generation != template.generation() {
            self.children = template.children(&self.dir, self.worktree.as_deref());
            for (name, node) in KEPT {
                self.children.insert(name.as_bytes().to_vec(), node);
            }
            self.generation = template.generation();
        }
        let dir = open_dir(rustix::fs::CWD, self.dir.as_os_str())?;
        layout::apply(dir, &self.children, &mut self.known, umask())
    }

    /// Whether a move was killed before its index was written, or a job's git was.
    pub(super) fn was_interrupted(&self) -> bool {
        fs::symlink_metadata(self.dir.join("index.lock")).is_ok()
    }

    /// Removes the lock of the index: nobody can have it.
    pub(super) fn unlock_index(&self) -> io::Result<()> {
        remove_path(&self.dir.join("index.lock"))
    }

    /// Detaches `HEAD` at a commit, unless it is.
    pub(super) fn set_head(&self, commit: &Oid) -> io::Result<()> {
        let head = self.dir.join("HEAD");
        let line = format!("{commit}\n");
        if read_file(&head, MAX_SIZE).as_deref() == Some(line.as_bytes()) {
            return Ok(());
        }
        self.replace("HEAD", line.as_bytes())
    }

    /// Where the index is.
    pub(super) fn index(&self) -> PathBuf {
        self.dir.join("index")
    }

    /// Whether the index on disk is `image`.
    pub(super) fn has_index(&self, image: &Image) -> bool {
        let Ok(trailer) = image.trailer() else {
            return false;
        };
        let limit = image.body().len() as u64 + 1024;
        read_file(&self.index(), limit)
            .is_some_and(|bytes| bytes.strip_prefix(image.body()) == Some(trailer.as_bytes()))
    }

    /// Takes the lock of the index, which says that the files are on their way from one
    /// commit to the one that `HEAD` names.
    pub(super) fn lock_index(&self) -> io::Result<IndexLock> {
        let path = self.dir.join("index.lock");
        remove_path(&path)?;
        let file = File::options().write(true).create_new(true).open(&path)?;
        Ok(IndexLock {
            file,
            path,
            index: self.index(),
        })
    }

    /// What is known of how the files were made, as [`set_state`](Self::set_state) left it.
    pub(super) fn state(&self) -> String {
        let bytes = read_file(&self.dir.join(STATE), MAX_SIZE).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        text.split_once('\0')
            .map_or(text.clone(), |(_, state)| state.to_owned())
    }

    /// Remembers how the files were made, and whose they are.
    pub(super) fn set_state(&self, common: &Path, state: &str) -> io::Result<()> {
        let text = [
            OF.as_bytes(),
            common.as_os_str().as_encoded_bytes(),
            b"\0",
            state.as_bytes(),
        ];
        self.replace(STATE, &text.concat())
    }

    /// Puts a file in place of whatever is there.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let (new, path) = (self.dir.join(format!("{name}.lock")), self.dir.join(name));
        remove_path(&new)?;
        let mut file = File::options().write(true).create_new(true).open(&new)?;
        file.write_all(bytes)?;
        put_in_place(&new, &path)
    }
}

fn mark(path: &Path) -> Option<Mark> {
    Mark::at(rustix::fs::CWD, path.as_os_str()).ok()
}

/// Renames a file over another, or over a directory that a job made of it.
fn put_in_place(new: &Path, path: &Path) -> io::Result<()> {
    match fs::rename(new, path) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            remove_path(path)?;
            fs::rename(new, path)
        }
        done => done,
    }
}

/// The index is being replaced; where that is not done the lock stays, as a sign.
pub(super) struct IndexLock {
    file: File,
    path: PathBuf,
    index: PathBuf,
}

impl IndexLock {
    /// Writes the index and puts it in place; returns its time.
    pub(super) fn commit(mut self, image: &Image) -> io::Result<Time> {
        use std::os::unix::fs::PermissionsExt as _;
        let trailer = image.trailer()?;
        self.file.write_all(image.body())?;
        self.file.write_all(trailer.as_bytes())?;
        // A shared repository gives other permissions than the umask does.
        if let Ok(old) = fs::symlink_metadata(&self.index)
            && old.is_file()
            && old.permissions().mode() & 0o777 != 0o666 & !umask()
        {
            self.file.set_permissions(old.permissions())?;
        }
        let written = mtime(&rustix::fs::fstat(&self.file)?);
        put_in_place(&self.path, &self.index)?;
        Ok(written)
    }
}

/// The rest of the line of a git directory's state that begins with `key`.
pub(super) fn state_line(admin: &Admin, key: &str) -> Option<String> {
    let state = admin.state();
    let line = state.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.to_owned())
}
