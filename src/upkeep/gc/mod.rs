//! What nobody needs any more goes, and what somebody uses stays.
//!
//! It may run beside anything: a running task's log is locked by its writer, a slot by
//! whoever has it, and artifacts go only in a moment in which no task can begin.

mod sweep;

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use serde::Serialize;

use crate::git::Repo;
use crate::lock;
use crate::model::{LogId, Status};
use crate::notes::Records;
use crate::settings::{Retention, Settings};

use sweep::Sweep;

/// What a thing is that `gc` removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RemovalKind {
    /// The log of a task.
    Log,
    /// What a job left.
    Artifacts,
    /// A worktree.
    Worktree,
    /// A checkpoint ref.
    Checkpoint,
    /// What a killed process left.
    Litter,
}

/// One thing that goes.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Removal {
    /// What kind of thing it is.
    pub kind: RemovalKind,
    /// Its path, or the name of a ref.
    pub what: String,
    /// What it took on the disk.
    pub bytes: u64,
    /// Why it goes, for people.
    pub why: &'static str,
}

/// What came of it all.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    /// What was removed, or would be.
    pub removed: Vec<Removal>,
    /// What could not be done, and should have been.
    pub problems: Vec<String>,
    /// What was left alone, and why.
    pub notes: Vec<String>,
}

/// The directory of the repository's state cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("open {}", .path.display())]
pub(crate) struct GcError {
    path: PathBuf,
    source: io::Error,
}

/// Looks, and removes unless this is a `dry_run`. `None` where another process does so.
///
/// # Errors
/// Where the directory of the repository's state cannot be opened.
pub(crate) fn sweep(
    repo: &Repo,
    settings: &Settings,
    retention: &Retention,
    dry_run: bool,
) -> Result<Option<Swept>, GcError> {
    let _turn = if dry_run || !repo.ci_dir().is_dir() {
        None
    } else {
        match turn(repo)? {
            Some(turn) => Some(turn),
            None => return Ok(None),
        }
    };
    let mut sweep = Sweep::new(repo, settings, retention, dry_run);
    sweep.logs(failing(repo, settings));
    sweep.artifacts();
    sweep.unused_artifacts();
    sweep.slots();
    sweep.abandoned_caches();
    sweep.checkpoints();
    sweep.pins();
    sweep.litter();
    Ok(Some(sweep.done()))
}

/// One gc at a time is enough. It is the directory that is locked: a file could not be
/// made where the disk is full.
fn turn(repo: &Repo) -> Result<Option<File>, GcError> {
    let path = repo.ci_dir();
    let dir = File::open(&path);
    let dir = dir.map_err(|source| GcError { path, source })?;
    // Without locks of files, what is removed twice is gone all the same.
    Ok(lock::try_exclusive(&dir).unwrap_or(true).then_some(dir))
}

/// The logs of tasks that somebody may want to look into: of those that did not pass.
fn failing(repo: &Repo, settings: &Settings) -> impl Fn(&LogId) -> bool + use<> {
    // Where the notes cannot be read, age alone decides.
    let records = Records::load(repo, &settings.notes_ref).ok();
    let of = |records: &Records| {
        let bad = |status| !matches!(status, Status::Pass | Status::Skip);
        let all = records.iter().flat_map(|(_, records)| records);
        let bad = all.filter(|record| bad(record.status));
        bad.map(|record| record.log.clone()).collect()
    };
    let failing: std::collections::HashSet<LogId> = records.as_ref().map(of).unwrap_or_default();
    move |id| failing.contains(id)
}

/// Whether `path` was last written to longer ago than `age`, at `now`; what comes from
/// the future, or cannot be looked at, was not.
fn older(path: &std::path::Path, age: std::time::Duration, now: std::time::SystemTime) -> bool {
    let written = fs::symlink_metadata(path).and_then(|meta| meta.modified());
    written.is_ok_and(|at| now.duration_since(at).is_ok_and(|is| is > age))
}
