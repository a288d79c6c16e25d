//! Files as they are in a commit, read without a worktree, and which ones a clone has.

use gix::ObjectId;

use super::objects::from_gix;
use super::{GitError, Repo};
use crate::model::Oid;

/// An object that is missing or broken.
#[derive(Debug, thiserror::Error)]
#[error("read object {id} (does `git fsck` complain?)")]
pub struct ReadError {
    id: Oid,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl ReadError {
    fn of<E: Into<Box<dyn std::error::Error + Send + Sync>>>(id: &Oid) -> impl Fn(E) -> Self {
        let id = *id;
        move |source| Self {
            id,
            source: source.into(),
        }
    }
}

impl Repo {
    /// The blob at `path` in a commit's tree; `None` where there is no such file.
    ///
    /// # Errors
    /// Where the commit or a tree cannot be read.
    pub fn file_in(&self, commit: &Oid, path: &str) -> Result<Option<Oid>, ReadError> {
        let objects = self.objects();
        let id = ObjectId::try_from(commit.as_bytes()).map_err(ReadError::of(commit))?;
        let found = objects.find_commit(id).map_err(ReadError::of(commit))?;
        let mut tree = found.tree_id().map_err(ReadError::of(commit))?.detach();
        let mut names = path.split('/').peekable();
        while let Some(name) = names.next() {
            let found = objects.find_tree(tree).map_err(ReadError::of(commit))?;
            let entry = found.iter().find_map(|entry| match entry {
                Ok(entry) if entry.filename() != name.as_bytes() => None,
                other => Some(other),
            });
            let entry = entry.transpose().map_err(ReadError::of(commit))?;
            match (entry, names.peek()) {
                (Some(entry), None) if entry.mode().is_blob() => {
                    return Ok(Some(from_gix(&entry.object_id())));
                }
                (Some(entry), Some(_)) if entry.mode().is_tree() => tree = entry.object_id(),
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// What a blob holds.
    ///
    /// # Errors
    /// Where it cannot be read, or is no blob.
    pub fn read_blob(&self, blob: &Oid) -> Result<Vec<u8>, ReadError> {
        let id = ObjectId::try_from(blob.as_bytes()).map_err(ReadError::of(blob))?;
        let objects = self.objects();
        let mut blob_object = objects.find_blob(id).map_err(ReadError::of(blob))?;
        Ok(blob_object.take_data())
    }

    /// The files that a clone would have once everything here is committed: those that git
    /// tracks or would add, by their paths from the top. Names that are not UTF-8 are
    /// left out.
    ///
    /// # Errors
    /// Those of git.
    pub fn files_of_a_clone(&self) -> Result<Vec<String>, GitError> {
        let mut list = self.git().as_the_user();
        list.args(["ls-files", "-z", "--full-name"]);
        list.args(["--cached", "--others", "--exclude-standard"]);
        if let Some(top) = self.work_tree() {
            list.current_dir(top);
        }
        let listed = self.git().output(&mut list)?.stdout;
        let names = listed.split(|&byte| byte == 0);
        Ok(names
            .filter(|name| !name.is_empty())
            .filter_map(|name| String::from_utf8(name.to_vec()).ok())
            .collect())
    }

    /// What the main branch is called: that of the default remote, else one with a usual
    /// name, else the one that `HEAD` is on, else `main`.
    pub fn main_branch(&self) -> String {
        let ask = |args: &[&str]| {
            let answer = self.git().read(self.git_command().args(args)).ok();
            answer.filter(|answer| !answer.is_empty())
        };
        let origin = ask(&[
            "symbolic-ref",
            "--quiet",
            "--short",
            "refs/remotes/origin/HEAD",
        ]);
        if let Some(name) = origin
            .as_deref()
            .and_then(|name| name.strip_prefix("origin/"))
        {
            return name.to_owned();
        }
        let there = |name: &&str| {
            let full = format!("refs/heads/{name}");
            ask(&["rev-parse", "--quiet", "--verify", &full]).is_some()
        };
        ["main", "master", "trunk"]
            .into_iter()
            .find(there)
            .map(str::to_owned)
            .or_else(|| ask(&["symbolic-ref", "--quiet", "--short", "HEAD"]))
            .unwrap_or_else(|| "main".to_owned())
    }
}
