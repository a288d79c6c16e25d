//! What the parts of a run say to each other.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use jiff::Timestamp;

use crate::git::NotesError;
use crate::model::{Commit, Event, Outcome, RunnerLabel};
use crate::plan::PlannedJob;
use crate::process::Arrived;
use crate::runner::{Assignment, Control, Lost, Observed, Place, Presence, Runner};

use super::writer::Refused;

/// To the dispatcher, over the one channel.
#[derive(Debug)]
pub(super) enum Message {
    /// A worker is ready for its first task.
    Ask { worker: usize },
    /// A worker's task waits for a slot; for whom is part of a sentence.
    Waiting { worker: usize, reason: String },
    /// What a runner came upon, and the user should know: a sentence.
    Remark(String),
    /// A worker's task has its process.
    Started { worker: usize },
    /// The newest line of a worker's task, thinned out.
    Output { worker: usize, line: String },
    /// A worker's task ended; the worker is ready for the next.
    Finished { worker: usize, ended: Ended },
    /// A worker's machine came or went.
    Presence { worker: usize, presence: Presence },
    /// A worker is gone: told to, or by a panic.
    Gone { worker: usize },
    /// The writer is done with a batch, but for the notes that are named.
    Stored(Result<Vec<Refused>, NotesError>),
    /// The writer is gone: told to, or by a panic.
    WriterGone,
    /// A signal came.
    Signal(Arrived),
    /// What is wanted from now on, most urgent first: the rest is given up.
    Want {
        wanted: Vec<Wanted>,
        superseded: Superseded,
    },
    /// Something to report that the dispatcher itself does not see.
    Tell(Event),
    /// Nothing more will be wanted: end once all is done.
    Close,
}

/// A commit that is to be tested, with its jobs.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The commit.
    pub commit: Arc<Commit>,
    /// Its jobs.
    pub jobs: Arc<[PlannedJob]>,
    /// Goes before all that is not urgent, whatever worktree is warm for it.
    pub urgent: bool,
}

/// What becomes of tasks that run and are no longer wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Superseded {
    /// They are ended and leave no record.
    End,
    /// They run to their end.
    Finish,
}

/// The channel to a dispatcher, made before the run so that others can feed it.
#[derive(Debug)]
pub struct Mailbox {
    pub(super) sender: mpsc::Sender<Message>,
    pub(super) receiver: mpsc::Receiver<Message>,
}

impl Default for Mailbox {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel();
        Self { sender, receiver }
    }
}

impl Mailbox {
    /// A handle for whoever decides what is wanted while the run goes on.
    pub fn feed(&self) -> Feed {
        Feed(self.sender.clone())
    }
}

/// Tells a running dispatcher what is wanted.
#[derive(Debug, Clone)]
pub struct Feed(mpsc::Sender<Message>);

impl Feed {
    /// Replaces everything that was wanted before: tasks that are no longer in the list
    /// are dropped or, where they run, ended without a record unless `superseded` says
    /// otherwise. `false` where the run is over.
    pub fn want(&self, wanted: Vec<Wanted>, superseded: Superseded) -> bool {
        let message = Message::Want { wanted, superseded };
        self.0.send(message).is_ok()
    }

    /// Has something reported: a [`Note`](Event::Note), a [`Warning`](Event::Warning).
    /// `false` where the run is over, and with it whoever would have reported it.
    pub fn tell(&self, event: Event) -> bool {
        self.0.send(Message::Tell(event)).is_ok()
    }

    /// Says that nothing more will come; the run ends once all is done.
    pub fn close(&self) {
        // A run that is over needs no telling.
        let _ = self.0.send(Message::Close);
    }
}

/// How a try of a task ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// An error where its machine was lost, and nothing of it runs any more.
    pub(super) outcome: Result<Outcome, Lost>,
    pub(super) duration: Duration,
    pub(super) finished: Timestamp,
    pub(super) observed: Observed,
    /// The last lines of the log, where the outcome is no pass.
    pub(super) tail: Vec<String>,
}

/// To a worker. Its end of the channel closing means: stop.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) assignment: Assignment,
}

/// The dispatcher's side of a worker.
pub(super) struct Desk {
    /// `None` once it was told to stop.
    pub(super) orders: Option<mpsc::Sender<Order>>,
    pub(super) control: Control,
    pub(super) label: RunnerLabel,
    pub(super) place: Place,
    /// What it was at the beginning.
    pub(super) presence: Presence,
}

/// The two ends between the dispatcher and the worker of `runner`, which says to the
/// dispatcher when its machine comes and goes.
pub(super) fn desk(
    worker: usize,
    runner: &mut dyn Runner,
    to: &mpsc::Sender<Message>,
) -> (mpsc::Receiver<Order>, Desk) {
    let (send, receive) = mpsc::channel();
    let to = to.clone();
    let presence = runner.attend(Box::new(move |presence| {
        // A dispatcher that is gone needs to know nothing.
        let _ = to.send(Message::Presence { worker, presence });
    }));
    let desk = Desk {
        orders: Some(send),
        control: runner.control(),
        label: runner.label().clone(),
        place: runner.place(),
        presence,
    };
    (receive, desk)
}
