//! Processes that lead a session of their own.
//!
//! Whatever git-ci starts and does not wait for at once is started so: jobs, agents,
//! fetches, the ways to hosts, commands of the user's. Without a controlling terminal a
//! prompt fails at once (`/dev/tty` cannot be opened) instead of stopping the process
//! behind the user's back, and what the user types is a signal for the dispatcher alone,
//! which decides what becomes of the rest.
//!
//! A session each and not one a agent for all: a group whose parent is in another session
//! is orphaned, in which the kernel does nothing for `SIGTSTP`, `SIGTTIN` and `SIGTTOU`, so
//! that a job cannot stop itself by them with nobody there to continue it.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Access, access};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, waitid};

use crate::git::STARTER;

use super::adopted;
use super::environment;
use super::stat::Stat;
use super::sys::{Exec, spawn_session};
use super::tree;

/// Where programs are looked for without a `PATH`.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// How long a process that was killed may take to be gone before it is left to itself.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a process that is asked to end is looked at.
const GLANCE: Duration = Duration::from_millis(5);

/// The first three descriptors of a process; `None` is `/dev/null`.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// Standard input.
    pub stdin: Option<OwnedFd>,
    /// Standard output.
    pub stdout: Option<OwnedFd>,
    /// Standard error.
    pub stderr: Option<OwnedFd>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitKind {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
}

impl std::fmt::Display for ExitKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit status: {code}"),
            Self::Signaled(signal) => write!(f, "signal: {signal}"),
        }
    }
}

/// A process that leads a session, and so a group.
///
/// Until it is waited for it stays a zombie, so that its id cannot become somebody else's.
#[derive(Debug)]
pub(crate) struct Leader {
    pid: Pid,
    pidfd: OwnedFd,
}

/// Starts what `command` describes as the leader of a session, with default signal
/// actions, nothing blocked, and no descriptors but `streams`. Limits, umask and
/// priority are the caller's.
///
/// Of `command` counts the program, which is looked for in the `PATH` that it gets, the
/// arguments, the directory, and what it changes in the environment of this process;
/// that it clears the environment cannot be seen and does not count.
///
/// # Errors
/// Those of starting a program: not found, not executable, no processes left; and
/// `NotADirectory` where it is the directory that is missing.
pub(crate) fn start(command: &Command, streams: Streams) -> io::Result<Leader> {
    let own = std::process::id().to_string();
    spawn(command, streams, std::env::vars_os(), Some(own.into()))
}

/// The same for an agent, without the variables that are not for jobs. An agent ends all
/// that is below it before it ends; where it is killed, [`end_adopted`](super::end_adopted)
/// does that.
///
/// # Errors
/// Those of [`start`].
pub(crate) fn start_agent(command: &Command, streams: Streams) -> io::Result<Leader> {
    let mut env = std::env::vars_os().collect();
    environment::prepare_for_jobs(&mut env);
    spawn(command, streams, env, None)
}

/// Starts what `command` describes, which changes `env`. `starter` is what marks that the
/// process is no job's.
pub(super) fn spawn(
    command: &Command,
    streams: Streams,
    env: impl IntoIterator<Item = (OsString, OsString)>,
    starter: Option<OsString>,
) -> io::Result<Leader> {
    let mut env: BTreeMap<OsString, OsString> = env.into_iter().collect();
    env.remove(OsStr::new(STARTER));
    let agent = starter.is_none();
    env.extend(starter.map(|own| (STARTER.into(), own)));
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => env.insert(name.to_owned(), value.to_owned()),
            None => env.remove(name),
        };
    }
    let dir = command.get_current_dir();
    let path = env.get(OsStr::new("PATH")).map(OsString::as_os_str);
    let program = find(command.get_program(), path, dir)?;
    let argv: Vec<CString> = [command.get_program()]
        .into_iter()
        .chain(command.get_args())
        .map(|word| Ok(CString::new(word.as_bytes())?))
        .collect::<io::Result<_>>()?;
    let envp: Vec<CString> = env
        .into_iter()
        .map(|(name, value)| {
            let mut pair = name.into_vec();
            pair.push(b'=');
            pair.extend_from_slice(value.as_bytes());
            Ok(CString::new(pair)?)
        })
        .collect::<io::Result<_>>()?;
    let dir = dir.map(|dir| CString::new(dir.as_os_str().as_bytes()));
    let null = OwnedFd::from(File::options().read(true).write(true).open("/dev/null")?);
    let mut leaders = adopted::leaders();
    let pid = spawn_session(&Exec {
        program: &CString::new(program.into_os_string().into_vec())?,
        argv: &argv,
        envp: &envp,
        dir: dir.transpose()?.as_deref(),
        streams: [&streams.stdin, &streams.stdout, &streams.stderr]
            .map(|stream| stream.as_ref().unwrap_or(&null).as_fd()),
    })?;
    leaders.insert(pid.as_raw_nonzero().get(), agent);
    drop(leaders);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    Ok(Leader { pid, pidfd })
}

/// The program that `name` means with this `PATH`, started in `dir`.
fn find(name: &OsStr, path: Option<&OsStr>, dir: Option<&Path>) -> io::Result<PathBuf> {
    if dir.is_some_and(|dir| !dir.is_dir()) {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    if name.as_bytes().contains(&b'/') {
        return Ok(name.into());
    }
    let path = path.unwrap_or(OsStr::new(DEFAULT_PATH));
    let mut error = io::ErrorKind::NotFound;
    for place in std::env::split_paths(path).filter(|_| !name.is_empty()) {
        // An empty entry is the directory in which it starts.
        let found = Path::new(".").join(place).join(name);
        let seen = dir.map_or_else(|| found.clone(), |dir| dir.join(&found));
        if !seen.is_file() {
            continue;
        }
        match access(&seen, Access::EXEC_OK) {
            Ok(()) => return Ok(found),
            Err(_) => error = io::ErrorKind::PermissionDenied,
        }
    }
    Err(error.into())
}

impl Leader {
    /// Its process id, which is its group's and its session's, too.
    pub(crate) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// The same, to signal it by.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Becomes readable when it has ended.
    pub(crate) fn exit_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// How it ended; `None` while it runs. It stays a zombie.
    ///
    /// # Errors
    /// Those of `waitid`.
    pub(crate) fn ended(&self) -> io::Result<Option<ExitKind>> {
        self.look(WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT)
    }

    fn look(&self, options: WaitIdOptions) -> io::Result<Option<ExitKind>> {
        let options = options | WaitIdOptions::EXITED;
        let Some(status) = waitid(WaitId::PidFd(self.exit_fd()), options)? else {
            return Ok(None);
        };
        Ok(Some(
            match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => ExitKind::Exited(code),
                (_, Some(signal)) => ExitKind::Signaled(signal),
                _ => ExitKind::Signaled(0),
            },
        ))
    }

    /// Signals its group and every process below it that has left the group. Must not be
    /// called once it was waited for.
    pub(crate) fn signal(&self, signal: Signal) {
        tree::signal_session(self.pid, signal);
    }

    /// Waits until it ends, for no longer than `timeout`; it stays a zombie.
    ///
    /// # Errors
    /// Those of waiting.
    pub(crate) fn wait_for(&self, timeout: Duration) -> io::Result<Option<ExitKind>> {
        let begun = Instant::now();
        loop {
            let left = timeout.saturating_sub(begun.elapsed());
            let timeout = rustix::event::Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut fds = [PollFd::from_borrowed_fd(self.exit_fd(), PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) => return Ok(None),
                Ok(_) => return self.ended(),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether somebody stopped it, so that it does nothing until it is continued.
    pub(crate) fn is_stopped(&self) -> bool {
        Stat::of(self.pid.as_raw_nonzero().get()).is_some_and(|one| one.is_stopped())
    }

    /// Waits for its end, after which its id is nobody's and must not be used.
    ///
    /// # Errors
    /// Those of waiting.
    pub(crate) fn reap(&mut self) -> io::Result<ExitKind> {
        let ended = self.look(WaitIdOptions::empty())?;
        adopted::leaders().remove(&self.pid.as_raw_nonzero().get());
        Ok(ended.unwrap_or(ExitKind::Signaled(0)))
    }

    /// Waits for its end, and leaves what it started and is still in its session.
    ///
    /// # Errors
    /// Those of waiting.
    pub(crate) fn leave(mut self) -> io::Result<Option<Leftover>> {
        self.reap()?;
        let left = Leftover(self.pid);
        Ok(left.lives().then_some(left))
    }

    /// Ends it with everything below it: gently, and after `grace` for good. Where it is
    /// stuck in the kernel it is left after some seconds.
    pub(crate) fn end(mut self, grace: Duration) {
        end(self.pid, grace);
        if matches!(self.ended(), Ok(Some(_))) {
            let _ = self.reap();
        }
    }
}

/// What a leader that has ended left in its session.
///
/// As long as there is anything of it, the session's number is given to nobody else.
#[derive(Debug)]
pub(crate) struct Leftover(Pid);

impl Leftover {
    /// Whether any of it runs.
    pub(crate) fn lives(&self) -> bool {
        tree::lives(self.0)
    }

    /// Ends it: gently, and after `grace` for good. Needs this process to be its reaper.
    pub(crate) fn end(self, grace: Duration) {
        end(self.0, grace);
    }
}

/// Ends the processes of a session: gently, and after `grace` for good. What is stuck in
/// the kernel is left after some seconds.
fn end(session: Pid, grace: Duration) {
    let wait = |timeout: Duration| {
        let begun = Instant::now();
        while tree::lives(session) && begun.elapsed() < timeout {
            std::thread::sleep(GLANCE);
        }
    };
    if !grace.is_zero() {
        tree::signal_session(session, Signal::TERM);
        tree::signal_session(session, Signal::CONT);
        wait(grace);
    }
    let begun = Instant::now();
    while tree::lives(session) && begun.elapsed() < KILL_TIMEOUT {
        tree::signal_session(session, Signal::KILL);
        wait(GLANCE);
    }
}
