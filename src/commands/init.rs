//! `git ci init`: a jobs file to begin with.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use crate::config::JOBS_FILE;
use crate::error::Failure;
use crate::git::Repo;
use crate::starter::{self, Import, Project, Starter};

use super::ui::output;

/// Write a starter jobs file that fits what the repository looks like.
///
/// Looks at the files that git tracks, at the top and in the directories of a monorepo:
/// Cargo, npm, pnpm, Yarn, Bun, Deno, Go, Maven, Gradle, Python (uv, Poetry, PDM,
/// Pipenv, Hatch, venv), Bundler, Composer, .NET, Swift, CMake, Meson, autotools, make,
/// just and pre-commit. With `--from-ci` it takes the commands of
/// `.github/workflows` and `.gitlab-ci.yml` over instead. A jobs file that is there
/// already is never overwritten.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print the file to standard output, and write nothing.
    #[arg(short = 'n', long, visible_alias = "print")]
    dry_run: bool,

    /// Take over what another CI runs; what cannot be is a comment that says why.
    #[arg(long)]
    from_ci: bool,
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
    let project = Project::new(top, repo.files_of_a_clone()?);
    let branch = repo.main_branch();
    let made = if args.from_ci {
        import(&project, &branch)?
    } else {
        starter::starter(&project, &branch)
    };
    if args.dry_run {
        output::print(&made.text)?;
        return Ok(ExitCode::SUCCESS);
    }
    write(&top.join(JOBS_FILE), &made.text)?;
    output::note(&said(&made, &branch));
    if !args.from_ci {
        let sources = starter::sources(&project);
        if !sources.is_empty() {
            let have = match sources.len() {
                1 => "has".to_owned(),
                2 => "and another file have".to_owned(),
                more => format!("and {} other files have", more - 1),
            };
            output::note(&format!(
                "{} {have} commands, too: `git ci init --from-ci --print` shows them as jobs",
                sources[0]
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What other CIs have.
fn import(project: &Project, branch: &str) -> Result<Starter, Failure> {
    if starter::sources(project).is_empty() {
        return Err(Failure::fatal(
            "failed to find another CI: there is neither .github/workflows nor .gitlab-ci.yml",
        )
        .hint("`git ci init` goes by what the project looks like"));
    }
    let import = Import::read(project);
    for problem in &import.problems {
        output::note(&format!("warning: failed to {problem}"));
    }
    let made = import.starter(branch);
    if made.jobs.is_empty() {
        return Err(Failure::fatal(
            "failed to take anything over: no job of the other CI can run here as it is",
        )
        .hint("`git ci init` goes by what the project looks like"));
    }
    Ok(made)
}

fn said(made: &Starter, branch: &str) -> String {
    if made.jobs.is_empty() {
        return format!(
            "wrote {JOBS_FILE} with an example: nothing that git-ci knows was found\n\
             next: edit it, then `git ci run`"
        );
    }
    format!(
        "wrote {JOBS_FILE} for {}: {}\n\
         next: `git ci run` runs that on HEAD, `git ci run {branch}..` on every commit of a branch\n\
         then commit this file: git add {JOBS_FILE} && git commit -m 'Add jobs for git-ci'",
        made.kinds.join(", "),
        made.jobs.join(", "),
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
