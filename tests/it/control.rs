//! Asking a run or a watch from another terminal: `git ci status`, `git ci cancel`.

use std::fs;

use serde_json::Value;

use crate::support::{TestRepo, wait_until};
use crate::watch::{Watcher, checkpoint, sockets};

/// A job that runs until the file `go` is there.
fn blocking(repo: &TestRepo) -> String {
    let go = repo.root().join("go");
    format!("until test -e {}; do sleep 0.02; done", go.display())
}

fn status(repo: &TestRepo) -> String {
    repo.ci(["status"]).expect_code(0).stdout()
}

#[test]
fn a_plain_run_is_seen_and_its_tasks_are_cancelled() {
    let repo = TestRepo::new();
    repo.job("slow", &blocking(&repo));
    let root = repo.commit("zero");
    let commits: Vec<_> = ["one", "two", "three"]
        .iter()
        .map(|subject| repo.commit(subject))
        .collect();
    let mut run = repo.spawn_ci(["run", "-j1", &format!("{root}..HEAD")]);
    let pid = run.id();
    wait_until("a running task", || {
        status(&repo).contains(": 1 running, 2 queued\n")
    });
    let shown = status(&repo);
    assert!(
        shown.contains(&format!("Run by process {pid} on ")),
        "{shown}"
    );
    assert_eq!(shown.matches("· queued").count(), 2, "{shown}");
    let lines = repo.ci(["status", "--json"]).expect_code(0).stdout();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "run");
    assert_eq!(last["pid"], pid);
    assert_eq!(last["revs"], serde_json::json!([format!("{root}..HEAD")]));
    assert_eq!((&last["running"], &last["queued"]), (&1.into(), &2.into()));

    let one = repo.ci(["cancel", &commits[1]]).expect_code(0);
    assert_eq!(one.stderr(), "1 task cancelled, 0 of them running\n");
    let none = repo.ci(["cancel", &commits[1]]).expect_code(0);
    assert_eq!(none.stderr(), "nothing of that is running or queued\n");
    let rest = repo.ci(["cancel"]).expect_code(0);
    assert_eq!(rest.stderr(), "2 tasks cancelled, 1 of them running\n");
    assert_eq!(run.wait().unwrap().code(), Some(125));
    assert_eq!(repo.noted_commits(), 0);
    assert!(sockets(&repo).is_empty());
    assert_eq!(repo.ci(["cancel"]).expect_code(128).stdout(), "");
}

#[test]
fn what_is_not_cancelled_has_its_verdict_and_what_is_has_none() {
    let repo = TestRepo::new();
    repo.job("slow", &blocking(&repo));
    let [one, two] = [repo.commit("one"), repo.commit("two")];
    let run = repo.spawn_ci(["run", "-j1", &one, &two]);
    wait_until("a running task", || {
        status(&repo).contains(": 1 running, 1 queued")
    });
    repo.ci(["cancel", &two]).expect_code(0);
    fs::write(repo.root().join("go"), "").unwrap();
    let ended = run.wait_with_output().unwrap();
    let shown = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(125), "{shown}");
    assert_eq!(repo.verdicts(&one), ["pass slow"]);
    assert_eq!(repo.verdicts(&two), [""; 0]);
    assert!(shown.contains("1 passed, 1 cancelled"), "{shown}");
}

#[test]
fn a_run_beside_a_watcher_is_told_apart_from_it() {
    let repo = TestRepo::new();
    repo.job("slow", &blocking(&repo));
    let one = repo.commit("one");
    let watcher = Watcher::start(&repo, &["-j1"]);
    wait_until("the watcher's task", || {
        status(&repo).contains("Watched by")
    });
    // The same task: it waits for the watcher's verdict.
    let mut run = repo.spawn_ci(["run", "-j1", &one]);
    wait_until("both", || {
        let shown = status(&repo);
        shown.contains(": 1 running, 0 queued") && shown.contains(": 0 running, 1 queued")
    });
    let both = repo.ci(["cancel"]).expect_code(0);
    assert_eq!(both.stderr(), "2 tasks cancelled, 1 of them running\n");
    assert_eq!(run.wait().unwrap().code(), Some(125));
    assert_eq!(watcher.interrupt(), 130);
    assert_eq!(repo.noted_commits(), 0);
}

#[test]
fn a_run_that_was_killed_is_not_there_any_more() {
    let repo = TestRepo::new();
    repo.job("slow", &blocking(&repo));
    repo.commit("one");
    let mut run = repo.spawn_ci(["run"]);
    wait_until("a running task", || status(&repo).contains(": 1 running"));
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(!status(&repo).contains("Run by"));
    assert_eq!(sockets(&repo).len(), 1);
    fs::write(repo.root().join("go"), "").unwrap();
    repo.ci(["run"]).expect_code(0);
    assert!(sockets(&repo).is_empty(), "{:?}", sockets(&repo));
}

#[test]
fn what_is_far_back_in_the_queue_of_a_watcher_is_counted_and_cancelled() {
    const COMMITS: usize = 520;
    let repo = TestRepo::new();
    repo.job("slow", &blocking(&repo));
    let zero = repo.commit("zero");
    let mut stream = String::new();
    for n in 1..=COMMITS {
        stream += "commit refs/heads/main\ncommitter A U Thor <a@example.com> ";
        stream += &format!("{} +0000\ndata 2\nc\n", 1_700_000_000 + n);
        if n == 1 {
            stream += &format!("from {zero}\n");
        }
        stream += &format!("M 100644 inline n\ndata {}\n{n}\n", n.to_string().len() + 1);
    }
    let file = repo.root().join("stream");
    fs::write(&file, stream).unwrap();
    let import = format!("git fast-import --quiet --force < {}", file.display());
    repo.command("sh", repo.path())
        .args(["-c", &import])
        .status()
        .unwrap();
    repo.git(["reset", "-q", "--hard"]);
    let args = ["-j1", "--until-idle", "--since", &zero];
    let watcher = Watcher::start(&repo, &args);
    let text = format!(": 1 running, {} queued", COMMITS - 1);
    wait_until("all of them", || status(&repo).contains(&text));
    let all = repo.ci(["cancel"]).expect_code(0);
    assert_eq!(
        all.stderr(),
        format!("{COMMITS} tasks cancelled, 1 of them running\n")
    );
    assert_eq!(watcher.wait(), 0);
    assert_eq!(checkpoint(&repo, "main"), repo.git(["rev-parse", "main"]));
    assert_eq!(repo.noted_commits(), 0);
}

#[test]
fn a_result_has_all_jobs_also_where_one_was_tried_again() {
    let repo = TestRepo::new();
    let (tried, result) = (repo.root().join("tried"), repo.root().join("result"));
    repo.job("quick", "true");
    repo.job(
        "again",
        &format!("test -e {0} || {{ touch {0}; exit 127; }}", tried.display()),
    );
    repo.commit("one");
    let on_result = format!("cat > {}", result.display());
    let args = ["--until-idle", "--on-result", &on_result];
    assert_eq!(Watcher::start(&repo, &args).wait(), 0);
    let result: Value = serde_json::from_slice(&fs::read(result).unwrap()).unwrap();
    let tasks = result["tasks"].as_array().unwrap();
    let mut tasks: Vec<_> = tasks
        .iter()
        .map(|task| format!("{} {}", task["job"], task["status"]))
        .collect();
    tasks.sort();
    assert_eq!(tasks, [r#""again" "pass""#, r#""quick" "pass""#]);
}
