//! Whether files are as they were when they were read, without reading them again.
//!
//! A status that is the same proves that only where the clock of the file system has
//! moved on since: two changes within one of its ticks look alike. So marks that are too
//! young prove nothing, and what they are of is read once more.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FileType, RawMode, Stat};

/// The tick of a file system that keeps fractions of a second; a kernel's is 10 ms at most.
const FINE_TICK: Duration = Duration::from_millis(100);

/// The tick of one that does not.
const COARSE_TICK: Duration = Duration::from_secs(2);

/// What changes with a file, a directory or a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    device: u64,
    inode: u64,
    pub(super) mode: RawMode,
    pub(super) size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Mark {
    /// That of what `path` leads to; `None` where there is nothing.
    pub(super) fn of(path: &Path) -> Option<Self> {
        rustix::fs::stat(path).ok().map(|stat| Self::new(&stat))
    }

    /// That of an entry of a directory, which may be a link.
    pub(super) fn at(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<Self> {
        rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| Self::new(&stat))
    }

    #[expect(
        clippy::unnecessary_cast,
        reason = "the fields have other types on other systems"
    )]
    fn new(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            mode: stat.st_mode as RawMode,
            size: stat.st_size as u64,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }

    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    /// Device and inode.
    pub(super) fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Whether any change after `time` would make another mark.
    pub(super) fn is_before(&self, time: SystemTime) -> bool {
        let since_epoch = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok();
        let fine = self.modified.1 != 0 || self.changed.1 != 0;
        let tick = if fine { FINE_TICK } else { COARSE_TICK };
        let Some(time) = since_epoch(time).and_then(|time| time.checked_sub(tick)) else {
            return false;
        };
        let time = (time.as_secs() as i64, i64::from(time.subsec_nanos()));
        self.modified.max(self.changed) < time
    }
}

/// The marks of everything that something was read from, what was not there included.
#[derive(Debug, Clone, Default)]
pub(super) struct Marks {
    of: Vec<(PathBuf, Option<Mark>)>,
    /// All of them were old enough when they were taken.
    proven: bool,
}

impl Marks {
    /// Marks of `paths`, all of which were read after `began`.
    pub(super) fn since(began: SystemTime, paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let of: Vec<_> = paths
            .into_iter()
            .map(|path| {
                let mark = Mark::of(&path);
                (path, mark)
            })
            .collect();
        let mut marks = of.iter().filter_map(|(_, mark)| mark.as_ref());
        let proven = marks.all(|mark| mark.is_before(began));
        Self { of, proven }
    }

    /// Whether what was read would be the same now.
    pub(super) fn hold(&self) -> bool {
        self.proven && self.of.iter().all(|(path, mark)| Mark::of(path) == *mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_hold_once_they_are_old_and_until_something_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (file, missing) = (dir.path().join("file"), dir.path().join("missing"));
        std::fs::write(&file, "one").unwrap();
        let paths = || [file.clone(), missing.clone()];
        let now = SystemTime::now();
        assert!(!Marks::since(now, paths()).hold(), "written just now");
        let later = now + COARSE_TICK;
        let marks = Marks::since(later, paths());
        assert!(marks.hold());
        std::fs::write(&missing, "").unwrap();
        assert!(!marks.hold());
        let marks = Marks::since(later, paths());
        // A new file of the same size in its place.
        std::fs::write(dir.path().join("new"), "two").unwrap();
        std::fs::rename(dir.path().join("new"), &file).unwrap();
        assert!(!marks.hold());
        assert!(!Marks::default().hold(), "nothing was read yet");
    }
}
