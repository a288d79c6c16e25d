//! `git ci init`: a jobs file to begin with.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use crate::config::{self, JOBS_FILE, Starter};
use crate::error::Failure;
use crate::git::Repo;

use super::output;

/// Write a starter jobs file that fits what the repository looks like.
///
/// Looks at the top of the work tree for Cargo, npm, pnpm, Yarn, Go, Maven, Gradle,
/// Python and Make, and writes `.git-ci.toml` there. A jobs file that is there already
/// is never overwritten.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print the file to standard output, and write nothing.
    #[arg(short = 'n', long, visible_alias = "print")]
    dry_run: bool,
}

/// Looks, writes, and says what comes next.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    let repo = Repo::discover()?;
    let top = repo.work_tree().ok_or_else(|| {
        Failure::fatal(format!(
            "failed to write {JOBS_FILE}: there is no work tree here"
        ))
        .hint("in a bare repository each commit's own jobs file counts: commit one in a clone")
    })?;
    let starter = config::starter(top);
    if args.dry_run {
        output::print(&starter.text)?;
        return Ok(ExitCode::SUCCESS);
    }
    write(&top.join(JOBS_FILE), &starter.text)?;
    output::note(&said(&starter));
    Ok(ExitCode::SUCCESS)
}

fn said(starter: &Starter) -> String {
    if starter.jobs.is_empty() {
        return format!(
            "wrote {JOBS_FILE} with an example: nothing that git-ci knows was found\n\
             next: edit it, then `git ci run`"
        );
    }
    format!(
        "wrote {JOBS_FILE} for {}: {}\nnext: `git ci run` runs that on HEAD",
        starter.kinds.join(", "),
        starter.jobs.join(", "),
    )
}

/// Makes the file; one that exists stays, and so does a symbolic link, wherever it leads.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let made = File::options().write(true).create_new(true).open(path);
    let mut file = made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::fatal(format!(
            "failed to write {JOBS_FILE}: it is there already, and is never overwritten"
        ))
        .hint("`git ci init --print` prints what it would be"),
        _ => Failure::failed_to(format!("write {}", path.display()), error),
    })?;
    file.write_all(text.as_bytes()).map_err(|error| {
        // Half a jobs file is worse than none, and would be in the way next time.
        let _ = fs::remove_file(path);
        Failure::failed_to(format!("write {}", path.display()), error)
    })
}
