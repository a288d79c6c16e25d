//! One job on one commit, on its way from the plan to a runner.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Criteria, DefId, Job, JobName, Oid, Reason, Record};

/// A commit, as much of it as is ever needed at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub id: Oid,
    /// The tree it holds.
    pub tree: Oid,
    /// The first line of its message, raw: escape it before it is shown.
    pub subject: String,
    /// Its committer's time, in seconds since the epoch.
    pub time: i64,
    /// What it is made from, where it is none of the user's.
    pub snapshot: Option<Snapshot>,
}

/// What is not committed yet, as a commit that no ref leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// The commit that it would follow.
    pub parent: Oid,
    /// It is what is staged: who tests it has its parent as `HEAD`, and sees it as staged.
    pub is_staged: bool,
}

impl Commit {
    /// The commit in whose note its records stand: what is not committed has none.
    pub fn noted(&self) -> Oid {
        self.snapshot.map_or(self.id, |snapshot| snapshot.parent)
    }

    /// Where `HEAD` is for who tests it.
    pub fn head(&self) -> Oid {
        match self.snapshot {
            Some(Snapshot {
                parent,
                is_staged: true,
            }) => parent,
            _ => self.id,
        }
    }
}

/// Numbers the tasks of one run, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TaskId(pub u64);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One job on one commit.
#[derive(Debug, Clone)]
pub struct Task {
    /// Unique within the run.
    pub id: TaskId,
    /// What to test.
    pub commit: Arc<Commit>,
    /// How to test it.
    pub job: Arc<Job>,
    /// The jobs that it needs, and those that these need, each behind what it needs itself.
    pub upstream: Arc<[Arc<Job>]>,
    /// The job's definition, computed once.
    pub def: DefId,
    /// What a record must agree in to be its verdict.
    pub criteria: Arc<Criteria>,
    /// Whether its record is stored; an ad-hoc job without a name leaves none.
    pub recorded: bool,
    /// Why it runs, or why it need not.
    pub reason: Reason,
}

impl Task {
    /// What makes two tasks the same in the eyes of whoever wants them.
    pub fn key(&self) -> TaskKey {
        (self.commit.id, self.job.name.clone(), self.def)
    }
}

/// A verdict that is on record.
#[derive(Debug, Clone)]
pub struct Known {
    /// The record.
    pub record: Record,
    /// The commit in whose note it stands.
    pub from: Oid,
}

impl Known {
    /// Whether it stands where somebody who looks for the verdict on `commit` would find
    /// it; elsewhere it is copied there.
    pub fn stands_at(&self, commit: &Oid) -> bool {
        self.from == *commit
    }
}

/// A commit, and a job by its name and definition.
pub type TaskKey = (Oid, JobName, DefId);
