//! What is known: every record of the notes, found by commit and by what was tested.
//!
//! The notes are the only truth. What makes look-ups fast is a file below the git
//! directory that holds the lines of all records as of some notes tree; it is brought up
//! to date by comparing that tree with the present one, and made anew where that does
//! not work, or where it is not as it was written. Anybody may delete it at any time.

mod index;

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::Hash;
use std::io;
use std::path::Path;
use std::time::Duration;

use gix::ObjectId;
use jiff::Timestamp;

use super::check::check_newest;
use super::error::NotesError;
use super::read::{TreeError, changes, read_note, tree_of};
use crate::git::Repo;
use crate::git::objects::from_gix;
use crate::git::reading::Objects;
use crate::git::ref_writer::read_ref;
use crate::model::{
    Commit, Criteria, Forget, JobName, Known, Line, LogId, Note, Oid, Platform, Reason, Record,
    RunnerLabel, latest,
};
use crate::sealed;
use index::Index;

/// What the file is, and the version of its format.
const KIND: &str = "records 2";

/// Before a commit whose note is too large.
const TOO_LARGE: &str = "too-large ";

/// Records of more commits than this are not looked at to say why a task runs.
const LOOKED_AT: usize = 64;

/// The records of each commit that has some.
type Stored = HashMap<Oid, Vec<Record>>;

/// Every record that the notes hold.
#[derive(Debug)]
pub struct Records {
    notes_ref: String,
    /// The notes tree that these are the records of.
    tree: Option<ObjectId>,
    stored: Stored,
    forgets: HashMap<Oid, Vec<Forget>>,
    /// The commits whose notes could not be read.
    unread: BTreeMap<Oid, Unread>,
    names: Names,
    index: Index,
    /// The commits with records of each tree, made when it is first asked for.
    on_tree: OnceCell<HashMap<Oid, HashSet<Oid>>>,
}

/// Why a note was not read; what it says is not known, then, and not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// It has more bytes than are read.
    TooLarge,
    /// A partial clone lacks it, and git could not fetch it.
    Away,
}

impl Records {
    /// Reads what is known as of now, and leaves the file up to date for the next time.
    ///
    /// # Errors
    /// Where the ref or the notes cannot be read.
    pub fn load(repo: &Repo, notes_ref: &str) -> Result<Self, NotesError> {
        let objects = repo.objects();
        let path = repo.ci_dir().join("records");
        let mut records = read_file(&path, notes_ref).unwrap_or_else(|| Self::empty(notes_ref));
        if let Some(tip) = read_ref(&objects, notes_ref)? {
            // What is in the file may be missing in the notes.
            check_newest(&objects, tip)?;
        }
        let before = records.tree;
        if records.update(&objects).is_err() {
            // The tree of the file may be gone: begin anew.
            records = Self::empty(notes_ref);
            records.update(&objects)?;
        }
        let is_complete = !records
            .unread
            .values()
            .any(|unread| *unread == Unread::Away);
        if records.tree != before && is_complete {
            // Without the file the next start is slower, and nothing else.
            let _ = records.write_file(&path);
        }
        Ok(records)
    }

    fn empty(notes_ref: &str) -> Self {
        Self {
            notes_ref: notes_ref.to_owned(),
            tree: None,
            stored: HashMap::new(),
            forgets: HashMap::new(),
            unread: BTreeMap::new(),
            names: Names::default(),
            index: Index::new(Timestamp::now()),
            on_tree: OnceCell::new(),
        }
    }

    /// Takes in what others have stored meanwhile; `false` where the ref has not moved.
    ///
    /// # Errors
    /// Where the ref or the notes cannot be read.
    pub fn refresh(&mut self, repo: &Repo) -> Result<bool, NotesError> {
        self.update(&repo.objects())
    }

    fn update(&mut self, objects: &Objects) -> Result<bool, NotesError> {
        self.index.set_now(Timestamp::now());
        let Some(tip) = read_ref(objects, &self.notes_ref)? else {
            let was_there = self.tree.is_some();
            if was_there {
                *self = Self::empty(&self.notes_ref);
            }
            return Ok(was_there);
        };
        let tree = tree_of(objects, tip)?;
        if self.tree == Some(tree) {
            return Ok(false);
        }
        let mut stale = false;
        let changed = changes(objects, self.tree, tree)?;
        let blobs = changed.iter().flat_map(|(_, blobs)| blobs.iter().copied());
        objects.prefetch(blobs);
        for (commit, blobs) in changed {
            let commit = from_gix(&commit);
            let (note, unread) = match read_note(objects, &blobs) {
                Ok(note) => (note, None),
                Err(TreeError::TooLong { .. }) => (Note::default(), Some(Unread::TooLarge)),
                Err(TreeError::Away { .. }) => (Note::default(), Some(Unread::Away)),
                Err(error) => return Err(error.into()),
            };
            self.unread.remove(&commit);
            self.unread.extend(unread.map(|unread| (commit, unread)));
            stale |= self.replace(commit, note.ours());
        }
        self.tree = Some(tree);
        if stale {
            self.reindex();
        }
        Ok(true)
    }

    /// Makes `lines` all there is of a commit; whether that takes an index made anew.
    fn replace(&mut self, commit: Oid, lines: impl Iterator<Item = Line>) -> bool {
        let (mut records, mut forgets) = (Vec::new(), Vec::new());
        for line in lines {
            match line {
                Line::Record(record) => records.push(self.names.share(record)),
                Line::Forget(forget) => forgets.push(forget),
            }
        }
        let mut stale = false;
        let known = self.forgets.get(&commit);
        if known.map_or(&[][..], Vec::as_slice) != forgets {
            stale = true;
            if forgets.is_empty() {
                self.forgets.remove(&commit)
            } else {
                self.forgets.insert(commit, forgets)
            };
        }
        let own = self.stored.entry(commit).or_default();
        let now: HashSet<_> = records.iter().collect();
        if own.iter().all(|record| now.contains(record)) {
            let before: HashSet<_> = own.iter().cloned().collect();
            records.retain(|record| !before.contains(record));
            records.shrink_to_fit();
            let first = own.len();
            match first {
                0 => *own = records,
                _ => own.append(&mut records),
            }
            if own.is_empty() {
                self.stored.remove(&commit);
            }
            self.take_in(commit, first);
        } else {
            stale = true;
            records.shrink_to_fit();
            if records.is_empty() {
                self.stored.remove(&commit)
            } else {
                self.stored.insert(commit, records)
            };
        }
        stale
    }

    /// Takes in a line that was just stored.
    pub fn insert(&mut self, commit: Oid, line: Line) {
        self.index.set_now(Timestamp::now());
        let record = match line {
            // As the note has it: the same record is read from there later, and must be
            // known as the same.
            Line::Record(record) => self.names.share(record.as_written()),
            Line::Forget(forget) => {
                self.forgets.entry(commit).or_default().push(forget);
                return self.reindex();
            }
        };
        let own = self.stored.entry(commit).or_default();
        if own.contains(&record) {
            return;
        }
        // Most commits have few records, and there are many commits.
        own.reserve_exact(1);
        own.push(record);
        let last = own.len() - 1;
        self.take_in(commit, last);
    }

    /// Takes the records of a commit into the index, from a place on.
    fn take_in(&mut self, commit: Oid, first: usize) {
        let own = self.stored.get(&commit).map_or(&[][..], Vec::as_slice);
        if let Some(on_tree) = self.on_tree.get_mut() {
            for record in own.iter().skip(first) {
                on_tree.entry(record.tree).or_default().insert(commit);
            }
        }
        for at in first..own.len() {
            self.index.add(&self.stored, commit, at);
        }
    }

    /// Makes the index anew.
    fn reindex(&mut self) {
        let forgets = self.forgets.values().flatten();
        self.index = Index::of(Timestamp::now(), &self.stored, forgets);
        self.on_tree = OnceCell::new();
    }

    /// The record with the highest rank that meets `criteria` on a commit, wherever it is.
    /// The commit's own is preferred to an equal one.
    pub fn known(&self, commit: &Commit, criteria: &Criteria) -> Option<Known> {
        let place = self.index.find(&self.stored, commit, criteria)?;
        let record = place.of(&self.stored)?;
        let own = self.of(&commit.id).iter().find(|own| {
            own.rank(self.now()) == record.rank(self.now())
                && !self.is_forgotten(own)
                && criteria.check(own, commit).is_ok()
        });
        Some(Known {
            record: own.unwrap_or(record).clone(),
            from: if own.is_some() {
                commit.id
            } else {
                place.commit
            },
        })
    }

    /// Why a job runs on a commit where nothing is known that meets `criteria`.
    pub fn why_not(&self, commit: &Commit, criteria: &Criteria) -> Reason {
        let related = self.related(commit).map(|(_, record)| record);
        criteria.why_it_runs(commit, self.now(), related, |record| {
            self.is_forgotten(record)
        })
    }

    /// The logs of records like those of a task that are dated in the future.
    pub fn future(&self, commit: &Commit, criteria: &Criteria) -> Vec<LogId> {
        if !self.index.has_future() {
            return Vec::new();
        }
        let related = self.related(commit).map(|(_, record)| record);
        let future = related.filter(|record| {
            record.finished > latest(self.now())
                && !self.is_forgotten(record)
                && criteria.check(record, commit).is_ok()
        });
        let logs: HashSet<_> = future.map(|record| record.log.clone()).collect();
        logs.into_iter().collect()
    }

    /// What a new record of a task must be newer than to count instead of all that is
    /// known now.
    pub fn newest(&self, commit: &Commit, criteria: &Criteria) -> Option<Timestamp> {
        let known = self.known(commit, criteria).map(|one| one.record.finished);
        known.max(self.index.forgotten_at(&criteria.job, commit))
    }

    /// Whether somebody said that a record does not count any more.
    pub fn is_forgotten(&self, record: &Record) -> bool {
        self.index.is_forgotten(record)
    }

    /// As of when records are of the future, and so behind all others.
    pub fn now(&self) -> Timestamp {
        self.index.now()
    }

    /// The commits whose notes could not be read, and why.
    pub fn unread(&self) -> impl Iterator<Item = (&Oid, Unread)> {
        self.unread.iter().map(|(commit, unread)| (commit, *unread))
    }

    /// The records in the note of a commit, stale ones included, in no order.
    pub fn of(&self, commit: &Oid) -> &[Record] {
        self.stored.get(commit).map_or(&[], Vec::as_slice)
    }

    /// The records of a commit's note, and those of its tree in the notes of others, each
    /// with the commit whose note it is: of many commits with that tree only some.
    pub fn related(&self, commit: &Commit) -> impl Iterator<Item = (Oid, &Record)> {
        let (own, tree) = (commit.id, commit.tree);
        let others = self.on_tree(tree).filter(move |id| **id != own);
        let others = others.take(LOOKED_AT);
        let others = others.flat_map(move |id| {
            let records = self.of(id).iter().map(|record| (*id, record));
            records.filter(move |(_, record)| record.tree == tree)
        });
        let own = self.of(&own).iter().map(move |record| (own, record));
        own.chain(others)
    }

    /// All records of a tree, in whosever notes.
    pub fn of_tree(&self, tree: Oid) -> impl Iterator<Item = &Record> {
        let records = self.on_tree(tree).flat_map(|id| self.of(id));
        records.filter(move |record| record.tree == tree)
    }

    /// The commits with records of a tree.
    fn on_tree(&self, tree: Oid) -> impl Iterator<Item = &Oid> {
        let on_tree = self.on_tree.get_or_init(|| {
            let mut on_tree: HashMap<Oid, HashSet<Oid>> = HashMap::new();
            for (commit, records) in &self.stored {
                for record in records {
                    on_tree.entry(record.tree).or_default().insert(*commit);
                }
            }
            on_tree
        });
        on_tree.get(&tree).into_iter().flatten()
    }

    /// Every commit that has records, with them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Oid, &[Record])> {
        let each = self.stored.iter();
        each.map(|(commit, records)| (commit, records.as_slice()))
    }

    /// How long a job is going to take: the median of its latest running times.
    pub fn estimate(&self, job: &JobName) -> Option<Duration> {
        self.index.estimate(job)
    }

    fn write_file(&self, path: &Path) -> io::Result<()> {
        let tree = self.tree.map(|tree| tree.to_string()).unwrap_or_default();
        let mut text = format!("{tree} {}\n", self.notes_ref);
        let commits: HashSet<_> = self.stored.keys().chain(self.forgets.keys()).collect();
        for commit in commits {
            // Writing to memory cannot fail.
            let _ = writeln!(text, "{commit}");
            for record in self.of(commit) {
                let _ = writeln!(text, "{record}");
            }
            for forget in self.forgets.get(commit).into_iter().flatten() {
                let _ = writeln!(text, "{forget}");
            }
        }
        for commit in self.unread.keys() {
            let _ = writeln!(text, "{TOO_LARGE}{commit}");
        }
        sealed::write(path, KIND, &text)
    }
}

/// The records as they were when the file was written; `None` where it is of no use.
fn read_file(path: &Path, notes_ref: &str) -> Option<Records> {
    parse(&sealed::read(path, KIND)?, notes_ref)
}

/// What the file says, if it is of this ref and every line of it can be read.
pub(crate) fn parse(text: &str, notes_ref: &str) -> Option<Records> {
    let mut lines = text.lines();
    let (tree, of) = lines.next()?.split_once(' ')?;
    if of != notes_ref {
        return None;
    }
    let mut records = Records::empty(notes_ref);
    records.tree = Some(ObjectId::from_hex(tree.as_bytes()).ok()?);
    let mut commit = None;
    let mut own = Vec::new();
    for line in lines {
        if let Some(commit) = line.strip_prefix(TOO_LARGE) {
            records
                .unread
                .insert(commit.parse().ok()?, Unread::TooLarge);
        } else if line.contains(' ') {
            match line.parse().ok()? {
                Line::Record(record) => own.push(records.names.share(record)),
                Line::Forget(forget) => records.forgets.entry(commit?).or_default().push(forget),
            }
        } else {
            records.settle(commit, &mut own);
            commit = Some(line.parse().ok()?);
        }
    }
    records.settle(commit, &mut own);
    records.reindex();
    Some(records)
}

impl Records {
    /// Puts the records of a commit that was read in their place.
    fn settle(&mut self, commit: Option<Oid>, own: &mut Vec<Record>) {
        if let Some(commit) = commit
            && !own.is_empty()
        {
            let mut own = std::mem::take(own);
            own.shrink_to_fit();
            self.stored.insert(commit, own);
        }
    }
}

/// The words that stand in many records, each in memory once.
#[derive(Debug, Default)]
struct Names {
    jobs: HashSet<JobName>,
    runners: HashSet<RunnerLabel>,
    platforms: HashSet<Platform>,
}

impl Names {
    fn share(&mut self, mut record: Record) -> Record {
        share(&mut self.jobs, &mut record.job);
        share(&mut self.runners, &mut record.runner);
        if let Some(on) = &mut record.on {
            share(&mut self.platforms, on);
        }
        record
    }
}

fn share<T: Clone + Eq + Hash>(known: &mut HashSet<T>, word: &mut T) {
    match known.get(word) {
        Some(known) => *word = known.clone(),
        None => {
            known.insert(word.clone());
        }
    }
}

#[cfg(test)]
mod tests;
