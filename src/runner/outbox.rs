//! What waits to be written to the other side of a connection.
//!
//! Signs of life overtake everything else, so that a slow link that is busy with packs
//! or output is not taken for a dead one. Of those that wait only the newest counts,
//! so that they cannot pile up where the other side does not read.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Frames on their way to the thread that writes them.
pub(super) struct Outbox<F> {
    state: Mutex<State<F>>,
    changed: Condvar,
    /// Something was taken, or nothing will be any more.
    room: Condvar,
}

struct State<F> {
    /// The newest sign of life.
    urgent: Option<F>,
    waiting: VecDeque<F>,
    /// Something was taken: what comes first must stay first.
    begun: bool,
    closed: bool,
}

impl<F> Outbox<F> {
    /// One with nothing in it.
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                urgent: None,
                waiting: VecDeque::new(),
                begun: false,
                closed: false,
            }),
            changed: Condvar::new(),
            room: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<F>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a frame, never blocking; `false` where nothing is written any more.
    pub(super) fn push(&self, frame: F) -> bool {
        let mut state = self.state();
        if !state.closed {
            state.waiting.push_back(frame);
            self.changed.notify_one();
        }
        !state.closed
    }

    /// Lets a sign of life overtake what waits, in place of one that still waits.
    pub(super) fn urge(&self, frame: F) {
        let mut state = self.state();
        if !state.closed {
            state.urgent = Some(frame);
            self.changed.notify_one();
        }
    }

    /// Waits until fewer than `most` frames wait, or nothing is written any more.
    pub(super) fn wait_for_room(&self, most: usize) {
        let mut state = self.state();
        while state.waiting.len() >= most && !state.closed {
            let changed = self.room.wait(state);
            state = changed.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How many frames wait.
    pub(super) fn len(&self) -> usize {
        self.state().waiting.len()
    }

    /// Takes no more; what waits is still written.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
        self.room.notify_all();
    }

    /// Takes no more and forgets what waits: nobody can be written to.
    pub(super) fn break_off(&self) {
        let mut state = self.state();
        state.closed = true;
        state.urgent = None;
        state.waiting.clear();
        self.room.notify_all();
    }

    /// Waits for the next frame to write; `None` once closed and empty.
    pub(super) fn next(&self) -> Option<F> {
        let mut state = self.state();
        loop {
            if state.begun && state.urgent.is_some() {
                return state.urgent.take();
            }
            let next = state.waiting.pop_front();
            self.room.notify_all();
            if let Some(next) = next.or_else(|| state.urgent.take()) {
                state.begun = true;
                return Some(next);
            }
            if state.closed {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_life_overtake_all_but_the_first_frame() {
        let out = Outbox::new();
        for frame in ["hello", "pack", "pack-end"] {
            assert!(out.push(frame));
        }
        out.urge("beat 1");
        assert_eq!(out.next(), Some("hello"));
        out.urge("beat 2");
        assert_eq!(out.next(), Some("beat 2"), "the newest, and only that");
        assert_eq!((out.next(), out.len()), (Some("pack"), 1));
        out.close();
        assert!(!out.push("late"));
        assert_eq!((out.next(), out.next()), (Some("pack-end"), None));
    }
}
