//! What a job says that its verdicts depend on besides: the output of its `key`.

use std::fs;

use crate::pty::{Terminal, code, expect_nothing_left};
use crate::support::{TestRepo, wait_until};

/// Puts another job in the jobs file, with these settings.
fn rewrite(repo: &TestRepo, settings: &str) {
    let job = format!("[jobs.test]\nrun = \"echo x >>$HOME/runs\"\n{settings}");
    repo.write(".git-ci.toml", job);
}

/// A repository with a job whose key is this command, which may read `$HOME/version`.
fn keyed(key: &str, settings: &str) -> TestRepo {
    let repo = TestRepo::new();
    repo.jobs_file("");
    rewrite(&repo, &format!("key = '{key}'\n{settings}"));
    repo.commit("one");
    set(&repo, "1");
    repo
}

fn set(repo: &TestRepo, version: &str) {
    fs::write(repo.root().join("home/version"), format!("{version}\n")).unwrap();
}

/// How often the job has run.
fn runs(repo: &TestRepo) -> usize {
    let runs = fs::read_to_string(repo.root().join("home/runs"));
    runs.map_or(0, |runs| runs.lines().count())
}

#[test]
fn a_verdict_counts_for_what_the_key_said() {
    let repo = keyed("cat $HOME/version", "");
    for (version, expected) in [("1", 1), ("1", 1), ("2", 2), ("1", 2), ("2", 2), ("3", 3)] {
        set(&repo, version);
        let plan = repo.ci(["run", "-n"]);
        assert_eq!(plan.code() == 125, runs(&repo) < expected, "{version}");
        repo.ci(["run"]).expect_code(0);
        assert_eq!(runs(&repo), expected, "{version}");
    }
    let plan = repo.ci(["run", "-n", "-v"]).stdout();
    assert!(plan.contains("passed on this commit"), "{plan}");
    set(&repo, "4");
    let plan = repo.ci(["run", "-n"]).stdout();
    assert!(plan.contains("surroundings changed"), "{plan}");
    // Who only reads starts nothing, and judges by what was said last.
    set(&repo, "3");
    repo.ci(["run"]).expect_code(0);
    set(&repo, "5");
    let status = repo.ci(["status", "HEAD"]).stdout();
    assert!(
        status.contains("pass") && !status.contains("(outdated)"),
        "{status}"
    );
}

#[test]
fn a_record_from_before_there_was_a_key_does_not_count() {
    let repo = TestRepo::new();
    repo.job("test", "echo x >>$HOME/runs").commit("one");
    repo.ci(["run"]).expect_code(0);
    repo.jobs_file("key = \"echo 1\"\n");
    repo.ci(["run"]).expect_code(0);
    repo.ci(["run"]).expect_code(0);
    assert_eq!(runs(&repo), 2);
}

#[test]
fn it_is_asked_in_the_jobs_environment_and_in_an_empty_directory() {
    let repo = keyed(
        "ls -A; echo $TOOL $CI $VIRTUAL_ENV; git rev-parse --git-dir 2>/dev/null; test ! -t 0",
        "env = { TOOL = \"nightly\" }\n",
    );
    repo.ci(["run"]).expect_code(0);
    let venv = repo.path().join("venv");
    // What jobs are not given changes nothing.
    let mut run = repo.ci_command(["run", "-n"]);
    let ran = run.env("VIRTUAL_ENV", venv).output().unwrap();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    let ask = |key: &str| {
        rewrite(
            &repo,
            &format!("key = {key}\nenv = {{ TOOL = \"nightly\" }}\n"),
        );
        repo.ci(["run", "-n"])
    };
    ask("\"echo stable true\"").expect_code(125);
    // Another question with the same answer.
    ask("[\"echo\", \"nightly true\"]").expect_code(0);
}

#[test]
fn a_key_that_fails_is_no_verdict() {
    for (key, said) in [
        ("echo no such tool >&2; exit 3", "no such tool"),
        ("kill -9 $$", "signal"),
        ("while :; do echo more; done", "printed more than"),
        ("no-such-tool", "not found"),
        ("kill -9 $PPID; sleep 300", "agent"),
    ] {
        let repo = keyed(key, "");
        let ran = repo.ci(["run"]).expect_code(125);
        assert!(ran.stderr().contains(said), "{}", ran.stderr());
        expect_nothing_left(&repo.root().display().to_string());
        assert_eq!(runs(&repo), 0, "{key}");
        let why = if key.contains("PPID") {
            "runner-lost"
        } else {
            "key"
        };
        let note = repo.note("HEAD");
        assert!(note.contains(&format!("why={why} ")), "{note}");
        assert!(note.contains(" on="), "{note}");
        // It is tried again.
        rewrite(&repo, "key = \"true\"\n");
        repo.ci(["run"]).expect_code(0);
        assert_eq!(runs(&repo), 1, "{key}");
    }
}

#[test]
fn a_key_that_takes_its_time_can_be_interrupted() {
    // While it is planned, and while an agent asks.
    for wait in [
        "",
        "test -e $HOME/asked || { touch $HOME/asked; echo 1; exit; }; ",
    ] {
        let key = format!("{wait}touch $HOME/ready; trap : TERM; sleep 300; sleep 300");
        let repo = keyed(&key, "grace = \"1s\"\n");
        let mut terminal = Terminal::git_ci(&repo, &["run"]);
        let ready = repo.root().join("home/ready");
        wait_until("the key to be asked", || ready.exists());
        terminal.press("\x03");
        let (status, shown) = terminal.wait();
        assert!(matches!(code(status), Some(130) | None), "{shown}");
        assert_eq!(runs(&repo), 0);
        assert_eq!(repo.noted_commits(), 0, "{shown}");
        let root = repo.root().display().to_string();
        wait_until("everything to end", || {
            crate::support::processes_with(&root).is_empty()
        });
        expect_nothing_left(&root);
    }
}

#[test]
fn a_host_answers_for_itself() {
    let repo = keyed("cat $HOME/version; echo $ON", "");
    repo.git(["config", "ci.local", "false"]);
    repo.git(["config", "ci-host.m1.command", "env ON=m1 {}"]);
    let agent = env!("CARGO_BIN_EXE_git-ci");
    repo.git(["config", "ci-host.m1.agent", agent]);
    let root = repo.root().join("m1");
    repo.git(["config", "ci-host.m1.root", root.to_str().unwrap()]);
    repo.ci(["run"]).expect_code(0);
    repo.ci(["run"]).expect_code(0);
    assert_eq!(runs(&repo), 1, "what it said last counts");
    // This machine says something else.
    repo.git(["config", "ci.local", "true"]);
    repo.git(["config", "ci-host.m1.drain", "true"]);
    repo.ci(["run"]).expect_code(0);
    assert_eq!(runs(&repo), 1, "a runner that could take it has said so");
    repo.git(["config", "--remove-section", "ci-host.m1"]);
    repo.ci(["run"]).expect_code(0);
    assert_eq!(runs(&repo), 2, "no such runner any more");
}

#[test]
fn bad_keys_are_named() {
    for key in ["key = 3", "key = \"\"", "key = []", "key = [1]"] {
        let repo = TestRepo::new();
        repo.jobs_file(&format!("[jobs.test]\nrun = \"true\"\n{key}\n"));
        repo.commit("one");
        let ran = repo.ci(["run"]).expect_code(128);
        assert!(ran.stderr().contains("`key`"), "{}", ran.stderr());
        assert!(ran.stderr().contains(":3:"), "{}", ran.stderr());
    }
}

#[test]
fn configuration_that_changes_while_a_run_goes_on_is_told_as_it_was() {
    let repo = TestRepo::new();
    let (ready, go) = (repo.root().join("ready"), repo.root().join("go"));
    repo.write("file", "a\nb\n");
    repo.write(".gitattributes", "file text\n");
    repo.job(
        "test",
        &format!(
            "touch {}; until test -e {}; do sleep 0.01; done; ! grep -q \"$(printf '\\r')\" file",
            ready.display(),
            go.display()
        ),
    );
    repo.commit("one");
    repo.write("file", "a\nb\nc\n");
    repo.commit("two");
    let args = ["run", "-j1", "--order", "oldest", "HEAD~1", "HEAD"];
    let run = repo.spawn_ci(args);
    wait_until("the first job to run", || ready.exists());
    repo.git(["config", "core.autocrlf", "true"]);
    fs::write(go, "").unwrap();
    let done = run.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(1), "the second has other bytes");
    repo.git(["config", "--unset", "core.autocrlf"]);
    // A FAIL of other bytes would be known.
    repo.ci(args).expect_code(0);
    repo.git(["config", "core.autocrlf", "true"]);
    let plan = repo.ci(["run", "-n", "HEAD"]);
    assert!(plan.stdout().contains("cached FAIL"), "{}", plan.stdout());
}
