//! `git ci gc`: what goes, what stays, and that nothing in use is touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::fault::{is_root, skip};
use crate::support::{Ran, TestRepo, wait_until};

/// Makes a file or directory look as if last written to so many days ago.
fn age(path: &Path, days: u32) {
    let done = std::process::Command::new("touch")
        .arg("-d")
        .arg(format!("{days} days ago"))
        .arg(path)
        .status();
    assert!(done.unwrap().success());
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let listing = fs::read_dir(dir).into_iter().flatten().flatten();
    // Locks of worktrees stay beside them.
    let seen = listing.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    let mut found: Vec<_> = seen.map(|entry| entry.path()).collect();
    found.sort();
    found
}

fn logs(repo: &TestRepo) -> Vec<PathBuf> {
    entries(&repo.git_dir().join("ci/logs"))
}

/// The one directory with our worktrees.
fn root(repo: &TestRepo) -> PathBuf {
    entries(&repo.root().join("home/.cache/git-ci")).remove(0)
}

/// The log that the note of `rev` names for `job`.
fn log_of(repo: &TestRepo, rev: &str, job: &str) -> PathBuf {
    let note = repo.note(rev);
    let line = note
        .lines()
        .find(|line| line.split_whitespace().nth(1) == Some(job))
        .unwrap();
    let mut words = line.split_whitespace();
    let id = words.find_map(|word| word.strip_prefix("log=")).unwrap();
    repo.git_dir().join(format!("ci/logs/{id}.log"))
}

#[test]
fn logs_go_by_age_and_a_running_tasks_log_stays() {
    let repo = TestRepo::new();
    let (started, go) = (repo.root().join("started"), repo.root().join("go"));
    repo.job("quick", "echo hello");
    repo.commit("one");
    repo.ci(["run"]).expect_code(0);
    let script = format!(
        "echo begun; touch {}; until test -e {}; do sleep 0.02; done; echo ended",
        started.display(),
        go.display(),
    );
    let running = repo
        .ci_command(["run", "-x", &script, "--as", "slow"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("the job", || started.exists());
    for log in logs(&repo) {
        age(&log, 31);
    }
    assert_eq!(logs(&repo).len(), 2);

    let dry = repo.ci(["gc", "--dry-run"]).expect_code(0);
    assert!(dry.stdout().contains("would remove"), "{}", dry.stdout());
    assert_eq!(logs(&repo).len(), 2);

    let done = repo.ci(["gc"]).expect_code(0);
    assert!(
        done.stdout().contains("removed 1 log, 4.0 KiB"),
        "{}",
        done.stdout()
    );
    assert_eq!(logs(&repo).len(), 1, "the running task's");
    assert!(root(&repo).join("slot-1").is_dir());

    fs::write(go, "").unwrap();
    Ran(running.wait_with_output().unwrap()).expect_code(0);
    let log = fs::read_to_string(log_of(&repo, "HEAD", "slow")).unwrap();
    assert_eq!(log, "begun\nended\n");
}

#[test]
fn under_pressure_the_logs_of_passed_tasks_go_first() {
    let repo = TestRepo::new();
    repo.job("good", "echo fine")
        .job("bad", "echo because; exit 1");
    repo.commit("one");
    repo.ci(["run"]).expect_code(1);
    let (good, bad) = (log_of(&repo, "HEAD", "good"), log_of(&repo, "HEAD", "bad"));
    age(&bad, 2);
    age(&good, 1);
    repo.git(["config", "ci.logMaxSize", "6k"]);
    let done = repo.ci(["gc", "-v"]).expect_code(0);
    assert!(done.stdout().contains("ci.logMaxSize"), "{}", done.stdout());
    assert!(!good.exists() && bad.exists());
    repo.git(["config", "ci.logMaxSize", "unlimited"]);
    repo.git(["config", "ci.logMaxAge", "never"]);
    age(&bad, 2000);
    repo.ci(["gc"]).expect_code(0);
    assert!(bad.exists());
}

#[test]
fn artifacts_go_by_age_unless_their_commit_is_being_tested() {
    let repo = TestRepo::new();
    repo.job("keep", "echo > $GIT_CI_ARTIFACTS/file")
        .job("none", "true");
    let one = repo.commit("one");
    let two = repo.commit("two");
    repo.ci(["run", &one, &two]).expect_code(0);
    let dir = repo.git_dir().join("ci/artifacts");
    let old = |commit: &str| {
        let commit = dir.join(commit);
        for job in entries(&commit) {
            entries(&job).iter().for_each(|file| age(file, 40));
            age(&job, 40);
        }
        age(&commit, 40);
    };
    let (started, go) = (repo.root().join("started"), repo.root().join("go"));
    let script = format!(
        "touch {}; until test -e {}; do sleep 0.02; done",
        started.display(),
        go.display()
    );
    let mut running = repo.spawn_ci(["run", "-x", &script, &two]);
    wait_until("the job", || started.exists());
    old(&one);
    old(&two);
    repo.ci(["gc"]).expect_code(0);
    assert!(!dir.join(&one).exists());
    assert!(dir.join(&two).join("keep/file").exists());
    fs::write(go, "").unwrap();
    assert!(running.wait().unwrap().success());
    old(&two);
    repo.git(["config", "ci.artifactMaxAge", "never"]);
    repo.git(["config", "ci.artifactMaxSize", "1"]);
    repo.ci(["gc"]).expect_code(0);
    assert!(entries(&dir).is_empty());
}

#[test]
fn unused_worktrees_go_and_come_back_and_the_users_stay() {
    let repo = TestRepo::new();
    repo.job("test", "mkdir -p cache/deep && chmod 500 cache");
    repo.commit("one");
    repo.git(["worktree", "add", "-q", "--detach", "../mine"]);
    repo.git(["worktree", "add", "-q", "--detach", "../gone"]);
    fs::remove_dir_all(repo.root().join("gone")).unwrap();
    repo.ci(["run"]).expect_code(0);
    let slot = root(&repo).join("slot-1");
    repo.ci(["gc"]).expect_code(0);
    assert!(slot.is_dir(), "used a moment ago");

    age(&repo.git_dir().join("ci/slots/slot-1.lock"), 15);
    let done = repo.ci(["gc", "--json"]).expect_code(0);
    let lines: Vec<serde_json::Value> = done
        .stdout()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["event"], "gc");
    assert_eq!(lines[0]["format"], 1);
    assert_eq!(lines[1]["kind"], "worktree");
    assert_eq!(lines[1]["what"], slot.display().to_string());
    assert!(lines[1]["bytes"].as_u64().unwrap() > 0);
    assert!(!slot.exists());
    let listed = repo.git(["worktree", "list"]);
    assert!(!listed.contains("slot-1"), "{listed}");
    assert!(
        listed.contains("/mine ") && listed.contains("/gone "),
        "{listed}"
    );
    repo.ci(["run", "--force"]).expect_code(0);
    assert!(slot.is_dir());
}

#[test]
fn surplus_worktrees_go_after_a_day() {
    let repo = TestRepo::new();
    repo.job("test", "sleep 0.3");
    for n in 0..2 {
        repo.commit(&n.to_string());
    }
    repo.ci(["run", "-j2", "HEAD~1", "HEAD"]).expect_code(0);
    repo.git(["config", "ci.slots", "1"]);
    let slots = entries(&root(&repo)).len();
    repo.ci(["gc"]).expect_code(0);
    assert_eq!(entries(&root(&repo)).len(), slots);
    for slot in 1..=slots {
        age(
            &repo.git_dir().join(format!("ci/slots/slot-{slot}.lock")),
            2,
        );
    }
    repo.ci(["gc"]).expect_code(0);
    assert_eq!(entries(&root(&repo)), [root(&repo).join("slot-1")]);
}

#[test]
fn what_is_no_slot_any_more_goes() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    repo.commit("one");
    repo.ci(["run"]).expect_code(0);
    let slot = root(&repo).join("slot-1");
    fs::remove_dir_all(slot.join(".git")).unwrap();
    repo.ci(["gc"]).expect_code(0);
    assert!(!slot.exists());

    // As older versions had them: linked worktrees of the repository.
    let add = |path: &Path| {
        let path = path.to_str().unwrap();
        repo.git(["worktree", "add", "-q", "--detach", path]);
    };
    add(&slot);
    repo.ci(["gc"]).expect_code(0);
    assert!(!slot.exists());
    assert!(!repo.git(["worktree", "list"]).contains("slot-1"));
    add(&slot);
    fs::remove_dir_all(&slot).unwrap();
    repo.ci(["gc"]).expect_code(0);
    assert!(!repo.git(["worktree", "list"]).contains("slot-1"));
}

#[test]
fn worktrees_of_a_repository_that_is_gone_go() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    repo.commit("one");
    repo.git(["clone", "-q", ".", "../other"]);
    let other = repo.root().join("other");
    fs::copy(repo.path().join(".git-ci.toml"), other.join(".git-ci.toml")).unwrap();
    let mut command = repo.ci_command(["run", "--force"]);
    command
        .env("GIT_COMMITTER_NAME", "A")
        .env("GIT_COMMITTER_EMAIL", "a@example.com");
    Ran(command.current_dir(&other).output().unwrap()).expect_code(0);
    let caches = repo.root().join("home/.cache/git-ci");
    let cache = root(&repo);
    age(&cache.join("slot-1"), 20);
    age(&cache, 20);
    repo.ci(["gc"]).expect_code(0);
    assert!(cache.exists(), "its repository is there");
    fs::remove_dir_all(&other).unwrap();
    repo.ci(["gc"]).expect_code(0);
    assert!(entries(&caches).is_empty());
}

#[test]
fn litter_of_dead_processes_goes_and_nobody_elses() {
    let repo = TestRepo::new();
    repo.commit("one");
    let ci = repo.git_dir().join("ci");
    let pack = repo.git_dir().join("objects/pack");
    let dead = format!("git-ci {}\n", i32::MAX);
    let live = format!("git-ci {}\n", std::process::id());
    let log = "0123456789abcdef.log";
    repo.ci(["run", "-x", "true"]).expect_code(0);
    let aside = root(&repo).join("slot-1.left-1");
    let gone = [
        (aside.join("of somebody else"), "x"),
        (ci.join("records-x1y2"), "x"),
        (ci.join("claims/a-b"), ""),
        (ci.join(format!("logs/{log}.gz.tmp")), "x"),
        (pack.join("pack-1.keep"), &*dead),
    ];
    let stay = [
        (ci.join("records"), "x"),
        (ci.join("records-young"), "x"),
        (ci.join("spool"), ""),
        (ci.join("logs").join(log), "x"),
        (ci.join("logs/note"), "x"),
        (pack.join("pack-2.keep"), &*live),
        (pack.join("pack-3.keep"), "receive-pack 1 on x\n"),
    ];
    for (path, text) in gone.iter().chain(&stay) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        if !path.ends_with("records-young") {
            age(path, 3);
        }
    }
    let done = repo.ci(["gc", "-v"]).expect_code(0);
    for (path, _) in &gone {
        assert!(!path.exists(), "{}\n{}", path.display(), done.stdout());
    }
    for (path, _) in &stay {
        assert!(path.exists(), "{}\n{}", path.display(), done.stdout());
    }
}

#[test]
fn checkpoints_of_deleted_branches_go() {
    let repo = TestRepo::new();
    repo.commit("one");
    repo.git(["branch", "topic/a"]);
    for of in ["heads/main", "heads/topic/a", "heads/lost"] {
        repo.git(["update-ref", &format!("refs/ci/checkpoint/{of}"), "HEAD"]);
    }
    repo.ci(["gc", "-n"]).expect_code(0);
    repo.ci(["gc"]).expect_code(0);
    let left = repo.git(["for-each-ref", "--format=%(refname)", "refs/ci/"]);
    assert_eq!(
        left,
        "refs/ci/checkpoint/heads/main\nrefs/ci/checkpoint/heads/topic/a"
    );
}

#[test]
fn it_may_run_beside_a_run() {
    let repo = TestRepo::new();
    repo.job(
        "test",
        "echo $GIT_CI_COMMIT > $GIT_CI_ARTIFACTS/a; test -f n && test -f $GIT_CI_ARTIFACTS/a",
    );
    for n in 0..12 {
        repo.commit(&n.to_string());
    }
    for key in ["ci.logMaxAge", "ci.artifactMaxAge", "ci.slotMaxAge"] {
        repo.git(["config", key, "0m"]);
    }
    let mut run = repo.spawn_ci(["run", "-j2", "--all"]);
    let mut rounds = 0;
    while run.try_wait().unwrap().is_none() {
        repo.ci(["gc"]).expect_code(0);
        rounds += 1;
    }
    let done = Ran(run.wait_with_output().unwrap()).expect_code(0);
    assert!(
        rounds > 0 && done.stderr().contains("12 passed"),
        "{}",
        done.stderr()
    );
    assert_eq!(repo.noted_commits(), 12);
    repo.git(["fsck", "--strict"]);
}

#[test]
fn bad_limits_are_named() {
    let repo = TestRepo::new();
    repo.git(["config", "ci.logMaxAge", "a while"]);
    let done = repo.ci(["gc"]).expect_code(128);
    assert!(
        done.stderr().contains("ci.logMaxAge = \"a while\""),
        "{}",
        done.stderr()
    );
    repo.git(["config", "ci.logMaxAge", "3d"]);
    repo.git(["config", "ci.logMaxSize", "big"]);
    repo.ci(["gc"]).expect_code(128);
}

#[test]
fn it_frees_a_full_disk() {
    if !is_root() {
        return skip("needs root, for a mount namespace");
    }
    let repo = TestRepo::new();
    repo.job("test", "echo hello");
    repo.commit("one");
    let ci = repo.git_dir().join("ci");
    fs::create_dir_all(&ci).unwrap();
    let script = "mount -t tmpfs -o size=1m none \"$1\" && \"$0\" run && \
         touch -d '15 days ago' \"$1\"/slots/slot-1.lock && \
         touch -d '40 days ago' \"$1\"/logs/* && { cat /dev/zero > \"$1\"/fill; \
         \"$0\" gc && \"$0\" doctor; ls \"$1\"/logs; }";
    let done = repo
        .command("unshare", repo.path())
        .args(["-m", "sh", "-c", script, env!("CARGO_BIN_EXE_git-ci")])
        .arg(&ci)
        .output()
        .unwrap();
    let done = Ran(done);
    assert!(
        done.stdout().contains("removed 1 log,"),
        "{}{}",
        done.stdout(),
        done.stderr()
    );
    assert!(
        done.stdout().contains("removed 1 worktree,"),
        "{}{}",
        done.stdout(),
        done.stderr()
    );
    assert!(!root(&repo).join("slot-1").exists());
}
