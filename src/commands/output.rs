//! Saying what went wrong, on standard error, in one shape.

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};

use crate::error::Failure;
use crate::model::printable;

/// Prints `failure` with its causes and hints; returns its exit code.
pub(super) fn failure(failure: &Failure) -> ExitCode {
    let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
    let cyan = Style::new().bold().fg_color(Some(AnsiColor::Cyan.into()));
    let mut text = format!(
        "{red}error:{red:#} {}\n",
        printable(failure.message.as_bytes())
    );
    let mut source = failure.source();
    while let Some(cause) = source {
        text += &format!("  caused by: {}\n", printable(cause.to_string().as_bytes()));
        source = cause.source();
    }
    for hint in &failure.hints {
        text += &format!("{cyan}hint:{cyan:#} {}\n", printable(hint.as_bytes()));
    }
    // Standard error may be closed: there is nobody to tell, then.
    let _ = anstream::stderr().write_all(text.as_bytes());
    ExitCode::from(failure.kind.exit_code())
}

/// Prints what clap has to say: help and version are no failure.
pub(super) fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(2)
    } else {
        ExitCode::SUCCESS
    }
}
