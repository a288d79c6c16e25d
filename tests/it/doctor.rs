//! `git ci doctor`: what it finds, that its commands mend it, and that it works where
//! nothing else does.

use std::fs;
use std::path::Path;

use crate::support::{Ran, TestRepo};

/// Findings as `severity check`, with the commands that mend them.
fn findings(ran: &Ran) -> Vec<(String, Vec<String>)> {
    let stdout = ran.stdout();
    let lines: Vec<serde_json::Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["event"], "doctor");
    assert_eq!(lines[0]["format"], 1);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    lines[1..lines.len() - 1]
        .iter()
        .map(|line| {
            let name = format!("{} {}", text(&line["severity"]), text(&line["check"]));
            (
                name,
                line["fix"].as_array().unwrap().iter().map(text).collect(),
            )
        })
        .collect()
}

/// A repository in which nothing is wrong but what the test adds.
fn healthy() -> TestRepo {
    let repo = TestRepo::new();
    repo.job("test", "true");
    repo.commit("one");
    repo.git(["config", "notes.displayRef", "refs/notes/*"]);
    repo.ci(["doctor"]).expect_code(0);
    repo
}

/// Runs the program, expects one finding of this name that counts, and returns the
/// commands that mend it.
#[track_caller]
fn finds(repo: &TestRepo, name: &str) -> Vec<String> {
    let ran = repo
        .ci(["doctor", "--json"])
        .expect_code(i32::from(!name.starts_with("info")));
    let mut found = findings(&ran);
    if !name.starts_with("info") {
        found.retain(|(name, _)| !name.starts_with("info"));
    }
    found.retain(|(found, _)| found == name);
    assert_eq!(found.len(), 1, "{}", ran.stdout());
    found.remove(0).1
}

/// Does as it was told; nothing is wrong then.
#[track_caller]
fn mend(repo: &TestRepo, commands: &[String]) {
    let bin = Path::new(env!("CARGO_BIN_EXE_git-ci")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    for command in commands {
        let mut shell = repo.command("sh", repo.path());
        let done = shell
            .env("PATH", &path)
            .arg("-c")
            .arg(command)
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{command}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
    repo.ci(["doctor"]).expect_code(0);
}

#[test]
fn outside_a_repository_the_machine_is_looked_at() {
    let repo = TestRepo::new();
    let mut command = repo.ci_command(["doctor", "--json"]);
    let ran = Ran(command.current_dir(repo.root()).output().unwrap()).expect_code(1);
    let found = findings(&ran);
    assert!(found.contains(&("error repository".to_owned(), vec!["git init".to_owned()])));
}

#[test]
fn everything_broken_at_once_is_everything_named() {
    let repo = TestRepo::new();
    repo.jobs_file("[jobs.x]\nrunn = 1\n");
    repo.git(["config", "ci.slots", "many"]);
    repo.git(["config", "ci.slotz", "3"]);
    repo.git(["config", "color.ui", "perhaps"]);
    repo.git(["config", "--unset-all", "user.name"]);
    repo.git(["config", "user.useConfigOnly", "true"]);
    let ran = repo.ci(["doctor"]).expect_code(1);
    for part in [
        "error: identity: git does not know who you are",
        "    git config --global user.name 'Your Name'",
        "error: settings: failed to use ci.slots = \"many\": it must be a number",
        "    git config --unset-all ci.slots",
        "warning: settings: there is no setting ci.slotz; did you mean ci.slots?",
        "unknown key `runn`; did you mean `run`?",
    ] {
        assert!(ran.stdout().contains(part), "{part}\n{}", ran.stdout());
    }
    assert!(
        ran.stderr().contains("things are wrong"),
        "{}",
        ran.stderr()
    );
}

#[test]
fn without_git_it_says_so() {
    let repo = TestRepo::new();
    let mut command = repo.ci_command(["doctor"]);
    let ran = Ran(command.env("PATH", "/nowhere").output().unwrap()).expect_code(1);
    assert!(
        ran.stdout().contains("error: git: failed to find git"),
        "{}",
        ran.stdout()
    );
}

#[test]
fn settings_are_mended_by_the_commands_named() {
    let repo = healthy();
    repo.git(["config", "--global", "ci.notesRef", "refs/heads/main"]);
    let fix = finds(&repo, "error settings");
    assert_eq!(fix, ["git config --global --unset-all ci.notesRef"]);
    mend(&repo, &fix);
    repo.git(["config", "ci.slotmaxag", "3d"]);
    mend(&repo, &finds(&repo, "warning settings"));
    assert_eq!(repo.git(["config", "ci.slotMaxAge"]), "3d");
    let inside = repo.path().join("build");
    repo.git(["config", "ci.worktreeDir", inside.to_str().unwrap()]);
    mend(&repo, &finds(&repo, "warning worktrees"));
}

#[test]
fn a_missing_jobs_file_is_mended_by_init() {
    let repo = healthy();
    repo.write("Makefile", "test:\n");
    fs::remove_file(repo.path().join(".git-ci.toml")).unwrap();
    mend(&repo, &finds(&repo, "warning jobs"));
}

#[test]
fn stale_locks_are_named_with_their_age() {
    let repo = healthy();
    let lock = repo.git_dir().join("packed-refs.lock");
    fs::write(&lock, "").unwrap();
    repo.ci(["doctor"]).expect_code(0);
    let touched = repo
        .command("touch", repo.root())
        .args(["-d", "1 hour ago"])
        .arg(&lock)
        .status();
    assert!(touched.unwrap().success());
    mend(&repo, &finds(&repo, "warning lock"));
    assert!(!lock.exists());
}

#[test]
fn what_is_no_slot_any_more_is_found() {
    let repo = healthy();
    repo.ci(["run"]).expect_code(0);
    repo.ci(["doctor"]).expect_code(0);
    let cache = repo.root().join("home/.cache/git-ci");
    let slots = fs::read_dir(&cache).unwrap().next().unwrap().unwrap();
    let slot = slots.path().join("slot-1");
    fs::remove_dir_all(slot.join(".git")).unwrap();
    mend(&repo, &finds(&repo, "warning worktrees"));
    // What an older version left: a linked worktree that is gone.
    repo.git(["worktree", "add", "-q", "--detach", slot.to_str().unwrap()]);
    fs::remove_dir_all(&slot).unwrap();
    mend(&repo, &finds(&repo, "warning worktrees"));
}

#[test]
fn refspecs_that_overwrite_results_are_found_and_mended() {
    let repo = healthy();
    repo.ci(["run"]).expect_code(0);
    let up = repo.root().join("up");
    repo.git(["init", "-q", "--bare", up.to_str().unwrap()]);
    repo.git(["remote", "add", "origin", up.to_str().unwrap()]);
    repo.git([
        "config",
        "--add",
        "remote.origin.fetch",
        "+refs/notes/*:refs/notes/*",
    ]);
    repo.git(["config", "fetch.prune", "true"]);
    mend(&repo, &finds(&repo, "error fetch"));
    repo.git(["fetch", "-q", "origin"]);
    assert_eq!(repo.verdicts("HEAD"), ["pass test"]);
}

#[test]
fn foreign_lines_are_counted_and_damage_is_found() {
    let repo = healthy();
    repo.ci(["run"]).expect_code(0);
    repo.git(["notes", "--ref=ci", "append", "-m", "seen by hand"]);
    repo.git(["config", "notes.rewriteRef", "refs/notes/ci"]);
    repo.git(["config", "alias.ci", "commit"]);
    let ran = repo.ci(["doctor"]).expect_code(0);
    for part in [
        "info: notes: lines in refs/notes/ci that are no records: 1",
        "info: rewrite:",
        "info: alias: alias.ci = commit has no effect",
        "    git config --global alias.c commit",
    ] {
        assert!(ran.stdout().contains(part), "{part}\n{}", ran.stdout());
    }
    let blob = repo.git(["rev-parse", "refs/notes/ci^{tree}"]);
    let path = repo
        .git_dir()
        .join("objects")
        .join(&blob[..2])
        .join(&blob[2..]);
    fs::remove_file(path).unwrap();
    mend(&repo, &finds(&repo, "error notes"));
}

#[test]
fn kinds_of_repositories_are_told() {
    let repo = healthy();
    let head = repo.git(["rev-parse", "HEAD"]);
    fs::write(repo.git_dir().join("shallow"), format!("{head}\n")).unwrap();
    assert_eq!(finds(&repo, "info shallow"), ["git fetch --unshallow"]);

    let repo = TestRepo::init(&["--bare"]);
    let ran = repo.ci(["doctor", "--json"]).expect_code(0);
    assert!(findings(&ran).iter().any(|(name, _)| name == "info jobs"));
}
