//! What happens in a run, in the order in which it happened: the one stream that
//! the terminal, JSON lines and pages are made from.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{DefId, JobName, LogId, Oid, Rule, RunnerLabel, Status, TaskId, TestReport, Why};

/// The version of all JSON that is printed for other programs, which stands as `format` at
/// its beginning; it changes when a reader of the old form would go wrong.
pub const JSON_FORMAT: u32 = 1;

/// How many tasks ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Counts {
    /// Ran and passed.
    pub passed: u64,
    /// Ran and passed after a failure.
    pub flaky: u64,
    /// Ran and failed; those of jobs with `allow-failure` are in `allowed` instead.
    pub failed: u64,
    /// Failed, but the job has `allow-failure`.
    pub allowed: u64,
    /// The job said that the commit cannot be tested.
    pub skipped: u64,
    /// No verdict was reached.
    pub errored: u64,
    /// Ended on request, or never started.
    pub cancelled: u64,
    /// Tasks that were not run since a job that they need did not pass.
    #[serde(default)]
    pub blocked: u64,
    /// Known already: nothing ran. Each also counts above by its status.
    pub reused: u64,
    /// Could not be stored. Each also counts above by its status.
    #[serde(default)]
    pub unstored: u64,
}

/// What of the work tree is not committed, and so was not tested.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Uncommitted {
    /// Tracked files that are changed.
    pub changed: u64,
    /// Files that are neither tracked nor ignored; a directory of them is one.
    pub untracked: u64,
}

/// One thing that happened. Durations are in milliseconds in JSON, as `…_ms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// Always the first.
    RunStarted {
        /// The version of the format.
        format: u32,
        /// The program's version.
        version: String,
        /// Distinct commits in the plan.
        commits: u64,
        /// Tasks that will run unless a concurrent run is faster.
        tasks: u64,
        /// Tasks whose verdict is known.
        reused: u64,
        /// Tasks that can run at once.
        slots: u64,
        /// Running time of all tasks expected from earlier records, where each job has one.
        #[serde(rename = "estimate_ms", with = "millis::option", default)]
        #[cfg_attr(test, schemars(with = "Option<u64>"))]
        estimate: Option<Duration>,
    },
    /// A task need not run: its verdict is on record.
    TaskReused {
        /// The task.
        id: TaskId,
        /// Its commit.
        commit: Oid,
        /// The first line of the commit's message, raw.
        subject: String,
        /// Its job.
        job: JobName,
        /// The job's definition.
        def: DefId,
        /// The recorded verdict.
        status: Status,
        /// Why, where the status does not say it all.
        why: Option<Why>,
        /// The commit in whose note the record was found.
        from: Oid,
        /// The log of the run that gave the verdict.
        log: LogId,
        /// A failure does not count.
        allowed: bool,
        /// Why it need not run, for people.
        reason: String,
        /// The same for programs.
        rule: Rule,
        /// Whether its record is in the commit's note: `false` where the record of another
        /// commit could not be copied there.
        stored: Option<bool>,
        /// What looks like the failure in the log, and its last lines, raw, of the first few
        /// failures whose log is here.
        #[serde(default)]
        tail: Vec<String>,
    },
    /// A runner started a task's process.
    TaskStarted {
        /// The task.
        id: TaskId,
        /// Its commit.
        commit: Oid,
        /// The first line of the commit's message, raw.
        subject: String,
        /// Its job.
        job: JobName,
        /// The try, from 1.
        #[serde(rename = "try")]
        try_: u32,
        /// Which of the run's workers has it, from 0.
        worker: usize,
        /// Where it runs.
        runner: RunnerLabel,
        /// The log, readable from now on.
        log: LogId,
        /// Running time expected from earlier records.
        #[serde(rename = "estimate_ms", with = "millis::option", default)]
        #[cfg_attr(test, schemars(with = "Option<u64>"))]
        estimate: Option<Duration>,
        /// Why it runs, for people.
        reason: String,
        /// The same for programs.
        rule: Rule,
    },
    /// The newest line of a task's output, thinned out: a sign of life, not the log.
    TaskOutput {
        /// The task.
        id: TaskId,
        /// Raw text without line feeds; escape it before it is shown.
        line: String,
    },
    /// A task ended, and its record (where it leaves one) is stored, if that is possible.
    TaskFinished {
        /// The task.
        id: TaskId,
        /// Its commit.
        commit: Oid,
        /// The first line of the commit's message, raw.
        subject: String,
        /// Its job.
        job: JobName,
        /// The job's definition.
        def: DefId,
        /// The verdict; `None` where it was cancelled.
        status: Option<Status>,
        /// Why, where the status does not say it all.
        why: Option<Why>,
        /// For an ERROR, what went wrong; completes "failed to …".
        reason: Option<String>,
        /// The failure does not count.
        allowed: bool,
        /// The try, from 1.
        #[serde(rename = "try")]
        try_: u32,
        /// Running time.
        #[serde(rename = "duration_ms", with = "millis")]
        #[cfg_attr(test, schemars(with = "u64"))]
        duration: Duration,
        /// Where it ran.
        runner: RunnerLabel,
        /// How many tracked files it changed or removed.
        changed: u64,
        /// The commit that the worktree was at before, where what git ignores was kept from it.
        #[serde(default)]
        before: Option<Oid>,
        /// Its log.
        log: LogId,
        /// Whether its record is stored; `None` where it leaves none.
        stored: Option<bool>,
        /// What its tests said, raw; `null` where they were not read.
        #[serde(default)]
        tests: Option<TestReport>,
        /// What looks like the failure in the log, and its last lines, raw, for failures
        /// only; `… N lines …` stands for what is left out.
        tail: Vec<String>,
    },
    /// A task failed, and is tried again.
    TaskRetried {
        /// The task.
        id: TaskId,
        /// Its commit.
        commit: Oid,
        /// The first line of the commit's message, as it is: escape it.
        subject: String,
        /// Its job.
        job: JobName,
        /// The try that begins, from 2.
        #[serde(rename = "try")]
        try_: u32,
        /// Why the last one failed.
        why: Option<Why>,
        /// What looks like the failure in its output, and the last lines of that.
        tail: Vec<String>,
    },
    /// A task is not run, and has no verdict, since a job that it needs did not pass.
    TaskBlocked {
        /// The task.
        id: TaskId,
        /// Its commit.
        commit: Oid,
        /// The first line of the commit's message, as it is: escape it.
        subject: String,
        /// Its job.
        job: JobName,
        /// The job that did not pass.
        needs: JobName,
    },
    /// What is wanted has changed, and so has what waits.
    Queue {
        /// Tasks that wait for a worker.
        waiting: u64,
    },
    /// What is watched: the newest commits, children before their parents and otherwise newest
    /// first, with what is wanted of them. What no watched ref reaches any more is left out.
    Watching {
        /// At most a few dozen.
        commits: Vec<WatchedCommit>,
        /// How long the look at refs and history took that brought this, in microseconds.
        took_us: u64,
    },
    /// Something that the user may like to know, and that is in order.
    Note {
        /// A sentence.
        message: String,
    },
    /// Something that the user should know and that stops nothing.
    Warning {
        /// A sentence.
        message: String,
    },
    /// Always the last.
    RunFinished {
        /// How the tasks ended.
        counts: Counts,
        /// Wall-clock time of the run.
        #[serde(rename = "elapsed_ms", with = "millis")]
        #[cfg_attr(test, schemars(with = "u64"))]
        elapsed: Duration,
        /// The signal that ended it early.
        signal: Option<i32>,
        /// What of the work tree is not committed, where its `HEAD` was tested and that
        /// could be told in time.
        #[serde(default)]
        uncommitted: Option<Uncommitted>,
    },
}

/// A commit that is watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WatchedCommit {
    /// The commit.
    pub commit: Oid,
    /// The first line of its message, raw.
    pub subject: String,
    /// The watched refs that are at it, short names.
    pub refs: Vec<String>,
    /// The jobs that count for it.
    pub jobs: Vec<JobName>,
    /// Those of them that were cancelled on request.
    #[serde(default)]
    pub cancelled: Vec<JobName>,
    /// It is what is checked out here.
    #[serde(default)]
    pub current: bool,
}

/// What came of a task of a commit that is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TaskResult {
    /// The job.
    pub job: JobName,
    /// The verdict.
    pub status: Status,
    /// Why, where the status does not say it all.
    pub why: Option<Why>,
    /// A failure does not count.
    pub allowed: bool,
    /// It was known, and did not run.
    pub reused: bool,
    /// How long the job ran, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Its log.
    pub log: LogId,
}

impl Event {
    /// What came of the task whose end this tells; `None` where it tells no end, or that it
    /// was cancelled.
    pub fn result(&self) -> Option<TaskResult> {
        let (job, status, why, allowed, reused, duration, log) = match self {
            Self::TaskFinished {
                job,
                status: Some(status),
                why,
                allowed,
                duration,
                log,
                ..
            } => (job, status, why, allowed, false, Some(duration), log),
            Self::TaskReused {
                job,
                status,
                why,
                allowed,
                log,
                ..
            } => (job, status, why, allowed, true, None, log),
            _ => return None,
        };
        let millis = |duration: &Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Some(TaskResult {
            job: job.clone(),
            status: *status,
            why: *why,
            allowed: *allowed,
            reused,
            duration_ms: duration.map(millis),
            log: log.clone(),
        })
    }
}

/// Durations as whole milliseconds.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        u64::deserialize(d).map(Duration::from_millis)
    }

    pub(super) mod option {
        use std::time::Duration;

        use serde::{Deserialize as _, Deserializer, Serializer};

        pub(in super::super) fn serialize<S: Serializer>(
            duration: &Option<Duration>,
            s: S,
        ) -> Result<S::Ok, S::Error> {
            match duration {
                Some(duration) => super::serialize(duration, s),
                None => s.serialize_none(),
            }
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            d: D,
        ) -> Result<Option<Duration>, D::Error> {
            Ok(Option::<u64>::deserialize(d)?.map(Duration::from_millis))
        }
    }
}
