//! `git ci wait`: it blocks until there are verdicts, and runs nothing.

use std::process::Child;
use std::time::{Duration, Instant};

use crate::support::{Ran, TestRepo, wait_until};

fn waiting(repo: &TestRepo, args: &[&str]) -> Child {
    repo.spawn_ci(["wait"].iter().chain(args))
}

fn ended(child: Child) -> Ran {
    Ran(child.wait_with_output().unwrap())
}

#[test]
fn what_is_known_is_told_at_once_and_what_nobody_runs_is_no_verdict() {
    let repo = TestRepo::new();
    repo.job("test", "test $(cat n) != 2").job("more", "true");
    repo.commit("one");
    repo.ci(["run"]).expect_code(0);
    let out = repo.ci(["wait"]).expect_code(0);
    assert_eq!(out.stdout().lines().count(), 2, "{}", out.stdout());
    repo.commit("two");
    let begun = Instant::now();
    let out = repo.ci(["wait", "HEAD~1.."]).expect_code(125);
    assert!(begun.elapsed() >= Duration::from_secs(3));
    assert!(
        out.stderr().contains("nobody works on it"),
        "{}",
        out.stderr()
    );
    assert_eq!(repo.noted_commits(), 1);
    let out = repo.ci(["wait", "--timeout", "200ms"]).expect_code(125);
    assert!(
        out.stderr().contains("the time is over"),
        "{}",
        out.stderr()
    );
    repo.ci(["wait", "--timeout", "soon"]).expect_code(129);
    repo.ci(["wait", "--job", "tset"]).expect_code(129);
    repo.ci(["wait", "HEAD..HEAD"]).expect_code(0);
}

#[test]
fn the_first_failure_ends_it_with_what_has_changed_since_the_last_pass() {
    let repo = TestRepo::new();
    let go = repo.root().join("go");
    repo.job(
        "slow",
        &format!("until test -e {}; do sleep 0.05; done", go.display()),
    )
    .job("test", "echo looking; ! grep bad code");
    repo.write("code", "good").commit("good");
    repo.ci(["run", "--job", "test"]).expect_code(0);
    repo.write("docs", "").commit("between");
    repo.write("code", "bad \u{1b}[31m").commit("bad");
    let mut watch = repo.spawn_ci(["watch", "--since", "HEAD~1"]);
    let out = ended(waiting(&repo, &[])).expect_code(1);
    let shown = out.stdout();
    assert!(
        shown.contains("FAIL") && shown.contains("| looking"),
        "{shown}"
    );
    assert!(shown.contains("2 commits before: good"), "{shown}");
    for changed in ["code", "docs"] {
        assert!(
            shown.contains(&format!("changed since: {changed}\n")),
            "{shown}"
        );
    }
    assert!(!shown.contains('\u{1b}'), "{shown}");
    let json = ended(waiting(&repo, &["--json"])).expect_code(1).stdout();
    let last = json.lines().last().unwrap();
    assert!(last.contains(r#""event":"failure""#), "{json}");
    assert!(last.contains(r#""changed":["code","docs","n"]"#), "{json}");
    // The other goes on, and is waited for where that is asked for.
    let rest = waiting(&repo, &["--keep-going"]);
    std::fs::write(go, "").unwrap();
    let shown = ended(rest).expect_code(1).stdout();
    assert!(shown.contains("pass") && shown.contains("slow"), "{shown}");
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn a_run_that_is_under_way_is_waited_for() {
    let repo = TestRepo::new();
    let go = repo.root().join("go");
    repo.jobs_file(&format!(
        "[jobs.build]\nrun = 'until test -e {}; do sleep 0.05; done; exit 125'\n\
         [jobs.test]\nrun = 'true'\nneeds = ['build']\n",
        go.display()
    ));
    repo.commit("one");
    let run = repo.spawn_ci(["run"]);
    wait_until("the job", || {
        let status = repo.ci(["status", "--json"]).stdout();
        status.contains(r#""event":"running""#)
    });
    let wait = waiting(&repo, &[]);
    std::thread::sleep(Duration::from_secs(4));
    std::fs::write(go, "").unwrap();
    let out = ended(wait).expect_code(125);
    assert!(
        out.stderr().contains("1 skipped, 1 not run"),
        "{}",
        out.stderr()
    );
    assert_eq!(ended(run).code(), 125);
}
