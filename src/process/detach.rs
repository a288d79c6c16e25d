//! Processes that outlive this one and have nothing more to do with whoever called it.
//!
//! A hook's caller may wait for the end of the hook's output, so a process that keeps
//! one of its descriptors keeps the caller. And what a terminal sends to its group must
//! not reach a process that nobody at that terminal started.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use crate::git::forget_repository;
use crate::private;

use super::session::{self, Streams};

/// A log that is larger when something starts is put aside, in the place of the one
/// before: together they stay below twice this, plus what one process writes.
const MAX_LOG: u64 = 1024 * 1024;

/// Starts `program` with `args` in `dir` and returns at once: in a session of its own,
/// with empty standard input, its output appended to `log`, no other descriptors, and
/// without the repository variables of this process.
///
/// # Errors
/// Where the log cannot be opened or the process not be started.
pub(crate) fn start_detached(
    program: &Path,
    args: &[&str],
    dir: &Path,
    log: &Path,
) -> io::Result<()> {
    if fs::metadata(log).is_ok_and(|found| found.len() > MAX_LOG) {
        // Somebody else may have done it this moment.
        let _ = fs::rename(log, log.with_extension("log.old"));
    }
    let output = private::open(log, private::Open::Append)?;
    let mut command = Command::new(program);
    forget_repository(&mut command);
    command.args(args).current_dir(dir).env("PWD", dir);
    let streams = Streams {
        stdin: None,
        stdout: Some(output.try_clone()?.into()),
        stderr: Some(output.into()),
    };
    // Not waited for: it is init's, or the next subreaper's, as soon as this process ends.
    session::start(&command, streams).map(|_| ())
}
