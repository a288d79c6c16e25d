//! The note store beside git itself: the same trees, the same merges, and nothing lost
//! whoever else writes.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use git_ci::git::Repo;
use git_ci::model::{Note, Oid, Record, Seen, Status, Why};
use git_ci::notes::{NoteStore, read_note};

use crate::support::TestRepo;

const NOTES: &str = "refs/notes/ci";

/// So many empty commits on `main`, by one fast-import; their ids, oldest first.
fn commits(repo: &TestRepo, count: usize) -> Vec<Oid> {
    let mut stream = String::new();
    for n in 0..count {
        let _ = write!(
            stream,
            "commit refs/heads/main\ncommitter C <c@example.com> {} +0000\ndata 1\nx\n",
            1_750_000_000 + n
        );
    }
    feed(repo, &["fast-import", "--quiet"], &stream);
    let list = repo.git(["rev-list", "--reverse", "main"]);
    list.lines().map(|id| id.parse().unwrap()).collect()
}

fn feed(repo: &TestRepo, args: &[&str], input: &str) -> String {
    let mut child = repo
        .command("git", repo.path())
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn record(n: u64, job: &str) -> Record {
    Record {
        status: if n.is_multiple_of(3) {
            Status::Fail
        } else {
            Status::Pass
        },
        job: job.parse().unwrap(),
        duration: Duration::from_millis(100 * n),
        finished: jiff::Timestamp::from_second(1_750_000_000 + n as i64).unwrap(),
        runner: "mira".parse().unwrap(),
        why: n.is_multiple_of(3).then_some(Why::Exit(1)),
        tests: None,
        try_: 1,
        on: "x86_64-linux".parse().ok(),
        env: None,
        def: "5b21c0de9a415b21c0de9a415b21c0de".parse().unwrap(),
        log: format!("{n:016x}").parse().unwrap(),
        input: None,
        tree: "4b825dc642cb6eb9a060e54bf8d69288fbee4904".parse().unwrap(),
        seen: Seen::Nothing,
        rest: None,
    }
}

fn store(repo: &TestRepo) -> NoteStore {
    NoteStore::open(&Repo::open_common(&repo.git_dir()).unwrap(), NOTES).unwrap()
}

#[test]
fn trees_are_those_that_git_notes_writes() {
    let repo = TestRepo::new();
    let ids = commits(&repo, 700);
    let mut store = store(&repo);
    let mut last = 0;
    // Around the sizes at which git begins to fan out, one by one and in batches.
    for step in [1, 1, 30, 60, 1, 100, 1, 3, 100, 200, 1, 150, 50, 2] {
        let batch: Vec<_> = ids[last..last + step]
            .iter()
            .zip(last as u64..)
            .map(|(id, n)| (*id, record(n, "test")))
            .collect();
        store.append(&batch).unwrap();
        for (id, record) in &batch {
            let blob = feed(
                &repo,
                &["hash-object", "-w", "--stdin"],
                &format!("{record}\n"),
            );
            repo.git([
                "notes",
                "--ref=git",
                "add",
                "-f",
                "-C",
                &blob,
                &id.to_string(),
            ]);
        }
        last += step;
        assert_eq!(
            repo.git(["rev-parse", "refs/notes/ci^{tree}"]),
            repo.git(["rev-parse", "refs/notes/git^{tree}"]),
            "after {last} notes"
        );
    }
    assert_eq!(last, ids.len());
    assert!(
        repo.git(["ls-tree", "refs/notes/ci"]).contains(" tree "),
        "it fanned out"
    );
    repo.git(["fsck", "--strict"]);
}

#[test]
fn a_merge_by_git_gives_what_we_would_write() {
    let repo = TestRepo::new();
    let ids = commits(&repo, 3);
    let mut ours = store(&repo);
    ours.append(&[(ids[0], record(1, "a")), (ids[1], record(2, "b"))])
        .unwrap();
    repo.git(["update-ref", "refs/notes/theirs", NOTES]);
    ours.append(&[(ids[0], record(3, "c")), (ids[2], record(4, "d"))])
        .unwrap();
    let open = Repo::open_common(&repo.git_dir()).unwrap();
    let mut theirs = NoteStore::open(&open, "refs/notes/theirs").unwrap();
    theirs
        .append(&[(ids[0], record(5, "e")), (ids[1], record(6, "f"))])
        .unwrap();
    repo.git([
        "notes",
        "--ref=ci",
        "merge",
        "-q",
        "-s",
        "cat_sort_uniq",
        "refs/notes/theirs",
    ]);
    for (id, count) in ids.iter().zip([3, 2, 1]) {
        let blob = repo.git(["notes", "--ref=ci", "show", &id.to_string()]) + "\n";
        let note = Note::parse(blob.as_bytes());
        assert_eq!(note.records().count(), count);
        assert_eq!(note.to_bytes(), blob.as_bytes(), "byte for byte");
    }
}

#[test]
fn writers_in_many_processes_and_threads_lose_nothing() {
    let repo = TestRepo::new();
    let ids = commits(&repo, 8);
    thread::scope(|scope| {
        for writer in 0..8_u64 {
            let (repo, ids) = (&repo, &ids);
            let mut store = store(repo);
            scope.spawn(move || {
                for n in 0..5 {
                    let id = ids[((writer + n) % 8) as usize];
                    store
                        .append(&[(id, record(10 * writer + n, "test"))])
                        .unwrap();
                }
            });
        }
    });
    let open = Repo::open_common(&repo.git_dir()).unwrap();
    let count = |id| read_note(&open, NOTES, id).unwrap().records().count();
    assert_eq!(ids.iter().map(count).sum::<usize>(), 40);
    repo.git(["fsck", "--strict"]);
}

#[test]
fn a_batch_is_one_commit_and_a_known_record_none() {
    let repo = TestRepo::new();
    let ids = commits(&repo, 200);
    let batch: Vec<_> = ids
        .iter()
        .zip(0..)
        .map(|(id, n)| (*id, record(n, "test")))
        .collect();
    let mut store = store(&repo);
    let tip = store.append(&batch).unwrap().tip;
    assert_eq!(repo.git(["rev-list", "--count", NOTES]), "1");
    assert_eq!(store.append(&batch[..50]).unwrap().tip, tip);
    assert_eq!(repo.git(["rev-list", "--count", NOTES]), "1");
    let loose = repo.git(["count-objects"]);
    let loose: usize = loose.split(' ').next().unwrap().parse().unwrap();
    assert!(
        loose < 20,
        "many objects go into one pack, not {loose} files"
    );
}

#[test]
fn a_lock_that_a_dead_process_left_is_named() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    repo.commit("one");
    repo.ci(["run"]).expect_code(0);
    repo.write(".git/refs/notes/ci.lock", "");
    let done = repo.ci(["run", "--force"]).expect_code(128);
    assert!(
        done.stderr().contains("refs/notes/ci.lock"),
        "{}",
        done.stderr()
    );
    std::fs::remove_file(repo.git_dir().join("refs/notes/ci.lock")).unwrap();
    repo.ci(["run", "--force"]).expect_code(0);
    assert_eq!(repo.verdicts("HEAD").len(), 2);
}

#[test]
fn the_derived_index_may_vanish_be_torn_or_lie() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    repo.commit("one");
    repo.ci(["run"]).expect_code(0);
    let index = repo.git_dir().join("ci/records");
    let known = |what: &str| {
        let plan = repo.ci(["run", "--dry-run"]).expect_code(0);
        assert!(
            plan.stdout().contains("cached pass"),
            "{what}: {}",
            plan.stdout()
        );
    };
    known("just stored");
    let text = std::fs::read_to_string(&index).unwrap();
    for (what, contents) in [
        ("torn", &text[..text.len() / 2]),
        ("empty", ""),
        ("garbage", "\u{1b}[31m\0\n"),
        (
            "of a tree that is gone",
            &text.replacen(&text[17..57], &"1".repeat(40), 1),
        ),
    ] {
        std::fs::write(&index, contents).unwrap();
        known(what);
    }
    std::fs::remove_file(&index).unwrap();
    known("gone");
    // The notes are the only truth: without them nothing is known.
    repo.git(["update-ref", "-d", NOTES]);
    let plan = repo.ci(["run", "--dry-run"]).expect_code(125);
    assert!(plan.stdout().contains(" run "), "{}", plan.stdout());
}

#[test]
fn what_git_notes_leaves_out_is_added_again() {
    let repo = TestRepo::new();
    let ids = commits(&repo, 3);
    let mut store = store(&repo);
    let open = Repo::open_common(&repo.git_dir()).unwrap();
    let count = |id| read_note(&open, NOTES, id).unwrap().records().count();
    store.append(&[(ids[0], record(1, "a"))]).unwrap();
    let before = repo.git(["rev-parse", NOTES]);
    store.append(&[(ids[1], record(2, "b"))]).unwrap();
    // As of two `git notes` at a time: the later moves the ref from where it once was.
    repo.git(["update-ref", NOTES, &before]);
    let append = |rev: &Oid| {
        let rev = rev.to_string();
        repo.git(["notes", "--ref=ci", "append", "-m", "by hand", &rev])
    };
    append(&ids[0]);
    assert_eq!(count(&ids[1]), 0);
    store.append(&[(ids[2], record(3, "c"))]).unwrap();
    assert_eq!(ids.iter().map(count).collect::<Vec<_>>(), [1, 1, 1]);
    assert!(repo.note(&ids[0].to_string()).contains("by hand"));

    repo.git(["update-ref", NOTES, &before]);
    store.finish().unwrap();
    assert_eq!(ids.iter().map(count).collect::<Vec<_>>(), [1, 1, 1]);

    // Its commit may have the newest one as its parent, and the tree of an older one.
    let old_tree = repo.git(["rev-parse", &format!("{before}^{{tree}}")]);
    let commit = repo.git(["commit-tree", &old_tree, "-p", NOTES, "-m", "Notes added"]);
    repo.git(["update-ref", NOTES, &commit]);
    store.append(&[(ids[2], record(4, "d"))]).unwrap();
    assert_eq!(ids.iter().map(count).collect::<Vec<_>>(), [1, 1, 2]);
}

#[test]
fn a_symbolic_ref_is_followed_and_no_hook_of_the_user_is_run() {
    let repo = TestRepo::new();
    let ids = commits(&repo, 2);
    repo.git(["symbolic-ref", NOTES, "refs/notes/elsewhere"]);
    let mark = repo.root().join("mark");
    let hook = repo.git_dir().join("hooks/reference-transaction");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", mark.display())).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&hook, mode).unwrap();
    let mut store = store(&repo);
    for (n, id) in ids.iter().enumerate() {
        store.append(&[(*id, record(n as u64, "a"))]).unwrap();
        assert!(!mark.exists());
        repo.command("git", repo.path())
            .args(["pack-refs", "--all"])
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "core.hooksPath")
            .env("GIT_CONFIG_VALUE_0", "/dev/null")
            .status()
            .unwrap();
    }
    store.finish().unwrap();
    assert_eq!(
        repo.git(["rev-list", "--count", "refs/notes/elsewhere"]),
        "2"
    );
    assert_eq!(repo.git(["symbolic-ref", NOTES]), "refs/notes/elsewhere");
    assert_eq!(repo.noted_commits(), 2);
}

#[test]
fn writers_beside_everything_that_git_does_with_notes_lose_nothing() {
    let repo = TestRepo::new();
    let ids = commits(&repo, 8);
    repo.git([
        "notes",
        "--ref=other",
        "add",
        "-m",
        "theirs",
        &ids[0].to_string(),
    ]);
    let by_hand: [&[&str]; 4] = [
        &["notes", "--ref=ci", "append", "-m", "by hand", "main"],
        &["notes", "--ref=ci", "merge", "-q", "-s", "union", "other"],
        &["pack-refs", "--all"],
        &["repack", "-a", "-d", "-q"],
    ];
    let commands: Vec<_> = by_hand
        .iter()
        .map(|args| {
            let mut command = repo.command("git", repo.path());
            command.args(*args);
            command
        })
        .collect();
    let stores: Vec<_> = (0..3).map(|_| store(&repo)).collect();
    let over = AtomicBool::new(false);
    let mut stores: Vec<NoteStore> = thread::scope(|scope| {
        let writers = stores.into_iter().enumerate().map(|(writer, mut store)| {
            let ids = &ids;
            scope.spawn(move || {
                for n in 0..5 {
                    let id = ids[(writer + n) % 8];
                    let record = record(10 * writer as u64 + n as u64, "test");
                    store.append(&[(id, record)]).unwrap();
                }
                store
            })
        });
        let writers: Vec<_> = writers.collect();
        for mut command in commands {
            let over = &over;
            scope.spawn(move || {
                while !over.load(Ordering::Acquire) {
                    // It may lose a race.
                    command.output().unwrap();
                }
            });
        }
        let done = writers.into_iter().map(|writer| writer.join().unwrap());
        let done = done.collect();
        over.store(true, Ordering::Release);
        done
    });
    for store in &mut stores {
        store.finish().unwrap();
    }
    let open = Repo::open_common(&repo.git_dir()).unwrap();
    let count = |id| read_note(&open, NOTES, id).unwrap().records().count();
    assert_eq!(ids.iter().map(count).sum::<usize>(), 15);
    repo.git(["fsck", "--strict"]);
}
