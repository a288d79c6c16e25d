//! What becomes of a panic: an exit code that tells a bug from a machine that has nothing
//! left to give.
//!
//! Code of our own starts threads by calls that can fail. That of others may not, and
//! panics where there are none.

use std::any::Any;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::process::ExitCode;

use crate::error::{EXHAUSTED, Failure, FailureKind};

use super::{ending, output};

/// Runs `work`; where it panics, says so, and returns the exit code for that.
pub(in crate::commands) fn contain(work: impl FnOnce() -> ExitCode) -> ExitCode {
    std::panic::set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
        // What is no bug is said below, without a place in the code.
        if !text(panic.payload()).is_some_and(is_exhausted) {
            ending::report_bug(panic);
        }
    }));
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(code) => code,
        Err(payload) => output::failure(&failure(&*payload)),
    }
}

fn failure(payload: &(dyn Any + Send)) -> Failure {
    match text(payload).filter(|text| is_exhausted(text)) {
        Some(text) => Failure::new(
            FailureKind::NoVerdict,
            "failed to get the threads, descriptors or memory that this takes",
        )
        .because(text)
        .hint("`ulimit -a` shows what limits there are; -j1 takes less"),
        None => Failure::new(FailureKind::Bug, "this is a bug in git-ci"),
    }
}

fn text(payload: &(dyn Any + Send)) -> Option<&str> {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&'static str>().copied())
}

/// Whether a panic's message has an error of the system that says so, in either of the
/// ways in which such errors are printed.
fn is_exhausted(message: &str) -> bool {
    EXHAUSTED.iter().any(|code| {
        message.contains(&format!("os error {code})"))
            || message.contains(&format!("Os {{ code: {code},"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_threads_is_no_bug() {
        let error = std::io::Error::from_raw_os_error(11);
        for (message, kind) in [
            (
                format!("failed to spawn thread: {error:?}"),
                FailureKind::NoVerdict,
            ),
            (format!("not good: {error}"), FailureKind::NoVerdict),
            ("index out of bounds".to_owned(), FailureKind::Bug),
            (
                format!("{:?}", std::io::Error::from_raw_os_error(2)),
                FailureKind::Bug,
            ),
        ] {
            assert_eq!(failure(&message).kind, kind, "{message}");
        }
    }
}
