//! A line of a note that says which records do not count any more.
//!
//! Notes only grow, so what was recorded stays; such a line takes its weight away. It
//! looks like a record, and programs that do not know it keep it and ignore it.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use super::record::Words;
use super::{JobName, LogId, Oid, ParseRecordError, RECORD_VERSION, Record, RunnerLabel};

/// The first word of such a line.
const WORD: &str = "forget";

/// Takes away the weight of records of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forget {
    /// The job.
    pub job: JobName,
    /// When it was said; whole seconds once written.
    pub at: Timestamp,
    /// Who said it.
    pub runner: RunnerLabel,
    /// Which records.
    pub what: Forgotten,
}

/// Which records of a job do not count any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forgotten {
    /// Those of a tree that are not newer than the line, wherever they stand. Where a job
    /// looked at the commit, only those of this commit.
    Older {
        /// The tree.
        tree: Oid,
        /// The commit.
        commit: Oid,
    },
    /// The one with this log, whatever its date.
    Log(LogId),
}

impl Forget {
    /// Whether `record` is one of them.
    pub fn covers(&self, record: &Record) -> bool {
        self.job == record.job
            && match &self.what {
                Forgotten::Log(log) => record.log == *log,
                Forgotten::Older { tree, commit } => {
                    record.tree == *tree
                        && record.finished <= self.at
                        && record.seen.commit().is_none_or(|seen| seen == *commit)
                }
            }
    }
}

impl fmt::Display for Forget {
    /// The line as it stands in a note, without its line feed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{WORD} {:<9} {:>5} {} {:<7} v={RECORD_VERSION}",
            self.job,
            "-",
            self.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            self.runner,
        )?;
        match &self.what {
            Forgotten::Older { tree, commit } => write!(f, " tree={tree} commit={commit}"),
            Forgotten::Log(log) => write!(f, " log={log}"),
        }
    }
}

impl FromStr for Forget {
    type Err = ParseRecordError;

    fn from_str(line: &str) -> Result<Self, ParseRecordError> {
        use ParseRecordError::Foreign;
        let words = Words::of(line).ok_or(Foreign)?;
        if (words.first, words.third) != (WORD, "-") {
            return Err(Foreign);
        }
        words.check_version()?;
        let (mut tree, mut commit, mut log) = (None, None, None);
        for word in words.keys {
            let (key, value) = word.split_once('=').ok_or(Foreign)?;
            match key {
                "tree" => tree = Some(value.parse().map_err(|_| Foreign)?),
                "commit" => commit = Some(value.parse().map_err(|_| Foreign)?),
                "log" => log = Some(value.parse().map_err(|_| Foreign)?),
                _ => {} // A key that a later program added within the version.
            }
        }
        let what = match (tree, commit, log) {
            (Some(tree), Some(commit), None) => Forgotten::Older { tree, commit },
            (None, None, Some(log)) => Forgotten::Log(log),
            _ => return Err(Foreign),
        };
        Ok(Self {
            job: words.job,
            at: words.time,
            runner: words.runner,
            what,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_read_back_and_are_no_records() {
        let older = Forget {
            job: "test".parse().unwrap(),
            at: "2026-08-23T10:11:55Z".parse().unwrap(),
            runner: "mira".parse().unwrap(),
            what: Forgotten::Older {
                tree: "0cf036bf".repeat(5).parse().unwrap(),
                commit: "a5cacd37".repeat(5).parse().unwrap(),
            },
        };
        insta::assert_snapshot!(older, @"forget test          - 2026-08-23T10:11:55Z mira    v=1 tree=0cf036bf0cf036bf0cf036bf0cf036bf0cf036bf commit=a5cacd37a5cacd37a5cacd37a5cacd37a5cacd37");
        let log = Forget {
            what: Forgotten::Log("7d3f9a02c4e10000".parse().unwrap()),
            ..older.clone()
        };
        insta::assert_snapshot!(log, @"forget test          - 2026-08-23T10:11:55Z mira    v=1 log=7d3f9a02c4e10000");
        for line in [older, log] {
            assert_eq!(line.to_string().parse(), Ok(line.clone()));
            assert!(line.to_string().parse::<Record>().is_err());
            let newer = line.to_string().replace("v=1", "v=2");
            assert_eq!(newer.parse::<Forget>(), Err(ParseRecordError::Version));
        }
    }
}
