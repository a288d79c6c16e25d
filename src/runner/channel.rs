//! The agent's end of the channel to its dispatcher.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::model::TaskId;

use super::Request;
use super::agent::AgentError;
use super::protocol::{Decoder, FromAgent, ToAgent, send};

/// The two directions of the channel.
pub(super) struct Channel<I, O> {
    pub(super) input: I,
    output: O,
    decoder: Decoder,
    closed: bool,
}

impl<I: Read + AsFd, O: Write> Channel<I, O> {
    /// A channel on which nothing was said yet.
    pub(super) fn new(input: I, output: O) -> Self {
        Self {
            input,
            output,
            decoder: Decoder::default(),
            closed: false,
        }
    }

    pub(super) fn send(&mut self, frame: &FromAgent) -> Result<(), AgentError> {
        send(&mut self.output, frame).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => AgentError::DispatcherGone,
            _ => AgentError::Channel(error),
        })
    }

    /// Reads what has come; the input must be readable.
    pub(super) fn read(&mut self) -> Result<(), AgentError> {
        let mut bytes = [0; 16 << 10];
        match self.input.read(&mut bytes) {
            Ok(0) => self.closed = true,
            Ok(count) => self.decoder.feed(&bytes[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(AgentError::Channel(error)),
        }
        Ok(())
    }

    /// The next frame that has come whole; an error once the dispatcher is gone.
    fn next(&mut self) -> Result<Option<ToAgent>, AgentError> {
        match self.decoder.next_frame().map_err(AgentError::Channel)? {
            None if self.closed => Err(AgentError::DispatcherGone),
            frame => Ok(frame),
        }
    }

    /// Waits for the next frame.
    pub(super) fn wait(&mut self) -> Result<ToAgent, AgentError> {
        loop {
            if let Some(frame) = self.next()? {
                return Ok(frame);
            }
            self.read()?;
        }
    }

    /// What is asked of the task that runs.
    pub(super) fn request(&mut self, running: TaskId) -> Result<Option<Request>, AgentError> {
        while let Some(frame) = self.next()? {
            match frame {
                ToAgent::Request { task, request } if task == running => return Ok(Some(request)),
                ToAgent::Request { .. } => {}
                // One task at a time: a dispatcher that sends more is broken.
                ToAgent::Run(_) | ToAgent::Hello { .. } => {
                    let error = io::Error::new(io::ErrorKind::InvalidData, "a frame out of turn");
                    return Err(AgentError::Channel(error));
                }
            }
        }
        Ok(None)
    }
}

/// Waits until one of `fds` is readable (or closed) or `patience` is over; says which are.
pub(super) fn wait<const N: usize>(
    fds: [BorrowedFd<'_>; N],
    patience: Option<Duration>,
) -> Result<[bool; N], AgentError> {
    let mut polled = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    let timeout = patience.map(|patience| Timespec {
        tv_sec: patience.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: patience.subsec_nanos().into(),
    });
    match poll(&mut polled, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(AgentError::Processes(error.into())),
    }
    Ok(polled.map(|fd| !fd.revents().is_empty()))
}
