//! What is kept of what a job left: files and links within the directory, as many and as large
//! as may be. Everything else goes, and that is said.

use std::fs::{self, DirEntry, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};

use crate::git::Patterns;
use crate::model::size_text;
use crate::private;
use crate::worktree::remove_tree;

use super::directory::Artifacts;
use super::{DIR, EQUAL};

/// A task may leave no more files.
const MOST_FILES: usize = 100_000;

/// How what is not in its place yet is named beside those; a killed process leaves it.
const NEW: &str = "new-";

/// So many of those that are left out are named.
const NAMED: usize = 5;

/// How much a task may leave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ArtifactLimits {
    /// Files, and links.
    pub files: usize,
    /// Bytes of all files together.
    pub bytes: u64,
}

impl ArtifactLimits {
    /// Those with `bytes`.
    pub(crate) fn of(bytes: u64) -> Self {
        let files = MOST_FILES;
        Self { files, bytes }
    }
}

/// What was kept.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Files, and links.
    pub files: usize,
    /// Bytes of all files together.
    pub bytes: u64,
    /// What was left out and why, in sentences.
    pub remarks: Vec<String>,
    /// How many were left out besides.
    unnamed: usize,
}

impl Kept {
    /// Notes what is not kept.
    fn leave_out(&mut self, name: &Path, why: &str) {
        if self.remarks.len() < NAMED {
            let remark = format!("{} is left out of the artifacts: {why}", name.display());
            self.remarks.push(remark);
        } else {
            self.unnamed += 1;
        }
    }

    /// Says how many were left out that are not named.
    fn finish(mut self) -> Self {
        if self.unnamed > 0 {
            let remark = format!("{} more are left out of the artifacts", self.unnamed);
            self.remarks.push(remark);
        }
        self
    }
}

impl Artifacts {
    /// Keeps what is in the directory, and those files of a worktree that `patterns` select,
    /// within `limits`. Nobody may be writing there.
    pub(crate) fn keep(
        &self,
        limits: ArtifactLimits,
        worktree: &Path,
        patterns: &[String],
    ) -> Kept {
        let mut sieve = Sieve {
            root: self.path(),
            ci_dir: &self.ci_dir,
            limits,
            kept: Kept::default(),
        };
        sieve.sift(Path::new(""));
        if !patterns.is_empty() {
            sieve.add(worktree, patterns);
        }
        sieve.kept.finish()
    }
}

struct Sieve<'a> {
    root: &'a Path,
    ci_dir: &'a Path,
    limits: ArtifactLimits,
    kept: Kept,
}

impl Sieve<'_> {
    /// Keeps what may be kept of a directory, and removes the rest.
    fn sift(&mut self, dir: &Path) {
        let entries = match fs::read_dir(self.root.join(dir)) {
            Ok(entries) => entries,
            Err(error) => {
                self.kept.leave_out(dir, &error.to_string());
                let _ = remove_tree(&self.root.join(dir));
                return;
            }
        };
        let mut entries: Vec<DirEntry> = entries.flatten().collect();
        entries.sort_by_key(DirEntry::file_name);
        for entry in entries {
            let name = dir.join(entry.file_name());
            let sifted = match entry.metadata() {
                Ok(meta) if meta.is_dir() => {
                    self.sift(&name);
                    continue;
                }
                Ok(meta) => self.one(&name, &meta),
                Err(error) => Err(error.to_string()),
            };
            if let Err(why) = sifted {
                self.kept.leave_out(&name, &why);
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Keeps what is no directory; an error says why not.
    fn one(&mut self, name: &Path, meta: &Metadata) -> Result<(), String> {
        let path = self.root.join(name);
        if meta.is_symlink() {
            let target = fs::read_link(&path).map_err(|error| error.to_string())?;
            if !stays_within(name, &target) {
                return Err("it is a link that leads out of the directory".to_owned());
            }
            self.admit(0)?;
            self.kept.files += 1;
            return Ok(());
        }
        if !meta.is_file() {
            return Err("it is neither a file nor a directory".to_owned());
        }
        self.admit(meta.len())?;
        // Without links, or where it cannot be read again, it is kept all the same.
        if meta.len() > 0 && !self.is_shared(&path, meta) {
            let shared = self.share(&path, meta);
            shared.map_err(|error| error.to_string())?;
        }
        self.kept.files += 1;
        self.kept.bytes += meta.len();
        Ok(())
    }

    /// Whether another file may be kept, of so many bytes.
    fn admit(&self, bytes: u64) -> Result<(), String> {
        let ArtifactLimits { files, bytes: most } = self.limits;
        if self.kept.files >= files {
            return Err(format!("a task may leave {files} files"));
        }
        if bytes > most.saturating_sub(self.kept.bytes) {
            return Err(format!(
                "it has {}, and a task may leave {} (`ci.artifactMaxSize`)",
                size_text(bytes),
                size_text(most)
            ));
        }
        Ok(())
    }

    /// Whether a file was shared before: when another job of this name ended.
    fn is_shared(&self, path: &Path, meta: &Metadata) -> bool {
        meta.nlink() > 1
            && self.object(path, meta).is_ok_and(|object| {
                fs::symlink_metadata(object)
                    .is_ok_and(|found| (found.dev(), found.ino()) == (meta.dev(), meta.ino()))
            })
    }

    /// Where a file with this content is found.
    fn object(&self, path: &Path, meta: &Metadata) -> io::Result<PathBuf> {
        let hash = hash(path)?;
        let executable = if is_executable(meta) { "x" } else { "" };
        let dir = Path::new(DIR).join(EQUAL).join(&hash[..2]);
        let dir = private::dir_in(self.ci_dir, dir)?;
        Ok(dir.join(format!("{hash}{executable}")))
    }

    /// Makes one file of this and those that are equal.
    fn share(&self, path: &Path, meta: &Metadata) -> io::Result<()> {
        // It may be one with a file that goes on changing.
        if meta.nlink() > 1 {
            self.put_in_place(path, |new| fs::copy(path, new).map(drop))?;
        }
        let mode = meta.permissions().mode() & 0o555 | 0o400;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        let object = self.object(path, meta)?;
        let linked = match fs::hard_link(path, &object) {
            // What was changed since is not believed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if hash(&object).ok() == hash(path).ok() {
                    self.put_in_place(path, |new| fs::hard_link(&object, new))
                } else {
                    fs::remove_file(&object).and_then(|()| fs::hard_link(path, &object))
                }
            }
            linked => linked,
        };
        if linked.is_err() {
            // With too many links, or without any, it has its place for itself.
            let _ = fs::remove_file(&object);
        }
        Ok(())
    }

    /// Replaces a file by what `make` makes.
    fn put_in_place(
        &self,
        path: &Path,
        make: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let dir = private::dir_in(self.ci_dir, Path::new(DIR).join(EQUAL))?;
        let new = dir.join(format!(
            "{NEW}{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        ));
        let _ = fs::remove_file(&new);
        make(&new).and_then(|()| fs::rename(&new, path))
    }

    /// Copies what is selected of a worktree.
    fn add(&mut self, worktree: &Path, patterns: &[String]) {
        // One more, so that it is seen that there are too many.
        let most = self.limits.files + 1;
        let files = Patterns::new(patterns).files(worktree, most);
        if files.is_empty() {
            let remark = format!("no file matches `artifacts` ({})", patterns.join(", "));
            self.kept.remarks.push(remark);
        }
        for file in files {
            let added = self.admit(file.meta.len()).and_then(|()| {
                let copied = copy_new(&worktree.join(&file.path), &self.root.join(&file.path));
                copied.map_err(|error| match error.kind() {
                    io::ErrorKind::AlreadyExists => {
                        "the job left something there under this name".to_owned()
                    }
                    _ => error.to_string(),
                })
            });
            let added = added.and_then(|meta| self.one(&file.path, &meta));
            if let Err(why) = added {
                self.kept.leave_out(&file.path, &why);
            }
        }
    }
}

/// Copies a file to where none is, with what is missing above it.
fn copy_new(from: &Path, to: &Path) -> io::Result<Metadata> {
    if let Some(above) = to.parent() {
        fs::create_dir_all(above)?;
    }
    let mut file = private::open(from, private::Open::Read)?;
    let mut copy = private::open(to, private::Open::New)?;
    let copied = io::copy(&mut file, &mut copy).and_then(|_| {
        copy.set_permissions(file.metadata()?.permissions())?;
        copy.metadata()
    });
    if copied.is_err() {
        let _ = fs::remove_file(to);
    }
    copied
}

pub(super) fn is_executable(meta: &Metadata) -> bool {
    meta.permissions().mode() & 0o100 != 0
}

/// The SHA-256 of a file, in hexadecimal digits.
fn hash(path: &Path) -> io::Result<String> {
    let mut file: File = private::open(path, private::Open::Read)?;
    let mut hash = Sha256::new();
    let mut bytes = vec![0; 128 << 10];
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(faster_hex::hex_string(&hash.finalize())),
            count => hash.update(&bytes[..count]),
        }
    }
}

/// Whether a link leads to something in its own directory tree, whatever other links of this
/// kind are there: it may begin with as many `..` as it is deep, and have none after that.
pub(super) fn stays_within(name: &Path, target: &Path) -> bool {
    let mut above = name.components().count().saturating_sub(1);
    let mut went_down = false;
    !target.as_os_str().is_empty()
        && target.components().all(|part| match part {
            Component::ParentDir if !went_down && above > 0 => {
                above -= 1;
                true
            }
            Component::Normal(_) => {
                went_down = true;
                true
            }
            Component::CurDir => true,
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::ArtifactStore;

    #[test]
    fn links_may_lead_down_and_not_out() {
        for (name, target, stays) in [
            ("link", "file", true),
            ("link", "./d/file", true),
            ("d/link", "../file", true),
            ("d/e/link", "../../f/g", true),
            ("link", "..", false),
            ("d/link", "../..", false),
            ("d/link", "../../d/file", false),
            // Another link may be on the way.
            ("link", "d/../file", false),
            ("link", "/etc/passwd", false),
            ("link", "", false),
        ] {
            assert_eq!(
                stays_within(Path::new(name), Path::new(target)),
                stays,
                "{name} {target}"
            );
        }
    }

    /// However many links lead through each other.
    #[test]
    fn no_links_together_lead_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("in");
        let mut state = 7u64;
        let mut random = |most: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % most
        };
        let dirs = ["", "a", "b", "a/a", "a/b", "b/a", "a/a/a"];
        dirs.iter()
            .for_each(|dir| fs::create_dir_all(root.join(dir)).unwrap());
        fs::write(dir.path().join("x"), "outside").unwrap();
        let mut made = Vec::new();
        for number in 0..3000 {
            let parts = ["..", "a", "b", "x", "l", "m", "."];
            let word = |at: u64| {
                if at < 4 {
                    format!("l{at}")
                } else {
                    parts[at as usize - 4].to_owned()
                }
            };
            let target: Vec<_> = (0..=random(5)).map(|_| word(random(11))).collect();
            let target = target.join("/");
            let below = Path::new(dirs[random(7) as usize]);
            let name = below.join(format!("l{}", number % 40));
            let path = root.join(&name);
            if stays_within(&name, Path::new(&target)) {
                let _ = fs::remove_file(&path);
                std::os::unix::fs::symlink(&target, &path).unwrap();
                made.push(path);
            }
        }
        let real = made.iter().filter_map(|path| path.canonicalize().ok());
        let real: Vec<_> = real.collect();
        assert!(real.len() > 100, "{}", real.len());
        assert!(real.iter().all(|path| path.starts_with(&root)), "{real:?}");
    }

    fn open(root: &Path, commit: &str) -> Artifacts {
        let store = ArtifactStore::new(root);
        let commit = commit.repeat(20).parse().unwrap();
        store.open(&commit, &"job".parse().unwrap(), 1).unwrap()
    }

    const PLENTY: ArtifactLimits = ArtifactLimits {
        files: 100,
        bytes: 1 << 20,
    };

    #[test]
    fn equal_files_are_one_until_they_were_changed() {
        let root = tempfile::tempdir().unwrap();
        let ino = |path: &Path| fs::metadata(path).unwrap().ino();
        let file = |artifacts: &Artifacts, name: &str| artifacts.path().join(name);
        let one = open(root.path(), "11");
        for (name, text) in [("a", "text"), ("b", "text"), ("c", "other")] {
            fs::write(file(&one, name), text).unwrap();
        }
        fs::hard_link(file(&one, "c"), root.path().join("mine")).unwrap();
        let kept = one.keep(PLENTY, root.path(), &[]);
        assert_eq!((kept.files, kept.bytes), (3, 13));
        assert_eq!(ino(&file(&one, "a")), ino(&file(&one, "b")));
        assert_ne!(ino(&file(&one, "c")), ino(&root.path().join("mine")));
        let mode = fs::metadata(file(&one, "a")).unwrap().permissions().mode();
        assert_eq!(mode & 0o222, 0, "{mode:o}");
        // Again, as where two jobs share the directory.
        let before = ino(&file(&one, "c"));
        one.keep(PLENTY, root.path(), &[]);
        assert_eq!(ino(&file(&one, "c")), before);

        let two = open(root.path(), "22");
        fs::write(file(&two, "a"), "text").unwrap();
        two.keep(PLENTY, root.path(), &[]);
        assert_eq!(ino(&file(&two, "a")), ino(&file(&one, "a")));

        // Somebody who may do anything.
        let damaged = file(&one, "a");
        fs::set_permissions(&damaged, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&damaged, "damaged").unwrap();
        let three = open(root.path(), "33");
        fs::write(file(&three, "a"), "text").unwrap();
        three.keep(PLENTY, root.path(), &[]);
        assert_eq!(fs::read_to_string(file(&three, "a")).unwrap(), "text");
    }

    #[test]
    fn what_cannot_be_kept_goes_and_is_named() {
        let root = tempfile::tempdir().unwrap();
        let tree = root.path().join("tree");
        fs::create_dir_all(tree.join("out")).unwrap();
        for name in ["out/a", "out/taken", "out/large"] {
            let size = if name == "out/large" { 600 } else { 10 };
            fs::write(tree.join(name), vec![b'x'; size]).unwrap();
        }
        let artifacts = open(root.path(), "11");
        let dir = artifacts.path();
        fs::create_dir(dir.join("out")).unwrap();
        fs::write(dir.join("out/taken"), "by the job").unwrap();
        fs::write(dir.join("full"), vec![b'y'; 500]).unwrap();
        fs::write(dir.join("huge"), vec![b'y'; 2000]).unwrap();
        std::os::unix::fs::symlink("/etc", dir.join("etc")).unwrap();
        std::os::unix::fs::symlink("out/a", dir.join("good")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap();
        let limits = ArtifactLimits {
            files: 10,
            bytes: 1000,
        };
        let kept = artifacts.keep(limits, &tree, &["out".to_owned()]);
        let expected = [
            "etc is left out of the artifacts: it is a link that leads out of the directory",
            "huge is left out of the artifacts: it has 2.0 KiB, and a task may leave 1000 bytes (`ci.artifactMaxSize`)",
            "socket is left out of the artifacts: it is neither a file nor a directory",
            "out/large is left out of the artifacts: it has 600 bytes, and a task may leave 1000 bytes (`ci.artifactMaxSize`)",
            "out/taken is left out of the artifacts: the job left something there under this name",
        ];
        assert_eq!(kept.remarks, expected);
        assert_eq!((kept.files, kept.bytes), (4, 520));
        let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
        assert_eq!(read("good"), "x".repeat(10));
        assert_eq!(read("out/taken"), "by the job");
        for gone in ["etc", "huge", "socket", "out/large"] {
            assert!(dir.join(gone).symlink_metadata().is_err(), "{gone}");
        }

        let kept = artifacts.keep(
            ArtifactLimits { files: 1, ..PLENTY },
            &tree,
            &["none".to_owned()],
        );
        assert_eq!(kept.files, 1);
        assert_eq!(kept.remarks.len(), 4, "{:?}", kept.remarks);
    }
}
