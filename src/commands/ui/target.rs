//! Which commit and which of its jobs are meant, where both may be left out.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use crate::config::JobChoice;
use crate::error::Failure;
use crate::git::Repo;
use crate::model::{Commit, JobName};
use crate::notes::Records;
use crate::plan::PlannedJob;

use super::reading::{Configured, Running, check_names};
use super::select;

/// What is meant.
pub(in crate::commands) struct Target {
    /// The commit.
    pub(in crate::commands) commit: Commit,
    /// The job, where one was named.
    pub(in crate::commands) job: Option<JobName>,
    /// The jobs that are configured for the commit.
    pub(in crate::commands) jobs: Arc<[PlannedJob]>,
}

impl Target {
    /// What `REV` and `JOB` mean; one word that is no revision may be a job of `HEAD`.
    ///
    /// # Errors
    /// Where they mean nothing, or several jobs.
    pub(in crate::commands) fn of(
        repo: &Repo,
        configured: &mut Configured,
        records: &Records,
        running: &[Running],
        (rev, job): (Option<&OsString>, Option<&str>),
    ) -> Result<Self, Failure> {
        let head = OsStr::new("HEAD");
        let (commit, word) = match select::commit(repo, rev.map_or(head, OsString::as_os_str)) {
            Ok(commit) => (commit, job.map(str::to_owned)),
            Err(failure) => {
                let jobs = configured.same().unwrap_or_default();
                let word = rev.filter(|_| job.is_none());
                let word = word.map(|word| word.to_string_lossy().into_owned());
                let is_job = |word: &String| {
                    let meant = JobChoice::of_names(std::slice::from_ref(word));
                    check_names(&meant, jobs, records, running).is_ok()
                };
                match word.filter(is_job) {
                    Some(word) => (select::commit(repo, head)?, Some(word)),
                    None => return Err(failure),
                }
            }
        };
        let jobs = configured.of(&commit)?;
        let job = match word {
            None => None,
            Some(word) => {
                let meant = JobChoice::of_names(std::slice::from_ref(&word));
                let found = configured.check_names(&meant, &jobs, records, running)?;
                match found.as_slice() {
                    [one] => Some(one.clone()),
                    several => {
                        let names: Vec<_> = several.iter().map(JobName::as_str).collect();
                        let message = format!("{word} means several jobs: {}", names.join(", "));
                        return Err(Failure::usage(message));
                    }
                }
            }
        };
        Ok(Self { commit, job, jobs })
    }
}
