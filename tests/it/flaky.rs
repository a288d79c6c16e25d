//! `git ci flaky`: what gave both verdicts on the same content.

use std::fs;

use crate::support::TestRepo;

/// A job that fails every other time, and says so in JUnit's XML; it needs nothing that is new.
fn file(repo: &TestRepo) -> String {
    let count = repo.root().join("count");
    fs::write(&count, "0").unwrap();
    format!(
        "[jobs.test]\njunit = 'out.xml'\npaths = ['src']\nrun = '''\n\
         n=$(($(cat {0}) + 1)); echo $n >{0}\n\
         printf '<testsuite name=\"s\"><testcase name=\"steady\"/><testcase classname=\"s\" name=\"shaky\">' >out.xml\n\
         [ $((n % 2)) = 0 ] || printf '<failure message=\"no\"/>' >>out.xml\n\
         echo '</testcase></testsuite>' >>out.xml\n\
         [ $((n % 2)) = 0 ]\n'''\n[jobs.good]\nrun = 'true'\n[jobs.bad]\nrun = 'false'\n",
        count.display()
    )
}

#[test]
fn what_passes_and_fails_on_the_same_content_is_flaky() {
    let repo = TestRepo::new();
    repo.write("src/a", "1").write(".git-ci.toml", file(&repo));
    let one = repo.commit("one");
    let nothing = repo.ci(["flaky"]).expect_code(0);
    assert!(
        nothing.stderr().contains("nothing gave both verdicts"),
        "{}",
        nothing.stderr()
    );
    repo.ci(["run"]).expect_code(1);
    // Once failed, or failed on other content, is not flaky.
    assert_eq!(repo.ci(["flaky"]).expect_code(0).stdout(), "");
    repo.write("src/a", "2").commit("two");
    repo.ci(["run"]).expect_code(1);
    assert_eq!(repo.ci(["flaky"]).expect_code(0).stdout(), "");
    repo.ci(["run", "--force", &one]).expect_code(1);
    repo.ci(["run", "--force", &one]).expect_code(1);
    // A commit that takes a verdict over adds no run.
    repo.write("other", "x").commit("three");
    repo.ci(["run"]).expect_code(1);
    let shown = repo.ci(["flaky"]).expect_code(0).stdout();
    let short = &one[..10];
    let mut lines = shown.lines();
    let job = lines.next().unwrap();
    assert!(
        job.starts_with("test  1 of 2 contents (50.0 %), 2 of 3 runs there failed, last ")
            && job.ends_with(&format!(" on {short}")),
        "{shown}"
    );
    assert_eq!(
        (lines.next(), lines.next()),
        (Some(""), Some("tests of test"))
    );
    let test = lines.next().unwrap();
    assert!(
        test.starts_with("  s shaky  2 of 3 runs there failed, last "),
        "{shown}"
    );
    assert_eq!(lines.next(), None);
    assert_eq!(
        repo.ci(["flaky", "--job", "good"]).expect_code(0).stdout(),
        ""
    );
    repo.ci(["flaky", "--job", "none"]).expect_code(129);
    let to_come = repo.ci(["flaky", "--since", "2090-01-01"]).expect_code(0);
    assert_eq!(to_come.stdout(), "");

    // What somebody said to forget is no evidence.
    repo.ci(["forget", "--job", "test", &one]).expect_code(0);
    assert_eq!(repo.ci(["flaky"]).expect_code(0).stdout(), "");
}

#[test]
fn tries_of_one_run_count_each() {
    let repo = TestRepo::new();
    repo.write("src/a", "1").write(
        ".git-ci.toml",
        file(&repo).replace("paths =", "retries = 3\npaths ="),
    );
    repo.commit("one");
    repo.ci(["run"]).expect_code(1);
    let shown = repo.ci(["flaky", "--json"]).expect_code(0).stdout();
    let lines: Vec<serde_json::Value> = shown
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |at: usize| {
        let line = &lines[at];
        (
            line["event"].as_str().unwrap(),
            line["runs"].as_u64(),
            line["failures"].as_u64(),
        )
    };
    assert_eq!(of(0), ("flaky", None, None));
    assert_eq!(of(1), ("flaky-job", Some(2), Some(1)));
    assert_eq!(of(2), ("flaky-test", Some(2), Some(1)));
    assert_eq!(lines.len(), 3, "{shown}");
}
