//! Where tasks execute: the trait that hides this machine, an ssh host and a cluster
//! behind one face.
//!
//! A runner says what happened and judges nothing else: it writes no notes, no logs
//! and nothing on the terminal.

pub mod agent;
mod agent_error;
mod attend;
mod channel;
mod complaints;
mod course;
mod follow;
pub mod guard;
mod head_watch;
mod host;
pub mod hub;
mod junit;
pub mod key;
mod lifeline;
mod local;
mod memory;
mod outbox;
mod output;
mod pending_requests;
pub mod protocol;
pub(crate) mod shell;
mod steps;
mod test_files;
mod tokens;
mod unstarted;
mod waiting;
pub mod wire;
mod within;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Job, LogId, Oid, Outcome, Platform, RunnerLabel, Task, TaskId, Why};

pub use host::{Host, HostError, HostRunner, HostSpec, Probe, Transport, probe, protocol_line};
pub use key::{KeyError, Keys};
pub use local::{LocalRunner, LocalSpec};
pub use memory::Memory;
pub use protocol::{ArtifactPart, Files, Head, Observed};
pub use tokens::Machine;
pub use within::{WITHIN, is_within};

/// One try of a task, as it is handed to a runner.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// What to run.
    pub task: Task,
    /// The try, from 1.
    pub try_: u32,
    /// Where its output is kept: who looks at what runs now finds it by this.
    pub log: LogId,
    /// Commits that are likely to come next here, nearest first; a hint.
    pub ahead: Vec<Oid>,
}

/// What a runner tells of a task while it runs.
#[derive(Debug)]
pub enum Progress<'a> {
    /// It waits for a slot; this is for whom, part of a sentence.
    Waiting(&'a str),
    /// Something that the user should know and that stops nothing: a sentence.
    Note(&'a str),
    /// The job's process was started, in the slot of this number (from 1).
    Started {
        /// The slot.
        slot: u32,
    },
    /// The job's output, standard output and error as they came; bounded by the runner.
    Output {
        /// How many bytes of output came before these. Those that nobody was told of
        /// are lost.
        at: u64,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// How long the job's process ran, where the runner can tell better than who waits for it.
    Ran(Duration),
    /// A part of what the job left, where it did not leave it in the repository.
    Artifact(ArtifactPart),
    /// What was seen of the task besides how it ended; where there is an outcome, before it.
    Observed(Observed),
}

/// What may be asked of a runner that was given a task, from any thread.
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
pub struct Control {
    send: Arc<dyn Fn(TaskId, Request) + Send + Sync>,
    wake: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Control {
    /// A control that hands each request to `send`, which must not block.
    pub fn new(send: impl Fn(TaskId, Request) + Send + Sync + 'static) -> Self {
        Self {
            send: Arc::new(send),
            wake: None,
        }
    }

    /// The same, with something to do where there is work and the runner is away.
    #[must_use]
    pub fn waking(mut self, wake: impl Fn() + Send + Sync + 'static) -> Self {
        self.wake = Some(Arc::new(wake));
        self
    }

    /// Asks something of a task. Where the runner has not begun it yet it hears of it
    /// when it does; where the task has ended nothing comes of it.
    pub fn send(&self, task: TaskId, request: Request) {
        (self.send)(task, request);
    }

    /// Says that there is work for a runner that is away. Cheap, and never blocks.
    pub fn wake(&self) {
        if let Some(wake) = &self.wake {
            wake();
        }
    }
}

/// Where a runner is, as far as it matters for what it gets.
#[derive(Debug, Clone, Default)]
pub struct Location {
    /// Runners with the same number share a machine; 0 is this one.
    pub machine: usize,
    /// What a job's `labels` are looked up in.
    pub labels: Arc<[String]>,
    /// How many slots the machine has, of which a job takes as many as its `cpus` say.
    pub slots: u32,
    /// How many tokens of each of its `resources` there are.
    pub resources: Arc<BTreeMap<String, u32>>,
    /// It only keeps a task ready for when a slot there becomes free, and so hides the
    /// time that requests travel. It does not count as a slot.
    pub ahead: bool,
}

impl Location {
    /// Whether a job may run here: it finds the labels and the resources that it asks for.
    pub fn suits(&self, job: &Job) -> bool {
        let enough = |(name, count): (&String, &u32)| self.resources.get(name) >= Some(count);
        job.labels.iter().all(|label| self.labels.contains(label))
            && job.resources.iter().all(enough)
    }
}

/// Whether a runner can take tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// It can.
    Here,
    /// It cannot; [`Control::wake`] makes it try.
    Away {
        /// Why, where that is news; completes "failed to …".
        reason: Option<String>,
        /// How many times in a row it could not be reached or was lost, with nothing done between.
        failures: u32,
    },
}

/// Where a runner says that its presence changed.
pub type Tell = Box<dyn Fn(Presence) + Send + Sync>;

/// A task's machine went away, or could not run it. There is no verdict, and no process
/// of the task is left, so that another runner may have the task.
#[derive(Debug, Clone)]
pub struct Lost {
    /// What is recorded where this was the last try.
    pub why: Why,
    /// Completes "failed to …".
    pub reason: String,
}

/// The platform of this machine, which records carry.
pub fn platform() -> Platform {
    let uname = rustix::system::uname();
    Platform::of(
        &uname.sysname().to_string_lossy(),
        &uname.machine().to_string_lossy(),
    )
}

/// One place that runs one task at a time.
pub trait Runner: Send {
    /// What records say of who ran a task here.
    fn label(&self) -> &RunnerLabel;

    /// How to reach this runner while [`run`](Self::run) blocks.
    fn control(&self) -> Control;

    /// Where it is.
    fn place(&self) -> Location {
        Location::default()
    }

    /// Begins to report presence; says what it is now.
    fn attend(&mut self, _tell: Tell) -> Presence {
        Presence::Here
    }

    /// Runs a task to its end and returns only when none of its processes is left.
    ///
    /// An ended runner (its agent died) says [`Outcome::Errored`], and may be asked
    /// again: it sets itself up anew.
    ///
    /// # Errors
    /// [`Lost`] where the runner's machine went away, or another may do better.
    fn run(
        &mut self,
        assignment: &Assignment,
        watch: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Outcome, Lost>;
}
