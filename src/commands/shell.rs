//! `git ci shell`: a shell in a slot, at a commit.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use crate::error::{Failure, FailureKind};
use crate::git::Repo;
use crate::model::{CommandLine, Job, JobName, LogId, Reason, TaskId};
use crate::plan::PlannedJob;
use crate::process;
use crate::runner::Assignment;
use crate::runner::protocol::RunTask;
use crate::runner::shell::{self, ShellError, ShellSpec};
use crate::settings::Settings;

use super::ui::kinds::Kinds;
use super::ui::select::{self, ConfigArgs, Jobs};
use super::ui::{fleet, output};

/// Open a shell in a slot, at a commit.
///
/// It finds what a task would: the worktree at the commit, the environment of the job, what is
/// set up for it, and what the jobs that it needs leave there, which are run first where that is
/// needed. Nothing is recorded, and nothing of yours is touched; what is left in the slot goes
/// before the next task.
///
/// Where `git ci run --keep-failed` has kept the slot of this job on this commit, it opens
/// there, with everything as the job left it; when it ends the slot is one as any other again.
///
/// The exit code is that of the shell.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The commit.
    #[arg(value_name = "REV", default_value = "HEAD")]
    rev: OsString,

    /// The job; without it there is only the worktree.
    #[arg(value_name = "JOB")]
    job: Option<String>,

    /// Run this shell command instead of `$SHELL`.
    #[arg(short = 'c', value_name = "CMD")]
    command: Option<OsString>,

    /// Read the jobs from this file.
    #[arg(long, value_name = "FILE", conflicts_with = "config_from")]
    config: Option<std::path::PathBuf>,

    /// Which jobs file counts, as for `git ci run`.
    #[arg(long, value_name = "worktree|commit|REV")]
    config_from: Option<String>,
}

impl From<ShellError> for Failure {
    fn from(error: ShellError) -> Self {
        let kind = match &error {
            ShellError::Before { .. } | ShellError::Start { .. } => FailureKind::NoVerdict,
            _ => FailureKind::Fatal,
        };
        Failure::of(kind, &error)
    }
}

/// Opens it, and waits for its end.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    let repo = Repo::discover()?;
    repo.refuse_quarantine("open a shell here")?;
    let settings = Settings::of(&repo)?;
    let commit = Arc::new(select::commit(&repo, &args.rev)?);
    let planned = match &args.job {
        Some(job) => {
            let config = ConfigArgs {
                job: vec![job.clone()],
                config: args.config.clone(),
                config_from: args.config_from.clone(),
                ..ConfigArgs::default()
            };
            let kinds = Kinds::of(&repo, &settings);
            let jobs = Jobs::configured(&config, &repo, &settings, kinds)?.of(&commit)?;
            chosen(&jobs, job)?
        }
        None => PlannedJob::unrecorded(plain()),
    };
    for message in fleet::keep_surroundings_from_jobs(&repo) {
        output::note(&message);
    }
    let assignment = Assignment {
        task: planned.task(TaskId(0), &commit, Reason::Unrecorded),
        try_: 1,
        log: LogId::of(process::random()),
        ahead: Vec::new(),
    };
    let spec = ShellSpec {
        setup: fleet::local_spec(&repo, &settings, settings.slots)?.setup,
        task: RunTask::new(&assignment),
        command: match args.command {
            Some(command) => vec!["sh".into(), "-c".into(), command],
            None => vec![own_shell()],
        },
        term: std::env::var_os("TERM"),
    };
    let status = shell::run(&repo, &spec, |text| output::note(&text))?;
    Ok(ExitCode::from(shell::code(status)))
}

/// The one job that is meant.
fn chosen(jobs: &[PlannedJob], name: &str) -> Result<PlannedJob, Failure> {
    let meant: Vec<_> = jobs
        .iter()
        .filter(|planned| planned.job.name.is_meant_by(name))
        .collect();
    match meant.as_slice() {
        [one] => Ok((*one).clone()),
        several => {
            let names: Vec<_> = several.iter().map(|one| one.job.name.as_str()).collect();
            let message = format!("{name} means several jobs: {}", names.join(", "));
            Err(Failure::usage(message))
        }
    }
}

/// A job of which there is nothing to know.
fn plain() -> Job {
    #[expect(clippy::unwrap_used, reason = "the word is a job name")]
    let name: JobName = "shell".parse().unwrap();
    Job::new(name, CommandLine::Shell("true".to_owned()))
}

/// The user's shell.
fn own_shell() -> OsString {
    let own = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
    own.unwrap_or_else(|| "sh".into())
}
