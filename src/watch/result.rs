//! `--on-result`: a command of the user's for each commit that is done.

use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::engine::Feed;
use crate::git::forget_repository;
use crate::model::{Event, Oid, Status, TaskResult, json_line, printable, printable_line};
use crate::process::{self, ExitKind, Leftover, Streams};

/// So many results wait for the command; more are left out.
const WAITING: usize = 100;

/// How long the command may take for one.
const LIMIT: Duration = Duration::from_secs(60);

/// How long a command that is ended may take to tidy up.
const GRACE: Duration = Duration::from_secs(1);

/// How often a command that runs is looked at.
const GLANCE: Duration = Duration::from_millis(20);

/// No more of what it has to say is passed on.
const MOST_SAID: u64 = 1000;

/// What came of a commit.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct CommitResult {
    /// The version of the format.
    pub(super) format: u32,
    /// The commit.
    pub(super) commit: Oid,
    /// The first line of its message, raw.
    pub(super) subject: String,
    /// The watched refs that are at it.
    pub(super) refs: Vec<String>,
    /// The worst that counts.
    pub(super) status: Status,
    /// Its tasks.
    pub(super) tasks: Vec<TaskResult>,
}

/// The worst of what counts; a pass where nothing does.
pub(super) fn worst(tasks: &[TaskResult]) -> Status {
    let counts = |task: &&TaskResult| !(task.allowed && task.status == Status::Fail);
    let counted = tasks.iter().filter(counts).map(|task| task.status);
    counted.min().unwrap_or(Status::Pass)
}

/// The way to the command.
#[derive(Debug, Clone)]
pub(crate) struct OnResult {
    to: SyncSender<CommitResult>,
}

/// The command's end of the way.
pub(crate) struct ResultCommand {
    command: String,
    results: Receiver<CommitResult>,
    abandoned: Arc<AtomicBool>,
    /// What it left running in the background, which may be on purpose while the watch
    /// goes on.
    left: Vec<Leftover>,
}

/// Says that no more results are worth the wait.
#[derive(Debug, Clone)]
pub(crate) struct Abandon(Arc<AtomicBool>);

impl Abandon {
    /// Ends the command that runs, and leaves out those that wait.
    pub(crate) fn abandon(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Both ends for a shell command.
pub(crate) fn on_result(command: String) -> (OnResult, ResultCommand, Abandon) {
    let (to, results) = mpsc::sync_channel(WAITING);
    let abandoned = Arc::new(AtomicBool::new(false));
    let abandon = Abandon(Arc::clone(&abandoned));
    let command = ResultCommand {
        command,
        results,
        abandoned,
        left: Vec::new(),
    };
    (OnResult { to }, command, abandon)
}

impl OnResult {
    /// Hands a result over; `false` where too many wait.
    pub(super) fn send(&self, result: CommitResult) -> bool {
        self.to.try_send(result).is_ok()
    }
}

impl ResultCommand {
    /// Runs the command for each result, one after the other, in the directory `dir`.
    /// Returns the warnings that came after the end of the run, which reports nothing
    /// any more: the command for the last result is often slower than that.
    pub(crate) fn work(mut self, dir: &Path, feed: &Feed) -> Vec<String> {
        let mut late = Vec::new();
        while let Ok(result) = self.results.recv() {
            if self.abandoned.load(Ordering::Relaxed) {
                break;
            }
            if let Err(reason) = self.run(dir, &result) {
                let commit = result.commit.short();
                let message = format!("failed to pass on the result of {commit}: {reason}");
                let event = Event::Warning {
                    message: message.clone(),
                };
                if !feed.tell(event) {
                    late.push(message);
                }
            }
        }
        for leftover in self.left {
            leftover.end(GRACE);
        }
        late
    }

    fn run(&mut self, dir: &Path, result: &CommitResult) -> Result<(), String> {
        let text = |error: std::io::Error| error.to_string();
        let mut said = tempfile::tempfile().map_err(text)?;
        // A file and no pipe: a command that does not read must not hold us up.
        let mut input = tempfile::tempfile().map_err(text)?;
        input
            .write_all(json_line(result).as_bytes())
            .map_err(text)?;
        input.rewind().map_err(text)?;
        let mut command = Command::new("sh");
        forget_repository(&mut command);
        command
            .args(["-c", &self.command])
            .current_dir(dir)
            .env("GIT_CI_COMMIT", result.commit.to_string())
            .env("GIT_CI_STATUS", result.status.as_str())
            // Whatever the command does with them: on a terminal they are only text.
            .env(
                "GIT_CI_SUBJECT",
                &*printable_line(result.subject.as_bytes()),
            )
            .env(
                "GIT_CI_REFS",
                &*printable_line(result.refs.join(" ").as_bytes()),
            );
        let streams = Streams {
            stdin: Some(input.into()),
            stdout: None,
            stderr: Some(said.try_clone().map_err(text)?.into()),
        };
        let child = process::start(&command, streams).map_err(text)?;
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.wait_for(GLANCE).map_err(text)? {
                break status;
            }
            let abandoned = self.abandoned.load(Ordering::Relaxed);
            if abandoned || begun.elapsed() > LIMIT {
                child.end(GRACE);
                return if abandoned {
                    Ok(())
                } else {
                    Err(format!("it took longer than {} s", LIMIT.as_secs()))
                };
            }
        };
        self.left.extend(child.leave().map_err(text)?);
        self.left.retain(Leftover::lives);
        if status == ExitKind::Exited(0) {
            return Ok(());
        }
        let mut words = Vec::new();
        // Without its words there is still the exit code.
        let _ = said.rewind();
        let _ = said.take(MOST_SAID).read_to_end(&mut words);
        let words = printable(&words);
        Err(format!("{status} {}", words.trim()).trim_end().to_owned())
    }
}
