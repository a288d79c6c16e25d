//! Files as they are in a commit, read without a worktree.

use gix::ObjectId;

use super::Repo;
use super::notes::from_gix;
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
}
