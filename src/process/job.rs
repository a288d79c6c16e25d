//! One job's process: the leader of a session, with a pipe for all its output.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, PipeReader, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::Command;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Signal, kill_process_group};

use crate::git::forget_repository;
use crate::model::CommandLine;

use super::session::{self, ExitKind, Leader, Streams};
use super::tree;

/// What to start.
#[derive(Debug)]
pub(crate) struct SpawnSpec<'a> {
    /// The command.
    pub run: &'a CommandLine,
    /// Where it starts.
    pub dir: &'a Path,
    /// Variables over those of this process, repository variables excepted.
    pub env: BTreeMap<OsString, OsString>,
}

/// What starts a command of a jobs file.
pub(crate) fn command(run: &CommandLine) -> Command {
    match run {
        CommandLine::Shell(script) => {
            let mut command = Command::new("sh");
            command.arg("-c").arg(script);
            command
        }
        CommandLine::Argv(argv) => {
            let mut words = argv.iter();
            // No program has an empty name.
            let mut command = Command::new(words.next().map_or("", String::as_str));
            command.args(words);
            command
        }
    }
}

/// A job that was started. Everything below this process counts as the job's.
#[derive(Debug)]
pub(crate) struct JobProcess {
    leader: Leader,
    output: PipeReader,
}

impl JobProcess {
    /// Starts it: as the leader of a session, standard input empty, standard output and
    /// error one pipe.
    ///
    /// # Errors
    /// Those of starting a program: not found, not executable, no processes left; and
    /// `NotADirectory` where `dir` is gone.
    pub(crate) fn spawn(spec: SpawnSpec<'_>) -> io::Result<Self> {
        let mut command = command(spec.run);
        forget_repository(&mut command);
        command
            .current_dir(spec.dir)
            // It is for this process, and its file not the job's.
            .env_remove("GIT_CI_TRACE")
            .envs(spec.env)
            .env("PWD", spec.dir);
        let (output, input) = io::pipe()?;
        let flags = fcntl_getfl(&output)?;
        fcntl_setfl(&output, flags | OFlags::NONBLOCK)?;
        let streams = Streams {
            stdin: None,
            stdout: Some(input.try_clone()?.into()),
            stderr: Some(input.into()),
        };
        let leader = session::spawn(&command, streams, std::env::vars_os(), None)?;
        Ok(Self { leader, output })
    }

    /// The leader's process id, which is its group's, too.
    pub(crate) fn id(&self) -> u32 {
        self.leader.id()
    }

    /// Becomes readable when the leader has ended.
    pub(crate) fn exit_fd(&self) -> BorrowedFd<'_> {
        self.leader.exit_fd()
    }

    /// Becomes readable when there is output.
    pub(crate) fn output_fd(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }

    /// Reads what output there is: `Ok(None)` where there is none now, `Ok(Some(0))` at the end.
    ///
    /// # Errors
    /// Those of reading a pipe.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
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
    pub(crate) fn ended(&self) -> io::Result<Option<ExitKind>> {
        self.leader.ended()
    }

    /// Signals every process of the job, whatever group or session it is in, each once.
    pub(crate) fn signal(&self, signal: Signal) {
        tree::signal_everything_with(self.leader.pid(), signal);
    }

    /// Kills what is left of the group and reaps the leader; its id is nobody's after that.
    ///
    /// # Errors
    /// Those of waiting.
    pub(crate) fn reap(&mut self) -> io::Result<()> {
        let _ = kill_process_group(self.leader.pid(), Signal::KILL);
        self.leader.reap().map(|_| ())
    }
}
