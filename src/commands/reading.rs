//! What the commands that read results have in common: which jobs are configured, what
//! runs now, and the shape of their JSON.
//!
//! Reading works where running does not: without a jobs file, or with one that is
//! broken, the records are all there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::config::{self, LoadError};
use crate::error::Failure;
use crate::git::{Records, Repo, Unread};
use crate::model::{
    CommandLine, Commit, Criteria, DefId, JobName, LogId, Oid, Platform, Reason, Record, Rule,
    RunnerLabel, Status, Why, printable_json, printable_line,
};
use crate::plan::{self, PlannedJob, Trust};
use crate::reporter::counted;
use crate::settings::Settings;
use crate::verdict::{Facts, Standing, Verdict};
use crate::worktree;

use super::kinds::Kinds;
use super::output;
use super::select::{ConfigArgs, Jobs};

/// The version of the JSON form of `log`, `show`, `status`, `logs` and `hosts`; it changes when a
/// reader of the old form would go wrong.
pub(super) const READ_FORMAT: u32 = 1;

/// One line of JSON. The first line of each command is of the kind that is named after
/// it, and carries [`READ_FORMAT`] as `format`. Fields whose value is not known are `null`.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Line<'a> {
    /// The first line of `log`; [`Line::Record`] follow, newest first.
    Log { format: u32 },
    /// The first line of `show`; [`Line::Record`] and [`Line::Foreign`] follow.
    Show {
        format: u32,
        commit: Oid,
        tree: Oid,
        subject: &'a str,
        author: &'a str,
        email: &'a str,
        /// The author's date in ISO 8601.
        date: &'a str,
    },
    /// The first line of `status`; [`Line::Commit`] follow, then [`Line::Running`], then
    /// [`Line::Watching`] where somebody watches.
    Status {
        format: u32,
        /// The names of the columns, in their order.
        jobs: Vec<&'a JobName>,
    },
    /// The first line of `logs`; [`Line::Output`] follow, then [`Line::End`].
    Logs {
        format: u32,
        commit: Oid,
        job: &'a JobName,
        log: &'a LogId,
        /// The task runs now: there is no record yet.
        running: bool,
        record: Option<RecordLine<'a>>,
    },
    /// One record.
    Record(RecordLine<'a>),
    /// A configured job that has no verdict on the commit of `show`.
    NoVerdict {
        job: &'a JobName,
        /// Why a run would run it.
        reason: String,
        rule: Rule,
    },
    /// A line of a note that is no record of a version known to this program.
    Foreign {
        /// Raw text: escape it before it is shown.
        line: String,
    },
    /// One commit, with a cell for each job of the first line.
    Commit {
        commit: Oid,
        subject: &'a str,
        cells: Vec<CellLine<'a>>,
    },
    /// A task that runs now, in any process that uses the repository.
    Running {
        slot: u32,
        commit: Oid,
        job: &'a JobName,
        since: Option<Timestamp>,
        elapsed_ms: u64,
        /// The process that runs it.
        pid: u32,
        log: Option<&'a LogId>,
    },
    /// The `git ci watch` of this repository.
    Watching {
        pid: u32,
        host: &'a str,
        /// What it watches, as it was typed.
        refs: &'a [String],
        /// How many of its tasks run.
        running: usize,
        /// How many of its tasks wait.
        queued: u64,
    },
    /// A line of a task's output.
    Output {
        /// Raw text without its line feed; what is not UTF-8 stands as U+FFFD.
        line: String,
    },
    /// The first line of `hosts`; [`Line::Host`] follow.
    Hosts {
        format: u32,
        /// Each host was connected to.
        checked: bool,
    },
    /// A host.
    Host(HostLine<'a>),
    /// All of the log was there; with `--follow`, the task has ended.
    End,
}

/// A host as it is configured, and what a check found out.
#[derive(Debug, Serialize)]
pub(super) struct HostLine<'a> {
    pub(super) name: &'a RunnerLabel,
    /// It gets no tasks.
    pub(super) drained: bool,
    /// Its address, `slurm`, or the command that connects to it.
    pub(super) way: String,
    pub(super) slots: u32,
    /// Without its name, which is a label, too.
    pub(super) labels: Vec<&'a str>,
    /// `null` where it was not checked, and so is all that follows.
    pub(super) usable: Option<bool>,
    /// The version of git-ci there.
    pub(super) version: Option<String>,
    /// System and machine.
    pub(super) platform: Option<String>,
    /// The version of git there.
    pub(super) git: Option<String>,
    pub(super) free_bytes: Option<u64>,
    /// How far its clock is ahead.
    pub(super) skew_ms: Option<i64>,
    pub(super) took_ms: Option<u64>,
    /// What runs there now.
    pub(super) running: Option<Vec<HostTask<'a>>>,
    /// Completes "failed to …", where it cannot be used.
    pub(super) error: Option<String>,
    pub(super) hint: Option<String>,
}

/// A task that runs on a host.
#[derive(Debug, Serialize)]
pub(super) struct HostTask<'a> {
    pub(super) slot: u32,
    pub(super) commit: Oid,
    pub(super) job: &'a JobName,
    pub(super) elapsed_ms: u64,
}

/// One record, with what it means for its commit.
#[derive(Debug, Serialize)]
pub(super) struct RecordLine<'a> {
    /// The commit that it is shown for.
    pub(super) commit: Oid,
    /// The commit's subject, raw; `null` where the repository does not have the commit.
    pub(super) subject: Option<&'a str>,
    pub(super) job: &'a JobName,
    pub(super) status: Status,
    pub(super) why: Option<Why>,
    /// `null` where the repository does not have the commit.
    pub(super) standing: Option<Standing>,
    /// What a run would do about the job of a record that counts, and why; in `show`.
    pub(super) reason: Option<String>,
    /// The same for programs.
    pub(super) rule: Option<Rule>,
    /// It is the verdict of its job on the commit; `null` in `log`, which does not judge.
    pub(super) counts: Option<bool>,
    /// The commit in whose note it stands.
    pub(super) from: Oid,
    pub(super) finished: Timestamp,
    pub(super) duration_ms: u64,
    pub(super) runner: &'a RunnerLabel,
    /// Machine and system, such as `x86_64-linux`; `null` where the record does not say.
    pub(super) platform: Option<&'a Platform>,
    #[serde(rename = "try")]
    pub(super) try_: u32,
    pub(super) tree: Oid,
    pub(super) def: &'a DefId,
    pub(super) log: &'a LogId,
    /// The command, a string for `sh -c` or a list, in `show`, where the job is defined as
    /// it was.
    pub(super) command: Option<&'a CommandLine>,
    /// The median running time of the job's latest other passes, in `show`.
    pub(super) usual_ms: Option<u64>,
    /// The last lines of the log, raw, where `show` shows them.
    pub(super) tail: Option<Vec<String>>,
}

impl<'a> RecordLine<'a> {
    /// The record as it stands in the note of `commit`.
    pub(super) fn new(record: &'a Record, commit: Oid) -> Self {
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
            duration_ms: millis(record.duration),
            runner: &record.runner,
            platform: record.on.as_ref(),
            command: None,
            usual_ms: None,
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
pub(super) struct CellLine<'a> {
    pub(super) job: &'a JobName,
    /// It runs now; `record` is what counted before.
    pub(super) running: bool,
    /// It waits in the queue of `git ci watch`; so does one of a commit far back in it,
    /// where this is `false`.
    pub(super) queued: bool,
    /// What counts; `null` where nothing does.
    pub(super) record: Option<RecordLine<'a>>,
}

impl Line<'_> {
    /// The line, with its line feed.
    pub(super) fn render(&self) -> String {
        // Maps with keys of other types than text are all that can fail here.
        printable_json(serde_json::to_string(self).unwrap_or_default()) + "\n"
    }
}

/// What is known of this repository. Says what could not be read.
///
/// # Errors
/// Where the notes cannot be read.
pub(super) fn records(repo: &Repo, settings: &Settings) -> Result<Records, Failure> {
    let records = Records::load(repo, &settings.notes_ref)?;
    let mut away = 0;
    for (commit, unread) in records.unread() {
        match unread {
            Unread::Away => away += 1,
            Unread::TooLarge => output::note(&format!(
                "warning: the note of {commit} is too large to be read; `git ci doctor` names a way out"
            )),
        }
    }
    if away > 0 {
        let notes = counted(away, "note");
        output::note(&format!(
            "warning: {notes} of this partial clone could not be fetched; what they say is not known"
        ));
    }
    Ok(records)
}

/// Whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A point in time for people, in their time zone, to the minute.
pub(super) fn human_time(time: Timestamp) -> String {
    let local = time.to_zoned(TimeZone::system());
    local.strftime("%Y-%m-%d %H:%M").to_string()
}

/// Text from outside, on one line, without colours of its own.
pub(super) fn safe(text: &str) -> std::borrow::Cow<'_, str> {
    printable_line(text.as_bytes())
}

/// The jobs that are configured, where any are.
pub(super) struct Configured<'a> {
    jobs: Option<Jobs<'a>>,
    none: Arc<[PlannedJob]>,
    /// The user named the file: it must be there and right.
    strict: bool,
    is_broken: bool,
}

impl<'a> Configured<'a> {
    /// The jobs that `args` choose, whose job names are left to the caller: jobs may be
    /// on record without being configured.
    ///
    /// # Errors
    /// Where the user named a jobs file that is missing or not right.
    pub(super) fn load(
        args: &ConfigArgs,
        repo: &'a Repo,
        settings: &Settings,
    ) -> Result<Self, Failure> {
        let unnamed = ConfigArgs {
            job: Vec::new(),
            config: args.config.clone(),
            config_from: args.config_from.clone(),
        };
        let mut configured = Self {
            jobs: None,
            none: Arc::new([]),
            strict: args.config.is_some() || args.config_from.is_some(),
            is_broken: false,
        };
        match Jobs::configured(&unnamed, repo, settings, Kinds::of(repo, settings)) {
            Ok(jobs) => configured.jobs = Some(jobs),
            Err(error) => configured.complain(error)?,
        }
        Ok(configured)
    }

    /// The jobs of one commit.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub(super) fn of(&mut self, commit: &Commit) -> Result<Arc<[PlannedJob]>, Failure> {
        match self.jobs.as_mut().map(|jobs| jobs.of(commit)) {
            Some(Ok(jobs)) => return Ok(jobs),
            Some(Err(error)) => self.complain(error)?,
            None => {}
        }
        Ok(Arc::clone(&self.none))
    }

    /// The jobs that are the same for all commits, where they are.
    pub(super) fn same(&self) -> Option<&[PlannedJob]> {
        match &self.jobs {
            Some(Jobs::Same(jobs)) => Some(jobs),
            _ => None,
        }
    }

    fn complain(&mut self, error: LoadError) -> Result<(), Failure> {
        let missing = matches!(error, LoadError::Missing(_) | LoadError::NoWorkTree);
        if self.strict && (self.jobs.is_none() || !missing) {
            return Err(error.into());
        }
        if !missing && !self.is_broken {
            self.is_broken = true;
            output::note(&format!(
                "warning: what is on record is shown as if no jobs were configured: failed to {error}"
            ));
        }
        Ok(())
    }

    /// Whether there is a jobs file that cannot be used, of which the user was told.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Checks the names that the user gave, as [`check_names`] does. One that is unknown may
    /// stand in the jobs file that cannot be used, and is no mistake of the user's then.
    ///
    /// # Errors
    /// Where one is neither configured nor on record.
    pub(super) fn check_names(
        &self,
        names: &[String],
        jobs: &[PlannedJob],
        records: &Records,
        running: &[Running],
    ) -> Result<Vec<JobName>, Failure> {
        check_names(names, jobs, records, running).map_err(|failure| match self.is_broken {
            true => Failure::fatal("failed to find that job: the jobs file cannot be used")
                .hint("`git ci doctor` names every slip in it"),
            false => failure,
        })
    }
}

/// What a record must agree in to count for the job of this name.
fn criteria_of<'j>(jobs: &'j [PlannedJob], name: &JobName) -> Option<&'j Criteria> {
    let job = jobs.iter().find(|planned| planned.job.name == *name)?;
    Some(&job.criteria)
}

/// What a record of a commit's note means for it.
pub(super) fn standing(
    records: &Records,
    commit: &Commit,
    jobs: &[PlannedJob],
    record: &Record,
) -> Standing {
    let criteria = criteria_of(jobs, &record.job);
    Standing::of(record, commit, criteria, records.is_forgotten(record))
}

/// What a run would do about the job of this name on a commit, and why; `None` where none
/// is configured.
pub(super) fn reason(
    records: &Records,
    commit: &Commit,
    jobs: &[PlannedJob],
    name: &JobName,
) -> Option<Reason> {
    let planned = jobs.iter().find(|planned| planned.job.name == *name)?;
    let (_, reason) = plan::decide(
        planned,
        commit,
        Trust::Known,
        || records.known(commit, &planned.criteria),
        || records.why_not(commit, &planned.criteria),
    );
    Some(reason)
}

/// What counts for a commit and a job.
pub(super) fn judge(
    records: &Records,
    commit: &Commit,
    jobs: &[PlannedJob],
    name: &JobName,
) -> Option<Verdict> {
    let criteria = criteria_of(jobs, name);
    let facts = Facts {
        commit,
        job: name,
        criteria,
        own: records.of(&commit.id),
        now: records.now(),
        is_forgotten: |record: &Record| records.is_forgotten(record),
    };
    facts.verdict(criteria.and_then(|criteria| records.known(commit, criteria)))
}

/// Checks the names that the user gave against the jobs that are configured or on record.
///
/// # Errors
/// Where one is neither; the nearest is the hint.
pub(super) fn check_names(
    names: &[String],
    configured: &[PlannedJob],
    records: &Records,
    running: &[Running],
) -> Result<Vec<JobName>, Failure> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut known: BTreeSet<&JobName> = configured.iter().map(|job| &job.job.name).collect();
    known.extend(records.iter().flat_map(|(_, of)| of).map(|one| &one.job));
    known.extend(running.iter().map(|task| &task.job));
    let find = |name: &String| {
        let found = known.iter().find(|job| job.as_str() == name);
        found.map(|job| (*job).clone()).ok_or_else(|| {
            let names = known.iter().map(|job| job.as_str());
            Failure::from(config::no_such_job(name, names))
        })
    };
    names.iter().map(find).collect()
}

/// A task that runs now.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) slot: u32,
    pub(super) commit: Oid,
    pub(super) job: JobName,
    pub(super) since: u64,
    pub(super) elapsed: Duration,
    pub(super) pid: u32,
    pub(super) log: Option<LogId>,
}

/// Everything that runs now, in whichever process. Tasks that only wait belong to the
/// process that wants them; nobody else can tell.
pub(super) fn running(repo: &Repo) -> Vec<Running> {
    let now = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
    let holders = worktree::holders(&repo.ci_dir()).into_iter();
    holders
        .map(|(slot, holder)| Running {
            slot,
            commit: holder.commit,
            job: holder.job,
            since: holder.since,
            elapsed: Duration::from_secs(now.saturating_sub(holder.since)),
            pid: holder.pid,
            log: holder.log,
        })
        .collect()
}
