//! What a dispatcher and the hub on another machine say to each other: frames as in
//! [`protocol`](super::protocol), over whatever connects the two.
//!
//! 1. *Start.* The channel may carry a login shell's greetings first. The hub ends
//!    them with one line, [`ready_line`], that holds a number the dispatcher has just
//!    made up; frames follow. The dispatcher speaks first: `hello` with [`WIRE`]; the
//!    hub answers with its own. A version, a frame or a length that a side does not
//!    know ends the connection: guessing would end in a wrong verdict.
//! 2. *Objects.* `pack` frames carry a thin pack in pieces, numbered from 1, ended by
//!    `pack-end`. The hub says `taken` for every piece, so that no more than a window
//!    is ever on its way, and cuts the connection where a pack cannot be stored.
//! 3. *Tasks.* `run` names the pack that must be stored `after` which the task can
//!    start; the pack itself may still be on its way. The hub keeps what it has no
//!    slot for yet. `started`, `output`, `artifact` and `done` carry the task's id and try, and are
//!    dropped where nobody waits for them. Only `done` is a result.
//! 4. *Lease.* The hub sends `beat` with a growing number, the dispatcher answers
//!    each with `ack`. The hub's right to run anything lasts `silence` from when it
//!    *sent* the newest beat that was acknowledged, the dispatcher's timeout `lease` from when it
//!    *received* one. So with `lease` above `silence` the hub's jobs are dead before
//!    anybody else gets their tasks, whatever the network delays, in either direction.
//!    The right is handed down as a deadline, to the hub's [guard](super::guard) and to its
//!    agents, so that a hub that is stopped cannot overstep it either.
//! 5. *End.* On `bye`, on end-of-input and when its right has lapsed the hub kills
//!    every process below it, and ends.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::git::Beyond;
use crate::model::{Oid, Outcome, RunnerLabel, TaskId};
use crate::worktree::Holder;

use super::Request;
use super::protocol::{ArtifactPart, Observed, OutputLimits, RunTask, bytes};
use super::tokens::Machine;

/// The version of everything in this module.
pub const WIRE: u32 = 3;

/// The longest piece of a pack, in bytes.
pub const PIECE: usize = 256 << 10;

/// How long a hub waits for a dispatcher that has said nothing yet.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(20);

/// The line with which a hub ends what was printed before it.
pub fn ready_line(nonce: &str) -> String {
    format!("git-ci:{nonce}:ready\n")
}

/// From the dispatcher.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "kebab-case")]
pub enum ToHost {
    /// The first frame.
    Hello {
        /// [`WIRE`].
        wire: u32,
        /// What the hub works with.
        setup: Box<HostSetup>,
    },
    /// This beat was received.
    Ack {
        /// Its number.
        beat: u64,
    },
    /// A piece of a pack.
    Pack {
        /// The pack's number, from 1 and without gaps.
        pack: u64,
        /// At most [`PIECE`] bytes.
        #[serde(with = "bytes")]
        bytes: Vec<u8>,
    },
    /// The pack is complete.
    PackEnd {
        /// Its number.
        pack: u64,
        /// The commits that it brought, which are to be kept for next time.
        keep: Vec<Oid>,
    },
    /// Run a task when a slot is free.
    Run {
        /// The task.
        task: Box<RunTask>,
        /// The pack that must be stored before; 0 for none.
        after: u64,
    },
    /// To a task.
    Request {
        /// The task it is meant for.
        task: TaskId,
        /// Its try.
        #[serde(rename = "try")]
        try_: u32,
        /// What is asked.
        request: Request,
    },
    /// Nothing more will come.
    Bye,
}

/// What a hub works with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostSetup {
    /// The name of the project's directory below the root: letters, digits, `.`, `_` and `-`.
    pub project: String,
    /// The object format of the project: `sha1` or `sha256`.
    pub format: String,
    /// Where history is cut off, one id each; empty for a whole history.
    pub shallow: Vec<Oid>,
    /// What a checkout needs besides commits, and does not get.
    pub beyond: Beyond,
    /// Where the hub keeps its things; `None` is `git-ci` in the user's cache.
    pub root: Option<String>,
    /// How many worktrees all hubs on this root share.
    pub slots: u32,
    /// How many tasks this hub runs at once.
    pub lanes: u32,
    /// What jobs are told of who runs them.
    pub label: RunnerLabel,
    /// How long an unacknowledged hub keeps its jobs.
    pub silence: Duration,
    /// The bounds of a task's output.
    pub output: OutputLimits,
    /// What the host has for all who use it.
    #[serde(default)]
    pub machine: Machine,
    /// How many bytes one task may leave in its directory for artifacts.
    pub artifacts: u64,
}

/// From the hub.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "kebab-case")]
pub enum FromHost {
    /// The first frame.
    Hello {
        /// [`WIRE`].
        wire: u32,
        /// What there is to know of the host.
        about: Box<About>,
    },
    /// The hub is there.
    Beat {
        /// Grows by one each time.
        beat: u64,
    },
    /// A piece of a pack has left the channel.
    Taken {
        /// How many bytes it had.
        bytes: u64,
    },
    /// A task waits for a slot.
    Waiting {
        /// The task.
        task: TaskId,
        /// Its try.
        #[serde(rename = "try")]
        try_: u32,
        /// For whom: part of a sentence.
        reason: String,
    },
    /// Something that the user should know and that stops nothing.
    Note {
        /// The task that came upon it.
        task: TaskId,
        /// Its try.
        #[serde(rename = "try")]
        try_: u32,
        /// A sentence.
        message: String,
    },
    /// A task's process was started.
    Started {
        /// The task.
        task: TaskId,
        /// Its try.
        #[serde(rename = "try")]
        try_: u32,
        /// In which slot.
        slot: u32,
    },
    /// Bytes of a task's output, in its order; what was left out before them is lost.
    Output {
        /// The task.
        task: TaskId,
        /// Its try.
        #[serde(rename = "try")]
        try_: u32,
        /// How many bytes of output came before these.
        at: u64,
        /// The bytes.
        #[serde(with = "bytes")]
        bytes: Vec<u8>,
    },
    /// A part of what a task left.
    Artifact {
        /// The task.
        task: TaskId,
        /// Its try.
        #[serde(rename = "try")]
        try_: u32,
        /// The part.
        part: ArtifactPart,
    },
    /// A task ended, and none of its processes is left.
    Done {
        /// The task.
        task: TaskId,
        /// Its try.
        #[serde(rename = "try")]
        try_: u32,
        /// How.
        result: Outcome,
        /// What was seen meanwhile.
        #[serde(default)]
        observed: Observed,
    },
    /// The hub cannot go on, and ends with everything below it.
    Failed {
        /// Which of the known troubles it is.
        trouble: Trouble,
        /// Completes "failed to …".
        reason: String,
    },
}

/// Why a hub cannot work, as far as there is advice for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// No `git`, or one that is too old.
    NoGit,
    /// It cannot write where it keeps its things.
    Root,
    /// Objects could not be stored: mostly a full disk.
    Store,
    /// It speaks another version.
    Version,
    /// Anything else.
    Other,
}

/// What a hub tells of its host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct About {
    /// The version of git-ci.
    pub version: String,
    /// System and machine, as `uname -sm` says.
    pub platform: String,
    /// The version of git.
    pub git: String,
    /// Free space where the worktrees are, in bytes.
    pub free: u64,
    /// The host's clock, in milliseconds since the epoch.
    pub clock: i64,
    /// Commits that are there with their whole history, newest first.
    pub have: Vec<Oid>,
    /// What runs there now for this project, with the slot's number.
    pub running: Vec<(u32, Holder)>,
}
