//! The guard: what stands above a hub and ends everything below it in time.
//!
//! A host may run tasks as long as its dispatcher hears of it, and not a moment longer:
//! after that somebody else has them. The hub sees to that, but a hub that is stopped
//! (`SIGSTOP`, a debugger, a cgroup that is frozen) sees to nothing, and its agents know
//! no dispatcher. So the right to run is handed down as a deadline, which is put off each
//! time the dispatcher has acknowledged a sign of life:
//!
//! | Stopped | Who ends the jobs in time |
//! |---|---|
//! | nobody, or only agents | the hub; it also lets its agents go on |
//! | the hub | its agents, each its own jobs; and the guard |
//! | the hub and agents | the guard |
//! | the guard | the hub |
//! | the guard and the hub | its agents, each its own jobs |
//! | guard, hub and an agent | nobody: the job of that agent runs on |
//!
//! The guard is `git ci agent --stdio`, the parent of the hub and a subreaper, so that
//! nothing below it can hide, also where hub and agents are dead. It does nothing but
//! wait: it reads no frame, and is asked nothing. It has another name than the others
//! (`ci-guard`), so that whoever stops programs by name does not stop all three.

use std::fs::File;
use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::FdFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::process;

use super::lifeline::now;

/// How much later than the hub others act: it can say why, and they cannot.
pub(super) const MARGIN: Duration = Duration::from_millis(200);

/// What the guard is called.
const NAME: &str = "ci-guard";

/// Why a guard could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The system refuses what a guard needs.
    #[error("prepare to watch over jobs")]
    Prepare(#[source] io::Error),
    /// The hub could not be started.
    #[error("start a hub")]
    Start(#[source] io::Error),
    /// A process survived.
    #[error("end every process of the jobs")]
    Processes(#[source] io::Error),
}

/// Starts a hub by `program agent --hub --nonce NONCE --guard FD` with this process's
/// standard streams, and returns once it has ended, and with it everything below.
///
/// # Errors
/// Where it cannot be started, or something below it cannot be killed.
pub fn watch_over(program: &Path, nonce: &str) -> Result<(), GuardError> {
    process::become_subreaper().map_err(GuardError::Prepare)?;
    process::outlast_signals().map_err(GuardError::Prepare)?;
    // Where it keeps its name, nothing is lost but that.
    let _ = std::fs::write("/proc/self/comm", NAME);
    let (from, to) = io::pipe().map_err(GuardError::Prepare)?;
    // The hub's alone: here it is closed below, and there nothing else inherits it.
    rustix::io::fcntl_setfd(&to, FdFlags::empty())
        .map_err(|error| GuardError::Prepare(error.into()))?;
    let mut hub = Command::new(program)
        .args(["agent", "--hub", "--nonce", nonce, "--guard"])
        .arg(to.as_raw_fd().to_string())
        .spawn()
        .map_err(GuardError::Start)?;
    drop(to);
    let waited = wait(&hub_handle(&hub)?, from);
    // It has ended everything itself where it ended well; what is left then (a `git gc`
    // in the background) may stay.
    let well = matches!(waited, Ok(Waited::Ended))
        && matches!(hub.try_wait(), Ok(Some(status)) if status.success());
    if well {
        return Ok(());
    }
    process::end_everything().map_err(GuardError::Processes)
}

fn hub_handle(hub: &std::process::Child) -> Result<std::os::fd::OwnedFd, GuardError> {
    pidfd_open(Pid::from_child(hub), PidfdFlags::empty())
        .map_err(|error| GuardError::Prepare(error.into()))
}

/// What a guard waited for.
enum Waited {
    /// The hub has ended.
    Ended,
    /// The time of everything below is over.
    Over,
}

/// Waits until the hub has ended, or its time is over.
fn wait(hub: &std::os::fd::OwnedFd, mut from: PipeReader) -> io::Result<Waited> {
    let mut until: Option<Duration> = None;
    let mut open = true;
    loop {
        let left = until.map(|until| until.saturating_sub(now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut fds = vec![PollFd::from_borrowed_fd(hub.as_fd(), PollFlags::IN)];
        if open {
            fds.push(PollFd::from_borrowed_fd(from.as_fd(), PollFlags::IN));
        }
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        if ready[0] {
            return Ok(Waited::Ended);
        }
        if ready.get(1) == Some(&true) {
            // As it is written: whole, since it is shorter than any pipe.
            let mut bytes = [0; 8];
            match from.read_exact(&mut bytes) {
                Ok(()) => until = Some(Duration::from_nanos(u64::from_ne_bytes(bytes))),
                Err(_) => open = false,
            }
            continue;
        }
        if until.is_some_and(|until| now() >= until) {
            return Ok(Waited::Over);
        }
    }
}

/// The hub's line to its guard.
#[derive(Debug)]
pub struct Guarded {
    to: File,
}

impl Guarded {
    /// The line that the guard has named on the command line.
    ///
    /// # Errors
    /// Where there is none.
    pub fn open(descriptor: u32) -> io::Result<Self> {
        let path = format!("/proc/self/fd/{descriptor}");
        let to = File::options().write(true).open(path)?;
        Ok(Self { to })
    }

    /// Everything may go on until `until`, on the clock of [`now`].
    pub(super) fn renew(&mut self, until: Duration) -> io::Result<()> {
        let until = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        self.to.write_all(&until.to_ne_bytes())
    }

    /// Calls `gone` once the guard has died, from a thread of its own.
    pub(super) fn on_end(&self, gone: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let to = self.to.try_clone()?;
        std::thread::Builder::new()
            .name("guard".into())
            .spawn(move || {
                loop {
                    // Nobody reads any more: that is an error on this end.
                    let mut fds = [PollFd::new(&to, PollFlags::empty())];
                    match poll(&mut fds, None) {
                        Err(rustix::io::Errno::INTR) => {}
                        _ => break,
                    }
                }
                gone();
            })?;
        Ok(())
    }
}
