//! Checkouts that take for ever: the filters that make files of blobs are programs of the
//! user's, and may hang, wait, or ignore what they are told.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use crate::pty::{Terminal, code, expect_nothing_left};
use crate::support::{Ran, TestRepo, processes_with, wait_until};

const CTRL_C: &str = "\x03";

/// Filters that do not end. Each says when it runs.
const HANGING: [&str; 3] = [
    "touch READY; sleep 300",
    "trap '' TERM INT HUP; touch READY; while :; do sleep 0.05; done",
    "touch READY; setsid sleep 300",
];

/// A repository with a file that such a filter makes, and a job with these settings.
fn filtered(filter: &str, settings: &str) -> TestRepo {
    let repo = TestRepo::new();
    repo.jobs_file(&format!("[jobs.test]\nrun = \"cat file\"\n{settings}"));
    repo.write(".gitattributes", "file filter=slow\n");
    repo.write("file", "content\n");
    repo.commit("one");
    let ready = ready(&repo).display().to_string();
    let filter = filter.replace("READY", &ready);
    repo.git(["config", "filter.slow.smudge", &filter]);
    repo
}

fn ready(repo: &TestRepo) -> std::path::PathBuf {
    repo.root().join("ready")
}

fn wait_for_filter(repo: &TestRepo) {
    let ready = ready(repo);
    wait_until("the filter to run", || ready.exists());
}

fn root(repo: &TestRepo) -> String {
    repo.root().display().to_string()
}

/// Without the filter the same command gets a verdict.
#[track_caller]
fn expect_it_goes_on(repo: &TestRepo) {
    expect_nothing_left(&root(repo));
    repo.git(["config", "filter.slow.smudge", "cat"]);
    repo.ci(["run"]).expect_code(0);
    let verdicts = repo.verdicts("HEAD");
    assert!(
        verdicts.iter().all(|one| one == "pass test"),
        "{verdicts:?}"
    );
}

#[test]
fn the_timeout_ends_it_and_is_no_verdict() {
    for filter in HANGING {
        let repo = filtered(filter, "timeout = \"1s\"\ngrace = \"500ms\"\n");
        let ran = repo.ci(["run"]).expect_code(125);
        assert!(ran.stderr().contains("timeout of 1s"), "{}", ran.stderr());
        assert!(repo.note("HEAD").contains("why=worktree"));
        repo.git(["update-ref", "-d", "refs/notes/ci"]);
        expect_it_goes_on(&repo);
    }
}

#[test]
fn a_filter_that_stays_and_says_nothing_ends_too() {
    let repo = filtered("cat", "timeout = \"1s\"\n");
    repo.git(["config", "filter.slow.process", "cat >/dev/null; sleep 300"]);
    repo.ci(["run"]).expect_code(125);
    repo.git(["config", "--unset", "filter.slow.process"]);
    repo.git(["update-ref", "-d", "refs/notes/ci"]);
    expect_it_goes_on(&repo);
}

#[test]
fn ctrl_c_ends_it() {
    for filter in HANGING {
        let repo = filtered(filter, "grace = \"10m\"\n");
        let mut terminal = Terminal::git_ci(&repo, &["run"]);
        wait_for_filter(&repo);
        terminal.press(CTRL_C);
        if filter.starts_with("trap") {
            terminal.wait_for("once more kills");
            // As quick as a person is.
            std::thread::sleep(std::time::Duration::from_millis(300));
            terminal.press(CTRL_C);
        }
        let (status, shown) = terminal.wait();
        assert_eq!(code(status), Some(130), "{shown}");
        assert_eq!(repo.noted_commits(), 0, "{shown}");
        expect_it_goes_on(&repo);
    }
}

#[test]
fn nothing_of_it_outlives_who_wanted_it() {
    for filter in HANGING {
        for agent in [false, true] {
            let repo = filtered(filter, "");
            let run = repo.spawn_ci(["run"]);
            wait_for_filter(&repo);
            let mut killed = Pid::from_child(&run);
            if agent {
                let mut agents = processes_with(&root(&repo)).into_iter().filter(|pid| {
                    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                    line.ends_with(b"\0agent\0")
                });
                killed = Pid::from_raw(agents.next_back().unwrap() as i32).unwrap();
                // What is tried once more does not hang.
                repo.git(["config", "filter.slow.smudge", "cat"]);
            }
            kill_process(killed, Signal::KILL).unwrap();
            let ran = Ran(run.wait_with_output().unwrap());
            if agent {
                ran.expect_code(0);
            }
            let left = || processes_with(&root(&repo));
            wait_until("all of it to end", || left().is_empty());
            expect_it_goes_on(&repo);
        }
    }
}

#[test]
fn it_can_be_stopped_and_goes_on() {
    let repo = TestRepo::new();
    let (ticks, go) = (repo.root().join("ticks"), repo.root().join("go"));
    let filter = format!(
        "until test -e {}; do echo x >>{}; sleep 0.01; done; cat",
        go.display(),
        ticks.display()
    );
    // Less than what is spent standing still does not count.
    repo.jobs_file("[jobs.test]\nrun = \"grep content file\"\ntimeout = \"3s\"\n");
    repo.write(".gitattributes", "file filter=slow\n");
    repo.write("file", "content\n");
    repo.commit("one");
    repo.git(["config", "filter.slow.smudge", &filter]);
    let count = || fs::read_to_string(&ticks).unwrap_or_default().len();
    let mut terminal = Terminal::start_with(&repo, &["bash", "--norc", "-i"], &[("PS1", "$ ")]);
    terminal.press("git ci run\n");
    wait_until("the filter to run", || count() > 0);
    terminal.press("\x1a");
    terminal.wait_for("Stopped");
    let mut last = (count(), std::time::Instant::now());
    wait_until("the filter to stand still for longer than its time", || {
        if count() != last.0 {
            last = (count(), std::time::Instant::now());
        }
        last.1.elapsed().as_secs() > 3
    });
    terminal.press("fg\n");
    wait_until("the filter to go on", || count() > last.0);
    fs::write(&go, "").unwrap();
    terminal.wait_for("1 passed");
    terminal.press("exit\n");
    terminal.wait();
    assert_eq!(repo.verdicts("HEAD"), ["pass test"]);
}

#[test]
fn a_git_that_is_killed_is_not_waited_for_because_its_filter_lives_on() {
    let repo = filtered("kill -9 $PPID; touch READY; sleep 300", "");
    let ran = repo.ci(["run"]).expect_code(125);
    assert!(ran.stderr().contains("signal: 9"), "{}", ran.stderr());
    repo.git(["update-ref", "-d", "refs/notes/ci"]);
    expect_it_goes_on(&repo);
}
