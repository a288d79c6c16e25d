//! The agent's end of the channel to its dispatcher.
//!
//! Sending never waits. What a dispatcher does not read stays here until it does, so
//! that one that stands still (stopped, or behind a slow link) keeps the agent neither
//! from a request nor from a job's timeout. It is for those who send much to look at
//! [`Channel::has_room`] before.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};

use crate::model::TaskId;

use super::Request;
use super::agent_error::AgentError;
use super::lifeline::now;
use super::protocol::{Decoder, FromAgent, ToAgent, encode};

/// So many bytes may wait for the dispatcher before there is no room for more of a job's output.
const ROOM: usize = 256 << 10;

/// The two directions of the channel.
pub(super) struct Channel<I, O> {
    input: I,
    output: O,
    decoder: Decoder,
    closed: bool,
    /// What waits to be written, from `written` on.
    waiting: Vec<u8>,
    written: usize,
    /// Until when anything may run, on the clock of [`now`].
    until: Option<Duration>,
}

impl<I: Read + AsFd, O: Write + AsFd> Channel<I, O> {
    /// A channel on which nothing was said yet.
    ///
    /// # Errors
    /// Where the output cannot be kept from blocking.
    pub(super) fn new(input: I, output: O) -> io::Result<Self> {
        // A pipe's end is the agent's alone. A terminal would be everybody's who has it.
        if FileType::from_raw_mode(fstat(&output)?.st_mode) == FileType::Fifo {
            fcntl_setfl(&output, fcntl_getfl(&output)? | OFlags::NONBLOCK)?;
        }
        Ok(Self {
            input,
            output,
            decoder: Decoder::default(),
            closed: false,
            waiting: Vec::new(),
            written: 0,
            until: None,
        })
    }

    /// Sends a frame, or as much of it as goes now.
    pub(super) fn send(&mut self, frame: &FromAgent) -> Result<(), AgentError> {
        let bytes = encode(frame).map_err(AgentError::Channel)?;
        if self.written > ROOM {
            self.waiting.drain(..self.written);
            self.written = 0;
        }
        self.waiting.extend_from_slice(&bytes);
        self.write()
    }

    /// Whether so little waits to be written that more of a job's output may be sent.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() - self.written < ROOM
    }

    /// Writes what waits, as far as it goes without waiting.
    fn write(&mut self) -> Result<(), AgentError> {
        while self.is_unwritten() {
            match self.output.write(&self.waiting[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Err(AgentError::DispatcherGone);
                }
                Err(error) => return Err(AgentError::Channel(error)),
            }
        }
        self.waiting.clear();
        self.written = 0;
        Ok(())
    }

    /// Waits until everything is written; an error once the dispatcher is gone.
    pub(super) fn flush(&mut self) -> Result<(), AgentError> {
        while self.is_unwritten() {
            if self.closed {
                return Err(AgentError::DispatcherGone);
            }
            self.poll([], None)?;
        }
        Ok(())
    }

    fn is_unwritten(&self) -> bool {
        self.written < self.waiting.len()
    }

    /// Waits until one of `fds` is readable (or closed), the channel has moved in either
    /// direction, or `timeout` is over; says which of `fds` are readable.
    pub(super) fn poll<const N: usize>(
        &mut self,
        fds: [BorrowedFd<'_>; N],
        timeout: Option<Duration>,
    ) -> Result<[bool; N], AgentError> {
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut polled: Vec<_> = fds.into_iter().map(readable).collect();
        // An input whose end was seen would be readable for ever.
        let input = (!self.closed).then(|| readable(self.input.as_fd()));
        let output = self.is_unwritten();
        let output = output.then(|| PollFd::new(&self.output, PollFlags::OUT));
        let (has_input, has_output) = (input.is_some(), output.is_some());
        polled.extend(input.into_iter().chain(output));
        let left = self.until.map(|until| until.saturating_sub(now()));
        let timeout = timeout.into_iter().chain(left).min();
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(AgentError::Processes(error.into())),
        }
        let mut ready = polled.iter().map(|fd| !fd.revents().is_empty());
        let fds = std::array::from_fn(|_| ready.next() == Some(true));
        let input = has_input && ready.next() == Some(true);
        let output = has_output && ready.next() == Some(true);
        drop(polled);
        if input {
            self.read()?;
        }
        if output {
            self.write()?;
        }
        Ok(fds)
    }

    /// Reads what has come; waits where there is nothing.
    fn read(&mut self) -> Result<(), AgentError> {
        let mut bytes = [0; 16 << 10];
        match self.input.read(&mut bytes) {
            Ok(0) => self.closed = true,
            Ok(count) => self.decoder.feed(&bytes[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(AgentError::Channel(error)),
        }
        Ok(())
    }

    /// The next frame that has come whole; an error once the dispatcher is gone, or the
    /// time is over that it gave.
    fn next(&mut self) -> Result<Option<ToAgent>, AgentError> {
        loop {
            return match self.decoder.next_frame().map_err(AgentError::Channel)? {
                Some(ToAgent::Until { boottime }) => {
                    self.until = Some(Duration::from_nanos(boottime));
                    continue;
                }
                None if self.closed => Err(AgentError::DispatcherGone),
                // What puts it off may be there, and have waited while this process could not.
                None if self.until.is_some_and(|until| now() >= until) => Err(AgentError::TimeOver),
                frame => Ok(frame),
            };
        }
    }

    /// Waits for the next frame.
    pub(super) fn wait(&mut self) -> Result<ToAgent, AgentError> {
        loop {
            if let Some(frame) = self.next()? {
                return Ok(frame);
            }
            if self.is_unwritten() {
                self.poll([], None)?;
            } else {
                self.read()?;
            }
        }
    }

    /// What is asked of the task that runs.
    pub(super) fn request(&mut self, running: TaskId) -> Result<Option<Request>, AgentError> {
        while let Some(frame) = self.next()? {
            match frame {
                ToAgent::Request { task, request } if task == running => return Ok(Some(request)),
                ToAgent::Request { .. } => {}
                // One task at a time: a dispatcher that sends more is broken.
                ToAgent::Run(_) | ToAgent::Hello { .. } | ToAgent::Until { .. } => {
                    let error = io::Error::new(io::ErrorKind::InvalidData, "a frame out of turn");
                    return Err(AgentError::Channel(error));
                }
            }
        }
        Ok(None)
    }
}
