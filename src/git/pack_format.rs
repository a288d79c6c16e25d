//! The bytes of a pack and of its index: gitformat-pack(5), version 2 of both.
//!
//! Packs are made of whole objects, without deltas, so an entry means the same in every
//! pack, and packs are merged by copying entries as they are. Nothing here touches a
//! file.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::ops::Range;

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use gix::ObjectId;
use gix::hash::Kind as Hash;
use gix::objs::Kind;

use super::durable::WriteError;

/// Before the entries: `PACK`, the version, how many objects.
const PACK_HEADER: usize = 12;

/// Before the fan-out table of an index: a mark and the version.
const INDEX_HEADER: [u8; 8] = *b"\xfftOc\0\0\0\x02";

/// The fan-out table: how many ids have a first byte up to each of the 256.
const FAN_OUT: usize = 256 * 4;

/// An offset beyond this needs a table that is not written here.
const MAX_PACK: usize = i32::MAX as usize;

/// A whole pack and its index.
pub(crate) struct Pack {
    pub(crate) pack: Vec<u8>,
    pub(crate) index: Vec<u8>,
}

/// A pack that grows.
pub(crate) struct PackBuilder {
    hash: Hash,
    bytes: Vec<u8>,
    /// Where each object's entry is, and the checksum of its bytes.
    entries: BTreeMap<ObjectId, (u32, u32)>,
}

impl PackBuilder {
    pub(crate) fn new(hash: Hash) -> Self {
        Self {
            hash,
            bytes: b"PACK\0\0\0\x02\0\0\0\0".to_vec(),
            entries: BTreeMap::new(),
        }
    }

    /// Adds an object, unless it is there already.
    pub(crate) fn add(&mut self, id: ObjectId, kind: Kind, data: &[u8]) -> Result<(), WriteError> {
        let code: u8 = match kind {
            Kind::Commit => 1,
            Kind::Tree => 2,
            Kind::Blob => 3,
            Kind::Tag => 4,
        };
        // Four bits of the size beside the type, then seven in each byte.
        let mut entry = Vec::new();
        let mut size = data.len();
        let mut byte = code << 4 | (size & 15) as u8;
        size >>= 4;
        while size > 0 {
            entry.push(byte | 0x80);
            byte = (size & 127) as u8;
            size >>= 7;
        }
        entry.push(byte);
        let mut encoder = ZlibEncoder::new(entry, Compression::fast());
        // Writing to a vector cannot fail.
        let _ = encoder.write_all(data);
        let entry = encoder.finish().unwrap_or_default();
        self.add_entry(id, &entry)
    }

    /// Adds an object as an entry of another pack of ours has it.
    pub(crate) fn add_entry(&mut self, id: ObjectId, entry: &[u8]) -> Result<(), WriteError> {
        if self.entries.contains_key(&id) {
            return Ok(());
        }
        if self.bytes.len() + entry.len() > MAX_PACK {
            return Err(WriteError::TooLarge);
        }
        let offset = u32::try_from(self.bytes.len()).map_err(|_| WriteError::TooLarge)?;
        self.entries.insert(id, (offset, checksum(entry)));
        self.bytes.extend_from_slice(entry);
        Ok(())
    }

    /// The pack, and the index that makes it findable.
    pub(crate) fn finish(mut self) -> Result<Pack, WriteError> {
        let count = u32::try_from(self.entries.len()).map_err(|_| WriteError::TooLarge)?;
        self.bytes[8..PACK_HEADER].copy_from_slice(&count.to_be_bytes());
        let trailer = hash_of(self.hash, &self.bytes)?;
        self.bytes.extend_from_slice(trailer.as_slice());

        let mut index = INDEX_HEADER.to_vec();
        let mut firsts = [0_u32; 256];
        for id in self.entries.keys() {
            firsts[usize::from(id.as_slice()[0])] += 1;
        }
        let mut sum = 0;
        for count in firsts {
            sum += count;
            index.extend(sum.to_be_bytes());
        }
        for id in self.entries.keys() {
            index.extend_from_slice(id.as_slice());
        }
        for (_, crc) in self.entries.values() {
            index.extend(crc.to_be_bytes());
        }
        for (offset, _) in self.entries.values() {
            index.extend(offset.to_be_bytes());
        }
        index.extend_from_slice(trailer.as_slice());
        let own = hash_of(self.hash, &index)?;
        index.extend_from_slice(own.as_slice());
        Ok(Pack {
            pack: self.bytes,
            index,
        })
    }
}

/// Where the entry of each object is in `pack`; `None` where the two are not whole, do
/// not belong together, or are not such as [`PackBuilder`] makes them.
pub(crate) fn entries(
    hash: Hash,
    pack: &[u8],
    index: &[u8],
) -> Option<Vec<(ObjectId, Range<usize>)>> {
    let id_len = hash.len_in_bytes();
    let whole = |bytes: &[u8]| {
        let (data, trailer) = bytes.split_at_checked(bytes.len().checked_sub(id_len)?)?;
        (hash_of(hash, data).ok()?.as_slice() == trailer).then_some(data.len())
    };
    let pack_end = whole(pack)?;
    let index_end = whole(index)?;
    let tables = index[..index_end].strip_prefix(&INDEX_HEADER)?;
    let (tables, of_pack) = tables.split_at_checked(tables.len().checked_sub(id_len)?)?;
    let (fan_out, tables) = tables.split_at_checked(FAN_OUT)?;
    let count = usize::try_from(word(fan_out, 255)?).ok()?;
    let fits = count.checked_mul(id_len + 8)? == tables.len();
    if of_pack != &pack[pack_end..] || !fits || word(pack, 2)? as usize != count {
        return None;
    }
    let (ids, tables) = tables.split_at(count * id_len);
    let (crcs, offsets) = tables.split_at(count * 4);

    let mut found = Vec::with_capacity(count);
    for (i, id) in ids.chunks_exact(id_len).enumerate() {
        let offset = usize::try_from(word(offsets, i)?).ok()?;
        found.push((offset, ObjectId::try_from(id).ok()?, word(crcs, i)?));
    }
    found.sort_unstable_by_key(|entry| entry.0);
    let ends = found.iter().skip(1).map(|entry| entry.0);
    let ends: Vec<_> = ends.chain([pack_end]).collect();
    let mut entries = Vec::with_capacity(count);
    for ((offset, id, crc), end) in found.into_iter().zip(ends) {
        let entry = pack.get(offset..end)?;
        let is_whole_object = matches!(entry.first()? >> 4 & 7, 1..=4);
        if offset < PACK_HEADER || !is_whole_object || checksum(entry) != crc {
            return None;
        }
        entries.push((id, offset..end));
    }
    Some(entries)
}

/// The number at place `i` of a table of them.
fn word(table: &[u8], i: usize) -> Option<u32> {
    let bytes = table.get(4 * i..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn hash_of(hash: Hash, bytes: &[u8]) -> Result<ObjectId, WriteError> {
    let mut hasher = gix::hash::hasher(hash);
    hasher.update(bytes);
    hasher
        .try_finalize()
        .map_err(|error| WriteError::Hash(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack_of(objects: &[&[u8]]) -> (Pack, Vec<ObjectId>) {
        let mut builder = PackBuilder::new(Hash::Sha1);
        let mut ids = Vec::new();
        for data in objects {
            let id = gix::objs::compute_hash(Hash::Sha1, Kind::Blob, data).unwrap();
            builder.add(id, Kind::Blob, data).unwrap();
            ids.push(id);
        }
        (builder.finish().unwrap(), ids)
    }

    #[test]
    fn what_was_packed_is_found_again() {
        let long = vec![b'x'; 5000];
        let (pack, mut ids) = pack_of(&[b"", b"one", &long, b"one"]);
        let found = entries(Hash::Sha1, &pack.pack, &pack.index).unwrap();
        let mut found: Vec<_> = found.into_iter().map(|entry| entry.0).collect();
        ids.sort_unstable();
        ids.dedup();
        found.sort_unstable();
        assert_eq!(found, ids);
    }

    #[test]
    fn an_entry_is_the_same_in_every_pack() {
        let (first, _) = pack_of(&[b"one", b"two"]);
        let (second, _) = pack_of(&[b"three"]);
        let (both, _) = pack_of(&[b"one", b"two", b"three"]);
        let mut merged = PackBuilder::new(Hash::Sha1);
        for pack in [&first, &second, &first] {
            for (id, place) in entries(Hash::Sha1, &pack.pack, &pack.index).unwrap() {
                merged.add_entry(id, &pack.pack[place]).unwrap();
            }
        }
        let merged = merged.finish().unwrap();
        assert_eq!(merged.pack, both.pack);
        assert_eq!(merged.index, both.index);
    }

    #[test]
    fn damage_anywhere_is_noticed() {
        let (whole, _) = pack_of(&[b"one", b"two"]);
        let (other, _) = pack_of(&[b"three", b"four"]);
        assert!(entries(Hash::Sha1, &whole.pack, &other.index).is_none());
        assert!(entries(Hash::Sha256, &whole.pack, &whole.index).is_none());
        assert!(entries(Hash::Sha1, &[], &[]).is_none());
        for i in 0..whole.pack.len() {
            let mut pack = whole.pack.clone();
            pack[i] ^= 1;
            assert!(entries(Hash::Sha1, &pack, &whole.index).is_none(), "{i}");
            assert!(entries(Hash::Sha1, &pack[..i], &whole.index).is_none());
        }
        for i in 0..whole.index.len() {
            let mut index = whole.index.clone();
            index[i] ^= 1;
            assert!(entries(Hash::Sha1, &whole.pack, &index).is_none(), "{i}");
            assert!(entries(Hash::Sha1, &whole.pack, &index[..i]).is_none());
        }
    }
}
