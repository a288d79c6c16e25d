//! What this process does first: it takes back what its caller did to it.
//!
//! Not its limits, umask and priority, which are a user's way to say how much a run may
//! take; nor which signals it ignores, by which `nohup` and a shell's `&` ask a process
//! not to be bothered: that is looked at where signals are handled.

use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGXFSZ,
};

use super::{memory, sys};

/// Makes this process one that can wait for children and hear signals, and keeps what
/// the caller left open from everything that it starts.
///
/// A caller may hold a lock by an open descriptor, or wait for the end of a pipe; an ssh
/// that stays in the background, a watcher, a job would keep it for as long as they live.
///
/// Call it before anything is opened and any thread is started.
///
/// # Errors
/// Where the system refuses.
pub(crate) fn prepare() -> io::Result<()> {
    memory::end_well_without_memory()?;
    sys::unblock_signals()?;
    sys::hear_of_children()?;
    // A file that grows too large for the caller's limit is an error of writing, and no end.
    // Not ignored, since that would be inherited.
    signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    for fd in descriptors() {
        // The directory that told of it is closed by now.
        let _ = sys::close_on_exec(fd);
    }
    Ok(())
}

/// Makes this process one that signals do not end: whoever started it says when it ends,
/// by closing its input. Else what a supervisor sends to all processes of a run would
/// take away the one that ends a job gently.
///
/// The signals are not ignored, since that would be inherited.
///
/// # Errors
/// Where a handler cannot be set.
pub(crate) fn outlast_signals() -> io::Result<()> {
    let nobody_looks = Arc::new(AtomicBool::new(false));
    for signal in [
        SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGALRM, SIGUSR1, SIGUSR2, SIGTSTP, SIGTTIN, SIGTTOU,
    ] {
        signal_hook::flag::register(signal, Arc::clone(&nobody_looks))?;
    }
    Ok(())
}

/// What is open besides the first three; nothing where the system does not tell.
fn descriptors() -> Vec<RawFd> {
    let names = fs::read_dir("/dev/fd").into_iter().flatten().flatten();
    let numbers = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|&fd| fd > 2).collect()
}
