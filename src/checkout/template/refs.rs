//! The refs of a slot: those of the user's repository as they are now, as one
//! `packed-refs` and a few symbolic ones.
//!
//! Reading thousands of loose refs takes longer than many a job, so they are read again
//! only where something changed: every way to change a loose ref changes the directory
//! that it is in. Loose refs are read before packed ones, since `git pack-refs` writes
//! the packed file before it deletes them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use gix::ObjectId;
use gix::objs::Kind;

use super::super::mark::Marks;
use crate::git::read_file;
use crate::git::{Git, GitError};

/// What is the user's alone, is about one work tree, or is git-ci's own. Replaced objects
/// are not seen: a commit is tested as it was recorded.
const LEFT_OUT: [&[u8]; 7] = [
    b"refs/stash",
    b"refs/bisect",
    b"refs/worktree",
    b"refs/rewritten",
    b"refs/prefetch",
    b"refs/ci",
    b"refs/replace",
];

/// git-ci's results, which change with every task.
const NOTES: &[u8] = b"refs/notes/ci";

/// A loose ref is one short line.
const MAX_LOOSE: u64 = 64 << 10;

/// No file of packed refs is larger.
const MAX_PACKED: u64 = 4 << 30;

/// The refs of a repository.
#[derive(Debug, Clone, Default)]
pub(super) struct Refs {
    marks: Marks,
    /// The directory of notes, and what else than results is in it.
    notes: Option<(PathBuf, BTreeSet<OsString>)>,
    /// The file `packed-refs` for the slot.
    pub(super) packed: Vec<u8>,
    /// Symbolic refs: name and target.
    pub(super) symbolic: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What the others name, tags peeled where that is known; tags come last.
    pub(super) tips: Vec<ObjectId>,
}

/// A ref that is no symbolic one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Direct {
    id: ObjectId,
    /// What the tag that it names is of.
    peeled: Option<ObjectId>,
}

/// Whose refs are read, and how.
pub(super) struct Store<'a> {
    pub(super) git: &'a Git,
    /// The common git directory.
    pub(super) dir: &'a Path,
    pub(super) reftable: bool,
    /// A ref of results besides those that are known by their names.
    pub(super) notes: Option<&'a str>,
    /// To peel tags with; without it the file does not say that tags are peeled.
    pub(super) objects: Option<&'a gix::Repository>,
}

impl Refs {
    /// Whether all is as it was.
    pub(super) fn hold(&self) -> bool {
        let notes = |(dir, names): &(PathBuf, BTreeSet<OsString>)| other_notes(dir) == *names;
        self.marks.hold() && self.notes.as_ref().is_none_or(notes)
    }

    /// Reads them.
    ///
    /// # Errors
    /// Where a directory or `packed-refs` cannot be read, and those of git.
    pub(super) fn read(store: &Store<'_>) -> Result<Self, GitError> {
        let began = SystemTime::now();
        if store.reftable {
            let table = store.dir.join("reftable");
            let mut refs = Reading::new(store);
            refs.ask_git()?;
            let marks = Marks::since(began, [table.join("tables.list"), table]);
            return Ok(refs.done(marks, false));
        }
        let mut refs = Reading::new(store);
        let io = |path: PathBuf, source: io::Error| GitError::Io {
            verb: format!("for-each-ref ({})", path.display()),
            source,
        };
        refs.dir(b"refs").map_err(|(path, error)| io(path, error))?;
        let packed = store.dir.join("packed-refs");
        // What is not there, or no file, holds no refs for git, either.
        let text = read_file(&packed, MAX_PACKED).unwrap_or_default();
        let peeled = refs.packed(&text);
        refs.watched.push(packed);
        let marks = Marks::since(began, std::mem::take(&mut refs.watched));
        Ok(refs.done(marks, peeled))
    }
}

struct Reading<'a> {
    store: &'a Store<'a>,
    watched: Vec<PathBuf>,
    notes: Option<(PathBuf, BTreeSet<OsString>)>,
    direct: BTreeMap<Vec<u8>, Direct>,
    symbolic: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Every loose ref that is a tag is peeled.
    peeled: bool,
}

impl<'a> Reading<'a> {
    fn new(store: &'a Store<'a>) -> Self {
        Self {
            store,
            watched: Vec::new(),
            notes: None,
            direct: BTreeMap::new(),
            symbolic: BTreeMap::new(),
            peeled: true,
        }
    }

    fn is_left_out(&self, name: &[u8]) -> bool {
        let is = |left_out: &[u8]| {
            name.strip_prefix(left_out)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        LEFT_OUT.iter().any(|left_out| is(left_out))
            || name.starts_with(NOTES)
            || self.store.notes.is_some_and(|notes| is(notes.as_bytes()))
    }

    /// Reads the loose refs of a directory and below.
    fn dir(&mut self, name: &[u8]) -> Result<(), (PathBuf, io::Error)> {
        let path = self.store.dir.join(OsStr::from_bytes(name));
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                self.watched.push(path);
                return Ok(());
            }
            Err(error) => return Err((path, error)),
        };
        // Results come and go here all the time; the others are looked at one by one.
        let one_by_one = name == b"refs/notes";
        if one_by_one {
            self.notes = Some((path.clone(), other_notes(&path)));
        } else {
            self.watched.push(path.clone());
        }
        for entry in entries {
            let entry = entry.map_err(|error| (path.clone(), error))?;
            let full = [name, b"/", entry.file_name().as_bytes()].concat();
            if self.is_left_out(&full) || full.ends_with(b".lock") {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.dir(&full)?;
                continue;
            }
            if one_by_one {
                self.watched.push(entry.path());
            }
            self.loose(&entry.path(), full);
        }
        Ok(())
    }

    /// Reads one loose ref; what is none, or broken, git does not see, either.
    fn loose(&mut self, path: &Path, name: Vec<u8>) {
        if gix::validate::reference::name(name.as_slice().into()).is_err() {
            return;
        }
        let text = read_file(path, MAX_LOOSE).unwrap_or_default();
        if let Some(target) = text.strip_prefix(b"ref:") {
            self.link(name, target.trim_ascii());
        } else if let Ok(id) = ObjectId::from_hex(text.trim_ascii_end()) {
            let peeled = self.peel(&name, id);
            self.direct.insert(name, Direct { id, peeled });
        }
    }

    fn link(&mut self, name: Vec<u8>, target: &[u8]) {
        if target.starts_with(b"refs/") && gix::validate::reference::name(target.into()).is_ok() {
            self.symbolic.insert(name, target.to_vec());
        }
    }

    /// What the tag `id` is of; a branch is never a tag.
    fn peel(&mut self, name: &[u8], id: ObjectId) -> Option<ObjectId> {
        if name.starts_with(b"refs/heads/") {
            return None;
        }
        let Some(objects) = self.store.objects else {
            self.peeled = false;
            return None;
        };
        if objects.find_header(id).ok()?.kind() != Kind::Tag {
            return None;
        }
        let tag = objects.find_object(id).ok()?;
        tag.peel_tags_to_end().ok().map(|object| object.id)
    }

    /// Reads packed refs that no loose ones outdo; says whether all tags in it are peeled.
    fn packed(&mut self, text: &[u8]) -> bool {
        let mut lines = text.split(|&byte| byte == b'\n').peekable();
        let mut peeled = text.is_empty();
        while let Some(line) = lines.next() {
            if let Some(traits) = line.strip_prefix(b"# pack-refs with:") {
                let mut traits = traits.split(|&byte| byte == b' ');
                peeled = traits.any(|one| one == b"fully-peeled");
                continue;
            }
            let Some(space) = line.iter().position(|&byte| byte == b' ') else {
                continue;
            };
            let (id, name) = (&line[..space], &line[space + 1..]);
            let Ok(id) = ObjectId::from_hex(id) else {
                continue;
            };
            let next = lines.peek().and_then(|next| next.strip_prefix(b"^"));
            let tag_of = next.and_then(|next| ObjectId::from_hex(next).ok());
            let known = self.direct.contains_key(name) || self.symbolic.contains_key(name);
            if !known && !self.is_left_out(name) {
                let peeled = tag_of;
                self.direct.insert(name.to_vec(), Direct { id, peeled });
            }
        }
        peeled
    }

    /// Reads refs that only git can read.
    fn ask_git(&mut self) -> Result<(), GitError> {
        let mut command = self.store.git.command();
        command
            .current_dir("/")
            .arg("--git-dir")
            .arg(self.store.dir)
            .arg("--work-tree")
            .arg(self.store.dir);
        // Not what tags are of: that would read every object.
        command.args([
            "for-each-ref",
            "--format=%(objectname) %(refname)%00%(symref)",
        ]);
        let listed = self.store.git.output(&mut command)?.stdout;
        for line in listed.split(|&byte| byte == b'\n') {
            let Some(space) = line.iter().position(|&byte| byte == b' ') else {
                continue;
            };
            let mut parts = line[space + 1..].splitn(2, |&byte| byte == 0);
            let name = parts.next().unwrap_or_default().to_vec();
            let target = parts.next().unwrap_or_default();
            if self.is_left_out(&name) {
                continue;
            }
            if !target.is_empty() {
                self.link(name, target);
            } else if let Ok(id) = ObjectId::from_hex(&line[..space]) {
                self.direct.insert(name, Direct { id, peeled: None });
            }
        }
        Ok(())
    }

    /// The refs for a slot; `peeled` is whether packed ones were.
    fn done(self, marks: Marks, peeled: bool) -> Refs {
        let mut packed = b"# pack-refs with: ".to_vec();
        if peeled && self.peeled {
            packed.extend_from_slice(b"peeled fully-peeled ");
        }
        packed.extend_from_slice(b"sorted \n");
        let (mut tips, mut tags) = (Vec::with_capacity(self.direct.len()), Vec::new());
        for (name, Direct { id, peeled }) in &self.direct {
            packed.extend_from_slice(id.to_hex().to_string().as_bytes());
            packed.push(b' ');
            packed.extend_from_slice(name);
            packed.push(b'\n');
            if let Some(peeled) = peeled {
                packed.push(b'^');
                packed.extend_from_slice(peeled.to_hex().to_string().as_bytes());
                packed.push(b'\n');
            }
            if name.starts_with(b"refs/tags/") {
                tags.push(peeled.unwrap_or(*id))
            } else {
                tips.push(peeled.unwrap_or(*id))
            }
        }
        tips.append(&mut tags);
        Refs {
            marks,
            notes: self.notes,
            packed,
            symbolic: self.symbolic,
            tips,
        }
    }
}

/// The names in the directory of notes that are no results.
fn other_notes(dir: &Path) -> BTreeSet<OsString> {
    let ours = NOTES.strip_prefix(b"refs/notes/").unwrap_or(NOTES);
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name())
        .filter(|name| !name.as_bytes().starts_with(ours) && !name.as_bytes().ends_with(b".lock"))
        .collect()
}
