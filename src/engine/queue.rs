//! The tasks that wait, and which of them a worker gets.
//!
//! The order of the plan is the order of the user's wishes; the worktree a worker
//! used last is warm for the commits beside its last one. Both count: a worker gets
//! the task nearest to its last commit out of the first few that wait, so that no
//! task waits for long and incremental builds stay incremental.

use std::collections::VecDeque;
use std::time::Instant;

use crate::model::{Oid, Task};

/// A task with its place in the plan, by commit.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) task: Task,
    /// The commit's place in the order of the plan.
    place: usize,
    urgent: bool,
    /// How often its machine was lost.
    pub(super) moves: u32,
    /// The machine that lost it last, which is not to have it again if another can.
    pub(super) lost_by: Option<usize>,
    /// Since when somebody else works on what it tests.
    pub(super) contended: Option<Instant>,
}

/// The tasks that nobody works on yet.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    last: Option<(Oid, usize)>,
}

impl Queue {
    /// Appends a task; those of one commit must come one after the other.
    pub(super) fn push(&mut self, task: Task, urgent: bool) -> &mut Waiting {
        let place = match self.last {
            Some((commit, place)) if commit == task.commit.id => place,
            Some((_, place)) => place + 1,
            None => 0,
        };
        self.last = Some((task.commit.id, place));
        self.waiting.push_back(Waiting::new(task, place, urgent));
        let last = self.waiting.len() - 1;
        &mut self.waiting[last]
    }

    /// Empties the queue and forgets its order; returns what waited.
    pub(super) fn clear(&mut self) -> VecDeque<Waiting> {
        std::mem::take(self).waiting
    }

    /// Puts a task back in front.
    pub(super) fn put_back(&mut self, waiting: Waiting) {
        self.waiting.push_front(waiting);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes a task that `fits`: the first urgent one, else one for a worker whose last
    /// commit stood at `near`, out of the first `window` of them.
    pub(super) fn take(
        &mut self,
        near: Option<usize>,
        window: usize,
        fits: impl Fn(&Waiting) -> bool,
    ) -> Option<Waiting> {
        let urgent = |waiting: &Waiting| waiting.urgent && fits(waiting);
        if let Some(urgent) = self.waiting.iter().position(urgent) {
            return self.waiting.remove(urgent);
        }
        let fitting = self.waiting.iter().enumerate();
        let mut first = fitting.filter(|(_, waiting)| fits(waiting)).take(window);
        let (nearest, _) = match near {
            None => first.next()?,
            Some(near) => first.min_by_key(|(_, waiting)| waiting.place.abs_diff(near))?,
        };
        self.waiting.remove(nearest)
    }

    /// The first `count` commits that wait, those after `place` first: what is likely
    /// to be next for whoever works there.
    pub(super) fn ahead(&self, place: usize, count: usize) -> Vec<Oid> {
        let mut ids: Vec<Oid> = Vec::new();
        let window = || self.waiting.iter().take(4 * count);
        let after = window().filter(|waiting| waiting.place > place);
        let before = window().filter(|waiting| waiting.place < place);
        for waiting in after.chain(before) {
            let id = waiting.task.commit.id;
            if ids.len() == count {
                break;
            }
            if ids.last() != Some(&id) {
                ids.push(id);
            }
        }
        ids
    }
}

impl Waiting {
    /// A task that nobody has had yet.
    pub(super) fn new(task: Task, place: usize, urgent: bool) -> Self {
        Self {
            task,
            place,
            urgent,
            moves: 0,
            lost_by: None,
            contended: None,
        }
    }

    /// The commit's place in the order of the plan.
    pub(super) fn place(&self) -> usize {
        self.place
    }
}
