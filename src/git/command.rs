//! Running `git` itself, without letting the caller's surroundings in.
//!
//! A hook's environment names the user's index and repository; a child `git` that
//! inherits it and works on another directory overwrites the user's index with exit
//! code 0. So no command made here inherits a repository variable, none runs the
//! user's hooks (our checkouts and ref updates would fire them), and none takes
//! optional locks (a background `git status` makes the user's `git add` fail).

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::gate::Gate;

/// The oldest git that is known to do all we ask of it:
/// 2.31 brought `rev-parse --path-format`.
pub const MINIMUM_GIT: Version = Version(2, 31);

/// Every variable that ties a git process to a repository: what
/// `git rev-parse --local-env-vars` lists, and what git sets for hooks and editors.
pub const REPOSITORY_VARIABLES: &[&str] = &[
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT",
    "GIT_OBJECT_DIRECTORY",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_REPLACE_REF_BASE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_COMMON_DIR",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NAMESPACE",
    "GIT_AUTHOR_NAME",
    "GIT_AUTHOR_EMAIL",
    "GIT_AUTHOR_DATE",
    "GIT_COMMITTER_NAME",
    "GIT_COMMITTER_EMAIL",
    "GIT_COMMITTER_DATE",
    "GIT_EDITOR",
    "GIT_SEQUENCE_EDITOR",
    "GIT_REFLOG_ACTION",
    "GIT_QUARANTINE_PATH",
    // What options of the caller's `git` become: a tree of its repository, and the meaning
    // of paths on its command line.
    "GIT_ATTR_SOURCE",
    "GIT_LITERAL_PATHSPECS",
    "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
];

/// Has git read objects as they were recorded: what `refs/replace` or a file of grafts
/// says today is no part of a commit, and may be gone tomorrow.
const AS_RECORDED: [(&str, &str); 2] = [
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    // Below what is no directory, so that git finds no file and says nothing about it.
    ("GIT_GRAFT_FILE", "/dev/null/none"),
];

/// Variables that change what our own commands do, and are of no use to them.
const NOT_FOR_US: [&str; 4] = [
    "GIT_DEFAULT_HASH",
    "GIT_DEFAULT_REF_FORMAT",
    "GIT_TEMPLATE_DIR",
    "GIT_EXTERNAL_DIFF",
];

/// The variable that names a task's worktree to its processes, and to every git that
/// prepares it, and so marks them: whoever gets the slot after a crash ends them first.
pub const MARK: &str = "GIT_CI_WORKTREE";

/// The variable of trace2, and its file, for every git of this process.
static TRACE2: OnceLock<(&str, PathBuf)> = OnceLock::new();

/// Has every git that this process starts from now on append what it does to a file: as JSON,
/// or as text. Only the first call counts.
pub fn trace_git(file: PathBuf, json: bool) {
    let name = if json {
        "GIT_TRACE2_EVENT"
    } else {
        "GIT_TRACE2"
    };
    // Whoever called before has it his way.
    let _ = TRACE2.set((name, file));
}

/// Names the process of git-ci that started a process, in the environment of all that is
/// no job's, so that what such a process leaves running is not taken for a job's.
pub const STARTER: &str = "GIT_CI_STARTED_BY";

/// So much goes into any pipe at once, in bytes.
const PIPE: usize = 4096;

/// A failed `git` process, or one that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// No `git` on PATH.
    #[error("find git on PATH")]
    NotFound(#[source] which::Error),
    /// Older than [`MINIMUM_GIT`].
    #[error("work with git {found}: version {MINIMUM_GIT} or newer is needed")]
    TooOld {
        /// The version, or all that `git version` said where that is none.
        found: String,
    },
    /// The process could not be started or talked to.
    #[error("run `git {verb}`")]
    Io {
        /// The subcommand.
        verb: String,
        /// Why.
        source: std::io::Error,
    },
    /// No process is to be started any more.
    #[error("run `git {verb}`: it was interrupted")]
    Interrupted {
        /// The subcommand.
        verb: String,
    },
    /// The process ran and failed.
    #[error("run `git {verb}`: {message}")]
    Failed {
        /// The subcommand.
        verb: String,
        /// What it printed on standard error, escaped, or how it ended.
        message: String,
        /// Its exit code, where it exited.
        code: Option<i32>,
    },
}

/// A version of git, as far as we ask: major and minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl Version {
    /// Reads the output of `git version`, whatever a vendor appended to it.
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text
            .trim()
            .strip_prefix("git version ")?
            .split(['.', ' ', '-']);
        Some(Self(
            numbers.next()?.parse().ok()?,
            numbers.next()?.parse().ok()?,
        ))
    }
}

/// A usable `git` executable.
#[derive(Debug, Clone)]
pub struct Git {
    program: PathBuf,
    version: Version,
    away: Option<PathBuf>,
    gate: Gate,
}

impl Git {
    /// Finds `git` on PATH and asks for its version.
    ///
    /// # Errors
    /// Where there is none, it does not run, or it is older than [`MINIMUM_GIT`].
    pub fn find() -> Result<Self, GitError> {
        let program = which::which("git").map_err(GitError::NotFound)?;
        let mut git = Self {
            program,
            version: MINIMUM_GIT,
            away: None,
            gate: Gate::default(),
        };
        let output = git.read(git.command().arg("version"))?;
        match Version::parse(&output) {
            Some(version) if version >= MINIMUM_GIT => git.version = version,
            _ => {
                return Err(GitError::TooOld {
                    found: {
                        let output = output.trim();
                        let version = output.strip_prefix("git version ").unwrap_or(output);
                        crate::model::printable_line(version.as_bytes()).into_owned()
                    },
                });
            }
        }
        Ok(git)
    }

    /// The executable.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// What holds its processes back.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The same without anything that the user or the system has configured on this
    /// machine: `nowhere` is the directory that is taken for the user's.
    pub(crate) fn away(mut self, nowhere: &Path) -> Self {
        self.away = Some(nowhere.to_owned());
        self
    }

    /// The directory that is taken for the user's, where that is not the user's.
    pub(crate) fn away_from_home(&self) -> Option<&Path> {
        self.away.as_deref()
    }

    /// A `git` command in surroundings of our own choosing; its standard input is empty.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        forget_repository(&mut command);
        if let Some(nowhere) = &self.away {
            command
                .envs([("HOME", nowhere), ("XDG_CONFIG_HOME", nowhere)])
                .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_ATTR_NOSYSTEM", "1")])
                .env_remove("GIT_CONFIG_GLOBAL")
                .env_remove("GIT_CONFIG_SYSTEM");
        }
        for name in NOT_FOR_US {
            command.env_remove(name);
        }
        command
            .args(["-c", "core.hooksPath=/dev/null"])
            .envs(AS_RECORDED)
            .env(STARTER, std::process::id().to_string())
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        if let Some((name, file)) = TRACE2.get() {
            command.env(name, file);
        }
        command
    }

    /// A `git` command that writes refs of the repository at `git_dir`, from inside it: git
    /// makes the directories above a ref, and by a whole path it would make those of a
    /// repository anew that has just been moved or deleted.
    pub(crate) fn ref_command(&self, git_dir: &Path) -> Command {
        let mut command = self.command();
        command.arg("-C").arg(git_dir).args(["--git-dir", "."]);
        command
    }

    /// A `git init` of a repository of ours, with ids of this format (`sha1`, `sha256`) and
    /// with its refs in files, whatever the configuration of the machine says of new ones.
    pub fn init(&self, format: &str) -> Command {
        let mut command = self.command();
        command
            // As configuration: a git that knows no other way has no option for it either.
            .args(["-c", "init.defaultRefFormat=files"])
            .args(["-c", "init.defaultBranch=main"])
            .args(["init", "-q", "--template="])
            .arg(format!("--object-format={format}"));
        command
    }

    /// A `git` command as the user would have run it here: their environment, their
    /// hooks. Only for questions (`rev-parse`, `config`, `var`) asked before anything is
    /// changed. Objects are read as they were recorded here, too.
    pub fn as_the_user(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .envs(AS_RECORDED)
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        command
    }

    /// A value of the configuration as it counts here, in a repository or not; `None`
    /// also where git cannot say.
    pub fn setting(&self, key: &str) -> Option<String> {
        self.read(self.as_the_user().args(["config", "--get", key]))
            .ok()
    }

    /// Runs `command` to its end and returns what it printed.
    ///
    /// # Errors
    /// Where it cannot be started, is not to be, or exits with anything but 0.
    pub fn output(&self, command: &mut Command) -> Result<Output, GitError> {
        self.output_with_input(command, b"")
    }

    /// Like [`output`](Self::output), with `input` on its standard input.
    ///
    /// # Errors
    /// Where it cannot be started, or exits with anything but 0.
    pub fn output_with_input(
        &self,
        command: &mut Command,
        input: &[u8],
    ) -> Result<Output, GitError> {
        let verb = verb(command);
        let io = |source| GitError::Io {
            verb: verb.clone(),
            source,
        };
        if !input.is_empty() {
            command.stdin(Stdio::piped());
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = self.gate.pass(|| command.spawn());
        let started = started.map_err(|_| GitError::Interrupted { verb: verb.clone() })?;
        let mut child = started.map_err(io)?;
        tracing::trace!(target: "git", pid = child.id(), "git {verb}");
        let Some(mut stdin) = child.stdin.take() else {
            return Self::outcome(verb, collect(child));
        };
        // A process that stops reading early says why by its exit code.
        let output = if input.len() <= PIPE {
            let _ = stdin.write_all(input);
            drop(stdin);
            collect(child)
        } else {
            std::thread::scope(|scope| {
                let writing =
                    std::thread::Builder::new().spawn_scoped(scope, move || stdin.write_all(input));
                match writing {
                    Ok(_) => collect(child),
                    Err(error) => {
                        let _ = child.kill();
                        let _ = child.wait();
                        Err(error)
                    }
                }
            })
        };
        Self::outcome(verb, output)
    }

    /// What came of a process that ran.
    fn outcome(verb: String, output: std::io::Result<Output>) -> Result<Output, GitError> {
        let output = output.map_err(|source| GitError::Io {
            verb: verb.clone(),
            source,
        })?;
        if output.status.success() {
            return Ok(output);
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        let stderr = stderr.trim().trim_start_matches("fatal: ");
        Err(GitError::Failed {
            verb,
            message: if stderr.is_empty() {
                output.status.to_string()
            } else {
                crate::model::printable(stderr.as_bytes()).into_owned()
            },
            code: output.status.code(),
        })
    }

    /// Runs `command` and returns its standard output, which must be UTF-8, without the last line feed.
    ///
    /// # Errors
    /// As [`output`](Self::output).
    pub fn read(&self, command: &mut Command) -> Result<String, GitError> {
        let output = self.output(command)?;
        let mut text = String::from_utf8(output.stdout).map_err(|error| GitError::Io {
            verb: verb(command),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
        })?;
        if text.ends_with('\n') {
            text.pop();
        }
        Ok(text)
    }
}

/// What a process prints until it ends. What it started may live on and have its pipes: that
/// is not waited for.
fn collect(mut child: Child) -> io::Result<Output> {
    let ended = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    let mut pipes: [(Option<File>, Vec<u8>); 2] = [
        (
            child
                .stdout
                .take()
                .map(|pipe| File::from(OwnedFd::from(pipe))),
            Vec::new(),
        ),
        (
            child
                .stderr
                .take()
                .map(|pipe| File::from(OwnedFd::from(pipe))),
            Vec::new(),
        ),
    ];
    for pipe in pipes.iter().filter_map(|(pipe, _)| pipe.as_ref()) {
        fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
    }
    loop {
        let mut fds = vec![PollFd::new(&ended, PollFlags::IN)];
        let open = pipes.iter().filter_map(|(pipe, _)| pipe.as_ref());
        fds.extend(open.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_over = !fds[0].revents().is_empty();
        for (pipe, bytes) in &mut pipes {
            if let Some(open) = pipe
                && read_all_there_is(open, bytes)?
            {
                *pipe = None;
            }
        }
        if is_over {
            let status = child.wait()?;
            let [(_, stdout), (_, stderr)] = pipes;
            return Ok(Output {
                status,
                stdout,
                stderr,
            });
        }
    }
}

/// Reads from a pipe that does not block; whether that was its end.
fn read_all_there_is(pipe: &mut File, bytes: &mut Vec<u8>) -> io::Result<bool> {
    match pipe.read_to_end(bytes) {
        Ok(_) => Ok(true),
        // What came before stays in `bytes`.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes every repository variable out of `command`'s environment.
pub fn forget_repository(command: &mut Command) {
    for name in REPOSITORY_VARIABLES {
        command.env_remove(name);
    }
    // `GIT_CONFIG_COUNT` counts pairs of these.
    for (name, _) in std::env::vars_os() {
        let bytes = name.as_encoded_bytes();
        if bytes.starts_with(b"GIT_CONFIG_KEY_") || bytes.starts_with(b"GIT_CONFIG_VALUE_") {
            command.env_remove(name);
        }
    }
}

/// The subcommand, for messages: the first argument that is no option of git itself.
fn verb(command: &Command) -> String {
    let mut args = command.get_args();
    while let Some(arg) = args.next() {
        if ["-c", "-C", "--git-dir"].map(OsStr::new).contains(&arg) {
            args.next();
        } else if !arg.as_encoded_bytes().starts_with(b"-") {
            return arg.to_string_lossy().into_owned();
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use std::io::BufRead as _;

    use super::*;

    #[test]
    fn versions_parse_whatever_follows_them() {
        for (text, version) in [
            ("git version 2.47.3\n", Some(Version(2, 47))),
            ("git version 2.39.5 (Apple Git-154)", Some(Version(2, 39))),
            ("git version 2.45.0.windows.1", Some(Version(2, 45))),
            ("git version 3.0-rc1", Some(Version(3, 0))),
            ("hub version 1", None),
        ] {
            assert_eq!(Version::parse(text), version, "{text}");
        }
        assert!(Version(2, 9) < MINIMUM_GIT);
    }

    #[test]
    fn every_variable_that_git_calls_local_is_forgotten() {
        let git = Git::find().unwrap();
        let listed = git
            .read(git.command().args(["rev-parse", "--local-env-vars"]))
            .unwrap();
        for name in listed.lines() {
            assert!(REPOSITORY_VARIABLES.contains(&name), "{name} is missing");
        }
    }

    #[test]
    fn refs_of_a_repository_that_has_just_moved_do_not_make_it_anew() {
        let git = Git::find().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (dir.path().join("here"), dir.path().join("there"));
        git.output(git.command().args(["init", "-q", "--bare"]).arg(&here))
            .unwrap();
        let mut hash = git.command();
        hash.arg("--git-dir").arg(&here);
        hash.args(["hash-object", "-w", "--stdin"]);
        let id = git.read(&mut hash).unwrap();
        let mut child = git
            .ref_command(&here)
            .args(["update-ref", "--stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = io::BufReader::new(child.stdout.take().unwrap()).lines();
        let mut input = child.stdin.take().unwrap();
        writeln!(input, "start").unwrap();
        // It has found the repository and asks no more whether there is one.
        assert_eq!(said.next().unwrap().unwrap(), "start: ok");
        std::fs::rename(&here, &there).unwrap();
        writeln!(input, "create refs/ci/a/b {id}\ncommit").unwrap();
        drop(input);
        child.wait().unwrap();
        assert!(!here.exists());
    }
}
