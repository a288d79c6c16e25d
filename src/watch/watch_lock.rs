//! The lease: one observer a repository.
//!
//! A `flock` on `<ci>/watch.lock`, so that a dead observer never blocks; what is in the
//! file says who has it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::engine::control::Process;
use crate::lock;
use crate::private;

/// For so long a lock that is held is asked for again.
const MOMENT: Duration = Duration::from_millis(25);

/// Why there is no lease.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WatchLockError {
    /// Somebody else has it.
    #[error("watch this repository: {}", describe(.0.as_ref()))]
    Held(Option<Process>),
    /// The lock file.
    #[error("lock {}", .path.display())]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn describe(watcher: Option<&Process>) -> String {
    match watcher {
        Some(Process {
            pid, host, since, ..
        }) => {
            let since = i64::try_from(*since).unwrap_or(0);
            let since = jiff::Timestamp::from_second(since).unwrap_or_default();
            format!("process {pid} on {host} has done so since {since}")
        }
        None => "another process does so".to_owned(),
    }
}

/// The right to observe, until dropped.
#[derive(Debug)]
pub(crate) struct WatchLock {
    file: File,
}

impl WatchLock {
    /// Takes the lease, or waits for it.
    ///
    /// # Errors
    /// Where another process has it and `wait` is not wanted, or the file cannot be used.
    pub(crate) fn take(
        ci_dir: &Path,
        watcher: &Process,
        wait: bool,
    ) -> Result<Self, WatchLockError> {
        let path = ci_dir.join("watch.lock");
        let failed = |source: io::Error| WatchLockError::Io {
            path: path.clone(),
            source,
        };
        private::dir_in(ci_dir, "").map_err(failed)?;
        let mut file = private::open(&path, private::Open::Update).map_err(failed)?;
        // Whoever only asks who has it holds it for a moment, too.
        let soon = Instant::now() + MOMENT;
        if !lock::exclusive_until(&file, soon).map_err(failed)? {
            if !wait {
                let mut text = String::new();
                // Torn or empty where it has just been taken.
                let _ = file.read_to_string(&mut text);
                return Err(WatchLockError::Held(serde_json::from_str(&text).ok()));
            }
            lock::exclusive(&file).map_err(failed)?;
        }
        let mut write = || -> io::Result<()> {
            let mut text = serde_json::to_vec(watcher)?;
            text.push(b'\n');
            file.rewind()?;
            file.set_len(0)?;
            file.write_all(&text)
        };
        // Without it others are told less, and nothing worse.
        let _ = write();
        Ok(Self { file })
    }
}

impl Drop for WatchLock {
    fn drop(&mut self) {
        // The file stays: removing it would let two have the lease.
        let _ = self.file.set_len(0);
    }
}
