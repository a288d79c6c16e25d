//! git-ci: CI that lives in the repository. This page is the architecture.
//!
//! # The way of a commit
//!
//! ```text
//! revs ─ commits ─→ plan (commits × jobs − known records)
//!      ─ a worker asks, the dispatcher answers ─→ task
//!      ─ a runner: an agent that leases a worktree and runs the job ─→ outcome
//!      ─ one channel back ─→ dispatcher ─ note store ─→ note stored ─ event ─→ reporters
//! ```
//!
//! # Rooms
//!
//! | Module | What it is for |
//! |---|---|
//! | [`model`] | plain data: ids, jobs, outcomes, records, events; no I/O |
//! | [`config`] | the jobs file: text to jobs, and where the text is from |
//! | [`starter`] | a first jobs file, from what a project looks like or from another CI's |
//! | [`git`] | every use of gix, every `git` subprocess |
//! | [`process`] | sessions, signals, stragglers; all unsafe code |
//! | [`worktree`] | the pool of slots and their leases |
//! | [`hooks`] | the hooks that tell of new commits, installed beside those of others |
//! | [`spool`] | what hooks leave for whoever runs the jobs next |
//! | [`logs`] | log files: bounded, readable while they grow, compressed when done |
//! | [`runner`] | the trait `Runner`; the agent and its protocol; hosts, their hubs and the protocol between |
//! | [`plan`] | commits × jobs − known records |
//! | [`verdict`] | which record counts for a commit and a job |
//! | [`engine`] | the dispatcher, which owns the state of a run, and the workers |
//! | [`printer`] | the one way out: standard output and error, escaped, and waited for by no run |
//! | [`reporter`] | events made visible: terminal, plain lines, JSON |
//! | [`watch`] | the observer: which commits are new, what is wanted, when a checkpoint moves |
//! | [`commands`] | the command line, one file a subcommand |
//! | [`settings`] | what this machine's git configuration says |
//! | [`sealed`] | files of ours that are read only as they were written |
//! | [`private`] | files and directories of ours: modes, owners, no links |
//! | [`fail`] | where a test may end the program: fail points of debug builds |
//! | [`error`] | what the user is told when a command cannot do its work |
//!
//! # Directions
//!
//! Dependencies point one way: a module uses the modules that its line names, all of
//! which stand below it, and no others; a crate in the second part is used where its
//! line says, and nowhere else. A test reads this page and the code.
//!
//! ```text
//! main     → commands
//! commands → watch engine reporter printer runner plan verdict hooks spool worktree process logs settings starter config git error private model
//! watch    → engine reporter plan spool process config git fail error private model
//! engine   → reporter runner plan worktree process logs git fail private model
//! reporter → printer model
//! printer  → model
//! runner   → worktree process logs git sealed private model
//! worktree → process git private model
//! hooks    → spool process git model
//! spool    → git private model
//! process  → git private model
//! settings → config git model
//! starter  → config model
//! config   → git model
//! git      → fail sealed private model
//! logs     → model private
//! plan     → model
//! verdict  → model
//! error    →
//! sealed   → private
//! private  →
//! fail     →
//! model    →
//!
//! clap clap_complete clap_mangen ← commands
//! anstyle   ← commands reporter model
//! rayon     ← engine
//! gix       ← git
//! memchr    ← runner
//! libc      ← process
//! tracing_subscriber ← commands
//! which     ← git commands
//! ```
//!
//! # Terms
//!
//! | Term | Meaning |
//! |---|---|
//! | job | a configured command |
//! | task | one job on one commit |
//! | run | one invocation |
//! | runner | where a task executes: a slot of this machine, or one of a host |
//! | host | another machine, at the end of a command that connects to it |
//! | hub | what runs at the host's end: it stores commits and starts agents |
//! | guard | the hub's parent: it ends everything in time where the hub is stopped |
//! | agent | the small process at a runner's end that leases a slot and is the subreaper of its jobs |
//! | dispatcher, worker | the owner of the run's state, and the loops that ask it for tasks |
//! | slot | one reusable worktree, of a repository of its own that borrows the user's objects, with its lock |
//! | outcome | the verdict of a task |
//! | record | what a note holds of it |
//! | checkpoint | the ref that marks "seen up to here" |
//!
//! # Rules of the engine
//!
//! 1. Workers ask; the dispatcher answers with a task or "stop". Nothing is handed out
//!    ahead, so cancelling needs no flag.
//! 2. The pool is dedicated, and the dispatcher stays on the calling thread.
//! 3. One channel carries the workers' messages, signals, and whatever wakes the run.
//! 4. Only the dispatcher's side writes notes, by compare-and-swap on the ref.
//! 5. Store first, report second: what the user saw as done is on disk.
//! 6. First signal: hand out nothing more and end jobs gently. Second: kill.

pub mod commands;
pub mod config;
pub mod engine;
pub mod error;
pub mod fail;
pub mod git;
pub mod hooks;
pub mod logs;
pub mod model;
pub mod plan;
pub mod printer;
pub mod private;
pub mod process;
pub mod reporter;
pub mod runner;
pub mod sealed;
pub mod settings;
pub mod spool;
pub mod starter;
pub mod verdict;
pub mod watch;
pub mod worktree;
