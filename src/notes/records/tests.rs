//! What is known of notes, and what a damaged file of it is worth.

use super::*;
use crate::model::{CommandLine, EnvId, Job, Reuse, Seen, Status, Surroundings};

fn job(reuse: Reuse) -> Job {
    let mut job = Job::new("test".parse().unwrap(), CommandLine::Shell("make".into()));
    job.reuse = reuse;
    job
}

fn here() -> Surroundings {
    Surroundings {
        on: "x86_64-linux".parse().unwrap(),
        env: None,
    }
}

fn criteria(reuse: Reuse) -> Criteria {
    Criteria::new(&job(reuse), None, [(here().on, None)])
}

fn record(line: &str) -> Record {
    let tree = "0cf036bf".repeat(5);
    let def = job(Reuse::Auto).definition();
    format!("{line} on=x86_64-linux def={def} log=7d3f9a02c4e10000 tree={tree}")
        .parse()
        .unwrap()
}

fn commit(id: &str) -> Commit {
    Commit {
        id: id.repeat(40).parse().unwrap(),
        tree: "0cf036bf".repeat(5).parse().unwrap(),
        subject: String::new(),
        time: 0,
        snapshot: None,
    }
}

fn add(records: &mut Records, commit: &Commit, record: &Record) {
    records.insert(commit.id, Line::Record(record.clone()));
}

#[test]
fn the_newest_record_counts_wherever_it_is() {
    let mut records = Records::empty("refs/notes/ci");
    let (a, b) = (commit("a"), commit("b"));
    let auto = criteria(Reuse::Auto);
    let old = record("pass test 1.0s 2026-01-01T00:00:00Z x v=1");
    let new = record("FAIL test 3.0s 2026-01-02T00:00:00Z x v=1 why=exit:1");
    add(&mut records, &a, &old);
    add(&mut records, &b, &new);
    for commit in [&a, &b] {
        let known = records.known(commit, &auto).unwrap();
        assert_eq!((known.record, known.from), (new.clone(), b.id));
    }
    let again = record("pass test 2.0s 2026-01-03T00:00:00Z x v=1");
    add(&mut records, &a, &again);
    assert_eq!(records.known(&b, &auto).unwrap().from, a.id);
    add(&mut records, &b, &again);
    assert_eq!(records.known(&b, &auto).unwrap().from, b.id);
    assert_eq!(records.estimate(&new.job), Some(Duration::from_secs(2)));
}

#[test]
fn where_a_job_looked_at_the_commit_only_that_one_is_known() {
    let mut records = Records::empty("refs/notes/ci");
    let (a, b) = (commit("a"), commit("b"));
    let mut bound = record("pass test 1.0s 2026-01-01T00:00:00Z x v=1");
    for seen in [Seen::Commit(a.id), Seen::Ignored(a.id)] {
        bound.seen = seen;
        add(&mut records, &a, &bound);
        for reuse in [Reuse::Auto, Reuse::Commit] {
            let criteria = criteria(reuse);
            assert!(records.known(&a, &criteria).is_some());
            assert!(records.known(&b, &criteria).is_none());
            assert_eq!(records.why_not(&b, &criteria), Reason::ReadsCommit);
        }
        assert!(records.known(&b, &criteria(Reuse::Tree)).is_some());
    }
    // What nobody saw looking may be of any commit, and so is not of this one.
    let mut records = Records::empty("refs/notes/ci");
    bound.seen = Seen::Nothing;
    add(&mut records, &a, &bound);
    assert!(records.known(&b, &criteria(Reuse::Auto)).is_some());
    assert!(records.known(&a, &criteria(Reuse::Commit)).is_none());
    let why = records.why_not(&a, &criteria(Reuse::Commit));
    assert_eq!(why, Reason::JobChanged);
}

#[test]
fn the_platform_and_the_surroundings_must_agree() {
    let mut records = Records::empty("refs/notes/ci");
    let a = commit("a");
    let mut there = record("pass test 1.0s 2026-01-01T00:00:00Z x v=1");
    there.on = "aarch64-darwin".parse().ok();
    add(&mut records, &a, &there);
    let mut auto = criteria(Reuse::Auto);
    assert!(records.known(&a, &auto).is_none());
    let why = Reason::AnotherPlatform(there.on.clone());
    assert_eq!(records.why_not(&a, &auto), why);
    auto.any_platform = true;
    assert!(records.known(&a, &auto).is_some());
    auto.any_platform = false;
    auto.runners.push(Surroundings {
        on: "aarch64-darwin".parse().unwrap(),
        env: EnvId::of(&[("key", b"1")]),
    });
    assert!(records.known(&a, &auto).is_none());
    assert_eq!(records.why_not(&a, &auto), Reason::SurroundingsChanged);
    there.env = EnvId::of(&[("key", b"1")]);
    add(&mut records, &a, &there);
    assert!(records.known(&a, &auto).is_some());
}

#[test]
fn what_was_forgotten_does_not_count_wherever_it_stands() {
    let mut records = Records::empty("refs/notes/ci");
    let (a, b) = (commit("a"), commit("b"));
    let auto = criteria(Reuse::Auto);
    let old = record("pass test 1.0s 2026-01-01T00:00:00Z x v=1");
    add(&mut records, &a, &old);
    add(&mut records, &b, &old);
    let line = "forget test - 2026-01-02T00:00:00Z x v=1";
    let line = format!("{line} tree={} commit={}", a.tree, a.id);
    records.insert(a.id, line.parse().unwrap());
    assert!(records.known(&b, &auto).is_none());
    assert_eq!(records.why_not(&b, &auto), Reason::Forgotten);
    let since = "2026-01-02T00:00:00Z".parse().ok();
    assert_eq!(records.newest(&a, &auto), since);
    let new = record("FAIL test 1.0s 2026-01-02T00:00:01Z x v=1 why=exit:1");
    add(&mut records, &a, &new);
    assert_eq!(records.known(&b, &auto).unwrap().record, new);
    let line = "forget test - 2026-01-02T00:00:00Z x v=1 log=7d3f9a02c4e10000";
    records.insert(b.id, line.parse().unwrap());
    assert!(records.known(&b, &auto).is_none());
}

#[test]
fn the_future_is_behind_the_present() {
    let mut records = Records::empty("refs/notes/ci");
    let a = commit("a");
    let auto = criteria(Reuse::Auto);
    let future = record("pass test 1.0s 9999-12-30T00:00:00Z x v=1");
    add(&mut records, &a, &future);
    assert_eq!(records.known(&a, &auto).unwrap().record, future);
    assert_eq!(records.future(&a, &auto), std::slice::from_ref(&future.log));
    let new = record("FAIL test 1.0s 2026-01-02T00:00:01Z x v=1 why=exit:1");
    add(&mut records, &a, &new);
    assert_eq!(records.known(&a, &auto).unwrap().record, new);
    // A line of the future takes nothing away: it would for ever.
    let line = "forget test - 9999-12-30T00:00:00Z x v=1";
    let line = format!("{line} tree={} commit={}", a.tree, a.id);
    records.insert(a.id, line.parse().unwrap());
    assert_eq!(records.known(&a, &auto).unwrap().record, new);
}

#[test]
fn what_was_stored_is_the_same_when_the_note_is_read() {
    let mut records = Records::empty("refs/notes/ci");
    let mut exact = record("pass test 1.0s 2026-01-01T00:00:00Z x v=1");
    exact.duration += Duration::from_millis(51);
    exact.finished += jiff::Span::new().milliseconds(999);
    let line = exact.to_string();
    let a = commit("a");
    add(&mut records, &a, &exact);
    add(&mut records, &a, &exact);
    let read: Record = line.parse().unwrap();
    assert_eq!(records.of(&a.id), std::slice::from_ref(&read));
    // Nothing is gone, so nothing has to be made anew.
    let lines = || std::iter::once(Line::Record(read.clone()));
    assert!(!records.replace(a.id, lines()));
    assert_eq!(records.of(&a.id), std::slice::from_ref(&read));
    let more = record("FAIL test 3.0s 2026-01-02T00:00:00Z x v=1 why=exit:1");
    assert!(!records.replace(a.id, lines().chain([Line::Record(more)])));
    let auto = criteria(Reuse::Auto);
    assert_eq!(
        records.known(&a, &auto).unwrap().record.status,
        Status::Fail
    );
    assert!(records.replace(a.id, std::iter::empty()));
    assert!(records.of(&a.id).is_empty());
}

#[test]
fn a_file_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records");
    let mut records = Records::empty("refs/notes/ci");
    records.tree = Some(ObjectId::empty_tree(gix::hash::Kind::Sha1));
    let (a, b) = (commit("a"), commit("b"));
    let pass = record("pass test 1.0s 2026-01-01T00:00:00Z x v=1");
    add(&mut records, &a, &pass);
    let line = format!(
        "forget test - 2026-01-02T00:00:00Z x v=1 tree={} commit={}",
        a.tree, b.id
    );
    records.insert(b.id, line.parse().unwrap());
    records.write_file(&path).unwrap();
    let read = read_file(&path, "refs/notes/ci").unwrap();
    assert_eq!(read.of(&a.id), std::slice::from_ref(&pass));
    assert_eq!(read.tree, records.tree);
    assert!(read.is_forgotten(&pass));
    assert!(read_file(&path, "refs/notes/other").is_none());
}
