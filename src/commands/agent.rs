//! `git ci agent`: the far end of the protocol, started by a dispatcher.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::process::ExitCode;

use crate::error::Failure;
use crate::runner::{agent, hub, protocol_line};

use super::output;

/// Run tasks for a dispatcher, over standard input and output. Not for people.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Serve a dispatcher on another machine.
    #[arg(long, requires = "nonce")]
    stdio: bool,

    /// What the dispatcher waits for.
    #[arg(long, value_name = "HEX", requires = "stdio")]
    nonce: Option<String>,

    /// Say which protocol this is, and end.
    #[arg(long, conflicts_with = "stdio")]
    protocol: bool,
}

/// Serves until standard input ends.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    if args.protocol {
        output::print(&format!("{}\n", protocol_line()))?;
        return Ok(ExitCode::SUCCESS);
    }
    // The raw descriptors: a buffer would hide from `poll` what has been read ahead, and
    // what has not been written. No job may have them: while it lives they would not end.
    let raw = |name: &str, fd: BorrowedFd<'_>| {
        rustix::io::fcntl_dupfd_cloexec(fd, 3)
            .map(File::from)
            .map_err(|error| Failure::failed_to(format!("open {name}"), io::Error::from(error)))
    };
    let input = raw("standard input", rustix::stdio::stdin())?;
    let output = raw("standard output", rustix::stdio::stdout())?;
    if let Some(nonce) = args.nonce {
        let program = std::env::current_exe()
            .map_err(|error| Failure::failed_to("find the program that this is", error))?;
        hub::serve(&hub::HubSpec { nonce, program }, input, output)
            .map_err(|error| Failure::failed_to("serve as a hub", error))?;
        return Ok(ExitCode::SUCCESS);
    }
    agent::serve(input, output).map_err(|error| Failure::failed_to("serve as an agent", error))?;
    Ok(ExitCode::SUCCESS)
}
