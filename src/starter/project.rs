//! What a fresh clone of the project would hold: names of files, and their text.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// No manifest is longer, in bytes; a longer file is read as if it were empty.
const LONGEST: u64 = 4 << 20;

/// A checkout, reduced to the files that its commits have.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    top: PathBuf,
    files: BTreeSet<String>,
}

impl Project {
    /// The project whose work tree is at `top` and has these files, by their paths from
    /// there. What git does not track does not belong among them: a job would not find it.
    pub(crate) fn new(top: &Path, files: impl IntoIterator<Item = String>) -> Self {
        Self {
            top: top.to_owned(),
            files: files.into_iter().collect(),
        }
    }

    /// Its top.
    pub(super) fn top(&self) -> Dir<'_> {
        self.dir("")
    }

    /// One of its directories; the empty name is the top.
    pub(super) fn dir(&self, name: &str) -> Dir<'_> {
        let prefix = match name {
            "" => String::new(),
            name => format!("{name}/"),
        };
        Dir {
            project: self,
            prefix,
        }
    }

    /// Every directory at most `depth` levels below the top, parents first.
    pub(super) fn directories(&self, depth: usize) -> Vec<String> {
        let mut found = BTreeSet::new();
        for file in &self.files {
            for (slash, _) in file.match_indices('/').take(depth) {
                found.insert(&file[..slash]);
            }
        }
        let mut found: Vec<_> = found.into_iter().map(str::to_owned).collect();
        found.sort_by_key(|dir| dir.matches('/').count());
        found
    }
}

/// A directory of a project.
#[derive(Debug, Clone)]
pub(super) struct Dir<'a> {
    project: &'a Project,
    /// Its path with a slash at the end; empty for the top.
    prefix: String,
}

impl Dir<'_> {
    /// Whether one of these files is there.
    pub(super) fn has(&self, names: &[&str]) -> bool {
        names.iter().any(|name| {
            let path = format!("{}{name}", self.prefix);
            self.project.files.contains(&path)
        })
    }

    /// Whether there is any file below the directory `name`.
    pub(super) fn has_dir(&self, name: &str) -> bool {
        let prefix = format!("{}{name}/", self.prefix);
        let mut from = self.project.files.range(prefix.clone()..);
        from.next().is_some_and(|file| file.starts_with(&prefix))
    }

    /// The files below here, by their paths from here.
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        let from = self.project.files.range(self.prefix.clone()..);
        let below = from.take_while(|file| file.starts_with(&self.prefix));
        below.map(|file| &file[self.prefix.len()..])
    }

    /// The files right here.
    pub(super) fn entries(&self) -> impl Iterator<Item = &str> {
        self.files().filter(|file| !file.contains('/'))
    }

    /// The text of a file; empty where there is none, or it is no text.
    pub(super) fn read(&self, name: &str) -> String {
        if !self.has(&[name]) {
            return String::new();
        }
        let path = self.project.top.join(format!("{}{name}", self.prefix));
        let plain = |meta: fs::Metadata| meta.is_file() && meta.len() <= LONGEST;
        // A link could lead to a device, which may never end.
        if fs::symlink_metadata(&path).is_ok_and(plain) {
            fs::read_to_string(path).unwrap_or_default()
        } else {
            String::new()
        }
    }

    /// Those of these files that are there.
    pub(super) fn those<'n>(&self, names: &[&'n str]) -> Vec<&'n str> {
        let there = names.iter().filter(|name| self.has(&[name]));
        there.copied().collect()
    }

    /// The name of the first of these files that is there.
    pub(super) fn first<'n>(&self, names: &[&'n str]) -> Option<&'n str> {
        names.iter().find(|name| self.has(&[name])).copied()
    }
}

/// Whether a line of `text` begins with one of these, as a section or a key does.
pub(super) fn has_line(text: &str, starts: &[&str]) -> bool {
    text.lines().any(|line| {
        let line = line.trim_start();
        starts.iter().any(|start| line.starts_with(start))
    })
}
