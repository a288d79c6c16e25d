//! Commits × jobs − known records: what a run has to do.
//!
//! Pure: what is known comes in through a function, so that the plan can be built
//! from the derived index, in a test, or on another machine. Nothing here changes
//! anything; `--dry-run` prints a plan, the dispatcher works one off.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub(crate) use crate::model::Known;
use crate::model::{
    Clean, Commit, Criteria, DefId, Job, JobName, Need, Oid, Reason, Reuse, Status, Task, TaskId,
    TaskKey,
};

/// A job with what the planner needs of it, computed once for all commits.
#[derive(Debug, Clone)]
pub(crate) struct PlannedJob {
    /// The job.
    pub job: Arc<Job>,
    /// The jobs that it needs, and those that these need, each behind what it needs itself.
    pub upstream: Arc<[Arc<Job>]>,
    /// Its definition.
    pub def: DefId,
    /// What a record must agree in to be its verdict.
    pub criteria: Arc<Criteria>,
    /// Whether its results are recorded, and looked up.
    pub recorded: bool,
}

impl PlannedJob {
    /// A job of a jobs file: recorded.
    pub(crate) fn new(job: Job, criteria: Criteria) -> Self {
        Self {
            def: criteria.def,
            criteria: Arc::new(criteria),
            job: Arc::new(job),
            upstream: Arc::new([]),
            recorded: true,
        }
    }

    /// The jobs of a jobs file, of which each may need others.
    pub(crate) fn all(jobs: Vec<Job>, mut criteria: impl FnMut(&Job) -> Criteria) -> Arc<[Self]> {
        let jobs: Vec<_> = jobs.into_iter().map(Arc::new).collect();
        let by_name: HashMap<_, _> = jobs.iter().map(|job| (&job.name, job)).collect();
        let planned = jobs.iter().map(|job| {
            let mut upstream = Vec::new();
            gather(job, &by_name, &mut HashSet::new(), &mut upstream);
            let criteria = criteria(job);
            Self {
                def: criteria.def,
                criteria: Arc::new(criteria),
                job: Arc::clone(job),
                upstream: upstream.into(),
                recorded: true,
            }
        });
        planned.collect()
    }

    /// Those of `jobs` that are wanted and the ones that they need; the same where all are.
    pub(crate) fn wanted<E>(
        jobs: &Arc<[Self]>,
        mut is_wanted: impl FnMut(&Job) -> Result<bool, E>,
    ) -> Result<Arc<[Self]>, E> {
        let mut names = HashSet::new();
        for planned in jobs.iter() {
            if is_wanted(&planned.job)? {
                names.insert(&planned.job.name);
                names.extend(planned.upstream.iter().map(|job| &job.name));
            }
        }
        if names.len() == jobs.len() {
            return Ok(Arc::clone(jobs));
        }
        let wanted = jobs.iter().filter(|one| names.contains(&one.job.name));
        Ok(wanted.cloned().collect())
    }

    /// A job that leaves no record and is run whatever is known.
    pub(crate) fn unrecorded(job: Job) -> Self {
        let criteria = Criteria::new(&job, None, []);
        Self {
            recorded: false,
            ..Self::new(job, criteria)
        }
    }

    /// The same in a pristine worktree. The definition says the least that is cleaned, so a
    /// verdict of more than that is one of the same definition.
    #[must_use]
    pub(crate) fn pristine(self) -> Self {
        let mut job = Job::clone(&self.job);
        job.clean = Clean::All;
        Self {
            job: Arc::new(job),
            ..self
        }
    }

    /// The job of a task, which may be planned again.
    pub(crate) fn of_task(task: &Task) -> Self {
        Self {
            job: Arc::clone(&task.job),
            upstream: Arc::clone(&task.upstream),
            def: task.def,
            criteria: Arc::clone(&task.criteria),
            recorded: task.recorded,
        }
    }

    /// What its task on `commit` goes by.
    pub(crate) fn key(&self, commit: &Commit) -> TaskKey {
        (commit.id, self.job.name.clone(), self.def)
    }

    /// Its task on `commit`, which runs, or need not, for this reason.
    pub(crate) fn task(&self, id: TaskId, commit: &Arc<Commit>, reason: Reason) -> Task {
        Task {
            id,
            commit: Arc::clone(commit),
            job: Arc::clone(&self.job),
            upstream: Arc::clone(&self.upstream),
            def: self.def,
            criteria: Arc::clone(&self.criteria),
            recorded: self.recorded,
            reason,
        }
    }
}

/// Adds what `job` needs, each behind what it needs itself.
fn gather(
    job: &Job,
    by_name: &HashMap<&JobName, &Arc<Job>>,
    seen: &mut HashSet<JobName>,
    upstream: &mut Vec<Arc<Job>>,
) {
    for need in &job.needs {
        if let Some(needed) = by_name.get(&need.job)
            && seen.insert(need.job.clone())
        {
            gather(needed, by_name, seen, upstream);
            upstream.push(Arc::clone(needed));
        }
    }
}

/// What a run does about one task.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Run it.
    Run,
    /// Take over a verdict.
    Reuse(Box<Known>),
}

/// One task with what is to be done about it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The task.
    pub task: Task,
    /// What to do.
    pub action: Action,
}

/// Which known verdicts are reused instead of run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ReusePolicy {
    /// Every verdict that is reusable.
    #[default]
    Known,
    /// Only those that passed: `--retry-failed`.
    Passed,
    /// None: `--force`.
    Nothing,
    /// Those that are reusable, and on the commit itself every verdict: it has been
    /// tested, whatever came of it.
    Seen,
}

impl ReusePolicy {
    /// Whether what is known spares running its task on `commit`.
    pub(crate) fn accepts(self, known: &Known, commit: &Oid) -> bool {
        let record = &known.record;
        match self {
            Self::Known => record.reusable(),
            Self::Passed => record.reusable() && record.status != Status::Fail,
            Self::Nothing => false,
            Self::Seen => {
                let is_own = known.stands_at(commit) && record.status != Status::Error;
                is_own || record.reusable()
            }
        }
    }
}

/// What is to be done about a job on a commit, and why.
///
/// `known` is the newest record that meets the job's criteria, and `otherwise` says why the
/// job runs where there is none; both are asked only where that matters.
pub(crate) fn decide(
    planned: &PlannedJob,
    commit: &Commit,
    policy: ReusePolicy,
    known: impl FnOnce() -> Option<Known>,
    otherwise: impl FnOnce() -> Reason,
) -> (Action, Reason) {
    let run = |reason| (Action::Run, reason);
    if !planned.recorded {
        return run(Reason::Unrecorded);
    }
    if policy == ReusePolicy::Nothing {
        return run(Reason::Forced);
    }
    if planned.criteria.reuse == Reuse::Never {
        return run(Reason::Always);
    }
    match known() {
        Some(known) if policy.accepts(&known, &commit.id) => {
            let reason = Reason::of_known(&known, commit);
            (Action::Reuse(Box::new(known)), reason)
        }
        Some(known) => run(match (policy, known.record.reusable()) {
            (ReusePolicy::Passed, true) => Reason::FailedLastTime,
            _ => Reason::of_unusable(&known.record),
        }),
        None => run(otherwise()),
    }
}

/// Everything that a run is to do, in the order in which it is wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    /// One for each commit and job; the jobs of a commit stand together.
    pub entries: Vec<Entry>,
}

impl Plan {
    /// Lays `jobs_of` every commit against what is `known`; `otherwise` says why a job runs
    /// of which nothing is.
    ///
    /// `jobs_of` may fail where each commit has a jobs file of its own; the first
    /// error ends the planning.
    ///
    /// # Errors
    /// Those of `jobs_of`.
    pub(crate) fn new<E>(
        commits: &[Arc<Commit>],
        mut jobs_of: impl FnMut(&Commit) -> Result<Arc<[PlannedJob]>, E>,
        known: impl Fn(&Commit, &Criteria) -> Option<Known>,
        otherwise: impl Fn(&Commit, &Criteria) -> Reason,
        policy: ReusePolicy,
    ) -> Result<Self, E> {
        let mut entries = Vec::new();
        for commit in commits {
            for planned in jobs_of(commit)?.iter() {
                let (action, reason) = decide(
                    planned,
                    commit,
                    policy,
                    || known(commit, &planned.criteria),
                    || otherwise(commit, &planned.criteria),
                );
                let id = TaskId(entries.len() as u64);
                entries.push(Entry {
                    task: planned.task(id, commit, reason),
                    action,
                });
            }
        }
        Ok(Self { entries })
    }

    /// The tasks that are not going to run, since what is known of a job that they need is no
    /// pass: each with that job.
    pub(crate) fn blocked(&self) -> HashMap<TaskId, JobName> {
        let mut blocked = HashMap::new();
        for jobs in self
            .entries
            .chunk_by(|a, b| a.task.commit.id == b.task.commit.id)
        {
            let by_name: HashMap<_, _> = jobs.iter().map(|one| (&one.task.job.name, one)).collect();
            // What is needed may stand behind: once more, until nothing is new.
            loop {
                let before = blocked.len();
                for entry in jobs.iter().filter(|one| matches!(one.action, Action::Run)) {
                    let is_unmet = |need: &&Need| match by_name.get(&need.job) {
                        Some(Entry {
                            action: Action::Reuse(known),
                            ..
                        }) => !matches!(known.record.status, Status::Pass | Status::Flaky),
                        Some(needed) => blocked.contains_key(&needed.task.id),
                        None => false,
                    };
                    if let Some(need) = entry.task.job.needs.iter().find(is_unmet) {
                        blocked.insert(entry.task.id, need.job.clone());
                    }
                }
                if blocked.len() == before {
                    break;
                }
            }
        }
        blocked
    }

    /// How many tasks run, unless a concurrent run is faster.
    pub(crate) fn to_run(&self) -> usize {
        let runs = |entry: &&Entry| matches!(entry.action, Action::Run);
        self.entries.iter().filter(runs).count()
    }

    /// Whether the run is going to add to the notes.
    pub(crate) fn adds_records(&self) -> bool {
        self.entries.iter().any(|entry| match &entry.action {
            Action::Run => entry.task.recorded,
            Action::Reuse(known) => !known.stands_at(&entry.task.commit.noted()),
        })
    }

    /// How many verdicts are taken over.
    pub(crate) fn reused(&self) -> usize {
        self.entries.len() - self.to_run()
    }

    /// How many distinct commits there are; those of one commit stand together.
    pub(crate) fn commits(&self) -> usize {
        let ids = |entry: &Entry| entry.task.commit.id;
        self.entries.chunk_by(|a, b| ids(a) == ids(b)).count()
    }
}
