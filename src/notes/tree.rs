//! Changing a notes tree: what is written here is what `git notes` would write, entry
//! for entry.
//!
//! git's rule for directories (`determine_fanout` in its `notes.c`) asks its 16-way trie
//! whether all 16 children of a node are inner nodes or unread directories.
//! [`Dir::fans_out`] asks the same of a directory, without the trie. Where an entry was
//! read matters to that rule (a directory that was read counts its notes, one that was
//! not counts as full), so nothing is read here that git would not read.
//!
//! Why not `gix-note`, which has that trie: it fails on an id at two depths, takes an
//! executable blob for no note and then overwrites it, and writes through gix, which
//! syncs nothing to the disk.

use std::collections::{BTreeMap, HashSet};

use gix::ObjectId;
use gix::objs::Kind;
use gix::objs::tree::{Entry, EntryKind};

use super::read::{Reader, TreeError, read_note};
use crate::git::objects::NewObjects;
use crate::git::reading::Objects;

/// A directory that was read.
///
/// A note is held where its id leads: where there is a child for its next byte, it is in
/// the child. So each id has one place, whatever the tree looked like.
#[derive(Default)]
struct Dir {
    notes: BTreeMap<ObjectId, ObjectId>,
    children: BTreeMap<u8, Child>,
    /// What is no note, and stays as it is.
    others: Vec<Entry>,
}

enum Child {
    Unread(ObjectId),
    Read(Dir),
}

impl Dir {
    /// How many notes and how many unread directories there are below.
    fn items(&self) -> (usize, usize) {
        let below = self.children.values().map(Child::items);
        below.fold((self.notes.len(), 0), |sum, items| {
            (sum.0 + items.0, sum.1 + items.1)
        })
    }

    /// Whether git spreads the notes of this directory over directories below it: for each
    /// of the 16 digits that may come next there are two things or more, or a directory
    /// that need not be read.
    fn fans_out(&self, depth: usize) -> bool {
        let mut slots = [(0, 0); 16];
        for key in self.notes.keys() {
            slots[usize::from(byte_of(key, depth) >> 4)].0 += 1;
        }
        for (byte, child) in &self.children {
            let (notes, dirs) = child.items();
            let slot = &mut slots[usize::from(byte >> 4)];
            *slot = (slot.0 + notes, slot.1 + dirs);
        }
        let full = |&(notes, dirs): &(usize, usize)| notes + dirs >= 2 || dirs == 1;
        slots.iter().all(full)
    }
}

impl Child {
    fn items(&self) -> (usize, usize) {
        match self {
            Self::Unread(_) => (0, 1),
            Self::Read(dir) => dir.items(),
        }
    }
}

/// A notes tree that is being changed. Only what the changes touch is read.
pub(super) struct NotesTree<'r> {
    root: Dir,
    loader: Loader<'r>,
}

impl<'r> NotesTree<'r> {
    /// The tree `root`, or an empty one.
    pub(super) fn read(objects: &'r Objects, root: Option<ObjectId>) -> Result<Self, TreeError> {
        let mut tree = Self {
            root: Dir::default(),
            loader: Loader {
                reader: Reader::new(objects),
                doubles: BTreeMap::new(),
            },
        };
        if let Some(root) = root {
            tree.loader.load(&mut tree.root, root, &[])?;
        }
        Ok(tree)
    }

    /// The blobs that make up the note of `key`; more than one where the tree is odd.
    pub(super) fn get(&mut self, key: ObjectId) -> Result<Vec<ObjectId>, TreeError> {
        let place = self.loader.place(&mut self.root, 0, key)?;
        let mut blobs: Vec<_> = place.notes.get(&key).copied().into_iter().collect();
        blobs.extend(self.loader.doubles.get(&key).into_iter().flatten());
        Ok(blobs)
    }

    /// Makes `blob` the note of `key`, in place of all that was there.
    pub(super) fn set(&mut self, key: ObjectId, blob: ObjectId) -> Result<(), TreeError> {
        let place = self.loader.place(&mut self.root, 0, key)?;
        place.notes.insert(key, blob);
        self.loader.doubles.remove(&key);
        Ok(())
    }

    /// Writes every directory that was read; returns the root.
    pub(super) fn write(mut self, out: &mut NewObjects) -> Result<ObjectId, TreeError> {
        let root = self.loader.write(self.root, &mut Vec::new(), out)?;
        match root {
            Some(root) => Ok(root),
            None => Ok(out.add_tree(Vec::new())?),
        }
    }
}

/// Reads directories when they are needed.
struct Loader<'r> {
    reader: Reader<'r>,
    /// Further blobs of notes that the tree has more than once.
    doubles: BTreeMap<ObjectId, Vec<ObjectId>>,
}

impl Loader<'_> {
    /// The directory below `dir` (which is at `depth`) where the note of `key` is, or belongs.
    fn place<'d>(
        &mut self,
        mut dir: &'d mut Dir,
        mut depth: usize,
        key: ObjectId,
    ) -> Result<&'d mut Dir, TreeError> {
        // Asked twice, because the borrow checker takes a borrow that one branch returns
        // for a borrow in all of them.
        while dir.children.contains_key(&byte_of(&key, depth)) {
            let Some(child) = dir.children.get_mut(&byte_of(&key, depth)) else {
                return Err(TreeError::not_a_tree(key));
            };
            depth += 1;
            dir = self.open(child, &key.as_slice()[..depth])?;
        }
        Ok(dir)
    }

    fn open<'d>(&mut self, child: &'d mut Child, prefix: &[u8]) -> Result<&'d mut Dir, TreeError> {
        if let Child::Unread(tree) = *child {
            let mut dir = Dir::default();
            self.load(&mut dir, tree, prefix)?;
            *child = Child::Read(dir);
        }
        match child {
            Child::Read(dir) => Ok(dir),
            Child::Unread(tree) => Err(TreeError::not_a_tree(*tree)),
        }
    }

    /// Adds what `tree` holds to `dir`, which may hold something already.
    fn load(&mut self, dir: &mut Dir, tree: ObjectId, prefix: &[u8]) -> Result<(), TreeError> {
        let listing = self.reader.listing(tree, prefix)?;
        dir.others.extend(listing.others);
        for (byte, tree) in listing.dirs {
            match dir.children.get_mut(&byte) {
                None => {
                    dir.children.insert(byte, Child::Unread(tree));
                }
                // A second directory of this name, in digits of the other case.
                Some(child) => {
                    let prefix = [prefix, &[byte]].concat();
                    let child = self.open(child, &prefix)?;
                    self.load(child, tree, &prefix)?;
                }
            }
        }
        // As in git, a note makes the directory be read that it might as well be in.
        let earlier = std::mem::take(&mut dir.notes);
        for (key, blob) in earlier.into_iter().chain(listing.notes) {
            let place = self.place(dir, prefix.len(), key)?;
            if let Some(other) = place.notes.insert(key, blob)
                && other != blob
            {
                self.doubles.entry(key).or_default().push(other);
            }
        }
        Ok(())
    }

    /// Takes every note out of the directories below `dir`.
    fn flatten(
        &mut self,
        dir: &mut Dir,
        prefix: &mut Vec<u8>,
        notes: &mut BTreeMap<ObjectId, ObjectId>,
    ) -> Result<(), TreeError> {
        for (byte, child) in &mut dir.children {
            prefix.push(*byte);
            let child = self.open(child, prefix)?;
            notes.append(&mut child.notes);
            self.flatten(child, prefix, notes)?;
            prefix.pop();
        }
        Ok(())
    }

    /// Writes `dir`; `None` where nothing is in it.
    fn write(
        &mut self,
        mut dir: Dir,
        prefix: &mut Vec<u8>,
        out: &mut NewObjects,
    ) -> Result<Option<ObjectId>, TreeError> {
        let depth = prefix.len();
        let fans_out = dir.fans_out(depth);
        let mut notes = std::mem::take(&mut dir.notes);
        if fans_out {
            for (key, blob) in std::mem::take(&mut notes) {
                let fresh = || Child::Read(Dir::default());
                let child = dir.children.entry(byte_of(&key, depth));
                // Never unread: a note is not held beside a child that was there for it.
                if let Child::Read(child) = child.or_insert_with(fresh) {
                    child.notes.insert(key, blob);
                }
            }
        } else {
            self.flatten(&mut dir, prefix, &mut notes)?;
        }

        let mut entries = Vec::with_capacity(notes.len() + dir.children.len());
        for (key, blob) in notes {
            entries.push(Entry {
                mode: EntryKind::Blob.into(),
                filename: key.to_string()[2 * depth..].into(),
                oid: self.joined(key, blob, out)?,
            });
        }
        for (byte, child) in dir.children {
            prefix.push(byte);
            let tree = match child {
                Child::Unread(tree) => Some(tree),
                Child::Read(child) => self.write(child, prefix, out)?,
            };
            prefix.pop();
            entries.extend(tree.map(|oid| Entry {
                mode: EntryKind::Tree.into(),
                filename: format!("{byte:02x}").into(),
                oid,
            }));
        }
        if !dir.others.is_empty() {
            // Where a note and something else have one name, git prefers the note.
            let names: HashSet<_> = entries.iter().map(|entry| &entry.filename).collect();
            dir.others.retain(|other| !names.contains(&other.filename));
            entries.append(&mut dir.others);
            entries.sort();
            entries.dedup_by(|a, b| a.filename == b.filename);
        } else {
            entries.sort();
        }
        if entries.is_empty() {
            return Ok(None);
        }
        Ok(Some(out.add_tree(entries)?))
    }

    /// The one blob for the note of `key`, of which the tree has `blob` and perhaps more.
    fn joined(
        &mut self,
        key: ObjectId,
        blob: ObjectId,
        out: &mut NewObjects,
    ) -> Result<ObjectId, TreeError> {
        let Some(mut blobs) = self.doubles.remove(&key) else {
            return Ok(blob);
        };
        blobs.push(blob);
        let note = read_note(self.reader.objects, &blobs)?;
        Ok(out.add(Kind::Blob, note.to_bytes())?)
    }
}

fn byte_of(key: &ObjectId, depth: usize) -> u8 {
    key.as_slice()[depth]
}
