//! The workers as the dispatcher knows them: who is there, how fast their machines
//! are, and who may have which task.
//!
//! Nothing waits for a machine that is away while another can do the work. Only where
//! nobody who could do a task can be reached, again and again, is it given up.

use std::collections::HashMap;
use std::time::Duration;

use crate::model::{Job, Outcome, Task, Why};
use crate::runner::{Location, Lost, Presence};

use crate::engine::message::{Ended, WorkerHandle};
use crate::engine::tasks::Entry;

use super::{Dispatcher, MOVES, Running, new_log_id};

/// How many failures in a row make a machine hopeless for tasks that nobody else can do.
const HOPELESS: u32 = 3;

/// Jobs shorter than this are not worth waiting for requests to travel.
const SHORT: Duration = Duration::from_millis(300);

/// How much work may wait at a machine for a slot there, so that the last of it is
/// over when others are done, too.
const READY: Duration = Duration::from_millis(100);

/// A machine this many times slower does not get the last tasks.
const SLOWER: u32 = 3;

/// A worker, seen from the dispatcher.
pub(super) struct Worker {
    pub(super) handle: WorkerHandle,
    pub(super) running: Option<Running>,
    /// It asked, and has no answer yet.
    pub(super) idle: bool,
    /// The place in the plan of its last commit.
    pub(super) near: Option<usize>,
    pub(super) presence: Presence,
}

impl Worker {
    pub(super) fn new(handle: WorkerHandle) -> Self {
        Self {
            presence: handle.presence.clone(),
            handle,
            running: None,
            idle: false,
            near: None,
        }
    }

    pub(super) fn place(&self) -> &Location {
        &self.handle.place
    }

    pub(super) fn is_here(&self) -> bool {
        self.presence == Presence::Here
    }

    fn is_hopeless(&self) -> bool {
        matches!(
            self.presence,
            Presence::Away {
                failures: HOPELESS..,
                ..
            }
        )
    }

    /// Whether it is a slot, and not only a place to wait for one.
    pub(super) fn is_slot(&self) -> bool {
        !self.handle.place.ahead
    }
}

/// How long jobs take on each machine.
#[derive(Debug, Default)]
pub(super) struct Paces(HashMap<usize, Duration>);

impl Paces {
    /// Takes note of a task that was done.
    pub(super) fn note(&mut self, machine: usize, duration: Duration) {
        self.0
            .entry(machine)
            .and_modify(|pace| *pace = (3 * *pace + duration) / 4)
            .or_insert(duration);
    }

    fn is_slower(&self, machine: usize, other: usize) -> bool {
        let (one, other) = (self.0.get(&machine), self.0.get(&other));
        one.zip(other)
            .is_some_and(|(one, other)| *one > SLOWER * *other)
    }
}

/// Whether a worker who only keeps tasks ready should take one when `waiting` of them
/// wait: not ahead of need.
fn should_keep_ready(workers: &[Worker], paces: &Paces, place: &Location, waiting: usize) -> bool {
    let Some(pace) = paces.0.get(&place.machine) else {
        return false;
    };
    let beside = |other: &&Worker| {
        other.place().machine == place.machine && !other.is_slot() && other.running.is_some()
    };
    let ready = workers.iter().filter(beside).count() as u32;
    let short = *pace <= SHORT && (ready == 0 || (ready + 1) * *pace <= READY);
    let slots = workers
        .iter()
        .filter(|other| other.is_here() && other.is_slot());
    short && waiting > slots.count()
}

/// The slots that are so much faster than `place` that they should have the last
/// `waiting` tasks in its stead; none where there is enough for all.
fn faster<'w>(
    workers: &'w [Worker],
    paces: &Paces,
    place: &Location,
    waiting: usize,
) -> Vec<&'w Worker> {
    let slots = workers
        .iter()
        .filter(|other| other.is_here() && other.is_slot());
    let faster: Vec<_> = slots
        .filter(|other| paces.is_slower(place.machine, other.place().machine))
        .collect();
    if waiting > faster.len() {
        Vec::new()
    } else {
        faster
    }
}

/// Whether a worker may have a task: it has the labels, and has not just lost it while
/// another machine can take it.
fn may_have(workers: &[Worker], place: &Location, waiting: &Entry) -> bool {
    place.suits(&waiting.task.job)
        && !(waiting.lost_by == Some(place.machine)
            && has_elsewhere(workers, waiting, place.machine))
}

/// Whether what else runs on a machine leaves a job what it takes of it. One that takes more
/// slots than there are takes all.
fn has_free(workers: &[Worker], place: &Location, job: &Job) -> bool {
    let beside = || {
        workers
            .iter()
            .filter(|one| one.place().machine == place.machine)
    };
    let running = || beside().filter_map(|one| Some(&one.running.as_ref()?.task.job));
    let taken: u64 = running().map(|job| u64::from(job.cpus)).sum();
    // Where each takes one, it is the workers that are counted, and some only keep tasks ready.
    let is_plain = job.cpus == 1 && running().all(|job| job.cpus == 1);
    let has_slots = is_plain || taken == 0 || taken + u64::from(job.cpus) <= u64::from(place.slots);
    has_slots
        && job.resources.iter().all(|(name, count)| {
            let taken = running()
                .filter_map(|job| job.resources.get(name))
                .sum::<u32>();
            let all = place.resources.get(name).copied().unwrap_or(0);
            taken + count <= all
        })
}

/// Whether nobody who may have a task of this job can be reached.
fn is_hopeless(workers: &[Worker], job: &Job) -> bool {
    workers
        .iter()
        .filter(|worker| worker.is_slot() && worker.place().suits(job))
        .all(Worker::is_hopeless)
}

/// Whether somebody on another machine may have a task, and can be reached.
fn has_elsewhere(workers: &[Worker], waiting: &Entry, machine: usize) -> bool {
    let job = &waiting.task.job;
    workers.iter().any(|other| {
        let place = other.place();
        other.is_here() && other.is_slot() && place.machine != machine && place.suits(job)
    })
}

impl Dispatcher<'_, '_> {
    /// Gives a worker what it may have, if it can take anything.
    pub(super) fn serve(&mut self, worker: usize) {
        while self.hands_out() && self.workers[worker].idle && self.workers[worker].is_here() {
            let window = (2 * self.workers.len()).max(4);
            let (workers, count) = (&self.workers, self.tasks.queued());
            let Worker { near, handle, .. } = &workers[worker];
            let place = &handle.place;
            if place.ahead && !should_keep_ready(workers, &self.paces, place, count) {
                break;
            }
            // Left to faster ones is only what they may have, or nobody would take it.
            let faster = if place.ahead {
                Vec::new()
            } else {
                faster(workers, &self.paces, place, count)
            };
            let fits = |waiting: &Entry| match waiting.bound() {
                _ if !has_free(workers, place, &waiting.task.job) => false,
                // It waits for this one and for nobody else.
                Some(bound) => bound == worker,
                // Who only keeps tasks ready has no worktree in which one could follow another.
                None if place.ahead && waiting.is_in_chain() => false,
                None => {
                    may_have(workers, place, waiting)
                        && !faster
                            .iter()
                            .any(|other| may_have(workers, other.place(), waiting))
                }
            };
            let Some(entry) = self.tasks.take(Some(worker), *near, window, fits) else {
                break;
            };
            let id = entry.task.id;
            self.assign(worker, id);
        }
    }

    /// Whether tasks are handed out at the moment: not where their verdicts may be lost.
    fn hands_out(&self) -> bool {
        self.stop.is_none() && self.trouble.is_none()
    }

    /// Whether some worker has the labels that a task asks for, here or away.
    pub(super) fn has_place(&self, task: &Task) -> bool {
        let mut workers = self.workers.iter();
        workers.any(|worker| worker.place().suits(&task.job))
    }

    /// Ends a task that no worker may have without a verdict. Only where jobs change
    /// while the run goes on; a plan with such a task is refused.
    pub(super) fn turn_away(&mut self, task: Task) {
        let labels = task.job.labels.iter().cloned();
        let resources = task.job.resources.iter();
        let resources = resources.map(|(name, count)| format!("{count} {name}"));
        let wanted: Vec<_> = labels.chain(resources).collect();
        let reason = format!("find a runner with {}", wanted.join(", "));
        let why = Why::Spawn;
        self.end_without_runner(task, Outcome::Errored { why, reason });
    }

    /// Ends a task that no runner has had.
    pub(super) fn end_without_runner(&mut self, task: Task, outcome: Outcome) {
        let ended = Ended::unbegun(outcome.clone());
        let Some(label) = self
            .workers
            .first()
            .map(|worker| worker.handle.label.clone())
        else {
            return;
        };
        let running = Running {
            task,
            try_: 1,
            log: new_log_id(),
            claim: None,
            claiming: false,
            started: false,
            let_go: false,
            recalled: false,
        };
        self.finish(running, outcome, ended, label);
    }

    /// Calls for workers that are away while there is work for them, and gives tasks up
    /// that nobody can be reached for.
    pub(super) fn look_for_help(&mut self) {
        if self.tasks.queued() == 0 || !self.hands_out() {
            return;
        }
        for worker in 0..self.workers.len() {
            let state = &self.workers[worker];
            if state.is_here() || !state.idle || !state.is_slot() {
                continue;
            }
            let Worker { handle, .. } = state;
            handle.control.wake();
            let workers = &self.workers;
            let hopeless = |waiting: &Entry| {
                let job = &waiting.task.job;
                handle.place.suits(job) && is_hopeless(workers, job)
            };
            // The worker will say why there is no verdict; that goes into the log.
            if let Some(entry) = self.tasks.take(None, None, 1, hopeless) {
                let id = entry.task.id;
                self.tasks.pin_down(id, MOVES);
                self.assign(worker, id);
            }
        }
    }

    /// A worker's machine came or went.
    pub(super) fn handle_presence(&mut self, worker: usize, presence: Presence) {
        self.workers[worker].presence = presence.clone();
        if presence != Presence::Here {
            self.tasks.unbind(worker);
        }
        let Presence::Away {
            reason: Some(reason),
            failures,
        } = presence
        else {
            return;
        };
        // One worker speaks for its machine, and not each time.
        let machine = self.workers[worker].place().machine;
        let beside = |one: &Worker| one.is_slot() && one.place().machine == machine;
        let speaks = self.workers.iter().position(beside) == Some(worker);
        if speaks && (failures.is_power_of_two() || failures == u32::MAX) {
            let label = &self.workers[worker].handle.label;
            self.warn(format!("{label} is left out for now: failed to {reason}"));
        }
    }

    /// A worker has ended a try.
    pub(super) fn handle_finished(&mut self, worker: usize, running: Running, ended: Ended) {
        let Ended { outcome, .. } = &ended;
        let running = match outcome {
            Ok(outcome) => match self.put_back_recalled(running, outcome) {
                Some(running) => running,
                None => return,
            },
            Err(_) => running,
        };
        let handle = &self.workers[worker].handle;
        let (label, machine) = (handle.label.clone(), handle.place.machine);
        let id = running.task.id;
        let outcome = match outcome {
            Ok(outcome) => {
                // What was ended before its time says nothing about the machine.
                if !matches!(outcome, Outcome::Cancelled | Outcome::Errored { .. }) {
                    self.paces.note(machine, ended.duration);
                }
                outcome.clone()
            }
            Err(_) if self.stop.is_some() || self.is_abandoned(id) => Outcome::Cancelled,
            // Nothing of it runs any more: somebody else may have it.
            Err(_) if self.tasks.lost(id, machine, MOVES) => return,
            Err(Lost { why, reason }) => Outcome::Errored {
                why: *why,
                reason: reason.clone(),
            },
        };
        self.finish(running, outcome, ended, label);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{CommandLine, Commit, Reason, TaskId};
    use crate::runner::Control;

    fn worker(machine: usize, labels: &[&str], ahead: bool) -> Worker {
        let labels: Vec<_> = labels.iter().map(|&label| label.to_owned()).collect();
        Worker::new(WorkerHandle {
            commands: None,
            control: Control::new(|_, _| {}),
            label: format!("machine-{machine}").parse().unwrap(),
            place: Location {
                machine,
                labels: Arc::from(labels),
                ahead,
                ..Location::default()
            },
            presence: Presence::Here,
        })
    }

    fn away(mut worker: Worker, failures: u32) -> Worker {
        let reason = None;
        worker.presence = Presence::Away { reason, failures };
        worker
    }

    fn paces(of: &[(usize, u64)]) -> Paces {
        let mut paces = Paces::default();
        for (machine, millis) in of {
            paces.note(*machine, Duration::from_millis(*millis));
        }
        paces
    }

    fn job(labels: &[&str]) -> Job {
        let mut job = Job::new("test".parse().unwrap(), CommandLine::Shell("true".into()));
        job.labels = labels.iter().map(|&label| label.to_owned()).collect();
        job
    }

    #[test]
    fn a_pace_follows_what_tasks_take_and_forgets_an_outlier() {
        let mut paces = paces(&[(0, 100)]);
        paces.note(0, Duration::from_millis(500));
        assert_eq!(paces.0[&0], Duration::from_millis(200));
        for _ in 0..20 {
            paces.note(0, Duration::from_millis(100));
        }
        assert!(paces.0[&0] < Duration::from_millis(101));
    }

    #[test]
    fn the_last_tasks_are_left_to_who_is_much_faster() {
        let workers = [worker(0, &[], false), worker(1, &[], false)];
        let faster_than = |machine: usize, paces: &Paces, waiting| {
            let place = workers[machine].place();
            faster(&workers, paces, place, waiting).len()
        };
        let much = paces(&[(0, 100), (1, 301)]);
        assert_eq!(faster_than(1, &much, 1), 1);
        assert_eq!(faster_than(0, &much, 1), 0);
        // Enough for all, hardly slower, not known, or not there.
        assert_eq!(faster_than(1, &much, 2), 0);
        assert_eq!(faster_than(1, &paces(&[(0, 100), (1, 300)]), 1), 0);
        assert_eq!(faster_than(1, &paces(&[(0, 100)]), 1), 0);
        let alone = [away(worker(0, &[], false), 1), worker(1, &[], false)];
        assert!(faster(&alone, &much, alone[1].place(), 1).is_empty());
    }

    #[test]
    fn short_tasks_are_kept_ready_where_more_wait_than_there_are_slots() {
        let workers = [worker(1, &[], false), worker(1, &[], true)];
        let keep = |paces: &Paces, waiting| {
            should_keep_ready(&workers, paces, workers[1].place(), waiting)
        };
        assert!(keep(&paces(&[(1, 10)]), 2));
        assert!(!keep(&paces(&[(1, 10)]), 1), "the slot takes it itself");
        assert!(!keep(&paces(&[(1, 301)]), 2), "long jobs hide the way");
        assert!(!keep(&paces(&[]), 2), "how long they take is not known");
    }

    #[test]
    fn what_runs_leaves_what_it_does_not_take() {
        let with = |cpus: u32, gpu: u32| {
            let mut job = job(&[]);
            job.cpus = cpus;
            if gpu > 0 {
                job.resources.insert("gpu".to_owned(), gpu);
            }
            job
        };
        let at = |runs: &[Job]| {
            let mut workers: Vec<_> = (0..4).map(|_| worker(0, &[], false)).collect();
            for (worker, job) in workers.iter_mut().zip(runs) {
                worker.handle.place.slots = 4;
                worker.running = Some(running(job.clone()));
            }
            workers
        };
        let place = Location {
            slots: 4,
            resources: Arc::new([("gpu".to_owned(), 2)].into()),
            ..Location::default()
        };
        let free = |runs: &[Job], job: &Job| has_free(&at(runs), &place, job);
        assert!(free(&[], &with(9, 0)), "who asks for more gets all");
        assert!(!free(&[with(1, 0)], &with(9, 0)));
        assert!(free(&[with(2, 0)], &with(2, 0)));
        assert!(!free(&[with(2, 0), with(1, 0)], &with(2, 0)));
        assert!(!free(&[with(9, 0)], &with(1, 0)));
        assert!(free(&[with(1, 1)], &with(1, 1)));
        assert!(!free(&[with(1, 1)], &with(1, 2)));
        assert!(!free(&[with(1, 2)], &with(1, 1)));
        assert!(free(&[with(1, 2)], &with(1, 0)));
        // On another machine it takes nothing here.
        let mut workers = at(&[with(9, 2)]);
        workers[0].handle.place.machine = 1;
        assert!(has_free(&workers, &place, &with(4, 2)));
    }

    fn running(job: Job) -> Running {
        let commit = Commit {
            id: "11".repeat(20).parse().unwrap(),
            tree: "22".repeat(20).parse().unwrap(),
            subject: String::new(),
            time: 0,
            snapshot: None,
        };
        let planned = crate::plan::PlannedJob::unrecorded(job);
        Running {
            task: planned.task(TaskId(0), &Arc::new(commit), Reason::Unrecorded),
            try_: 1,
            log: new_log_id(),
            claim: None,
            claiming: false,
            started: false,
            let_go: false,
            recalled: false,
        }
    }

    #[test]
    fn a_job_is_hopeless_once_all_who_could_do_it_were_away_three_times() {
        let with = |failures| {
            [
                worker(0, &[], false),
                away(worker(1, &["gpu"], false), failures),
                worker(1, &["gpu"], true),
            ]
        };
        assert!(!is_hopeless(&with(2), &job(&["gpu"])));
        assert!(is_hopeless(&with(3), &job(&["gpu"])));
        assert!(!is_hopeless(&with(3), &job(&[])));
        assert!(is_hopeless(&with(0), &job(&["nobody has it"])));
    }
}
