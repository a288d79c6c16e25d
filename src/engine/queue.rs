//! The tasks that wait, and which of them a worker gets.
//!
//! The order of the plan is the order of the user's wishes; the worktree a worker
//! used last is warm for the commits beside its last one. Both count: a worker gets
//! the task nearest to its last commit out of the first few that wait, so that no
//! task waits for long and incremental builds stay incremental.

use std::collections::VecDeque;

use crate::model::{Oid, Task};

/// A task with its place in the plan, by commit.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) task: Task,
    /// The commit's place in the order of the plan.
    place: usize,
    urgent: bool,
}

/// The tasks that nobody works on yet.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    last: Option<(Oid, usize)>,
}

impl Queue {
    /// Appends a task; those of one commit must come one after the other.
    pub(super) fn push(&mut self, task: Task, urgent: bool) {
        let place = match self.last {
            Some((commit, place)) if commit == task.commit.id => place,
            Some((_, place)) => place + 1,
            None => 0,
        };
        self.last = Some((task.commit.id, place));
        let waiting = Waiting {
            task,
            place,
            urgent,
        };
        self.waiting.push_back(waiting);
    }

    /// Empties the queue and forgets its order.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
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

    /// Takes the first urgent task, else one for a worker whose last commit stood at
    /// `near`, out of the first `window`.
    pub(super) fn take(&mut self, near: Option<usize>, window: usize) -> Option<Waiting> {
        if let Some(urgent) = self.waiting.iter().position(|waiting| waiting.urgent) {
            return self.waiting.remove(urgent);
        }
        let Some(near) = near else {
            return self.waiting.pop_front();
        };
        let first = self.waiting.iter().take(window).enumerate();
        let (nearest, _) = first.min_by_key(|(_, waiting)| waiting.place.abs_diff(near))?;
        self.waiting.remove(nearest)
    }
}

impl Waiting {
    /// The commit's place in the order of the plan.
    pub(super) fn place(&self) -> usize {
        self.place
    }
}
