//! Repositories as they are.

use std::path::{Path, PathBuf};

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

/// `git` in `dir`; it must succeed.
#[track_caller]
fn git_in(repo: &TestRepo, dir: &Path, args: &[&str]) -> String {
    let done = Ran(repo.command("git", dir).args(args).output().unwrap());
    done.expect_code(0).stdout().trim_end().to_owned()
}

/// A clone that lacks what `filter` leaves out, with the notes of the original.
fn partial_clone(repo: &TestRepo, filter: &str) -> PathBuf {
    repo.git(["config", "uploadpack.allowFilter", "true"]);
    repo.git(["config", "uploadpack.allowAnySHA1InWant", "true"]);
    let partial = repo.root().join(filter.replace(':', "-"));
    let url = format!("file://{}", repo.path().display());
    let to = partial.to_str().unwrap();
    let filter = format!("--filter={filter}");
    repo.git(["clone", "-q", "--no-checkout", &filter, &url, to]);
    git_in(
        repo,
        &partial,
        &["fetch", "-q", "origin", "refs/notes/*:refs/notes/*"],
    );
    partial
}

#[test]
fn notes_that_a_partial_clone_lacks_are_fetched_when_they_are_read() {
    let repo = TestRepo::new();
    repo.job("look", "test -f n");
    for number in 0..12 {
        repo.commit(&format!("commit {number}"));
    }
    repo.ci(["run", "--all"]).expect_code(0);
    for filter in ["blob:none", "tree:0"] {
        let partial = partial_clone(&repo, filter);
        std::fs::copy(
            repo.path().join(".git-ci.toml"),
            partial.join(".git-ci.toml"),
        )
        .unwrap();
        let lacking = ["rev-list", "--objects", "--missing=print", "refs/notes/ci"];
        let before = git_in(&repo, &partial, &lacking);
        assert!(before.contains("\n?"), "nothing is missing: {before}");
        let status = ci_in(&repo, &partial, &["status", "--all"]).expect_code(0);
        assert_eq!(
            status.stdout().matches("pass").count(),
            12,
            "{}",
            status.stdout()
        );
        let packs = std::fs::read_dir(partial.join(".git/objects/pack")).unwrap();
        let packs = packs
            .flatten()
            .filter(|file| file.path().extension().unwrap() == "pack");
        assert!(packs.count() < 12, "the notes were fetched one by one");
        let log = ci_in(&repo, &partial, &["log", "--all"]).expect_code(0);
        assert_eq!(log.stdout().matches("pass").count(), 12, "{}", log.stdout());
        let known = ci_in(&repo, &partial, &["run", "--all"]).expect_code(0);
        assert!(known.stderr().contains("12 known"), "{}", known.stderr());
        let more = ci_in(&repo, &partial, &["run", "--all", "--force"]).expect_code(0);
        assert!(more.stderr().contains("12 passed"), "{}", more.stderr());
    }
}
