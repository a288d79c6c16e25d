//! Staying with what a task runs until nothing of it is left to wait for.
//!
//! One `poll`: everything that can happen to it is one of its entries.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::process::Signal;

use crate::model::TaskId;
use crate::process::{self, ExitKind, JobProcess};

use super::agent_error::AgentError;
use super::channel::Channel;
use super::course::{Course, Ending, Limits};
use super::output::Output;

/// How often something that says nothing is looked at.
const GLANCE: Duration = Duration::from_secs(1);

/// What became of a job.
pub(super) struct Followed {
    pub(super) ending: Option<Ending>,
    pub(super) exit: ExitKind,
    /// How long it ran.
    pub(super) ran: Duration,
}

/// Stays with a job until its leader has ended, and where it was asked to end, until
/// everything of it has: what cleans up may be another process than the leader.
///
/// # Errors
/// Where the dispatcher is gone, or the job cannot be followed.
pub(super) fn follow<I: Read + AsFd, O: Write + AsFd>(
    channel: &mut Channel<I, O>,
    task: TaskId,
    limits: Limits,
    job: &mut JobProcess,
    output: &mut Output,
) -> Result<Followed, AgentError> {
    let mut course = Course::begin(limits);
    let mut exit: Option<ExitKind> = None;
    let mut stopped = false;
    loop {
        let more = output.pass_on(channel)?;
        let timeout = course.timeout(GLANCE);
        let timeout = more.map_or(timeout, |more| more.min(timeout));
        let wanted = output.wants(channel);
        // What is not wanted, or was seen to end, would be readable for ever.
        let [readable, exited] = match (wanted, exit.is_none()) {
            (true, true) => channel.poll([job.output_fd(), job.exit_fd()], Some(timeout))?,
            (true, false) => {
                let [readable] = channel.poll([job.output_fd()], Some(timeout))?;
                [readable, false]
            }
            (false, true) => {
                let [exited] = channel.poll([job.exit_fd()], Some(timeout))?;
                [false, exited]
            }
            (false, false) => {
                channel.poll([], Some(timeout))?;
                [false, false]
            }
        };
        course.take_requests(channel, task, |signal| job.signal(signal))?;
        if readable {
            output.read(channel, job)?;
            course.hear();
        }
        if exited && exit.is_none() {
            exit = job.ended().map_err(AgentError::Processes)?;
        }
        if let Some(exit) = exit
            && (course.ending().is_none() || course.was_killed() || !process::anything_lives())
        {
            return Ok(Followed {
                ending: course.ending(),
                exit,
                ran: course.elapsed(),
            });
        }
        if course.is_graceless() {
            course.kill(|signal| job.signal(signal));
        } else if let Some(why) = course.overdue() {
            course.end(why, |signal| job.signal(signal));
        }
        // Where all of it is stopped nobody is left to let it go on. Seen twice, since
        // whoever does such things may be in the middle of it.
        let idle = !readable && !exited && timeout == GLANCE && !course.is_paused();
        let stop = idle && process::everything_is_stopped();
        if stop && std::mem::replace(&mut stopped, stop) {
            job.signal(Signal::CONT);
        }
        stopped = stop;
    }
}
