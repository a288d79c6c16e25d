//! Refs as they are now: one of them, or many at once.
//!
//! Whoever watches reads them again and again, so this is made for that: `packed-refs`
//! is parsed once for each time it is replaced, and loose refs are small files. Loose
//! refs are read first: `git pack-refs` writes the packed file before it deletes them,
//! so that way round nothing seems to be missing in the middle of it. (gix looks into a
//! copy of `packed-refs` that it took *before* it found no loose file: while
//! `git pack-refs` runs, a ref seems not to exist.)
//!
//! What file managers, editors and synchronisers leave below `refs/` is no ref: a file is
//! one only where its name and what is in it are as git would have them. Nothing there
//! can keep the reader for ever: neither a FIFO nor directories that lead into each other.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::hash::Kind;
use rustix::fs::OFlags;

use super::command::GitError;
use super::objects::from_gix;
use super::reading::Objects;
use super::ref_store::{NO_HEAD, RefStore, is_remote_head, os};
use super::repo::Repo;
use crate::model::{Oid, RefName};

/// Why a ref cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RefError {
    /// The name is not that of a ref.
    #[error("use {name:?} as a ref: a full name such as refs/notes/ci is needed")]
    Name {
        /// The name as it was given.
        name: String,
    },
    /// git cannot say.
    #[error(transparent)]
    Git(#[from] GitError),
    /// What is in the file is not an id.
    #[error("read {path}: not the id of an object")]
    Broken {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// As in git, a chain of symbolic refs is no longer.
const MAX_SYMBOLIC: u32 = 5;

/// More of a file is not read: an id, or the name of another ref.
const MOST_READ: u64 = 4096;

/// Reads refs of one repository, time and again.
pub struct RefReader<'a> {
    repo: &'a Repo,
    objects: Objects,
    packed: Packed,
}

/// Which refs are to be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Every ref below these directories, each of which has a slash at its end.
    pub dirs: Vec<Vec<u8>>,
    /// The `HEAD` of the work tree that the command was called in, under the name that
    /// [`Repo::head_name`] gives it.
    pub head: bool,
}

/// `packed-refs` as it was last read.
#[derive(Default)]
struct Packed {
    /// Device, inode, size and time of the file: git replaces it and never writes into it.
    stamp: Option<(u64, u64, u64, i64, i64)>,
    refs: BTreeMap<RefName, Oid>,
}

/// What a file below `refs/` holds.
enum Loose {
    Id(ObjectId),
    Symbolic(RefName),
    /// Nothing that git would take for a ref.
    Broken,
}

impl<'a> RefReader<'a> {
    /// A reader that has read nothing yet.
    pub fn new(repo: &'a Repo) -> Self {
        Self {
            repo,
            objects: repo.objects(),
            packed: Packed::default(),
        }
    }

    /// The refs that are wanted, each with the object it names, which may be a tag.
    /// Symbolic refs of remotes (`origin/HEAD`) are left out; what is no ref, or leads
    /// nowhere, is, too.
    ///
    /// # Errors
    /// Where a directory or the packed refs cannot be read.
    pub fn read(&mut self, wanted: &Wanted) -> Result<BTreeMap<RefName, Oid>, RefError> {
        let mut found = match RefStore::of(self.repo.common_dir()) {
            RefStore::Files => self.read_files(&wanted.dirs)?,
            RefStore::Reftable => self.objects.reftable().many(&wanted.dirs)?,
        };
        if wanted.head
            && let Some(id) = head(self.repo, &self.objects)?
        {
            found.insert(self.repo.head_name(), id);
        }
        Ok(found)
    }

    fn read_files(&mut self, dirs: &[Vec<u8>]) -> Result<BTreeMap<RefName, Oid>, RefError> {
        let mut loose = BTreeMap::new();
        for dir in dirs {
            let dir = dir.strip_suffix(b"/").unwrap_or(dir);
            let path = self.repo.common_dir().join(os(dir));
            self.read_dir(&path, dir, &mut loose)?;
        }
        let path = self.repo.common_dir().join("packed-refs");
        self.packed.update(&path, self.objects.object_hash())?;
        let mut found = BTreeMap::new();
        for dir in dirs {
            let below = self.packed.refs.range::<[u8], _>(from(dir));
            let below = below.take_while(|(name, _)| name.as_bytes().starts_with(dir));
            found.extend(below.map(|(name, id)| (name.clone(), *id)));
        }
        for (name, id) in loose {
            match id {
                Some(id) => found.insert(name, id),
                // A broken file hides what was packed under its name.
                None => found.remove(&name),
            };
        }
        Ok(found)
    }

    /// Reads a directory and those below it. Links to directories are not followed: they
    /// may lead anywhere, also up again.
    fn read_dir(
        &self,
        path: &Path,
        name: &[u8],
        found: &mut BTreeMap<RefName, Option<Oid>>,
    ) -> Result<(), RefError> {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if gone(&error) => return Ok(()),
            Err(source) => return Err(io_error(path, source)),
        };
        for entry in entries.flatten() {
            let full = [name, b"/", entry.file_name().as_bytes()].concat();
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() {
                self.read_dir(&entry.path(), &full, found)?;
                continue;
            }
            let Some(full) = RefName::parse(&full) else {
                continue;
            };
            match self.read_loose(&full) {
                // It went as we looked, or is none of the refs that are wanted.
                None => {}
                Some(Loose::Symbolic(_)) if is_remote_head(&full) => {}
                Some(Loose::Id(id)) => drop(found.insert(full, Some(from_gix(&id)))),
                Some(Loose::Symbolic(_)) => {
                    let id = read_one(&self.objects, &full).ok().flatten();
                    found.insert(full, id.as_ref().map(from_gix));
                }
                Some(Loose::Broken) => drop(found.insert(full, None)),
            }
        }
        Ok(())
    }

    fn read_loose(&self, name: &RefName) -> Option<Loose> {
        let path = self.repo.common_dir().join(name.as_os_str());
        read_loose(&path, self.objects.object_hash()).ok()?
    }
}

impl Packed {
    fn update(&mut self, path: &Path, hash: Kind) -> Result<(), RefError> {
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
        self.refs = lines.filter_map(|line| parse_packed(line, hash)).collect();
        self.stamp = stamp;
        Ok(())
    }
}

/// What the ref `name` leads to; `None` where it does not exist.
///
/// # Errors
/// Where a file is broken or cannot be read, or leads through too many others.
pub(crate) fn read_one(objects: &Objects, name: &RefName) -> Result<Option<ObjectId>, RefError> {
    if RefStore::of(objects.common_dir()) == RefStore::Reftable {
        let id = objects.reftable().one(name)?;
        return Ok(id.and_then(|id| ObjectId::try_from(id.as_bytes()).ok()));
    }
    let mut name = name.clone();
    for _ in 0..=MAX_SYMBOLIC {
        let path = objects.common_dir().join(name.as_os_str());
        let read = || {
            let loose = read_loose(&path, objects.object_hash());
            loose.map_err(|source| io_error(&path, source))
        };
        let mut loose = read()?;
        if loose.is_none() {
            if let Some(id) = find_packed(objects, &name)? {
                return Ok(Some(id));
            }
            // It may have come into being while we looked elsewhere.
            loose = read()?;
        }
        match loose {
            None => return Ok(None),
            Some(Loose::Id(id)) => return Ok(Some(id)),
            Some(Loose::Symbolic(target)) => name = target,
            Some(Loose::Broken) => return Err(RefError::Broken { path }),
        }
    }
    Err(RefError::Name {
        name: name.to_string(),
    })
}

/// What the `HEAD` of this work tree leads to; `None` on a branch without a commit.
pub(crate) fn head(repo: &Repo, objects: &Objects) -> Result<Option<Oid>, RefError> {
    let path = repo.git_dir().join("HEAD");
    let read = || read_loose(&path, objects.object_hash());
    if fs::read(&path).is_ok_and(|head| head.starts_with(NO_HEAD))
        && RefStore::of(repo.common_dir()) == RefStore::Reftable
    {
        return Ok(objects.reftable().head(repo.git_dir())?);
    }
    let id = match read().map_err(|source| io_error(&path, source))? {
        Some(Loose::Id(id)) => Some(id),
        Some(Loose::Symbolic(name)) => read_one(objects, &name)?,
        Some(Loose::Broken) => return Err(RefError::Broken { path }),
        None => None,
    };
    Ok(id.as_ref().map(from_gix))
}

/// Reads one file; `None` where there is none, or a directory.
fn read_loose(path: &Path, hash: Kind) -> io::Result<Option<Loose>> {
    let open = |flags: OFlags| {
        let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        File::options().read(true).custom_flags(flags).open(path)
    };
    let file = match open(OFlags::NOFOLLOW) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            // As git had symbolic refs once: what the link says is a name, not a path.
            let target = fs::read_link(path)?;
            if let Some(name) = RefName::parse(target.as_os_str().as_bytes()) {
                return Ok(Some(Loose::Symbolic(name)));
            }
            open(OFlags::empty())
        }
        file => file,
    };
    let mut bytes = Vec::new();
    match file.and_then(|file| file.take(MOST_READ).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(parse_loose(&bytes, hash))),
        Err(error) if gone(&error) || error.kind() == io::ErrorKind::IsADirectory => Ok(None),
        // A FIFO with a writer, a socket.
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) => Ok(Some(Loose::Broken)),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
            Ok(Some(Loose::Broken))
        }
        Err(error) => Err(error),
    }
}

/// As git's `parse_loose_ref_contents`.
fn parse_loose(bytes: &[u8], hash: Kind) -> Loose {
    if let Some(target) = bytes.strip_prefix(b"ref:") {
        let target = RefName::parse(target.trim_ascii());
        return target.map_or(Loose::Broken, Loose::Symbolic);
    }
    let length = hash.len_in_hex();
    let ends = bytes.get(length).is_none_or(u8::is_ascii_whitespace);
    let id = bytes.get(..length).filter(|_| ends);
    match id.and_then(|id| ObjectId::from_hex(id).ok()) {
        Some(id) if !id.is_null() => Loose::Id(id),
        _ => Loose::Broken,
    }
}

fn find_packed(objects: &Objects, name: &RefName) -> Result<Option<ObjectId>, RefError> {
    let find = || -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
        let Some(packed) = objects.refs.open_packed_buffer()? else {
            return Ok(None);
        };
        let full: &gix::refs::FullNameRef = gix::bstr::BStr::new(name.as_bytes()).try_into()?;
        let found = packed.try_find(full)?;
        let found = found.filter(|found| found.name.as_bstr() == name.as_bytes());
        Ok(found.map(|found| found.target()))
    };
    find().map_err(|source| RefError::Io {
        path: objects.common_dir().join("packed-refs"),
        source,
    })
}

/// `ID NAME`; comments and peeled tags (`^ID`) are none.
fn parse_packed(line: &[u8], hash: Kind) -> Option<(RefName, Oid)> {
    let (id, name) = line.split_at_checked(hash.len_in_hex())?;
    let id = std::str::from_utf8(id).ok()?.parse().ok()?;
    Some((RefName::parse(name.strip_prefix(b" ")?)?, id))
}

/// Where names that begin with `prefix` begin in a sorted list.
pub(crate) fn from(prefix: &[u8]) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (Bound::Included(prefix), Bound::Unbounded)
}

fn gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn io_error(path: &Path, source: io::Error) -> RefError {
    RefError::Io {
        path: PathBuf::from(path),
        source: source.into(),
    }
}
