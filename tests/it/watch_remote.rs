//! `git ci watch`: what goes on beside it. Remotes, commands for results, the display.

use std::fs;
use std::process::Stdio;

use crate::support::{TestRepo, wait_until};
use crate::watch::{Watcher, checkpoint, counting, ran, wait_for_checkpoint};

#[test]
fn a_remote_is_fetched_also_after_it_was_away() {
    let other = TestRepo::new();
    let zero = other.commit("zero");
    let repo = TestRepo::new();
    repo.tree_job("test", &counting(&repo, "true"));
    repo.git(["remote", "add", "origin", other.path().to_str().unwrap()]);
    // As a mirror has it: a fetch by these would delete the local branch.
    repo.git(["config", "remote.origin.fetch", "+refs/*:refs/*"]);
    repo.git(["commit", "-q", "--allow-empty", "-m", "mine"]);
    repo.git(["branch", "-m", "mine"]);
    let mine = repo.git(["rev-parse", "HEAD"]);
    let watcher = Watcher::start(&repo, &["--fetch", "origin", "--every", "100ms"]);
    let place = "refs/ci/checkpoint/remotes/origin";
    let at = |branch: &str| {
        repo.git([
            "for-each-ref",
            "--format=%(objectname)",
            &format!("{place}/{branch}"),
        ])
    };
    wait_until("the remote's first commit", || at("main") == zero);
    let away = other.root().join("away");
    fs::rename(other.path(), &away).unwrap();
    watcher.wait_for("failed to fetch origin: ");
    watcher.wait_for("trying again in 0.2 s");
    watcher.wait_for("trying again in 0.4 s");
    fs::rename(&away, other.path()).unwrap();
    watcher.wait_for("fetching origin works again");
    other.git(["tag", "v1"]);
    other.git(["checkout", "-q", "-b", "topic"]);
    let one = other.commit("one");
    wait_until("the remote's branch", || at("topic") == one);
    other.git(["checkout", "-q", "main"]);
    other.git(["branch", "-q", "-D", "topic"]);
    wait_until("the pruning", || {
        repo.git(["for-each-ref", "refs/remotes/origin/topic"])
            .is_empty()
    });
    assert_eq!(watcher.interrupt(), 130);
    let mut expected = [zero, one, mine.clone()];
    let mut ran = ran(&repo);
    expected.sort();
    ran.sort();
    assert_eq!(ran, expected);
    // Nothing of the user's has changed.
    assert_eq!(repo.git(["rev-parse", "mine"]), mine);
    assert_eq!(repo.git(["tag"]), "");
    assert!(!repo.git_dir().join("FETCH_HEAD").exists());
    assert_eq!(checkpoint(&repo, "mine"), mine);
    let none = repo.ci(["watch", "--fetch", "nowhere"]).expect_code(129);
    assert!(
        none.stderr().contains("no remote named"),
        "{}",
        none.stderr()
    );
}

#[test]
fn each_result_is_handed_to_a_command_whose_failure_is_a_warning() {
    let repo = TestRepo::new();
    repo.job("test", "test $(cat n) = 1");
    repo.job("lint", "true");
    let one = repo.commit("one");
    let out = repo.root().join("results");
    let command = format!(
        "cat >> {0}; echo $GIT_CI_STATUS $GIT_CI_SUBJECT $GIT_CI_REFS >> {0}; echo why >&2; test $GIT_CI_STATUS = pass",
        out.display()
    );
    let watcher = Watcher::start(&repo, &["--on-result", &command, "--bell"]);
    wait_for_checkpoint(&repo, "main", &one);
    let two = repo.commit("two");
    watcher.wait_for(&format!("failed to pass on the result of {}", &two[..10]));
    watcher.wait_for("exit status: 1 why");
    let results = fs::read_to_string(&out).unwrap();
    let lines: Vec<_> = results.lines().collect();
    assert_eq!(lines.len(), 4, "{results}");
    assert!(
        lines[0].contains(&format!("\"commit\":\"{one}\"")),
        "{results}"
    );
    assert!(
        lines[0].contains("\"job\":\"lint\",\"status\":\"pass\""),
        "{results}"
    );
    assert_eq!(lines[1], "pass one refs/heads/main");
    assert_eq!(lines[3], "FAIL two refs/heads/main");
    assert_eq!(watcher.said().matches('\x07').count(), 1);
    assert_eq!(watcher.interrupt(), 130);
}

#[test]
fn json_tells_everything() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    let one = repo.commit("one");
    let ran = repo.ci(["watch", "--until-idle", "--json"]).expect_code(0);
    let events: Vec<serde_json::Value> = ran
        .stdout()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: Vec<_> = events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(names.first(), Some(&"run-started"));
    assert_eq!(names.last(), Some(&"run-finished"));
    let watching = events
        .iter()
        .find(|event| event["event"] == "watching")
        .unwrap();
    assert_eq!(watching["commits"][0]["commit"], one.as_str());
    assert_eq!(watching["commits"][0]["refs"][0], "main");
    assert!(names.contains(&"task-finished"), "{names:?}");
}

#[test]
fn a_terminal_shows_a_matrix_and_keeps_a_summary() {
    let repo = TestRepo::new();
    let go = repo.root().join("go");
    repo.job(
        "test",
        &format!("while ! test -e {}; do sleep 0.02; done", go.display()),
    );
    repo.commit("one");
    let log = repo.root().join("typescript");
    let command = repo.ci_command(["watch"]);
    let program = format!(
        "stty rows 12 cols 60; {} watch",
        command.get_program().to_str().unwrap()
    );
    let child = repo
        .command("script", repo.path())
        .args(["-q", "-e", "-f", "-c", &program])
        .arg(&log)
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        // util-linux is not everywhere.
        return;
    };
    let said = || String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
    wait_until("the running task", || {
        said().contains("1 running, 0 queued")
    });
    assert!(said().contains("(main) one"), "{}", said());
    fs::write(&go, "").unwrap();
    wait_until("the end of it", || said().contains("waiting for commits"));
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"\x03").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let text = said();
    let end = text.rsplit("interrupted").next().unwrap();
    assert!(end.contains("pass") && end.contains("1 passed"), "{end:?}");
}

#[test]
fn a_command_for_results_that_fails_after_the_run_is_told_of() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    repo.commit("one");
    // Slower than the end of a run that has nothing left to do.
    let command = "sleep 0.5; echo because >&2; exit 3";
    let done = repo
        .ci(["watch", "--until-idle", "--on-result", command])
        .expect_code(0);
    let said = done.stderr();
    assert!(said.contains("failed to pass on the result"), "{said}");
    assert!(said.contains("exit status: 3 because"), "{said}");
}
