//! Noticing that something may have changed.
//!
//! Events of the file system are hints: they say when to look, never what is there. Only
//! directories are watched, since a watch on a file dies with its first rename. A slow
//! poll stands behind, for network mounts and whatever else gives no events; where the
//! system has no watches left, polling is all there is.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

/// How often to look where events work.
pub(crate) const BACKSTOP: Duration = Duration::from_secs(30);

/// How often to look where they do not.
pub(crate) const POLL: Duration = Duration::from_secs(2);

/// What is to be watched.
#[derive(Debug, Clone)]
pub(super) struct WatchedPaths {
    /// The common git directory: `packed-refs` and `HEAD` in it count.
    pub(super) common_dir: PathBuf,
    /// The git directory whose `HEAD` counts, if one does.
    pub(super) head_dir: Option<PathBuf>,
    /// Directories of refs, watched with all below them.
    pub(super) refs: Vec<PathBuf>,
    /// A directory where anything new counts: the spool.
    pub(super) spool: PathBuf,
    /// The jobs file, if it is one of the work tree.
    pub(super) jobs_file: Option<PathBuf>,
}

/// Watches over places while it lives.
pub(super) struct Notice {
    watcher: Option<RecommendedWatcher>,
    places: WatchedPaths,
    /// With device and inode: a directory that was made anew is another one.
    watched: HashMap<PathBuf, (u64, u64)>,
}

impl Notice {
    /// Polls only.
    pub(super) fn polling(places: WatchedPaths) -> Self {
        Self {
            watcher: None,
            places,
            watched: HashMap::new(),
        }
    }

    /// Calls `hint` whenever something may have changed.
    ///
    /// # Errors
    /// Where the system has no watches to give.
    pub(super) fn start(
        places: WatchedPaths,
        hint: impl Fn() + Send + 'static,
    ) -> Result<Self, notify::Error> {
        let of = places.clone();
        let handler = move |event: notify::Result<notify::Event>| {
            // An error is a hint, too: events were lost.
            if event.is_ok_and(|event| !of.concerns(&event)) {
                return;
            }
            hint();
        };
        // A link below `refs/` may lead to the root of all files.
        let config = notify::Config::default().with_follow_symlinks(false);
        let watcher = RecommendedWatcher::new(handler, config)?;
        if !has_thread() {
            // Each of its calls would panic, and so would its end.
            std::mem::forget(watcher);
            let none = io::Error::other("there are no threads left");
            return Err(notify::Error::io(none));
        }
        let mut notice = Self {
            watcher: Some(watcher),
            places,
            watched: HashMap::new(),
        };
        notice.extend()?;
        Ok(notice)
    }

    /// Watches what has come into being since; returns whether there was something. Nobody
    /// has told what happened there before.
    ///
    /// # Errors
    /// Where the system has no more watches to give; polling is all there is from then on.
    pub(super) fn extend(&mut self) -> Result<bool, notify::Error> {
        let Some(watcher) = &mut self.watcher else {
            return Ok(false);
        };
        let mut is_new = false;
        let common = &self.places.common_dir;
        let alone = |path: PathBuf| (path, RecursiveMode::NonRecursive);
        let mut wanted = vec![
            alone(common.clone()),
            alone(common.join("refs")),
            alone(common.join("reftable")),
            alone(self.places.spool.clone()),
        ];
        if let Some(dir) = self.places.head_dir.as_ref().filter(|dir| *dir != common) {
            wanted.extend([alone(dir.clone()), alone(dir.join("reftable"))]);
        }
        let refs = self.places.refs.iter();
        wanted.extend(refs.map(|dir| (dir.clone(), RecursiveMode::Recursive)));
        let top = self.places.jobs_file.as_deref().and_then(Path::parent);
        wanted.extend(top.map(|top| alone(top.to_owned())));
        for (path, mode) in wanted {
            let Some(place) = place(&path) else {
                self.watched.remove(&path);
                continue;
            };
            if self.watched.get(&path) == Some(&place) {
                continue;
            }
            if self.watched.contains_key(&path) {
                // Nothing comes from there any more.
                let _ = watcher.unwatch(&path);
            }
            match watcher.watch(&path, mode) {
                Ok(()) => {
                    self.watched.insert(path, place);
                    is_new = true;
                }
                // It went as we looked; the next time will tell.
                Err(error) if !exhausted(&error) && !path.is_dir() => {}
                Err(error) => {
                    self.watcher = None;
                    return Err(error);
                }
            }
        }
        Ok(is_new)
    }

    /// Whether events come at all.
    pub(super) fn has_events(&self) -> bool {
        self.watcher.is_some()
    }
}

/// Whether the watcher that was just made has a thread: it does not look whether it got
/// one. Where the system does not tell, it has.
fn has_thread() -> bool {
    /// Until a new thread has its name.
    const TIMEOUT: Duration = Duration::from_millis(200);
    let named = |task: &fs::DirEntry| {
        let name = fs::read(task.path().join("comm")).unwrap_or_default();
        name.starts_with(b"notify-rs")
    };
    let begun = Instant::now();
    loop {
        let Ok(tasks) = fs::read_dir("/proc/self/task") else {
            return !Path::new("/proc/self").exists();
        };
        if tasks.flatten().any(|task| named(&task)) {
            return true;
        }
        if begun.elapsed() > TIMEOUT {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl WatchedPaths {
    fn concerns(&self, event: &notify::Event) -> bool {
        if event.need_rescan() {
            return true;
        }
        if matches!(event.kind, EventKind::Access(_)) {
            return false;
        }
        event.paths.is_empty() || event.paths.iter().any(|path| self.counts(path))
    }

    fn counts(&self, path: &Path) -> bool {
        if self.jobs_file.as_deref() == Some(path) || path.starts_with(&self.spool) {
            return true;
        }
        let head_dir = self.head_dir.as_deref();
        match path.strip_prefix(&self.common_dir) {
            // The directory itself went away, or came.
            Ok(rest) if rest.as_os_str().is_empty() => true,
            Ok(rest) if rest.starts_with("refs") => {
                path.extension().is_none_or(|extension| extension != "lock")
            }
            // `reftable` comes and goes when refs are converted.
            Ok(rest) if ["packed-refs", "reftable"].iter().any(|name| rest == *name) => true,
            _ => [Some(self.common_dir.as_path()), head_dir]
                .into_iter()
                .flatten()
                .filter_map(|dir| path.strip_prefix(dir).ok())
                .any(|rest| rest == "HEAD" || rest == "reftable/tables.list"),
        }
    }
}

/// Device and inode of a directory; `None` where there is none.
fn place(path: &Path) -> Option<(u64, u64)> {
    let meta = std::fs::metadata(path)
        .ok()
        .filter(std::fs::Metadata::is_dir)?;
    Some((meta.dev(), meta.ino()))
}

fn exhausted(error: &notify::Error) -> bool {
    matches!(error.kind, notify::ErrorKind::MaxFilesWatch)
}
