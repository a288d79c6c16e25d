//! What a watcher in the background has to tell: nobody sees its screen, so the next
//! hook says it, once.
//!
//! A file of lines, `<ci>/notice`. Whoever shows it renames it first, so that each line is
//! shown once, by one process. Nothing depends on it: what cannot be written or read is
//! not shown, and stands in the results all the same.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{JobName, Oid, Status};
use crate::private;

/// A file that nobody reads grows no larger, in bytes.
const MOST: u64 = 64 * 1024;

/// Something that went wrong in the background.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// A task did not pass.
    Task {
        /// The commit.
        commit: Oid,
        /// The job.
        job: JobName,
        /// FAIL or ERROR.
        status: Status,
    },
    /// The watcher itself could not go on.
    Watcher {
        /// Completes "failed to …", on one line.
        reason: String,
    },
}

/// The notices of one repository.
#[derive(Debug, Clone)]
pub struct Notices {
    path: PathBuf,
}

impl Notices {
    /// Those below this `ci` directory.
    pub fn new(ci_dir: &Path) -> Self {
        Self {
            path: ci_dir.join("notice"),
        }
    }

    /// Leaves one for the next hook.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn add(&self, notice: &Notice) -> io::Result<()> {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.len() > MOST) {
            return Ok(());
        }
        let mut line = serde_json::to_vec(notice)?;
        line.push(b'\n');
        private::open(&self.path, private::Open::Append)?.write_all(&line)
    }

    /// Takes those that there are, oldest first.
    pub fn take(&self) -> Vec<Notice> {
        // Nearly always there are none; and what is no file is not ours.
        if !fs::symlink_metadata(&self.path).is_ok_and(|found| found.is_file()) {
            return Vec::new();
        }
        let taken = self
            .path
            .with_extension(format!("{}.taken", std::process::id()));
        if fs::rename(&self.path, &taken).is_err() {
            return Vec::new();
        }
        let bytes = private::read(&taken, 2 * MOST).unwrap_or_default();
        let _ = fs::remove_file(&taken);
        let lines = bytes.split(|&byte| byte == b'\n');
        lines
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_taken_once_and_nonsense_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let notices = Notices::new(dir.path());
        assert_eq!(notices.take(), []);
        let reason = "understand\nthe jobs file".to_owned();
        let watcher = Notice::Watcher { reason };
        notices.add(&watcher).unwrap();
        let mut file = private::open(&dir.path().join("notice"), private::Open::Append).unwrap();
        file.write_all(b"{\"task\":3}\n\xff\n").unwrap();
        notices.add(&watcher).unwrap();
        assert_eq!(notices.take(), [watcher.clone(), watcher]);
        assert_eq!(notices.take(), []);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_nobody_reads_stays_small() {
        let dir = tempfile::tempdir().unwrap();
        let notices = Notices::new(dir.path());
        let reason = "x".repeat(1000);
        for _ in 0..200 {
            let reason = reason.clone();
            notices.add(&Notice::Watcher { reason }).unwrap();
        }
        assert!((60..70).contains(&notices.take().len()));
    }
}
