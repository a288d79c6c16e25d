//! Test results: what a job's tests said in JUnit's XML, as real test runners write it.

use std::fs;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::beds::have;
use crate::support::TestRepo;

const TEST: &str = "
import pytest
def test_good(): assert True
def test_bad(): assert 1 == 2
@pytest.mark.skip
def test_off(): pass
";

/// The JSON lines of a command.
fn lines(text: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap();
    text.lines().map(parse).collect()
}

#[test]
fn a_failed_test_is_shown_with_its_place_wherever_failures_are() {
    if !have(&["pytest-3"]) {
        return;
    }
    let repo = TestRepo::new();
    repo.jobs_file(
        "[jobs.test]\nrun = 'pytest-3 -q -p no:cacheprovider --junit-xml=out/junit.xml'\njunit = 'out/*.xml'\n",
    );
    repo.write("test_a.py", TEST);
    repo.write(".gitignore", "out\n__pycache__\n");
    repo.commit("tests");
    let ran = repo.ci(["run"]).expect_code(1);
    let said = ran.stdout() + &ran.stderr();
    assert!(said.contains("1 of 2 tests failed"), "{said}");
    let test = "FAIL  test_a test_bad  test_a.py:4";
    assert!(said.contains(test), "{said}");
    assert!(said.contains("| assert 1 == 2"), "{said}");
    assert!(!said.contains("short test summary"), "{said}");
    let note = repo.git(["notes", "--ref=ci", "show", "HEAD"]);
    assert!(note.contains(" tests=1/2 "), "{note}");
    let shown = repo.ci(["show"]).stdout();
    assert!(shown.contains(test), "{shown}");
    let log = repo.ci(["log", "--tests"]).stdout();
    assert!(log.contains(test), "{log}");
    assert!(!repo.ci(["log"]).stdout().contains("test_bad"));
    let waited = lines(&repo.ci(["wait", "--json"]).stdout());
    let failure = waited.last().unwrap();
    assert_eq!(failure["event"], "failure");
    assert_eq!(failure["tests"]["cases"][0]["name"], "test_bad");
    assert_eq!(failure["tests"]["cases"][0]["place"], "test_a.py:4");
}

#[test]
fn what_was_not_written_by_this_task_counts_for_nothing() {
    let repo = TestRepo::new();
    let job = "[ -e no ] || { mkdir -p out; echo \"<testsuite><testcase name='a'/></testsuite>\" > out/a.xml; }";
    repo.jobs_file(&format!(
        "[jobs.test]\nrun = '''{job}'''\njunit = ['out/']\n"
    ));
    repo.write(".gitignore", "out\n");
    repo.commit("one");
    repo.ci(["run"]).expect_code(0);
    let note = || repo.git(["notes", "--ref=ci", "show", "HEAD"]);
    assert!(note().contains(" tests=0/1 "), "{}", note());
    repo.write("no", "");
    repo.commit("two");
    repo.ci(["run"]).expect_code(0);
    assert!(!note().contains(" tests="), "{}", note());
}

#[test]
fn hostile_files_are_named_and_the_verdict_is_that_of_the_job() {
    let repo = TestRepo::new();
    let job = "mkfifo fifo.xml; ln -s /etc/passwd link.xml; echo '<testsuite>' > cut.xml
printf '<testsuite><testcase name=\"\\033[31mred\"><failure message=\"\\033]0;x\\007\"/></testcase></testsuite>' > red.xml
exit 1";
    repo.jobs_file(&format!(
        "[jobs.test]\nrun = \"\"\"{}\"\"\"\njunit = '*.xml'\n",
        job.replace('\\', "\\\\").replace('"', "\\\"")
    ));
    repo.commit("one");
    let ran = repo.ci(["run"]).expect_code(1);
    let said = ran.stdout() + &ran.stderr();
    assert!(!said.contains('\u{1b}'), "{said:?}");
    assert!(said.contains("1 of 1 test failed"), "{said}");
    let log = repo.ci(["logs", "HEAD", "test"]).stdout();
    assert!(log.contains("cut.xml says nothing of its tests"), "{log}");
    let others = ["fifo.xml", "link.xml", "red.xml"];
    assert!(!others.iter().any(|name| log.contains(name)), "{log}");
}

#[test]
fn a_test_that_passes_in_another_try_is_flaky() {
    let repo = TestRepo::new();
    let job = "f='<failure message=\"once\"/>'; [ $GIT_CI_TRY = 1 ] || f=
echo \"<testsuite><testcase classname='c' name='n'>$f</testcase><testcase name='o'/></testsuite>\" > a.xml
[ $GIT_CI_TRY = 2 ]";
    repo.jobs_file(&format!(
        "[jobs.test]\nrun = \"\"\"{}\"\"\"\njunit = 'a.xml'\nretries = 1\n",
        job.replace('"', "\\\"")
    ));
    repo.commit("one");
    let ran = repo.ci(["run", "--json"]).expect_code(0);
    let events = lines(&ran.stdout());
    let mut ends = events
        .iter()
        .filter(|event| event["event"] == "task-finished");
    let end = ends.next().unwrap();
    assert_eq!(end["status"], "FLAKY", "{end}");
    assert_eq!(end["tests"]["flaky"], 1, "{end}");
    assert_eq!(end["tests"]["cases"][0]["verdict"], "flaky", "{end}");
    let shown = repo.ci(["show"]).stdout();
    assert!(shown.contains("FLAKY c n"), "{shown}");
    // It goes with the log.
    let logs = repo.git_dir().join("ci/logs");
    let kept = || fs::read_dir(&logs).unwrap().flatten().count();
    assert_eq!(kept(), 2);
    let old = SystemTime::now() - Duration::from_secs(1000 * 24 * 60 * 60);
    for entry in fs::read_dir(&logs).unwrap().flatten() {
        let file = fs::File::options().write(true).open(entry.path());
        file.unwrap().set_modified(old).unwrap();
    }
    repo.ci(["gc"]).expect_code(0);
    assert!(
        !fs::read_dir(&logs)
            .unwrap()
            .flatten()
            .any(|entry| entry.path().extension().is_some_and(|end| end == "tests"))
    );
}
