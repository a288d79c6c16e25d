//! `git ci shell`: a person in a slot, where a task would be.

use crate::pty::Terminal;
use crate::support::{TestRepo, wait_until};

#[test]
fn it_finds_what_a_task_would_and_leaves_nothing() {
    let repo = TestRepo::new();
    repo.write(
        ".git-ci.toml",
        "[setup.deps]\nrun = 'echo $B >deps'\nenv = { B = 'set up' }\n\
         [jobs.build]\nrun = 'echo built >built; echo $GIT_CI_JOB >$GIT_CI_ARTIFACTS/file'\n\
         [jobs.test]\nrun = 'true'\nneeds = ['build']\nsetup = ['deps']\nenv = { A = '1' }\n\
         [jobs.bad]\nrun = 'true'\nsetup = ['bad']\n[setup.bad]\nrun = 'exit 3'\n\
         [jobs.m]\nrun = 'true'\nmatrix = { v = [1, 2] }\n",
    );
    repo.write(".gitignore", "deps\n").commit("one");
    let first = repo.git(["rev-parse", "HEAD"]);
    repo.commit("two");
    repo.write("file", "mine\n");
    let before = repo.git(["status", "--porcelain"]);
    let shell = |args: &[&str]| repo.ci(["shell"].iter().chain(args));
    let out = shell(&[
        "-c",
        "echo $GIT_CI_JOB $A $CI; cat deps built $GIT_CI_ARTIFACTS_BUILD/file; \
         git rev-parse HEAD; touch left; exit 7",
        "HEAD~1",
        "test",
    ]);
    assert_eq!(out.code(), 7, "{}", out.stderr());
    let expected = format!("test 1 true\nset up\nbuilt\nbuild\n{first}\n");
    assert_eq!(out.stdout(), expected);
    assert_eq!(repo.noted_commits(), 0);
    assert_eq!(repo.git(["status", "--porcelain"]), before);
    let out = shell(&["-c", "ls; echo ${GIT_CI_COMMIT-none}"]).expect_code(0);
    assert_eq!(out.stdout(), "deps\nn\nnone\n", "HEAD, and no job");
    let out = shell(&["-c", "true", "HEAD", "bad"]).expect_code(125);
    assert!(
        out.stderr()
            .contains("failed to set up bad: exit status: 3"),
        "{}",
        out.stderr()
    );
    let out = shell(&["-c", "true", "HEAD", "m"]).expect_code(129);
    assert!(
        out.stderr().contains("m means several jobs: m[1], m[2]"),
        "{}",
        out.stderr()
    );
    assert_eq!(shell(&["-c", "kill -9 $$"]).code(), 137);
    shell(&["HEAD", "tset"]).expect_code(129);
    shell(&["nothing"]).expect_code(128);
    repo.ci(["run", "--job", "test"]).expect_code(0);
}

#[test]
fn it_has_the_terminal_and_its_slot_to_itself() {
    let repo = TestRepo::new();
    repo.git(["config", "ci.slots", "1"]);
    repo.job("test", "true").commit("one");
    let words = ["env", "SHELL=/bin/sh", "PS1=here> ", "git", "ci", "shell"];
    let mut terminal = Terminal::start(&repo, &words);
    terminal.wait_for("here> ");
    // What is typed is for what runs there.
    terminal.press("echo a$((1 + 1)); sleep 60\n");
    terminal.wait_for("a2");
    std::thread::sleep(std::time::Duration::from_millis(200));
    terminal.press("\x03");
    terminal.press("echo b$((1 + 1)); sleep 1000 &\n");
    terminal.wait_for("b2");
    let run = repo.spawn_ci(["run"]);
    wait_until("the run to wait", || {
        repo.ci(["status", "--json"])
            .stdout()
            .contains("\"job\":\"shell\"")
    });
    terminal.press("exit 3\n");
    let (status, shown) = terminal.wait();
    assert_eq!(status.code(), Some(3), "{shown}");
    let out = run.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(0));
    assert_eq!(repo.verdicts("HEAD"), ["pass test"]);
}

#[test]
fn what_a_failed_job_left_is_kept_until_somebody_was_there() {
    let repo = TestRepo::new();
    repo.git(["config", "ci.slots", "1"]);
    repo.write(
        ".git-ci.toml",
        "[jobs.test]\nrun = 'echo left >untracked; echo changed >n; exit $(cat code)'\n\
         [jobs.shaky]\nrun = 'test $GIT_CI_TRY = 2'\nretries = 1\n",
    );
    repo.write("code", "1").commit("bad");
    let bad = repo.git(["rev-parse", "HEAD"]);
    repo.write("code", "0").commit("good");
    let kept = |said: &str| said.matches("is kept as").count();
    let ran = repo
        .ci(["run", "--keep-failed", &bad, "HEAD"])
        .expect_code(1);
    let said = ran.stderr();
    let line = format!("is kept as test left it: git ci shell {} test", &bad[..10]);
    assert_eq!(kept(&said), 1, "{said}");
    assert!(said.contains(&line), "{said}");
    let shown = repo.ci(["show", &bad]).stdout();
    assert!(
        shown.contains("is kept as it was left: git ci shell"),
        "{shown}"
    );
    // Others do not get it, and there is no want of slots.
    repo.ci(["run", "--force", "HEAD"]).expect_code(0);
    let look = [
        "shell",
        &bad,
        "test",
        "-c",
        "cat untracked; git status --short; exit 7",
    ];
    let seen = repo.ci(look).expect_code(7);
    assert_eq!(seen.stdout(), "left\n M n\n?? untracked\n");
    // Once somebody was there it is as any other, and clean.
    let seen = repo.ci(look).expect_code(7);
    assert_eq!(seen.stdout(), "");
    assert!(!repo.ci(["show", &bad]).stdout().contains("kept"));

    // The same job on the same commit once more takes the place of what was kept.
    for _ in 0..2 {
        let said = repo.ci(["run", "--force", "--keep-failed", &bad]);
        assert_eq!(kept(&said.expect_code(1).stderr()), 1);
    }
    let slots = repo.git_dir().join("ci/slots");
    let states = std::fs::read_dir(slots).unwrap().flatten();
    let kept = states.filter(|state| {
        let text = std::fs::read_to_string(state.path()).unwrap_or_default();
        text.contains("kept_for")
    });
    assert_eq!(kept.count(), 1);
}
