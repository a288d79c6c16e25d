//! A directory brought to what should be in it, whatever it holds: files are written
//! where they differ, and what does not belong goes.
//!
//! Nothing is followed and nothing but a regular file is opened, so that a link or a
//! pipe in the place of a file harms nobody. Files are replaced, never written into:
//! others may have links to them. A file that is cut off by a crash differs, and is
//! written again.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::rc::Rc;
use std::time::SystemTime;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RawMode};
use rustix::io::Errno;

use super::files::{make_usual, open_dir, remove_at};
use super::mark::Mark;

/// What belongs in a place.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// A directory with this and nothing else in it.
    Dir(Children),
    /// A file with these bytes and these permissions, before the umask.
    File(Rc<Vec<u8>>, RawMode),
    /// A symbolic link.
    Link(Vec<u8>),
    /// A regular file that somebody else looks after, or none.
    AnyFile,
    /// A directory that somebody else looks after, or none.
    AnyDir,
}

/// What belongs in a directory, by name.
pub(super) type Children = BTreeMap<Vec<u8>, Node>;

/// Puts `node` at a path below a directory, and directories above it where there are none.
pub(super) fn insert(children: &mut Children, path: &[u8], node: Node) {
    match path.iter().position(|&byte| byte == b'/') {
        None => {
            children.insert(path.to_vec(), node);
        }
        Some(slash) => {
            let dir = children
                .entry(path[..slash].to_vec())
                .or_insert_with(|| Node::Dir(Children::new()));
            if let Node::Dir(below) = dir {
                insert(below, &path[slash + 1..], node);
            }
        }
    }
}

/// What is known of the files that were written or compared: their marks, and what
/// they held. A file whose mark is the same still holds it.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<Vec<u8>, (Mark, Rc<Vec<u8>>)>);

/// Brings the open directory `dir` to `children`.
///
/// # Errors
/// Where something cannot be removed or written.
pub(super) fn apply(
    dir: OwnedFd,
    children: &Children,
    known: &mut Known,
    umask: RawMode,
) -> io::Result<()> {
    let mut apply = Apply {
        known,
        umask,
        path: Vec::new(),
        now: SystemTime::now(),
    };
    apply.dir(dir, children)
}

struct Apply<'k> {
    known: &'k mut Known,
    umask: RawMode,
    /// The current directory, with a slash at its end unless it is the top.
    path: Vec<u8>,
    now: SystemTime,
}

impl Apply<'_> {
    fn dir(&mut self, fd: OwnedFd, children: &Children) -> io::Result<()> {
        make_usual(fd.as_fd(), self.umask)?;
        let mut foreign = Vec::new();
        for entry in Dir::read_from(&fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." && !children.contains_key(name) {
                foreign.push(name.to_vec());
            }
        }
        for name in foreign {
            remove_at(fd.as_fd(), OsStr::from_bytes(&name))?;
        }
        for (name, node) in children {
            self.node(fd.as_fd(), name, node)?;
        }
        Ok(())
    }

    fn node(&mut self, at: BorrowedFd<'_>, name: &[u8], node: &Node) -> io::Result<()> {
        let entry = OsStr::from_bytes(name);
        match node {
            Node::Dir(children) => {
                let below = match open_dir(at, entry) {
                    Ok(below) => below,
                    Err(Errno::NOENT) => make_dir(at, entry)?,
                    Err(Errno::NOTDIR | Errno::LOOP) => {
                        remove_at(at, entry)?;
                        make_dir(at, entry)?
                    }
                    Err(error) => return Err(error.into()),
                };
                let length = self.path.len();
                self.path.extend_from_slice(name);
                self.path.push(b'/');
                let done = self.dir(below, children);
                self.path.truncate(length);
                done
            }
            Node::File(bytes, mode) => self.file(at, name, bytes, *mode),
            Node::Link(target) => {
                let there = rustix::fs::readlinkat(at, entry, Vec::new());
                if there.is_ok_and(|there| there.as_bytes() == target) {
                    return Ok(());
                }
                remove_if_there(at, entry)?;
                Ok(rustix::fs::symlinkat(OsStr::from_bytes(target), at, entry)?)
            }
            Node::AnyFile => expect(at, entry, FileType::RegularFile),
            Node::AnyDir => expect(at, entry, FileType::Directory),
        }
    }

    fn file(
        &mut self,
        at: BorrowedFd<'_>,
        name: &[u8],
        bytes: &Rc<Vec<u8>>,
        mode: RawMode,
    ) -> io::Result<()> {
        let entry = OsStr::from_bytes(name);
        let path = [&self.path, name].concat();
        match Mark::at(at, entry) {
            Ok(mark) => {
                let usual = mark.kind() == FileType::RegularFile
                    && mark.mode & 0o7777 == mode & !self.umask
                    && mark.size == bytes.len() as u64;
                let proven = self.known.0.get(&path).is_some_and(|(old, held)| {
                    *old == mark && (Rc::ptr_eq(held, bytes) || held == bytes)
                });
                if usual && proven {
                    return Ok(());
                }
                if usual && holds(at, entry, bytes)? {
                    // What changes from now on makes another mark, if this one is old.
                    if mark.is_before(self.now) {
                        self.known.0.insert(path, (mark, Rc::clone(bytes)));
                    }
                    return Ok(());
                }
                remove_at(at, entry)?;
            }
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        self.known.0.remove(&path);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(at, entry, flags, Mode::from_raw_mode(mode))?;
        std::fs::File::from(file).write_all(bytes)
    }
}

/// Whether the regular file `name` holds `bytes`, of which it has the size.
fn holds(at: BorrowedFd<'_>, name: &OsStr, bytes: &[u8]) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(at, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::ACCESS) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let mut held = Vec::with_capacity(bytes.len() + 1);
    let limit = bytes.len() as u64 + 1;
    std::fs::File::from(file)
        .take(limit)
        .read_to_end(&mut held)?;
    Ok(held == bytes)
}

/// Removes what is at `name` unless it is of this kind.
fn expect(at: BorrowedFd<'_>, name: &OsStr, kind: FileType) -> io::Result<()> {
    match Mark::at(at, name) {
        Ok(mark) if mark.kind() == kind => Ok(()),
        Ok(_) => remove_at(at, name),
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn remove_if_there(at: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(()),
        _ => remove_at(at, name),
    }
}

fn make_dir(at: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    rustix::fs::mkdirat(at, name, Mode::from_raw_mode(0o777))?;
    open_dir(at, name)
}
