//! Who holds what: nobody is kept from a slot or a task by somebody who does nothing with
//! it, and whoever waits says for whom.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, kill_process};

use crate::beds::{have, skip};
use crate::support::{TestRepo, alive, processes_with, wait_until};

/// A process of git-ci, whose output is kept in files, so that it can be read meanwhile.
struct Run {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Run {
    fn start(repo: &TestRepo, name: &str, args: &[&str]) -> Self {
        Self::of(repo, name, repo.ci_command(args))
    }

    fn of(repo: &TestRepo, name: &str, mut command: Command) -> Self {
        let file = |end: &str| repo.root().join(format!("{name}.{end}"));
        let (stdout, stderr) = (file("out"), file("err"));
        // A group of its own: one without a parent in its session cannot be stopped, and what
        // group the tests are in is up to whoever started them.
        let child = command
            .process_group(0)
            .stdout(fs::File::create(&stdout).unwrap())
            .stderr(fs::File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        Self {
            child,
            stdout,
            stderr,
        }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    #[track_caller]
    fn wait_to_say(&self, what: &str) {
        wait_until(what, || self.said().contains(what));
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its exit code, once it has ended.
    #[track_caller]
    fn code(&mut self) -> i32 {
        let mut status = None;
        wait_until("a run to end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code().unwrap_or(-1)
    }

    #[track_caller]
    fn expect_code(&mut self, code: i32) -> String {
        let is = self.code();
        let out = fs::read_to_string(&self.stdout).unwrap();
        assert_eq!(is, code, "{out}\n{}", self.said());
        out + &self.said()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Only a test that fails leaves one behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that says that it is there and goes on when it may.
struct Gate(PathBuf);

impl Gate {
    fn new(repo: &TestRepo, name: &str) -> Self {
        Self(repo.root().join(name))
    }

    fn command(&self) -> String {
        let gate = self.0.display();
        format!("touch {gate}.up; until test -e {gate}; do sleep 0.02; done")
    }

    #[track_caller]
    fn wait(&self) {
        wait_until("a job to begin", || self.0.with_extension("up").exists());
    }

    fn open(&self) {
        fs::write(&self.0, "").unwrap();
    }
}

fn state(pid: u32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = stat.rsplit_once(") ").map_or("X", |(_, after)| after);
    after.chars().next().unwrap()
}

/// The agents of this test whose dispatcher is `of`.
fn agents(of: &Run) -> Vec<u32> {
    let children = format!("/proc/{0}/task", of.child.id());
    let mut found = Vec::new();
    for thread in fs::read_dir(children).unwrap().flatten() {
        let list = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        found.extend(
            list.split_whitespace()
                .map(|pid| pid.parse::<u32>().unwrap()),
        );
    }
    found.retain(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.windows(5).any(|part| part == b"agent")
    });
    found
}

fn stop(pid: u32) {
    send(pid, Signal::STOP);
    wait_until("a process to stop", || state(pid) == 'T');
}

fn send(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

/// A repository with one slot and two commits.
fn one_slot() -> TestRepo {
    let repo = TestRepo::new();
    repo.git(["config", "ci.slots", "1"]);
    repo.job("test", "true");
    repo.commit("one");
    repo.commit("two");
    repo
}

#[test]
fn a_waiting_task_that_was_cancelled_holds_nothing() {
    let repo = one_slot();
    let gate = Gate::new(&repo, "gate");
    let mut first = Run::start(&repo, "first", &["run", "-x", &gate.command()]);
    gate.wait();
    let mut watcher = Run::start(&repo, "watcher", &["watch"]);
    watcher.wait_to_say("waiting for a slot");
    repo.ci(["cancel", "HEAD", "test"]).expect_code(0);
    // The agent stays and waits for the next task.
    let mut next = Run::start(&repo, "next", &["run", "HEAD~1"]);
    next.wait_to_say("waiting for a slot");
    gate.open();
    next.expect_code(0);
    first.expect_code(0);
    watcher.signal(Signal::TERM);
    watcher.code();
}

#[test]
fn a_waiting_run_that_is_stopped_blocks_nobody() {
    let repo = one_slot();
    let gate = Gate::new(&repo, "gate");
    let mut first = Run::start(&repo, "first", &["run", "-x", &gate.command()]);
    gate.wait();
    let mut second = Run::start(&repo, "second", &["run", "HEAD", "HEAD~1"]);
    second.wait_to_say("waiting for a slot");
    second.signal(Signal::TSTP);
    wait_until("the run to stop", || state(second.child.id()) == 'T');
    gate.open();
    first.expect_code(0);
    // The same tasks, so neither the slot nor the claims are kept.
    Run::start(&repo, "third", &["run", "HEAD", "HEAD~1"]).expect_code(0);
    second.signal(Signal::CONT);
    let said = second.expect_code(0);
    assert!(said.contains("2 cached"), "{said}");
    assert_eq!(repo.verdicts("HEAD"), ["pass test"]);
}

#[test]
fn a_waiting_run_whose_processes_are_all_frozen_blocks_nobody() {
    let repo = one_slot();
    let gate = Gate::new(&repo, "gate");
    let mut first = Run::start(&repo, "first", &["run", "-x", &gate.command()]);
    gate.wait();
    let mut second = Run::start(&repo, "second", &["run", "HEAD~1"]);
    second.wait_to_say("waiting for a slot");
    let agents = agents(&second);
    assert_eq!(agents.len(), 1);
    stop(second.child.id());
    stop(agents[0]);
    gate.open();
    first.expect_code(0);
    Run::start(&repo, "third", &["run"]).expect_code(0);
    // A claim cannot be taken from a process, so whoever wants the same says so.
    let mut fourth = Run::start(&repo, "fourth", &["run", "HEAD~1"]);
    fourth.wait_to_say("is stopped");
    let pid = second.child.id();
    fourth.wait_to_say(&format!("`git ci run` (process {pid})"));
    send(agents[0], Signal::CONT);
    second.signal(Signal::CONT);
    second.expect_code(0);
    fourth.expect_code(0);
}

#[test]
fn a_stopped_run_that_has_the_only_slot_does_not_keep_others_from_working() {
    let repo = one_slot();
    let gate = Gate::new(&repo, "gate");
    let command = gate.command();
    let mut first = Run::start(&repo, "first", &["run", "-x", &command, "--as", "slow"]);
    gate.wait();
    first.signal(Signal::TSTP);
    wait_until("the run to stop", || state(first.child.id()) == 'T');
    Run::start(&repo, "second", &["run", "HEAD", "HEAD~1"]).expect_code(0);
    gate.open();
    first.signal(Signal::CONT);
    first.expect_code(0);
    assert_eq!(repo.verdicts("HEAD"), ["pass slow", "pass test"]);
}

#[test]
fn slots_that_cannot_be_used_are_passed_over_and_said_once() {
    let repo = TestRepo::new();
    repo.git(["config", "ci.slots", "2"]);
    repo.job("test", "true");
    (0..5).for_each(|i| drop(repo.commit(&format!("commit {i}"))));
    let lock = repo.git_dir().join("ci/slots/slot-2.lock");
    fs::create_dir_all(&lock).unwrap();
    let said = Run::start(&repo, "directory", &["run", "--all"]).expect_code(0);
    let about = format!("{} is a directory", lock.display());
    assert_eq!(said.matches(&about).count(), 1, "{said}");

    for kind in ["link", "fifo"] {
        let lock = repo.git_dir().join("ci/slots/slot-1.lock");
        fs::remove_file(&lock).unwrap();
        match kind {
            "link" => symlink("/nowhere", &lock).unwrap(),
            _ => assert!(
                Command::new("mkfifo")
                    .arg(&lock)
                    .status()
                    .unwrap()
                    .success()
            ),
        }
        // None is left: no verdict, with the reason, and no wait.
        let said = Run::start(&repo, kind, &["run", "--force"]).expect_code(125);
        assert!(said.contains("slot-1.lock is a "), "{said}");
        fs::remove_file(&lock).unwrap();
        Run::start(&repo, "well", &["run", "--force"]).expect_code(0);
    }
    fs::remove_dir(&lock).unwrap();

    // The same of the ticket and of claims, which are about order and economy only.
    let ticket = repo.git_dir().join("ci/slots/ticket");
    fs::remove_file(&ticket).unwrap();
    fs::create_dir(&ticket).unwrap();
    let said = Run::start(&repo, "ticket", &["run", "--all", "--force"]).expect_code(0);
    assert!(said.contains("ticket is a directory"), "{said}");
    fs::remove_dir(&ticket).unwrap();
    let claims = repo.git_dir().join("ci/claims");
    fs::remove_dir_all(&claims).unwrap();
    let gate = Gate::new(&repo, "gate");
    let mut slow = Run::start(
        &repo,
        "slow",
        &["run", "-x", &gate.command(), "--as", "slow"],
    );
    gate.wait();
    let claim = fs::read_dir(&claims)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    fs::remove_file(&claim).unwrap();
    fs::create_dir(&claim).unwrap();
    gate.open();
    slow.expect_code(0);
    let again = ["run", "--force", "-x", &gate.command(), "--as", "slow"];
    let said = Run::start(&repo, "again", &again).expect_code(0);
    assert!(said.contains("is a directory"), "{said}");
}

#[test]
fn whatever_a_state_file_says_it_is_made_anew() {
    let repo = one_slot();
    repo.ci(["run"]).expect_code(0);
    let lock = repo.git_dir().join("ci/slots/slot-1.lock");
    let whole = fs::read(&lock).unwrap();
    let mut lies = vec![
        Vec::new(),
        b"{}".to_vec(),
        b"[]\n".to_vec(),
        b"null".to_vec(),
        b"{\"token\":\"x\"}".to_vec(),
        vec![0; 4096],
        vec![b'['; 1 << 20],
        whole[..whole.len() / 2].to_vec(),
    ];
    let lie = String::from_utf8(whole)
        .unwrap()
        .replace("\"clean\":true", "\"clean\":false");
    lies.push(lie.into_bytes());
    for (number, lie) in lies.into_iter().enumerate() {
        fs::write(&lock, &lie).unwrap();
        repo.commit("next");
        Run::start(&repo, &format!("run-{number}"), &["run"]).expect_code(0);
        repo.ci(["status"]).expect_code(0);
    }
}

#[test]
fn a_run_that_waits_says_for_whom() {
    let repo = one_slot();
    let gate = Gate::new(&repo, "gate");
    let slow = ["run", "-x", &gate.command(), "--as", "slow"];
    let mut first = Run::start(&repo, "first", &slow);
    gate.wait();
    let pid = first.child.id();
    let short = &repo.git(["rev-parse", "HEAD"])[..10];
    let mut slot = Run::start(&repo, "slot", &["run"]);
    slot.wait_to_say(&format!(
        "waiting for a slot: `git ci run` (process {pid}) runs slow on {short} for "
    ));
    let mut task = Run::start(&repo, "task", &slow);
    task.wait_to_say(&format!(
        "waiting for slow on {short}: it is a task of `git ci run` (process {pid})"
    ));
    let mut json = Run::start(&repo, "json", &["run", "--json", "HEAD~1"]);
    wait_until("a note in JSON", || {
        let said = fs::read_to_string(&json.stdout).unwrap();
        said.contains("\"event\":\"note\"") && said.contains("waiting for a slot")
    });
    gate.open();
    for run in [&mut first, &mut slot, &mut task, &mut json] {
        run.expect_code(0);
    }
}

#[test]
fn a_job_that_runs_git_ci_goes_on_though_it_has_the_only_slot() {
    let repo = one_slot();
    let program = env!("CARGO_BIN_EXE_git-ci");
    let inner = format!(
        "cd {} && {program} run --job test HEAD~1",
        repo.path().display()
    );
    repo.job("outer", &inner);
    repo.job("inner", "true");
    let mut run = Run::start(&repo, "run", &["run", "--job", "outer"]);
    run.expect_code(0);
    assert_eq!(repo.verdicts("HEAD~1"), ["pass test"]);

    // Two at once, each with a slot of two, and others in line.
    repo.git(["config", "ci.slots", "2"]);
    repo.commit("three");
    let mut runs = Vec::new();
    for number in 0..3 {
        let deep = format!(
            "cd {0} && {program} run -x 'cd {0} && {program} run -x true'",
            repo.path().display()
        );
        runs.push(Run::start(
            &repo,
            &format!("deep-{number}"),
            &["run", "-x", &deep, "HEAD", "HEAD~1"],
        ));
    }
    for run in &mut runs {
        run.expect_code(0);
    }
}

#[test]
fn a_job_that_asks_for_itself_is_told_so() {
    let repo = TestRepo::new();
    let program = env!("CARGO_BIN_EXE_git-ci");
    repo.job(
        "test",
        &format!(
            "cd {} && {program} run --job test; test $? = 125",
            repo.path().display()
        ),
    );
    repo.commit("one");
    Run::start(&repo, "run", &["run"]).expect_code(0);
    let said = repo.ci(["logs", "HEAD", "test"]).expect_code(0).stdout();
    assert!(said.contains("within itself"), "{said}");
    assert_eq!(repo.verdicts("HEAD"), ["pass test"]);
}

#[test]
fn worktrees_are_not_shared_with_whoever_lost_sight_of_the_locks() {
    let repo = one_slot();
    let gate = Gate::new(&repo, "gate");
    let slow = format!("{}; test -f n", gate.command());
    let mut first = Run::start(&repo, "first", &["run", "-x", &slow, "--as", "slow"]);
    gate.wait();
    fs::remove_dir_all(repo.git_dir().join("ci")).unwrap();
    let mut second = Run::start(&repo, "second", &["run", "HEAD~1"]);
    second.wait_to_say("another copy of this repository");
    gate.open();
    // Its job was not killed, and it can be told what came of it.
    first.expect_code(0);
    second.expect_code(0);
    assert_eq!(repo.verdicts("HEAD"), ["pass slow"]);
}

#[test]
fn an_agent_that_is_frozen_when_its_run_is_killed_is_ended_by_the_next_run() {
    let repo = one_slot();
    let gate = Gate::new(&repo, "gate");
    let mut first = Run::start(&repo, "first", &["run", "-x", &gate.command()]);
    gate.wait();
    let agents = agents(&first);
    let mark = format!("GIT_CI_WORKTREE={}", repo.root().display());
    assert!(!processes_with(&mark).is_empty());
    stop(first.child.id());
    agents.iter().for_each(|&pid| stop(pid));
    first.signal(Signal::KILL);
    first.code();
    Run::start(&repo, "second", &["run"]).expect_code(0);
    assert!(agents.into_iter().all(|pid| !alive(pid)));
    assert!(processes_with(&mark).is_empty());
}

/// `git-ci` in a PID namespace of its own.
fn unshared(repo: &TestRepo, options: &[&str], args: &[&str]) -> Command {
    let mut command = repo.command("unshare", repo.path());
    command
        .args(options)
        .arg(env!("CARGO_BIN_EXE_git-ci"))
        .args(args);
    command
}

#[test]
fn two_pid_namespaces_share_a_repository() {
    if !have(&["unshare"]) {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return skip("only root can make PID namespaces");
    }
    let repo = one_slot();
    let gate = Gate::new(&repo, "gate");
    let slow = ["run", "-x", &gate.command(), "--as", "slow"];
    let options = ["--pid", "--fork", "--mount-proc"];
    let mut inside = Run::of(&repo, "inside", unshared(&repo, &options, &slow));
    gate.wait();
    let mut outside = Run::start(&repo, "outside", &["run"]);
    outside.wait_to_say("waiting for a slot: a run in another container");
    let mut same = Run::start(&repo, "same", &slow);
    same.wait_to_say("it is a task of a run in another container");
    let seen = repo.ci(["status"]).expect_code(0).stdout();
    assert!(seen.contains("slow"), "{seen}");
    gate.open();
    inside.expect_code(0);
    outside.expect_code(0);
    same.expect_code(0);
    // And the other way round.
    let gate = Gate::new(&repo, "gate-2");
    let slow = ["run", "-x", &gate.command(), "--as", "slow-2"];
    let mut outside = Run::start(&repo, "outside-2", &slow);
    gate.wait();
    let mut inside = Run::of(
        &repo,
        "inside-2",
        unshared(&repo, &options, &["run", "HEAD~1"]),
    );
    inside.wait_to_say("waiting for a slot: a run in another container");
    gate.open();
    inside.expect_code(0);
    outside.expect_code(0);

    // Where /proc is about other processes, nothing is done with their ids.
    let blind = ["--pid", "--fork"];
    let said =
        Run::of(&repo, "blind", unshared(&repo, &blind, &["run", "--force"])).expect_code(125);
    assert!(said.contains("another PID namespace"), "{said}");
}

#[test]
fn runs_with_caches_of_their_own_do_not_mistake_each_others_worktrees() {
    let repo = one_slot();
    let dirs =
        ["a", "b"].map(|name| format!("ci.worktreeDir={}", repo.root().join(name).display()));
    let look = "test \"$(cat n)\" = \"$(git show HEAD:n)\"";
    for round in 0..3 {
        for dir in &dirs {
            repo.commit(&format!("round {round}"));
            let mut command = repo.ci_command(["run", "-x", look, "HEAD", "HEAD~1"]);
            command.env("GIT_CONFIG_COUNT", "1");
            let (key, value) = dir.split_once('=').unwrap();
            command
                .env("GIT_CONFIG_KEY_0", key)
                .env("GIT_CONFIG_VALUE_0", value);
            Run::of(&repo, "run", command).expect_code(0);
        }
    }
    // What one of them left running is ended, though the other comes next.
    let gate = Gate::new(&repo, "gate");
    let with = |dir: &str, args: &[&str]| {
        let mut command = repo.ci_command(args);
        let (key, value) = dir.split_once('=').unwrap();
        command.env("GIT_CONFIG_COUNT", "1");
        command
            .env("GIT_CONFIG_KEY_0", key)
            .env("GIT_CONFIG_VALUE_0", value);
        command
    };
    let command = gate.command();
    let mut first = Run::of(&repo, "first", with(&dirs[0], &["run", "-x", &command]));
    gate.wait();
    let agents = agents(&first);
    agents.iter().for_each(|&pid| send(pid, Signal::KILL));
    first.signal(Signal::KILL);
    first.code();
    Run::of(&repo, "second", with(&dirs[1], &["run"])).expect_code(0);
    let mark = format!("GIT_CI_WORKTREE={}", repo.root().display());
    assert!(processes_with(&mark).is_empty());
}
