//! A task that waits for a slot, and tells for whom.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::model::TaskId;
use crate::worktree::{Holder, Pool};

use super::agent_error::AgentError;
use super::channel::Channel;
use super::protocol::FromAgent;

/// A task that waits no longer than this waits in silence.
const SILENT: Duration = Duration::from_secs(1);

/// How often to look who is waited for.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often what others have of the machine is tried, at first and later on.
const SOON: Duration = Duration::from_millis(25);
const LATE: Duration = Duration::from_millis(250);

/// When the same is said again: whoever looks at the end of a log wants to know.
const AGAIN: Duration = Duration::from_secs(60);

/// How long a task has waited, and what was said about it.
pub(super) struct Waiting {
    task: TaskId,
    since: Instant,
    looked: Instant,
    /// The first of those who have slots and whether it was stopped, and when that was said.
    said: Option<((Option<Holder>, bool), Instant)>,
    /// For what else it waits, and when that was said.
    waits_for: Option<(String, Instant)>,
}

impl Waiting {
    /// A task that begins to wait.
    pub(super) fn new(task: TaskId) -> Self {
        let now = Instant::now();
        Self {
            task,
            since: now,
            looked: now,
            said: None,
            waits_for: None,
        }
    }

    /// How long until what the machine has is asked for again: the longer the more it has waited.
    pub(super) fn interval(&self) -> Duration {
        (self.since.elapsed() / 16).clamp(SOON, LATE)
    }

    /// Says for what the task waits that is no slot, where that is new.
    pub(super) fn tell_of<I: Read + AsFd, O: Write + AsFd>(
        &mut self,
        channel: &mut Channel<I, O>,
        reason: String,
    ) -> Result<(), AgentError> {
        let is_news = self
            .waits_for
            .as_ref()
            .is_none_or(|(said, at)| *said != reason || at.elapsed() >= AGAIN);
        if self.since.elapsed() >= SILENT && is_news {
            self.waits_for = Some((reason.clone(), Instant::now()));
            let task = self.task;
            channel.send(&FromAgent::Waiting { task, reason })?;
        }
        Ok(())
    }

    /// Says for whom the task waits, where that is new, and what is wrong with slots.
    pub(super) fn tell<I: Read + AsFd, O: Write + AsFd>(
        &mut self,
        channel: &mut Channel<I, O>,
        pool: &mut Pool<'_>,
    ) -> Result<(), AgentError> {
        for message in pool.take_notes() {
            channel.send(&FromAgent::Note { message })?;
        }
        if self.since.elapsed() < SILENT || self.looked.elapsed() < INTERVAL && self.said.is_some()
        {
            return Ok(());
        }
        self.looked = Instant::now();
        let holders = pool.holders();
        let reason = match holders.split_first() {
            Some((first, [])) => first.describe(),
            Some((first, others)) => format!("{}, and {} more", first.describe(), others.len()),
            None => "other tasks that wait come first, or another copy of this repository has \
                     its worktrees"
                .to_owned(),
        };
        let first = holders.into_iter().next();
        let stopped = first
            .as_ref()
            .is_some_and(|holder| holder.works_for().is_stopped());
        let who = (first, stopped);
        let news = self
            .said
            .as_ref()
            .is_none_or(|(said, at)| *said != who || at.elapsed() >= AGAIN);
        if news {
            let task = self.task;
            channel.send(&FromAgent::Waiting { task, reason })?;
            self.said = Some((who, Instant::now()));
        }
        Ok(())
    }
}
