//! `git ci blame`: since when a job or a test fails, and which commit began it.

use crate::support::{TestRepo, wait_until};

/// Thirty commits: the test `a` fails from the tenth on, `b` from the twentieth; what each job
/// runs is noted.
fn broken() -> (TestRepo, Vec<String>) {
    let repo = TestRepo::new();
    let ran = repo.root().join("ran");
    repo.git(["config", "ci.slots", "2"]);
    let case = |name: &str| {
        format!(
            "printf '<testcase name=\"{name}\">' >>out.xml\n\
             grep -q {name} bad && printf '<failure message=\"no\"/>' >>out.xml\n\
             printf '</testcase>' >>out.xml\n"
        )
    };
    let script = format!(
        "echo >>{}\nprintf '<testsuite name=\"s\">' >out.xml\n{}{}echo '</testsuite>' >>out.xml\n! grep -q . bad\n",
        ran.display(),
        case("a"),
        case("b")
    );
    repo.write("test.sh", script).write(
        ".git-ci.toml",
        "[jobs.test]\nrun = 'sh test.sh'\njunit = 'out.xml'\n[jobs.fine]\nrun = 'true'\n",
    );
    let mut commits = Vec::new();
    for number in 0..30 {
        let bad = ["", "a\n", "a\nb\n"][number / 10];
        repo.write("bad", bad);
        commits.push(repo.commit(&format!("commit {number}")));
    }
    (repo, commits)
}

fn runs(repo: &TestRepo) -> usize {
    let text = std::fs::read_to_string(repo.root().join("ran")).unwrap_or_default();
    text.lines().count()
}

#[test]
fn it_is_said_from_records_and_found_out_where_it_is_wanted() {
    let (repo, commits) = broken();
    let nothing = repo.ci(["blame"]).expect_code(0);
    let said = nothing.stderr();
    assert!(
        said.contains("nothing fails, as far as there are"),
        "{said}"
    );
    repo.ci(["run", "HEAD"]).expect_code(1);
    let shown = repo.ci(["blame"]).expect_code(1).stdout();
    assert!(
        shown.starts_with("test  fails as far back as there are verdicts, to "),
        "{shown}"
    );
    repo.ci(["run", &commits[2]]).expect_code(0);
    let before = runs(&repo);
    let shown = repo.ci(["blame"]).expect_code(1).stdout();
    let range = format!(
        "one of 27 commits, {}..{}",
        &commits[2][..10],
        &commits[29][..10]
    );
    assert!(shown.contains(&range), "{shown}");
    assert!(shown.contains("git ci blame test --run"), "{shown}");
    assert_eq!(runs(&repo), before, "it runs nothing by itself");

    // Two at once: each time a third is left of what may have begun it.
    repo.ci(["blame", "test", "--run"]).expect_code(1);
    assert!(runs(&repo) - before <= 8, "{}", runs(&repo) - before);
    let shown = repo.ci(["blame", "test"]).expect_code(1).stdout();
    let line = format!("test  fails since {} commit 10\n", &commits[10][..10]);
    assert!(shown.starts_with(&line), "{shown}");
    assert!(shown.contains("; 20 commits by now\n"), "{shown}");
    let pass = format!(
        "  passed last on {} commit 9\n  changed: bad\n",
        &commits[9][..10]
    );
    assert!(shown.contains(&pass), "{shown}");

    // A test by itself began later than its job.
    let shown = repo
        .ci(["blame", "test", "b", "--run"])
        .expect_code(1)
        .stdout();
    let line = format!("  b  fails since {} commit 20\n", &commits[20][..10]);
    assert!(shown.contains(&line), "{shown}");
    let json = repo
        .ci(["blame", "test", "b", "--json"])
        .expect_code(1)
        .stdout();
    let last: serde_json::Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
    assert_eq!(last["suspects"], serde_json::json!([commits[20]]));
    assert_eq!(last["last_pass"], commits[19].as_str());

    // From before it began, nothing fails.
    repo.ci(["blame", "--rev", &commits[9]]).expect_code(0);
    repo.ci(["blame", "fine"]).expect_code(0);
}

#[test]
fn what_is_not_there_is_named() {
    let (repo, _) = broken();
    repo.ci(["run", "HEAD"]).expect_code(1);
    for (words, says) in [
        (&["nope"][..], "there are fine, test"),
        (&["test", "c"], "those that fail are a, b"),
        (&["fine", "c"], "none is known to fail"),
        (&["--run"], "JOB"),
        (&["--rev", "nothing"], "nothing"),
    ] {
        let mut args = vec!["blame"];
        args.extend(words);
        let ran = repo.ci(args);
        assert!(
            [128, 129].contains(&ran.code()),
            "{words:?}: {}",
            ran.code()
        );
        assert!(ran.stderr().contains(says), "{words:?}: {}", ran.stderr());
    }
}

#[test]
fn who_interrupts_the_search_ends_it() {
    let (repo, commits) = broken();
    let go = repo.root().join("go");
    repo.ci(["run", "HEAD", &commits[2]]).expect_code(1);
    let jobs = format!(
        "[jobs.test]\nrun = 'sh test.sh; code=$?; until test -e {}; do sleep 0.05; done; exit $code'\njunit = 'out.xml'\n",
        go.display()
    );
    repo.write(".git-ci.toml", jobs);
    let before = runs(&repo);
    let search = repo.spawn_ci(["blame", "test", "--run"]);
    wait_until("two to run", || runs(&repo) == before + 2);
    let pid = rustix::process::Pid::from_child(&search);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let done = search.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(130), "{done:?}");
    assert_eq!(runs(&repo), before + 2, "nothing more was begun");
}
