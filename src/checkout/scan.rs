//! One walk over a worktree that finds what a job did to it: tracked files that are not
//! as they were left, and everything that is not tracked.
//!
//! A tracked file costs one `lstat`, a directory is read once. Nothing that is not tracked
//! is looked into. Directories with tracked files get back the permissions of new ones.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{AtFlags, Dir, FileType, RawMode};
use rustix::io::Errno;

use super::files::{Tree, is_usual, make_usual, open_dir, umask};
use super::index::{Image, SUBMODULE, stamp};

/// What a walk found.
#[derive(Default)]
pub(super) struct Found {
    /// Entries of the image whose file is gone, changed, or not provably unchanged.
    pub(super) suspects: Vec<usize>,
    /// Entries whose file has other permissions than a new one, or other names.
    pub(super) unusual: Vec<usize>,
    /// Paths that are not tracked; a directory stands for all that is below it.
    pub(super) untracked: Vec<Vec<u8>>,
    /// A `.git` in a directory with tracked files: a repository that a job made there.
    pub(super) nested: Vec<Vec<u8>>,
}

/// Walks `tree`, of which `image` says what is tracked.
pub(super) fn scan(tree: &Tree, image: &Image) -> io::Result<Found> {
    let mut walk = Walk {
        image,
        path: Vec::new(),
        umask: umask(),
        found: Found::default(),
    };
    let root = rustix::io::fcntl_dupfd_cloexec(tree.root(), 0)?;
    rustix::fs::seek(&root, rustix::fs::SeekFrom::Start(0))?;
    walk.dir(root, 0, image.len())?;
    Ok(walk.found)
}

struct Walk<'a> {
    image: &'a Image,
    /// The current directory, with a slash at its end unless it is the top.
    path: Vec<u8>,
    umask: RawMode,
    found: Found,
}

/// What is tracked in a directory under one name.
struct Child<'a> {
    name: &'a [u8],
    /// Its entries; those of a directory are neighbours.
    from: usize,
    to: usize,
    is_dir: bool,
    seen: bool,
}

impl<'a> Walk<'a> {
    /// What is tracked in the current directory, which has the entries `from..to`.
    fn children(&self, from: usize, to: usize) -> Vec<Child<'a>> {
        let mut children: Vec<Child<'a>> = Vec::with_capacity(to - from);
        let image: &'a Image = self.image;
        for i in from..to {
            let rest = &image.path(i)[self.path.len()..];
            let slash = rest.iter().position(|&byte| byte == b'/');
            let name = slash.map_or(rest, |slash| &rest[..slash]);
            match children.last_mut() {
                Some(last) if last.is_dir && slash.is_some() && last.name == name => {
                    last.to = i + 1;
                }
                _ => children.push(Child {
                    name,
                    from: i,
                    to: i + 1,
                    is_dir: slash.is_some(),
                    seen: false,
                }),
            }
        }
        // In the index "a.b" comes before "a/b".
        if !children.is_sorted_by_key(|child| child.name) {
            children.sort_unstable_by_key(|child| child.name);
        }
        children
    }

    fn dir(&mut self, fd: OwnedFd, from: usize, to: usize) -> io::Result<()> {
        let mut children = self.children(from, to);
        make_usual(fd.as_fd(), self.umask)?;
        let mut dir = Dir::new(fd)?;
        while let Some(entry) = dir.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if name == b".git" {
                if !self.path.is_empty() {
                    self.found.nested.push(self.full(name));
                }
                continue;
            }
            let Ok(at) = children.binary_search_by(|child| child.name.cmp(name)) else {
                self.found.untracked.push(self.full(name));
                continue;
            };
            let child = &mut children[at];
            let name = OsStr::from_bytes(name);
            if !child.is_dir {
                child.seen = true;
                let from = child.from;
                let stat = rustix::fs::statat(dir.fd()?, name, AtFlags::SYMLINK_NOFOLLOW)?;
                let kind = FileType::from_raw_mode(stat.st_mode);
                let mode = self.image.mode(from);
                if kind == FileType::RegularFile && !is_usual(&stat, mode, self.umask) {
                    self.found.unusual.push(from);
                }
                if !self.image.proves(from, &stamp(&stat)) {
                    self.found.suspects.push(from);
                    // What a submodule has is its own business.
                    if kind == FileType::Directory && mode != SUBMODULE {
                        self.found.untracked.push(self.full(name.as_bytes()));
                    }
                }
                continue;
            }
            match open_dir(dir.fd()?, name) {
                Ok(below) => {
                    child.seen = true;
                    let (from, to, length) = (child.from, child.to, self.path.len());
                    self.path.extend_from_slice(name.as_bytes());
                    self.path.push(b'/');
                    self.dir(below, from, to)?;
                    self.path.truncate(length);
                }
                // Something else is in its place.
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    self.found.untracked.push(self.full(name.as_bytes()));
                }
                Err(error) => return Err(error.into()),
            }
        }
        for child in children.iter().filter(|child| !child.seen) {
            self.found.suspects.extend(child.from..child.to);
        }
        Ok(())
    }

    fn full(&self, name: &[u8]) -> Vec<u8> {
        [&self.path, name].concat()
    }
}
