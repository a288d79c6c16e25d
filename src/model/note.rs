//! A note: the lines that a commit has, whosever they are.
//!
//! A note is a grow-only set of lines in byte order. That makes merging two notes a
//! union, which `git notes merge -s cat_sort_uniq` computes as well, byte for byte.
//! It follows that nothing may depend on a line being absent, and that lines which
//! are not ours (or are a newer version's) must survive every write.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::{Forget, ParseRecordError, Record};

/// A line of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A record.
    Record(Record),
    /// Takes away the weight of records.
    Forget(Forget),
}

impl fmt::Display for Line {
    /// The line as it stands in a note, without its line feed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(record) => record.fmt(f),
            Self::Forget(forget) => forget.fmt(f),
        }
    }
}

impl FromStr for Line {
    type Err = ParseRecordError;

    fn from_str(line: &str) -> Result<Self, ParseRecordError> {
        match line.parse().map(Self::Record) {
            Err(ParseRecordError::Foreign) => line.parse().map(Self::Forget),
            other => other,
        }
    }
}

fn parse_line(line: &[u8]) -> Result<Line, ParseRecordError> {
    let text = std::str::from_utf8(line).map_err(|_| ParseRecordError::Foreign)?;
    text.parse()
}

/// How many lines of notes are whose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// Lines that this program understands.
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

    /// Adds one line of ours, a [`Record`] or a [`Forget`]; `false` where that very line
    /// was there already.
    pub fn insert(&mut self, line: &impl fmt::Display) -> bool {
        self.lines.insert(line.to_string().into_bytes())
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

    /// The lines that this program understands, in their order.
    pub fn ours(&self) -> impl Iterator<Item = Line> {
        self.lines.iter().filter_map(|line| parse_line(line).ok())
    }

    /// The records that this program understands, in the order of their lines.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        self.ours().filter_map(|line| match line {
            Line::Record(record) => Some(record),
            Line::Forget(_) => None,
        })
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
    use super::super::record::tests::record;
    use super::*;

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
}
