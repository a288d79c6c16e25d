//! What a worktree held when we left it, in the form of the index that says so.
//!
//! The image is the file's own format (gitformat-index(5), version 2, no extensions),
//! kept in memory between moves. It is what the next move trusts: whatever a job does
//! to the index on disk, the image stays what we know, and the disk gets it back.
//!
//! The checksum is always there, though newer versions of git can do without: jobs read
//! the index with other libraries, too, and those refuse an index without one.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;

use gix::ObjectId;
use gix::hash::Kind;
use gix::index::entry::{Flags, Mode, Stage};
use rustix::fs::Stat;

/// The size of an entry's first part: what `lstat` says, and the mode.
pub(super) const STAT: usize = 40;

/// What an entry says of a file: times, device, inode, mode, owner and size, as the index has them.
pub(super) type Stamp = [u8; STAT];

/// A regular file.
pub(super) const FILE: u32 = 0o100_644;
/// A file that can be executed.
pub(super) const EXECUTABLE: u32 = 0o100_755;
/// A symbolic link.
pub(super) const LINK: u32 = 0o120_000;
/// The commit of a submodule.
pub(super) const SUBMODULE: u32 = 0o160_000;

/// A time as the index has it: seconds and nanoseconds, big-endian.
pub(super) type Time = [u8; 8];

/// What is to become of paths: a mode and a blob, or `None` where the path goes.
pub(super) type Changes = BTreeMap<Vec<u8>, Option<(u32, ObjectId)>>;

/// What became of paths: a stamp and a blob, or `None` where the path is gone.
pub(super) type Written = BTreeMap<Vec<u8>, Option<(Stamp, ObjectId)>>;

/// The entries of an index, sorted by path.
pub(crate) struct Image {
    hash: Kind,
    /// The file without its checksum.
    raw: Vec<u8>,
    /// Where each entry starts.
    starts: Vec<u32>,
    /// When the index was written. A file that was changed at that time or later may
    /// have been changed since without showing it.
    pub(super) written: Time,
}

impl Image {
    /// An index without entries.
    pub(super) fn empty(hash: Kind) -> Self {
        Self {
            hash,
            raw: b"DIRC\0\0\0\x02\0\0\0\0".to_vec(),
            starts: Vec::new(),
            written: [0; 8],
        }
    }

    /// Reads what git wrote; `None` where an entry is more than a plain file or link.
    pub(crate) fn load(path: &Path, hash: Kind) -> Option<Self> {
        let file = gix::index::File::at(path, hash, true, Default::default()).ok()?;
        let unusual = Flags::ASSUME_VALID
            | Flags::SKIP_WORKTREE
            | Flags::INTENT_TO_ADD
            | Flags::FSMONITOR_VALID;
        let plain = file.entries().iter().all(|entry| {
            let kinds = [Mode::FILE, Mode::FILE_EXECUTABLE, Mode::SYMLINK];
            kinds.contains(&entry.mode)
                && entry.stage() == Stage::Unconflicted
                && !entry.flags.intersects(unusual)
        });
        plain.then(|| Self::of(path, &file)).flatten()
    }

    /// The same of any index: what it says of the files that are meant to be there.
    pub(super) fn of(path: &Path, file: &gix::index::File) -> Option<Self> {
        let mut image = Self::empty(file.object_hash());
        image.written = mtime(&rustix::fs::stat(path).ok()?);
        for entry in file.entries() {
            if entry.flags.contains(Flags::SKIP_WORKTREE) || entry.stage() != Stage::Unconflicted {
                continue;
            }
            let stat = &entry.stat;
            let stamp = pack([
                stat.ctime.secs,
                stat.ctime.nsecs,
                stat.mtime.secs,
                stat.mtime.nsecs,
                stat.dev,
                stat.ino,
                entry.mode.bits(),
                stat.uid,
                stat.gid,
                stat.size,
            ]);
            image.push(&stamp, &entry.id, entry.path(file));
        }
        Some(image)
    }

    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    fn start(&self, i: usize) -> usize {
        self.starts[i] as usize
    }

    /// The bytes of entry `i`, padding included.
    fn entry(&self, i: usize) -> &[u8] {
        let end = self
            .starts
            .get(i + 1)
            .map_or(self.raw.len(), |end| *end as usize);
        &self.raw[self.start(i)..end]
    }

    pub(crate) fn path(&self, i: usize) -> &[u8] {
        let entry = self.entry(i);
        let head = STAT + self.hash.len_in_bytes();
        let length = usize::from(u16::from_be_bytes([entry[head], entry[head + 1]]) & 0xfff);
        let path = &entry[head + 2..];
        if length < 0xfff {
            &path[..length]
        } else {
            // Too long for the field; what pads it is zero, and no path holds a zero.
            let end = path.iter().position(|&byte| byte == 0);
            &path[..end.unwrap_or(path.len())]
        }
    }

    pub(super) fn stamp(&self, i: usize) -> &[u8] {
        &self.entry(i)[..STAT]
    }

    pub(crate) fn mode(&self, i: usize) -> u32 {
        file_mode(self.stamp(i))
    }

    pub(crate) fn id(&self, i: usize) -> ObjectId {
        ObjectId::from_bytes_or_panic(&self.entry(i)[STAT..STAT + self.hash.len_in_bytes()])
    }

    /// Whether `stamp`, taken now, says that entry `i` is as it was. A time so close to the
    /// last index that a later change could look the same is no proof.
    pub(super) fn proves(&self, i: usize, stamp: &Stamp) -> bool {
        self.stamp(i) == stamp && stamp[..8] < self.written[..]
    }

    /// The entry of `path`, or where it would be.
    pub(super) fn find(&self, path: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.path(middle).cmp(path) {
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// The entries below the directory `path`; all, where that is empty.
    pub(super) fn below(&self, path: &[u8]) -> Range<usize> {
        if path.is_empty() {
            return 0..self.len();
        }
        let prefix = [path, b"/"].concat();
        let from = self.find(&prefix).unwrap_or_else(|at| at);
        let is_below = |at: &usize| self.path(*at).starts_with(&prefix);
        from..from + (from..self.len()).take_while(is_below).count()
    }

    /// Whether an entry is below `path`.
    pub(super) fn has_below(&self, path: &[u8]) -> bool {
        let prefix = [path, b"/"].concat();
        let at = self.find(&prefix).unwrap_or_else(|at| at);
        at < self.len() && self.path(at).starts_with(&prefix)
    }

    /// Appends an entry; paths come in order.
    fn push(&mut self, stamp: &Stamp, id: &gix::oid, path: &[u8]) {
        self.starts.push(self.raw.len() as u32);
        self.raw.extend_from_slice(stamp);
        self.raw.extend_from_slice(id.as_bytes());
        let length = path.len().min(0xfff) as u16;
        self.raw.extend_from_slice(&length.to_be_bytes());
        self.raw.extend_from_slice(path);
        let size = STAT + id.as_bytes().len() + 2 + path.len();
        // One to eight zeroes, up to a multiple of eight.
        self.raw.extend_from_slice(&[0; 8][..8 - size % 8]);
        self.count();
    }

    fn count(&mut self) {
        let count = self.starts.len() as u32;
        self.raw[8..12].copy_from_slice(&count.to_be_bytes());
    }

    /// Corrects what is known of the file of entry `i`.
    pub(super) fn refresh(&mut self, i: usize, stamp: &Stamp) {
        let start = self.start(i);
        self.raw[start..start + STAT].copy_from_slice(stamp);
    }

    /// This index with other entries for some paths: the stamps of what was written, and
    /// `None` for what is gone.
    pub(super) fn with(&self, changes: &Written) -> Self {
        let mut new = Self::empty(self.hash);
        new.raw.reserve(self.raw.len() + 128 * changes.len());
        new.starts.reserve(self.len() + changes.len());
        let mut next = 0;
        for (path, change) in changes {
            let found = self.find(path);
            let (at, after) = match found {
                Ok(at) => (at, at + 1),
                Err(at) => (at, at),
            };
            new.copy(self, next, at);
            if let Some((stamp, id)) = change {
                new.push(stamp, id, path);
            }
            next = after;
        }
        new.copy(self, next, self.len());
        new.count();
        new
    }

    /// Appends the entries `from..to` of `other`.
    fn copy(&mut self, other: &Self, from: usize, to: usize) {
        if from >= to {
            return;
        }
        let begin = other.start(from);
        let end = other
            .starts
            .get(to)
            .map_or(other.raw.len(), |end| *end as usize);
        let here = self.raw.len();
        self.starts.extend(
            other.starts[from..to]
                .iter()
                .map(|start| (*start as usize - begin + here) as u32),
        );
        self.raw.extend_from_slice(&other.raw[begin..end]);
    }

    /// The checksum that ends the file.
    pub(super) fn trailer(&self) -> io::Result<ObjectId> {
        let mut hasher = gix::hash::hasher(self.hash);
        hasher.update(&self.raw);
        hasher.try_finalize().map_err(io::Error::other)
    }

    /// The file without its checksum.
    pub(super) fn body(&self) -> &[u8] {
        &self.raw
    }
}

/// The stamp of a file of which only the mode is known.
#[cfg(test)]
pub(super) fn of_mode(mode: u32) -> Stamp {
    pack([0, 0, 0, 0, 0, 0, mode, 0, 0, 0])
}

/// What an index entry says of a file with this status.
pub(super) fn stamp(stat: &Stat) -> Stamp {
    let kind = stat.st_mode & 0o170_000;
    let mode = match kind {
        0o100_000 if stat.st_mode & 0o100 != 0 => EXECUTABLE,
        0o100_000 => FILE,
        _ => kind,
    };
    pack([
        stat.st_ctime as u32,
        stat.st_ctime_nsec as u32,
        stat.st_mtime as u32,
        stat.st_mtime_nsec as u32,
        stat.st_dev as u32,
        stat.st_ino as u32,
        mode,
        stat.st_uid,
        stat.st_gid,
        stat.st_size as u32,
    ])
}

/// The mode that an entry has which was made from this stamp.
pub(super) fn file_mode(stamp: &[u8]) -> u32 {
    number(stamp, 24)
}

/// When a file was last written to, in whole seconds, and its size.
pub(super) fn second_and_size(stamp: &[u8]) -> (i64, u64) {
    (number(stamp, 8).into(), number(stamp, 36).into())
}

/// When a file was last written to and whose it is; not when its status was changed.
pub(super) fn written_and_owned(stamp: &[u8]) -> (&[u8], &[u8]) {
    (&stamp[8..16], &stamp[28..36])
}

fn number(stamp: &[u8], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&stamp[at..at + 4]);
    u32::from_be_bytes(bytes)
}

/// When a file was last written to.
pub(super) fn mtime(stat: &Stat) -> Time {
    let mut time = [0; 8];
    time[..4].copy_from_slice(&(stat.st_mtime as u32).to_be_bytes());
    time[4..].copy_from_slice(&(stat.st_mtime_nsec as u32).to_be_bytes());
    time
}

fn pack(fields: [u32; 10]) -> Stamp {
    let mut stamp = [0; STAT];
    for (place, field) in stamp.chunks_exact_mut(4).zip(fields) {
        place.copy_from_slice(&field.to_be_bytes());
    }
    stamp
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_keep_the_order_and_the_alignment() {
        let id = Kind::Sha1.null();
        let put = |n: u8| Some(([n; STAT], id));
        let long = "x".repeat(5000);
        let first = Image::empty(Kind::Sha1).with(&BTreeMap::from([
            (b"a".to_vec(), put(1)),
            (b"b/c".to_vec(), put(2)),
            (b"b/d".to_vec(), put(3)),
            (long.clone().into_bytes(), put(4)),
        ]));
        let second = first.with(&BTreeMap::from([
            (b"b/c".to_vec(), None),
            (b"b/d".to_vec(), put(5)),
            (b"b.c".to_vec(), put(6)),
            (b"zz".to_vec(), put(7)),
        ]));
        let seen: Vec<_> = (0..second.len())
            .map(|i| (second.path(i).to_vec(), second.stamp(i)[0]))
            .collect();
        let expected: Vec<(Vec<u8>, u8)> = vec![
            (b"a".to_vec(), 1),
            (b"b.c".to_vec(), 6),
            (b"b/d".to_vec(), 5),
            (long.into_bytes(), 4),
            (b"zz".to_vec(), 7),
        ];
        assert_eq!(seen, expected);
        assert_eq!(second.body()[11], 5);
        assert!(second.has_below(b"b") && !second.has_below(b"a"));
        assert_eq!((second.body().len() - 12) % 8, 0);
    }
}
