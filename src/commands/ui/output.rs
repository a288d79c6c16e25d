//! Saying what went wrong, on standard error, in one shape.

use std::io;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::error::ContextValue;

use crate::error::{Failure, FailureKind};
use crate::model::{printable, printable_line};
use crate::printer::{self, Stream};

/// Prints `failure` with its causes and hints; returns its exit code.
pub(in crate::commands) fn failure(failure: &Failure) -> ExitCode {
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
    let _ = printer::text(Stream::Err, &text);
    ExitCode::from(failure.kind.exit_code())
}

/// Prints what clap has to say, and hints; help and version are no failure.
pub(in crate::commands) fn usage(mut error: clap::Error, hints: &[String]) -> ExitCode {
    let (to, code) = if error.use_stderr() {
        (Stream::Err, FailureKind::Usage.exit_code())
    } else {
        (Stream::Out, 0)
    };
    // What was typed stands in there as it was.
    let safe = |text: &String| printable_line(text.as_bytes()).into_owned();
    let typed: Vec<_> = error
        .context()
        .filter_map(|(kind, value)| {
            let value = match value {
                ContextValue::String(text) => ContextValue::String(safe(text)),
                ContextValue::Strings(all) => ContextValue::Strings(all.iter().map(safe).collect()),
                _ => return None,
            };
            Some((kind, value))
        })
        .collect();
    for (kind, value) in typed {
        error.insert(kind, value);
    }
    let text = error.render().ansi().to_string() + &hint_lines(hints);
    match printer::text(to, &text) {
        Err(error) if to == Stream::Out && error.kind() != io::ErrorKind::BrokenPipe => {
            failure(&Failure::failed_to("write to standard output", error))
        }
        _ => ExitCode::from(code),
    }
}

/// Tells the user something that is neither a result nor a failure.
pub(in crate::commands) fn note(text: &str) {
    let _ = printer::text(Stream::Err, &format!("{}\n", printable(text.as_bytes())));
}

/// How wide lines on standard output may be: `COLUMNS`, as for git, else the terminal's
/// width; `None` where it is none.
pub(in crate::commands) fn columns() -> Option<usize> {
    let set = std::env::var("COLUMNS").ok();
    set.and_then(|text| text.parse().ok())
        .filter(|&columns: &usize| columns > 0)
        .or_else(|| Stream::Out.window().map(|(_, columns)| columns))
}

/// Names a way out of what is no failure of the command.
pub(in crate::commands) fn hint(text: &str) {
    let _ = printer::text(Stream::Err, &hint_lines(&[text.to_owned()]));
}

fn hint_lines(hints: &[String]) -> String {
    let cyan = Style::new().bold().fg_color(Some(AnsiColor::Cyan.into()));
    let line = |hint: &String| format!("{cyan}hint:{cyan:#} {}\n", printable(hint.as_bytes()));
    hints.iter().map(line).collect()
}

/// Prints results. Whoever stopped reading has seen enough: a closed pipe is no error.
pub(in crate::commands) fn print(text: &str) -> Result<(), Failure> {
    written(printer::text(Stream::Out, text))
}

/// Prints results as lines of JSON.
pub(in crate::commands) fn print_json(lines: String) -> Result<(), Failure> {
    written(printer::json(lines))
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::failed_to("write to standard output", error))
        }
        _ => Ok(()),
    }
}
