//! Many refs at once, as they are now.
//!
//! Whoever watches reads them again and again, so this is made for that: `packed-refs`
//! is parsed once for each time it is replaced, and loose refs are small files. Loose
//! refs are read first: `git pack-refs` writes the packed file before it deletes them,
//! so that way round nothing seems to be missing in the middle of it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::notes::from_gix;
use super::notes_ref::{RefError, read_ref};
use super::repo::Repo;
use crate::model::Oid;

/// Reads refs of one repository, time and again.
pub struct RefReader<'a> {
    repo: &'a Repo,
    common_dir: PathBuf,
    packed: Packed,
}

/// `packed-refs` as it was last read.
#[derive(Default)]
struct Packed {
    /// Device, inode, size and time of the file: git replaces it and never writes into it.
    stamp: Option<(u64, u64, u64, i64, i64)>,
    refs: BTreeMap<String, Oid>,
}

impl<'a> RefReader<'a> {
    /// A reader that has read nothing yet.
    pub fn new(repo: &'a Repo) -> Self {
        Self {
            repo,
            common_dir: repo.common_dir().to_owned(),
            packed: Packed::default(),
        }
    }

    /// Every ref whose name begins with one of `prefixes` (`refs/heads/`), with the
    /// object it names, which may be a tag. Symbolic refs of remotes (`origin/HEAD`) are
    /// left out; what is no ref, is broken or has a name that is not UTF-8 is, too.
    ///
    /// # Errors
    /// Where a directory or the packed refs cannot be read.
    pub fn read(&mut self, prefixes: &[String]) -> Result<BTreeMap<String, Oid>, RefError> {
        let mut loose = BTreeMap::new();
        for prefix in prefixes {
            let dir = prefix.trim_end_matches('/');
            self.read_dir(dir, &mut loose)?;
        }
        self.packed.update(&self.common_dir.join("packed-refs"))?;
        let mut found = BTreeMap::new();
        for prefix in prefixes {
            let from = self.packed.refs.range(prefix.clone()..);
            let of_prefix = from.take_while(|(name, _)| name.starts_with(prefix));
            found.extend(of_prefix.map(|(name, id)| (name.clone(), *id)));
        }
        found.extend(loose);
        Ok(found)
    }

    fn read_dir(&self, dir: &str, found: &mut BTreeMap<String, Oid>) -> Result<(), RefError> {
        let path = self.common_dir.join(dir);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if gone(&error) => return Ok(()),
            Err(source) => return Err(io_error(&path, source)),
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !name.ends_with(".lock")) else {
                continue;
            };
            let full = format!("{dir}/{name}");
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.read_dir(&full, found)?;
            } else if let Some(id) = self.read_loose(&full) {
                found.insert(full, id);
            }
        }
        Ok(())
    }

    fn read_loose(&self, name: &str) -> Option<Oid> {
        let text = fs::read_to_string(self.common_dir.join(name)).ok()?;
        if !text.starts_with("ref:") {
            return text.trim_end().parse().ok();
        }
        if name.starts_with("refs/remotes/") && name.ends_with("/HEAD") {
            return None;
        }
        let id = read_ref(&self.repo.objects(), name).ok()??;
        Some(from_gix(&id))
    }
}

impl Packed {
    fn update(&mut self, path: &Path) -> Result<(), RefError> {
        let stamp = match fs::metadata(path) {
            Ok(meta) => Some((
                meta.dev(),
                meta.ino(),
                meta.len(),
                meta.mtime(),
                meta.mtime_nsec(),
            )),
            Err(error) if gone(&error) => None,
            Err(source) => return Err(io_error(path, source)),
        };
        if stamp == self.stamp {
            return Ok(());
        }
        // Taken before the file is read: a newer file than the stamp says is read again.
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if gone(&error) => Vec::new(),
            Err(source) => return Err(io_error(path, source)),
        };
        let lines = bytes.split(|&byte| byte == b'\n');
        self.refs = lines.filter_map(parse_packed).collect();
        self.stamp = stamp;
        Ok(())
    }
}

/// `ID NAME`; comments and peeled tags (`^ID`) are none.
fn parse_packed(line: &[u8]) -> Option<(String, Oid)> {
    let (id, name) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    Some((name.to_owned(), id.parse().ok()?))
}

fn gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn io_error(path: &Path, source: io::Error) -> RefError {
    RefError::Io {
        path: path.to_owned(),
        source: source.into(),
    }
}
