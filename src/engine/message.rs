//! What the parts of a run say to each other.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use jiff::Timestamp;

use crate::model::{
    Commit, Event, JobName, Oid, Outcome, Reason, RunnerLabel, TaskResult, TestReport,
};
use crate::notes::NotesError;
use crate::plan::{Action, Plan, PlannedJob};
use crate::process::{Arrived, Peer};
use crate::runner::{Assignment, Control, Location, Lost, Observed, Presence, Runner};

use super::claims::Right;
use super::control::{Reply, Request};

/// To the dispatcher, over the one channel.
#[derive(Debug)]
pub(super) enum Message {
    /// A worker is ready for a task.
    Ask { worker: usize },
    /// A worker has the right to what its task tests, and waits for [`WorkerCommand::Go`]; or the
    /// reason why that cannot be had.
    Claimed {
        worker: usize,
        claim: std::io::Result<Right>,
    },
    /// Another run works on what a worker's task tests, as far as is known this one; the
    /// worker is ready for another.
    Contended { worker: usize, owner: Option<Peer> },
    /// A worker's task waits for a slot; for whom is part of a sentence.
    Waiting { worker: usize, reason: String },
    /// What a runner came upon, and the user should know: a sentence.
    Remark(String),
    /// A worker's task has its process.
    Started { worker: usize },
    /// The newest line of a worker's task, thinned out.
    Output { worker: usize, line: String },
    /// A worker's task failed, and is tried again.
    Retried {
        worker: usize,
        /// The try that begins, from 2.
        try_: u32,
        /// What came of the last one.
        outcome: Outcome,
        /// What looks like the failure in its output, and the last lines of that.
        tail: Vec<String>,
    },
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
        /// Commits that are wanted, too, and not listed yet.
        more: u64,
        superseded: Superseded,
    },
    /// Another process asks.
    Control(Request, mpsc::Sender<Reply>),
    /// Something to report that the dispatcher itself does not see.
    Tell(Event),
    /// Nothing more will be wanted: end once all is done.
    Close,
}

/// A commit that is to be tested, with its jobs.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// The commit.
    pub commit: Arc<Commit>,
    /// Its jobs.
    pub jobs: Arc<[PlannedJob]>,
    /// Goes before all that is not urgent, whatever worktree is warm for it.
    pub urgent: bool,
    /// What is to be done about each job, where that was decided before.
    pub decided: Option<Vec<(Action, Reason)>>,
}

impl Wanted {
    /// All that a plan wants.
    pub(super) fn of_plan(plan: Plan) -> Vec<Self> {
        let mut wanted: Vec<Self> = Vec::new();
        let mut entries = plan.entries.into_iter().peekable();
        while let Some(first) = entries.peek() {
            let commit = Arc::clone(&first.task.commit);
            let (mut jobs, mut decided) = (Vec::new(), Vec::new());
            while let Some(entry) = entries.next_if(|entry| entry.task.commit.id == commit.id) {
                jobs.push(PlannedJob::of_task(&entry.task));
                decided.push((entry.action, entry.task.reason));
            }
            wanted.push(Self {
                commit,
                jobs: jobs.into(),
                urgent: false,
                decided: Some(decided),
            });
        }
        wanted
    }
}

/// A commit of which nothing is left to do.
#[derive(Debug)]
pub(crate) struct CommitDone {
    /// The commit.
    pub commit: Arc<Commit>,
    /// The jobs that were wanted.
    pub jobs: Vec<JobName>,
    /// Those of them that were cancelled on request.
    pub cancelled: Vec<JobName>,
    /// What came of the others, in the order of their ends.
    pub tasks: Vec<TaskResult>,
    /// Tasks are left without a verdict for the next run.
    pub is_left: bool,
}

/// What becomes of tasks that run and are no longer wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Superseded {
    /// They are ended and leave no record.
    End,
    /// They run to their end.
    Finish,
}

/// The channel to a dispatcher, made before the run so that others can feed it.
#[derive(Debug)]
pub(crate) struct Mailbox {
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
    pub(crate) fn feed(&self) -> Feed {
        Feed(self.sender.clone())
    }
}

/// Tells a running dispatcher what is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Feed(mpsc::Sender<Message>);

impl Feed {
    /// Replaces everything that was wanted before: tasks that are no longer in the list
    /// are dropped or, where they run, ended without a record unless `superseded` says
    /// otherwise. `more` commits will be in the list once these are done. `false` where the
    /// run is over.
    pub(crate) fn want(&self, wanted: Vec<Wanted>, more: u64, superseded: Superseded) -> bool {
        let message = Message::Want {
            wanted,
            more,
            superseded,
        };
        self.0.send(message).is_ok()
    }

    /// Answers a request of another process, after all that was wanted before it; `None`
    /// where the run is over.
    pub(crate) fn answer(&self, request: Request) -> Option<Reply> {
        let (reply, answer) = mpsc::channel();
        self.pass_on(request, reply);
        answer.recv().ok()
    }

    /// The same for whoever does not wait for the answer himself.
    pub(crate) fn pass_on(&self, request: Request, to: mpsc::Sender<Reply>) {
        // Of a run that is over whoever asked hears by the end of his channel.
        let _ = self.0.send(Message::Control(request, to));
    }

    /// Has something reported: a [`Note`](Event::Note), a [`Warning`](Event::Warning).
    /// `false` where the run is over, and with it whoever would have reported it.
    pub(crate) fn tell(&self, event: Event) -> bool {
        self.0.send(Message::Tell(event)).is_ok()
    }

    /// Says that nothing more will come; the run ends once all is done.
    pub(crate) fn close(&self) {
        // A run that is over needs no telling.
        let _ = self.0.send(Message::Close);
    }
}

/// A note that a batch could not add to; the rest of the batch is stored.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) commit: Oid,
    /// Completes "failed to …".
    pub(super) reason: String,
}

/// How a try of a task ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// An error where its machine was lost, and nothing of it runs any more.
    pub(super) outcome: Result<Outcome, Lost>,
    /// Which try it was, from 1.
    pub(super) try_: u32,
    pub(super) duration: Duration,
    pub(super) finished: Timestamp,
    pub(super) observed: Observed,
    /// What its tests said, of all tries.
    pub(super) tests: Option<TestReport>,
    /// What looks like the failure in the log, and its end, where the outcome is no pass.
    pub(super) tail: Vec<String>,
}

impl Ended {
    /// The end of a task that no runner has begun.
    pub(super) fn unbegun(outcome: Outcome) -> Self {
        Self {
            outcome: Ok(outcome),
            try_: 1,
            duration: Duration::ZERO,
            finished: Timestamp::now(),
            observed: Observed::default(),
            tests: None,
            tail: Vec::new(),
        }
    }
}

/// To a worker. Its end of the channel closing means: stop.
#[derive(Debug)]
pub(super) enum WorkerCommand {
    /// Claim what this task tests and, where it is recorded, ask once more.
    Run(Box<Assignment>),
    /// Run what was claimed.
    Go,
    /// Do not run it.
    Skip,
}

/// The dispatcher's side of a worker.
pub(super) struct WorkerHandle {
    /// `None` once it was told to stop.
    pub(super) commands: Option<mpsc::Sender<WorkerCommand>>,
    pub(super) control: Control,
    pub(super) label: RunnerLabel,
    pub(super) place: Location,
    /// What it was at the beginning.
    pub(super) presence: Presence,
}

/// The two ends between the dispatcher and the worker of `runner`, which says to the
/// dispatcher when its machine comes and goes.
pub(super) fn connect(
    worker: usize,
    runner: &mut dyn Runner,
    to: &mpsc::Sender<Message>,
) -> (mpsc::Receiver<WorkerCommand>, WorkerHandle) {
    let (send, receive) = mpsc::channel();
    let to = to.clone();
    let presence = runner.attend(Box::new(move |presence| {
        // A dispatcher that is gone needs to know nothing.
        let _ = to.send(Message::Presence { worker, presence });
    }));
    let handle = WorkerHandle {
        commands: Some(send),
        control: runner.control(),
        label: runner.label().clone(),
        place: runner.place(),
        presence,
    };
    (receive, handle)
}
