//! What is typed wrong, and what was typed for another program.

use crate::support::{Ran, TestRepo};

#[test]
fn words_of_git_commit_get_a_way_out() {
    let repo = TestRepo::new();
    for args in [
        &["-m", "message"][..],
        &["-am", "message"],
        &["-a"],
        &["--amend"],
        &["-a", "--amend"],
    ] {
        let done = repo.ci(args).expect_code(129);
        let said = done.stderr();
        assert!(
            said.contains("git config --global alias.c commit"),
            "{said}"
        );
        assert!(said.contains("git commit"), "{said}");
    }
    repo.git(["config", "alias.ci", "commit -v"]);
    let said = repo.ci(["-m", "x"]).expect_code(129).stderr();
    assert!(said.contains("your alias.ci = commit -v"), "{said}");
    assert!(said.contains("alias.c 'commit -v'"), "{said}");
    let said = repo.ci(["some-file.c"]).expect_code(129).stderr();
    assert!(said.contains("your alias.ci"), "{said}");
}

#[test]
fn without_arguments_there_is_help_and_a_slip_is_named() {
    let repo = TestRepo::new();
    let done = repo.ci::<&str>([]).expect_code(129);
    assert!(done.stderr().contains("Commands:") && done.stdout().is_empty());
    for (slip, meant) in [("rnu", "run"), ("docter", "doctor")] {
        let said = repo.ci([slip]).expect_code(129).stderr();
        assert!(said.contains(meant) && !said.contains("alias"), "{said}");
    }
}

#[test]
fn help_is_grouped_and_opens_pages_or_says_what_it_can() {
    let repo = TestRepo::new();
    let list = repo.ci(["help"]).expect_code(0).stdout();
    assert_eq!(list, repo.ci(["-h"]).expect_code(0).stdout());
    let place = |text: &str| list.find(text).unwrap_or_else(|| panic!("{text}\n{list}"));
    assert!(place("\nstart\n") < place("\n  run ") && place("\n  run ") < place("\nlook"));
    assert!(place("\n  doctor ") < place("\n  notify "), "{list}");
    let mut command = repo.ci_command(["help", "run"]);
    command.env("MANPATH", repo.root());
    let shown = Ran(command.output().unwrap()).expect_code(0).stdout();
    assert!(
        shown.contains("Usage: git ci run") && shown.contains("Examples:"),
        "{shown}"
    );
    let man = repo.root().join("man1");
    std::fs::create_dir(&man).unwrap();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/man/git-ci-run.1");
    std::fs::copy(page, man.join("git-ci-run.1")).unwrap();
    for name in ["run", "git-ci-run"] {
        let mut command = repo.ci_command(["help", name]);
        command.env("MANPATH", repo.root()).env("MANPAGER", "cat");
        let shown = Ran(command.output().unwrap()).expect_code(0).stdout();
        assert!(shown.starts_with("GIT-CI-RUN(1)"), "{shown}");
    }
    // What there is of a format is its page, installed or not.
    let mut command = repo.ci_command(["help", "note"]);
    command.env("MANPATH", repo.root()).env("MANPAGER", "cat");
    let shown = Ran(command.output().unwrap()).expect_code(0).stdout();
    assert!(shown.starts_with("GIT-CI-NOTE(5)"), "{shown}");
    let said = repo.ci(["help", "rnu"]).expect_code(129).stderr();
    assert!(said.contains("`git ci help run`"), "{said}");
}

#[test]
fn another_directory_is_gone_to_first() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    repo.write("sub/dir/file", "").commit("one");
    let root = repo.root().to_str().unwrap();
    let git_ci = env!("CARGO_BIN_EXE_git-ci");
    for words in [
        &["-C", "repo", "run"][..],
        &["-C", root, "-C", "repo/sub", "-C", "", "-C", "dir", "run"],
    ] {
        let mut command = repo.command(git_ci, repo.root());
        Ran(command.args(words).output().unwrap()).expect_code(0);
    }
    assert_eq!(repo.verdicts("HEAD"), ["pass test"]);
    let said = repo.ci(["-C", "nowhere", "run"]).expect_code(128).stderr();
    assert!(said.contains("failed to go to nowhere"), "{said}");
}

#[test]
fn the_version_says_what_a_bug_report_needs() {
    let repo = TestRepo::new();
    let short = repo.ci(["version"]).expect_code(0).stdout();
    assert_eq!(short, repo.ci(["--version"]).expect_code(0).stdout());
    let long = repo
        .ci(["version", "--build-options"])
        .expect_code(0)
        .stdout();
    for word in ["system: Linux ", "build: ", "git: 2."] {
        assert!(long.contains(word), "{long}");
    }
}

#[test]
fn durations_and_sizes_are_written_alike_everywhere() {
    let repo = TestRepo::new();
    repo.commit("one");
    // What was meant where it can be guessed, and the grammar where not.
    for (value, fix) in [
        ("5", "for seconds write 5s"),
        ("10 minutes", "write 10m"),
        ("1.5h", "write 1h30m"),
        ("soon", "such as 90s, 1m30s or 2w"),
    ] {
        let said = |args: &[&str]| repo.ci(args).0;
        let of = |output: std::process::Output| String::from_utf8(output.stderr).unwrap();
        let jobs = format!("[jobs.test]\nrun = 'true'\ntimeout = '{value}'\n");
        std::fs::write(repo.root().join("jobs.toml"), jobs).unwrap();
        let mut all = vec![said(&["run", "--config", "../jobs.toml"])];
        all.push(said(&["watch", "--poll", value]));
        all.push(said(&["watch", "--fetch", "x", "--every", value]));
        for (key, command) in [("ci.lease", "run"), ("ci.logMaxAge", "gc")] {
            repo.git(["config", key, value]);
            all.push(said(&[command]));
            all.push(said(&["doctor"]));
            repo.git(["config", "--unset", key]);
        }
        for output in all {
            let said = of(output.clone()) + &String::from_utf8(output.stdout).unwrap();
            assert!(said.contains(fix), "{value}: {said}");
        }
    }
    repo.job("test", "true");
    repo.jobs_file("timeout = '1m 30s'\ngrace = '500ms'\n");
    for (key, value) in [
        ("ci.lease", "1m30s"),
        ("ci.logMaxAge", "2w3d"),
        ("ci.slotMaxAge", "never"),
        ("ci.logMaxSize", "1g"),
        ("ci.artifactMaxSize", "500M"),
    ] {
        repo.git(["config", key, value]);
    }
    repo.ci(["run"]).expect_code(0);
    repo.ci(["gc"]).expect_code(0);
    repo.git(["config", "ci.logMaxSize", "1.5g"]);
    let said = repo.ci(["gc"]).expect_code(128).stderr();
    assert!(said.contains("such as 500m or 1g, or unlimited"), "{said}");
}

#[test]
fn a_slip_is_answered_with_the_nearest_right_command() {
    let repo = TestRepo::new();
    repo.job("test", "true").write("file", "").commit("one");
    for (code, words, says) in [
        (129, &["test"][..], "did you mean `git ci run --job test`?"),
        (129, &["HEAD"], "did you mean `git ci run HEAD`?"),
        (129, &["main.."], "did you mean `git ci run main..`?"),
        (
            129,
            &["--dry-run", "main"],
            "did you mean `git ci run --dry-run main`?",
        ),
        (
            129,
            &["--until-idle"],
            "did you mean `git ci watch --until-idle`?",
        ),
        (
            129,
            &["run", "-j", "test"],
            "`test` is a job: did you mean `--job test`?",
        ),
        (
            128,
            &["run", "test"],
            "`test` is a job: did you mean `--job test`?",
        ),
        (
            128,
            &["show", "test"],
            "`test` is a job: did you mean `--job test`?",
        ),
        (128, &["log", "file"], "`git ci log -- file`"),
        (129, &["log", "--graph"], "`git log --notes=ci --graph`"),
        (
            129,
            &["log", "--jobs", "x"],
            "similar argument exists: '--job'",
        ),
    ] {
        let said = repo.ci(words).expect_code(code).stderr();
        assert!(said.contains(says), "{words:?}: {said}");
        assert!(!said.contains("alias"), "{words:?}: {said}");
    }
    // A revision cannot begin with a dash.
    let said = repo.ci(["run", "--no-such"]).expect_code(129).stderr();
    assert!(!said.contains("as a value"), "{said}");
    repo.git(["config", "alias.ci", "commit"]);
    let said = repo.ci(["--all"]).expect_code(129).stderr();
    assert!(
        said.contains("`git ci run --all`") && said.contains("your alias.ci"),
        "{said}"
    );
}
