//! The thread that reports, so that the dispatcher never waits for a display.
//!
//! Every event is reported in the order in which the dispatcher told it. A display that is
//! slow is behind, and loses signs of life first: [`Event::TaskOutput`] is left out
//! while too many events wait. What is made of the rest never waits for whoever reads it:
//! that is the [`printer`](crate::printer)'s.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::Instant;

use crate::model::Event;
use crate::reporter::Reporter;

/// So many events may wait before output of tasks is left out.
const MOST_WAITING: usize = 256;

enum Report {
    Event(Box<Event>),
    /// Says when all before it was shown.
    Shown(Arc<OnceLock<Instant>>),
    /// The terminal is about to belong to somebody else; answered when it may.
    Suspend(Sender<()>),
}

/// The dispatcher's way to the reporter.
pub(super) struct Reports<'scope> {
    to: Sender<Report>,
    waiting: Arc<AtomicUsize>,
    thread: ScopedJoinHandle<'scope, ()>,
}

impl<'scope> Reports<'scope> {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where there are no threads left.
    pub(super) fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        reporter: &'env mut dyn Reporter,
    ) -> io::Result<Self> {
        let (to, inbox) = mpsc::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&waiting);
        let thread = Builder::new()
            .name("reporter".into())
            .spawn_scoped(scope, move || run(reporter, &inbox, &count))?;
        Ok(Self {
            to,
            waiting,
            thread,
        })
    }

    /// Has an event reported.
    pub(super) fn tell(&self, event: Event) {
        let waiting = self.waiting.load(Ordering::Relaxed);
        if waiting >= MOST_WAITING && matches!(event, Event::TaskOutput { .. }) {
            return;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // The thread ends only when this end is dropped, or by a panic: `finish` sees it.
        let _ = self.to.send(Report::Event(Box::new(event)));
    }

    /// When all that was told so far is shown, once it is.
    pub(super) fn when_shown(&self) -> Arc<OnceLock<Instant>> {
        let shown = Arc::new(OnceLock::new());
        let _ = self.to.send(Report::Shown(Arc::clone(&shown)));
        shown
    }

    /// Has the terminal given back as it was found, and waits for that.
    pub(super) fn suspend(&self) {
        let (done, wait) = mpsc::channel();
        if self.to.send(Report::Suspend(done)).is_ok() {
            let _ = wait.recv();
        }
    }

    /// Waits until all is reported; whether the reporter panicked.
    pub(super) fn finish(self) -> bool {
        drop(self.to);
        self.thread.join().is_err()
    }
}

fn run(reporter: &mut dyn Reporter, inbox: &Receiver<Report>, waiting: &AtomicUsize) {
    let mut ticked = Instant::now();
    loop {
        let report = match reporter.tick_interval() {
            Some(interval) => inbox.recv_timeout(interval.saturating_sub(ticked.elapsed())),
            None => inbox.recv().map_err(RecvTimeoutError::from),
        };
        match report {
            Ok(Report::Event(event)) => {
                reporter.event(&event);
                waiting.fetch_sub(1, Ordering::Relaxed);
            }
            Ok(Report::Shown(when)) => {
                let _ = when.set(Instant::now());
            }
            Ok(Report::Suspend(done)) => {
                reporter.suspend();
                let _ = done.send(());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if reporter
            .tick_interval()
            .is_some_and(|interval| ticked.elapsed() >= interval)
        {
            ticked = Instant::now();
            reporter.tick();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TaskId;

    /// Waits at its first event until it may go on, and keeps what it hears.
    struct Slow {
        go: Receiver<()>,
        heard: Vec<Event>,
        suspended: usize,
    }

    impl Reporter for Slow {
        fn event(&mut self, event: &Event) {
            if self.heard.is_empty() {
                self.go.recv().unwrap();
            }
            self.heard.push(event.clone());
        }

        fn suspend(&mut self) {
            self.suspended = self.heard.len();
        }
    }

    fn output() -> Event {
        let id = TaskId(0);
        let line = String::new();
        Event::TaskOutput { id, line }
    }

    fn note(n: usize) -> Event {
        let message = n.to_string();
        Event::Note { message }
    }

    #[test]
    fn a_display_that_hangs_loses_signs_of_life_and_nothing_else() {
        let (go, wait) = mpsc::channel();
        let mut slow = Slow {
            go: wait,
            heard: Vec::new(),
            suspended: 0,
        };
        std::thread::scope(|scope| {
            let reports = Reports::start(scope, &mut slow).unwrap();
            // None of this waits.
            for n in 0..1000 {
                reports.tell(note(n));
                reports.tell(output());
            }
            go.send(()).unwrap();
            // This waits for all that was told before.
            reports.suspend();
            assert!(!reports.finish());
        });
        let outputs = slow.heard.iter().filter(|event| **event == output());
        assert!(outputs.count() <= MOST_WAITING);
        assert_eq!(slow.suspended, slow.heard.len());
        slow.heard.retain(|event| *event != output());
        assert_eq!(slow.heard, (0..1000).map(note).collect::<Vec<_>>());
    }

    #[test]
    fn a_reporter_that_panics_is_told_at_the_end() {
        struct Broken;
        impl Reporter for Broken {
            fn event(&mut self, _: &Event) {
                panic!("a test wants this");
            }
        }
        std::thread::scope(|scope| {
            let reports = Reports::start(scope, Box::leak(Box::new(Broken))).unwrap();
            reports.tell(note(0));
            reports.suspend();
            reports.tell(note(1));
            assert!(reports.finish());
        });
    }
}
