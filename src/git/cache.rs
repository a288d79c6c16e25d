//! The cache repository on a host: bare, fed with packs, and never asked for anything
//! but worktrees.
//!
//! It belongs to git-ci alone. What it received stays reachable by refs of its own
//! below [`HAVE`], so that `git gc` keeps it and the next dispatcher need not send it
//! again. Several hubs may use one cache at once: every step is git's own and atomic.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::fs::{FlockOperation, flock};

use serde::{Deserialize, Serialize};

use super::command::{Git, GitError};
use super::repo::Repo;
use crate::model::Oid;
use crate::private;

/// Where the refs are that keep received commits.
const HAVE: &str = "refs/ci/have/";

/// How many of them are kept; what falls out costs a larger pack, and nothing else.
const KEPT: usize = 256;

/// A setting that says that a repository is a cache.
pub(super) const ON_HOST: &str = "ci.cacheof";

/// What a checkout of the project needs besides its commits, and a host does not have.
/// A task that comes upon it ends without a verdict, instead of with a wrong one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beyond {
    /// The names of submodules that are initialised at home.
    pub submodules: Vec<String>,
    /// The names of filters that are configured there.
    pub filters: Vec<String>,
}

impl Beyond {
    /// What `repo` has.
    pub fn of(repo: &Repo) -> Self {
        let mut beyond = Self::default();
        for (key, _) in repo.config_entries() {
            let name = |section, variable| key.strip_prefix(section)?.strip_suffix(variable);
            let submodule = name("submodule.", ".url");
            beyond.submodules.extend(submodule.map(str::to_owned));
            let filter = name("filter.", ".smudge").or(name("filter.", ".process"));
            beyond.filters.extend(filter.map(str::to_owned));
        }
        beyond.filters.dedup();
        beyond
    }

    /// As git configuration, over what the host's own says: a filter that must be there
    /// and is no command fails.
    fn settings(&self) -> Vec<(String, &'static str)> {
        let submodules = self.submodules.iter();
        let submodules = submodules.map(|name| (format!("submodule.{name}.url"), "at-home"));
        let filters = self.filters.iter().flat_map(|name| {
            [("required", "true"), ("process", ""), ("smudge", "false")]
                .map(|(variable, value)| (format!("filter.{name}.{variable}"), value))
        });
        submodules.chain(filters).collect()
    }
}

/// Why the cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A directory or file.
    #[error("keep anything in {}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// git.
    #[error(transparent)]
    Git(#[from] GitError),
}

/// A cache repository.
#[derive(Debug, Clone)]
pub struct Cache {
    git: Git,
    repository: PathBuf,
}

impl Cache {
    /// Opens the cache in `dir`, and makes it where needed.
    ///
    /// # Errors
    /// Where the directory cannot be written or git fails.
    pub fn open(
        git: Git,
        dir: &Path,
        format: &str,
        shallow: &[Oid],
        beyond: &Beyond,
    ) -> Result<Self, CacheError> {
        let io = |source| CacheError::Io {
            path: dir.to_owned(),
            source,
        };
        private::make_private_dir(dir).map_err(io)?;
        // Two at once would trip over each other's half-made repository.
        let lock = private::open(&dir.join("lock"), private::Open::Update).map_err(io)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| io(error.into()))?;
        let cache = Self {
            git,
            repository: dir.join("repo.git"),
        };
        let made = dir.join("made");
        if !made.exists() {
            // Half made by somebody who died over it.
            match fs::remove_dir_all(&cache.repository) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
                _ => {}
            }
            let mut init = cache.git.init(format);
            cache
                .git
                .output(init.arg("--bare").arg(&cache.repository))?;
            if !shallow.is_empty() {
                let text: String = shallow.iter().map(|id| format!("{id}\n")).collect();
                fs::write(cache.repository.join("shallow"), text).map_err(io)?;
            }
            private::replace(&made, b"").map_err(io)?;
        }
        let now = serde_json::to_string(beyond).map_err(|error| io(error.into()))?;
        let noted = dir.join("beyond");
        if fs::read_to_string(&noted).ok().as_ref() != Some(&now) {
            let own = (ON_HOST.to_owned(), "true");
            for (key, value) in beyond.settings().into_iter().chain([own]) {
                cache
                    .git
                    .output(cache.command().args(["config", &key, value]))?;
            }
            private::replace(&noted, now.as_bytes()).map_err(io)?;
        }
        Ok(cache)
    }

    /// The repository.
    pub fn repository(&self) -> &Path {
        &self.repository
    }

    /// The commits that are here for good, newest first.
    ///
    /// # Errors
    /// Those of git.
    pub fn have(&self) -> Result<Vec<Oid>, GitError> {
        let mut list = self.command();
        list.args(["for-each-ref", "--sort=-committerdate"]);
        list.arg("--format=%(objectname)").arg(HAVE);
        let listed = self.git.read(&mut list)?;
        Ok(listed
            .lines()
            .filter_map(|line| line.parse().ok())
            .collect())
    }

    /// Begins to take a pack: it goes to the standard input of what is returned.
    ///
    /// # Errors
    /// Those of starting a program.
    pub fn take_pack(&self) -> io::Result<Child> {
        self.command()
            .args(["index-pack", "--stdin", "--fix-thin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
    }

    /// Keeps `commits`, which have been received, for next time.
    ///
    /// # Errors
    /// Those of git.
    pub fn keep(&self, commits: &[Oid]) -> Result<(), GitError> {
        let lines: String = commits
            .iter()
            .map(|id| format!("update {HAVE}{id} {id}\n"))
            .collect();
        self.update_refs(&lines)
    }

    /// Forgets the oldest of what is kept, and lets git tidy up.
    ///
    /// # Errors
    /// Those of git.
    pub fn tidy(&self) -> Result<(), GitError> {
        let have = self.have()?;
        if have.len() > KEPT {
            let lines: String = have[KEPT / 2..]
                .iter()
                .map(|id| format!("delete {HAVE}{id}\n"))
                .collect();
            self.update_refs(&lines)?;
        }
        let mut gc = self.command();
        gc.args(["gc", "--auto", "--quiet"]);
        // Nobody waits for it, and it holds on to nobody's channel.
        let started = gc
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        started.map(|_| ()).map_err(|source| GitError::Io {
            verb: "gc".to_owned(),
            source,
        })
    }

    fn update_refs(&self, lines: &str) -> Result<(), GitError> {
        let mut update = self.command();
        update.args(["update-ref", "--stdin"]);
        self.git
            .output_with_input(&mut update, lines.as_bytes())
            .map(|_| ())
    }

    fn command(&self) -> std::process::Command {
        let mut command = self.git.command();
        command.arg("--git-dir").arg(&self.repository);
        command
    }
}
