//! `git ci help`: a manual page, or what there is.

use std::io::{Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};

use crate::config::nearest;
use crate::error::Failure;

use super::output;
use crate::commands::help;

/// Show the commands, or the manual page of one.
///
/// Opens the page with man(1); `note` and the like are the pages of the formats that other
/// programs may rely on. Where man(1) does not find a page, what the program itself can
/// say is shown; `git ci doctor` says how to install the pages.
#[derive(Debug, clap::Args)]
pub(in crate::commands) struct Args {
    /// A command such as `run`, or a format such as `note`; without it all are listed.
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

/// Opens or prints it.
pub(in crate::commands) fn execute(args: Args) -> Result<ExitCode, Failure> {
    let Some(name) = args.command else {
        output::print(&help::short())?;
        return Ok(ExitCode::SUCCESS);
    };
    // As people may write it.
    let name = name.strip_prefix("git-ci-").unwrap_or(&name).to_owned();
    let (long, roff) = (help::long(&name), help::format(&name));
    if long.is_none() && roff.is_none() {
        return Err(unknown(&name));
    }
    let page = format!("git-ci-{name}");
    if has_page(&page) {
        let error = Command::new("man").arg(&page).exec();
        return Err(Failure::failed_to("start man", error));
    }
    if let Some(roff) = roff {
        return open(&roff);
    }
    output::print(&long.unwrap_or_default())?;
    Ok(ExitCode::SUCCESS)
}

/// Opens a page that is not installed.
fn open(roff: &str) -> Result<ExitCode, Failure> {
    let failed = |error| Failure::failed_to("show the page with man", error);
    let mut page = tempfile::tempfile().map_err(failed)?;
    page.write_all(roff.as_bytes()).map_err(failed)?;
    page.rewind().map_err(failed)?;
    Err(failed(
        Command::new("man").args(["-l", "-"]).stdin(page).exec(),
    ))
}

fn unknown(name: &str) -> Failure {
    let names = help::names();
    let near = nearest(name, names.iter().map(String::as_str));
    let failure = Failure::usage(format!("there is no command {name}"));
    match near {
        Some(near) => failure.hint(format!("did you mean `git ci help {near}`?")),
        None => failure.hint("`git ci help` lists them"),
    }
}

/// Whether man(1) knows a page.
pub(in crate::commands) fn has_page(page: &str) -> bool {
    let found = Command::new("man")
        .args(["-w", page])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success())
}
