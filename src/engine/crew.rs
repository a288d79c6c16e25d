//! The workers as the dispatcher knows them: who is there, how fast their machines
//! are, and who may have which task.
//!
//! Nothing waits for a machine that is away while another can do the work. Only where
//! nobody who could do a task can be reached, again and again, is it given up.

use std::collections::HashMap;
use std::time::Duration;

use crate::model::Job;
use crate::runner::{Place, Presence};

use super::dispatcher::Running;
use super::message::Desk;

/// How many failures in a row make a machine hopeless for tasks that nobody else can do.
const HOPELESS: u32 = 3;

/// Jobs shorter than this are not worth waiting for requests to travel.
const SHORT: Duration = Duration::from_millis(300);

/// A machine this many times slower does not get the last tasks.
const SLOWER: u32 = 3;

/// A worker, seen from the dispatcher.
pub(super) struct Worker {
    pub(super) desk: Desk,
    pub(super) running: Option<Running>,
    /// It asked, and has no answer yet.
    pub(super) idle: bool,
    /// The place in the plan of its last commit.
    pub(super) near: Option<usize>,
    pub(super) presence: Presence,
}

impl Worker {
    pub(super) fn new(desk: Desk) -> Self {
        Self {
            presence: desk.presence.clone(),
            desk,
            running: None,
            idle: false,
            near: None,
        }
    }

    pub(super) fn place(&self) -> &Place {
        &self.desk.place
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
        !self.desk.place.ahead
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

/// Whether a worker should take a task when `waiting` of them wait: not where a much
/// faster slot takes the last ones in its stead, and not ahead of need.
pub(super) fn should_take(
    workers: &[Worker],
    paces: &Paces,
    worker: usize,
    waiting: usize,
) -> bool {
    let place = workers[worker].place();
    let slots = || {
        workers
            .iter()
            .filter(|other| other.is_here() && other.is_slot())
    };
    if place.ahead {
        let pace = paces.0.get(&place.machine);
        return pace.is_some_and(|pace| *pace <= SHORT) && waiting > slots().count();
    }
    if place.machine == 0 && paces.0.len() < 2 {
        return true;
    }
    let faster = slots().filter(|other| paces.is_slower(place.machine, other.place().machine));
    waiting > faster.count()
}

/// Whether nobody who may have a task of this job can be reached.
pub(super) fn is_hopeless(workers: &[Worker], job: &Job) -> bool {
    workers
        .iter()
        .filter(|worker| worker.is_slot() && worker.place().has(&job.labels))
        .all(Worker::is_hopeless)
}
