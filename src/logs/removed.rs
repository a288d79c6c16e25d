//! Which logs were here and have been removed, so that this can be told from logs that
//! were never here: results travel, and logs stay where they were written.
//!
//! A file of ids, one a line, oldest first; the oldest go where there are too many.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::lock;
use crate::model::LogId;
use crate::private;

/// The file grows no larger, in bytes: some ten thousands of logs.
const MOST: u64 = 1 << 20;

/// The ids of logs that were removed.
#[derive(Debug)]
pub(super) struct Removed {
    path: PathBuf,
}

impl Removed {
    /// Those of the logs in this directory.
    pub(super) fn of(dir: &Path) -> Self {
        Self {
            path: dir.with_extension("removed"),
        }
    }

    /// Takes note of one.
    pub(super) fn add(&self, id: &LogId) -> io::Result<()> {
        // Whoever halves the file holds a lock on the one that goes.
        let mut file = self.locked()?;
        if file.metadata()?.len() > MOST {
            let text = private::read(&self.path, 2 * MOST).unwrap_or_default();
            let half = &text[text.len() / 2..];
            let next = half.iter().position(|&byte| byte == b'\n');
            private::replace(&self.path, &half[next.map_or(0, |at| at + 1)..])?;
            file = self.locked()?;
        }
        file.write_all(format!("{id}\n").as_bytes())
    }

    fn locked(&self) -> io::Result<File> {
        let file = private::open(&self.path, private::Open::Append)?;
        // Without locks an id may be lost, and its log counts as one that was never here.
        let _ = lock::exclusive(&file);
        Ok(file)
    }

    /// Whether it is one of them.
    pub(super) fn has(&self, id: &LogId) -> bool {
        let text = private::read(&self.path, 2 * MOST).unwrap_or_default();
        let id = id.to_string();
        text.split(|&byte| byte == b'\n')
            .any(|line| line == id.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_known_and_the_file_stays_small() {
        let dir = tempfile::tempdir().unwrap();
        let removed = Removed::of(&dir.path().join("logs"));
        let id = |n: u64| -> LogId { format!("{n:016x}").parse().unwrap() };
        assert!(!removed.has(&id(1)));
        removed.add(&id(1)).unwrap();
        assert!(removed.has(&id(1)) && !removed.has(&id(2)));
        let file = dir.path().join("logs.removed");
        let many: String = (2..65_000).map(|n| format!("{}\n", id(n))).collect();
        std::fs::write(&file, many).unwrap();
        removed.add(&id(7)).unwrap();
        assert!(removed.has(&id(7)) && removed.has(&id(64_999)) && !removed.has(&id(2)));
        assert!(std::fs::metadata(&file).unwrap().len() < MOST);
    }
}
