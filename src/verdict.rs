//! What counts: of all the records that a commit has, the one that is a job's verdict on
//! it, and what each of the others means.
//!
//! The newest that meets a job's criteria on the commit counts, wherever it stands. Where
//! there is none, the commit's newest that speaks of its contents is shown, with what is
//! otherwise: the definition, the platform, the surroundings. A record of another tree (git
//! copies notes to amended commits), or of another commit where the job looked at that, is
//! stale and never counts; nor does one that somebody said to forget.
//!
//! Pure, as the plan is: what is known comes in as values.

use jiff::Timestamp;
use serde::Serialize;

use crate::model::{Commit, Criteria, JobName, Known, Mismatch, Oid, Record, Seen};

/// What a record means for the commit in whose note it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Of the commit, and of the job as it would run now.
    Current,
    /// Of the commit, but the job is defined otherwise by now.
    Outdated,
    /// Of the commit, but of a platform that no runner has which can take the job.
    AnotherPlatform,
    /// Of the commit, but what else the verdict depends on is otherwise by now.
    SurroundingsChanged,
    /// Of the commit; no job of that name is configured.
    Unconfigured,
    /// Somebody said that it does not count any more.
    Forgotten,
    /// Of another tree than the commit's, or of another commit: it says nothing about this
    /// one.
    Stale,
}

impl Standing {
    /// What `record` means for `commit`, where `criteria` are those of the job of its name
    /// (`None`: none is configured).
    pub fn of(
        record: &Record,
        commit: &Commit,
        criteria: Option<&Criteria>,
        is_forgotten: bool,
    ) -> Self {
        let is_of_another = match (criteria, record.seen.commit()) {
            (Some(criteria), Some(_)) => !criteria.holds_for(record.seen, &commit.id),
            _ => matches!(record.seen, Seen::Commit(other) if other != commit.id),
        };
        let is_of_commit = match criteria {
            Some(criteria) => criteria.is_of(record, commit),
            None => record.tree == commit.tree,
        };
        if !is_of_commit || is_of_another {
            return Self::Stale;
        }
        let mismatch = match criteria {
            Some(criteria) => criteria.check(record, commit).err(),
            None => Some(Mismatch::Contents),
        };
        match mismatch {
            _ if is_forgotten => Self::Forgotten,
            None => Self::Current,
            Some(Mismatch::Contents) => Self::Unconfigured,
            // What a verdict may be reused for is a part of the job, too.
            Some(Mismatch::Definition | Mismatch::Commit) => Self::Outdated,
            Some(Mismatch::Platform) => Self::AnotherPlatform,
            Some(Mismatch::Env) => Self::SurroundingsChanged,
        }
    }

    /// A word for people, where there is something to say.
    pub fn mark(self) -> Option<&'static str> {
        match self {
            Self::Current | Self::Unconfigured => None,
            Self::Outdated => Some("outdated"),
            Self::AnotherPlatform => Some("another platform"),
            Self::SurroundingsChanged => Some("surroundings changed"),
            Self::Forgotten => Some("forgotten"),
            Self::Stale => Some("stale"),
        }
    }

    /// Whether it is a verdict on the commit, of whichever job and machine.
    fn is_of_commit(self) -> bool {
        !matches!(self, Self::Stale | Self::Forgotten)
    }
}

/// The record that counts for a commit and a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The record.
    pub record: Record,
    /// Never [`Standing::Stale`] nor [`Standing::Forgotten`].
    pub standing: Standing,
    /// The commit in whose note it stands: another one where only that has the content
    /// on record so far.
    pub from: Oid,
}

/// What is known of a commit and a job.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a, F> {
    /// The commit.
    pub commit: &'a Commit,
    /// The job's name.
    pub job: &'a JobName,
    /// The criteria of the job of that name; `None` where none is configured.
    pub criteria: Option<&'a Criteria>,
    /// All records of the commit's note.
    pub own: &'a [Record],
    /// As of when records are of the future.
    pub now: Timestamp,
    /// Whether somebody said that a record does not count any more.
    pub is_forgotten: F,
}

impl<F: Fn(&Record) -> bool> Facts<'_, F> {
    fn standing(&self, record: &Record) -> Standing {
        let forgotten = (self.is_forgotten)(record);
        Standing::of(record, self.commit, self.criteria, forgotten)
    }

    /// The newest of the commit's own records of a standing.
    fn newest(&self, wanted: fn(Standing) -> bool) -> Option<Verdict> {
        let named = self.own.iter().filter(|record| record.job == *self.job);
        let standings = named.map(|record| (record, self.standing(record)));
        let fitting = standings.filter(|(_, standing)| wanted(*standing));
        let (record, standing) = fitting.max_by_key(|(record, _)| record.rank(self.now))?;
        Some(Verdict {
            record: record.clone(),
            standing,
            from: self.commit.id,
        })
    }

    /// What counts. `known` is the newest record that meets the criteria wherever it stands;
    /// another commit's counts only where a run would take it over.
    pub fn verdict(&self, known: Option<Known>) -> Option<Verdict> {
        let current = self.newest(|standing| standing == Standing::Current);
        let rank = |record: &Record| record.rank(self.now);
        let known = known
            .filter(|known| known.from == self.commit.id || known.record.reusable())
            .filter(|known| {
                let own = current.as_ref();
                own.is_none_or(|own| rank(&known.record) > rank(&own.record))
            });
        let known = known.map(|known| Verdict {
            record: known.record,
            standing: Standing::Current,
            from: known.from,
        });
        known
            .or(current)
            .or_else(|| self.newest(Standing::is_of_commit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CommandLine, EnvId, Job, Surroundings};

    const TREE: &str = "0cf036bf";

    fn commit() -> Commit {
        Commit {
            id: "a".repeat(40).parse().unwrap(),
            tree: TREE.repeat(5).parse().unwrap(),
            subject: String::new(),
            time: 0,
            snapshot: None,
        }
    }

    fn criteria() -> Criteria {
        let run = CommandLine::Shell("make".into());
        let job = Job::new("test".parse().unwrap(), run);
        let here = Surroundings {
            on: "x86_64-linux".parse().unwrap(),
            env: None,
        };
        Criteria::new(&job, here.env, [(here.on, None)])
    }

    /// `def` is that of the job as it is now where it is `d`.
    fn record(status: &str, day: u8, tree: &str, def: &str) -> Record {
        let why = if status == "FAIL" { "why=exit:1 " } else { "" };
        let mut record: Record = format!(
            "{status} test 1.0s 2026-01-{day:02}T00:00:00Z x v=1 {why}on=x86_64-linux def={} log={} tree={}",
            def.repeat(32),
            "7".repeat(16),
            tree.repeat(5),
        )
        .parse()
        .unwrap();
        if def == "d" {
            record.def = criteria().def;
        }
        record
    }

    fn judge_as(
        criteria: Option<&Criteria>,
        own: &[Record],
        known: Option<(Record, Oid)>,
    ) -> Option<Verdict> {
        let facts = Facts {
            commit: &commit(),
            job: &"test".parse().unwrap(),
            criteria,
            own,
            now: "2026-02-01T00:00:00Z".parse().unwrap(),
            is_forgotten: |record: &Record| record.runner.as_str() == "gone",
        };
        facts.verdict(known.map(|(record, from)| Known { record, from }))
    }

    fn judge(own: &[Record], known: Option<(Record, Oid)>) -> Option<Verdict> {
        judge_as(Some(&criteria()), own, known)
    }

    #[test]
    fn the_current_definition_goes_before_the_newest_date() {
        let own = [
            record("pass", 1, TREE, "d"),
            record("FAIL", 2, TREE, "d"),
            record("pass", 3, TREE, "e"),
            record("pass", 4, "ffffffff", "d"),
        ];
        let found = judge(&own, None).unwrap();
        assert_eq!(
            (found.record, found.standing),
            (own[1].clone(), Standing::Current)
        );
        let found = judge(&own[2..], None).unwrap();
        assert_eq!(
            (found.record, found.standing),
            (own[2].clone(), Standing::Outdated)
        );
        assert_eq!(judge(&own[3..], None), None, "stale records never count");
    }

    #[test]
    fn of_equally_new_ones_what_needs_attention_counts() {
        let own = [record("pass", 1, TREE, "d"), record("FAIL", 1, TREE, "d")];
        assert_eq!(judge(&own, None).unwrap().record, own[1]);
    }

    #[test]
    fn another_commit_counts_where_a_run_would_take_its_verdict_over() {
        let other: Oid = "b".repeat(40).parse().unwrap();
        let own = [record("ERROR", 2, TREE, "d")];
        let newer = record("pass", 3, TREE, "d");
        let found = judge(&own, Some((newer.clone(), other))).unwrap();
        assert_eq!((found.record, found.from), (newer, other));
        let older = record("pass", 1, TREE, "d");
        assert_eq!(judge(&own, Some((older, other))).unwrap().record, own[0]);
        let error = record("ERROR", 3, TREE, "d");
        assert_eq!(judge(&[], Some((error.clone(), other))), None);
    }

    #[test]
    fn a_job_that_is_not_configured_keeps_its_verdict() {
        let own = [record("pass", 1, TREE, "d")];
        let found = judge_as(None, &own, None).unwrap();
        assert_eq!(found.standing, Standing::Unconfigured);
    }

    #[test]
    fn what_is_of_another_machine_or_forgotten_or_of_another_commit_is_not_current() {
        let pass = record("pass", 1, TREE, "d");
        let other: Oid = "b".repeat(40).parse().unwrap();
        let standing = |change: fn(&mut Record, Oid)| {
            let mut record = pass.clone();
            change(&mut record, other);
            judge(&[record], None).map(|found| found.standing)
        };
        assert_eq!(standing(|_, _| {}), Some(Standing::Current));
        let on = standing(|record, _| record.on = "aarch64-darwin".parse().ok());
        assert_eq!(on, Some(Standing::AnotherPlatform));
        let old = standing(|record, _| record.on = None);
        assert_eq!(old, Some(Standing::AnotherPlatform));
        let env = standing(|record, _| record.env = EnvId::of(&[("a", b"b")]));
        assert_eq!(env, Some(Standing::SurroundingsChanged));
        assert_eq!(
            standing(|record, other| record.seen = Seen::Commit(other)),
            None
        );
        assert_eq!(
            standing(|record, other| record.seen = Seen::Ignored(other)),
            None
        );
        let both = standing(|record, other| {
            record.seen = Seen::Commit(other);
            record.def = "e".repeat(32).parse().unwrap();
        });
        assert_eq!(
            both, None,
            "that the job has changed makes it no verdict on this commit"
        );
        assert_eq!(
            standing(|record, _| record.runner = "gone".parse().unwrap()),
            None
        );
    }

    #[test]
    fn the_future_is_behind_the_present() {
        let mut own = [record("pass", 1, TREE, "d"), record("FAIL", 2, TREE, "d")];
        own[0].finished = "9999-12-30T00:00:00Z".parse().unwrap();
        assert_eq!(judge(&own, None).unwrap().record, own[1]);
        assert_eq!(judge(&own[..1], None).unwrap().record, own[0]);
    }
}
