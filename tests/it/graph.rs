//! What jobs have to do with each other and with the commit: what they need, what is set up for
//! them, what they read, and how often they are tried.

use std::fs;

use crate::beds::SshBed;
use crate::support::{TestRepo, wait_until};

/// The words of every line of standard output, without commits and durations.
fn told(out: &str) -> Vec<String> {
    let words = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        format!("{} {}", words[0], words[2])
    };
    let mut told: Vec<_> = out.lines().map(words).collect();
    told.sort();
    told
}

#[test]
fn a_job_finds_what_those_that_it_needs_have_left() {
    let repo = TestRepo::new();
    repo.write(".git-ci.toml", "[jobs.test]\nrun = 'cat left ignored $GIT_CI_ARTIFACTS_BUILD/file'\nneeds = ['build']\n\
         [jobs.build]\nrun = 'echo $GIT_CI_JOB | tee left ignored $GIT_CI_ARTIFACTS/file; echo >>../ran'\n\
         [jobs.other]\nrun = 'test ! -e left'\n",
    );
    repo.write(".gitignore", "ignored\n").commit("one");
    repo.ci(["run", "-j3"]).expect_code(0);
    let log = repo.ci(["logs", "HEAD", "test"]).stdout();
    assert_eq!(
        log, "build\nbuild\nbuild\n",
        "in the same worktree, at once"
    );
    let ran = || {
        let slots = repo.root().join("home/.cache/git-ci");
        let ran = fs::read_dir(slots)
            .unwrap()
            .map(|entry| entry.unwrap().path().join("ran"));
        let ran = ran.filter_map(|ran| fs::read_to_string(ran).ok());
        ran.map(|text| text.lines().count()).sum::<usize>()
    };
    assert_eq!(ran(), 1);
    // Where its worktree has not seen it, it is done there, whatever is known of it.
    repo.git(["commit", "-q", "--allow-empty", "-m", "two"]);
    repo.ci(["forget", "--job", "test", "HEAD", "HEAD~1"])
        .expect_code(0);
    repo.ci(["run", "--job", "other", "--force", "-j1"])
        .expect_code(0);
    let out = repo
        .ci(["run", "-v", "HEAD", "--job", "test"])
        .expect_code(0);
    assert_eq!(told(&out.stdout()), ["pass build", "pass test"]);
    let log = repo.ci(["logs", "HEAD", "test"]).stdout();
    assert!(log.contains("running build, which this job needs"), "{log}");
    assert!(log.ends_with("build\nbuild\nbuild\n"), "{log}");
    assert_eq!(ran(), 2);
}

#[test]
fn what_needs_a_job_that_does_not_pass_is_not_run_and_has_no_record() {
    let repo = TestRepo::new();
    let jobs = |build: &str| {
        format!(
            "[jobs.build]\nrun = '{build}'\n[jobs.test]\nrun = 'true'\nneeds = ['build']\n\
             [jobs.ship]\nrun = 'true'\nneeds = ['test']\n[jobs.other]\nrun = 'true'\n"
        )
    };
    repo.write(".git-ci.toml", jobs("exit 1")).commit("one");
    let out = repo.ci(["run"]).expect_code(1);
    let shown = out.stdout();
    let lines: Vec<_> = shown
        .lines()
        .filter(|line| line.starts_with("not run"))
        .collect();
    assert_eq!(lines.len(), 2, "{shown}");
    assert!(
        lines[0].contains("test") && lines[0].contains("(needs build)"),
        "{shown}"
    );
    assert!(
        lines[1].contains("ship") && lines[1].contains("(needs test)"),
        "{shown}"
    );
    assert!(
        out.stderr().contains("1 FAILED, 1 passed, 2 not run"),
        "{}",
        out.stderr()
    );
    assert_eq!(repo.verdicts("HEAD"), ["FAIL build", "pass other"]);
    // A verdict that was known keeps it from being run, too.
    let json = repo.ci(["run", "--json"]).expect_code(1).stdout();
    assert_eq!(
        json.matches(r#""event":"task-blocked""#).count(),
        2,
        "{json}"
    );
    assert!(
        json.contains(r#""needs":"build""#) && json.contains(r#""blocked":2"#),
        "{json}"
    );
    let plan = repo.ci(["run", "-n"]).expect_code(0).stdout();
    let test = plan.lines().find(|line| line.contains(" test ")).unwrap();
    assert!(
        test.contains("not run") && test.contains("needs build"),
        "{plan}"
    );
    assert_eq!(plan.matches("not run").count(), 2, "{plan}");
    for (build, code) in [("exit 125", 0), ("exit 127", 125), ("exit 0", 0)] {
        repo.write(".git-ci.toml", jobs(build));
        repo.ci(["run"]).expect_code(code);
    }
    repo.write(".git-ci.toml", jobs("exit 125"));
    repo.ci(["run", "--job", "ship"]).expect_code(125);
}

#[test]
fn a_need_that_is_tried_again_or_cancelled_keeps_what_needs_it_waiting() {
    let repo = TestRepo::new();
    let mark = repo.root().join("mark");
    let build = format!("test -e {0} || {{ touch {0}; exit 127; }}", mark.display());
    repo.write(
        ".git-ci.toml",
        format!("[jobs.test]\nrun = 'true'\nneeds = ['build']\n[jobs.build]\nrun = '{build}'\n"),
    );
    repo.commit("one");
    let mut watch = repo.spawn_ci(["watch", "--until-idle"]);
    assert_eq!(watch.wait().unwrap().code(), Some(0));
    assert!(
        repo.note("HEAD").contains("pass  test"),
        "{}",
        repo.note("HEAD")
    );

    repo.write(".git-ci.toml", "[jobs.test]\nrun = 'true'\nneeds = ['build']\n[jobs.build]\nrun = 'echo begun; sleep 60'\n",
    );
    repo.commit("two");
    let run = repo.spawn_ci(["run"]);
    wait_until("the job", || {
        let log = repo.ci(["logs", "HEAD", "build"]);
        log.0.stdout.starts_with(b"begun")
    });
    repo.ci(["cancel", "HEAD", "build"]).expect_code(0);
    let out = run.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(125));
    assert_eq!(repo.verdicts("HEAD"), Vec::<String>::new());
}

#[test]
fn a_failure_is_tried_again_and_a_pass_after_it_is_flaky() {
    let repo = TestRepo::new();
    repo.write(".git-ci.toml", "[jobs.flaky]\nrun = 'echo try $GIT_CI_TRY; ls left; touch left; test $GIT_CI_TRY = 3'\nretries = 2\n\
         [jobs.bad]\nrun = 'echo again; exit 7'\nretries = 1\n[jobs.test]\nrun = 'true'\nneeds = ['flaky']\n\
         [jobs.skip]\nrun = 'exit 125'\nretries = 3\n",
    );
    repo.commit("one");
    let out = repo.ci(["run"]).expect_code(1);
    assert_eq!(
        told(&out.stdout()),
        ["FAIL bad", "FLAKY flaky", "pass test", "skip skip"]
    );
    let note = repo.note("HEAD");
    let has = |words: &[&str]| {
        note.lines()
            .any(|line| words.iter().all(|word| line.contains(word)))
    };
    assert!(
        has(&["FLAKY flaky", "try=3"]) && has(&["FAIL  bad", "try=2", "why=exit:7"]),
        "{note}"
    );
    let log = repo.ci(["logs", "HEAD", "flaky"]).stdout();
    let tries: Vec<_> = log.lines().filter(|line| line.contains("try")).collect();
    assert_eq!(
        tries,
        [
            "try 1",
            "git-ci: it failed (exit code 1); try 2 follows",
            "try 2",
            "git-ci: it failed (exit code 1); try 3 follows",
            "try 3"
        ]
    );
    // Each in a worktree without what the last one left.
    assert_eq!(log.matches("No such file").count(), 3, "{log}");
    repo.ci(["run", "--job", "flaky"]).expect_code(0);
    repo.ci(["run", "--job", "flaky", "--fail-flaky"])
        .expect_code(1);
    let json = repo
        .ci(["run", "--force", "--json", "--job", "bad"])
        .expect_code(1)
        .stdout();
    assert_eq!(
        json.matches(r#""event":"task-retried""#).count(),
        1,
        "{json}"
    );
    assert_eq!(
        json.matches(r#""event":"task-started""#).count(),
        1,
        "{json}"
    );
}

#[test]
fn what_a_job_reads_decides_whether_it_runs() {
    let repo = TestRepo::new();
    repo.write(
        ".git-ci.toml",
        "[jobs.src]\nrun = 'cat src/*'\npaths = ['src', '!src/*.md']\n\
         [jobs.test]\nrun = 'true'\npaths = ['test']\nneeds = ['src']\n\
         [jobs.all]\nrun = 'true'\n",
    );
    for (file, text) in [
        ("src/a", "1"),
        ("src/a.md", "1"),
        ("test/t", "1"),
        ("docs", "1"),
    ] {
        repo.write(file, text);
    }
    repo.commit("one");
    repo.ci(["run"]).expect_code(0);
    let runs = |file: &str| {
        repo.write(file, "2").commit(file);
        let plan = repo.ci(["run", "-n"]).expect_code(125).stdout();
        let runs = plan
            .lines()
            .filter(|line| line.split_whitespace().nth(2) == Some("run"));
        let names: Vec<_> = runs
            .map(|line| line.split_whitespace().nth(1).unwrap())
            .collect();
        let names = names.join(" ");
        repo.ci(["run"]).expect_code(0);
        names
    };
    assert_eq!(runs("docs"), "all");
    assert_eq!(runs("src/a.md"), "all");
    assert_eq!(runs("test/t"), "test all");
    assert_eq!(runs("src/a"), "src test all");
    // Back to what was, on another branch.
    repo.git(["checkout", "-q", "-b", "side", "HEAD~1"]);
    repo.write("docs", "3").commit("side");
    let plan = repo.ci(["run", "-n"]).expect_code(125).stdout();
    assert!(plan.contains("same inputs"), "{plan}");
    repo.ci(["run"]).expect_code(0);
    let status = repo.ci(["status", "HEAD"]).stdout();
    assert_eq!(status.matches("✓ pass").count(), 3, "{status}");
    assert!(repo.note("HEAD").contains(" in="));
    let known = repo.ci(["run", "--json"]).expect_code(0).stdout();
    assert!(known.contains(r#""reused":3"#), "{known}");
}

#[test]
fn a_setup_is_done_where_what_it_depends_on_changed_and_nowhere_else() {
    let repo = TestRepo::new();
    repo.git(["config", "ci.slots", "1"]);
    let file = |more: &str| {
        format!(
            "[setup.deps]\nrun = 'echo setup; mkdir -p deps; cp lock deps/'\ninputs = ['lock']\n\
             [setup.other]\nrun = 'echo other'\n\
             [jobs.test]\nrun = 'cat deps/lock'\nsetup = ['deps']\n{more}"
        )
    };
    repo.write(".git-ci.toml", file(""));
    repo.write(".gitignore", "deps\n")
        .write("lock", "1")
        .commit("one");
    let setups = |rev: &str| {
        let log = repo.ci(["logs", rev, "test"]).stdout();
        log.lines().filter(|line| *line == "setup").count()
    };
    let run = || {
        repo.ci(["run", "--force"]).expect_code(0);
        setups("HEAD")
    };
    assert_eq!((run(), run()), (1, 0));
    repo.write("file", "").commit("two");
    assert_eq!(run(), 0);
    repo.write("lock", "2").commit("three");
    assert_eq!((run(), run()), (1, 0));
    repo.ci(["run", "--clean"]).expect_code(0);
    assert_eq!(setups("HEAD"), 1, "nothing was left of it");
    assert_eq!(run(), 0);
    // One that is not the job's may have undone it.
    repo.write(
        ".git-ci.toml",
        file("[jobs.more]\nrun = 'true'\nsetup = ['other']\n"),
    );
    repo.ci(["run", "--force", "--job", "more"]).expect_code(0);
    repo.ci(["run", "--force", "--job", "test"]).expect_code(0);
    assert_eq!(setups("HEAD"), 1);
}

#[test]
fn a_setup_is_done_again_when_its_key_says_something_else() {
    let repo = TestRepo::new();
    let version = repo.root().join("version");
    std::fs::write(&version, "1").unwrap();
    let key = format!("cat {}", version.display());
    repo.write(".gitignore", "deps\n").write(
        ".git-ci.toml",
        format!(
            "[setup.deps]\nrun = 'echo setup; mkdir -p deps'\nkey = '{key}'\n\
             [jobs.test]\nrun = 'test -d deps'\nsetup = ['deps']\n"
        ),
    );
    repo.commit("one");
    let done = || {
        repo.ci(["run", "-j1", "--force"]).expect_code(0);
        repo.ci(["logs", "HEAD", "test"]).stdout().contains("setup")
    };
    assert_eq!((done(), done()), (true, false));
    std::fs::write(&version, "2").unwrap();
    assert_eq!((done(), done()), (true, false));
    std::fs::remove_file(&version).unwrap();
    let said = repo.ci(["run", "--force"]).expect_code(125).stderr();
    assert!(repo.note("HEAD").contains("why=setup"), "{said}");
    let log = repo.ci(["logs", "HEAD", "test"]).stdout();
    assert!(
        log.contains("set up deps: ask the `key`") && log.contains("No such file"),
        "{log}"
    );
}

#[test]
fn a_setup_whose_work_git_does_not_ignore_is_done_for_each_task() {
    let repo = TestRepo::new();
    repo.write(
        ".git-ci.toml",
        "[setup.deps]\nrun = 'echo setup; mkdir -p deps; echo 1 >deps/one'\n\
         [jobs.test]\nrun = 'cat deps/one'\nsetup = ['deps']\n",
    );
    repo.commit("one");
    repo.commit("two");
    repo.ci(["run", "-j1", "HEAD~1", "HEAD"]).expect_code(0);
    let log = repo.ci(["logs", "HEAD", "test"]).expect_code(0).stdout();
    assert!(log.contains("git does not ignore deps/\n"), "{log}");
    repo.write(".gitignore", "/deps\n");
    repo.commit("three");
    repo.write("file", "");
    repo.commit("four");
    repo.ci(["run", "-j1", "HEAD~1"]).expect_code(0);
    repo.ci(["run", "-j1", "HEAD"]).expect_code(0);
    let log = repo.ci(["logs", "HEAD", "test"]).expect_code(0).stdout();
    assert!(!log.contains("setup"), "{log}");
}

#[test]
fn a_setup_that_fails_is_no_verdict_and_is_begun_anew() {
    let repo = TestRepo::new();
    let go = repo.root().join("go");
    let setup = format!(
        "echo some >deps; test -e {} || {{ echo no network >&2; exit 1; }}",
        go.display()
    );
    repo.write(".git-ci.toml", format!(
        "[setup.deps]\nrun = '{setup}'\n[jobs.test]\nrun = 'cat deps'\nsetup = ['deps']\n\
         [jobs.slow]\nrun = 'true'\nsetup = ['hang']\n[setup.hang]\nrun = 'sleep 60'\ntimeout = '300ms'\n"
    ));
    repo.commit("one");
    let out = repo.ci(["run"]).expect_code(125);
    let said = out.stderr();
    assert!(said.contains("no network"), "{said}");
    assert!(
        said.contains("failed to set up deps: exit code 1"),
        "{said}"
    );
    assert!(
        said.contains("failed to set up hang: it took longer than 300ms"),
        "{said}"
    );
    assert!(repo.note("HEAD").contains("why=setup"));
    fs::write(&go, "").unwrap();
    repo.ci(["run", "--job", "test"]).expect_code(0);
    // A watcher does not try it again and again.
    fs::remove_file(&go).unwrap();
    repo.ci(["run", "--clean", "--job", "test"])
        .expect_code(125);
    repo.write("file", "").commit("two");
    let watched = repo
        .ci(["watch", "--until-idle", "--job", "test", "--json"])
        .stdout();
    assert_eq!(
        watched.matches(r#""event":"task-started""#).count(),
        1,
        "{watched}"
    );
}

#[test]
fn jobs_of_a_matrix_are_named_and_told_what_they_are() {
    let repo = TestRepo::new();
    repo.write(".git-ci.toml", "[jobs.test]\nrun = 'echo $os-$feature'\nmatrix = { os = ['a', 'b'], feature = ['', 'x y'] }\n\
         [jobs.pack]\nrun = 'true'\nneeds = ['test']\n[jobs.extra]\nrun = 'true'\ndefault = false\n",
    );
    repo.commit("one");
    let out = repo.ci(["run"]).expect_code(0);
    assert_eq!(
        told(&out.stdout()),
        [
            "pass pack",
            "pass test[os=a,feature=-]",
            "pass test[os=a,feature=x-y]",
            "pass test[os=b,feature=-]",
            "pass test[os=b,feature=x-y]",
        ]
    );
    let log = repo.ci(["logs", "HEAD", "test[os=b,feature=x-y]"]).stdout();
    assert_eq!(log, "b-x y\n");
    let names = |args: &[&str]| {
        let all = ["run", "--force"].iter().chain(args).copied();
        told(&repo.ci(all).expect_code(0).stdout()).len()
    };
    assert_eq!(names(&["--job", "test"]), 4);
    assert_eq!(names(&["--job", "test[os=a*"]), 2);
    assert_eq!(names(&["--job", "*", "--skip", "pack"]), 5);
    assert_eq!(names(&["--skip", "*feature=x-y]", "--skip", "pack"]), 2);
    let out = repo.ci(["run", "--skip", "test"]).expect_code(128);
    assert!(out.stderr().contains("pack needs it"), "{}", out.stderr());
    let out = repo.ci(["run", "--job", "tset"]).expect_code(129);
    assert!(out.stderr().contains("did you mean"), "{}", out.stderr());
    let out = repo.ci(["logs", "HEAD", "test"]).expect_code(129);
    assert!(
        out.stderr().contains("test means several jobs"),
        "{}",
        out.stderr()
    );
    let shown = repo
        .ci(["show", "HEAD", "--job", "test"])
        .expect_code(0)
        .stdout();
    let counting = shown.split("Records that").next().unwrap();
    assert_eq!(counting.matches("pass").count(), 4, "{shown}");
}

#[test]
fn a_job_that_says_nothing_for_too_long_is_ended() {
    let repo = TestRepo::new();
    repo.write(
        ".git-ci.toml",
        "[jobs.quiet]\nrun = 'echo begun; sleep 60'\nsilence = '400ms'\n\
         [jobs.loud]\nrun = 'for n in 1 2 3 4 5 6; do echo $n; sleep 0.2; done'\nsilence = '5s'\n",
    );
    repo.commit("one");
    repo.ci(["run"]).expect_code(1);
    assert_eq!(repo.verdicts("HEAD"), ["FAIL quiet", "pass loud"]);
    assert!(repo.note("HEAD").contains("why=timeout"));
    let log = repo.ci(["logs", "HEAD", "quiet"]).stdout();
    assert_eq!(
        log,
        "begun\ngit-ci: ended since it said nothing for 400ms\n"
    );
}

#[test]
fn a_setup_that_is_killed_half_way_is_begun_anew_and_each_slot_has_its_own() {
    let repo = TestRepo::new();
    repo.git(["config", "ci.slots", "2"]);
    let (begun, go) = (repo.root().join("begun"), repo.root().join("go"));
    let setup = format!(
        "echo half >deps; echo >>{}; until test -e {}; do sleep 0.02; done; echo whole >deps",
        begun.display(),
        go.display()
    );
    repo.write(
        ".git-ci.toml",
        format!(
            "[setup.deps]\nrun = '{setup}'\n[jobs.test]\nrun = 'grep whole deps'\nsetup = ['deps']\n"
        ),
    );
    repo.write(".gitignore", "deps\n").commit("one");
    let times = || {
        fs::read_to_string(&begun)
            .unwrap_or_default()
            .lines()
            .count()
    };
    let mut run = repo.spawn_ci(["run"]);
    wait_until("the set-up", || times() == 1);
    run.kill().unwrap();
    run.wait().unwrap();
    // Two at once, in a slot each.
    repo.commit("two");
    let run = repo.spawn_ci(["run", "HEAD~1", "HEAD", "-j2"]);
    wait_until("both", || times() == 3);
    fs::write(&go, "").unwrap();
    let out = run.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(0), "{said}");
    repo.ci(["run", "--force", "HEAD~1", "HEAD", "-j2"])
        .expect_code(0);
    assert_eq!(times(), 3, "both have it by now");
}

#[test]
fn hosts_set_up_and_chain_jobs_as_this_machine_does() {
    let repo = TestRepo::new();
    repo.write(
        ".git-ci.toml",
        "[setup.deps]\nrun = 'echo set up; cp lock deps'\ninputs = ['lock']\n\
         [jobs.build]\nrun = 'echo $GIT_CI_RUNNER >built; echo file >$GIT_CI_ARTIFACTS/file'\nsetup = ['deps']\n\
         [jobs.test]\nrun = 'cat built deps $GIT_CI_ARTIFACTS_BUILD/file'\nneeds = ['build']\npaths = ['lock']\n\
         [jobs.flaky]\nrun = 'test $GIT_CI_TRY = 2'\nretries = 1\n",
    );
    repo.write(".gitignore", "deps\n")
        .write("lock", "1\n")
        .commit("one");
    repo.commit("two");
    let Some(bed) = SshBed::up(&repo, 1) else {
        return;
    };
    let out = repo.ci(["run", "HEAD~1", "HEAD"]).expect_code(0);
    let log = |rev: &str| repo.ci(["logs", rev, "test"]).stdout();
    // In which worktree of the host that was is the host's affair.
    assert!(log("HEAD").ends_with("h1\n1\nfile\n"), "{}", out.stderr());
    assert!(
        repo.note("HEAD").contains("FLAKY flaky"),
        "{}",
        repo.note("HEAD")
    );
    repo.ci(["forget", "--job", "test", "HEAD"]).expect_code(0);
    repo.ci(["run", "--job", "test"]).expect_code(0);
    assert!(log("HEAD").ends_with("h1\n1\nfile\n"), "{}", log("HEAD"));
    bed.expect_nothing_left();
}

#[test]
fn a_watcher_goes_through_the_chains_of_all_commits() {
    let repo = TestRepo::new();
    repo.write(
        ".git-ci.toml",
        "[jobs.ship]\nrun = 'cat packed'\nneeds = ['pack', 'test']\n\
         [jobs.test]\nrun = 'cat built'\nneeds = ['build']\n\
         [jobs.pack]\nrun = 'cat built >packed'\nneeds = ['build']\n\
         [jobs.build]\nrun = 'cat n >built; test $(cat n) != 3'\n[jobs.lint]\nrun = 'true'\n",
    );
    for n in 0..6 {
        repo.commit(&format!("commit {n}"));
    }
    let args = [
        "watch",
        "--until-idle",
        "--since",
        "HEAD~5",
        "--json",
        "-j3",
    ];
    let out = repo.ci(args).expect_code(1);
    let json = out.stdout();
    assert_eq!(
        json.matches(r#""event":"task-started""#).count(),
        22,
        "{json}"
    );
    assert_eq!(
        json.matches(r#""event":"task-blocked""#).count(),
        3,
        "{json}"
    );
    for back in 0..5 {
        let rev = format!("HEAD~{back}");
        let expected: &[&str] = if back == 3 {
            &["FAIL build", "pass lint"]
        } else {
            &[
                "pass build",
                "pass lint",
                "pass pack",
                "pass ship",
                "pass test",
            ]
        };
        assert_eq!(repo.verdicts(&rev), expected, "{rev}");
        let log = repo.ci(["logs", &rev, "ship"]).stdout();
        let packed = if back == 3 {
            String::new()
        } else {
            format!("{}\n", 6 - back)
        };
        // Another agent may have had the worktree for a moment.
        assert!(log.ends_with(&packed), "{log}");
    }
    // Nothing of it is new to the next one.
    let again = repo.ci(["run", "--new", "--json"]).stdout();
    assert!(!again.contains("task-started"), "{again}");
}
