//! `GIT_CI_TRACE`, and reasons that can be seen.

use std::fs;

use crate::support::{Ran, TestRepo};

/// What a run over the last commits traced, as lines of JSON.
fn traced(repo: &TestRepo, value: &str, args: &[&str]) -> (Ran, Vec<serde_json::Value>) {
    let file = repo.root().join("trace");
    let _ = fs::remove_file(&file);
    let mut run = repo.ci_command([&["run", "-j1", "--force"], args].concat());
    let value = value.replace("FILE", file.to_str().unwrap());
    let ran = Ran(run.env("GIT_CI_TRACE", value).output().unwrap());
    let text = fs::read_to_string(&file).unwrap_or_default();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_default());
    let lines = lines.collect();
    (ran, lines)
}

/// Why checkouts were left to git.
fn reasons(lines: &[serde_json::Value]) -> Vec<String> {
    let of = |line: &serde_json::Value| {
        let message = line["message"].as_str()?.strip_prefix("by git: ")?;
        assert_eq!(line["target"], "checkout");
        Some(message.to_owned())
    };
    lines.iter().filter_map(of).collect()
}

#[test]
fn a_checkout_that_is_left_to_git_says_why() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    let range = ["--order", "oldest", "HEAD~1", "HEAD"];
    for (path, text, reason) in [
        ("a", "a\n", None),
        (
            "d/.gitattributes",
            "*.txt ident\n",
            Some("attributes in d/.gitattributes change files"),
        ),
        ("a\u{1b}b:c", "x\n", Some("a\\x1bb:c has a name")),
    ] {
        let repo = TestRepo::new();
        repo.job("test", "true");
        repo.commit("before");
        repo.write(path, text);
        repo.commit("after");
        repo.let_configuration_settle();
        // The first run makes the worktree.
        repo.ci(["run"]).expect_code(0);
        let (ran, lines) = traced(&repo, "json,FILE", &range);
        ran.expect_code(0);
        let found = reasons(&lines);
        assert_eq!(found[0], "this process has not used the worktree yet");
        assert_eq!(found.len(), 1 + usize::from(reason.is_some()), "{found:?}");
        let doctor = repo.ci(["doctor"]).expect_code(0).stdout();
        if let Some(reason) = reason {
            assert!(found[1].contains(reason), "{found:?}");
        }
        let told = reason.filter(|_| path.starts_with('d'));
        assert_eq!(doctor.contains("takes longer"), told.is_some(), "{doctor}");
        assert!(
            told.is_none_or(|reason| doctor.contains(reason)),
            "{doctor}"
        );
        let ended = lines
            .iter()
            .filter(|line| line["target"] == "agent" && line["message"] == "ended");
        assert_eq!(ended.count(), 2);
    }
    repo.commit("one");
    repo.git(["config", "core.fileMode", "false"]);
    repo.ci(["run"]).expect_code(0);
    let doctor = repo.ci(["doctor"]).expect_code(0).stdout();
    assert!(doctor.contains("core.filemode is set"), "{doctor}");
    repo.git(["config", "--unset", "core.fileMode"]);
    repo.ci(["run", "--force"]).expect_code(0);
    let doctor = repo.ci(["doctor"]).expect_code(0).stdout();
    assert!(!doctor.contains("takes longer"), "{doctor}");
}

#[test]
fn the_variable_means_what_gits_own_mean() {
    let repo = TestRepo::new();
    repo.job("test", "true").commit("one");
    let (ran, lines) = traced(&repo, "1", &[]);
    assert!(ran.stderr().contains(": checkout: by git: "));
    assert!(lines.is_empty());
    let (ran, _) = traced(&repo, "trace", &[]);
    assert!(ran.stderr().contains("TRACE git: git "), "{}", ran.stderr());
    for off in ["0", "false", ""] {
        let (ran, _) = traced(&repo, off, &[]);
        assert!(!ran.stderr().contains("DEBUG"), "{}", ran.stderr());
    }
    let (ran, _) = traced(&repo, "1,much", &[]);
    let said = ran.expect_code(0).stderr();
    assert!(said.contains("'much' is no level"), "{said}");
    let (ran, _) = traced(&repo, "/nowhere/at/all", &[]);
    let said = ran.expect_code(0).stderr();
    assert!(said.contains("open /nowhere/at/all"), "{said}");
}

#[test]
fn one_task_can_be_followed_through_all_its_processes() {
    let repo = TestRepo::new();
    // A job sees nothing of it.
    repo.job("test", "test -z \"$(env | grep -E GIT_.*TRACE)\"")
        .commit("one");
    repo.commit("two");
    let (ran, lines) = traced(&repo, "trace,json,FILE", &["HEAD~1", "HEAD"]);
    ran.expect_code(0);
    let of_task =
        |line: &serde_json::Value, task: u64| line["task"] == task || line["span"]["task"] == task;
    let mine = lines.iter().filter(|line| of_task(line, 1));
    let way: Vec<_> = mine
        .filter(|line| line["target"] == "tasks" || line["target"] == "agent")
        .map(|line| format!("{} {}", line["target"], line["message"]).replace('"', ""))
        .collect();
    let expected = [
        "tasks wanted",
        "tasks taken",
        "agent leased",
        "agent checked out",
        "agent ended",
        "tasks ended",
    ];
    assert_eq!(way, expected);
    assert!(
        lines
            .iter()
            .any(|line| line["target"] == "notes" && line["message"] == "stored")
    );
    // git's own words are in the same file: only there `event` is a key.
    let started = lines.iter().filter(|line| line["event"] == "start");
    assert!(started.count() > 0);
    let (_, lines) = traced(&repo, "debug,json,FILE", &["HEAD"]);
    assert!(lines.iter().all(|line| line["event"].is_null()));
}
