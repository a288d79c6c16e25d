//! `git ci run` where things go wrong: bad input, hostile jobs, killed processes, full
//! disks. Whatever happens, each note parses, nothing of a job survives, nothing of the
//! user's is touched, and the same command run again goes on.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use git_ci::model::Note;

use crate::support::{TestRepo, alive, processes_with, wait_until};

/// Whether the tests run as root, which some faults need.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says why a test cannot run here. CI has everything, so there it fails.
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "cannot run in CI: {why}");
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("skipped: {why}\n").as_bytes(),
    );
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

/// The directory in which the test's worktrees are: every process of a job has it in its environment.
fn marker(repo: &TestRepo) -> String {
    format!("{}", repo.root().display())
}

/// No job, no agent and no git-ci of this test is left.
#[track_caller]
fn expect_no_survivors(repo: &TestRepo) {
    wait_until("every process of the run to be gone", || {
        processes_with(&marker(repo)).is_empty()
    });
}

/// Every line of every note is a record.
#[track_caller]
fn expect_notes_parse(repo: &TestRepo) {
    let list = repo
        .command("git", repo.path())
        .args(["notes", "--ref=ci", "list"])
        .output()
        .unwrap();
    for line in String::from_utf8_lossy(&list.stdout).lines() {
        let blob = repo.git(["cat-file", "blob", line.split(' ').next().unwrap()]);
        assert_eq!(
            Note::parse(blob.as_bytes()).records().count(),
            blob.lines().count(),
            "{blob}"
        );
    }
    repo.git(["fsck", "--strict"]);
}

#[test]
fn outside_a_repository() {
    let repo = TestRepo::new();
    let done = repo
        .command(env!("CARGO_BIN_EXE_git-ci"), repo.root())
        .arg("run")
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(128));
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(said.contains("not a git repository"), "{said}");
}

#[test]
fn a_revision_that_does_not_exist() {
    let repo = TestRepo::new();
    repo.job("test", "true").commit("one");
    for rev in [
        "nowhere",
        "main..nowhere",
        "--upload-pack=x",
        "HEAD^{tree}",
        "0000000000000000000000000000000000000000",
    ] {
        // What looks like an option is wrong usage; the rest is as fatal as it is to git.
        let code = if rev.starts_with('-') { 129 } else { 128 };
        let done = repo.ci(["run", "--", rev]).expect_code(code);
        assert!(done.stderr().starts_with("error: "), "{}", done.stderr());
    }
    let slip = repo.ci(["run", "mian~1"]).expect_code(128);
    assert!(slip.stderr().contains("`main~1`"), "{}", slip.stderr());
    for right in ["HEAD~1", "main~1"] {
        let gone = repo.ci(["run", right]).expect_code(128);
        assert!(!gone.stderr().contains("hint"), "{}", gone.stderr());
    }
    assert_eq!(repo.noted_commits(), 0);
}

#[test]
fn an_empty_range_is_no_failure() {
    let repo = TestRepo::new();
    repo.job("test", "true").commit("one");
    let done = repo.ci(["run", "HEAD..HEAD"]).expect_code(0);
    assert!(
        done.stderr().contains("nothing to run"),
        "{}",
        done.stderr()
    );
}

#[test]
fn no_jobs_file_and_a_broken_one() {
    let repo = TestRepo::new();
    repo.commit("one");
    let none = repo.ci(["run"]).expect_code(128);
    assert!(none.stderr().contains("git ci init"), "{}", none.stderr());
    repo.jobs_file("[jobs.test]\nrunn = \"true\"\n");
    let broken = repo.ci(["run"]).expect_code(128);
    assert!(
        broken.stderr().contains(".git-ci.toml:2:1"),
        "{}",
        broken.stderr()
    );
    assert!(broken.stderr().contains("run"), "{}", broken.stderr());
    repo.write(".git-ci.toml", vec![b'#'; (4 << 20) + 1]);
    let endless = repo.ci(["run"]).expect_code(128);
    assert!(
        endless.stderr().contains("longer than 4 MiB"),
        "{}",
        endless.stderr()
    );
    repo.ci(["run", "-x", ""]).expect_code(129);
}

#[test]
fn no_identity_is_known_before_anything_runs() {
    let repo = TestRepo::new();
    repo.job("test", "touch ran").commit("one");
    repo.git(["config", "--unset", "user.name"]);
    repo.git(["config", "--unset", "user.email"]);
    repo.git(["config", "user.useConfigOnly", "true"]);
    let done = repo.ci(["run"]).expect_code(128);
    assert!(done.stderr().contains("git config"), "{}", done.stderr());
    assert_eq!(repo.noted_commits(), 0);
}

#[test]
fn git_missing_or_too_old() {
    let repo = TestRepo::new();
    repo.job("test", "true").commit("one");
    let bin = repo.root().join("bin");
    fs::create_dir(&bin).unwrap();
    let without = repo.ci_command(["run"]).env("PATH", &bin).output().unwrap();
    assert_eq!(without.status.code(), Some(128));
    assert!(String::from_utf8_lossy(&without.stderr).contains("find git on PATH"));
    fs::write(bin.join("git"), "#!/bin/sh\necho git version 1.8.3.1\n").unwrap();
    fs::set_permissions(bin.join("git"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let old = repo.ci_command(["run"]).env("PATH", path).output().unwrap();
    assert_eq!(old.status.code(), Some(128));
    let said = String::from_utf8_lossy(&old.stderr).into_owned();
    assert!(
        said.contains("work with git 1.8.3.1") && said.contains("2.31"),
        "{said}"
    );
}

#[test]
fn a_repository_of_somebody_else() {
    if !is_root() {
        return skip("needs root, to give a repository to another user");
    }
    let repo = TestRepo::new();
    repo.job("test", "true").commit("one");
    let status = Command::new("chown")
        .args(["-R", "12345"])
        .arg(repo.path())
        .status()
        .unwrap();
    assert!(status.success());
    let done = repo.ci(["run"]).expect_code(128);
    assert!(
        done.stderr().contains("safe.directory"),
        "{}",
        done.stderr()
    );
}

#[test]
fn a_read_only_repository() {
    if !is_root() {
        return skip("needs root, for a mount namespace");
    }
    let repo = TestRepo::new();
    repo.job("test", "true").commit("one");
    let dir = repo.path().display();
    let script = format!(
        "mount --bind {dir} {dir} && mount -o remount,ro,bind {dir} && cd {dir} && exec \"$0\" run"
    );
    let done = repo
        .command("unshare", repo.path())
        .args(["-m", "sh", "-c", &script, env!("CARGO_BIN_EXE_git-ci")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(128), "{said}");
    assert!(said.contains("Read-only file system"), "{said}");
}

/// Runs the program with the repository's `ci` directory or its objects on a tmpfs of `size`.
pub(crate) fn with_small_disk(
    repo: &TestRepo,
    what: &Path,
    size: &str,
    then: &str,
) -> (i32, String) {
    let script = format!(
        "mkdir -p '{0}' && mount -t tmpfs -o size={size} none '{0}' && {then}",
        what.display()
    );
    let done = repo
        .command("unshare", repo.path())
        .args(["-m", "sh", "-c", &script, env!("CARGO_BIN_EXE_git-ci")])
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    (done.status.code().unwrap_or(-1), said)
}

#[test]
fn the_disk_fills_up_with_a_log() {
    if !is_root() {
        return skip("needs root, for a mount namespace");
    }
    let repo = TestRepo::new();
    repo.job("loud", "head -c 3000000 /dev/zero | tr '\\0' x; sleep 60");
    repo.job("still", "true");
    repo.commit("one");
    let logs = repo.git_dir().join("ci/logs");
    let (code, said) = with_small_disk(&repo, &logs, "1m", "exec \"$0\" run -j1");
    assert_eq!(code, 125, "{said}");
    assert!(said.contains("No space left on device"), "{said}");
    assert_eq!(repo.verdicts("HEAD"), ["ERROR loud", "pass still"]);
    expect_no_survivors(&repo);
    // With space again, the same command gives the verdict.
    repo.ci(["run", "--job", "still"]).expect_code(0);
}

#[test]
fn the_disk_is_full_when_notes_are_written() {
    if !is_root() {
        return skip("needs root, for a mount namespace");
    }
    let repo = TestRepo::new();
    repo.job("test", "true");
    repo.commit("one");
    // Packed, so that the loose objects' directory can be another disk without hiding any.
    repo.git(["repack", "-adq"]);
    repo.git(["prune-packed"]);
    let objects = repo.git_dir().join("objects");
    let then = format!(
        "cp -r '{0}'.real/. '{0}' && head -c 400000 /dev/zero > '{0}/fill' 2>/dev/null; exec \"$0\" run -j1",
        objects.display()
    );
    let real = repo.git_dir().join("objects.real");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(&objects)
        .arg(&real)
        .status()
        .unwrap();
    assert!(copied.success());
    let (code, said) = with_small_disk(&repo, &objects, "100k", &then);
    assert_eq!(code, 125, "{said}");
    assert!(said.contains("No space left on device"), "{said}");
    assert!(said.contains("(not stored) one"), "{said}");
    assert_eq!(repo.noted_commits(), 0);
    repo.ci(["run"]).expect_code(0);
    expect_notes_parse(&repo);
}

#[test]
fn a_job_that_leaves_processes_behind_leaves_none() {
    let repo = TestRepo::new();
    repo.job("group", "sleep 300 & echo done");
    repo.job("session", "setsid sleep 300 & echo done");
    repo.job(
        "daemon",
        "(setsid sh -c 'sleep 300 & sleep 300' &) ; echo done",
    );
    repo.commit("one");
    let start = Instant::now();
    repo.ci(["run"]).expect_code(0);
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "a held pipe kept the run waiting"
    );
    assert_eq!(processes_with(&marker(&repo)), Vec::<u32>::new());
}

#[test]
fn a_job_that_wrecks_its_worktree_does_not_spoil_the_next() {
    let repo = TestRepo::new();
    let wrecks = [
        ("delete", "rm -rf \"$PWD\"; true"),
        (
            "commit",
            "git -c user.name=J -c user.email=j@x commit -q --allow-empty -m mine",
        ),
        (
            "lock",
            "touch \"$(git rev-parse --git-dir)/index.lock\" \"$(git rev-parse --git-dir)/HEAD.lock\"",
        ),
        (
            "conflict",
            "git -c user.name=J -c user.email=j@x cherry-pick HEAD~1 >/dev/null 2>&1; true",
        ),
        ("detach", "rm -rf .git"),
        ("modes", "chmod 000 dir; chmod 755 n"),
    ];
    repo.write("dir/file", "x\n");
    for (name, wreck) in wrecks {
        let check = "test -z \"$(git status --porcelain)\" && test \"$(git rev-parse HEAD)\" = \"$GIT_CI_COMMIT\" && test -f dir/file || exit 9";
        repo.job(name, &format!("{check}; {wreck}"));
    }
    for subject in ["a", "b", "c", "d"] {
        repo.commit(subject);
    }
    repo.ci(["run", "-j1", "HEAD~2.."]).expect_code(0);
    assert_eq!(repo.noted_commits(), 2);
    assert_eq!(repo.git(["status", "--porcelain"]), "");
}

#[test]
fn what_a_job_leaves_and_nobody_can_remove_is_moved_out_of_the_way() {
    if !is_root() {
        return; // Files that their owner cannot remove are made by root only.
    }
    let repo = TestRepo::new();
    repo.job(
        "test",
        "test ! -e left && test -f n || exit 1; mkdir -p left/a left/b; \
         touch left/a/file left/b/file; chattr +i left/b/file || exit 125",
    );
    for subject in ["one", "two", "three"] {
        repo.commit(subject);
    }
    let ran = repo.ci(["run", "-j1", "--all"]).expect_code(0);
    let cache = fs::read_dir(repo.root().join("home/.cache/git-ci")).unwrap();
    let cache = cache.map(|entry| entry.unwrap().path()).next().unwrap();
    let mut aside = Vec::new();
    for entry in fs::read_dir(&cache).unwrap() {
        let path = entry.unwrap().path();
        let file = path.join("left/b/file");
        if file.exists() {
            repo.command("chattr", &path)
                .arg("-i")
                .arg(&file)
                .status()
                .unwrap();
            assert!(!path.join("n").exists() || path.ends_with("slot-1"));
            aside.push(path.file_name().unwrap().to_owned());
        }
    }
    if ran.stderr().contains("3 passed") {
        aside.sort();
        assert_eq!(aside, ["slot-1", "slot-1.left-1", "slot-1.left-2"]);
    } // Or this file system has no such files.
}

#[test]
fn a_worktree_removed_between_runs_comes_back() {
    let repo = TestRepo::new();
    repo.job("test", "test -f n && test -z \"$(git status --porcelain)\"");
    repo.commit("one");
    repo.ci(["run", "-j1"]).expect_code(0);
    let cache = repo.root().join("home/.cache/git-ci");
    fs::remove_dir_all(&cache).unwrap();
    repo.ci(["run", "-j1", "--force"]).expect_code(0);
    // The other way round: the git directory goes, the files stay.
    let slot = fs::read_dir(&cache).unwrap().next().unwrap().unwrap();
    fs::remove_dir_all(slot.path().join("slot-1/.git")).unwrap();
    repo.ci(["run", "-j1", "--force"]).expect_code(0);
}

#[test]
fn killed_run_keeps_finished_notes_and_resumes() {
    let repo = TestRepo::new();
    let mark = repo.root().join("mark");
    repo.job(
        "slow",
        &format!("test $(cat n) = 2 && exit 0; test -e {0} && exit 0; setsid sleep 300 & echo $$ > {0}.tmp; mv {0}.tmp {0}; sleep 300", mark.display()),
    );
    repo.commit("one");
    repo.commit("two");
    let mut run = repo.spawn_ci(["run", "-j1", "--all"]);
    wait_until("the second task to run", || mark.exists());
    wait_until("the first result, while the second task runs", || {
        repo.noted_commits() == 1
    });
    let job: u32 = fs::read_to_string(&mark).unwrap().trim().parse().unwrap();
    run.kill().unwrap(); // SIGKILL: no handler runs.
    run.wait().unwrap();
    wait_until("the job to be gone", || !alive(job));
    expect_no_survivors(&repo);
    repo.ci(["run", "--all"]).expect_code(0);
    assert_eq!(repo.noted_commits(), 2);
    expect_notes_parse(&repo);
}

#[test]
fn kill_at_any_time_loses_nothing_and_blocks_nothing() {
    let repo = TestRepo::new();
    repo.job(
        "test",
        "test -z \"$(git status --porcelain)\" && sleep 0.01",
    );
    for n in 0..30 {
        repo.commit(&n.to_string());
    }
    let mut stored = 0;
    // From "has hardly started" to "is in the middle of it".
    for millis in [2, 5, 9, 14, 20, 27, 35, 44, 54, 65, 77, 90, 120, 150] {
        let mut run = repo
            .ci_command(["run", "-j2", "--all"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_millis(millis);
        while Instant::now() < deadline && run.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        run.kill().unwrap();
        run.wait().unwrap();
        let now = repo.noted_commits();
        assert!(now >= stored, "{now} notes after {stored}");
        stored = now;
    }
    repo.ci(["run", "-j2", "--all"]).expect_code(0);
    assert_eq!(repo.noted_commits(), 30);
    for n in 0..30 {
        assert_eq!(
            repo.verdicts(&format!("HEAD~{n}")),
            ["pass test"],
            "once, and passed"
        );
    }
    expect_notes_parse(&repo);
    expect_no_survivors(&repo);
}

#[test]
fn everything_killed_at_once_leaves_nothing_behind_after_the_next_run() {
    let repo = TestRepo::new();
    let mark = repo.root().join("mark");
    repo.job(
        "slow",
        &format!(
            "test -e {0} && exit 0; touch {0}; sleep 300",
            mark.display()
        ),
    );
    repo.commit("one");
    let mut run = repo.spawn_ci(["run", "-j1"]);
    wait_until("the job to run", || mark.exists());
    // Like the OOM killer on its worst day: dispatcher and agent both.
    let jobs = processes_with(&marker(&repo));
    for pid in jobs {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if name.trim() == "git-ci" {
            let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    run.wait().unwrap();
    repo.ci(["run", "-j1"]).expect_code(0);
    expect_no_survivors(&repo);
    assert_eq!(repo.verdicts("HEAD"), ["pass slow"]);
}

#[test]
fn interrupt_ends_jobs_gently_and_keeps_what_is_done() {
    for (name, code) in [
        (rustix::process::Signal::INT, 130),
        (rustix::process::Signal::TERM, 143),
    ] {
        let repo = TestRepo::new();
        let mark = repo.root().join("mark");
        let cleaned = repo.root().join("cleaned");
        repo.job(
            "test",
            &format!(
                "test $(cat n) = 2 && exit 0; trap 'touch {}; exit 0' TERM; touch {}; while :; do sleep 0.01; done",
                cleaned.display(),
                mark.display()
            ),
        );
        for subject in ["one", "two"] {
            repo.commit(subject);
        }
        let mut run = repo.spawn_ci(["run", "-j1", "--all"]);
        wait_until("the second task to run", || mark.exists());
        signal(&run, name);
        assert_eq!(run.wait().unwrap().code(), Some(code));
        assert!(cleaned.exists(), "the job had its chance to clean up");
        assert_eq!(
            repo.noted_commits(),
            1,
            "an interrupted task has no verdict"
        );
        expect_no_survivors(&repo);
    }
}

#[test]
fn a_second_interrupt_kills() {
    let repo = TestRepo::new();
    let mark = repo.root().join("mark");
    repo.jobs_file(&format!(
        "[jobs.deaf]\nrun = \"trap '' TERM INT; touch {}; while :; do sleep 0.01; done\"\ngrace = \"10m\"\n",
        mark.display()
    ));
    repo.commit("one");
    let mut run = repo.spawn_ci(["run", "-j1"]);
    wait_until("the job to run", || mark.exists());
    signal(&run, rustix::process::Signal::INT);
    let mut stderr = run.stderr.take().unwrap();
    let mut said = [0; 200];
    // It says what a second one does: only then send it.
    let mut text = String::new();
    while !text.contains("once more kills") {
        let read = std::io::Read::read(&mut stderr, &mut said).unwrap();
        assert!(read > 0, "{text}");
        text += &String::from_utf8_lossy(&said[..read]);
    }
    // As quick as a person is.
    std::thread::sleep(std::time::Duration::from_millis(300));
    signal(&run, rustix::process::Signal::INT);
    assert_eq!(run.wait().unwrap().code(), Some(130));
    expect_no_survivors(&repo);
}

#[test]
fn a_stopped_run_stops_its_jobs_and_goes_on() {
    let repo = TestRepo::new();
    let ticks = repo.root().join("ticks");
    let go = repo.root().join("go");
    repo.jobs_file(&format!(
        "[jobs.test]\nrun = \"until test -e {}; do echo x >> {}; sleep 0.01; done\"\ntimeout = \"30s\"\n",
        go.display(),
        ticks.display()
    ));
    repo.commit("one");
    let mut run = repo.spawn_ci(["run", "-j1"]);
    let begun = Instant::now();
    let count = || fs::read_to_string(&ticks).unwrap_or_default().len();
    wait_until("the job to run", || count() > 0);
    signal(&run, rustix::process::Signal::TSTP);
    let state = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", run.id())).unwrap();
        stat.rsplit(')')
            .next()
            .unwrap()
            .trim_start()
            .chars()
            .next()
            .unwrap()
    };
    wait_until("the program to stop", || state() == 'T');
    let mut last = count();
    let mut still_since = Instant::now();
    wait_until("the job to stand still", || {
        if count() != last {
            (last, still_since) = (count(), Instant::now());
        }
        still_since.elapsed() > Duration::from_millis(700)
    });
    let stood_still = still_since.elapsed();
    signal(&run, rustix::process::Signal::CONT);
    wait_until("the job to go on", || count() > last);
    fs::write(go, "").unwrap();
    assert!(run.wait().unwrap().success());
    let note = repo.note("HEAD");
    let record: git_ci::model::Record = note.parse().unwrap();
    let counted = record.duration + stood_still;
    assert!(
        counted < begun.elapsed() + Duration::from_millis(100),
        "time that it was stopped is no running time: {note}"
    );
}

#[test]
fn the_jobs_file_is_a_plain_file_of_the_tree() {
    let repo = TestRepo::new();
    repo.commit("one");
    let file = repo.path().join(".git-ci.toml");
    let outside = repo.root().join("outside.toml");
    fs::write(&outside, "[jobs.test]\nrun = \"true\"\nsecret = 1\n").unwrap();
    for target in ["/dev/zero", "/proc/self/environ", outside.to_str().unwrap()] {
        std::os::unix::fs::symlink(target, &file).unwrap();
        for command in [&["run"][..], &["run", "-n"], &["run", "--new"]] {
            let said = repo.ci(command).expect_code(128).stderr();
            assert!(said.contains("symbolic link"), "{target}: {said}");
            assert!(
                !said.contains("secret") && !said.contains("PATH="),
                "{said}"
            );
        }
        repo.ci(["status"]).expect_code(0);
        fs::remove_file(&file).unwrap();
    }
    let made = repo.command("mkfifo", repo.path()).arg(&file).status();
    assert!(made.unwrap().success());
    let said = repo.ci(["run"]).expect_code(128).stderr();
    assert!(said.contains("no plain file"), "{said}");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let said = repo.ci(["run"]).expect_code(128).stderr();
    assert!(said.contains("no plain file"), "{said}");
    // A file that the user names may be anywhere.
    let link = repo.root().join("link.toml");
    fs::write(&outside, "[jobs.test]\nrun = \"true\"\n").unwrap();
    std::os::unix::fs::symlink(&outside, &link).unwrap();
    repo.ci(["run", "--config", link.to_str().unwrap()])
        .expect_code(0);
}

#[test]
fn line_ends_of_another_system_are_none_of_a_commands() {
    let repo = TestRepo::new();
    let text = "\u{feff}[jobs.test]\nrun = \"\"\"\nif false; then\n  true\nelse\n  exit 3\nfi\n\"\"\"\n\
                [jobs.literal]\nrun = \'\'\'\ntest \"a\" = \"a\"\n\'\'\'\n";
    repo.write(".git-ci.toml", text.replace('\n', "\r\n"))
        .commit("one");
    for from in ["worktree", "commit"] {
        repo.ci(["run", "--force", "--config-from", from])
            .expect_code(1);
        assert!(
            repo.note("HEAD").contains("why=exit:3"),
            "{}",
            repo.note("HEAD")
        );
        assert_eq!(
            repo.verdicts("HEAD")
                .iter()
                .filter(|one| *one == "pass literal")
                .count(),
            1 + usize::from(from == "commit")
        );
    }
}

#[test]
fn artifacts_of_an_earlier_try_are_gone() {
    let repo = TestRepo::new();
    let job = "ls -A $GIT_CI_ARTIFACTS; test -z \"$(ls -A $GIT_CI_ARTIFACTS)\" || exit 9; \
               mkdir $GIT_CI_ARTIFACTS/d; ln -s / $GIT_CI_ARTIFACTS/d/root; touch $GIT_CI_ARTIFACTS/crash.png";
    repo.job("test", job);
    repo.commit("one");
    for _ in 0..3 {
        repo.ci(["run", "--force"]).expect_code(0);
    }
    assert!(Path::new("/etc/passwd").exists());
}

#[test]
fn events_that_cannot_be_written_are_told_of() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    repo.commit("one");
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let done = repo
        .ci_command(["run", "--json"])
        .stdout(full)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    // What was asked for could not be told; the verdict is there all the same.
    assert_eq!(done.status.code(), Some(128), "{said}");
    assert_eq!(said.matches("No space left on device").count(), 1, "{said}");
    assert_eq!(repo.verdicts("HEAD"), ["pass test"]);
}

#[test]
fn a_timeout_ends_the_whole_group_and_is_not_reused() {
    let repo = TestRepo::new();
    repo.jobs_file("[jobs.slow]\nrun = \"trap '' TERM; sleep 300 & setsid sleep 300 & sleep 300\"\ntimeout = \"300ms\"\ngrace = \"100ms\"\n");
    repo.commit("one");
    repo.ci(["run"]).expect_code(1);
    assert!(
        repo.note("HEAD").contains(" why=timeout "),
        "{}",
        repo.note("HEAD")
    );
    assert_eq!(processes_with(&marker(&repo)), Vec::<u32>::new());
    let again = repo.ci(["run", "--dry-run"]).expect_code(125);
    assert!(again.stdout().contains(" run "), "{}", again.stdout());
}

#[test]
fn loud_and_binary_output_is_bounded_and_made_safe() {
    let repo = TestRepo::new();
    repo.job(
        "loud",
        "head -c 100000000 /dev/zero; printf '\\033[31m\\r\\000\\n\\342\\200\\256 last\\n'; exit 1",
    );
    repo.commit("one");
    let done = repo.ci(["run"]).expect_code(1);
    let shown = done.stderr() + &done.stdout();
    assert!(
        !shown.contains('\u{1b}') && !shown.contains('\r') && !shown.contains('\0'),
        "{shown:?}"
    );
    assert!(!shown.contains('\u{202e}'), "{shown:?}");
    assert!(shown.contains("\\u{202e} last"), "{shown:?}");
    let logs = fs::read_dir(repo.git_dir().join("ci/logs"))
        .unwrap()
        .flatten();
    let size: u64 = logs.map(|log| log.metadata().unwrap().len()).sum();
    assert!(size < 8 << 20, "{size} bytes of logs");
}

#[test]
fn hostile_subjects_and_authors_are_escaped() {
    let repo = TestRepo::new();
    repo.job("test", "false");
    repo.commit("\u{1b}[2J\u{202e}evil\rsubject");
    for args in [&["run"][..], &["run", "--dry-run"]] {
        let done = repo.ci(args);
        let shown = done.stdout() + &done.stderr();
        assert!(
            !shown.contains("\u{1b}[2J") && !shown.contains('\u{202e}') && !shown.contains('\r'),
            "{shown:?}"
        );
        assert!(shown.contains("evil"), "{shown:?}");
    }
}

#[test]
fn foreign_notes_are_ignored_and_kept() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    repo.commit("one");
    repo.git(["notes", "--ref=ci", "add", "-m", "looks good to me\n\u{1b}[31mpass  test v=1\npass test 1.0s 2026-01-01T00:00:00Z x v=9 try=1 tree=0 def=0 log=0"]);
    repo.ci(["run"]).expect_code(0);
    let note = repo.note("HEAD");
    for kept in ["looks good to me", "v=9 try=1"] {
        assert!(note.contains(kept), "{note}");
    }
    assert_eq!(
        note.lines().filter(|line| line.contains(" v=1 ")).count(),
        1,
        "{note}"
    );
}

#[test]
fn a_record_of_another_tree_counts_for_nothing() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    repo.commit("one");
    repo.ci(["run"]).expect_code(0);
    let note = repo.note("HEAD");
    repo.commit("two");
    // As `git commit --amend` copies notes where notes.rewriteRef says so.
    repo.git(["notes", "--ref=ci", "copy", "HEAD~1", "HEAD"]);
    let plan = repo.ci(["run", "--dry-run"]).expect_code(125);
    assert!(plan.stdout().contains(" run "), "{}", plan.stdout());
    repo.ci(["run"]).expect_code(0);
    assert!(repo.note("HEAD").contains(&note), "and is kept");
    assert_eq!(repo.note("HEAD").lines().count(), 2);
}

#[test]
fn gc_and_hand_made_notes_and_branch_deletion_in_the_middle() {
    let repo = TestRepo::new();
    repo.job("test", "sleep 0.02");
    repo.commit("base");
    repo.git(["checkout", "-q", "-b", "doomed"]);
    let ids: Vec<_> = (0..20).map(|n| repo.commit(&n.to_string())).collect();
    repo.git(["checkout", "-q", "main"]);
    let run = repo.spawn_ci(["run", "-j2", "main..doomed"]);
    wait_until("the first note", || repo.noted_commits() > 0);
    repo.git(["branch", "-q", "-D", "doomed"]);
    let mut by_hand = 0;
    for _ in 0..5 {
        // One that prunes what a ref comes to name in the same moment leaves a ref to nothing,
        // whoever makes it; the next one is right again.
        wait_until("git gc to get through", || {
            let mut gc = repo.command("git", repo.path());
            let done = gc.args(["gc", "-q", "--prune=now"]).output().unwrap();
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            assert!(
                done.status.success() || said.contains("refs/ci/pin/"),
                "{said}"
            );
            done.status.success()
        });
        // `git notes` writes without looking, and may lose the race: only what it says it did counts.
        let done = repo
            .command("git", repo.path())
            .args(["notes", "--ref=ci", "append", "-m", "by hand", "main"])
            .output()
            .unwrap();
        by_hand += usize::from(done.status.success());
    }
    let output = run.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // The commits are gone with their branch and the reflog of it; those that ran have notes.
    assert!(matches!(output.status.code(), Some(0 | 125)), "{said}");
    let noted: Vec<_> = ids
        .iter()
        .filter(|id| repo.note(id).contains("test"))
        .collect();
    assert!(!noted.is_empty());
    assert!(by_hand > 0);
    assert!(Path::new(&repo.git_dir()).join("HEAD").exists());
}

#[test]
fn sha256_shallow_and_nested_repositories() {
    let sha256 = TestRepo::init(&["-b", "main", "--object-format=sha256"]);
    sha256.job("test", "test -f n");
    sha256.commit("one");
    sha256.ci(["run"]).expect_code(0);
    assert_eq!(sha256.verdicts("HEAD"), ["pass test"]);

    let origin = TestRepo::new();
    for subject in ["a", "b", "c"] {
        origin.commit(subject);
    }
    let shallow = origin.root().join("shallow");
    let url = format!("file://{}", origin.path().display());
    origin.git(["clone", "-q", "--depth=2", &url, shallow.to_str().unwrap()]);
    let done = origin
        .command(env!("CARGO_BIN_EXE_git-ci"), &shallow)
        .args(["run", "--all", "-x", "test -f n", "--as", "test"])
        .envs([
            ("GIT_COMMITTER_NAME", "C"),
            ("GIT_COMMITTER_EMAIL", "c@example.com"),
        ])
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert!(String::from_utf8_lossy(&done.stderr).contains("2 passed"));
}
