//! What jobs take of their machine: never more than there is, whoever runs them.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ExitStatus};

use crate::beds::SshBed;
use crate::support::{TestRepo, wait_until};

/// A job that notes how many of its kind run at once, for as long as a file is not there.
fn counting(dir: &Path, key: &str) -> String {
    let dir = dir.display();
    format!(
        "run = '''\nmkdir {dir}/on-$$; ls {dir} | grep -c on- >>{dir}/seen; echo $GIT_CI_RESOURCE_GPU $GIT_CI_RESOURCE_BOARD >>{dir}/got\n\
         exec 9>>{dir}/held-$GIT_CI_RESOURCE_GPU; flock -n 9 || test -z \"$GIT_CI_RESOURCE_GPU\" || echo bad >>{dir}/bad\n\
         until test -e {dir}/go; do sleep 0.05; done; sleep 0.1; rmdir {dir}/on-$$\n'''\n{key}\n"
    )
}

fn most(dir: &Path) -> u32 {
    let seen = fs::read_to_string(dir.join("seen")).unwrap();
    seen.lines()
        .map(|line| line.parse().unwrap())
        .max()
        .unwrap()
}

fn lines(dir: &Path, name: &str) -> usize {
    let text = fs::read_to_string(dir.join(name)).unwrap_or_default();
    text.lines().count()
}

/// Another repository of the same user.
fn other(repo: &TestRepo, name: &str) -> std::path::PathBuf {
    let path = repo.root().join(name);
    let git = |args: &[&str]| {
        let done = repo
            .command("git", repo.path())
            .args(args)
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    };
    let path_text = path.to_str().unwrap();
    git(&["clone", "-q", ".", path_text]);
    git(&["-C", path_text, "config", "user.name", "A"]);
    git(&["-C", path_text, "config", "user.email", "a@example.org"]);
    path
}

fn start(repo: &TestRepo, path: &Path) -> Child {
    let mut run = repo.command(env!("CARGO_BIN_EXE_git-ci"), path);
    let run = run.args(["run", "-j4", "--force"]);
    let quiet = std::process::Stdio::null;
    run.stdout(quiet()).stderr(quiet()).spawn().unwrap()
}

/// Interrupts a command once it says that it waits for this; returns how it ended.
fn interrupted_while(repo: &TestRepo, args: &[&str], says: &str) -> ExitStatus {
    let file = repo.root().join("said");
    let mut waits = repo.ci_command(args);
    let mut waits = waits
        .stderr(fs::File::create(&file).unwrap())
        .spawn()
        .unwrap();
    wait_until(says, || {
        fs::read_to_string(&file).is_ok_and(|said| said.contains(says))
    });
    let pid = rustix::process::Pid::from_child(&waits);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    waits.wait().unwrap()
}

#[test]
fn a_shell_that_waits_for_a_slot_holds_no_token() {
    let repo = TestRepo::new();
    let dir = repo.root().join("count");
    fs::create_dir(&dir).unwrap();
    repo.git(["config", "--global", "ci.resource.gpu", "1"]);
    repo.git(["config", "ci.slots", "1"]);
    repo.write(
        ".git-ci.toml",
        format!(
            "[jobs.long]\n{}[jobs.gpu]\nrun = 'true'\nresources = {{ gpu = 1 }}\n",
            counting(&dir, "")
        ),
    );
    repo.commit("one");
    let clone = other(&repo, "a");
    let mut long = repo.spawn_ci(["run", "--job", "long"]);
    wait_until("the slot to be taken", || lines(&dir, "seen") == 1);
    let file = repo.root().join("shell");
    let mut shell = repo.ci_command(["shell", "HEAD", "gpu", "-c", "true"]);
    let mut shell = shell
        .stderr(fs::File::create(&file).unwrap())
        .spawn()
        .unwrap();
    wait_until("the shell to wait", || {
        fs::read_to_string(&file).is_ok_and(|said| said.contains("waiting for a slot"))
    });
    let mut run = repo.command(env!("CARGO_BIN_EXE_git-ci"), &clone);
    let done = run.args(["run", "--job", "gpu"]).output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    fs::write(dir.join("go"), "").unwrap();
    assert!(long.wait().unwrap().success());
    assert!(shell.wait().unwrap().success());
}

#[test]
fn tokens_are_never_given_out_twice_whoever_asks() {
    let repo = TestRepo::new();
    let dir = repo.root().join("count");
    fs::create_dir(&dir).unwrap();
    for (key, value) in [("ci.resource.gpu", "2"), ("ci.resource.board", "/dev/a")] {
        repo.git(["config", "--global", key, value]);
    }
    repo.git(["config", "--global", "--add", "ci.resource.board", "/dev/b"]);
    let jobs: String = (0..4)
        .map(|n| {
            format!(
                "[jobs.gpu{n}]\n{}",
                counting(&dir, "resources = { gpu = 1, board = 1 }")
            )
        })
        .collect();
    repo.write(".git-ci.toml", jobs + "[jobs.other]\nrun = 'true'\n");
    repo.commit("one");
    let clones = ["a", "b", "c"].map(|name| other(&repo, name));
    let mut runs: Vec<_> = clones.iter().map(|path| start(&repo, path)).collect();
    wait_until("two", || lines(&dir, "seen") == 2);
    // What takes nothing is not kept by that.
    repo.ci(["run", "--job", "other"]).expect_code(0);
    assert_eq!(lines(&dir, "seen"), 2);
    // Whoever waits says so, and is ended at once.
    let ended = interrupted_while(&repo, &["run", "--job", "gpu0"], "board are not free");
    assert_eq!(ended.code(), Some(130));
    let shell = ["shell", "HEAD", "gpu0", "-c", "true"];
    let ended = interrupted_while(&repo, &shell, "board are not free");
    assert_eq!(ended.signal(), Some(2), "{ended:?}");
    // A run that is killed holds nothing.
    let mut first = runs.remove(0);
    first.kill().unwrap();
    first.wait().unwrap();
    fs::write(dir.join("go"), "").unwrap();
    for mut run in runs {
        assert!(run.wait().unwrap().success());
    }
    assert!(lines(&dir, "seen") >= 8, "{}", lines(&dir, "seen"));
    let got = fs::read_to_string(dir.join("got")).unwrap();
    let known = |line: &str| matches!(line, "0 /dev/a" | "0 /dev/b" | "1 /dev/a" | "1 /dev/b");
    assert!(got.lines().all(known), "{got}");
    assert!(!dir.join("bad").exists(), "two had the same");
}

#[test]
fn slots_of_the_machine_are_shared_by_its_repositories() {
    let repo = TestRepo::new();
    let dir = repo.root().join("count");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("go"), "").unwrap();
    repo.git(["config", "--global", "ci.machineSlots", "2"]);
    let jobs: String = (0..4)
        .map(|n| format!("[jobs.j{n}]\n{}", counting(&dir, "")))
        .collect();
    repo.write(".git-ci.toml", jobs);
    repo.commit("one");
    let clones = ["a", "b", "c"].map(|name| other(&repo, name));
    let runs = clones.iter().map(|path| start(&repo, path));
    for mut run in runs.collect::<Vec<_>>() {
        assert!(run.wait().unwrap().success());
    }
    assert_eq!((lines(&dir, "seen"), most(&dir)), (12, 2));
}

#[test]
fn a_job_takes_as_many_slots_as_it_says() {
    let repo = TestRepo::new();
    let dir = repo.root().join("count");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("go"), "").unwrap();
    let jobs = |cpus: u32| -> String {
        let key = format!("cpus = {cpus}");
        let job = |n| format!("[jobs.j{n}]\n{}", counting(&dir, &key));
        (0..4).map(job).collect()
    };
    for (cpus, at_once) in [(2, 2), (9, 1), (3, 1)] {
        repo.write(".git-ci.toml", jobs(cpus)).commit("one");
        let _ = fs::remove_file(dir.join("seen"));
        repo.ci(["run", "-j4"]).expect_code(0);
        assert_eq!((lines(&dir, "seen"), most(&dir)), (4, at_once), "{cpus}");
    }
}

#[test]
fn what_cannot_be_had_is_an_error_before_anything_runs() {
    let repo = TestRepo::new();
    repo.git(["config", "ci.resource.gpu", "1"]);
    repo.write(
        ".git-ci.toml",
        "[jobs.first]\nrun = 'true'\n[jobs.test]\nrun = 'true'\nresources = { gpu = 2 }\n",
    );
    repo.commit("one");
    let said = repo.ci(["run"]).expect_code(128).stderr();
    for part in [
        "test takes 2 of the resource gpu, and no runner has more than 1",
        "git config --global ci.resource.gpu 2",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(repo.verdicts("HEAD").is_empty());
    repo.git(["config", "ci.resource.gpu", "2"]);
    repo.ci(["run"]).expect_code(0);
    for (resources, slip) in [
        ("{ GPU = 1 }", "a resource is named by"),
        ("{ gpu = 'x' }", "a number from 0 to 1024"),
        ("{ gpu = 2000 }", "a number from 0 to 1024"),
        ("['gpu']", "a table of numbers"),
    ] {
        let text = format!("[jobs.test]\nrun = 'true'\nresources = {resources}\n");
        repo.write(".git-ci.toml", text);
        let said = repo.ci(["run"]).expect_code(128).stderr();
        assert!(said.contains(slip), "{resources}: {said}");
    }
    repo.write(".git-ci.toml", "[jobs.test]\nrun = 'true'\n");
    for (key, value) in [
        ("ci.resource.gpu", "99999"),
        ("ci.machineSlots", "0"),
        ("ci.minFreeMemory", "lots"),
    ] {
        repo.git(["config", key, value]);
        let said = repo.ci(["run"]).expect_code(128).stderr();
        assert!(said.contains(key), "{said}");
        repo.git(["config", "--unset", key]);
    }
    let said = repo.ci(["doctor"]).stdout();
    assert!(!said.contains("ci.resource"), "{said}");
}

#[test]
fn nothing_begins_while_too_little_is_free() {
    let repo = TestRepo::new();
    repo.job("test", "true").commit("one");
    for (key, word) in [("ci.minFreeMemory", "memory"), ("ci.minFreeDisk", "disk")] {
        repo.git(["config", key, "900t"]);
        let said = match word {
            "memory" => format!("of memory is free, and {key} is"),
            _ => "is free on the disk of".to_owned(),
        };
        let ended = interrupted_while(&repo, &["run"], &said);
        assert_eq!(ended.code(), Some(130), "{key}");
        repo.git(["config", key, "1k"]);
    }
    repo.ci(["run"]).expect_code(0);
}

#[test]
fn hosts_have_what_is_set_for_them() {
    let repo = TestRepo::new();
    repo.write(
        ".git-ci.toml",
        "[jobs.test]\nrun = 'echo $GIT_CI_RESOURCE_BOARD'\nresources = { board = 1 }\n",
    );
    repo.commit("one");
    let Some(bed) = SshBed::up(&repo, 1) else {
        return;
    };
    repo.ci(["run"]).expect_code(128);
    repo.git(["config", "ci-host.h1.resource", "board=/dev/there"]);
    repo.ci(["run"]).expect_code(0);
    let log = repo.ci(["logs", "HEAD", "test"]).stdout();
    assert_eq!(log, "/dev/there\n");
    bed.expect_nothing_left();
}
