//! The lease: one observer a repository.
//!
//! A `flock` on `<ci>/watch.lock`, so that a dead observer never blocks; what is in the
//! file says who has it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::private;

/// How often a lease that is held is asked for again.
const TRIES: u32 = 5;

/// Who observes a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observer {
    /// Its process.
    pub pid: u32,
    /// The machine it is on.
    pub host: String,
    /// Since when, in seconds since the epoch.
    pub since: u64,
    /// What it watches, as it was typed.
    pub refs: Vec<String>,
}

impl Observer {
    /// This process, from now on.
    pub fn this(refs: Vec<String>) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let host = rustix::system::uname();
        Self {
            pid: std::process::id(),
            host: host.nodename().to_string_lossy().into_owned(),
            since: now.unwrap_or_default().as_secs(),
            refs,
        }
    }
}

/// Why there is no lease.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else has it.
    #[error("watch this repository: {}", describe(.0.as_ref()))]
    Held(Option<Observer>),
    /// The lock file.
    #[error("lock {}", .path.display())]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn describe(observer: Option<&Observer>) -> String {
    match observer {
        Some(Observer {
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
pub struct Lease {
    file: File,
}

impl Lease {
    /// Takes the lease, or waits for it.
    ///
    /// # Errors
    /// Where another process has it and `wait` is not wanted, or the file cannot be used.
    pub fn take(ci_dir: &Path, observer: &Observer, wait: bool) -> Result<Self, LeaseError> {
        let path = ci_dir.join("watch.lock");
        let failed = |source: io::Error| LeaseError::Io {
            path: path.clone(),
            source,
        };
        private::dir_in(ci_dir, "").map_err(failed)?;
        let mut file = private::open(&path, private::Open::Update).map_err(failed)?;
        let mut tries = 0;
        let locked = loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // Whoever only asks who has it holds it for a moment, too.
                Err(rustix::io::Errno::WOULDBLOCK) if tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(Duration::from_millis(5));
                }
                done => break done,
            }
        };
        match locked {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) if !wait => {
                let mut text = String::new();
                // Torn or empty where it has just been taken.
                let _ = file.read_to_string(&mut text);
                return Err(LeaseError::Held(serde_json::from_str(&text).ok()));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => loop {
                match flock(&file, FlockOperation::LockExclusive) {
                    Err(rustix::io::Errno::INTR) => {}
                    done => break done.map_err(|error| failed(error.into()))?,
                }
            },
            Err(error) => return Err(failed(error.into())),
        }
        let mut write = || -> io::Result<()> {
            let mut text = serde_json::to_vec(observer)?;
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

impl Drop for Lease {
    fn drop(&mut self) {
        // The file stays: removing it would let two have the lease.
        let _ = self.file.set_len(0);
    }
}

/// Who observes the repository now; `None` where nobody does.
pub fn observer(ci_dir: &Path) -> Option<Observer> {
    let file = private::open(&ci_dir.join("watch.lock"), private::Open::Read).ok()?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => serde_json::from_reader(&file).ok().or_else(|| {
            Some(Observer {
                pid: 0,
                host: String::new(),
                since: 0,
                refs: Vec::new(),
            })
        }),
        _ => None,
    }
}
