//! The git directories of submodules in a slot: what of them is not ours goes.

use std::fs;
use std::io;
use std::path::Path;

use super::admin::Admin;
use super::files::remove_path;
use super::location::MODULES;
use super::pipes;

/// Removes the git directories of submodules that are not ours, which a job made, from `admin`.
///
/// # Errors
/// Where they cannot be removed.
pub(super) fn tidy(admin: &Path) -> io::Result<()> {
    let modules = admin.join(MODULES);
    if fs::symlink_metadata(&modules).is_err() {
        return Ok(());
    }
    // git looks into them from the outer worktree, too.
    pipes::remove_from_modules(admin)?;
    keep_ours(&modules).map(|_| ())
}

/// Removes what is not ours in a directory, and says whether anything is left; names of
/// submodules may have slashes in them.
fn keep_ours(dir: &Path) -> io::Result<bool> {
    let mut any = false;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let is_dir = fs::symlink_metadata(&path)?.is_dir();
        if is_dir {
            // It would lead git elsewhere.
            remove_path(&path.join("commondir"))?;
        }
        if is_dir && (Admin::is_ours(&path) || keep_ours(&path)?) {
            any = true;
        } else {
            remove_path(&path)?;
        }
    }
    Ok(any)
}
