//! The commands that read results: `log`, `show`, `status` and `logs`.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Ran, TestRepo, wait_until};

/// One record as a note's line; the log need not be there.
fn line(status: &str, job: &str, time: &str, tree: &str, def: &str) -> String {
    let why = match status {
        "FAIL" => " why=exit:1",
        "ERROR" => " why=spawn",
        _ => "",
    };
    format!(
        "{status:<5} {job:<9}  1.5s {time} elsewhere v=1 try=1{why} tree={tree} def={def} log={}",
        "7d3f9a02c4e1".to_owned() + &def[..4]
    )
}

fn tree(repo: &TestRepo, rev: &str) -> String {
    repo.git(["rev-parse", &format!("{rev}^{{tree}}")])
}

fn add_note(repo: &TestRepo, rev: &str, text: &str) {
    let file = repo.root().join("note");
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    repo.git(["notes", "--ref=ci", "append", "-F", file, rev]);
}

/// What varies from run to run, made the same: durations, times of day, machines, log ids.
fn steady(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let words = line.split(' ').map(|word| {
            let seconds = word.strip_suffix('s').and_then(|n| n.parse::<f64>().ok());
            match word {
                _ if seconds.is_some() => "0.0s",
                _ if word.starts_with("20") && word.len() == 10 => "YYYY-MM-DD",
                _ if word.ends_with("/slot-1") => "PATH",
                _ if word.len() == 5 && word.as_bytes()[2] == b':' => "HH:MM",
                _ if word.trim_end_matches(',').ends_with("-linux") => {
                    if word.ends_with(',') {
                        "PLATFORM,"
                    } else {
                        "PLATFORM"
                    }
                }
                other => other,
            }
        });
        out += &words.collect::<Vec<_>>().join(" ");
        out.push('\n');
    }
    out
}

fn json(ran: &Ran) -> Vec<serde_json::Value> {
    let lines = ran.stdout();
    let parse = |line: &str| serde_json::from_str(line).unwrap();
    lines.lines().map(parse).collect()
}

/// Three commits: two with a verdict of each job, the oldest without any.
fn tested() -> TestRepo {
    let repo = TestRepo::new();
    repo.git(["config", "ci.name", "mira"]);
    repo.job("test", "cat n; echo done; test $(cat n) != 2")
        .job("lint", "true");
    repo.commit("one");
    repo.commit("two \u{1b}[31mred");
    repo.commit("three");
    repo.ci(["run", "-j1", "HEAD~2..", "--order=oldest"])
        .expect_code(1);
    repo
}

#[test]
fn status_is_a_table_of_symbols_and_words() {
    let repo = tested();
    let ran = repo.ci(["status"]).expect_code(0);
    insta::assert_snapshot!(ran.stdout(), @r#"
        The last commits:
        commit      test    lint    subject
        984bbe6197  ✓ pass  ✓ pass  three
        698e10c826  ✗ FAIL  ✓ pass  two \x1b[31mred
        0b9e79ad65  -       -       one
        "#);
    assert_eq!(ran.stderr(), "");
    repo.ci(["status", "-n", "1", "--job=lint"]).expect_code(0);
}

#[test]
fn show_is_a_page_about_one_commit() {
    let repo = tested();
    add_note(&repo, "HEAD~1", "reviewed by hand \u{1b}[31mred");
    let ran = repo.ci(["show", "HEAD~1"]).expect_code(0);
    insta::assert_snapshot!(steady(&ran.stdout()), @r#"
        commit 698e10c8268fb83dc07c45a2516ac20494a25f1b
        Author: A U Thor <author@example.com>
        Date:   Sun Jun 15 15:08:40 2025 +0000

            two \x1b[31mred

        FAIL  test    0.0s  YYYY-MM-DD HH:MM  mira  (exit code 1)
              | 2
              | done
              ran: cat n; echo done; test $(cat n) != 2, on PLATFORM, usually 0.0s
              whole log: git ci logs 698e10c826 test
              run again: git ci run --force --job test 698e10c826
        pass  lint    0.0s  YYYY-MM-DD HH:MM  mira
              ran: true, on PLATFORM, usually 0.0s

        Other lines of the note (of other programs, or of a newer git-ci):
              | reviewed by hand \x1b[31mred
        "#);
    let ran = repo.ci(["show", "HEAD~1", "--lines=1"]).expect_code(0);
    assert!(!ran.stdout().contains("| 2\n"), "{}", ran.stdout());
    let ran = repo.ci(["show", "HEAD~2"]).expect_code(0);
    assert!(ran.stdout().contains("(never run)"), "{}", ran.stdout());
}

#[test]
fn log_is_a_line_a_record() {
    let repo = tested();
    add_note(
        &repo,
        "HEAD~2",
        &line(
            "pass",
            "test",
            "2020-01-02T03:04:05Z",
            &tree(&repo, "HEAD~2"),
            "5b21c0de9a410000",
        ),
    );
    // Within a second, records come by commit.
    let all = repo.ci(["log"]).expect_code(0).stdout();
    assert_eq!(all.lines().count(), 5, "{all}");
    let last = all.lines().last().unwrap();
    insta::assert_snapshot!(last, @"pass  0b9e79ad65 test    1.5s  2020-01-02 03:04  elsewhere  (outdated) one");
    let failed = repo.ci(["log", "--failed"]).expect_code(0).stdout();
    insta::assert_snapshot!(steady(&failed), @r"FAIL  698e10c826 test    0.0s  YYYY-MM-DD HH:MM  mira  (exit code 1) two \x1b[31mred");
    for (args, count) in [
        (&["-n", "2"][..], 2),
        (&["HEAD"], 2),
        (&["HEAD~2..HEAD", "--job", "lint"], 2),
        (&["--status", "PASS,error"], 4),
        (&["--since", "2021-01-01"], 4),
        (&["HEAD~1", "--status=skip"], 0),
    ] {
        let ran = repo.ci(["log"].iter().chain(args)).expect_code(0);
        assert_eq!(ran.stdout().lines().count(), count, "{args:?}");
    }
}

#[test]
fn json_starts_with_the_format_and_says_what_counts() {
    let repo = tested();
    for command in [
        &["log"][..],
        &["show"],
        &["status"],
        &["logs", "HEAD", "test"],
    ] {
        let lines = json(&repo.ci(command.iter().chain(&["--json"])).expect_code(0));
        assert_eq!(lines[0]["event"], command[0]);
        assert_eq!(lines[0]["format"], 1);
        assert!(lines.len() > 1, "{command:?}");
    }
    let log = json(&repo.ci(["log", "--json", "--failed"]).expect_code(0));
    assert_eq!(log[1]["status"], "FAIL");
    assert_eq!(log[1]["why"], "exit:1");
    assert_eq!(log[1]["standing"], "current");
    assert_eq!(log[1]["subject"], "two \u{1b}[31mred");
    let show = json(&repo.ci(["show", "--json", "HEAD~1"]).expect_code(0));
    assert_eq!(show[0]["author"], "A U Thor");
    let test = show.iter().find(|line| line["job"] == "test").unwrap();
    assert_eq!(test["counts"], true);
    assert_eq!(test["tail"], serde_json::json!(["2", "done"]));
    assert_eq!(test["command"], "cat n; echo done; test $(cat n) != 2");
    assert!(test["platform"].as_str().unwrap().ends_with("-linux"));
    assert!(test["usual_ms"].is_u64());
    let status = json(&repo.ci(["status", "--json"]).expect_code(0));
    assert_eq!(status[0]["jobs"], serde_json::json!(["test", "lint"]));
    assert_eq!(status[2]["cells"][0]["record"]["status"], "FAIL");
    assert!(status[3]["cells"][0]["record"].is_null());
    let logs = json(&repo.ci(["logs", "HEAD", "test", "--json"]).expect_code(0));
    assert_eq!(logs[0]["record"]["runner"], "mira");
    assert_eq!(logs[1]["line"], "3");
    assert_eq!(logs.last().unwrap()["event"], "end");
}

#[test]
fn what_does_not_count_is_marked() {
    let repo = tested();
    let tree_of_head = tree(&repo, "HEAD");
    for text in [
        // Of another definition, and newer than what counts.
        line(
            "FAIL",
            "test",
            "2037-01-01T00:00:00Z",
            &tree_of_head,
            "aaaa000000000000",
        ),
        // Of other contents.
        line(
            "FAIL",
            "test",
            "2037-01-02T00:00:00Z",
            &tree(&repo, "HEAD~1"),
            "bbbb000000000000",
        ),
        // A version to come, and garbage.
        line(
            "FAIL",
            "test",
            "2037-01-03T00:00:00Z",
            &tree_of_head,
            "cccc000000000000",
        )
        .replace(" v=1 ", " v=2 "),
        "FAIL test \u{1b}]0;title\u{7} \u{202e}".to_owned(),
    ] {
        add_note(&repo, "HEAD", &text);
    }
    let status = repo.ci(["status", "-n1"]).expect_code(0).stdout();
    assert!(
        status.contains("✓ pass") && !status.contains("FAIL"),
        "{status}"
    );
    let shown = repo.ci(["show"]).expect_code(0).stdout();
    insta::assert_snapshot!(steady(&shown).replace(&tree_of_head, "TREE"), @r#"
        commit 984bbe61977b448a6eaef17f3c592e1b8690372e
        Author: A U Thor <author@example.com>
        Date:   Sun Jun 15 15:09:40 2025 +0000

            three

        pass  test    0.0s  YYYY-MM-DD HH:MM  mira
              ran: cat n; echo done; test $(cat n) != 2, on PLATFORM
        pass  lint    0.0s  YYYY-MM-DD HH:MM  mira
              ran: true, on PLATFORM, usually 0.0s
              slot 1 is as it was left: PATH

        Records that do not count:
        FAIL  test    0.0s  YYYY-MM-DD HH:MM  elsewhere  (exit code 1, stale)
        FAIL  test    0.0s  YYYY-MM-DD HH:MM  elsewhere  (exit code 1, outdated)

        Other lines of the note (of other programs, or of a newer git-ci):
              | FAIL  test       0.0s 2037-01-03T00:00:00Z elsewhere v=2 try=1 why=exit:1 tree=TREE def=cccc000000000000 log=7d3f9a02c4e1cccc
              | FAIL test \x1b]0;title\x07 \u{202e}
        "#);
    let log = repo.ci(["log", "HEAD"]).expect_code(0).stdout();
    assert_eq!(log.matches("(exit code 1, stale)").count(), 1, "{log}");
    assert_eq!(log.matches("(exit code 1, outdated)").count(), 1, "{log}");
    let foreign = json(&repo.ci(["show", "--json"]).expect_code(0));
    let foreign = foreign.iter().filter(|line| line["event"] == "foreign");
    assert_eq!(foreign.count(), 2);
    // A changed job makes what it said before outdated, and the newest of that counts.
    repo.job("more", "true");
    let file = repo.path().join(".git-ci.toml");
    let jobs = fs::read_to_string(&file)
        .unwrap()
        .replace("cat n;", "cat n ;");
    fs::write(&file, jobs).unwrap();
    let status = repo.ci(["status", "-n1"]).expect_code(0).stdout();
    // The failure is dated in the future, and so is behind what is not.
    assert!(status.contains("✓ pass (outdated)"), "{status}");
    assert!(status.contains("(outdated): "), "{status}");
}

#[test]
fn an_amended_message_keeps_its_verdict() {
    let repo = tested();
    repo.git(["commit", "-q", "--amend", "-m", "three, said better"]);
    let status = repo.ci(["status", "-n1"]).expect_code(0).stdout();
    assert_eq!(status.matches("✓ pass").count(), 2, "{status}");
    let shown = repo.ci(["show"]).expect_code(0).stdout();
    assert!(shown.contains(", same tree)"), "{shown}");
    repo.ci(["logs", "HEAD", "test"]).expect_code(0);
}

#[test]
fn reading_needs_no_jobs_file() {
    let repo = tested();
    let file = repo.path().join(".git-ci.toml");
    fs::write(&file, "[jobs.test]\nrum = 1\n").unwrap();
    let ran = repo.ci(["status"]).expect_code(0);
    assert!(
        ran.stderr().contains("did you mean `run`"),
        "{}",
        ran.stderr()
    );
    fs::remove_file(&file).unwrap();
    let ran = repo.ci(["status"]).expect_code(0);
    assert!(
        ran.stdout().contains("commit      lint    test    subject"),
        "{}",
        ran.stdout()
    );
    assert_eq!(ran.stdout().matches("✗ FAIL").count(), 1);
    assert_eq!(ran.stderr(), "");
    for command in [&["log"][..], &["show"], &["logs", "HEAD~1", "test"]] {
        let ran = repo.ci(command).expect_code(0);
        assert_eq!(ran.stderr(), "", "{command:?}");
        assert!(!ran.stdout().is_empty(), "{command:?}");
    }
    // What the user names must be there.
    repo.ci(["status", "--config=no-such-file"])
        .expect_code(128);
}

#[test]
fn jobs_that_are_not_configured_are_still_on_record() {
    let repo = tested();
    repo.ci(["run", "-x", "true", "--as", "adhoc"])
        .expect_code(0);
    let shown = repo.ci(["show"]).expect_code(0).stdout();
    assert!(shown.contains("pass  adhoc "), "{shown}");
    assert!(shown.contains("(not configured)"), "{shown}");
    assert!(!repo.ci(["status"]).stdout().contains("adhoc"));
    let status = repo.ci(["status", "--job=adhoc", "-n1"]).expect_code(0);
    assert!(status.stdout().contains("✓ pass"), "{}", status.stdout());
    repo.ci(["logs", "HEAD", "adhoc"]).expect_code(0);
}

#[test]
fn status_shows_the_commits_that_are_not_upstream() {
    let repo = tested();
    repo.git(["branch", "base", "HEAD~1"]);
    repo.git(["branch", "-q", "--set-upstream-to=base"]);
    let status = repo.ci(["status"]).expect_code(0).stdout();
    assert!(
        status.starts_with("Commits that are not in base:\n"),
        "{status}"
    );
    assert_eq!(status.lines().count(), 3, "{status}");
    repo.git(["branch", "-f", "base", "HEAD"]);
    let status = repo.ci(["status"]).expect_code(0).stdout();
    assert!(status.starts_with("The last commits:\n"), "{status}");
    assert_eq!(status.lines().count(), 5, "{status}");
    let none = repo.ci(["status", "HEAD..HEAD"]).expect_code(0);
    assert!(none.stderr().contains("no commits"), "{}", none.stderr());
}

#[test]
fn what_is_unknown_is_told_with_the_nearest_name() {
    let repo = tested();
    for (code, args, hint) in [
        (129, &["logs", "HEAD", "tset"][..], "did you mean `test`?"),
        (128, &["logs", "mian", "test"], "did you mean `main`?"),
        (128, &["show", "HAED~1"], "did you mean `HEAD~1`?"),
        (129, &["logs"], "git ci logs "),
        (128, &["logs", "tset"], ""),
        (129, &["logs", "HEAD"], "git ci logs "),
        (129, &["log", "--job=lnit"], "did you mean `lint`?"),
        (129, &["status", "--job=lnit"], "did you mean `lint`?"),
        (125, &["logs", "HEAD~2", "test"], "git ci run --job test "),
    ] {
        let ran = repo.ci(args).expect_code(code);
        assert!(ran.stderr().contains(hint), "{args:?}\n{}", ran.stderr());
        assert_eq!(ran.stdout(), "", "{args:?}");
    }
}

#[test]
fn head_and_its_only_job_need_no_name() {
    let repo = tested();
    let named = repo.ci(["logs", "HEAD", "test"]).expect_code(0).stdout();
    assert_eq!(repo.ci(["logs", "test"]).expect_code(0).stdout(), named);
    let only = TestRepo::new();
    only.job("test", "echo said");
    only.commit("one");
    only.ci(["run"]).expect_code(0);
    assert_eq!(only.ci(["logs"]).expect_code(0).stdout(), "said\n");
}

#[test]
fn notes_outlive_their_commits() {
    let repo = tested();
    let gone = repo.git(["rev-parse", "HEAD"]);
    repo.git(["reset", "-q", "--hard", "HEAD~1"]);
    repo.git(["reflog", "expire", "--expire=now", "--all"]);
    // The slots have it checked out.
    fs::remove_dir_all(repo.root().join("home/.cache")).unwrap();
    repo.git(["worktree", "prune"]);
    repo.git(["prune", "--expire=now"]);
    let log = repo.ci(["log"]).expect_code(0).stdout();
    assert_eq!(log.matches("(not in this repository)").count(), 2, "{log}");
    assert!(log.contains(&gone[..10]), "{log}");
}

#[test]
fn a_log_goes_into_a_pipe_as_it_is_and_onto_a_terminal_escaped() {
    let repo = TestRepo::new();
    repo.job("test", "printf 'a\\033[31mb\\000\\377\\n'; exit 1");
    repo.commit("one");
    repo.ci(["run"]).expect_code(1);
    let raw = repo.ci(["logs", "HEAD", "test"]).expect_code(0);
    assert_eq!(raw.0.stdout, b"a\x1b[31mb\0\xff\n");
    let seen = on_terminal(&repo, "git-ci logs HEAD", &[("PAGER", "cat")]);
    assert!(seen.contains("a\\x1b[31mb\\x00\\xff"), "{seen:?}");
    let seen = on_terminal(&repo, "git-ci logs HEAD --raw", &[("PAGER", "cat")]);
    assert!(seen.contains("a\u{1b}[31mb\0"), "{seen:?}");
}

#[test]
fn a_log_that_is_not_here_is_an_error_that_says_where_it_is() {
    let repo = tested();
    // The results of this one travel.
    let clone = repo.root().join("clone");
    repo.git(["clone", "-q", ".", clone.to_str().unwrap()]);
    let there = |program: &str, args: &[&str]| {
        let mut command = repo.command(program, &clone);
        Ran(command.args(args).output().unwrap())
    };
    let refspec = "refs/notes/ci:refs/notes/ci";
    there("git", &["fetch", "-q", "origin", refspec]).expect_code(0);
    there("git", &["config", "ci.name", "mira"]).expect_code(0);
    let never = there(env!("CARGO_BIN_EXE_git-ci"), &["logs", "HEAD", "test"]);
    let never = never.expect_code(125).stderr();
    assert!(never.contains("never in this clone"), "{never}");
    let shown = there(env!("CARGO_BIN_EXE_git-ci"), &["show", "HEAD~1"]);
    assert!(shown.stdout().contains("never in this clone"));

    for log in fs::read_dir(repo.git_dir().join("ci/logs")).unwrap() {
        let log = fs::File::options().write(true).open(log.unwrap().path());
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        log.unwrap().set_modified(long_ago).unwrap();
    }
    repo.ci(["gc"]).expect_code(0);
    let removed = repo.ci(["logs", "HEAD", "test"]).expect_code(125);
    assert!(
        removed.stderr().contains("`git ci gc` removed it"),
        "{}",
        removed.stderr()
    );
    let shown = repo.ci(["show", "HEAD~1"]).expect_code(0).stdout();
    assert!(shown.contains("its log was removed"), "{shown}");
    repo.git(["config", "ci.name", "other"]);
    let elsewhere = repo.ci(["logs", "HEAD", "test"]).expect_code(125);
    assert!(
        elsewhere.stderr().contains("test ran on mira"),
        "{}",
        elsewhere.stderr()
    );
    let shown = repo.ci(["show", "HEAD~1"]).expect_code(0).stdout();
    assert!(shown.contains("its log is on mira"), "{shown}");
}

#[test]
fn what_is_no_file_in_the_place_of_a_log_is_named() {
    let repo = TestRepo::new();
    repo.job("test", "echo out; exit 1").commit("one");
    repo.ci(["run"]).expect_code(1);
    let mut logs = fs::read_dir(repo.git_dir().join("ci/logs")).unwrap();
    let log = logs.next().unwrap().unwrap().path();
    let secret = repo.root().join("secret");
    fs::write(&secret, "secret\n").unwrap();
    for make in [
        "mkfifo $LOG",
        "ln -s $SECRET $LOG",
        "ln -s /dev/zero $LOG",
        "mkdir $LOG",
    ] {
        let mut shell = repo.command("sh", repo.path());
        let script = format!("rm -rf $LOG; {make}");
        let made = shell.args(["-ec", &script]).env("LOG", &log);
        assert!(made.env("SECRET", &secret).status().unwrap().success());
        let shown = repo.ci(["show"]).expect_code(0).stdout();
        let read = repo.ci(["logs"]);
        assert_eq!(read.code(), 128, "{make}: {}", read.stderr());
        assert!(read.stderr().contains("failed to read log"), "{make}");
        assert!(!(shown + &read.stdout()).contains("secret"), "{make}");
        repo.ci(["gc"]).expect_code(0);
    }
}

/// A run whose job waits for the file `go`.
fn waiting_run(repo: &TestRepo) -> Child {
    let go = repo.root().join("go");
    let until = format!("until test -e {}; do sleep 0.02; done", go.display());
    repo.job("slow", &format!("echo first; {until}; echo last; exit 1"));
    repo.commit("one");
    let run = repo.spawn_ci(["run"]);
    wait_until("the job's output", || {
        let log = repo.ci(["logs", "HEAD", "slow"]);
        log.code() == 0 && log.stdout() == "first\n"
    });
    run
}

fn let_go(repo: &TestRepo, mut run: Child) {
    fs::write(repo.root().join("go"), "").unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(1));
}

#[test]
fn a_running_task_is_seen_and_its_log_followed_to_the_end() {
    let repo = TestRepo::new();
    let run = waiting_run(&repo);
    let log = repo.ci(["logs", "HEAD", "slow"]).expect_code(0);
    assert!(log.stderr().contains("still running"), "{}", log.stderr());
    let status = repo.ci(["status"]).expect_code(0).stdout();
    assert!(status.contains("▶ running"), "{status}");
    assert!(status.contains("Running now:\n  slot 1 "), "{status}");
    let lines = json(&repo.ci(["status", "--json"]).expect_code(0));
    assert_eq!(lines[1]["cells"][0]["running"], true);
    assert_eq!(lines[2]["event"], "running");
    let shown = repo.ci(["show"]).expect_code(0).stdout();
    assert!(shown.contains("running slow"), "{shown}");

    let mut follow = repo.spawn_ci(["logs", "HEAD", "slow", "--follow"]);
    let mut out = BufReader::new(follow.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "first\n");
    let_go(&repo, run);
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "last\n");
    assert!(follow.wait().unwrap().success());
    assert!(!repo.ci(["status"]).stdout().contains("running"));
}

#[test]
fn a_follower_ends_when_the_run_is_killed() {
    let repo = TestRepo::new();
    let mut run = waiting_run(&repo);
    let mut follow = repo.spawn_ci(["logs", "HEAD", "slow", "-f"]);
    let mut out = BufReader::new(follow.stdout.take().unwrap());
    let mut text = String::new();
    out.read_line(&mut text).unwrap();
    run.kill().unwrap();
    run.wait().unwrap();
    out.read_to_string(&mut text).unwrap();
    assert_eq!(text, "first\n");
    assert!(follow.wait().unwrap().success());
}

#[test]
fn a_closed_pipe_is_no_error() {
    let repo = tested();
    for command in [
        &["log"][..],
        &["status"],
        &["show"],
        &["logs", "HEAD", "test"],
    ] {
        let mut ci = repo.spawn_ci(command);
        drop(ci.stdout.take());
        let output = ci.wait_with_output().unwrap();
        assert!(output.status.success(), "{command:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{command:?}");
    }
}

/// What a terminal sees of a shell command, through script(1).
fn on_terminal(repo: &TestRepo, line: &str, env: &[(&str, &str)]) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_git-ci"));
    let path = format!(
        "{}:{}",
        program.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let mut script = repo.command("script", repo.path());
    script
        .args(["-q", "-e", "-c", line, "/dev/null"])
        .env("PATH", path)
        .env("TERM", "xterm")
        .envs(env.iter().copied());
    let output = script.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_terminal_gets_a_pager_as_git_would_start_it() {
    let repo = tested();
    let marker = [("PAGER", "sed s/^/PAGED:/")];
    let paged = |line: &str, env: &[(&str, &str)]| {
        let seen = on_terminal(&repo, line, env);
        assert!(seen.contains("pass"), "{line}: {seen}");
        seen.contains("PAGED:")
    };
    assert!(paged("git-ci log", &marker));
    assert!(paged("git ci show", &marker));
    assert!(!paged("git ci status", &marker), "as git status");
    assert!(!paged("git --no-pager ci log", &marker));
    assert!(!paged("git -c pager.ci=false ci log", &marker));
    assert!(!paged("GIT_PAGER=cat git ci log", &marker));
    assert!(!paged("GIT_PAGER= git ci log", &marker));
    assert!(!paged("git ci log | cat", &marker));
    assert!(paged("git -c core.pager='sed s/^/PAGED:/' ci log", &[]));
    assert!(paged("git -p ci status", &marker), "git's own pager");
    assert!(!paged("git-ci log", &[("PAGER", "no-such-pager")]));
    repo.git(["config", "pager.ci", "sed s/^/PAGED:/"]);
    assert!(paged("git-ci log", &[("PAGER", "cat")]));
    repo.git(["config", "pager.ci", "false"]);
    assert!(!paged("git-ci log", &marker));
}

#[test]
fn colours_stay_on_in_a_pager_and_go_with_a_pipe() {
    let repo = tested();
    let red = "\u{1b}[1m\u{1b}[31mFAIL";
    let cat = [("PAGER", "cat -")];
    assert!(on_terminal(&repo, "git ci log", &cat).contains(red));
    assert!(on_terminal(&repo, "git -p ci log", &cat).contains(red));
    assert!(on_terminal(&repo, "git ci status --color=always | cat", &cat).contains("\u{1b}[31m"));
    for line in [
        "git ci log | cat",
        "NO_COLOR=1 git ci log",
        "git -c color.ui=false ci log",
        "git -c color.ci=never ci log",
        "git -c color.pager=false ci log",
        "git ci log --color=never",
        "TERM=dumb git ci log",
    ] {
        let seen = on_terminal(&repo, line, &cat);
        assert!(
            seen.contains("FAIL") && !seen.contains('\u{1b}'),
            "{line}: {seen:?}"
        );
    }
}

#[test]
fn a_pager_that_quits_early_is_no_error() {
    let repo = tested();
    let tree = tree(&repo, "HEAD~2");
    let many: String = (0..5000)
        .map(|n| {
            let def = format!("{n:016x}");
            line("pass", "test", "2020-01-01T00:00:00Z", &tree, &def) + "\n"
        })
        .collect();
    add_note(&repo, "HEAD~2", &many);
    let seen = on_terminal(&repo, "git-ci log; echo code $?", &[("PAGER", "head -n 1")]);
    assert_eq!(seen.lines().count(), 2, "{seen}");
    assert!(seen.contains("code 0"), "{seen}");
}

#[test]
fn less_shows_the_first_page_and_survives_ctrl_c() {
    let repo = tested();
    // A test that waits in vain ends, too.
    let mut script = repo.command("timeout", repo.path());
    let program = Path::new(env!("CARGO_BIN_EXE_git-ci"));
    let mut terminal = script
        .args(["--foreground", "60", "script", "-q", "-e", "-c"])
        .arg(format!("stty rows 3; exec {} log", program.display()))
        .arg("/dev/null")
        .env("TERM", "xterm")
        .env("PAGER", "less")
        .env("LESS", "FRX")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keys = terminal.stdin.take().unwrap();
    let mut out = terminal.stdout.take().unwrap();
    let mut seen = Vec::new();
    let mut read_until = |what: &str| {
        while !String::from_utf8_lossy(&seen).contains(what) {
            let mut part = [0; 1024];
            let count = out.read(&mut part).unwrap();
            assert!(count > 0, "{}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&part[..count]);
        }
        seen.clear();
    };
    read_until(":\u{1b}[K");
    keys.write_all(b"\x03").unwrap();
    // The terminal throws away what is typed at the same time.
    let seen_end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !seen_end.load(Ordering::Relaxed) {
                keys.write_all(b"G").unwrap();
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        read_until("(END)");
        seen_end.store(true, Ordering::Relaxed);
    });
    keys.write_all(b"q").unwrap();
    assert!(terminal.wait().unwrap().success());
}

#[test]
fn narrow_terminals_get_narrow_tables() {
    let repo = tested();
    for name in [
        "a-job-with-a-long-name[features=default]",
        "a-job-with-a-long-name[features=none]",
    ] {
        repo.job(name, "true");
    }
    for width in [40, 60, 80, 140] {
        let mut status = repo.ci_command(["status"]);
        let output = status.env("COLUMNS", width.to_string()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        for line in text.lines() {
            assert!(line.chars().count() <= width, "{width}: {text}");
        }
        assert!(text.contains("FAIL"), "{text}");
    }
}

#[test]
fn a_bare_repository_shows_each_commits_own_jobs() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    fs::write(repo.git_dir().join("info/exclude"), "").unwrap();
    repo.commit("one");
    let bare = repo.root().join("bare.git");
    repo.git(["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
    let ci = |args: &[&str]| {
        let program = env!("CARGO_BIN_EXE_git-ci");
        let mut command = repo.command(program, &bare);
        Ran(command.args(args).output().unwrap())
    };
    let before = ci(&["status"]).expect_code(0).stdout();
    assert!(before.contains("commit      test  subject"), "{before}");
}

#[test]
fn a_broken_jobs_file_is_told_once_and_hides_no_record() {
    let repo = TestRepo::new();
    repo.job("test", "true").commit("one");
    repo.ci(["run"]).expect_code(0);
    for broken in ["[jobs.test\n", "", "[jobs.test]\nrn = 1\n"] {
        repo.write(".git-ci.toml", broken);
        for args in [
            &["status"][..],
            &["log"],
            &["show"],
            &["logs"],
            &["logs", "HEAD", "test"],
        ] {
            let done = repo.ci(args).expect_code(0);
            let said = done.stderr();
            assert_eq!(said.matches("warning:").count(), 1, "{args:?}: {said}");
            assert!(
                said.contains("failed to understand the jobs file\n.git-ci.toml:1:"),
                "{said}"
            );
        }
        // It may be there, in what cannot be read: no mistake of the user's.
        for args in [
            &["status", "--job", "lint"][..],
            &["log", "--job", "lint"],
            &["show", "--job", "lint"],
            &["logs", "HEAD", "lint"],
            &["run"],
            &["run", "-n"],
            &["watch"],
        ] {
            let said = repo.ci(args).expect_code(128).stderr();
            assert_eq!(
                said.matches("understand the jobs file").count(),
                1,
                "{said}"
            );
        }
    }
}

#[test]
fn a_name_that_nobody_knows_is_told_in_a_whole_sentence() {
    let repo = TestRepo::new();
    repo.commit("one");
    let said = || {
        let done = repo.ci(["logs", "HEAD", "lint"]).expect_code(129);
        done.stderr().lines().next().unwrap().to_owned()
    };
    let none = "error: failed to find a job named \"lint\": none is configured here, and none is on record";
    assert_eq!(said(), none);
    repo.job("test", "true");
    let one = "error: failed to find a job named \"lint\": the only one is test";
    assert_eq!(said(), one);
    repo.job("build", "true");
    let two = "error: failed to find a job named \"lint\": there are build, test";
    assert_eq!(said(), two);
}

#[test]
fn show_says_what_is_usual_and_how_to_run_it_again() {
    let repo = TestRepo::new();
    repo.git(["config", "ci.name", "mira"]);
    repo.jobs_file("[jobs.\"a[x]\"]\nrun = '''\necho first\nfalse\n'''\n");
    repo.commit("one");
    repo.ci(["run"]).expect_code(1);
    let tree = tree(&repo, "HEAD");
    for (day, took) in [(1, "10.0s"), (2, "70.0s"), (3, "30.0s")] {
        let time = format!("2020-01-0{day}T03:04:05Z");
        let def = format!("{day}b21c0de9a410000");
        let pass = line("pass", "a[x]", &time, &tree, &def).replace(" 1.5s", took);
        add_note(&repo, "HEAD", &pass);
    }
    let head = repo.git(["rev-parse", "--short=10", "HEAD"]);
    let shown = repo.ci(["show"]).expect_code(0).stdout();
    assert!(shown.contains("ran: echo first …, on "), "{shown}");
    assert!(shown.contains(", usually 30.0s\n"), "{shown}");
    let again = format!("run again: git ci run --force --job 'a[x]' {head}\n");
    assert!(shown.contains(&again), "{shown}");
    // Where it can be looked at, until something else is there.
    let left = "slot 1 is as it was left: ";
    let slot = shown
        .lines()
        .find_map(|line| line.trim().strip_prefix(left));
    assert!(fs::exists(slot.unwrap()).unwrap(), "{shown}");
    repo.ci(["run", "-x", "true"]).expect_code(0);
    let shown = repo.ci(["show"]).expect_code(0).stdout();
    assert!(!shown.contains(left), "{shown}");
    // What was run is not known any more.
    fs::write(
        repo.path().join(".git-ci.toml"),
        "[jobs.\"a[x]\"]\nrun = 'true'\n",
    )
    .unwrap();
    let shown = repo.ci(["show"]).expect_code(0).stdout();
    assert!(
        shown.contains("ran: on ") && !shown.contains("echo first"),
        "{shown}"
    );
}

#[test]
fn log_takes_what_git_log_takes() {
    let repo = tested();
    repo.write("dir/a", "").commit("four");
    repo.ci(["run", "--job", "lint"]).expect_code(0);
    let log = |args: &[&str]| {
        let all = ["log"].iter().chain(args);
        repo.ci(all).expect_code(0).stdout()
    };
    assert_eq!(log(&["-1"]), log(&["-n", "1"]));
    assert_eq!(log(&["-3"]).lines().count(), 3);
    assert_eq!(log(&["-2", "HEAD~2.."]), log(&["HEAD~2..", "-2"]));
    let status = repo.ci(["status", "-2"]).expect_code(0).stdout();
    assert_eq!(status, repo.ci(["status", "-n2"]).stdout());
    insta::assert_snapshot!(log(&["--oneline", "HEAD~2"]), @r"
    698e10c826 FAIL  test two \x1b[31mred
    698e10c826 pass  lint two \x1b[31mred
    ");
    // Paths are those of the directory that one is in, and git's own patterns.
    assert_eq!(log(&["--", "dir"]).lines().count(), 1);
    assert_eq!(log(&["HEAD~3..", "--", ":/di*/a"]).lines().count(), 1);
    assert_eq!(log(&["--", "n"]).lines().count(), 5);
    assert_eq!(log(&["--failed", "--", "n"]).lines().count(), 1);
    assert_eq!(log(&["HEAD~1", "--", "dir"]), "");
    let mut below = repo.ci_command(["log", "--", "a"]);
    below.current_dir(repo.path().join("dir"));
    let found = Ran(below.output().unwrap()).expect_code(0).stdout();
    assert_eq!(found, log(&["--", "dir/a"]));
    let said = repo
        .ci(["log", "--", ":(nonsense)x"])
        .expect_code(128)
        .stderr();
    assert!(said.contains("nonsense"), "{said}");
}
