//! `git ci watch`: which commits it sees, in which order, and where checkpoints stand.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{TestRepo, wait_until};

/// A watcher that ends with the test.
pub(crate) struct Watcher {
    child: Child,
    log: PathBuf,
}

impl Watcher {
    /// Starts `git ci watch` with these arguments; what it says goes to a file.
    pub(crate) fn start(repo: &TestRepo, args: &[&str]) -> Self {
        Self::with(repo, args, &[])
    }

    /// With more variables in its environment.
    pub(crate) fn with(repo: &TestRepo, args: &[&str], env: &[(&str, &str)]) -> Self {
        let log = repo.root().join("watch.log");
        let out = fs::File::create(&log).unwrap();
        let child = repo
            .ci_command(["watch"])
            .args(args)
            .envs(env.iter().copied())
            .stderr(Stdio::from(out.try_clone().unwrap()))
            .stdout(Stdio::from(out))
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it has said something.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) {
        wait_until(&format!("{text:?} in\n{}", self.said()), || {
            self.said().contains(text)
        });
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; the exit code, -1 after a signal.
    pub(crate) fn wait(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Ends it as Ctrl-C does.
    pub(crate) fn interrupt(self) -> i32 {
        self.signal(Signal::INT);
        self.wait()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the checkpoint of a branch is; empty where there is none.
pub(crate) fn checkpoint(repo: &TestRepo, branch: &str) -> String {
    let name = format!("refs/ci/checkpoint/heads/{branch}");
    repo.git(["for-each-ref", "--format=%(objectname)", &name])
}

#[track_caller]
pub(crate) fn wait_for_checkpoint(repo: &TestRepo, branch: &str, at: &str) {
    wait_until(&format!("the checkpoint of {branch} at {at}"), || {
        checkpoint(repo, branch) == at
    });
}

/// A job that leaves the commit behind in a file each time it runs.
pub(crate) fn counting(repo: &TestRepo, then: &str) -> String {
    let marks = repo.root().join("marks");
    format!("echo $GIT_CI_COMMIT >> {}; {then}", marks.display())
}

/// The commits that a counting job ran on, in order.
pub(crate) fn ran(repo: &TestRepo) -> Vec<String> {
    let text = fs::read_to_string(repo.root().join("marks")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn each_new_commit_is_tested_and_the_checkpoint_follows() {
    let repo = TestRepo::new();
    repo.job("test", &counting(&repo, "true"));
    repo.commit("zero");
    let one = repo.commit("one");
    let watcher = Watcher::start(&repo, &[]);
    wait_for_checkpoint(&repo, "main", &one);
    let two = repo.commit("two");
    wait_for_checkpoint(&repo, "main", &two);
    let three = repo.commit("three");
    wait_for_checkpoint(&repo, "main", &three);
    assert_eq!(ran(&repo), [one, two, three.clone()]);
    assert_eq!(repo.verdicts(&three), ["pass test"]);
    assert_eq!(watcher.interrupt(), 130);
}
