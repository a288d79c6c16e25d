//! One line of a note: what one job said about one tree, readable by people first.
//!
//! `STATUS job duration time runner v=1`, then keys in a fixed order, of which those that
//! say nothing new are left out. Every line read here may have been written by anybody.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::outcome::{is_crash, is_kill_code};
use super::{DefId, EnvId, InputId, JobName, LogId, Oid, Platform, RunnerLabel, Status, Why};

/// The version that this program writes and reads: the `v=` of a line.
pub const RECORD_VERSION: u32 = 1;

/// No line that we write or understand is longer, in bytes.
pub const MAX_LINE: usize = 512;

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

/// How many tests a job ran, and how many of them failed: `tests=3/412`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tests {
    /// Those that failed.
    pub failed: u32,
    /// All of them.
    pub all: u32,
}

/// What is known of whether a job looked at the commit, and not only at its files.
///
/// This is what was seen and not what follows from it: a job that says that it does not
/// care (`reuse = "tree"`) may come to say something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Seen {
    /// It did not: the verdict holds for every commit with that tree.
    #[default]
    Nothing,
    /// `commit=`: it may have, so that the verdict holds for this commit only.
    Commit(Oid),
    /// `saw=`: it may have looked at this commit, and its definition said that it does not care.
    Ignored(Oid),
}

impl Seen {
    /// The commit that it may have looked at.
    pub fn commit(self) -> Option<Oid> {
        match self {
            Self::Nothing => None,
            Self::Commit(id) | Self::Ignored(id) => Some(id),
        }
    }
}

/// How far ahead another machine's clock may be before what it says is of the future.
const SKEW: SignedDuration = SignedDuration::from_mins(2);

/// The latest date that is not of the future at `now`.
pub fn latest(now: Timestamp) -> Timestamp {
    now.saturating_add(SKEW).unwrap_or(Timestamp::MAX)
}

/// Which of two records of the same thing counts: the one with the higher rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    is_past: bool,
    finished: Timestamp,
    status: Reverse<Status>,
}

/// One line of a note: what one job said about one tree.
///
/// It is self-contained: copied to the note of another commit with the same tree, it
/// says the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    /// Present unless the status says it all.
    pub why: Option<Why>,
    /// Its tests, where the job reports them.
    pub tests: Option<Tests>,
    /// The try that gave the verdict, from 1.
    pub try_: u32,
    /// Where it ran; unknown in records of earlier versions.
    pub on: Option<Platform>,
    /// What its verdict depends on beside the tree, where there is anything.
    pub env: Option<EnvId>,
    /// The definition that was run.
    pub def: DefId,
    /// The log, on the machine that ran it.
    pub log: LogId,
    /// The part of the tree that was tested, where the job says which.
    pub input: Option<InputId>,
    /// The tree that was tested.
    pub tree: Oid,
    /// Whether it looked at the commit.
    pub seen: Seen,
    /// Keys that a later program added within the version, as they stood in the line.
    pub rest: Option<Box<str>>,
}

impl Record {
    /// Whether another commit (or another run) may take this verdict over.
    ///
    /// Never where no verdict was reached or time ran out: that says something about the
    /// machine, not about the tree. Of signals only a crash is about the code; a kill may
    /// stand as a failure where an older version wrote it.
    pub fn reusable(&self) -> bool {
        match self.status {
            Status::Pass | Status::Flaky | Status::Skip => true,
            Status::Fail => match self.why {
                Some(Why::Exit(code)) => !is_kill_code(code),
                Some(Why::Signal(signal)) => is_crash(signal),
                _ => false,
            },
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
    /// and of equally new ones that which needs attention. What is dated in the future, seen
    /// from `now`, is behind all that is not: somebody's clock was wrong.
    pub fn rank(&self, now: Timestamp) -> Rank {
        Rank {
            is_past: self.finished <= latest(now),
            finished: self.finished,
            status: Reverse(self.status),
        }
    }
}

impl fmt::Display for Record {
    /// The line as it stands in a note, without its line feed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.duration.as_millis() + 50) / 100;
        let seconds = format!("{}.{}s", tenths / 10, tenths % 10);
        write!(
            f,
            "{:<5} {:<9} {:>5} {} {:<7} v={RECORD_VERSION}",
            self.status,
            self.job,
            seconds,
            self.finished.strftime("%Y-%m-%dT%H:%M:%SZ"),
            self.runner,
        )?;
        if let Some(why) = self.why {
            write!(f, " why={why}")?;
        }
        if let Some(Tests { failed, all }) = self.tests {
            write!(f, " tests={failed}/{all}")?;
        }
        if self.try_ != 1 {
            write!(f, " try={}", self.try_)?;
        }
        if let Some(on) = &self.on {
            write!(f, " on={on}")?;
        }
        if let Some(env) = self.env {
            write!(f, " env={env}")?;
        }
        write!(f, " def={} log={}", self.def, self.log)?;
        if let Some(input) = self.input {
            write!(f, " in={input}")?;
        }
        write!(f, " tree={}", self.tree)?;
        match self.seen {
            Seen::Nothing => {}
            Seen::Commit(id) => write!(f, " commit={id}")?,
            Seen::Ignored(id) => write!(f, " saw={id}")?,
        }
        match &self.rest {
            Some(rest) => write!(f, " {rest}"),
            None => Ok(()),
        }
    }
}

/// The keys of a line as far as they have been read.
#[derive(Default)]
struct Keys<'a> {
    why: Option<Why>,
    tests: Option<Tests>,
    try_: Option<u32>,
    on: Option<Platform>,
    env: Option<EnvId>,
    def: Option<DefId>,
    log: Option<LogId>,
    input: Option<InputId>,
    tree: Option<Oid>,
    commit: Option<Oid>,
    saw: Option<Oid>,
    rest: Vec<&'a str>,
}

impl<'a> Keys<'a> {
    /// Takes a word. One that cannot be read, or is there twice, makes the line none of
    /// ours: a record that is understood by half would count for more than it says.
    fn take(&mut self, word: &'a str) -> Option<()> {
        fn once<T: FromStr>(key: &mut Option<T>, value: &str) -> Option<()> {
            match key.replace(value.parse().ok()?) {
                None => Some(()),
                Some(_) => None,
            }
        }
        let (key, value) = word.split_once('=')?;
        match key {
            "why" => once(&mut self.why, value),
            "tests" => once(&mut self.tests, value),
            "try" => match self.try_.replace(number(value)?) {
                None => Some(()),
                Some(_) => None,
            },
            "on" => once(&mut self.on, value),
            "env" => once(&mut self.env, value),
            "def" => once(&mut self.def, value),
            "log" => once(&mut self.log, value),
            "in" => once(&mut self.input, value),
            "tree" => once(&mut self.tree, value),
            "commit" => once(&mut self.commit, value),
            "saw" => once(&mut self.saw, value),
            _ => {
                self.rest.push(word);
                Some(())
            }
        }
    }
}

impl FromStr for Tests {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (failed, all) = text.split_once('/').ok_or(())?;
        Ok(Self {
            failed: number(failed).ok_or(())?,
            all: number(all).ok_or(())?,
        })
    }
}

/// What every line of ours begins with, and the words behind it.
pub(super) struct Words<'a> {
    pub(super) first: &'a str,
    pub(super) job: JobName,
    pub(super) third: &'a str,
    pub(super) time: Timestamp,
    pub(super) runner: RunnerLabel,
    version: &'a str,
    pub(super) keys: std::str::SplitAsciiWhitespace<'a>,
}

impl<'a> Words<'a> {
    /// Takes a line apart.
    pub(super) fn of(line: &'a str) -> Option<Self> {
        if line.len() > MAX_LINE || !line.bytes().all(|c| matches!(c, b' '..=b'~')) {
            return None;
        }
        let mut words = line.split_ascii_whitespace();
        Some(Self {
            first: words.next()?,
            job: words.next()?.parse().ok()?,
            third: words.next()?,
            time: parse_time(words.next()?)?,
            runner: words.next()?.parse().ok()?,
            version: words.next()?.strip_prefix("v=")?,
            keys: words,
        })
    }

    /// Whether it is of the version that is understood here.
    pub(super) fn check_version(&self) -> Result<(), ParseRecordError> {
        match number(self.version) {
            Some(RECORD_VERSION) => Ok(()),
            Some(_) => Err(ParseRecordError::Version),
            None => Err(ParseRecordError::Foreign),
        }
    }
}

impl FromStr for Record {
    type Err = ParseRecordError;

    fn from_str(line: &str) -> Result<Self, ParseRecordError> {
        use ParseRecordError::Foreign;

        let words = Words::of(line).ok_or(Foreign)?;
        let status = words.first.parse().map_err(|()| Foreign)?;
        let duration = parse_seconds(words.third).ok_or(Foreign)?;
        words.check_version()?;
        let mut keys = Keys::default();
        let mut rest = words.keys;
        rest.try_for_each(|word| keys.take(word)).ok_or(Foreign)?;
        Ok(Self {
            status,
            job: words.job,
            duration,
            finished: words.time,
            runner: words.runner,
            why: keys.why,
            tests: keys.tests,
            try_: match keys.try_ {
                Some(0) => return Err(Foreign),
                other => other.unwrap_or(1),
            },
            on: keys.on,
            env: keys.env,
            def: keys.def.ok_or(Foreign)?,
            log: keys.log.ok_or(Foreign)?,
            input: keys.input,
            tree: keys.tree.ok_or(Foreign)?,
            seen: match (keys.commit, keys.saw) {
                (None, None) => Seen::Nothing,
                (Some(id), _) => Seen::Commit(id),
                (None, Some(id)) => Seen::Ignored(id),
            },
            rest: (!keys.rest.is_empty()).then(|| keys.rest.join(" ").into()),
        })
    }
}

/// Reads `412`: digits and nothing else; `parse` by itself would take a sign, too.
fn number(digits: &str) -> Option<u32> {
    if digits.bytes().all(|c| c.is_ascii_digit()) {
        digits.parse().ok()
    } else {
        None
    }
}

/// Reads `2026-08-23T10:11:55Z`: whole seconds of UTC and nothing else.
fn parse_time(text: &str) -> Option<Timestamp> {
    const FORM: &[u8] = b"0000-00-00T00:00:00Z";
    let fits = |(c, form): (u8, &u8)| match form {
        b'0' => c.is_ascii_digit(),
        form => c == *form,
    };
    // jiff takes what ISO 8601 allows besides.
    if text.len() == FORM.len() && text.bytes().zip(FORM).all(fits) {
        text.parse().ok()
    } else {
        None
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::model) fn record() -> Record {
        Record {
            status: Status::Fail,
            job: "test".parse().unwrap(),
            duration: Duration::from_millis(41_760),
            finished: "2026-08-23T10:11:55.9Z".parse().unwrap(),
            runner: "mira".parse().unwrap(),
            why: Some(Why::Exit(101)),
            tests: None,
            try_: 1,
            on: Some("x86_64-linux".parse().unwrap()),
            env: None,
            def: "5b21c0de9a415b21c0de9a415b21c0de".parse().unwrap(),
            log: "7d3f9a02c4e10000".parse().unwrap(),
            input: None,
            tree: "0cf036bf".repeat(5).parse().unwrap(),
            seen: Seen::Nothing,
            rest: None,
        }
    }

    #[test]
    fn a_record_is_the_line_of_the_contract() {
        let mut fail = record();
        fail.tests = "3/412".parse().ok();
        insta::assert_snapshot!(fail, @"FAIL  test      41.8s 2026-08-23T10:11:55Z mira    v=1 why=exit:101 tests=3/412 on=x86_64-linux def=5b21c0de9a415b21c0de9a415b21c0de log=7d3f9a02c4e10000 tree=0cf036bf0cf036bf0cf036bf0cf036bf0cf036bf");
        let mut pass = record();
        pass.status = Status::Pass;
        pass.why = None;
        pass.job = "describe".parse().unwrap();
        pass.duration = Duration::from_millis(3_149);
        pass.seen = Seen::Commit("a5cacd37".repeat(5).parse().unwrap());
        insta::assert_snapshot!(pass, @"pass  describe   3.1s 2026-08-23T10:11:55Z mira    v=1 on=x86_64-linux def=5b21c0de9a415b21c0de9a415b21c0de log=7d3f9a02c4e10000 tree=0cf036bf0cf036bf0cf036bf0cf036bf0cf036bf commit=a5cacd37a5cacd37a5cacd37a5cacd37a5cacd37");
    }

    fn longest() -> Record {
        Record {
            status: Status::Flaky,
            job: "j".repeat(64).parse().unwrap(),
            duration: Duration::from_secs(9_999_999_999),
            runner: "r".repeat(32).parse().unwrap(),
            why: Some(Why::RunnerLost),
            tests: Some(Tests {
                failed: u32::MAX,
                all: u32::MAX,
            }),
            try_: u32::MAX,
            on: Some("p".repeat(32).parse().unwrap()),
            env: EnvId::of(&[("a", b"b")]),
            input: Some("5b21c0de".repeat(4).parse().unwrap()),
            tree: "0cf036bf".repeat(8).parse().unwrap(),
            seen: Seen::Commit("0cf036bf".repeat(8).parse().unwrap()),
            ..record()
        }
    }

    #[test]
    fn the_longest_record_fits_its_line_and_reads_back() {
        let mut long = longest();
        let line = long.to_string();
        assert!(line.len() <= MAX_LINE, "{} bytes", line.len());
        assert_eq!(line.parse::<Record>().unwrap(), long.clone().as_written());
        long.seen = Seen::Ignored("0cf036bf".repeat(8).parse().unwrap());
        assert_eq!(long.to_string().parse::<Record>().unwrap().seen, long.seen);
    }

    #[test]
    fn lines_of_earlier_versions_and_keys_of_later_ones_read() {
        let tree = "0cf036bf".repeat(5);
        let old = format!(
            "pass  test       1.0s 2026-08-23T10:11:55Z mira    v=1 try=1 tree={tree} def=5b21c0de9a410000 log=7d3f9a02c4e10000"
        );
        let old: Record = old.parse().unwrap();
        assert_eq!(
            (old.try_, old.on.clone(), old.seen),
            (1, None, Seen::Nothing)
        );
        let line = format!("{} size=3 by=somebody", record());
        let later: Record = line.parse().unwrap();
        assert_eq!(later.rest.as_deref(), Some("size=3 by=somebody"));
        assert_eq!(later.to_string(), line);
    }

    #[test]
    fn malformed_lines_are_not_records() {
        let good = record().to_string();
        for (from, to) in [
            ("FAIL", "FAILED"),
            ("41.8s", "41.8"),
            ("41.8s", "-1.8s"),
            ("55Z", "55+02:00"),
            ("2026-08-23T10:11:55Z", "20260823T101155.123Z"),
            (" v=1", " v=+1"),
            (" on=", " try=+2 on="),
            (" on=", " try=0 on="),
            (" on=", " tests=1 on="),
            (" on=", " env=12 on="),
            (" on=", " commit=HEAD on="),
            (" on=", " on=x86_64-linux on="),
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
