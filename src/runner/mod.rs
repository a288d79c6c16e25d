//! Where tasks execute: the trait that hides this machine, an ssh host and a cluster
//! behind one face.
//!
//! A runner says what happened and judges nothing else: it writes no notes, no logs
//! and nothing on the terminal.

pub mod agent;
mod local;
pub mod protocol;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{LogId, Outcome, RunnerLabel, Task};

pub use local::{LocalRunner, LocalSpec};

/// One try of a task, as it is handed to a runner.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// What to run.
    pub task: Task,
    /// The try, from 1.
    pub try_: u32,
    /// Where its output is kept: who looks at what runs now finds it by this.
    pub log: LogId,
}

/// What a runner tells of a task while it runs.
#[derive(Debug)]
pub enum Progress<'a> {
    /// The job's process was started, in the slot of this number (from 1).
    Started {
        /// The slot.
        slot: u32,
    },
    /// The job's output, standard output and error as they came; bounded by the runner.
    Output(&'a [u8]),
}

/// What may be asked of a runner while it runs a task, from any thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// End the task: `SIGTERM`, then `SIGKILL` after the job's grace.
    Terminate,
    /// End the task at once.
    Kill,
    /// Stop the job's processes and the clock of its timeout.
    Pause,
    /// Undo `Pause`.
    Resume,
}

/// Passes requests to a runner that is busy in another thread.
#[derive(Clone)]
pub struct Control(Arc<dyn Fn(Request) + Send + Sync>);

impl Control {
    /// A control that hands each request to `send`, which must not block.
    pub fn new(send: impl Fn(Request) + Send + Sync + 'static) -> Self {
        Self(Arc::new(send))
    }

    /// Asks; without effect while no task runs.
    pub fn send(&self, request: Request) {
        (self.0)(request);
    }
}

/// One place that runs one task at a time.
pub trait Runner: Send {
    /// What records say of who ran a task here.
    fn label(&self) -> &RunnerLabel;

    /// How to reach this runner while [`run`](Self::run) blocks.
    fn control(&self) -> Control;

    /// Runs a task to its end and returns only when none of its processes is left.
    ///
    /// An ended runner (its agent died, its host is gone) says
    /// [`Outcome::Errored`], and may be asked again: it sets itself up anew.
    fn run(&mut self, assignment: &Assignment, watch: &mut dyn FnMut(Progress<'_>)) -> Outcome;
}
