//! Packs that git-ci made: written so that no gc takes them away, tidied when a process
//! was killed in the middle, and merged before they are many.
//!
//! Against `git prune`, which deletes every loose object that no ref reached when it
//! looked, and `git repack -ad`, which deletes every pack that it listed, only this
//! helps: git never deletes a pack that has a `.keep` beside it, nor one that came after
//! it listed them. So the order is: the `.keep`, the pack, its index (which makes it
//! visible), the ref that leads to it, and then the `.keep` goes. A gc that lists the
//! pack without its `.keep` reads the refs later still.
//!
//! Invariants:
//! - A pack's name begins with [`MARK`] and goes on at random. So ours are known without
//!   any list of them, and no name comes twice: a gc that listed one would delete another.
//! - The `.keep` is locked by its process from before it has its name. Whoever gets the
//!   lock knows that the process is dead, in whatever namespace it was.
//! - No temporary file has a name that begins with `tmp_`: a prune deletes those.
//! - An object that was visible stays: somebody may rely on it by now. A pack is deleted
//!   only once another one with all its objects is on the disk.

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::durable::WriteError;
use super::pack_format::{Pack, PackBuilder, entries};
use crate::fail;
use crate::lock;
use crate::private::Sharing;

/// How the name of a pack of ours begins, after `pack-`: "git-ci" in hexadecimal.
const MARK: &str = "6769742d6369";

/// What a `.keep` of ours says before the id of its process.
pub(crate) const KEEP_MARK: &str = "git-ci ";

/// So many packs are left alone.
const FEW: usize = 4;

/// A pack of this many bytes stays as it is: git's own gc knows what to do with it.
const LARGE: u64 = 16 << 20;

/// A nameless file may be that of a process that has not locked it yet; after so long it
/// is not.
const TEMPORARY_LIFE: Duration = Duration::from_secs(60 * 60);

/// Everything that may stand beside a pack; the index first, or the pack seems broken.
const PARTS: [&str; 6] = ["idx", "pack", "rev", "bitmap", "mtimes", "idx.tmp"];

/// The directory of packs of one repository.
pub(crate) struct PackDir {
    dir: PathBuf,
    hash: gix::hash::Kind,
    sharing: Sharing,
}

/// Protects a pack from every gc until it is dropped.
#[derive(Debug)]
pub(crate) struct Kept {
    path: PathBuf,
    _locked: File,
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Where it stays, the lock is free, and the next process tidies it.
        let _ = fs::remove_file(&self.path);
    }
}

/// A pack of ours that no process is in the middle of.
struct Own {
    /// The path, without an extension.
    base: PathBuf,
    size: u64,
}

impl PackDir {
    pub(crate) fn new(objects_dir: &Path, hash: gix::hash::Kind, sharing: Sharing) -> Self {
        Self {
            dir: objects_dir.join("pack"),
            hash,
            sharing,
        }
    }

    /// Writes a pack to the disk, durably. Until a ref leads to its objects, hold on to
    /// what this returns.
    ///
    /// # Errors
    /// Nothing is left behind by one.
    pub(crate) fn write(&self, pack: &Pack) -> Result<Kept, WriteError> {
        match fs::create_dir(&self.dir).and_then(|()| self.sharing.apply(&self.dir)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(WriteError::io(&self.dir, error));
            }
            _ => {}
        }
        let base = self.dir.join(format!("pack-{}", self.new_name()));
        let kept = self.keep(&base)?;
        fail::point("pack-kept");
        let written = self.write_parts(&base, pack);
        if written.is_err() {
            remove_parts(&base);
        }
        written.map(|()| kept)
    }

    /// A name that no other pack has.
    fn new_name(&self) -> String {
        let mut name = MARK.to_owned();
        while name.len() < self.hash.len_in_hex() {
            name += &format!("{:016x}", RandomState::new().hash_one(std::process::id()));
        }
        name.truncate(self.hash.len_in_hex());
        name
    }

    /// Makes the `.keep`, locked.
    fn keep(&self, base: &Path) -> Result<Kept, WriteError> {
        let (path, temporary) = (with(base, "keep"), with(base, "keep.tmp"));
        let make = || -> io::Result<File> {
            let mut file = File::options()
                .write(true)
                .create_new(true)
                .open(&temporary)?;
            // Where files cannot be locked, the process id says whose it is.
            let _ = lock::try_exclusive(&file);
            writeln!(file, "{KEEP_MARK}{}", std::process::id())?;
            self.sharing.apply(&temporary)?;
            fs::rename(&temporary, &path)?;
            Ok(file)
        };
        match make() {
            Ok(file) => Ok(Kept {
                path,
                _locked: file,
            }),
            Err(error) => {
                let _ = fs::remove_file(&temporary);
                Err(WriteError::io(&path, error))
            }
        }
    }

    fn write_parts(&self, base: &Path, pack: &Pack) -> Result<(), WriteError> {
        // Without an index nobody looks into it, so it may have its name at once.
        self.write_file(&with(base, "pack"), &pack.pack)?;
        fail::point("pack-written");
        let (index, temporary) = (with(base, "idx"), with(base, "idx.tmp"));
        self.write_file(&temporary, &pack.index)?;
        fs::rename(&temporary, &index).map_err(|error| WriteError::io(&index, error))?;
        super::durable::sync_dir(&self.dir).map_err(|error| WriteError::io(&self.dir, error))?;
        fail::point("pack-visible");
        Ok(())
    }

    fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
        let write = || -> io::Result<()> {
            let mut file = File::options().write(true).create_new(true).open(path)?;
            file.write_all(bytes)?;
            file.set_permissions(Permissions::from_mode(0o444))?;
            self.sharing.apply(path)?;
            file.sync_all()
        };
        write().map_err(|error| WriteError::io(path, error))
    }

    /// Clears up what killed processes left: pins nobody needs, packs that are not whole.
    /// Returns how many packs of ours there are.
    pub(crate) fn tidy(&self) -> usize {
        let files = self.ours();
        for path in files.iter().filter(|path| is(path, "keep")) {
            tidy_keep(path);
        }
        let old = |path: &Path| {
            let written = fs::metadata(path).and_then(|meta| meta.modified());
            written.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > TEMPORARY_LIFE))
        };
        for path in &files {
            let base = path.with_extension("");
            // A power cut may have taken the `.keep` and left the pack.
            let headless =
                is(path, "pack") && !with(&base, "keep").exists() && !with(&base, "idx").exists();
            if (headless || is(path, "tmp")) && old(path) {
                let _ = fs::remove_file(path);
            }
        }
        files.iter().filter(|path| is(path, "idx")).count()
    }

    /// Every file of a pack of ours.
    fn ours(&self) -> Vec<PathBuf> {
        let prefix = format!("pack-{MARK}");
        let files = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let ours = files.filter(|file| {
            let name = file.file_name();
            name.as_encoded_bytes().starts_with(prefix.as_bytes())
        });
        ours.map(|file| file.path()).collect()
    }

    /// Merges packs of ours into one where there are more than a few. Large ones and
    /// those that a multi-pack index names stay as they are. The caller has the turn.
    ///
    /// # Errors
    /// No object is lost by one.
    pub(crate) fn merge(&self) -> Result<(), WriteError> {
        let mut own = self.mergeable();
        if own.len() <= FEW {
            return Ok(());
        }
        own.sort_by_key(|pack| pack.size);
        own.truncate(how_many(&own));
        let mut merged = PackBuilder::new(self.hash);
        own.retain(|pack| self.copy(&pack.base, &mut merged) == Some(()));
        if own.len() < 2 {
            return Ok(());
        }
        let _kept = self.write(&merged.finish()?)?;
        fail::point("packs-merged");
        for pack in &own {
            remove_parts(&pack.base);
        }
        Ok(())
    }

    /// Packs of ours that nothing speaks against to merge.
    fn mergeable(&self) -> Vec<Own> {
        let Some(named) = self.named_by_indexes() else {
            return Vec::new();
        };
        let mut own = Vec::new();
        for index in self.ours().into_iter().filter(|path| is(path, "idx")) {
            let base = index.with_extension("");
            let size = fs::metadata(with(&base, "pack")).map(|meta| meta.len());
            let name = Path::new(index.file_name().unwrap_or_default());
            if let Ok(size) = size
                && size < LARGE
                && !with(&base, "keep").exists()
                && !named.contains(name)
            {
                own.push(Own { base, size });
            }
        }
        own
    }

    /// The packs that multi-pack indexes name: to git, those must not go. `None` where
    /// that cannot be found out.
    fn named_by_indexes(&self) -> Option<HashSet<PathBuf>> {
        let chain = fs::read_dir(self.dir.join("multi-pack-index.d"));
        let chain = chain.into_iter().flatten().flatten();
        let mut paths: Vec<_> = chain.map(|entry| entry.path()).collect();
        paths.retain(|path| is(path, "midx"));
        paths.push(self.dir.join("multi-pack-index"));
        let mut named = HashSet::new();
        for path in paths.iter().filter(|path| path.exists()) {
            let index = gix::odb::pack::multi_index::File::at(path, None).ok()?;
            named.extend(index.index_names().iter().cloned());
        }
        Some(named)
    }

    /// Adds the objects of a pack, all or none: `None` where it is not whole or gone.
    fn copy(&self, base: &Path, to: &mut PackBuilder) -> Option<()> {
        let pack = fs::read(with(base, "pack")).ok()?;
        let index = fs::read(with(base, "idx")).ok()?;
        for (id, place) in entries(self.hash, &pack, &index)? {
            to.add_entry(id, &pack[place]).ok()?;
        }
        Some(())
    }
}

/// How many packs to merge, of those with these sizes in rising order: so many that few
/// are left, and each further one that is not much larger than the smaller ones together.
/// So a byte is written again only when there is twice as much beside it.
fn how_many(own: &[Own]) -> usize {
    let (mut count, mut total) = (0, 0);
    for pack in own {
        let few_left = own.len() - count < FEW;
        if few_left && pack.size > 2 * total {
            break;
        }
        total += pack.size;
        count += 1;
    }
    count
}

/// Removes a `.keep` of ours, and what it was to keep where that is not whole, if its
/// process is dead.
fn tidy_keep(path: &Path) {
    let Ok(file) = File::options().read(true).open(path) else {
        return;
    };
    if !lock::try_exclusive(&file).unwrap_or(false) {
        return;
    }
    // Its process may have come to its end just now, and the name be another's.
    if !lock::is_at(&file, path).unwrap_or(false) {
        return;
    }
    let base = path.with_extension("");
    if !with(&base, "idx").exists() {
        remove_parts(&base);
    }
    let _ = fs::remove_file(path);
}

/// Removes a pack; what cannot be removed is left for git's own gc.
fn remove_parts(base: &Path) {
    for part in PARTS {
        let _ = fs::remove_file(with(base, part));
    }
}

/// The file of a pack with this extension.
fn with(base: &Path, extension: &str) -> PathBuf {
    base.with_extension(extension)
}

/// Whether that is the last extension of a file.
fn is(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|last| last == extension)
}
