//! How a task is ended before its time: on request, or because its time is over.
//!
//! The same for a checkout and for the job after it: first `SIGTERM` for all there is,
//! then, when `grace` is over and anything of it still runs, `SIGKILL`.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::model::{Job, TaskId};

use super::Request;
use super::agent_error::AgentError;
use super::channel::Channel;

/// How often what is being ended is looked at once there is nothing to wait for but its
/// end, of which nothing tells.
const GLANCE: Duration = Duration::from_millis(5);

/// Why a task is being ended before it ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The dispatcher asked. Whatever the job says now is no verdict.
    Asked,
    /// It ran for longer than it may.
    TimedOut(Duration),
    /// It said nothing for longer than it may.
    Silent(Duration),
}

/// A clock that can be stopped: running time, not counting what the machine slept.
struct Clock {
    before: Duration,
    running_since: Option<Instant>,
}

impl Clock {
    fn start() -> Self {
        Self {
            before: Duration::ZERO,
            running_since: Some(Instant::now()),
        }
    }

    fn elapsed(&self) -> Duration {
        let running = self.running_since.map(|since| since.elapsed());
        self.before + running.unwrap_or_default()
    }

    fn pause(&mut self) {
        self.before = self.elapsed();
        self.running_since = None;
    }

    fn resume(&mut self) {
        self.running_since.get_or_insert_with(Instant::now);
    }
}

/// How long something may run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// In all.
    pub(super) timeout: Option<Duration>,
    /// Without saying anything.
    pub(super) silence: Option<Duration>,
    /// After it was asked to end.
    pub(super) grace: Duration,
}

impl Limits {
    /// Those of a job.
    pub(super) fn of(job: &Job) -> Self {
        Self {
            timeout: job.timeout,
            silence: job.silence,
            grace: job.grace,
        }
    }
}

/// What was decided of something that runs.
pub(super) struct Course {
    limits: Limits,
    /// When it said something last, in running time.
    heard: Duration,
    clock: Clock,
    ending: Option<(Ending, Instant)>,
    killed: bool,
}

impl Course {
    /// Something that begins now.
    pub(super) fn begin(limits: Limits) -> Self {
        Self {
            limits,
            heard: Duration::ZERO,
            clock: Clock::start(),
            ending: None,
            killed: false,
        }
    }

    /// For how long it has run.
    pub(super) fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// It has said something.
    pub(super) fn hear(&mut self) {
        self.heard = self.clock.elapsed();
    }

    /// The running time at which it is ended, and why.
    fn end_at(&self) -> Option<(Duration, Ending)> {
        let Limits {
            timeout, silence, ..
        } = self.limits;
        let timeout = timeout.map(|limit| (limit, Ending::TimedOut(limit)));
        let silence = silence.map(|limit| (self.heard + limit, Ending::Silent(limit)));
        timeout.into_iter().chain(silence).min_by_key(|(at, _)| *at)
    }

    /// Why it is being ended, if it is.
    pub(super) fn ending(&self) -> Option<Ending> {
        self.ending.map(|(ending, _)| ending)
    }

    /// Whether there is nothing gentle left to do.
    pub(super) fn was_killed(&self) -> bool {
        self.killed
    }

    /// Whether its processes were stopped on request.
    pub(super) fn is_paused(&self) -> bool {
        self.clock.running_since.is_none()
    }

    /// How long there is nothing to do unless something happens; at most `most`.
    pub(super) fn timeout(&self, most: Duration) -> Duration {
        let due = match self.ending {
            _ if self.killed => Some(GLANCE),
            Some((_, since)) => Some(
                self.limits
                    .grace
                    .saturating_sub(since.elapsed())
                    .min(GLANCE),
            ),
            None if self.is_paused() => None,
            None => {
                let end = self.end_at();
                end.map(|(at, _)| at.saturating_sub(self.clock.elapsed()))
            }
        };
        due.map_or(most, |due| due.min(most))
    }

    /// Does what is asked; `signal` reaches everything that runs.
    ///
    /// # Errors
    /// Where the dispatcher is gone.
    pub(super) fn take_requests<I: Read + AsFd, O: Write + AsFd>(
        &mut self,
        channel: &mut Channel<I, O>,
        task: TaskId,
        signal: impl Fn(Signal),
    ) -> Result<(), AgentError> {
        while let Some(request) = channel.request(task)? {
            match request {
                Request::Terminate => self.end(Ending::Asked, &signal),
                Request::Kill => {
                    self.ending.get_or_insert((Ending::Asked, Instant::now()));
                    self.kill(&signal);
                }
                Request::Pause => {
                    self.clock.pause();
                    signal(Signal::STOP);
                }
                Request::Resume => {
                    self.clock.resume();
                    signal(Signal::CONT);
                }
            }
        }
        Ok(())
    }

    /// Why it is to be ended now, where its time is over and nothing was done about it.
    pub(super) fn overdue(&self) -> Option<Ending> {
        let (at, ending) = self.end_at()?;
        let is_over = self.ending.is_none() && self.clock.elapsed() >= at;
        is_over.then_some(ending)
    }

    /// Whether the grace is over and nothing was done about it.
    pub(super) fn is_graceless(&self) -> bool {
        let over = |(_, since): (_, Instant)| since.elapsed() >= self.limits.grace;
        !self.killed && self.ending.is_some_and(over)
    }

    /// Asks everything to end, once. What is stopped, by us or by itself, could not hear it.
    pub(super) fn end(&mut self, why: Ending, signal: impl Fn(Signal)) {
        if self.ending.is_none() {
            self.ending = Some((why, Instant::now()));
            self.clock.resume();
            signal(Signal::TERM);
            signal(Signal::CONT);
        }
    }

    /// Kills everything.
    pub(super) fn kill(&mut self, signal: impl Fn(Signal)) {
        self.killed = true;
        signal(Signal::KILL);
    }
}
