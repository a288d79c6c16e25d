//! The spool: what hooks leave for whoever runs the jobs next.
//!
//! An append-only file, `<ci>/spool/commits`, in a directory of its own, so that a watch
//! on that directory is a wake-up. The first line names the file's version and
//! generation; each other line is one entry:
//!
//! ```text
//! git-ci-spool 1 GENERATION
//! SECONDS COMMIT SOURCE .
//! ```
//!
//! `SOURCE` is a full ref name, or `@` and the git directory of the work tree whose
//! `HEAD` is detached, percent-encoded. The full stop shows that a line is whole: a write
//! that a full disk or a power cut tore leaves a line that is skipped, never a shorter ref.
//!
//! What is promised: an entry that was appended survives the death of every process, is
//! read at least once, and goes only by [`drain`](Spool::drain). It is not fsynced, since
//! a commit must not wait for a disk; what a power cut takes is found again from the refs.
//! Anybody who can commit can write here, so everything that is read is checked.
//!
//! Whoever works it off must look once more after giving up the lease of the watcher: a
//! hook that saw the lease held has appended and started nobody.

mod entry;
mod notice;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::lock;
use crate::private;

pub use entry::{Entry, Source};
pub use notice::{Notice, Notices};

/// The spool of a repository that nobody drains keeps this many entries, the newest.
pub const MAX_ENTRIES: usize = 10_000;

/// A file that would get larger is compacted first.
const MAX_BYTES: u64 = 2 * 1024 * 1024;

/// No spool is larger than this.
const MOST_READ: u64 = 4 * MAX_BYTES;

/// What compaction leaves at most: half, so that the next one is far off.
const KEPT_BYTES: usize = 1024 * 1024;

/// A hook waits no longer than this for whoever holds the lock, even if it is stopped.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The first words of the first line.
const MAGIC: &str = "git-ci-spool 1 ";

/// What was in the spool when it was read.
#[derive(Debug, Clone)]
pub struct Pending {
    /// The entries, oldest first; the same commit may be there more than once.
    pub entries: Vec<Entry>,
    /// Up to where they were read: for [`Spool::drain`].
    pub position: Position,
}

/// How far a reader has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The first line, which no other generation of the file shares.
    generation: Vec<u8>,
    /// Bytes from the start.
    offset: usize,
}

/// The spool of one repository.
#[derive(Debug, Clone)]
pub struct Spool {
    dir: PathBuf,
}

impl Spool {
    /// The spool below the repository's `ci` directory; nothing is made yet.
    pub fn new(ci_dir: &Path) -> Self {
        Self {
            dir: ci_dir.join("spool"),
        }
    }

    /// Its directory: whoever watches it is woken by every append.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn path(&self) -> PathBuf {
        self.dir.join("commits")
    }

    /// Adds `entries` in one write; of very many, the newest [`MAX_ENTRIES`].
    ///
    /// Waits a second at most: where somebody holds the lock for longer (a stopped
    /// process), it appends without, which loses the entries only if that process was
    /// just about to replace the file.
    ///
    /// # Errors
    /// Where the directory or the file cannot be made or written. Part of a line may
    /// have been written, then; it is skipped by readers.
    pub fn append(&self, entries: &[Entry]) -> io::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let entries = &entries[entries.len().saturating_sub(MAX_ENTRIES)..];
        let lines: Vec<u8> = entries.iter().flat_map(Entry::line).collect();
        self.create_dir()?;
        let deadline = Instant::now() + TIMEOUT;
        let (mut file, locked) = loop {
            let file = private::open(&self.path(), private::Open::Append)?;
            let locked = lock::exclusive_until(&file, deadline)?;
            if self.is_current(&file)? {
                break (file, locked);
            }
        };
        let size = file.metadata()?.len();
        if locked && size + lines.len() as u64 > MAX_BYTES {
            let mut kept = Vec::new();
            file.seek(SeekFrom::Start(size.saturating_sub(MOST_READ)))?;
            (&mut file).take(MOST_READ).read_to_end(&mut kept)?;
            kept.extend_from_slice(b"\n");
            kept.extend_from_slice(&lines);
            return self.replace(&compacted(&kept));
        }
        let mut text = Vec::new();
        if size == 0 {
            text = header().into_bytes();
        } else if !ends_with_line_feed(&mut file, size)? {
            text.push(b'\n');
        }
        text.extend(lines);
        file.write_all(&text)
    }

    /// What is there. Lines that are torn, or that are no entries, are passed over.
    ///
    /// # Errors
    /// Where the file is there and cannot be read.
    pub fn read(&self) -> io::Result<Pending> {
        let bytes = match private::read(&self.path(), MOST_READ) {
            Err(error) if is_absent(&error) => Vec::new(),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                let path = self.path();
                let path = path.display();
                return Err(io::Error::other(format!(
                    "{path} is none of ours: remove it"
                )));
            }
            bytes => bytes?,
        };
        // A last line that is not whole may be about to be: it is not read yet.
        let offset = bytes
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |last| last + 1);
        Ok(Pending {
            entries: parse(&bytes[..offset]),
            position: Position {
                generation: generation(&bytes[..offset]).to_vec(),
                offset,
            },
        })
    }

    /// Removes what was read up to `position`, and nothing that was appended meanwhile.
    /// Where the file has been compacted or drained since, nothing is removed: its
    /// entries will be read again, which costs a look at their records.
    ///
    /// # Errors
    /// Where the file cannot be replaced, or somebody holds its lock for long. The
    /// entries stay, then.
    pub fn drain(&self, position: &Position) -> io::Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        let mut file = loop {
            let file = match private::open(&self.path(), private::Open::Read) {
                Err(error) if is_absent(&error) => return Ok(()),
                file => file?,
            };
            if !lock::exclusive_until(&file, deadline)? {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if self.is_current(&file)? {
                break file;
            }
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let offset = position.offset;
        if offset == 0 || generation(&bytes) != position.generation || bytes.len() < offset {
            return Ok(());
        }
        // Appenders that wait for the lock see that the file is gone and make another.
        if bytes.len() == offset {
            return fs::remove_file(self.path());
        }
        let rest = header().into_bytes();
        self.replace(&[rest.as_slice(), &bytes[offset..]].concat())
    }

    fn create_dir(&self) -> io::Result<()> {
        private::dir_in(self.dir.parent().unwrap_or(&self.dir), "spool").map(|_| ())
    }

    /// Whether `file` is still the one at its path: it may have been replaced between
    /// opening and locking it.
    fn is_current(&self, file: &File) -> io::Result<bool> {
        let own = file.metadata()?;
        match fs::symlink_metadata(self.path()) {
            Ok(now) => Ok((now.dev(), now.ino()) == (own.dev(), own.ino())),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Puts another file in the place of this one, whole or not at all. The caller holds
    /// the lock, so there is one writer of the temporary file.
    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let half = self.dir.join("commits.new");
        let written = private::open(&half, private::Open::Truncate).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        let replaced = written.and_then(|()| fs::rename(&half, self.path()));
        if replaced.is_err() {
            let _ = fs::remove_file(&half);
        }
        replaced
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn ends_with_line_feed(file: &mut File, size: u64) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::Start(size - 1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// The first line of a new file. No two of a repository are the same.
fn header() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = now.map_or(0, |now| now.as_nanos());
    format!("{MAGIC}{nanos:x}-{:x}\n", std::process::id())
}

fn generation(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == b'\n').next().unwrap_or(bytes)
}

pub(crate) fn parse(bytes: &[u8]) -> Vec<Entry> {
    bytes
        .split(|&byte| byte == b'\n')
        .filter_map(Entry::parse)
        .collect()
}

/// A file with the newest entries of `bytes`, each commit of a source once.
fn compacted(bytes: &[u8]) -> Vec<u8> {
    let (mut seen, mut lines, mut size) = (HashSet::new(), Vec::new(), 0);
    for entry in parse(bytes).iter().rev() {
        if !seen.insert((entry.commit, entry.source.clone())) {
            continue;
        }
        let line = entry.line();
        size += line.len();
        if size > KEPT_BYTES || lines.len() == MAX_ENTRIES {
            break;
        }
        lines.push(line);
    }
    lines.push(header().into_bytes());
    lines.into_iter().rev().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use crate::model::{Oid, RefName};

    use super::*;

    fn oid(n: u32) -> Oid {
        format!("{n:040x}").parse().unwrap()
    }

    fn entry(n: u32) -> Entry {
        Entry::new(
            oid(n),
            Source::Ref(RefName::parse(b"refs/heads/main").unwrap()),
        )
    }

    fn commits(spool: &Spool) -> Vec<Oid> {
        let entries = spool.read().unwrap().entries;
        entries.into_iter().map(|entry| entry.commit).collect()
    }

    fn spool() -> (tempfile::TempDir, Spool) {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::new(&dir.path().join("ci"));
        (dir, spool)
    }

    #[test]
    fn what_was_appended_is_read_in_order() {
        let (_dir, spool) = spool();
        assert!(spool.read().unwrap().entries.is_empty());
        let detached = Source::Detached(PathBuf::from(std::ffi::OsStr::from_bytes(
            b"/x y/100%\n\xff/.git",
        )));
        let all = [entry(1), Entry::new(oid(2), detached), entry(3)];
        spool.append(&all[..2]).unwrap();
        spool.append(&all[2..]).unwrap();
        assert_eq!(spool.read().unwrap().entries, all);
    }

    #[test]
    fn draining_takes_what_was_read_and_nothing_else() {
        let (_dir, spool) = spool();
        spool.append(&[entry(1), entry(2)]).unwrap();
        let read = spool.read().unwrap();
        spool.append(&[entry(3)]).unwrap();
        spool.drain(&read.position).unwrap();
        assert_eq!(commits(&spool), [oid(3)]);
        // An old position says nothing about the file that is there now.
        spool.drain(&read.position).unwrap();
        assert_eq!(commits(&spool), [oid(3)]);
        spool.drain(&spool.read().unwrap().position).unwrap();
        assert!(commits(&spool).is_empty());
        spool.append(&[entry(4), entry(5), entry(6)]).unwrap();
        spool.drain(&read.position).unwrap();
        assert_eq!(commits(&spool), [oid(4), oid(5), oid(6)]);
        assert_eq!(fs::read_dir(spool.dir()).unwrap().count(), 1);
    }

    #[test]
    fn a_torn_line_is_harmless_wherever_it_was_torn() {
        let whole = [header().into_bytes(), entry(1).line()].concat();
        let second = entry(2).line();
        for cut in 0..second.len() - 1 {
            let (_dir, spool) = spool();
            spool.create_dir().unwrap();
            fs::write(spool.path(), [&whole, &second[..cut]].concat()).unwrap();
            let read = spool.read().unwrap();
            assert_eq!(commits(&spool), [oid(1)], "cut at {cut}");
            spool.append(&[entry(3)]).unwrap();
            assert_eq!(commits(&spool), [oid(1), oid(3)], "cut at {cut}");
            spool.drain(&read.position).unwrap();
            assert_eq!(commits(&spool), [oid(3)], "cut at {cut}");
        }
        for cut in 1..header().len() - 1 {
            let (_dir, spool) = spool();
            spool.create_dir().unwrap();
            fs::write(spool.path(), &whole[..cut]).unwrap();
            assert!(commits(&spool).is_empty());
            spool.append(&[entry(3)]).unwrap();
            assert_eq!(commits(&spool), [oid(3)], "cut at {cut}");
            spool.drain(&spool.read().unwrap().position).unwrap();
            assert!(commits(&spool).is_empty());
        }
    }

    #[test]
    fn garbage_is_skipped() {
        let (_dir, spool) = spool();
        spool.create_dir().unwrap();
        let good = String::from_utf8(entry(1).line()).unwrap();
        let id = oid(2);
        let text = format!(
            "{}\n\0\u{1b}[31m\n1 {id} refs/heads/../x .\n1 {id} main .\n1 {id} @relative .\n\
             1 {id} @/a%zz .\n1 {id} @/a%00 .\n-1 {id} refs/heads/main .\n1 zz refs/heads/main .\n\
             1 {id} refs/heads/main . .\n{good}",
            header().trim_end()
        );
        fs::write(spool.path(), [text.as_bytes(), b"\xff\xff\n"].concat()).unwrap();
        assert_eq!(commits(&spool), [oid(1)]);
    }

    #[test]
    fn a_spool_that_nobody_drains_stays_small_and_keeps_the_newest() {
        let (_dir, spool) = spool();
        let mut next = 0;
        for _ in 0..40 {
            let batch: Vec<_> = (next..next + 1000).map(entry).collect();
            next += 1000;
            spool.append(&batch).unwrap();
            // Seen again and again, as amending would do.
            spool.append(&batch[990..]).unwrap();
            assert!(fs::metadata(spool.path()).unwrap().len() <= MAX_BYTES);
        }
        let kept = commits(&spool);
        let newest: HashSet<_> = kept.iter().copied().collect();
        for n in next - 9000..next {
            assert!(newest.contains(&oid(n)), "{n} of {next}");
        }
        spool
            .append(&(0..25_000).map(entry).collect::<Vec<_>>())
            .unwrap();
        assert_eq!(commits(&spool).last(), Some(&oid(24_999)));
        assert!(fs::metadata(spool.path()).unwrap().len() <= MAX_BYTES);
    }

    #[test]
    fn appenders_and_a_drainer_lose_nothing() {
        let (_dir, spool) = spool();
        let mut seen = HashSet::new();
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|writer| {
                    let spool = spool.clone();
                    scope.spawn(move || {
                        for n in 0..200 {
                            spool.append(&[entry(writer * 1000 + n)]).unwrap();
                        }
                    })
                })
                .collect();
            loop {
                let done = writers
                    .iter()
                    .all(std::thread::ScopedJoinHandle::is_finished);
                let read = spool.read().unwrap();
                seen.extend(read.entries.iter().map(|entry| entry.commit));
                spool.drain(&read.position).unwrap();
                if done && read.entries.is_empty() {
                    break;
                }
            }
        });
        assert_eq!(seen.len(), 800);
    }

    #[test]
    fn a_holder_of_the_lock_that_sleeps_keeps_nobody_for_long() {
        let (_dir, spool) = spool();
        spool.append(&[entry(1)]).unwrap();
        let read = spool.read().unwrap();
        let holder = File::open(spool.path()).unwrap();
        lock::exclusive(&holder).unwrap();
        spool.append(&[entry(2)]).unwrap();
        assert_eq!(commits(&spool), [oid(1), oid(2)]);
        assert!(spool.drain(&read.position).is_err());
        drop(holder);
        spool.drain(&read.position).unwrap();
        assert_eq!(commits(&spool), [oid(2)]);
    }
}
