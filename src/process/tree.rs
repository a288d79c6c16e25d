//! The tree of processes below this one.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process, waitid};

/// How long to insist before a process that ignores `SIGKILL` (it hangs in the kernel)
/// is given up.
const INSISTENCE: Duration = Duration::from_secs(10);

/// Makes orphans below this process its children.
///
/// # Errors
/// Where the system has no subreapers.
pub fn become_subreaper() -> io::Result<()> {
    rustix::process::set_child_subreaper(Some(getpid())).map_err(io::Error::from)
}

/// Gives jobs the default signal actions, also where this process was started with
/// some ignored (a shell's `&` ignores `SIGINT` and `SIGQUIT`).
///
/// A signal with a handler is back at its default in an executed program, one that is
/// ignored stays ignored; so each gets a handler that does nothing.
///
/// # Errors
/// Where a handler cannot be set.
pub fn restore_signals() -> io::Result<()> {
    use signal_hook::consts::{
        SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2,
    };
    let nobody_looks = Arc::new(AtomicBool::new(false));
    for signal in [
        SIGHUP, SIGINT, SIGQUIT, SIGALRM, SIGUSR1, SIGUSR2, SIGTSTP, SIGTTIN, SIGTTOU,
    ] {
        signal_hook::flag::register(signal, Arc::clone(&nobody_looks))?;
    }
    Ok(())
}

/// Every process below this one.
fn descendants() -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    let mut parents = vec![getpid().as_raw_nonzero().get()];
    while let Some(parent) = parents.pop() {
        for child in children(parent) {
            if found.insert(child) {
                parents.push(child);
            }
        }
    }
    found
}

fn children(parent: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{parent}/task")) else {
        return Vec::new(); // Gone already.
    };
    let mut children = Vec::new();
    for thread in threads.flatten() {
        let list = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        children.extend(
            list.split_ascii_whitespace()
                .filter_map(|pid| pid.parse::<i32>().ok()),
        );
    }
    children
}

/// Sends `signal` to every process below this one.
pub fn signal_everything(signal: Signal) {
    for pid in descendants().into_iter().filter_map(Pid::from_raw) {
        // Gone meanwhile, or not ours to signal: there is nothing to do about either.
        let _ = kill_process(pid, signal);
    }
}

/// Kills and reaps every process below this one; returns when there is none.
///
/// Processes whose exit status somebody still wants must have been reaped before.
///
/// # Errors
/// Where one survives `SIGKILL` for ten seconds.
pub fn end_everything() -> io::Result<()> {
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
