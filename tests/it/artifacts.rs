//! What jobs leave: kept, bounded, listed and copied out, here and from hosts.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use crate::beds::SshBed;
use crate::support::TestRepo;

/// The output of `git ci artifacts`, with `ARTIFACTS` for the directory of all and without
/// what aligns it.
fn listed(repo: &TestRepo, words: &[&str]) -> String {
    let mut args = vec!["artifacts"];
    args.extend(words);
    let text = repo.ci(args).expect_code(0).stdout();
    let dir = repo.git_dir().canonicalize().unwrap().join("ci/artifacts");
    let text = text.replace(dir.to_str().unwrap(), "ARTIFACTS");
    let lines = text.lines().map(|line| line.trim().to_owned() + "\n");
    lines.collect()
}

#[test]
fn what_jobs_leave_is_listed_and_copied_out() {
    let repo = TestRepo::new();
    repo.write(".gitignore", "/target\n");
    repo.jobs_file(
        "[jobs.test]\n\
         run = 'mkdir -p target/report && echo page >target/report/index.html && echo no >target/other && \
                echo shot >$GIT_CI_ARTIFACTS/crash.png && ln -s crash.png $GIT_CI_ARTIFACTS/last && exit 1'\n\
         artifacts = 'target/report'\n\
         [jobs.lint]\nrun = 'true'\n\
         [jobs.build]\nrun = 'echo x >$GIT_CI_ARTIFACTS/app; chmod +x $GIT_CI_ARTIFACTS/app'\n",
    );
    let commit = repo.commit("one");
    repo.ci(["artifacts"]).expect_code(125);
    repo.ci(["run"]).expect_code(1);
    let test = format!(
        "test: ARTIFACTS/{commit}/test\n5 bytes  crash.png\nlink  last -> crash.png\n\
         5 bytes  target/report/index.html\n"
    );
    assert_eq!(listed(&repo, &["HEAD", "test"]), test);
    assert_eq!(listed(&repo, &["test"]), test);
    let build = format!("build: ARTIFACTS/{commit}/build\n2 bytes  app\n");
    assert_eq!(listed(&repo, &[]), format!("{build}{test}"));

    let refused = repo.ci(["artifacts", "HEAD", "lint"]).expect_code(125);
    let said = refused.stderr();
    assert!(
        said.contains("failed to find artifacts of lint on "),
        "{said}"
    );
    repo.ci(["artifacts", "HEAD", "none"]).expect_code(129);
    let refused = repo.ci(["artifacts", "--extract", "out"]).expect_code(129);
    let said = refused.stderr();
    assert!(
        said.contains("several left something, build, test"),
        "{said}"
    );

    repo.ci(["artifacts", "HEAD", "test", "--extract", "out/deep"])
        .expect_code(0);
    let out = repo.path().join("out/deep");
    let page = fs::read_to_string(out.join("target/report/index.html"));
    assert_eq!(page.unwrap(), "page\n");
    assert_eq!(fs::read_to_string(out.join("last")).unwrap(), "shot\n");
    let again = repo.ci(["artifacts", "HEAD", "test", "--extract", "out/deep"]);
    let said = again.expect_code(128).stderr();
    assert!(said.contains("crash.png is there already"), "{said}");
    repo.ci(["artifacts", "HEAD", "build", "--extract", "tool"])
        .expect_code(0);
    let mode = fs::metadata(repo.path().join("tool/app")).unwrap().mode();
    assert_eq!(mode & 0o300, 0o300, "{mode:o}");
}

#[test]
fn equal_content_has_equal_artifacts_and_takes_its_place_once() {
    let repo = TestRepo::new();
    repo.write("src/a", "a").jobs_file(
        "[jobs.test]\n\
         run = 'head -c 100000 /dev/zero >$GIT_CI_ARTIFACTS/same; cp -r src $GIT_CI_ARTIFACTS'\n\
         paths = ['src']\n",
    );
    let one = repo.commit("one");
    let two = repo.write("src/a", "b").commit("two");
    repo.ci(["run", &one, &two]).expect_code(0);
    let all = repo.git_dir().join("ci/artifacts");
    let file = |commit: &str, name: &str| {
        let dir = all.join(commit).join("test");
        fs::metadata(dir.join(name)).unwrap()
    };
    assert_eq!(file(&one, "same").ino(), file(&two, "same").ino());
    assert_eq!(file(&one, "same").mode() & 0o222, 0);
    assert_ne!(file(&one, "src/a").ino(), file(&two, "src/a").ino());
    // A commit whose verdict is that of another one.
    repo.write("other", "x").commit("three");
    repo.ci(["run"]).expect_code(0);
    let text = listed(&repo, &["HEAD", "test"]);
    let expected = format!("test: ARTIFACTS/{two}/test\n");
    assert!(text.starts_with(&expected), "{text}");

    // What nobody has any more takes no room.
    let find = |words: &[&str]| {
        let done = Command::new("find").arg(&all).args(words).output();
        String::from_utf8(done.unwrap().stdout).unwrap()
    };
    find(&["-exec", "touch", "-h", "-d", "2 days ago", "{}", "+"]);
    repo.git(["config", "ci.artifactMaxSize", "120k"]);
    repo.ci(["gc"]).expect_code(0);
    assert_eq!(
        find(&["-name", "same"]).lines().count(),
        2,
        "one takes both"
    );
    repo.git(["config", "ci.artifactMaxSize", "1"]);
    repo.ci(["gc"]).expect_code(0);
    assert_eq!(find(&["-type", "f"]), "");
}

#[test]
fn each_try_has_what_it_left() {
    let repo = TestRepo::new();
    repo.jobs_file(
        "[jobs.test]\n\
         run = 'echo $GIT_CI_TRY >$GIT_CI_ARTIFACTS/try; test $GIT_CI_TRY = 3'\nretries = 5\n",
    );
    let commit = repo.commit("one");
    repo.ci(["run"]).expect_code(0);
    let text = format!(
        "test, try 1: ARTIFACTS/{commit}/test~1\n2 bytes  try\n\
         test, try 2: ARTIFACTS/{commit}/test~2\n2 bytes  try\n\
         test: ARTIFACTS/{commit}/test\n2 bytes  try\n"
    );
    assert_eq!(listed(&repo, &["HEAD", "test"]), text);
    repo.ci(["artifacts", "--extract", "out"]).expect_code(0);
    let last = fs::read_to_string(repo.path().join("out/try"));
    assert_eq!(last.unwrap(), "3\n");
    // Another task has nothing to do with them.
    repo.write(".git-ci.toml", "[jobs.test]\nrun = 'true'\n");
    repo.ci(["run"]).expect_code(0);
    repo.ci(["artifacts"]).expect_code(125);
}

#[test]
fn a_shell_may_change_what_it_sees_of_them() {
    let repo = TestRepo::new();
    repo.job("test", "echo left >$GIT_CI_ARTIFACTS/file");
    repo.commit("one");
    repo.ci(["run"]).expect_code(0);
    let look = "cat $GIT_CI_ARTIFACTS/file && echo changed >$GIT_CI_ARTIFACTS/file";
    let seen = repo
        .ci(["shell", "HEAD", "test", "-c", look])
        .expect_code(0);
    assert_eq!(seen.stdout(), "left\n");
    repo.ci(["artifacts", "--extract", "out"]).expect_code(0);
    let file = fs::read_to_string(repo.path().join("out/file"));
    assert_eq!(file.unwrap(), "left\n");
    let beside = repo.git_dir().join("ci/artifacts");
    let beside = beside.join(repo.git(["rev-parse", "HEAD"]));
    assert_eq!(fs::read_dir(beside).unwrap().count(), 1);
}

#[test]
fn what_cannot_be_kept_is_named_and_changes_no_verdict() {
    let repo = TestRepo::new();
    repo.git(["config", "ci.artifactMaxSize", "1m"]);
    let script = r#"
cd $GIT_CI_ARTIFACTS
truncate -s 5G huge
ln -s /etc/passwd out
ln -s ../../.. up
mkfifo pipe
mkdir d && echo good >d/good && ln -s ../d/good d/link
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
printf x >"$(printf 'es\033[31mc')"
"#;
    repo.write("test.sh", script)
        .jobs_file("[jobs.test]\nrun = 'sh test.sh'\nartifacts = ['none/*']\n");
    repo.commit("one");
    repo.ci(["run"]).expect_code(0);
    let log = repo.ci(["logs", "HEAD", "test"]).expect_code(0).stdout();
    let out = "it is a link that leads out of the directory";
    let no_file = "it is neither a file nor a directory";
    for (name, why) in [
        (
            "huge",
            "it has 5.0 GiB, and a task may leave 1.0 MiB (`ci.artifactMaxSize`)",
        ),
        ("out", out),
        ("up", out),
        ("pipe", no_file),
        ("socket", no_file),
    ] {
        let remark = format!("{name} is left out of the artifacts: {why}\n");
        assert!(log.contains(&remark), "{remark} in {log}");
    }
    assert!(
        log.contains("no file matches `artifacts` (none/*)"),
        "{log}"
    );
    let text = listed(&repo, &["HEAD", "test"]);
    let lines: Vec<_> = text.lines().skip(1).collect();
    let expected = [
        "5 bytes  d/good",
        "link  d/link -> ../d/good",
        "1 bytes  es\\x1b[31mc",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_hundred_thousand_files_are_kept_and_not_one_more() {
    let repo = TestRepo::new();
    repo.job(
        "test",
        "cd $GIT_CI_ARTIFACTS && python3 -c 'for i in range(100002): open(f\"{i:06}\", \"w\").close()'",
    );
    let commit = repo.commit("one");
    repo.ci(["run"]).expect_code(0);
    let dir = repo.git_dir().join("ci/artifacts").join(commit);
    assert_eq!(fs::read_dir(dir.join("test")).unwrap().count(), 100_000);
    let log = repo.ci(["logs", "HEAD", "test"]).expect_code(0).stdout();
    let remark = "100001 is left out of the artifacts: a task may leave 100000 files";
    assert!(log.contains(remark), "{log}");
}

#[test]
fn what_is_left_on_a_host_arrives() {
    let repo = TestRepo::new();
    repo.write(".gitignore", "/out\n").jobs_file(
        "[jobs.test]\n\
         run = 'mkdir out && head -c 3000000 /dev/zero >out/big && ln -s out/big $GIT_CI_ARTIFACTS/link && \
         echo $GIT_CI_TRY $GIT_CI_RUNNER >$GIT_CI_ARTIFACTS/who; chmod +x $GIT_CI_ARTIFACTS/who; test $GIT_CI_TRY = 2'\n\
         artifacts = ['out']\nretries = 1\nclean = 'all'\n[jobs.none]\nrun = 'true'\n",
    );
    let commit = repo.commit("one");
    let Some(bed) = SshBed::up(&repo, 1) else {
        return;
    };
    // Of an earlier run, here.
    let all = repo.git_dir().join("ci/artifacts").join(&commit);
    fs::create_dir_all(all.join("none")).unwrap();
    fs::write(all.join("none/stale"), "x").unwrap();
    repo.ci(["run"]).expect_code(0);
    let files = "link  link -> out/big\n2.9 MiB  out/big\n5 bytes  who\n";
    assert_eq!(
        listed(&repo, &[]),
        format!(
            "test, try 1: ARTIFACTS/{commit}/test~1\n{files}test: ARTIFACTS/{commit}/test\n{files}"
        )
    );
    let (first, last) = (all.join("test~1"), all.join("test"));
    assert_eq!(fs::read_to_string(last.join("who")).unwrap(), "2 h1\n");
    let meta = |path: &Path| fs::metadata(path).unwrap();
    assert_eq!(meta(&last.join("who")).mode() & 0o700, 0o500);
    let big = |dir: &Path| meta(&dir.join("out/big")).ino();
    assert_eq!(big(&first), big(&last));
    bed.expect_nothing_left();
}
