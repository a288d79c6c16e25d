//! Manual pages and completion scripts, made from the definitions of the commands.
//!
//! They are committed, so that installing needs nothing but `install`; a test compares
//! what is committed with what is made here. Nothing in them depends on the day or the
//! machine. `git ci --help` opens git-ci(1), so that page is the help of the program.

mod completions;
mod man;

use clap::CommandFactory as _;

pub(super) use completions::{Shell, script};

/// Every generated file: its path in the source tree, and its text.
pub fn generated() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for (name, text) in man::pages(&command()) {
        files.push((format!("man/{name}"), text));
    }
    for shell in Shell::ALL {
        files.push((format!("completions/{}", shell.file()), script(shell)));
    }
    files
}

/// The whole command line, with everything in it that clap works out by itself.
fn command() -> clap::Command {
    let mut command = super::Cli::command();
    command.build();
    command
}

/// The subcommands that people may know about.
fn visible(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    command.get_subcommands().filter(|sub| !sub.is_hide_set())
}
