//! Requests to a runner that come early, late, and to the wrong task.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use git_ci::model::{CommandLine, Commit, Criteria, Job, Outcome, Reason, Task, TaskId};
use git_ci::runner::protocol::{ArtifactSetup, OutputLimits, Setup};
use git_ci::runner::{Assignment, LocalRunner, LocalSpec, Request, Runner as _};

use super::support::{TestRepo, wait_until};

fn runner(repo: &TestRepo) -> LocalRunner {
    LocalRunner::new(LocalSpec {
        program: env!("CARGO_BIN_EXE_git-ci").into(),
        labels: Arc::from([]),
        setup: Setup {
            repository: repo.git_dir(),
            worktrees: repo.root().join("worktrees"),
            slots: 1,
            label: "here".parse().unwrap(),
            dispatcher: std::process::id(),
            output: OutputLimits::default(),
            artifacts: ArtifactSetup {
                most: 1 << 20,
                send: false,
            },
            machine: git_ci::runner::Machine::default(),
            keep_failed: false,
        },
    })
}

fn assignment(repo: &TestRepo, task: u64, run: &str) -> Assignment {
    let job = Job::new("test".parse().unwrap(), CommandLine::Shell(run.into()));
    Assignment {
        task: Task {
            id: TaskId(task),
            commit: Arc::new(Commit {
                id: repo.git(["rev-parse", "HEAD"]).parse().unwrap(),
                tree: repo.git(["rev-parse", "HEAD^{tree}"]).parse().unwrap(),
                subject: "one".into(),
                time: 0,
                snapshot: None,
            }),
            def: job.definition(),
            criteria: Arc::new(Criteria::new(&job, None, Vec::new())),
            upstream: Arc::new([]),
            job: Arc::new(job),
            recorded: false,
            reason: Reason::NeverRun,
        },
        try_: 1,
        log: "0123456789abcdef".parse().unwrap(),
        ahead: Vec::new(),
    }
}

#[test]
fn a_request_before_the_task_began_reaches_it_and_no_other() {
    let repo = TestRepo::new();
    repo.commit("one");
    let mut runner = runner(&repo);
    let control = runner.control();
    for request in [Request::Terminate, Request::Kill] {
        control.send(TaskId(7), request);
        let outcome = runner.run(&assignment(&repo, 7, "exec sleep 1000"), &mut |_| {});
        assert_eq!(outcome.unwrap(), Outcome::Cancelled);
    }

    control.send(TaskId(7), Request::Kill); // It has ended.
    control.send(TaskId(8), Request::Pause);
    control.send(TaskId(8), Request::Resume);
    for task in [8, 7] {
        let outcome = runner.run(&assignment(&repo, task, "true"), &mut |_| {});
        assert_eq!(outcome.unwrap(), Outcome::Passed);
    }
}

#[test]
fn a_job_that_leaves_no_artifacts_leaves_no_directory() {
    let repo = TestRepo::new();
    repo.commit("one");
    let mut runner = runner(&repo);
    let artifacts = repo.git_dir().join("ci/artifacts");
    let mut run = |script: &str| {
        let outcome = runner.run(&assignment(&repo, 1, script), &mut |_| {});
        assert_eq!(outcome.unwrap(), Outcome::Passed);
    };
    run("test -d $GIT_CI_ARTIFACTS");
    assert_eq!(std::fs::read_dir(&artifacts).unwrap().count(), 0);
    run("echo fine >$GIT_CI_ARTIFACTS/report");
    let commit = artifacts.join(repo.git(["rev-parse", "HEAD"]));
    assert!(commit.join("test/report").exists());
}

#[test]
fn a_job_that_hides_from_signals_is_ended_all_the_same() {
    let repo = TestRepo::new();
    repo.commit("one");
    let mut runner = runner(&repo);
    let control = &runner.control();
    // Into another group, and into another session; into the agent's it cannot.
    let elsewhere = "exec python3 -c \"import os, time\n\
         try: os.setpgid(0, os.getpgid(os.getppid()))\n\
         except PermissionError: pass\n\
         hides = [os.setpgrp, os.setsid]\n\
         for hide in hides:\n    \
             if os.fork() == 0: hide(); time.sleep(1000)\n\
         open('$READY', 'w')\n\
         os.wait(); os.wait()\"";
    let stopped = "touch $READY; kill -STOP $$; sleep 1000";
    let agent_stopped = "touch $READY; kill -STOP $PPID; sleep 1000";
    for (task, job) in [elsewhere, stopped, agent_stopped].into_iter().enumerate() {
        let task = task as u64;
        // Output would not do: a stopped agent passes none on.
        let ready = &repo.root().join(format!("ready-{task}"));
        let mut assignment = assignment(&repo, task, job);
        let job = Arc::make_mut(&mut assignment.task.job);
        job.env
            .insert("READY".into(), ready.to_str().unwrap().into());
        // Nobody waits for it: a job that never hears of its end takes longer than a test may.
        job.grace = Duration::from_secs(1000);
        let done = &AtomicBool::new(false);
        let outcome = std::thread::scope(|scope| {
            scope.spawn(move || {
                // More than once: it may stop the agent after it was woken.
                wait_until("the job ends", || {
                    if ready.exists() {
                        control.send(TaskId(task), Request::Terminate);
                    }
                    done.load(Ordering::Relaxed)
                });
            });
            let outcome = runner.run(&assignment, &mut |_| {});
            done.store(true, Ordering::Relaxed);
            outcome
        });
        assert_eq!(outcome.unwrap(), Outcome::Cancelled, "task {task}");
    }

    let mut assignment = assignment(&repo, 4, elsewhere);
    let job = Arc::make_mut(&mut assignment.task.job);
    job.env.insert("READY".into(), "/dev/null".into());
    job.timeout = Some(Duration::from_millis(200));
    let outcome = runner.run(&assignment, &mut |_| {});
    assert!(matches!(outcome.unwrap(), Outcome::TimedOut { .. }));
}
