//! `git ci watch` where things go wrong: killed at every step, floods, a repository that
//! goes away, a system without watches to give.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Stdio;

use crate::fault::{is_root, skip, with_small_disk};
use crate::support::{TestRepo, wait_until};
use crate::watch::{Watcher, checkpoint, counting, ran, state, wait_for_checkpoint};

/// Every record and every checkpoint, without what differs from run to run.
fn outcome(repo: &TestRepo) -> Vec<String> {
    let mut all = Vec::new();
    let commits = repo.git(["rev-list", "--branches"]);
    for commit in commits.lines() {
        for verdict in repo.verdicts(commit) {
            all.push(format!("{commit} {verdict}"));
        }
    }
    let format = "--format=%(refname) %(objectname)";
    let refs = repo.git(["for-each-ref", format, "refs/ci/checkpoint"]);
    all.extend(refs.lines().map(str::to_owned));
    all.sort();
    all
}

/// A repository whose two branches have something new each.
fn two_branches() -> TestRepo {
    let repo = TestRepo::new();
    repo.tree_job("test", &counting(&repo, "test $(cat n) != 3"));
    repo.job("lint", "true");
    repo.commit("zero");
    assert_eq!(Watcher::start(&repo, &["--until-idle"]).wait(), 0);
    repo.commit("two");
    repo.git(["checkout", "-q", "-b", "topic"]);
    repo.commit("three");
    repo.commit("four");
    repo
}

#[test]
fn killed_at_any_step_it_ends_where_an_uninterrupted_run_does() {
    let whole = two_branches();
    assert_eq!(Watcher::start(&whole, &["--until-idle"]).wait(), 1);
    let expected = outcome(&whole);
    let steps = [
        "noticed",
        "handed-out",
        "handed-out:2",
        "outcome",
        "outcome:3",
        "stored",
        "stored:2",
        "moving",
        "moved",
    ];
    for step in steps {
        let repo = two_branches();
        let env = [("GIT_CI_FAIL_POINT", step)];
        let killed = Watcher::with(&repo, &["--until-idle"], &env);
        assert_eq!(killed.wait(), -1, "{step}");
        // On the first start, too, whatever is stored by then is not run again.
        let before = ran(&repo).len();
        let known: Vec<_> = outcome(&repo);
        let stored = known.iter().filter(|line| line.ends_with(" test")).count();
        let code = Watcher::start(&repo, &["--until-idle"]).wait();
        assert!(code == 1 || code == 0, "{step}: {code}");
        assert_eq!(outcome(&repo), expected, "{step}");
        assert_eq!(ran(&repo).len() - before, 4 - stored, "{step}");
    }
}

#[test]
fn killed_on_its_first_start_it_begins_where_it_would_have() {
    for step in [
        "noticed",
        "handed-out",
        "outcome",
        "stored",
        "moving",
        "moved",
    ] {
        let repo = TestRepo::new();
        repo.job("test", "true");
        let zero = repo.commit("zero");
        repo.commit("one");
        let two = repo.commit("two");
        let env = [("GIT_CI_FAIL_POINT", step)];
        let killed = Watcher::with(&repo, &["--until-idle"], &env);
        assert_eq!(killed.wait(), -1, "{step}");
        let three = repo.commit("three");
        let watcher = Watcher::start(&repo, &["--until-idle"]);
        assert_eq!(watcher.wait(), 0, "{step}");
        assert_eq!(checkpoint(&repo, "main"), three, "{step}");
        assert_eq!(repo.verdicts(&two), ["pass test"], "{step}");
        assert_eq!(repo.verdicts(&three), ["pass test"], "{step}");
        assert_eq!(repo.note(&zero), "", "{step}");
        assert_eq!(repo.noted_commits(), 2, "{step}");
    }
}

#[test]
fn a_deleted_repository_ends_it_with_a_clear_error() {
    for moved in [false, true] {
        let repo = TestRepo::new();
        repo.job("test", "true");
        let zero = repo.commit("zero");
        let watcher = Watcher::start(&repo, &[]);
        wait_for_checkpoint(&repo, "main", &zero);
        if moved {
            fs::rename(repo.path(), repo.root().join("away")).unwrap()
        } else {
            fs::remove_dir_all(repo.git_dir()).unwrap()
        }
        watcher.wait_for("the repository is not there any more");
        assert_eq!(watcher.wait(), 128, "moved: {moved}");
    }
}

#[test]
fn ten_thousand_commits_in_one_push_do_not_starve_the_tip() {
    let repo = TestRepo::new();
    let go = repo.root().join("go");
    repo.tree_job(
        "test",
        &counting(&repo, &format!("test -e {} || sleep 600", go.display())),
    );
    let zero = repo.commit("zero");
    let watcher = Watcher::start(&repo, &["-j1"]);
    wait_until("a start", || ran(&repo).len() == 1);
    let mut stream = String::from("feature done\n");
    for n in 1..=10_000 {
        let from = if n == 1 {
            format!("from {zero}\n")
        } else {
            String::new()
        };
        stream += &format!(
            "commit refs/heads/flood\ncommitter A <a@x> {} +0000\ndata 1\nx\n{from}M 644 inline f\ndata {}\n{n}\n",
            1_760_000_000 + n,
            n.to_string().len()
        );
    }
    stream += "done\n";
    let mut import = repo
        .command("git", repo.path())
        .args(["fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut import.stdin.take().unwrap(), stream.as_bytes()).unwrap();
    assert!(import.wait().unwrap().success());
    let tip = repo.git(["rev-parse", "flood"]);
    wait_until("the flood", || state(&repo).contains(&tip));
    // Newer than the flood, and first when the slot is free.
    let one = repo.commit("one");
    wait_until("the new tip", || state(&repo).contains(&one));
    fs::write(&go, "").unwrap();
    repo.ci(["cancel", &zero]).expect_code(0);
    wait_until("the next", || ran(&repo).len() >= 3);
    assert_eq!(ran(&repo)[1..3], [one, tip]);
    assert_eq!(watcher.interrupt(), 130);
}

#[test]
fn five_thousand_branches_are_watched() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    let zero = repo.commit("zero");
    let refs: String = (0..5000)
        .map(|n| format!("create refs/heads/many/{}/{n} {zero}\n", n % 50))
        .collect();
    let mut update = repo
        .command("git", repo.path())
        .args(["update-ref", "--stdin"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut update.stdin.take().unwrap(), refs.as_bytes()).unwrap();
    assert!(update.wait().unwrap().success());
    let watcher = Watcher::start(&repo, &[]);
    wait_for_checkpoint(&repo, "main", &zero);
    let one = repo.commit("one");
    repo.git(["update-ref", "refs/heads/many/7/57", &one]);
    wait_for_checkpoint(&repo, "many/7/57", &one);
    assert_eq!(repo.noted_commits(), 2);
    assert_eq!(watcher.interrupt(), 130);
}

#[test]
fn without_inotify_it_polls_and_says_so() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    let zero = repo.commit("zero");
    let git_ci = repo.ci_command(["watch", "--until-idle"]);
    let program = git_ci.get_program().to_owned();
    // A user namespace of its own has limits of its own.
    let script = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$0\" watch --until-idle";
    let ran = repo
        .command("unshare", repo.path())
        .args(["--user", "--map-root-user", "sh", "-c", script])
        .arg(program)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    if said.contains("unshare") || said.contains("max_inotify_instances") {
        // No user namespaces on this machine.
        return;
    }
    assert!(ran.status.success(), "{said}");
    assert!(said.contains("looking every 2 s instead"), "{said}");
    assert_eq!(checkpoint(&repo, "main"), zero);
}

#[test]
fn a_full_disk_ends_it_and_the_next_one_goes_on() {
    if !is_root() {
        return skip("needs root, for a mount namespace");
    }
    let repo = TestRepo::new();
    repo.job("test", "true");
    repo.commit("zero");
    let one = repo.commit("one");
    repo.git(["repack", "-adq"]);
    repo.git(["prune-packed"]);
    let objects = repo.git_dir().join("objects");
    let real = repo.git_dir().join("objects.real");
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([&objects, &real])
        .status();
    assert!(copied.unwrap().success());
    let then = format!(
        "cp -r '{0}'.real/. '{0}' && head -c 400000 /dev/zero > '{0}/fill' 2>/dev/null; GIT_CI_FAIL_PAUSES=short exec \"$0\" watch",
        objects.display()
    );
    let (code, said) = with_small_disk(&repo, &objects, "100k", &then);
    assert_eq!(code, 125, "{said}");
    assert!(said.contains("No space left on device"), "{said}");
    assert_eq!(checkpoint(&repo, "main"), "");
    assert_eq!(repo.noted_commits(), 0);
    assert_eq!(Watcher::start(&repo, &["--until-idle"]).wait(), 0);
    assert_eq!(checkpoint(&repo, "main"), one);
    assert_eq!(repo.noted_commits(), 1);
}

#[test]
fn a_broken_ref_is_left_out_and_the_others_are_watched() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    let zero = repo.commit("zero");
    let name = OsStr::from_bytes(b"refs/heads/\xff");
    repo.git([OsStr::new("update-ref"), name, OsStr::new("HEAD")]);
    repo.git(["pack-refs", "--all"]);
    let heads = repo.git_dir().join("refs/heads");
    fs::write(heads.join("empty"), "").unwrap();
    fs::write(heads.join("lost"), format!("{}\n", "1".repeat(40))).unwrap();
    let watcher = Watcher::start(&repo, &[]);
    wait_for_checkpoint(&repo, "main", &zero);
    watcher.wait_for("lost is left out");
    assert_eq!(watcher.said().matches("is left out").count(), 1);
    assert_eq!(watcher.interrupt(), 130);
}

#[test]
fn a_lock_left_on_one_checkpoint_does_not_hold_the_others() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    let zero = repo.commit("zero");
    repo.git(["branch", "stuck"]);
    let dir = repo.git_dir().join("refs/ci/checkpoint/heads");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("stuck.lock"), "").unwrap();
    let watcher = Watcher::start(&repo, &[]);
    wait_for_checkpoint(&repo, "main", &zero);
    watcher.wait_for("failed to move a checkpoint");
    fs::remove_file(dir.join("stuck.lock")).unwrap();
    wait_for_checkpoint(&repo, "stuck", &zero);
    assert_eq!(watcher.interrupt(), 130);
}
