//! The runner of this machine: an agent of our own behind two pipes.
//!
//! The agent is started when the first task comes and again after it died. It leads a
//! session of its own, so that a Ctrl-C at the terminal reaches only the dispatcher,
//! which decides what to do about it, and nothing below the agent has a terminal to wait at.
//!
//! A job may stop its agent, or kill it. The first is undone. After the second what the
//! agent had is this process's, which is a subreaper; it is ended, and one new agent tries
//! the task once more.

use std::io::{self, PipeReader, PipeWriter, Read as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use crate::git::forget_repository;
use crate::model::{Outcome, RunnerLabel, TaskId, Why};
use crate::process::{self, Leader, Streams};

use super::pending_requests::PendingRequests;
use super::protocol::{Decoder, FromAgent, PROTOCOL, RunTask, Setup, ToAgent, send};
use super::{Assignment, Control, Location, Lost, Progress, Request, Runner};

/// How often an agent that says nothing is looked at.
const GLANCE: Duration = Duration::from_secs(1);

/// How long an agent may take to end its jobs and itself once its input has ended.
const END_TIMEOUT: Duration = Duration::from_secs(15);

/// What a log says where a task begins anew.
const ONCE_MORE: &str = "git-ci: the agent of this job was lost; a new one tries once more\n";

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
    process: Leader,
    /// When it was started, in clock ticks since boot.
    started: u64,
    from: PipeReader,
    decoder: Decoder,
}

/// An agent is lost, and with it what it ran.
#[derive(Debug)]
pub(super) struct AgentLost {
    /// Completes "failed to …".
    pub(super) reason: String,
    /// It ended without a word, so that another may do better.
    died: bool,
    /// What it ran may be running on: it could not be ended.
    pub(super) survived: bool,
}

/// Why an agent is no longer followed.
struct Broken {
    what: String,
    died: bool,
}

impl Broken {
    fn died(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            died: true,
        }
    }
}

/// The way to the agent, shared with whoever has requests for it.
#[derive(Default)]
struct Line {
    to: Option<PipeWriter>,
    agent: Option<Pid>,
    running: Option<TaskId>,
    /// The task that was asked to end last.
    ended: Option<TaskId>,
    early: PendingRequests,
    /// Until when everything may run, where that is limited.
    until: Option<Duration>,
}

impl Line {
    fn send(&mut self, frame: &ToAgent) -> std::io::Result<()> {
        match &mut self.to {
            Some(to) => send(to, frame),
            None => Err(std::io::ErrorKind::NotConnected.into()),
        }
    }

    fn send_until(&mut self) -> io::Result<()> {
        match self.until {
            Some(until) => self.send(&ToAgent::Until {
                boottime: u64::try_from(until.as_nanos()).unwrap_or(u64::MAX),
            }),
            None => Ok(()),
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

    /// Limits how long everything may run, from any thread: until then, on the clock of
    /// [`now`](super::lifeline::now), unless it is put off.
    pub(super) fn limit(&self) -> impl Fn(Duration) + Send + 'static {
        let line = Arc::clone(&self.line);
        move |until| {
            let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
            line.until = Some(until);
            // An agent that is gone runs nothing.
            let _ = line.send_until();
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
        command.arg("agent");
        let (input, to) = std::io::pipe()?;
        let (from, output) = std::io::pipe()?;
        let streams = Streams {
            stdin: Some(input.into()),
            stdout: Some(output.into()),
            stderr: Some(rustix::stdio::stderr().try_clone_to_owned()?),
        };
        let process = process::start_agent(&command, streams)?;
        let mut line = self.line();
        line.to = Some(to);
        line.agent = Some(process.pid());
        let hello = ToAgent::Hello {
            protocol: PROTOCOL,
            setup: self.spec.setup.clone(),
        };
        let sent = line.send(&hello).and_then(|()| line.send_until());
        drop(line);
        self.agent = Some(Agent {
            // Without it everything would count as older, so that nothing is killed in vain.
            started: process::start_time(process.id()).unwrap_or(u64::MAX),
            process,
            from,
            decoder: Decoder::default(),
        });
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
    ) -> Result<Outcome, AgentLost> {
        let task = frame.task;
        if let Err(error) = self.connect() {
            let _ = self.disconnect();
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
            Err(error) => Err(Broken::died(error.to_string())),
        };
        self.line().running = None;
        outcome.map_err(|broken| {
            let ended = self.disconnect();
            let mut reason = format!("keep the agent: {}", broken.what);
            if let Err(error) = &ended {
                reason = format!("{reason}, and what it ran: {error}");
            }
            AgentLost {
                reason,
                died: broken.died,
                survived: ended.is_err(),
            }
        })
    }

    /// Ends the agent, in whatever state it is, and what it leaves where it was killed.
    ///
    /// # Errors
    /// Where something of it survives.
    fn disconnect(&mut self) -> io::Result<()> {
        let mut line = self.line();
        line.wake();
        line.to = None;
        line.agent = None;
        drop(line);
        let Some(mut agent) = self.agent.take() else {
            return Ok(());
        };
        // Its input has ended, so it ends by itself once its job is gone. Output that
        // nobody reads must not keep it.
        drop(agent.from);
        match agent.process.wait_for(END_TIMEOUT)? {
            Some(_) => agent.process.reap().map(|_| ())?,
            None => agent.process.end(Duration::ZERO),
        }
        process::end_adopted(agent.started)
    }

    /// Stays with the agent until the task is done; an error where the agent is lost.
    fn follow(
        &mut self,
        task: TaskId,
        watch: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Outcome, Broken> {
        let Some(agent) = &mut self.agent else {
            return Err(Broken::died("there is none"));
        };
        loop {
            match agent
                .next()
                .map_err(|error| Broken::died(error.to_string()))?
            {
                FromAgent::Hello { protocol: PROTOCOL } => {}
                FromAgent::Hello { protocol } => {
                    let what = format!("it speaks version {protocol} of the protocol");
                    return Err(Broken { what, died: false });
                }
                FromAgent::Started { task: of, slot, .. } if of == task => {
                    watch(Progress::Started { slot });
                }
                FromAgent::Waiting { task: of, reason } if of == task => {
                    watch(Progress::Waiting(&reason));
                }
                FromAgent::Note { message } => watch(Progress::Note(&message)),
                FromAgent::Output {
                    task: of,
                    at,
                    bytes,
                } if of == task => {
                    watch(Progress::Output { at, bytes: &bytes });
                }
                FromAgent::Ran { task: of, time } if of == task => watch(Progress::Ran(time)),
                FromAgent::Artifact { task: of, part } if of == task => {
                    watch(Progress::Artifact(part));
                }
                FromAgent::Done {
                    task: of,
                    result,
                    observed,
                } if of == task => {
                    watch(Progress::Observed(observed));
                    return Ok(result);
                }
                FromAgent::Failed { reason } => {
                    let what = format!("it failed to {reason}");
                    return Err(Broken { what, died: false });
                }
                _ => {} // Of a task that is no longer anybody's.
            }
        }
    }
}

impl Agent {
    /// Waits for the next frame.
    fn next(&mut self) -> io::Result<FromAgent> {
        let glance = Timespec {
            tv_sec: GLANCE.as_secs().try_into().unwrap_or(1),
            tv_nsec: 0,
        };
        let mut bytes = [0; 64 << 10];
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(frame);
            }
            let mut fds = [PollFd::from_borrowed_fd(self.from.as_fd(), PollFlags::IN)];
            match poll(&mut fds, Some(&glance)) {
                Ok(0) => self.look_after(),
                Ok(_) => match self.from.read(&mut bytes)? {
                    0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended")),
                    count => self.decoder.feed(&bytes[..count]),
                },
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What there is to do now and then.
    fn look_after(&self) {
        // Nobody but its job stops an agent, and stopped it cannot see that job's end.
        if self.process.is_stopped() {
            let _ = kill_process(self.process.pid(), Signal::CONT);
        }
        process::reap_adopted();
    }
}

impl Runner for LocalRunner {
    fn label(&self) -> &RunnerLabel {
        &self.spec.setup.label
    }

    fn place(&self) -> Location {
        Location {
            labels: Arc::clone(&self.spec.labels),
            slots: self.spec.setup.slots,
            resources: Arc::new(self.spec.setup.machine.counts()),
            ..Location::default()
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
                    line.ended = Some(task);
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
        let frame = RunTask::new(assignment);
        // How much output a first agent passed on, and whether it had started.
        let (mut before, mut started) = (0, false);
        let mut first = |progress: Progress<'_>| {
            match &progress {
                Progress::Output { at, bytes } => before = at + bytes.len() as u64,
                Progress::Started { .. } => started = true,
                _ => {}
            }
            watch(progress);
        };
        let mut ended = self.execute(frame.clone(), &mut first);
        let asked = |runner: &Self| runner.line().ended == Some(frame.task);
        if let Err(lost) = &ended
            && lost.died
            && !lost.survived
            && !asked(self)
        {
            let bytes = ONCE_MORE.as_bytes();
            watch(Progress::Output { at: before, bytes });
            before += bytes.len() as u64;
            ended = self.execute(frame.clone(), &mut |progress| match progress {
                // That it does so twice is nobody else's business.
                Progress::Started { .. } if started => {}
                Progress::Output { at, bytes } => watch(Progress::Output {
                    at: before + at,
                    bytes,
                }),
                progress => watch(progress),
            });
        }
        // This machine is still here, and so nothing is to be tried elsewhere.
        Ok(ended.unwrap_or_else(|lost| {
            if asked(self) {
                Outcome::Cancelled
            } else {
                Outcome::Errored {
                    why: Why::RunnerLost,
                    reason: lost.reason,
                }
            }
        }))
    }
}

impl Drop for LocalRunner {
    fn drop(&mut self) {
        // The next lease of the slot finds what survived.
        let _ = self.disconnect();
    }
}
