//! The runner of this machine: an agent of our own behind two pipes.
//!
//! The agent is started when the first task comes and again after it died. It is in a
//! process group of its own, so that a Ctrl-C at the terminal reaches only the
//! dispatcher, which decides what to do about it.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};

use crate::git::forget_repository;
use crate::model::{Outcome, RunnerLabel, TaskId, Why};

use super::early::Early;
use super::protocol::{FromAgent, PROTOCOL, RunTask, Setup, ToAgent, receive, send};
use super::{Assignment, Control, Lost, Place, Progress, Request, Runner};

/// How to start an agent on this machine.
#[derive(Debug, Clone)]
pub struct LocalSpec {
    /// The program: this one.
    pub program: PathBuf,
    /// What a job's `labels` are looked up in.
    pub labels: Arc<[String]>,
    /// What the agent works with.
    pub setup: Setup,
}

/// Runs tasks on this machine, one at a time.
pub struct LocalRunner {
    spec: LocalSpec,
    agent: Option<Agent>,
    line: Arc<Mutex<Line>>,
}

/// An agent's process.
struct Agent {
    process: Child,
    from: ChildStdout,
}

/// The way to the agent, shared with whoever has requests for it.
#[derive(Default)]
struct Line {
    to: Option<ChildStdin>,
    agent: Option<Pid>,
    running: Option<TaskId>,
    early: Early,
}

impl Line {
    fn send(&mut self, frame: &ToAgent) -> std::io::Result<()> {
        match &mut self.to {
            Some(to) => send(to, frame),
            None => Err(std::io::ErrorKind::NotConnected.into()),
        }
    }

    /// Lets an agent go on that its job has stopped: it has to end that job.
    fn wake(&self) {
        if let Some(agent) = self.agent {
            // It may have ended; until it is waited for, its id is nobody else's.
            let _ = kill_process(agent, Signal::CONT);
        }
    }
}

impl LocalRunner {
    /// A runner without an agent yet.
    pub fn new(spec: LocalSpec) -> Self {
        Self {
            spec,
            agent: None,
            line: Arc::default(),
        }
    }

    fn line(&self) -> std::sync::MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the agent unless it runs.
    fn connect(&mut self) -> std::io::Result<()> {
        if self.agent.is_some() {
            return Ok(());
        }
        let mut command = Command::new(&self.spec.program);
        forget_repository(&mut command);
        let mut process = command
            .arg("agent")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let pipes = process.stdin.take().zip(process.stdout.take());
        let (to, from) = pipes.ok_or(std::io::ErrorKind::BrokenPipe)?;
        let mut line = self.line();
        line.to = Some(to);
        line.agent = Some(Pid::from_child(&process));
        let hello = ToAgent::Hello {
            protocol: PROTOCOL,
            setup: self.spec.setup.clone(),
        };
        let sent = line.send(&hello);
        drop(line);
        self.agent = Some(Agent { process, from });
        sent
    }

    /// Runs a task to its end.
    ///
    /// # Errors
    /// Where the agent is lost.
    pub(super) fn execute(
        &mut self,
        frame: RunTask,
        watch: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Outcome, Lost> {
        let task = frame.task;
        if let Err(error) = self.connect() {
            self.disconnect();
            return Ok(Outcome::Errored {
                why: Why::Spawn,
                reason: format!("start an agent: {error}"),
            });
        }
        let mut line = self.line();
        line.running = Some(task);
        let mut sent = line.send(&ToAgent::Run(Box::new(frame)));
        for request in line.early.take(task) {
            sent = sent.and_then(|()| line.send(&ToAgent::Request { task, request }));
        }
        drop(line);
        let outcome = match sent {
            Ok(()) => self.follow(task, watch),
            Err(error) => Err(error.to_string()),
        };
        self.line().running = None;
        outcome.map_err(|lost| {
            self.disconnect();
            Lost {
                why: Why::RunnerLost,
                reason: format!("keep the agent: {lost}"),
            }
        })
    }

    /// Ends the agent, in whatever state it is.
    fn disconnect(&mut self) {
        let mut line = self.line();
        line.wake();
        line.to = None;
        line.agent = None;
        drop(line);
        if let Some(mut agent) = self.agent.take() {
            // Its input has ended, so it ends by itself once its job is gone. Output
            // that nobody reads must not keep it.
            drop(agent.from);
            let _ = agent.process.wait();
        }
    }

    /// Stays with the agent until the task is done; an error where the agent is lost.
    fn follow(
        &mut self,
        task: TaskId,
        watch: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Outcome, String> {
        let Some(agent) = &mut self.agent else {
            return Err("no agent".to_owned());
        };
        loop {
            match receive::<FromAgent>(&mut agent.from) {
                Ok(Some(FromAgent::Hello { protocol: PROTOCOL })) => {}
                Ok(Some(FromAgent::Hello { protocol })) => {
                    return Err(format!("it speaks version {protocol} of the protocol"));
                }
                Ok(Some(FromAgent::Started { task: of, slot, .. })) if of == task => {
                    watch(Progress::Started { slot });
                }
                Ok(Some(FromAgent::Output {
                    task: of,
                    at,
                    bytes,
                })) if of == task => {
                    watch(Progress::Output { at, bytes: &bytes });
                }
                Ok(Some(FromAgent::Ran { task: of, time })) if of == task => {
                    watch(Progress::Ran(time));
                }
                Ok(Some(FromAgent::Done {
                    task: of,
                    result,
                    observed,
                })) if of == task => {
                    watch(Progress::Observed(observed));
                    return Ok(result);
                }
                Ok(Some(FromAgent::Failed { reason })) => {
                    return Err(format!("it failed to {reason}"));
                }
                Ok(Some(_)) => {} // Of a task that is no longer anybody's.
                Ok(None) => return Err("it ended".to_owned()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

impl Runner for LocalRunner {
    fn label(&self) -> &RunnerLabel {
        &self.spec.setup.label
    }

    fn place(&self) -> Place {
        Place {
            labels: Arc::clone(&self.spec.labels),
            ..Place::default()
        }
    }

    fn control(&self) -> Control {
        let line = Arc::clone(&self.line);
        Control::new(move |task: TaskId, request: Request| {
            let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
            if line.running == Some(task) {
                // An agent that is gone needs no request; `follow` sees that it is.
                let _ = line.send(&ToAgent::Request { task, request });
                if matches!(request, Request::Terminate | Request::Kill) {
                    line.wake();
                }
            } else {
                line.early.keep(task, request);
            }
        })
    }

    fn run(
        &mut self,
        assignment: &Assignment,
        watch: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Outcome, Lost> {
        let frame = RunTask::new(
            assignment.task.id,
            assignment.try_,
            &assignment.task.commit,
            &assignment.task.job,
            &assignment.log,
        );
        // This machine is still here, and so nothing is to be tried elsewhere.
        Ok(self
            .execute(frame, watch)
            .unwrap_or_else(|lost| Outcome::Errored {
                why: lost.why,
                reason: lost.reason,
            }))
    }
}

impl Drop for LocalRunner {
    fn drop(&mut self) {
        self.disconnect();
    }
}
