//! One job's process: the leader of a group, with a pipe for all its output.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, PipeReader, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpgid, kill_process_group, pidfd_open,
    pidfd_send_signal, waitid,
};

use crate::git::forget_repository;
use crate::model::CommandLine;

/// What to start.
#[derive(Debug)]
pub struct SpawnSpec<'a> {
    /// The command.
    pub run: &'a CommandLine,
    /// Where it starts.
    pub dir: &'a Path,
    /// Variables over those of this process, repository variables excepted.
    pub env: BTreeMap<OsString, OsString>,
}

/// How a job's leader ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitKind {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
}

/// A job that was started.
#[derive(Debug)]
pub struct JobProcess {
    leader: Child,
    pidfd: OwnedFd,
    output: PipeReader,
}

impl JobProcess {
    /// Starts it: in a process group of its own, standard input empty, standard output
    /// and error one pipe.
    ///
    /// # Errors
    /// Those of starting a program: not found, not executable, no processes left.
    pub fn spawn(spec: SpawnSpec<'_>) -> io::Result<Self> {
        let mut command = match spec.run {
            CommandLine::Shell(script) => {
                let mut command = Command::new("sh");
                command.arg("-c").arg(script);
                command
            }
            CommandLine::Argv(argv) => {
                let mut words = argv.iter();
                let program = words.next().ok_or(io::ErrorKind::InvalidInput)?;
                let mut command = Command::new(program);
                command.args(words);
                command
            }
        };
        forget_repository(&mut command);
        let (output, input) = io::pipe()?;
        let flags = fcntl_getfl(&output)?;
        fcntl_setfl(&output, flags | OFlags::NONBLOCK)?;
        // No `pre_exec`: it would make this a fork of the whole process instead of a vfork.
        let leader = command
            .current_dir(spec.dir)
            .envs(spec.env)
            .env("PWD", spec.dir)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(input.try_clone()?)
            .stderr(input)
            .spawn()?;
        let pidfd = pidfd_open(Pid::from_child(&leader), PidfdFlags::empty())?;
        Ok(Self {
            leader,
            pidfd,
            output,
        })
    }

    /// The leader's process id, which is its group's, too.
    pub fn id(&self) -> u32 {
        self.leader.id()
    }

    /// Becomes readable when the leader has ended.
    pub fn exit_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Becomes readable when there is output.
    pub fn output_fd(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }

    /// Reads what output there is: `Ok(None)` where there is none now, `Ok(Some(0))` at the end.
    ///
    /// # Errors
    /// Those of reading a pipe.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.output.read(buffer) {
                Ok(count) => return Ok(Some(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// How the leader ended; `None` while it runs. It stays a zombie, so that its id,
    /// which is the group's, cannot be given to somebody else before the group is ended.
    ///
    /// # Errors
    /// Those of `waitid`.
    pub fn ended(&self) -> io::Result<Option<ExitKind>> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let Some(status) = waitid(WaitId::PidFd(self.pidfd.as_fd()), options)? else {
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

    /// Signals the leader's group, and the leader where it went into another group.
    pub fn signal_group(&self, signal: Signal) {
        let leader = Pid::from_child(&self.leader);
        // An empty group needs no signal, nor does a leader that has ended.
        let _ = kill_process_group(leader, signal);
        if getpgid(Some(leader)) != Ok(leader) {
            let _ = pidfd_send_signal(&self.pidfd, signal);
        }
    }

    /// Kills what is left of the group and reaps the leader.
    ///
    /// # Errors
    /// Those of waiting.
    pub fn reap(&mut self) -> io::Result<()> {
        self.signal_group(Signal::KILL);
        self.leader.wait().map(|_| ())
    }
}
