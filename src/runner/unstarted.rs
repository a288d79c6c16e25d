//! What to tell of a job whose program could not be started: which program that was, and
//! what was meant where it is a command that stands in a list by mistake.

use std::io;
use std::path::Path;

use crate::model::{CommandLine, Outcome, Why};

/// The outcome where starting `run` in `dir` failed. A program that is not there, or may
/// not be executed, is told as a shell would tell it.
pub(super) fn not_started(run: &CommandLine, dir: &Path, error: &io::Error) -> Outcome {
    let why = match error.kind() {
        io::ErrorKind::NotFound => Why::Exit(127),
        io::ErrorKind::PermissionDenied => Why::Exit(126),
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
            Why::Exit(126)
        }
        _ => Why::Spawn,
    };
    let (program, meant) = match run {
        CommandLine::Shell(_) => ("sh", None),
        CommandLine::Argv(argv) => (argv.first().map_or("", String::as_str), meant(argv)),
    };
    let cause = match why {
        Why::Exit(code) => cause(program, dir, code),
        _ => None,
    };
    let cause = cause.map_or_else(|| error.to_string(), str::to_owned);
    let meant = match meant.filter(|_| why == Why::Exit(127)) {
        Some(meant) => format!("; did you mean {meant}"),
        None => String::new(),
    };
    Outcome::Errored {
        why,
        reason: format!("start the program {program:?}: {cause}{meant}"),
    }
}

/// Why a program cannot be started, where one can see it.
fn cause(program: &str, dir: &Path, code: i32) -> Option<&'static str> {
    let file = dir.join(program);
    let on_path = !program.contains('/');
    match code {
        127 if on_path => Some("there is none of that name on PATH"),
        // The kernel says the same of both.
        127 if file.exists() => {
            Some("the interpreter is not there that its first line, or its format, asks for")
        }
        127 if program.starts_with('/') => Some("there is no such file"),
        127 => Some("there is no such file at this commit"),
        126 if !on_path && file.is_dir() => Some("it is a directory"),
        126 if !on_path => Some("it is not executable, or of no format that can be executed"),
        _ => None,
    }
}

/// What somebody may have meant who wrote a command with its arguments as one word of a list.
fn meant(argv: &[String]) -> Option<String> {
    let (program, rest) = argv.split_first()?;
    if !program.trim().contains(char::is_whitespace) {
        return None;
    }
    Some(match rest {
        [] => format!("a string? run = {program:?}"),
        _ => {
            let words = program.split_whitespace();
            let all: Vec<_> = words.chain(rest.iter().map(String::as_str)).collect();
            format!("run = {all:?}?")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_in_one_word_is_taken_apart() {
        let meant =
            |words: &[&str]| meant(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        assert_eq!(meant(&["make"]), None);
        assert_eq!(meant(&["make", "a b"]), None);
        let string = "a string? run = \"./run all\"";
        assert_eq!(meant(&["./run all"]).as_deref(), Some(string));
        let list = "run = [\"cargo\", \"test\", \"--all\"]?";
        assert_eq!(meant(&["cargo test", "--all"]).as_deref(), Some(list));
    }
}
