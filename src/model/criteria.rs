//! What a record must agree in to be a job's verdict on a commit.
//!
//! A verdict belongs to what was tested and how: the definition, the tree, the platform,
//! the surroundings, and the commit itself where the job looked at it. Pure: what the
//! runners are like comes in as values.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    Commit, DefId, EnvId, InputId, Job, JobName, KeyId, Oid, Platform, Reason, Record, Reuse, Seen,
};

/// The hash of all that counts besides: what makes files, and what the job's `key` said.
pub fn surroundings(env: Option<EnvId>, key: Option<KeyId>) -> Option<EnvId> {
    key.map_or(env, |key| Some(EnvId::with_key(env, key)))
}

/// A kind of runner, as far as a verdict depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Surroundings {
    /// The platform.
    pub on: Platform,
    /// The hash of what else counts there; `None` where nothing does.
    pub env: Option<EnvId>,
}

/// Says which part of a tree a job reads.
pub trait Inputs: std::fmt::Debug + Send + Sync {
    /// The hash of it; `None` where the tree cannot be read.
    fn of(&self, tree: &Oid) -> Option<InputId>;
}

/// What a record must agree in to count for a job.
#[derive(Debug, Clone)]
pub struct Criteria {
    /// The job's name.
    pub job: JobName,
    /// The job as it is defined now.
    pub def: DefId,
    /// What a verdict may be reused for.
    pub reuse: Reuse,
    /// The commit must agree, whatever the record says of it.
    pub binds: bool,
    /// The definition names the variable that holds the commit.
    pub names_commit: bool,
    /// The verdict of any platform counts.
    pub any_platform: bool,
    /// The hash of what else counts wherever it runs, but for the job's `key`; `None` where
    /// nothing does.
    pub env: Option<EnvId>,
    /// Which part of a tree the job reads; `None` where it may read all.
    pub inputs: Option<Arc<dyn Inputs>>,
    /// The runners that can take the job, each kind once.
    pub runners: Vec<Surroundings>,
}

/// The first thing that keeps a record from being a job's verdict on a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mismatch {
    /// It is of another job, or of another tree.
    Contents,
    /// The job is defined otherwise by now.
    Definition,
    /// No runner that can take the job has that platform.
    Platform,
    /// Something else that counts is otherwise on the runners.
    Env,
    /// The job looked at the commit, which was another one.
    Commit,
}

impl Criteria {
    /// Those of `job`, which runners of these platforms can take, and what its `key` says
    /// there, where it has one. `env` is the hash of what else counts wherever it runs.
    pub fn new(
        job: &Job,
        env: Option<EnvId>,
        runners: impl IntoIterator<Item = (Platform, Option<KeyId>)>,
    ) -> Self {
        let names_commit = job.names_commit();
        Self {
            job: job.name.clone(),
            def: job.definition(),
            reuse: job.reuse,
            binds: match job.reuse {
                Reuse::Tree => false,
                Reuse::Auto => names_commit,
                Reuse::Commit | Reuse::Never => true,
            },
            names_commit,
            any_platform: job.any_platform,
            env,
            inputs: None,
            runners: runners
                .into_iter()
                .map(|(on, key)| Surroundings {
                    on,
                    env: surroundings(env, key),
                })
                .collect(),
        }
    }

    /// The hash of what the job reads of a commit, where that is not all of its tree.
    pub fn input(&self, commit: &Commit) -> Option<InputId> {
        self.inputs.as_ref()?.of(&commit.tree)
    }

    /// Whether a record is of what the job reads of a commit.
    pub fn is_of(&self, record: &Record, commit: &Commit) -> bool {
        record.tree == commit.tree || record.input.is_some() && record.input == self.input(commit)
    }

    /// Whether `record` is of this job and of the commit's contents, as it would run now.
    ///
    /// # Errors
    /// With what is otherwise; of several things the one that says least of the commit.
    pub fn check(&self, record: &Record, commit: &Commit) -> Result<(), Mismatch> {
        let on = |one: &&Surroundings| self.any_platform || Some(&one.on) == record.on.as_ref();
        if record.job != self.job || !self.is_of(record, commit) {
            Err(Mismatch::Contents)
        } else if record.def != self.def {
            Err(Mismatch::Definition)
        } else if !self.runners.iter().any(|one| on(&one)) {
            Err(Mismatch::Platform)
        } else if !self
            .runners
            .iter()
            .filter(on)
            .any(|one| one.env == record.env)
        {
            Err(Mismatch::Env)
        } else if !self.holds_for(record.seen, &commit.id) {
            Err(Mismatch::Commit)
        } else {
            Ok(())
        }
    }

    /// Whether the verdict of a job of which that was seen holds for this commit.
    pub fn holds_for(&self, seen: Seen, commit: &Oid) -> bool {
        match (seen.commit(), self.reuse) {
            (_, Reuse::Tree) => true,
            (None, _) => !self.binds,
            (Some(seen), _) => seen == *commit,
        }
    }

    /// What a record says of whether the job looked at `commit`, where `looked` says
    /// whether it was seen to.
    pub fn seen(&self, looked: bool, commit: Oid) -> Seen {
        match self.reuse {
            Reuse::Tree if looked || self.names_commit => Seen::Ignored(commit),
            _ if looked || self.binds => Seen::Commit(commit),
            _ => Seen::Nothing,
        }
    }

    /// Why a job runs on a commit where no record meets these criteria: of the records that
    /// are `related`, the one that comes nearest says it.
    pub fn why_it_runs<'r>(
        &self,
        commit: &Commit,
        now: Timestamp,
        related: impl Iterator<Item = &'r Record>,
        is_forgotten: impl Fn(&Record) -> bool,
    ) -> Reason {
        let mut forgotten = false;
        let mut nearest = None;
        for record in related {
            match self.check(record, commit) {
                Err(Mismatch::Contents) => {}
                Ok(()) if is_forgotten(record) => return Reason::Forgotten,
                _ if is_forgotten(record) => forgotten = true,
                Ok(()) => {}
                Err(mismatch) => {
                    let rank = (mismatch, record.rank(now));
                    if nearest.as_ref().is_none_or(|(best, _)| rank > *best) {
                        nearest = Some((rank, record));
                    }
                }
            }
        }
        let Some(((mismatch, _), record)) = nearest else {
            return if forgotten {
                Reason::Forgotten
            } else {
                Reason::NeverRun
            };
        };
        match mismatch {
            Mismatch::Commit if record.seen.commit().is_some() => Reason::ReadsCommit,
            Mismatch::Env => Reason::SurroundingsChanged,
            Mismatch::Platform => Reason::AnotherPlatform(record.on.clone()),
            // What a verdict may be reused for is a part of the job, too.
            Mismatch::Contents | Mismatch::Definition | Mismatch::Commit => Reason::JobChanged,
        }
    }
}
