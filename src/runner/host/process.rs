//! The process that is a connection: `ssh`, `srun`, or what else was configured.

use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::git::forget_repository;

/// What is kept of what the process says on standard error, in bytes.
const SAID: usize = 4096;

/// How long it may take to end by itself, and again after it was asked to.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// The process. Its exit status is never looked at: it is no verdict.
pub(super) struct Process {
    child: Mutex<Child>,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Process {
    /// Starts it, in a group of its own: a Ctrl-C is for the dispatcher to interpret.
    pub(super) fn start(mut command: Command) -> io::Result<(Self, ChildStdin, Inlet)> {
        forget_repository(&mut command);
        let mut child = command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (stdin, stdout) = pipes.ok_or(io::ErrorKind::BrokenPipe)?;
        let said = Arc::new(Mutex::new(Vec::new()));
        if let Some(mut stderr) = child.stderr.take() {
            let said = Arc::clone(&said);
            std::thread::spawn(move || {
                let mut bytes = [0; 1024];
                while let Ok(count @ 1..) = stderr.read(&mut bytes) {
                    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                    said.extend_from_slice(&bytes[..count]);
                    let surplus = said.len().saturating_sub(SAID);
                    said.drain(..surplus);
                }
            });
        }
        let process = Self {
            child: Mutex::new(child),
            said,
        };
        let inlet = Inlet {
            from: stdout,
            bytes: Vec::new(),
        };
        Ok((process, stdin, inlet))
    }

    /// What it said on standard error.
    pub(super) fn said(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&said).trim().to_owned()
    }

    /// Signals it and its children.
    pub(super) fn signal(&self, signal: Signal) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // Only while its id is its own.
        if matches!(child.try_wait(), Ok(None)) {
            let _ = kill_process_group(Pid::from_child(&child), signal);
        }
    }

    /// Ends it, whose input must have been closed: gently first, since `srun` gives its
    /// allocation back then.
    pub(super) fn end(&self) {
        for signal in [None, Some(Signal::TERM), Some(Signal::KILL)] {
            if let Some(signal) = signal {
                self.signal(signal);
            }
            let start = Instant::now();
            while start.elapsed() < END_PATIENCE {
                if self.ended() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    fn ended(&self) -> bool {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        !matches!(child.try_wait(), Ok(None))
    }
}

/// What comes from the machine.
pub(super) struct Inlet {
    from: ChildStdout,
    /// What has come and was not used.
    pub(super) bytes: Vec<u8>,
}

impl Inlet {
    /// Waits for more, no longer than until `deadline`: how many bytes came, 0 at the
    /// end; `None` where the time was over.
    pub(super) fn fill(&mut self, deadline: Instant) -> io::Result<Option<usize>> {
        let patience = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: patience.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        let mut fds = [PollFd::from_borrowed_fd(self.from.as_fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut bytes = [0; 32 << 10];
        let count = self.from.read(&mut bytes)?;
        self.bytes.extend_from_slice(&bytes[..count]);
        Ok(Some(count))
    }
}
