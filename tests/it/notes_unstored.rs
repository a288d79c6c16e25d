//! Results that cannot be stored: they are shown, said to be not stored, and stored as
//! soon as that is possible again.

use std::fs;
use std::path::PathBuf;
use std::process::Child;

use crate::support::{Ran, TestRepo, wait_until};
use crate::watch::{Watcher, checkpoint, wait_for_checkpoint};

/// A repository with a job that waits until `go` is there, and then does `then`.
fn waiting(then: &str) -> TestRepo {
    let repo = TestRepo::new();
    let root = repo.root().display();
    let wait = "while ! test -e";
    repo.job(
        "test",
        &format!("touch {root}/begun; {wait} {root}/go; do sleep 0.02; done; {then}"),
    );
    repo.commit("one");
    repo
}

fn wait_for_begin(repo: &TestRepo) {
    let begun = repo.root().join("begun");
    wait_until("the job to begin", || begun.exists());
}

fn go(repo: &TestRepo) {
    fs::write(repo.root().join("go"), "").unwrap();
}

/// Puts a lock in the way of the notes, as a process that died two hours ago left it.
fn lock(repo: &TestRepo) -> PathBuf {
    let path = repo.git_dir().join("refs/notes/ci.lock");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "").unwrap();
    let mut touch = repo.command("touch", repo.root());
    let touched = touch.args(["-d", "2 hours ago"]).arg(&path).status();
    assert!(touched.unwrap().success());
    path
}

fn end(child: Child) -> Ran {
    Ran(child.wait_with_output().unwrap())
}

#[test]
fn verdicts_that_cannot_be_stored_are_shown_and_said_to_be_not_stored() {
    for (then, word, code) in [("sleep 1", "pass", 125), ("sleep 1; exit 3", "FAIL", 1)] {
        let repo = waiting(then);
        repo.commit("two");
        repo.commit("three");
        let run = repo.spawn_ci(["run", "-j1", "--all"]);
        wait_for_begin(&repo);
        let lock = lock(&repo);
        go(&repo);
        let ran = end(run).expect_code(code);
        let line = ran.stdout();
        assert!(line.starts_with(word), "{line}");
        // What was begun meanwhile comes to its end, and no more.
        for part in ["(not stored) three", "(not stored) two"] {
            assert!(line.contains(part), "{line}");
        }
        let said = ran.stderr();
        for part in [
            "trying again in 0.5 s",
            "trying again in 2 s",
            "1 not run, 2 NOT STORED",
            "error: failed to store 2 results",
            "refs/notes/ci.lock is 7",
            "hint: rm ",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert_eq!(repo.noted_commits(), 0);
        fs::remove_file(lock).unwrap();
        repo.ci(["run", "--all"]).expect_code(i32::from(code == 1));
        assert_eq!(repo.noted_commits(), 3);
    }
}

#[test]
fn events_say_what_is_stored() {
    let repo = waiting("true");
    let run = repo.spawn_ci(["run", "--json"]);
    wait_for_begin(&repo);
    let lock = lock(&repo);
    go(&repo);
    let ran = end(run).expect_code(125);
    let stored = |ran: &Ran| {
        let events: Vec<serde_json::Value> = ran
            .stdout()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let done = events
            .iter()
            .find(|event| event["event"] == "task-finished");
        let last = events.last().unwrap()["counts"]["unstored"].clone();
        (done.unwrap()["stored"].clone(), last)
    };
    assert_eq!(stored(&ran), (false.into(), 1.into()));
    fs::remove_file(lock).unwrap();
    let ran = repo.ci(["run", "--json"]).expect_code(0);
    assert_eq!(stored(&ran), (true.into(), 0.into()));
    let ran = repo.ci(["run", "--json", "-x", "true"]).expect_code(0);
    assert_eq!(stored(&ran), (serde_json::Value::Null, 0.into()));
}

#[test]
fn what_passes_by_costs_no_verdict() {
    let repo = waiting("true");
    repo.commit("two");
    let watcher = Watcher::start(&repo, &["-j1", "--since", "HEAD~1"]);
    wait_for_begin(&repo);
    let lock = lock(&repo);
    go(&repo);
    watcher.wait_for("trying again in 1 s");
    watcher.wait_for("trying again in 2 s");
    let two = repo.git(["rev-parse", "HEAD"]);
    assert_ne!(checkpoint(&repo, "main"), two);
    fs::remove_file(lock).unwrap();
    wait_for_checkpoint(&repo, "main", &two);
    assert!(!watcher.said().contains("not stored"), "{}", watcher.said());
    assert_eq!(watcher.interrupt(), 130);
    assert_eq!(repo.verdicts("HEAD"), ["pass test"]);
}

#[test]
fn who_ends_a_watcher_that_cannot_store_does_not_wait_and_loses_sight_of_nothing() {
    let repo = waiting("true");
    let watcher = Watcher::start(&repo, &["-j1"]);
    wait_for_begin(&repo);
    let lock = lock(&repo);
    go(&repo);
    watcher.wait_for("trying again in 5 s");
    let log = repo.root().join("watch.log");
    assert_eq!(watcher.interrupt(), 130);
    let said = fs::read_to_string(log).unwrap();
    assert!(said.contains("(not stored) one"), "{said}");
    assert_eq!(checkpoint(&repo, "main"), "");
    fs::remove_file(lock).unwrap();
    repo.ci(["watch", "--until-idle"]).expect_code(0);
    assert_eq!(repo.verdicts("HEAD"), ["pass test"]);
}
