//! The directory in which a job may leave files: there and empty when the job starts, and
//! gone with it where nothing was left.
//!
//! Jobs of one commit come and go at the same time, and two that share a name (one of
//! them ad hoc) share the directory. So whoever uses it holds a shared lock on it, and
//! only who gets it alone may remove it; the parent goes where it is empty.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::git::Repo;
use crate::lock;
use crate::model::{JobName, Oid};
use crate::private;
use crate::worktree::remove_tree;

/// How often others may remove what is being made before that is an error.
const TRIES: u32 = 100;

/// The directory of a job on a commit, whether it is there or not.
pub(super) fn path(repo: &Repo, commit: &Oid, job: &JobName) -> PathBuf {
    repo.ci_dir().join(name(commit, job))
}

/// Its name below the `ci` directory.
fn name(commit: &Oid, job: &JobName) -> PathBuf {
    // A job's name may hold slashes; a directory's must not.
    let job = job.as_str().replace('/', "%2f");
    Path::new("artifacts").join(commit.to_string()).join(job)
}

/// The variable that says to others where a job's directory is.
pub(super) fn variable(job: &JobName) -> String {
    let fit = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    let job: String = job.as_str().chars().map(fit).collect();
    format!("GIT_CI_ARTIFACTS_{}", job.trim_end_matches('_'))
}

/// A job's directory, locked against removal by others.
pub(super) struct Artifacts {
    path: PathBuf,
    /// Holds the lock.
    dir: File,
}

impl Artifacts {
    /// Makes the directory for a job on a commit, unless it is there.
    pub(super) fn open(repo: &Repo, commit: &Oid, job: &JobName) -> io::Result<Self> {
        Self::open_in(&repo.ci_dir(), &name(commit, job))
    }

    fn open_in(ci_dir: &Path, name: &Path) -> io::Result<Self> {
        let path = ci_dir.join(name);
        let mut tries = 0;
        loop {
            match Self::try_open(ci_dir, name) {
                Ok(Some(dir)) => return Ok(Self { path, dir }),
                Err(error) if tries >= TRIES => return Err(error),
                // Somebody removed it, or its parent, at one moment or another.
                Ok(None) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists
                    ) => {}
                Err(error) => return Err(error),
            }
            tries += 1;
        }
    }

    /// `None` where another directory has its place, or none.
    fn try_open(ci_dir: &Path, name: &Path) -> io::Result<Option<File>> {
        let path = private::dir_in(ci_dir, name)?;
        let dir = File::open(&path)?;
        let alone = lock::try_exclusive(&dir).unwrap_or(false);
        if !alone {
            lock::shared(&dir)?;
        }
        if !lock::is_at(&dir, &path)? {
            return Ok(None);
        }
        if alone {
            // What an earlier try left says nothing of this one.
            for entry in fs::read_dir(&path)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    remove_tree(&entry.path())?
                } else {
                    fs::remove_file(entry.path())?
                }
            }
            lock::shared(&dir)?;
        }
        Ok(Some(dir))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Artifacts {
    fn drop(&mut self) {
        // Where another job uses it, that one will see to it.
        if lock::try_exclusive(&self.dir).unwrap_or(false)
            // Only empty directories can be removed like this.
            && fs::remove_dir(&self.path).is_ok()
            && let Some(parent) = self.path.parent()
        {
            let _ = fs::remove_dir(parent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_ones_go_and_the_rest_stays() {
        let root = tempfile::tempdir().unwrap();
        let open = |name| Artifacts::open_in(root.path(), Path::new(name)).unwrap();
        let commit = root.path().join("commit");
        let lint = open("commit/lint");
        let test = open("commit/test");
        let same = open("commit/test");
        drop(test);
        assert!(same.path().is_dir(), "another job uses it");
        fs::write(lint.path().join("report"), "fine").unwrap();
        drop(same);
        drop(lint);
        assert!(!commit.join("test").exists());
        assert!(commit.join("lint/report").exists());
        fs::remove_file(commit.join("lint/report")).unwrap();
        drop(open("commit/lint"));
        assert!(!commit.exists());
        assert!(root.path().exists());
    }

    #[test]
    fn jobs_of_one_commit_do_not_take_each_others_directories() {
        let root = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for job in 0..4 {
                let root = root.path();
                let name = Path::new("commit").join((job / 2).to_string());
                scope.spawn(move || {
                    for _ in 0..200 {
                        let artifacts = Artifacts::open_in(root, &name).unwrap();
                        assert!(artifacts.path().is_dir());
                    }
                });
            }
        });
        assert!(!root.path().join("commit").exists());
    }
}
