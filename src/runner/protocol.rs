//! What a dispatcher and an agent say to each other: frames of JSON, each behind its
//! length in four bytes, most significant first.
//!
//! 1. Each side's first frame is `hello` with [`PROTOCOL`]; the dispatcher speaks
//!    first. A side that sees another version, a frame it does not know, or a length
//!    above [`MAX_FRAME`] says so and ends: guessing would end in a wrong verdict.
//! 2. `run` starts a task; any number of `waiting` and `output` frames, at most one `started`
//!    and one `ran` follow, `artifact` frames where they are asked for, and exactly one `done`. All carry the task's id and try, and what
//!    carries another id than the one that runs is dropped. A `note` belongs to no task.
//! 3. Only `done` is a result. When the channel ends there is none, whatever else was said.
//! 4. When the agent's input ends, or its time is over that `until` gives, it kills every
//!    process of its task, and ends.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::logs;
use crate::model::{
    EnvId, Job, KeyId, LogId, Oid, Outcome, Platform, RunnerLabel, TaskId, TestReport,
};

use super::tokens::Machine;
use super::{Assignment, Request};

/// The version of everything in this module.
pub const PROTOCOL: u32 = 6;

/// The longest frame that is sent or taken, in bytes.
pub const MAX_FRAME: usize = 16 << 20;

/// The longest piece of a file, in bytes.
pub const ARTIFACT_PIECE: usize = 64 << 10;

/// From the dispatcher.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "kebab-case")]
pub enum ToAgent {
    /// The first frame.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// What the agent works with.
        setup: Setup,
    },
    /// Everything may run until then, and no longer; without such a frame for as long as
    /// the channel is open.
    Until {
        /// Since the machine was started, what it slept included, in nanoseconds.
        boottime: u64,
    },
    /// Run a task.
    Run(Box<RunTask>),
    /// To the task that runs.
    Request {
        /// The task it is meant for.
        task: TaskId,
        /// What is asked.
        request: Request,
    },
}

/// What an agent works with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setup {
    /// The repository's common git directory.
    #[serde(with = "crate::model::path")]
    pub repository: PathBuf,
    /// Where its worktrees are.
    #[serde(with = "crate::model::path")]
    pub worktrees: PathBuf,
    /// How many slots there are; the agent uses one at a time.
    pub slots: u32,
    /// What jobs are told of who runs them.
    pub label: RunnerLabel,
    /// Who the agent works for, as others are told who hold a slot.
    pub dispatcher: u32,
    /// The bounds of a task's output.
    pub output: OutputLimits,
    /// What becomes of what a job leaves.
    pub artifacts: ArtifactSetup,
    /// What all repositories on the machine share.
    #[serde(default)]
    pub machine: Machine,
    /// Whether the slot of a task that fails is kept as it is, for somebody to look at.
    pub keep_failed: bool,
}

/// What becomes of what a job leaves.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct ArtifactSetup {
    /// How many bytes one task may leave.
    pub most: u64,
    /// Whether the dispatcher is told what the task left: its repository is not the agent's.
    pub send: bool,
}

/// A part of what a job left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "kebab-case")]
pub enum ArtifactPart {
    /// Before everything else, also where it left nothing.
    Begin,
    /// A file; what follows is its content.
    File {
        /// Where it is, from the directory for artifacts.
        #[serde(with = "crate::model::path")]
        path: PathBuf,
        /// Whether it can be executed.
        executable: bool,
    },
    /// A piece of the file that was named last: at most [`ARTIFACT_PIECE`] bytes.
    Bytes {
        /// The bytes.
        #[serde(with = "bytes")]
        bytes: Vec<u8>,
    },
    /// A link.
    Link {
        /// Where it is.
        #[serde(with = "crate::model::path")]
        path: PathBuf,
        /// What it leads to.
        #[serde(with = "crate::model::path")]
        target: PathBuf,
    },
}

/// How much of a task's output is kept, in bytes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct OutputLimits {
    /// From its beginning.
    pub head: usize,
    /// From its end, once there is more.
    pub tail: usize,
    /// How much a second of what follows the beginning is passed on while the task
    /// runs: a job that floods must not fill the way with what nobody will keep.
    pub pace: usize,
}

impl OutputLimits {
    /// For an agent on another machine, which is at the end of a slower way.
    pub fn far() -> Self {
        Self {
            pace: 256 << 10,
            ..Self::default()
        }
    }
}

impl Default for OutputLimits {
    fn default() -> Self {
        Self {
            head: logs::HEAD,
            tail: logs::TAIL,
            pace: 4 << 20,
        }
    }
}

/// A task for an agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunTask {
    /// Its id.
    pub task: TaskId,
    /// The try, from 1.
    #[serde(rename = "try")]
    pub try_: u32,
    /// What to test.
    pub commit: Oid,
    /// The tree of that commit.
    pub tree: Oid,
    /// Where `HEAD` is to be.
    pub head: Oid,
    /// How to test it.
    pub job: Job,
    /// The jobs that it needs, each behind what it needs itself.
    #[serde(default)]
    pub upstream: Vec<Job>,
    /// The log that its output goes to, at the dispatcher's end.
    pub log: LogId,
}

impl RunTask {
    /// The task with this id.
    pub fn new(assignment: &Assignment) -> Self {
        let Assignment {
            task, try_, log, ..
        } = assignment;
        Self {
            task: task.id,
            try_: *try_,
            commit: task.commit.id,
            tree: task.commit.tree,
            head: task.commit.head(),
            job: Job::clone(&task.job),
            upstream: task.upstream.iter().map(|job| Job::clone(job)).collect(),
            log: log.clone(),
        }
    }

    /// The jobs that it may have to run: those that it needs, and its own.
    pub(super) fn jobs(&self) -> Vec<&Job> {
        self.upstream.iter().chain([&self.job]).collect()
    }
}

/// From the agent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "kebab-case")]
pub enum FromAgent {
    /// The first frame.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
    },
    /// The task waits for a slot.
    Waiting {
        /// The task.
        task: TaskId,
        /// For whom: part of a sentence.
        reason: String,
    },
    /// Something that the user should know and that stops nothing.
    Note {
        /// A sentence.
        message: String,
    },
    /// The task's process was started.
    Started {
        /// The task.
        task: TaskId,
        /// In which slot.
        slot: u32,
        /// The process, which leads a group.
        pid: u32,
    },
    /// Bytes of the task's output, in its order; what was left out before them is lost.
    Output {
        /// The task.
        task: TaskId,
        /// How many bytes of output came before these.
        at: u64,
        /// The bytes.
        #[serde(with = "bytes")]
        bytes: Vec<u8>,
    },
    /// How long the task's process ran, time that it was stopped left out.
    Ran {
        /// The task.
        task: TaskId,
        /// The time.
        time: Duration,
    },
    /// A part of what the task left.
    Artifact {
        /// The task.
        task: TaskId,
        /// The part.
        part: ArtifactPart,
    },
    /// The task ended, and none of its processes is left.
    Done {
        /// The task.
        task: TaskId,
        /// How.
        result: Outcome,
        /// What was seen meanwhile.
        #[serde(default)]
        observed: Observed,
    },
    /// The agent cannot go on, and ends.
    Failed {
        /// Completes "failed to …".
        reason: String,
    },
}

/// What an agent saw of a task besides how it ended: what its record needs to say.
///
/// What is not told counts as the less favourable, so that a verdict never holds for more
/// than it should.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// The platform that it ran on.
    #[serde(default)]
    pub on: Option<Platform>,
    /// Whether it looked at the commit.
    #[serde(default)]
    pub head: Head,
    /// How many tracked files it changed or removed.
    #[serde(default)]
    pub changed: u64,
    /// What the job's `key` said.
    #[serde(default)]
    pub key: Option<KeyId>,
    /// How its files were made.
    #[serde(default)]
    pub files: Files,
    /// The commit that the worktree was at before, where what git ignores was kept from it.
    #[serde(default)]
    pub before: Option<Oid>,
    /// What its tests said, where it has any that say it.
    #[serde(default)]
    pub tests: Option<TestReport>,
}

/// What outside the tree decided how a task's files were made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Files {
    /// What the dispatcher planned with: a host has it from there.
    #[default]
    AsPlanned,
    /// What the configuration here said then; `None` where it had nothing to say.
    By(Option<EnvId>),
}

/// Whether a job opened the file `HEAD` of its worktree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// Nobody could tell.
    #[default]
    Unwatched,
    /// It did.
    Read,
    /// It did not.
    Unread,
}

/// Bytes as base64.
pub(super) mod bytes {
    use base64::Engine as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::BASE64;

    pub(in super::super) fn serialize<S: Serializer>(
        bytes: &[u8],
        s: S,
    ) -> Result<S::Ok, S::Error> {
        s.serialize_str(&BASE64.encode(bytes))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        BASE64
            .decode(text.as_bytes())
            .map_err(serde::de::Error::custom)
    }
}

/// A frame as it is sent.
///
/// # Errors
/// `InvalidInput` for a frame above [`MAX_FRAME`].
pub fn encode(frame: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, frame)?;
    let length = bytes.len() - 4;
    if length > MAX_FRAME {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a frame of {length} bytes is too long"),
        ));
    }
    bytes[..4].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(bytes)
}

/// Sends one frame.
///
/// # Errors
/// Those of writing, and of [`encode`].
pub fn send(to: &mut impl Write, frame: &impl Serialize) -> io::Result<()> {
    let bytes = encode(frame)?;
    // In one write, so that frames of several threads cannot mix on a pipe's lock.
    to.write_all(&bytes)?;
    to.flush()
}

/// Receives one frame, waiting for it; `None` where the channel ends before it begins.
///
/// # Errors
/// Those of reading; `InvalidData` for what is no frame of this protocol.
pub fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    let mut have = 0;
    while have < length.len() {
        match from.read(&mut length[have..]) {
            Ok(0) if have == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => have += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let length = u32::from_be_bytes(length) as usize;
    check_length(length)?;
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(Some(parse(&bytes)?))
}

fn check_length(length: usize) -> io::Result<()> {
    if length <= MAX_FRAME {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("a frame claims {length} bytes: this is not the agent's protocol"),
    ))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    serde_json::from_slice(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Frames out of bytes that come as they come.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
}

impl Decoder {
    /// Takes more bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one.
    ///
    /// # Errors
    /// `InvalidData` for what is no frame of this protocol.
    pub fn next_frame<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let Some(length) = self.bytes.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        check_length(length)?;
        let Some(frame) = self.bytes.get(4..4 + length) else {
            return Ok(None);
        };
        let frame = parse(frame)?;
        self.bytes.drain(..4 + length);
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let mut wire = Vec::new();
        for task in 0..3 {
            let frame = FromAgent::Output {
                task: TaskId(task),
                at: 7,
                bytes: vec![0, 255, b'\n'],
            };
            send(&mut wire, &frame).unwrap();
        }
        let mut decoder = Decoder::default();
        let mut seen = 0;
        for byte in &wire {
            decoder.feed(&[*byte]);
            while let Some(frame) = decoder.next_frame::<FromAgent>().unwrap() {
                let FromAgent::Output { task, at: 7, bytes } = frame else {
                    panic!("{frame:?}");
                };
                assert_eq!((task, bytes), (TaskId(seen), vec![0, 255, b'\n']));
                seen += 1;
            }
        }
        assert_eq!(seen, 3);
        let mut wire = wire.as_slice();
        assert!(receive::<FromAgent>(&mut wire).unwrap().is_some());
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let mut decoder = Decoder::default();
        decoder.feed(&u32::MAX.to_be_bytes());
        assert!(decoder.next_frame::<FromAgent>().is_err(), "4 GB");
        let mut decoder = Decoder::default();
        decoder.feed(b"Welcome to host!");
        assert!(decoder.next_frame::<FromAgent>().is_err());
        let mut decoder = Decoder::default();
        decoder.feed(b"\0\0\0\x11{\"frame\":\"novel\"}");
        assert!(decoder.next_frame::<FromAgent>().is_err());
        assert!(receive::<FromAgent>(&mut &b"\0\0"[..]).is_err(), "torn");
        assert!(receive::<FromAgent>(&mut &b""[..]).unwrap().is_none());
    }
}
