//! Other processes of git-ci, which are known by what they left in a file: an id and a
//! start time, and the place where these mean anything.
//!
//! Locks need none of this: they are released by death. It is for telling people who
//! holds what, and for going around a process that is stopped. Ids of another PID
//! namespace or machine (a container, a repository on a network mount) are nobody's here,
//! and nothing is concluded from them.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::model::printable_line;

use super::stat::{Stat, start_time};

/// How often to look for what a process started, before it is killed.
const TRIES: u32 = 200;

/// A process somewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its id.
    pub pid: u32,
    /// When it was started, in clock ticks since boot; 0 where that is not known.
    pub started: u64,
    /// Where both mean anything; see [`here`].
    pub place: String,
}

/// The place of this process: the machine as long as it runs, and the PID namespace.
pub(crate) fn here() -> &'static str {
    static HERE: OnceLock<String> = OnceLock::new();
    HERE.get_or_init(|| {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let pids = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        format!("{} {}", boot.trim(), pids.to_string_lossy())
    })
}

/// Whether what `/proc` says is about the processes that this one can see. Where it is
/// not, jobs cannot be followed, and signals would reach others than those meant.
///
/// # Errors
/// Where it is about those of another PID namespace, or there is none.
pub(crate) fn check_proc() -> io::Result<()> {
    let own = fs::read_link("/proc/self")?;
    if own.to_str().and_then(|own| own.parse().ok()) == Some(std::process::id()) {
        Ok(())
    } else {
        Err(io::Error::other(
            "/proc shows the processes of another PID namespace; mount one for this \
         (`unshare --mount-proc` does)",
        ))
    }
}

impl Peer {
    /// This process.
    pub fn this() -> Self {
        Self::here(std::process::id())
    }

    /// A process of this place.
    pub fn here(pid: u32) -> Self {
        Self {
            pid,
            started: start_time(pid).unwrap_or(0),
            place: here().to_owned(),
        }
    }

    /// Whether it lives; `None` where that cannot be seen from here.
    pub fn lives(&self) -> Option<bool> {
        (self.place == here()).then(|| start_time(self.pid) == Some(self.started))
    }

    /// Whether it is known to be stopped, so that it does nothing before it is continued.
    pub fn is_stopped(&self) -> bool {
        let stat = Stat::of(self.pid.cast_signed());
        self.lives() == Some(true) && stat.is_some_and(|stat| stat.is_stopped())
    }

    /// Whether this process descends from it.
    pub fn is_ancestor(&self) -> bool {
        if self.lives() != Some(true) {
            return false;
        }
        let mut pid = std::process::id().cast_signed();
        // Nothing is so deep, and ids that are given anew could lead in circles.
        for _ in 0..10_000 {
            match Stat::of(pid).map(|stat| stat.parent) {
                Some(parent) if parent == self.pid.cast_signed() => return true,
                Some(parent) if parent > 0 => pid = parent,
                _ => return false,
            }
        }
        false
    }

    /// Whether it is this user's.
    pub fn is_own(&self) -> bool {
        let own = rustix::process::geteuid().as_raw();
        fs::metadata(format!("/proc/{}", self.pid)).is_ok_and(|of| of.uid() == own)
    }

    /// Kills it and everything below it, if it is known to live; what it started is killed
    /// first, as long as it can be found by its parent.
    pub fn kill_tree(&self) {
        let Some(own) = self.handle() else { return };
        // A fork may hide from one look, and not from many.
        for _ in 0..TRIES {
            let below = below(self.pid);
            if below.is_empty() {
                break;
            }
            for pid in below.into_iter().filter_map(Pid::from_raw) {
                // Gone meanwhile, or another user's.
                let _ = kill_process(pid, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = pidfd_send_signal(&own, Signal::KILL);
    }

    /// A handle that stays this process's own; `None` where it is not known to live.
    fn handle(&self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(i32::try_from(self.pid).ok()?)?;
        let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Looked at after it was opened: by now it cannot become another's.
        (self.lives() == Some(true)).then_some(handle)
    }

    /// What people call it.
    pub fn describe(&self) -> String {
        let pid = self.pid;
        let same_boot = |place: &str| {
            let boot = |place: &str| place.split(' ').next().map(str::to_owned);
            boot(place) == boot(here())
        };
        match self.lives() {
            Some(true) => match subcommand(pid).as_deref() {
                // What a hub is started as, at a host's end.
                Some("agent") => format!("another machine's dispatcher (process {pid} here)"),
                Some(name) => format!("`git ci {name}` (process {pid})"),
                None => format!("process {pid}"),
            },
            Some(false) => format!("process {pid}, which is gone"),
            None if same_boot(&self.place) => {
                format!("a run in another container (process {pid} there)")
            }
            None => format!("a run on another machine (process {pid} there)"),
        }
    }
}

/// The processes below another, zombies left out.
fn below(pid: u32) -> Vec<i32> {
    let all: Vec<_> = Stat::all().into_iter().filter(Stat::lives).collect();
    let mut found = vec![pid.cast_signed()];
    let mut next = 0;
    while let Some(&above) = found.get(next) {
        next += 1;
        let children = all.iter().filter(|one| one.parent == above);
        found.extend(children.map(|one| one.pid));
    }
    found.split_off(1)
}

/// Which of our commands a process runs.
fn subcommand(pid: u32) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = line.split(|&byte| byte == 0).skip(1);
    while let Some(word) = words.next() {
        match word {
            b"-C" => drop(words.next()),
            [b'-', ..] => {}
            b"" => return None,
            word => return Some(printable_line(&word[..word.len().min(40)]).into_owned()),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_elsewhere_are_nobodys() {
        let own = Peer::this();
        assert_eq!(own.lives(), Some(true));
        assert!(!own.is_stopped() && !own.is_ancestor());
        let parent = Peer::here(std::os::unix::process::parent_id());
        assert!(parent.is_ancestor());
        let later = Peer {
            started: own.started + 1,
            ..own.clone()
        };
        assert_eq!(later.lives(), Some(false));
        let elsewhere = Peer {
            place: "b pid:[1]".to_owned(),
            ..own
        };
        assert_eq!((elsewhere.lives(), elsewhere.is_stopped()), (None, false));
        assert!(elsewhere.describe().contains("another machine"));
        check_proc().unwrap();
    }

    #[test]
    fn a_stopped_process_is_seen_to_be() {
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let peer = Peer::here(child.id());
        assert!(!peer.is_stopped());
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        while !peer.is_stopped() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(peer.lives(), Some(false));
    }
}
