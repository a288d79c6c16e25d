//! A terminal of its own for a process, as a person has it: what is typed, what is shown,
//! job control.
//!
//! util-linux' `setsid --ctty` makes the process lead the terminal's session, which takes
//! unsafe code to do from here.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::support::{TestRepo, wait_until};

/// The directory that has `git-ci`, in front of a `PATH`.
pub(crate) fn path_with_git_ci() -> String {
    let bin = Path::new(env!("CARGO_BIN_EXE_git-ci")).parent().unwrap();
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
}

/// A process at a terminal.
pub(crate) struct Terminal {
    master: File,
    child: Child,
    seen: Arc<Mutex<Vec<u8>>>,
    stop: Arc<AtomicBool>,
    reader: JoinHandle<()>,
}

/// Keeps what is shown, until told to stop or nobody has the other end any more.
fn read(mut output: File, all: &Mutex<Vec<u8>>, stop: &AtomicBool) {
    let glance = Timespec {
        tv_sec: 0,
        tv_nsec: 20_000_000,
    };
    let mut bytes = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        let mut fds = [PollFd::new(&output, PollFlags::IN)];
        if poll(&mut fds, Some(&glance)).unwrap() == 0 {
            continue;
        }
        match output.read(&mut bytes) {
            Ok(count @ 1..) => all.lock().unwrap().extend_from_slice(&bytes[..count]),
            _ => return,
        }
    }
}

impl Terminal {
    /// Starts `words` at a terminal of its own, in the repository; `git ci` is there.
    pub(crate) fn start(repo: &TestRepo, words: &[&str]) -> Self {
        Self::start_with(repo, words, &[])
    }

    /// The same with these variables.
    pub(crate) fn start_with(repo: &TestRepo, words: &[&str], env: &[(&str, &str)]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
        let master = master.unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize {
            ws_row: 30,
            ws_col: 120,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave: OwnedFd =
            rustix::fs::open(name.as_c_str(), flags, rustix::fs::Mode::empty()).unwrap();
        let child = repo
            .command("setsid", repo.path())
            // However the tests were started: `nohup` and `&` have signals ignored.
            .args(["--ctty", "env", "--default-signal"])
            .args(words)
            .env("PATH", path_with_git_ci())
            .env("TERM", "xterm")
            .envs(env.iter().copied())
            .stdin(slave.try_clone().unwrap())
            .stdout(slave.try_clone().unwrap())
            .stderr(slave)
            .spawn()
            .unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let output = File::from(master.try_clone().unwrap());
        let (all, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let reader = std::thread::spawn(move || read(output, &all, &stopped));
        Self {
            master: File::from(master),
            child,
            seen,
            stop,
            reader,
        }
    }

    /// `git ci` with `args`, as a person calls it.
    pub(crate) fn git_ci(repo: &TestRepo, args: &[&str]) -> Self {
        Self::start(repo, &[&["git", "ci"], args].concat())
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that was shown so far.
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// What was started.
    pub(crate) fn child(&self) -> &Child {
        &self.child
    }

    /// Types `keys`.
    pub(crate) fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until `text` was shown.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) {
        let there = || self.shown().contains(text);
        let before = std::time::Instant::now();
        while !there() {
            let waited = before.elapsed();
            assert!(
                waited < crate::support::PATIENCE,
                "waited in vain for {text:?}; shown was\n{}",
                self.shown()
            );
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// The process id of what was started.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Closes the terminal, as closing its window does.
    pub(crate) fn hang_up(mut self) -> ExitStatus {
        self.stop.store(true, Ordering::Relaxed);
        self.reader.join().unwrap();
        drop(self.master);
        wait_for_end(&mut self.child, &self.seen)
    }

    /// Waits for the end of what was started.
    #[track_caller]
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let status = wait_for_end(&mut self.child, &self.seen);
        let shown = self.shown();
        (status, shown)
    }
}

#[track_caller]
fn wait_for_end(child: &mut Child, seen: &Mutex<Vec<u8>>) -> ExitStatus {
    let begun = std::time::Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begun.elapsed() > crate::support::PATIENCE {
            let _ = child.kill();
            let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            panic!("it does not end\n{}", String::from_utf8_lossy(&seen));
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// An exit code as a shell has it: 128 and the signal that ended it.
pub(crate) fn code(status: ExitStatus) -> Option<i32> {
    let signalled = status.signal().map(|signal| 128 + signal);
    status.code().or(signalled)
}

/// Waits until no process with `marker` in its environment is left.
#[track_caller]
pub(crate) fn expect_nothing_left(marker: &str) {
    wait_until("every process to be gone", || {
        crate::support::processes_with(marker).is_empty()
    });
}
