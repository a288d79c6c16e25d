//! What is made of the records so that they are found: by what was tested, and how long
//! jobs take.
//!
//! Everything here is made anew from the records in one pass, and kept up with each that
//! is added. Notes may come from anybody: no step depends on how many records there are
//! of one thing.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use jiff::Timestamp;

use super::Stored;
use crate::model::{
    Commit, Criteria, EnvId, Forget, Forgotten, InputId, JobName, LogId, Oid, Platform, Record,
    Reuse, Status, latest,
};

/// So many of a job's latest running times make an estimate.
const SAMPLE: usize = 9;

/// Verdicts of more kinds of platform than this are not looked for where any counts.
const PLATFORMS: usize = 64;

/// Where a record is.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordPosition {
    /// The commit in whose note it stands.
    pub(super) commit: Oid,
    /// Its place among the records of that commit.
    pub(super) at: u32,
}

impl RecordPosition {
    pub(super) fn of<'r>(&self, stored: &'r Stored) -> Option<&'r Record> {
        stored.get(&self.commit)?.get(self.at as usize)
    }
}

/// The commits for which a verdict holds.
#[derive(Debug, Clone, Copy, Hash)]
enum Scope {
    /// All with the tree.
    Tree,
    /// One.
    Commit(Oid),
    /// One each, whichever: for jobs that do not care.
    SomeCommit,
}

/// What a verdict is about.
#[derive(Debug, Clone, Copy, Hash)]
enum Content {
    Tree(Oid),
    /// The part of a tree that the job reads.
    Input(InputId),
}

/// What makes records found.
#[derive(Debug)]
pub(super) struct Index {
    /// As of when records are of the future.
    now: Timestamp,
    hasher: RandomState,
    /// The record with the highest rank of each job, definition, tree, scope and
    /// surroundings, by a hash of all that. Should two ever have the same hash, one is not
    /// found, and its task runs again.
    newest: HashMap<u64, RecordPosition>,
    /// Every platform that there are records of, up to a limit.
    platforms: HashSet<Option<Platform>>,
    /// The latest running times of each job, newest first.
    durations: HashMap<JobName, Vec<(Timestamp, Duration)>>,
    forgets: Forgets,
    /// Some records are dated in the future.
    has_future: bool,
}

/// Which records do not count any more.
#[derive(Debug, Default)]
struct Forgets {
    logs: HashSet<(JobName, LogId)>,
    /// Since when, by job, tree and commit.
    older: HashMap<(JobName, Oid, Oid), Timestamp>,
    /// The same of whichever commit.
    any: HashMap<(JobName, Oid), Timestamp>,
}

impl Forgets {
    fn add(&mut self, forget: &Forget) {
        match &forget.what {
            Forgotten::Log(log) => {
                self.logs.insert((forget.job.clone(), log.clone()));
            }
            Forgotten::Older { tree, commit } => {
                let later = |at: &mut Timestamp| *at = forget.at.max(*at);
                let key = (forget.job.clone(), *tree, *commit);
                self.older.entry(key).and_modify(later).or_insert(forget.at);
                let key = (forget.job.clone(), *tree);
                self.any.entry(key).and_modify(later).or_insert(forget.at);
            }
        }
    }

    /// When records of this job, tree and commit were forgotten last.
    fn since(&self, job: &JobName, tree: Oid, commit: Option<Oid>) -> Option<Timestamp> {
        match commit {
            Some(commit) => self.older.get(&(job.clone(), tree, commit)),
            None => self.any.get(&(job.clone(), tree)),
        }
        .copied()
    }

    fn covers(&self, record: &Record) -> bool {
        if self.logs.is_empty() && self.any.is_empty() {
            return false;
        }
        let since = self.since(&record.job, record.tree, record.seen.commit());
        since.is_some_and(|at| record.finished <= at)
            || self
                .logs
                .contains(&(record.job.clone(), record.log.clone()))
    }
}

impl Index {
    /// An index of nothing yet.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            now,
            hasher: RandomState::new(),
            newest: HashMap::new(),
            platforms: HashSet::new(),
            durations: HashMap::new(),
            forgets: Forgets::default(),
            has_future: false,
        }
    }

    /// The index of all that is stored.
    pub(super) fn of<'f>(
        now: Timestamp,
        stored: &Stored,
        forgets: impl Iterator<Item = &'f Forget>,
    ) -> Self {
        let mut index = Self::new(now);
        for forget in forgets {
            // Whatever it means to take away was not there when somebody said so.
            if forget.at <= latest(now) {
                index.forgets.add(forget);
            }
        }
        for (commit, records) in stored {
            for at in 0..records.len() {
                index.add(stored, *commit, at);
            }
        }
        index
    }

    /// Time goes on, while a watcher watches for weeks.
    pub(super) fn set_now(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// As of when records are of the future.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// Whether there are records that are dated in the future, and count.
    pub(super) fn has_future(&self) -> bool {
        self.has_future
    }

    /// Whether a record does not count any more.
    pub(super) fn is_forgotten(&self, record: &Record) -> bool {
        self.forgets.covers(record)
    }

    /// When records like those of a task were forgotten last.
    pub(super) fn forgotten_at(&self, job: &JobName, commit: &Commit) -> Option<Timestamp> {
        let any = self.forgets.since(job, commit.tree, None);
        any.max(self.forgets.since(job, commit.tree, Some(commit.id)))
    }

    /// Takes in the record at a place among those of a commit.
    pub(super) fn add(&mut self, stored: &Stored, commit: Oid, at: usize) {
        let Some(record) = stored.get(&commit).and_then(|own| own.get(at)) else {
            return;
        };
        self.add_duration(record);
        if self.forgets.covers(record) {
            return;
        }
        self.has_future |= record.finished > latest(self.now);
        if self.platforms.len() < PLATFORMS && !self.platforms.contains(&record.on) {
            self.platforms.insert(record.on.clone());
        }
        let scope = record.seen.commit().map(Scope::Commit);
        let key = |scope, content| {
            let key = (&record.job, record.def, content, scope);
            self.hasher.hash_one((key, &record.on, record.env))
        };
        let tree = Content::Tree(record.tree);
        let input = record.input.map(Content::Input);
        let keys = [Some(tree), input]
            .into_iter()
            .flatten()
            .flat_map(|content| match scope {
                None => [Some(key(Scope::Tree, content)), None],
                Some(one) => [
                    Some(key(one, content)),
                    Some(key(Scope::SomeCommit, content)),
                ],
            });
        let keys: Vec<_> = keys.flatten().collect();
        let Ok(at) = u32::try_from(at) else { return };
        let place = RecordPosition { commit, at };
        for key in keys {
            let newest = self.newest.get(&key).and_then(|place| place.of(stored));
            if newest.is_none_or(|newest| record.rank(self.now) > newest.rank(self.now)) {
                self.newest.insert(key, place);
            }
        }
    }

    fn add_duration(&mut self, record: &Record) {
        if record.status == Status::Error {
            return;
        }
        if !self.durations.contains_key(&record.job) {
            self.durations.insert(record.job.clone(), Vec::new());
        }
        if let Some(sample) = self.durations.get_mut(&record.job) {
            let place = sample.partition_point(|(at, _)| *at > record.finished);
            if place < SAMPLE {
                sample.insert(place, (record.finished, record.duration));
                sample.truncate(SAMPLE);
            }
        }
    }

    /// The record with the highest rank that meets `criteria` on `commit`.
    pub(super) fn find(
        &self,
        stored: &Stored,
        commit: &Commit,
        criteria: &Criteria,
    ) -> Option<RecordPosition> {
        let scopes = match (criteria.reuse, criteria.binds) {
            (Reuse::Tree, _) => [Some(Scope::Tree), Some(Scope::SomeCommit)],
            (_, true) => [Some(Scope::Commit(commit.id)), None],
            (_, false) => [Some(Scope::Tree), Some(Scope::Commit(commit.id))],
        };
        let input = criteria.input(commit).map(Content::Input);
        let contents = [Some(Content::Tree(commit.tree)), input];
        let mut best: Option<RecordPosition> = None;
        let mut consider = |on: &Option<Platform>, env: Option<EnvId>| {
            let contents = contents.into_iter().flatten();
            let pairs = contents.flat_map(|content| scopes.map(|scope| (content, scope)));
            for (content, scope) in pairs {
                let Some(scope) = scope else { continue };
                let key = (&criteria.job, criteria.def, content, scope);
                let key = self.hasher.hash_one((key, on, env));
                let Some(place) = self.newest.get(&key) else {
                    continue;
                };
                let rank = |place: &RecordPosition| place.of(stored).map(|one| one.rank(self.now));
                let meets = |record: &Record| criteria.check(record, commit).is_ok();
                if place.of(stored).is_some_and(meets)
                    && best.is_none_or(|best| rank(place) > rank(&best))
                {
                    best = Some(*place);
                }
            }
        };
        for runner in &criteria.runners {
            if criteria.any_platform {
                for on in &self.platforms {
                    consider(on, runner.env);
                }
            } else {
                consider(&Some(runner.on.clone()), runner.env)
            }
        }
        best
    }

    /// How long a job is going to take: the median of its latest running times.
    pub(super) fn estimate(&self, job: &JobName) -> Option<Duration> {
        let mut sample: Vec<_> = self.durations.get(job)?.iter().map(|one| one.1).collect();
        sample.sort_unstable();
        sample.get(sample.len() / 2).copied()
    }
}
