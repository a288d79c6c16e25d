//! Writing objects so that they outlast a power cut, and why that may fail.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Why objects could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A file or directory could not be written or synced.
    #[error("write {path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A pack would be larger than its index can tell.
    #[error("write a pack of more than 2 GiB")]
    TooLarge,
    /// The object has no id: its contents attack the hash function.
    #[error("hash an object")]
    Hash(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl WriteError {
    /// Whether there is no room left on the disk.
    pub fn is_full(&self) -> bool {
        let full = |source: &io::Error| {
            matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            )
        };
        matches!(self, Self::Io { source, .. } if full(source))
    }

    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::Io { path, source }
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
