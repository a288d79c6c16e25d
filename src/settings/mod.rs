//! The settings of this machine: git configuration, never a file of the tree.
//!
//! A tree must not be able to raise concurrency, to choose where things are written or
//! to name hosts. So none of this can be set in a jobs file, and everything here comes
//! from `git config`, whose scopes (system, user, repository, `-c`) are git's own.

mod hosts;
mod machine;

use std::path::{Path, PathBuf};
use std::time::Duration;

use etcetera::base_strategy::{BaseStrategy as _, Xdg};
use sha2::{Digest as _, Sha256};

use crate::config::{ConfigFrom, nearest};
use crate::git::Repo;
use crate::model::{RunnerLabel, UnitError, parse_duration, parse_size};

pub use hosts::{HostKind, HostSettings};
pub use machine::MachineSettings;

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
    /// It is no duration, or too short.
    #[error("use {key} = {value:?}: {error}")]
    Unit {
        /// The configuration key.
        key: String,
        /// What it is.
        value: String,
        /// What is wrong with it.
        error: UnitError,
    },
    /// It is no duration or size, and not the word that means no limit either.
    #[error("use {key} = {value:?}: {error}, or {without}")]
    Limit {
        /// The configuration key, as the documentation spells it.
        key: &'static str,
        /// What it is.
        value: String,
        /// What is wrong with it.
        error: UnitError,
        /// What means no limit.
        without: &'static str,
    },
    /// There is no place for worktrees.
    #[error("find a place for worktrees: neither HOME nor ci.worktreeDir is set")]
    NoHome,
}

/// `ci.hookMode`: what a hook does about a new commit.
///
/// No part of [`Settings`]: a hook must not fail for what is wrong with the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HookMode {
    /// Notes it in the spool, for the next `watch` or `run --new`.
    #[default]
    Spool,
    /// And starts a watcher in the background where none runs.
    Run,
    /// Nothing.
    Off,
}

impl HookMode {
    /// The value that means it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spool => "spool",
            Self::Run => "run",
            Self::Off => "off",
        }
    }

    /// What the setting's value means.
    ///
    /// # Errors
    /// Where it means nothing.
    pub fn of(value: Option<&str>) -> Result<Self, SettingsError> {
        match value {
            None => Ok(Self::default()),
            Some("spool") => Ok(Self::Spool),
            Some("run") => Ok(Self::Run),
            Some("off") => Ok(Self::Off),
            Some(value) => Err(SettingsError::Value {
                key: "ci.hookMode",
                value: value.to_owned(),
                expected: "spool, run or off",
            }),
        }
    }
}

/// What this machine's user has set, with the defaults filled in.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `ci.slots`: how many tasks run at once, 1 to [`MAX_SLOTS`]; by default one a CPU.
    pub slots: u32,
    /// `ci.notesRef`: where results go.
    pub notes_ref: String,
    /// Where the worktrees of this repository are: in a directory of its own below
    /// `ci.worktreeDir`; outside the repository by default, since tools that look
    /// upwards would find the user's own files.
    pub worktree_root: PathBuf,
    /// `ci.name`: what records call this machine.
    pub name: RunnerLabel,
    /// `ci.configFrom`: which jobs file counts.
    pub config_from: ConfigFrom,
    /// `ci.local`: whether this machine's own slots are used.
    pub local: bool,
    /// `ci.labels`: what jobs may ask this machine for. Its name is always one of them.
    pub labels: Vec<String>,
    /// What all repositories share.
    pub machine: MachineSettings,
    /// `ci.onResult`: what is run for each commit that a watcher is done with.
    pub on_result: Option<String>,
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
        sparse(repo)?;
        Ok(Self {
            local: local(repo)?,
            labels: labels(repo, &name)?,
            hosts: hosts::hosts(repo)?,
            machine: MachineSettings::of(repo)?,
            on_result: on_result(repo),
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

/// How long things are kept, and how many of them: what `git ci gc` goes by. `None` is
/// no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// `ci.logMaxAge`: logs last written to before that go; by default 30 days.
    pub log_age: Option<Duration>,
    /// `ci.logMaxSize`: what all logs may take together, in bytes; by default 1 GiB.
    pub log_size: Option<u64>,
    /// `ci.artifactMaxAge`: the same for artifacts; by default 30 days.
    pub artifact_age: Option<Duration>,
    /// `ci.artifactMaxSize`: what all artifacts may take together; by default 1 GiB.
    pub artifact_size: Option<u64>,
    /// `ci.slotMaxAge`: worktrees that were not used since go; by default 14 days.
    pub slot_age: Option<Duration>,
}

impl Retention {
    /// Reads the limits that count in `repo`.
    ///
    /// # Errors
    /// Where a value makes no sense.
    pub fn of(repo: &Repo) -> Result<Self, SettingsError> {
        Ok(Self {
            log_age: age(repo, "ci.logMaxAge", 30)?,
            log_size: size(repo, "ci.logMaxSize", 1 << 30)?,
            artifact_age: age(repo, "ci.artifactMaxAge", 30)?,
            artifact_size: size(repo, "ci.artifactMaxSize", 1 << 30)?,
            slot_age: age(repo, "ci.slotMaxAge", 14)?,
        })
    }
}

fn age(repo: &Repo, key: &'static str, days: u64) -> Result<Option<Duration>, SettingsError> {
    let default = Duration::from_secs(days * 24 * 60 * 60);
    let read = |text: &str| parse_duration(text, Duration::ZERO);
    limit(repo, key, "never", default, read)
}

fn size(repo: &Repo, key: &'static str, default: u64) -> Result<Option<u64>, SettingsError> {
    limit(repo, key, "unlimited", default, parse_size)
}

/// A limit that may be taken away, by the word `without`.
fn limit<T>(
    repo: &Repo,
    key: &'static str,
    without: &'static str,
    default: T,
    read: impl Fn(&str) -> Result<T, UnitError>,
) -> Result<Option<T>, SettingsError> {
    match repo.config(&key.to_lowercase()) {
        None => Ok(Some(default)),
        Some(value) if value.trim().eq_ignore_ascii_case(without) => Ok(None),
        Some(value) => read(value).map(Some).map_err(|error| SettingsError::Limit {
            key,
            value: value.to_owned(),
            error,
            without,
        }),
    }
}

/// One key of git's configuration that is ours.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// As the documentation spells it.
    pub name: &'static str,
    /// What is set by it.
    pub meaning: &'static str,
    /// What counts where it is not set.
    pub default: &'static str,
}

const fn key(name: &'static str, meaning: &'static str, default: &'static str) -> Key {
    Key {
        name,
        meaning,
        default,
    }
}

/// Every `ci.*` key that this version knows, in alphabetical order: the manual lists them,
/// and `git ci doctor` finds others.
pub const KEYS: &[Key] = &[
    key(
        "ci.artifactMaxAge",
        "how long files that jobs leave are kept",
        "30d",
    ),
    key("ci.artifactMaxSize", "what they may take together", "1g"),
    key(
        "ci.configFrom",
        "which jobs file counts: `worktree`, `commit` or a revision",
        "worktree; in a bare repository commit",
    ),
    key(
        "ci.hookMode",
        "what a hook does about a new commit: `spool`, `run` or `off`",
        "spool",
    ),
    key(
        "ci.hookNotice",
        "whether `git commit` says what failed in the background",
        "true",
    ),
    key(
        "ci.labels",
        "what jobs may ask this machine for, besides its name",
        "none",
    ),
    key(
        "ci.lease",
        "how long a host may say nothing before its tasks go elsewhere",
        "45s",
    ),
    key(
        "ci.local",
        "whether tasks run on this machine, too, where there are hosts",
        "true",
    ),
    key("ci.logMaxAge", "how long logs are kept", "30d"),
    key("ci.logMaxSize", "what they may take together", "1g"),
    key(
        "ci.machineSlots",
        "tasks at once in all repositories together",
        "no limit",
    ),
    key(
        "ci.minFreeDisk",
        "nothing begins while less is free where the worktrees are",
        "0",
    ),
    key(
        "ci.minFreeMemory",
        "nothing begins while less memory is free",
        "0",
    ),
    key(
        "ci.name",
        "what records call this machine",
        "the host's short name",
    ),
    key("ci.notesRef", "where results go", "refs/notes/ci"),
    key(
        "ci.onResult",
        "a command for each commit that `watch` is done with, as its `--on-result`",
        "none",
    ),
    key(
        "ci.silence",
        "how long jobs on a host live when they hear nothing from here",
        "20s",
    ),
    key(
        "ci.slotMaxAge",
        "how long a worktree is kept that is not used",
        "14d",
    ),
    key(
        "ci.slots",
        "tasks at once, and worktrees kept",
        "the number of CPUs",
    ),
    key(
        "ci.sparse",
        "whether tasks get only the part of a tree that a sparse checkout shows",
        "false",
    ),
    key(
        "ci.sshCommand",
        "the ssh that leads to hosts",
        "GIT_SSH_COMMAND, core.sshCommand or ssh",
    ),
    key(
        "ci.worktreeDir",
        "where the worktrees are, in a directory for each repository",
        "$XDG_CACHE_HOME/git-ci",
    ),
];

/// Everything that is wrong with the values of our keys.
pub fn problems(repo: &Repo) -> Vec<SettingsError> {
    let all = [
        slots(repo).err(),
        notes_ref(repo).err(),
        worktree_root(repo).err(),
        name(repo).err(),
        Retention::of(repo).err(),
        HookMode::of(repo.config("ci.hookmode")).err(),
        local(repo).err(),
        sparse(repo).err(),
        MachineSettings::of(repo).err(),
        hosts::hosts(repo).err(),
    ];
    all.into_iter().flatten().collect()
}

/// The `ci.*` keys that are set and that nobody knows, each with the known one that may
/// have been meant.
pub fn unknown_keys(repo: &Repo) -> Vec<(String, Option<&'static str>)> {
    let known = |name: &str| KEYS.iter().any(|key| key.name.eq_ignore_ascii_case(name));
    let mut found = Vec::new();
    for (name, _) in repo.config_entries() {
        if name.starts_with("ci.") && !known(name) && !name.starts_with(machine::RESOURCE) {
            let lower: Vec<_> = KEYS.iter().map(|key| key.name.to_lowercase()).collect();
            let near = nearest(name, lower.iter().map(String::as_str));
            let near = near.and_then(|near| {
                let mut keys = KEYS.iter();
                keys.find(|key| key.name.eq_ignore_ascii_case(near))
            });
            found.push((name.to_owned(), near.map(|key| key.name)));
        }
    }
    found
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

/// `ci.sparse`: whether tasks get only the part of a tree that the sparse checkout of the
/// main work tree shows. Slots follow it by themselves; this is whether it makes sense.
fn sparse(repo: &Repo) -> Result<bool, SettingsError> {
    let value = repo.config("ci.sparse").unwrap_or("false");
    boolean(value).ok_or_else(|| SettingsError::Value {
        key: "ci.sparse",
        value: value.to_owned(),
        expected: "true or false",
    })
}

fn on_result(repo: &Repo) -> Option<String> {
    let command = repo.config("ci.onresult")?;
    (!command.trim().is_empty()).then(|| command.to_owned())
}

/// `ci.hookNotice`, where a hook must not fail over a value that means nothing.
pub fn is_on(value: &str) -> bool {
    boolean(value).unwrap_or(true)
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
    if let Some(value) = repo.config_path("ci.worktreedir") {
        let path = match value.strip_prefix("~/") {
            Ok(rest) => etcetera::home_dir()
                .map_err(|_| SettingsError::NoHome)?
                .join(rest),
            Err(_) => value.to_owned(),
        };
        return if path.is_absolute() {
            Ok(path.join(match repo.other_user() {
                Some(uid) => format!("{}-u{uid}", dir_name(repo.common_dir())),
                None => dir_name(repo.common_dir()),
            }))
        } else {
            Err(SettingsError::Value {
                key: "ci.worktreeDir",
                value: value.to_string_lossy().into_owned(),
                expected: "an absolute path, or one that starts with ~/",
            })
        };
    }
    let cache = Xdg::new().map_err(|_| SettingsError::NoHome)?.cache_dir();
    Ok(cache.join("git-ci").join(dir_name(repo.common_dir())))
}

/// `<name>-<hash>`: the name is for people, the hash of the path keeps apart what has
/// the same name.
fn dir_name(common_dir: &Path) -> String {
    let digest = Sha256::digest(common_dir.as_os_str().as_encoded_bytes());
    let hash = faster_hex::hex_string(&digest[..5]);
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
