//! The configuration of a slot: what counts for the user's repository, written into one
//! file.
//!
//! It is a flattened copy and does not include the user's own file: jobs ask with
//! `git config --local` and change with `git remote set-url`, and both look at one file
//! only. What ties a configuration to one work tree is left out, and nothing in it leads
//! back to the user's repository: a job's `git push` must not end there.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use super::super::mark::Marks;
use super::own::{Own, local_path, normal};
use crate::git::{ConfigWriter, Git, GitError};
use crate::private;

/// Keys that are about one work tree, one store of refs or one file.
const LEFT_OUT: [&[u8]; 15] = [
    b"core.worktree",
    b"core.bare",
    b"core.fsmonitor",
    b"core.splitindex",
    b"core.repositoryformatversion",
    b"core.sparsecheckout",
    b"core.sparsecheckoutcone",
    b"index.sparse",
    b"extensions.worktreeconfig",
    b"extensions.refstorage",
    b"extensions.relativeworktrees",
    b"extensions.preciousobjects",
    b"extensions.noop",
    b"lfs.storage",
    b"include.path",
];

/// What counts besides the user's: no work in the background that a job did not ask
/// for, and a work tree.
const OURS: &[(&[u8], &[u8])] = &[
    (b"core.bare", b"false"),
    (b"core.fsmonitor", b"false"),
    (b"gc.auto", b"0"),
    (b"maintenance.auto", b"false"),
];

/// A repository's configuration, and the slot's version of it.
#[derive(Debug, Clone, Default)]
pub(in crate::checkout) struct Config {
    marks: Marks,
    entries: Vec<Entry>,
    /// The file for the slot.
    pub(super) file: Vec<u8>,
    /// The patterns of the user's sparse checkout count.
    pub(super) sparse: bool,
    /// Where LFS objects are, if that is not their usual place.
    pub(super) lfs: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// Of the repository, and not of the user or the system.
    local: bool,
    file: Option<PathBuf>,
    key: Vec<u8>,
    /// `None` where the key stands alone, which is a true boolean.
    value: Option<Vec<u8>>,
}

/// Where a repository is.
pub(super) struct SlotDirs<'a> {
    /// Its common git directory.
    pub(super) dir: &'a Path,
    /// Ours in it.
    pub(super) ci_dir: &'a Path,
}

impl SlotDirs<'_> {
    /// The common git directory of the user's repository, where this is one of a submodule.
    fn outer(&self) -> Option<&Path> {
        self.ci_dir.parent().filter(|dir| *dir != self.dir)
    }
}

impl Config {
    /// Whether the files are as they were.
    pub(super) fn holds(&self) -> bool {
        self.marks.hold()
    }

    /// Asks git for what counts in the repository at `place`.
    ///
    /// # Errors
    /// Those of git: a file that cannot be parsed, for one.
    pub(super) fn read(git: &Git, place: &SlotDirs<'_>) -> Result<Self, GitError> {
        let began = SystemTime::now();
        let mut entries = list(git, place.dir, &[])?;
        if entries
            .iter()
            .any(|entry| entry.key.starts_with(b"includeif.onbranch:"))
        {
            entries = without_branch(git, place, entries)?;
        }
        let mut config = Self {
            marks: Marks::default(),
            entries,
            file: Vec::new(),
            sparse: false,
            lfs: None,
        };
        config.marks = Marks::since(began, config.files(place));
        config.sparse = config.boolean("ci.sparse") && config.boolean("core.sparsecheckout");
        config.lfs = config.lfs_storage(place.dir);
        config.file = config.flatten(git, place)?;
        Ok(config)
    }

    /// The last value of a key, its section and variable in lower case.
    pub(in crate::checkout) fn get(&self, key: &str) -> Option<&[u8]> {
        let entry = self.entries.iter().rev();
        let entry = entry
            .into_iter()
            .find(|entry| entry.key == key.as_bytes())?;
        Some(entry.value.as_deref().unwrap_or(b"true"))
    }

    /// All values of a key.
    pub(in crate::checkout) fn all(&self, key: &str) -> impl Iterator<Item = &[u8]> {
        let entries = self.entries.iter();
        entries
            .filter(move |entry| entry.key == key.as_bytes())
            .filter_map(|entry| entry.value.as_deref())
    }

    /// The file for a slot's submodule, whose worktree is somewhere else than usual.
    pub(super) fn with_worktree(&self, worktree: &[u8]) -> Vec<u8> {
        let mut out = ConfigWriter::after(self.file.clone());
        out.entry(b"core.worktree", Some(worktree));
        out.text
    }

    /// Whether a key is set to something that means yes.
    pub(super) fn boolean(&self, key: &str) -> bool {
        self.get(key).is_some_and(is_true)
    }

    /// Every file that was read, or that would count if it came to be.
    fn files(&self, place: &SlotDirs<'_>) -> BTreeSet<PathBuf> {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let user = std::env::var_os("XDG_CONFIG_HOME")
            .filter(|dir| !dir.is_empty())
            .map(PathBuf::from)
            .or_else(|| home.as_ref().map(|home| home.join(".config")));
        let mut files = BTreeSet::from([
            place.dir.join("config"),
            place.dir.join("config.worktree"),
            PathBuf::from("/etc/gitconfig"),
        ]);
        files.extend(home.as_ref().map(|home| home.join(".gitconfig")));
        files.extend(user.map(|user| user.join("git/config")));
        for variable in ["GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"] {
            files.extend(std::env::var_os(variable).map(PathBuf::from));
        }
        for entry in &self.entries {
            files.extend(entry.file.clone());
            files.extend(entry.included(home.as_deref()));
        }
        files
    }

    /// Where the work tree is, to which relative URLs are relative.
    pub(in crate::checkout) fn top(&self, dir: &Path) -> PathBuf {
        match self.get("core.worktree") {
            Some(path) => dir.join(OsStr::from_bytes(path)),
            None if self.boolean("core.bare") => dir.to_owned(),
            None if dir.file_name() == Some(OsStr::new(".git")) => {
                dir.parent().unwrap_or(dir).to_owned()
            }
            None => dir.to_owned(),
        }
    }

    fn lfs_storage(&self, dir: &Path) -> Option<PathBuf> {
        let path = self.get("lfs.storage").filter(|path| !path.is_empty())?;
        // git-lfs knows no `~`.
        let path = dir.join(OsStr::from_bytes(path));
        Some(normal(&path))
    }

    fn flatten(&self, git: &Git, place: &SlotDirs<'_>) -> Result<Vec<u8>, GitError> {
        let own = Own::new(place.dir, self.top(place.dir));
        let outer = place.outer().map(|dir| Own::new(dir, dir.to_owned()));
        let mut out = ConfigWriter::default();
        let extended = self
            .entries
            .iter()
            .any(|entry| entry.local && entry.is_extension() && !entry.is_left_out());
        let version: &[u8] = if extended { b"1" } else { b"0" };
        out.entry(b"core.repositoryformatversion", Some(version));
        for file in self.conditional(git)? {
            out.entry(b"include.path", Some(file.as_os_str().as_bytes()));
        }
        let urls: Vec<_> = self.aliases().collect();
        for entry in self.entries.iter().filter(|entry| entry.local) {
            if entry.is_left_out() || entry.leads_into(&own) {
                continue;
            }
            let url = entry.value.as_deref().filter(|_| entry.is_url());
            let is_outer = |url: &[u8]| {
                let path = own.path(url).zip(outer.as_ref());
                path.is_some_and(|(path, outer)| outer.is(&path))
            };
            if url.is_some_and(is_outer) {
                // A repository that is its own submodule.
                continue;
            }
            let aliased = |url: &[u8]| urls.iter().any(|alias| url.starts_with(alias));
            match url {
                Some(url) if !aliased(url) => out.entry(&entry.key, Some(&own.url(url))),
                _ => out.entry(&entry.key, entry.value.as_deref()),
            }
        }
        if self.sparse {
            out.entry(b"core.sparsecheckout", Some(b"true"));
            let cone = self.get("core.sparsecheckoutcone");
            out.entry(b"core.sparsecheckoutcone", cone);
        }
        if self.lfs.is_some() {
            // Also where the user's own file says otherwise.
            out.entry(b"lfs.storage", Some(b"lfs"));
        }
        for (key, value) in OURS {
            out.entry(key, Some(value));
        }
        Ok(out.text)
    }

    /// Prefixes that stand for something else in URLs.
    fn aliases(&self) -> impl Iterator<Item = &[u8]> {
        let all = self.entries.iter().filter(|entry| {
            entry.key.starts_with(b"url.")
                && (entry.key.ends_with(b".insteadof") || entry.key.ends_with(b".pushinsteadof"))
        });
        all.filter_map(|entry| entry.value.as_deref())
            .filter(|value| !value.is_empty())
    }

    /// Files of the user or the system that count for the repository by a condition, and
    /// would not in a slot, which is somewhere else.
    fn conditional(&self, git: &Git) -> Result<Vec<PathBuf>, GitError> {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let mut named = self
            .entries
            .iter()
            .filter(|entry| !entry.local && entry.key.starts_with(b"includeif."))
            .filter_map(|entry| entry.included(home.as_deref()))
            .peekable();
        if named.peek().is_none() {
            return Ok(Vec::new());
        }
        let mut always = Vec::new();
        for scope in ["--system", "--global"] {
            // Neither need exist.
            always.extend(list(git, Path::new("/"), &[scope]).unwrap_or_default());
        }
        let of = |entries: &[Entry], file: &Path| {
            let mut files = entries.iter().filter_map(|entry| entry.file.as_deref());
            files.any(|one| normal(one) == *file)
        };
        let mut found: Vec<PathBuf> = Vec::new();
        for file in named {
            let file = normal(&file);
            if of(&self.entries, &file) && !of(&always, &file) && !found.contains(&file) {
                found.push(file);
            }
        }
        Ok(found)
    }
}

impl Entry {
    /// The file that it includes, if that is what it does.
    fn included(&self, home: Option<&Path>) -> Option<PathBuf> {
        let includes = self.key == b"include.path"
            || self.key.starts_with(b"includeif.") && self.key.ends_with(b".path");
        let path = self.value.as_deref().filter(|_| includes)?;
        match path.strip_prefix(b"~/") {
            Some(rest) => Some(home?.join(OsStr::from_bytes(rest))),
            None => Some(self.file.as_ref()?.parent()?.join(OsStr::from_bytes(path))),
        }
    }

    fn is_extension(&self) -> bool {
        self.key.starts_with(b"extensions.")
    }

    fn is_left_out(&self) -> bool {
        LEFT_OUT.contains(&self.key.as_slice()) || self.key.starts_with(b"includeif.")
    }

    /// Whether the value is where another repository is.
    fn is_url(&self) -> bool {
        self.key.starts_with(b"remote.")
            && (self.key.ends_with(b".url") || self.key.ends_with(b".pushurl"))
    }

    /// Whether it leads into the user's own repository, so that a job would run hooks of
    /// the user's or push to it.
    fn leads_into(&self, own: &Own) -> bool {
        let value = self.value.as_deref().unwrap_or_default();
        if self.key == b"core.hookspath" {
            return own.has(Path::new(OsStr::from_bytes(value)));
        }
        let alias = self.key.strip_prefix(b"url.");
        let base = alias.and_then(|rest| {
            let plain = rest.strip_suffix(b".insteadof");
            plain.or(rest.strip_suffix(b".pushinsteadof"))
        });
        base.and_then(local_path)
            .is_some_and(|base| own.has(base) || own.is(base))
    }
}

/// Whether git takes a value for true.
pub(in crate::checkout) fn is_true(value: &[u8]) -> bool {
    let value = value.trim_ascii().to_ascii_lowercase();
    let number = std::str::from_utf8(&value).ok().map(str::parse::<i64>);
    matches!(value.as_slice(), b"true" | b"yes" | b"on")
        || number.is_some_and(|number| number.is_ok_and(|number| number != 0))
}

/// What git lists for the git directory `dir`, or with `scope`, for no repository.
fn list(git: &Git, dir: &Path, scope: &[&str]) -> Result<Vec<Entry>, GitError> {
    let mut command = git.command();
    // Whatever the current directory is, or was.
    command.current_dir("/");
    if scope.is_empty() {
        command.arg("--git-dir").arg(dir);
        // The worktree of a submodule may be gone, which git would take ill.
        command.arg("--work-tree").arg(dir);
    }
    command.arg("config").args(scope);
    command.args([
        "--list",
        "--includes",
        "-z",
        "--show-scope",
        "--show-origin",
    ]);
    let listed = git.output(&mut command)?.stdout;
    let mut fields = listed.split(|&byte| byte == 0);
    let mut entries = Vec::new();
    while let (Some(scope), Some(origin), Some(entry)) =
        (fields.next(), fields.next(), fields.next())
    {
        if scope == b"command" {
            continue;
        }
        let mut parts = entry.splitn(2, |&byte| byte == b'\n');
        entries.push(Entry {
            local: matches!(scope, b"local" | b"worktree"),
            file: origin
                .strip_prefix(b"file:")
                .map(|file| Path::new("/").join(OsStr::from_bytes(file))),
            key: parts.next().unwrap_or_default().to_vec(),
            value: parts.next().map(<[u8]>::to_vec),
        });
    }
    Ok(entries)
}

/// What counts whatever branch the user is on: a slot is on none. `entries` is what
/// counts on the branch of the moment.
fn without_branch(
    git: &Git,
    place: &SlotDirs<'_>,
    entries: Vec<Entry>,
) -> Result<Vec<Entry>, GitError> {
    // A git directory below the real one matches nearly every `gitdir:` that this matches.
    let prepare = || {
        let name = match place.outer() {
            None => "detached".to_owned(),
            // Each has its own.
            Some(_) => {
                let hash = Sha256::digest(place.dir.as_os_str().as_bytes());
                format!("detached-{}", faster_hex::hex_string(&hash[..8]))
            }
        };
        let detached = private::dir_in(place.ci_dir, name)?;
        let common = place.dir.as_os_str().as_bytes();
        write_once(&detached.join("commondir"), common)?;
        write_once(&detached.join("HEAD"), "0".repeat(40).as_bytes())?;
        Ok(detached)
    };
    let detached = prepare().map_err(|source| GitError::Io {
        verb: "config".to_owned(),
        source,
    })?;
    let worktree = place.dir.join("config.worktree");
    let mut kept = list(git, &detached, &[])?;
    let own = entries.into_iter();
    kept.extend(own.filter(|entry| entry.file.as_ref() == Some(&worktree)));
    Ok(kept)
}

/// Writes a file that others may be reading, unless it is as it should be.
fn write_once(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if crate::git::read_file(path, 1 << 16).as_deref() == Some(bytes) {
        return Ok(());
    }
    let new = path.with_extension(std::process::id().to_string());
    std::fs::write(&new, bytes)?;
    std::fs::rename(&new, path)
}
