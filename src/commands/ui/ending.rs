//! Between the end of the work and the end of the process: what was said and is not
//! written yet, and bugs.

use std::panic::PanicHookInfo;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Failure, FailureKind};
use crate::model::printable;
use crate::printer;

use super::output;

/// Where to report bugs, where the package says so.
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// A signal has ended the run.
static HURRY: AtomicBool = AtomicBool::new(false);

/// From now on nobody waits long for readers any more.
pub(in crate::commands) fn hurry() {
    HURRY.store(true, Ordering::Relaxed);
}

/// Waits until everything that was said is written; returns the exit code.
///
/// As with any program, a reader that is slow is waited for, and one that went away is no
/// error. A signal ends the wait: one that has ended the run, or that comes now and ends the
/// process. That results could not be written makes a success a failure: whoever relies
/// on them must know. A failed job stays one.
pub(in crate::commands) fn finish(code: ExitCode) -> ExitCode {
    let Err(error) = printer::drain(&|| HURRY.load(Ordering::Relaxed)) else {
        return code;
    };
    let failed = output::failure(&Failure::failed_to("write to standard output", error));
    // It goes to standard error, which may be full as well.
    let _ = printer::drain(&|| true);
    if code == ExitCode::SUCCESS {
        failed
    } else {
        code
    }
}

/// Says a bug in a way that it can be reported, and ends the program with 134 where it is
/// the main thread's; elsewhere it is for who waits for that thread to say what comes of it.
pub(in crate::commands) fn report_bug(panic: &PanicHookInfo<'_>) {
    printer::emergency(&bug_text(panic));
    if std::thread::current().name() == Some("main") {
        let _ = printer::drain(&|| true);
        // Jobs end with whoever runs them: nobody is waited for.
        std::process::exit(FailureKind::Bug.exit_code().into());
    }
}

fn bug_text(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let message = (payload.downcast_ref::<&str>().copied())
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("it panicked");
    let place = info.location().map(|at| format!(" at {at}"));
    let mut text = format!(
        "error: this is a bug in git-ci: {}{}\n",
        printable(message.as_bytes()),
        place.unwrap_or_default()
    );
    // Only where RUST_BACKTRACE asks for it.
    let trace = std::backtrace::Backtrace::capture();
    if trace.status() == std::backtrace::BacktraceStatus::Captured {
        text += &format!("{trace}\n");
    }
    let git = std::process::Command::new("git").arg("--version").output();
    let git = git.map_or_else(|_| Vec::new(), |done| done.stdout);
    let git = if git.is_empty() {
        "git unknown".into()
    } else {
        printable(git.trim_ascii())
    };
    let system = rustix::system::uname();
    let place = match REPOSITORY {
        "" => "to whoever you have git-ci from",
        place => place,
    };
    text += &format!(
        "hint: please report it, with these lines and what you did: {place} (git-ci {}, {git}, {} {})\n",
        env!("CARGO_PKG_VERSION"),
        system.sysname().to_string_lossy(),
        system.machine().to_string_lossy(),
    );
    text
}
