//! `git ci config`: the jobs file checked, shown, and described to editors.

use std::fs;
use std::process::Command;

use crate::formats::{block, page};
use crate::support::{Ran, TestRepo};

const FILE: &str = "[defaults]\ntimeout = '5m'\n[setup.deps]\nrun = ['x', 'y']\ninputs = ['lock']\nkey = 'v'\n\
    [jobs.base]\nrun = 'true'\nenv = { A = '1' }\ndefault = false\nretries = 2\n\
    [jobs.test]\nextends = 'base'\nsetup = ['deps']\npaths = ['src/**', 'nothing', '!src/x']\n\
    description = 'a test'\njunit = 'out/*.xml'\nartifacts = 'report'\nbranches = ['*']\nstage = 'commit'\ncpus = 2\nresources = { gpu = 1 }\nsilence = '1m'\nclean = 'all'\nallow-failure = true\n\
    [jobs.more]\nrun = 'true'\nneeds = ['test']\nmatrix = { v = ['a', 2] }\nplatform = 'any'\n";

#[test]
fn what_is_wrong_is_named_all_at_once() {
    let repo = TestRepo::new();
    repo.write(".git-ci.toml", FILE).write("src/a", "");
    repo.commit("one");
    let out = repo.ci(["config", "check"]).expect_code(0);
    assert!(
        out.stderr().contains("4 jobs, nothing wrong"),
        "{}",
        out.stderr()
    );
    let idle = "test: the pattern \"nothing\" of `paths` matches nothing in";
    assert!(out.stderr().contains(idle), "{}", out.stderr());
    let ran = repo.ci(["run", "--job", "more[a]"]).stderr();
    assert!(ran.contains(idle) && !ran.contains("src/**"), "{ran}");
    let other = repo.root().join("other.toml");
    fs::write(&other, "[jobs.a]\nrum = 'x'\nneeds = ['b']\n").unwrap();
    let out = repo
        .ci(["config".as_ref(), "check".as_ref(), other.as_os_str()])
        .expect_code(128);
    for slip in ["no `run`", "did you mean `run`?", "unknown job `b`"] {
        assert!(out.stderr().contains(slip), "{}", out.stderr());
    }
    let mut elsewhere = repo.command(env!("CARGO_BIN_EXE_git-ci"), repo.root());
    let elsewhere = elsewhere
        .args(["config", "check"])
        .arg(&other)
        .output()
        .unwrap();
    assert_eq!(elsewhere.status.code(), Some(128));
    repo.ci(["config", "check", "no-file"]).expect_code(128);
}

#[test]
fn what_is_shown_is_what_applies() {
    let repo = TestRepo::new();
    repo.write(".git-ci.toml", FILE).commit("one");
    repo.git(["config", "ci.slots", "3"]);
    let shown = repo.ci(["config", "show"]).expect_code(0).stdout();
    assert!(
        shown.starts_with("# from /") && shown.contains(".git-ci.toml\n"),
        "{shown}"
    );
    assert!(shown.contains("# ci.slots = 3  (local)\n"), "{shown}");
    // It is a jobs file of the same jobs.
    let jobs = |text: &str| git_ci::config::parse(text, "x").unwrap();
    assert_eq!(jobs(&shown), jobs(FILE));
    let one = repo
        .ci(["config", "show", "more[a]"])
        .expect_code(0)
        .stdout();
    assert!(
        one.contains("[jobs.\"more[a]\"]") && !one.contains("jobs.test"),
        "{one}"
    );
    repo.ci(["config", "show", "tset"]).expect_code(129);
}

/// Checks jobs files against the schema.
const VALIDATOR: &str = r#"
import json, jsonschema, sys, tomllib
schema = json.load(open(sys.argv[1]))
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
for name in sys.argv[2:]:
    found = [error.message for error in validator.iter_errors(tomllib.load(open(name, "rb")))]
    print(len(found), *found)
"#;

#[test]
fn the_schema_is_that_of_the_jobs_file() {
    let repo = TestRepo::new();
    let schema = repo.ci(["config", "schema"]).expect_code(0).stdout();
    repo.write("Cargo.toml", "[package]\nname = 'x'\nversion = '0.0.0'\n");
    let starter = repo.ci(["init", "--print"]).expect_code(0).stdout();
    let root = env!("CARGO_MANIFEST_DIR");
    let files = [
        FILE.to_owned(),
        block(&page("jobs"), "DESCRIPTION"),
        starter,
        fs::read_to_string(format!("{root}/.git-ci.toml")).unwrap_or_default(),
        "[jobs.a]\nrun = 'x'\nrum = 'y'\n".to_owned(),
        "[jobs.a]\nrun = 5\n".to_owned(),
        "[jobs.a]\nrun = 'x'\ntimeout = '5 parsecs'\n".to_owned(),
        "[job.a]\nrun = 'x'\n".to_owned(),
        "[jobs.a]\nrun = 'x'\nretries = 11\n".to_owned(),
    ];
    let path = repo.root().join("schema");
    fs::write(&path, schema).unwrap();
    let mut python = Command::new("python3");
    python.args(["-c", VALIDATOR]).arg(&path);
    for (number, text) in files.iter().filter(|text| !text.is_empty()).enumerate() {
        let file = repo.root().join(format!("{number}.toml"));
        fs::write(&file, text).unwrap();
        python.arg(file);
    }
    let done = Ran(python.output().unwrap()).expect_code(0);
    let said = done.stdout();
    let lines: Vec<_> = said.lines().collect();
    let (good, bad) = lines.split_at(lines.len() - 5);
    assert!(good.iter().all(|line| *line == "0"), "{said}");
    assert!(bad.iter().all(|line| !line.starts_with('0')), "{said}");
}

/// Whatever else is wrong, a value of a kind that a key cannot have is named with its line.
#[test]
fn a_value_of_the_wrong_kind_is_named_for_every_key() {
    for key in git_ci::config::KEYS {
        // No key is a number with a fraction, nor a list of lists.
        for value in ["1.5", "[[1]]", "1979-05-27"] {
            let run = if key == "run" { "" } else { "run = 'true'\n" };
            let text = format!("[jobs.test]\n{run}{key} = {value}\n");
            let error = git_ci::config::parse(&text, "file").unwrap_err();
            let said = error.to_string();
            let line = if key == "run" { 2 } else { 3 };
            assert!(said.contains(&format!("file:{line}:")), "{key}: {said}");
            assert!(said.contains(&format!("`{key}`")), "{key}: {said}");
        }
    }
    for key in ["env", "inputs", "key", "run", "timeout"] {
        let run = if key == "run" { "" } else { "run = 'true'\n" };
        let text =
            format!("[setup.s]\n{run}{key} = 1.5\n[jobs.test]\nrun = 'true'\nsetup = ['s']\n");
        let said = git_ci::config::parse(&text, "file")
            .unwrap_err()
            .to_string();
        assert!(said.contains(&format!("`{key}`")), "{key}: {said}");
    }
}
