//! What git would wait at for ever: pipes, sockets and devices that a job left where git
//! opens files.
//!
//! git reads `.gitignore` in every directory that it looks into, and `HEAD` of whatever
//! looks like a repository in it, ignored or not. Nobody is at the other end of a pipe any
//! more, so all that git may come upon goes before git is run: it is as if there were none.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;

use super::files::{Tree, open_dir, remove_at};
use super::index::{Image, SUBMODULE};
use super::location::{Location, MODULES};

/// Removes them from what git looks at in the worktree at `location`: what `image` says is a
/// submodule, and what is `untracked`. In directories that are `ignored` git looks
/// for a repository and no further.
///
/// # Errors
/// Where something cannot be removed.
pub(super) fn remove(
    files: &mut Tree,
    location: &Location,
    image: &Image,
    untracked: &[Vec<u8>],
    mut ignored: impl FnMut(&mut Tree, &[u8]) -> bool,
) -> io::Result<()> {
    for i in 0..image.len() {
        if image.mode(i) == SUBMODULE {
            let path = image.path(i);
            if !location.is_sound(files, path) {
                files.remove_all(&[path, b"/.git"].concat())?;
            }
        }
    }
    for path in untracked {
        if files.kind(path) != Some(FileType::Directory) {
            continue;
        }
        let whole = !ignored(files, path);
        let dot_git = [path, b"/.git".as_slice()].concat();
        match files.kind(&dot_git) {
            _ if whole => files.remove_special(path)?,
            None => {}
            Some(FileType::Directory) => files.remove_special(&dot_git)?,
            Some(_) => files.remove_all(&dot_git)?,
        }
    }
    Ok(())
}

/// Removes all of them, wherever they are in the worktree, whose own `.git` is left alone.
///
/// # Errors
/// Where something cannot be removed.
pub(super) fn remove_all(files: &Tree) -> io::Result<()> {
    for entry in Dir::read_from(files.root())? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b".." | b".git") {
            special(files.root(), OsStr::from_bytes(name))?;
        }
    }
    Ok(())
}

/// Removes all of them, and every link, from the git directories of submodules in `admin`.
///
/// # Errors
/// Where something cannot be removed.
pub(super) fn remove_from_modules(admin: &Path) -> io::Result<()> {
    let modules = admin.join(MODULES);
    match std::fs::symlink_metadata(&modules) {
        Ok(meta) if meta.is_dir() => {}
        _ => return Ok(()),
    }
    walk(rustix::fs::CWD, modules.as_os_str(), &mut |kind, path| {
        // The one link that is ours.
        let ours = kind == FileType::Symlink && path.ends_with("lfsref/lfs");
        !ours && kind != FileType::RegularFile
    })
}

impl Tree {
    /// What kind of thing is at `path`, if anything is.
    pub(super) fn kind(&mut self, path: &[u8]) -> Option<FileType> {
        let stat = self.status(path)?;
        Some(FileType::from_raw_mode(stat.st_mode))
    }

    /// Removes what git would wait at from the directory `path` and below.
    fn remove_special(&mut self, path: &[u8]) -> io::Result<()> {
        let (dir, name) = self.parent(path, false)?;
        special(dir, name)
    }
}

fn special(at: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    walk(at, name, &mut |kind, path| {
        let repository = path.file_name() == Some(OsStr::new(".git"));
        match kind {
            FileType::RegularFile => false,
            // It may lead to a pipe.
            FileType::Symlink => repository,
            _ => true,
        }
    })
}

/// Removes everything below `name` that is no directory and that `goes`.
fn walk(
    at: BorrowedFd<'_>,
    name: &OsStr,
    goes: &mut impl FnMut(FileType, &Path) -> bool,
) -> io::Result<()> {
    fn inner(
        at: BorrowedFd<'_>,
        path: &Path,
        name: &OsStr,
        goes: &mut impl FnMut(FileType, &Path) -> bool,
    ) -> io::Result<()> {
        let stat = match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            stat => stat?,
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory {
            return if goes(kind, path) {
                remove_at(at, name)
            } else {
                Ok(())
            };
        }
        let dir = open_dir(at, name)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            // What it says of its entries spares looking at most of them.
            if name != b"." && name != b".." && entry.file_type() != FileType::RegularFile {
                names.push(name.to_vec());
            }
        }
        for name in names {
            let name = OsStr::from_bytes(&name);
            inner(dir.as_fd(), &path.join(name), name, goes)?;
        }
        Ok(())
    }
    inner(at, Path::new(name), name, goes)
}
