//! A worktree's own git directory, `<repository>/worktrees/NAME`, and the file `.git`
//! that leads there.
//!
//! A job can do anything to both. Before git is run in a worktree it is certain that
//! `.git` leads to the worktree's own directory: had a job pointed it elsewhere, git
//! would write the user's index and `HEAD`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::model::Oid;

use super::files::{remove_path, umask};
use super::index::{Image, Time, mtime};

/// What git and git-ci keep there. All else is what a job left: locks, a merge or
/// rebase half done, refs and reflogs of its own.
const KEPT: [&str; 10] = [
    "HEAD",
    "commondir",
    "gitdir",
    "index",
    "info",
    "config.worktree",
    "locked",
    "modules",
    "refs",
    STATE,
];

/// What git-ci knows about the files of the worktree; see [`Admin::state`].
const STATE: &str = "git-ci";

/// A worktree's git directory that is sound.
pub(super) struct Admin {
    dir: PathBuf,
    /// The worktree's file `.git`, and what it says.
    dot_git: PathBuf,
    leads_here: Vec<u8>,
}

impl Admin {
    /// Finds that of the worktree at `path`, and mends the way to it. `None` where
    /// there is none, or only ruins.
    pub(super) fn find(common: &Path, path: &Path) -> Option<Self> {
        if !fs::symlink_metadata(path).ok()?.is_dir() {
            return None;
        }
        let dot_git = path.join(".git");
        let all = fs::canonicalize(common.join("worktrees")).ok()?;
        let leads_here = read_file(&dot_git);
        let named = leads_here.as_deref().and_then(|text| {
            let target = text.strip_prefix(b"gitdir: ")?.trim_ascii_end();
            let dir = fs::canonicalize(path.join(OsStr::from_bytes(target))).ok()?;
            (dir.parent() == Some(&all) && is_of(&dir, common, path)).then_some(dir)
        });
        if let (Some(dir), Some(leads_here)) = (named, leads_here) {
            return Some(Self {
                dir,
                dot_git,
                leads_here,
            });
        }
        let dir = fs::read_dir(&all)
            .ok()?
            .flatten()
            .map(|entry| entry.path())
            .find(|dir| is_of(dir, common, path))?;
        let leads_here = [b"gitdir: ", dir.as_os_str().as_bytes(), b"\n"].concat();
        remove_path(&dot_git).ok()?;
        fs::write(&dot_git, &leads_here).ok()?;
        Some(Self {
            dir,
            dot_git,
            leads_here,
        })
    }

    /// Where it is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether `.git` still leads here.
    pub(super) fn is_led_to(&self) -> bool {
        read_file(&self.dot_git).as_deref() == Some(&self.leads_here)
    }

    /// Removes what a job left.
    pub(super) fn tidy(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if !KEPT.iter().any(|kept| *kept == name) {
                remove_path(&entry.path())?;
            }
        }
        match fs::read_dir(self.dir.join("refs")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(_) => remove_path(&self.dir.join("refs")),
            Ok(refs) => refs
                .flatten()
                .try_for_each(|entry| remove_path(&entry.path())),
        }
    }

    /// Whether a move was killed before its index was written, or a job's git was.
    pub(super) fn was_interrupted(&self) -> bool {
        fs::symlink_metadata(self.dir.join("index.lock")).is_ok()
    }

    /// Detaches `HEAD` at a commit, unless it is.
    pub(super) fn set_head(&self, commit: &Oid) -> io::Result<()> {
        let head = self.dir.join("HEAD");
        let line = format!("{commit}\n");
        if read_file(&head).as_deref() == Some(line.as_bytes()) {
            return Ok(());
        }
        let lock = self.dir.join("HEAD.lock");
        remove_path(&lock)?;
        fs::write(&lock, line)?;
        if fs::symlink_metadata(&head).is_ok_and(|meta| meta.is_dir()) {
            remove_path(&head)?;
        }
        fs::rename(&lock, &head)
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
        read_file(&self.index())
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
        let bytes = read_file(&self.dir.join(STATE)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Remembers how the files were made.
    pub(super) fn set_state(&self, state: &str) -> io::Result<()> {
        let new = self.dir.join(format!("{STATE}.lock"));
        fs::write(&new, state)?;
        fs::rename(&new, self.dir.join(STATE))
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
        if let Err(error) = fs::rename(&self.path, &self.index) {
            // A directory, of all things, is in its place.
            if error.kind() != io::ErrorKind::IsADirectory {
                return Err(error);
            }
            remove_path(&self.index)?;
            fs::rename(&self.path, &self.index)?;
        }
        Ok(written)
    }
}

/// Whether `dir` is the git directory of the worktree at `path` of this repository.
fn is_of(dir: &Path, common: &Path, path: &Path) -> bool {
    let leads = |name: &str| {
        let text = read_file(&dir.join(name))?;
        Some(dir.join(OsStr::from_bytes(text.trim_ascii_end())))
    };
    let same = |a: &Path, b: &Path| matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b);
    let back = leads("gitdir");
    fs::symlink_metadata(dir).is_ok_and(|meta| meta.is_dir())
        && back.is_some_and(|back| {
            back.file_name() == Some(OsStr::new(".git"))
                && back.parent().is_some_and(|parent| same(parent, path))
        })
        && leads("commondir").is_some_and(|led| same(&led, common))
}

/// The contents of a regular file; a link is none, nor is anything else.
fn read_file(path: &Path) -> Option<Vec<u8>> {
    if !fs::symlink_metadata(path).ok()?.is_file() {
        return None;
    }
    fs::read(path).ok()
}
