//! The formats that others may rely on: what their pages say is what the program does. That
//! of notes is in `formats_note`.
//!
//! Everything is read out of the pages as they are installed, so that a page cannot say
//! one thing and the program do another.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{Ran, TestRepo, wait_until};

/// A page of section 5 as it is committed.
pub(crate) fn page(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(root.join(format!("man/git-ci-{name}.5"))).unwrap()
}

/// The first block of a section that is printed as it is, without its indentation.
pub(crate) fn block(page: &str, section: &str) -> String {
    let (_, rest) = page.split_once(&format!("\n.SH {section}\n")).unwrap();
    let (_, rest) = rest.split_once("\n.nf\n").unwrap();
    let (text, _) = rest.split_once("\n.fi\n").unwrap();
    let characters = [
        ("\\(ha", "^"),
        ("\\(ti", "~"),
        ("\\(ga", "`"),
        ("\\(aq", "'"),
        ("\\-", "-"),
        ("\\e", "\\"),
    ];
    let plain = characters
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    let lines = plain.lines();
    lines
        .map(|line| line.strip_prefix("    ").unwrap_or(line).to_owned() + "\n")
        .collect()
}

pub(crate) fn json(ran: &Ran) -> Vec<Value> {
    let text = ran.stdout();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Makes these bytes the note of a commit.
pub(crate) fn set_note(repo: &TestRepo, rev: &str, bytes: &[u8]) {
    let file = repo.root().join("note");
    fs::write(&file, bytes).unwrap();
    let blob = repo.git(["hash-object", "-w", file.to_str().unwrap()]);
    repo.git(["notes", "--ref=ci", "add", "-f", "-C", &blob, rev]);
}

/// The words in bold that entries of a section begin with, each with the entry.
fn entries<'p>(page: &'p str, section: &str) -> Vec<(String, &'p str)> {
    let (_, rest) = page.split_once(&format!("\n.SH {section}\n")).unwrap();
    let text = rest.split("\n.SH ").next().unwrap();
    let mut found = Vec::new();
    for entry in text.split("\n.TP\n").skip(1) {
        let (head, body) = entry.split_once('\n').unwrap();
        for word in head.split(", ").filter(|word| word.starts_with("\\fB")) {
            let word = word.trim_start_matches("\\fB").trim_end_matches("\\fR");
            found.push((word.replace("\\-", "-"), body));
        }
    }
    found
}

/// The job of a jobs file with one job and these lines in it.
fn job(lines: &str) -> git_ci::model::Job {
    let others = "[setup.base]\nrun = 'true'\n[jobs.base]\nrun = 'true'\ntimeout = '9s'\n";
    let text = format!("{others}[jobs.test]\n{lines}\n");
    let mut jobs = git_ci::config::parse(&text, "test").unwrap_or_else(|error| panic!("{error}"));
    jobs.pop().unwrap()
}

#[test]
fn every_key_of_a_job_is_on_its_page_with_its_default_and_what_it_identifies() {
    let page = page("jobs");
    let entries = entries(&page, "KEYS");
    let names: Vec<_> = entries.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, git_ci::config::KEYS, "in the order of the alphabet");
    let plain = job("run = 'true'");
    for (name, entry) in &entries {
        let value = match name.as_str() {
            "allow-failure" => "true",
            "clean" => "'all'",
            "default" => "false",
            "description" => "'what it is for'",
            "env" => "{ A = '1' }",
            "extends" => "'base'",
            "grace" => "'3s'",
            "cpus" => "2",
            "resources" => "{ gpu = 1 }",
            "branches" => "['main', 'release/*']",
            "stage" => "'commit'",
            "artifacts" => "['target/report', '*.png']",
            "junit" => "'target/**/junit.xml'",
            "key" => "'rustc -V'",
            "labels" => "['gpu']",
            "matrix" => "{ A = [1] }",
            "needs" | "setup" => "['base']",
            "paths" => "['src']",
            "platform" => "'any'",
            "retries" => "2",
            "reuse" => "'tree'",
            "run" => "['false']",
            "silence" | "timeout" => "'1m30s'",
            other => panic!("no value for {other}"),
        };
        let run = if name == "run" { "" } else { "run = 'true'\n" };
        let changed = job(&format!("{run}{name} = {value}"));
        assert_ne!(changed, plain, "{name}");
        let about = entry.lines().next().unwrap().replace("\\-", "-");
        let (about, is_part) = about.rsplit_once("; ").unwrap();
        let says = match is_part {
            "part of the definition." => true,
            "no part of the definition." => false,
            other => panic!("{name}: {other}"),
        };
        assert_eq!(changed.definition() != plain.definition(), says, "{name}");
        let (_, default) = about.rsplit_once("; ").unwrap();
        match default.strip_prefix("by default \\fI") {
            Some(value) => {
                let value = value.strip_suffix("\\fR").unwrap();
                assert_eq!(job(&format!("{run}{name} = {value}")), plain, "{name}");
            }
            None => assert!(default.ends_with("there is none") || default == "there is no default"),
        }
    }
    // The example is one.
    let example = block(&page, "DESCRIPTION");
    assert_eq!(git_ci::config::parse(&example, "page").unwrap().len(), 2);
}

#[test]
fn what_a_job_finds_in_its_environment_is_on_the_page() {
    let repo = TestRepo::new();
    repo.tree_job(
        "test",
        "env > \"$GIT_CI_ARTIFACTS/env\"; pwd > \"$GIT_CI_ARTIFACTS/pwd\"",
    );
    let commit = repo.commit("one");
    repo.ci(["run"]).expect_code(0);
    let artifacts = repo.git_dir().join(format!("ci/artifacts/{commit}/test"));
    let env = fs::read_to_string(artifacts.join("env")).unwrap();
    let caller = repo.command("env", repo.path()).output().unwrap();
    let caller = String::from_utf8_lossy(&caller.stdout).into_owned();
    let name = |line: &str| line.split('=').next().unwrap().to_owned();
    let known: Vec<_> = caller.lines().map(name).collect();
    // What the shell itself sets.
    let shell = ["PWD", "OLDPWD", "SHLVL", "_"].map(str::to_owned);
    let mut found: Vec<_> = env.lines().map(name).collect();
    found.retain(|name| !known.contains(name) && !shell.contains(name));
    found.sort();
    let page = page("jobs");
    let mut listed: Vec<_> = entries(&page, "WHAT A JOB IS GIVEN")
        .into_iter()
        .map(|(name, _)| name)
        // Those of the jobs that it needs, of which it has none.
        .filter(|name| !name.contains('\\'))
        .collect();
    listed.sort();
    assert_eq!(found, listed);
    let value = |name: &str| {
        let mut lines = env.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    };
    let pwd = fs::read_to_string(artifacts.join("pwd")).unwrap();
    assert_eq!(value("GIT_CI_WORKTREE"), Some(pwd.trim_end()));
    assert_eq!(value("GIT_CI_COMMIT"), Some(&*commit));
}

/// The schema of what is printed, strict: what it does not tell of is refused. As it is
/// published it leaves room for what comes later.
fn strict_schema() -> Value {
    fn tighten(schema: &mut Value) {
        match schema {
            Value::Object(fields) => {
                fields.values_mut().for_each(tighten);
                if fields.contains_key("$ref") || fields.contains_key("oneOf") {
                    fields.insert("unevaluatedProperties".to_owned(), false.into());
                }
            }
            Value::Array(items) => items.iter_mut().for_each(tighten),
            _ => {}
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("man/git-ci-json.schema.json")).unwrap();
    let mut schema = serde_json::from_str(&text).unwrap();
    tighten(&mut schema);
    schema
}

/// Checks values by the schema with a validator that is not ours: `tests/setup.sh` gets it.
const VALIDATOR: &str = r##"
import json, jsonschema, sys
schema = json.load(open(sys.argv[1]))
jsonschema.Draft202012Validator.check_schema(schema)
bad = 0
for line in open(sys.argv[2], encoding="utf-8"):
    kind, value = json.loads(line)
    one = {"$ref": "#/$defs/" + kind, "$defs": schema["$defs"], "unevaluatedProperties": False}
    validator = jsonschema.Draft202012Validator(one)
    for error in validator.iter_errors(value):
        print(kind, value.get("event"), jsonschema.exceptions.best_match([error]).message, value)
        bad += 1
sys.exit(min(bad, 1))
"##;

#[test]
fn what_is_printed_as_json_is_what_the_schema_says() {
    let repo = TestRepo::new();
    repo.job(
        "test",
        "echo \"line of $GIT_CI_TREE\" | tee $GIT_CI_ARTIFACTS/file; test $(cat n) != 2; exit $?",
    )
    .job("look", "git log -1 --format=%s")
    .job("allowed", "exit 3")
    .jobs_file("allow-failure = true\ntimeout = '1m'\n")
    .job("again", "exit 1")
    .jobs_file("retries = 1\ndefault = false\n")
    .job("after", "true")
    .jobs_file("needs = ['again']\ndefault = false\n")
    .job(
        "shaky",
        "echo \"<testsuite><testcase name='t'>$(test $GIT_CI_TRY = 2 || echo '<failure/>')\
         </testcase></testsuite>\" >out.xml; test $GIT_CI_TRY = 2",
    )
    .jobs_file("retries = 1\ndefault = false\njunit = 'out.xml'\n");
    for subject in ["one", "two \u{1b}[31m", "three"] {
        repo.commit(subject);
    }
    let result = repo.root().join("result");
    let on_result = format!("cat >> '{}'", result.display());
    let is_run = |args: &[&str]| matches!(args[0], "run" | "watch") && !args.contains(&"-n");
    let mut told: Vec<(&str, Value)> = Vec::new();
    let outputs: &[&[&str]] = &[
        &["run", "-n", "--all"],
        &["run", "HEAD~1"],
        &["run", "HEAD~1"],
        &["run", "-n", "--all"],
        &[
            "watch",
            "--until-idle",
            "--since",
            "HEAD~2",
            "--on-result",
            &on_result,
        ],
        &["run", "--new"],
        &["run", "-x", "true"],
        // Not in the jobs file: a watcher would try it again, with pauses.
        &["run", "-x", "exit 127", "--as", "away"],
        &["run", "--job", "after"],
        &["run", "--job", "shaky", "HEAD~2"],
        &["status", "-n3"],
        &["log"],
        &["show", "HEAD~1"],
        &["show", "HEAD~2"],
        &["logs", "HEAD~1", "test"],
        &["artifacts", "HEAD~1", "test"],
        &["flaky"],
        &["stats"],
        &["blame", "--rev", "HEAD~1"],
        &["wait", "HEAD~1", "--job", "test"],
        &["hosts"],
        &["hosts", "--check"],
        &["doctor"],
        &["gc", "-n"],
    ];
    for args in outputs {
        if args[0] == "hosts" {
            repo.git(["config", "ci-host.gone.command", "false"]);
            repo.git(["config", "ci-host.gone.labels", "far"]);
        } else if args[0] == "show" {
            let note = repo.note("HEAD~1") + "\nseen by \u{1b}[31msomebody\n";
            set_note(&repo, "HEAD~1", note.as_bytes());
        }
        let lines = json(&repo.ci(args.iter().chain(&["--json"])));
        let first = lines
            .first()
            .unwrap_or_else(|| panic!("{args:?} says nothing"));
        assert_eq!(first["format"], git_ci::model::JSON_FORMAT, "{args:?}");
        let kind = if is_run(args) { "Event" } else { "Line" };
        told.extend(lines.into_iter().map(|line| (kind, line)));
    }
    for line in fs::read_to_string(&result).unwrap().lines() {
        assert!(line.starts_with("{\"format\":1,"), "{line}");
        told.push(("CommitResult", serde_json::from_str(line).unwrap()));
    }

    repo.git(["config", "--remove-section", "ci-host.gone"]);
    // While a watcher works there is more to tell.
    let go = repo.root().join("go");
    repo.job(
        "block",
        &format!("until test -e '{}'; do sleep 0.05; done", go.display()),
    );
    let watcher = repo.spawn_ci(["watch", "--until-idle", "--since", "HEAD~1", "--json"]);
    let mut run = repo.spawn_ci(["run", "HEAD", "--job", "block"]);
    let mut status = Vec::new();
    wait_until("a watcher that runs something, and a run", || {
        status = json(&repo.ci(["status", "--json"]));
        let has = |event: &str| status.iter().any(|line| line["event"] == event);
        has("running") && has("watching") && has("run")
    });
    fs::write(&go, "").unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(0));
    let watched = json(&Ran(watcher.wait_with_output().unwrap()));
    told.extend(status.into_iter().map(|line| ("Line", line)));
    told.extend(watched.into_iter().map(|line| ("Event", line)));

    let schema = strict_schema();
    let files = ["schema", "values"].map(|name| repo.root().join(name));
    fs::write(&files[0], schema.to_string()).unwrap();
    let lines = told
        .iter()
        .map(|value| serde_json::to_string(value).unwrap() + "\n");
    fs::write(&files[1], lines.collect::<String>()).unwrap();
    let done = Command::new("python3")
        .args(["-c", VALIDATOR])
        .args(&files)
        .output()
        .unwrap();
    let done = Ran(done);
    assert_eq!(done.code(), 0, "{}{}", done.stdout(), done.stderr());

    // What came is nearly all there is; the rest takes an accident, or is left to chance.
    let seldom = ["note", "warning", "removed", "task-output"];
    for kind in ["Event", "Line"] {
        for line in schema["$defs"][kind]["oneOf"].as_array().unwrap() {
            let name = &line["properties"]["event"]["const"];
            let came = told
                .iter()
                .any(|(of, value)| *of == kind && value["event"] == *name);
            assert!(came || seldom.contains(&name.as_str().unwrap()), "{name}");
        }
    }
}

/// What commands print as JSON are types, so that the schema is made of all of it; text is
/// made of them in one place, below these rooms.
#[test]
fn no_command_puts_json_together_by_itself() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut dirs = vec![src.join("commands"), src.join("reporter")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if !path.ends_with("help/json_page.rs") {
                let source = fs::read_to_string(&path).unwrap_or_default();
                assert!(!source.contains("serde_json"), "{}", path.display());
            }
        }
    }
}
