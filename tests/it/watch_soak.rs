//! A history made commit by commit, with rebases, under a watcher that is killed at
//! random: in the end the records are those of a plain run over the same commits.
//!
//! A few seconds in the test suite; `tests/bench/soak.sh` gives it minutes, and the
//! history of a real project.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{Random, TestRepo, processes_with, setting, wait_until};
use crate::watch::{Watcher, checkpoint};

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
    let count = compare(&repo, &base, seed, |repo| {
        repo.job("test", "test $(($(cksum < n | cut -c1-4) % 3)) != 0");
        repo.job("slow", "sleep 0.0$(cksum < n | cut -c1-2)");
    });
    assert!(kills > 0 && count > 0, "{kills} kills, {count} commits");
}

/// Ends what is left to do in `repo`, and compares it with a plain run over the same
/// commits in a clone with the same `jobs`. How many commits that were.
#[track_caller]
fn compare(repo: &TestRepo, base: &str, seed: u64, jobs: impl Fn(&TestRepo)) -> usize {
    let watcher = Watcher::start(repo, &["-j2", "--until-idle"]);
    let code = watcher.wait();
    assert!(code == 0 || code == 1, "exit code {code}, seed {seed}");
    let plain = TestRepo::new();
    jobs(&plain);
    let url = repo.path().to_str().unwrap();
    plain.git(["fetch", "-q", url, "main:copy", "topic:topic"]);
    plain.ci(["run", "-q", "-j2", &format!("^{base}"), "copy", "topic"]);
    let list = repo.git(["rev-list", "main", "topic", "--not", base, "--"]);
    for commit in list.lines() {
        // As a list, so that no verdict may stand there twice.
        let found = repo.verdicts(commit);
        assert_eq!(found, plain.verdicts(commit), "{commit}, seed {seed}");
        assert_eq!(found.len(), 2, "{commit}: {found:?}, seed {seed}");
    }
    for branch in ["main", "topic"] {
        assert_eq!(
            checkpoint(repo, branch),
            repo.git(["rev-parse", branch]),
            "seed {seed}"
        );
    }
    let root = repo.root().to_str().unwrap();
    wait_until("the end of every process", || {
        processes_with(root).is_empty()
    });
    // A lock on a ref is a file that somebody has to remove.
    assert_eq!(locks(&repo.git_dir()), [""; 0], "seed {seed}");
    list.lines().count()
}

/// The locks below a directory that are files, without those that are only held open.
fn locks(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with(".git/ci") {
            found.extend(locks(&path));
        } else if path.extension().is_some_and(|end| end == "lock") {
            found.push(path.display().to_string());
        }
    }
    found
}

/// A few commits with a merge among them, where no real history is given.
fn small_history() -> TestRepo {
    let source = TestRepo::new();
    for n in 0..30 {
        source.commit(&format!("{n}"));
        if n == 12 {
            source.git(["checkout", "-q", "-b", "side", "HEAD~2"]);
            source.write("side", "side");
            source.git(["add", "side"]);
            source.git(["commit", "-q", "-m", "side"]);
            source.git(["checkout", "-q", "main"]);
            source.git(["merge", "-q", "--no-edit", "side"]);
        }
    }
    source
}

#[test]
fn a_real_history_replayed_commit_by_commit_ends_with_the_records_of_a_plain_run() {
    let time = Duration::from_secs(setting("GIT_CI_SOAK_SECONDS", 5));
    let seed = setting("GIT_CI_SOAK_SEED", 0x9e37_79b9_7f4a_7c15);
    let most = setting("GIT_CI_SOAK_COMMITS", 400) as usize;
    let mut random = Random(seed);
    let small = small_history();
    let source = std::env::var("GIT_CI_SOAK_SOURCE");
    let source = source.unwrap_or_else(|_| small.path().to_str().unwrap().to_owned());
    let jobs = |repo: &TestRepo| {
        // By the tree, so that it comes out alike wherever it is run.
        let number = "0x$(echo $GIT_CI_TREE | cut -c1-4)";
        repo.job("test", &format!("test $(({number} % 3)) != 0"));
        repo.job(
            "slow",
            &format!("sleep $(printf 0.%03d $(({number} % 150)))"),
        );
    };
    let repo = TestRepo::new();
    jobs(&repo);
    // Where nobody watches, so that each commit arrives when main does.
    repo.git(["fetch", "-q", "--no-tags", &source, "HEAD:refs/source/main"]);
    let all = repo.git([
        "rev-list",
        "--first-parent",
        "--reverse",
        "refs/source/main",
    ]);
    let all: Vec<_> = all.lines().collect();
    let mut left = all[all.len().saturating_sub(most)..].iter().peekable();
    let base = *left.next().unwrap();
    repo.git(["reset", "-q", "--hard", base]);
    repo.git(["checkout", "-q", "-b", "topic"]);
    assert!(Watcher::start(&repo, &["--until-idle"]).wait() <= 1);

    let begun = Instant::now();
    let (mut step, mut kills, mut replayed) = (0, 0, 0);
    let mut watcher = Watcher::start(&repo, &["-j2"]);
    let pace = time / u32::try_from(left.len() * 3).unwrap();
    while begun.elapsed() < time && left.peek().is_some() {
        step += 1;
        let subject = format!("step {step}");
        match random.below(10) {
            0..3 => {
                // A fast-forward, by one commit of the real history.
                let next = *left.next().unwrap();
                repo.git(["push", "-q", ".", &format!("{next}:refs/heads/main")]);
                replayed += 1;
            }
            3 => {
                repo.git(["checkout", "-q", "main"]);
                for next in left.by_ref().take(1 + random.below(4) as usize) {
                    repo.git(["merge", "-q", "--ff-only", next]);
                    replayed += 1;
                }
                repo.git(["checkout", "-q", "topic"]);
            }
            4 | 5 => try_git(&repo, &["rebase", "-q", "main"]),
            6 => {
                repo.write("of-topic", &subject);
                repo.git(["add", "of-topic"]);
                repo.git(["commit", "-q", "--amend", "-m", &subject]);
            }
            7 => {
                repo.git(["commit", "-q", "--amend", "-m", &subject]);
            }
            8 if random.below(8) == 0 => {
                repo.git(["reset", "-q", "--hard", "main"]);
                repo.git(["pack-refs", "--all"]);
            }
            _ => {
                repo.write(&format!("by-topic/{}", random.below(9)), &subject);
                repo.git(["add", "by-topic"]);
                repo.git(["commit", "-q", "-m", &subject]);
            }
        }
        std::thread::sleep(pace / 2);
        if random.below(8) == 0 {
            std::thread::sleep(Duration::from_millis(random.below(150)));
            watcher.kill();
            kills += 1;
            watcher = Watcher::start(&repo, &["-j2"]);
        }
    }
    watcher.kill();
    let count = compare(&repo, base, seed, jobs);
    assert!(
        kills > 0 && replayed > 0,
        "{kills} kills, {replayed} replayed"
    );
    let seconds = begun.elapsed().as_secs();
    // For whoever runs it for long; see `tests/bench/soak.sh`.
    let _ = writeln!(
        std::io::stderr(),
        "{replayed} commits replayed in {step} steps, {kills} kills, {seconds} s: {count} commits alike"
    );
}
