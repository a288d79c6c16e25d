//! The text of a note: one record a line, readable by people first.
//!
//! A note is a grow-only set of lines in byte order. That makes merging two notes a
//! union, which `git notes merge -s cat_sort_uniq` computes as well, byte for byte.
//! It follows that nothing may depend on a line being absent, and that lines which
//! are not ours (or are a newer version's) must survive every write.
//!
//! Every line read here may have been written by anybody.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;

use super::{DefId, JobName, LogId, Oid, RunnerLabel, Status, Why};

/// The version that this program writes and reads: the `v=` of a line.
pub const RECORD_VERSION: u32 = 1;

/// No line that we write or understand is longer, in bytes.
const MAX_LINE: usize = 320;

/// Why a line is not a record; such a line is kept and ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseRecordError {
    /// Not in the shape of a record at all.
    #[error("not a record")]
    Foreign,
    /// A record of a version that this program does not know.
    #[error("a record of another version")]
    Version,
}

/// One line of a note: what one job said about one tree.
///
/// It is self-contained: copied to the note of another commit with the same tree, it
/// says the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The verdict.
    pub status: Status,
    /// The job's name when it ran.
    pub job: JobName,
    /// Running time, in tenths of a second once written.
    pub duration: Duration,
    /// When the task finished; whole seconds once written.
    pub finished: Timestamp,
    /// Who ran it.
    pub runner: RunnerLabel,
    /// The try that gave the verdict, from 1.
    pub try_: u32,
    /// Present unless the status says it all.
    pub why: Option<Why>,
    /// The tree that was tested.
    pub tree: Oid,
    /// The definition that was run.
    pub def: DefId,
    /// The log, on the machine that ran it.
    pub log: LogId,
}

impl Record {
    /// Whether another commit (or another run) may take this verdict over.
    ///
    /// Never where no verdict was reached, where time ran out or where a signal ended
    /// the job: those say something about the machine, not about the tree.
    pub fn reusable(&self) -> bool {
        match self.status {
            Status::Pass | Status::Flaky | Status::Skip => true,
            Status::Fail => matches!(self.why, Some(Why::Exit(_))),
            Status::Error => false,
        }
    }

    /// The record as its line says it: what is finer than that is lost.
    pub fn as_written(self) -> Self {
        let tenths = (self.duration.as_millis() + 50) / 100;
        let tenths = u64::try_from(tenths).unwrap_or(u64::MAX);
        Self {
            duration: Duration::from_millis(tenths.saturating_mul(100)),
            finished: Timestamp::from_second(self.finished.as_second()).unwrap_or(self.finished),
            ..self
        }
    }

    /// Of two records of the same thing the one with the higher rank counts: the newer,
    /// and of equally new ones that which needs attention.
    pub fn rank(&self) -> (Timestamp, Reverse<Status>) {
        (self.finished, Reverse(self.status))
    }
}

impl fmt::Display for Record {
    /// The line as it stands in a note, without its line feed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.duration.as_millis() + 50) / 100;
        let seconds = format!("{}.{}s", tenths / 10, tenths % 10);
        write!(
            f,
            "{:<5} {:<9} {:>5} {} {:<7} v={RECORD_VERSION} try={}",
            self.status,
            self.job,
            seconds,
            self.finished.strftime("%Y-%m-%dT%H:%M:%SZ"),
            self.runner,
            self.try_,
        )?;
        if let Some(why) = self.why {
            write!(f, " why={why}")?;
        }
        write!(f, " tree={} def={} log={}", self.tree, self.def, self.log)
    }
}

impl FromStr for Record {
    type Err = ParseRecordError;

    fn from_str(line: &str) -> Result<Self, ParseRecordError> {
        use ParseRecordError::{Foreign, Version};

        if line.len() > MAX_LINE || !line.bytes().all(|c| matches!(c, b' '..=b'~')) {
            return Err(Foreign);
        }
        let mut words = line.split_ascii_whitespace();
        let mut next = || words.next().ok_or(Foreign);
        let status: Status = next()?.parse().map_err(|()| Foreign)?;
        let job = next()?.parse().map_err(|_| Foreign)?;
        let duration = parse_seconds(next()?).ok_or(Foreign)?;
        let finished = next()?;
        let runner = next()?.parse().map_err(|_| Foreign)?;
        if finished.len() != 20 || !finished.ends_with('Z') {
            return Err(Foreign);
        }
        let finished: Timestamp = finished.parse().map_err(|_| Foreign)?;

        match next()?
            .strip_prefix("v=")
            .and_then(|v| v.parse::<u32>().ok())
        {
            Some(RECORD_VERSION) => {}
            Some(_) => return Err(Version),
            None => return Err(Foreign),
        }
        let (mut try_, mut why, mut tree, mut def, mut log) = (None, None, None, None, None);
        for word in words {
            let (key, value) = word.split_once('=').ok_or(Foreign)?;
            match key {
                "try" => try_ = value.parse::<u32>().ok().filter(|&n| n >= 1),
                "why" => why = Some(value.parse::<Why>().map_err(|()| Foreign)?),
                "tree" => tree = value.parse().ok(),
                "def" => def = value.parse().ok(),
                "log" => log = value.parse().ok(),
                _ => {} // A key that a later program added within the version.
            }
        }
        Ok(Self {
            status,
            job,
            duration,
            finished,
            runner,
            try_: try_.ok_or(Foreign)?,
            why,
            tree: tree.ok_or(Foreign)?,
            def: def.ok_or(Foreign)?,
            log: log.ok_or(Foreign)?,
        })
    }
}

/// Reads `41.8s`.
fn parse_seconds(text: &str) -> Option<Duration> {
    let (whole, tenth) = text.strip_suffix('s')?.split_once('.')?;
    let digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    if whole.is_empty() || whole.len() > 10 || !digits(whole) || tenth.len() != 1 || !digits(tenth)
    {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let tenth: u64 = tenth.parse().ok()?;
    Some(Duration::from_millis(whole * 1000 + tenth * 100))
}

fn parse_line(line: &[u8]) -> Result<Record, ParseRecordError> {
    let text = std::str::from_utf8(line).map_err(|_| ParseRecordError::Foreign)?;
    text.parse()
}

/// How many lines of notes are whose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// Records that this program understands.
    pub records: usize,
    /// Records of versions that it does not know.
    pub other_versions: usize,
    /// Lines that are no records.
    pub foreign: usize,
}

impl std::ops::AddAssign for Census {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.other_versions += other.other_versions;
        self.foreign += other.foreign;
    }
}

/// One note: its lines, whosever they are, sorted and without duplicates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Note {
    lines: BTreeSet<Vec<u8>>,
}

impl Note {
    /// The note whose blob is `bytes`. Anything parses: what is not ours is kept as it is.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut note = Self::default();
        note.merge_bytes(bytes);
        note
    }

    /// Adds every line of another version of the note: the union, which is the merge.
    pub fn merge_bytes(&mut self, bytes: &[u8]) {
        let lines = bytes.split(|&c| c == b'\n').filter(|line| !line.is_empty());
        self.lines.extend(lines.map(<[u8]>::to_vec));
    }

    /// Adds one record; `false` where that very line was there already.
    pub fn insert(&mut self, record: &Record) -> bool {
        self.lines.insert(record.to_string().into_bytes())
    }

    /// The blob: each line with its line feed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in &self.lines {
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
        }
        bytes
    }

    /// Whose its lines are.
    pub fn census(&self) -> Census {
        let mut census = Census::default();
        for line in &self.lines {
            match parse_line(line) {
                Ok(_) => census.records += 1,
                Err(ParseRecordError::Version) => census.other_versions += 1,
                Err(ParseRecordError::Foreign) => census.foreign += 1,
            }
        }
        census
    }

    /// The records that this program understands, in the order of their lines.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        self.lines.iter().filter_map(|line| parse_line(line).ok())
    }

    /// The other lines, raw: those of other programs, and records of other versions.
    pub fn foreign(&self) -> impl Iterator<Item = (&[u8], ParseRecordError)> {
        self.lines
            .iter()
            .filter_map(|line| Some((line.as_slice(), parse_line(line).err()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn record() -> Record {
        Record {
            status: Status::Fail,
            job: "test".parse().unwrap(),
            duration: Duration::from_millis(41_760),
            finished: "2026-08-23T10:11:55.9Z".parse().unwrap(),
            runner: "mira".parse().unwrap(),
            try_: 1,
            why: Some(Why::Exit(101)),
            tree: "0cf036bf".repeat(5).parse().unwrap(),
            def: "5b21c0de9a410000".parse().unwrap(),
            log: "7d3f9a02c4e10000".parse().unwrap(),
        }
    }

    #[test]
    fn a_record_is_the_line_of_the_contract() {
        insta::assert_snapshot!(record(), @"FAIL  test      41.8s 2026-08-23T10:11:55Z mira    v=1 try=1 why=exit:101 tree=0cf036bf0cf036bf0cf036bf0cf036bf0cf036bf def=5b21c0de9a410000 log=7d3f9a02c4e10000");
        let mut pass = record();
        pass.status = Status::Pass;
        pass.why = None;
        pass.job = "lint".parse().unwrap();
        pass.duration = Duration::from_millis(3_149);
        insta::assert_snapshot!(pass, @"pass  lint       3.1s 2026-08-23T10:11:55Z mira    v=1 try=1 tree=0cf036bf0cf036bf0cf036bf0cf036bf0cf036bf def=5b21c0de9a410000 log=7d3f9a02c4e10000");
    }

    #[test]
    fn the_longest_record_fits_its_line_and_reads_back() {
        let mut long = record();
        long.status = Status::Flaky;
        long.job = "j".repeat(64).parse().unwrap();
        long.duration = Duration::from_secs(9_999_999_999);
        long.runner = "r".repeat(32).parse().unwrap();
        long.try_ = u32::MAX;
        long.why = Some(Why::RunnerLost);
        long.tree = "0cf036bf".repeat(8).parse().unwrap();
        let line = long.to_string();
        assert!(line.len() <= MAX_LINE, "{} bytes", line.len());
        assert_eq!(line.parse::<Record>().unwrap().to_string(), line);
    }

    #[test]
    fn lines_of_others_are_ignored_when_read_and_kept_when_written() {
        let ours = record().to_string();
        let newer = ours.replace(" v=1 ", " v=2 ");
        let blob = format!("{newer}\nreviewed by hand\n\n{ours}\n\u{1b}[31m\nFAIL\n");
        let mut note = Note::parse(blob.as_bytes());
        assert_eq!(note.records().count(), 1);
        let versions = |&(_, why): &(&[u8], _)| why == ParseRecordError::Version;
        assert_eq!(note.foreign().filter(versions).count(), 1);
        assert_eq!(note.foreign().count(), 4);
        let census = Census {
            records: 1,
            other_versions: 1,
            foreign: 3,
        };
        assert_eq!(note.census(), census);
        assert!(!note.insert(&record()), "already there");
        let bytes = note.to_bytes();
        for line in [
            newer.as_str(),
            "reviewed by hand",
            "\u{1b}[31m",
            "FAIL",
            &ours,
        ] {
            assert!(
                bytes.split(|&c| c == b'\n').any(|l| l == line.as_bytes()),
                "{line}"
            );
        }
        assert_eq!(Note::parse(&bytes).to_bytes(), bytes);
    }

    #[test]
    fn malformed_lines_are_not_records() {
        let good = record().to_string();
        for (from, to) in [
            ("FAIL", "FAILED"),
            ("41.8s", "41.8"),
            ("41.8s", "-1.8s"),
            ("55Z", "55+02:00"),
            ("try=1", "try=0"),
            ("tree=0", "tree=x"),
            ("why=exit:101", "why=because"),
            (" log=", " LOG="),
        ] {
            let bad = good.replace(from, to);
            assert_ne!(bad, good);
            assert!(bad.parse::<Record>().is_err(), "{bad}");
        }
    }
}
