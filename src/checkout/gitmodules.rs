//! What a commit's `.gitmodules` says of its submodules, and what the user wants of them.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use super::Goal;
use super::git_in::GitIn;
use super::template::{Config, is_true};
use crate::git::{GitError, Repo};

/// What `.gitmodules` says of a submodule.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub(super) name: String,
    update: Vec<u8>,
}

/// Whether a submodule belongs in the worktree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Yes,
    /// The user has not said: it was never initialised.
    Perhaps,
    No,
}

/// What `.gitmodules` of a worktree says of submodules, by their paths. One that git cannot
/// read names none.
///
/// # Errors
/// Where git does not get to read it.
pub(super) fn named(goal: &Goal<'_>) -> Result<HashMap<Vec<u8>, Named>, GitError> {
    let file = goal.path.join(".gitmodules");
    if !fs::symlink_metadata(&file).is_ok_and(|meta| meta.is_file()) {
        return Ok(HashMap::new());
    }
    let mut ask = goal.repo.git().command();
    ask.args(["config", "--no-includes", "-z", "-f"]).arg(&file);
    ask.args(["--get-regexp", r"^submodule\..*\.(path|update)$"]);
    let said = match goal.repo.git().output(&mut ask) {
        Err(GitError::Failed { .. }) => return Ok(HashMap::new()),
        said => said?,
    };
    let mut paths = HashMap::new();
    let mut updates = HashMap::new();
    for entry in said.stdout.split(|&byte| byte == 0) {
        let Some(line) = entry.iter().position(|&byte| byte == b'\n') else {
            continue;
        };
        let (key, value) = (&entry[..line], entry[line + 1..].to_vec());
        let Some(key) = std::str::from_utf8(key).ok() else {
            continue;
        };
        let Some((name, variable)) = key
            .strip_prefix("submodule.")
            .and_then(|rest| rest.rsplit_once('.'))
        else {
            continue;
        };
        // It becomes a path of ours.
        let safe = !name
            .split(['/', '\\'])
            .any(|part| part.is_empty() || part == "." || part == "..")
            && !name.starts_with('-');
        match variable {
            "path" if safe => drop(paths.insert(value, name.to_owned())),
            "update" => drop(updates.insert(name.to_owned(), value)),
            _ => {}
        }
    }
    let named = |name: String| Named {
        update: updates.get(&name).cloned().unwrap_or_default(),
        name,
    };
    let paths = paths.into_iter();
    Ok(paths.map(|(path, name)| (path, named(name))).collect())
}

/// What the user wants of the submodule at `path`, as their repository's `config` says.
pub(super) fn wanted(
    repo: &Repo,
    git: &GitIn<'_>,
    config: &Config,
    path: &[u8],
    named: &Named,
) -> Wanted {
    let key = |variable: &str| format!("submodule.{}.{variable}", named.name);
    let update = config.get(&key("update"));
    if update.unwrap_or(named.update.as_slice()) == b"none" {
        return Wanted::No;
    }
    let initialised = match config.get(&key("url")) {
        Some(_) => Wanted::Yes,
        None => Wanted::Perhaps,
    };
    if let Some(active) = config.get(&key("active")) {
        return if is_true(active) {
            initialised
        } else {
            Wanted::No
        };
    }
    let active: Vec<_> = config.all("submodule.active").collect();
    if !active.is_empty() && !matches(repo, git, path, &active) {
        return Wanted::No;
    }
    initialised
}

/// Whether one of these pathspecs matches the submodule at `path`.
fn matches(repo: &Repo, git: &GitIn<'_>, path: &[u8], specs: &[&[u8]]) -> bool {
    let mut list = git.command();
    list.args(["ls-files", "-z", "--"]);
    list.args(specs.iter().map(|spec| OsStr::from_bytes(spec)));
    let listed = repo.git().output(&mut list);
    // What git cannot tell is not left out.
    listed.is_ok_and(|listed| {
        let mut paths = listed.stdout.split(|&byte| byte == 0);
        paths.any(|one| one == path)
    })
}
