//! `git ci agent`: the agent's end of the protocol, started by a dispatcher.

use std::io;
use std::process::ExitCode;

use crate::error::Failure;
use crate::runner::agent;

/// Run tasks for a dispatcher, over standard input and output. Not for people.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Serves until standard input ends.
pub(super) fn execute(_: Args) -> Result<ExitCode, Failure> {
    // The raw descriptors: a buffer would hide from `poll` what has been read ahead.
    let input = rustix::io::dup(rustix::stdio::stdin())
        .map_err(|error| Failure::failed_to("open standard input", io::Error::from(error)))?;
    agent::serve(std::fs::File::from(input), io::stdout().lock())
        .map_err(|error| Failure::failed_to("serve as an agent", error))?;
    Ok(ExitCode::SUCCESS)
}
