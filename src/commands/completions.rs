//! `git ci completions`: a completion script for a shell.

use std::process::ExitCode;

use crate::error::Failure;

use super::help;
use super::ui::output;

/// Print a completion script.
///
/// For bash, `eval "$(git ci completions bash)"`, or save it where completions are looked
/// for: as `git-ci` in `~/.local/share/bash-completion/completions`, as `git-ci.fish` in
/// `~/.config/fish/completions`, as `_git-ci` in a directory of zsh's `fpath`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell: bash, fish or zsh.
    #[arg(value_enum, value_name = "SHELL", hide_possible_values = true)]
    shell: help::Shell,
}

/// Prints it.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    output::print(&help::script(args.shell))?;
    Ok(ExitCode::SUCCESS)
}
