//! Log files: one a task, readable from the first byte to the newest while the task runs,
//! bounded at every moment, compressed when it is done.
//!
//! | Below `ci/logs/` | |
//! |---|---|
//! | `ID.log` | the beginning of the output, at most [`HEAD`] bytes |
//! | `ID.rest/POSITION` | a run of what follows: output from that position on, without a gap; the oldest go, as long as [`TAIL`] bytes stay |
//! | `ID.log.gz` | the log when it is done, in one piece; small ones stay as `ID.log` |
//! | `ID.tests` | what the job's tests said, as JSON |
//!
//! Until a record says it, `ci/unfinished/ID` says which task a log is of.
//!
//! So what was left out can be told from names and sizes, also when whoever wrote was
//! killed. The comment of the compressed file says which positions are in it.
//!
//! Whoever writes a log holds a `flock` on `ID.log`, released by death: so a reader in
//! another process knows whether more is to come, and a log that is left over can be told
//! from that of a running task.

mod excerpt;
mod reader;
mod removed;
mod writer;

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::lock;
use crate::model::{JobName, LogId, Oid, TestReport};
use crate::private;

pub(crate) use reader::LogReader;
pub(crate) use writer::LogWriter;

use excerpt::Excerpt;
use removed::Removed;

/// How much of the beginning of a task's output is kept, in bytes.
pub(crate) const HEAD: usize = 4 << 20;

/// How much of its end, once there is more.
pub(crate) const TAIL: usize = 1 << 20;

/// No more of a line is shown of a log's end, in bytes.
pub(crate) const TAIL_LINE: usize = 400;

/// Beside the logs: which tasks those are of that are not done.
const UNFINISHED: &str = "unfinished";

/// A note that says which task a log is of is no longer, in bytes.
const MAX_NOTE: u64 = 4096;

/// What tests said takes no more, in bytes.
const MAX_TESTS: u64 = 4 << 20;

/// A part of the output without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    /// How many bytes of output come before it.
    at: u64,
    /// How many there are in it.
    len: u64,
}

impl Span {
    fn end(&self) -> u64 {
        self.at + self.len
    }
}

/// The comment of a compressed log: `output 0+4194304 9437184+1048576`.
fn spans_text(spans: &[Span]) -> String {
    let span = |Span { at, len }: &Span| format!(" {at}+{len}");
    "output".to_owned() + &spans.iter().map(span).collect::<String>()
}

/// The reverse of [`spans_text`]; nothing where it says something else.
fn read_spans(comment: &[u8]) -> Vec<Span> {
    let read = || {
        let mut words = std::str::from_utf8(comment).ok()?.split(' ');
        words.next().filter(|word| *word == "output")?;
        let span = |word: &str| {
            let (at, len) = word.split_once('+')?;
            let (at, len): (u64, u64) = (at.parse().ok()?, len.parse().ok()?);
            at.checked_add(len).map(|_| Span { at, len })
        };
        words.map(span).collect::<Option<Vec<Span>>>()
    };
    read().unwrap_or_default()
}

/// What stands in the place of output that was left out.
fn marker(left_out: u64) -> String {
    format!("\n[git-ci: {left_out} bytes left out]\n")
}

/// Where the rest of the log is whose beginning is at `path`.
fn rest_path(path: &Path) -> PathBuf {
    path.with_extension("rest")
}

/// Where it stands which task the log is of whose beginning is at `path`.
fn unfinished_path(path: &Path) -> PathBuf {
    let dir = path.parent().unwrap_or(path).with_file_name(UNFINISHED);
    dir.join(path.file_stem().unwrap_or_default())
}

/// Where the log is in the end whose beginning is at `path`.
fn packed_path(path: &Path) -> PathBuf {
    path.with_extension("log.gz")
}

/// Where it is what the tests said of the task whose log begins at `path`.
fn tests_path(path: &Path) -> PathBuf {
    path.with_extension("tests")
}

/// The logs of one repository.
#[derive(Debug, Clone)]
pub(crate) struct LogStore {
    dir: PathBuf,
}

/// The task that a log is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogTask {
    /// The commit.
    pub commit: Oid,
    /// The job.
    pub job: JobName,
}

/// A log of a task whose end was not reported.
#[derive(Debug, Clone)]
pub(crate) struct Unfinished {
    /// The log.
    pub id: LogId,
    /// Its task.
    pub of: LogTask,
    /// Somebody is still writing it.
    pub growing: bool,
}

/// A file of the store, as [`LogStore::entries`] finds it.
#[derive(Debug, Clone)]
pub(crate) struct LogEntry {
    /// The file.
    pub path: PathBuf,
    /// The log that it holds, or its beginning; `None` for what a compression that was cut off left.
    pub id: Option<LogId>,
    /// What it takes on the disk, in bytes.
    pub size: u64,
    /// When it was last written to.
    pub written: SystemTime,
}

impl LogEntry {
    /// The name of its log.
    fn stem(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        name.split('.').next().unwrap_or_default().to_owned()
    }

    /// Whether it is the beginning of a log that was not compressed.
    fn is_plain(&self) -> bool {
        self.path.extension().is_some_and(|end| end == "log")
    }

    /// Counts the runs in a directory of them.
    fn add_runs(&mut self) {
        for run in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            // Gone meanwhile: one of the oldest.
            let Ok(meta) = run.metadata() else { continue };
            self.size += size(&meta);
            self.written = self.written.max(meta.modified().unwrap_or(self.written));
        }
    }
}

/// What a file takes on the disk, in bytes.
fn size(meta: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(meta) * 512
}

impl LogStore {
    /// The logs below the repository's `ci` directory.
    pub(crate) fn new(ci_dir: &Path) -> Self {
        Self {
            dir: ci_dir.join("logs"),
        }
    }

    /// Begins the log of a task.
    ///
    /// # Errors
    /// Where it cannot be made, or is there already.
    pub(crate) fn create(&self, id: &LogId, of: &LogTask) -> io::Result<LogWriter> {
        let ci_dir = self.dir.parent().unwrap_or(&self.dir);
        private::dir_in(ci_dir, "logs")?;
        private::dir_in(ci_dir, UNFINISHED)?;
        let writer = LogWriter::create(self.path(id))?;
        let mut note = private::open(&unfinished_path(&self.path(id)), private::Open::New)?;
        note.write_all(&serde_json::to_vec(of)?)?;
        Ok(writer)
    }

    /// Forgets which task a log is of: somebody else knows.
    pub(crate) fn settle(&self, id: &LogId) {
        // What stays behind is only litter.
        let _ = fs::remove_file(unfinished_path(&self.path(id)));
    }

    /// The logs of tasks whose end was not reported: those that run, wherever that is, that
    /// are about to be stored, and whose run was killed.
    pub(crate) fn unfinished(&self) -> Vec<Unfinished> {
        let notes = fs::read_dir(self.dir.with_file_name(UNFINISHED));
        let read = |note: fs::DirEntry| {
            let id: LogId = note.file_name().to_str()?.parse().ok()?;
            let of = private::read(&note.path(), MAX_NOTE).ok()?;
            // A log that was never begun is none.
            let growing = self.open(&id).ok()?.is_growing();
            let of = serde_json::from_slice(&of).ok()?;
            Some(Unfinished { id, of, growing })
        };
        notes
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(read)
            .collect()
    }

    fn path(&self, id: &LogId) -> PathBuf {
        self.dir.join(format!("{id}.log"))
    }

    /// Every log, in no order; nothing where there is no directory.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub(crate) fn entries(&self) -> io::Result<Vec<LogEntry>> {
        let listing = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listing => listing?,
        };
        let (mut found, mut rests) = (Vec::new(), HashMap::new());
        let mut tests = HashMap::new();
        for entry in listing {
            let entry = entry?;
            let name = entry.file_name();
            let Some((stem, end)) = name.to_str().and_then(|name| name.split_once('.')) else {
                continue;
            };
            let Ok(id) = stem.parse::<LogId>() else {
                continue;
            };
            // Gone meanwhile: compressed.
            let Ok(meta) = entry.metadata() else { continue };
            let mut log = LogEntry {
                path: entry.path(),
                id: None,
                size: size(&meta),
                written: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            };
            match end {
                "log" | "log.gz" => log.id = Some(id),
                "log.gz.tmp" => {}
                "rest" => {
                    log.add_runs();
                    rests.insert(id, log);
                    continue;
                }
                "tests" => {
                    tests.insert(id, log);
                    continue;
                }
                _ => continue,
            }
            found.push(log);
        }
        for log in &mut found {
            let rest = log.id.as_ref().filter(|_| log.is_plain());
            if let Some(rest) = rest.and_then(|id| rests.remove(id)) {
                log.size += rest.size;
                log.written = log.written.max(rest.written);
            }
            if let Some(tests) = log.id.as_ref().and_then(|id| tests.remove(id)) {
                log.size += tests.size;
            }
        }
        // What a compression has left over that was cut off.
        found.extend(rests.into_values());
        found.extend(tests.into_values());
        let notes = fs::read_dir(self.dir.with_file_name(UNFINISHED));
        for note in notes.into_iter().flatten().flatten() {
            let plain = self.dir.join(note.file_name()).with_extension("log");
            if !plain.exists()
                && !packed_path(&plain).exists()
                && let Ok(meta) = note.metadata()
            {
                found.push(LogEntry {
                    path: note.path(),
                    id: None,
                    size: size(&meta),
                    written: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                });
            }
        }
        Ok(found)
    }

    /// Removes what [`entries`](Self::entries) found, unless somebody is writing it:
    /// `false`, then.
    ///
    /// # Errors
    /// Those of removing a file.
    pub(crate) fn remove(&self, entry: &LogEntry) -> io::Result<bool> {
        // It is the beginning that is locked, until all is compressed.
        let plain = entry.path.with_file_name(entry.stem() + ".log");
        match private::open(&plain, private::Open::Read) {
            Ok(file) if !lock::try_exclusive(&file).unwrap_or(false) => {
                return Ok(false);
            }
            _ => {}
        }
        if entry.path == rest_path(&plain) || entry.is_plain() {
            writer::remove_rest(&plain)?;
        }
        if let Some(id) = &entry.id {
            let _ = fs::remove_file(unfinished_path(&plain));
            let _ = fs::remove_file(tests_path(&plain));
            // What cannot be noted counts as never written here.
            let _ = Removed::of(&self.dir).add(id);
        }
        match fs::remove_file(&entry.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(entry.path == rest_path(&plain))
            }
            done => done.map(|()| true),
        }
    }

    /// Keeps what the tests of a task said beside its log.
    ///
    /// # Errors
    /// Those of writing.
    pub(crate) fn keep_tests(&self, id: &LogId, tests: &TestReport) -> io::Result<()> {
        private::replace(&tests_path(&self.path(id)), &serde_json::to_vec(tests)?)
    }

    /// What the tests of a task said, where that is here and as it was written.
    pub(crate) fn tests(&self, id: &LogId) -> Option<TestReport> {
        let json = private::read(&tests_path(&self.path(id)), MAX_TESTS).ok()?;
        serde_json::from_slice(&json).ok()
    }

    /// Opens a log, whether it is done or not.
    ///
    /// # Errors
    /// Where there is none.
    pub(crate) fn open(&self, id: &LogId) -> io::Result<LogReader> {
        LogReader::open(self.path(id))
    }

    /// Whether the log was here and has been removed.
    pub(crate) fn was_removed(&self, id: &LogId) -> bool {
        Removed::of(&self.dir).has(id)
    }

    /// About `count` lines of what looks like the failure in it and of its end, of a long
    /// line its last [`TAIL_LINE`] bytes, each as it was left: without what a carriage return
    /// began anew.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub(crate) fn excerpt(&self, id: &LogId, count: usize) -> io::Result<Vec<Vec<u8>>> {
        let mut excerpt = Excerpt::new(count);
        let mut line = Vec::new();
        let mut log = BufReader::new(self.open(id)?);
        loop {
            let part = log.fill_buf()?;
            if part.is_empty() {
                break;
            }
            let end = part.iter().position(|&byte| byte == b'\n');
            line.extend_from_slice(&part[..end.unwrap_or(part.len())]);
            let read = end.map_or(part.len(), |end| end + 1);
            log.consume(read);
            if line.len() > TAIL_LINE {
                line.drain(..line.len() - TAIL_LINE);
            }
            if end.is_some() {
                excerpt.push(as_left(std::mem::take(&mut line)));
            }
        }
        if !line.is_empty() {
            excerpt.push(as_left(line));
        }
        Ok(excerpt.finish())
    }
}

/// What a line shows in the end: a carriage return begins it anew, as progress bars do.
fn as_left(mut line: Vec<u8>) -> Vec<u8> {
    while line.last() == Some(&b'\r') {
        line.pop();
    }
    if let Some(last) = line.iter().rposition(|&byte| byte == b'\r') {
        line.drain(..=last);
    }
    line
}
