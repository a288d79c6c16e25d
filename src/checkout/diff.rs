//! What differs between two trees, as changes of single files.

use gix::objs::tree::EntryKind;
use gix::{ObjectId, Repository};

use super::index::{Changes, EXECUTABLE, FILE, Image, LINK};
use super::slow::Slow;
use crate::git::attributes;
use crate::model::printable_line;

/// What leads from `old`, whose files `image` lists, to `new`.
///
/// # Errors
/// Where the difference is not for us to apply: something in it is git's business, or
/// an object cannot be read, and git says better why.
pub(super) fn diff(
    objects: &Repository,
    image: &Image,
    old: ObjectId,
    new: ObjectId,
) -> Result<Changes, Slow> {
    let mut diff = Diff {
        objects,
        image,
        path: Vec::new(),
        changes: Changes::new(),
    };
    if old != new {
        diff.trees(Some(old), Some(new))?;
    }
    Ok(diff.changes)
}

struct Diff<'a> {
    objects: &'a Repository,
    image: &'a Image,
    path: Vec<u8>,
    changes: Changes,
}

/// An entry of a tree.
#[derive(Clone, PartialEq, Eq)]
struct Item {
    name: Vec<u8>,
    kind: EntryKind,
    id: ObjectId,
}

impl Diff<'_> {
    /// The entries of a tree, sorted by name alone.
    fn read(&self, tree: Option<ObjectId>) -> Result<Vec<Item>, Slow> {
        let Some(tree) = tree else {
            return Ok(Vec::new());
        };
        let tree = self.objects.find_tree(tree).map_err(|_| Slow::Object)?;
        let tree = tree.decode().map_err(|_| Slow::Object)?;
        let mut items: Vec<Item> = tree
            .entries
            .iter()
            .map(|entry| Item {
                name: entry.filename.to_vec(),
                kind: entry.mode.kind(),
                id: entry.oid.to_owned(),
            })
            .collect();
        items.sort_by(|a, b| a.name.cmp(&b.name));
        // A name twice: git refuses or repairs that, as it sees fit.
        let twice = items.windows(2).find(|pair| pair[0].name == pair[1].name);
        if let Some(pair) = twice {
            return Err(Slow::Twice(printable_line(&pair[0].name).into_owned()));
        }
        Ok(items)
    }

    fn trees(&mut self, old: Option<ObjectId>, new: Option<ObjectId>) -> Result<(), Slow> {
        let (old, new) = (self.read(old)?, self.read(new)?);
        let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return Ok(()),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(old), Some(new)) => old.name.cmp(&new.name),
            };
            let before = if order.is_le() { old.next() } else { None };
            let after = if order.is_ge() { new.next() } else { None };
            if before != after {
                self.item(before, after)?;
            }
        }
    }

    fn item(&mut self, old: Option<&Item>, new: Option<&Item>) -> Result<(), Slow> {
        let Some(name) = new.or(old).map(|item| &item.name) else {
            return Ok(());
        };
        let length = self.path.len();
        self.path.extend_from_slice(name);
        if new.is_some() && !attributes::name(name) {
            return Err(Slow::name(&self.path));
        }
        let old_tree = old.filter(|old| old.kind == EntryKind::Tree);
        let new_tree = new.filter(|new| new.kind == EntryKind::Tree);
        if old.is_some() && old_tree.is_none() && (new.is_none() || new_tree.is_some()) {
            self.changes.insert(self.path.clone(), None);
        }
        if old_tree.is_some() && new_tree.is_none() {
            self.gone();
        }
        if let Some(new) = new {
            let mode = match new.kind {
                EntryKind::Tree => None,
                EntryKind::Blob => Some(FILE),
                EntryKind::BlobExecutable => Some(EXECUTABLE),
                EntryKind::Link => Some(LINK),
                EntryKind::Commit => return Err(Slow::submodule(&self.path)),
            };
            match mode {
                Some(mode) => {
                    if name == b".gitattributes" && !self.attributes(mode, new.id) {
                        return Err(Slow::attributes(&self.path));
                    }
                    self.changes.insert(self.path.clone(), Some((mode, new.id)));
                }
                None => {
                    self.path.push(b'/');
                    self.trees(old_tree.map(|old| old.id), Some(new.id))?;
                }
            }
        }
        self.path.truncate(length);
        Ok(())
    }

    /// Everything below the current path goes.
    fn gone(&mut self) {
        for i in self.image.below(&self.path) {
            self.changes.insert(self.image.path(i).to_vec(), None);
        }
    }

    fn attributes(&self, mode: u32, id: ObjectId) -> bool {
        mode != LINK
            && self
                .objects
                .find_blob(id)
                .is_ok_and(|blob| attributes::keeps_blobs(&blob.data))
    }
}
