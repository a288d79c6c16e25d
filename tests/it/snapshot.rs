//! `git ci run --staged` and `--worktree`: what is not committed is tested, and nothing of it is
//! touched.

use std::fs;

use crate::support::TestRepo;

/// All that is the user's: the index, refs, files, and what git says of them.
fn users(repo: &TestRepo) -> Vec<String> {
    let index = fs::read(repo.git_dir().join("index")).unwrap();
    let mut all = vec![format!("{index:?}")];
    let asked: [&[&str]; 4] = [
        &["for-each-ref", "refs/heads", "refs/tags", "refs/stash"],
        &["status", "--porcelain", "--ignored"],
        &["diff", "HEAD"],
        &["config", "--list", "--local"],
    ];
    all.extend(asked.map(|args| {
        let asking = ["--no-optional-locks"].iter().chain(args).copied();
        repo.git(asking.collect::<Vec<_>>())
    }));
    all
}

#[test]
fn what_is_staged_is_tested_as_such_and_its_commit_need_not_be() {
    let repo = TestRepo::new();
    repo.job("test", "cat file; ls; grep good file")
        .jobs_file("[jobs.seen]\nrun = 'git diff --cached --name-only; git status --short; git log -1 --format=%s'\n");
    repo.write("file", "old\n").commit("one");
    repo.write("file", "good\n").git(["add", "file"]);
    repo.write("file", "neither\n").write("new", "");
    let before = users(&repo);
    let out = repo.ci(["run", "--staged"]).expect_code(0);
    assert_eq!(users(&repo), before);
    assert!(
        out.stdout().contains("(what is staged)"),
        "{}",
        out.stdout()
    );
    let commit = out.stdout().split_whitespace().nth(1).unwrap().to_owned();
    let log = |job: &str| repo.ci(["logs", &commit, job]).expect_code(0).stdout();
    assert_eq!(log("test"), "good\nfile\nn\ngood\n");
    assert_eq!(log("seen"), "file\nM  file\none\n");
    // It hangs on the commit that it would follow, of which it says nothing.
    assert_eq!(repo.verdicts("HEAD"), ["pass seen", "pass test"]);
    let status = repo.ci(["status", "HEAD"]).stdout();
    assert!(!status.contains("pass"), "{status}");
    let again = repo
        .ci(["run", "--staged", "--job", "test", "-v"])
        .expect_code(0)
        .stdout();
    assert!(again.contains("cached"), "{again}");
    repo.git(["commit", "-q", "-m", "two"]);
    let plan = repo.ci(["run", "-n"]).expect_code(125).stdout();
    let line = |job: &str| plan.lines().find(|line| line.contains(job)).unwrap();
    assert!(line("test").contains("same tree"), "{plan}");
    assert!(line("seen").contains("reads the commit"), "{plan}");
}

#[test]
fn the_work_tree_is_tested_with_what_is_new_in_it() {
    let repo = TestRepo::new();
    repo.job("test", "cat file new; ! test -e ignored");
    repo.write(".gitignore", "ignored\n")
        .write("file", "old\n")
        .commit("one");
    repo.write("file", "changed\n")
        .write("new", "new\n")
        .write("ignored", "");
    let before = users(&repo);
    let out = repo.ci(["run", "--worktree"]).expect_code(0);
    assert_eq!(users(&repo), before);
    let commit = out.stdout().split_whitespace().nth(1).unwrap().to_owned();
    let log = repo.ci(["logs", &commit, "test"]).stdout();
    assert_eq!(log, "changed\nnew\n");
    // The same files are the same commit, and known.
    let json = repo
        .ci(["run", "--worktree", "--json"])
        .expect_code(0)
        .stdout();
    assert!(
        json.contains(r#""event":"task-reused""#) && json.contains(&commit),
        "{json}"
    );
    repo.git(["add", "-A"]);
    repo.git(["commit", "-q", "-m", "two"]);
    let json = repo.ci(["run", "--json"]).expect_code(0).stdout();
    assert!(json.contains(r#""event":"task-reused""#), "{json}");
    assert_eq!(repo.verdicts("HEAD"), ["pass test"]);
    // Nothing to commit: it is HEAD.
    let out = repo.ci(["run", "--worktree", "-v"]).expect_code(0).stdout();
    assert!(out.contains("two"), "{out}");
    // A failure of what is not committed fails the run, and is shown.
    repo.write("ignored", "").git(["add", "-f", "ignored"]);
    repo.ci(["run", "--staged"]).expect_code(1);
}

#[test]
fn what_cannot_be_taken_is_named() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    let out = repo.ci(["run", "--staged"]).expect_code(128);
    assert!(out.stderr().contains("commit"), "{}", out.stderr());
    repo.write("file", "1\n").commit("one");
    repo.git(["checkout", "-q", "-b", "side"]);
    repo.write("file", "2\n").commit("two");
    repo.git(["checkout", "-q", "main"]);
    repo.write("file", "3\n").commit("three");
    let merge = repo
        .command("git", repo.path())
        .args(["merge", "-q", "side"])
        .output();
    assert!(!merge.unwrap().status.success());
    for what in ["--staged", "--worktree"] {
        let out = repo.ci(["run", what]).expect_code(128);
        assert!(
            out.stderr().contains("conflicts in file"),
            "{}",
            out.stderr()
        );
    }
    let bare = repo.root().join("bare.git");
    repo.git(["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
    let mut in_bare = repo.command(env!("CARGO_BIN_EXE_git-ci"), &bare);
    let out = in_bare.args(["run", "--worktree"]).output().unwrap();
    assert_eq!(out.status.code(), Some(128));
    repo.ci(["run", "--staged", "HEAD"]).expect_code(129);
}
