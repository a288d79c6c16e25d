//! `git ci detached`: the second half of starting a process that goes on by itself.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::error::Failure;
use crate::process;

/// Become a command in a session of its own. Not for people.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The subcommand and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// Never returns where it works.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::failed_to("find the program that this is", error))?;
    let error = process::go_on(&program, &args.args);
    Err(Failure::failed_to("go on in the background", error))
}
