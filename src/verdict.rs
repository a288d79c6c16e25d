//! What counts: of all the records that a commit has, the one that is a job's verdict on
//! it, and what each of the others means.
//!
//! A record speaks of a tree and of a definition. The newest that speaks of the commit's
//! own tree and of the job as it is defined now counts; where there is none, the newest
//! with another definition, which is shown as outdated. A record of another tree (git
//! copies notes to amended commits) is stale and never counts.
//!
//! Pure, as the plan is: what is known comes in as values.

use serde::Serialize;

use crate::model::{Commit, DefId, JobName, Oid, Record};

/// What a record means for the commit in whose note it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Of the commit's tree, and of the job as it is defined now.
    Current,
    /// Of the commit's tree, but the job is defined otherwise by now.
    Outdated,
    /// Of the commit's tree; no job of that name is configured.
    Unconfigured,
    /// Of another tree than the commit's: it says nothing about this commit.
    Stale,
}

impl Standing {
    /// What `record` means for `commit`, whose jobs file defines the record's job as
    /// `def` (`None`: not at all).
    pub fn of(record: &Record, commit: &Commit, def: Option<&DefId>) -> Self {
        match def {
            _ if record.tree != commit.tree => Self::Stale,
            None => Self::Unconfigured,
            Some(def) if record.def == *def => Self::Current,
            Some(_) => Self::Outdated,
        }
    }

    /// A word for people, where there is something to say.
    pub fn mark(self) -> Option<&'static str> {
        match self {
            Self::Current | Self::Unconfigured => None,
            Self::Outdated => Some("outdated"),
            Self::Stale => Some("stale"),
        }
    }
}

/// The record that counts for a commit and a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The record.
    pub record: Record,
    /// Never [`Standing::Stale`].
    pub standing: Standing,
    /// The commit in whose note it stands: another one where only that has the content
    /// on record so far.
    pub from: Oid,
}

/// What counts for `commit` and the job of this name, which is defined as `def`.
///
/// `own` are all records of the commit's note. `known` is the newest record of this tree
/// and definition wherever it stands, with the commit that has it; another commit's
/// counts only where a run would take it over.
pub fn verdict(
    commit: &Commit,
    job: &JobName,
    def: Option<&DefId>,
    own: &[Record],
    known: Option<(Record, Oid)>,
) -> Option<Verdict> {
    let standing = |record: &Record| Standing::of(record, commit, def);
    let newest = |wanted: fn(Standing) -> bool| {
        let named = own.iter().filter(|record| record.job == *job);
        let fitting = named.filter(|record| wanted(standing(record)));
        fitting.max_by_key(|record| record.rank())
    };
    let here = |record: &Record| Verdict {
        record: record.clone(),
        standing: standing(record),
        from: commit.id,
    };
    let current = newest(|standing| standing == Standing::Current);
    // Under another name or at another commit.
    let known = known
        .filter(|(record, from)| *from == commit.id || record.reusable())
        .filter(|(record, _)| current.is_none_or(|own| record.rank() > own.rank()));
    if let Some((record, from)) = known {
        let standing = Standing::Current;
        return Some(Verdict {
            record,
            standing,
            from,
        });
    }
    current
        .or_else(|| newest(|standing| standing != Standing::Stale))
        .map(here)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "0cf036bf";

    fn commit() -> Commit {
        Commit {
            id: "a".repeat(40).parse().unwrap(),
            tree: TREE.repeat(5).parse().unwrap(),
            subject: String::new(),
            time: 0,
        }
    }

    fn record(status: &str, day: u8, tree: &str, def: &str) -> Record {
        let why = if status == "FAIL" { "why=exit:1 " } else { "" };
        format!(
            "{status} test 1.0s 2026-01-{day:02}T00:00:00Z x v=1 try=1 {why}tree={} def={} log={}",
            tree.repeat(5),
            def.repeat(16),
            "7".repeat(16)
        )
        .parse()
        .unwrap()
    }

    fn judge(own: &[Record], known: Option<(Record, Oid)>) -> Option<Verdict> {
        let def: DefId = "d".repeat(16).parse().unwrap();
        verdict(&commit(), &"test".parse().unwrap(), Some(&def), own, known)
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
        let renamed = judge(&[], Some((error, commit().id))).unwrap();
        assert_eq!(renamed.from, commit().id, "the same job under another name");
    }

    #[test]
    fn a_job_that_is_not_configured_keeps_its_verdict() {
        let own = [record("pass", 1, TREE, "d")];
        let name = "test".parse().unwrap();
        let found = verdict(&commit(), &name, None, &own, None).unwrap();
        assert_eq!(found.standing, Standing::Unconfigured);
    }
}
