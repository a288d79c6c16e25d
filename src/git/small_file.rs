//! Files that are read whole, and are small.

use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The contents of a regular file of at most `limit` bytes; anything else is none.
pub(crate) fn read_file(path: &Path, limit: u64) -> Option<Vec<u8>> {
    let file = std::fs::File::options()
        .read(true)
        // A pipe in its place would have us wait.
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
        .open(path)
        .ok()?;
    let meta = file.metadata().ok()?;
    if !meta.is_file() || meta.len() > limit {
        return None;
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize + 1);
    file.take(limit).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
