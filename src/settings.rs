//! The settings of this machine: git configuration, never a file of the tree.
//!
//! A tree must not be able to raise concurrency, to choose where things are written or
//! to name hosts. So none of this can be set in a jobs file, and everything here comes
//! from `git config`, whose scopes (system, user, repository, `-c`) are git's own.

mod hosts;

use std::path::{Path, PathBuf};

use etcetera::base_strategy::{BaseStrategy as _, Xdg};
use sha2::{Digest as _, Sha256};

use crate::config::ConfigFrom;
use crate::git::Repo;
use crate::model::RunnerLabel;

pub use hosts::{HostKind, HostSettings};

/// More slots than this are a slip of the pen.
pub const MAX_SLOTS: u32 = 1024;

/// Where results go unless `ci.notesRef` says otherwise.
pub const NOTES_REF: &str = "refs/notes/ci";

/// Why a setting cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Its value is none of those that it may have.
    #[error("use {key} = {value:?}: it must be {expected}")]
    Value {
        /// The configuration key, as the documentation spells it.
        key: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// The same, of a key that has a name in it.
    #[error("use {key} = {value:?}: it must be {expected}")]
    Host {
        /// The configuration key.
        key: String,
        /// What it is.
        value: String,
        /// What it may be.
        expected: String,
    },
    /// There is no place for worktrees.
    #[error("find a place for worktrees: neither HOME nor ci.worktreeDir is set")]
    NoHome,
}

/// What this machine's user has set, with the defaults filled in.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `ci.slots`: how many tasks run at once, 1 to [`MAX_SLOTS`]; by default one a CPU.
    pub slots: u32,
    /// `ci.notesRef`: where results go.
    pub notes_ref: String,
    /// `ci.worktreeDir`: where the worktrees are; outside the repository by default,
    /// since tools that look upwards would find the user's own files.
    pub worktree_root: PathBuf,
    /// `ci.name`: what records call this machine.
    pub name: RunnerLabel,
    /// `ci.configFrom`: which jobs file counts.
    pub config_from: ConfigFrom,
    /// `ci.local`: whether this machine's own slots are used.
    pub local: bool,
    /// `ci.labels`: what jobs may ask this machine for. Its name is always one of them.
    pub labels: Vec<String>,
    /// `ci-host.*`: other machines.
    pub hosts: Vec<HostSettings>,
}

impl Settings {
    /// Reads the settings that count in `repo`.
    ///
    /// # Errors
    /// Where a value makes no sense, and where there is no place for worktrees.
    pub fn of(repo: &Repo) -> Result<Self, SettingsError> {
        let name = name(repo)?;
        Ok(Self {
            local: local(repo)?,
            labels: labels(repo, &name)?,
            hosts: hosts::hosts(repo)?,
            slots: slots(repo)?,
            notes_ref: notes_ref(repo)?,
            worktree_root: worktree_root(repo)?,
            name,
            config_from: match repo.config("ci.configfrom") {
                Some(from) => ConfigFrom::from(from),
                None if repo.is_bare() => ConfigFrom::Commit,
                None => ConfigFrom::Worktree,
            },
        })
    }
}

fn slots(repo: &Repo) -> Result<u32, SettingsError> {
    let Some(value) = repo.config("ci.slots") else {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        return Ok(u32::try_from(cpus).unwrap_or(MAX_SLOTS).min(MAX_SLOTS));
    };
    let parsed = value.trim().parse().ok();
    parsed
        .filter(|slots| (1..=MAX_SLOTS).contains(slots))
        .ok_or_else(|| SettingsError::Value {
            key: "ci.slots",
            value: value.to_owned(),
            expected: "a number from 1 to 1024",
        })
}

fn local(repo: &Repo) -> Result<bool, SettingsError> {
    let Some(value) = repo.config("ci.local") else {
        return Ok(true);
    };
    boolean(value).ok_or_else(|| SettingsError::Value {
        key: "ci.local",
        value: value.to_owned(),
        expected: "true or false",
    })
}

/// As git reads a boolean.
fn boolean(value: &str) -> Option<bool> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" | "" => Some(false),
        _ => None,
    }
}

fn labels(repo: &Repo, name: &RunnerLabel) -> Result<Vec<String>, SettingsError> {
    let value = repo.config("ci.labels").unwrap_or_default();
    let mut labels = hosts::words(value).ok_or_else(|| SettingsError::Value {
        key: "ci.labels",
        value: value.to_owned(),
        expected: hosts::LABELS,
    })?;
    labels.push(name.as_str().to_owned());
    Ok(labels)
}

fn notes_ref(repo: &Repo) -> Result<String, SettingsError> {
    let value = repo.config("ci.notesref").unwrap_or(NOTES_REF);
    // A branch that turns into notes would be lost.
    if value.starts_with("refs/notes/") && value != "refs/notes/" {
        return Ok(value.to_owned());
    }
    Err(SettingsError::Value {
        key: "ci.notesRef",
        value: value.to_owned(),
        expected: "a full ref name below refs/notes/",
    })
}

fn worktree_root(repo: &Repo) -> Result<PathBuf, SettingsError> {
    if let Some(value) = repo.config("ci.worktreedir") {
        let path = match value.strip_prefix("~/") {
            Some(rest) => etcetera::home_dir()
                .map_err(|_| SettingsError::NoHome)?
                .join(rest),
            None => PathBuf::from(value),
        };
        return match path.is_absolute() {
            true => Ok(path),
            false => Err(SettingsError::Value {
                key: "ci.worktreeDir",
                value: value.to_owned(),
                expected: "an absolute path, or one that starts with ~/",
            }),
        };
    }
    let cache = Xdg::new().map_err(|_| SettingsError::NoHome)?.cache_dir();
    Ok(cache.join("git-ci").join(dir_name(repo.common_dir())))
}

/// `<name>-<hash>`: the name is for people, the hash of the path keeps apart what has
/// the same name.
fn dir_name(common_dir: &Path) -> String {
    let digest = Sha256::digest(common_dir.as_os_str().as_encoded_bytes());
    let hash: String = digest[..5].iter().map(|b| format!("{b:02x}")).collect();
    format!("{}-{hash}", repository_name(common_dir))
}

/// What people call a repository, in letters, digits, `.`, `_` and `-`.
pub fn repository_name(common_dir: &Path) -> String {
    let own = common_dir.file_name().unwrap_or_default();
    let named = match common_dir.parent().and_then(Path::file_name) {
        Some(parent) if own == ".git" => parent,
        _ => own,
    };
    let named = named.to_string_lossy();
    let name: String = named
        .strip_suffix(".git")
        .unwrap_or(&named)
        .chars()
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => c,
            _ => '_',
        })
        .take(40)
        .collect();
    name.trim_start_matches(['.', '-']).to_owned()
}

fn name(repo: &Repo) -> Result<RunnerLabel, SettingsError> {
    if let Some(value) = repo.config("ci.name") {
        return value.parse().map_err(|_| SettingsError::Value {
            key: "ci.name",
            value: value.to_owned(),
            expected: "at most 32 letters, digits, '.', '_' and '-', the first a letter or digit",
        });
    }
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    Ok(label_of(&host))
}

/// The short name of a host as a label, with what a label cannot hold replaced.
fn label_of(host: &str) -> RunnerLabel {
    let short = host.split('.').next().unwrap_or_default();
    let safe: String = short
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(32)
        .collect();
    let label = safe.trim_start_matches('-').parse();
    #[expect(clippy::unwrap_used, reason = "the word is a label")]
    label.unwrap_or_else(|_| "localhost".parse().unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worktrees_are_named_after_the_repository() {
        for (path, name) in [
            ("/home/u/src/tool/.git", "tool-"),
            ("/srv/git/tool.git", "tool-"),
            ("/home/u/x y/.git", "x_y-"),
        ] {
            let dir = dir_name(Path::new(path));
            assert!(dir.starts_with(name), "{dir}");
        }
        assert_ne!(
            dir_name(Path::new("/a/tool/.git")),
            dir_name(Path::new("/b/tool/.git"))
        );
    }

    #[test]
    fn any_host_has_a_label() {
        for (host, label) in [
            ("mira.example.org", "mira"),
            ("-x_y", "x-y"),
            ("", "localhost"),
            ("größe", "gr--e"),
        ] {
            assert_eq!(label_of(host).as_str(), label);
        }
    }
}
