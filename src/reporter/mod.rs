//! Events made visible. A reporter sees the one order of events that the dispatcher
//! gives it, and can change nothing.

mod bell;
mod closing;
mod json;
mod live;
mod matrix;
mod plain;
mod screen;
mod symbols;
mod terminal;
mod text;

use std::time::Duration;

use crate::model::Event;

pub(crate) use bell::Bell;
pub(crate) use json::Json;
pub(crate) use live::LiveMatrix;
pub(crate) use matrix::{Cell, Matrix, Row};
pub(crate) use plain::{Plain, Verbosity};
pub(crate) use symbols::Symbols;
pub(crate) use terminal::Terminal;
pub(crate) use text::{
    JOB_WIDTH, TaskLine, counted, human_duration, status_style, subject_text, tail_text,
    test_counts_text, tests_text, why_text,
};

/// Turns events into something to see.
pub(crate) trait Reporter: Send {
    /// Takes the next event. It must not wait for whoever reads what is made of it: that
    /// is what the [`printer`](crate::printer) is for.
    ///
    /// Writing to a closed pipe is no error; whatever else goes wrong on the way to
    /// the user must not end the run, either.
    fn event(&mut self, event: &Event);

    /// How often [`tick`](Self::tick) wants to be called while nothing happens; `None` is never.
    fn tick_interval(&self) -> Option<Duration> {
        None
    }

    /// Time passed.
    fn tick(&mut self) {}

    /// The terminal is about to belong to somebody else (Ctrl-Z).
    fn suspend(&mut self) {}
}

/// Several reporters as one, in this order.
impl Reporter for Vec<Box<dyn Reporter>> {
    fn event(&mut self, event: &Event) {
        for reporter in self {
            reporter.event(event);
        }
    }

    fn tick_interval(&self) -> Option<Duration> {
        self.iter()
            .filter_map(|reporter| reporter.tick_interval())
            .min()
    }

    fn tick(&mut self) {
        for reporter in self {
            reporter.tick();
        }
    }

    fn suspend(&mut self) {
        for reporter in self {
            reporter.suspend();
        }
    }
}
