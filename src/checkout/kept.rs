//! An index as a move left it, to be put back after a job.
//!
//! What git itself left may be more than an [`Image`](super::index::Image) can say, so it is
//! kept byte by byte. Its time belongs to it: git does not believe what it says of files
//! that are not older.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{FileType, Timespec};

use super::files::Tree;
use super::index::{FILE, Stamp, stamp};

/// A copy of an index in a slot.
pub(super) struct Kept {
    /// Where it is, below the slot.
    path: Vec<u8>,
    bytes: Vec<u8>,
    stamp: Stamp,
    written: Timespec,
}

impl Kept {
    /// Reads the index at `path` in the slot at `slot`; `None` where there is none.
    pub(super) fn read(slot: &Path, path: Vec<u8>) -> Option<Self> {
        let mut slot = Tree::open(slot).ok()?;
        let stat = slot.status(&path)?;
        Some(Self {
            bytes: slot.read(&path)?,
            stamp: stamp(&stat),
            written: Timespec {
                tv_sec: stat.st_mtime,
                tv_nsec: stat.st_mtime_nsec as _,
            },
            path,
        })
    }

    /// Writes it again, if it is not as it was and its directory is still there.
    pub(super) fn put_back(&mut self, slot: &mut Tree) -> io::Result<()> {
        let status = slot.status(&self.path);
        if status.is_some_and(|stat| stamp(&stat) == self.stamp) {
            return Ok(());
        }
        let dir = Path::new(std::ffi::OsStr::from_bytes(&self.path)).parent();
        let dir = dir.map(|dir| dir.as_os_str().as_bytes().to_vec());
        if dir.and_then(|dir| slot.kind(&dir)) != Some(FileType::Directory) {
            return Ok(());
        }
        slot.write(&self.path, FILE, &self.bytes)?;
        slot.set_time(&self.path, self.written)?;
        if let Some(stat) = slot.status(&self.path) {
            self.stamp = stamp(&stat);
        }
        Ok(())
    }
}
