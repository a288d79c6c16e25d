//! The formats that others may rely on: what their pages say is what the program does.
//!
//! Everything is read out of the pages as they are installed, so that a page cannot say
//! one thing and the program do another.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use git_ci::model::{
    Commit, Criteria, Forget, Line, Note, ParseRecordError, Record, Reuse, Surroundings,
};
use git_ci::verdict::Standing;
use serde_json::Value;

use crate::support::{Ran, TestRepo};

/// A page of section 5 as it is committed.
fn page(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(root.join(format!("man/git-ci-{name}.5"))).unwrap()
}

/// The first block of a section that is printed as it is, without its indentation.
fn block(page: &str, section: &str) -> String {
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

fn json(ran: &Ran) -> Vec<Value> {
    let text = ran.stdout();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A line of a note, and what the page says of it.
struct Vector {
    /// The standing of a record, or what the line is instead of one.
    kind: String,
    /// For whom the verdict counts, of a record that is current.
    for_whom: String,
    line: Vec<u8>,
}

/// The circumstances of the test vectors, and the vectors.
fn vectors() -> (BTreeMap<String, String>, Vec<Vector>) {
    let text = block(&page("note"), "TEST VECTORS");
    let (head, lines) = text.split_once("\n\n").unwrap();
    let word = |(name, value): (&str, &str)| (name.to_owned(), value.trim().to_owned());
    let head = head.lines().map(|line| word(line.split_once(' ').unwrap()));
    let vectors = lines.lines().map(|line| {
        let (kind, rest) = line.split_once(' ').unwrap();
        let (for_whom, line) = rest.trim_start().split_once(' ').unwrap();
        Vector {
            kind: kind.to_owned(),
            for_whom: for_whom.to_owned(),
            line: printf(line.trim_start()),
        }
    });
    (head.collect(), vectors.collect())
}

/// What printf(1) makes of a format with the argument 0.
fn printf(format: &str) -> Vec<u8> {
    let done = Command::new("printf").args([format, "0"]).output().unwrap();
    assert!(done.status.success(), "{format}");
    done.stdout
}

/// What the parser makes of a line.
enum Parsed {
    Record(Box<Record>),
    Forget(Forget),
    Other(ParseRecordError),
}

fn parse(line: &[u8]) -> Parsed {
    let note = Note::parse(line);
    let (ours, foreign): (Vec<_>, Vec<_>) = (note.ours().collect(), note.foreign().collect());
    match (ours.as_slice(), foreign.as_slice()) {
        ([Line::Record(record)], []) => Parsed::Record(Box::new(record.clone())),
        ([Line::Forget(forget)], []) => Parsed::Forget(forget.clone()),
        ([], [(_, why)]) => Parsed::Other(*why),
        _ => panic!("{}", String::from_utf8_lossy(line)),
    }
}

#[test]
fn each_test_vector_means_what_the_page_of_notes_says() {
    let (head, vectors) = vectors();
    assert_eq!(head["reuse"], "auto");
    let commit = Commit {
        id: head["commit"].parse().unwrap(),
        tree: head["tree"].parse().unwrap(),
        subject: String::new(),
        time: 0,
    };
    let criteria = Criteria {
        job: head["job"].parse().unwrap(),
        def: head["def"].parse().unwrap(),
        reuse: Reuse::Auto,
        binds: false,
        names_commit: false,
        any_platform: false,
        env: None,
        runners: vec![Surroundings {
            on: head["on"].parse().unwrap(),
            env: None,
        }],
    };
    let now = head["now"].parse().unwrap();
    let parsed: Vec<_> = vectors.iter().map(|vector| parse(&vector.line)).collect();
    let forgets = parsed.iter().filter_map(|parsed| match parsed {
        Parsed::Forget(forget) => Some(forget),
        _ => None,
    });
    let forgets: Vec<_> = forgets.collect();
    let records = parsed.iter().filter_map(|parsed| match parsed {
        Parsed::Record(record) => Some(record),
        _ => None,
    });
    let least = records.map(|record| record.rank(now)).min().unwrap();
    let mut kinds = Vec::new();
    for (vector, parsed) in vectors.iter().zip(&parsed) {
        let text = String::from_utf8_lossy(&vector.line);
        let (kind, for_whom) = match parsed {
            Parsed::Other(ParseRecordError::Foreign) => ("foreign".to_owned(), "-"),
            Parsed::Other(ParseRecordError::Version) => ("version".to_owned(), "-"),
            Parsed::Forget(_) => ("forget".to_owned(), "-"),
            Parsed::Record(record) => {
                let forgotten = forgets.iter().any(|forget| forget.covers(record));
                let configured = Some(&criteria).filter(|criteria| criteria.job == record.job);
                let standing = Standing::of(record, &commit, configured, forgotten);
                let kind = serde_json::to_value(standing).unwrap();
                let for_whom = match standing {
                    Standing::Current if !record.reusable() => "never",
                    Standing::Current if record.seen.commit().is_some() => "commit",
                    Standing::Current => "tree",
                    _ => "-",
                };
                let is_future = record.finished > now;
                assert_eq!(record.rank(now) == least, is_future, "{text}");
                (kind.as_str().unwrap().to_owned(), for_whom)
            }
        };
        assert_eq!(
            (&*kind, for_whom),
            (&*vector.kind, &*vector.for_whom),
            "{text}"
        );
        kinds.push(kind);
    }
    // There is one of everything that the page tells of.
    for kind in [
        "current",
        "outdated",
        "another-platform",
        "surroundings-changed",
        "unconfigured",
        "forgotten",
        "stale",
        "forget",
        "version",
        "foreign",
    ] {
        assert!(kinds.iter().any(|found| found == kind), "{kind}");
    }
}

/// Makes these bytes the note of a commit.
fn set_note(repo: &TestRepo, rev: &str, bytes: &[u8]) {
    let file = repo.root().join("note");
    fs::write(&file, bytes).unwrap();
    let blob = repo.git(["hash-object", "-w", file.to_str().unwrap()]);
    repo.git(["notes", "--ref=ci", "add", "-f", "-C", &blob, rev]);
}

/// The test vectors as the note of `HEAD`, with its job and its runner in place of theirs.
fn vectors_of_head(repo: &TestRepo) -> Vec<Vector> {
    repo.ci(["run"]).expect_code(0);
    let note = repo.note("HEAD");
    let value = |key: &str| {
        let mut words = note.split_whitespace();
        words.find_map(|word| word.strip_prefix(key)).unwrap()
    };
    let (head, mut vectors) = vectors();
    let replaced = [
        (&head["commit"], repo.git(["rev-parse", "HEAD"])),
        (&head["tree"], value("tree=").to_owned()),
        (&head["def"], value("def=").to_owned()),
        (&head["on"], value("on=").to_owned()),
    ];
    for vector in &mut vectors {
        // Bytes that are not UTF-8 stay in none of them.
        let text = String::from_utf8(vector.line.clone()).unwrap();
        let all = replaced.iter();
        let text = all.fold(text, |text, (from, to)| text.replace(from.as_str(), to));
        vector.line = text.into_bytes();
    }
    vectors
}

fn lines(vectors: &[Vector]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for vector in vectors {
        bytes.extend_from_slice(&vector.line);
        bytes.push(b'\n');
    }
    bytes
}

#[test]
fn a_note_of_test_vectors_is_read_as_the_page_says_and_kept() {
    let repo = TestRepo::new();
    repo.job("test", "true").commit("one");
    let vectors = vectors_of_head(&repo);
    set_note(&repo, "HEAD", &lines(&vectors));

    let mut found: Vec<_> = json(&repo.ci(["log", "--json", "HEAD"]).expect_code(0))
        .into_iter()
        .skip(1)
        .map(|line| line["standing"].as_str().unwrap().to_owned())
        .collect();
    found.sort();
    let is_record = |vector: &&Vector| !matches!(&*vector.kind, "foreign" | "version" | "forget");
    let records = vectors.iter().filter(is_record);
    let mut wanted: Vec<_> = records.map(|vector| vector.kind.clone()).collect();
    wanted.sort();
    assert_eq!(found, wanted);

    let shown = json(&repo.ci(["show", "--json"]).expect_code(0));
    let foreign = shown.iter().filter(|line| line["event"] == "foreign");
    let others = vectors
        .iter()
        .filter(|vector| matches!(&*vector.kind, "foreign" | "version"));
    assert_eq!(foreign.count(), others.count());

    // All of them are there still when something has been added.
    repo.ci(["run", "--force"]).expect_code(0);
    let note = repo
        .command("git", repo.path())
        .args(["notes", "--ref=ci", "show"])
        .output()
        .unwrap()
        .stdout;
    let note = note.strip_suffix(b"\n").unwrap();
    let there: Vec<_> = note.split(|&c| c == b'\n').collect();
    assert!(there.is_sorted());
    for vector in &vectors {
        let line = vector.line.as_slice();
        assert!(there.contains(&line), "{}", String::from_utf8_lossy(line));
    }
}

/// Every reason that the page of notes lists is one, and is found there.
#[test]
fn the_page_of_notes_lists_the_reasons() {
    let page = page("note");
    let (_, rest) = page.split_once("\n.SH REASONS\n").unwrap();
    let (reasons, _) = rest.split_once("\n.SH ").unwrap();
    let words = reasons.split(".TP\n\\fB").skip(1);
    let words = words.map(|word| word.split("\\fR").next().unwrap().replace("\\-", "-"));
    let mut listed: Vec<_> = words.collect();
    for word in &listed {
        let number = if word.ends_with(':') { "1" } else { "" };
        let text = format!("{word}{number}");
        let why: git_ci::model::Why = text.parse().unwrap();
        assert_eq!(why.to_string(), text);
    }
    listed.sort();
    assert_eq!(
        listed,
        [
            "disk",
            "exit:",
            "host-lost",
            "key",
            "log",
            "runner-lost",
            "signal:",
            "spawn",
            "timeout",
            "worktree",
        ]
    );
}

/// Runs a shell script from a page in a repository.
fn script(repo: &TestRepo, shell: &str, script: &str) -> Ran {
    let mut shell = repo.command(shell, repo.path());
    let mut child = shell
        .arg("-s")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(script.as_bytes()).unwrap();
    drop(input);
    Ran(child.wait_with_output().unwrap())
}

#[test]
fn the_reader_on_the_page_of_notes_reads_what_the_program_reads() {
    let repo = TestRepo::new();
    repo.git(["config", "notes.rewriteRef", "refs/notes/ci"]);
    repo.job("test", "exit $(cat n)")
        .job("look", "git log -1")
        .job("away", "git-ci-no-such-command");
    for subject in ["one", "two", "three"] {
        repo.commit(subject);
    }
    repo.ci(["run", "--all"]).expect_code(1);
    // What git copied to another commit is stale there.
    repo.git(["commit", "-q", "--amend", "-m", "another subject"]);
    repo.commit("four");
    let with_vectors = TestRepo::new();
    with_vectors.job("test", "true").commit("one");
    let mut vectors = vectors_of_head(&with_vectors);
    // The reader looks into no jobs file, and so cannot tell what `saw` means.
    vectors.retain(|vector| {
        let is_said = vector.kind == "foreign" && !vector.line.ends_with(b" good");
        let saw = vector.line.windows(5).any(|word| word == b" saw=");
        !is_said && !saw
    });
    set_note(&with_vectors, "HEAD", &lines(&vectors));

    for repo in [repo, with_vectors] {
        let log = json(&repo.ci(["log", "--json"]).expect_code(0));
        let word = |line: &Value, key: &str| line[key].as_str().unwrap_or("-").to_owned();
        let mut wanted: Vec<_> = log[1..]
            .iter()
            .map(|line| {
                let state = match word(line, "standing").as_str() {
                    "stale" => "stale",
                    _ => "ok",
                };
                let commit = word(line, "commit");
                let [status, job, time, why] =
                    ["status", "job", "finished", "why"].map(|key| word(line, key));
                format!("{commit} {state} {status} {job} {time} {why}")
            })
            .collect();
        wanted.sort();
        assert!(wanted.len() > 8, "{wanted:?}");
        assert!(wanted.iter().any(|line| line.contains(" stale ")));
        let reader = block(&page("note"), "A READER");
        assert!(reader.lines().count() <= 30);
        for shell in ["sh", "bash"] {
            let ran = script(&repo, shell, &reader).expect_code(0);
            let said = ran.stdout();
            let mut found: Vec<_> = said.lines().collect();
            found.sort_unstable();
            assert_eq!(found, wanted, "{shell}: {}", ran.stderr());
        }
    }
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
    let text = format!("[jobs.test]\n{lines}\n");
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
            "env" => "{ A = '1' }",
            "grace" => "'3s'",
            "key" => "'rustc -V'",
            "labels" => "['gpu']",
            "platform" => "'any'",
            "reuse" => "'tree'",
            "run" => "['false']",
            "timeout" => "'1m30s'",
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
        "echo \"line of $GIT_CI_TREE\"; test $(cat n) != 2; exit $?",
    )
    .job("look", "git log -1 --format=%s")
    .job("away", "git-ci-no-such-command")
    .job("allowed", "exit 3")
    .jobs_file("allow-failure = true\ntimeout = '1m'\n");
    for subject in ["one", "two \u{1b}[31m", "three"] {
        repo.commit(subject);
    }
    repo.git(["config", "ci-host.gone.command", "false"]);
    repo.git(["config", "ci-host.gone.labels", "far"]);
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
        &["status", "-n3"],
        &["log"],
        &["show", "HEAD~1"],
        &["show", "HEAD~2"],
        &["logs", "HEAD~1", "test"],
        &["hosts"],
        &["hosts", "--check"],
        &["doctor"],
        &["gc", "-n"],
    ];
    for args in outputs {
        if args[0] == "show" {
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

    // What came is nearly all there is; the rest takes a host, a watcher or an accident.
    let seldom = [
        "note",
        "warning",
        "running",
        "watching",
        "queue",
        "removed",
        "task-output",
    ];
    for kind in ["Event", "Line"] {
        for line in schema["$defs"][kind]["oneOf"].as_array().unwrap() {
            let name = &line["properties"]["event"]["const"];
            let came = told.iter().any(|(_, value)| value["event"] == *name);
            assert!(came || seldom.contains(&name.as_str().unwrap()), "{name}");
        }
    }
}
