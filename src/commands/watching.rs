//! What the `git ci watch` of this repository does right now, as `git ci status` shows it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anstyle::Style;

use crate::git::Repo;
use crate::model::{JobName, Oid};
use crate::watch::state::{self, State};

use super::lines::Line;
use super::output;
use super::reading::safe;

/// The watching process and its tasks, found by commit and job.
pub(super) struct Watching {
    state: State,
    waiting: HashSet<(Oid, JobName)>,
    running: HashMap<(Oid, JobName), Duration>,
}

impl Watching {
    /// Asks; `None` where nobody watches. One that does not answer is said, and no error:
    /// the verdicts are there all the same.
    pub(super) fn ask(repo: &Repo) -> Option<Self> {
        let mut state = match state::read(&repo.ci_dir()) {
            Ok(state) => state?,
            Err(error) => {
                output::note(&format!(
                    "`git ci watch` does not answer, so what waits is not shown: {error}"
                ));
                return None;
            }
        };
        let waiting = std::mem::take(&mut state.waiting).into_iter();
        let running = std::mem::take(&mut state.running).into_iter();
        Some(Self {
            waiting: waiting.map(|task| (task.commit, task.job)).collect(),
            running: running
                .map(|task| {
                    let elapsed = Duration::from_millis(task.elapsed_ms);
                    ((task.commit, task.job), elapsed)
                })
                .collect(),
            state,
        })
    }

    /// Whether a task waits.
    pub(super) fn waits(&self, commit: Oid, job: &JobName) -> bool {
        self.waiting.contains(&(commit, job.clone()))
    }

    /// For how long a task has been running, on whatever machine.
    pub(super) fn runs(&self, commit: Oid, job: &JobName) -> Option<Duration> {
        self.running.get(&(commit, job.clone())).copied()
    }

    /// One line about it.
    pub(super) fn text(&self) -> String {
        let bold = Style::new().bold();
        let observer = &self.state.observer;
        format!(
            "Watched by process {} on {}: {} running, {bold}{} queued{bold:#}\n",
            observer.pid,
            safe(&observer.host),
            self.running.len(),
            self.state.waiting_count,
        )
    }

    /// The same for tools.
    pub(super) fn line(&self) -> Line<'_> {
        let observer = &self.state.observer;
        Line::Watching {
            pid: observer.pid,
            host: &observer.host,
            refs: &observer.refs,
            running: self.running.len(),
            queued: self.state.waiting_count,
        }
    }
}
