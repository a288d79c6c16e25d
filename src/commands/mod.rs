//! The command line: what was typed, and the way from there to the rest of the
//! program. One file a subcommand; each has its `Args` and an `execute`.
//!
//! Nothing else in the crate knows clap, and nothing else decides an exit code.

mod agent;
mod artifacts;
mod blame;
mod cancel;
mod completions;
mod config;
mod doctor;
mod flaky;
mod forget;
mod gc;
mod help;
mod hook;
mod hosts;
mod init;
mod log;
mod logs;
mod notify;
mod run;
mod shell;
mod show;
mod stats;
mod status;
mod ui;
mod version;
mod wait;
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{FromArgMatches as _, Parser, Subcommand};

pub use help::generated;

use crate::error::Failure;
use crate::process;

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
    /// Run as if started in this directory; several are taken one after the other, as git does.
    #[arg(short = 'C', value_name = "PATH", action = clap::ArgAction::Append, value_parser = clap::value_parser!(OsString))]
    directory: Vec<OsString>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    Run(run::Args),
    Hook(hook::Args),
    Notify(notify::Args),
    Status(status::Args),
    Log(log::Args),
    Show(show::Args),
    Logs(logs::Args),
    Artifacts(artifacts::Args),
    Blame(blame::Args),
    Flaky(flaky::Args),
    Stats(stats::Args),
    Wait(wait::Args),
    Shell(shell::Args),
    Config(config::Args),
    Gc(gc::Args),
    Doctor(doctor::Args),
    Completions(completions::Args),
    Watch(watch::Args),
    Cancel(cancel::Args),
    Forget(forget::Args),
    Hosts(hosts::Args),
    Help(ui::open_help::Args),
    Version(version::Args),
    #[command(hide = true)]
    Agent(agent::Args),
}

/// Does what the command line says, and says how that went.
pub fn main() -> ExitCode {
    ui::ending::finish(ui::crash::contain(start))
}

/// Parses the command line and does what it says.
fn start() -> ExitCode {
    if let Err(error) = process::prepare() {
        return ui::output::failure(&Failure::failed_to("prepare this process", error));
    }
    ui::trace::begin();
    let parsed =
        help::definition().try_get_matches_from(ui::slips::spelled_out(std::env::args_os()));
    match parsed.and_then(|found| Cli::from_arg_matches(&found)) {
        Ok(cli) => match execute(cli) {
            Ok(code) => code,
            Err(failure) => ui::output::failure(&failure),
        },
        Err(mut error) if error.use_stderr() => {
            let args = std::env::args_os().skip(1);
            let args: Vec<_> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
            ui::slips::without_bad_advice(&mut error);
            let hints = ui::slips::hints(&error, &args);
            ui::output::usage(error, &hints)
        }
        Err(error) => ui::output::usage(error, &[]),
    }
}

fn execute(cli: Cli) -> Result<ExitCode, Failure> {
    for directory in cli
        .directory
        .iter()
        .filter(|path| !path.as_os_str().is_empty())
    {
        std::env::set_current_dir(directory).map_err(|error| {
            Failure::failed_to(format!("go to {}", directory.to_string_lossy()), error)
        })?;
    }
    match cli.command {
        Command::Init(args) => init::execute(args),
        Command::Run(args) => run::execute(args),
        Command::Hook(args) => hook::execute(args),
        Command::Notify(args) => notify::execute(args),
        Command::Status(args) => status::execute(args),
        Command::Log(args) => log::execute(args),
        Command::Show(args) => show::execute(args),
        Command::Logs(args) => logs::execute(args),
        Command::Blame(args) => blame::execute(args),
        Command::Stats(args) => stats::execute(args),
        Command::Flaky(args) => flaky::execute(args),
        Command::Artifacts(args) => artifacts::execute(args),
        Command::Wait(args) => wait::execute(args),
        Command::Shell(args) => shell::execute(args),
        Command::Completions(args) => completions::execute(args),
        Command::Doctor(args) => doctor::execute(args),
        Command::Config(args) => config::execute(args),
        Command::Gc(args) => gc::execute(args),
        Command::Watch(args) => watch::execute(args),
        Command::Cancel(args) => cancel::execute(args),
        Command::Forget(args) => forget::execute(args),
        Command::Hosts(args) => hosts::execute(args),
        Command::Help(args) => ui::open_help::execute(args),
        Command::Version(args) => version::execute(args),
        Command::Agent(args) => agent::execute(args),
    }
}
