//! `GIT_CI_TRACE`: what happens inside, one line an event.
//!
//! As with git's own `GIT_TRACE`, `1` or `true` is standard error and an absolute path a
//! file to append to. Words between commas say more: a level (`error`, `warn`, `info`, `debug`,
//! which is the default, `trace`), and `json` for lines that machines read. Each event names the
//! room it is from. Agents of this machine have the variable from whoever started them.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tracing::level_filters::LevelFilter;

use crate::git;
use crate::private;

use super::output;

/// The variable.
const VARIABLE: &str = "GIT_CI_TRACE";

/// What its value asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    level: Option<&'static str>,
    json: bool,
    file: Option<String>,
    /// Words that mean nothing.
    unknown: Vec<String>,
}

impl Wanted {
    /// `None` where nothing is to be traced.
    fn parse(value: &str) -> Option<Self> {
        if matches!(value, "" | "0" | "false" | "off" | "no") {
            return None;
        }
        let mut wanted = Self::default();
        for word in value.split(',') {
            match word {
                "1" | "2" | "true" | "on" | "yes" => {}
                "json" => wanted.json = true,
                "error" => wanted.level = Some("error"),
                "warn" => wanted.level = Some("warn"),
                "info" => wanted.level = Some("info"),
                "debug" => wanted.level = Some("debug"),
                "trace" => wanted.level = Some("trace"),
                path if path.starts_with('/') => wanted.file = Some(path.to_owned()),
                other => wanted.unknown.push(other.to_owned()),
            }
        }
        Some(wanted)
    }

    fn level(&self) -> LevelFilter {
        let level = self.level.unwrap_or("debug");
        level.parse().unwrap_or(LevelFilter::DEBUG)
    }
}

/// Whether anything is to be traced.
pub(in crate::commands) fn is_wanted() -> bool {
    let value = std::env::var(VARIABLE).unwrap_or_default();
    Wanted::parse(&value).is_some()
}

/// Begins to trace where that is wanted. What cannot be traced is said, and stops nothing.
pub(in crate::commands) fn begin() {
    let value = std::env::var(VARIABLE).unwrap_or_default();
    let Some(wanted) = Wanted::parse(&value) else {
        return;
    };
    for word in &wanted.unknown {
        output::note(&format!(
            "warning: {VARIABLE}: '{word}' is no level, no absolute path and not `json`"
        ));
    }
    let Some(path) = &wanted.file else {
        return install(&wanted, io::stderr);
    };
    match private::open(Path::new(path), private::Open::Append) {
        Ok(file) => {
            if wanted.level() == LevelFilter::TRACE {
                git::trace_git(path.into(), wanted.json);
            }
            let file: Arc<File> = Arc::new(file);
            install(&wanted, file);
        }
        Err(error) => output::note(&format!("warning: {VARIABLE}: open {path}: {error}")),
    }
}

fn install<W>(wanted: &Wanted, writer: W)
where
    W: for<'w> tracing_subscriber::fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt()
        .with_max_level(wanted.level())
        .with_ansi(false)
        .with_writer(writer);
    // Somebody else's would have been there before.
    let _ = if wanted.json {
        lines.json().flatten_event(true).try_init()
    } else {
        lines.try_init()
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_read_as_git_reads_its_own_and_more() {
        for off in ["", "0", "false", "off"] {
            assert_eq!(Wanted::parse(off), None);
        }
        assert_eq!(Wanted::parse("1"), Some(Wanted::default()));
        let wanted = Wanted::parse("trace,json,/tmp/x,what").unwrap();
        assert_eq!(wanted.level(), LevelFilter::TRACE);
        assert_eq!(wanted.file.as_deref(), Some("/tmp/x"));
        assert!(wanted.json);
        assert_eq!(wanted.unknown, ["what"]);
        assert_eq!(Wanted::parse("true").unwrap().level(), LevelFilter::DEBUG);
    }
}
