//! A thread that writes, and what waits for it.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::backlog::Backlog;
use super::{Stream, write_now};

/// No more bytes are written at once: so progress is seen with each.
const PIECE: usize = 4096;

/// How often who waits for the end looks whether it is in a hurry.
const GLANCE: Duration = Duration::from_millis(20);

/// In a hurry, a reader that takes nothing for so long is given up, and any after so long.
const STANDSTILL: Duration = Duration::from_millis(100);
const HURRY: Duration = Duration::from_secs(1);

/// What waits to be written.
pub(super) struct Queue {
    state: Mutex<State>,
    /// Something is to be written.
    work: Condvar,
    /// Something was.
    done: Condvar,
}

#[derive(Default)]
struct State {
    backlog: Backlog,
    /// What the thread has in its hands.
    writing: u64,
    /// How much was written.
    written: u64,
    /// Why nothing more is written to a stream.
    broken: [Option<io::Error>; 2],
}

impl State {
    fn unwritten(&self) -> u64 {
        self.backlog.bytes() + self.writing
    }
}

impl Queue {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self {
            state: Mutex::default(),
            work: Condvar::new(),
            done: Condvar::new(),
        });
        let written = Arc::clone(&queue);
        // It ends with the process: it may be waiting for a reader who never comes.
        std::thread::Builder::new()
            .name("printer".into())
            .spawn(move || written.write())?;
        Ok(queue)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) {
        loop {
            let mut state = self.state();
            let (to, bytes) = loop {
                if let Some(piece) = state.backlog.pop() {
                    break piece;
                }
                let woken = self.work.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
            };
            let usable = state.broken[to.index()].is_none();
            state.writing = bytes.len() as u64;
            drop(state);
            let mut failed = None;
            for piece in bytes.chunks(PIECE).take_while(|_| usable) {
                failed = write_now(to, piece, None).err();
                if failed.is_some() {
                    break;
                }
                let mut state = self.state();
                state.writing -= piece.len() as u64;
                state.written += piece.len() as u64;
                drop(state);
                self.done.notify_all();
            }
            let mut state = self.state();
            state.writing = 0;
            if failed.is_some() {
                state.broken[to.index()] = failed;
            }
            drop(state);
            self.done.notify_all();
        }
    }

    /// Appends, never waiting for a reader.
    pub(super) fn push(&self, to: Stream, bytes: &[u8]) {
        push(&mut self.state(), to, bytes);
        self.work.notify_one();
    }

    /// The same for somebody who may have the queue in hand.
    pub(super) fn try_push(&self, to: Stream, bytes: &[u8]) -> bool {
        let Ok(mut state) = self.state.try_lock() else {
            return false;
        };
        push(&mut state, to, bytes);
        self.work.notify_one();
        true
    }

    pub(super) fn unwritten(&self) -> u64 {
        self.state().unwritten()
    }

    /// Waits until nothing waits any more, at most for `timeout`.
    pub(super) fn wait(&self, timeout: Duration) {
        let waited = self
            .done
            .wait_timeout_while(self.state(), timeout, |state| state.unwritten() > 0);
        drop(waited);
    }

    /// Waits until nothing waits any more, or, once `hurry` says so, nobody reads.
    pub(super) fn drain(&self, hurry: &dyn Fn() -> bool) {
        let mut hurried: Option<Instant> = None;
        let (mut written, mut moved) = (0, Instant::now());
        let mut state = self.state();
        while state.unwritten() > 0 {
            if state.written > written {
                (written, moved) = (state.written, Instant::now());
            }
            if hurried.is_none() && hurry() {
                hurried = Some(Instant::now());
                moved = Instant::now();
            }
            if let Some(since) = hurried
                && (since.elapsed() >= HURRY || moved.elapsed() >= STANDSTILL)
            {
                return;
            }
            let waited = self.done.wait_timeout(state, GLANCE);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Why nothing more was written to a stream; that it was closed is no failure.
    pub(super) fn failure(&self, of: Stream) -> Option<io::Error> {
        let failed = self.state().broken[of.index()].take();
        failed.filter(|error| error.kind() != io::ErrorKind::BrokenPipe)
    }
}

fn push(state: &mut State, to: Stream, bytes: &[u8]) {
    // Nobody will ever read it.
    if state.broken[to.index()].is_none() {
        state.backlog.push(to, bytes);
    }
}
