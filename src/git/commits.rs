//! Commits by their ids, read in process: for lists of commits that no range describes.

use std::cell::RefCell;
use std::collections::HashMap;

use gix::ObjectId;

use super::Repo;
use super::commit_object;
use super::objects::from_gix;
use super::reading::Objects;
use crate::model::{Commit, Oid};

/// Reads commits one by one, each once.
pub struct CommitReader {
    objects: Objects,
    read: RefCell<HashMap<Oid, Option<Commit>>>,
}

impl CommitReader {
    /// A reader of this repository's commits.
    pub fn new(repo: &Repo) -> Self {
        Self {
            objects: repo.objects(),
            read: RefCell::default(),
        }
    }

    /// The commit of this id; `None` where the repository does not have it (notes
    /// outlive commits, and travel without them) or has something else there.
    pub fn find(&self, id: &Oid) -> Option<Commit> {
        let mut read = self.read.borrow_mut();
        let found = read.entry(*id).or_insert_with(|| self.read(id));
        found.clone()
    }

    fn read(&self, id: &Oid) -> Option<Commit> {
        let gix = ObjectId::try_from(id.as_bytes()).ok()?;
        if gix.kind() != self.objects.object_hash() {
            return None;
        }
        let object = self.objects.find_object(gix).ok()?;
        if !object.kind.is_commit() {
            return None;
        }
        let read = commit_object::parse(&object.data, gix.kind()).ok()?;
        Some(Commit {
            id: *id,
            tree: from_gix(&read.tree),
            subject: commit_object::subject(&object.data),
            time: read.time,
            snapshot: None,
        })
    }
}
