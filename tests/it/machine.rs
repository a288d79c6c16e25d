//! Where the machine failed there is no verdict on the commit: a worktree that vanishes, a
//! disk without room, a file system that nobody can write to.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use super::beds;
use super::support::{Ran, TestRepo, wait_until};

/// A job that says where it runs, waits until somebody says `go`, and then looks for a
/// file of the commit.
fn waiting_job(repo: &TestRepo) -> (PathBuf, PathBuf) {
    let (mark, go) = (repo.root().join("mark"), repo.root().join("go"));
    let run = format!(
        "pwd >{0}.new; mv {0}.new {0}; until test -e {1}; do sleep 0.02; done; cat n",
        mark.display(),
        go.display()
    );
    repo.job("j", &run);
    repo.commit("one");
    (mark, go)
}

#[test]
fn a_worktree_that_vanishes_under_a_job_is_no_verdict() {
    for how in [
        "rm -rf $S",
        "rm -rf $S; mkdir $S",
        "rm -rf $S; ln -s $S.away $S",
        "rm -rf $S/.git $S/n",
        "rm -rf $(dirname $S)",
        "mv $S/.git $S/n $(dirname $S)",
    ] {
        let repo = TestRepo::new();
        let (mark, go) = waiting_job(&repo);
        let run = repo.spawn_ci(["run"]);
        wait_until("the job to run", || mark.exists());
        let slot = fs::read_to_string(&mark).unwrap();
        let mut shell = repo.command("sh", repo.root());
        let done = shell.env("S", slot.trim()).args(["-c", how]).output();
        assert!(done.unwrap().status.success());
        fs::write(&go, "").unwrap();
        let ran = Ran(run.wait_with_output().unwrap()).expect_code(125);
        let said = ran.stdout() + &ran.stderr();
        assert!(said.contains("removed or replaced"), "{how}: {said}");
        assert_eq!(repo.verdicts("HEAD"), ["ERROR j"], "{how}");
        assert!(repo.note("HEAD").contains("why=worktree"));
        repo.ci(["run"]).expect_code(0);
    }
}

/// Runs `git-ci` in mounts of its own, made by `mounts`; `None` where none can be made.
fn ci_with_mounts(repo: &TestRepo, mounts: &str, args: &[&str]) -> Option<Ran> {
    if !beds::have(&["unshare", "mount"]) {
        beds::skip("unshare or mount is missing");
        return None;
    }
    let options = if rustix::process::geteuid().is_root() {
        "-m"
    } else {
        "-rm"
    };
    let script = format!("{mounts} || exit 77; exec \"$0\" \"$@\"");
    let mut command = repo.command("unshare", repo.path());
    command.args([options, "sh", "-c", &script]);
    command.arg(env!("CARGO_BIN_EXE_git-ci")).args(args);
    let ran = Ran(command.output().unwrap());
    if ran.code() == 77 {
        beds::skip(&format!("mounts are not allowed: {}", ran.stderr()));
        return None;
    }
    Some(ran)
}

/// A repository whose worktrees are on a disk of their own, and the command that mounts it.
fn on_small_disk(options: &str) -> (TestRepo, String) {
    let repo = TestRepo::new();
    let disk = repo.root().join("disk");
    fs::create_dir(&disk).unwrap();
    repo.git([
        OsStr::new("config"),
        OsStr::new("ci.worktreeDir"),
        disk.as_os_str(),
    ]);
    repo.commit("one");
    let mount = format!("mount -t tmpfs -o {options} tmpfs {}", disk.display());
    (repo, mount)
}

#[test]
fn a_job_that_fails_for_want_of_room_is_no_verdict() {
    let dd = "dd if=/dev/zero of=x bs=1M count=6";
    for (options, run) in [
        ("size=3m", dd.to_owned()),
        // It tidies up, or asks for all at once.
        ("size=3m", format!("{dd} || {{ rm x; exit 1; }}")),
        ("size=3m", "fallocate -l 6M x".to_owned()),
        ("size=3m", format!("{dd} 2>/dev/null || exit 125")),
        ("nr_inodes=200", "seq 400 | xargs touch".to_owned()),
    ] {
        let (repo, mount) = on_small_disk(options);
        repo.job("j", &run);
        let Some(ran) = ci_with_mounts(&repo, &mount, &["run"]) else {
            return;
        };
        let ran = ran.expect_code(125);
        assert_eq!(repo.verdicts("HEAD"), ["ERROR j"], "{run}");
        assert!(repo.note("HEAD").contains("why=disk"), "{run}");
        assert!(ran.stderr().contains("disk"), "{}", ran.stderr());
        // Where there is room it runs.
        repo.git(["config", "--unset", "ci.worktreeDir"]);
        repo.ci(["run"]).expect_code(0);
    }
}

#[test]
fn a_full_disk_of_temporary_files_is_no_verdict() {
    let (repo, _) = on_small_disk("");
    let disk = repo.root().join("disk");
    repo.git(["config", "--unset", "ci.worktreeDir"]);
    let text = format!(
        "[jobs.j]\nrun = 'dd if=/dev/zero of=$TMPDIR/x bs=1M count=6'\nenv = {{ TMPDIR = \"{}\" }}\n",
        disk.display()
    );
    repo.jobs_file(&text);
    let mount = format!("mount -t tmpfs -o size=3m tmpfs {}", disk.display());
    if let Some(ran) = ci_with_mounts(&repo, &mount, &["run"]) {
        ran.expect_code(125);
        assert!(repo.note("HEAD").contains("why=disk"));
    }
}

#[test]
fn a_job_that_fails_where_there_is_room_has_failed() {
    let (repo, mount) = on_small_disk("size=5m");
    repo.job("no", "exit 3").job("full", "echo x >/dev/full");
    let Some(ran) = ci_with_mounts(&repo, &mount, &["run", "--job", "no"]) else {
        return;
    };
    ran.expect_code(1);
    // A test of such errors, where a lot is left.
    repo.git(["config", "--unset", "ci.worktreeDir"]);
    repo.ci(["run"]).expect_code(1);
    assert_eq!(repo.verdicts("HEAD"), ["FAIL full", "FAIL no"]);
}

#[test]
fn a_commit_that_does_not_fit_is_no_verdict() {
    for attributes in ["", "*.bin ident\n"] {
        let (repo, mount) = on_small_disk("size=3m");
        repo.write(".gitattributes", attributes);
        repo.write("small", "small\n");
        repo.commit("small");
        repo.write("large.bin", vec![7; 6 << 20]);
        repo.commit("large");
        repo.job("j", "touch kept; test -e small");
        let args = ["run", "-j1", "--order", "oldest", "HEAD~1", "HEAD"];
        let Some(ran) = ci_with_mounts(&repo, &mount, &args) else {
            return;
        };
        let said = ran.expect_code(125).stderr();
        assert!(
            said.contains("ci.worktreeDir") && said.contains("disk"),
            "{said}"
        );
        assert_eq!(repo.verdicts("HEAD~1"), ["pass j"]);
        assert_eq!(repo.verdicts("HEAD"), ["ERROR j"]);
        assert!(repo.note("HEAD").contains("why=disk"));
    }
}

#[test]
fn a_full_disk_of_artifacts_or_of_caches_is_no_verdict() {
    for (place, run) in [
        (
            ".git/ci/artifacts",
            "head -c 4m /dev/zero >$GIT_CI_ARTIFACTS/x",
        ),
        ("../home/caches", "head -c 4m /dev/zero >$XDG_CACHE_HOME/x"),
        ("../home/small", "head -c 4m /dev/zero >$HOME/x"),
    ] {
        let repo = TestRepo::new();
        let dir = repo.path().join(place);
        fs::create_dir_all(&dir).unwrap();
        repo.job("test", run);
        let at = dir.display().to_string();
        match place {
            "../home/caches" => {
                repo.jobs_file(&format!("env = {{ XDG_CACHE_HOME = \"{at}\" }}\n"));
            }
            "../home/small" => {
                repo.jobs_file(&format!("env = {{ HOME = \"{at}\" }}\n"));
            }
            _ => {}
        }
        repo.commit("one");
        let mount = format!("mount -t tmpfs -o size=1m none {at}");
        let Some(ran) = ci_with_mounts(&repo, &mount, &["run"]) else {
            return;
        };
        let ran = ran.expect_code(125);
        assert!(ran.stderr().contains("room"), "{}", ran.stderr());
        assert!(repo.note("HEAD").contains("why=disk"), "{place}");
        repo.ci(["run"]).expect_code(0);
    }
}

#[test]
fn objects_that_a_partial_clone_cannot_fetch_are_no_verdict() {
    let origin = TestRepo::new();
    origin.git(["config", "uploadpack.allowFilter", "true"]);
    for n in ["1", "2"] {
        origin.write("n", n);
        origin.commit(n);
    }
    let repo = TestRepo::new();
    let clone = repo.root().join("clone");
    let url = format!("file://{}", origin.path().display());
    let clone_dir = clone.to_str().unwrap();
    repo.git(["clone", "-q", "--filter=blob:none", &url, clone_dir]);
    repo.git(["config", "--global", "user.name", "A U Thor"]);
    repo.git(["config", "--global", "user.email", "author@example.com"]);
    fs::write(
        clone.join(".git-ci.toml"),
        "[jobs.test]\nrun = 'git show HEAD~1:n'\n[jobs.other]\nrun = 'false'\n",
    )
    .unwrap();
    let ci = |job: &str| {
        let mut command = repo.command(env!("CARGO_BIN_EXE_git-ci"), &clone);
        Ran(command.args(["run", "--job", job]).output().unwrap())
    };
    let away = origin.root().join("away");
    fs::rename(origin.path(), &away).unwrap();
    let ran = ci("test").expect_code(125);
    assert!(ran.stderr().contains("partial clone"), "{}", ran.stderr());
    ci("other").expect_code(1);
    fs::rename(&away, origin.path()).unwrap();
    ci("test").expect_code(0);
}

#[test]
fn what_a_job_mounted_and_left_is_not_cleaned_up_behind_its_back() {
    for at in ["mm", "d", "."] {
        let repo = TestRepo::new();
        repo.git(["config", "ci.slots", "1"]);
        let precious = repo.root().join("precious");
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join("f"), "keep").unwrap();
        repo.job(
            "test",
            &format!(
                "mkdir -p {at}; test -e $HOME/done || mount --bind {} {at}; touch $HOME/done",
                precious.display()
            ),
        );
        repo.jobs_file("clean = \"all\"\nreuse = \"tree\"\n");
        repo.write("d/f", "one");
        repo.commit("one");
        repo.write("d/f", "two");
        repo.commit("two");
        // In a place of its own, so that nothing stays mounted.
        let ci = env!("CARGO_BIN_EXE_git-ci");
        let script = format!(
            "{ci} run -j1 HEAD~1 && {ci} run -j1 HEAD && {{ {ci} gc || :; }} && exec \"$0\" \"$@\""
        );
        let script = format!("({script})");
        let Some(ran) = ci_with_mounts(&repo, "true", &["version"]) else {
            return;
        };
        ran.expect_code(0);
        let mut command = repo.command("unshare", repo.path());
        command.args([
            "-m", "sh", "-c", &script, ci, "run", "--force", "-j1", "HEAD",
        ]);
        let ran = Ran(command.output().unwrap()).expect_code(0);
        let said = ran.stderr();
        assert!(said.contains("something is mounted at"), "{at}: {said}");
        assert_eq!(fs::read_to_string(precious.join("f")).unwrap(), "keep");
        assert_eq!(fs::read_dir(&precious).unwrap().count(), 1, "{at}");
    }
}
