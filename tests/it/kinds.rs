//! Kinds of repositories: each works, or says clearly why not before anything runs.

use std::path::Path;

use crate::submodules::add_submodule;
use crate::support::{Ran, TestRepo};

/// `git-ci` in `dir`, as somebody with an identity.
fn ci_in(repo: &TestRepo, dir: &Path, args: &[&str]) -> Ran {
    let mut command = repo.command(env!("CARGO_BIN_EXE_git-ci"), dir);
    command.args(args).envs([
        ("GIT_COMMITTER_NAME", "C"),
        ("GIT_COMMITTER_EMAIL", "c@example.com"),
    ]);
    Ran(command.output().unwrap())
}

fn notes_in(repo: &TestRepo, dir: &Path) -> usize {
    let list = repo
        .command("git", dir)
        .args(["notes", "--ref=ci", "list"])
        .output()
        .unwrap();
    String::from_utf8_lossy(&list.stdout).lines().count()
}

const LOOK: &str = "test -f n && test -z \"$(git status --porcelain)\" && git log -1 >/dev/null";

#[test]
fn a_repository_with_alternates() {
    let repo = TestRepo::new();
    for subject in ["a", "b", "c"] {
        repo.commit(subject);
    }
    let borrower = repo.root().join("borrower");
    repo.git(["clone", "-q", "--shared", ".", borrower.to_str().unwrap()]);
    ci_in(
        &repo,
        &borrower,
        &["run", "--all", "-x", LOOK, "--as", "look"],
    )
    .expect_code(0);
    assert_eq!(notes_in(&repo, &borrower), 3);
    assert_eq!(notes_in(&repo, repo.path()), 0);
}

#[test]
fn a_submodule_is_a_repository_of_its_own() {
    let repo = TestRepo::new();
    let inner = TestRepo::new();
    for subject in ["a", "b"] {
        inner.commit(subject);
    }
    repo.commit("outer");
    add_submodule(&repo, &inner, "sub");
    let dir = repo.path().join("sub");
    ci_in(&repo, &dir, &["run", "--all", "-x", LOOK, "--as", "look"]).expect_code(0);
    assert_eq!(notes_in(&repo, &dir), 2);
    assert_eq!(
        notes_in(&repo, repo.path()),
        0,
        "nothing is noted in the outer one"
    );
    let status = repo
        .command("git", &dir)
        .args(["status", "--porcelain"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&status.stdout), "");
}

#[test]
fn a_partial_clone_fetches_what_it_lacks() {
    let repo = TestRepo::new();
    for subject in ["a", "b", "c"] {
        repo.write("big", subject.repeat(1000)).commit(subject);
    }
    repo.git(["config", "uploadpack.allowFilter", "true"]);
    repo.git(["config", "uploadpack.allowAnySHA1InWant", "true"]);
    let partial = repo.root().join("partial");
    let url = format!("file://{}", repo.path().display());
    repo.git([
        "clone",
        "-q",
        "--filter=blob:none",
        &url,
        partial.to_str().unwrap(),
    ]);
    let look = format!("{LOOK} && test $(wc -c < big) = 1000");
    ci_in(
        &repo,
        &partial,
        &["run", "--all", "-x", &look, "--as", "look"],
    )
    .expect_code(0);
    assert_eq!(notes_in(&repo, &partial), 3);
}

#[test]
fn a_git_dir_and_a_work_tree_that_are_named() {
    let repo = TestRepo::new();
    repo.job("look", LOOK);
    repo.commit("one");
    let elsewhere = repo.root().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let done = repo
        .command(env!("CARGO_BIN_EXE_git-ci"), &elsewhere)
        .arg("run")
        .env("GIT_DIR", repo.git_dir())
        .env("GIT_WORK_TREE", repo.path())
        .output()
        .unwrap();
    Ran(done).expect_code(0);
    assert_eq!(repo.verdicts("HEAD"), ["pass look"]);
}

#[test]
fn a_commit_without_files_and_one_without_parents() {
    let repo = TestRepo::new();
    repo.commit("one");
    let empty = repo.git(["hash-object", "-t", "tree", "/dev/null"]);
    let orphan = repo.git(["commit-tree", "-m", "nothing", &empty]);
    let look = "test -z \"$(git status --porcelain --ignored)\" && ls -A && git rev-parse HEAD";
    repo.ci([
        "run", "-j1", "-x", look, "--as", "look", "HEAD", &orphan, "HEAD",
    ])
    .expect_code(0);
    assert_eq!(repo.verdicts(&orphan), ["pass look"]);
}

#[test]
fn a_repository_without_a_commit_says_so() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    let done = repo.ci(["run"]).expect_code(128);
    assert!(done.stderr().contains("none yet"), "{}", done.stderr());
    let all = repo.ci(["run", "--all"]).expect_code(0);
    assert!(all.stderr().contains("nothing to run"), "{}", all.stderr());
}
