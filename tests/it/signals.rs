//! Signals as they come at a terminal and from scripts, through `git ci`: `git` is the
//! parent and passes on each that it gets.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::pty::{Terminal, code, expect_nothing_left, path_with_git_ci};
use crate::support::{TestRepo, wait_until};

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";
const CTRL_BACKSLASH: &str = "\x1c";

/// A repository with a job that says when it runs, and that it took its time to clean up.
fn cleaning() -> TestRepo {
    let repo = TestRepo::new();
    repo.job(
        "test",
        "trap 'sleep 0.7; touch $HOME/cleaned; exit 0' TERM; touch $HOME/ready; \
         while :; do sleep 0.01; done",
    );
    repo.commit("one");
    repo
}

fn wait_for_job(repo: &TestRepo) {
    let ready = repo.root().join("home/ready");
    wait_until("the job to run", || ready.exists());
}

/// The job was ended gently, has no verdict, and nothing is left.
#[track_caller]
fn expect_gentle(repo: &TestRepo, shown: &str) {
    assert!(repo.root().join("home/cleaned").exists(), "{shown}");
    assert!(!shown.contains("killing"), "{shown}");
    assert_eq!(repo.noted_commits(), 0);
    expect_nothing_left(&repo.root().display().to_string());
}

/// The process below `parent` that has this name.
fn child(parent: u32, name: &str) -> Option<Pid> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let mut pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let found = pids.find(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let (before, after) = stat.rsplit_once(')').unwrap_or_default();
        before.ends_with(&format!("({name}"))
            && after.split_whitespace().nth(1) == Some(&parent.to_string())
    });
    found.and_then(Pid::from_raw)
}

#[test]
fn one_ctrl_c_is_one_and_gentle() {
    let repo = cleaning();
    let mut terminal = Terminal::git_ci(&repo, &["run"]);
    wait_for_job(&repo);
    terminal.press(CTRL_C);
    let (status, shown) = terminal.wait();
    assert_eq!(code(status), Some(130), "{shown}");
    assert!(shown.contains("interrupted"), "{shown}");
    expect_gentle(&repo, &shown);
}

#[test]
fn a_second_ctrl_c_kills() {
    let repo = TestRepo::new();
    repo.jobs_file(
        "[jobs.deaf]\nrun = \"trap '' TERM INT; setsid sleep 300 & touch $HOME/ready; while :; do sleep 0.01; done\"\n\
         grace = \"10m\"\n",
    );
    repo.commit("one");
    let mut terminal = Terminal::git_ci(&repo, &["run"]);
    wait_for_job(&repo);
    terminal.press(CTRL_C);
    terminal.wait_for("once more kills");
    // As quick as a person is.
    std::thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    terminal.press(CTRL_C);
    let (status, shown) = terminal.wait();
    assert_eq!(code(status), Some(130), "{shown}");
    assert!(shown.contains("killing"), "{shown}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{shown}");
    assert_eq!(repo.noted_commits(), 0);
    expect_nothing_left(&repo.root().display().to_string());
}

#[test]
fn an_interactive_shell_in_a_job_does_not_make_the_run_deaf() {
    for shell in ["zsh -fic", "bash --norc -ic"] {
        let repo = TestRepo::new();
        repo.job("test", &format!("{shell} 'touch $HOME/ready; sleep 300'"));
        repo.jobs_file("grace = \"2s\"\n");
        repo.commit("one");
        repo.commit("two");
        let mut terminal = Terminal::git_ci(&repo, &["run", "-j1", "HEAD~1", "HEAD"]);
        wait_for_job(&repo);
        terminal.press(CTRL_C);
        let (status, shown) = terminal.wait();
        assert_eq!(code(status), Some(130), "{shown}");
        assert_eq!(repo.noted_commits(), 0, "{shown}");
        expect_nothing_left(&repo.root().display().to_string());
    }
}

#[test]
fn a_signal_to_git_or_to_git_ci_or_to_both_is_one() {
    // To git, to git-ci, to the group of both.
    for target in 0..3 {
        let repo = cleaning();
        let terminal = Terminal::git_ci(&repo, &["run"]);
        wait_for_job(&repo);
        let git = Pid::from_raw(terminal.pid() as i32).unwrap();
        match target {
            0 => kill_process(git, Signal::TERM).unwrap(),
            1 => kill_process(child(terminal.pid(), "git-ci").unwrap(), Signal::TERM).unwrap(),
            _ => kill_process_group(git, Signal::TERM).unwrap(),
        }
        let (status, shown) = terminal.wait();
        assert_eq!(code(status), Some(143), "{target}: {shown}");
        expect_gentle(&repo, &shown);
    }
}

#[test]
fn what_timeout_sends_twice_is_one() {
    for words in [
        &["timeout", "60", "git", "ci", "run"][..],
        &["timeout", "60", "git-ci", "run"],
    ] {
        let repo = cleaning();
        let terminal = Terminal::start(&repo, words);
        wait_for_job(&repo);
        // As when its time is over, which would have to be longer than the job needs to start.
        let timeout = Pid::from_raw(terminal.pid() as i32).unwrap();
        kill_process(timeout, Signal::TERM).unwrap();
        let (_, shown) = terminal.wait();
        wait_until("the job to have cleaned up", || {
            repo.root().join("home/cleaned").exists()
        });
        expect_nothing_left(&repo.root().display().to_string());
        expect_gentle(&repo, &shown);
    }
}

#[test]
fn a_closed_terminal_ends_the_run_gently() {
    let repo = cleaning();
    let terminal = Terminal::git_ci(&repo, &["run"]);
    wait_for_job(&repo);
    assert_eq!(code(terminal.hang_up()), Some(129));
    wait_until("the job to have cleaned up", || {
        repo.root().join("home/cleaned").exists()
    });
    expect_gentle(&repo, "");
}

#[test]
fn ctrl_backslash_kills_at_once() {
    let repo = cleaning();
    let mut terminal = Terminal::git_ci(&repo, &["run"]);
    wait_for_job(&repo);
    terminal.press(CTRL_BACKSLASH);
    let (status, shown) = terminal.wait();
    assert_eq!(code(status), Some(131), "{shown}");
    assert!(!repo.root().join("home/cleaned").exists());
    assert_eq!(repo.noted_commits(), 0);
    expect_nothing_left(&repo.root().display().to_string());
}

/// A repository with a job that counts, until there is a file.
fn counting() -> (TestRepo, PathBuf, PathBuf) {
    let repo = TestRepo::new();
    let (ticks, go) = (repo.root().join("ticks"), repo.root().join("go"));
    repo.job(
        "test",
        &format!(
            "until test -e {}; do echo x >>{}; sleep 0.01; done",
            go.display(),
            ticks.display()
        ),
    );
    repo.commit("one");
    (repo, ticks, go)
}

#[test]
fn a_shell_stops_a_run_and_lets_it_go_on() {
    let (repo, ticks, go) = counting();
    let count = || fs::read_to_string(&ticks).unwrap_or_default().len();
    let mut terminal = Terminal::start_with(&repo, &["bash", "--norc", "-i"], &[("PS1", "$ ")]);
    terminal.press("git ci run\n");
    wait_until("the job to run", || count() > 0);
    terminal.press(CTRL_Z);
    terminal.wait_for("Stopped");
    let mut last = (count(), Instant::now());
    wait_until("the job to stand still", || {
        if count() != last.0 {
            last = (count(), Instant::now());
        }
        last.1.elapsed() > Duration::from_millis(500)
    });
    terminal.press("fg\n");
    wait_until("the job to go on", || count() > last.0);
    fs::write(go, "").unwrap();
    terminal.wait_for("1 passed");
    terminal.press("exit\n");
    let (status, shown) = terminal.wait();
    assert_eq!(code(status), Some(0), "{shown}");
    assert_eq!(repo.verdicts("HEAD"), ["pass test"]);
    expect_nothing_left(&repo.root().display().to_string());
}

#[test]
fn without_a_shell_ctrl_z_does_not_stop_a_run_for_ever() {
    let (repo, ticks, go) = counting();
    let count = || fs::read_to_string(&ticks).unwrap_or_default().len();
    let mut terminal = Terminal::git_ci(&repo, &["run"]);
    wait_until("the job to run", || count() > 0);
    terminal.press(CTRL_Z);
    terminal.wait_for("^Z");
    fs::write(go, "").unwrap();
    let (status, shown) = terminal.wait();
    assert_eq!(code(status), Some(0), "{shown}");
    expect_nothing_left(&repo.root().display().to_string());
}

#[test]
fn after_a_run_a_signal_ends_what_is_still_told_of_it() {
    let repo = TestRepo::new();
    repo.job("test", "true").commit("one");
    let command = "trap '' HUP INT TERM; touch $HOME/ready; while :; do sleep 0.01; done";
    let args = ["watch", "--until-idle", "--on-result", command];
    let mut terminal = Terminal::git_ci(&repo, &args);
    wait_for_job(&repo);
    terminal.wait_for("1 passed");
    terminal.press(CTRL_C);
    let (status, shown) = terminal.wait();
    assert_eq!(code(status), Some(130), "{shown}");
    expect_nothing_left(&repo.root().display().to_string());
}

#[test]
fn a_run_in_the_background_of_a_script_is_not_interrupted() {
    let (repo, ticks, go) = counting();
    // A shell without job control has its children ignore SIGINT behind `&`.
    let mut script = repo
        .command("sh", repo.path())
        .args(["-c", "git ci run & wait $!"])
        .env("PATH", path_with_git_ci())
        .spawn()
        .unwrap();
    let count = || fs::read_to_string(&ticks).unwrap_or_default().len();
    wait_until("the job to run", || count() > 0);
    // What git does with a signal that it was to ignore is its own.
    let git = child(script.id(), "git").unwrap();
    let git_ci = child(git.as_raw_nonzero().get() as u32, "git-ci").unwrap();
    kill_process(git_ci, Signal::INT).unwrap();
    let before = count();
    wait_until("the job to go on", || count() > before + 20);
    fs::write(go, "").unwrap();
    assert!(script.wait().unwrap().success());
    assert_eq!(repo.verdicts("HEAD"), ["pass test"]);
}
