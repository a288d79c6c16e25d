//! The format of notes: the test vectors and the reader on its page.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use git_ci::model::{
    Commit, Criteria, Forget, Line, Note, ParseRecordError, Record, Reuse, Surroundings,
};
use git_ci::verdict::Standing;
use serde_json::Value;

use crate::formats::{block, json, page, set_note};
use crate::support::{Ran, TestRepo};

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
        snapshot: None,
    };
    let criteria = Criteria {
        job: head["job"].parse().unwrap(),
        def: head["def"].parse().unwrap(),
        reuse: Reuse::Auto,
        binds: false,
        names_commit: false,
        any_platform: false,
        env: None,
        inputs: None,
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
            "needs",
            "runner-lost",
            "setup",
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
