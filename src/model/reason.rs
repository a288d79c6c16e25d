//! Why a task runs, or why it need not: one wording for people, one word for programs.

use serde::{Deserialize, Serialize};

use super::{Commit, Known, Oid, Platform, Record, Status, Why};

/// Why a task runs, or why it need not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It runs: nobody has tested this content with this job.
    NeverRun,
    /// It runs: the job is defined otherwise by now.
    JobChanged,
    /// It runs: there was no verdict last time.
    NoVerdict(Option<Why>),
    /// It runs: it failed last time, and what failed is wanted again.
    FailedLastTime,
    /// It runs: the job looks at the commit, and was run on another one with this content.
    ReadsCommit,
    /// It runs: the verdict that there is was reached on another platform.
    AnotherPlatform(Option<Platform>),
    /// It runs: what else its verdict depends on is otherwise by now.
    SurroundingsChanged,
    /// It runs: what was known of it was forgotten.
    Forgotten,
    /// It runs: whatever is known is wanted again.
    Forced,
    /// It runs each time: the job says so.
    Always,
    /// It runs: nothing is recorded of it.
    Unrecorded,
    /// It need not run: it has this verdict.
    Known(Status),
    /// It need not run: this commit has that verdict, and the same content.
    SameTree(Status, Oid),
    /// It need not run: this commit has that verdict, and all that the job reads is the same.
    SameInputs(Status, Oid),
}

/// Why a task runs, or why it need not, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// It runs: nobody has tested this content with this job.
    NeverRun,
    /// It runs: the job is defined otherwise by now.
    JobChanged,
    /// It runs: there was no verdict last time.
    NoVerdict,
    /// It runs: it failed last time, and what failed is wanted again.
    FailedLastTime,
    /// It runs: the job looks at the commit, and was run on another one with this content.
    ReadsCommit,
    /// It runs: the verdict that there is was reached on another platform.
    AnotherPlatform,
    /// It runs: what else its verdict depends on is otherwise by now.
    SurroundingsChanged,
    /// It runs: what was known of it was forgotten.
    Forgotten,
    /// It runs: whatever is known is wanted again.
    Forced,
    /// It runs each time: the job says so.
    Always,
    /// It runs: nothing is recorded of it.
    Unrecorded,
    /// It need not run: it has a verdict.
    Known,
    /// It need not run: another commit has a verdict, and the same content.
    SameTree,
    /// It need not run: another commit has a verdict, and all that the job reads is the same.
    SameInputs,
}

impl Reason {
    /// Why a task on `commit` need not run.
    pub fn of_known(known: &Known, commit: &Commit) -> Self {
        if known.from == commit.id {
            Self::Known(known.record.status)
        } else if known.record.tree != commit.tree {
            Self::SameInputs(known.record.status, known.from)
        } else {
            Self::SameTree(known.record.status, known.from)
        }
    }

    /// Why a task runs whose last record is no verdict that counts.
    pub fn of_unusable(record: &Record) -> Self {
        Self::NoVerdict(record.why)
    }

    /// The word for programs.
    pub fn rule(&self) -> Rule {
        match self {
            Self::NeverRun => Rule::NeverRun,
            Self::JobChanged => Rule::JobChanged,
            Self::NoVerdict(_) => Rule::NoVerdict,
            Self::FailedLastTime => Rule::FailedLastTime,
            Self::ReadsCommit => Rule::ReadsCommit,
            Self::AnotherPlatform(_) => Rule::AnotherPlatform,
            Self::SurroundingsChanged => Rule::SurroundingsChanged,
            Self::Forgotten => Rule::Forgotten,
            Self::Forced => Rule::Forced,
            Self::Always => Rule::Always,
            Self::Unrecorded => Rule::Unrecorded,
            Self::Known(_) => Rule::Known,
            Self::SameTree(..) => Rule::SameTree,
            Self::SameInputs(..) => Rule::SameInputs,
        }
    }

    /// The words for people.
    pub fn text(&self) -> String {
        match self {
            Self::NeverRun => "never run".to_owned(),
            Self::JobChanged => "job changed".to_owned(),
            Self::NoVerdict(None) => "no verdict last time".to_owned(),
            Self::NoVerdict(Some(why)) => format!("no verdict last time ({why})"),
            Self::FailedLastTime => "failed last time".to_owned(),
            Self::ReadsCommit => "reads the commit".to_owned(),
            Self::AnotherPlatform(None) => "another platform".to_owned(),
            Self::AnotherPlatform(Some(on)) => format!("another platform ({on})"),
            Self::SurroundingsChanged => "surroundings changed".to_owned(),
            Self::Forgotten => "forgotten".to_owned(),
            Self::Forced => "forced".to_owned(),
            Self::Always => "runs each time".to_owned(),
            Self::Unrecorded => "not recorded".to_owned(),
            Self::Known(status) => format!("{} on this commit", past(*status)),
            Self::SameTree(status, from) => {
                format!("{} on {}, same tree", past(*status), from.short())
            }
            Self::SameInputs(status, from) => {
                format!("{} on {}, same inputs", past(*status), from.short())
            }
        }
    }
}

fn past(status: Status) -> &'static str {
    match status {
        Status::Error => "no verdict",
        Status::Fail => "failed",
        Status::Flaky => "flaky",
        Status::Pass => "passed",
        Status::Skip => "skipped",
    }
}
