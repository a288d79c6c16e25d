//! Writing a log: the beginning into one file, what follows into runs of which the
//! oldest go, and all of it into one compressed file at the end.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};

use crate::lock;
use crate::private;

use super::{HEAD, Span, TAIL, marker, packed_path, rest_path, spans_text};

/// Logs up to this size stay as they are: compressed they would take the same block of the disk.
const SMALL: u64 = 4096;

/// A run is no longer than this: so much more than the end may be on the disk.
const RUN: u64 = TAIL as u64 / 4;

/// There are no more runs, however short they are.
const RUNS: usize = 16;

/// A log that is being written.
#[derive(Debug)]
pub(crate) struct LogWriter {
    path: PathBuf,
    /// Holds the lock.
    file: File,
    /// How much of the output is in that file.
    head: u64,
    /// The position after the newest byte.
    end: u64,
    /// What there is besides, oldest first.
    runs: VecDeque<Span>,
    /// The newest run.
    run: Option<File>,
}

impl LogWriter {
    /// Begins the log at `path`, which must not be there.
    pub(super) fn create(path: PathBuf) -> io::Result<Self> {
        let file = private::open(&path, private::Open::New)?;
        // Where the file system has no locks, followers stop early, and age must do.
        let _ = lock::try_exclusive(&file);
        Ok(Self {
            path,
            file,
            head: 0,
            end: 0,
            runs: VecDeque::new(),
            run: None,
        })
    }

    /// Takes bytes that `at` bytes of output came before; readers see them at once. What
    /// was left out before them is lost; what is here already is not taken again.
    ///
    /// # Errors
    /// Those of writing.
    pub(crate) fn append(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let known = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = bytes.get(known..).unwrap_or_default();
        let mut at = at.max(self.end);
        if self.run.is_none() && at == self.head {
            let room = usize::try_from((HEAD as u64).saturating_sub(self.head)).unwrap_or(0);
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.file.write_all(now)?;
            self.head += now.len() as u64;
            (self.end, at, bytes) = (self.head, self.head, later);
        }
        while !bytes.is_empty() {
            let newest = self.runs.back().filter(|_| at == self.end);
            let room = newest.map_or(0, |run| RUN.saturating_sub(run.len));
            let (Some(file), 1..) = (&mut self.run, room) else {
                self.begin_run(at)?;
                continue;
            };
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(room));
            file.write_all(now)?;
            at += now.len() as u64;
            (self.end, bytes) = (at, later);
            if let Some(run) = self.runs.back_mut() {
                run.len += now.len() as u64;
            }
        }
        Ok(())
    }

    /// How much there is, with what was left out, in bytes.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Takes what git-ci itself has to say, behind all output.
    ///
    /// # Errors
    /// Those of writing.
    pub(crate) fn remark(&mut self, text: &str) -> io::Result<()> {
        self.append(self.end, text.as_bytes())
    }

    /// Begins another run, and removes those that are no longer needed for the end.
    fn begin_run(&mut self, at: u64) -> io::Result<()> {
        let dir = rest_path(&self.path);
        if let (None, Some(name)) = (&self.run, dir.file_name()) {
            private::dir_in(dir.parent().unwrap_or(&dir), name)?;
        }
        let mut rest: u64 = self.runs.iter().map(|run| run.len).sum();
        while let Some(oldest) = self.runs.front() {
            rest -= oldest.len;
            if rest < TAIL as u64 && self.runs.len() < RUNS {
                break;
            }
            // One that somebody else has removed is out of the way, too.
            let _ = fs::remove_file(dir.join(oldest.at.to_string()));
            self.runs.pop_front();
        }
        let file = private::open(&dir.join(at.to_string()), private::Open::New)?;
        self.run = Some(file);
        self.runs.push_back(Span { at, len: 0 });
        self.end = at;
        Ok(())
    }

    /// Ends the log, and compresses it where that is worth it.
    ///
    /// # Errors
    /// Those of writing; what there is of the log stays as it is, then.
    pub(crate) fn finish(self) -> io::Result<()> {
        if self.runs.is_empty() && self.head <= SMALL {
            return Ok(());
        }
        let packed = packed_path(&self.path);
        let half = self.path.with_extension("log.gz.tmp");
        let spans = self.kept();
        // Position by position, so that who followed the log until now can go on in it.
        let mut encoder = GzBuilder::new().comment(spans_text(&spans)).write(
            private::open(&half, private::Open::Truncate)?,
            Compression::fast(),
        );
        for (index, span) in spans.iter().enumerate() {
            let before = index.checked_sub(1).map(|before| spans[before].end());
            if let Some(left_out) = before.map(|end| span.at - end).filter(|count| *count > 0) {
                encoder.write_all(marker(left_out).as_bytes())?;
            }
            self.copy(*span, &mut encoder)?;
        }
        encoder.finish()?;
        fs::rename(&half, &packed)?;
        fs::remove_file(&self.path)?;
        remove_rest(&self.path)
    }

    /// What stays of the log: the beginning, and of what follows the end.
    fn kept(&self) -> Vec<Span> {
        let mut rest: u64 = self.runs.iter().map(|run| run.len).sum();
        let mut kept = vec![Span {
            at: 0,
            len: self.head,
        }];
        for run in &self.runs {
            // The end is no longer than its bound, wherever a run begins.
            let cut = rest.saturating_sub(TAIL as u64).min(run.len);
            rest -= run.len;
            match kept.last_mut() {
                Some(last) if last.end() == run.at + cut => last.len += run.len - cut,
                _ if cut == run.len => {}
                _ => kept.push(Span {
                    at: run.at + cut,
                    len: run.len - cut,
                }),
            }
        }
        kept
    }

    fn copy(&self, span: Span, to: &mut GzEncoder<File>) -> io::Result<()> {
        let mut at = span.at;
        let head = Span {
            at: 0,
            len: self.head,
        };
        for from in std::iter::once(&head).chain(&self.runs) {
            if at < from.at || at >= from.end() || at >= span.end() {
                continue;
            }
            let path = match from.at {
                0 => self.path.clone(),
                at => rest_path(&self.path).join(at.to_string()),
            };
            let mut file = private::open(&path, private::Open::Read)?;
            file.seek(SeekFrom::Start(at - from.at))?;
            let wanted = span.end().min(from.end()) - at;
            let copied = io::copy(&mut file.take(wanted), to)?;
            if copied < wanted {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            at += wanted;
        }
        Ok(())
    }
}

/// Removes what a log has besides its beginning.
pub(super) fn remove_rest(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(rest_path(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
