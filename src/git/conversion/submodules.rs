//! What decides how the blobs of submodules become files, and what decides besides that
//! which of them are there.
//!
//! A submodule is a repository with a configuration of its own. Hardly any says something
//! that changes files, so git is asked only about those whose own files could.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::super::Repo;
use super::{Conversion, MAX_SIZE};

/// A configuration without any of these words says nothing that changes files.
const WORDS: [&[u8]; 9] = [
    b"active",
    b"attr",
    b"autocrlf",
    b"eol",
    b"fetch",
    b"filter",
    b"include",
    b"symlinks",
    b"update",
];

/// What `git clone` and `git submodule` themselves write that has one of the words.
const ORDINARY: [&[u8]; 3] = [
    b"fetch = +refs/heads/*:refs/remotes/origin/*",
    b"active = true",
    b"active = .",
];

impl Conversion {
    /// What the submodules of `repo` have besides what it has itself, by their git
    /// directories.
    pub(crate) fn of_submodules(&self, repo: &Repo) -> BTreeMap<String, Vec<u8>> {
        let common = repo.common_dir();
        let mut dirs = Vec::new();
        find(&common.join("modules"), &mut dirs);
        let worktrees = fs::read_dir(common.join("worktrees"));
        for worktree in worktrees.into_iter().flatten().flatten() {
            find(&worktree.path().join("modules"), &mut dirs);
        }
        dirs.retain(|dir| may_change_files(dir));
        let mut found = BTreeMap::new();
        if dirs.is_empty() {
            return found;
        }
        let own = self.settings();
        for dir in dirs {
            let Ok(module) = repo.open_submodule(&dir) else {
                // No task can be prepared with it, either.
                continue;
            };
            let settings = Self::alone(&module, module.all_config()).settings();
            let mut settings = settings.iter().filter(|one| !own.contains(one)).peekable();
            if settings.peek().is_none() {
                continue;
            }
            let mut hash = Sha256::new();
            for (name, value) in settings {
                for part in [name.as_bytes(), value] {
                    hash.update((part.len() as u64).to_be_bytes());
                    hash.update(part);
                }
            }
            let name = dir.strip_prefix(common).unwrap_or(&dir);
            let name = String::from_utf8_lossy(name.as_os_str().as_bytes()).into_owned();
            found.insert(name, hash.finalize().to_vec());
        }
        found
    }
}

/// Finds the git directories in a directory of them, and in theirs; names of submodules
/// may have slashes in them.
fn find(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if path.join("objects").is_dir() {
            find(&path.join("modules"), found);
            found.push(path);
        } else {
            find(&path, found);
        }
    }
}

fn may_change_files(dir: &Path) -> bool {
    let read = |name: &str| {
        let read = crate::git::read_file(&dir.join(name), MAX_SIZE);
        read.unwrap_or_default()
    };
    let says = |name: &str| {
        let text = read(name);
        let mut lines = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
        lines.any(|line| {
            let line = line.to_ascii_lowercase();
            let has = |word: &&[u8]| line.windows(word.len()).any(|part| part == *word);
            !ORDINARY.contains(&line.as_slice()) && WORDS.iter().any(has)
        })
    };
    says("config")
        || says("config.worktree")
        || !super::super::attributes::keeps_blobs(&read("info/attributes"))
}
