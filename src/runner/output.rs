//! A task's output on its way from the job's pipe to the dispatcher.
//!
//! The beginning goes as it comes, and where the way is full the job waits, as any
//! program does behind a slow pipe. What follows is always taken from the job; it goes in
//! its order, at a bounded pace, and what has not gone when more than the end's bound
//! has gathered is left out, oldest first. So a job that floods is not slowed down, the
//! newest output is under way within a moment once it stops, and the end is complete.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::model::TaskId;
use crate::process::JobProcess;

use super::agent_error::AgentError;
use super::channel::Channel;
use super::complaints::Complaints;
use super::protocol::{FromAgent, OutputLimits};

/// No frame carries more output, in bytes.
const CHUNK: usize = 64 << 10;

/// So much must be allowed before the next part goes, unless less than that is there.
const LEAST: usize = 16 << 10;

/// How much of a job's output is read before other things are looked at again, in bytes.
const READ_BURST: usize = 1 << 20;

/// The output of one task.
pub(super) struct Output {
    task: TaskId,
    limits: OutputLimits,
    /// How much was passed on or left out.
    at: u64,
    /// What follows that, and was not passed on.
    held: VecDeque<u8>,
    /// How much may be passed on of what follows the beginning, and when that was so.
    allowed: (f64, Instant),
    /// The pipe's end was seen.
    ended: bool,
    complaints: Complaints,
}

impl Output {
    /// Output that has not begun.
    pub(super) fn new(limits: OutputLimits, task: TaskId) -> Self {
        Self {
            task,
            limits,
            at: 0,
            held: VecDeque::new(),
            allowed: (limits.tail as f64, Instant::now()),
            ended: false,
            complaints: Complaints::default(),
        }
    }

    /// What the job has said of the machine.
    pub(super) fn complaints(&self) -> &Complaints {
        &self.complaints
    }

    /// What may still come of the beginning.
    fn head_left(&self) -> usize {
        let head = self.limits.head as u64;
        usize::try_from(head.saturating_sub(self.at)).unwrap_or(0)
    }

    /// Whether it is worth looking whether the job has written something.
    pub(super) fn wants<I: Read + AsFd, O: Write + AsFd>(&self, channel: &Channel<I, O>) -> bool {
        !self.ended && (self.head_left() == 0 || channel.has_room())
    }

    /// Takes what the job has written, unless it is too much for once.
    pub(super) fn read<I: Read + AsFd, O: Write + AsFd>(
        &mut self,
        channel: &mut Channel<I, O>,
        job: &mut JobProcess,
    ) -> Result<(), AgentError> {
        let mut read = 0;
        while read < READ_BURST && self.wants(channel) {
            let Some(count) = self.read_once(channel, job)? else {
                break;
            };
            read += count;
        }
        Ok(())
    }

    /// Reads once; `None` where there is nothing to read now.
    fn read_once<I: Read + AsFd, O: Write + AsFd>(
        &mut self,
        channel: &mut Channel<I, O>,
        job: &mut JobProcess,
    ) -> Result<Option<usize>, AgentError> {
        let mut bytes = [0; CHUNK];
        let count = job.read(&mut bytes).map_err(AgentError::Processes)?;
        self.ended |= count == Some(0);
        if let Some(count) = count {
            self.take(channel, &bytes[..count])?;
        }
        Ok(count)
    }

    fn take<I: Read + AsFd, O: Write + AsFd>(
        &mut self,
        channel: &mut Channel<I, O>,
        bytes: &[u8],
    ) -> Result<(), AgentError> {
        self.complaints.look_at(bytes);
        let (now, later) = bytes.split_at(bytes.len().min(self.head_left()));
        self.send(channel, now)?;
        self.held.extend(later);
        if self.held.len() > 2 * self.limits.tail {
            self.leave_out();
        }
        Ok(())
    }

    /// Forgets what does not belong to the end.
    fn leave_out(&mut self) {
        let surplus = self.held.len().saturating_sub(self.limits.tail);
        self.held.drain(..surplus);
        self.at += surplus as u64;
    }

    /// Passes on what may go now of what follows the beginning. Returns after how long
    /// more may go; `None` where there is no more, or where it waits for the channel.
    pub(super) fn pass_on<I: Read + AsFd, O: Write + AsFd>(
        &mut self,
        channel: &mut Channel<I, O>,
    ) -> Result<Option<Duration>, AgentError> {
        let now = Instant::now();
        let pace = self.limits.pace as f64;
        let gained = now.duration_since(self.allowed.1).as_secs_f64() * pace;
        self.allowed = ((self.allowed.0 + gained).min(self.limits.tail as f64), now);
        while !self.held.is_empty() && channel.has_room() {
            let next = self.held.len().min(CHUNK);
            let missing = next.min(LEAST) as f64 - self.allowed.0;
            if missing > 0.0 {
                return Ok(Some(Duration::from_secs_f64(missing / pace + 0.001)));
            }
            let next = next.min(self.allowed.0 as usize);
            self.allowed.0 -= next as f64;
            self.send_held(channel, next)?;
        }
        Ok(None)
    }

    /// Says something of git-ci's own, on a line of its own.
    pub(super) fn remark<I: Read + AsFd, O: Write + AsFd>(
        &mut self,
        channel: &mut Channel<I, O>,
        text: &str,
    ) -> Result<(), AgentError> {
        self.take(channel, format!("git-ci: {text}\n").as_bytes())
    }

    /// Takes the rest of what a process has written that has ended. Another one may follow.
    pub(super) fn drain<I: Read + AsFd, O: Write + AsFd>(
        &mut self,
        channel: &mut Channel<I, O>,
        job: &mut JobProcess,
    ) -> Result<(), AgentError> {
        loop {
            while !self.wants(channel) && !self.ended {
                channel.flush()?;
            }
            if self.ended || self.read_once(channel, job)?.is_none() {
                break;
            }
        }
        self.ended = false;
        Ok(())
    }

    /// Sends all that belongs to the end.
    pub(super) fn finish<I: Read + AsFd, O: Write + AsFd>(
        mut self,
        channel: &mut Channel<I, O>,
    ) -> Result<(), AgentError> {
        self.leave_out();
        while !self.held.is_empty() {
            let next = self.held.len().min(CHUNK);
            self.send_held(channel, next)?;
            if !channel.has_room() {
                channel.flush()?;
            }
        }
        Ok(())
    }

    fn send_held<I: Read + AsFd, O: Write + AsFd>(
        &mut self,
        channel: &mut Channel<I, O>,
        count: usize,
    ) -> Result<(), AgentError> {
        let bytes: Vec<u8> = self.held.drain(..count).collect();
        self.send(channel, &bytes)
    }

    fn send<I: Read + AsFd, O: Write + AsFd>(
        &mut self,
        channel: &mut Channel<I, O>,
        bytes: &[u8],
    ) -> Result<(), AgentError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (task, at) = (self.task, self.at);
        self.at += bytes.len() as u64;
        let bytes = bytes.to_vec();
        channel.send(&FromAgent::Output { task, at, bytes })
    }
}
