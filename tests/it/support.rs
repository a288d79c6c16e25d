//! Repositories made for one test, and the program run in them.
//!
//! The environment is cleared and `HOME` is private, so neither the machine's nor the
//! developer's configuration counts; dates are pinned, so commit ids are stable.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

/// How long a test waits for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A repository with its own `HOME`, removed with everything in it when dropped.
pub(crate) struct TestRepo {
    root: tempfile::TempDir,
    dir: PathBuf,
    tick: Cell<u64>,
}

/// Has processes of the tests find signals as they are by default: where the tests run behind
/// `&` of a script, or `nohup`, some are ignored, and a run does not end by what it ignores.
fn heed_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            if ignored.unwrap_or(0) & (1 << (signal - 1)) != 0 {
                // What is handled here is not ignored there.
                signal_hook::flag::register(signal, Arc::default()).unwrap();
            }
        }
    });
}

impl TestRepo {
    /// An empty repository on branch `main`.
    pub(crate) fn new() -> Self {
        Self::init(&["-b", "main"])
    }

    /// An empty repository made by `git init` with these options.
    pub(crate) fn init(options: &[&str]) -> Self {
        heed_signals();
        let root = tempfile::Builder::new()
            .prefix("git-ci-test-")
            .tempdir()
            .unwrap();
        let dir = root.path().join("repo");
        fs::create_dir_all(root.path().join("home")).unwrap();
        let repo = Self {
            dir,
            root,
            tick: Cell::new(0),
        };
        let made = repo
            .command("git", repo.root.path())
            .arg("init")
            .arg("-q")
            .args(options)
            .arg(&repo.dir)
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        repo.git(["config", "user.name", "A U Thor"]);
        repo.git(["config", "user.email", "author@example.com"]);
        repo
    }

    /// The work tree (or the bare repository).
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// A directory of this test's own that holds the repository, `home` and whatever else.
    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// The git directory.
    pub(crate) fn git_dir(&self) -> PathBuf {
        PathBuf::from(self.git(["rev-parse", "--absolute-git-dir"]))
    }

    /// A command with the test's environment and nothing else.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>, dir: &Path) -> Command {
        let mut command = Command::new(program);
        let date = format!("{} +0000", 1_750_000_000 + self.tick.get());
        command
            .current_dir(dir)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.root.path().join("home"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_AUTHOR_DATE", &date)
            .env("GIT_COMMITTER_DATE", &date)
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        if let Some(dir) = std::env::var_os("LLVM_PROFILE_FILE") {
            command.env("LLVM_PROFILE_FILE", dir);
        }
        command
    }

    /// Runs `git` in the repository; it must succeed. Returns its standard output, trimmed at the end.
    #[track_caller]
    pub(crate) fn git<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let output = self.command("git", &self.dir).args(args).output().unwrap();
        assert!(
            output.status.success(),
            "git failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    /// Writes a file of the work tree.
    pub(crate) fn write(&self, path: &str, contents: impl AsRef<[u8]>) -> &Self {
        let path = self.dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
        self
    }

    /// Adds a job to the work tree's `.git-ci.toml`, which stays uncommitted.
    pub(crate) fn job(&self, name: &str, run: &str) -> &Self {
        let run = run.replace('\\', "\\\\").replace('"', "\\\"");
        self.jobs_file(&format!("[jobs.\"{name}\"]\nrun = \"{run}\"\n"))
    }

    /// The same for a job that says that the commit does not matter to it.
    pub(crate) fn tree_job(&self, name: &str, run: &str) -> &Self {
        self.job(name, run).jobs_file("reuse = \"tree\"\n")
    }

    /// Appends to the work tree's `.git-ci.toml`, which is kept out of `git status`.
    pub(crate) fn jobs_file(&self, text: &str) -> &Self {
        let exclude = self.git_dir().join("info/exclude");
        fs::create_dir_all(exclude.parent().unwrap()).unwrap();
        fs::write(exclude, ".git-ci.toml\n").unwrap();
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join(".git-ci.toml"))
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
        self
    }

    /// Waits until the configuration is so old that nothing more can happen to it within the same
    /// tick of the clock: before, a slot's surroundings are read once more.
    pub(crate) fn let_configuration_settle(&self) {
        let config = self.git_dir().join("config");
        wait_until("the configuration to be old enough", || {
            let written = fs::metadata(&config).unwrap().modified().unwrap();
            written
                .elapsed()
                .is_ok_and(|age| age > Duration::from_millis(300))
        });
    }

    /// Commits everything, with a file that makes the tree differ from every other; returns the id.
    pub(crate) fn commit(&self, subject: &str) -> String {
        self.tick.set(self.tick.get() + 60);
        self.write("n", format!("{}\n", self.tick.get() / 60));
        self.git(["add", "-A"]);
        self.git(["commit", "-q", "-m", subject]);
        self.git(["rev-parse", "HEAD"])
    }

    /// `git-ci` in the repository, not started yet.
    pub(crate) fn ci_command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_git-ci"), &self.dir);
        command.args(args);
        command
    }

    /// Runs `git-ci` in the repository to its end.
    #[track_caller]
    pub(crate) fn ci<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        Ran(self.ci_command(args).output().unwrap())
    }

    /// Starts `git-ci` in the repository; its output is piped.
    pub(crate) fn spawn_ci<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Child {
        self.ci_command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// The note of `rev` under `refs/notes/ci` as git shows it; empty where there is none.
    pub(crate) fn note(&self, rev: &str) -> String {
        let output = self
            .command("git", &self.dir)
            .args(["notes", "--ref=ci", "show", rev])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    /// The first two words (status and job) of every record of `rev`, sorted.
    pub(crate) fn verdicts(&self, rev: &str) -> Vec<String> {
        self.note(rev)
            .lines()
            .map(|line| {
                line.split_whitespace()
                    .take(2)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect()
    }

    /// How many commits have a note.
    pub(crate) fn noted_commits(&self) -> usize {
        let output = self
            .command("git", &self.dir)
            .args(["notes", "--ref=ci", "list"])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).lines().count()
    }
}

/// A finished run of the program.
pub(crate) struct Ran(pub(crate) Output);

impl Ran {
    /// The exit code; -1 where a signal ended it.
    pub(crate) fn code(&self) -> i32 {
        self.0.status.code().unwrap_or(-1)
    }

    /// Standard output.
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    /// Standard error.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    /// Checks the exit code, showing all output where it differs.
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.code(),
            code,
            "exit code\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout(),
            self.stderr()
        );
        self
    }
}

/// Waits until `condition` holds; fails the test after [`PATIENCE`].
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process with this id exists and is no zombie.
pub(crate) fn alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap()
            .trim_start()
            .starts_with('Z')
    })
}

/// Every live process whose environment holds `needle`.
pub(crate) fn processes_with(needle: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if alive(pid)
            && environment
                .windows(needle.len())
                .any(|part| part == needle.as_bytes())
        {
            found.push(pid);
        }
    }
    found
}

/// xorshift64: any sequence will do, so long as a failure can be had again.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// A number from the environment, for who runs a test for longer.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}
