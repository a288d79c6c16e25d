//! Whose a worktree is: the slots, each a repository of its own, and the linked worktrees
//! that git has on its books. Those of older versions of git-ci were such.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::{Repo, read_file};

/// The file in a slot's git directory that says what git-ci knows about the slot's files.
pub(crate) const STATE: &str = "git-ci";

/// Its first words: the repository that the slot is of.
pub(crate) const OF: &str = "slot-of ";

/// The files of ours are small.
const MAX_STATE: u64 = 1 << 20;

/// One entry of the books, which may be out of date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkedWorktree {
    /// git's directory for it, `<common git dir>/worktrees/NAME`.
    pub admin: PathBuf,
    /// Where the worktree is, or was.
    pub path: PathBuf,
}

impl Repo {
    /// Every linked worktree: ours, the user's, and those that are long gone.
    pub fn linked_worktrees(&self) -> Vec<LinkedWorktree> {
        let books = fs::read_dir(self.common_dir().join("worktrees"));
        let mut found = Vec::new();
        for entry in books.into_iter().flatten().flatten() {
            let admin = entry.path();
            let Ok(text) = fs::read_to_string(admin.join("gitdir")) else {
                continue;
            };
            // Absolute, unless `worktree.useRelativePaths` says otherwise.
            let file = admin.join(text.trim_end_matches('\n'));
            if let Some(path) = file.parent() {
                let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
                found.push(LinkedWorktree { admin, path });
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found
    }

    /// Strikes the worktree at `path` off the books. The caller owns it, and has removed
    /// it or does not care what becomes of it.
    ///
    /// # Errors
    /// Those of removing a directory.
    pub fn forget_worktree(&self, path: &Path) -> io::Result<()> {
        let path = match (path.parent().map(Path::canonicalize), path.file_name()) {
            (Some(Ok(parent)), Some(name)) => parent.join(name),
            _ => path.to_owned(),
        };
        for entry in self.linked_worktrees() {
            if entry.path == path {
                fs::remove_dir_all(&entry.admin)?;
                // As git does; where there are others it stays.
                let _ = fs::remove_dir(self.common_dir().join("worktrees"));
            }
        }
        Ok(())
    }
}

/// The repository that the slot at `path` is of, as it says itself; `None` where there is
/// no slot. Those of older versions are linked worktrees.
pub fn slot_of(path: &Path) -> Option<PathBuf> {
    let dot_git = path.join(".git");
    if fs::symlink_metadata(&dot_git).ok()?.is_dir() {
        return slot_of_git_dir(&dot_git);
    }
    // `<common git dir>/worktrees/NAME`.
    let text = read_file(&dot_git, 1 << 16)?;
    let text = String::from_utf8(text).ok()?;
    let admin = path.join(text.strip_prefix("gitdir: ")?.trim_end_matches('\n'));
    Some(admin.parent()?.parent()?.to_owned())
}

/// The repository that the slot with the git directory `dir` is of.
pub(crate) fn slot_of_git_dir(dir: &Path) -> Option<PathBuf> {
    let text = read_file(&dir.join(STATE), MAX_STATE)?;
    let rest = text.strip_prefix(OF.as_bytes())?;
    let end = rest.iter().position(|&byte| byte == 0)?;
    Some(PathBuf::from(OsStr::from_bytes(&rest[..end])))
}
