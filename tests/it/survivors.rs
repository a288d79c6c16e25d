//! Jobs that try to outlive their task, or to get rid of what looks after them. Whatever
//! they do, nothing of them is there when the run ends.

use std::fs;

use crate::pty::Terminal;
use crate::support::{TestRepo, processes_with, wait_until};

/// A process of a job that nobody knows by its environment, its parent or its session:
/// it writes its id to `pid`, and then more and more into `file`.
fn hidden(repo: &TestRepo, file: &str) -> String {
    let pid = repo.root().join("pid");
    format!(
        "setsid env -i PATH=\"$PATH\" sh -c 'echo $$ >{}; while :; do echo >>{file}; sleep 0.1; done' \
         </dev/null >/dev/null 2>&1 &",
        pid.display()
    )
}

/// The id that such a process wrote, once it did.
fn written_pid(repo: &TestRepo) -> u32 {
    let path = repo.root().join("pid");
    let mut pid = None;
    wait_until("the hidden process to run", || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        pid = text.strip_suffix('\n').and_then(|text| text.parse().ok());
        pid.is_some()
    });
    pid.unwrap()
}

#[track_caller]
fn expect_nothing_left(repo: &TestRepo) {
    crate::pty::expect_nothing_left(&repo.root().display().to_string());
}

#[test]
fn a_job_that_kills_its_agent_is_gone_and_tried_once_more() {
    let repo = TestRepo::new();
    let (count, pid) = (repo.root().join("count"), repo.root().join("pid"));
    repo.job(
        "test",
        &format!(
            "echo x >>{}; {} until test -e {}; do sleep 0.01; done; kill -9 $PPID; sleep 300",
            count.display(),
            hidden(&repo, "/dev/null"),
            pid.display(),
        ),
    );
    repo.commit("one");
    let done = repo.ci(["run"]).expect_code(125);
    assert!(!crate::support::alive(written_pid(&repo)));
    expect_nothing_left(&repo);
    assert_eq!(repo.verdicts("HEAD"), ["ERROR test"]);
    assert!(repo.note("HEAD").contains("why=runner-lost"));
    assert_eq!(fs::read_to_string(&count).unwrap(), "x\nx\n");
    assert!(
        done.stderr().contains("keep the agent"),
        "{}",
        done.stderr()
    );
    // Killed from outside it is not the job's fault.
    repo.ci([
        "run",
        "-x",
        &format!(
            "test -e {0} || {{ touch {0}; kill -9 $PPID; sleep 300; }}",
            repo.root().join("second").display()
        ),
        "--as",
        "once",
    ])
    .expect_code(0);
    assert!(repo.verdicts("HEAD").contains(&"pass once".to_owned()));
    expect_nothing_left(&repo);
}

#[test]
fn a_lost_agent_does_not_take_another_tasks_processes() {
    let repo = TestRepo::new();
    let go = repo.root().join("go");
    repo.job(
        "killer",
        &format!(
            "test -e {0} && exit 0; touch {0}; kill -9 $PPID; sleep 300",
            go.display()
        ),
    );
    repo.job(
        "other",
        &format!(
            "until test -e {}; do sleep 0.01; done; sleep 0.5",
            go.display()
        ),
    );
    repo.commit("one");
    repo.ci(["run", "-j2"]).expect_code(0);
    assert_eq!(repo.verdicts("HEAD"), ["pass killer", "pass other"]);
    expect_nothing_left(&repo);
}

#[test]
fn a_job_that_stops_its_agent_or_itself_does_not_stop_the_run() {
    for job in ["kill -STOP $PPID; exit 3", "kill -STOP $$; exit 3"] {
        let repo = TestRepo::new();
        repo.job("test", job).commit("one");
        repo.ci(["run"]).expect_code(1);
        let note = repo.note("HEAD");
        assert!(note.contains("why=exit:3"), "{note}");
    }
}

#[test]
fn what_the_caller_had_running_before_is_left_alone() {
    let repo = TestRepo::new();
    let pid = repo.root().join("pid");
    repo.job("test", "kill -9 $PPID; sleep 300").commit("one");
    // A shell that becomes git-ci leaves it a child that is not its own.
    let script = format!(
        "setsid sh -c 'echo $$ >{}; exec sleep 300' >/dev/null 2>&1 & \
         until test -s {0}; do sleep 0.01; done; exec \"$0\" run",
        pid.display()
    );
    let done = repo
        .command("sh", repo.path())
        .args(["-c", &script, env!("CARGO_BIN_EXE_git-ci")])
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(125), "{done:?}");
    let other = written_pid(&repo);
    assert!(crate::support::alive(other));
    let other = rustix::process::Pid::from_raw(other as i32).unwrap();
    rustix::process::kill_process(other, rustix::process::Signal::KILL).unwrap();
    wait_until("everything to end", || {
        processes_with(&repo.root().display().to_string()).is_empty()
    });
}

/// A script that takes a while to clean up when it is asked to end.
const CLEANING: &str = "trap 'sleep 0.5; echo done >>$HOME/cleaned; exit 0' TERM\n\
                        echo >$HOME/ready-$1\n\
                        while :; do sleep 0.01; done\n";

#[test]
fn grace_lasts_as_long_as_anything_of_a_job_lives() {
    // The shell that runs the string dies of the signal at once, and so do pipes; what has
    // left the group or was orphaned is asked to end, too.
    let jobs = [
        ("string", "sh job.sh a; true"),
        ("pipe", "sh job.sh a | cat"),
        ("session", "setsid sh job.sh a & sleep 300"),
        ("orphan", "(setsid sh job.sh a &); sleep 300"),
    ];
    for (name, run) in jobs {
        for asked in [false, true] {
            let repo = TestRepo::new();
            repo.write("job.sh", CLEANING);
            let timeout = if asked { "5m" } else { "1s" };
            repo.jobs_file(&format!(
                "[jobs.test]\nrun = \"{run}\"\ntimeout = \"{timeout}\"\ngrace = \"1m\"\n"
            ));
            repo.commit("one");
            let run = repo.spawn_ci(["run"]);
            if asked {
                let ready = repo.root().join("home/ready-a");
                wait_until("the job to run", || ready.exists());
                let pid = rustix::process::Pid::from_child(&run);
                rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
            }
            let done = run.wait_with_output().unwrap();
            assert_eq!(
                done.status.code(),
                Some(if asked { 143 } else { 1 }),
                "{name} {done:?}"
            );
            let cleaned = fs::read_to_string(repo.root().join("home/cleaned"));
            assert_eq!(cleaned.unwrap_or_default(), "done\n", "{name} {asked}");
            assert_eq!(repo.note("HEAD").contains("why=timeout"), !asked);
            expect_nothing_left(&repo);
        }
    }
}

/// Ways to hide from who looks for the mark in the environment.
const HIDING: [&str; 3] = [
    "setsid env -i sh -c 'echo $$ >PID; while :; do echo >>leftover; sleep 0.1; done' &",
    "setsid perl -e '$0 = \"x\" x 5000; open F, \">PID\"; print F \"$$\\n\"; close F; \
     while (1) { open F, \">>leftover\"; print F \"\\n\"; close F; select undef, undef, undef, 0.1 }' &",
    "(cd / && setsid env -i sh -c 'echo $$ >PID; while :; do echo >>SLOT/leftover; sleep 0.1; done' &);",
];

/// Kills those processes of git-ci below `repo` that `which` says.
fn kill(repo: &TestRepo, which: impl Fn(&str) -> bool) {
    for pid in processes_with(&repo.root().display().to_string()) {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.starts_with(env!("CARGO_BIN_EXE_git-ci")) && which(&line) {
            let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

#[test]
fn what_survives_an_agent_is_gone_before_its_slot_is_used_again() {
    for (hiding, both) in HIDING.iter().flat_map(|one| [(one, false), (one, true)]) {
        let repo = TestRepo::new();
        let pid = repo.root().join("pid");
        let hiding = hiding
            .replace("PID", &pid.display().to_string())
            .replace("SLOT", "'$GIT_CI_WORKTREE'");
        repo.write("first", "");
        repo.job(
            "test",
            &format!(
                "if test -e first; then test -e {0} && exit 0; {hiding} sleep 300; fi; \
                 rm -f leftover; sleep 0.5; test ! -e leftover",
                pid.display()
            ),
        );
        repo.commit("one");
        fs::remove_file(repo.path().join("first")).unwrap();
        repo.commit("two");
        let args = ["run", "-j1", "--order", "oldest", "HEAD~1", "HEAD"];
        let mut run = repo.spawn_ci(args);
        let hidden = written_pid(&repo);
        // The dispatcher first, or it would end what the agent leaves.
        if both {
            kill(&repo, |line| line.contains(" run "));
        }
        kill(&repo, |line| line.ends_with(" agent "));
        if both {
            run.wait().unwrap();
            repo.ci(args).expect_code(0);
        } else {
            let done = run.wait_with_output().unwrap();
            assert_eq!(done.status.code(), Some(0), "{done:?}");
        }
        assert!(!crate::support::alive(hidden), "{hiding} {both}");
        assert_eq!(repo.verdicts("HEAD"), ["pass test"], "{hiding}");
        expect_nothing_left(&repo);
    }
}

#[test]
fn a_person_in_a_slot_is_left_alone_and_another_slot_used() {
    let repo = TestRepo::new();
    let slot = repo.root().join("home/slot");
    repo.job(
        "test",
        "test -e $HOME/slot || { echo $PWD >$HOME/slot.new; mv $HOME/slot.new $HOME/slot; sleep 300; }; \
         echo $GIT_CI_SLOT >$HOME/used",
    );
    repo.commit("one");
    let mut run = repo.spawn_ci(["run", "-j1"]);
    wait_until("the job to run", || slot.exists());
    let dir = fs::read_to_string(&slot).unwrap();
    let mut person = Terminal::start_with(
        &repo,
        &["bash", "--norc", "-i"],
        &[("PS1", "$ "), ("SLOT", dir.trim_end())],
    );
    person.press("cd $SLOT && echo arri''ved\n");
    person.wait_for("arrived");
    kill(&repo, |line| {
        line.contains(" run ") || line.ends_with(" agent ")
    });
    run.wait().unwrap();
    let done = repo.ci(["run", "-j1"]).expect_code(0);
    assert!(
        done.stderr().contains("slot 1 is left to process"),
        "{}",
        done.stderr()
    );
    assert_eq!(
        fs::read_to_string(repo.root().join("home/used")).unwrap(),
        "2\n"
    );
    person.press("exit\n");
    let (status, shown) = person.wait();
    assert_eq!(status.code(), Some(0), "{shown}");
    // With nobody there it is a slot like any other.
    repo.ci(["run", "-j1", "--force"]).expect_code(0);
    assert_eq!(
        fs::read_to_string(repo.root().join("home/used")).unwrap(),
        "1\n"
    );
    expect_nothing_left(&repo);
}
