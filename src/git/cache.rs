//! The cache repository on a host: bare, fed with packs, and never asked for anything
//! but worktrees.
//!
//! It belongs to git-ci alone. What it received stays reachable by refs of its own
//! below [`HAVE`], so that `git gc` keeps it and the next dispatcher need not send it
//! again. Several hubs may use one cache at once: every step is git's own and atomic.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use serde::{Deserialize, Serialize};

use super::command::{Git, GitError};
use super::config_writer::ConfigWriter;
use super::conversion::Conversion;
use super::conversion::NOT_HERE;
use super::repo::{ON_HOST, Repo, nowhere};
use crate::model::Oid;
use crate::private;

/// Where the refs are that keep received commits.
const HAVE: &str = "refs/ci/have/";

/// How many of them are kept; what falls out costs a larger pack, and nothing else.
const KEPT: usize = 256;

/// The file of configuration that the repository includes: what home said last.
const FROM_HOME: &str = "from-home.config";

/// How a cache is laid out; one of another layout is made anew.
const LAYOUT: &[u8] = b"2\n";

/// What a checkout of the project needs besides its commits: what a host is told of it,
/// and what a host does not have. A task that comes upon that ends without a verdict,
/// instead of with a wrong one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beyond {
    /// The names of submodules that are initialised at home.
    pub submodules: Vec<String>,
    /// The names of filters that are configured there.
    pub filters: Vec<String>,
    /// Settings that change files.
    pub settings: Vec<(String, String)>,
    /// Attributes of the system and the user, where they change files.
    pub attributes: Vec<u8>,
    /// Those of the repository.
    pub info_attributes: Vec<u8>,
    /// What else decides how files are made at home, and cannot be sent.
    pub missing: Vec<String>,
}

impl Beyond {
    /// What `repo` has.
    pub fn of(repo: &Repo) -> Self {
        let conversion = Conversion::of(repo);
        let for_hosts = conversion.for_hosts();
        let mut beyond = Self {
            filters: conversion.filters().map(str::to_owned).collect(),
            settings: for_hosts.settings,
            attributes: for_hosts.attributes,
            info_attributes: for_hosts.info,
            missing: for_hosts.missing,
            ..Self::default()
        };
        for (key, _) in repo.config_entries() {
            let name = |section, variable| key.strip_prefix(section)?.strip_suffix(variable);
            let submodule = name("submodule.", ".url");
            beyond.submodules.extend(submodule.map(str::to_owned));
        }
        beyond
    }

    /// As git configuration; `attributes` is the file that the attributes go into. Each
    /// setting that changes files is there, so that nothing else counts, in jobs either. A
    /// filter that must be there and is no command fails.
    fn config(&self, attributes: &Path) -> Vec<u8> {
        let mut config = ConfigWriter::default();
        let mut entry = |key: &str, value: &str| {
            config.entry(key.as_bytes(), Some(value.as_bytes()));
        };
        entry(ON_HOST, "true");
        entry("core.autocrlf", "false");
        entry("core.eol", "lf");
        for (key, value) in &self.settings {
            entry(key, value);
        }
        for name in &self.submodules {
            entry(&format!("submodule.{name}.url"), "at-home");
        }
        for name in &self.filters {
            for (variable, value) in [("required", "true"), ("process", ""), ("smudge", "false")] {
                entry(&format!("filter.{name}.{variable}"), value);
            }
        }
        if !self.missing.is_empty() {
            entry(NOT_HERE, &self.missing.join(", "));
        }
        let attributes = attributes.as_os_str().as_bytes();
        config.entry(b"core.attributesfile", Some(attributes));
        config.text
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
        crate::lock::exclusive(&lock).map_err(io)?;
        let repository = dir.join("repo.git");
        let cache = Self {
            git: git.away(&nowhere(&repository)),
            repository,
        };
        let made = dir.join("made");
        if fs::read(&made).ok().as_deref() != Some(LAYOUT) {
            // Half made by somebody who died over it.
            match fs::remove_dir_all(&cache.repository) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
                _ => {}
            }
            let mut init = cache.git.init(format);
            cache
                .git
                .output(init.arg("--bare").arg(&cache.repository))?;
            let mut include = cache.command();
            include.args(["config", "include.path"]);
            cache.git.output(include.arg(format!("../{FROM_HOME}")))?;
            if !shallow.is_empty() {
                let text: String = shallow.iter().map(|id| format!("{id}\n")).collect();
                fs::write(cache.repository.join("shallow"), text).map_err(io)?;
            }
            private::replace(&made, LAYOUT).map_err(io)?;
        }
        let attributes = dir.join("attributes");
        let info = cache.repository.join("info");
        private::make_private_dir(&info).map_err(io)?;
        for (path, bytes) in [
            (dir.join(FROM_HOME), beyond.config(&attributes).as_slice()),
            (attributes, &beyond.attributes),
            (info.join("attributes"), &beyond.info_attributes),
        ] {
            if fs::read(&path).ok().as_deref() != Some(bytes) {
                private::replace(&path, bytes).map_err(io)?;
            }
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
        let mut update = self.git.ref_command(&self.repository);
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
