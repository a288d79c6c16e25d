//! Runs a plan: one dispatcher that owns all state, and workers that ask it for tasks.
//!
//! The rules are in ARCHITECTURE.md. What is here never draws, never reads
//! the command line, and leaves moving worktrees and running jobs to the runners.

mod claims;
pub(crate) mod control;
mod dispatcher;
mod message;
mod reports;
mod signals;
mod tasks;
mod worker;
mod writer;

use std::panic::{self, AssertUnwindSafe};
use std::thread;

use crate::git::{Look, Repo};
use crate::logs::LogStore;
use crate::model::Counts;
use crate::notes::{NoteStore, NotesError, Records};
use crate::plan::{Plan, ReusePolicy};
use crate::reporter::Reporter;
use crate::runner::{Memory, Runner};

use claims::Claims;
use control::Process;
use dispatcher::Dispatcher;
use reports::Reports;
use writer::Writer;

pub(crate) use message::{CommitDone, Feed, Mailbox, Superseded, Wanted};
pub(crate) use tasks::OnError;

/// Why a run could not be carried out, or not to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    /// Below the repository's `ci` directory.
    #[error("prepare {}", .path.display())]
    Prepare {
        /// What could not be made.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The pool of workers could not be started.
    #[error("start {count} workers")]
    Workers {
        /// How many were asked for.
        count: usize,
        /// Why.
        source: rayon::ThreadPoolBuildError,
    },
    /// The thread that stores results could not be started.
    #[error("start a thread to store results")]
    Writer(#[source] std::io::Error),
    /// The thread that reports could not be started.
    #[error("start a thread to report")]
    Reports(#[source] std::io::Error),
    /// Signal handlers could not be set.
    #[error("watch for signals")]
    Signals(#[source] std::io::Error),
    /// Results could not be stored; what was stored before is safe.
    #[error("store {count} results; the next run does those tasks again")]
    Store {
        /// How many results are lost.
        count: usize,
        /// Why.
        source: NotesError,
    },
    /// Somebody has moved the notes back to where results of this run are not in them.
    #[error("store results again that somebody has left out of the notes")]
    Again(#[source] NotesError),
    /// A worker ended by a panic.
    #[error("go on after a worker panicked")]
    Panicked,
}

/// What a run works with.
pub(crate) struct Run<'a> {
    /// The repository.
    pub repo: &'a Repo,
    /// Who this is, for other processes.
    pub process: Process,
    /// What to do from the beginning.
    pub plan: Plan,
    /// Where; one worker each.
    pub runners: Vec<Box<dyn Runner>>,
    /// Where results go; `None` where nothing in the plan is recorded.
    pub store: Option<NoteStore>,
    /// What is known.
    pub records: Records,
    /// Where logs go.
    pub logs: LogStore,
    /// Which verdicts of concurrent runs count.
    pub reuse: ReusePolicy,
    /// What becomes of a task without a verdict.
    pub on_error: OnError,
    /// Hears of each commit that is done, from the dispatcher's thread: it must not block.
    pub on_done: Option<Box<dyn Fn(CommitDone) + 'a>>,
    /// Stop at the first failure.
    pub fail_fast: bool,
    /// Where the dispatcher hears what happens.
    pub mailbox: Mailbox,
    /// A look at what of the work tree is not committed, where that is to be told.
    pub look: Option<Look>,
    /// Stay until a [`Feed`] of the mailbox is closed, instead of ending with the plan.
    pub stay: bool,
}

/// How a run went.
#[derive(Debug)]
pub(crate) struct Summary {
    /// How the tasks ended.
    pub counts: Counts,
    /// How many tasks stayed without a verdict after their last try.
    pub gave_up: u64,
    /// How many were cancelled on the request of another process.
    pub cancelled: u64,
    /// The signal that ended it early.
    pub signal: Option<i32>,
    /// Why results could not be stored.
    pub error: Option<EngineError>,
}

/// Carries a run out; returns when nothing of it runs any more.
///
/// # Errors
/// Only where the run could not begin; what goes wrong later is in the [`Summary`].
pub(crate) fn run(run: Run<'_>, reporter: &mut dyn Reporter) -> Result<Summary, EngineError> {
    let made = run.repo.make_ci_dir();
    let claims = made
        .and_then(|ci_dir| Claims::new(&ci_dir))
        .map_err(|source| EngineError::Prepare {
            path: run.repo.ci_dir(),
            source,
        })?;
    let count = run.runners.len();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(count)
        .thread_name(|index| format!("worker-{index}"))
        .build()
        .map_err(|source| EngineError::Workers { count, source })?;
    let Mailbox {
        sender: to_dispatcher,
        receiver: inbox,
    } = run.mailbox;
    let signals = signals::forward(to_dispatcher.clone()).map_err(EngineError::Signals)?;
    let store_logs = run.logs.clone();
    let writer = run
        .store
        .map(|store| Writer::start(store, store_logs, to_dispatcher.clone()))
        .transpose()
        .map_err(EngineError::Writer)?;

    let (logs, claims) = (&run.logs, &claims);
    let mut summary = thread::scope(|threads| {
        let reports = Reports::start(threads, reporter).map_err(EngineError::Reports)?;
        // The dispatcher stays on this thread: on a pool of one, a loop inside the pool
        // would wait for ever for the worker behind it.
        Ok(pool.in_place_scope(|scope| {
            let mut handles = Vec::with_capacity(count);
            for (worker, mut runner) in run.runners.into_iter().enumerate() {
                let (commands, handle) = message::connect(worker, runner.as_mut(), &to_dispatcher);
                handles.push(handle);
                let to_dispatcher = to_dispatcher.clone();
                scope.spawn(move |_| {
                    let work = || {
                        worker::run(
                            worker,
                            runner.as_mut(),
                            logs,
                            claims,
                            &to_dispatcher,
                            &commands,
                        );
                    };
                    // The dispatcher hears of a panic; here it would end the dispatcher, too.
                    let _ = panic::catch_unwind(AssertUnwindSafe(work));
                });
            }
            let away = handles.iter().filter(|handle| handle.place.machine != 0);
            let hosts = away.map(|handle| handle.label.clone()).collect();
            let dispatcher = Dispatcher::new(
                dispatcher::Context {
                    repo: run.repo,
                    process: run.process,
                    memory: Memory::load(&run.repo.ci_dir()),
                    hosts,
                    records: run.records,
                    claims,
                    writer,
                    reports,
                    logs,
                    look: run.look,
                    reuse: run.reuse,
                    on_error: run.on_error,
                    on_done: run.on_done,
                    fail_fast: run.fail_fast,
                    stay: run.stay,
                },
                handles,
            );
            dispatcher.run(run.plan, &inbox)
        }))
    })?;
    drop(signals);
    // One that came when the dispatcher had looked for the last time is not lost.
    for message in inbox.try_iter() {
        if let message::Message::Signal(arrived) = message
            && arrived.signal != signal_hook::consts::SIGTSTP
        {
            summary.signal.get_or_insert(arrived.signal);
        }
    }
    Ok(summary)
}
