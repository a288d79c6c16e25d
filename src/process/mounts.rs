//! What is mounted where, as this process sees it.
//!
//! A job may mount something in its worktree and leave it there; whoever cleans up
//! through a mount removes somebody else's files.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// The mount points at `path` and below it; none where the system does not tell.
pub(crate) fn mounts_at(path: &Path) -> Vec<PathBuf> {
    // As the kernel names it.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let points = table.split(|&byte| byte == b'\n').filter_map(point_of);
    points.filter(|point| point.starts_with(&path)).collect()
}

/// The mount point of a line of mountinfo: see proc_pid_mountinfo(5).
fn point_of(line: &[u8]) -> Option<PathBuf> {
    let field = line.split(|&byte| byte == b' ').nth(4)?;
    let mut name = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = (byte == b'\\').then(|| after.get(..3)).flatten();
        let octal = escaped.and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        name.push(octal.unwrap_or(byte));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    Some(PathBuf::from(OsString::from_vec(name)))
}

/// The first mount point at a path or below it, as an error.
///
/// # Errors
/// Where there is one.
pub(crate) fn refuse_mounts(path: &Path) -> std::io::Result<()> {
    match mounts_at(path).first() {
        None => Ok(()),
        Some(point) => Err(std::io::Error::new(
            std::io::ErrorKind::ResourceBusy,
            format!(
                "something is mounted at {}",
                String::from_utf8_lossy(point.as_os_str().as_bytes())
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_unescaped() {
        let line = b"36 35 98:0 /mnt1 /mnt\\0402\\134x rw,noatime master:1 - ext3 /dev/root rw";
        assert_eq!(point_of(line).unwrap(), Path::new("/mnt 2\\x"));
        assert_eq!(point_of(b""), None);
    }

    #[test]
    fn what_is_mounted_below_a_path_is_found() {
        assert!(mounts_at(Path::new("/")).contains(&PathBuf::from("/proc")));
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(mounts_at(dir.path()), [] as [&Path; 0]);
        refuse_mounts(dir.path()).unwrap();
        assert!(refuse_mounts(Path::new("/proc")).is_err());
    }
}
