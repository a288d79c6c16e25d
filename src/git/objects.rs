//! New objects, written so that a power cut, a `kill -9` or a concurrent `git gc` finds
//! them whole or not at all.
//!
//! gix writes objects, too, but syncs nothing: after a power cut an object may be there
//! in name only, and git would never write it again. Here each batch is one pack, which
//! is synced before it is visible: two files, however many objects. Why a pack, and what
//! keeps it from every gc until a ref leads to it, is said in [`packs`](super::packs).
//!
//! What a batch refers to and does not write (directories and notes that did not change)
//! needs no protection: the tip that it was read from leads to it until the ref is moved
//! from that very tip, and the new one leads to it from then on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::objs::tree::Entry;
use gix::objs::{Kind, Tree, WriteTo as _};

use super::durable::WriteError;
use super::pack_format::PackBuilder;
use super::packs::{Kept, PackDir};
use crate::model::Oid;
use crate::private::Sharing;

/// While results come in, packs of ours are merged when there are more than this.
const MANY: usize = 20;

/// Objects that are to be written together; each has its id from the start.
pub(crate) struct NewObjects {
    hash: gix::hash::Kind,
    map: BTreeMap<ObjectId, (Kind, Vec<u8>)>,
}

impl NewObjects {
    pub(crate) fn new(hash: gix::hash::Kind) -> Self {
        Self {
            hash,
            map: BTreeMap::new(),
        }
    }

    pub(crate) fn add(&mut self, kind: Kind, data: Vec<u8>) -> Result<ObjectId, WriteError> {
        let id = gix::objs::compute_hash(self.hash, kind, &data)
            .map_err(|e| WriteError::Hash(e.into()))?;
        self.map.insert(id, (kind, data));
        Ok(id)
    }

    /// Adds a tree of these entries, which are in git's order.
    pub(crate) fn add_tree(&mut self, entries: Vec<Entry>) -> Result<ObjectId, WriteError> {
        let mut data = Vec::new();
        Tree { entries }
            .write_to(&mut data)
            .map_err(|e| WriteError::Hash(e.into()))?;
        self.add(Kind::Tree, data)
    }
}

/// Writes objects into one repository.
pub(crate) struct ObjectWriter {
    objects_dir: PathBuf,
    packs: PackDir,
    /// How many packs of ours there are, as far as is known.
    count: usize,
}

impl ObjectWriter {
    /// What is written is for those with whom the repository is shared.
    pub(crate) fn new(common_dir: &Path, hash: gix::hash::Kind, sharing: Sharing) -> Self {
        let objects_dir = common_dir.join("objects");
        Self {
            packs: PackDir::new(&objects_dir, hash, sharing),
            objects_dir,
            count: 0,
        }
    }

    /// The directory that everything goes below.
    pub(crate) fn dir(&self) -> &Path {
        &self.objects_dir
    }

    /// Clears up what killed processes left. The caller has the turn.
    pub(crate) fn tidy(&mut self) {
        self.count = self.packs.tidy();
    }

    /// Writes all of `new`, durably, whatever of it is there already: that may be on its
    /// way out. Until a ref leads to them, hold on to what this returns.
    pub(crate) fn write(&mut self, new: &NewObjects) -> Result<Kept, WriteError> {
        let mut pack = PackBuilder::new(new.hash);
        for (id, (kind, data)) in &new.map {
            pack.add(*id, *kind, data)?;
        }
        let kept = self.packs.write(&pack.finish()?)?;
        self.count += 1;
        Ok(kept)
    }

    /// Merges packs if they have become many. The caller has the turn.
    pub(crate) fn merge_many(&mut self) -> Result<(), WriteError> {
        if self.count > MANY {
            self.merge()
        } else {
            Ok(())
        }
    }

    /// Merges packs if they are more than a few. The caller has the turn.
    pub(crate) fn merge(&mut self) -> Result<(), WriteError> {
        // Whatever comes of it, not again at once.
        self.count = 0;
        self.packs.merge()
    }
}

/// Whether a process of this machine has this id.
pub(crate) fn process_exists(pid: i32) -> bool {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else {
        return false;
    };
    // Somebody else's process may not be signalled, but it is there.
    !matches!(
        rustix::process::test_kill_process(pid),
        Err(rustix::io::Errno::SRCH)
    )
}

/// The id in our own type.
#[expect(clippy::expect_used, reason = "gix has no ids of other lengths")]
pub(crate) fn from_gix(id: &ObjectId) -> Oid {
    Oid::from_bytes(id.as_slice()).expect("20 or 32 bytes")
}
