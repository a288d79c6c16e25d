//! New objects, written so that a power cut, a `kill -9` or a concurrent `git gc` finds
//! them whole or not at all.
//!
//! gix writes objects, too, but syncs nothing: after a power cut an object may be there
//! in name only, and git would never write it again. Here each file is synced before it
//! gets its name, and its directory afterwards. A few objects are written loose; many go
//! into one pack, which takes a handful of syncs and not two for each.
//!
//! Against `git gc --prune=now`, which deletes every loose object that was not reachable
//! when it looked, only a pack helps: git never deletes a pack that came after it listed
//! them, nor one with a `.keep` beside it. So that is the form while a gc runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use gix::ObjectId;
use gix::objs::tree::Entry;
use gix::objs::{Kind, Tree, WriteTo as _};

use super::command::{Git, GitError};

/// More objects than this are written as one pack.
const MOST_LOOSE: usize = 64;

/// A `gc.pid` older than this is nobody's; git says the same.
const GC_PID_LIFE: Duration = Duration::from_secs(12 * 60 * 60);

/// How often a file is written again that something else deleted meanwhile.
const TRIES: u32 = 10;

/// What git says of a temporary file that something else deleted.
const VANISHED: &str = "No such file or directory";

/// What a `.keep` of ours says before the id of the process that made it.
pub(super) const KEEP_MARK: &str = "git-ci ";

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
    /// git could not store a pack.
    #[error("store a pack of notes")]
    Pack(#[source] GitError),
    /// The object has no id: its contents attack the hash function.
    #[error("hash an object")]
    Hash(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl WriteError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::Io { path, source }
    }
}

/// Objects that are to be written together; each has its id from the start.
pub(super) struct NewObjects {
    hash: gix::hash::Kind,
    map: BTreeMap<ObjectId, (Kind, Vec<u8>)>,
}

impl NewObjects {
    pub(super) fn new(hash: gix::hash::Kind) -> Self {
        Self {
            hash,
            map: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, kind: Kind, data: Vec<u8>) -> Result<ObjectId, WriteError> {
        let id = gix::objs::compute_hash(self.hash, kind, &data)
            .map_err(|e| WriteError::Hash(e.into()))?;
        self.map.insert(id, (kind, data));
        Ok(id)
    }

    /// Adds a tree of these entries, which are in git's order.
    pub(super) fn add_tree(&mut self, entries: Vec<Entry>) -> Result<ObjectId, WriteError> {
        let mut data = Vec::new();
        Tree { entries }
            .write_to(&mut data)
            .map_err(|e| WriteError::Hash(e.into()))?;
        self.add(Kind::Tree, data)
    }

    /// A pack of all of them: gitformat-pack(5), version 2, without deltas.
    fn pack(&self) -> Result<Vec<u8>, WriteError> {
        let count = u32::try_from(self.map.len()).unwrap_or(u32::MAX);
        let mut pack = b"PACK\0\0\0\x02".to_vec();
        pack.extend(count.to_be_bytes());
        for (kind, data) in self.map.values() {
            let code: u8 = match kind {
                Kind::Commit => 1,
                Kind::Tree => 2,
                Kind::Blob => 3,
                Kind::Tag => 4,
            };
            // Four bits of the size beside the type, then seven in each byte.
            let mut size = data.len();
            let mut byte = code << 4 | (size & 15) as u8;
            size >>= 4;
            while size > 0 {
                pack.push(byte | 0x80);
                byte = (size & 127) as u8;
                size >>= 7;
            }
            pack.push(byte);
            deflate(&mut pack, &[data]);
        }
        let mut hasher = gix::hash::hasher(self.hash);
        hasher.update(&pack);
        let trailer = hasher.try_finalize();
        pack.extend_from_slice(trailer.map_err(|e| WriteError::Hash(e.into()))?.as_slice());
        Ok(pack)
    }
}

/// Appends a zlib stream of `parts` to `out`.
fn deflate(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let mut encoder = ZlibEncoder::new(out, Compression::fast());
    for part in parts {
        // Writing to a vector cannot fail.
        let _ = encoder.write_all(part);
    }
    let _ = encoder.finish();
}

/// Protects a pack from every gc until it is dropped.
pub(super) struct Keep(PathBuf);

impl Drop for Keep {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes objects into one repository.
pub(super) struct ObjectWriter {
    git: Git,
    common_dir: PathBuf,
    objects_dir: PathBuf,
    sharing: Sharing,
}

impl ObjectWriter {
    /// `shared` is the value of `core.sharedRepository`.
    pub(super) fn new(git: &Git, common_dir: &Path, shared: Option<&str>) -> Self {
        Self {
            git: git.clone(),
            common_dir: common_dir.to_owned(),
            objects_dir: common_dir.join("objects"),
            sharing: Sharing::parse(shared),
        }
    }

    /// The directory that everything goes below.
    pub(super) fn dir(&self) -> &Path {
        &self.objects_dir
    }

    /// Writes and syncs all of `new`. Until a ref leads to them, hold on to what this
    /// returns.
    pub(super) fn write(&self, new: &NewObjects) -> Result<Option<Keep>, WriteError> {
        if new.map.len() > MOST_LOOSE || self.gc_runs() {
            return self.write_pack(new, true);
        }
        let mut dirs = BTreeSet::new();
        for (id, (kind, data)) in &new.map {
            let path = self.loose_path(*id);
            let mut bytes = Vec::new();
            let header = gix::objs::encode::loose_header(*kind, data.len() as u64);
            deflate(&mut bytes, &[&header, data]);
            if self.write_loose(&path, &bytes)? {
                dirs.insert(self.objects_dir.clone());
            }
            dirs.extend(path.parent().map(Path::to_owned));
        }
        for dir in dirs.into_iter().rev() {
            match sync_dir(&dir) {
                // A prune took it away: `settle` finds out.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other.map_err(|e| WriteError::io(&dir, e))?,
            }
        }
        Ok(None)
    }

    /// Makes sure that `new`, which a ref leads to by now, was not deleted by a gc that
    /// had looked before. Writes it again where one runs or has been.
    pub(super) fn settle(
        &self,
        new: &NewObjects,
        objects: &gix::Repository,
    ) -> Result<(), WriteError> {
        let there = |id: &ObjectId| self.loose_path(*id).exists() || objects.has_object(id);
        if self.gc_runs() || !new.map.keys().all(there) {
            // No `.keep`: a gc that lists this pack looks at the refs later still.
            self.write_pack(new, false)?;
        }
        Ok(())
    }

    fn loose_path(&self, id: ObjectId) -> PathBuf {
        let hex = id.to_string();
        self.objects_dir.join(&hex[..2]).join(&hex[2..])
    }

    /// Returns whether the directory is new.
    fn write_loose(&self, path: &Path, bytes: &[u8]) -> Result<bool, WriteError> {
        let dir = path.parent().unwrap_or(&self.objects_dir);
        let (mut new_dir, mut tries) = (false, 0);
        loop {
            let attempt = || -> io::Result<()> {
                // The name that git gives them as well, so that a prune clears them up.
                let mut file = tempfile::Builder::new()
                    .prefix("tmp_obj_")
                    .permissions(Permissions::from_mode(0o444))
                    .tempfile_in(dir)?;
                file.write_all(bytes)?;
                self.sharing.apply(file.path())?;
                file.as_file().sync_all()?;
                file.persist(path)?;
                Ok(())
            };
            match attempt() {
                Ok(()) => return Ok(new_dir),
                // No directory yet, or a prune deleted it or the file in the middle.
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES => {
                    tries += 1;
                    match fs::create_dir(dir).and_then(|()| self.sharing.apply(dir)) {
                        Ok(()) => new_dir = true,
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                        Err(error) => return Err(WriteError::io(dir, error)),
                    }
                }
                Err(error) => return Err(WriteError::io(path, error)),
            }
        }
    }

    fn write_pack(&self, new: &NewObjects, keep: bool) -> Result<Option<Keep>, WriteError> {
        let pack = new.pack()?;
        let pack_dir = self.objects_dir.join("pack");
        let mut tries = 0;
        let said = loop {
            let mut command = self.git.command();
            command.arg("--git-dir").arg(&self.common_dir);
            command.args(["-c", "core.fsync=pack,pack-metadata"]);
            command.args(["index-pack", "--stdin"]);
            if keep {
                command.arg(format!("--keep={KEEP_MARK}{}", std::process::id()));
            }
            match self.git.output_with_input(&mut command, &pack) {
                Ok(output) => break output.stdout,
                // A prune deletes the temporary files of others as well; by now it may be
                // over, and one by hand is nowhere to be seen.
                Err(GitError::Failed { message, .. })
                    if tries < TRIES && (message.contains(VANISHED) || self.gc_runs()) =>
                {
                    tries += 1;
                }
                Err(error) => return Err(WriteError::Pack(error)),
            }
        };
        sync_dir(&pack_dir).map_err(|e| WriteError::io(&pack_dir, e))?;
        // "keep" where the file is ours, "pack" where there is none or somebody else's.
        let said = String::from_utf8_lossy(&said);
        let name = said.trim().strip_prefix("keep\t");
        Ok(name.map(|name| Keep(pack_dir.join(format!("pack-{name}.keep")))))
    }

    /// Whether a `git gc` runs in the repository.
    fn gc_runs(&self) -> bool {
        let path = self.common_dir.join("gc.pid");
        let Ok(text) = fs::read_to_string(&path) else {
            return false;
        };
        let age = fs::metadata(&path).and_then(|meta| meta.modified());
        let stale = age.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > GC_PID_LIFE));
        let mut words = text.split_whitespace();
        let pid = words.next().and_then(|pid| pid.parse().ok());
        let here = rustix::system::uname();
        let elsewhere = words.next().map(str::as_bytes) != Some(here.nodename().to_bytes());
        !stale && (elsewhere || pid.is_none_or(process_exists))
    }
}

/// Whether a process of this machine has this id.
pub(super) fn process_exists(pid: i32) -> bool {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else {
        return false;
    };
    // Somebody else's process may not be signalled, but it is there.
    !matches!(
        rustix::process::test_kill_process(pid),
        Err(rustix::io::Errno::SRCH)
    )
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// `core.sharedRepository`: who else may use what we create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sharing {
    /// As the umask says.
    Umask,
    /// At least these bits.
    AtLeast(u32),
    /// Exactly these bits.
    Exactly(u32),
}

impl Sharing {
    fn parse(value: Option<&str>) -> Self {
        match value.map(str::to_ascii_lowercase).as_deref() {
            Some("group" | "true" | "yes" | "on" | "1") => Self::AtLeast(0o660),
            Some("all" | "world" | "everybody" | "2") => Self::AtLeast(0o664),
            Some(octal) if octal.starts_with('0') && octal.len() > 1 => {
                match u32::from_str_radix(octal, 8) {
                    Ok(bits) if bits & 0o600 == 0o600 => Self::Exactly(bits & 0o666),
                    _ => Self::Umask,
                }
            }
            _ => Self::Umask,
        }
    }

    /// What git's `adjust_shared_perm` makes of a mode.
    fn adjust(self, mode: u32, dir: bool) -> u32 {
        let (mut bits, keep) = match self {
            Self::Umask => return mode,
            Self::AtLeast(bits) => (bits, mode),
            Self::Exactly(bits) => (bits, mode & !0o777),
        };
        if mode & 0o200 == 0 {
            bits &= !0o222;
        }
        if mode & 0o100 != 0 {
            bits |= (bits & 0o444) >> 2;
        }
        let mode = keep | bits;
        // Files in it belong to the directory's group.
        if dir { mode | 0o2000 } else { mode }
    }

    fn apply(self, path: &Path) -> io::Result<()> {
        if self == Self::Umask {
            return Ok(());
        }
        let meta = fs::metadata(path)?;
        let mode = self.adjust(meta.permissions().mode() & 0o7777, meta.is_dir());
        fs::set_permissions(path, Permissions::from_mode(mode))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_repositories_get_the_modes_that_git_gives() {
        let adjust = |value, mode, dir| Sharing::parse(Some(value)).adjust(mode, dir);
        assert_eq!(adjust("umask", 0o444, false), 0o444);
        assert_eq!(adjust("group", 0o400, false), 0o440);
        assert_eq!(adjust("true", 0o755, true), 0o2775);
        assert_eq!(adjust("all", 0o400, false), 0o444);
        assert_eq!(adjust("0640", 0o444, false), 0o440);
        assert_eq!(adjust("0640", 0o755, true), 0o2750);
        assert_eq!(adjust("0400", 0o755, true), 0o755);
    }
}
