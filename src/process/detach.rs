//! Processes that outlive this one and have nothing more to do with whoever called it.
//!
//! A hook's caller may wait for the end of the hook's output, so a process that keeps
//! one of its descriptors keeps the caller. And what a terminal sends to its group must
//! not reach a process that nobody at that terminal started.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGCHLD, SIGTERM};
use signal_hook::flag::register;

use crate::git::forget_repository;
use crate::private;

/// A log that is larger when something starts is put aside, in the place of the one
/// before: together they stay below twice this, plus what one process writes.
const MAX_LOG: u64 = 1024 * 1024;

/// Closes what descriptors the caller left open besides the first three, and goes on as
/// the command. A shell does it, since this process cannot close what it does not own.
const CLOSE_OTHERS: &str = "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; exec \"$0\" \"$@\"";

/// Starts `program` with `args` in `dir` and returns at once: in a session of its own,
/// with empty standard input, its output appended to `log`, and without the repository
/// variables of this process.
///
/// `program` is this program: it is called as `program detached args…`, which
/// [`go_on`] serves.
///
/// # Errors
/// Where the log cannot be opened or the process not be started.
pub fn start_detached(program: &Path, args: &[&str], dir: &Path, log: &Path) -> io::Result<()> {
    if fs::metadata(log).is_ok_and(|found| found.len() > MAX_LOG) {
        // Somebody else may have done it this moment.
        let _ = fs::rename(log, log.with_extension("log.old"));
    }
    let output = private::open(log, private::Open::Append)?;
    let mut command = Command::new("/bin/sh");
    forget_repository(&mut command);
    command
        .args(["-c", CLOSE_OTHERS])
        .arg(program)
        .arg("detached")
        .args(args)
        .current_dir(dir)
        .env("PWD", dir)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()?;
    // Not waited for: it is init's, or the next subreaper's, as soon as this process ends.
    Ok(())
}

/// The second half of [`start_detached`], in the new process: leaves the session, takes
/// the default signal actions and becomes `program` with `args`.
///
/// It is a step of its own because leaving a session between `fork` and `exec` takes
/// unsafe code, and makes a full fork of what is otherwise a `vfork`.
///
/// # Errors
/// Only where it fails: else it does not return.
pub fn go_on<S: AsRef<std::ffi::OsStr>>(program: &Path, args: &[S]) -> io::Error {
    // The leader of a group cannot; this one is in its caller's, unless it was called by hand.
    let _ = rustix::process::setsid();
    // An ignored signal stays ignored in an executed program, one with a handler does
    // not. These two matter to a process of its own, not to a job.
    let nobody_looks = Arc::new(AtomicBool::new(false));
    let own = [SIGTERM, SIGCHLD]
        .iter()
        .try_for_each(|&signal| register(signal, Arc::clone(&nobody_looks)).map(|_| ()));
    if let Err(error) = own.and_then(|()| super::restore_signals()) {
        return error;
    }
    Command::new(program).args(args).exec()
}
