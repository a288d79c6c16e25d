//! A history made commit by commit, with rebases, under a watcher that is killed at
//! random: in the end the records are those of a plain run over the same commits.
//!
//! A few seconds in the test suite; `tests/bench/soak.sh` gives it minutes.

use std::time::{Duration, Instant};

use crate::support::TestRepo;
use crate::watch::{Watcher, checkpoint};

/// xorshift64: any sequence will do, so long as a failure can be had again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn setting(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

/// Runs a git command that may end in a conflict, and gives it up then.
fn try_git(repo: &TestRepo, args: &[&str]) {
    let done = repo
        .command("git", repo.path())
        .args(args)
        .output()
        .unwrap();
    if !done.status.success() {
        repo.git([args[0], "--abort"]);
    }
}

/// One thing that a developer does on the branch that is checked out.
fn work(repo: &TestRepo, random: &mut Random, subject: &str) {
    match random.below(8) {
        0 => {
            repo.write("n", format!("amended {subject}"));
            repo.git(["commit", "-q", "-a", "--amend", "-m", subject]);
        }
        1 => {
            repo.git(["commit", "-q", "--amend", "-m", subject]);
        }
        2 => {
            repo.git(["checkout", "-q", "topic"]);
            try_git(repo, &["rebase", "-q", "-X", "theirs", "main"]);
        }
        3 => {
            repo.git(["checkout", "-q", "main"]);
            try_git(repo, &["merge", "-q", "-X", "theirs", "--no-edit", "topic"]);
        }
        4 => {
            repo.git(["pack-refs", "--all"]);
        }
        _ => {
            repo.commit(subject);
        }
    }
}

#[test]
fn killed_at_random_it_ends_with_the_records_of_a_plain_run() {
    let time = Duration::from_secs(setting("GIT_CI_SOAK_SECONDS", 5));
    let seed = setting("GIT_CI_SOAK_SEED", 0x9e37_79b9_7f4a_7c15);
    let mut random = Random(seed);
    let repo = TestRepo::new();
    repo.job("test", "test $(($(cksum < n | cut -c1-4) % 3)) != 0");
    repo.job("slow", "sleep 0.0$(cksum < n | cut -c1-2)");
    let base = repo.commit("base");
    repo.git(["branch", "topic"]);
    let watcher = Watcher::start(&repo, &["--until-idle"]);
    assert!(watcher.wait() <= 1);
    // Each has a commit of its own to amend, so that `base` stays in the history of both.
    repo.commit("main");
    repo.git(["checkout", "-q", "topic"]);
    repo.commit("topic");

    let begun = Instant::now();
    let (mut step, mut kills) = (0, 0);
    let mut watcher = Watcher::start(&repo, &["-j2"]);
    while begun.elapsed() < time {
        step += 1;
        if random.below(3) == 0 {
            let branch = ["main", "topic"][random.below(2) as usize];
            repo.git(["checkout", "-q", branch]);
        }
        work(&repo, &mut random, &format!("step {step}"));
        if random.below(4) == 0 {
            std::thread::sleep(Duration::from_millis(random.below(150)));
            watcher.kill();
            kills += 1;
            watcher = Watcher::start(&repo, &["-j2"]);
        }
    }
    watcher.kill();
    let watcher = Watcher::start(&repo, &["-j2", "--until-idle"]);
    let code = watcher.wait();
    assert!(code == 0 || code == 1, "exit code {code}, seed {seed}");

    // The same commits in a clone, tested by a plain run.
    let plain = TestRepo::new();
    plain.job("test", "test $(($(cksum < n | cut -c1-4) % 3)) != 0");
    plain.job("slow", "sleep 0.0$(cksum < n | cut -c1-2)");
    let url = repo.path().to_str().unwrap();
    plain.git(["fetch", "-q", url, "main:copy", "topic:topic"]);
    plain.ci(["run", "-q", "-j2", &format!("^{base}"), "copy", "topic"]);
    let list = repo.git(["rev-list", "main", "topic", "--not", &base]);
    let mut count = 0;
    for commit in list.lines() {
        count += 1;
        // As a list, so that no verdict may stand there twice.
        let found = repo.verdicts(commit);
        assert_eq!(found, plain.verdicts(commit), "{commit}, seed {seed}");
        assert_eq!(found.len(), 2, "{commit}: {found:?}, seed {seed}");
    }
    for branch in ["main", "topic"] {
        assert_eq!(
            checkpoint(&repo, branch),
            repo.git(["rev-parse", branch]),
            "seed {seed}"
        );
    }
    assert!(kills > 0 && count > 0, "{kills} kills, {count} commits");
}
