//! The tasks of a run: what is wanted, in which order, and what has become of it.
//!
//! One table owns the state of each task, from when it is wanted to its end:
//!
//! ```text
//!                       ┌───── machine lost, recalled ─────┐
//!                       ↓                                  │
//! wanted ─→ blocked ─→ queued ─→ assigned ─→ running ─→ storing ─→ ended
//!              │        ↑ ↑         │                      │        ↑
//!              │        │ └─ contended (another run)       │        │
//!              │        └──────────── retry at ←── no verdict       │
//!              └───────── a job that it needs did not pass ─────────┘
//! ```
//!
//! Pure: no I/O, and no clock; whoever calls says what time it is. Events come in as
//! method calls, what has to be done about them comes back as values. Claims, logs and
//! messages to workers are the dispatcher's.
//!
//! The order of what is wanted is the order of the user's wishes; the worktree that a worker
//! used last is warm for the commits beside its last one. Both count: a worker gets the task
//! nearest to its last commit out of the first few that wait, so that no task waits for long
//! and incremental builds stay incremental.
//!
//! Jobs of one commit of which one needs the other are a chain. The worker that gets the first
//! of them gets all, so that each finds in the worktree what those before have left.

mod chain;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::{Commit, JobName, Oid, Reason, Status, Task, TaskId, TaskKey, TaskResult, Why};
use crate::plan::{Action, PlannedJob};

use super::message::{CommitDone, Superseded, Wanted};

use chain::chains;

/// What the end of a task without a verdict means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnError {
    /// It is the end of it.
    End,
    /// It is tried again after these pauses, one after the other, and then given up.
    Retry(&'static [Duration]),
    /// It is left for the next run: neither tried again nor done.
    Leave,
}

/// Where a task that is not at its end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It waits for jobs that it needs.
    Blocked,
    /// It waits for a worker.
    Queued,
    /// Another run works on what it tests; it is queued again at this time.
    Contended(Instant),
    /// A worker has it, and its process has not been started.
    Assigned,
    /// Its process was started at this time.
    Running(Instant),
    /// Its end is known, and not yet on record.
    Storing,
    /// It ended without a verdict, and is queued again at this time.
    RetryAt(Instant),
}

/// How a task came to its end, for as long as it is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// There is a verdict that is good enough for whoever needs it.
    Passed,
    /// There is another verdict, or nobody waits for a better one.
    Verdict,
    /// A job that it needs did not pass.
    Blocked,
    /// There is none after the last try.
    GaveUp,
    /// There is none, and the next run has it again.
    Left,
    /// Somebody cancelled it.
    Cancelled,
}

/// A task in the table.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) task: Task,
    /// Its place in the list of what is wanted.
    rank: u64,
    /// The place of its commit there.
    place: usize,
    urgent: bool,
    state: State,
    /// Nobody wants its verdict any more, and it was told to end.
    abandoned: bool,
    /// How often its machine was lost.
    moves: u32,
    /// The machine that lost it last, which is not to have it again if another can.
    pub(super) lost_by: Option<usize>,
    /// Since when another run works on what it tests.
    contended: Option<Instant>,
    /// How often it ended without a verdict.
    errors: usize,
    /// Its chain.
    chain: Option<usize>,
    /// The worker that has its chain.
    bound: Option<usize>,
    /// It has passed, and that is being stored.
    passed: bool,
}

impl Entry {
    /// The place of its commit in the list of what is wanted.
    pub(super) fn place(&self) -> usize {
        self.place
    }

    /// The worker that has its chain.
    pub(super) fn bound(&self) -> Option<usize> {
        self.bound
    }

    /// Whether it needs another task, or another needs it.
    pub(super) fn is_in_chain(&self) -> bool {
        self.chain.is_some()
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned
    }
}

/// A job on a commit that is wanted and not in the table yet.
#[derive(Debug)]
pub(super) struct New {
    pub(super) commit: Arc<Commit>,
    pub(super) job: PlannedJob,
    /// What is to be done about it, where that was decided before.
    pub(super) decided: Option<(Action, Reason)>,
    rank: u64,
    place: usize,
    urgent: bool,
}

/// What a new list of what is wanted brings.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// To be decided, and added.
    pub(super) new: Vec<New>,
    /// Tasks that a worker has and nobody wants any more.
    pub(super) terminate: Vec<TaskId>,
    /// Commits of which all that is wanted now had ended before.
    pub(super) done: Vec<CommitDone>,
}

/// What came of a request to cancel tasks.
#[derive(Debug, Default)]
pub(super) struct Cancelled {
    /// Tasks that a worker has: they are to be ended.
    pub(super) terminate: Vec<TaskId>,
    /// How many of those had been started.
    pub(super) running: u64,
    /// How many had not.
    pub(super) waiting: u64,
    /// How many nobody had.
    pub(super) queued: u64,
    /// Commits that are done by it.
    pub(super) done: Vec<CommitDone>,
    /// Commits of which something was cancelled: see [`unblock`](Tasks::unblock).
    pub(super) touched: Vec<Oid>,
}

/// A commit whose end somebody waits for.
#[derive(Debug)]
struct Progress {
    commit: Arc<Commit>,
    /// All that is wanted of it.
    keys: Vec<TaskKey>,
    results: Vec<TaskResult>,
    /// It was said that it is done.
    is_told: bool,
    /// Its jobs that wait for others.
    blocked: BTreeSet<TaskId>,
    /// The jobs that are in a chain, and in which.
    chains: HashMap<JobName, usize>,
}

/// All tasks of a run.
#[derive(Debug)]
pub(super) struct Tasks {
    on_error: OnError,
    entries: HashMap<TaskId, Entry>,
    /// The tasks that are wanted and not at their end.
    live: HashMap<TaskKey, TaskId>,
    /// How those ended that are wanted and not started again.
    ended: HashMap<TaskKey, End>,
    commits: HashMap<Oid, Progress>,
    /// What waits for a worker, by rank.
    urgent: BTreeSet<(u64, TaskId)>,
    queued: BTreeSet<(u64, TaskId)>,
    /// What waits for the worker that has its chain.
    bound: HashMap<usize, BTreeSet<(u64, TaskId)>>,
    /// How many wait for jobs that they need.
    blocked: usize,
    /// What is contended or to be tried again, by when.
    timers: BTreeSet<(Instant, TaskId)>,
    /// How many workers have one.
    busy: usize,
    /// Commits that are wanted, too, and will be in the list when these are done.
    more: u64,
    next: u64,
    gave_up: u64,
}

impl Tasks {
    /// None yet.
    pub(super) fn new(on_error: OnError) -> Self {
        Self {
            on_error,
            entries: HashMap::new(),
            live: HashMap::new(),
            ended: HashMap::new(),
            commits: HashMap::new(),
            urgent: BTreeSet::new(),
            queued: BTreeSet::new(),
            bound: HashMap::new(),
            blocked: 0,
            timers: BTreeSet::new(),
            busy: 0,
            more: 0,
            next: 0,
            gave_up: 0,
        }
    }

    /// Makes `wanted` all there is to do, most urgent first. Drops what waits and is not in
    /// it; what a worker has and is not in it is ended, unless `superseded` lets it finish.
    /// `more` commits are to come when these are done.
    pub(super) fn want(
        &mut self,
        wanted: Vec<Wanted>,
        more: u64,
        superseded: Superseded,
    ) -> Changes {
        let mut listed = HashSet::new();
        for Wanted { commit, jobs, .. } in &wanted {
            listed.extend(jobs.iter().map(|job| job.key(commit)));
        }
        self.more = more;
        self.ended.retain(|key, _| listed.contains(key));
        let terminate = self.drop_unlisted(&listed, superseded);
        let mut before = std::mem::take(&mut self.commits);
        let (mut new, mut rank) = (Vec::new(), 0);
        for (place, wanted) in wanted.into_iter().enumerate() {
            let Wanted {
                commit,
                jobs,
                urgent,
                decided,
            } = wanted;
            let keys: Vec<_> = jobs.iter().map(|job| job.key(&commit)).collect();
            let mut decided = decided.into_iter().flatten();
            for (job, key) in jobs.iter().zip(&keys) {
                let decided = decided.next();
                rank += 1;
                if let Some(id) = self.live.get(key) {
                    self.rank(*id, rank, place, urgent);
                } else if !self.ended.contains_key(key) {
                    new.push(New {
                        commit: Arc::clone(&commit),
                        job: job.clone(),
                        decided,
                        rank,
                        place,
                        urgent,
                    });
                }
            }
            let known = before.remove(&commit.id);
            let (mut results, is_told, blocked) = known.map_or_else(Default::default, |known| {
                (known.results, known.is_told, known.blocked)
            });
            results.retain(|result| jobs.iter().any(|job| job.job.name == result.job));
            let id = commit.id;
            let progress = Progress {
                commit,
                keys,
                results,
                is_told,
                blocked,
                chains: chains(&jobs),
            };
            self.commits.insert(id, progress);
        }
        let commits: Vec<_> = self.commits.keys().copied().collect();
        let done = commits.iter().filter_map(|id| self.done(id)).collect();
        Changes {
            new,
            terminate,
            done,
        }
    }

    /// Drops what is not in the list; what is to be told to end is returned.
    fn drop_unlisted(&mut self, listed: &HashSet<TaskKey>, superseded: Superseded) -> Vec<TaskId> {
        let gone = |(key, id): (&TaskKey, &TaskId)| (!listed.contains(key)).then_some(*id);
        let gone: Vec<_> = self.live.iter().filter_map(gone).collect();
        let mut terminate = Vec::new();
        for id in gone {
            let Some(entry) = self.entries.get(&id) else {
                continue;
            };
            match entry.state {
                State::Blocked | State::Queued | State::Contended(_) | State::RetryAt(_) => {
                    self.remove(id);
                }
                State::Assigned | State::Running(_) if superseded == Superseded::End => {
                    self.abandon(id);
                    terminate.push(id);
                }
                State::Assigned | State::Running(_) | State::Storing => {}
            }
        }
        terminate.sort_unstable();
        terminate
    }

    /// The id for the next task.
    pub(super) fn next_id(&mut self) -> TaskId {
        let id = TaskId(self.next);
        self.next += 1;
        id
    }

    /// Adds a task that waits for a worker, or for jobs that it needs: see
    /// [`unblock`](Self::unblock).
    pub(super) fn queue(&mut self, new: &New, task: Task) {
        let state = if task.job.needs.is_empty() {
            State::Queued
        } else {
            State::Blocked
        };
        self.add(new, task, state);
    }

    /// Adds a task whose end is known.
    pub(super) fn add_ended(&mut self, new: &New, task: Task) {
        self.add(new, task, State::Storing);
    }

    fn add(&mut self, new: &New, task: Task, state: State) {
        let id = task.id;
        self.live.insert(task.key(), id);
        let progress = self.commits.get(&task.commit.id);
        let chain = progress.and_then(|progress| progress.chains.get(&task.job.name));
        let entry = Entry {
            chain: chain.copied(),
            bound: None,
            passed: false,
            task,
            rank: new.rank,
            place: new.place,
            urgent: new.urgent,
            state,
            abandoned: false,
            moves: 0,
            lost_by: None,
            contended: None,
            errors: 0,
        };
        self.entries.insert(id, entry);
        self.place(id);
    }

    /// A task of the table.
    pub(super) fn get(&self, id: TaskId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// Takes a task that `fits` for a worker: the next of a chain that it has, else the first
    /// urgent one, else one for a worker whose last commit stood at `near`, out of the first
    /// `window` of them.
    pub(super) fn take(
        &mut self,
        worker: Option<usize>,
        near: Option<usize>,
        window: usize,
        fits: impl Fn(&Entry) -> bool,
    ) -> Option<&Entry> {
        let fitting = |(_, id): &&(u64, TaskId)| self.entries.get(id).is_some_and(&fits);
        let bound = worker.and_then(|worker| self.bound.get(&worker));
        let bound = bound.and_then(|bound| bound.iter().find(fitting));
        let urgent = bound.or_else(|| self.urgent.iter().find(fitting));
        let mut first = self.queued.iter().filter(fitting).take(window);
        let chosen = match (urgent, near) {
            (Some(urgent), _) => urgent,
            (None, None) => first.next()?,
            (None, Some(near)) => {
                first.min_by_key(|(_, id)| self.entries[id].place.abs_diff(near))?
            }
        };
        let (_, id) = *chosen;
        self.set(id, State::Assigned);
        self.entries.get(&id)
    }

    /// The first `count` commits that wait, those after `place` first: what is likely to be
    /// next for whoever works there.
    pub(super) fn ahead(&self, place: usize, count: usize) -> Vec<Oid> {
        let mut ids: Vec<Oid> = Vec::new();
        let waiting = || self.urgent.iter().chain(&self.queued);
        let window = || waiting().take(4 * count).map(|(_, id)| &self.entries[id]);
        let after = window().filter(|entry| entry.place > place);
        let before = window().filter(|entry| entry.place < place);
        for entry in after.chain(before) {
            let id = entry.task.commit.id;
            if ids.len() == count {
                break;
            }
            if ids.last() != Some(&id) {
                ids.push(id);
            }
        }
        ids
    }

    /// A worker gives a task back: it waits again, in its place. One that nobody wants is gone.
    pub(super) fn put_back(&mut self, id: TaskId) {
        if self.entries.get(&id).is_some_and(Entry::is_abandoned) {
            self.remove(id);
        } else {
            self.set(id, State::Queued);
        }
    }

    /// The machine of a task was lost: puts it back, unless that has been so `most` times.
    pub(super) fn lost(&mut self, id: TaskId, machine: usize, most: u32) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else {
            return false;
        };
        if entry.moves >= most || entry.abandoned {
            return false;
        }
        entry.moves += 1;
        entry.lost_by = Some(machine);
        self.set(id, State::Queued);
        for other in self.chain_of(id) {
            self.bind_one(other, None);
        }
        true
    }

    /// A task is not to go to another machine any more.
    pub(super) fn pin_down(&mut self, id: TaskId, most: u32) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.moves = most;
        }
    }

    /// Another run works on what a task tests: it is queued again after `interval`. Since when
    /// that has been so.
    pub(super) fn contend(&mut self, id: TaskId, now: Instant, interval: Duration) -> Instant {
        let Some(entry) = self.entries.get_mut(&id) else {
            return now;
        };
        let since = *entry.contended.get_or_insert(now);
        if entry.abandoned {
            self.remove(id);
        } else {
            self.set(id, State::Contended(now + interval));
        }
        since
    }

    /// A task's process was started.
    pub(super) fn start(&mut self, id: TaskId, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.contended = None;
            self.set(id, State::Running(now));
        }
    }

    /// A task has come to an end that is not on record yet. What needs it need not wait for
    /// that where it has `passed`: see [`unblock`](Self::unblock).
    pub(super) fn store(&mut self, id: TaskId, passed: bool) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.passed = passed;
        }
        self.set(id, State::Storing);
    }

    /// A task has come to its end. `result` is `None` where it was ended on request;
    /// `is_stored` says whether whoever comes next can know it. Says which commit is done by it.
    pub(super) fn end(
        &mut self,
        id: TaskId,
        result: Option<TaskResult>,
        is_stored: bool,
        now: Instant,
    ) -> Option<CommitDone> {
        let entry = self.entries.get_mut(&id)?;
        let result = result.filter(|_| !entry.abandoned);
        let Some(result) = result else {
            self.remove(id);
            return None;
        };
        let is_verdict = is_stored && result.status != Status::Error;
        let verdict = match result.status {
            Status::Pass | Status::Flaky => End::Passed,
            Status::Fail | Status::Skip | Status::Error => End::Verdict,
        };
        let end = if is_verdict {
            verdict
        } else {
            entry.errors += 1;
            match self.on_error {
                OnError::End => verdict,
                OnError::Leave => End::Left,
                OnError::Retry(pauses) => match pauses.get(entry.errors - 1) {
                    // It depends on the commit, and would end alike.
                    Some(_) if matches!(result.why, Some(Why::Setup | Why::Needs)) => End::GaveUp,
                    Some(pause) => {
                        self.set(id, State::RetryAt(now + *pause));
                        return None;
                    }
                    None => End::GaveUp,
                },
            }
        };
        self.gave_up += u64::from(matches!(end, End::GaveUp | End::Left));
        let entry = self.remove(id)?;
        let commit = entry.task.commit.id;
        let progress = self.commits.get_mut(&commit)?;
        let key = entry.task.key();
        if progress.keys.contains(&key) {
            self.ended.insert(key, end);
            progress.results.push(result);
        }
        self.done(&commit)
    }

    /// Whether a commit is done, and nobody was told.
    fn done(&mut self, id: &Oid) -> Option<CommitDone> {
        let progress = self.commits.get_mut(id)?;
        let ends = progress.keys.iter().map(|key| self.ended.get(key).copied());
        let ends: Vec<End> = ends.collect::<Option<_>>()?;
        if std::mem::replace(&mut progress.is_told, true) {
            return None;
        }
        let cancelled = progress.keys.iter().zip(&ends);
        let cancelled = cancelled.filter(|(_, end)| **end == End::Cancelled);
        Some(CommitDone {
            commit: Arc::clone(&progress.commit),
            jobs: progress.keys.iter().map(|key| key.1.clone()).collect(),
            cancelled: cancelled.map(|(key, _)| key.1.clone()).collect(),
            tasks: std::mem::take(&mut progress.results),
            is_left: ends.contains(&End::Left),
        })
    }

    /// Queues what has waited for long enough for another run; the tasks whose pause after an
    /// ERROR is over are returned: see [`renew`](Self::renew).
    pub(super) fn due(&mut self, now: Instant) -> Vec<TaskId> {
        let mut again = Vec::new();
        while let Some((at, id)) = self.timers.first().copied()
            && at <= now
        {
            match self.entries[&id].state {
                State::Contended(_) => self.set(id, State::Queued),
                _ => {
                    self.timers.pop_first();
                    again.push(id);
                }
            }
        }
        again
    }

    /// When [`due`](Self::due) has something to do.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Puts the next try of a task in the place of the last one: `is_known` where its end is.
    pub(super) fn renew(&mut self, id: TaskId, task: Task, is_known: bool) {
        let Some(mut entry) = self.remove(id) else {
            return;
        };
        let id = task.id;
        self.live.insert(task.key(), id);
        entry.task = task;
        entry.passed = false;
        entry.state = if is_known {
            State::Storing
        } else {
            State::Queued
        };
        self.entries.insert(id, entry);
        self.place(id);
    }

    /// Cancels what is wanted and not at its end: of a commit, of a job, or all.
    pub(super) fn cancel(&mut self, commit: Option<Oid>, job: Option<&JobName>) -> Cancelled {
        let is_meant = |key: &TaskKey| {
            commit.is_none_or(|commit| commit == key.0)
                && job.is_none_or(|job| key.1.is_meant_by(job.as_str()))
        };
        let meant = self.live.iter().filter(|(key, _)| is_meant(key));
        let meant: Vec<_> = meant.map(|(key, id)| (key.clone(), *id)).collect();
        let mut cancelled = Cancelled::default();
        let mut touched = HashSet::new();
        for (key, id) in meant {
            match self.entries[&id].state {
                // There is a verdict.
                State::Storing => continue,
                State::Running(_) => cancelled.running += 1,
                State::Assigned => cancelled.waiting += 1,
                State::Blocked | State::Queued | State::Contended(_) | State::RetryAt(_) => {
                    cancelled.waiting += 1;
                    cancelled.queued += 1;
                }
            }
            match self.entries[&id].state {
                State::Assigned | State::Running(_) => {
                    self.abandon(id);
                    cancelled.terminate.push(id);
                }
                _ => drop(self.remove(id)),
            }
            touched.insert(key.0);
            self.ended.insert(key, End::Cancelled);
        }
        cancelled.terminate.sort_unstable();
        let mut touched: Vec<_> = touched.into_iter().collect();
        touched.sort_unstable();
        cancelled.done = touched.iter().filter_map(|id| self.done(id)).collect();
        cancelled.touched = touched;
        cancelled
    }

    /// Drops all that waits; how many tasks of them have not been tried.
    pub(super) fn clear(&mut self) -> u64 {
        let sets = [&self.urgent, &self.queued]
            .into_iter()
            .chain(self.bound.values());
        let waiting = sets.flatten().map(|(_, id)| *id);
        let blocked = self.commits.values().flat_map(|commit| &commit.blocked);
        let waiting: Vec<_> = waiting
            .chain(self.timers.iter().map(|(_, id)| *id))
            .chain(blocked.copied())
            .collect();
        let removed = waiting.into_iter().filter_map(|id| self.remove(id));
        let untried = removed.filter(|entry| !matches!(entry.state, State::RetryAt(_)));
        untried.count() as u64
    }

    /// A worker is gone with its task.
    pub(super) fn forget(&mut self, id: TaskId) {
        self.remove(id);
    }

    fn abandon(&mut self, id: TaskId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.abandoned = true;
            let key = entry.task.key();
            self.unlive(&key, id);
        }
    }

    /// Forgets that a key has this task; another may have taken its place.
    fn unlive(&mut self, key: &TaskKey, id: TaskId) {
        if self.live.get(key) == Some(&id) {
            self.live.remove(key);
        }
    }

    fn rank(&mut self, id: TaskId, rank: u64, place: usize, urgent: bool) {
        self.displace(id);
        if let Some(entry) = self.entries.get_mut(&id) {
            (entry.rank, entry.place, entry.urgent) = (rank, place, urgent);
        }
        self.place(id);
    }

    fn set(&mut self, id: TaskId, state: State) {
        self.displace(id);
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.state = state;
        }
        self.place(id);
    }

    fn remove(&mut self, id: TaskId) -> Option<Entry> {
        self.displace(id);
        let entry = self.entries.remove(&id)?;
        self.unlive(&entry.task.key(), id);
        Some(entry)
    }

    /// Takes a task out of what is found by its state.
    fn displace(&mut self, id: TaskId) {
        let Some(entry) = self.entries.get(&id) else {
            return;
        };
        match entry.state {
            State::Blocked => {
                self.blocked -= 1;
                if let Some(progress) = self.commits.get_mut(&entry.task.commit.id) {
                    progress.blocked.remove(&id);
                }
            }
            State::Queued => {
                self.urgent.remove(&(entry.rank, id));
                self.queued.remove(&(entry.rank, id));
                if let Some(bound) = entry.bound.and_then(|worker| self.bound.get_mut(&worker)) {
                    bound.remove(&(entry.rank, id));
                }
            }
            State::Contended(at) | State::RetryAt(at) => drop(self.timers.remove(&(at, id))),
            State::Assigned | State::Running(_) => self.busy -= 1,
            State::Storing => {}
        }
    }

    /// Has a task found by its state.
    fn place(&mut self, id: TaskId) {
        let Some(entry) = self.entries.get(&id) else {
            return;
        };
        match entry.state {
            State::Blocked => {
                self.blocked += 1;
                if let Some(progress) = self.commits.get_mut(&entry.task.commit.id) {
                    progress.blocked.insert(id);
                }
            }
            State::Queued => {
                let queue = match entry.bound {
                    Some(worker) => self.bound.entry(worker).or_default(),
                    None if entry.urgent => &mut self.urgent,
                    None => &mut self.queued,
                };
                queue.insert((entry.rank, id));
            }
            State::Contended(at) | State::RetryAt(at) => drop(self.timers.insert((at, id))),
            State::Assigned | State::Running(_) => self.busy += 1,
            State::Storing => {}
        }
    }
}
