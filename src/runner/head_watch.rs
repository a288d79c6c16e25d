//! Whether a job looked at the commit that it tests, and not only at its files.
//!
//! Which commit a worktree is at stands in `HEAD` of its git directory, and nowhere else:
//! `git log`, `git describe`, `git rev-parse`, every git library and `cat` open that file.
//! So does every git command that only asks whether this is a repository; such a job may
//! say `reuse = "tree"`. Opened means looked at: the kernel tells (inotify), whoever opens
//! it, in whatever directory, session or container.
//!
//! The directory is watched for whatever is called so in it, since a checkout replaces the
//! file; and the file itself, whatever it is called by then. Where there is no watch to be
//! had, or the kernel lost count, the file counts as opened.
//!
//! The `HEAD` of a submodule is not watched: which commit that is at, the tree says.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, Event, ReadFlags, WatchFlags};

use super::protocol::Head;

/// The files that name the commit: the latter where git has moved `HEAD` here before.
const NAMES: [&[u8]; 2] = [b"HEAD", b"ORIG_HEAD"];

/// Watches the git directory of one worktree after the other. The queue is kept: the kernel
/// takes some ten milliseconds to close one.
#[derive(Default)]
pub(super) struct HeadWatch {
    /// `None` where there is none to be had.
    queue: Option<OwnedFd>,
    /// What is watched now.
    watches: Vec<i32>,
}

impl HeadWatch {
    /// Begins to watch the worktree at `path`. What happens to it from now on is taken for
    /// the job's doing, so that nothing of ours may run in it until [`end`](Self::end).
    pub(super) fn begin(&mut self, path: &Path) {
        self.forget();
        let watched = self.watch(&path.join(".git"));
        if watched.is_err() {
            self.forget();
        }
    }

    /// Says what was seen; nothing of the job may be running any more.
    pub(super) fn end(&mut self) -> Head {
        let seen = if self.watches.is_empty() {
            Head::Unwatched
        } else {
            self.read().unwrap_or(Head::Unwatched)
        };
        self.forget();
        seen
    }

    /// Whether one of the files was opened.
    fn read(&self) -> io::Result<Head> {
        let mut seen = Head::Unread;
        self.each_event(|event| {
            let name = event.file_name().map(|name| name.to_bytes());
            let is_of_now = self.watches.contains(&event.wd());
            // Without a name it is the file that is watched itself.
            let opened = is_of_now
                && event.events().contains(ReadFlags::OPEN)
                && !event.events().contains(ReadFlags::ISDIR)
                && name.is_none_or(|name| NAMES.contains(&name));
            if opened || event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                seen = Head::Read;
            }
        })?;
        Ok(seen)
    }

    /// Takes every event that there is.
    fn each_event(&self, mut look: impl FnMut(&Event<'_>)) -> io::Result<()> {
        let queue = self.queue.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut events = inotify::Reader::new(queue, &mut buffer);
        loop {
            match events.next() {
                Ok(event) => look(&event),
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn watch(&mut self, dir: &Path) -> io::Result<()> {
        if self.queue.is_none() {
            let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
            self.queue = Some(inotify::init(flags)?);
        }
        // What came of the last one, and that it is over.
        self.each_event(|_| {})?;
        let opened = WatchFlags::OPEN | WatchFlags::DONT_FOLLOW;
        self.add(dir, opened | WatchFlags::ONLYDIR)?;
        self.add(&dir.join("HEAD"), opened)?;
        for name in ["ORIG_HEAD", "logs/HEAD"] {
            match self.add(&dir.join(name), opened) {
                Ok(()) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, flags: WatchFlags) -> io::Result<()> {
        let queue = self.queue.as_ref().ok_or(io::ErrorKind::NotFound)?;
        self.watches.push(inotify::add_watch(queue, path, flags)?);
        Ok(())
    }

    /// Ends the watches.
    fn forget(&mut self) {
        for watch in std::mem::take(&mut self.watches) {
            if let Some(queue) = &self.queue {
                // One of what was removed has ended by itself.
                let _ = inotify::remove_watch(queue, watch);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// What is seen of `deed` in a worktree.
    fn seen(deed: impl FnOnce(&Path)) -> Head {
        let dir = tempfile::tempdir().unwrap();
        let git = dir.path().join(".git");
        fs::create_dir(&git).unwrap();
        for name in ["HEAD", "index", "config"] {
            fs::write(git.join(name), "x").unwrap();
        }
        let mut watch = HeadWatch::default();
        // What was seen before is of no matter.
        watch.begin(dir.path());
        fs::read(git.join("HEAD")).unwrap();
        assert_eq!(watch.end(), Head::Read);
        fs::read(git.join("HEAD")).unwrap();
        watch.begin(dir.path());
        deed(&git);
        watch.end()
    }

    #[test]
    fn opening_head_is_seen_by_whatever_name() {
        assert_eq!(
            seen(|git| drop(fs::read(git.join("HEAD")).unwrap())),
            Head::Read
        );
        let replaced = |git: &Path| {
            fs::write(git.join("HEAD.lock"), "y").unwrap();
            fs::rename(git.join("HEAD.lock"), git.join("HEAD")).unwrap();
            fs::read(git.join("HEAD")).unwrap();
        };
        assert_eq!(seen(replaced), Head::Read);
        let renamed = |git: &Path| {
            fs::rename(git.join("HEAD"), git.join("other")).unwrap();
            fs::read(git.join("other")).unwrap();
        };
        assert_eq!(seen(renamed), Head::Read);
        let linked = |git: &Path| {
            fs::hard_link(git.join("HEAD"), git.with_file_name("x")).unwrap();
            fs::read(git.with_file_name("x")).unwrap();
        };
        assert_eq!(seen(linked), Head::Read);
        let moved = |git: &Path| {
            fs::rename(git, git.with_file_name("elsewhere")).unwrap();
            fs::read(git.with_file_name("elsewhere").join("HEAD")).unwrap();
        };
        assert_eq!(seen(moved), Head::Read);
        let symbolic = |git: &Path| {
            std::os::unix::fs::symlink(git, git.with_file_name("way")).unwrap();
            fs::read(git.with_file_name("way").join("HEAD")).unwrap();
        };
        assert_eq!(seen(symbolic), Head::Read);
    }

    #[test]
    fn other_files_and_mere_looks_are_not() {
        let others = |git: &Path| {
            for name in ["index", "config"] {
                fs::read(git.join(name)).unwrap();
            }
            fs::metadata(git.join("HEAD")).unwrap();
            fs::read_dir(git).unwrap().count();
        };
        assert_eq!(seen(others), Head::Unread);
        let submodule = |git: &Path| {
            fs::create_dir_all(git.join("modules/sub")).unwrap();
            fs::write(git.join("modules/sub/HEAD"), "x").unwrap();
            fs::read(git.join("modules/sub/HEAD")).unwrap();
        };
        assert_eq!(seen(submodule), Head::Unread);
    }

    #[test]
    fn where_the_kernel_lost_count_it_counts_as_read() {
        let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let limit: usize = limit.trim().parse().unwrap();
        let many = |git: &Path| {
            // Of events that are the same one after the other the kernel keeps one.
            for _ in 0..limit {
                fs::read(git.join("index")).unwrap();
                fs::read(git.join("config")).unwrap();
            }
        };
        assert_eq!(seen(many), Head::Read);
    }

    #[test]
    fn without_a_git_directory_there_is_no_watch() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = HeadWatch::default();
        watch.begin(dir.path());
        assert_eq!(watch.end(), Head::Unwatched);
    }
}
