//! Orphans that this process was given, as a subreaper, when what was above them died.
//!
//! An agent ends everything below it before it ends. One that is killed cannot, and
//! whatever it had becomes a child of the dispatcher: there it is found without having to
//! know how it hides. What else this process starts may leave something behind on
//! purpose, such as the connection that ssh shares among several commands; it is marked
//! as started by this process, and is left alone.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpid, waitid};

use crate::git::MARK;
use crate::git::STARTER;

use super::stat::Stat;
use super::tree;

/// How long killed processes may take to disappear.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Leaders that this process started and has not waited for, and whether they are agents.
static LEADERS: Mutex<BTreeMap<i32, bool>> = Mutex::new(BTreeMap::new());

/// The leaders; while this is held none is started or forgotten.
pub(super) fn leaders() -> MutexGuard<'static, BTreeMap<i32, bool>> {
    LEADERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether an environment, as `/proc` has it, holds `name`, and what it says there.
fn variable<'e>(environment: &'e [u8], name: &str) -> Option<&'e [u8]> {
    let mut pairs = environment.split(|&byte| byte == 0);
    pairs.find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// Children that this process did not start and that are not in its session, as all are
/// that it starts without a session of their own.
fn adopted(leaders: &BTreeMap<i32, bool>) -> Vec<Stat> {
    let own = Stat::of(getpid().as_raw_nonzero().get());
    let session = own.map(|own| own.session);
    let children = tree::own_children().into_iter().filter_map(Stat::of);
    children
        .filter(|one| !leaders.contains_key(&one.pid) && Some(one.session) != session)
        .collect()
}

/// Whether an orphan may be there on purpose.
fn is_spared(orphan: &Stat) -> bool {
    let environment = fs::read(format!("/proc/{}/environ", orphan.pid)).unwrap_or_default();
    let own = std::process::id().to_string();
    let own_mark = std::env::var_os(MARK);
    let own_mark = own_mark.as_deref().map(|mark| mark.as_bytes());
    let of_a_job = variable(&environment, MARK).is_some_and(|mark| Some(mark) != own_mark);
    !of_a_job && variable(&environment, STARTER) == Some(own.as_bytes())
}

/// Kills what an agent that died had, and everything below that. `since` is when the agent
/// was started, as [`start_time`](super::start_time) tells it: what is older is not of it.
///
/// # Errors
/// Where something survives for ten seconds.
pub(crate) fn end_adopted(since: u64) -> io::Result<()> {
    let begun = Instant::now();
    loop {
        // Held, so that no new agent is taken for an orphan.
        let leaders = leaders();
        let orphans = adopted(&leaders);
        let condemned: Vec<i32> = orphans
            .iter()
            .filter(|one| one.lives() && one.started >= since && !is_spared(one))
            .map(|one| one.pid)
            .collect();
        drop(leaders);
        reap(&orphans);
        if condemned.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > TIMEOUT {
            let message = format!("processes {condemned:?} cannot be killed");
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        tree::signal_with_all_below(condemned, Signal::KILL);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Ends what this process has started but for its agents, which see to themselves once
/// their input ends: gently, and after `grace` for good.
pub(super) fn end_started(grace: Duration) {
    let started = || {
        let leaders = leaders();
        let others = leaders.iter().filter(|(_, agent)| !**agent);
        others
            .filter_map(|(&pid, _)| Pid::from_raw(pid))
            .filter(|&pid| tree::lives(pid))
            .collect::<Vec<_>>()
    };
    for (signal, timeout) in [(Signal::TERM, grace), (Signal::KILL, grace)] {
        for leader in started() {
            tree::signal_session(leader, signal);
            tree::signal_session(leader, Signal::CONT);
        }
        let begun = Instant::now();
        while !started().is_empty() && begun.elapsed() < timeout {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Takes note of the end of orphans, which would stay zombies for as long as this process
/// lives.
pub(crate) fn reap_adopted() {
    reap(&adopted(&leaders()));
}

fn reap(orphans: &[Stat]) {
    for orphan in orphans.iter().filter(|one| !one.lives()) {
        if let Some(pid) = Pid::from_raw(orphan.pid) {
            // Somebody else may have done it.
            let _ = waitid(
                WaitId::Pid(pid),
                WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_found_whole() {
        let environment = b"GIT_CI=1\0GIT_CI_STARTED_BY=12\0B=\0";
        assert_eq!(variable(environment, "GIT_CI_STARTED_BY"), Some(&b"12"[..]));
        assert_eq!(variable(environment, "B"), Some(&b""[..]));
        assert_eq!(variable(environment, "GIT_CI_START"), None);
        assert_eq!(variable(environment, "STARTED_BY"), None);
    }
}
