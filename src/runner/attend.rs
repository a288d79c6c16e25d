//! Doing what comes before a job in a way that can be ended.
//!
//! What prepares a worktree is git and the user's filters, and a `key` is any command:
//! they may do anything and take any time. That goes on in the agent's own thread, where
//! the lease is; another one listens to the dispatcher meanwhile, and ends what runs below
//! this process when it is asked to, when the job's timeout is over, and when the
//! dispatcher is gone.

use std::io::{self, PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::git::Gate;
use crate::process;

use super::agent_error::AgentError;
use super::channel::Channel;
use super::course::{Course, Ending, Limits};
use super::protocol::RunTask;

/// How often something that says nothing is looked at.
const GLANCE: Duration = Duration::from_secs(1);

/// How often what is to be killed is looked for, while there may be more of it.
const INSISTENCE: Duration = Duration::from_millis(5);

/// Does `work` in this thread, and what is asked of the task meanwhile; returns what came
/// of it, and why it was ended, if it was. Nothing that it started is left then.
///
/// # Errors
/// Where the dispatcher is gone, or the machine makes it impossible to go on.
pub(super) fn attend<I: Read + AsFd + Send, O: Write + AsFd + Send, T>(
    channel: &mut Channel<I, O>,
    gate: &Gate,
    task: &RunTask,
    work: impl FnOnce() -> T,
) -> Result<(T, Option<Ending>), AgentError> {
    gate.open();
    let (end, done) = io::pipe().map_err(AgentError::Prepare)?;
    let (result, ending) = thread::scope(|scope| {
        let watch = thread::Builder::new().spawn_scoped(scope, || watch(channel, gate, task, &end));
        let watch = watch.map_err(AgentError::Prepare)?;
        let result = work();
        drop(done);
        let ending = watch.join();
        let ending = ending.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok::<_, AgentError>((result, ending))
    })?;
    let ending = ending?;
    if ending.is_some() {
        process::end_everything().map_err(AgentError::Processes)?;
    }
    Ok((result, ending))
}

/// Listens to the dispatcher until the other end of `end` is closed; returns why the work
/// was ended, if it was.
fn watch<I: Read + AsFd, O: Write + AsFd>(
    channel: &mut Channel<I, O>,
    gate: &Gate,
    task: &RunTask,
    end: &PipeReader,
) -> Result<Option<Ending>, AgentError> {
    let mut course = Course::begin(Limits {
        silence: None,
        ..Limits::of(&task.job)
    });
    let listened = listen(channel, gate, task, end, &mut course);
    if listened.is_err() {
        gate.close();
        while !is_closed(end, INSISTENCE) {
            process::signal_everything(Signal::KILL);
        }
    }
    listened.map(|()| course.ending())
}

fn listen<I: Read + AsFd, O: Write + AsFd>(
    channel: &mut Channel<I, O>,
    gate: &Gate,
    task: &RunTask,
    end: &PipeReader,
    course: &mut Course,
) -> Result<(), AgentError> {
    let signal = |signal| {
        match signal {
            Signal::STOP => gate.hold(),
            Signal::CONT => gate.release(),
            _ => gate.close(),
        }
        process::signal_everything(signal);
    };
    loop {
        let [ended] = channel.poll([end.as_fd()], Some(course.timeout(GLANCE)))?;
        if ended {
            return Ok(());
        }
        course.take_requests(channel, task.task, signal)?;
        // A process that was being started when all were killed is seen the next time.
        if course.was_killed() || course.is_graceless() {
            course.kill(signal);
        } else if let Some(why) = course.overdue() {
            course.end(why, signal);
        }
    }
}

fn is_closed(end: &PipeReader, timeout: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: timeout.subsec_nanos().into(),
    };
    let mut polled = [PollFd::new(end, PollFlags::IN)];
    poll(&mut polled, Some(&timeout)).is_ok_and(|ready| ready > 0)
}
