//! `git ci agent`: the far end of the protocol, started by a dispatcher.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::process::ExitCode;

use crate::error::Failure;
use crate::printer::{self, Stream};
use crate::runner::guard::{self, Guarded};
use crate::runner::{agent, hub, key, protocol_line};

use super::ui::output;

/// Run tasks for a dispatcher, over standard input and output. Not for people.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Serve a dispatcher on another machine.
    #[arg(long, requires = "nonce")]
    stdio: bool,

    /// What the dispatcher waits for.
    #[arg(long, value_name = "HEX")]
    nonce: Option<String>,

    /// Be the hub below such a process.
    #[arg(long, requires_all = ["nonce", "guard"], conflicts_with = "stdio", hide = true)]
    hub: bool,

    /// The hub's line to it.
    #[arg(long, value_name = "FD", requires = "hub", hide = true)]
    guard: Option<u32>,

    /// Answer one question about this machine.
    #[arg(long, conflicts_with_all = ["stdio", "hub"], hide = true)]
    key: bool,

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
    // Whoever waits for this to end may be the one who does not read what it says.
    printer::be_impatient();
    // The raw descriptors: a buffer would hide from `poll` what has been read ahead, and
    // what has not been written. No job may have them: while it lives they would not end.
    let raw = |name: &str, fd: BorrowedFd<'_>| {
        rustix::io::fcntl_dupfd_cloexec(fd, 3)
            .map(File::from)
            .map_err(|error| Failure::failed_to(format!("open {name}"), io::Error::from(error)))
    };
    let program = || {
        std::env::current_exe()
            .map_err(|error| Failure::failed_to("find the program that this is", error))
    };
    if let (true, Some(nonce)) = (args.stdio, &args.nonce) {
        guard::watch_over(&program()?, nonce)
            .map_err(|error| Failure::failed_to("watch over a hub", error))?;
        return Ok(ExitCode::SUCCESS);
    }
    let input = raw("standard input", rustix::stdio::stdin())?;
    let output = raw("standard output", Stream::Out.descriptor())?;
    if let (Some(nonce), Some(line)) = (args.nonce, args.guard) {
        let program = program()?;
        let guard =
            Guarded::open(line).map_err(|error| Failure::failed_to("reach the guard", error))?;
        hub::serve(&hub::HubSpec { nonce, program }, guard, input, output)
            .map_err(|error| Failure::failed_to("serve as a hub", error))?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.key {
        key::serve(input, output).map_err(|error| Failure::failed_to("ask a key", error))?;
        return Ok(ExitCode::SUCCESS);
    }
    agent::serve(input, output).map_err(|error| Failure::failed_to("serve as an agent", error))?;
    Ok(ExitCode::SUCCESS)
}
