//! Worktrees that a job's `git worktree add ../NAME` left beside the slots.
//!
//! The git directory of the slot lists them, and they name it: so they are told from what
//! somebody else put there. What a job makes elsewhere is its own business.

use std::path::{Path, PathBuf};

use super::remove_tree;
use crate::private;

/// No such file is longer, in bytes.
const MOST: u64 = 8192;

/// Removes those of the slot at `path`. What cannot be removed is in the way of a job that
/// makes it again, and of nobody else.
pub(super) fn remove(path: &Path) {
    let Some(root) = path.parent() else { return };
    let own = path.join(".git/worktrees");
    let is_dir = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.is_dir());
    if !is_dir(&path.join(".git")) || !is_dir(&own) {
        return;
    }
    for entry in own.read_dir().into_iter().flatten().flatten() {
        let Some(linked) = line(&entry.path().join("gitdir")) else {
            continue;
        };
        let Some(linked) = linked.parent().and_then(|path| path.canonicalize().ok()) else {
            continue;
        };
        let back = line(&linked.join(".git"));
        let is_of_it = back.is_some_and(|back| back.starts_with(&own));
        if is_of_it && is_beside(root, &linked) {
            let _ = remove_tree(&linked);
        }
    }
}

/// The path that git wrote to a file, perhaps behind `gitdir: `.
fn line(file: &Path) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt as _;
    let bytes = private::read(file, MOST).ok()?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_prefix(b"gitdir: ").unwrap_or(line).to_vec();
    Some(std::ffi::OsString::from_vec(line).into())
}

/// Whether it is below `root`, and no slot or anything else of ours.
fn is_beside(root: &Path, path: &Path) -> bool {
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let first = path.strip_prefix(root).ok();
    let first = first.and_then(|below| below.components().next());
    first.is_some_and(|first| {
        let name = first.as_os_str().as_encoded_bytes();
        !name.starts_with(b"slot-") && !name.starts_with(b".")
    })
}
