//! A shell in a slot: what a task would find there, for a person to look around in.
//!
//! It has the user's terminal, and so is no job: it runs below this process and not below an
//! agent, nothing is recorded of it, and no time is over for it. What it leaves is gone with the
//! next task, as what a job leaves is.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use crate::artifacts::{self, ArtifactStore, Artifacts};
use crate::checkout::CheckoutError;
use crate::git::{InputReader, Repo, forget_repository};
use crate::model::{self, Clean, CommandLine, Job, Oid};
use crate::process;
use crate::worktree::{Holder, Lease, LeaseError, Pool};

use super::protocol::{RunTask, Setup};
use super::steps::{Context, Step, environment};
use super::tokens::Tokens;

/// How often it is tried to get a slot.
const INTERVAL: Duration = Duration::from_millis(50);

/// Who waits no longer than this waits in silence.
const SILENT: Duration = Duration::from_secs(1);

/// Why there is no shell.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShellError {
    /// This process cannot look after what it starts.
    #[error("prepare this process")]
    Prepare(#[source] io::Error),
    /// No slot can be had.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The slot cannot be brought to the commit.
    #[error(transparent)]
    Checkout(#[from] CheckoutError),
    /// What comes before the job failed.
    #[error("{what} {name}: {how}")]
    Before {
        /// What was done: "set up", "run".
        what: &'static str,
        /// The set-up, or the job.
        name: String,
        /// How it ended.
        how: String,
    },
    /// The shell cannot be started.
    #[error("start {}", .program.to_string_lossy())]
    Start {
        /// The shell.
        program: OsString,
        /// Why.
        source: io::Error,
    },
}

/// What is wanted of a shell.
pub(crate) struct ShellSpec {
    /// As for an agent.
    pub setup: Setup,
    /// The commit and the job, as a task would have them.
    pub task: RunTask,
    /// What to execute: a shell of the user's, or one with a command.
    pub command: Vec<OsString>,
    /// The user's terminal.
    pub term: Option<OsString>,
}

/// Runs a shell in a slot to its end. `say` is told what goes on, in sentences.
///
/// # Errors
/// Where it comes to none.
pub(crate) fn run(
    repo: &Repo,
    spec: &ShellSpec,
    mut say: impl FnMut(String),
) -> Result<ExitStatus, ShellError> {
    process::become_subreaper().map_err(ShellError::Prepare)?;
    let mut pool = Pool::new(repo, spec.setup.worktrees.clone(), spec.setup.slots);
    let (commit, job) = (&spec.task.commit, &spec.task.job.name);
    let holder = Holder::new(spec.setup.dispatcher, *commit, job, spec.task.log.clone());
    let (machine, worktrees) = (&spec.setup.machine, &spec.setup.worktrees);
    let begun = Instant::now();
    let mut is_told = false;
    // Who waits for the one does not hold the other.
    let (mut lease, tokens, is_kept) = loop {
        let taken = Tokens::try_take(machine, worktrees, &spec.task.jobs());
        let lacking = match taken.map_err(ShellError::Prepare)? {
            Ok(tokens) => {
                if let Some(lease) = pool.lease_kept(commit, job, &holder)? {
                    break (lease, tokens, true);
                }
                if let Some(lease) = pool.try_lease(commit, &holder)? {
                    break (lease, tokens, false);
                }
                None
            }
            Err(lacking) => {
                pool.give_up();
                Some(lacking)
            }
        };
        if begun.elapsed() > SILENT && !std::mem::replace(&mut is_told, true) {
            let who = || pool.holders().first().map(Holder::describe);
            say(match lacking {
                Some(lacking) => format!("waiting: {lacking}"),
                None => format!(
                    "waiting for a slot: {}",
                    who().unwrap_or_else(|| "other tasks come first".to_owned())
                ),
            });
        }
        thread::sleep(INTERVAL);
    };
    // What is typed from here on is for the shell.
    process::outlast_signals().map_err(ShellError::Prepare)?;
    let inputs = InputReader::new(repo);
    let ctx = Context {
        setup: &spec.setup,
        repo,
        inputs: &inputs,
        keys: &RefCell::default(),
        task: &spec.task,
        granted: &tokens.variables,
    };
    let done = if is_kept {
        say(format!("slot {} is as {job} left it", lease.slot()));
        open(&lease, ctx, spec, &mut Vec::new(), &mut say)
    } else {
        in_slot(&mut lease, ctx, spec, &mut say)
    };
    ArtifactStore::new(&repo.ci_dir()).clear_for_shell(&spec.task.commit, &spec.task.job.name);
    // Whatever it left running is not for the next task.
    process::end_everything().map_err(ShellError::Prepare)?;
    let _ = lease.look();
    lease.release();
    done
}

fn in_slot(
    lease: &mut Lease<'_, '_>,
    ctx: Context<'_>,
    spec: &ShellSpec,
    say: &mut impl FnMut(String),
) -> Result<ExitStatus, ShellError> {
    let task = ctx.task;
    let goes_on = task
        .upstream
        .iter()
        .any(|job| lease.has_passed(job.definition(), &task.commit));
    let clean = if goes_on { Clean::None } else { task.job.clean };
    lease.move_to(&task.commit, clean)?;
    lease.set_head(&task.head)?;
    let jobs = || task.upstream.iter().chain([&task.job]);
    let setups: Vec<_> = jobs().flat_map(|job| &job.setups).collect();
    for setup in &setups {
        set_up(lease, ctx, setup, &setups, say)?;
    }
    let mut kept = Vec::new();
    for job in &task.upstream {
        if lease.has_passed(job.definition(), &task.commit) {
            continue;
        }
        say(format!(
            "running {}, which {} needs",
            job.name, task.job.name
        ));
        let env = environment_of(ctx, lease, job, &mut kept);
        let status = before(&job.run, lease, env, "run", job.name.as_str())?;
        if status.success() {
            lease.note_passed(job.definition());
        } else {
            say(format!("{} did not pass: {status}", job.name));
        }
    }
    open(lease, ctx, spec, &mut kept, say)
}

/// Opens the shell, with what the job is given.
fn open(
    lease: &Lease<'_, '_>,
    ctx: Context<'_>,
    spec: &ShellSpec,
    kept: &mut Vec<Artifacts>,
    say: &mut impl FnMut(String),
) -> Result<ExitStatus, ShellError> {
    let mut env = environment_of(ctx, lease, &ctx.task.job, kept);
    if let Some(term) = &spec.term {
        env.insert("TERM".into(), term.clone());
    }
    let mut words = spec.command.iter();
    let program = words.next().cloned().unwrap_or_else(|| "sh".into());
    let mut command = Command::new(&program);
    command.args(words);
    say(format!(
        "in slot {}, {}",
        lease.slot(),
        lease.path().display()
    ));
    start(&mut command, lease, env).map_err(|source| ShellError::Start { program, source })
}

fn set_up(
    lease: &mut Lease<'_, '_>,
    ctx: Context<'_>,
    setup: &model::Setup,
    beside: &[&model::Setup],
    say: &mut impl FnMut(String),
) -> Result<(), ShellError> {
    let failed = |how: String| ShellError::Before {
        what: "set up",
        name: setup.name.to_string(),
        how,
    };
    let identity = ctx.identity(setup).map_err(failed)?;
    if lease.has_setup(&setup.name, identity) {
        return Ok(());
    }
    let noted = lease.begin_setup(&setup.name);
    noted.map_err(|error| failed(error.to_string()))?;
    say(format!("setting up {}", setup.name));
    let mut kept = Vec::new();
    let mut env = environment_of(ctx, lease, &ctx.task.job, &mut kept);
    let own = setup.env.iter();
    env.extend(own.map(|(name, value)| (name.into(), value.into())));
    let status = before(&setup.run, lease, env, "set up", setup.name.as_str())?;
    if !status.success() {
        return Err(failed(status.to_string()));
    }
    let beside: Vec<_> = beside.iter().map(|setup| &setup.name).collect();
    let ended = lease.end_setup(&setup.name, identity, &beside);
    if let Some(path) = ended.map_err(|error| failed(error.to_string()))? {
        say(setup.does_not_last(&path));
    }
    Ok(())
}

/// The environment of a job in the slot, whose directory for artifacts is `kept` until the end.
fn environment_of(
    ctx: Context<'_>,
    lease: &Lease<'_, '_>,
    job: &Job,
    kept: &mut Vec<Artifacts>,
) -> BTreeMap<OsString, OsString> {
    let store = ArtifactStore::new(&ctx.repo.ci_dir());
    let (commit, name) = (&ctx.task.commit, &job.name);
    let path = store.path(commit, name);
    let opened = if *name == ctx.task.job.name {
        own_artifacts(&store, commit, job)
    } else {
        store.open_needed(commit, name)
    };
    // Without a directory its variable names one that is not there.
    let path = opened
        .as_ref()
        .map_or(path, |opened| opened.path().to_owned());
    kept.extend(opened.ok());
    environment(ctx, lease, &Step::of(job, &path))
}

/// A directory with a copy of what the job left, which is to stay as it was left.
fn own_artifacts(store: &ArtifactStore, commit: &Oid, job: &Job) -> io::Result<Artifacts> {
    let left = store.path(commit, &job.name);
    let own = store.open_for_shell(commit, &job.name)?;
    if let Ok(files) = artifacts::list(&left) {
        artifacts::extract(&files, &left, own.path())?;
    }
    Ok(own)
}

fn before(
    run: &CommandLine,
    lease: &Lease<'_, '_>,
    env: BTreeMap<OsString, OsString>,
    what: &'static str,
    name: &str,
) -> Result<ExitStatus, ShellError> {
    let started = start(&mut process::command(run), lease, env);
    started.map_err(|error| ShellError::Before {
        what,
        name: name.to_owned(),
        how: error.to_string(),
    })
}

/// Starts a command in the slot, in the environment of jobs and on the user's terminal, and
/// waits for it.
fn start(
    command: &mut Command,
    lease: &Lease<'_, '_>,
    env: BTreeMap<OsString, OsString>,
) -> io::Result<ExitStatus> {
    command.env_clear().envs(process::environment_of_jobs());
    forget_repository(command);
    command.env_remove("GIT_CI_TRACE").envs(env);
    command.env("PWD", lease.path()).current_dir(lease.path());
    command.status()
}

/// The exit code of a shell, as a shell tells it.
pub(crate) fn code(status: ExitStatus) -> u8 {
    let signal = status.signal().map(|signal| 128 + signal);
    let code = status.code().or(signal).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}
