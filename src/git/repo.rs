//! The repository that a command works on: where it is, what kind it is, what its
//! configuration says.
//!
//! `git` itself decides which repository that is. It knows `GIT_DIR`, ceilings,
//! `safe.directory` and every layout; asking it once costs two milliseconds and
//! spares a second opinion.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use super::command::{Git, GitError};
use super::reading::{Beyond, Objects};
use super::ref_store::os;
use super::store::Store;
use crate::model::RefName;
use crate::private::{self, Sharing};

/// A setting that says that a repository is a cache.
pub(crate) const ON_HOST: &str = "ci.cacheof";

/// A directory that is not there, taken for the home of the user of `cache`: what is
/// configured on a host must not change what is tested there.
pub(crate) fn nowhere(cache: &Path) -> PathBuf {
    cache.join("nowhere")
}

/// Why a repository cannot be worked with.
#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    /// There is none here, or git refuses it.
    #[error("open a repository here: {message}")]
    NotHere {
        /// What git said.
        message: String,
    },
    /// git has not decided yet whether it takes what is pushed.
    #[error(
        "{what}: git has not accepted what is pushed yet, and lets nothing be written until then; \
         call it from post-receive"
    )]
    Quarantine {
        /// What was to be done.
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
    config: Config,
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
        let ask = |questions: &[&str]| {
            let mut ask = git.as_the_user();
            ask.args(["rev-parse", "--path-format=absolute"]);
            let said = git.output(ask.args(questions));
            said.map(|said| said.stdout)
        };
        let questions = [
            "--is-bare-repository",
            "--is-shallow-repository",
            "--git-dir",
            "--git-common-dir",
        ];
        let said = ask(&questions).map_err(|error| match error {
            GitError::Failed { message, .. } => RepoError::NotHere { message },
            other => RepoError::Git(other),
        })?;
        let lines: Vec<_> = said.split(|&byte| byte == b'\n').collect();
        let (bare, shallow) = (lines[0] == b"true", lines.get(1) == Some(&&b"true"[..]));
        let path = |said: &[u8]| PathBuf::from(os(said.strip_suffix(b"\n").unwrap_or(said)));
        let (git_dir, common_dir) = match lines[..] {
            [_, _, git_dir, common_dir, _] => (path(git_dir), path(common_dir)),
            // A path has line feeds: each of them alone, then.
            _ => (path(&ask(&questions[2..3])?), path(&ask(&questions[3..])?)),
        };
        // Fails where there is none: in a bare repository, and below a git directory.
        let top = ask(&["--show-toplevel"]);
        let work_tree = top.ok().map(|top| path(&top));
        let mut ask = git.as_the_user();
        let mut common_dir = common_dir;
        if let Some(of) = super::worktrees::slot_of_git_dir(&git_dir) {
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
        let config = Config::read(&git, ask)?;
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
            Config::read(git, ask)
        };
        let mut config = read(&git)?;
        if config.last(ON_HOST).is_some() {
            git = git.away(&nowhere(common_dir));
            config = read(&git)?;
        }
        let bare = config.last("core.bare").is_some_and(is_true);
        let shallow = common_dir.join("shallow").exists();
        let (git_dir, common_dir) = (common_dir.to_owned(), common_dir.to_owned());
        Self::open(git, git_dir, common_dir, None, bare, shallow, config)
    }

    /// Opens a submodule of this repository whose git directory this is.
    ///
    /// # Errors
    /// As [`discover`](Self::discover).
    pub(crate) fn open_submodule(&self, dir: &Path) -> Result<Self, RepoError> {
        let mut ask = self.git.command();
        // Its own work tree may be gone, which git would take ill.
        ask.arg("--git-dir").arg(dir).arg("--work-tree").arg(dir);
        let config = Config::read(&self.git, ask)?;
        let shallow = dir.join("shallow").exists();
        let (git_dir, common_dir) = (dir.to_owned(), dir.to_owned());
        let git = self.git.clone();
        Self::open(git, git_dir, common_dir, None, false, shallow, config)
    }

    fn open(
        git: Git,
        git_dir: PathBuf,
        common_dir: PathBuf,
        work_tree: Option<PathBuf>,
        bare: bool,
        shallow: bool,
        config: Config,
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
        if repo.is_partial() || repo.is_quarantined() {
            let beyond = Beyond::new(
                &repo.git,
                &repo.common_dir,
                repo.promisors(),
                repo.config("core.sshcommand"),
            );
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

    /// A `git` command that writes refs of this repository.
    pub(crate) fn ref_command(&self) -> Command {
        self.git.ref_command(&self.common_dir)
    }

    /// This work tree's own git directory: `.git`, or `.git/worktrees/NAME` in a linked one.
    pub fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// The name of this work tree's `HEAD`, as git calls it from anywhere.
    pub fn head_name(&self) -> RefName {
        let linked = self.git_dir.parent() == Some(&self.common_dir.join("worktrees"));
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

    /// Whether this runs in a hook that decides whether a push is accepted. Its objects can
    /// be read; what would be written could belong to nothing.
    pub fn is_quarantined(&self) -> bool {
        std::env::var_os("GIT_QUARANTINE_PATH").is_some()
    }

    /// Refuses to do `what` (`run anything here`) before a push is accepted.
    ///
    /// # Errors
    /// There, and nowhere else.
    pub fn refuse_quarantine(&self, what: &'static str) -> Result<(), RepoError> {
        if self.is_quarantined() {
            Err(RepoError::Quarantine { what })
        } else {
            Ok(())
        }
    }

    /// Whether objects may be missing and are fetched by git when asked for.
    pub fn is_partial(&self) -> bool {
        !self.promisors().is_empty()
    }

    /// The remotes that promise the objects that are missing here.
    fn promisors(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .config
            .values
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
        self.config.last(key)
    }

    /// As [`config`](Self::config), for a value that is a path: its bytes as they are.
    pub fn config_path(&self, key: &str) -> Option<&Path> {
        let raw = self.config.raw.get(key).map(OsString::as_os_str);
        raw.or_else(|| self.config(key).map(OsStr::new))
            .map(Path::new)
    }

    /// Whether it is a host's copy of a repository elsewhere.
    pub fn is_cache(&self) -> bool {
        self.config(ON_HOST).is_some()
    }

    /// Everything that is configured, also for this command alone.
    pub(crate) fn all_config(&self) -> &BTreeMap<String, Vec<String>> {
        &self.config.values
    }

    /// What is configured for everybody who works on this repository, read anew.
    pub(crate) fn config_afresh(&self) -> Result<BTreeMap<String, Vec<String>>, GitError> {
        Config::read(&self.git, self.git_command()).map(|config| config.values)
    }

    /// Every configuration key with its values, in order.
    pub fn config_entries(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.config
            .values
            .iter()
            .map(|(key, values)| (key.as_str(), values.as_slice()))
    }

    /// A handle for this thread to read objects and refs with, with an object cache.
    pub(crate) fn objects(&self) -> Objects {
        Objects::new(Arc::clone(&self.store), self.beyond.clone())
    }
}

/// Whether git takes a value of a boolean key for true.
pub(crate) fn is_true(value: &str) -> bool {
    let words = ["true", "yes", "on"];
    words.iter().any(|word| value.eq_ignore_ascii_case(word))
        || value.parse().is_ok_and(|number: i64| number != 0)
}

/// The whole configuration as git sees it, `-c` options of the caller included.
struct Config {
    values: BTreeMap<String, Vec<String>>,
    /// Last values that are not UTF-8: as text they are only approximately there.
    raw: BTreeMap<String, OsString>,
}

impl Config {
    fn read(git: &Git, mut command: Command) -> Result<Self, GitError> {
        let output = git.output(command.args(["config", "--list", "-z"]))?;
        let mut values = BTreeMap::<String, Vec<String>>::new();
        let mut raw = BTreeMap::new();
        for entry in output
            .stdout
            .split(|&c| c == 0)
            .filter(|entry| !entry.is_empty())
        {
            // A key without "= value" is a true boolean.
            let end = entry.iter().position(|&byte| byte == b'\n');
            let (key, value) = match end {
                Some(end) => (&entry[..end], &entry[end + 1..]),
                None => (entry, b"true".as_slice()),
            };
            let key = String::from_utf8_lossy(key).into_owned();
            let text = String::from_utf8_lossy(value);
            match text {
                Cow::Borrowed(_) => drop(raw.remove(&key)),
                Cow::Owned(_) => drop(raw.insert(key.clone(), os(value).to_owned())),
            }
            values.entry(key).or_default().push(text.into_owned());
        }
        Ok(Self { values, raw })
    }

    fn last(&self, key: &str) -> Option<&str> {
        self.values.get(key)?.last().map(String::as_str)
    }
}
