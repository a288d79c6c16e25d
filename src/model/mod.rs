//! The plain data that every other module speaks: no I/O, no git, no clock.
//!
//! Times and identifiers come in as values. What is here can be built in a unit
//! test without a repository; anything that cannot belongs elsewhere.

mod event;
mod hash;
mod ids;
mod job;
mod note;
mod outcome;
mod record;
mod ref_name;
mod task;
mod text;

pub use event::{Counts, EVENT_FORMAT, Event, WatchedCommit};
pub use hash::{DefId, EnvId, InputId};
pub use ids::{JobName, LogId, Oid, ParseIdError, Platform, RunnerLabel};
pub use job::{Clean, CommandLine, DEFAULT_GRACE, Job};
pub use note::{Census, Note};
pub use outcome::{Outcome, Status, Why};
pub use record::{MAX_LINE, ParseRecordError, RECORD_VERSION, Record, Seen, Tests};
pub use ref_name::RefName;
pub use task::{Commit, Known, Task, TaskId, TaskKey};
pub use text::{printable, printable_json, printable_line};
