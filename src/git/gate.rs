//! Where every `git` process passes before it is started, so that it can be held back.
//!
//! A checkout is many processes one after the other, and some failures of one have the
//! next one tried. Whoever ends a checkout ends the process that runs; the gate, closed
//! before that, sees to it that no other follows.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Shared by all clones.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    Held,
    Closed,
}

/// The gate is closed.
#[derive(Debug)]
pub(crate) struct Closed;

impl Gate {
    /// Lets processes be started, again.
    pub fn open(&self) {
        self.set(State::Open);
    }

    /// Has whoever comes wait, unless the gate is closed.
    pub fn hold(&self) {
        if *self.state() == State::Open {
            self.set(State::Held);
        }
    }

    /// Undoes [`hold`](Self::hold).
    pub fn release(&self) {
        if *self.state() == State::Held {
            self.set(State::Open);
        }
    }

    /// Turns away whoever comes, and whoever waits.
    pub fn close(&self) {
        self.set(State::Closed);
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        *self.state() == State::Closed
    }

    /// Waits while the gate is held; does `start` where it is open. Who closes it finds
    /// all that was started before.
    pub(crate) fn pass<T>(&self, start: impl FnOnce() -> T) -> Result<T, Closed> {
        let held = |state: &mut State| *state == State::Held;
        let state = self.0.changed.wait_while(self.state(), held);
        // Locked until it has started.
        let state = state.unwrap_or_else(PoisonError::into_inner);
        if *state == State::Closed {
            return Err(Closed);
        }
        Ok(start())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State) {
        *self.state() = state;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_goes_on_or_is_turned_away() {
        let gate = Gate::default();
        assert!(gate.pass(|| ()).is_ok());
        for closes in [false, true] {
            gate.hold();
            let waiting = {
                let gate = gate.clone();
                std::thread::spawn(move || gate.pass(|| ()).is_ok())
            };
            if closes {
                gate.close()
            } else {
                gate.release()
            }
            assert_eq!(waiting.join().unwrap(), !closes);
        }
        gate.hold();
        gate.release();
        assert!(gate.is_closed(), "for good");
        gate.open();
        assert!(gate.pass(|| ()).is_ok());
    }
}
