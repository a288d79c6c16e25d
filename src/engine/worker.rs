//! A worker: asks for a task, claims what it tests, runs it on its runner, keeps its log,
//! says how it went.

use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::fail;
use crate::logs::{LogStore, LogTask, LogWriter};
use crate::model::{LogId, Outcome, TaskId, TestReport, Why};
use crate::reporter::why_text;
use crate::runner::{Assignment, Control, Lost, Observed, Progress, Request, Runner};

use super::claims::{Claim, Claims};
use super::message::{Ended, Message, WorkerCommand};

/// How many lines of a failed task's log go with its result.
const TAIL_LINES: usize = 20;

/// A task's newest line of output is passed on at most this often.
const OUTPUT_INTERVAL: Duration = Duration::from_millis(100);

/// No more of a line is passed on, in bytes.
const OUTPUT_LINE: usize = 400;

/// Runs tasks until the commands end.
pub(super) fn run(
    worker: usize,
    runner: &mut dyn Runner,
    logs: &LogStore,
    claims: &Claims,
    to: &Sender<Message>,
    commands: &Receiver<WorkerCommand>,
) {
    /// Tells the dispatcher that the worker is gone, also when it panics.
    struct Farewell<'a>(usize, &'a Sender<Message>);
    impl Drop for Farewell<'_> {
        fn drop(&mut self) {
            let _ = self.1.send(Message::Gone { worker: self.0 });
        }
    }
    let _farewell = Farewell(worker, to);

    let mut message = Message::Ask { worker };
    // A dispatcher that is gone needs no answer.
    while to.send(message).is_ok() {
        let assignment = match commands.recv() {
            Ok(WorkerCommand::Run(assignment)) => assignment,
            Ok(WorkerCommand::Go | WorkerCommand::Skip) => {
                message = Message::Ask { worker };
                continue;
            }
            Err(_) => return,
        };
        if assignment.task.recorded {
            let claim = match claims.try_claim(&assignment.task) {
                Ok(Claim::Held(right)) => Ok(right),
                Ok(Claim::Elsewhere(owner)) => {
                    message = Message::Contended { worker, owner };
                    continue;
                }
                Err(error) => Err(error),
            };
            if to.send(Message::Claimed { worker, claim }).is_err() {
                return;
            }
            match commands.recv() {
                Ok(WorkerCommand::Go) => {}
                Ok(WorkerCommand::Run(_) | WorkerCommand::Skip) => {
                    message = Message::Ask { worker };
                    continue;
                }
                Err(_) => return,
            }
        }
        let ended = execute(worker, runner, logs, to, &assignment);
        message = Message::Finished { worker, ended };
    }
}

fn execute(
    worker: usize,
    runner: &mut dyn Runner,
    logs: &LogStore,
    to: &Sender<Message>,
    assignment: &Assignment,
) -> Ended {
    fail::point("executing");
    let start = Instant::now();
    let mut tried = Tried::default();
    let task = &assignment.task;
    let of = LogTask {
        commit: task.commit.id,
        job: task.job.name.clone(),
    };
    let mut assignment = assignment.clone();
    let mut before: Option<TestReport> = None;
    let outcome = match logs.create(&assignment.log, &of) {
        Err(error) => Ok(log_error(&error)),
        Ok(log) => {
            let mut output = Output::new(worker, task.id, log, runner.control(), to);
            let outcome = loop {
                tried = Tried::default();
                let outcome = attempt(worker, runner, to, &assignment, &mut output, &mut tried);
                let Ok(failed) = &outcome else {
                    break outcome;
                };
                if !failed.is_failure() || assignment.try_ > task.job.retries {
                    break outcome;
                }
                assignment.try_ += 1;
                let tests = tried.observed.tests.take();
                before = merged(before, tests);
                output.retry(assignment.try_, failed);
                let _ = to.send(Message::Retried {
                    worker,
                    try_: assignment.try_,
                    outcome: failed.clone(),
                    tail: tail(logs, &assignment.log),
                });
            };
            if let Ok(Outcome::Errored { reason, .. }) | Err(Lost { reason, .. }) = &outcome {
                output.remark(&format!("git-ci: failed to {reason}\n"));
            }
            match output.finish() {
                Err(error) => Ok(log_error(&error)),
                Ok(()) => outcome,
            }
        }
    };
    let tests = match before {
        Some(before) => tried.observed.tests.take().map(|tests| tests.after(before)),
        None => tried.observed.tests.take(),
    };
    if let Some(tests) = &tests
        && let Err(error) = logs.keep_tests(&assignment.log, tests)
    {
        let message = format!(
            "failed to keep what the tests of {} said: {error}",
            task.job.name
        );
        let _ = to.send(Message::Remark(message));
    }
    let tail = match outcome {
        Ok(Outcome::Passed | Outcome::Skipped | Outcome::Cancelled) => Vec::new(),
        _ => tail(logs, &assignment.log),
    };
    let Tried {
        begun,
        ran,
        observed,
    } = tried;
    Ended {
        outcome,
        try_: assignment.try_,
        duration: ran.unwrap_or_else(|| begun.unwrap_or(start).elapsed()),
        finished: Timestamp::now(),
        observed,
        tests,
        tail,
    }
}

/// What the tests of two tries said that failed.
fn merged(before: Option<TestReport>, tests: Option<TestReport>) -> Option<TestReport> {
    match (before, tests) {
        (Some(mut before), Some(tests)) => {
            before.add(tests);
            Some(before)
        }
        (before, tests) => before.or(tests),
    }
}

/// What was seen of a try.
#[derive(Default)]
struct Tried {
    /// When its process was started.
    begun: Option<Instant>,
    /// How long it ran.
    ran: Option<Duration>,
    observed: Observed,
}

/// Runs a task once.
fn attempt(
    worker: usize,
    runner: &mut dyn Runner,
    to: &Sender<Message>,
    assignment: &Assignment,
    output: &mut Output<'_>,
    tried: &mut Tried,
) -> Result<Outcome, Lost> {
    runner.run(assignment, &mut |progress| match progress {
        Progress::Started { .. } => {
            tried.begun = Some(Instant::now());
            if assignment.try_ == 1 {
                let _ = to.send(Message::Started { worker });
            }
        }
        Progress::Output { at, bytes } => output.append(at, bytes),
        Progress::Waiting(reason) => {
            let reason = reason.to_owned();
            let _ = to.send(Message::Waiting { worker, reason });
        }
        Progress::Note(message) => {
            let message = message.to_owned();
            let _ = to.send(Message::Remark(message));
        }
        // Its runner sees to that.
        Progress::Artifact(_) => {}
        Progress::Ran(time) => tried.ran = Some(time),
        Progress::Observed(seen) => tried.observed = seen,
    })
}

/// What looks like the failure in a log, and its end; nothing where it is not here.
pub(super) fn tail(logs: &LogStore, log: &LogId) -> Vec<String> {
    let lines = logs.excerpt(log, TAIL_LINES).unwrap_or_default();
    let text = |line: Vec<u8>| String::from_utf8_lossy(&line).into_owned();
    lines.into_iter().map(text).collect()
}

fn log_error(error: &std::io::Error) -> Outcome {
    Outcome::Errored {
        why: Why::Log,
        reason: format!("write the log: {error}"),
    }
}

/// Where a task's output goes: all of it into the log, a line now and then to the dispatcher.
struct Output<'a> {
    worker: usize,
    task: TaskId,
    log: LogWriter,
    /// Where the output of this try begins.
    base: u64,
    failed: Option<std::io::Error>,
    control: Control,
    to: &'a Sender<Message>,
    sent: Option<Instant>,
    /// The last line that has anything on it, as far as it has come.
    line: Vec<u8>,
    /// Whether `line` is complete, so that the next byte begins another.
    ended: bool,
}

impl<'a> Output<'a> {
    fn new(
        worker: usize,
        task: TaskId,
        log: LogWriter,
        control: Control,
        to: &'a Sender<Message>,
    ) -> Self {
        Self {
            worker,
            task,
            log,
            base: 0,
            failed: None,
            control,
            to,
            sent: None,
            line: Vec::new(),
            ended: false,
        }
    }

    fn append(&mut self, at: u64, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        if let Err(error) = self.log.append(self.base + at, bytes) {
            // A job whose log is lost is not worth running on.
            self.failed = Some(error);
            self.control.send(self.task, Request::Kill);
            return;
        }
        self.follow(bytes);
        if !self.line.is_empty()
            && self
                .sent
                .is_none_or(|sent| sent.elapsed() >= OUTPUT_INTERVAL)
        {
            self.sent = Some(Instant::now());
            let _ = self.to.send(Message::Output {
                worker: self.worker,
                line: String::from_utf8_lossy(&self.line).into_owned(),
            });
        }
    }

    /// Writes what is not the job's into the log.
    fn remark(&mut self, text: &str) {
        if self.failed.is_none() {
            self.failed = self.log.remark(text).err();
        }
    }

    /// Says that another try follows, the output of which comes behind this one's.
    fn retry(&mut self, try_: u32, failed: &Outcome) {
        let how = failed.verdict(1).and_then(|(_, why)| why);
        let how = how.map_or_else(String::new, |why| format!(" ({})", why_text(why)));
        self.remark(&format!("git-ci: it failed{how}; try {try_} follows\n"));
        self.base = self.log.end();
    }

    /// Keeps `line` up with the output. A carriage return begins a line anew, as
    /// progress bars use it.
    fn follow(&mut self, bytes: &[u8]) {
        // Only the last few lines of a large chunk can matter.
        let bytes = &bytes[bytes.len().saturating_sub(4 * OUTPUT_LINE)..];
        for &byte in bytes {
            match byte {
                b'\n' | b'\r' => self.ended = true,
                _ => {
                    if self.ended {
                        self.ended = false;
                        self.line.clear();
                    }
                    if self.line.len() < OUTPUT_LINE {
                        self.line.push(byte);
                    }
                }
            }
        }
    }

    fn finish(self) -> std::io::Result<()> {
        let finished = self.log.finish();
        match self.failed {
            Some(error) => Err(error),
            None => finished,
        }
    }
}
