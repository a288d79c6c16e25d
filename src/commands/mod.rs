//! The command line: what was typed, and the way from there to the rest of the
//! program. One file a subcommand; each has its `Args` and an `execute`.
//!
//! Nothing else in the crate knows clap, and nothing else decides an exit code.

mod agent;
mod color;
mod failure;
mod hosts;
mod output;
mod places;
mod run;
mod select;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::Failure;

/// CI that lives in the repository: run jobs on any commit, keep the results as git notes.
#[derive(Debug, Parser)]
#[command(
    name = "git-ci",
    bin_name = "git ci",
    version,
    propagate_version = false,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Hosts(hosts::Args),
    #[command(hide = true)]
    Agent(agent::Args),
}

/// Parses the command line, does what it says, and says how that went.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return output::usage(&error, &[]),
    };
    match execute(cli) {
        Ok(code) => code,
        Err(failure) => output::failure(&failure),
    }
}

fn execute(cli: Cli) -> Result<ExitCode, Failure> {
    match cli.command {
        Command::Run(args) => run::execute(args),
        Command::Hosts(args) => hosts::execute(args),
        Command::Agent(args) => agent::execute(args),
    }
}
