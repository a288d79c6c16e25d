//! What processes of ours may leave behind in a repository when they are killed, and
//! bookkeeping whose reason is gone.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::checkpoint::{CHECKPOINTS, watched_ref};
use super::history::History;
use super::objects::process_exists;
use super::packs::KEEP_MARK;
use super::ref_store::os;
use super::refs::RefError;
use super::refs::{RefReader, Wanted};
use super::{GitError, Repo};
use crate::model::{Oid, RefName};

/// A `.keep` younger than this may be that of a process on another machine.
const KEEP_LIFE: Duration = Duration::from_secs(60 * 60);

/// A `.keep` beside a pack, made by a process of ours that is dead: no gc touches the
/// pack until it is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleKeep(pub PathBuf);

/// A checkpoint that is of no use where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its full name.
    name: RefName,
    /// What it is at.
    at: Oid,
    /// Where it belongs: `None` where it should not be there at all.
    to: Option<Oid>,
    /// What is wrong with it, for people.
    pub why: &'static str,
}

impl Leftover {
    /// Its name, for people.
    pub fn name(&self) -> String {
        self.name.to_string()
    }
}

impl Repo {
    /// Every `.keep` of ours whose process is dead.
    pub fn stale_keeps(&self) -> Vec<StaleKeep> {
        let packs = fs::read_dir(self.common_dir().join("objects/pack"));
        let mut found = Vec::new();
        for entry in packs.into_iter().flatten().flatten() {
            let path = entry.path();
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            if !is_file || path.extension().is_none_or(|extension| extension != "keep") {
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

    /// Locks on refs of ours that nobody holds any more: a git that was killed left them.
    /// Nobody else writes below `refs/ci/`, and no update takes as long as `age`.
    pub fn stale_locks(&self, age: Duration) -> Vec<PathBuf> {
        let mut dirs = vec![self.common_dir().join("refs/ci")];
        let mut found = Vec::new();
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                let Ok(kind) = entry.file_type() else {
                    continue;
                };
                let path = entry.path();
                if kind.is_dir() {
                    dirs.push(path);
                } else if kind.is_file() && path.extension().is_some_and(|end| end == "lock") {
                    let written = entry.metadata().and_then(|meta| meta.modified());
                    let stale = written.is_ok_and(|at| at.elapsed().is_ok_and(|is| is > age));
                    found.extend(stale.then_some(path));
                }
            }
        }
        found
    }

    /// Every checkpoint of a ref that is gone, or at a commit that no ref reaches: it
    /// keeps what a rewriting dropped.
    ///
    /// # Errors
    /// Where refs cannot be read.
    pub fn leftover_checkpoints(&self) -> Result<Vec<Leftover>, RefError> {
        let wanted = |dir: &str| Wanted {
            dirs: vec![dir.as_bytes().to_vec()],
            head: false,
        };
        let mut reader = RefReader::new(self);
        let checkpoints = reader.read(&wanted(CHECKPOINTS))?;
        if checkpoints.is_empty() {
            return Ok(Vec::new());
        }
        let refs = reader.read(&Wanted {
            head: true,
            ..wanted("refs/")
        })?;
        let own = ["refs/ci/", "refs/notes/"];
        let is_own = |name: &RefName| own.iter().any(|dir| name.starts_with(dir));
        let mut history = History::new(self);
        let others = refs.iter().filter(|(name, _)| !is_own(name));
        let tips = others.filter_map(|(_, id)| history.peel(id).ok()?);
        let tips: Vec<_> = tips.collect();
        let ids: Vec<_> = checkpoints.values().copied().collect();
        let dropped = history.unseen(&ids, &tips);

        let mut found = Vec::new();
        for (name, at) in checkpoints {
            let Some(of) = watched_ref(&name) else {
                continue;
            };
            let tip = if of.is_head() {
                self.head_of(&of)
            } else {
                refs.get(&of).copied()
            };
            let (why, to) = match tip {
                None => ("its branch is gone", None),
                Some(tip) if dropped.contains(&at) => (
                    "its commit was dropped by a rewriting",
                    self.merge_base(&at, &tip),
                ),
                Some(_) => continue,
            };
            found.push(Leftover { name, at, to, why });
        }
        Ok(found)
    }

    /// What the `HEAD` of a work tree is at, as far as it matters: `None` where there is
    /// no such work tree.
    fn head_of(&self, name: &RefName) -> Option<Oid> {
        let dir = name.as_bytes().strip_suffix(b"HEAD")?;
        let git_dir = self.common_dir().join(os(dir));
        let mut command = self.git().command();
        command.arg("--git-dir").arg(git_dir);
        command.args(["rev-parse", "--verify", "--quiet", "HEAD"]);
        self.git().read(&mut command).ok()?.parse().ok()
    }

    /// The newest commit that both have in their history.
    fn merge_base(&self, one: &Oid, other: &Oid) -> Option<Oid> {
        let mut command = self.git_command();
        command.args(["merge-base", &one.to_string(), &other.to_string()]);
        self.git().read(&mut command).ok()?.parse().ok()
    }

    /// Deletes a checkpoint that is of no use, or moves it to where it belongs, unless it
    /// has moved since.
    ///
    /// # Errors
    /// Where it has moved, or git cannot do it.
    pub fn tidy_checkpoint(&self, checkpoint: &Leftover) -> Result<(), GitError> {
        let at = checkpoint.at.to_string();
        let mut command = self.ref_command();
        command.args(["-c", "core.logAllRefUpdates=false", "update-ref"]);
        match checkpoint.to {
            None => command.arg("-d").arg(checkpoint.name.as_os_str()),
            Some(to) => command.arg(checkpoint.name.as_os_str()).arg(to.to_string()),
        };
        self.git().output(command.arg(at)).map(|_| ())
    }
}
