//! What a job left on another machine, as it arrives.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path};

use crate::private;

use super::directory::Artifacts;
use super::keep::{ArtifactLimits, Kept, stays_within};

/// A directory of artifacts that is filled from elsewhere.
pub(crate) struct Received {
    artifacts: Artifacts,
    /// The file that arrives.
    file: Option<File>,
}

impl Received {
    /// Nothing yet.
    pub(crate) fn new(artifacts: Artifacts) -> Self {
        Self {
            artifacts,
            file: None,
        }
    }

    /// Begins a file.
    ///
    /// # Errors
    /// Where it cannot be made, or its path is none of a file in the directory.
    pub(crate) fn begin(&mut self, path: &Path, executable: bool) -> io::Result<()> {
        self.make_room(path)?;
        let file = private::open(&self.artifacts.path().join(path), private::Open::New)?;
        if executable {
            let mode = file.metadata()?.permissions().mode();
            file.set_permissions(fs::Permissions::from_mode(mode | 0o100))?;
        }
        self.file = Some(file);
        Ok(())
    }

    /// Goes on with the file that was begun last.
    ///
    /// # Errors
    /// Those of writing, and where none was begun.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = self.file.as_mut().ok_or(io::ErrorKind::InvalidInput)?;
        file.write_all(bytes)
    }

    /// Makes a link.
    ///
    /// # Errors
    /// As for [`begin`](Self::begin), and where it leads out of the directory.
    pub(crate) fn link(&mut self, path: &Path, target: &Path) -> io::Result<()> {
        if !stays_within(path, target) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.make_room(path)?;
        symlink(target, self.artifacts.path().join(path))
    }

    /// Keeps what has come.
    pub(crate) fn finish(self, limits: ArtifactLimits) -> Kept {
        self.artifacts.keep(limits, Path::new(""), &[])
    }

    /// Makes the directories above a path.
    fn make_room(&mut self, path: &Path) -> io::Result<()> {
        self.file = None;
        let mut parts = path.components().peekable();
        if parts.peek().is_none() || parts.any(|part| !matches!(part, Component::Normal(_))) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let above = path.parent().unwrap_or(path);
        fs::create_dir_all(self.artifacts.path().join(above))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::ArtifactStore;

    #[test]
    fn nothing_gets_out_of_the_directory() {
        let root = tempfile::tempdir().unwrap();
        let store = ArtifactStore::new(root.path());
        let (commit, job) = ("11".repeat(20).parse().unwrap(), "job".parse().unwrap());
        let mut received = Received::new(store.open(&commit, &job, 1).unwrap());
        assert!(received.append(b"early").is_err());
        for bad in ["", "../x", "/x", "a/../../x", "."] {
            assert!(received.begin(Path::new(bad), false).is_err(), "{bad}");
        }
        let link = Path::new("d/link");
        assert!(received.link(link, Path::new("../../x")).is_err());
        received.link(link, Path::new("../e")).unwrap();
        received.begin(Path::new("e/tool"), true).unwrap();
        received.append(b"te").unwrap();
        received.append(b"xt").unwrap();
        assert!(received.begin(Path::new("e/tool"), true).is_err());
        let kept = received.finish(ArtifactLimits::of(100));
        assert_eq!((kept.files, kept.bytes), (2, 4));
        let tool = store.path(&commit, &job).join("d/link/tool");
        assert_eq!(fs::read_to_string(&tool).unwrap(), "text");
        let mode = fs::metadata(tool).unwrap().permissions().mode();
        assert_eq!(mode & 0o700, 0o500);
    }
}
