//! Whether a machine can still write where a job worked.
//!
//! A job that fails on a full disk has said nothing about the commit. What there is of
//! free space tells little: quotas, reserved blocks, inodes, a file system that has become
//! read-only or a stale mount are not in it. So something is written, to a file without
//! a name that is gone at once.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// Less than this is no room: what a compiler writes for one small file.
const LEAST: usize = 1 << 20;

/// Where a job says that there was no room, and less than this is left now, that is believed:
/// it may have asked for all at once, or have tidied up. More would be tests of such errors.
const LITTLE: u64 = 1 << 30;

/// Why nothing can be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoRoom {
    /// The disk, or somebody's part of it, is full.
    #[error(
        "find room for what the job writes: none is left in {}; free some, \
         or put worktrees elsewhere (`git config ci.worktreeDir DIR`)",
        .path.display()
    )]
    Full {
        /// A directory on it.
        path: PathBuf,
    },
    /// The job says so, and little is left now.
    #[error(
        "find room for what the job writes: it ran out of space, and {} MB are left in {}",
        .left >> 20,
        .path.display()
    )]
    Little {
        /// A directory on it.
        path: PathBuf,
        /// What is left, in bytes.
        left: u64,
    },
    /// It cannot be written to at all.
    #[error("write in {}, where the job worked", .path.display())]
    Broken {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Whether there is room where a job worked, in `own`, and where else it may have
/// written, in `others`; `complained` is whether it said that there was none.
///
/// # Errors
/// Where there is not.
pub(crate) fn check(own: &Path, others: &[&Path], complained: bool) -> Result<(), NoRoom> {
    let mut seen = Vec::new();
    for (i, path) in [own].iter().chain(others).enumerate() {
        let path = path.to_path_buf();
        match std::fs::metadata(&path) {
            // The same disk again.
            Ok(meta) if seen.contains(&meta.dev()) => continue,
            Ok(meta) => seen.push(meta.dev()),
            // That the worktree is gone is somebody else's business.
            Err(error) if i > 0 || error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(NoRoom::Broken { path, source }),
        }
        if let Err(source) = probe(&path) {
            match Errno::from_io_error(&source) {
                Some(Errno::NOSPC | Errno::DQUOT) => return Err(NoRoom::Full { path }),
                Some(Errno::ROFS | Errno::STALE | Errno::IO | Errno::NOTCONN | Errno::NXIO)
                    if i == 0 =>
                {
                    return Err(NoRoom::Broken { path, source });
                }
                // Elsewhere it may never have been possible, and is not the job's business.
                _ => {}
            }
        }
        let left = rustix::fs::statvfs(&path).map_or(u64::MAX, |fs| fs.f_bavail * fs.f_frsize);
        if complained && left < LITTLE {
            return Err(NoRoom::Little { path, left });
        }
    }
    Ok(())
}

/// Writes something that no file system can make smaller.
fn probe(dir: &Path) -> io::Result<()> {
    let mut file: File = tempfile::tempfile_in(dir)?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(LEAST);
    while bytes.len() < LEAST {
        // Xorshift, by Marsaglia.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_ne_bytes());
    }
    file.write_all(&bytes)?;
    // What is written over a network may be refused only now.
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_where_something_can_be_written() {
        let dir = tempfile::tempdir().unwrap();
        check(
            dir.path(),
            &[Path::new("/nowhere"), Path::new("/proc")],
            false,
        )
        .unwrap();
        check(&dir.path().join("gone"), &[], false).unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let below = file.join("below");
        let error = check(&below, &[], false).unwrap_err();
        assert!(matches!(error, NoRoom::Broken { .. }), "{error}");
    }
}
