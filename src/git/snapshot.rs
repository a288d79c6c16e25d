//! What is not committed yet, as a commit that no ref leads to.
//!
//! git makes it, with an index of its own: the user's index is copied, so that not even the
//! times in it change. Its dates are those of the commit that it would follow, so that the same
//! files are the same commit.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use super::command::GitError;
use super::repo::Repo;
use super::revs::{self, RevError};
use crate::model::{Commit, Oid, Snapshot};

/// What is to be tested that is not committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// What `git commit` would take.
    Staged,
    /// What `git add --all` and `git commit` would: untracked files that are not ignored, too.
    WorkTree,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A bare repository, or a place within `.git`.
    #[error("find what is not committed: there is no work tree here")]
    NoWorkTree,
    /// There is no commit that it would follow, or git cannot find it.
    #[error(transparent)]
    Rev(#[from] RevError),
    /// A merge has left conflicts.
    #[error("take what is not committed: there are conflicts in {0}")]
    Conflicts(String),
    /// git cannot make it.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The index cannot be copied.
    #[error("copy the index")]
    Io(#[from] io::Error),
}

/// Makes a commit of what is not committed; `HEAD` where that is the same.
///
/// # Errors
/// Where there is nothing to make it of, or git cannot.
pub fn take(repo: &Repo, source: Source) -> Result<Commit, SnapshotError> {
    let top = repo.work_tree().ok_or(SnapshotError::NoWorkTree)?;
    let head = revs::resolve(repo, "HEAD")?;
    let dir = tempfile::tempdir()?;
    let index = dir.path().join("index");
    // A hook of `git commit -a` or `git commit PATH` is told of another one.
    let own = std::env::var_os("GIT_INDEX_FILE").filter(|path| !path.is_empty());
    let own = own.map_or_else(|| repo.git_dir().join("index"), |path| top.join(path));
    match fs::copy(own, &index) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        copied => drop(copied?),
    }
    let command = || of_work_tree(repo, top, &index);
    if let Some(path) = conflict(repo, command())? {
        return Err(SnapshotError::Conflicts(path));
    }
    if source == Source::WorkTree {
        let mut add = command();
        add.args([
            "-c",
            "advice.addEmbeddedRepo=false",
            "add",
            "--all",
            "--",
            ":/",
        ]);
        repo.git().output(&mut add)?;
    }
    let tree: Oid = parse(repo.git().read(command().arg("write-tree"))?)?;
    if tree == head.tree {
        return Ok(head);
    }
    let subject = match source {
        Source::Staged => "(what is staged)",
        Source::WorkTree => "(the work tree)",
    };
    let date = format!("{} +0000", head.time);
    let mut commit = command();
    commit
        .args(["commit-tree", "--no-gpg-sign", "-m", subject, "-p"])
        .args([head.id.to_string(), tree.to_string()]);
    for who in ["AUTHOR", "COMMITTER"] {
        commit
            .env(format!("GIT_{who}_NAME"), "git-ci")
            .env(format!("GIT_{who}_EMAIL"), "git-ci@localhost")
            .env(format!("GIT_{who}_DATE"), &date);
    }
    Ok(Commit {
        id: parse(repo.git().read(&mut commit)?)?,
        tree,
        subject: subject.to_owned(),
        time: head.time,
        snapshot: Some(Snapshot {
            parent: head.id,
            is_staged: source == Source::Staged,
        }),
    })
}

/// A git command in the user's work tree, with another index.
fn of_work_tree(repo: &Repo, top: &Path, index: &Path) -> Command {
    let mut command = repo.git().command();
    command
        .arg("--git-dir")
        .arg(repo.git_dir())
        .arg("--work-tree")
        .arg(top)
        .current_dir(top)
        .env("GIT_INDEX_FILE", index);
    command
}

/// A path that a merge has left in conflict.
fn conflict(repo: &Repo, mut list: Command) -> Result<Option<String>, GitError> {
    list.args(["ls-files", "--unmerged", "-z"]);
    let output = repo.git().output(&mut list)?.stdout;
    let entry = output.split(|&byte| byte == 0).next().unwrap_or_default();
    let path = entry.split(|&byte| byte == b'\t').nth(1);
    Ok(path.map(|path| crate::model::printable_line(path).into_owned()))
}

fn parse(id: String) -> Result<Oid, SnapshotError> {
    let bad = |_| io::Error::new(io::ErrorKind::InvalidData, format!("git said {id:?}"));
    Ok(id.parse().map_err(bad)?)
}
