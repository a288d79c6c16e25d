//! What of a configuration leads back to the user's own repository.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

/// The user's repository and its work tree.
pub(super) struct Own {
    dir: PathBuf,
    top: PathBuf,
}

impl Own {
    pub(super) fn new(dir: &Path, top: PathBuf) -> Self {
        Self {
            dir: real(dir),
            top: real(&top),
        }
    }

    /// Whether a path, from the work tree, is below the git directory.
    pub(super) fn has(&self, path: &Path) -> bool {
        real(&self.top.join(path)).starts_with(&self.dir)
    }

    /// Whether a path, from the work tree, is this repository, or a work tree of it.
    pub(super) fn is(&self, path: &Path) -> bool {
        let path = real(&self.top.join(path));
        let is = |dir: &Path| {
            let common = crate::git::read_file(&dir.join("commondir"), 1 << 16);
            let common = common.map(|text| dir.join(OsStr::from_bytes(text.trim_ascii_end())));
            real(&common.unwrap_or_else(|| dir.to_owned())) == self.dir
        };
        let dot_git = path.join(".git");
        let link = crate::git::read_file(&dot_git, 1 << 16);
        let link = link.as_deref().and_then(|text| {
            let target = text.strip_prefix(b"gitdir: ")?.trim_ascii_end();
            Some(path.join(OsStr::from_bytes(target)))
        });
        path == self.top || is(&path) || is(&link.unwrap_or(dot_git))
    }

    /// The path that a URL is, if it is one.
    pub(super) fn path(&self, url: &[u8]) -> Option<PathBuf> {
        local_path(url).map(|path| self.top.join(path))
    }

    /// A URL as it must be in a slot to mean the same: relative paths are made absolute.
    /// One that means the repository itself means the slot there, as `.` does.
    pub(super) fn url(&self, url: &[u8]) -> Vec<u8> {
        let Some(path) = local_path(url) else {
            return url.to_owned();
        };
        if self.is(path) {
            return b".".to_vec();
        }
        if path.is_absolute() {
            return url.to_owned();
        }
        normal(&self.top.join(path))
            .into_os_string()
            .into_encoded_bytes()
    }
}

/// The path that a URL is, if it is one: as git decides it, by the first colon that no
/// slash comes before.
pub(super) fn local_path(url: &[u8]) -> Option<&Path> {
    if let Some(path) = url.strip_prefix(b"file://") {
        return Some(Path::new(OsStr::from_bytes(path))).filter(|path| path.is_absolute());
    }
    let end = url.iter().position(|byte| matches!(byte, b':' | b'/'));
    match end.map(|end| url[end]) {
        Some(b':') => None,
        _ if url.is_empty() => None,
        _ => Some(Path::new(OsStr::from_bytes(url))),
    }
}

/// Where a path leads, as far as it exists.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| normal(path))
}

/// A path without `.` and `..`.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}
