//! Reading a log: from the first byte to the newest, whether it is done or not, and on
//! from there while it grows.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use crate::lock;
use crate::private;

use super::{Span, marker, packed_path, read_spans, rest_path};

/// A log that is being read. What was left out of the output stands as a line that says
/// how much it was, at any moment.
#[derive(Debug)]
pub(crate) struct LogReader {
    path: PathBuf,
    /// The position of the next byte of output.
    at: u64,
    /// What is to be given before the next byte of output.
    said: Vec<u8>,
    source: Source,
    /// Where the run begins that is being read.
    run: u64,
    /// Whose lock says whether somebody is still writing.
    lock: Option<File>,
}

#[derive(Debug)]
enum Source {
    /// The beginning, or a run of what follows: as it was written, and perhaps growing.
    Run(File),
    /// Done, and compressed.
    Packed(Box<GzDecoder<BufReader<File>>>),
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Run(file) => file.read(buffer),
            Self::Packed(decoder) => decoder.read(buffer),
        }
    }
}

impl LogReader {
    /// Opens the log that is at `path` until it is done.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let reader = |path, source, lock| Self {
            path,
            at: 0,
            said: Vec::new(),
            source,
            run: 0,
            lock,
        };
        // A log that is being compressed is at both places for a moment, and complete only here.
        if let Some(packed) = open_packed(&path)? {
            return Ok(reader(path, Source::Packed(packed), None));
        }
        match private::open(&path, private::Open::Read) {
            Ok(file) => {
                let lock = file.try_clone()?;
                Ok(reader(path, Source::Run(file), Some(lock)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => match open_packed(&path)? {
                Some(packed) => Ok(reader(path, Source::Packed(packed), None)),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Whether somebody is still writing it. Once this is false, what can be read is all
    /// there will ever be.
    pub(crate) fn is_growing(&self) -> bool {
        let Some(file) = &self.lock else {
            return false;
        };
        lock::is_held(file)
    }

    /// What follows the run that is being read: another run, or the whole log, compressed.
    fn next(&self) -> io::Result<Option<Next>> {
        loop {
            let Some(at) = next_run(&rest_path(&self.path), self.at.max(self.run + 1))? else {
                return Ok(open_packed(&self.path)?.map(Next::Packed));
            };
            match private::open(
                &rest_path(&self.path).join(at.to_string()),
                private::Open::Read,
            ) {
                // It was one of the oldest.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                file => return Ok(Some(Next::Run(at, file?))),
            }
        }
    }

    /// Goes on in what follows.
    fn go_on(&mut self, next: Next) -> io::Result<()> {
        match next {
            Next::Run(at, file) => {
                self.leave_out(at);
                self.source = Source::Run(file);
                self.run = at;
            }
            Next::Packed(mut decoder) => {
                let (at, skip) = place(&decoder, self.at);
                self.leave_out(at);
                io::copy(&mut decoder.by_ref().take(skip), &mut io::sink())?;
                self.source = Source::Packed(decoder);
                self.lock = None;
            }
        }
        Ok(())
    }

    /// Goes on at `at`, and says what is left out before.
    fn leave_out(&mut self, at: u64) {
        if let Some(count @ 1..) = at.checked_sub(self.at) {
            self.said = marker(count).into_bytes();
            self.at = at;
        }
    }
}

enum Next {
    Run(u64, File),
    Packed(Box<GzDecoder<BufReader<File>>>),
}

impl Read for LogReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.said.is_empty() {
                let count = self.said.len().min(buffer.len());
                buffer[..count].copy_from_slice(&self.said[..count]);
                self.said.drain(..count);
                return Ok(count);
            }
            let mut read = self.source.read(buffer)?;
            let mut next = None;
            if read == 0 && matches!(self.source, Source::Run(_)) {
                next = self.next()?;
                // Before that was begun, this one may have grown.
                read = self.source.read(buffer)?;
            }
            self.at += read as u64;
            match next {
                Some(next) if read == 0 && !buffer.is_empty() => self.go_on(next)?,
                _ => return Ok(read),
            }
        }
    }
}

/// The position at which the next run begins, `at` or later.
fn next_run(dir: &Path, at: u64) -> io::Result<Option<u64>> {
    let listing = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        listing => listing?,
    };
    let mut next: Option<u64> = None;
    for entry in listing {
        let name = entry?.file_name();
        let begins = name.to_str().and_then(|name| name.parse().ok());
        if let Some(begins) = begins.filter(|begins| *begins >= at) {
            next = Some(next.map_or(begins, |next| next.min(begins)));
        }
    }
    Ok(next)
}

fn open_packed(path: &Path) -> io::Result<Option<Box<GzDecoder<BufReader<File>>>>> {
    match private::open(&packed_path(path), private::Open::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => Ok(Some(Box::new(GzDecoder::new(BufReader::new(file?))))),
    }
}

/// Where a compressed log goes on for who has read up to `at`: at which position of the
/// output, and how many bytes of what is compressed come before it.
fn place(decoder: &GzDecoder<BufReader<File>>, at: u64) -> (u64, u64) {
    let comment = decoder.header().and_then(|header| header.comment());
    let spans = comment.map(read_spans).unwrap_or_default();
    let (mut skip, mut end) = (0, 0);
    for Span { at: begins, len } in spans {
        let after = begins + len;
        if let Some(left_out) = begins.checked_sub(end).filter(|count| *count > 0) {
            skip += marker(left_out).len() as u64;
        }
        if at < after {
            let from = at.max(begins);
            return (from, skip + (from - begins));
        }
        (skip, end) = (skip + len, after);
    }
    // All of it was read, or what is there says nothing of positions.
    (at, skip.max(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{HEAD, LogStore, LogTask, TAIL};
    use crate::model::Oid;

    fn text(reader: &mut LogReader) -> Vec<u8> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn of() -> LogTask {
        LogTask {
            commit: Oid::from_bytes(&[1; 20]).unwrap(),
            job: "test".parse().unwrap(),
        }
    }

    /// Byte number `at` of some output.
    fn byte(at: usize) -> u8 {
        (at / 7 % 251) as u8
    }

    /// Another test may be starting a process, which has every lock until it is another program.
    fn wait_while(mut locked: impl FnMut() -> bool) {
        let begun = std::time::Instant::now();
        while locked() {
            assert!(begun.elapsed().as_secs() < 10, "it is locked");
            std::thread::yield_now();
        }
    }

    fn output(from: usize, to: usize) -> Vec<u8> {
        (from..to).map(byte).collect()
    }

    #[test]
    fn a_log_reads_the_same_at_every_moment_of_its_life() {
        let dir = tempfile::tempdir().unwrap();
        let store = LogStore::new(dir.path());
        let id = "0123456789abcdef".parse().unwrap();
        let mut writer = store.create(&id, &of()).unwrap();
        // A follower from the beginning sees everything, however it is cut up.
        let mut follower = store.open(&id).unwrap();
        let mut followed = Vec::new();
        let total = HEAD + 3 * TAIL + 12345;
        let mut at = 0;
        while at < total {
            let next = (at + 99_999).min(total);
            writer.append(at as u64, &output(at, next)).unwrap();
            at = next;
            followed.extend(text(&mut follower));
            let disk: u64 = store.entries().unwrap().iter().map(|log| log.size).sum();
            assert!(disk <= (HEAD + TAIL + TAIL / 2) as u64, "{disk}");
        }
        assert_eq!(followed, output(0, total));
        // Who comes later sees the beginning and at least the end.
        let late = text(&mut store.open(&id).unwrap());
        assert_eq!(late[..HEAD], output(0, HEAD));
        let rest = String::from_utf8_lossy(&late[HEAD..HEAD + 40]).into_owned();
        let left_out = rest.split(' ').nth(1).unwrap().parse::<usize>().unwrap();
        let line = marker(left_out as u64);
        assert!(rest.starts_with(&line), "{rest}");
        assert!(left_out <= 2 * TAIL + 12345, "{left_out}");
        assert_eq!(
            late[HEAD + line.len()..],
            output(HEAD + left_out, total),
            "to the newest byte"
        );
        // One who has stopped in the middle goes on when it is done.
        let mut middle = store.open(&id).unwrap();
        let mut first = vec![0; 1000];
        middle.read_exact(&mut first).unwrap();
        assert!(follower.is_growing());
        writer.append(total as u64, b"last").unwrap();
        writer.finish().unwrap();
        wait_while(|| follower.is_growing());
        assert_eq!(text(&mut follower), b"last");
        let done = text(&mut store.open(&id).unwrap());
        let line = marker((total + 4 - HEAD - TAIL) as u64);
        let mut wanted = output(0, HEAD);
        wanted.extend_from_slice(line.as_bytes());
        wanted.extend(output(total + 4 - TAIL, total));
        wanted.extend_from_slice(b"last");
        assert!(done == wanted, "{} {}", done.len(), wanted.len());
        first.extend(text(&mut middle));
        assert!(first == wanted, "{} {}", first.len(), wanted.len());
        assert_eq!(store.entries().unwrap().len(), 1);
        wait_while(|| store.unfinished()[0].growing);
        store.settle(&id);
        assert!(store.unfinished().is_empty());
    }

    #[test]
    fn what_was_lost_on_the_way_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let store = LogStore::new(dir.path());
        let id = "0123456789abcdef".parse().unwrap();
        let mut writer = store.create(&id, &of()).unwrap();
        let mut follower = store.open(&id).unwrap();
        writer.append(0, b"begin").unwrap();
        assert_eq!(text(&mut follower), b"begin");
        let big = (HEAD + 5000) as u64;
        writer.append(big, &[b'x'; 5000]).unwrap();
        writer.append(big + 2500, &[b'x'; 2500]).unwrap();
        writer.append(big + 6000, b"end").unwrap();
        writer.remark("git-ci: failed to\n").unwrap();
        let mut wanted = format!("begin{}", marker(big - 5)).into_bytes();
        wanted.extend([b'x'; 5000]);
        wanted.extend(marker(1000).into_bytes());
        wanted.extend(b"endgit-ci: failed to\n");
        assert!(text(&mut store.open(&id).unwrap()) == wanted);
        writer.finish().unwrap();
        assert!(text(&mut store.open(&id).unwrap()) == wanted);
        assert!(text(&mut follower) == wanted[5..]);
    }

    #[test]
    fn a_log_whose_writer_was_killed_stays_readable() {
        let dir = tempfile::tempdir().unwrap();
        let store = LogStore::new(dir.path());
        let id = "0123456789abcdef".parse().unwrap();
        let mut writer = store.create(&id, &of()).unwrap();
        writer.append(0, &output(0, HEAD + 10)).unwrap();
        drop(writer);
        let mut reader = store.open(&id).unwrap();
        wait_while(|| reader.is_growing());
        assert!(text(&mut reader) == output(0, HEAD + 10));
        let left = store.unfinished();
        assert_eq!((&left[0].of, left[0].growing), (&of(), false));
        for log in store.entries().unwrap() {
            assert!(log.size > HEAD as u64);
            assert!(store.remove(&log).unwrap());
        }
        let left = fs::read_dir(dir.path().join("logs")).unwrap();
        assert_eq!(left.count(), 0);
        assert!(store.unfinished().is_empty());
    }
}
