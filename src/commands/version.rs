//! `git ci version`: which program this is.

use std::process::ExitCode;

use crate::error::Failure;
use crate::git::Git;

use super::ui::output;

/// Print the version.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// And what else somebody needs who reads a bug report.
    #[arg(long)]
    build_options: bool,
}

/// Prints it.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    let mut text = format!("git-ci {}\n", env!("CARGO_PKG_VERSION"));
    if args.build_options {
        let system = rustix::system::uname();
        let words = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        let git = match Git::find() {
            Ok(git) => {
                let said = git.read(git.command().arg("version")).unwrap_or_default();
                let version = said.strip_prefix("git version ").unwrap_or(&said);
                format!("{version} ({})", git.program().display())
            }
            Err(error) => format!("failed to {error}"),
        };
        text += &format!(
            "system: {} {} {}\nbuild: {}, {}\ngit: {git}\n",
            words(system.sysname()),
            words(system.release()),
            words(system.machine()),
            if cfg!(target_env = "musl") {
                "musl"
            } else {
                std::env::consts::OS
            },
            if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
        );
    }
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}
