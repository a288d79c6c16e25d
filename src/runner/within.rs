//! Runs within runs: a job may call git-ci on its own repository.
//!
//! Each job is told which tasks it is part of, from the outermost on. A run that is asked
//! for one of these would wait for its own end.

use std::ffi::OsString;

use crate::model::{JobName, Oid};

/// The variable: words `TREE/JOB`.
pub const WITHIN: &str = "GIT_CI_WITHIN";

/// Whether this process is part of a task of this job on this tree.
pub fn is_within(job: &JobName, tree: &Oid) -> bool {
    let within = std::env::var(WITHIN).unwrap_or_default();
    let word = word(job, tree);
    within.split_whitespace().any(|one| one == word)
}

/// What the processes of a task are told.
pub(super) fn value(job: &JobName, tree: &Oid) -> OsString {
    let mut value = std::env::var_os(WITHIN).unwrap_or_default();
    if !value.is_empty() {
        value.push(" ");
    }
    value.push(word(job, tree));
    value
}

fn word(job: &JobName, tree: &Oid) -> String {
    format!("{tree}/{job}")
}
