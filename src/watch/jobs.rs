//! The jobs that count while watching: read again when the file changes, and kept as
//! they are when it changes into something that is no jobs file.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{self, CommitJobs, ConfigFrom, JobChoice, LoadError};
use crate::git::{Branches, Repo, is_branch_named};
use crate::model::{Commit, Criteria, Job, Oid, RefName};
use crate::plan::PlannedJob;

/// Where the jobs come from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// This file.
    File(PathBuf),
    /// A place in the repository.
    From(ConfigFrom),
}

/// What a look at the jobs file brought.
#[derive(Debug)]
pub(crate) enum Change {
    /// Other jobs than before; so many.
    Jobs(usize),
    /// It is no use any more; the old jobs still count.
    Broken(LoadError),
    /// It is of use again, and says what it said before.
    Mended,
}

/// What a record must agree in to count for a job, as the runners are now.
pub(crate) type CriteriaOf<'a> = Box<dyn Fn(&Job) -> Criteria + Send + 'a>;

/// The jobs of each commit.
pub(crate) struct WatchJobs<'a> {
    repo: &'a Repo,
    source: Source,
    choice: JobChoice,
    criteria: CriteriaOf<'a>,
    /// The same for all commits, unless each brings its own.
    same: Option<Arc<[PlannedJob]>>,
    files: CommitJobs<'a>,
    branches: Branches<'a>,
    /// Of each file that commits bring.
    planned: HashMap<Oid, Arc<[PlannedJob]>>,
    /// What was said of the file last.
    complaint: Option<String>,
}

impl<'a> WatchJobs<'a> {
    /// The jobs of `source` that are chosen; `criteria` says what their verdicts must agree in.
    ///
    /// # Errors
    /// Where there is no jobs file, or it is not right.
    pub(crate) fn new(
        repo: &'a Repo,
        source: Source,
        choice: JobChoice,
        criteria: CriteriaOf<'a>,
    ) -> Result<Self, LoadError> {
        let mut jobs = Self {
            repo,
            source,
            choice,
            criteria,
            same: None,
            files: CommitJobs::new(repo),
            branches: Branches::new(repo),
            planned: HashMap::new(),
            complaint: None,
        };
        jobs.same = jobs.load()?;
        Ok(jobs)
    }

    fn load(&self) -> Result<Option<Arc<[PlannedJob]>>, LoadError> {
        let jobs = match &self.source {
            Source::From(ConfigFrom::Commit) => return Ok(None),
            Source::From(from) => config::load(self.repo, from)?,
            Source::File(path) => config::load_file(path)?,
        };
        Ok(Some(self.planned(jobs)?))
    }

    /// Looks at the file again. `moved` says that refs have moved, so that a revision may
    /// mean another commit.
    pub(crate) fn look(&mut self, moved: bool) -> Option<Change> {
        if moved {
            self.branches.refresh();
        }
        if matches!(self.source, Source::From(ConfigFrom::Rev(_))) && !moved {
            return None;
        }
        match self.load() {
            Ok(jobs) => {
                let mended = self.complaint.take().is_some();
                let same = same(&jobs, &self.same);
                // Verdicts may have come to count, or not to, for the same jobs.
                self.same = jobs;
                if same {
                    return mended.then_some(Change::Mended);
                }
                Some(Change::Jobs(
                    self.same.as_ref().map_or(0, |jobs| jobs.len()),
                ))
            }
            Err(error) => {
                let text = error.to_string();
                if self.complaint.as_ref() == Some(&text) {
                    return None;
                }
                self.complaint = Some(text);
                Some(Change::Broken(error))
            }
        }
    }

    /// The jobs of one commit; none where it brings no jobs file, and should.
    ///
    /// # Errors
    /// Where its own jobs file is not right.
    pub(crate) fn of(&mut self, commit: &Commit) -> Result<Arc<[PlannedJob]>, LoadError> {
        let jobs = self.of_any_branch(commit)?;
        if jobs.iter().all(|planned| planned.job.branches.is_empty()) {
            return Ok(jobs);
        }
        let (choice, branches) = (&self.choice, &mut self.branches);
        PlannedJob::wanted(&jobs, |job| {
            let is_reached = job.branches.is_empty() || branches.reach(&job.branches, commit)?;
            Ok(choice.is_wanted(job) && is_reached)
        })
    }

    fn of_any_branch(&mut self, commit: &Commit) -> Result<Arc<[PlannedJob]>, LoadError> {
        if let Some(jobs) = &self.same {
            return Ok(Arc::clone(jobs));
        }
        let (file, jobs) = match self.files.of(&commit.id) {
            Err(LoadError::Missing(_)) => return Ok(Arc::new([])),
            other => other?,
        };
        if let Some(jobs) = self.planned.get(&file) {
            return Ok(Arc::clone(jobs));
        }
        let jobs = self.planned(jobs.to_vec())?;
        self.planned.insert(file, Arc::clone(&jobs));
        Ok(jobs)
    }

    fn planned(&self, jobs: Vec<Job>) -> Result<Arc<[PlannedJob]>, LoadError> {
        let chosen = self.choice.of(jobs)?;
        Ok(PlannedJob::all(chosen, &self.criteria))
    }

    /// Whether a job runs only where branches reach of which this is one.
    pub(crate) fn ask_for(&self, branch: &RefName) -> bool {
        let same = self.same.iter();
        let jobs = same
            .chain(self.planned.values())
            .flat_map(|jobs| jobs.iter());
        let mut patterns = jobs.map(|planned| &planned.job.branches);
        patterns.any(|patterns| is_branch_named(branch, patterns))
    }

    /// The file to keep an eye on, where it is one of the file system.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        match &self.source {
            Source::File(path) => std::path::absolute(path).ok(),
            Source::From(ConfigFrom::Worktree) => {
                Some(self.repo.work_tree()?.join(config::JOBS_FILE))
            }
            Source::From(_) => None,
        }
    }
}

fn same(a: &Option<Arc<[PlannedJob]>>, b: &Option<Arc<[PlannedJob]>>) -> bool {
    let jobs = |jobs: &Option<Arc<[PlannedJob]>>| {
        let all = jobs.iter().flat_map(|jobs| jobs.iter());
        all.map(|planned| Arc::clone(&planned.job))
            .collect::<Vec<_>>()
    };
    jobs(a) == jobs(b)
}
