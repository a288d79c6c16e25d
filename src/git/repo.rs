//! The repository that a command works on: where it is, what kind it is, what its
//! configuration says.
//!
//! `git` itself decides which repository that is. It knows `GIT_DIR`, ceilings,
//! `safe.directory` and every layout; asking it once costs two milliseconds and
//! spares a second opinion.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use super::cache::{ON_HOST, nowhere};
use super::command::{Git, GitError};
use super::reading::{Beyond, Objects};
use super::store::Store;
use crate::model::RefName;
use crate::private::{self, Sharing};

/// Why a repository cannot be worked with.
#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    /// There is none here, or git refuses it.
    #[error("open a repository here: {message}")]
    NotHere {
        /// What git said.
        message: String,
    },
    /// A kind of repository that we cannot handle.
    #[error("work with this repository: {what}")]
    Unsupported {
        /// Which kind, and what would help.
        what: &'static str,
    },
    /// git does not run.
    #[error(transparent)]
    Git(#[from] GitError),
    /// gix cannot open what git can.
    #[error("open {path}")]
    Open {
        /// The git directory.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A repository, opened for reading objects in process and for running `git` in.
pub struct Repo {
    git: Git,
    git_dir: PathBuf,
    common_dir: PathBuf,
    work_tree: Option<PathBuf>,
    bare: bool,
    shallow: bool,
    config: BTreeMap<String, Vec<String>>,
    store: Arc<Store>,
    /// For objects that gix cannot get at.
    beyond: Option<Arc<Beyond>>,
}

impl Repo {
    /// Finds the repository of the current directory or of `GIT_DIR`, as `git` would; in a
    /// slot that is the repository that the slot is of.
    ///
    /// # Errors
    /// Where git is missing or too old, finds no repository, or does not trust it.
    pub fn discover() -> Result<Self, RepoError> {
        let git = Git::find()?;
        let mut ask = git.as_the_user();
        ask.args([
            "rev-parse",
            "--path-format=absolute",
            "--git-dir",
            "--git-common-dir",
            "--is-bare-repository",
            "--is-shallow-repository",
        ]);
        let said = git.output(&mut ask).map_err(|error| match error {
            GitError::Failed { message, .. } => RepoError::NotHere { message },
            other => RepoError::Git(other),
        })?;
        // One line each, unless a path holds a line feed.
        let said = String::from_utf8(said.stdout).ok();
        let said = said.filter(|said| said.lines().count() == 4);
        let said = said.ok_or(RepoError::Unsupported {
            what: "its path is not UTF-8, or has a line feed in it; give the directory another name",
        })?;
        let mut lines = said.lines();
        let mut next = || lines.next().unwrap_or_default();
        let (git_dir, common_dir) = (PathBuf::from(next()), PathBuf::from(next()));
        let (bare, shallow) = (next() == "true", next() == "true");
        // Fails where there is none: in a bare repository, and below a git directory.
        let top = git.read(git.as_the_user().args(["rev-parse", "--show-toplevel"]));
        let work_tree = top.ok().map(PathBuf::from);
        let mut ask = git.as_the_user();
        let mut common_dir = common_dir;
        if let Some(of) = super::checkout::slot_of(&git_dir) {
            // In a job: results, slots and settings are those of the repository that the
            // slot is of. Revisions are those that the job sees.
            if !of.join("objects").is_dir() {
                let message = format!(
                    "this is a slot of {}, which was moved or deleted",
                    crate::model::printable_line(of.as_os_str().as_encoded_bytes())
                );
                return Err(RepoError::NotHere { message });
            }
            ask.arg("--git-dir").arg(&of);
            common_dir = of;
        }
        let config = read_config(&git, ask)?;
        Self::open(git, git_dir, common_dir, work_tree, bare, shallow, config)
    }

    /// Opens the repository whose common git directory is known already, without
    /// looking at the current directory or at the environment.
    ///
    /// # Errors
    /// As [`discover`](Self::discover).
    pub fn open_common(common_dir: &Path) -> Result<Self, RepoError> {
        let mut git = Git::find()?;
        let read = |git: &Git| {
            let mut ask = git.command();
            ask.arg("--git-dir").arg(common_dir);
            read_config(git, ask)
        };
        let mut config = read(&git)?;
        if config.contains_key(ON_HOST) {
            git = git.away(&nowhere(common_dir));
            config = read(&git)?;
        }
        let bare = config
            .get("core.bare")
            .and_then(|values| values.last())
            .is_some_and(|value| value == "true");
        let shallow = common_dir.join("shallow").exists();
        let (git_dir, common_dir) = (common_dir.to_owned(), common_dir.to_owned());
        Self::open(git, git_dir, common_dir, None, bare, shallow, config)
    }

    fn open(
        git: Git,
        git_dir: PathBuf,
        common_dir: PathBuf,
        work_tree: Option<PathBuf>,
        bare: bool,
        shallow: bool,
        config: BTreeMap<String, Vec<String>>,
    ) -> Result<Self, RepoError> {
        let store = Store::open(&git, &common_dir).map_err(|source| RepoError::Open {
            path: common_dir.clone(),
            source,
        })?;
        let mut repo = Self {
            git,
            git_dir,
            common_dir,
            work_tree,
            bare,
            shallow,
            config,
            store: Arc::new(store),
            beyond: None,
        };
        if repo.is_partial() || std::env::var_os("GIT_QUARANTINE_PATH").is_some() {
            let beyond = Beyond::new(&repo.git, &repo.common_dir, repo.promisors());
            repo.beyond = Some(Arc::new(beyond));
        }
        private::settle_ci_dir(&repo.ci_dir(), repo.sharing());
        Ok(repo)
    }

    /// The `git` executable.
    pub fn git(&self) -> &Git {
        &self.git
    }

    /// A `git` command on this repository, and on nothing that the caller's environment names.
    pub fn git_command(&self) -> Command {
        let mut command = self.git.command();
        command.arg("--git-dir").arg(&self.common_dir);
        command
    }

    /// This work tree's own git directory: `.git`, or `.git/worktrees/NAME` in a linked one.
    pub fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// The name of this work tree's `HEAD`, as git calls it from anywhere.
    pub fn head_name(&self) -> RefName {
        let linked = self.git_dir != self.common_dir;
        let name = self.git_dir.file_name().filter(|_| linked);
        let name = name.map(|name| [b"worktrees/", name.as_bytes(), b"/HEAD"].concat());
        let name = name.and_then(|name| RefName::parse(&name));
        name.unwrap_or_else(RefName::head)
    }

    /// The git directory that all work trees share.
    pub fn common_dir(&self) -> &Path {
        &self.common_dir
    }

    /// Where spool, logs, locks and the derived index live; it may not exist yet.
    pub fn ci_dir(&self) -> PathBuf {
        self.common_dir.join("ci")
    }

    /// The same, made where it is missing, for those who may use the repository.
    ///
    /// # Errors
    /// Where it cannot be made, is no directory, or belongs to somebody else.
    pub fn make_ci_dir(&self) -> std::io::Result<PathBuf> {
        let path = self.ci_dir();
        private::make_ci_dir(&path, self.sharing())?;
        Ok(path)
    }

    /// The id of this user, where the repository is another user's.
    pub fn other_user(&self) -> Option<u32> {
        private::other_user(&self.common_dir)
    }

    /// `core.sharedRepository`.
    pub fn sharing(&self) -> Sharing {
        Sharing::parse(self.config("core.sharedrepository"))
    }

    /// The top of the work tree that the command was called in.
    pub fn work_tree(&self) -> Option<&Path> {
        self.work_tree.as_deref()
    }

    /// Whether it has no work tree of its own.
    pub fn is_bare(&self) -> bool {
        self.bare
    }

    /// Whether history is cut off.
    pub fn is_shallow(&self) -> bool {
        self.shallow
    }

    /// Whether objects may be missing and are fetched by git when asked for.
    pub fn is_partial(&self) -> bool {
        !self.promisors().is_empty()
    }

    /// The remotes that promise the objects that are missing here.
    fn promisors(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .config
            .iter()
            .filter(|(_, values)| values.last().is_some_and(|value| is_true(value)))
            .filter_map(|(key, _)| key.strip_prefix("remote.")?.strip_suffix(".promisor"))
            .map(str::to_owned)
            .collect();
        let named = self.config("extensions.partialclone").map(str::to_owned);
        names.extend(named.filter(|name| !names.contains(name)));
        names
    }

    /// The last value of a configuration key, as `git config --get` gives it; section and
    /// variable names are lower case, a subsection is as it was written.
    pub fn config(&self, key: &str) -> Option<&str> {
        self.config.get(key)?.last().map(String::as_str)
    }

    /// Everything that is configured, also for this command alone.
    pub(super) fn all_config(&self) -> &BTreeMap<String, Vec<String>> {
        &self.config
    }

    /// What is configured for everybody who works on this repository, read anew.
    pub(super) fn config_afresh(&self) -> Result<BTreeMap<String, Vec<String>>, GitError> {
        read_config(&self.git, self.git_command())
    }

    /// Every configuration key with its values, in order.
    pub fn config_entries(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.config
            .iter()
            .map(|(key, values)| (key.as_str(), values.as_slice()))
    }

    /// A handle for this thread to read objects and refs with, with an object cache.
    pub(super) fn objects(&self) -> Objects {
        Objects::new(Arc::clone(&self.store), self.beyond.clone())
    }
}

/// Whether git takes a value of a boolean key for true.
pub(super) fn is_true(value: &str) -> bool {
    let words = ["true", "yes", "on"];
    words.iter().any(|word| value.eq_ignore_ascii_case(word))
        || value.parse().is_ok_and(|number: i64| number != 0)
}

/// The whole configuration as git sees it, `-c` options of the caller included.
fn read_config(git: &Git, mut command: Command) -> Result<BTreeMap<String, Vec<String>>, GitError> {
    let output = git.output(command.args(["config", "--list", "-z"]))?;
    let mut config = BTreeMap::<String, Vec<String>>::new();
    for entry in output
        .stdout
        .split(|&c| c == 0)
        .filter(|entry| !entry.is_empty())
    {
        let entry = String::from_utf8_lossy(entry);
        // A key without "= value" is a true boolean.
        let (key, value) = entry.split_once('\n').unwrap_or((&entry, "true"));
        config
            .entry(key.to_owned())
            .or_default()
            .push(value.to_owned());
    }
    Ok(config)
}
