//! What is known: every record of the notes, found by commit and by what was tested.
//!
//! The notes are the only truth. What makes look-ups fast is a file below the git
//! directory that holds the lines of all records as of some notes tree; it is brought up
//! to date by comparing that tree with the present one, and made anew where that does
//! not work. Anybody may delete it at any time.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use gix::ObjectId;

use super::notes::{NotesError, from_gix};
use super::notes_read::{changes, read_note, tree_of};
use super::notes_ref::read_ref;
use super::reading::Objects;
use super::repo::Repo;
use crate::model::{Commit, DefId, JobName, Known, Oid, Record, Status};
use crate::private;

/// The first line of the file, with the ref and the tree that it is of.
const HEADER: &str = "git-ci records 1";

/// The last line: without it the file was cut short.
const END: &str = "end";

/// So many of a job's latest running times make an estimate.
const SAMPLE: usize = 9;

/// Every record that the notes hold.
#[derive(Debug)]
pub struct Records {
    notes_ref: String,
    /// The notes tree that these are the records of.
    tree: Option<ObjectId>,
    by_commit: ByCommit,
    contents: Contents,
}

type ByCommit = HashMap<Oid, Vec<Record>>;

/// What makes one record count more than another.
type Rank = (jiff::Timestamp, Reverse<Status>);

/// What is made of the records so that they are found.
#[derive(Debug, Default)]
struct Contents {
    /// For each definition and tree the rank of the newest record, and the commit whose
    /// note has it.
    newest: HashMap<(DefId, Oid), (Rank, Oid)>,
    /// The latest running times of each job, newest first.
    durations: HashMap<JobName, Vec<(jiff::Timestamp, Duration)>>,
}

impl Contents {
    /// Takes in one of the records of a commit: by what was tested, if none that counts
    /// more is there already, and its running time.
    fn note(&mut self, commit: Oid, record: &Record) {
        let key = (record.def, record.tree);
        let newest = self.newest.get(&key).map(|newest| newest.0);
        if newest.is_none_or(|newest| record.rank() > newest) {
            self.newest.insert(key, (record.rank(), commit));
        }
        if record.status == Status::Error {
            return;
        }
        if !self.durations.contains_key(&record.job) {
            self.durations.insert(record.job.clone(), Vec::new());
        }
        if let Some(sample) = self.durations.get_mut(&record.job) {
            let place = sample.partition_point(|(at, _)| *at > record.finished);
            if place < SAMPLE {
                sample.insert(place, (record.finished, record.duration));
                sample.truncate(SAMPLE);
            }
        }
    }

    fn newest_of<'a>(&self, by_commit: &'a ByCommit, key: &(DefId, Oid)) -> Option<&'a Record> {
        let (_, commit) = self.newest.get(key)?;
        let of_key = |record: &&Record| record.def == key.0 && record.tree == key.1;
        let records = by_commit.get(commit)?.iter();
        records.filter(of_key).max_by_key(|record| record.rank())
    }
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
        let before = records.tree;
        if records.update(&objects).is_err() {
            // The tree of the file may be gone, or the file may be wrong: begin anew.
            records = Self::empty(notes_ref);
            records.update(&objects)?;
        }
        if records.tree != before {
            // Without the file the next start is slower, and nothing else.
            let _ = repo.make_ci_dir().and_then(|_| records.write_file(&path));
        }
        Ok(records)
    }

    fn empty(notes_ref: &str) -> Self {
        Self {
            notes_ref: notes_ref.to_owned(),
            tree: None,
            by_commit: HashMap::new(),
            contents: Contents::default(),
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
            let note = read_note(objects, &blobs)?;
            stale |= self.replace(from_gix(&commit), note.records().collect());
        }
        self.tree = Some(tree);
        if stale {
            self.index();
        }
        Ok(true)
    }

    /// Makes `records` all there is of a commit; whether something is gone by that.
    fn replace(&mut self, commit: Oid, records: Vec<Record>) -> bool {
        let mut records: Vec<_> = records.into_iter().map(Record::as_written).collect();
        // Each once, and no step for each pair: a note may have very many lines.
        let mut seen = HashSet::with_capacity(records.len());
        let first: Vec<_> = records.iter().map(|record| seen.insert(record)).collect();
        let mut first = first.into_iter();
        records.retain(|_| first.next().unwrap_or(false));

        let before = self.by_commit.remove(&commit).unwrap_or_default();
        let old: HashSet<_> = before.iter().collect();
        let mut kept = 0;
        for record in &records {
            match old.contains(record) {
                true => kept += 1,
                false => self.contents.note(commit, record),
            }
        }
        if !records.is_empty() {
            // Most commits have few records, and there are many commits.
            records.shrink_to_fit();
            self.by_commit.insert(commit, records);
        }
        kept < before.len()
    }

    /// Takes in a record that was just stored.
    pub fn insert(&mut self, commit: Oid, record: Record) {
        // As the note has it: the same record is read from there later, and must be
        // known as the same.
        let record = record.as_written();
        let own = self.by_commit.entry(commit).or_default();
        if !own.contains(&record) {
            self.contents.note(commit, &record);
            own.push(record);
        }
    }

    /// Makes everything but `by_commit` anew.
    fn index(&mut self) {
        self.contents = Contents::default();
        for (commit, records) in &self.by_commit {
            for record in records {
                self.contents.note(*commit, record);
            }
        }
    }

    fn newest_of(&self, key: &(DefId, Oid)) -> Option<&Record> {
        self.contents.newest_of(&self.by_commit, key)
    }

    /// The newest record with this definition and the commit's tree, wherever it is.
    /// The commit's own, under the job's name, is preferred to an equally new one.
    pub fn known(&self, commit: &Commit, job: &JobName, def: &DefId) -> Option<Known> {
        let key = (*def, commit.tree);
        let newest = self.newest_of(&key)?;
        let own = self.of(&commit.id).iter().find(|record| {
            record.job == *job
                && record.def == *def
                && record.tree == commit.tree
                && record.rank() == newest.rank()
        });
        let (record, from) = match own {
            Some(own) => (own, commit.id),
            None => (newest, self.contents.newest.get(&key)?.1),
        };
        Some(Known {
            record: record.clone(),
            from,
        })
    }

    /// When the newest record with this definition and tree was made.
    pub fn newest(&self, def: &DefId, tree: &Oid) -> Option<jiff::Timestamp> {
        Some(self.newest_of(&(*def, *tree))?.finished)
    }

    /// The records in the note of a commit, stale ones included, in no order.
    pub fn of(&self, commit: &Oid) -> &[Record] {
        self.by_commit.get(commit).map_or(&[], Vec::as_slice)
    }

    /// Every commit that has records, with them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Oid, &[Record])> {
        let each = self.by_commit.iter();
        each.map(|(commit, records)| (commit, records.as_slice()))
    }

    /// How long a job is going to take: the median of its latest running times.
    pub fn estimate(&self, job: &JobName) -> Option<Duration> {
        let mut sample: Vec<_> = self
            .contents
            .durations
            .get(job)?
            .iter()
            .map(|one| one.1)
            .collect();
        sample.sort_unstable();
        sample.get(sample.len() / 2).copied()
    }

    fn write_file(&self, path: &Path) -> io::Result<()> {
        let dir = path.parent().unwrap_or(path);
        let mut file = private::temporary(dir, "records-")?;
        let mut out = io::BufWriter::new(file.as_file_mut());
        let tree = self.tree.map(|tree| tree.to_string()).unwrap_or_default();
        writeln!(out, "{HEADER} {tree} {}", self.notes_ref)?;
        for (commit, records) in &self.by_commit {
            writeln!(out, "{commit}")?;
            for record in records {
                writeln!(out, "{record}")?;
            }
        }
        writeln!(out, "{END}")?;
        out.flush()?;
        drop(out);
        file.persist(path)?;
        Ok(())
    }
}

/// The records as they were when the file was written; `None` where it is of no use.
fn read_file(path: &PathBuf, notes_ref: &str) -> Option<Records> {
    let text = fs::read_to_string(path).ok()?;
    let mut lines = text.lines();
    let (tree, of) = lines
        .next()?
        .strip_prefix(HEADER)?
        .trim_start()
        .split_once(' ')?;
    if of != notes_ref {
        return None;
    }
    let mut records = Records::empty(notes_ref);
    records.tree = Some(ObjectId::from_hex(tree.as_bytes()).ok()?);
    let mut commit = None;
    let mut own = Vec::new();
    for line in lines {
        if line.contains(' ') {
            own.push(line.parse().ok()?);
            continue;
        }
        let earlier = std::mem::take(&mut own);
        match commit {
            Some(commit) => drop(records.replace(commit, earlier)),
            None if !earlier.is_empty() => return None,
            None => {}
        }
        if line == END {
            return Some(records);
        }
        commit = Some(line.parse().ok()?);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(line: &str) -> Record {
        let tree = "0cf036bf".repeat(5);
        format!("{line} tree={tree} def=5b21c0de9a410000 log=7d3f9a02c4e10000")
            .parse()
            .unwrap()
    }

    fn commit(id: &str) -> Commit {
        Commit {
            id: id.repeat(40).parse().unwrap(),
            tree: "0cf036bf".repeat(5).parse().unwrap(),
            subject: String::new(),
            time: 0,
        }
    }

    #[test]
    fn the_newest_record_counts_wherever_it_is() {
        let mut records = Records::empty("refs/notes/ci");
        let (a, b) = (commit("a"), commit("b"));
        let old = record("pass test 1.0s 2026-01-01T00:00:00Z x v=1 try=1");
        let new = record("FAIL test 3.0s 2026-01-02T00:00:00Z x v=1 try=1 why=exit:1");
        records.insert(a.id, old.clone());
        records.insert(b.id, new.clone());
        for commit in [&a, &b] {
            let known = records.known(commit, &new.job, &new.def).unwrap();
            assert_eq!((known.record, known.from), (new.clone(), b.id));
        }
        let again = record("pass test 2.0s 2026-01-03T00:00:00Z x v=1 try=1");
        records.insert(a.id, again.clone());
        assert_eq!(records.known(&b, &new.job, &new.def).unwrap().from, a.id);
        records.insert(b.id, again);
        assert_eq!(records.known(&b, &new.job, &new.def).unwrap().from, b.id);
        assert_eq!(records.estimate(&new.job), Some(Duration::from_secs(2)));
    }

    #[test]
    fn what_was_stored_is_the_same_when_the_note_is_read() {
        let mut records = Records::empty("refs/notes/ci");
        let mut exact = record("pass test 1.0s 2026-01-01T00:00:00Z x v=1 try=1");
        exact.duration += Duration::from_millis(51);
        exact.finished += jiff::Span::new().milliseconds(999);
        let line = exact.to_string();
        let id = commit("a").id;
        records.insert(id, exact.clone());
        records.insert(id, exact);
        let read: Record = line.parse().unwrap();
        assert_eq!(records.of(&id), std::slice::from_ref(&read));
        // Nothing is gone, so nothing has to be made anew.
        assert!(!records.replace(id, vec![read.clone()]));
        assert_eq!(records.of(&id), std::slice::from_ref(&read));
        assert!(records.replace(id, Vec::new()));
        assert!(records.of(&id).is_empty());
    }

    #[test]
    fn a_file_reads_back_and_a_torn_one_is_no_use() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records");
        let mut records = Records::empty("refs/notes/ci");
        records.tree = Some(ObjectId::empty_tree(gix::hash::Kind::Sha1));
        let line = record("pass test 1.0s 2026-01-01T00:00:00Z x v=1 try=1");
        records.insert(commit("a").id, line.clone());
        records.write_file(&path).unwrap();
        let read = read_file(&path, "refs/notes/ci").unwrap();
        assert_eq!(read.of(&commit("a").id), [line]);
        assert_eq!(read.tree, records.tree);
        assert!(read_file(&path, "refs/notes/other").is_none());
        let text = fs::read(&path).unwrap();
        fs::write(&path, &text[..text.len() - 3]).unwrap();
        assert!(read_file(&path, "refs/notes/ci").is_none());
    }
}
