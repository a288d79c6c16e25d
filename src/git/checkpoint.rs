//! Checkpoints: up to where each ref's history has been seen.
//!
//! A checkpoint is a ref, `refs/ci/checkpoint/<ref without refs/>`, and moves by
//! compare-and-swap only, so that of two observers none takes back what the other
//! found. Where watching began is no verdict yet, so no checkpoint may say it: the first
//! start leaves a small file, `<ci>/watch.begin`, that holds the tips of that moment. The
//! history behind them counts as seen, they themselves do not. A ref's line in the file
//! counts until the ref has a checkpoint.
//!
//! A checkpoint of a deleted branch stays: what it has seen is seen, under whatever name
//! it comes back. `git ci gc` removes it in the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::{fs, mem};

use super::command::GitError;
use super::notes_ref::RefError;
use super::objects::sync_dir;
use super::refs::RefReader;
use super::repo::Repo;
use crate::model::Oid;
use crate::private;

/// All checkpoints are below this.
pub const CHECKPOINTS: &str = "refs/ci/checkpoint/";

/// Why checkpoints cannot be read or moved.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The refs.
    #[error("read the checkpoints")]
    Read(#[source] RefError),
    /// The file of the first start.
    #[error("use {}", .path.display())]
    Begin {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// git did not move them. Somebody else may have: they were read anew.
    #[error("move a checkpoint")]
    Move(#[source] GitError),
}

/// A ref that gets a checkpoint, or a new place for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The watched ref, full name.
    pub name: String,
    /// Where to.
    pub to: Oid,
}

/// The checkpoints of a repository, as far as this process knows.
pub struct Checkpoints<'a> {
    repo: &'a Repo,
    /// By the full name of the ref that each is of.
    seen: BTreeMap<String, Oid>,
    /// The tips of the first start; `None` before it.
    begun: Option<BTreeMap<String, Oid>>,
}

impl<'a> Checkpoints<'a> {
    /// Reads them.
    ///
    /// # Errors
    /// Where refs or the file cannot be read.
    pub fn load(repo: &'a Repo) -> Result<Self, CheckpointError> {
        let mut checkpoints = Self {
            repo,
            seen: BTreeMap::new(),
            begun: None,
        };
        checkpoints.reload()?;
        Ok(checkpoints)
    }

    /// Reads them again.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn reload(&mut self) -> Result<(), CheckpointError> {
        let refs = RefReader::new(self.repo).read(&[CHECKPOINTS.to_owned()]);
        let refs = refs.map_err(CheckpointError::Read)?;
        let full = |name: &str| name.replacen(CHECKPOINTS, "refs/", 1);
        self.seen = refs.iter().map(|(name, id)| (full(name), *id)).collect();
        self.begun = match fs::read_to_string(self.begin_path()) {
            Ok(text) => Some(text.lines().filter_map(parse_begin).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(self.begin_error(source)),
        };
        Ok(())
    }

    /// Whether nobody has ever watched here.
    pub fn is_first(&self) -> bool {
        self.seen.is_empty() && self.begun.is_none()
    }

    /// Whether the place where watching began is on disk.
    pub fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// Makes `tips` the place where watching begins, durably.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn begin(&mut self, tips: BTreeMap<String, Oid>) -> Result<(), CheckpointError> {
        let path = self.begin_path();
        let write = || -> io::Result<()> {
            let dir = path.parent().unwrap_or(&path);
            self.repo.make_ci_dir()?;
            let mut text = String::new();
            for (name, id) in &tips {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{id} {name}");
            }
            let mut file = private::temporary(dir, "begin-")?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            sync_dir(dir)
        };
        write().map_err(|source| self.begin_error(source))?;
        self.begun = Some(tips);
        Ok(())
    }

    /// The checkpoint of a ref.
    pub fn of(&self, name: &str) -> Option<Oid> {
        self.seen.get(name).copied()
    }

    /// Where watching of a ref began, while it has no checkpoint.
    pub fn begun(&self, name: &str) -> Option<Oid> {
        match self.seen.contains_key(name) {
            true => None,
            false => self.begun.as_ref()?.get(name).copied(),
        }
    }

    /// Every ref that is begun and has no checkpoint yet.
    pub fn all_begun(&self) -> impl Iterator<Item = (&String, Oid)> {
        let begun = self.begun.iter().flatten();
        begun
            .filter(|(name, _)| !self.seen.contains_key(*name))
            .map(|(name, id)| (name, *id))
    }

    /// What the checkpoints are at, each once.
    pub fn ids(&self) -> Vec<Oid> {
        let mut ids: Vec<_> = self.seen.values().copied().collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Moves checkpoints, all or none. Those that stand in the way of a new one's name
    /// (`a` of a deleted branch, where a branch `a/b` came) are removed.
    ///
    /// # Errors
    /// Where git refuses, as it does when somebody else moved one meanwhile; all were read
    /// anew then.
    pub fn advance(&mut self, moves: &[Move]) -> Result<(), CheckpointError> {
        let mut obstacles = String::new();
        let mut updates = String::new();
        let mut seen = self.seen.clone();
        for Move { name, to } in moves {
            let old = seen.insert(name.clone(), *to);
            if old.is_none() {
                for (other, at) in in_the_way(&self.seen, name) {
                    seen.remove(&other);
                    let _ = writeln!(obstacles, "delete {} {at}", checkpoint(&other));
                }
            }
            let zero = "0".repeat(2 * to.as_bytes().len());
            let old = old.map_or(zero, |old| old.to_string());
            let _ = writeln!(updates, "update {} {to} {old}", checkpoint(name));
        }
        for input in [obstacles, updates] {
            if input.is_empty() {
                continue;
            }
            if let Err(error) = self.update(&input) {
                self.reload()?;
                return Err(CheckpointError::Move(error));
            }
        }
        self.seen = seen;
        Ok(())
    }

    /// Removes the checkpoints of these refs.
    ///
    /// # Errors
    /// As [`advance`](Self::advance).
    pub fn forget(&mut self, names: &[String]) -> Result<(), CheckpointError> {
        let mut input = String::new();
        for name in names {
            if let Some(at) = self.seen.get(name) {
                let _ = writeln!(input, "delete {} {at}", checkpoint(name));
            }
        }
        if input.is_empty() {
            return Ok(());
        }
        let done = self.update(&input);
        self.reload()?;
        done.map_err(CheckpointError::Move)
    }

    /// The refs that have a checkpoint.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.seen.keys()
    }

    fn update(&self, input: &str) -> Result<(), GitError> {
        let mut command = self.repo.git_command();
        // No reflog: it would ask for an identity, and nobody reads it.
        command
            .args(["-c", "core.logAllRefUpdates=false"])
            .args(["-c", "core.fsync=reference"])
            .args(["update-ref", "--stdin"])
            // Ctrl-C is for us to handle: a transaction is not cut in the middle.
            .process_group(0);
        let git = self.repo.git();
        git.output_with_input(&mut command, input.as_bytes())
            .map(mem::drop)
    }

    fn begin_path(&self) -> PathBuf {
        self.repo.ci_dir().join("watch.begin")
    }

    fn begin_error(&self, source: io::Error) -> CheckpointError {
        let path = self.begin_path();
        CheckpointError::Begin { path, source }
    }
}

/// The checkpoint's own name.
fn checkpoint(name: &str) -> String {
    name.replacen("refs/", CHECKPOINTS, 1)
}

/// The refs whose checkpoints cannot be there together with one of `name`: git itself
/// allows no branches `a` and `a/b` at once, so these are of deleted ones.
fn in_the_way(seen: &BTreeMap<String, Oid>, name: &str) -> Vec<(String, Oid)> {
    let above = name.match_indices('/').map(|(at, _)| &name[..at]);
    let above = above.filter_map(|dir| seen.get_key_value(dir));
    let prefix = format!("{name}/");
    let below = seen.range(prefix.clone()..);
    let below = below.take_while(|(other, _)| other.starts_with(&prefix));
    above
        .chain(below)
        .map(|(name, id)| (name.clone(), *id))
        .collect()
}

fn parse_begin(line: &str) -> Option<(String, Oid)> {
    let (id, name) = line.split_once(' ')?;
    Some((name.to_owned(), id.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_a_directory_of_another_is_in_the_way() {
        let id = Oid::from_bytes(&[1; 20]).unwrap();
        let seen: BTreeMap<_, _> = ["refs/heads/a", "refs/heads/a-b", "refs/heads/c/d/e"]
            .map(|name| (name.to_owned(), id))
            .into();
        let names = |name| {
            let found = in_the_way(&seen, name).into_iter();
            found.map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names("refs/heads/a/b"), ["refs/heads/a"]);
        assert_eq!(names("refs/heads/c/d"), ["refs/heads/c/d/e"]);
        assert!(names("refs/heads/a").is_empty());
        assert!(names("refs/heads/c/x").is_empty());
        assert_eq!(checkpoint("refs/heads/a"), "refs/ci/checkpoint/heads/a");
    }
}
