//! The note store where others prune, repack and damage: what was reported is there,
//! whole, whatever happens beside it.

use std::fmt::Write as _;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::{Ran, TestRepo};
use crate::watch::{Watcher, wait_for_checkpoint};

const NOTES: &str = "refs/notes/ci";

/// What a gc by hand does, at its most eager.
const EAGER: [&[&str]; 3] = [
    &["prune", "--expire=now"],
    &["gc", "--quiet", "--prune=now"],
    &["repack", "-a", "-d", "-f", "-q"],
];

/// A repository with a job that passes, and so many commits.
fn with_commits(count: usize) -> TestRepo {
    let repo = TestRepo::new();
    repo.job("test", "true");
    for n in 0..count {
        repo.commit(&format!("commit {n}"));
    }
    repo
}

/// Does `work` while `git` runs this command again and again.
fn beside<T>(repo: &TestRepo, args: &[&str], work: impl FnOnce() -> T) -> T {
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let over = AtomicBool::new(false);
    let mut git = repo.command("git", repo.path());
    git.args(args);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                // It may fail: files vanish below it, too.
                git.output().unwrap();
            }
        });
        let _over = Over(&over); // Also where `work` panics.
        work()
    })
}

/// Everything that the notes need is there.
#[track_caller]
fn expect_whole(repo: &TestRepo, when: &str) {
    let walk = repo
        .command("git", repo.path())
        .args(["rev-list", "--objects", "--quiet", NOTES])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&walk.stderr);
    assert!(walk.status.success(), "{when}: {said}");
}

/// Files of the pack directory that end so.
fn pack_files(repo: &TestRepo, ending: &str) -> Vec<String> {
    let files = fs::read_dir(repo.git_dir().join("objects/pack")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(ending)).collect()
}

#[test]
fn no_gc_takes_what_a_run_stores() {
    let gentle: [&[&str]; 5] = [
        &["repack", "-A", "-d", "-q", "--unpack-unreachable=now"],
        &["repack", "--cruft", "--cruft-expiration=now", "-d", "-q"],
        &["repack", "--geometric=2", "-d", "-q", "--write-midx"],
        &["multi-pack-index", "write"],
        &["maintenance", "run", "--task=incremental-repack", "--quiet"],
    ];
    for command in EAGER.into_iter().chain(gentle) {
        let repo = with_commits(25);
        beside(&repo, command, || {
            repo.ci(["run", "-q", "-j1", "--all"]).expect_code(0);
        });
        expect_whole(&repo, command[0]);
        assert_eq!(repo.noted_commits(), 25, "{command:?}");
        assert_eq!(pack_files(&repo, ".keep"), [""; 0], "{command:?}");
        if repo
            .git_dir()
            .join("objects/pack/multi-pack-index")
            .exists()
        {
            repo.git(["multi-pack-index", "verify"]);
        }
        repo.git(["fsck", "--strict"]);
    }
}

#[test]
fn no_gc_takes_what_a_killed_run_has_stored() {
    for command in EAGER {
        let repo = with_commits(12);
        for done in [2, 5, 8] {
            beside(&repo, command, || {
                let mut run = repo.spawn_ci(["run", "-q", "-j1", "--all"]);
                while repo.noted_commits() < done && run.try_wait().unwrap().is_none() {
                    thread::yield_now();
                }
                run.kill().unwrap(); // SIGKILL: no handler runs.
                run.wait().unwrap();
            });
            expect_whole(&repo, command[0]);
        }
        beside(&repo, command, || {
            repo.ci(["run", "-q", "--all"]).expect_code(0);
        });
        expect_whole(&repo, command[0]);
        assert_eq!(repo.noted_commits(), 12, "{command:?}");
    }
}

#[test]
fn wherever_a_run_is_killed_a_gc_finds_no_half_and_the_next_run_tidies() {
    // Six packs, so that the end of the seventh run has some to merge.
    let repo = with_commits(7);
    for n in (1..7).rev() {
        repo.ci(["run", "-q", &format!("HEAD~{n}")]).expect_code(0);
    }
    for point in [
        "pack-kept",
        "pack-written",
        "pack-visible",
        "ref-moved",
        "packs-merged",
    ] {
        for command in EAGER {
            let mut run = repo.ci_command(["run", "-q", "--force"]);
            run.env("GIT_CI_FAIL_POINT", point).output().unwrap();
            repo.git(command);
            expect_whole(&repo, point);
            repo.git(["fsck", "--strict"]);
        }
        repo.ci(["run", "-q", "--force"]).expect_code(0);
        for litter in [".keep", ".tmp"] {
            assert_eq!(pack_files(&repo, litter), [""; 0], "{point}");
        }
        let packs = pack_files(&repo, ".pack").len();
        assert_eq!(packs, pack_files(&repo, ".idx").len(), "{point}");
        let size = repo.git(["count-objects", "-v"]);
        assert!(size.contains("garbage: 0"), "{point}: {size}");
    }
}

/// Ends a command that takes longer than any honest work here.
#[track_caller]
fn ci_in_time(repo: &TestRepo, args: &[&str]) -> Ran {
    let limit = Duration::from_secs(30);
    let mut command = repo.command("timeout", repo.path());
    command.arg(limit.as_secs().to_string());
    command.arg(env!("CARGO_BIN_EXE_git-ci")).args(args);
    let ran = Ran(command.output().unwrap());
    assert_ne!(ran.code(), 124, "{args:?} takes more than {limit:?}");
    ran
}

/// The id of a blob that holds `text`.
fn blob(repo: &TestRepo, text: &str) -> String {
    let file = repo.root().join("blob");
    fs::write(&file, text).unwrap();
    repo.git(["hash-object", "-w", file.to_str().unwrap()])
}

#[test]
fn a_note_of_very_many_lines_takes_time_in_proportion() {
    let repo = with_commits(1);
    let tree = repo.git(["rev-parse", "HEAD^{tree}"]);
    let mut lines = String::new();
    for n in 0..40_000 {
        let minute = n / 60;
        let (hour, minute, second) = (minute / 60, minute % 60, n % 60);
        let _ = writeln!(
            lines,
            "pass  other     0.1s 2025-01-01T{hour:02}:{minute:02}:{second:02}Z x       v=1 \
             tree={tree} def=5b21c0de9a410000 log={n:016x}"
        );
    }
    let blob = blob(&repo, &lines);
    repo.git(["notes", "--ref=ci", "add", "-C", &blob, "HEAD"]);
    for (args, code) in [
        (&["status"] as &[&str], 0),
        (&["run", "-q"], 0),
        (&["run", "-q", "--force"], 0),
        (&["show"], 0),
        (&["log"], 0),
        (&["doctor"], 0),
    ] {
        ci_in_time(&repo, args).expect_code(code);
    }
    assert_eq!(repo.note("HEAD").lines().count(), 40_002);
}

/// Packs everything, and puts so many copies of the packs beside them.
fn copy_packs(repo: &TestRepo, count: usize) {
    repo.git(["repack", "-d", "-q"]);
    let dir = repo.git_dir().join("objects/pack");
    let pack = pack_files(repo, ".pack").swap_remove(0);
    let pack = dir.join(pack);
    for n in 0..count {
        for part in ["pack", "idx"] {
            let copy = dir.join(format!("pack-{n:040x}.{part}"));
            fs::hard_link(pack.with_extension(part), copy).unwrap();
        }
    }
}

#[test]
fn a_watcher_goes_on_however_many_packs_there_come_to_be() {
    let repo = with_commits(1);
    let watcher = Watcher::start(&repo, &["-j1"]);
    let one = repo.git(["rev-parse", "HEAD"]);
    wait_for_checkpoint(&repo, "main", &one);
    copy_packs(&repo, 2100);
    let two = repo.commit("two");
    repo.git(["repack", "-d", "-q"]);
    wait_for_checkpoint(&repo, "main", &two);
    // All of them vanish, and what they held is elsewhere.
    repo.git(["repack", "-a", "-d", "-q"]);
    let three = repo.commit("three");
    wait_for_checkpoint(&repo, "main", &three);
    assert_eq!(watcher.interrupt(), 130);
    assert_eq!(repo.noted_commits(), 3);
    expect_whole(&repo, "after all");
}

#[test]
fn many_results_leave_few_packs() {
    let repo = with_commits(1);
    let list: Vec<_> = (0..60)
        .map(|n| format!("[jobs.j{n}]\nrun = \"true\"\n"))
        .collect();
    repo.jobs_file(&list.concat());
    // One at a time, and each stored by itself as far as may be.
    repo.ci(["run", "-q", "-j1"]).expect_code(0);
    let batches: usize = repo.git(["rev-list", "--count", NOTES]).parse().unwrap();
    assert!(batches > 4, "{batches}");
    assert!(pack_files(&repo, ".pack").len() <= 4);
    for n in 0..12 {
        repo.ci(["run", "-q", "--force", "--job", &format!("j{n}")])
            .expect_code(0);
    }
    assert!(pack_files(&repo, ".pack").len() <= 5);
    // What a multi-pack index names must stay.
    repo.git(["multi-pack-index", "write"]);
    let named = pack_files(&repo, ".pack");
    for n in 0..12 {
        let job = format!("j{n}");
        let args = ["run", "-q", "--force", "--job", &job];
        repo.ci(args).expect_code(0);
    }
    let packs = pack_files(&repo, ".pack");
    assert!(named.iter().all(|pack| packs.contains(pack)));
    assert!(packs.len() <= named.len() + 5, "{packs:?}");
    repo.git(["multi-pack-index", "verify"]);
    let size = repo.git(["count-objects", "-v"]);
    assert!(size.contains("garbage: 0"), "{size}");
    expect_whole(&repo, "merged");
}

/// Makes a tree of these entries, each `MODE TYPE ID` and a name.
fn tree(repo: &TestRepo, entries: &[(String, String)]) -> String {
    let text: String = entries
        .iter()
        .map(|(object, name)| format!("{object}\t{name}\n"))
        .collect();
    let file = repo.root().join("tree");
    fs::write(&file, text).unwrap();
    let made = repo
        .command("git", repo.path())
        .arg("mktree")
        .stdin(fs::File::open(&file).unwrap())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

/// Makes a tree the notes.
fn set_notes(repo: &TestRepo, tree: &str) {
    let commit = repo.git(["commit-tree", tree, "-m", "notes by hand"]);
    repo.git(["update-ref", NOTES, &commit]);
}

#[test]
fn trees_that_name_each_other_again_and_again_are_bounded() {
    let repo = with_commits(1);
    let blob = blob(&repo, "a note\n");
    let mut last = tree(&repo, &[(format!("100644 blob {blob}"), "a".repeat(24))]);
    for _ in 0..8 {
        let entries = (0..100).map(|n| (format!("040000 tree {last}"), format!("{n:02x}")));
        last = tree(&repo, &entries.collect::<Vec<_>>());
    }
    set_notes(&repo, &last);
    for args in [&["status"] as &[&str], &["run"], &["show"], &["log"]] {
        let ran = ci_in_time(&repo, args).expect_code(128);
        assert!(
            ran.stderr().contains("named in two places"),
            "{}",
            ran.stderr()
        );
    }
    let ran = ci_in_time(&repo, &["doctor"]).expect_code(1);
    assert!(
        ran.stdout().contains("named in two places"),
        "{}",
        ran.stdout()
    );
}

#[test]
fn odd_trees_are_read_as_git_reads_them() {
    let repo = with_commits(2);
    let (one, two) = (
        repo.git(["rev-parse", "HEAD~1"]),
        repo.git(["rev-parse", "HEAD"]),
    );
    repo.ci(["run", "-q", "--all"]).expect_code(0);
    let notes: Vec<_> = [&one, &two]
        .iter()
        .map(|id| repo.git(["rev-parse", &format!("{NOTES}:{id}")]))
        .collect();
    let (file, other) = (
        |id: &str| format!("100644 blob {id}"),
        blob(&repo, "seen by hand\n"),
    );
    let other_dir = tree(&repo, &[(file(&other), one[2..].to_owned())]);
    let upper = one[..2].to_uppercase();
    let empty = repo.git(["hash-object", "-t", "tree", "-w", "/dev/null"]);
    let odd = tree(
        &repo,
        &[
            // The same note at two depths, and in a directory in upper case.
            (file(&notes[0]), one.clone()),
            (format!("040000 tree {other_dir}"), one[..2].to_owned()),
            (
                format!("040000 tree {other_dir}"),
                if upper == one[..2] {
                    "zz".to_owned()
                } else {
                    upper
                },
            ),
            // An executable note; empty directories; what is no note, or no blob.
            (format!("100755 blob {}", notes[1]), two.clone()),
            (format!("040000 tree {empty}"), "00".to_owned()),
            (format!("040000 tree {empty}"), "not-hex".to_owned()),
            (format!("160000 commit {two}"), "f".repeat(40)),
            (format!("120000 blob {other}"), "e".repeat(40)),
            (format!("040000 tree {empty}"), "d".repeat(40)),
            (file(&other), "d".repeat(39)),
        ],
    );
    set_notes(&repo, &odd);
    let known = ci_in_time(&repo, &["run", "--all"]).expect_code(0);
    assert!(known.stderr().contains("2 cached"), "{}", known.stderr());
    ci_in_time(&repo, &["run", "-q", "--force", "--all"]).expect_code(0);
    assert_eq!(repo.note(&one).lines().count(), 3, "{}", repo.note(&one));
    assert_eq!(repo.note(&two).lines().count(), 2);
    let kept = repo.git(["ls-tree", NOTES]);
    for name in ["not-hex", &"f".repeat(40), &"e".repeat(40), &"d".repeat(39)] {
        assert!(kept.contains(name), "{name}: {kept}");
    }
}

#[test]
fn git_may_tidy_up_when_packs_are_many() {
    let repo = with_commits(1);
    repo.git(["config", "gc.autoPackLimit", "3"]);
    repo.git(["config", "gc.autoDetach", "false"]);
    copy_packs(&repo, 6);
    repo.git(["config", "gc.auto", "0"]);
    repo.ci(["run"]).expect_code(0);
    assert!(
        pack_files(&repo, ".pack").len() > 6,
        "not where the user says no"
    );
    repo.git(["config", "--unset", "gc.auto"]);
    repo.ci(["run", "--force"]).expect_code(0);
    assert!(pack_files(&repo, ".pack").len() <= 2);
    assert_eq!(repo.verdicts("HEAD").len(), 2);
}

#[test]
fn notes_that_are_at_a_tree_get_a_history() {
    let repo = with_commits(1);
    repo.ci(["run"]).expect_code(0);
    repo.git(["update-ref", NOTES, &format!("{NOTES}^{{tree}}")]);
    repo.commit("more");
    repo.ci(["run"]).expect_code(0);
    assert_eq!(repo.git(["rev-list", "--count", NOTES]), "1");
    assert_eq!(repo.noted_commits(), 2);
    expect_whole(&repo, "after the run");
    repo.git(["fsck", "--strict"]);
}

#[test]
fn no_branch_is_taken_for_notes() {
    for format in ["files", "reftable"] {
        let made = ["-b", "main", &format!("--ref-format={format}")];
        let repo = TestRepo::init(&made);
        repo.job("test", "touch $HOME/ran");
        let one = repo.commit("one");
        repo.git(["symbolic-ref", NOTES, "refs/heads/main"]);
        let refused = repo.ci(["run"]).expect_code(128).stderr();
        assert!(
            refused.contains("symbolic ref to refs/heads/main"),
            "{refused}"
        );
        assert!(refused.contains("git symbolic-ref --delete"), "{refused}");
        assert!(!repo.root().join("home/ran").exists());
        assert_eq!(repo.git(["rev-parse", "main"]), one);
        repo.git(["symbolic-ref", "--delete", NOTES]);
        repo.ci(["run"]).expect_code(0);
    }
}
