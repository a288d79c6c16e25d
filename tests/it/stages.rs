//! Jobs that do not run everywhere: before a commit, and for what some branches reach.

use std::fs;
use std::process::Output;

use crate::support::{TestRepo, wait_until};

fn git(repo: &TestRepo, args: &[&str]) -> (bool, String) {
    let Output { status, stderr, .. } = repo
        .command("git", repo.path())
        .args(args)
        .output()
        .unwrap();
    (
        status.success(),
        String::from_utf8_lossy(&stderr).into_owned(),
    )
}

/// The lines of the jobs file for `fmt`, which looks at one file, and `test`.
const STAGED: &str = "[jobs.fmt]\nrun = '! grep BAD file'\nstage = 'commit'\ndefault = false\n\
     [jobs.test]\nrun = 'true'\n";

#[test]
fn what_is_staged_is_looked_at_before_it_is_committed() {
    let repo = TestRepo::new();
    repo.write(".git-ci.toml", STAGED).write("file", "good\n");
    let hook = repo.git_dir().join("hooks/pre-commit");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\necho mine >&2\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&hook, mode).unwrap();
    repo.ci(["hook", "install", "--pre-commit"]).expect_code(0);
    repo.git(["add", "."]);
    let (done, said) = git(&repo, &["commit", "-qm", "one"]);
    assert!(done && said.contains("before the first commit"), "{said}");
    assert!(said.ends_with("mine\n"), "{said}");

    // Bad as it is staged, whatever the work tree says.
    repo.write("file", "BAD\n").git(["add", "file"]);
    repo.write("file", "good\n");
    let index = repo.git(["ls-files", "--stage"]);
    let (done, said) = git(&repo, &["commit", "-qm", "two"]);
    assert!(!done && !said.contains("mine"), "{said}");
    for part in ["FAIL ", "| BAD", "git commit --no-verify"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(!said.contains("GIT_INDEX_FILE"), "{said}");
    assert_eq!(repo.git(["ls-files", "--stage"]), index);
    assert_eq!(repo.git(["rev-list", "--count", "HEAD"]), "1");
    // And good as `-a` takes it, from an index of its own.
    let (done, said) = git(&repo, &["commit", "-qam", "two"]);
    assert!(!done, "nothing differs: {said}");
    repo.write("file", "better\n");
    let (done, said) = git(&repo, &["commit", "-qam", "two"]);
    assert!(done && said.contains("pass "), "{said}");
    // What was said of it holds for the commit.
    let out = repo.ci(["run", "--stage", "commit"]).expect_code(0);
    assert!(out.stderr().contains("1 cached"), "{}", out.stderr());
    repo.ci(["run"]).expect_code(0);
    assert_eq!(repo.verdicts("HEAD"), ["pass fmt", "pass test"]);

    // A skip speaks against nothing; a command that is not there does.
    for (run, may) in [("exit 125", true), ("no-such-command", false)] {
        repo.write(".git-ci.toml", STAGED.replace("! grep BAD file", run));
        let (done, said) = git(&repo, &["commit", "-qam", run]);
        assert_eq!(done, may, "{run}: {said}");
    }
    let (done, _) = git(&repo, &["commit", "-qam", "forced", "--no-verify"]);
    assert!(done);
    // Without such a job, and without a jobs file.
    repo.write(".git-ci.toml", "[jobs.test]\nrun = 'false'\n");
    let (done, said) = git(&repo, &["commit", "-qam", "none"]);
    assert!(done && said == "mine\n", "{said}");

    repo.git(["rm", "-qf", ".git-ci.toml"]);
    let (done, said) = git(&repo, &["commit", "-qm", "no jobs"]);
    assert!(done && said == "mine\n", "{said}");

    repo.ci(["hook", "remove"]).expect_code(0);
    let left = fs::read_to_string(&hook).unwrap();
    assert_eq!(left, "#!/bin/sh\necho mine >&2\n");
    repo.ci(["run", "--stage", "push"]).expect_code(129);
}

const BRANCHES: &str = "[jobs.test]\nrun = 'true'\n\
     [jobs.deploy]\nrun = 'cat packed'\nbranches = ['main', 'release/*']\nneeds = ['pack']\n\
     [jobs.pack]\nrun = 'echo packed >packed'\ndefault = false\n";

#[test]
fn jobs_of_branches_run_for_what_these_reach() {
    let repo = TestRepo::new();
    repo.write(".git-ci.toml", BRANCHES);
    let one = repo.commit("one");
    repo.git(["branch", "-M", "main"]);
    repo.git(["checkout", "-qb", "topic"]);
    let two = repo.commit("two");
    let said = repo.ci(["run", &one, &two]).expect_code(0).stderr();
    let left = "deploy is left out on 1 commit: it runs only on main, release/*";
    assert!(said.contains(left), "{said}");
    let all = ["pass deploy", "pass pack", "pass test"];
    assert_eq!(repo.verdicts(&one), all);
    assert_eq!(repo.verdicts(&two), ["pass test"]);
    // Nothing is missing there.
    let shown = repo.ci(["status", &two, "--job", "deploy", "--job", "test"]);
    let line = format!("{}          ✓ pass  two\n", &two[..10]);
    assert!(shown.stdout().ends_with(&line), "{}", shown.stdout());
    repo.ci(["wait", &two]).expect_code(0);
    repo.ci(["run", "-n", &two]).expect_code(0);
    let said = repo.ci(["run", "--job", "deploy", &two]);
    assert!(said.expect_code(0).stderr().contains(left));
    let said = repo.ci(["run", "--job", "deploy", "--worktree"]).stderr();
    assert!(said.contains(left), "{said}");
    // A remote's branch is one, too.
    repo.git(["update-ref", "refs/remotes/origin/release/1", &two]);
    repo.ci(["run", &two]).expect_code(0);
    assert_eq!(repo.verdicts(&two), all);
    repo.git(["update-ref", "-d", "refs/remotes/origin/release/1"]);

    for (value, slip) in [
        ("[]", "names no branch"),
        ("['refs/heads/main']", "without `refs/heads/`"),
        ("['!main']", "the name of a branch"),
        ("'main'", "a list of strings"),
    ] {
        let text = BRANCHES.replace("['main', 'release/*']", value);
        repo.write(".git-ci.toml", text);
        let said = repo.ci(["run"]).expect_code(128).stderr();
        assert!(said.contains(slip), "{value}: {said}");
    }
}

#[test]
fn a_watcher_runs_them_when_a_branch_comes_to_reach_what_was_tested() {
    let repo = TestRepo::new();
    repo.write(".git-ci.toml", BRANCHES).commit("one");
    repo.git(["branch", "-M", "main"]);
    repo.git(["checkout", "-qb", "topic"]);
    let all = ["pass deploy", "pass pack", "pass test"];
    let mut watcher = repo.spawn_ci(["watch"]);
    wait_until("the first", || repo.verdicts("HEAD") == all);
    let two = repo.commit("two");
    let three = repo.commit("three");
    let tested = |expected: &[&str]| {
        let has = |commit: &String| repo.verdicts(commit) == expected;
        has(&two) && has(&three)
    };
    wait_until("the topic", || tested(&["pass test"]));
    repo.git(["branch", "-f", "main", "topic"]);
    wait_until("what main reaches now", || tested(&all));
    // Also where nobody watched meanwhile.
    let stop = |watcher: &mut std::process::Child| {
        let pid = rustix::process::Pid::from_child(watcher);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        watcher.wait().unwrap();
    };
    stop(&mut watcher);
    let four = repo.commit("four");
    repo.ci(["run", "--new"]).expect_code(0);
    assert_eq!(repo.verdicts(&four), ["pass test"]);
    repo.git(["branch", "-f", "main", "topic"]);
    repo.ci(["run", "--new"]).expect_code(0);
    assert_eq!(repo.verdicts(&four), all);
    let again = repo.ci(["run", "--new"]).expect_code(0);
    assert!(!again.stdout().contains("pass"), "{}", again.stdout());
}
