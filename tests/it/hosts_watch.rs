//! `git ci watch` with hosts: what becomes of tasks there while refs move and machines
//! come and go.

use std::fs;

use crate::beds::SshBed;
use crate::support::{TestRepo, wait_until};
use crate::watch::Watcher;

fn lines(path: &std::path::Path) -> usize {
    fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

#[test]
fn a_host_is_lost_and_comes_back_while_watching() {
    let repo = TestRepo::new();
    let mark = repo.root().join("mark");
    // The first one stays until its host goes.
    let job = format!("mkdir {} || exit 0; sleep 1000; exit 1", mark.display());
    repo.job("test", &job).commit("zero");
    let Some(bed) = SshBed::up(&repo, 1) else {
        return;
    };
    let watcher = Watcher::start(&repo, &[]);
    wait_until("the job to run", || mark.exists());
    bed.cut(1, "crash");
    let one = repo.commit("one");
    wait_until("the host to be missed", || {
        watcher.said().contains("left out for now")
    });
    bed.heal(1);
    wait_until("both verdicts", || repo.noted_commits() == 2);
    assert_eq!(repo.verdicts("HEAD~1"), ["pass test"]);
    assert_eq!(repo.verdicts(&one), ["pass test"]);
    assert_eq!(watcher.interrupt(), 130);
    bed.expect_nothing_left();
}

#[test]
fn what_is_superseded_ends_on_its_host() {
    let repo = TestRepo::new();
    let ran = repo.root().join("ran");
    let job = format!(
        "echo $GIT_CI_COMMIT >> {}; git log -1 --format=%s | grep -q good && exit; \
         setsid sleep 1000 & sleep 1000",
        ran.display()
    );
    repo.job("test", &job).commit("good");
    let Some(bed) = SshBed::up(&repo, 1) else {
        return;
    };
    let watcher = Watcher::start(&repo, &[]);
    wait_until("the first to be done", || repo.noted_commits() == 1);
    let bad = repo.commit("bad");
    wait_until("the job to run", || lines(&ran) == 2);
    repo.git(["commit", "-q", "--amend", "-m", "good again"]);
    // Its host has one slot, so that this needs the other's.
    wait_until("the other verdict", || repo.noted_commits() == 2);
    assert_eq!(repo.verdicts("HEAD"), ["pass test"]);
    assert_eq!(repo.note(&bad), "");
    assert_eq!(watcher.interrupt(), 130);
    bed.expect_nothing_left();
}

#[test]
fn a_task_moves_twice_whatever_else_is_wanted_meanwhile() {
    let repo = TestRepo::new();
    let tries = repo.root().join("tries");
    // Kills its hub, which is its agent's parent.
    let job = format!(
        "git log -1 --format=%s | grep -q bad || exit 0; echo >> {}; \
         kill -9 $(ps -o ppid= -p $PPID); sleep 1000",
        tries.display()
    );
    repo.job("test", &job).commit("good");
    let Some(bed) = SshBed::up(&repo, 1) else {
        return;
    };
    repo.git(["config", "ci.silence", "500ms"]);
    repo.git(["config", "ci.lease", "1500ms"]);
    let watcher = Watcher::start(&repo, &[]);
    wait_until("the first to be done", || repo.noted_commits() == 1);
    let bad = repo.commit("bad");
    let mut more = 0;
    wait_until("a verdict", || {
        more += 1;
        repo.git(["branch", "-f", &format!("more-{more}"), "HEAD"]);
        repo.commit(&format!("good {more}"));
        std::thread::sleep(std::time::Duration::from_millis(200));
        !repo.note(&bad).is_empty() || lines(&tries) > 3
    });
    assert_eq!(lines(&tries), 3);
    assert_eq!(repo.verdicts(&bad), ["ERROR test"]);
    assert!(repo.note(&bad).contains("host-lost"), "{}", repo.note(&bad));
    assert_eq!(watcher.interrupt(), 130);
    bed.expect_nothing_left();
}
