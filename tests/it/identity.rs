//! What a verdict is for: which known verdict counts for a job on a commit, which does
//! not, and what the user is told of it.

use std::fs;

use crate::support::{Ran, TestRepo};

/// The lines of JSON that a command printed.
fn json(ran: &Ran) -> Vec<serde_json::Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap();
    ran.stdout().lines().map(parse).collect()
}

/// What a run would do about each task of `rev`, and why, as `job: action, reason`.
fn planned(repo: &TestRepo, rev: &str) -> Vec<String> {
    let plan = repo.ci(["run", "-n", "--json", rev]);
    let lines = json(&plan);
    let tasks = lines.iter().filter(|line| line["event"] == "planned");
    let word = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let lines: Vec<_> = tasks
        .map(|one| {
            let (job, action) = (word(&one["job"]), word(&one["action"]));
            format!("{job}: {action}, {}", word(&one["reason"]))
        })
        .collect();
    let runs = lines.iter().any(|line| line.contains(": run, "));
    assert_eq!(plan.code(), if runs { 125 } else { 0 }, "{lines:?}");
    lines
}

/// The value of a key in the only record of `rev`, or in that of `job`.
fn key(repo: &TestRepo, rev: &str, job: &str, key: &str) -> Option<String> {
    let note = repo.note(rev);
    let mut lines = note.lines();
    let line = lines.find(|line| line.split_whitespace().nth(1) == Some(job));
    let line = line.unwrap_or_else(|| panic!("no record of {job}: {note}"));
    let start = format!("{key}=");
    let mut words = line.split_whitespace();
    words.find_map(|word| Some(word.strip_prefix(&start)?.to_owned()))
}

fn amend(repo: &TestRepo, message: &str) -> String {
    repo.git(["commit", "-q", "--amend", "-m", message]);
    repo.git(["rev-parse", "HEAD"])
}

/// Jobs that look at the commit, each in another way.
const LOOKERS: &[(&str, &str)] = &[
    ("log", "git log -1 --format=%B | grep -q Signed-off-by"),
    ("describe", "git describe --always"),
    ("rev-parse", "git rev-parse HEAD"),
    ("status", "git status --short --branch"),
    (
        "cat",
        "cat .git/HEAD 2>/dev/null || cat $(git rev-parse --git-dir)/HEAD",
    ),
    ("subdir", "cd dir && git rev-parse HEAD"),
    (
        "elsewhere",
        "here=$(pwd); cd /; git -C $here rev-parse HEAD",
    ),
    (
        "link",
        "ln -s $(git rev-parse --absolute-git-dir) way; cat way/HEAD; rm way",
    ),
    ("background", "(sleep 0.2; git log -1) & wait"),
    ("session", "setsid -w git log -1 --format=%s"),
    ("checkout", "git checkout -q --detach; git log -1"),
    (
        "python",
        "python3 -c \"import subprocess; subprocess.run(['git', 'show', '-s'], check=True)\"",
    ),
    ("named", "echo $GIT_CI_COMMIT"),
    ("theirs", "git --git-dir \"$GIT_CI_REPOSITORY\" log -1"),
];

#[test]
fn a_job_that_looks_at_the_commit_counts_for_that_commit_only() {
    let repo = TestRepo::new();
    for (name, run) in LOOKERS {
        repo.job(name, run);
    }
    repo.job("blind", "cat dir/file; ls; test ! -e missing");
    repo.write("dir/file", "x\n");
    let first = repo.commit("one\n\nSigned-off-by: A");
    let ran = repo.ci(["run"]).expect_code(0);
    for (name, _) in LOOKERS {
        let seen = key(&repo, "HEAD", name, "commit");
        assert_eq!(seen.as_deref(), Some(first.as_str()), "{name}");
        let told = ran.stderr().contains(&format!("{name}: it read HEAD, so"));
        // It says so itself, and nobody had to find out.
        let silent = ["named", "theirs"].contains(name);
        assert_eq!(told, !silent, "{name}: {}", ran.stderr());
    }
    assert!(
        ran.stderr().contains("reuse = \"tree\""),
        "{}",
        ran.stderr()
    );
    assert_eq!(key(&repo, "HEAD", "blind", "commit"), None);
    // On the commit itself each is known.
    assert!(
        planned(&repo, "HEAD")
            .iter()
            .all(|line| line.contains(": reuse, "))
    );

    amend(&repo, "one");
    for line in planned(&repo, "HEAD") {
        let expected = if line.starts_with("blind:") {
            format!("blind: reuse, passed on {}, same tree", &first[..10])
        } else {
            format!("{}: run, reads the commit", line.split(':').next().unwrap())
        };
        assert_eq!(line, expected);
    }
    repo.ci(["run"]).expect_code(1);
    let verdicts = repo.verdicts("HEAD");
    assert!(verdicts.contains(&"FAIL log".to_owned()), "{verdicts:?}");
    assert!(
        verdicts.contains(&"pass describe".to_owned()),
        "{verdicts:?}"
    );
}

#[test]
fn a_sign_off_check_sees_each_message() {
    let repo = TestRepo::new();
    repo.job("dco", "git log -1 --format=%B | grep -q Signed-off-by");
    repo.commit("one");
    amend(&repo, "ok\n\nSigned-off-by: A <a@example.com>");
    repo.ci(["run"]).expect_code(0);
    amend(&repo, "no");
    repo.ci(["run"]).expect_code(1);
    // And back: that one is known.
    repo.git(["reset", "-q", "--hard", "HEAD@{1}"]);
    assert_eq!(
        planned(&repo, "HEAD"),
        ["dco: reuse, passed on this commit"]
    );
}

#[test]
fn one_job_that_looks_does_not_bind_the_other() {
    let repo = TestRepo::new();
    repo.git(["config", "ci.slots", "1"]);
    repo.job("a", "git log -1; true").job("b", "test -f n");
    repo.commit("one");
    repo.commit("two");
    repo.ci(["run", "HEAD~1", "HEAD"]).expect_code(0);
    for rev in ["HEAD~1", "HEAD"] {
        assert!(key(&repo, rev, "a", "commit").is_some());
        assert_eq!(key(&repo, rev, "b", "commit"), None, "{}", repo.note(rev));
    }
}

#[test]
fn the_commit_of_a_submodule_is_in_the_tree() {
    let repo = TestRepo::new();
    let inner = repo.root().join("inner");
    let git = |dir: &std::path::Path, args: &[&str]| {
        let done = repo.command("git", dir).args(args).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    fs::create_dir(&inner).unwrap();
    git(&inner, &["init", "-qb", "main"]);
    git(&inner, &["config", "user.name", "A"]);
    git(&inner, &["config", "user.email", "a@example.com"]);
    fs::write(inner.join("f"), "x").unwrap();
    git(&inner, &["add", "f"]);
    git(&inner, &["commit", "-qm", "inner"]);
    let inner = inner.to_str().unwrap();
    repo.git([
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        inner,
        "sub",
    ]);
    repo.job("test", "git -C sub log -1 --format=%s | grep -q inner");
    repo.commit("one");
    repo.ci(["run"]).expect_code(0);
    assert_eq!(
        key(&repo, "HEAD", "test", "commit"),
        None,
        "{}",
        repo.note("HEAD")
    );
}

#[test]
fn reuse_says_what_a_verdict_is_for() {
    let repo = TestRepo::new();
    repo.jobs_file(
        "[jobs.tree]\nrun = 'git log -1'\nreuse = 'tree'\n\
         [jobs.named]\nrun = 'echo $GIT_CI_COMMIT'\nreuse = 'tree'\n\
         [jobs.commit]\nrun = 'true'\nreuse = 'commit'\n\
         [jobs.never]\nrun = 'true'\nreuse = 'never'\n\
         [jobs.auto]\nrun = 'true'\nreuse = 'auto'\n",
    );
    let first = repo.commit("one");
    let ran = repo.ci(["run"]).expect_code(0);
    assert!(!ran.stderr().contains("HEAD"), "{}", ran.stderr());
    for job in ["tree", "named", "auto"] {
        assert_eq!(key(&repo, "HEAD", job, "commit"), None, "{job}");
    }
    for job in ["commit", "never"] {
        assert_eq!(
            key(&repo, "HEAD", job, "commit").as_ref(),
            Some(&first),
            "{job}"
        );
    }
    assert_eq!(
        planned(&repo, "HEAD"),
        [
            "tree: reuse, passed on this commit",
            "named: reuse, passed on this commit",
            "commit: reuse, passed on this commit",
            "never: run, runs each time",
            "auto: reuse, passed on this commit",
        ]
    );
    amend(&repo, "reworded");
    let same = format!("passed on {}, same tree", &first[..10]);
    assert_eq!(
        planned(&repo, "HEAD"),
        [
            format!("tree: reuse, {same}"),
            format!("named: reuse, {same}"),
            "commit: run, reads the commit".into(),
            "never: run, runs each time".into(),
            format!("auto: reuse, {same}"),
        ]
    );
}

#[test]
fn a_job_that_comes_to_care_does_not_trust_what_it_said_before() {
    let repo = TestRepo::new();
    repo.jobs_file("[jobs.dco]\nrun = 'git log -1 --format=%s | grep -q ok'\nreuse = 'tree'\n");
    let first = repo.commit("ok");
    repo.ci(["run"]).expect_code(0);
    amend(&repo, "no");
    repo.ci(["run"]).expect_code(0);
    let jobs = repo.path().join(".git-ci.toml");
    let text = fs::read_to_string(&jobs).unwrap();
    for reuse in ["auto", "commit"] {
        fs::write(&jobs, text.replace("tree", reuse)).unwrap();
        assert_eq!(planned(&repo, "HEAD"), ["dco: run, reads the commit"]);
        let known = "dco: reuse, passed on this commit";
        assert_eq!(planned(&repo, &first), [known]);
    }
    // And what was bound holds for all once it does not care any more.
    repo.ci(["run"]).expect_code(1);
    fs::write(&jobs, &text).unwrap();
    amend(&repo, "another");
    let known = planned(&repo, "HEAD");
    assert!(known[0].starts_with("dco: reuse, failed on "), "{known:?}");
}

#[test]
fn the_commit_is_in_the_environment_only_where_it_is_asked_for() {
    let repo = TestRepo::new();
    repo.write("look", "env | grep -q ^GIT_CI_COMMI[T]=\n");
    repo.jobs_file(
        "[jobs.plain]\nrun = 'sh ./look'\n\
         [jobs.auto]\nrun = 'sh ./look'\nreuse = 'auto'\n\
         [jobs.tree]\nrun = 'sh ./look'\nreuse = 'tree'\n\
         [jobs.commit]\nrun = 'sh ./look'\nreuse = 'commit'\n\
         [jobs.named]\nrun = 'sh ./look # GIT_CI_COMMIT'\n\
         [jobs.env]\nrun = 'sh ./look'\nenv = { X = \"$GIT_CI_COMMIT\" }\n",
    );
    repo.commit("one");
    repo.ci(["run"]).expect_code(1);
    assert_eq!(
        repo.verdicts("HEAD"),
        [
            "FAIL auto",
            "FAIL plain",
            "pass commit",
            "pass env",
            "pass named",
            "pass tree"
        ]
    );
    for job in ["named", "env", "commit"] {
        assert!(key(&repo, "HEAD", job, "commit").is_some(), "{job}");
    }
}

#[test]
fn jobs_of_one_command_have_verdicts_of_their_own() {
    let repo = TestRepo::new();
    repo.write("Makefile", "lint:\n\ttrue\ntest:\n\tfalse\n");
    repo.job("lint", "make -s $GIT_CI_JOB")
        .job("test", "make -s $GIT_CI_JOB");
    repo.jobs_file(
        "[jobs.env]\nrun = 'make -s lint'\n\
         [jobs.env2]\nrun = 'make -s lint'\nenv = { A = '1' }\n\
         [jobs.clean]\nrun = 'make -s lint'\nclean = 'all'\n",
    );
    repo.commit("one");
    repo.ci(["run"]).expect_code(1);
    assert_eq!(
        repo.verdicts("HEAD"),
        [
            "FAIL test",
            "pass clean",
            "pass env",
            "pass env2",
            "pass lint"
        ]
    );
    // Another name is another job.
    let jobs = repo.path().join(".git-ci.toml");
    let text = fs::read_to_string(&jobs).unwrap();
    fs::write(&jobs, text.replace("jobs.\"lint\"", "jobs.style")).unwrap();
    let plan = planned(&repo, "HEAD");
    assert_eq!(plan[0], "style: run, never run");
    fs::write(&jobs, text.replace("clean = 'all'", "clean = 'none'")).unwrap();
    assert_eq!(planned(&repo, "HEAD")[4], "clean: run, job changed");
    // What says nothing of what is run changes nothing.
    fs::write(
        &jobs,
        text + "timeout = '1m'\ngrace = '1s'\nallow-failure = true\n",
    )
    .unwrap();
    assert_eq!(
        planned(&repo, "HEAD")[4],
        "clean: reuse, passed on this commit"
    );
}

#[test]
fn a_job_goes_where_its_labels_are() {
    let repo = TestRepo::new();
    repo.git(["config", "ci.labels", "linux"]);
    repo.git(["config", "ci-host.m1.command", "{}"]);
    repo.git(["config", "ci-host.m1.labels", "mac"]);
    repo.git(["config", "ci-host.m1.agent", env!("CARGO_BIN_EXE_git-ci")]);
    repo.git([
        "config",
        "ci-host.m1.root",
        repo.root().join("m1").to_str().unwrap(),
    ]);
    repo.jobs_file(
        "[jobs.linux]\nrun = 'test $GIT_CI_RUNNER != m1'\nlabels = ['linux']\n\
         [jobs.mac]\nrun = 'test $GIT_CI_RUNNER != m1'\nlabels = ['mac']\n",
    );
    repo.commit("one");
    repo.ci(["run"]).expect_code(1);
    assert_eq!(repo.verdicts("HEAD"), ["FAIL mac", "pass linux"]);
    // What the host said of itself is remembered.
    assert_eq!(
        planned(&repo, "HEAD"),
        [
            "linux: reuse, passed on this commit",
            "mac: reuse, failed on this commit"
        ]
    );
    amend(&repo, "reworded");
    repo.ci(["run"]).expect_code(1);
    assert_eq!(repo.verdicts("HEAD"), ["FAIL mac", "pass linux"]);
    // A file that is damaged says nothing.
    let memory = repo.git_dir().join("ci/runners");
    let mut bytes = fs::read(&memory).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    fs::write(&memory, bytes).unwrap();
    let plan = planned(&repo, "HEAD");
    assert!(
        plan[1].starts_with("mac: run, another platform"),
        "{plan:?}"
    );
}

/// Replaces the only record of `rev` by what `change` makes of it.
fn rewrite(repo: &TestRepo, rev: &str, change: impl Fn(&str) -> String) {
    let note = change(&repo.note(rev));
    repo.git(["notes", "--ref=ci", "add", "-f", "-m", &note, rev]);
}

#[test]
fn a_verdict_of_another_platform_counts_where_the_job_says_so() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    repo.commit("one");
    repo.ci(["run"]).expect_code(0);
    let on = key(&repo, "HEAD", "test", "on").unwrap();
    assert!(on.ends_with("-linux"), "{on}");
    rewrite(&repo, "HEAD", |note| note.replace(&on, "aarch64-darwin"));
    let why = "test: run, another platform (aarch64-darwin)";
    assert_eq!(planned(&repo, "HEAD"), [why]);
    let shown = repo.ci(["show"]).expect_code(0).stdout();
    assert!(shown.contains("another platform"), "{shown}");
    repo.jobs_file("platform = 'any'\n");
    assert_eq!(
        planned(&repo, "HEAD"),
        ["test: reuse, passed on this commit"]
    );
    // One that does not say where is of none that is here.
    rewrite(&repo, "HEAD", |note| note.replace(" on=aarch64-darwin", ""));
    assert_eq!(
        planned(&repo, "HEAD"),
        ["test: reuse, passed on this commit"]
    );
    let jobs = repo.path().join(".git-ci.toml");
    let text = fs::read_to_string(&jobs).unwrap();
    fs::write(&jobs, text.replace("'any'", "'same'")).unwrap();
    assert_eq!(planned(&repo, "HEAD"), ["test: run, another platform"]);
}

#[test]
fn flaky_and_skip_are_reused_and_timeouts_are_not() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    repo.commit("one");
    repo.ci(["run"]).expect_code(0);
    for (status, why, plan) in [
        ("FLAKY", "", "test: reuse, flaky on this commit"),
        ("skip ", "", "test: reuse, skipped on this commit"),
        ("FAIL ", " why=exit:1", "test: reuse, failed on this commit"),
        (
            "FAIL ",
            " why=timeout",
            "test: run, no verdict last time (timeout)",
        ),
        (
            "ERROR",
            " why=exit:127",
            "test: run, no verdict last time (exit:127)",
        ),
    ] {
        let note = repo.note("HEAD");
        rewrite(&repo, "HEAD", |note| {
            let note =
                note.split(" why=")
                    .next()
                    .unwrap()
                    .replacen(" v=1", &format!(" v=1{why}"), 1);
            format!("{status}{}", &note[5..])
        });
        // Only the beginning has changed where there was a reason before.
        if !repo.note("HEAD").contains(" tree=") {
            panic!("{note}");
        }
        assert_eq!(planned(&repo, "HEAD"), [plan]);
        rewrite(&repo, "HEAD", |_| note.clone());
    }
}

#[test]
fn the_reasons_are_told_by_run_and_show() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    let first = repo.commit("one");
    let ran = repo.ci(["run", "-v"]).expect_code(0);
    assert!(ran.stderr().contains("never run"), "{}", ran.stderr());
    amend(&repo, "reworded");
    let ran = repo.ci(["run", "-v"]).expect_code(0);
    let why = format!("passed on {}, same tree", &first[..10]);
    assert!(ran.stdout().contains(&why), "{}", ran.stdout());
    let ran = repo.ci(["run", "--force", "--json"]).expect_code(0);
    let lines = json(&ran);
    let started = lines
        .iter()
        .find(|line| line["event"] == "task-started")
        .unwrap();
    assert_eq!(
        (&started["reason"], &started["rule"]),
        (&"forced".into(), &"forced".into())
    );
    let ran = repo.ci(["run", "--json"]).expect_code(0);
    let lines = json(&ran);
    let reused = lines
        .iter()
        .find(|line| line["event"] == "task-reused")
        .unwrap();
    assert_eq!(reused["reason"], "passed on this commit");
    assert_eq!(reused["rule"], "known");
    let jobs = repo.path().join(".git-ci.toml");
    fs::write(&jobs, "[jobs.test]\nrun = 'true '\n").unwrap();
    let shown = repo.ci(["show"]).expect_code(0).stdout();
    assert!(shown.contains("job changed"), "{shown}");
    let shown = json(&repo.ci(["show", "--json"]).expect_code(0));
    assert_eq!(shown[1]["reason"], "job changed");
    repo.job("new", "true");
    let shown = repo.ci(["show"]).expect_code(0).stdout();
    assert!(shown.contains("never run"), "{shown}");
}

#[test]
fn fail_fast_counts_a_failure_that_is_known() {
    let repo = TestRepo::new();
    let marks = repo.root().join("marks");
    let run = format!("echo x >> {}; test $(cat n) != 2", marks.display());
    repo.job("test", &run);
    for subject in ["1", "2", "3", "4"] {
        repo.commit(subject);
    }
    repo.ci(["run", "HEAD~2", "HEAD~3"]).expect_code(1);
    assert_eq!(fs::read_to_string(&marks).unwrap().lines().count(), 2);
    let ran = repo.ci(["run", "--fail-fast", "--all"]).expect_code(1);
    assert_eq!(fs::read_to_string(&marks).unwrap().lines().count(), 2);
    assert!(
        ran.stderr().contains("1 FAILED, 1 passed, 2 cancelled"),
        "{}",
        ran.stderr()
    );
    // One that does not count stops nothing.
    repo.jobs_file("allow-failure = true\n");
    repo.ci(["run", "--fail-fast", "--all"]).expect_code(0);
    assert_eq!(fs::read_to_string(&marks).unwrap().lines().count(), 4);
}

/// Bisects between the first commit, which is good, and `HEAD`, which is bad.
fn bisect(repo: &TestRepo, first: &str) -> Ran {
    repo.git(["bisect", "start"]);
    bisect_on(repo, repo.path(), first)
}

/// The same in `dir`, where it has begun.
fn bisect_on(repo: &TestRepo, dir: &std::path::Path, first: &str) -> Ran {
    for words in [["bad", "HEAD"], ["good", first]] {
        let mut mark = repo.command("git", dir);
        let marked = mark.arg("bisect").args(words).output().unwrap();
        assert!(marked.status.success(), "{marked:?}");
    }
    let path = std::path::Path::new(env!("CARGO_BIN_EXE_git-ci"));
    let dirs = format!(
        "{}:{}",
        path.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let bisected = repo
        .command("git", dir)
        .args(["bisect", "run", "git", "ci", "run"])
        .env("PATH", dirs)
        .output()
        .unwrap();
    Ran(bisected)
}

#[test]
fn git_bisect_run_understands_the_exit_code() {
    let repo = TestRepo::new();
    repo.write(".git-ci.toml", "[jobs.test]\nrun = 'exit $(cat code)'\n");
    let ids: Vec<_> = ["0", "125", "125", "1"]
        .map(|code| {
            repo.write("code", code);
            repo.commit(code)
        })
        .into();
    let said = bisect(&repo, &ids[0]);
    let text = said.stdout() + &said.stderr();
    assert!(text.contains("only 'skip'ped commits left"), "{text}");
    for id in &ids[1..3] {
        assert_eq!(repo.verdicts(id), ["skip test"]);
    }
    repo.git(["bisect", "reset"]);
    // Where no verdict is reached, nothing is known either.
    repo.write(".git-ci.toml", "[jobs.test]\nrun = 'test $(cat code) != 125 || exec nothing-of-the-kind; exit $(cat code)'\n");
    repo.git(["commit", "-qam", "other"]);
    let text = bisect(&repo, &ids[0]).stdout();
    assert!(!text.contains("is the first bad commit"), "{text}");
}

#[test]
fn a_bisect_that_checks_nothing_out_tests_what_it_is_at() {
    let repo = TestRepo::new();
    repo.write(".git-ci.toml", "[jobs.test]\nrun = 'test $(cat n) -lt 5'\n");
    let ids: Vec<_> = (1..=8)
        .map(|n: u32| {
            repo.write("n", n.to_string());
            repo.commit(&n.to_string())
        })
        .collect();
    let culprit = format!("{} is the first bad commit", ids[4]);
    repo.git(["bisect", "start", "--no-checkout"]);
    let said = bisect_on(&repo, repo.path(), &ids[0]);
    let text = said.stdout() + &said.stderr();
    assert!(text.contains(&culprit), "{text}");
    repo.git(["bisect", "reset"]);
    repo.git(["config", "--global", "user.name", "A U Thor"]);
    repo.git(["config", "--global", "user.email", "author@example.com"]);
    let bare = repo.root().join("bare");
    repo.git(["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
    let mut start = repo.command("git", &bare);
    start.args(["bisect", "start"]);
    assert!(start.status().unwrap().success());
    let text = bisect_on(&repo, &bare, &ids[0]).stdout();
    assert!(text.contains(&culprit), "{text}");
}

#[test]
fn a_bisect_finds_the_jobs_where_a_commit_has_none() {
    let repo = TestRepo::new();
    let codes = ["0", "0", "0", "1", "1", "1", "1"];
    let ids: Vec<_> = codes
        .map(|code| {
            repo.write("code", code);
            repo.commit(code)
        })
        .into();
    repo.write(".git-ci.toml", "[jobs.test]\nrun = 'exit $(cat code)'\n");
    repo.commit("jobs");
    let said = bisect(&repo, &ids[0]);
    let text = said.stdout() + &said.stderr();
    assert!(
        text.contains(&format!("{} is the first bad commit", ids[3])),
        "{text}"
    );
    let why = "bisecting: no .git-ci.toml here, that of main counts";
    assert!(text.contains(why), "{text}");
    // Without a bisect it is an error, as ever.
    repo.git(["bisect", "reset"]);
    repo.git(["checkout", "-q", &ids[2]]);
    repo.ci(["run"]).expect_code(128);
    // And so it is where the bisect began at a commit that has none either.
    repo.git(["bisect", "start", &ids[5], &ids[0]]);
    let said = repo.ci(["run"]).expect_code(128).stderr();
    assert!(!said.contains("bisecting"), "{said}");
}

#[test]
fn what_is_forgotten_runs_again_and_then_counts() {
    let repo = TestRepo::new();
    repo.job("a", "true").job("b", "true");
    let first = repo.commit("one");
    repo.ci(["run"]).expect_code(0);
    let second = amend(&repo, "reworded");
    repo.ci(["run"]).expect_code(0);
    let known = [
        "a: reuse, passed on this commit",
        "b: reuse, passed on this commit",
    ];
    assert_eq!(planned(&repo, "HEAD"), known);

    let would = repo.ci(["forget", "-n", "--job", "a"]).expect_code(0);
    assert!(would.stdout().contains("1 record "), "{}", would.stdout());
    assert_eq!(planned(&repo, "HEAD"), known);
    let said = repo.ci(["forget", "--job", "a"]).expect_code(0);
    assert!(
        said.stdout()
            .starts_with(&format!("pass  {} a ", &second[..10])),
        "{}",
        said.stdout()
    );
    // Also of the other commit with that tree, where the record was made.
    for rev in [&first, &second] {
        let plan = ["a: run, forgotten", "b: reuse, passed on this commit"];
        assert_eq!(planned(&repo, rev), plan);
    }
    // The records stay, and are said not to count.
    let log = repo
        .ci(["log", "--job", "a", "HEAD"])
        .expect_code(0)
        .stdout();
    assert!(log.contains("(forgotten)"), "{log}");
    let shown = repo.ci(["show"]).expect_code(0).stdout();
    assert!(shown.contains("-     a  (forgotten)"), "{shown}");
    assert!(!shown.contains("Other lines"), "{shown}");
    let status = repo.ci(["status", "-n1", "--json"]).expect_code(0);
    assert_eq!(
        json(&status)[1]["cells"][0]["record"],
        serde_json::Value::Null
    );
    let again = repo.ci(["forget", "--job", "a"]).expect_code(0);
    assert!(
        again.stderr().contains("nothing of that is on record"),
        "{}",
        again.stderr()
    );

    // What runs now counts, within the same second, too.
    repo.ci(["run"]).expect_code(0);
    assert_eq!(planned(&repo, "HEAD"), known);
    assert!(planned(&repo, &first)[0].starts_with("a: reuse, passed on "));
    repo.ci(["forget", "--job", "c"]).expect_code(129);
}

#[test]
fn forgetting_a_range_takes_each_job_of_each_commit() {
    let repo = TestRepo::new();
    repo.job("test", "test -f n").job("log", "git log -1");
    for subject in ["1", "2", "3"] {
        repo.commit(subject);
    }
    repo.git(["commit", "-q", "--allow-empty", "-m", "4"]);
    repo.ci(["run", "--all"]).expect_code(0);
    let said = repo.ci(["forget", "HEAD~2..HEAD"]).expect_code(0);
    // The last two have one tree: `test` ran once for both, `log` for each.
    assert_eq!(said.stdout().lines().count(), 3, "{}", said.stdout());
    let forgotten = ["test: run, forgotten", "log: run, forgotten"];
    assert_eq!(planned(&repo, "HEAD"), forgotten);
    assert_eq!(planned(&repo, "HEAD~1"), forgotten);
    assert!(
        planned(&repo, "HEAD~2")
            .iter()
            .all(|line| line.contains("reuse"))
    );
    // It travels with the notes, and merging keeps it.
    repo.git(["update-ref", "refs/notes/other", "refs/notes/ci~1"]);
    repo.git([
        "notes",
        "--ref=other",
        "merge",
        "-q",
        "-s",
        "cat_sort_uniq",
        "refs/notes/ci",
    ]);
    repo.git(["update-ref", "refs/notes/ci", "refs/notes/other"]);
    assert_eq!(planned(&repo, "HEAD"), forgotten);
    let doctor = repo.ci(["doctor"]);
    assert!(
        !doctor.stdout().contains("other programs"),
        "{}",
        doctor.stdout()
    );
}

#[test]
fn only_the_commit_that_a_job_looked_at_is_forgotten() {
    let repo = TestRepo::new();
    repo.job("log", "git log -1");
    let first = repo.commit("one");
    repo.git(["commit", "-q", "--allow-empty", "-m", "two"]);
    repo.ci(["run", "--all"]).expect_code(0);
    repo.ci(["forget", "HEAD"]).expect_code(0);
    assert_eq!(planned(&repo, "HEAD"), ["log: run, forgotten"]);
    assert_eq!(
        planned(&repo, &first),
        ["log: reuse, passed on this commit"]
    );
}

#[test]
fn a_record_of_the_future_does_not_outrank_what_runs_now() {
    for date in ["9999-12-30T00:00:00Z", "2999-01-01T00:00:00Z"] {
        let repo = TestRepo::new();
        repo.job("test", "false");
        repo.commit("one");
        repo.ci(["run"]).expect_code(1);
        rewrite(&repo, "HEAD", |note| {
            let word = note.split_whitespace().nth(3).unwrap().to_owned();
            let pass = note.replace("FAIL ", "pass ").replace(" why=exit:1", "");
            pass.replace(&word, date)
        });
        // All there is, so far.
        assert_eq!(
            planned(&repo, "HEAD"),
            ["test: reuse, passed on this commit"]
        );
        repo.ci(["run", "--force"]).expect_code(1);
        let status = repo.ci(["status", "-n1"]).expect_code(0).stdout();
        assert!(status.contains("FAIL"), "{status}");
        assert_eq!(
            planned(&repo, "HEAD"),
            ["test: reuse, failed on this commit"]
        );
        repo.ci(["run"]).expect_code(1);
        // And it will not when its day has come.
        let forget = repo.note("HEAD");
        assert!(
            forget.contains("\nforget test ") || forget.starts_with("forget test "),
            "{forget}"
        );
    }
}

#[test]
fn a_run_counts_after_the_clock_was_set_back_and_within_one_second() {
    let repo = TestRepo::new();
    repo.job(
        "test",
        "exit $(cat ../../code 2>/dev/null || cat /dev/null)",
    );
    let code = repo.root().join("code");
    repo.jobs_file("env = {}\n");
    let jobs = repo.path().join(".git-ci.toml");
    fs::write(
        &jobs,
        format!("[jobs.test]\nrun = 'exit $(cat {})'\n", code.display()),
    )
    .unwrap();
    repo.commit("one");
    for n in 0..4 {
        fs::write(&code, (n % 2).to_string()).unwrap();
        repo.ci(["run", "--force"]).expect_code(n % 2);
        repo.ci(["run"]).expect_code(n % 2);
    }
    // A minute ahead: somebody's clock is not quite right.
    let ahead = jiff::Timestamp::now() + jiff::Span::new().seconds(60);
    let ahead = ahead.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let newest = repo
        .note("HEAD")
        .lines()
        .map(str::to_owned)
        .max_by_key(|line| line.split_whitespace().nth(3).unwrap().to_owned());
    let newest = newest.unwrap();
    let date = newest.split_whitespace().nth(3).unwrap().to_owned();
    rewrite(&repo, "HEAD", |note| {
        note.replace(&newest, &newest.replace(&date, &ahead))
    });
    assert_eq!(
        planned(&repo, "HEAD"),
        ["test: reuse, failed on this commit"]
    );
    fs::write(&code, "0").unwrap();
    repo.ci(["run", "--force"]).expect_code(0);
    assert_eq!(
        planned(&repo, "HEAD"),
        ["test: reuse, passed on this commit"]
    );
}

#[test]
fn a_damaged_index_is_never_believed() {
    let repo = TestRepo::new();
    repo.job("test", "false");
    let id = repo.commit("one");
    repo.ci(["run"]).expect_code(1);
    planned(&repo, "HEAD");
    let index = repo.git_dir().join("ci/records");
    let whole = fs::read(&index).unwrap();
    let text = String::from_utf8(whole.clone()).unwrap();
    let status = text.find("FAIL").unwrap();
    let name = text.find(&id).unwrap();
    let tree = text.find(" tree=").unwrap() + 6;
    // The verdict, the commit, the tree, the date, the first line, the end.
    let bits = [
        status * 8 + 3,
        name * 8 + 1,
        tree * 8,
        (status + 20) * 8,
        60,
        whole.len() * 8 - 9,
    ];
    for bit in bits {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&index, &damaged).unwrap();
        assert_eq!(
            planned(&repo, "HEAD"),
            ["test: reuse, failed on this commit"],
            "bit {bit}"
        );
        assert_eq!(
            fs::read(&index).unwrap(),
            whole,
            "bit {bit}: it is made anew"
        );
    }
}

#[test]
fn configuration_that_changes_bytes_is_part_of_what_was_tested() {
    let repo = TestRepo::new();
    repo.tree_job("test", "! grep -q \"$(printf '\\r')\" n");
    repo.commit("one");
    repo.ci(["run"]).expect_code(0);
    assert!(
        !repo.note("HEAD").contains(" env="),
        "{}",
        repo.note("HEAD")
    );
    // The same commit is checked out with other line ends, and so is tested again.
    repo.git(["config", "core.autocrlf", "true"]);
    let plan = repo.ci(["run", "-n"]).expect_code(125).stdout();
    assert!(plan.contains("surroundings changed"), "{plan}");
    repo.ci(["run"]).expect_code(1);
    let note = repo.note("HEAD");
    assert_eq!(note.matches(" env=").count(), 1, "{note}");
    repo.ci(["run"]).expect_code(1);
    assert_eq!(repo.note("HEAD"), note, "known by now");
    repo.git(["config", "--unset", "core.autocrlf"]);
    repo.ci(["run", "-n"]).expect_code(0);
    // Attributes of the user's own count, and those that change nothing do not.
    repo.write("../home/.config/git/attributes", "*.md diff=markdown\n");
    repo.ci(["run", "-n"]).expect_code(0);
    repo.write("../home/.config/git/attributes", "n text eol=crlf\n");
    repo.ci(["run", "-n"]).expect_code(125);
    repo.ci(["run"]).expect_code(1);
}
