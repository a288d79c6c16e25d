//! Patterns that select paths: those of `gitignore(5)`, which say what counts instead of what
//! does not. The last one that matches a path, or a directory above it, decides.

use std::ffi::OsStr;
use std::fs::{self, DirEntry, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use gix::bstr::{BStr, ByteSlice as _};
use gix::glob::pattern::{Case, Mode};
use gix::glob::{Pattern, wildmatch};

/// How `*` and `**` treat slashes.
const SLASHES: wildmatch::Mode = wildmatch::Mode::NO_MATCH_SLASH_LITERAL;

/// A list of patterns, of which the last that matches decides.
#[derive(Debug)]
pub(crate) struct Patterns(Vec<(Pattern, bool)>);

impl Patterns {
    /// Those of these that are patterns.
    pub(crate) fn new(patterns: &[String]) -> Self {
        let parse = |text: &String| {
            let (text, selects) = match text.strip_prefix('!') {
                Some(text) => (text, false),
                None => (text.as_str(), true),
            };
            let pattern = Pattern::from_bytes_without_negation(text.as_bytes())?;
            Some((pattern, selects))
        };
        Self(patterns.iter().filter_map(parse).collect())
    }

    /// The last pattern that matches this path, where that is after the one that matches what is
    /// above it.
    pub(crate) fn last(&self, above: Option<usize>, path: &BStr, is_dir: bool) -> Option<usize> {
        let base = path.rfind_byte(b'/').map(|slash| slash + 1);
        let first = above.map_or(0, |above| above + 1);
        let later = self.0.iter().enumerate().skip(first).rev();
        let mut matching = later.filter(|(_, (pattern, _))| {
            let case = Case::Sensitive;
            pattern.matches_repo_relative_path(path, base, Some(is_dir), case, SLASHES)
        });
        matching.next().map(|(at, _)| at).or(above)
    }

    /// Whether what was matched last by this pattern is selected.
    pub(crate) fn selects(&self, last: Option<usize>) -> bool {
        last.is_some_and(|last| self.0[last].1)
    }

    /// Whether something below a directory may be treated otherwise than the directory is.
    pub(crate) fn is_mixed_below(&self, last: Option<usize>, dir: &BStr) -> bool {
        let own = self.selects(last);
        let first = last.map_or(0, |last| last + 1);
        let mut later = self.0[first..].iter();
        later.any(|(pattern, selects)| *selects != own && may_match_below(pattern, dir))
    }
}

/// Whether a pattern may match a path below this directory, and not the directory.
fn may_match_below(pattern: &Pattern, dir: &BStr) -> bool {
    let mode = pattern.mode;
    if mode.contains(Mode::NO_SUB_DIR) && !mode.contains(Mode::ABSOLUTE) {
        return true;
    }
    let mut parts = dir.split_str("/");
    for expected in pattern.text.split_str("/") {
        if expected.contains_str("**") {
            return true;
        }
        match parts.next() {
            Some(part) if wildmatch(expected.as_bstr(), part.as_bstr(), SLASHES) => {}
            Some(_) => return false,
            None => return true,
        }
    }
    false
}

/// A file that is selected below a directory.
#[derive(Debug)]
pub(crate) struct SelectedFile {
    /// Where it is, from that directory.
    pub(crate) path: PathBuf,
    /// What it was when it was found: a file, and no link to one.
    pub(crate) meta: Metadata,
}

impl Patterns {
    /// The files below a directory that are selected, in order, as far as they can be found:
    /// at most so many. No link is followed, and `.git` is passed over.
    pub(crate) fn files(&self, root: &Path, most: usize) -> Vec<SelectedFile> {
        let mut found = Vec::new();
        self.add_files(root, b"".as_bstr(), None, most, &mut found);
        found
    }

    fn add_files(
        &self,
        root: &Path,
        dir: &BStr,
        above: Option<usize>,
        most: usize,
        found: &mut Vec<SelectedFile>,
    ) {
        let entries = fs::read_dir(root.join(OsStr::from_bytes(dir)));
        let mut entries: Vec<_> = entries.into_iter().flatten().flatten().collect();
        entries.sort_by_key(DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            if found.len() >= most {
                return;
            }
            // It is not followed where it is a link.
            let Ok(meta) = entry.metadata() else { continue };
            if name == ".git" {
                continue;
            }
            let mut path = dir.to_owned();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.as_bytes());
            let last = self.last(above, path.as_bstr(), meta.is_dir());
            if meta.is_dir() {
                if self.selects(last) || self.is_mixed_below(last, path.as_bstr()) {
                    self.add_files(root, path.as_bstr(), last, most, found);
                }
            } else if meta.is_file() && self.selects(last) {
                let path = OsStr::from_bytes(&path).into();
                found.push(SelectedFile { path, meta });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_where_the_patterns_say() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in [
            "a/b/junit.xml",
            "a/junit.xml",
            "a/other.txt",
            "junit.xml",
            ".git/junit.xml",
        ] {
            let file = root.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        std::os::unix::fs::symlink("a", root.join("link")).unwrap();
        std::os::unix::fs::symlink("junit.xml", root.join("a/link.xml")).unwrap();
        for (patterns, expected) in [
            (
                &["a/**/junit.xml"][..],
                &["a/b/junit.xml", "a/junit.xml"][..],
            ),
            (&["*.xml"], &["a/b/junit.xml", "a/junit.xml", "junit.xml"]),
            (&["/*.xml"], &["junit.xml"]),
            (&["a", "!*.xml"], &["a/other.txt"]),
            (&["link/junit.xml"], &[]),
            (&["a/b/"], &["a/b/junit.xml"]),
        ] {
            let texts: Vec<_> = patterns.iter().map(|text| (*text).to_owned()).collect();
            let found = Patterns::new(&texts).files(root, 100);
            let found: Vec<_> = found
                .iter()
                .map(|file| file.path.to_str().unwrap())
                .collect();
            assert_eq!(found, expected, "{patterns:?}");
        }
        assert_eq!(Patterns::new(&["*".to_owned()]).files(root, 2).len(), 2);
    }
}
