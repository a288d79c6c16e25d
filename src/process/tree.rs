//! The tree of processes below this one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process, kill_process_group, waitid,
};

use super::stat::Stat;

/// How long to insist before a process that ignores `SIGKILL` (it hangs in the kernel)
/// is given up.
const INSISTENCE: Duration = Duration::from_secs(10);

/// Makes orphans below this process its children.
///
/// # Errors
/// Where the system has no subreapers.
pub(crate) fn become_subreaper() -> io::Result<()> {
    rustix::process::set_child_subreaper(Some(getpid())).map_err(io::Error::from)
}

fn number(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

/// The children of processes, as far as anybody asks.
struct Children {
    /// All there is, where the kernel does not tell the children of one process.
    all: Option<BTreeMap<i32, Vec<i32>>>,
}

impl Children {
    fn now() -> Self {
        static TOLD: OnceLock<bool> = OnceLock::new();
        let told = *TOLD.get_or_init(|| Path::new("/proc/thread-self/children").exists());
        let all = (!told).then(|| {
            let mut all: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
            for one in Stat::all() {
                all.entry(one.parent).or_default().push(one.pid);
            }
            all
        });
        Self { all }
    }

    fn of(&self, parent: i32) -> Vec<i32> {
        if let Some(all) = &self.all {
            return all.get(&parent).cloned().unwrap_or_default();
        }
        let Ok(threads) = fs::read_dir(format!("/proc/{parent}/task")) else {
            return Vec::new(); // Gone already.
        };
        let mut children = Vec::new();
        for thread in threads.flatten() {
            let list = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            let pids = list.split_ascii_whitespace();
            children.extend(pids.filter_map(|pid| pid.parse::<i32>().ok()));
        }
        children
    }

    /// Every process below those of `roots`, zombies, too; without the roots themselves.
    fn below(&self, mut parents: Vec<i32>) -> BTreeSet<i32> {
        let mut found = BTreeSet::new();
        while let Some(parent) = parents.pop() {
            for child in self.of(parent) {
                if found.insert(child) {
                    parents.push(child);
                }
            }
        }
        found
    }
}

/// The children of this process, zombies, too.
pub(super) fn own_children() -> Vec<i32> {
    Children::now().of(number(getpid()))
}

/// Signals processes and what is below them.
pub(super) fn signal_with_all_below(roots: Vec<i32>, signal: Signal) {
    let below = Children::now().below(roots.clone());
    // From the top, so that nobody sees what it started end before it ends itself.
    signal_each(roots.into_iter().chain(below), signal);
}

/// Every process below this one, zombies, too.
fn descendants() -> BTreeSet<i32> {
    Children::now().below(vec![number(getpid())])
}

/// The processes of a session whose leader this process started: the leader, what was
/// orphaned within the session and so became this process's child, and what is below them.
fn of_session(leader: Pid) -> BTreeSet<i32> {
    let leader = number(leader);
    let children = Children::now();
    let own = children.of(number(getpid())).into_iter();
    let roots = own.filter(|&pid| Stat::of(pid).is_some_and(|one| one.session == leader));
    let roots: Vec<i32> = roots.collect();
    let mut found = children.below(roots.clone());
    found.extend(roots);
    found
}

fn signal_each(pids: impl IntoIterator<Item = i32>, signal: Signal) {
    for pid in pids.into_iter().filter_map(Pid::from_raw) {
        // Gone meanwhile, or not ours to signal: there is nothing to do about either.
        let _ = kill_process(pid, signal);
    }
}

fn outside(group: Pid, pids: BTreeSet<i32>) -> impl Iterator<Item = i32> {
    let group = number(group);
    pids.into_iter()
        .filter(move |&pid| Stat::of(pid).is_some_and(|one| one.group != group))
}

/// Signals a session leader, its group, and what is below it in other groups, each once.
pub(super) fn signal_session(leader: Pid, signal: Signal) {
    let others: Vec<i32> = outside(leader, of_session(leader)).collect();
    // The group in one step, so that nobody is in the middle of a fork meanwhile.
    let _ = kill_process_group(leader, signal);
    signal_each(others, signal);
}

/// Whether a session leader or anything of it runs.
pub(super) fn lives(leader: Pid) -> bool {
    of_session(leader)
        .into_iter()
        .any(|pid| Stat::of(pid).is_some_and(|one| one.lives()))
}

/// Sends `signal` to every process below this one.
pub(crate) fn signal_everything(signal: Signal) {
    signal_each(descendants(), signal);
}

/// The same for a leader and everything below this process.
pub(super) fn signal_everything_with(leader: Pid, signal: Signal) {
    let others: Vec<i32> = outside(leader, descendants()).collect();
    let _ = kill_process_group(leader, signal);
    signal_each(others, signal);
}

/// The processes below this one that run, or could.
fn living() -> Vec<Stat> {
    let found = descendants().into_iter().filter_map(Stat::of);
    found.filter(Stat::lives).collect()
}

/// Whether anything below this process runs.
pub(crate) fn anything_lives() -> bool {
    !living().is_empty()
}

/// Whether there are processes below this one and all of them are stopped, so that none
/// can let another go on.
pub(crate) fn everything_is_stopped() -> bool {
    let living = living();
    !living.is_empty() && living.iter().all(Stat::is_stopped)
}

/// Kills and reaps every process below this one; returns when there is none.
///
/// Processes whose exit status somebody still wants must have been reaped before.
///
/// # Errors
/// Where one survives `SIGKILL` for ten seconds.
pub(crate) fn end_everything() -> io::Result<()> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(200);
    loop {
        match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Err(Errno::CHILD) => return Ok(()),
            Err(error) => return Err(error.into()),
            Ok(Some(_)) => continue, // One reaped: look for the next.
            Ok(None) => {}
        }
        if start.elapsed() > INSISTENCE {
            let left = descendants();
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("processes {left:?} cannot be killed"),
            ));
        }
        signal_everything(Signal::KILL);
        std::thread::sleep(pause);
        pause = (2 * pause).min(Duration::from_millis(20));
    }
}
