//! Requests to a runner that come early, late, and to the wrong task.

use std::sync::Arc;

use git_ci::model::{CommandLine, Commit, Job, Outcome, Task, TaskId};
use git_ci::runner::protocol::Setup;
use git_ci::runner::{Assignment, LocalRunner, LocalSpec, Request, Runner as _};

use super::support::TestRepo;

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
            output: git_ci::runner::protocol::OutputLimits::default(),
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
            }),
            def: job.definition(),
            job: Arc::new(job),
            recorded: false,
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
