//! `git ci cancel`: has the observer of this repository cancel tasks.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::error::{Failure, FailureKind};
use crate::git::{Repo, revs};
use crate::model::JobName;
use crate::reporter::counted;
use crate::watch::control::{self, Reply, Request};

use super::output;

/// Cancel tasks of the `git ci watch` that runs on this repository.
///
/// What runs is ended, gently at first; what is queued is forgotten. Nothing is recorded, and
/// the watching process does not come back to it; `git ci run REV` does.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The commit whose tasks to cancel [default: all tasks].
    #[arg(value_name = "REV")]
    rev: Option<OsString>,

    /// Only this job's.
    #[arg(value_name = "JOB")]
    job: Option<JobName>,
}

/// Asks and says what came of it.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    let repo = Repo::discover()?;
    let commit = match &args.rev {
        Some(rev) => Some(revs::resolve(&repo, rev)?.id),
        None => None,
    };
    let request = Request::Cancel {
        commit,
        job: args.job,
    };
    let reply = control::ask(&repo.ci_dir(), &request);
    let reply = reply.map_err(|error| Failure::failed_to("hear from `git ci watch`", error))?;
    match reply {
        Some(Reply::Cancelled { running, waiting }) => {
            let text = match running + waiting {
                0 => "nothing of that is running or queued".to_owned(),
                all => format!(
                    "{} cancelled, {running} of them running",
                    counted(all, "task")
                ),
            };
            output::note(&text);
            Ok(ExitCode::SUCCESS)
        }
        Some(Reply::State(_)) => Err(Failure::new(
            FailureKind::Bug,
            "`git ci watch` gave an answer to another question",
        )),
        None => Err(
            Failure::fatal("nobody watches this repository: there is nothing to cancel")
                .hint("a `git ci run` is ended by Ctrl-C in its own terminal"),
        ),
    }
}
