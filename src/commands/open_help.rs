//! `git ci help`: a manual page, or what there is.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};

use crate::config::nearest;
use crate::error::Failure;

use super::{help, output};

/// Show the commands, or the manual page of one.
///
/// Opens the page with man(1). Where that does not find it, what the program itself can
/// say is printed; `git ci doctor` says how to install the pages.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A command such as `run`; without it the commands are listed.
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

/// Opens or prints it.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    let Some(name) = args.command else {
        output::print(&help::short())?;
        return Ok(ExitCode::SUCCESS);
    };
    // As people may write it.
    let name = name.strip_prefix("git-ci-").unwrap_or(&name).to_owned();
    let Some(long) = help::long(&name) else {
        let names = help::names();
        let near = nearest(&name, names.iter().map(String::as_str));
        let failure = Failure::usage(format!("there is no command {name}"));
        return Err(match near {
            Some(near) => failure.hint(format!("did you mean `git ci help {near}`?")),
            None => failure.hint("`git ci help` lists them"),
        });
    };
    let page = format!("git-ci-{name}");
    if has_page(&page) {
        let error = Command::new("man").arg(&page).exec();
        return Err(Failure::failed_to("start man", error));
    }
    output::print(&long)?;
    Ok(ExitCode::SUCCESS)
}

/// Whether man(1) knows a page.
pub(super) fn has_page(page: &str) -> bool {
    let found = Command::new("man")
        .args(["-w", page])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success())
}
