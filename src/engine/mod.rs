//! Runs a plan: one dispatcher that owns all state, and workers that ask it for tasks.
//!
//! The rules are in ARCHITECTURE.md. What is here never draws, never reads
//! the command line, and leaves moving worktrees and running jobs to the runners.

mod claims;
mod dispatcher;
mod message;
mod queue;
mod signals;
mod worker;
mod writer;

use std::panic::{self, AssertUnwindSafe};

use crate::git::{Look, NoteStore, NotesError, Records, Repo};
use crate::logs::LogStore;
use crate::model::Counts;
use crate::plan::{Plan, Trust};
use crate::reporter::Reporter;
use crate::runner::{Memory, Runner};

use claims::Claims;
use dispatcher::Dispatcher;
use writer::Writer;

pub use message::{Feed, Mailbox, Superseded, Wanted};

/// Why a run could not be carried out, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
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
pub struct Run<'a> {
    /// The repository.
    pub repo: &'a Repo,
    /// What to do.
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
    pub trust: Trust,
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
pub struct Summary {
    /// How the tasks ended.
    pub counts: Counts,
    /// The signal that ended it early.
    pub signal: Option<i32>,
    /// Why results could not be stored.
    pub error: Option<EngineError>,
}

/// Works the plan off and returns when nothing of it runs any more.
///
/// # Errors
/// Only where the run could not begin; what goes wrong later is in the [`Summary`].
pub fn run(run: Run<'_>, reporter: &mut dyn Reporter) -> Result<Summary, EngineError> {
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
    let writer = run
        .store
        .map(|store| Writer::start(store, to_dispatcher.clone()))
        .transpose()
        .map_err(EngineError::Writer)?;

    let logs = &run.logs;
    // The dispatcher stays on this thread: on a pool of one, a loop inside the pool
    // would wait for ever for the worker behind it.
    let mut summary = pool.in_place_scope(|scope| {
        let mut desks = Vec::with_capacity(count);
        for (worker, mut runner) in run.runners.into_iter().enumerate() {
            let (orders, desk) = message::desk(worker, runner.as_mut(), &to_dispatcher);
            desks.push(desk);
            let to_dispatcher = to_dispatcher.clone();
            scope.spawn(move |_| {
                let work = || worker::work(worker, runner.as_mut(), logs, &to_dispatcher, &orders);
                // The dispatcher hears of a panic; here it would end the dispatcher, too.
                let _ = panic::catch_unwind(AssertUnwindSafe(work));
            });
        }
        let away = desks.iter().filter(|desk| desk.place.machine != 0);
        let hosts = away.map(|desk| desk.label.clone()).collect();
        let dispatcher = Dispatcher::new(
            dispatcher::Around {
                repo: run.repo,
                memory: Memory::load(&run.repo.ci_dir()),
                hosts,
                records: run.records,
                claims,
                writer,
                reporter,
                logs,
                look: run.look,
                trust: run.trust,
                fail_fast: run.fail_fast,
                stay: run.stay,
            },
            desks,
        );
        dispatcher.work_off(run.plan, &inbox)
    });
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
