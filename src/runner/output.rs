//! A task's output on its way from the job's pipe to the dispatcher.

use std::io::{Read, Write};
use std::os::fd::AsFd;

use crate::model::TaskId;
use crate::process::JobProcess;

use super::agent::AgentError;
use super::channel::Channel;
use super::protocol::{FromAgent, Setup};

/// A task's output on its way to the dispatcher: the beginning at once, of the rest
/// only the end, once it is known to be the end.
pub(super) struct Output {
    task: TaskId,
    /// Bytes of the beginning that may still come.
    head: usize,
    /// The size of the end that is kept.
    keep: usize,
    /// At least the last `keep` bytes after the beginning.
    tail: Vec<u8>,
    /// Bytes after the beginning, all told.
    beyond: u64,
    /// The pipe's end was seen.
    pub(super) ended: bool,
}

impl Output {
    pub(super) fn new(setup: &Setup, task: TaskId) -> Self {
        Self {
            task,
            head: setup.output.head,
            keep: setup.output.tail,
            tail: Vec::new(),
            beyond: 0,
            ended: false,
        }
    }

    /// Reads at most about `burst` bytes of what there is.
    pub(super) fn read<I: Read + AsFd, O: Write>(
        &mut self,
        channel: &mut Channel<I, O>,
        job: &mut JobProcess,
        burst: usize,
    ) -> Result<(), AgentError> {
        let mut bytes = [0; 64 << 10];
        let mut read = 0;
        while read < burst && !self.ended {
            match job.read(&mut bytes).map_err(AgentError::Processes)? {
                None => break,
                Some(0) => self.ended = true,
                Some(count) => {
                    read += count;
                    self.take(channel, &bytes[..count])?;
                }
            }
        }
        Ok(())
    }

    fn take<I: Read + AsFd, O: Write>(
        &mut self,
        channel: &mut Channel<I, O>,
        bytes: &[u8],
    ) -> Result<(), AgentError> {
        let (now, later) = bytes.split_at(bytes.len().min(self.head));
        if !now.is_empty() {
            self.head -= now.len();
            self.send(channel, now)?;
        }
        self.beyond += later.len() as u64;
        self.tail.extend_from_slice(later);
        if self.tail.len() > 2 * self.keep {
            self.tail.drain(..self.tail.len() - self.keep);
        }
        Ok(())
    }

    /// Sends the end, and says what was left out before it.
    pub(super) fn finish<I: Read + AsFd, O: Write>(
        mut self,
        channel: &mut Channel<I, O>,
    ) -> Result<(), AgentError> {
        let surplus = self.tail.len().saturating_sub(self.keep);
        self.tail.drain(..surplus);
        let left_out = self.beyond - self.tail.len() as u64;
        if left_out > 0 {
            let marker = format!("\n[git-ci: {left_out} bytes left out]\n");
            self.send(channel, marker.as_bytes())?;
        }
        let tail = std::mem::take(&mut self.tail);
        for chunk in tail.chunks(256 << 10) {
            self.send(channel, chunk)?;
        }
        Ok(())
    }

    fn send<I: Read + AsFd, O: Write>(
        &self,
        channel: &mut Channel<I, O>,
        bytes: &[u8],
    ) -> Result<(), AgentError> {
        channel.send(&FromAgent::Output {
            task: self.task,
            bytes: bytes.to_vec(),
        })
    }
}
