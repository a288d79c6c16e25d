//! Notes that are damaged, and what is in the way of their ref: said before anything
//! runs, and mended by the commands that are named.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Ran, TestRepo};

const NOTES: &str = "refs/notes/ci";

/// A repository with records for three commits, each a batch of its own, and loose
/// objects only, so that single ones can be taken away.
fn with_notes() -> TestRepo {
    let repo = TestRepo::new();
    let mark = repo.root().join("ran");
    repo.job("test", &format!("echo >> {}", mark.display()));
    repo.git(["config", "notes.displayRef", "refs/notes/*"]);
    for n in 1..=3 {
        repo.commit(&format!("commit {n}"));
        repo.ci(["run"]).expect_code(0);
    }
    let packs = repo.git_dir().join("objects/pack");
    let away = repo.root().join("packs");
    fs::rename(&packs, &away).unwrap();
    for file in fs::read_dir(away).unwrap() {
        let path = file.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "pack")
        {
            let unpacked = repo
                .command("git", repo.path())
                .args(["unpack-objects", "-q"])
                .stdin(fs::File::open(path).unwrap())
                .status();
            assert!(unpacked.unwrap().success());
        }
    }
    repo
}

/// How often the job has run.
fn runs(repo: &TestRepo) -> usize {
    let mark = fs::read_to_string(repo.root().join("ran")).unwrap_or_default();
    mark.lines().count()
}

/// Takes an object away.
fn lose(repo: &TestRepo, rev: &str) {
    let id = repo.git(["rev-parse", rev]);
    let path = repo.git_dir().join("objects").join(&id[..2]).join(&id[2..]);
    fs::remove_file(path).unwrap();
}

/// The commands that doctor names for findings that count.
fn named(repo: &TestRepo) -> Vec<String> {
    let ran = repo.ci(["doctor", "--json"]).expect_code(1);
    let mut commands = Vec::new();
    for line in ran.stdout().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        if line["event"] == "finding" && line["severity"] != "info" {
            let fix = line["fix"].as_array().unwrap().iter();
            commands.extend(fix.map(|command| command.as_str().unwrap().to_owned()));
        }
    }
    commands
}

/// Does as it was told. Nothing is wrong then, and every command works.
#[track_caller]
fn mend(repo: &TestRepo, commands: &[String]) {
    assert!(!commands.is_empty());
    let bin = Path::new(env!("CARGO_BIN_EXE_git-ci")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    for command in commands {
        let mut shell = repo.command("sh", repo.path());
        let done = shell.env("PATH", &path).args(["-c", command]).output();
        Ran(done.unwrap()).expect_code(0);
    }
    repo.ci(["doctor"]).expect_code(0);
    repo.ci(["run", "--all"]).expect_code(0);
    for args in [&["status", "--all"] as &[&str], &["show"], &["log"]] {
        repo.ci(args).expect_code(0);
    }
    assert_eq!(repo.noted_commits(), 3);
    repo.git(["gc", "--quiet", "--prune=now"]);
    repo.git(["fsck", "--strict"]);
}

#[test]
fn missing_objects_of_the_newest_notes_are_noticed_before_anything_runs() {
    for lost in ["", "^{tree}", ":note", "^", "^^{tree}"] {
        let repo = with_notes();
        let [before, tip] =
            [format!("{NOTES}^"), NOTES.to_owned()].map(|rev| repo.git(["rev-parse", &rev]));
        let head = repo.git(["rev-parse", "HEAD"]);
        lose(&repo, &format!("{NOTES}{}", lost.replace("note", &head)));
        let commands = if lost.starts_with('^') && lost != "^{tree}" {
            // The notes themselves are whole, and only what was before them is not.
            repo.ci(["run", "--force"]).expect_code(0);
            let fix = named(&repo);
            assert!(fix[0].contains("commit-tree"), "{fix:?}");
            fix
        } else {
            let ran = repo.ci(["run", "--force"]).expect_code(128);
            assert!(ran.stderr().contains("git ci doctor"), "{}", ran.stderr());
            assert_eq!(runs(&repo), 3, "{lost:?}");
            repo.ci(["watch", "--until-idle"]).expect_code(128);
            let fix = named(&repo);
            assert_eq!(fix[0], format!("git update-ref {NOTES} {before} {tip}"));
            fix
        };
        mend(&repo, &commands);
    }
}

#[test]
fn the_last_whole_notes_are_found_without_a_reflog_and_without_a_ref() {
    for contents in [
        None,
        Some(""),
        Some("garbage\n"),
        Some("1111111111111111111111111111111111111111\n"),
    ] {
        let repo = with_notes();
        let tip = repo.git(["rev-parse", NOTES]);
        let before = repo.git(["rev-parse", &format!("{NOTES}^")]);
        fs::remove_dir_all(repo.git_dir().join("logs/refs/notes")).unwrap();
        let good = match contents {
            None => {
                lose(&repo, NOTES);
                before
            }
            Some(text) => {
                fs::write(repo.git_dir().join(NOTES), text).unwrap();
                tip
            }
        };
        let ran = repo.ci(["run", "--force"]).expect_code(128);
        assert!(ran.stderr().contains("git ci doctor"), "{}", ran.stderr());
        assert_eq!(runs(&repo), 3);
        let fix = named(&repo);
        let last = fix.last().unwrap();
        assert!(
            last.starts_with(&format!("git update-ref {NOTES} {good}")),
            "{fix:?}"
        );
        mend(&repo, &fix);
    }
}

#[test]
fn where_no_notes_are_left_one_begins_anew() {
    let repo = with_notes();
    for lost in ["~0", "~1", "~2"].map(|n| format!("{NOTES}{n}^{{tree}}")) {
        lose(&repo, &lost);
    }
    let tip = repo.git(["rev-parse", NOTES]);
    for args in [
        &["run", "--force"] as &[&str],
        &["status"],
        &["show"],
        &["log"],
    ] {
        repo.ci(args).expect_code(128);
    }
    let fix = named(&repo);
    assert_eq!(fix[0], format!("git update-ref -d {NOTES} {tip}"));
    mend(&repo, &fix);
}

#[test]
fn what_is_in_the_way_of_the_ref_is_said_before_anything_runs() {
    type Put = fn(&TestRepo);
    let ways: [(&str, Put); 5] = [
        ("refs/notes/ci/x", |repo| {
            drop(repo.git(["update-ref", "refs/notes/ci/x", "HEAD"]))
        }),
        ("refs/notes/ci/x/y", |repo| {
            repo.git(["update-ref", "refs/notes/ci/x/y", "HEAD"]);
            repo.git(["pack-refs", "--all"]);
        }),
        ("refs/notes", |repo| {
            // git makes no such ref, but some tool may.
            let dir = repo.git_dir().join("refs/notes");
            fs::remove_dir_all(&dir).unwrap();
            fs::write(dir, repo.git(["rev-parse", "HEAD"]) + "\n").unwrap();
        }),
        ("refs/notes", |repo| {
            let dir = repo.git_dir().join("refs/notes");
            fs::remove_dir_all(&dir).unwrap();
            fs::write(dir, "not a ref\n").unwrap();
        }),
        ("ci.lock", |repo| old_lock(repo, "refs/notes/ci.lock")),
    ];
    for (name, put) in ways {
        let repo = with_notes();
        if !name.ends_with("lock") {
            repo.git(["update-ref", "-d", NOTES]);
        }
        put(&repo);
        for args in [&["run", "--force"] as &[&str], &["watch", "--until-idle"]] {
            let ran = repo.ci(args).expect_code(128);
            assert!(ran.stderr().contains(name), "{name}: {}", ran.stderr());
            assert!(ran.stderr().contains("hint: "), "{name}: {}", ran.stderr());
        }
        assert_eq!(runs(&repo), 3, "{name}");
        mend(&repo, &named(&repo));
    }
}

/// A lock that a process left two hours ago.
fn old_lock(repo: &TestRepo, name: &str) {
    let path = repo.git_dir().join(name);
    fs::write(&path, "").unwrap();
    let mut touch = repo.command("touch", repo.root());
    assert!(
        touch
            .args(["-d", "2 hours ago"])
            .arg(path)
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn a_lock_is_not_taken_for_that_of_the_git_that_started_us() {
    let repo = with_notes();
    old_lock(&repo, "refs/notes/ci.lock");
    let bin = Path::new(env!("CARGO_BIN_EXE_git-ci")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut git = repo.command("git", repo.path());
    let ran = Ran(git
        .env("PATH", path)
        .args(["ci", "doctor"])
        .output()
        .unwrap());
    let ran = ran.expect_code(1);
    let lock = repo.git_dir().join("refs/notes/ci.lock");
    let command = format!("rm {}", PathBuf::from(&lock).display());
    assert!(ran.stdout().contains(&command), "{}", ran.stdout());
}
