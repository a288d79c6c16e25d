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
use std::io::{self, Write as _};
use std::mem;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;

use super::command::GitError;
use super::durable::sync_dir;
use super::refs::RefError;
use super::refs::{RefReader, Wanted, from};
use super::repo::Repo;
use super::state;
use crate::model::{Oid, RefName};
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
    /// The watched ref.
    pub name: RefName,
    /// Where to.
    pub to: Oid,
}

/// The checkpoints of a repository, as far as this process knows.
pub struct Checkpoints<'a> {
    repo: &'a Repo,
    /// By the full name of the ref that each is of.
    seen: BTreeMap<RefName, Oid>,
    /// The tips of the first start; `None` before it.
    begun: Option<BTreeMap<RefName, Oid>>,
    damaged: bool,
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
            damaged: false,
        };
        checkpoints.reload()?;
        Ok(checkpoints)
    }

    /// Reads them again.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn reload(&mut self) -> Result<(), CheckpointError> {
        let wanted = Wanted {
            dirs: vec![CHECKPOINTS.as_bytes().to_vec()],
            head: false,
        };
        let refs = RefReader::new(self.repo).read(&wanted);
        let refs = refs.map_err(CheckpointError::Read)?.into_iter();
        let refs = refs.filter_map(|(name, id)| Some((watched_ref(&name)?, id)));
        self.seen = refs.collect();
        let path = self.begin_path();
        let text = match private::read(&path, MOST_BEGUN) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Some(Vec::new()),
            Err(source) => return Err(self.begin_error(source)),
        };
        self.begun = text.as_deref().and_then(parse_begin);
        self.damaged = self.begun.is_none() && text.is_some();
        Ok(())
    }

    /// Whether the file that says where watching began is there, and does not say what was
    /// written into it.
    pub fn is_damaged(&self) -> bool {
        self.damaged
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
    pub fn begin(&mut self, tips: BTreeMap<RefName, Oid>) -> Result<(), CheckpointError> {
        let path = self.begin_path();
        let write = || -> io::Result<()> {
            let dir = path.parent().unwrap_or(&path);
            self.repo.make_ci_dir()?;
            let mut file = private::temporary(dir, "begin-")?;
            file.write_all(&begin_text(&tips))?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            sync_dir(dir)
        };
        write().map_err(|source| self.begin_error(source))?;
        self.begun = Some(tips);
        self.damaged = false;
        Ok(())
    }

    /// The checkpoint of a ref.
    pub fn of(&self, name: &RefName) -> Option<Oid> {
        self.seen.get(name).copied()
    }

    /// Where watching of a ref began, while it has no checkpoint.
    pub fn begun(&self, name: &RefName) -> Option<Oid> {
        if self.seen.contains_key(name) {
            None
        } else {
            self.begun.as_ref()?.get(name).copied()
        }
    }

    /// Every ref that is begun and has no checkpoint yet.
    pub fn all_begun(&self) -> impl Iterator<Item = (&RefName, Oid)> {
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
        let (mut obstacles, mut updates) = (Vec::new(), Vec::new());
        let mut seen = self.seen.clone();
        for Move { name, to } in moves {
            let old = seen.insert(name.clone(), *to);
            if old.is_none() {
                for (other, at) in in_the_way(&self.seen, name) {
                    seen.remove(&other);
                    delete(&mut obstacles, &other, &at);
                }
            }
            let zero = "0".repeat(2 * to.as_bytes().len());
            let old = old.map_or(zero, |old| old.to_string());
            updates.extend(b"update ");
            updates.extend(checkpoint(name));
            updates.extend(format!("\0{to}\0{old}\0").bytes());
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
    pub fn forget(&mut self, names: &[RefName]) -> Result<(), CheckpointError> {
        let mut input = Vec::new();
        for name in names {
            if let Some(at) = self.seen.get(name) {
                delete(&mut input, name, at);
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
    pub fn names(&self) -> impl Iterator<Item = &RefName> {
        self.seen.keys()
    }

    fn update(&self, input: &[u8]) -> Result<(), GitError> {
        let mut command = self.repo.ref_command();
        // No reflog: it would ask for an identity, and nobody reads it.
        command
            .args(["-c", "core.logAllRefUpdates=false"])
            .args(["-c", "core.fsync=reference"])
            .args(["update-ref", "-z", "--stdin"])
            // Ctrl-C is for us to handle: a transaction is not cut in the middle.
            .process_group(0);
        let git = self.repo.git();
        git.output_with_input(&mut command, input).map(mem::drop)
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
fn checkpoint(name: &RefName) -> Vec<u8> {
    [CHECKPOINTS.as_bytes(), name.without_refs()].concat()
}

/// The ref that a checkpoint is of.
pub(super) fn watched_ref(checkpoint: &RefName) -> Option<RefName> {
    let rest = checkpoint.as_bytes().strip_prefix(CHECKPOINTS.as_bytes())?;
    let head = RefName::parse(rest).filter(RefName::is_head);
    head.or_else(|| RefName::parse(&[b"refs/", rest].concat()))
}

/// The line that has git delete the checkpoint of `name`, if it is at `at`.
fn delete(input: &mut Vec<u8>, name: &RefName, at: &Oid) {
    input.extend(b"delete ");
    input.extend(checkpoint(name));
    input.extend(format!("\0{at}\0").bytes());
}

/// The refs whose checkpoints cannot be there together with one of `name`: git itself
/// allows no branches `a` and `a/b` at once, so these are of deleted ones.
fn in_the_way(seen: &BTreeMap<RefName, Oid>, name: &RefName) -> Vec<(RefName, Oid)> {
    let bytes = name.as_bytes();
    let slashes = (0..bytes.len()).filter(|&at| bytes[at] == b'/');
    let above = slashes.filter_map(|at| seen.get_key_value(&bytes[..at]));
    let prefix = [bytes, b"/"].concat();
    let below = seen.range::<[u8], _>(from(&prefix));
    let below = below.take_while(|(other, _)| other.as_bytes().starts_with(&prefix));
    above
        .chain(below)
        .map(|(name, id)| (name.clone(), *id))
        .collect()
}

/// The first words of the file that says where watching began.
const BEGIN: &str = "git-ci-begin 1";

/// No such file is larger: a hundred thousand refs with long names.
const MOST_BEGUN: u64 = 64 * 1024 * 1024;

fn begin_text(tips: &BTreeMap<RefName, Oid>) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, id) in tips {
        body.extend(format!("{id} ").bytes());
        body.extend(name.as_bytes());
        body.push(b'\n');
    }
    state::seal(BEGIN, &body)
}

fn parse_begin(text: &[u8]) -> Option<BTreeMap<RefName, Oid>> {
    let lines = state::unseal(BEGIN, text)?.split(|&byte| byte == b'\n');
    let parse = |line: &[u8]| {
        let at = line.iter().position(|&byte| byte == b' ')?;
        let id = std::str::from_utf8(&line[..at]).ok()?.parse().ok()?;
        Some((RefName::parse(&line[at + 1..])?, id))
    };
    lines.filter(|line| !line.is_empty()).map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RefName {
        RefName::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_name_that_is_a_directory_of_another_is_in_the_way() {
        let id = Oid::from_bytes(&[1; 20]).unwrap();
        let seen: BTreeMap<_, _> = ["refs/heads/a", "refs/heads/a-b", "refs/heads/c/d/e"]
            .map(|text| (name(text), id))
            .into();
        let names = |text| {
            let found = in_the_way(&seen, &name(text)).into_iter();
            found.map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names("refs/heads/a/b"), [name("refs/heads/a")]);
        assert_eq!(names("refs/heads/c/d"), [name("refs/heads/c/d/e")]);
        assert!(names("refs/heads/a").is_empty());
        assert!(names("refs/heads/c/x").is_empty());
    }

    #[test]
    fn a_checkpoint_has_the_name_of_its_ref() {
        for (of, own) in [
            ("refs/heads/a", "refs/ci/checkpoint/heads/a"),
            ("HEAD", "refs/ci/checkpoint/HEAD"),
            ("worktrees/x/HEAD", "refs/ci/checkpoint/worktrees/x/HEAD"),
        ] {
            assert_eq!(checkpoint(&name(of)), own.as_bytes());
            assert_eq!(watched_ref(&name(own)), Some(name(of)));
        }
        assert_eq!(watched_ref(&name("refs/heads/a")), None);
    }

    #[test]
    fn where_watching_began_reads_back_and_half_of_it_does_not() {
        let id = |n| Oid::from_bytes(&[n; 20]).unwrap();
        let odd = RefName::parse(b"refs/heads/\xff").unwrap();
        let tips: BTreeMap<_, _> = [(name("refs/heads/a"), id(1)), (odd, id(2))].into();
        let text = begin_text(&tips);
        assert_eq!(parse_begin(&text), Some(tips));
        assert_eq!(parse_begin(&text[..text.len() / 2]), None);
        assert_eq!(parse_begin(b""), None);
        assert_eq!(
            parse_begin(&begin_text(&BTreeMap::new())),
            Some(BTreeMap::new())
        );
    }
}
