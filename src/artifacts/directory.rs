//! The directory in which a job may leave files: there and empty when the job starts, and
//! gone with it where nothing was left.
//!
//! Jobs of one commit come and go at the same time, and two that share a name (one of
//! them ad hoc) share the directory. So whoever uses it holds a shared lock on it, and
//! only who gets it alone may remove it; the parent goes where it is empty.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::lock;
use crate::model::{JobName, Oid};
use crate::private;
use crate::worktree::remove_tree;

use super::{ArtifactStore, apart, name, siblings};

/// How often others may remove what is being made before that is an error.
const TRIES: u32 = 100;

/// What sets the directory of a shell apart.
const SHELL: &str = "shell";

/// What becomes of what is there already, where nobody else uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// It goes, with what earlier tries left.
    All,
    /// It goes.
    Own,
    /// It stays, as what this try left, unless that is there: then it is of a run of the same try
    /// whose machine was lost, and goes.
    Aside(u32),
}

/// A job's directory, locked against removal by others.
pub(crate) struct Artifacts {
    pub(super) ci_dir: PathBuf,
    path: PathBuf,
    /// Holds the lock.
    dir: File,
}

impl ArtifactStore {
    /// Makes the directory for a try (from 1) of a job on a commit, unless it is there. What is
    /// there of earlier tries of the same task stays beside it; what an earlier task left goes.
    ///
    /// # Errors
    /// Where it cannot be made, or what is there not be removed.
    pub(crate) fn open(&self, commit: &Oid, job: &JobName, try_: u32) -> io::Result<Artifacts> {
        let before = match try_ {
            0 | 1 => Before::All,
            _ => Before::Aside(try_ - 1),
        };
        Artifacts::open_in(&self.ci_dir, &name(commit, job), before)
    }

    /// The same for a job that another one needs: what its own tries left stays.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub(crate) fn open_needed(&self, commit: &Oid, job: &JobName) -> io::Result<Artifacts> {
        Artifacts::open_in(&self.ci_dir, &name(commit, job), Before::Own)
    }

    /// Makes one for a shell in the place of a job.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub(crate) fn open_for_shell(&self, commit: &Oid, job: &JobName) -> io::Result<Artifacts> {
        let name = apart(&name(commit, job), SHELL);
        Artifacts::open_in(&self.ci_dir, &name, Before::Own)
    }

    /// Removes that of a shell, unless another shell has it.
    pub(crate) fn clear_for_shell(&self, commit: &Oid, job: &JobName) {
        // It is empty where this is the last one, and so goes.
        let _ = self.open_for_shell(commit, job);
    }
}

impl Artifacts {
    fn open_in(ci_dir: &Path, name: &Path, before: Before) -> io::Result<Self> {
        let path = ci_dir.join(name);
        let mut tries = 0;
        loop {
            match Self::try_open(ci_dir, name, before) {
                Ok(Some(dir)) => {
                    let ci_dir = ci_dir.to_owned();
                    return Ok(Self { ci_dir, path, dir });
                }
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
    fn try_open(ci_dir: &Path, name: &Path, before: Before) -> io::Result<Option<File>> {
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
            let aside = match before {
                Before::Aside(try_) => Some(apart(&path, &try_.to_string())),
                Before::All | Before::Own => None,
            };
            if let Some(aside) = aside.filter(|aside| !aside.exists())
                && fs::read_dir(&path)?.next().is_some()
            {
                fs::rename(&path, aside)?;
                return Ok(None);
            }
            if before == Before::All {
                let tries = siblings(&path).into_iter();
                let mut tries = tries.filter(|(what, _)| what != SHELL);
                tries.try_for_each(|(_, sibling)| remove_tree(&sibling))?;
            }
            // What an earlier task left says nothing of this one.
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

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Removes a job's directory, unless somebody uses it.
pub(super) fn remove_unused(path: &Path) -> io::Result<()> {
    let dir = File::open(path)?;
    if lock::try_exclusive(&dir).unwrap_or(false) && lock::is_at(&dir, path)? {
        remove_tree(path)?;
    }
    Ok(())
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

    fn artifacts(root: &Path, name: &Path) -> Artifacts {
        Artifacts::open_in(root, name, Before::All).unwrap()
    }

    #[test]
    fn earlier_tries_stay_beside_it_until_the_next_task() {
        let root = tempfile::tempdir().unwrap();
        let store = ArtifactStore::new(root.path());
        let commit = "11".repeat(20).parse().unwrap();
        let job: JobName = "a/b".parse().unwrap();
        for try_ in 1..=3 {
            let dir = store.open(&commit, &job, try_).unwrap();
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
            if try_ != 2 {
                fs::write(dir.path().join("file"), try_.to_string()).unwrap();
            }
        }
        let tries = |expected: &[(Option<u32>, &str)]| {
            let found = store.tries(&commit, &job).into_iter();
            let read = |path: PathBuf| fs::read_to_string(path.join("file")).unwrap();
            let found: Vec<_> = found.map(|(try_, path)| (try_, read(path))).collect();
            let found: Vec<_> = found
                .iter()
                .map(|(try_, text)| (*try_, &text[..]))
                .collect();
            assert_eq!(found, expected);
        };
        tries(&[(Some(1), "1"), (None, "3")]);
        let shell = store.open_for_shell(&commit, &job).unwrap();
        drop(store.open_needed(&commit, &job).unwrap());
        tries(&[(Some(1), "1")]);
        assert!(shell.path().is_dir());
        drop(store.open(&commit, &job, 1).unwrap());
        tries(&[]);
        assert!(shell.path().is_dir(), "somebody is in there");
    }

    #[test]
    fn a_try_whose_machine_was_lost_is_no_try_of_its_own() {
        let root = tempfile::tempdir().unwrap();
        let store = ArtifactStore::new(root.path());
        let commit = "11".repeat(20).parse().unwrap();
        let job = "job".parse().unwrap();
        for (try_, text) in [(1, "first"), (2, "lost"), (2, "second")] {
            let dir = store.open(&commit, &job, try_).unwrap();
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
            fs::write(dir.path().join("file"), text).unwrap();
        }
        let tries = store.tries(&commit, &job).into_iter();
        let read =
            |(try_, path): (_, PathBuf)| (try_, fs::read_to_string(path.join("file")).unwrap());
        let found: Vec<_> = tries.map(read).collect();
        let expected = [(Some(1), "first".to_owned()), (None, "second".to_owned())];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_somebody_uses_is_not_too_old() {
        use std::time::Duration;

        let root = tempfile::tempdir().unwrap();
        let store = ArtifactStore::new(root.path());
        store.remove_older(Duration::ZERO).unwrap();
        let commit = "11".repeat(20).parse().unwrap();
        let open = |job: &str| store.open(&commit, &job.parse().unwrap(), 1).unwrap();
        let (left, used) = (open("left"), open("used"));
        for artifacts in [&left, &used] {
            fs::write(artifacts.path().join("file"), "text").unwrap();
        }
        drop(left);
        store.remove_older(Duration::from_secs(60)).unwrap();
        assert_eq!(store.jobs(&commit).len(), 2);
        std::thread::sleep(Duration::from_millis(10));
        store.remove_older(Duration::ZERO).unwrap();
        assert_eq!(store.jobs(&commit), ["used".parse().unwrap()]);
    }

    #[test]
    fn empty_ones_go_and_the_rest_stays() {
        let root = tempfile::tempdir().unwrap();
        let open = |name| artifacts(root.path(), Path::new(name));
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
                        let artifacts = artifacts(root, &name);
                        assert!(artifacts.path().is_dir());
                    }
                });
            }
        });
        assert!(!root.path().join("commit").exists());
    }
}
