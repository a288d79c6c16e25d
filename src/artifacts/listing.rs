//! What is in a directory of artifacts, and how it gets out of there.

use std::fs::{self, DirBuilder, DirEntry, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::private;

use super::keep::{is_executable, stays_within};

/// A file that a job left, or a link.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LeftFile {
    /// Where it is, from the directory.
    pub path: PathBuf,
    /// What it is.
    pub what: Left,
}

/// What a job can leave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// A file.
    File {
        /// How long it is.
        bytes: u64,
        /// Whether it can be executed.
        executable: bool,
    },
    /// A link, to what is also there or was to be.
    Link(PathBuf),
}

/// The files and links in a directory of artifacts, in order; what is not to be there is passed over.
///
/// # Errors
/// Where it cannot be read.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<LeftFile>> {
    let mut found = Vec::new();
    add(dir, Path::new(""), &mut found)?;
    Ok(found)
}

fn add(root: &Path, dir: &Path, found: &mut Vec<LeftFile>) -> io::Result<()> {
    let entries: io::Result<Vec<DirEntry>> = fs::read_dir(root.join(dir))?.collect();
    let mut entries = entries?;
    entries.sort_by_key(DirEntry::file_name);
    for entry in entries {
        let path = dir.join(entry.file_name());
        let meta = entry.metadata()?;
        if meta.is_dir() {
            add(root, &path, found)?;
        } else if meta.is_file() {
            let (bytes, executable) = (meta.len(), is_executable(&meta));
            let what = Left::File { bytes, executable };
            found.push(LeftFile { path, what });
        } else if meta.is_symlink() {
            let target = fs::read_link(entry.path())?;
            if stays_within(&path, &target) {
                let what = Left::Link(target);
                found.push(LeftFile { path, what });
            }
        }
    }
    Ok(())
}

/// Copies what was listed in `from` into a directory of the user's, which is made where it is
/// missing. Nothing that is there is written over, and no link there is followed.
///
/// # Errors
/// Where something is in the way, which is found before anything is copied; or where it cannot
/// be copied.
pub(crate) fn extract(files: &[LeftFile], from: &Path, to: &Path) -> io::Result<()> {
    for file in files {
        let mut path = to.to_owned();
        for part in file.path.components() {
            path.push(part);
            let found = path.symlink_metadata();
            let last = path.ends_with(&file.path);
            if found.is_ok_and(|found| last || !found.is_dir()) {
                let message = format!("{} is there already", path.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
            }
        }
    }
    let mut dirs = DirBuilder::new();
    dirs.recursive(true).mode(0o777);
    dirs.create(to)?;
    for file in files {
        let path = to.join(&file.path);
        dirs.create(path.parent().unwrap_or(to))?;
        match &file.what {
            Left::Link(target) => symlink(target, &path)?,
            Left::File { executable, .. } => {
                let mut original = private::open(&from.join(&file.path), private::Open::Read)?;
                let mut new = OpenOptions::new();
                new.write(true).create_new(true);
                new.mode(if *executable { 0o777 } else { 0o666 });
                io::copy(&mut original, &mut new.open(&path)?)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_out_is_the_users() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        fs::create_dir_all(from.join("d")).unwrap();
        fs::write(from.join("d/file"), "text").unwrap();
        let mut locked = fs::metadata(from.join("d/file")).unwrap().permissions();
        locked.set_readonly(true);
        fs::set_permissions(from.join("d/file"), locked).unwrap();
        symlink("d/file", from.join("link")).unwrap();
        symlink("/etc", from.join("out")).unwrap();
        let files = list(&from).unwrap();
        let paths: Vec<_> = files.iter().map(|file| file.path.as_path()).collect();
        assert_eq!(paths, [Path::new("d/file"), Path::new("link")]);
        extract(&files, &from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("link")).unwrap(), "text");
        fs::write(to.join("d/file"), "mine").unwrap();
        // Not again over what is there, and nowhere else.
        let error = extract(&files, &from, &to).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{} is there already", to.join("d/file").display())
        );
        assert_eq!(fs::read_to_string(to.join("d/file")).unwrap(), "mine");
        let other = root.path().join("other");
        fs::create_dir(&other).unwrap();
        symlink(root.path(), other.join("d")).unwrap();
        assert!(extract(&files, &from, &other).is_err());
        assert!(!root.path().join("file").exists());
    }
}
