//! A watch as a whole: the observer beside the dispatcher, whoever fetches, and the command
//! for results, each in a thread of its own. `git ci watch` and `git ci run --new` are both
//! one of these.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;

use crate::engine::control::{self, Listener, Process};
use crate::engine::{self, EngineError, Mailbox, Summary};
use crate::git::Repo;
use crate::logs::LogStore;
use crate::notes::{NoteStore, Records};
use crate::plan::{Plan, ReusePolicy};
use crate::reporter::Reporter;
use crate::runner::Runner;

use super::{
    Abandon, Inbox, Observed, Observer, Options, Remote, ResultCommand, WatchError, WatchJobs,
};

/// Why a watch could not begin, or not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    /// What is new cannot be seen.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The jobs cannot be run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There are no threads left.
    #[error("start a thread to watch with")]
    Thread(#[source] io::Error),
}

/// What a watch works with. The caller has the lease.
pub(crate) struct Session<'a> {
    /// The repository.
    pub repo: &'a Repo,
    /// Who this is, for other processes.
    pub process: Process,
    /// How to observe.
    pub options: Options,
    /// What to run.
    pub jobs: WatchJobs<'a>,
    /// Where; one worker each.
    pub runners: Vec<Box<dyn Runner>>,
    /// What is known.
    pub records: Records,
    /// Where results go.
    pub store: NoteStore,
    /// Who tells the user.
    pub reporter: Box<dyn Reporter>,
    /// What is fetched now and then.
    pub remote: Option<Remote>,
    /// The command for results, and the way to leave it.
    pub on_result: Option<(ResultCommand, Abandon)>,
}

/// How a watch went.
pub(crate) struct Watched {
    /// What the engine says.
    pub summary: Summary,
    /// What the observer saw last.
    pub observed: Observed,
    /// Warnings that came when nothing was reported any more.
    pub late: Vec<String>,
}

impl Session<'_> {
    /// Watches until it is told to end.
    ///
    /// # Errors
    /// Where it could not begin, or the repository went away.
    pub(crate) fn run(mut self) -> Result<Watched, SessionError> {
        let repo = self.repo;
        let mailbox = Mailbox::default();
        let inbox = Inbox::default();
        let (on_done, end, bell) = (inbox.on_done(), inbox.end(), inbox.bell());
        let (feed, fetching) = (mailbox.feed(), self.options.fetching.clone());
        let listener = Listener::start(&repo.ci_dir(), inbox.answers(feed.clone()));
        if let Err(error) = &listener {
            feed.tell(control::unreachable(error));
        }
        let on_error = self.options.on_error();
        let dir = repo.work_tree().unwrap_or(repo.common_dir());
        let (stop, stopped) = mpsc::channel::<()>();
        let (command, abandon) = self.on_result.unzip();
        let observer = Observer::new(repo, self.options, self.jobs, inbox, feed.clone())?;
        thread::scope(|scope| {
            let thread = |name: &str| thread::Builder::new().name(name.to_owned());
            let started = thread("observer").spawn_scoped(scope, || observer.run());
            let observing = started.map_err(SessionError::Thread)?;
            let fetching = self.remote.as_ref().map(|remote| {
                let feed = feed.clone();
                thread("fetch").spawn_scoped(scope, move || {
                    remote.keep_fetching(repo, &feed, &stopped, || {
                        if let Some(first) = &fetching {
                            first.store(false, Ordering::Release);
                        }
                        bell();
                    });
                })
            });
            let passing_on = command.map(|command| {
                let feed = feed.clone();
                thread("on-result").spawn_scoped(scope, move || command.work(dir, &feed))
            });
            let others = fetching.transpose().and(passing_on.transpose());
            let passing_on = match others {
                Ok(passing_on) => passing_on,
                Err(error) => {
                    end();
                    drop(stop);
                    if let Some(abandon) = &abandon {
                        abandon.abandon();
                    }
                    return Err(SessionError::Thread(error));
                }
            };
            let summary = engine::run(
                engine::Run {
                    repo,
                    process: self.process,
                    plan: Plan::default(),
                    runners: self.runners,
                    store: Some(self.store),
                    records: self.records,
                    logs: LogStore::new(&repo.ci_dir()),
                    reuse: ReusePolicy::Seen,
                    on_error,
                    on_done: Some(Box::new(on_done)),
                    fail_fast: false,
                    look: None,
                    mailbox,
                    stay: true,
                },
                self.reporter.as_mut(),
            );
            end();
            drop(stop);
            if let Some(abandon) = &abandon
                && let Ok(Summary {
                    signal: Some(_), ..
                }) = &summary
            {
                abandon.abandon();
            }
            let observed = observing.join();
            let late = passing_on.and_then(|thread| thread.join().ok());
            let observed = observed.map_err(|_| EngineError::Panicked)?;
            Ok(Watched {
                summary: summary?,
                observed: observed?,
                late: late.unwrap_or_default(),
            })
        })
    }
}
