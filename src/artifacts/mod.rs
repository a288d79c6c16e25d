//! What jobs leave: a directory for each job on each commit, in which it may leave files, and
//! what is kept of them.
//!
//! | Below `ci/artifacts/` | |
//! |---|---|
//! | `COMMIT/JOB/` | what the job's last try left; a `/` in its name is `%2f` |
//! | `COMMIT/JOB~TRY/` | what an earlier try of the same task left |
//! | `.equal/HH/HASH` | a link to each file that is kept, by the hash of its content |
//!
//! Equal files are one file, so that what many commits have in common takes its place once. So
//! a kept file can only be read, and has the time of the first that was like it.

mod directory;
mod keep;
mod listing;
mod received;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::{JobName, Oid};

pub(crate) use directory::Artifacts;
pub(crate) use keep::ArtifactLimits;
pub(crate) use listing::{Left, LeftFile, extract, list};
pub(crate) use received::Received;

/// Below `ci`.
const DIR: &str = "artifacts";

/// Below that: one link to each file that is kept.
const EQUAL: &str = ".equal";

/// What is older is no longer being made.
const LITTER_AGE: Duration = Duration::from_secs(60 * 60);

/// What stands between the name of a job's directory and what sets it apart; in no job's name.
const APART: char = '~';

/// The artifacts of one repository.
#[derive(Debug, Clone)]
pub(crate) struct ArtifactStore {
    ci_dir: PathBuf,
}

impl ArtifactStore {
    /// Those below the repository's `ci` directory.
    pub(crate) fn new(ci_dir: &Path) -> Self {
        Self {
            ci_dir: ci_dir.to_owned(),
        }
    }

    /// The directory of a job on a commit, whether it is there or not.
    pub(crate) fn path(&self, commit: &Oid, job: &JobName) -> PathBuf {
        self.ci_dir.join(name(commit, job))
    }

    /// What a job left on a commit, by the tries whose it is, oldest first; `None` is the last.
    pub(crate) fn tries(&self, commit: &Oid, job: &JobName) -> Vec<(Option<u32>, PathBuf)> {
        let last = self.path(commit, job);
        let mut found = Vec::new();
        for (try_, path) in siblings(&last) {
            found.extend(try_.parse().ok().map(|try_: u32| (try_, path)));
        }
        found.sort();
        let earlier = found.into_iter().map(|(try_, path)| (Some(try_), path));
        let all = earlier.chain([(None, last)]);
        all.filter(|(_, path)| path.is_dir()).collect()
    }

    /// The jobs that left something on a commit, in order.
    pub(crate) fn jobs(&self, commit: &Oid) -> Vec<JobName> {
        let dir = self.ci_dir.join(DIR).join(commit.to_string());
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let job = |entry: fs::DirEntry| {
            let name = entry.file_name();
            name.to_str()?.replace("%2f", "/").parse().ok()
        };
        let mut jobs: Vec<JobName> = entries.filter_map(job).collect();
        jobs.sort();
        jobs
    }

    /// Removes the directories that nobody has used for `age`, on a machine where they are only
    /// for the jobs that need others.
    ///
    /// # Errors
    /// Where something cannot be looked at or removed.
    pub(crate) fn remove_older(&self, age: Duration) -> io::Result<()> {
        for commit in fs::read_dir(self.ci_dir.join(DIR)).into_iter().flatten() {
            let commit = commit?;
            if commit.file_name() == EQUAL {
                continue;
            }
            for job in fs::read_dir(commit.path())? {
                let job = job?;
                let used = job.metadata()?.modified()?.elapsed();
                if used.is_ok_and(|used| used > age) {
                    directory::remove_unused(&job.path())?;
                }
            }
            // Where it is empty.
            let _ = fs::remove_dir(commit.path());
        }
        self.forget_unused()
    }

    /// Forgets what no job's directory has any more.
    ///
    /// # Errors
    /// Where a directory cannot be read, or a file not be removed.
    pub(crate) fn forget_unused(&self) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt as _;
        let dirs = match fs::read_dir(self.ci_dir.join(DIR).join(EQUAL)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            dirs => dirs?,
        };
        for dir in dirs {
            let dir = dir?;
            if !dir.file_type()?.is_dir() {
                // In a moment it is in its place, unless whoever put it there was killed.
                let written = dir.metadata()?.modified()?;
                if written.elapsed().is_ok_and(|age| age > LITTER_AGE) {
                    fs::remove_file(dir.path())?;
                }
                continue;
            }
            let dir = dir.path();
            for file in fs::read_dir(&dir)? {
                let file = file?;
                if file.metadata()?.nlink() == 1 {
                    fs::remove_file(file.path())?;
                }
            }
            // Where it is empty.
            let _ = fs::remove_dir(dir);
        }
        Ok(())
    }
}

/// The name of a job's directory below `ci`.
fn name(commit: &Oid, job: &JobName) -> PathBuf {
    // A job's name may hold slashes; a directory's must not.
    let job = job.as_str().replace('/', "%2f");
    Path::new(DIR).join(commit.to_string()).join(job)
}

/// The directory beside a job's that is set apart so.
fn apart(path: &Path, what: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!("{APART}{what}"));
    path.with_file_name(name)
}

/// The directories beside a job's, with what sets each apart.
fn siblings(path: &Path) -> Vec<(String, PathBuf)> {
    let own = path.file_name().unwrap_or_default();
    let own = own.to_string_lossy().into_owned();
    let beside = path.parent().unwrap_or(path);
    let entries = fs::read_dir(beside).into_iter().flatten().flatten();
    let sibling = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let what = name.to_str()?.strip_prefix(&own)?.strip_prefix(APART)?;
        Some((what.to_owned(), entry.path()))
    };
    entries.filter_map(sibling).collect()
}

/// The variable that says to others where a job's directory is.
pub(crate) fn variable(job: &JobName) -> String {
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
