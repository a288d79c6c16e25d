//! Saying what went wrong, on standard error, in one shape.

use std::io::Write as _;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};

use crate::error::{Failure, FailureKind};
use crate::model::printable;

/// Prints `failure` with its causes and hints; returns its exit code.
pub(super) fn failure(failure: &Failure) -> ExitCode {
    let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
    let mut text = format!(
        "{red}error:{red:#} {}\n",
        printable(failure.message.as_bytes())
    );
    for cause in &failure.causes {
        text += &format!("  caused by: {}\n", printable(cause.as_bytes()));
    }
    text += &hint_lines(&failure.hints);
    // Standard error may be closed: there is nobody to tell, then.
    let _ = anstream::stderr().write_all(text.as_bytes());
    ExitCode::from(failure.kind.exit_code())
}

/// Prints what clap has to say, and hints; help and version are no failure.
pub(super) fn usage(error: &clap::Error, hints: &[String]) -> ExitCode {
    let _ = error.print();
    let _ = anstream::stderr().write_all(hint_lines(hints).as_bytes());
    if error.use_stderr() {
        ExitCode::from(FailureKind::Usage.exit_code())
    } else {
        ExitCode::SUCCESS
    }
}

/// Tells the user something that is neither a result nor a failure.
pub(super) fn note(text: &str) {
    let _ = writeln!(anstream::stderr(), "{}", printable(text.as_bytes()));
}

fn hint_lines(hints: &[String]) -> String {
    let cyan = Style::new().bold().fg_color(Some(AnsiColor::Cyan.into()));
    let line = |hint: &String| format!("{cyan}hint:{cyan:#} {}\n", printable(hint.as_bytes()));
    hints.iter().map(line).collect()
}

/// Prints results. Whoever stopped reading has seen enough: a closed pipe is no error.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::failed_to("write to standard output", error))
        }
        _ => Ok(()),
    }
}
