//! The agent: the small process between a dispatcher and a job.
//!
//! It leases a slot, brings the worktree to the commit, runs the job, and returns only
//! when no process of it is left. It is the subreaper of its jobs, so every straggler
//! below it is its own; and when its input ends (the dispatcher was told to stop, was
//! killed, or lost the connection) it kills them all, gives the slot back, and ends.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::artifacts::ArtifactStore;
use crate::checkout::CheckoutError;
use crate::error::with_causes;
use crate::git::{InputReader, Repo};
use crate::model::{Clean, Outcome, Why};
use crate::process;
use crate::worktree::{Holder, Lease, Pool, check_room};

use super::Request;
pub use super::agent_error::AgentError;
use super::attend::attend;
use super::channel::Channel;
use super::complaints::Complaint;
use super::course::Ending;
use super::head_watch::HeadWatch;
use super::key::Keys;
use super::protocol::{Files, FromAgent, Observed, PROTOCOL, RunTask, Setup, ToAgent};
use super::steps::{Context, Steps};
use super::test_files;
use super::tokens::Tokens;
use super::waiting::Waiting;

/// How often a slot that others hold is tried again.
const LEASE_INTERVAL: Duration = Duration::from_millis(5);

/// Serves one dispatcher until its end of the channel closes.
///
/// # Errors
/// Where the channel or the machine makes it impossible to go on. The dispatcher is
/// told, if it can be.
pub fn serve(
    input: impl Read + AsFd + Send,
    output: impl Write + AsFd + Send,
) -> Result<(), AgentError> {
    let mut channel = Channel::new(input, output).map_err(AgentError::Channel)?;
    let served = serve_on(&mut channel);
    match served {
        Err(AgentError::DispatcherGone) => Ok(()),
        Err(error) => {
            let reason = with_causes(&error);
            // Whoever cannot be told sees the channel close.
            let told = channel.send(&FromAgent::Failed { reason });
            let _ = told.and_then(|()| channel.flush());
            Err(error)
        }
        Ok(()) => Ok(()),
    }
}

fn serve_on<I: Read + AsFd + Send, O: Write + AsFd + Send>(
    channel: &mut Channel<I, O>,
) -> Result<(), AgentError> {
    process::check_proc().map_err(AgentError::Prepare)?;
    process::become_subreaper().map_err(AgentError::Prepare)?;
    process::outlast_signals().map_err(AgentError::Prepare)?;
    let setup = match channel.wait()? {
        ToAgent::Hello { protocol, setup } if protocol == PROTOCOL => setup,
        ToAgent::Hello { protocol, .. } => return Err(AgentError::Version(protocol)),
        _ => return Err(AgentError::Version(0)),
    };
    channel.send(&FromAgent::Hello { protocol: PROTOCOL })?;
    let repo = Repo::open_common(&setup.repository)?;
    let mut pool = Pool::new(&repo, setup.worktrees.clone(), setup.slots);
    let inputs = InputReader::new(&repo);
    let keys = RefCell::new(Keys::default());
    let mut head = HeadWatch::default();
    loop {
        match channel.wait()? {
            ToAgent::Run(task) => {
                let mut observed = Observed {
                    on: Some(super::platform()),
                    ..Observed::default()
                };
                let unready = ask_key(channel, &keys, &repo, &task, &mut observed)?;
                let result = match unready {
                    Some(outcome) => outcome,
                    None => {
                        let seen = (&mut head, &mut observed);
                        let ctx = Context {
                            setup: &setup,
                            repo: &repo,
                            inputs: &inputs,
                            keys: &keys,
                            task: &task,
                            granted: &BTreeMap::new(),
                        };
                        run(channel, &mut pool, ctx, seen)?
                    }
                };
                channel.send(&FromAgent::Done {
                    task: task.task,
                    result,
                    observed,
                })?;
            }
            // Meant for a task that has ended meanwhile; or seen to already.
            ToAgent::Request { .. } | ToAgent::Until { .. } => {}
            ToAgent::Hello { protocol, .. } => return Err(AgentError::Version(protocol)),
        }
    }
}

/// Asks what the job's verdict depends on besides, where it says so; returns what comes of the
/// task where it cannot run.
fn ask_key<I: Read + AsFd + Send, O: Write + AsFd + Send>(
    channel: &mut Channel<I, O>,
    keys: &RefCell<Keys>,
    repo: &Repo,
    task: &RunTask,
    observed: &mut Observed,
) -> Result<Option<Outcome>, AgentError> {
    if task.job.key.is_none() {
        return Ok(None);
    }
    let ask = || keys.borrow_mut().ask(&task.job);
    let (said, ending) = attend(channel, repo.git().gate(), task, ask)?;
    if let Some(ending) = ending {
        keys.borrow_mut().forget(&task.job);
        return Ok(Some(unready(ending, task, "ask the job's `key`")));
    }
    match said {
        Ok(key) => {
            observed.key = key;
            Ok(None)
        }
        Err(error) => Ok(Some(Outcome::Errored {
            why: Why::Key,
            reason: with_causes(&error),
        })),
    }
}

/// Runs one task in a leased slot.
fn run<I: Read + AsFd + Send, O: Write + AsFd + Send>(
    channel: &mut Channel<I, O>,
    pool: &mut Pool<'_>,
    ctx: Context<'_>,
    (head, observed): (&mut HeadWatch, &mut Observed),
) -> Result<Outcome, AgentError> {
    let Context {
        setup, repo, task, ..
    } = ctx;
    let holder = Holder::new(
        setup.dispatcher,
        task.commit,
        &task.job.name,
        task.log.clone(),
    );
    let mut waiting = Waiting::new(task.task);
    let mut paused = false;
    let (mut lease, tokens) = loop {
        while let Some(request) = channel.request(task.task)? {
            match request {
                Request::Terminate | Request::Kill => {
                    pool.give_up();
                    return Ok(Outcome::Cancelled);
                }
                Request::Pause => {
                    pool.give_up();
                    paused = true;
                }
                Request::Resume => paused = false,
            }
        }
        let mut interval = LEASE_INTERVAL;
        if !paused {
            match Tokens::try_take(&setup.machine, &setup.worktrees, &task.jobs()) {
                Ok(Ok(tokens)) => match pool.try_lease(&task.commit, &holder) {
                    Ok(Some(lease)) => break (lease, tokens),
                    Ok(None) => waiting.tell(channel, pool)?,
                    Err(error) => {
                        pool.give_up();
                        return Ok(no_worktree(&error));
                    }
                },
                Ok(Err(reason)) => {
                    pool.give_up();
                    waiting.tell_of(channel, reason)?;
                    interval = waiting.interval();
                }
                Err(error) => {
                    pool.give_up();
                    return Ok(Outcome::Errored {
                        why: Why::Spawn,
                        reason: format!("take what it needs of the machine: {error}"),
                    });
                }
            }
        }
        let timeout = (!paused).then_some(interval);
        channel.poll([], timeout)?;
    };
    for message in lease.take_notes() {
        channel.send(&FromAgent::Note { message })?;
    }
    if task.job.clean != Clean::All {
        observed.before = lease.before();
    }
    let span = tracing::debug_span!(target: "agent", "task", task = task.task.0, commit = %task.commit, job = %task.job.name);
    let _entered = span.enter();
    tracing::debug!(target: "agent", slot = lease.slot(), "leased");
    let begun = Instant::now();
    // What the jobs that it needs have left there is what it is to find.
    let goes_on = task.try_ == 1
        && task
            .upstream
            .iter()
            .any(|job| lease.has_passed(job.definition(), &task.commit));
    let clean = if goes_on { Clean::None } else { clean(task) };
    let work = || {
        lease.move_to(&task.commit, clean)?;
        lease.set_head(&task.head)
    };
    let (brought, ending) = attend(channel, repo.git().gate(), task, work)?;
    if let Some(ending) = ending {
        return Ok(unready(ending, task, "check out the commit"));
    }
    if let Err(error) = brought {
        process::end_everything().map_err(AgentError::Processes)?;
        return Ok(not_brought(&error));
    }
    tracing::debug!(target: "agent", took = ?begun.elapsed(), "checked out");
    if !repo.is_cache() {
        observed.files = Files::By(lease.made_by());
    }
    let seen = (head, &mut *observed);
    let ctx = Context {
        granted: &tokens.variables,
        ..ctx
    };
    let outcome = run_in(channel, &mut lease, ctx, seen);
    let outcome = outcome.map(|outcome| about_the_commit(&lease, task, outcome));
    // Whatever happened: the slot is given back only once nothing runs in it.
    process::end_everything().map_err(AgentError::Processes)?;
    if outcome.is_ok() {
        observed.changed = lease.look().unwrap_or(0);
        if let Ok(outcome) = &outcome {
            keep_failed(channel, &mut lease, (setup, task), outcome)?;
        }
        tracing::debug!(target: "agent", since = ?begun.elapsed(), ?outcome, "ended");
        lease.release();
    }
    outcome
}

/// Keeps the slot of a task that failed for good, where that is wanted, and says so.
fn keep_failed<I: Read + AsFd, O: Write + AsFd>(
    channel: &mut Channel<I, O>,
    lease: &mut Lease<'_, '_>,
    (setup, task): (&Setup, &RunTask),
    outcome: &Outcome,
) -> Result<(), AgentError> {
    let is_over = !outcome.is_failure() || task.try_ > task.job.retries;
    let is_bad = match outcome {
        Outcome::Passed | Outcome::Skipped | Outcome::Cancelled => false,
        // There is nothing to look at.
        Outcome::Errored { why, .. } => !matches!(why, Why::Worktree | Why::Disk),
        _ => true,
    };
    if !setup.keep_failed || !is_bad || !is_over {
        return Ok(());
    }
    let (slot, job, commit) = (lease.slot(), &task.job.name, &task.commit);
    let message = if lease.keep_for(commit, job) {
        let quoted = shell_words::quote(job.as_str());
        let short = commit.short();
        format!("slot {slot} is kept as {job} left it: git ci shell {short} {quoted}")
    } else {
        format!("slot {slot} is not kept as {job} left it: enough of them are")
    };
    channel.send(&FromAgent::Note { message })
}

/// What a job said, unless what it said it about is no longer there: the machine has
/// failed then, and not the commit.
fn about_the_commit(lease: &Lease<'_, '_>, task: &RunTask, outcome: Outcome) -> Outcome {
    if matches!(outcome, Outcome::Cancelled | Outcome::Errored { .. }) {
        return outcome;
    }
    match lease.verify(&task.commit, outcome != Outcome::Passed) {
        Ok(()) => outcome,
        Err(error) => not_brought(&error),
    }
}

fn not_brought(error: &CheckoutError) -> Outcome {
    Outcome::Errored {
        why: if error.is_full() {
            Why::Disk
        } else {
            Why::Worktree
        },
        reason: with_causes(error),
    }
}

/// What is removed before a task: what its job says, or one that it needs, and in another try
/// at least what is not ignored.
fn clean(task: &RunTask) -> Clean {
    let jobs = task.upstream.iter().chain([&task.job]);
    let cleans = || jobs.clone().map(|job| job.clean);
    if cleans().any(|clean| clean == Clean::All) {
        Clean::All
    } else if task.try_ > 1 || cleans().any(|clean| clean == Clean::Untracked) {
        Clean::Untracked
    } else {
        Clean::None
    }
}

/// What came before the job was ended. A job that was not started says nothing of its commit,
/// however long that took.
fn unready(ending: Ending, task: &RunTask, what: &str) -> Outcome {
    let limit = task.job.timeout.unwrap_or_default();
    match ending {
        Ending::Asked => Outcome::Cancelled,
        Ending::TimedOut(_) | Ending::Silent(_) => Outcome::Errored {
            why: Why::Worktree,
            reason: format!("{what} within the job's timeout of {limit:?}"),
        },
    }
}

fn no_worktree(error: &(dyn std::error::Error + 'static)) -> Outcome {
    Outcome::Errored {
        why: Why::Worktree,
        reason: with_causes(error),
    }
}

fn run_in<I: Read + AsFd + Send, O: Write + AsFd + Send>(
    channel: &mut Channel<I, O>,
    lease: &mut Lease<'_, '_>,
    ctx: Context<'_>,
    (head, observed): (&mut HeadWatch, &mut Observed),
) -> Result<Outcome, AgentError> {
    let Context {
        setup, repo, task, ..
    } = ctx;
    let mut steps = Steps::new(channel, ctx);
    if let Some(outcome) = steps.prepare(lease)? {
        steps.finish()?;
        return Ok(outcome);
    }
    head.begin(lease.path());
    let begun = SystemTime::now();
    let ended = steps.job(lease, &task.job);
    observed.head = head.end();
    let outcome = ended?;
    if !task.job.junit.is_empty() && outcome != Outcome::Cancelled {
        let (tests, remarks) = test_files::read(lease.path(), &task.job.junit, begun);
        observed.tests = tests;
        for remark in remarks {
            steps.remark(&remark)?;
        }
    }
    if outcome != Outcome::Cancelled {
        steps.send_artifacts()?;
    }
    let no_room = steps.complaints().has(Complaint::NoRoom);
    let no_objects = steps.complaints().has(Complaint::NoObjects);
    steps.finish()?;
    if outcome == Outcome::Passed {
        lease.note_passed(task.job.definition());
    }
    if no_objects && repo.is_partial() && fails(&outcome) {
        return Ok(Outcome::Errored {
            why: Why::Worktree,
            reason: "read objects that this partial clone does not have: \
                     the job could not fetch them from the remote"
                .to_owned(),
        });
    }
    Ok(with_room(
        lease,
        setup,
        task,
        &ArtifactStore::new(&repo.ci_dir()).path(&task.commit, &task.job.name),
        no_room,
        outcome,
    ))
}

/// Whether it is a verdict that speaks against the commit, or says nothing of it.
fn fails(outcome: &Outcome) -> bool {
    !matches!(
        outcome,
        Outcome::Passed | Outcome::Cancelled | Outcome::Errored { .. }
    )
}

/// What a job said, unless it failed where nothing could be written any more; `complained`
/// is whether it said so.
fn with_room(
    lease: &Lease<'_, '_>,
    setup: &Setup,
    task: &RunTask,
    artifacts: &Path,
    complained: bool,
    outcome: Outcome,
) -> Outcome {
    if !fails(&outcome) {
        return outcome;
    }
    let variable = |name: &str| {
        let own = task.job.env.get(name).map(OsString::from);
        own.or_else(|| std::env::var_os(name)).map(PathBuf::from)
    };
    let temporary = variable("TMPDIR").unwrap_or_else(|| "/tmp".into());
    // Where tools keep their caches.
    let (home, cache) = (variable("HOME"), variable("XDG_CACHE_HOME"));
    let mut others = vec![temporary.as_path(), &setup.repository, artifacts];
    others.extend(home.iter().chain(&cache).map(PathBuf::as_path));
    // Beside the slot, which is the job's: on the same disk, and as it was.
    let beside = lease.path().parent().unwrap_or(lease.path());
    match check_room(beside, &others, complained) {
        Ok(()) => outcome,
        Err(error) => Outcome::Errored {
            why: Why::Disk,
            reason: with_causes(&error),
        },
    }
}
