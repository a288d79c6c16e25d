//! What a watcher in the background has to tell, and how it comes to be seen.

use std::fs;

use crate::support::{Ran, TestRepo, processes_with, wait_until};

/// A repository with one commit, and the hooks.
fn hooked() -> TestRepo {
    let repo = TestRepo::new();
    repo.commit("one");
    repo.ci(["hook", "install"]).expect_code(0);
    repo
}

/// What a commit says on standard error.
fn commit_says(repo: &TestRepo) -> String {
    let mut git = repo.command("git", repo.path());
    git.args(["commit", "-q", "--allow-empty", "-m", "more"])
        .env("XDG_CACHE_HOME", repo.root().join("cache"));
    let ran = Ran(git.output().unwrap()).expect_code(0);
    assert_eq!(ran.stdout(), "");
    ran.stderr()
}

fn wait_for_the_background(repo: &TestRepo) {
    wait_until("the watcher to end", || {
        processes_with(&repo.root().display().to_string()).is_empty()
    });
}

#[test]
fn what_fails_in_the_background_is_said_by_the_next_commit_once() {
    let repo = hooked();
    repo.git(["config", "ci.hookMode", "run"]);
    repo.job("test", "test ! -e bad")
        .job("other", "test ! -e bad");
    repo.write("bad", "");
    repo.git(["add", "bad"]);
    assert_eq!(commit_says(&repo), "");
    let bad = repo.git(["rev-parse", "--short=10", "HEAD"]);
    wait_for_the_background(&repo);
    repo.git(["rm", "-q", "bad"]);
    let said = commit_says(&repo);
    assert!(said.contains("FAIL"), "{said}");
    assert!(said.contains(&format!("`git ci show {bad}`")), "{said}");
    assert!(said.contains("1 more"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    wait_for_the_background(&repo);
    assert_eq!(commit_says(&repo), "", "once");
    wait_for_the_background(&repo);

    // The watcher itself cannot go on.
    repo.write(".git-ci.toml", "[jobs.\u{1b}]x\nrun = 3\n");
    assert_eq!(commit_says(&repo), "");
    wait_for_the_background(&repo);
    repo.write(".git-ci.toml", "[jobs.test]\nrun = 'true'\n");
    let said = commit_says(&repo);
    assert!(
        said.contains("failed to understand the jobs file"),
        "{said}"
    );
    assert!(said.contains("`git ci watch`"), "{said}");
    assert!(!said.contains('\u{1b}'), "{said}");
    wait_for_the_background(&repo);
    assert_eq!(commit_says(&repo), "");
    wait_for_the_background(&repo);

    // Somebody does not want to know.
    repo.git(["config", "ci.hookNotice", "off"]);
    repo.write("bad", "");
    repo.git(["add", "bad"]);
    for _ in 0..2 {
        assert_eq!(commit_says(&repo), "");
        wait_for_the_background(&repo);
    }
}

#[test]
fn a_notice_that_is_damaged_or_something_else_does_no_harm() {
    let repo = hooked();
    let notice = repo.git_dir().join("ci/notice");
    fs::create_dir_all(notice.parent().unwrap()).unwrap();
    fs::write(&notice, b"\xff\n{\"task\":{}}\n").unwrap();
    assert_eq!(commit_says(&repo), "");
    fs::create_dir(&notice).unwrap();
    assert_eq!(commit_says(&repo), "");
    fs::remove_dir(&notice).unwrap();
    std::os::unix::fs::symlink("/dev/tty", &notice).unwrap();
    assert_eq!(commit_says(&repo), "");
    let watcher = r#"{"watcher":{"reason":"failed to \u001b[31m say \u202e this"}}"#;
    fs::remove_file(&notice).unwrap();
    fs::write(&notice, format!("{watcher}\n")).unwrap();
    let said = commit_says(&repo);
    assert!(said.contains("failed to"), "{said}");
    assert!(!said.contains(['\u{1b}', '\u{202e}']), "{said}");
}

#[test]
fn a_result_goes_to_the_command_that_is_configured() {
    let repo = hooked();
    repo.git(["config", "ci.hookMode", "run"]);
    let command = "echo $GIT_CI_STATUS $GIT_CI_SUBJECT >>$HOME/results";
    repo.git(["config", "ci.onResult", command]);
    repo.job("test", "true");
    assert_eq!(commit_says(&repo), "");
    let results = repo.root().join("home/results");
    wait_until("the result", || {
        fs::read_to_string(&results).is_ok_and(|results| results.contains("pass more\n"))
    });
    wait_for_the_background(&repo);
}
