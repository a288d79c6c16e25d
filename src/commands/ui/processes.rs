//! What the runs and the watch of this repository do right now, as `git ci status` shows it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anstyle::Style;

use crate::engine::control::{self, Kind, Reply, Request, State};
use crate::git::Repo;
use crate::model::{JobName, Oid};

use super::lines::Line;
use super::output;
use super::reading::safe;

/// No process tells of more tasks that wait.
const MOST_TOLD: u64 = control::MOST_WAITING as u64;

/// The processes that work on this repository, and their tasks, found by commit and job.
#[derive(Default)]
pub(in crate::commands) struct Processes {
    /// Each with how many of its tasks run.
    states: Vec<(State, usize)>,
    waiting: HashSet<(Oid, JobName)>,
    running: HashMap<(Oid, JobName), Duration>,
}

impl Processes {
    /// Asks them all. One that does not answer is said, and no error: the verdicts are there
    /// all the same.
    pub(in crate::commands) fn ask(repo: &Repo) -> Self {
        let mut all = Self::default();
        for reply in control::ask(&repo.ci_dir(), &Request::State) {
            match reply {
                Ok(Reply::State(state)) => all.add(state),
                Ok(Reply::Cancelled { .. }) => {}
                Err(error) => output::note(&format!(
                    "a run or watch does not answer, so what waits there is not shown: {error}"
                )),
            }
        }
        all
    }

    fn add(&mut self, mut state: State) {
        let waiting = std::mem::take(&mut state.waiting).into_iter();
        self.waiting
            .extend(waiting.map(|task| (task.commit, task.job)));
        let running = std::mem::take(&mut state.running);
        let count = running.len();
        self.running.extend(running.into_iter().map(|task| {
            let elapsed = Duration::from_millis(task.elapsed_ms);
            ((task.commit, task.job), elapsed)
        }));
        self.states.push((state, count));
    }

    /// Whether a task waits.
    pub(in crate::commands) fn waits(&self, commit: Oid, job: &JobName) -> bool {
        self.waiting.contains(&(commit, job.clone()))
    }

    /// For how long a task has been running, on whatever machine.
    pub(in crate::commands) fn runs(&self, commit: Oid, job: &JobName) -> Option<Duration> {
        self.running.get(&(commit, job.clone())).copied()
    }

    /// Whether somebody has more to do than is told.
    pub(in crate::commands) fn has_more(&self) -> bool {
        self.states
            .iter()
            .any(|(state, _)| state.waiting_count > MOST_TOLD)
    }

    /// A line about each.
    pub(in crate::commands) fn text(&self) -> String {
        let bold = Style::new().bold();
        let lines = self.states.iter().map(|(state, running)| {
            let process = &state.process;
            let what = match process.kind {
                Kind::Watch => "Watched",
                Kind::Run => "Run",
            };
            format!(
                "{what} by process {} on {}: {running} running, {bold}{} queued{bold:#}\n",
                process.pid,
                safe(&process.host),
                state.waiting_count,
            )
        });
        lines.collect()
    }

    /// The same for tools.
    pub(in crate::commands) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.states.iter().map(|(state, running)| {
            let process = &state.process;
            let (pid, host, queued) = (process.pid, process.host.as_str(), state.waiting_count);
            match process.kind {
                Kind::Watch => Line::Watching {
                    pid,
                    host,
                    refs: &process.refs,
                    running: *running,
                    queued,
                },
                Kind::Run => Line::Run {
                    pid,
                    host,
                    revs: &process.refs,
                    running: *running,
                    queued,
                },
            }
        })
    }
}
