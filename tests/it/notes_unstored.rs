//! Results that cannot be stored: they are shown, said to be not stored, and stored as
//! soon as that is possible again.

use std::fs;
use std::path::PathBuf;
use std::process::Child;

use crate::support::{Ran, TestRepo, wait_until};
use crate::watch::{Watcher, checkpoint, wait_for_checkpoint};

const NOTES: &str = "refs/notes/ci";

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
            "1 cancelled, 2 NOT STORED",
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

#[test]
fn a_note_that_is_too_large_is_left_alone_and_costs_only_its_own_results() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    let one = repo.commit("one");
    let two = repo.commit("two");
    let file = repo.root().join("large");
    fs::write(&file, vec![b'x'; (64 << 20) + 1]).unwrap();
    let blob = repo.git(["hash-object", "-w", file.to_str().unwrap()]);
    repo.git(["notes", "--ref=ci", "add", "-C", &blob, &one]);
    for _ in 0..2 {
        let ran = repo.ci(["run", "-j1", "--all"]).expect_code(125);
        let warning = format!("the note of {one} is too large to be read");
        assert!(ran.stderr().contains(&warning), "{}", ran.stderr());
        let refused = format!("failed to store results: add to the note of {one}");
        assert!(ran.stderr().contains(&refused), "{}", ran.stderr());
        assert!(
            ran.stdout().contains("(not stored) one"),
            "{}",
            ran.stdout()
        );
        assert_eq!(repo.verdicts(&two), ["pass test"]);
        assert_eq!(repo.git(["rev-parse", &format!("{NOTES}:{one}")]), blob);
    }
    for args in [
        &["status", "--all"] as &[&str],
        &["show", &one],
        &["log", "--all"],
    ] {
        let ran = repo.ci(args).expect_code(0);
        assert!(
            ran.stderr().contains("too large"),
            "{args:?}: {}",
            ran.stderr()
        );
    }
    let ran = repo.ci(["doctor"]).expect_code(1);
    let fix = format!("git notes --ref=ci remove {one}");
    assert!(ran.stdout().contains(&fix), "{}", ran.stdout());
    repo.git(["notes", "--ref=ci", "remove", &one]);
    let ran = repo.ci(["run", "--all"]).expect_code(0);
    assert!(!ran.stderr().contains("too large"), "{}", ran.stderr());
    assert_eq!(repo.verdicts(&one), ["pass test"]);
}

#[test]
fn what_a_partial_clone_cannot_fetch_is_not_known_and_not_overwritten() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    repo.commit("one");
    repo.commit("two");
    repo.ci(["run", "--all"]).expect_code(0);
    repo.git(["config", "uploadpack.allowFilter", "true"]);
    let partial = repo.root().join("partial");
    let git = |args: &[&str]| {
        let done = repo.command("git", &partial).args(args).output().unwrap();
        Ran(done).expect_code(0).stdout().trim().to_owned()
    };
    let url = format!("file://{}", repo.path().display());
    repo.git([
        "clone",
        "-q",
        "--filter=blob:none",
        &url,
        partial.to_str().unwrap(),
    ]);
    for (key, value) in [("user.name", "P"), ("user.email", "p@example.com")] {
        git(&["config", key, value]);
    }
    git(&["fetch", "-q", "origin", "refs/notes/ci:refs/notes/ci"]);
    // The files of both commits are here, and the notes are not.
    git(&["checkout", "-q", "HEAD~1"]);
    git(&["checkout", "-q", "main"]);
    fs::copy(
        repo.path().join(".git-ci.toml"),
        partial.join(".git-ci.toml"),
    )
    .unwrap();
    let ci = |args: &[&str]| {
        let mut command = repo.command(env!("CARGO_BIN_EXE_git-ci"), &partial);
        Ran(command.args(args).output().unwrap())
    };
    let away = repo.root().join("away");
    fs::rename(repo.path(), &away).unwrap();
    let tip = git(&["rev-parse", NOTES]);
    for args in [
        &["status", "--all"] as &[&str],
        &["show"],
        &["log", "--all"],
    ] {
        let ran = ci(args).expect_code(0);
        let said = ran.stderr();
        assert!(
            said.contains("2 notes of this partial clone could not be fetched"),
            "{said}"
        );
    }
    let ran = ci(&["run", "--all"]).expect_code(125);
    assert!(ran.stderr().contains("2 NOT STORED"), "{}", ran.stderr());
    assert_eq!(git(&["rev-parse", NOTES]), tip);

    fs::rename(&away, repo.path()).unwrap();
    let status = ci(&["status", "--all"]).expect_code(0);
    assert_eq!(status.stderr(), "");
    let ran = ci(&["run", "--all"]).expect_code(0);
    assert!(ran.stderr().contains("2 cached"), "{}", ran.stderr());
}
