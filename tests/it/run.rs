//! `git ci run` where all goes well: what it selects, runs, records and reuses.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::{TestRepo, wait_until};

/// A job that leaves a line behind for each time it runs.
fn counting(repo: &TestRepo, then: &str) -> String {
    format!("echo $GIT_CI_COMMIT >> {}; {then}", marks(repo).display())
}

fn marks(repo: &TestRepo) -> std::path::PathBuf {
    repo.root().join("marks")
}

/// The commits that a [`counting`] job ran on, in order.
fn ran(repo: &TestRepo) -> Vec<String> {
    let text = fs::read_to_string(marks(repo)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn one_job_on_one_commit_leaves_one_note() {
    let repo = TestRepo::new();
    repo.job("test", "test -f n");
    let id = repo.commit("one");
    let done = repo.ci(["run"]).expect_code(0);
    let note = repo.note("HEAD");
    let words: Vec<_> = note.split_whitespace().collect();
    assert_eq!(words[..2], ["pass", "test"], "{note}");
    let tree = repo.git(["rev-parse", "HEAD^{tree}"]);
    let keys: Vec<_> = words[5..]
        .iter()
        .map(|word| word.split_once('=').unwrap().0)
        .collect();
    assert_eq!(keys, ["v", "on", "def", "log", "tree"], "{note}");
    assert!(note.ends_with(&format!(" tree={tree}")), "{note}");
    assert!(done.stdout().contains(&id[..10]), "{}", done.stdout());
    assert!(done.stderr().contains("1 passed"), "{}", done.stderr());
    let log = repo.git(["log", "--notes=ci", "-1"]);
    assert!(log.contains("Notes (ci):\n    pass  test "), "{log}");
}

#[test]
fn verdicts_follow_the_exit_code() {
    let repo = TestRepo::new();
    for (name, run) in [
        ("good", "exit 0"),
        ("bad", "echo because; exit 3"),
        ("untestable", "exit 125"),
        ("missing", "no-such-command-anywhere"),
        ("killed", "kill -KILL $$"),
        ("killed-below", "sh -c 'kill -9 $$'; exit $?"),
        ("interrupted", "kill -INT $$"),
        ("crashed", "kill -SEGV $$"),
        ("crashed-below", "sh -c 'kill -ABRT $$'; exit $?"),
        ("piped", "exit 141"),
    ] {
        repo.job(name, run);
    }
    repo.commit("one");
    let done = repo.ci(["run"]).expect_code(1);
    assert!(done.stderr().contains("| because"), "{}", done.stderr());
    let note = repo.note("HEAD");
    for (status, job, why) in [
        ("ERROR", "missing", " why=exit:127 "),
        ("FAIL", "bad", " why=exit:3 "),
        ("ERROR", "killed", " why=signal:9 "),
        ("ERROR", "killed-below", " why=signal:9 "),
        ("ERROR", "interrupted", " why=signal:2 "),
        ("FAIL", "crashed", " why=signal:11 "),
        ("FAIL", "crashed-below", " why=signal:6 "),
        ("FAIL", "piped", " why=exit:141 "),
        ("pass", "good", ""),
        ("skip", "untestable", ""),
    ] {
        let line = note
            .lines()
            .find(|line| line.split_whitespace().nth(1) == Some(job))
            .unwrap_or_else(|| panic!("no record of {job} in\n{note}"));
        assert!(line.starts_with(status) && line.contains(why), "{line}");
        assert_eq!(line.contains("why="), !why.is_empty(), "{line}");
    }
    // An ERROR is not reused; the rest is.
    let again = repo.ci(["run", "--json"]).expect_code(1);
    assert_eq!(
        again.stdout().matches("\"task-reused\"").count(),
        6,
        "{}",
        again.stdout()
    );
}

#[test]
fn without_a_failure_an_error_decides_the_exit_code() {
    let repo = TestRepo::new();
    repo.job("good", "true")
        .job("missing", "no-such-command-anywhere");
    repo.commit("one");
    repo.ci(["run"]).expect_code(125);
}

#[test]
fn allowed_failures_are_recorded_and_forgiven() {
    let repo = TestRepo::new();
    repo.jobs_file("[jobs.test]\nrun = \"false\"\nallow-failure = true\n");
    repo.commit("one");
    repo.ci(["run"]).expect_code(0);
    assert_eq!(repo.verdicts("HEAD"), ["FAIL test"]);
}

#[test]
fn a_range_runs_newest_first_and_each_commit_once() {
    let repo = TestRepo::new();
    repo.tree_job("test", &counting(&repo, "true"));
    let ids: Vec<_> = ["a", "b", "c", "d"]
        .map(|subject| repo.commit(subject))
        .into();
    repo.ci(["run", "-j1", "HEAD~2..", "HEAD", "HEAD~3"])
        .expect_code(0);
    assert_eq!(ran(&repo), [&ids[3], &ids[2], &ids[0]].map(String::clone));
    repo.ci(["run", "-j1", "--force", "--order=oldest", "HEAD~3..HEAD"])
        .expect_code(0);
    assert_eq!(
        ran(&repo)[3..],
        [&ids[1], &ids[2], &ids[3]].map(String::clone)
    );
    assert_eq!(repo.noted_commits(), 4);
}

#[test]
fn what_is_known_is_not_run_again_until_asked() {
    let repo = TestRepo::new();
    repo.tree_job("test", &counting(&repo, "test $(cat n) != 2"));
    repo.commit("good");
    repo.commit("bad");
    repo.ci(["run", "HEAD~1", "HEAD"]).expect_code(1);
    assert_eq!(ran(&repo).len(), 2);
    let again = repo.ci(["run", "HEAD~1", "HEAD"]).expect_code(1);
    assert_eq!(ran(&repo).len(), 2);
    assert!(again.stderr().contains("2 cached"), "{}", again.stderr());
    repo.ci(["run", "--retry-failed", "HEAD~1", "HEAD"])
        .expect_code(1);
    assert_eq!(ran(&repo).len(), 3, "only the failure runs again");
    repo.ci(["run", "--force", "HEAD~1", "HEAD"]).expect_code(1);
    assert_eq!(ran(&repo).len(), 5);
}

#[test]
fn a_verdict_belongs_to_the_content_and_the_command() {
    let repo = TestRepo::new();
    repo.tree_job("test", &counting(&repo, "true"));
    repo.commit("one");
    repo.ci(["run"]).expect_code(0);
    // Another message, the same tree.
    repo.git(["commit", "-q", "--amend", "-m", "one, reworded"]);
    repo.ci(["run"]).expect_code(0);
    assert_eq!(ran(&repo).len(), 1);
    assert_eq!(
        repo.verdicts("HEAD"),
        ["pass test"],
        "the record is there all the same"
    );
    // There and back again.
    repo.commit("two");
    repo.git(["revert", "--no-edit", "HEAD"]);
    repo.ci(["run"]).expect_code(0);
    assert_eq!(ran(&repo).len(), 1);
    // Another command, another environment.
    let jobs = repo.path().join(".git-ci.toml");
    let text = fs::read_to_string(&jobs).unwrap();
    fs::write(&jobs, text.replace("true", "true ")).unwrap();
    repo.ci(["run"]).expect_code(0);
    assert_eq!(ran(&repo).len(), 2);
    repo.jobs_file("env = { A = \"1\" }\n");
    repo.ci(["run"]).expect_code(0);
    assert_eq!(ran(&repo).len(), 3);
}

#[test]
fn equal_trees_in_one_run_are_tested_once() {
    let repo = TestRepo::new();
    repo.tree_job("test", &counting(&repo, "sleep 0.2"));
    repo.commit("one");
    for subject in ["empty 1", "empty 2", "empty 3"] {
        repo.git(["commit", "-q", "--allow-empty", "-m", subject]);
    }
    repo.ci(["run", "-j4", "--all"]).expect_code(0);
    assert_eq!(ran(&repo).len(), 1);
    assert_eq!(repo.noted_commits(), 4);
}

#[test]
fn two_runs_at_once_test_everything_once() {
    let repo = TestRepo::new();
    repo.tree_job("test", &counting(&repo, "sleep 0.02"));
    let ids: Vec<_> = (0..20).map(|n| repo.commit(&n.to_string())).collect();
    let runs = [(); 2].map(|()| repo.spawn_ci(["run", "-j2", "--all"]));
    for run in runs {
        let output = run.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let mut ran = ran(&repo);
    ran.sort();
    let mut ids = ids;
    ids.sort();
    assert_eq!(ran, ids);
    assert_eq!(repo.noted_commits(), 20);
}

#[test]
fn an_ad_hoc_command_is_recorded_only_under_a_name() {
    let repo = TestRepo::new();
    repo.commit("one");
    repo.ci(["run", "-x", &counting(&repo, "true")])
        .expect_code(0);
    repo.ci(["run", "-x", &counting(&repo, "true")])
        .expect_code(0);
    assert_eq!(ran(&repo).len(), 2);
    assert_eq!(repo.noted_commits(), 0);
    repo.ci(["run", "-x", &counting(&repo, "true"), "--as", "mine"])
        .expect_code(0);
    repo.ci(["run", "-x", &counting(&repo, "true"), "--as", "mine"])
        .expect_code(0);
    assert_eq!(ran(&repo).len(), 3);
    assert_eq!(repo.verdicts("HEAD"), ["pass mine"]);
}

#[test]
fn only_the_chosen_jobs_run() {
    let repo = TestRepo::new();
    repo.job("a", "true").job("b", "true").job("c", "true");
    repo.commit("one");
    repo.ci(["run", "--job", "a", "--job=c"]).expect_code(0);
    assert_eq!(repo.verdicts("HEAD"), ["pass a", "pass c"]);
    let unknown = repo.ci(["run", "--job", "d"]).expect_code(129);
    assert!(unknown.stderr().contains('d'), "{}", unknown.stderr());
}

#[test]
fn fail_fast_stops_at_the_first_failure() {
    let repo = TestRepo::new();
    repo.tree_job(
        "test",
        &counting(&repo, "test $(cat n) -lt 3 || exit 1; sleep 30"),
    );
    for subject in ["1", "2", "3"] {
        repo.commit(subject);
    }
    // The newest fails at once; its neighbour would sleep and is ended.
    repo.ci(["run", "-j2", "--fail-fast", "--all"])
        .expect_code(1);
    assert_eq!(repo.noted_commits(), 1);
    assert_eq!(repo.verdicts("HEAD"), ["FAIL test"]);
}

#[test]
fn a_dry_run_says_what_would_happen_and_does_nothing() {
    let repo = TestRepo::new();
    repo.tree_job("test", &counting(&repo, "true"));
    let first = repo.commit("one");
    repo.ci(["run"]).expect_code(0);
    repo.git(["commit", "-q", "--amend", "-m", "reworded"]);
    repo.commit("two");
    let tip = repo.git(["rev-parse", "refs/notes/ci"]);
    let plan = repo
        .ci(["run", "--dry-run", "HEAD~1", "HEAD"])
        .expect_code(125);
    let lines: Vec<_> = plan.stdout().lines().map(str::to_owned).collect();
    assert!(
        lines[0].contains(&format!(
            "cached pass   passed on {}, same tree",
            &first[..10]
        )),
        "{lines:?}"
    );
    assert!(lines[1].contains(" run           never run "), "{lines:?}");
    assert_eq!(ran(&repo).len(), 1);
    assert_eq!(repo.git(["rev-parse", "refs/notes/ci"]), tip);
}

#[test]
fn json_is_one_event_a_line_and_starts_with_its_version() {
    let repo = TestRepo::new();
    repo.job("test", "echo hello; exit 1");
    repo.commit("one\u{1b}[31m");
    let done = repo.ci(["run", "--json"]).expect_code(1);
    let events: Vec<serde_json::Value> = done
        .stdout()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events[0]["event"], "run-started");
    assert_eq!(events[0]["format"], 1);
    let finished = events
        .iter()
        .find(|event| event["event"] == "task-finished")
        .unwrap();
    assert_eq!(finished["status"], "FAIL");
    assert_eq!(finished["why"], "exit:1");
    assert_eq!(finished["tail"][0], "hello");
    assert_eq!(events.last().unwrap()["event"], "run-finished");
    assert_eq!(events.last().unwrap()["counts"]["failed"], 1);
    assert_eq!(done.stderr(), "");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    repo.commit("one");
    repo.commit("two");
    let mut run = repo.spawn_ci(["run", "--all"]);
    drop(run.stdout.take());
    drop(run.stderr.take());
    assert!(run.wait().unwrap().success());
    assert_eq!(repo.noted_commits(), 2);
}

#[test]
fn a_failure_in_the_middle_of_a_long_log_is_shown() {
    let repo = TestRepo::new();
    repo.job(
        "test",
        "seq 500; echo 'src/a.c:3:1: error: broken'; echo '    3 | x'; seq 501 900; exit 1",
    );
    repo.commit("one");
    let said = repo.ci(["run"]).expect_code(1).stderr();
    let shown = repo.ci(["show"]).expect_code(0).stdout();
    let waited = repo.ci(["wait"]).expect_code(1).stdout();
    for text in [said, shown, waited] {
        for line in [
            "| … 498 lines …",
            "| src/a.c:3:1: error: broken",
            "|     3 | x",
            "| 900",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}: {text}");
        }
    }
}

#[test]
fn what_is_overwritten_or_without_end_is_not_shown_whole() {
    let repo = TestRepo::new();
    repo.job("test", "printf 'at 1%%\\rat 2%%\\r\\nsaid\\r\\n'; exit 1");
    repo.commit(&"long ".repeat(20_000));
    let ran = repo.ci(["run"]).expect_code(1);
    let (line, said) = (ran.stdout(), ran.stderr());
    assert!(said.contains("| at 2%\n"), "{said}");
    assert!(said.contains("| said\n"), "{said}");
    assert!(
        line.contains("long long…") || line.contains("long …"),
        "{line}"
    );
    assert!(line.len() < 300, "{line}");
    let whole = repo.ci(["logs", "HEAD", "test"]).expect_code(0).stdout();
    assert!(whole.starts_with("at 1%\rat 2%\r\nsaid"), "{whole:?}");
}

#[test]
fn what_is_no_text_on_standard_input_is_refused() {
    let repo = TestRepo::new();
    repo.job("test", "true").commit("one");
    for bytes in [b"HEAD\0HEAD\n".as_slice(), b"\xff\xfe\n"] {
        let file = repo.root().join("revs");
        std::fs::write(&file, bytes).unwrap();
        let mut command = repo.ci_command(["run", "--stdin"]);
        let input = std::fs::File::open(&file).unwrap();
        let ran = command.stdin(input).output().unwrap();
        assert_eq!(ran.status.code(), Some(128), "{ran:?}");
    }
}

#[test]
fn revisions_come_from_standard_input_too() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    let ids: Vec<_> = ["a", "b", "c"].map(|subject| repo.commit(subject)).into();
    let list = repo.root().join("list");
    fs::write(&list, format!("{}\n\n{}\n", ids[0], ids[2])).unwrap();
    let done = repo
        .ci_command(["run", "--stdin"])
        .stdin(fs::File::open(&list).unwrap())
        .output()
        .unwrap();
    assert!(done.status.success());
    assert_eq!(repo.noted_commits(), 2);
    assert_eq!(repo.note(&ids[1]), "");
}

#[test]
fn each_commit_may_bring_its_own_jobs() {
    let repo = TestRepo::new();
    repo.write(".git-ci.toml", "[jobs.old]\nrun = \"true\"\n");
    let old = repo.commit("old");
    repo.write(".git-ci.toml", "[jobs.new]\nrun = \"true\"\n");
    repo.commit("new");
    repo.ci(["run", "--config-from", "commit", "--all"])
        .expect_code(0);
    assert_eq!(repo.verdicts(&old), ["pass old"]);
    assert_eq!(repo.verdicts("HEAD"), ["pass new"]);
    repo.ci(["run", "--config-from", &old]).expect_code(0);
    assert_eq!(repo.verdicts("HEAD"), ["pass new", "pass old"]);
}

#[test]
fn jobs_see_the_commit_and_not_the_callers_repository() {
    let repo = TestRepo::new();
    let seen = repo.root().join("seen");
    let job = format!(
        "env > {0}; git rev-parse HEAD >> {0}; git status --porcelain >> {0}; cat >> {0}",
        seen.display()
    );
    repo.tree_job("look", &job);
    let id = repo.commit("one");
    let index = fs::read(repo.git_dir().join("index")).unwrap();
    let done = repo
        .ci_command(["run"])
        .env("GIT_DIR", repo.git_dir())
        .env("GIT_INDEX_FILE", repo.git_dir().join("index"))
        .env("GIT_WORK_TREE", repo.path())
        .env("GIT_PREFIX", "sub/")
        .env("GIT_AUTHOR_NAME", "Somebody Else")
        .env("GIT_EDITOR", ":")
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let seen = fs::read_to_string(seen).unwrap();
    let value = |name: &str| {
        seen.lines()
            .find_map(|line| line.strip_prefix(&format!("{name}=")))
    };
    assert_eq!(value("GIT_CI_COMMIT"), Some(id.as_str()));
    assert_eq!(
        value("GIT_CI_TREE"),
        Some(repo.git(["rev-parse", "HEAD^{tree}"]).as_str())
    );
    assert_eq!(value("CI"), Some("true"));
    assert_eq!(value("GIT_CI"), Some("1"));
    assert_eq!(value("GIT_CI_JOB"), Some("look"));
    assert_eq!(value("GIT_CI_TRY"), Some("1"));
    for name in [
        "GIT_DIR",
        "GIT_INDEX_FILE",
        "GIT_WORK_TREE",
        "GIT_PREFIX",
        "GIT_AUTHOR_NAME",
        "GIT_EDITOR",
    ] {
        assert_eq!(value(name), None, "{name}");
    }
    assert!(
        seen.ends_with(&format!("\n{id}\n")),
        "a clean status and no input:\n{seen}"
    );
    assert_eq!(fs::read(repo.git_dir().join("index")).unwrap(), index);
}

#[test]
fn the_users_work_stays_as_it_is() {
    let repo = TestRepo::new();
    repo.job(
        "test",
        "rm -f n; echo x > new; git checkout -q -b job-$GIT_CI_COMMIT || true",
    );
    repo.job("polite", "rm -f n; echo x > new");
    repo.commit("one");
    repo.commit("two");
    repo.write("n", "changed\n")
        .write("staged", "s\n")
        .write("untracked", "u\n");
    repo.git(["add", "staged"]);
    let state = |repo: &TestRepo| {
        (
            fs::read(repo.git_dir().join("index")).unwrap(),
            fs::read(repo.git_dir().join("HEAD")).unwrap(),
            fs::read(repo.git_dir().join("config")).unwrap(),
            repo.git(["rev-parse", "main"]),
            fs::read(repo.path().join("n")).unwrap(),
            repo.git(["stash", "list"]),
        )
    };
    let before = state(&repo);
    repo.ci(["run", "--all", "--job", "polite"]).expect_code(0);
    assert_eq!(state(&repo), before);
    assert_eq!(
        repo.git(["for-each-ref", "--format=%(refname)"]),
        "refs/heads/main\nrefs/notes/ci"
    );
}

#[test]
fn ignored_build_caches_stay_and_leftovers_go() {
    let repo = TestRepo::new();
    repo.write(".gitignore", "cache\n");
    repo.job(
        "test",
        "test ! -e left && test -f n || exit 9; test -e cache || echo cold; touch cache left; rm n",
    );
    for subject in ["a", "b", "c"] {
        repo.commit(subject);
    }
    let done = repo.ci(["run", "-j1", "--all", "--json"]).expect_code(0);
    assert_eq!(
        done.stdout().matches("cold").count(),
        1,
        "{}",
        done.stdout()
    );
}

#[test]
fn it_works_in_a_bare_repository_and_in_a_linked_worktree() {
    let repo = TestRepo::new();
    repo.write(".git-ci.toml", "[jobs.test]\nrun = \"test -f n\"\n");
    repo.commit("one");
    let bare = repo.root().join("bare.git");
    repo.git(["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
    let linked = repo.root().join("linked");
    repo.git([
        "worktree",
        "add",
        "-q",
        "-b",
        "side",
        linked.to_str().unwrap(),
    ]);
    for dir in [&bare, &linked] {
        let done = repo
            .command(env!("CARGO_BIN_EXE_git-ci"), dir)
            .arg("run")
            .env("GIT_COMMITTER_NAME", "C")
            .env("GIT_COMMITTER_EMAIL", "c@example.com")
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        let notes = repo
            .command("git", dir)
            .args(["notes", "--ref=ci", "list"])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&notes.stdout).lines().count(), 1);
    }
}

#[test]
fn a_log_is_readable_from_its_first_byte_while_the_job_runs() {
    let repo = TestRepo::new();
    let gate = repo.root().join("gate");
    repo.job(
        "slow",
        &format!(
            "echo begun; until test -e {}; do sleep 0.05; done; echo over",
            gate.display()
        ),
    );
    repo.commit("one");
    let run = repo.spawn_ci(["run"]);
    let logs = repo.git_dir().join("ci/logs");
    let text = || {
        let entries = fs::read_dir(&logs).into_iter().flatten().flatten();
        entries
            .map(|entry| fs::read_to_string(entry.path()).unwrap_or_default())
            .collect::<String>()
    };
    wait_until("the first line in the log", || text().contains("begun"));
    assert!(!text().contains("over"));
    fs::write(gate, "").unwrap();
    assert!(run.wait_with_output().unwrap().status.success());
    assert!(text().contains("over"));
}

#[test]
fn hooks_of_the_user_do_not_run() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    repo.commit("one");
    let fired = repo.root().join("fired");
    for hook in [
        "post-checkout",
        "reference-transaction",
        "post-index-change",
        "pre-auto-gc",
    ] {
        let path = repo.git_dir().join("hooks").join(hook);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(
            &path,
            format!("#!/bin/sh\necho {hook} >> {}\n", fired.display()),
        )
        .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    repo.ci(["run"]).expect_code(0);
    assert_eq!(fs::read_to_string(fired).unwrap_or_default(), "");
}

#[test]
fn exit_codes_are_those_that_bisect_run_understands() {
    let repo = TestRepo::new();
    repo.job("t", "exit $(cat code)");
    let run = |code: &str, args: &[&str]| {
        repo.write("code", code).commit(code);
        repo.ci([&["run"], args].concat()).code()
    };
    for (said, expected) in [("0", 0), ("1", 1), ("124", 1), ("125", 125), ("127", 125)] {
        assert_eq!(run(said, &[]), expected, "a job that exits with {said}");
    }
    // A skip beside a pass says nothing against the commit.
    repo.job("other", "true");
    assert_eq!(run("125", &[]), 0);
    // Failures come before what has no verdict.
    repo.job("broken", "exit 126");
    assert_eq!(run("1", &[]), 1);
    assert_eq!(run("0", &["HEAD..HEAD"]), 0, "nothing to do");
    assert_eq!(run("0", &["--no-such-option"]), 129);
    assert_eq!(run("0", &["no-such-revision"]), 128);
    repo.write(".git-ci.toml", "[jobs.t]\nrunn = 1\n");
    assert_eq!(run("0", &[]), 128, "a broken jobs file");
}

#[test]
fn a_program_that_cannot_be_started_is_named() {
    let repo = TestRepo::new();
    let cases = [
        (
            "missing",
            "['no_such']",
            "start the program \"no_such\": there is none of that name on PATH",
        ),
        (
            "spaced",
            "['./run all']",
            "there is no such file at this commit; did you mean a string? run = \"./run all\"",
        ),
        (
            "split",
            "['cargo test', '-q']",
            "did you mean run = [\"cargo\", \"test\", \"-q\"]?",
        ),
        (
            "script",
            "['./script']",
            "start the program \"./script\": the interpreter is not there",
        ),
        ("plain", "['./plain']", "it is not executable"),
        ("dir", "['./dir']", "it is a directory"),
    ];
    for (name, run, _) in cases {
        repo.jobs_file(&format!("[jobs.{name}]\nrun = {run}\n"));
    }
    repo.write("script", "#!/no/such/interpreter\n");
    repo.write("plain", "x").write("dir/file", "");
    let script = repo.path().join("script");
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
    repo.commit("one");
    let done = repo.ci(["run"]).expect_code(125);
    for (name, _, says) in cases {
        let log = repo.ci(["logs", "HEAD", name]).expect_code(0).stdout();
        assert!(log.contains(says), "{name}: {log}");
        assert!(
            done.stdout().contains(&format!(" {name} ")),
            "{}",
            done.stdout()
        );
    }
    assert!(done.stderr().contains(cases[0].2), "{}", done.stderr());
    repo.write(".git-ci.toml", "[jobs.test]\nrun = ['make test']\n");
    let said = repo.ci(["run"]).expect_code(128).stderr();
    assert!(
        said.contains("did you mean a string? run = \"make test\""),
        "{said}"
    );
}

#[test]
fn what_is_not_committed_is_said_not_to_be_tested() {
    let repo = TestRepo::new();
    repo.job("test", "true").write("a", "1").commit("one");
    repo.write("a", "2").commit("two");
    let index = fs::read(repo.git_dir().join("index")).unwrap();
    let said = |args: &[&str]| repo.ci(args).expect_code(0).stderr();
    assert!(!said(&["run"]).contains("not tested"));
    // As old as the index says: git would like to write a new one.
    repo.write("a", "2")
        .write("ignored", "")
        .write("new/x", "")
        .write("new/y", "");
    let exclude = repo.git_dir().join("info/exclude");
    fs::write(exclude, ".git-ci.toml\nignored\n").unwrap();
    let here = "not tested: 1 untracked file (not committed)";
    assert!(said(&["run"]).contains(here));
    repo.write("a", "3");
    let here = "not tested: 1 changed file, 1 untracked file (not committed)";
    for args in [
        &["run"][..],
        &["run", "--force", "HEAD~1.."],
        &["run", "-x", "true"],
    ] {
        assert!(said(args).contains(here), "{args:?}");
    }
    let events = repo.ci(["run", "--json"]).expect_code(0).stdout();
    let last: serde_json::Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    let counted = serde_json::json!({"changed": 1, "untracked": 1});
    assert_eq!(last["uncommitted"], counted);
    for args in [
        &["run", "HEAD~1"][..],
        &["run", "-q"],
        &["run", "-n"],
        &["run", "HEAD..HEAD"],
    ] {
        assert!(!said(args).contains("not tested"), "{args:?}");
    }
    assert_eq!(fs::read(repo.git_dir().join("index")).unwrap(), index);
    // Where the jobs file of the work tree counts, what is in it is what was run.
    fs::remove_dir_all(repo.path().join("new")).unwrap();
    repo.write("a", "2");
    fs::write(repo.git_dir().join("info/exclude"), "ignored\n").unwrap();
    assert!(!said(&["run"]).contains("not tested"));
}

#[test]
fn failures_are_listed_with_what_shows_them_and_what_repeats_them() {
    let repo = TestRepo::new();
    repo.job("test", "echo why not; exit 3")
        .job("a[x]", "exit 4");
    repo.job("allowed", "false")
        .jobs_file("allow-failure = true\n");
    repo.commit("one");
    let head = repo.git(["rev-parse", "--short=10", "HEAD"]);
    let first = repo.ci(["run"]).expect_code(1).stderr();
    let line = format!("  git ci logs {head} test    FAIL  (exit code 3) one\n");
    assert!(first.contains(&line), "{first}");
    assert!(
        first.contains(&format!("  git ci logs {head} 'a[x]'  FAIL ")),
        "{first}"
    );
    assert!(
        !first.contains("allowed  FAIL") && !first.contains("to run again"),
        "{first}"
    );
    let again = repo.ci(["run"]).expect_code(1).stderr();
    assert!(again.contains("      | why not\n"), "{again}");
    assert!(
        again.contains("FAIL  (exit code 3, cached) one\n"),
        "{again}"
    );
    let command = format!("to run again: git ci run --retry-failed {head}\n");
    assert!(again.contains(&command), "{again}");
    let one = repo.ci(["run", "--job", "test"]).expect_code(1).stderr();
    let command = format!("to run again: git ci run --force --job test {head}\n");
    assert!(one.contains(&command), "{one}");
    assert!(
        !repo
            .ci(["run", "-q"])
            .expect_code(1)
            .stderr()
            .contains("git ci logs")
    );
    // What is on no record is not found again by commit and job.
    assert!(
        !repo
            .ci(["run", "-x", "false"])
            .expect_code(1)
            .stderr()
            .contains("git ci logs")
    );
    for n in 0..11 {
        repo.commit(&n.to_string());
    }
    let many = repo
        .ci(["run", "--job", "test", "HEAD~11.."])
        .expect_code(1)
        .stderr();
    assert_eq!(many.matches("  git ci logs ").count(), 10, "{many}");
    assert!(many.contains("\n  and 1 more\n"), "{many}");
}

#[test]
fn a_failure_of_a_warm_worktree_is_tried_in_a_fresh_one() {
    let repo = TestRepo::new();
    repo.git(["config", "ci.slots", "1"]);
    // A build that takes for current what an earlier one has left.
    let build = "test ! -e bad || exit 1; test -e built || cp Makefile built; cmp Makefile built";
    repo.job("test", build).write(".gitignore", "built\n");
    repo.write("Makefile", "1").commit("one");
    let one = repo.ci(["run"]).expect_code(0).stderr();
    assert!(!one.contains("--clean"), "{one}");
    repo.write("Makefile", "2").commit("two");
    let two = repo.ci(["run"]).expect_code(1).stderr();
    let head = repo.git(["rev-parse", "--short=10", "HEAD"]);
    let hint = format!(
        "hint: {head} changes Makefile, and its worktree was in use before; \
         to rule that out: git ci run --clean --job test {head}\n"
    );
    assert!(two.contains(&hint), "{two}");
    for quiet in ["-q", "--json"] {
        let said = repo.ci(["run", "--force", quiet]).expect_code(1).stderr();
        assert!(!said.contains("hint:"), "{said}");
    }
    let fresh = repo
        .ci(["run", "--clean", "--job", "test", &head])
        .expect_code(0);
    assert!(!fresh.stderr().contains("cached"), "{}", fresh.stderr());
    // It is the verdict of the job as it is defined.
    let counts = repo.ci(["run", "-n"]).expect_code(0).stdout();
    assert!(counts.contains("cached pass"), "{counts}");
    let defs: Vec<_> = repo
        .note("HEAD")
        .split_whitespace()
        .filter(|word| word.starts_with("def="))
        .map(str::to_owned)
        .collect();
    assert!(
        defs.len() > 1 && defs.iter().all(|def| *def == defs[0]),
        "{defs:?}"
    );
    // A failure that follows no change of how things are built is one.
    repo.write("bad", "").commit("three");
    let three = repo.ci(["run"]).expect_code(1).stderr();
    assert!(!three.contains("hint:"), "{three}");
    let again = repo
        .ci(["run", "--clean", "--retry-failed", "HEAD~1.."])
        .expect_code(1);
    assert!(
        again.stderr().contains("1 task on 1 commit"),
        "{}",
        again.stderr()
    );
    repo.ci(["run", "--clean", "--force"]).expect_code(129);
}

#[test]
fn the_look_at_what_is_not_committed_runs_no_filter() {
    let repo = TestRepo::new();
    repo.write(".gitattributes", "*.made filter=f\n");
    repo.write("x.made", "as it is\n");
    repo.write("plain", "one\n");
    repo.job("test", "sleep 0.3").commit("one");
    let mark = repo.root().join("mark");
    let clean = format!("touch {}; cat", mark.display());
    repo.git(["config", "filter.f.clean", &clean]);
    repo.git(["config", "filter.f.smudge", "cat"]);
    repo.git(["config", "filter.f.required", "true"]);
    repo.write("x.made", "otherwise\n");
    repo.write("plain", "two\n");
    let ran = repo.ci(["run"]).expect_code(0);
    assert!(
        ran.stderr().contains("not tested: 1 changed file"),
        "{}",
        ran.stderr()
    );
    assert!(!mark.exists());
}
