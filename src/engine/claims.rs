//! Claims: at most one task with the same tree and definition runs at a time, in all
//! the runs on this repository.
//!
//! A claim is a `flock` on a file named after what is tested, so death releases it.
//! The file is removed when the claim ends; whoever locked a file that has been
//! removed meanwhile notices by its inode and starts over.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::model::Task;
use crate::private;

/// The directory of claims of one repository.
#[derive(Debug)]
pub(super) struct Claims {
    dir: PathBuf,
}

/// The right to run what a task tests, until dropped.
#[derive(Debug)]
pub(super) struct Claim {
    path: PathBuf,
    /// Keeps the lock.
    _file: File,
}

impl Claims {
    /// Claims below the repository's `ci` directory.
    ///
    /// # Errors
    /// Where the directory cannot be made.
    pub(super) fn new(ci_dir: &Path) -> io::Result<Self> {
        let dir = private::dir_in(ci_dir, "claims")?;
        Ok(Self { dir })
    }

    /// Claims what `task` tests; `None` where another run has it.
    pub(super) fn try_claim(&self, task: &Task) -> io::Result<Option<Claim>> {
        // Tasks on other commits may have the same verdict, unless it is known before
        // that they have not.
        let mut name = format!("{}-{}", task.def, task.commit.tree);
        if task.criteria.binds {
            name += &format!("-{}", task.commit.id);
        }
        let path = self.dir.join(name);
        loop {
            let file = private::open(&path, private::Open::Update)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            // Locked a file that its last owner removed? Then the lock says nothing.
            match fs::symlink_metadata(&path) {
                Ok(now) if now.ino() == file.metadata()?.ino() => {
                    return Ok(Some(Claim { path, _file: file }));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Still locked here, so nobody else's file is removed. A file that stays
        // behind is only litter.
        let _ = fs::remove_file(&self.path);
    }
}
