//! What hooks left in the spool, and the watcher that works it off.

use std::fs;

use git_ci::spool::Spool;

use crate::support::{TestRepo, wait_until};
use crate::watch::Watcher;

/// A repository with our hooks, a job and a first commit that nobody noted.
fn hooked() -> TestRepo {
    let repo = TestRepo::new();
    repo.job("test", "test -f n");
    repo.commit("before");
    repo.ci(["hook", "install"]).expect_code(0);
    repo
}

fn spooled(repo: &TestRepo) -> usize {
    let spool = Spool::new(&repo.git_dir().join("ci"));
    spool.read().unwrap().entries.len()
}

#[test]
fn commits_from_before_the_first_watcher_are_tested_and_drained() {
    let repo = hooked();
    let ids = ["one", "two", "three"].map(|subject| repo.commit(subject));
    assert_eq!(spooled(&repo), 3);
    repo.ci(["watch", "--until-idle"]).expect_code(0);
    for id in &ids {
        assert_eq!(repo.verdicts(id), ["pass test"]);
    }
    assert_eq!(
        repo.verdicts("HEAD~3"),
        Vec::<String>::new(),
        "nobody told of it"
    );
    assert_eq!(spooled(&repo), 0);
}

#[test]
fn run_new_works_the_spool_off_as_well() {
    let repo = hooked();
    let id = repo.commit("one");
    repo.commit("two");
    repo.ci(["run", "--new"]).expect_code(0);
    assert_eq!(repo.verdicts(&id), ["pass test"]);
    assert_eq!(spooled(&repo), 0);
}

#[test]
fn a_commit_on_a_detached_head_is_tested_while_it_is_there() {
    let repo = hooked();
    let watcher = Watcher::start(&repo, &[]);
    watcher.wait_for("watching");
    repo.git(["checkout", "-q", "--detach"]);
    let id = repo.commit("on no branch");
    wait_until("its note", || !repo.note(&id).is_empty());
    wait_until("an empty spool", || spooled(&repo) == 0);
    watcher.interrupt();
}

#[test]
fn what_was_replaced_is_drained_untested() {
    let repo = hooked();
    let gone = repo.commit("first try");
    repo.git(["commit", "-q", "--amend", "-m", "second try"]);
    repo.ci(["watch", "--until-idle"]).expect_code(0);
    assert_eq!(repo.note(&gone), "");
    assert_eq!(repo.verdicts("HEAD"), ["pass test"]);
    assert_eq!(spooled(&repo), 0);
}

#[test]
fn nothing_is_drained_before_it_is_stored() {
    let repo = hooked();
    let id = repo.commit("one");
    repo.commit("two");
    for point in ["stored", "moving"] {
        let done = repo
            .ci_command(["watch", "--until-idle"])
            .env("GIT_CI_FAIL_POINT", point)
            .output()
            .unwrap();
        assert!(!done.status.success(), "{point}");
        assert_eq!(spooled(&repo), 2, "{point}");
    }
    repo.ci(["watch", "--until-idle"]).expect_code(0);
    assert_eq!(repo.verdicts(&id), ["pass test"]);
    assert_eq!(spooled(&repo), 0);
}

#[test]
fn a_hook_wakes_the_watcher_and_garbage_does_no_harm() {
    let repo = hooked();
    let spool = repo.git_dir().join("ci/spool/commits");
    let id = repo.commit("one");
    let mut text = fs::read(&spool).unwrap();
    text.extend(b"\x1b[31m garbage\n1 2 3\n17 ");
    fs::write(&spool, text).unwrap();
    let watcher = Watcher::start(&repo, &[]);
    wait_until("the first note", || !repo.note(&id).is_empty());
    let next = repo.commit("two");
    wait_until("the second note", || !repo.note(&next).is_empty());
    watcher.interrupt();
}
