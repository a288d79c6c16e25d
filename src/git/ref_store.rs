//! How a repository keeps its refs: as files that are read here, or as a reftable that
//! only git reads and writes.
//!
//! Which one it is may change while somebody watches (`git refs migrate`), so it is asked
//! anew at each look; that costs a look for one name. A reftable's tables never change
//! once they are written, and `tables.list` names those that count: while it says the
//! same, so does git, which is not asked again.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use super::command::{Git, GitError};
use crate::model::{Oid, RefName};

/// What a repository with a reftable has in `HEAD` for those who do not know it.
pub(crate) const NO_HEAD: &[u8] = b"ref: refs/heads/.invalid";

/// How refs are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefStore {
    /// A file each, or a line in `packed-refs`.
    Files,
    /// `reftable/`.
    Reftable,
}

impl RefStore {
    /// How the repository with this common git directory keeps them at the moment.
    pub(crate) fn of(common_dir: &Path) -> Self {
        if !common_dir.join("reftable").is_dir() {
            return Self::Files;
        }
        match fs::read(common_dir.join("HEAD")) {
            Ok(head) if head.starts_with(NO_HEAD) => Self::Reftable,
            _ => Self::Files,
        }
    }
}

/// Reads the refs of a repository that keeps them as a reftable, by git.
pub(crate) struct Reftable {
    git: Git,
    common_dir: PathBuf,
    known: Mutex<Known>,
}

/// What git said while the tables were these.
#[derive(Default)]
struct Known {
    tables: Vec<u8>,
    one: HashMap<RefName, Option<Oid>>,
    many: HashMap<Vec<Vec<u8>>, BTreeMap<RefName, Oid>>,
}

impl Reftable {
    pub(crate) fn new(git: &Git, common_dir: &Path) -> Self {
        Self {
            git: git.clone(),
            common_dir: common_dir.to_owned(),
            known: Mutex::default(),
        }
    }

    /// What the ref `name` leads to; `None` where it does not exist, or leads nowhere.
    ///
    /// # Errors
    /// Where git cannot say.
    pub(crate) fn one(&self, name: &RefName) -> Result<Option<Oid>, GitError> {
        self.remember(
            |known| known.one.get(name).copied(),
            || {
                let mut command = self.command();
                command.args(["for-each-ref", FORMAT]).arg(name.as_os_str());
                let said = self.git.output(&mut command)?;
                Ok(lines(&said.stdout).find_map(|(one, id, _)| (one == *name).then_some(id)))
            },
            |known, id| {
                known.one.insert(name.clone(), *id);
            },
        )
    }

    /// Every ref below one of these directories, which end with a slash. Symbolic refs of
    /// remotes (`origin/HEAD`) are left out.
    ///
    /// # Errors
    /// Where git cannot say.
    pub(crate) fn many(&self, dirs: &[Vec<u8>]) -> Result<BTreeMap<RefName, Oid>, GitError> {
        if dirs.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.remember(
            |known| known.many.get(dirs).cloned(),
            || {
                let mut command = self.command();
                command.args(["for-each-ref", FORMAT]);
                command.args(dirs.iter().map(|dir| os(dir)));
                let said = self.git.output(&mut command)?;
                let refs = lines(&said.stdout);
                let refs = refs.filter(|(name, _, symbolic)| !(*symbolic && is_remote_head(name)));
                Ok(refs.map(|(name, id, _)| (name, id)).collect())
            },
            |known, refs| {
                known.many.insert(dirs.to_vec(), refs.clone());
            },
        )
    }

    /// What the `HEAD` of the work tree with this git directory leads to.
    ///
    /// # Errors
    /// Where git cannot say.
    pub(crate) fn head(&self, git_dir: &Path) -> Result<Option<Oid>, GitError> {
        let mut command = self.git.command();
        command.arg("--git-dir").arg(git_dir);
        command.args(["rev-parse", "--verify", "--quiet", "HEAD"]);
        match self.git.read(&mut command) {
            Ok(said) => Ok(said.parse().ok()),
            // A branch without a commit, to which `--quiet` says nothing.
            Err(GitError::Failed { code: Some(1), .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn command(&self) -> Command {
        let mut command = self.git.command();
        command.arg("--git-dir").arg(&self.common_dir);
        command
    }

    /// What is known while the tables are the same, else what `ask` says.
    fn remember<T>(
        &self,
        recall: impl FnOnce(&Known) -> Option<T>,
        ask: impl FnOnce() -> Result<T, GitError>,
        note: impl FnOnce(&mut Known, &T),
    ) -> Result<T, GitError> {
        // Read before git is asked: what changes in between is asked for again.
        let tables = fs::read(self.common_dir.join("reftable/tables.list"));
        let (Ok(tables), Ok(mut known)) = (tables, self.known.lock()) else {
            return ask();
        };
        if known.tables != tables {
            *known = Known {
                tables,
                ..Known::default()
            };
        } else if let Some(answer) = recall(&known) {
            return Ok(answer);
        }
        let answer = ask()?;
        note(&mut known, &answer);
        Ok(answer)
    }
}

/// An id, whether the ref is symbolic, and its name.
const FORMAT: &str = "--format=%(objectname) %(symref) %(refname)";

fn lines(said: &[u8]) -> impl Iterator<Item = (RefName, Oid, bool)> {
    said.split(|&byte| byte == b'\n').filter_map(|line| {
        let mut words = line.splitn(3, |&byte| byte == b' ');
        let id = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
        let symbolic = !words.next()?.is_empty();
        Some((RefName::parse(words.next()?)?, id, symbolic))
    })
}

/// Whether this is the `HEAD` that a clone has of its remote.
pub(crate) fn is_remote_head(name: &RefName) -> bool {
    name.starts_with("refs/remotes/") && name.as_bytes().ends_with(b"/HEAD")
}

/// Bytes as a part of a path or of a command line.
pub(crate) fn os(bytes: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(bytes)
}
