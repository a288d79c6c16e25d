//! Reading notes trees: what a note consists of, and what changed between two trees.
//!
//! A note is named by the hexadecimal id of the object it belongs to, in a tree that
//! grows directories of two digits (`0c/f0/36bf…`) as notes become many. git accepts any
//! mixture of depths, even the same id at two of them, and entries that are no notes at
//! all; so does this.
//!
//! Trees come from other people, and what is read of them is bounded: the depth by the
//! length of an id, the rest by [`MAX_ENTRIES`] and [`MAX_SIZE`]. A few small trees that
//! name each other 256 times over could keep a reader busy for ever; but a directory
//! holds the ends of ids, so that no honest tree names it in two places.

use std::collections::{BTreeMap, HashMap};

use gix::ObjectId;
use gix::objs::Kind;
use gix::objs::tree::{Entry, EntryKind};

use crate::git::WriteError;
use crate::git::reading::Objects;
use crate::model::Note;

/// No more entries than this are read for one question.
const MAX_ENTRIES: u64 = 1 << 22;

/// A note or a directory of more bytes is not read. A note has some 150 bytes a record.
const MAX_SIZE: u64 = 64 << 20;

/// Why a notes tree cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// An object is missing or broken.
    #[error("read object {id} of the notes (does `git fsck` complain?)")]
    Read {
        /// The object.
        id: String,
        /// What gix says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A partial clone lacks an object, and git could not fetch it.
    #[error("read object {id} of the notes: it is not here, and git could not fetch it")]
    Away {
        /// The object.
        id: String,
    },
    /// A tree or a note could not be made.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Something else stands where a tree should be.
    #[error("read object {id} of the notes as a tree")]
    NotATree {
        /// The object.
        id: String,
    },
    /// The tree has more entries than any honest one.
    #[error("read notes tree {id}: more than {MAX_ENTRIES} entries")]
    TooLarge {
        /// The tree that was one too many.
        id: String,
    },
    /// An object is larger than anything that is read here.
    #[error("read object {id} of the notes: it has {} MiB, more than {} are not read", size >> 20, MAX_SIZE >> 20)]
    TooLong {
        /// The object.
        id: String,
        /// Its size in bytes.
        size: u64,
    },
    /// Two directories of the notes are one tree, which would be notes of ids that end
    /// alike.
    #[error("read notes tree {id}: it is named in two places, as no honest tree is")]
    Repeated {
        /// The tree.
        id: String,
    },
}

impl TreeError {
    pub(super) fn read(
        id: ObjectId,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Read {
            id: id.to_string(),
            source: source.into(),
        }
    }

    pub(super) fn not_a_tree(id: ObjectId) -> Self {
        Self::NotATree { id: id.to_string() }
    }

    /// Whether it is about one object, and others can be read.
    pub(super) fn is_of_one_object(&self) -> bool {
        matches!(
            self,
            Self::Read { .. } | Self::TooLong { .. } | Self::Away { .. }
        )
    }
}

/// An object of the notes, if it is not too long.
fn find(objects: &Objects, id: ObjectId) -> Result<gix::Object<'_>, TreeError> {
    // What is not here yet has no size.
    if let Some(size) = objects.size_of(id).filter(|&size| size > MAX_SIZE) {
        let id = id.to_string();
        return Err(TreeError::TooLong { id, size });
    }
    objects.find_object(id).map_err(|error| {
        if objects.may_be_promised() && error.classify().is_not_found() {
            TreeError::Away { id: id.to_string() }
        } else {
            TreeError::read(id, error)
        }
    })
}

/// The root of the notes whose tip is `tip`: a commit or, as git allows, a tree.
pub(super) fn tree_of(objects: &Objects, tip: ObjectId) -> Result<ObjectId, TreeError> {
    let object = objects
        .find_object(tip)
        .map_err(|e| TreeError::read(tip, e))?;
    match object.kind {
        Kind::Tree => Ok(tip),
        Kind::Commit => {
            let mut commit = gix::objs::CommitRefIter::from_bytes(&object.data, tip.kind());
            commit.tree_id().map_err(|e| TreeError::read(tip, e))
        }
        _ => Err(TreeError::not_a_tree(tip)),
    }
}

/// The note that `blobs` make up, each of which may be anybody's.
///
/// As for git, what is no blob is an empty note.
pub(super) fn read_note(objects: &Objects, blobs: &[ObjectId]) -> Result<Note, TreeError> {
    let mut note = Note::default();
    for &blob in blobs {
        let object = find(objects, blob)?;
        if object.kind.is_blob() {
            note.merge_bytes(&object.data);
        }
    }
    Ok(note)
}

/// The blobs that make up the note of `key`: none, one, or more where the tree is odd.
pub(super) fn blobs_of(
    objects: &Objects,
    root: ObjectId,
    key: ObjectId,
) -> Result<Vec<ObjectId>, TreeError> {
    let mut found = BTreeMap::from([(key, Vec::new())]);
    fill(&mut Reader::new(objects), root, &mut Vec::new(), &mut found)?;
    Ok(found.into_values().flatten().collect())
}

/// Adds to each of these notes the blobs that `tree` has of it, reading each directory
/// once.
fn fill(
    reader: &mut Reader<'_>,
    tree: ObjectId,
    prefix: &mut Vec<u8>,
    notes: &mut BTreeMap<ObjectId, Vec<ObjectId>>,
) -> Result<(), TreeError> {
    let listing = reader.listing(tree, prefix)?;
    for (key, blob) in listing.notes {
        if let Some(blobs) = notes.get_mut(&key) {
            blobs.push(blob);
        }
    }
    for (byte, tree) in listing.dirs {
        prefix.push(byte);
        let mut first = [0; 32];
        first[..prefix.len()].copy_from_slice(prefix);
        let first = ObjectId::from_bytes_or_panic(&first[..tree.as_slice().len()]);
        let wanted = notes.range(first..).next();
        if wanted.is_some_and(|(key, _)| key.as_slice().starts_with(prefix)) {
            fill(reader, tree, prefix, notes)?;
        }
        prefix.pop();
    }
    Ok(())
}

/// The notes that differ between two trees, each with its blobs in the new one (none
/// where it is gone). Directories that both have are not read.
pub(super) fn changes(
    objects: &Objects,
    old: Option<ObjectId>,
    new: ObjectId,
) -> Result<Vec<(ObjectId, Vec<ObjectId>)>, TreeError> {
    let mut sides = [Vec::new(), Vec::new()];
    let mut readers = [Reader::new(objects), Reader::new(objects)];
    diff(&mut readers, [old, Some(new)], &mut Vec::new(), &mut sides)?;
    let [before, after] = sides.map(|mut notes| {
        notes.sort_unstable();
        let mut grouped = BTreeMap::<ObjectId, Vec<ObjectId>>::new();
        for (key, blob) in notes {
            grouped.entry(key).or_default().push(blob);
        }
        grouped
    });
    if old.is_none() {
        return Ok(after.into_iter().collect());
    }
    let keys = before.keys().chain(after.keys());
    // Where both have the same of it, only the fan-out changed.
    let changed = keys.filter(|key| before.get(*key) != after.get(*key));
    let mut changed: BTreeMap<_, _> = changed.map(|key| (*key, Vec::new())).collect();
    if !changed.is_empty() {
        // A double of a note may be in a directory that did not change.
        let mut reader = Reader::new(objects);
        fill(&mut reader, new, &mut Vec::new(), &mut changed)?;
    }
    Ok(changed.into_iter().collect())
}

/// Annotated objects and the blobs of their notes.
pub(super) type Notes = Vec<(ObjectId, ObjectId)>;

fn diff(
    readers: &mut [Reader<'_>; 2],
    trees: [Option<ObjectId>; 2],
    prefix: &mut Vec<u8>,
    out: &mut [Notes; 2],
) -> Result<(), TreeError> {
    if trees[0] == trees[1] {
        return Ok(());
    }
    let mut side = |side: usize| match trees[side] {
        Some(tree) => readers[side].listing(tree, prefix),
        None => Ok(Listing::default()),
    };
    let (mut old, mut new) = (side(0)?, side(1)?);
    if !old.notes.is_empty() && !new.notes.is_empty() {
        old.notes.sort_unstable();
        new.notes.sort_unstable();
        let gone = |note: &(ObjectId, ObjectId)| new.notes.binary_search(note).is_err();
        out[0].extend(old.notes.iter().copied().filter(gone));
        let come = |note: &(ObjectId, ObjectId)| old.notes.binary_search(note).is_err();
        out[1].extend(new.notes.iter().copied().filter(come));
    } else {
        out[0].append(&mut old.notes);
        out[1].append(&mut new.notes);
    }
    let mut dirs = BTreeMap::<u8, [Vec<ObjectId>; 2]>::new();
    for (side, listing) in [old, new].into_iter().enumerate() {
        for (byte, id) in listing.dirs {
            dirs.entry(byte).or_default()[side].push(id);
        }
    }
    for (byte, [old, new]) in dirs {
        prefix.push(byte);
        // More than one directory of a name (`a0` and `A0`) is odd, but it exists.
        for i in 0..old.len().max(new.len()) {
            let pair = [old.get(i).copied(), new.get(i).copied()];
            diff(readers, pair, prefix, out)?;
        }
        prefix.pop();
    }
    Ok(())
}

/// What one directory of a notes tree holds, as git reads it.
#[derive(Default)]
pub(super) struct Listing {
    /// Its notes.
    pub(super) notes: Notes,
    /// The next byte of the ids in it, and its tree.
    pub(super) dirs: Vec<(u8, ObjectId)>,
    /// Whatever else is there.
    pub(super) others: Vec<Entry>,
}

/// Reads directories, up to a limit.
pub(super) struct Reader<'r> {
    pub(super) objects: &'r Objects,
    entries_left: u64,
    /// Each directory that was read, and of which ids it is.
    read: HashMap<ObjectId, Vec<u8>>,
}

impl<'r> Reader<'r> {
    pub(super) fn new(objects: &'r Objects) -> Self {
        Self {
            objects,
            entries_left: MAX_ENTRIES,
            read: HashMap::new(),
        }
    }

    /// What `tree` holds, which is the directory of the ids that start with `prefix`.
    pub(super) fn listing(&mut self, tree: ObjectId, prefix: &[u8]) -> Result<Listing, TreeError> {
        let object = find(self.objects, tree)?;
        if !object.kind.is_tree() {
            return Err(TreeError::not_a_tree(tree));
        }
        if !object.data.is_empty()
            && let Some(earlier) = self.read.insert(tree, prefix.to_vec())
            && earlier != prefix
        {
            let id = tree.to_string();
            return Err(TreeError::Repeated { id });
        }
        let length = tree.as_slice().len();
        let mut key = [0; 32];
        key[..prefix.len()].copy_from_slice(prefix);
        let mut listing = Listing::default();
        for entry in gix::objs::TreeRefIter::from_bytes(&object.data, tree.kind()) {
            let entry = entry.map_err(|e| TreeError::read(tree, e))?;
            self.entries_left =
                self.entries_left
                    .checked_sub(1)
                    .ok_or_else(|| TreeError::TooLarge {
                        id: tree.to_string(),
                    })?;
            let rest = length - prefix.len();
            // Executable or not: both are notes to git.
            let file = matches!(
                entry.mode.kind(),
                EntryKind::Blob | EntryKind::BlobExecutable
            );
            let digits = unhex(entry.filename, &mut key[prefix.len()..length]);
            if file && digits == Some(rest) {
                let id = ObjectId::from_bytes_or_panic(&key[..length]);
                listing.notes.push((id, entry.oid.to_owned()));
            } else if entry.mode.is_tree() && digits == Some(1) && rest > 1 {
                listing.dirs.push((key[prefix.len()], entry.oid.to_owned()));
            } else {
                listing.others.push(entry.into());
            }
        }
        Ok(listing)
    }
}

/// Decodes pairs of hexadecimal digits of either case, as git does, into the front of
/// `out`; returns how many, `None` where that is not all that `text` is.
fn unhex(text: &[u8], out: &mut [u8]) -> Option<usize> {
    if !text.len().is_multiple_of(2) || text.len() / 2 > out.len() {
        return None;
    }
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        b'A'..=b'F' => Some(c - b'A' + 10),
        _ => None,
    };
    for (pair, byte) in text.chunks_exact(2).zip(out) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(text.len() / 2)
}
