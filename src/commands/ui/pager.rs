//! Where the results of the reading commands go: standard output, by way of a pager where
//! a person looks at more than fits.
//!
//! It is git's pager, chosen and started as git does: `git var GIT_PAGER` knows
//! `GIT_PAGER`, `core.pager`, `PAGER` and the default that git was built with. git itself
//! heeds `--no-pager` and `pager.ci` before it starts us: it sets `GIT_PAGER=cat` for the
//! one, and for `-p` or `pager.ci=true` it has a pager on our standard output already.
//! `pager.ci` is asked again for those who call `git-ci` itself.

use std::env;
use std::io::{self, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGQUIT};

use crate::error::Failure;
use crate::git::Repo;
use crate::model::printable_styled;
use crate::printer::{self, Stream};

use super::color::ColorArgs;

/// What makes git hand a command line to the shell instead of starting the one word that it is.
const SHELL_CHARACTERS: &str = "|&;<>()$`\\\"' \t\n*?[#~=%";

/// So many bytes are written at once.
const HELD: usize = 64 << 10;

/// Results on their way to the reader.
pub(in crate::commands) struct Page {
    /// The pager's end; else it is standard output.
    into: Option<ChildStdin>,
    /// What was not written yet.
    held: Vec<u8>,
    pager: Option<(Child, [Option<SigId>; 2])>,
    colors: bool,
    watched: bool,
    /// The reader has seen enough.
    closed: bool,
}

impl Page {
    /// Opens the way; with a pager where `paged` and a person is looking.
    ///
    /// # Errors
    /// Where the configuration of colours makes no sense.
    pub(in crate::commands) fn open(
        repo: &Repo,
        color: ColorArgs,
        paged: bool,
    ) -> Result<Self, Failure> {
        color.resolve(repo)?;
        let terminal = Stream::Out.is_terminal();
        let in_use = env::var("GIT_PAGER_IN_USE").is_ok_and(|value| boolean(&value) == Some(true));
        let pager = if terminal && paged && !in_use {
            command(repo).and_then(|line| start(&line))
        } else {
            None
        };
        let mut page = Self {
            into: None,
            held: Vec::new(),
            watched: terminal || in_use,
            colors: false,
            closed: false,
            pager: None,
        };
        let through_pager = in_use || pager.is_some();
        let plain_pager = repo.config("color.pager").and_then(boolean) == Some(false);
        page.colors = printer::wanted(page.watched && !(through_pager && plain_pager));
        if let Some((mut child, signals)) = pager {
            page.into = child.stdin.take();
            page.pager = Some((child, signals));
        }
        Ok(page)
    }

    /// Whether a person looks at it, on a terminal or in a pager.
    pub(in crate::commands) fn is_watched(&self) -> bool {
        self.watched
    }

    /// Whether the reader went away, so that there is no use in writing more.
    pub(in crate::commands) fn is_closed(&self) -> bool {
        self.closed || self.into.is_none() && Stream::Out.is_closed()
    }

    /// Writes text with colours, which are taken out where none are wanted.
    ///
    /// # Errors
    /// Those of writing; a reader that went away is none.
    pub(in crate::commands) fn write(&mut self, text: &str) -> Result<(), Failure> {
        let safe = printable_styled(text, self.colors);
        self.write_raw(safe.as_bytes())
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub(in crate::commands) fn write_raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.held.extend_from_slice(bytes);
        if self.held.len() < HELD {
            Ok(())
        } else {
            self.flush()
        }
    }

    /// Makes what was written visible at once.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub(in crate::commands) fn flush(&mut self) -> Result<(), Failure> {
        let held = std::mem::take(&mut self.held);
        if self.closed || held.is_empty() {
            return Ok(());
        }
        let written = match &mut self.into {
            Some(into) => into.write_all(&held),
            None => printer::raw(Stream::Out, &held),
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            Err(error) => Err(Failure::failed_to("write to standard output", error)),
            Ok(()) => Ok(()),
        }
    }

    /// Ends the text, and waits until the person has read it.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub(in crate::commands) fn close(mut self) -> Result<(), Failure> {
        self.flush()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.into = None;
        if let Some((mut child, signals)) = self.pager.take() {
            // How the pager ended is between it and its user.
            let _ = child.wait();
            for signal in signals.into_iter().flatten() {
                signal_hook::low_level::unregister(signal);
            }
        }
    }
}

/// The pager's command line; `None` where there is to be none.
fn command(repo: &Repo) -> Option<String> {
    let own = repo.config("pager.ci");
    let line = match own.map(boolean) {
        Some(Some(false)) => return None,
        Some(None) if env::var_os("GIT_PAGER").is_none() => own.map(str::to_owned)?,
        _ => {
            let mut ask = repo.git().as_the_user();
            repo.git().read(ask.args(["var", "GIT_PAGER"])).ok()?
        }
    };
    (!line.is_empty() && line != "cat").then_some(line)
}

/// A boolean as git's configuration knows it.
fn boolean(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" | "" => Some(false),
        _ => None,
    }
}

/// Starts a pager on a pipe from us; `None` where that fails: results are shown without one, then.
fn start(line: &str) -> Option<(Child, [Option<SigId>; 2])> {
    let mut command = if line.contains(|c| SHELL_CHARACTERS.contains(c)) {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(line);
        shell
    } else {
        Command::new(line)
    };
    for (name, value) in [("LESS", "FRX"), ("LV", "-c")] {
        if env::var_os(name).is_none() {
            command.env(name, value);
        }
    }
    let child = command.stdin(Stdio::piped()).spawn().ok()?;
    // Ctrl-C is for the pager, which may do something else about it than end. If it
    // ended us, pager and shell would fight for the terminal.
    let ignored = Arc::new(AtomicBool::new(false));
    let ignore = |signal| signal_hook::flag::register(signal, Arc::clone(&ignored)).ok();
    Some((child, [ignore(SIGINT), ignore(SIGQUIT)]))
}
