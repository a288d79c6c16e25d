//! Claims: at most one task with the same tree and definition runs at a time, in all
//! the runs on this repository.
//!
//! A claim is a `flock` on a file named after what is tested, so death releases it.
//! The file says who has it, for those who wait. It is removed when the claim ends;
//! whoever locked a file that has been removed meanwhile notices by its inode and starts
//! over.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::lock;
use crate::model::Task;
use crate::private;
use crate::process::Peer;

/// No claim says more, in bytes.
const MOST: u64 = 4096;

/// The directory of claims of one repository.
#[derive(Debug)]
pub(super) struct Claims {
    dir: PathBuf,
    ci_dir: PathBuf,
}

/// What came of a try to claim what a task tests.
#[derive(Debug)]
pub(super) enum Claim {
    /// It may run.
    Held(Right),
    /// Another run works on it: this one, as far as is known.
    Elsewhere(Option<Peer>),
}

/// The right to run what a task tests, until dropped.
#[derive(Debug)]
pub(super) struct Right {
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
        let ci_dir = ci_dir.to_owned();
        Ok(Self { dir, ci_dir })
    }

    fn path(&self, task: &Task) -> PathBuf {
        // Tasks on other commits may have the same verdict, unless it is known before
        // that they have not.
        let mut name = match task.criteria.input(&task.commit) {
            Some(input) => format!("{}-{input}", task.def),
            None => format!("{}-{}", task.def, task.commit.tree),
        };
        if task.criteria.binds {
            name += &format!("-{}", task.commit.id);
        }
        self.dir.join(name)
    }

    /// Claims what `task` tests. Never waits.
    ///
    /// # Errors
    /// Where the file cannot be used.
    pub(super) fn try_claim(&self, task: &Task) -> io::Result<Claim> {
        let path = self.path(task);
        loop {
            let mut file = match private::open(&path, private::Open::Update) {
                // Somebody removed the directory.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    private::dir_in(&self.ci_dir, "claims")?;
                    private::open(&path, private::Open::Update)?
                }
                file => file?,
            };
            if !lock::try_exclusive(&file)? {
                return Ok(Claim::Elsewhere(owner(&path)));
            }
            // Locked a file that its last owner removed? Then the lock says nothing.
            if lock::is_at(&file, &path)? {
                // Who cannot be told who has it waits all the same.
                let _ = file
                    .set_len(0)
                    .and_then(|()| file.write_all(&serde_json::to_vec(&Peer::this())?));
                return Ok(Claim::Held(Right { path, _file: file }));
            }
        }
    }
}

/// Who has a claim, as far as that is known.
fn owner(path: &Path) -> Option<Peer> {
    serde_json::from_slice(&private::read(path, MOST).ok()?).ok()
}

impl Drop for Right {
    fn drop(&mut self) {
        // Still locked here, so nobody else's file is removed. A file that stays
        // behind is only litter.
        let _ = fs::remove_file(&self.path);
    }
}
