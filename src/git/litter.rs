//! What processes of ours may leave behind in a repository when they are killed, and
//! bookkeeping whose reason is gone.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::objects::process_exists;
use super::packs::KEEP_MARK;
use super::{GitError, Repo};

/// Where checkpoints are: the rest of the name is that of a ref, without `refs/`.
const CHECKPOINTS: &str = "refs/ci/checkpoint/";

/// A `.keep` younger than this may be that of a process on another machine.
const KEEP_LIFE: Duration = Duration::from_secs(60 * 60);

/// A `.keep` beside a pack, made by a process of ours that is dead: no gc touches the
/// pack until it is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleKeep(pub PathBuf);

/// A checkpoint whose ref does not exist any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Its full name.
    pub name: String,
    /// What it was at.
    id: String,
}

impl Repo {
    /// Every `.keep` of ours whose process is dead.
    pub fn stale_keeps(&self) -> Vec<StaleKeep> {
        let packs = fs::read_dir(self.common_dir().join("objects/pack"));
        let mut found = Vec::new();
        for entry in packs.into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "keep") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            let pid = text.strip_prefix(KEEP_MARK);
            let pid = pid.and_then(|pid| pid.trim().parse().ok());
            let written = entry.metadata().and_then(|meta| meta.modified());
            let old = written.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > KEEP_LIFE));
            if old && pid.is_some_and(|pid| !process_exists(pid)) {
                found.push(StaleKeep(path));
            }
        }
        found
    }

    /// Every checkpoint of a ref that is gone.
    ///
    /// # Errors
    /// Where git cannot list refs.
    pub fn orphaned_checkpoints(&self) -> Result<Vec<Checkpoint>, GitError> {
        let list = |prefix: &str| {
            let format = "--format=%(objectname) %(refname)";
            let mut command = self.git_command();
            self.git()
                .read(command.args(["for-each-ref", format, prefix]))
        };
        let checkpoints = list(CHECKPOINTS)?;
        if checkpoints.is_empty() {
            return Ok(Vec::new());
        }
        let all = list("refs/")?;
        let refs: std::collections::HashSet<_> = all
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(_, name)| name)
            .collect();
        let mut found = Vec::new();
        for (id, name) in checkpoints.lines().filter_map(|line| line.split_once(' ')) {
            let of = name.strip_prefix(CHECKPOINTS).unwrap_or_default();
            // Without a directory it stands for no ref: `HEAD`, or something to come.
            if of.contains('/') && !refs.contains(format!("refs/{of}").as_str()) {
                found.push(Checkpoint {
                    name: name.to_owned(),
                    id: id.to_owned(),
                });
            }
        }
        Ok(found)
    }

    /// Deletes a checkpoint, unless it has moved since.
    ///
    /// # Errors
    /// Where it has moved, or git cannot delete it.
    pub fn delete_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), GitError> {
        let mut command = self.git_command();
        command.args(["update-ref", "-d", &checkpoint.name, &checkpoint.id]);
        self.git().output(&mut command).map(|_| ())
    }
}
