//! The lines of `--json`, of all commands that print anything but the events of a run.
//!
//! The first line of each command is of the kind that is named after it, and carries the
//! version of the format; fields whose value is not known are `null`. What stands here at
//! the fields stands in git-ci-json(5), and the types are its JSON Schema: neither says
//! anything that the program does not.

use jiff::Timestamp;
use serde::Serialize;

use crate::model::{
    CommandLine, DefId, JobName, LogId, Oid, Platform, Record, Rule, RunnerLabel, Status,
    TestReport, Why, json_line,
};
use crate::upkeep::doctor::Finding;
use crate::upkeep::gc::Removal;
use crate::verdict::Standing;

/// One line of JSON.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(in crate::commands) enum Line<'a> {
    /// The first line of `run -n`; a `planned` follows for each task.
    Plan {
        /// The version of the format.
        format: u32,
        /// Tasks that would run.
        tasks: usize,
        /// Tasks whose verdict is known.
        reused: usize,
    },
    /// What would become of a task.
    Planned {
        /// Its commit.
        commit: Oid,
        /// Its job.
        job: &'a JobName,
        /// What would be done.
        action: PlannedAction,
        /// The verdict that is known.
        status: Option<Status>,
        /// The commit in whose note its record was found.
        from: Option<Oid>,
        /// Why it would run, or need not, for people.
        reason: String,
        /// The same for programs.
        rule: Rule,
    },
    /// The first line of `log`; a `record` follows for each, the newest first.
    Log {
        /// The version of the format.
        format: u32,
    },
    /// The first line of `show`; `record`, `no-verdict` and `foreign` follow.
    Show {
        /// The version of the format.
        format: u32,
        /// The commit.
        commit: Oid,
        /// Its tree.
        tree: Oid,
        /// The first line of its message, raw.
        subject: &'a str,
        /// The name of its author, raw.
        author: &'a str,
        /// The mail address of its author, raw.
        email: &'a str,
        /// The author's date in ISO 8601.
        date: &'a str,
    },
    /// The first line of `status`; a `commit` follows for each, then `running`, then
    /// `watching` where somebody watches.
    Status {
        /// The version of the format.
        format: u32,
        /// The names of the columns, in their order.
        jobs: Vec<&'a JobName>,
    },
    /// The first line of `logs`; `output` follows for each line of the log, then `end`.
    Logs {
        /// The version of the format.
        format: u32,
        /// The commit of the task.
        commit: Oid,
        /// The job of the task.
        job: &'a JobName,
        /// The log.
        log: &'a LogId,
        /// The task runs now: there is no record yet.
        running: bool,
        /// The task's record, where there is one.
        record: Option<RecordLine<'a>>,
    },
    /// The first line of `stats`; a `job-stats` follows for each job.
    Stats {
        /// The version of the format.
        format: u32,
    },
    /// How often a job passes and how long it takes.
    JobStats {
        /// The job.
        job: &'a JobName,
        /// How often it ran.
        runs: u64,
        /// How many of these passed at once.
        passed: u64,
        /// How many passed in another try.
        flaky: u64,
        /// How many failed.
        failed: u64,
        /// How many ended without a verdict.
        errored: u64,
        /// How many said that the commit cannot be tested.
        skipped: u64,
        /// The median of the running times of those that passed or failed, in milliseconds.
        median_ms: u64,
        /// The ninth decile of these.
        ninth_decile_ms: u64,
        /// The longest of these.
        longest_ms: Option<u64>,
        /// The commit that it was on.
        longest_on: Option<Oid>,
        /// How often a verdict was taken over for another commit.
        reused: u64,
        /// The running time that would have taken, in milliseconds.
        saved_ms: u64,
    },
    /// The first line of `blame`; a `blamed` follows for each job that fails, and for its tests.
    Blame {
        /// The version of the format.
        format: u32,
        /// The commit from which it goes back.
        commit: Oid,
    },
    /// Since when something fails.
    Blamed {
        /// The job.
        job: &'a JobName,
        /// What the test is grouped under, where it is about one.
        suite: Option<&'a str>,
        /// The test, where it is about one.
        test: Option<&'a str>,
        /// The oldest failure with no pass after it.
        since: Oid,
        /// The last pass before it.
        last_pass: Option<Oid>,
        /// The commits that may have begun it, the newest first: one where it is known.
        suspects: Vec<Oid>,
        /// On how many commits it fails, as far as that is known.
        commits: usize,
    },
    /// The first line of `flaky`; a `flaky-job` follows for each job that gave both verdicts on
    /// the same content, then a `flaky-test` for each test that did.
    Flaky {
        /// The version of the format.
        format: u32,
    },
    /// A job that gave both verdicts on the same content.
    FlakyJob {
        /// The job.
        job: &'a JobName,
        /// On how much content it did.
        flaky: u32,
        /// On how much it ran at all.
        contents: u32,
        /// How often it ran on the former; each try counts.
        runs: u32,
        /// How many of those failed.
        failures: u32,
        /// When the last of those runs was.
        last: Timestamp,
        /// On which commit that was.
        commit: Oid,
    },
    /// A test that gave both verdicts on the same content.
    FlakyTest {
        /// Its job.
        job: &'a JobName,
        /// What it is grouped under; empty where that is nothing.
        suite: &'a str,
        /// Its name.
        name: &'a str,
        /// How often it ran where it gave both.
        runs: u32,
        /// How many of those failed.
        failures: u32,
        /// When it failed last.
        last: Timestamp,
        /// On which commit that was.
        commit: Oid,
    },
    /// The first line of `artifacts`; an `artifact` follows for each file.
    Artifacts {
        /// The version of the format.
        format: u32,
        /// The commit that was asked for.
        commit: Oid,
    },
    /// A file that a task left.
    Artifact {
        /// The job.
        job: &'a JobName,
        /// The commit that it ran on.
        from: Oid,
        /// The try that left it, unless it was the last.
        #[serde(rename = "try")]
        try_: Option<u32>,
        /// Its path, in the directory for artifacts.
        path: String,
        /// Where it is.
        file: String,
        /// How long it is; `null` for a link.
        bytes: Option<u64>,
        /// What it leads to, where it is a link.
        link: Option<String>,
    },
    /// The first line of `wait`; a `verdict` follows for each task once there is one, and a
    /// `failure` for each that says that the job failed.
    Wait {
        /// The version of the format.
        format: u32,
        /// How many tasks are waited for.
        tasks: usize,
    },
    /// The record that counts for a task that was waited for.
    Verdict(RecordLine<'a>),
    /// What failed, and since when.
    Failure {
        /// The commit.
        commit: Oid,
        /// The job.
        job: &'a JobName,
        /// What its tests said, raw; `null` where they were not read.
        tests: Option<TestReport>,
        /// What looks like the failure in its output, and the last lines of that, raw.
        tail: Vec<String>,
        /// The nearest commit before it on which the job passed.
        last_pass: Option<Oid>,
        /// The files that differ between the two, raw.
        changed: Vec<String>,
    },
    /// One record of a note.
    Record(RecordLine<'a>),
    /// A configured job that has no verdict on the commit of `show`.
    NoVerdict {
        /// The job.
        job: &'a JobName,
        /// Why a run would run it, for people.
        reason: String,
        /// The same for programs.
        rule: Rule,
    },
    /// A line of a note that is no record of a version known to this program.
    Foreign {
        /// The line, raw; what is not UTF-8 stands as U+FFFD.
        line: String,
    },
    /// One commit, with a cell for each job of the first line.
    Commit {
        /// The commit.
        commit: Oid,
        /// The first line of its message, raw.
        subject: &'a str,
        /// What is known of each job, in the order of the first line.
        cells: Vec<CellLine<'a>>,
    },
    /// A task that runs now, in any process that uses the repository.
    Running {
        /// The number of its worktree.
        slot: u32,
        /// Its commit.
        commit: Oid,
        /// Its job.
        job: &'a JobName,
        /// When it began.
        since: Option<Timestamp>,
        /// For how long it has been running, in milliseconds.
        elapsed_ms: u64,
        /// The process that runs it.
        pid: u32,
        /// Its log.
        log: Option<&'a LogId>,
    },
    /// The `git ci watch` of this repository.
    Watching {
        /// Its process.
        pid: u32,
        /// The machine where it runs.
        host: &'a str,
        /// What it watches, as it was typed.
        refs: &'a [String],
        /// How many of its tasks run.
        running: usize,
        /// How many of its tasks wait.
        queued: u64,
    },
    /// A `git ci run` that works on this repository.
    Run {
        /// Its process.
        pid: u32,
        /// The machine where it runs.
        host: &'a str,
        /// What it runs on, as it was typed; nothing where that is the default.
        revs: &'a [String],
        /// How many of its tasks run.
        running: usize,
        /// How many of its tasks wait.
        queued: u64,
    },
    /// A line of a task's output.
    Output {
        /// The line, raw, without its line feed; what is not UTF-8 stands as U+FFFD.
        line: String,
    },
    /// The last line of `logs`: all of the log was there, and with `--follow` the task has
    /// ended.
    End,
    /// The first line of `hosts`; a `host` follows for each.
    Hosts {
        /// The version of the format.
        format: u32,
        /// Each host was connected to.
        checked: bool,
    },
    /// A host as it is configured, and what a check found out.
    Host(HostLine<'a>),
    /// The first line of `doctor`; a `finding` follows for each, then `doctor-finished`.
    Doctor {
        /// The version of the format.
        format: u32,
    },
    /// One thing that was found.
    Finding(&'a Finding),
    /// The last line of `doctor`.
    DoctorFinished {
        /// How many things are wrong: errors and warnings.
        wrong: usize,
    },
    /// The first line of `gc`; a `removed` follows for each thing, then `gc-finished`.
    Gc {
        /// The version of the format.
        format: u32,
        /// Nothing was removed: this is what would be.
        dry_run: bool,
    },
    /// One thing that was removed, or would be.
    Removed(&'a Removal),
    /// The last line of `gc`.
    GcFinished {
        /// How many things were removed.
        removed: usize,
        /// What they took on the disk.
        bytes: u64,
        /// What could not be done and should have been, for people.
        problems: &'a [String],
        /// What was left alone, and why, for people.
        notes: &'a [String],
    },
}

/// What a run would do about a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(in crate::commands) enum PlannedAction {
    /// Run its job.
    Run,
    /// Take over the verdict that is known.
    Reuse,
    /// Nothing: a job that it needs is known not to pass.
    Blocked,
}

/// One record of a note, with what it means for its commit.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::commands) struct RecordLine<'a> {
    /// The commit that it is shown for.
    pub(in crate::commands) commit: Oid,
    /// The first line of the commit's message, raw; `null` where the repository does not
    /// have the commit, and in `logs`.
    pub(in crate::commands) subject: Option<&'a str>,
    /// The job.
    pub(in crate::commands) job: &'a JobName,
    /// The verdict.
    pub(in crate::commands) status: Status,
    /// Why, where the status does not say it all.
    pub(in crate::commands) why: Option<Why>,
    /// What it means for the commit; `null` where the repository does not have the commit,
    /// and in `logs`.
    pub(in crate::commands) standing: Option<Standing>,
    /// What a run would do about the job of a record that counts, and why, for people; in
    /// `show`.
    pub(in crate::commands) reason: Option<String>,
    /// The same for programs.
    pub(in crate::commands) rule: Option<Rule>,
    /// It is the verdict of its job on the commit; `null` in `log` and `logs`, which do not
    /// judge.
    pub(in crate::commands) counts: Option<bool>,
    /// The commit in whose note it stands.
    pub(in crate::commands) from: Oid,
    /// When the task finished.
    pub(in crate::commands) finished: Timestamp,
    /// How long the job ran, in milliseconds.
    pub(in crate::commands) duration_ms: u64,
    /// Who ran it.
    pub(in crate::commands) runner: &'a RunnerLabel,
    /// Machine and system, such as `x86_64-linux`; `null` where the record does not say.
    pub(in crate::commands) platform: Option<&'a Platform>,
    /// The try that gave the verdict, from 1.
    #[serde(rename = "try")]
    pub(in crate::commands) try_: u32,
    /// The tree that was tested.
    pub(in crate::commands) tree: Oid,
    /// The definition of the job as it was.
    pub(in crate::commands) def: &'a DefId,
    /// The log, on the machine that ran it.
    pub(in crate::commands) log: &'a LogId,
    /// The command, a string for `sh -c` or a list, in `show`, where the job is defined as
    /// it was.
    pub(in crate::commands) command: Option<&'a CommandLine>,
    /// The median running time of the job's latest other passes, in milliseconds, in `show`.
    pub(in crate::commands) usual_ms: Option<u64>,
    /// What its tests said, raw, in `show` and in `log --tests`, where that is here.
    pub(in crate::commands) tests: Option<TestReport>,
    /// The slot whose worktree is as the task left it, in `show`.
    pub(in crate::commands) slot: Option<u32>,
    /// What looks like the failure in the log, and its last lines, raw, where `show`
    /// shows them.
    pub(in crate::commands) tail: Option<Vec<String>>,
}

impl<'a> RecordLine<'a> {
    /// The record as it stands in the note of `commit`.
    pub(in crate::commands) fn new(record: &'a Record, commit: Oid) -> Self {
        Self {
            commit,
            subject: None,
            job: &record.job,
            status: record.status,
            why: record.why,
            standing: None,
            reason: None,
            rule: None,
            counts: None,
            from: commit,
            finished: record.finished,
            duration_ms: super::reading::millis(record.duration),
            runner: &record.runner,
            platform: record.on.as_ref(),
            command: None,
            usual_ms: None,
            tests: None,
            slot: None,
            try_: record.try_,
            tree: record.tree,
            def: &record.def,
            log: &record.log,
            tail: None,
        }
    }
}

/// One commit and one job.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::commands) struct CellLine<'a> {
    /// The job.
    pub(in crate::commands) job: &'a JobName,
    /// It runs now; `record` is what counted before.
    pub(in crate::commands) running: bool,
    /// It waits in the queue of `git ci watch`; so does one of a commit far back in it,
    /// where this is `false`.
    pub(in crate::commands) queued: bool,
    /// What counts; `null` where nothing does.
    pub(in crate::commands) record: Option<RecordLine<'a>>,
}

/// A host as it is configured, and what a check found out.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::commands) struct HostLine<'a> {
    /// Its name.
    pub(in crate::commands) name: &'a RunnerLabel,
    /// It gets no tasks.
    pub(in crate::commands) drained: bool,
    /// Its address, `slurm`, or the command that connects to it.
    pub(in crate::commands) transport: String,
    /// How many tasks it takes at once.
    pub(in crate::commands) slots: u32,
    /// Its labels, without its name, which is a label, too.
    pub(in crate::commands) labels: Vec<&'a str>,
    /// Tasks can run there; `null` where it was not checked, and so is all that follows.
    pub(in crate::commands) usable: Option<bool>,
    /// The version of git-ci there.
    pub(in crate::commands) version: Option<String>,
    /// System and machine.
    pub(in crate::commands) platform: Option<String>,
    /// The version of git there.
    pub(in crate::commands) git: Option<String>,
    /// How many bytes are free there.
    pub(in crate::commands) free_bytes: Option<u64>,
    /// How far its clock is ahead, in milliseconds.
    pub(in crate::commands) skew_ms: Option<i64>,
    /// How long the check took, in milliseconds.
    pub(in crate::commands) took_ms: Option<u64>,
    /// What runs there now.
    pub(in crate::commands) running: Option<Vec<HostTask<'a>>>,
    /// Why it cannot be used; completes "failed to …".
    pub(in crate::commands) error: Option<String>,
    /// What may help.
    pub(in crate::commands) hint: Option<String>,
}

/// A task that runs on a host.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::commands) struct HostTask<'a> {
    /// The number of its worktree there.
    pub(in crate::commands) slot: u32,
    /// Its commit.
    pub(in crate::commands) commit: Oid,
    /// Its job.
    pub(in crate::commands) job: &'a JobName,
    /// For how long it has been running, in milliseconds.
    pub(in crate::commands) elapsed_ms: u64,
}

impl Line<'_> {
    /// The line, with its line feed.
    pub(in crate::commands) fn render(&self) -> String {
        json_line(self)
    }
}
