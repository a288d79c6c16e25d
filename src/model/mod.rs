//! The plain data that every other module speaks: no I/O, no git, no clock.
//!
//! Times and identifiers come in as values. What is here can be built in a unit
//! test without a repository; anything that cannot belongs elsewhere.

mod criteria;
mod event;
mod forget;
mod hash;
mod ids;
mod job;
mod note;
mod outcome;
pub mod path;
mod reason;
mod record;
mod ref_name;
#[cfg(test)]
mod schema;
mod task;
mod test_report;
mod text;
mod units;

pub use criteria::{Criteria, Inputs, Mismatch, Surroundings, surroundings};
pub use event::{Counts, Event, JSON_FORMAT, TaskResult, Uncommitted, WatchedCommit};
pub use forget::{Forget, Forgotten};
pub use hash::{DefId, EnvId, InputId, KeyId};
pub use ids::{JobName, LogId, Oid, ParseIdError, Platform, RunnerLabel};
pub use job::{
    COMMIT_VARIABLE, Clean, CommandLine, DEFAULT_GRACE, Job, Need, REPOSITORY_VARIABLE, Reuse,
    Setup, Stage,
};
pub use note::{Census, Line, Note};
pub use outcome::{Outcome, Status, Why};
pub use reason::{Reason, Rule};
pub use record::{MAX_LINE, ParseRecordError, RECORD_VERSION, Rank, Record, Seen, Tests, latest};
pub use ref_name::RefName;
pub use task::{Commit, Known, Snapshot, Task, TaskId, TaskKey};
pub use test_report::{TestCase, TestReport, TestVerdict};
pub use text::{
    glob, json_line, printable, printable_json, printable_line, printable_output, printable_styled,
};
pub use units::{UnitError, duration_text, parse_duration, parse_size, size_text};
