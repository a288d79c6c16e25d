//! Log files: one a task, readable from the first byte while the task runs, compressed
//! when it is done.
//!
//! Whoever writes a log holds a `flock` on it, released by death: so a reader in another
//! process knows whether more is to come, and a log that is left over can be told from
//! that of a running task.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use rustix::fs::{FlockOperation, flock};

use crate::model::LogId;
use crate::private;

/// Logs up to this size stay as they are: compressed they would take the same block of the disk.
const SMALL: u64 = 4096;

/// No more of a line is shown of a log's end, in bytes.
pub const TAIL_LINE: usize = 400;

/// The logs of one repository.
#[derive(Debug, Clone)]
pub struct LogStore {
    dir: PathBuf,
}

/// A file of the store, as [`LogStore::entries`] finds it.
#[derive(Debug, Clone)]
pub struct LogEntry {
    /// The file.
    pub path: PathBuf,
    /// The log that it holds; `None` for what a compression that was cut off left.
    pub id: Option<LogId>,
    /// What it takes on the disk, in bytes.
    pub size: u64,
    /// When it was last written to.
    pub written: SystemTime,
}

/// A log that is being written.
#[derive(Debug)]
pub struct LogWriter {
    path: PathBuf,
    file: File,
    size: u64,
}

/// A log that is being read.
#[derive(Debug)]
pub enum LogReader {
    /// As it was written; it may still grow.
    Plain(File),
    /// Done, and compressed.
    Packed(Box<GzDecoder<BufReader<File>>>),
}

impl LogReader {
    /// Whether somebody is still writing it. Once this is false, what can be read is all
    /// there will ever be.
    pub fn is_growing(&self) -> bool {
        let Self::Plain(file) = self else {
            return false;
        };
        match flock(file, FlockOperation::NonBlockingLockShared) {
            Err(error) => error == rustix::io::Errno::WOULDBLOCK,
            Ok(()) => {
                let _ = flock(file, FlockOperation::Unlock);
                false
            }
        }
    }
}

impl Read for LogReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(buffer),
            Self::Packed(decoder) => decoder.read(buffer),
        }
    }
}

impl LogStore {
    /// The logs below the repository's `ci` directory.
    pub fn new(ci_dir: &Path) -> Self {
        Self {
            dir: ci_dir.join("logs"),
        }
    }

    /// Begins a log.
    ///
    /// # Errors
    /// Where it cannot be made, or is there already.
    pub fn create(&self, id: &LogId) -> io::Result<LogWriter> {
        private::dir_in(self.dir.parent().unwrap_or(&self.dir), "logs")?;
        let path = self.dir.join(format!("{id}.log"));
        let file = private::open(&path, private::Open::New)?;
        // Where the file system has no locks, followers stop early, and age must do.
        let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
        Ok(LogWriter {
            path,
            file,
            size: 0,
        })
    }

    /// Every log, in no order; nothing where there is no directory.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn entries(&self) -> io::Result<Vec<LogEntry>> {
        let listing = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listing => listing?,
        };
        let mut found = Vec::new();
        for entry in listing {
            let entry = entry?;
            let name = entry.file_name();
            let Some((stem, end)) = name.to_str().and_then(|name| name.split_once('.')) else {
                continue;
            };
            let Ok(id) = stem.parse::<LogId>() else {
                continue;
            };
            let id = match end {
                "log" | "log.gz" => Some(id),
                "log.gz.tmp" => None,
                _ => continue,
            };
            // Gone meanwhile: compressed.
            let Ok(meta) = entry.metadata() else { continue };
            found.push(LogEntry {
                path: entry.path(),
                id,
                size: std::os::unix::fs::MetadataExt::blocks(&meta) * 512,
                written: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            });
        }
        Ok(found)
    }

    /// Removes what [`entries`](Self::entries) found, unless somebody is writing it:
    /// `false`, then.
    ///
    /// # Errors
    /// Those of removing a file.
    pub fn remove(&self, entry: &LogEntry) -> io::Result<bool> {
        // While a log is compressed it is the plain file that is locked.
        let plain = match entry.id {
            Some(_) => entry.path.clone(),
            None => entry.path.with_extension("").with_extension(""),
        };
        match File::open(&plain) {
            Ok(file) if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() => {
                return Ok(false);
            }
            _ => {}
        }
        match fs::remove_file(&entry.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            done => done.map(|()| true),
        }
    }

    /// Opens a log, whether it is done or not.
    ///
    /// # Errors
    /// Where there is none.
    pub fn open(&self, id: &LogId) -> io::Result<LogReader> {
        match File::open(self.dir.join(format!("{id}.log"))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let packed = File::open(self.dir.join(format!("{id}.log.gz")))?;
                let decoder = GzDecoder::new(BufReader::new(packed));
                Ok(LogReader::Packed(Box::new(decoder)))
            }
            plain => Ok(LogReader::Plain(plain?)),
        }
    }

    /// Whether the log is there to be read.
    pub fn has(&self, id: &LogId) -> bool {
        self.open(id).is_ok()
    }

    /// The last `count` lines, of a long one its last [`TAIL_LINE`] bytes, each as it was
    /// left: without what a carriage return began anew.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub fn tail(&self, id: &LogId, count: usize) -> io::Result<Vec<Vec<u8>>> {
        let mut lines = VecDeque::new();
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
                lines.push_back(as_left(std::mem::take(&mut line)));
            }
            if lines.len() > count {
                lines.pop_front();
            }
        }
        if !line.is_empty() {
            lines.push_back(as_left(line));
        }
        let surplus = lines.len().saturating_sub(count);
        Ok(lines.into_iter().skip(surplus).collect())
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

impl LogWriter {
    /// Appends; readers see it at once.
    ///
    /// # Errors
    /// Those of writing.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Ends the log, and compresses it where that is worth it.
    ///
    /// # Errors
    /// Those of writing; the plain log stays, then.
    pub fn finish(self) -> io::Result<()> {
        if self.size <= SMALL {
            return Ok(());
        }
        let packed = self.path.with_extension("log.gz");
        let half = self.path.with_extension("log.gz.tmp");
        let mut encoder = GzEncoder::new(
            private::open(&half, private::Open::Truncate)?,
            Compression::fast(),
        );
        io::copy(&mut File::open(&self.path)?, &mut encoder)?;
        encoder.finish()?;
        fs::rename(&half, &packed)?;
        fs::remove_file(&self.path)
    }
}
