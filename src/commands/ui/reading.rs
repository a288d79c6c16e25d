//! What the commands that read results have in common: which jobs are configured, and what
//! runs now.
//!
//! Reading works where running does not: without a jobs file, or with one that is
//! broken, the records are all there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::{self, JobChoice, LoadError};
use crate::error::Failure;
use crate::git::Repo;
use crate::git::revs;
use crate::model::{Commit, Criteria, JobName, LogId, Oid, Reason, Record, printable_line};
use crate::notes::{Records, Unread};
use crate::plan::{self, PlannedJob, ReusePolicy};
use crate::reporter::counted;
use crate::settings::Settings;
use crate::verdict::{Facts, Standing, Verdict};
use crate::worktree;

use super::kinds::Kinds;
use super::output;
use super::select::{ConfigArgs, Jobs};

/// What is known of this repository. Says what could not be read.
///
/// # Errors
/// Where the notes cannot be read.
pub(in crate::commands) fn records(repo: &Repo, settings: &Settings) -> Result<Records, Failure> {
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
pub(in crate::commands) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A point in time for people, in their time zone, to the minute.
pub(in crate::commands) fn human_time(time: Timestamp) -> String {
    let local = time.to_zoned(TimeZone::system());
    local.strftime("%Y-%m-%d %H:%M").to_string()
}

/// Text from outside, on one line, without colours of its own.
pub(in crate::commands) fn safe(text: &str) -> std::borrow::Cow<'_, str> {
    printable_line(text.as_bytes())
}

/// The jobs that are configured, where any are.
pub(in crate::commands) struct Configured<'a> {
    jobs: Option<Jobs<'a>>,
    none: Arc<[PlannedJob]>,
    /// The user named the file: it must be there and right.
    strict: bool,
    is_broken: bool,
}

impl<'a> Configured<'a> {
    /// All jobs from where `args` say. Which of them are meant is left to the caller: jobs may
    /// be on record without being configured.
    ///
    /// # Errors
    /// Where the user named a jobs file that is missing or not right.
    pub(in crate::commands) fn load(
        args: &ConfigArgs,
        repo: &'a Repo,
        settings: &Settings,
    ) -> Result<Self, Failure> {
        let all = ConfigArgs {
            job: vec!["*".to_owned()],
            skip: Vec::new(),
            config: args.config.clone(),
            config_from: args.config_from.clone(),
        };
        let mut configured = Self {
            jobs: None,
            none: Arc::new([]),
            strict: args.config.is_some() || args.config_from.is_some(),
            is_broken: false,
        };
        match Jobs::configured(&all, repo, settings, Kinds::of(repo, settings)) {
            Ok(jobs) => configured.jobs = Some(jobs),
            Err(error) => configured.complain(error)?,
        }
        Ok(configured)
    }

    /// The jobs of one commit.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub(in crate::commands) fn of(
        &mut self,
        commit: &Commit,
    ) -> Result<Arc<[PlannedJob]>, Failure> {
        match self.jobs.as_mut().map(|jobs| jobs.of(commit)) {
            Some(Ok(jobs)) => return Ok(jobs),
            Some(Err(error)) => self.complain(error)?,
            None => {}
        }
        Ok(Arc::clone(&self.none))
    }

    /// The jobs that are the same for all commits, where they are.
    pub(in crate::commands) fn same(&self) -> Option<&[PlannedJob]> {
        self.jobs.as_ref().and_then(Jobs::same)
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
    pub(in crate::commands) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Checks the names that the user gave, as [`check_names`] does. One that is unknown may
    /// stand in the jobs file that cannot be used, and is no mistake of the user's then.
    ///
    /// # Errors
    /// Where one is neither configured nor on record.
    pub(in crate::commands) fn check_names(
        &self,
        choice: &JobChoice,
        jobs: &[PlannedJob],
        records: &Records,
        running: &[Running],
    ) -> Result<Vec<JobName>, Failure> {
        check_names(choice, jobs, records, running).map_err(|failure| {
            if self.is_broken {
                Failure::fatal("failed to find that job: the jobs file cannot be used")
                    .hint("`git ci doctor` names every slip in it")
            } else {
                failure
            }
        })
    }
}

/// What a record must agree in to count for the job of this name.
fn criteria_of<'j>(jobs: &'j [PlannedJob], name: &JobName) -> Option<&'j Criteria> {
    let job = jobs.iter().find(|planned| planned.job.name == *name)?;
    Some(&job.criteria)
}

/// What a record of a commit's note means for it.
pub(in crate::commands) fn standing(
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
pub(in crate::commands) fn reason(
    records: &Records,
    commit: &Commit,
    jobs: &[PlannedJob],
    name: &JobName,
) -> Option<Reason> {
    let planned = jobs.iter().find(|planned| planned.job.name == *name)?;
    let (_, reason) = plan::decide(
        planned,
        commit,
        ReusePolicy::Known,
        || records.known(commit, &planned.criteria),
        || records.why_not(commit, &planned.criteria),
    );
    Some(reason)
}

/// Which records are meant, by their jobs and by when they finished.
pub(in crate::commands) struct Meant {
    jobs: Vec<JobName>,
    since: Option<Timestamp>,
}

impl Meant {
    /// Those of the jobs of these names (none: of all) that finished since a date, as git
    /// understands it.
    ///
    /// # Errors
    /// Where there is no such job, configured or on record, or git makes nothing of the date.
    pub(in crate::commands) fn of(
        repo: &Repo,
        settings: &Settings,
        records: &Records,
        jobs: &[String],
        since: Option<&str>,
    ) -> Result<Self, Failure> {
        let configured = Configured::load(&ConfigArgs::default(), repo, settings)?;
        let same = configured.same().unwrap_or_default();
        let choice = JobChoice::of_names(jobs);
        let jobs = configured.check_names(&choice, same, records, &[])?;
        let since = match since {
            Some(date) => Timestamp::from_second(revs::since(repo, date)?).ok(),
            None => None,
        };
        Ok(Self { jobs, since })
    }

    /// Whether this is one of them.
    pub(in crate::commands) fn covers(&self, record: &Record) -> bool {
        (self.jobs.is_empty() || self.jobs.contains(&record.job))
            && self.since.is_none_or(|since| record.finished >= since)
    }
}

/// What counts for a commit and a job.
pub(in crate::commands) fn judge(
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
pub(in crate::commands) fn check_names(
    choice: &JobChoice,
    configured: &[PlannedJob],
    records: &Records,
    running: &[Running],
) -> Result<Vec<JobName>, Failure> {
    let JobChoice { names, skipped, .. } = choice;
    if names.is_empty() && skipped.is_empty() {
        return Ok(Vec::new());
    }
    let mut known: BTreeSet<&JobName> = configured.iter().map(|job| &job.job.name).collect();
    known.extend(records.iter().flat_map(|(_, of)| of).map(|one| &one.job));
    known.extend(running.iter().map(|task| &task.job));
    for name in names.iter().chain(skipped) {
        if !known.iter().any(|job| job.is_meant_by(name)) {
            let names = known.iter().map(|job| job.as_str());
            return Err(config::no_such_job(name, names).into());
        }
    }
    let any = |names: &[String], job: &JobName| names.iter().any(|name| job.is_meant_by(name));
    let is_wanted = |job: &JobName| (names.is_empty() || any(names, job)) && !any(skipped, job);
    let wanted = known.into_iter().filter(|job| is_wanted(job));
    Ok(wanted.cloned().collect())
}

/// A task that runs now.
#[derive(Debug)]
pub(in crate::commands) struct Running {
    pub(in crate::commands) slot: u32,
    pub(in crate::commands) commit: Oid,
    pub(in crate::commands) job: JobName,
    pub(in crate::commands) since: u64,
    pub(in crate::commands) elapsed: Duration,
    pub(in crate::commands) pid: u32,
    pub(in crate::commands) log: Option<LogId>,
}

/// Everything that runs now, in whichever process. Tasks that only wait belong to the
/// process that wants them; nobody else can tell.
pub(in crate::commands) fn running(repo: &Repo) -> Vec<Running> {
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
