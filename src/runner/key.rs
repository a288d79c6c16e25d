//! What a job's verdicts depend on besides its files, by its own account: the output of
//! the command that is its `key`, such as `rustc -V`.
//!
//! The command is asked where the job would run, with the job's environment, in an empty
//! directory: what it says must be about the machine and not about a tree. Its standard
//! output counts, by its hash.
//!
//! Agents ask before they run a job. Who plans has an agent ask ([`serve`]): that one has a
//! job's surroundings, and ends what it started when the other is gone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, PipeReader, Read as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use serde::{Deserialize, Serialize};

use crate::git::forget_repository;
use crate::model::{CommandLine, Job, KeyId, Outcome, Setup, printable_line};
use crate::process::{self, ExitKind, Leader, Streams};

use super::protocol::{receive, send};
use super::unstarted::not_started;

/// How long it may take.
const LIMIT: Duration = Duration::from_secs(10);

/// How much it may print, in bytes.
const MOST: usize = 1 << 20;

/// For how long an answer holds: a `watch` goes on while tools are updated.
const FRESH: Duration = Duration::from_secs(60);

/// How much of what it complained of is passed on, in bytes.
const COMPLAINT: usize = 200;

/// Why a key says nothing.
#[derive(Debug, Clone, thiserror::Error, Serialize, Deserialize)]
pub enum KeyError {
    /// It cannot be asked.
    #[error("ask the `key`: {0}")]
    Start(String),
    /// It did not end with 0.
    #[error("ask the `key`: it ended with {ended}{said}")]
    Failed {
        /// How, in words.
        ended: String,
        /// The last line of what it complained of, escaped, behind ": ".
        said: String,
    },
    /// It did not end in time.
    #[error("ask the `key`: it did not end within {LIMIT:?}")]
    TooSlow,
    /// It does not stop to print.
    #[error("ask the `key`: it printed more than {MOST} bytes")]
    TooMuch,
}

/// What an agent is asked: a command and the job's variables.
type Question = (CommandLine, BTreeMap<String, String>);

/// The answers so far.
#[derive(Debug, Default)]
pub struct Keys {
    /// What to start as an agent that asks, where this process is none.
    program: Option<PathBuf>,
    answers: BTreeMap<KeyId, (Instant, Result<KeyId, KeyError>)>,
}

impl Keys {
    /// Has agents ask, which are this program.
    pub fn through(program: PathBuf) -> Self {
        Self {
            program: Some(program),
            ..Self::default()
        }
    }

    /// What stands for the question that the key of `job` is, in a list of answers; `None` where
    /// it has none.
    pub fn question(job: &Job) -> Option<KeyId> {
        Some(question(job.key.as_ref()?, &job.env))
    }

    /// What the key of `job` says on this machine; `None` where it has none. Asks at most
    /// once a minute.
    ///
    /// # Errors
    /// Where it says nothing.
    pub fn ask(&mut self, job: &Job) -> Result<Option<KeyId>, KeyError> {
        self.ask_command(job.key.as_ref(), &job.env)
    }

    /// The same of a set-up.
    ///
    /// # Errors
    /// Where it says nothing.
    pub(super) fn ask_setup(&mut self, setup: &Setup) -> Result<Option<KeyId>, KeyError> {
        self.ask_command(setup.key.as_ref(), &setup.env)
    }

    fn ask_command(
        &mut self,
        key: Option<&CommandLine>,
        env: &BTreeMap<String, String>,
    ) -> Result<Option<KeyId>, KeyError> {
        let Some(key) = key else {
            return Ok(None);
        };
        let question = question(key, env);
        let kept = self.answers.get(&question);
        let kept = kept.filter(|(at, _)| at.elapsed() < FRESH);
        if let Some((_, answer)) = kept {
            return answer.clone().map(Some);
        }
        let answer = match &self.program {
            Some(program) => ask_agent(program, &(key.clone(), env.clone())),
            None => ask(key, env).map(|output| KeyId::of(&output)),
        };
        self.answers
            .insert(question, (Instant::now(), answer.clone()));
        answer.map(Some)
    }

    /// Forgets an answer that was none: whoever asked was interrupted.
    pub(super) fn forget(&mut self, job: &Job) {
        if let Some(question) = Self::question(job) {
            self.answers.remove(&question);
        }
    }
}

/// What stands for a command with its variables.
fn question(key: &CommandLine, env: &BTreeMap<String, String>) -> KeyId {
    let asked = serde_json::to_vec(&(key, env)).unwrap_or_default();
    KeyId::of_question(&asked)
}

/// Starts an agent that asks. It ends with its input, that is with this process.
fn ask_agent(program: &Path, question: &Question) -> Result<KeyId, KeyError> {
    let asked = || -> io::Result<Option<Result<KeyId, KeyError>>> {
        let mut command = Command::new(program);
        forget_repository(&mut command);
        command.args(["agent", "--key"]);
        let (input, mut to) = io::pipe()?;
        let (mut from, output) = io::pipe()?;
        let streams = Streams {
            stdin: Some(input.into()),
            stdout: Some(output.into()),
            stderr: None,
        };
        // What it leaves that was killed becomes this process's.
        process::become_subreaper()?;
        let mut agent = process::start_agent(&command, streams)?;
        let started = process::start_time(agent.id()).unwrap_or(u64::MAX);
        let answer = send(&mut to, question).and_then(|()| receive(&mut from));
        drop(to);
        agent.reap()?;
        process::end_adopted(started)?;
        answer
    };
    match asked() {
        Ok(Some(answer)) => answer,
        Ok(None) => Err(KeyError::Start("the agent said nothing".to_owned())),
        Err(error) => Err(KeyError::Start(error.to_string())),
    }
}

/// Answers one question for another process, and ends with it.
///
/// # Errors
/// Where the channel or the machine makes it impossible.
pub fn serve(mut input: File, mut output: File) -> io::Result<()> {
    process::become_subreaper()?;
    process::outlast_signals()?;
    let Some((key, env)) = receive::<Question>(&mut input)? else {
        return Ok(());
    };
    thread::Builder::new().spawn(move || {
        // Nothing more is said: this is the other process's end.
        let _ = input.read(&mut [0]);
        let _ = process::end_everything();
        std::process::exit(0);
    })?;
    let answer = ask(&key, &env).map(|output| KeyId::of(&output));
    process::end_everything()?;
    send(&mut output, &answer)
}

/// Runs the command; returns what it printed.
fn ask(key: &CommandLine, env: &BTreeMap<String, String>) -> Result<Vec<u8>, KeyError> {
    let start = |error: io::Error| KeyError::Start(error.to_string());
    let dir = tempfile::tempdir().map_err(start)?;
    let mut command = process::command(key);
    forget_repository(&mut command);
    let ours = [("CI", "true"), ("GIT_CI", "1"), ("TERM", "dumb")];
    command
        .current_dir(dir.path())
        .envs(ours)
        .env("PWD", dir.path())
        .envs(env);
    let (output, stdout) = io::pipe().map_err(start)?;
    let (errors, stderr) = io::pipe().map_err(start)?;
    for pipe in [&output, &errors] {
        let flags = fcntl_getfl(pipe).map_err(|error| start(error.into()))?;
        fcntl_setfl(pipe, flags | OFlags::NONBLOCK).map_err(|error| start(error.into()))?;
    }
    let streams = Streams {
        stdin: None,
        stdout: Some(stdout.into()),
        stderr: Some(stderr.into()),
    };
    // In the environment of jobs.
    let leader = process::start_agent(&command, streams).map_err(|error| {
        match not_started(key, dir.path(), &error) {
            Outcome::Errored { reason, .. } => KeyError::Start(reason),
            _ => start(error),
        }
    })?;
    let answer = listen(&leader, output, errors);
    leader.end(Duration::ZERO);
    answer
}

/// Reads what it prints until it has ended. What it leaves behind may keep the pipes open.
fn listen(leader: &Leader, output: PipeReader, errors: PipeReader) -> Result<Vec<u8>, KeyError> {
    let lost = |error: io::Error| KeyError::Start(error.to_string());
    let begun = Instant::now();
    let mut pipes = [(output, Vec::new(), true), (errors, Vec::new(), true)];
    loop {
        let ended = leader.ended().map_err(lost)?;
        for (pipe, bytes, open) in &mut pipes {
            *open &= read(pipe, bytes).map_err(lost)?;
        }
        let [(_, said, _), (_, complained, _)] = &mut pipes;
        if said.len() > MOST {
            return Err(KeyError::TooMuch);
        }
        complained.drain(..complained.len().saturating_sub(MOST));
        match ended {
            Some(ExitKind::Exited(0)) => return Ok(std::mem::take(said)),
            Some(ended) => {
                return Err(KeyError::Failed {
                    ended: ended.to_string(),
                    said: last_line(complained),
                });
            }
            None => {}
        }
        let left = LIMIT.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(KeyError::TooSlow);
        }
        let timeout = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut fds = vec![PollFd::from_borrowed_fd(leader.exit_fd(), PollFlags::IN)];
        let open = pipes.iter().filter(|(_, _, open)| *open);
        fds.extend(open.map(|(pipe, _, _)| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)));
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(lost(error.into())),
        }
    }
}

/// Reads what there is, and no more than a bit more than may be there; whether there may
/// be more later.
fn read(pipe: &mut PipeReader, bytes: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 16 << 10];
    let before = bytes.len();
    while bytes.len() - before <= MOST {
        match pipe.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// The last line that is not empty, behind ": ".
fn last_line(bytes: &[u8]) -> String {
    let mut lines = bytes.rsplit(|&byte| byte == b'\n');
    let line = lines.find(|line| !line.trim_ascii().is_empty());
    line.map_or_else(String::new, |line| {
        let line = &line[..line.len().min(COMPLAINT)];
        format!(": {}", printable_line(line.trim_ascii()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(script: &str) -> Result<String, String> {
        let env = BTreeMap::from([("WORD".to_owned(), "x".to_owned())]);
        let said = ask(&CommandLine::Shell(script.to_owned()), &env);
        said.map(|said| String::from_utf8(said).unwrap())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_counts_is_its_standard_output() {
        assert_eq!(said("echo a; echo b >&2; echo $WORD").unwrap(), "a\nx\n");
        assert_eq!(said("ls -A").unwrap(), "", "an empty directory");
        assert_eq!(said("sleep 300 & echo now").unwrap(), "now\n");
        let big = said("head -c 200000 /dev/zero | tr '\\0' x").unwrap();
        assert_eq!(big.len(), 200_000);
    }

    #[test]
    fn what_fails_says_why() {
        let error = said("echo oh >&2; echo dear >&2; exit 3").unwrap_err();
        assert_eq!(error, "ask the `key`: it ended with exit status: 3: dear");
        let error = said("while :; do echo more; done").unwrap_err();
        assert!(error.contains("printed more than"), "{error}");
        let none = ask(
            &CommandLine::Argv(vec!["no-such-program".to_owned()]),
            &BTreeMap::new(),
        );
        assert!(matches!(none, Err(KeyError::Start(_))));
    }

    #[test]
    fn each_question_is_asked_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("asked");
        let run = CommandLine::Shell("true".to_owned());
        let mut job = Job::new("test".parse().unwrap(), run);
        let mut keys = Keys::default();
        assert_eq!(keys.ask(&job).unwrap(), None);
        let ask = format!("echo x >>{0}; wc -l <{0}", file.display());
        job.key = Some(CommandLine::Shell(ask));
        let first = keys.ask(&job).unwrap();
        assert_eq!(keys.ask(&job).unwrap(), first);
        job.env.insert("A".to_owned(), "1".to_owned());
        assert_ne!(keys.ask(&job).unwrap(), first);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "x\nx\n");
    }
}
