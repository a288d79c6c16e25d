//! What goes and what stays, one kind of thing after the other.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::artifacts::ArtifactStore;
use crate::git::{Repo, slot_of};
use crate::lock;
use crate::logs::LogStore;
use crate::model::LogId;
use crate::settings::{Retention, Settings};
use crate::worktree::{self, IdleSlot, remove_tree, slots_on_disk, tree_size};

use super::{Removal, RemovalKind as Kind, Swept, older};

/// What is younger than this may be about to be used, whatever the limits say.
const FRESH: Duration = Duration::from_secs(60);

/// Worktrees beyond `ci.slots` go after this time: somebody may use `-j` now and then.
const SURPLUS_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Temporary files go after this time: nothing takes so long to write one.
const LITTER_AGE: Duration = Duration::from_secs(60 * 60);

/// What artifacts are called while they go.
const GOING: &str = ".going-";

pub(super) struct Sweep<'a> {
    repo: &'a Repo,
    settings: &'a Settings,
    retention: &'a Retention,
    dry_run: bool,
    now: SystemTime,
    ci_dir: PathBuf,
    swept: Swept,
}

impl<'a> Sweep<'a> {
    pub(super) fn new(
        repo: &'a Repo,
        settings: &'a Settings,
        retention: &'a Retention,
        dry_run: bool,
    ) -> Self {
        Self {
            repo,
            settings,
            retention,
            dry_run,
            now: SystemTime::now(),
            ci_dir: repo.ci_dir(),
            swept: Swept::default(),
        }
    }

    pub(super) fn done(self) -> Swept {
        self.swept
    }

    /// Removes one thing by `remove`, which says whether it could go at all.
    fn remove(&mut self, removal: Removal, remove: impl FnOnce() -> io::Result<bool>) -> bool {
        match if self.dry_run { Ok(true) } else { remove() } {
            Ok(true) => self.swept.removed.push(removal),
            Ok(false) => return false,
            Err(error) => {
                let problem = format!("failed to remove {}: {error}", removal.what);
                self.swept.problems.push(problem);
                return false;
            }
        }
        true
    }

    fn is_older(&self, at: SystemTime, age: Duration) -> bool {
        self.now.duration_since(at).is_ok_and(|is| is > age)
    }

    /// Logs by age, then by size: first those that nobody will look into.
    pub(super) fn logs(&mut self, failing: impl Fn(&LogId) -> bool) {
        let store = LogStore::new(&self.ci_dir);
        let mut logs = match store.entries() {
            Ok(logs) => logs,
            Err(error) => {
                let problem = format!("failed to list the logs: {error}");
                return self.swept.problems.push(problem);
            }
        };
        let matters = |id: &Option<LogId>| id.as_ref().is_some_and(&failing);
        logs.sort_by_key(|log| (matters(&log.id), log.written));
        let mut total: u64 = logs.iter().map(|log| log.size).sum();
        // By age first, so that no young log goes in the place of an old one.
        let mut young = Vec::new();
        for log in logs {
            let too_old = match (&log.id, self.retention.log_age) {
                (None, _) => self.is_older(log.written, LITTER_AGE),
                (_, Some(age)) => self.is_older(log.written, age.max(FRESH)),
                (_, None) => false,
            };
            if !too_old {
                young.push(log);
                continue;
            }
            let removal = Removal {
                kind: Kind::Log,
                what: log.path.display().to_string(),
                bytes: log.size,
                why: "older than ci.logMaxAge",
            };
            if self.remove(removal, || store.remove(&log)) {
                total -= log.size;
            }
        }
        let limit = self.retention.log_size.unwrap_or(u64::MAX);
        for log in young {
            if total <= limit {
                break;
            }
            if !self.is_older(log.written, FRESH) {
                continue;
            }
            let removal = Removal {
                kind: Kind::Log,
                what: log.path.display().to_string(),
                bytes: log.size,
                why: "all logs together take more than ci.logMaxSize",
            };
            if self.remove(removal, || store.remove(&log)) {
                total -= log.size;
            }
        }
    }

    /// Artifacts by age, then by size; directories in which no job left anything, too.
    pub(super) fn artifacts(&mut self) {
        let dir = self.ci_dir.join("artifacts");
        if !dir.is_dir() {
            return;
        }
        // Cut off the last time; nobody knows them by this name.
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(GOING) {
                let path = entry.path();
                let removal = Removal {
                    kind: Kind::Litter,
                    what: path.display().to_string(),
                    bytes: tree_size(&path),
                    why: "left by a gc that was cut off",
                };
                self.remove(removal, || remove_tree(&path).map(|()| true));
            }
        }
        let wanted = self.old_artifacts(&dir);
        if wanted.is_empty() {
            return;
        }
        if self.dry_run {
            return self
                .swept
                .removed
                .extend(wanted.into_iter().map(|(_, removal)| removal));
        }
        let still = match worktree::standstill(&self.ci_dir) {
            Ok(Some(still)) => still,
            Ok(None) => {
                let note = "artifacts stay for now: a run waits for a slot".to_owned();
                return self.swept.notes.push(note);
            }
            Err(error) => {
                let problem = format!("failed to keep tasks from beginning: {error}");
                return self.swept.problems.push(problem);
            }
        };
        // Out of the way now, and removed when tasks may begin again.
        let mut going = Vec::new();
        for (number, (path, removal)) in wanted.into_iter().enumerate() {
            let commit = path.file_name().unwrap_or_default().to_string_lossy();
            let used = still
                .holders
                .iter()
                .any(|(_, holder)| *holder.commit.to_string() == commit);
            let aside = dir.join(format!("{GOING}{}-{number}", std::process::id()));
            if !used && fs::rename(&path, &aside).is_ok() {
                going.push((aside, removal));
            }
        }
        drop(still);
        for (path, removal) in going {
            self.remove(removal, || remove_tree(&path).map(|()| true));
        }
    }

    /// What equal artifacts were found by that are gone.
    pub(super) fn unused_artifacts(&mut self) {
        if self.dry_run {
            return;
        }
        if let Err(error) = ArtifactStore::new(&self.ci_dir).forget_unused() {
            let problem = format!("failed to remove artifacts that no job has any more: {error}");
            self.swept.problems.push(problem);
        }
    }

    /// The artifacts of commits that should go.
    fn old_artifacts(&self, dir: &Path) -> Vec<(PathBuf, Removal)> {
        let mut all = Vec::new();
        // How many of them have a file.
        let mut users: HashMap<FileId, usize> = HashMap::new();
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if !entry.file_name().to_string_lossy().starts_with('.') {
                let content = Content::of(&path);
                for file in content.files.keys() {
                    *users.entry(*file).or_default() += 1;
                }
                all.push((content.written, path, content));
            }
        }
        all.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
        let sizes = all.iter().flat_map(|(_, _, content)| &content.files);
        let sizes: HashMap<FileId, u64> = sizes.map(|(file, size)| (*file, *size)).collect();
        let mut total: u64 = sizes.values().sum();
        let limit = self.retention.artifact_size.unwrap_or(u64::MAX);
        let mut wanted = Vec::new();
        for (written, path, content) in all {
            let too_old = |age: Duration| self.is_older(written, age.max(FRESH));
            let why = if !too_old(FRESH) {
                continue;
            } else if content.files.is_empty() {
                "no job left anything there"
            } else if self.retention.artifact_age.is_some_and(too_old) {
                "older than ci.artifactMaxAge"
            } else if total > limit {
                "all artifacts together take more than ci.artifactMaxSize"
            } else {
                continue;
            };
            let mut bytes = 0;
            for (file, size) in &content.files {
                if let Some(others) = users.get_mut(file) {
                    *others -= 1;
                    bytes += if *others == 0 { *size } else { 0 };
                }
            }
            total -= bytes;
            let removal = Removal {
                kind: if content.files.is_empty() {
                    Kind::Litter
                } else {
                    Kind::Artifacts
                },
                what: path.display().to_string(),
                bytes,
                why,
            };
            wanted.push((path, removal));
        }
        wanted
    }

    /// Worktrees that were not used for long, that are more than `ci.slots`, or that are no
    /// slots any more; and what git's books have of older versions.
    pub(super) fn slots(&mut self) {
        let root = &self.settings.worktree_root;
        for slot in slots_on_disk(self.repo, root) {
            let idle = if self.dry_run {
                IdleSlot::look(&self.ci_dir, root, slot)
            } else {
                IdleSlot::take(&self.ci_dir, root, slot)
            };
            let idle = match idle {
                Ok(Some(idle)) => idle,
                Ok(None) => continue,
                Err(error) => {
                    let problem = format!("failed to lock slot {slot}: {error}");
                    self.swept.problems.push(problem);
                    continue;
                }
            };
            if idle.is_foreign(self.repo) {
                continue;
            }
            let unused = |age| self.is_older(idle.used, age);
            let why = if idle.path.is_dir() && idle.is_abandoned() {
                "it is no slot, or no more"
            } else if !idle.path.exists() {
                "its directory is gone"
            } else if self.retention.slot_age.is_some_and(unused) {
                "not used for longer than ci.slotMaxAge"
            } else if slot > self.settings.slots && unused(SURPLUS_AGE) {
                "more than ci.slots, and not used for a day"
            } else {
                continue;
            };
            let removal = Removal {
                kind: Kind::Worktree,
                what: idle.path.display().to_string(),
                bytes: tree_size(&idle.path),
                why,
            };
            let repo = self.repo;
            self.remove(removal, || idle.remove(repo).map(|()| true));
        }
    }

    /// Worktrees beside ours whose repository is gone.
    pub(super) fn abandoned_caches(&mut self) {
        let own = &self.settings.worktree_root;
        let Some(parent) = own.parent() else {
            return;
        };
        let Some(age) = self.retention.slot_age else {
            return;
        };
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let path = entry.path();
            if path != *own && is_abandoned_cache(&path, age, self.now) {
                let removal = Removal {
                    kind: Kind::Worktree,
                    what: path.display().to_string(),
                    bytes: tree_size(&path),
                    why: "its repository is gone, and nothing was used for longer than ci.slotMaxAge",
                };
                self.remove(removal, || remove_tree(&path).map(|()| true));
            }
        }
    }

    /// Checkpoints of refs that are gone, and at commits that were dropped.
    pub(super) fn checkpoints(&mut self) {
        let leftovers = match self.repo.leftover_checkpoints() {
            Ok(leftovers) => leftovers,
            Err(error) => {
                let problem = format!("failed to list the checkpoints: {error}");
                return self.swept.problems.push(problem);
            }
        };
        for checkpoint in leftovers {
            let removal = Removal {
                kind: Kind::Checkpoint,
                what: checkpoint.name(),
                bytes: 0,
                why: checkpoint.why,
            };
            let repo = self.repo;
            self.remove(removal, || {
                let tidied = repo.tidy_checkpoint(&checkpoint);
                tidied.map(|()| true).map_err(io::Error::other)
            });
        }
    }

    /// Refs that keep commits for tasks that are over.
    pub(super) fn pins(&mut self) {
        let pins = match worktree::stale_pins(self.repo, &self.settings.worktree_root) {
            Ok(pins) => pins,
            Err(error) => {
                let problem = format!("failed to list what keeps commits for slots: {error}");
                return self.swept.problems.push(problem);
            }
        };
        for (pin, _idle) in pins {
            let removal = Removal {
                kind: Kind::Litter,
                what: format!("refs/ci/pin/{pin}"),
                bytes: 0,
                why: "its task was killed",
            };
            let repo = self.repo;
            self.remove(removal, || {
                let deleted = repo.delete_pin(&pin);
                deleted.map(|()| true).map_err(io::Error::other)
            });
        }
    }

    /// What killed processes left.
    pub(super) fn litter(&mut self) {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.ci_dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let ours = ["records-", "begin-", ".new-"];
            let ours = ours.iter().any(|prefix| name.starts_with(prefix));
            if ours || name.ends_with(".tmp") {
                files.push((entry.path(), "a temporary file"));
            }
        }
        files.retain(|(path, _)| path.is_file() && older(path, LITTER_AGE, self.now));
        for keep in self.repo.stale_keeps() {
            files.push((keep.0, "it keeps a pack for a process that is dead"));
        }
        for lock in self.repo.stale_locks(LITTER_AGE) {
            files.push((lock, "a lock on a ref of ours that a killed process left"));
        }
        for (path, why) in files {
            self.remove(litter(&path, why), || fs::remove_file(&path).map(|()| true));
        }
        let claims = fs::read_dir(self.ci_dir.join("claims"));
        for entry in claims.into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(Some(_claim)) = unclaimed(&path) else {
                continue;
            };
            let removal = litter(&path, "a claim of a process that is dead");
            self.remove(removal, || fs::remove_file(&path).map(|()| true));
        }
        let slots = fs::read_dir(&self.settings.worktree_root);
        for entry in slots.into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("slot-") && name.contains(".left-") {
                let path = entry.path();
                let removal = litter(&path, "a job left what could not be removed then");
                self.remove(removal, || remove_tree(&path).map(|()| true));
            }
        }
    }
}

fn litter(path: &Path, why: &'static str) -> Removal {
    Removal {
        kind: Kind::Litter,
        what: path.display().to_string(),
        bytes: tree_size(path),
        why,
    }
}

/// Locks a claim that nobody holds: what is removed while locked is seen to be gone by
/// whoever waits for the lock.
fn unclaimed(path: &Path) -> io::Result<Option<File>> {
    let file = File::options().write(true).open(path)?;
    if !lock::try_exclusive(&file).unwrap_or(false) {
        return Ok(None);
    }
    Ok(lock::is_at(&file, path)?.then_some(file))
}

/// A file, whatever its names: its device and inode.
type FileId = (u64, u64);

/// What is in a directory.
struct Content {
    /// The latest change of anything in it.
    written: SystemTime,
    /// What is no directory, with what it takes on the disk, in bytes.
    files: HashMap<FileId, u64>,
}

impl Content {
    fn of(path: &Path) -> Self {
        let mut content = Self {
            written: SystemTime::UNIX_EPOCH,
            files: HashMap::new(),
        };
        content.add(path);
        content
    }

    fn add(&mut self, path: &Path) {
        let Ok(meta) = fs::symlink_metadata(path) else {
            return;
        };
        if !meta.is_dir() {
            // A file may be one with an older one that is equal.
            self.files
                .insert((meta.dev(), meta.ino()), meta.blocks() * 512);
            return;
        }
        let written = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        self.written = self.written.max(written);
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            self.add(&entry.path());
        }
    }
}

/// Whether a directory holds nothing but slots of a repository that is gone, unused for
/// `age`. A repository on a disk that is not mounted now looks the same, hence the age:
/// its worktrees are a cache.
fn is_abandoned_cache(path: &Path, age: Duration, now: SystemTime) -> bool {
    let Ok(entries) = fs::read_dir(path) else {
        return false;
    };
    let mut slots = 0;
    for entry in entries.flatten() {
        let slot = entry.path();
        let name = entry.file_name();
        // The locks of worktrees.
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let is_slot = name.to_string_lossy().starts_with("slot-");
        let gone = slot_of(&slot).is_some_and(|of| of.is_absolute() && !of.exists());
        if !is_slot || !gone || !older(&slot, age, now) {
            return false;
        }
        slots += 1;
    }
    slots > 0 && older(path, age, now)
}
