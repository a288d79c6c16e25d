//! `git ci cancel`: has the runs and the watch of this repository cancel tasks.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::engine::control::{self, Reply, Request};
use crate::error::{Failure, FailureKind};
use crate::git::{Repo, revs};
use crate::model::JobName;
use crate::reporter::counted;

use super::ui::output;

/// Cancel tasks of every `git ci run` and `git ci watch` that works on this repository.
///
/// What runs is ended, gently at first; what is queued is forgotten. Nothing is recorded, and
/// a watching process does not come back to it; `git ci run REV` does. A run some of whose
/// tasks were cancelled ends without a verdict on them (exit code 125).
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
    let replies = control::ask(&repo.ci_dir(), &request);
    if replies.is_empty() {
        return Err(Failure::fatal(
            "nothing runs on this repository: there is nothing to cancel",
        ));
    }
    let (mut all, mut running_all, mut silent) = (0, 0, None);
    for reply in replies {
        match reply {
            Ok(Reply::Cancelled { running, waiting }) => {
                all += running + waiting;
                running_all += running;
            }
            Ok(Reply::State(_)) => {
                return Err(Failure::new(
                    FailureKind::Bug,
                    "a run gave an answer to another question",
                ));
            }
            Err(error) => silent = Some(error),
        }
    }
    if all == 0
        && let Some(error) = silent
    {
        return Err(Failure::failed_to("hear from what runs here", error)
            .hint("it may be stopped; `git ci status` says which process it is"));
    }
    let text = match all {
        0 => "nothing of that is running or queued".to_owned(),
        all => format!(
            "{} cancelled, {running_all} of them running",
            counted(all, "task")
        ),
    };
    output::note(&text);
    Ok(ExitCode::SUCCESS)
}
