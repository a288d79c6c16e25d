//! Hosts that fail, in every way at hand: each test ends with every task having exactly
//! one verdict, the right one, and with nothing left running on any host.

use std::fs;
use std::process::{Child, Output};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::beds::{SshBed, skip};
use crate::support::{TestRepo, alive, wait_until};

/// A job that, on host h1, says that it is there and then never ends; elsewhere it
/// passes unless the one on h1 is still there.
fn stuck_on_h1(repo: &TestRepo) -> &TestRepo {
    let mark = repo.root().join("mark");
    repo.job(
        "test",
        &format!(
            "test \"$GIT_CI_RUNNER\" != h1 || {{ echo $$ > {0}.$GIT_CI_COMMIT; touch {0}; \
             setsid sleep 1000 & sleep 1000; exit 1; }}; \
             until test -e {0}; do sleep 0.02; done; \
             test ! -e {0}.$GIT_CI_COMMIT || ! kill -0 $(cat {0}.$GIT_CI_COMMIT)",
            mark.display()
        ),
    )
}

fn wait_for_mark(repo: &TestRepo) {
    wait_until("a job to be on h1", || repo.root().join("mark").exists());
}

/// Each of the last `count` commits has one record, and it is a pass.
#[track_caller]
fn expect_passes(repo: &TestRepo, count: usize) {
    for back in 0..count {
        let rev = format!("HEAD~{back}");
        assert_eq!(repo.verdicts(&rev), ["pass test"], "{rev}");
    }
}

fn output(child: Child) -> (i32, String) {
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&stderr).into_owned();
    (status.code().unwrap_or(-1), said)
}

/// A run over two hosts whose first is hit by `fault` while it has a job.
fn survives(wires: bool, fault: impl FnOnce(&SshBed), mend: impl FnOnce(&SshBed)) {
    let repo = TestRepo::new();
    stuck_on_h1(&repo);
    (0..4).for_each(|i| drop(repo.commit(&format!("commit {i}"))));
    let bed = if wires {
        SshBed::with_wires(&repo, 2)
    } else {
        SshBed::up(&repo, 2)
    };
    let Some(bed) = bed else { return };
    let run = repo.spawn_ci(["run", "HEAD~3..HEAD", "HEAD~3"]);
    wait_for_mark(&repo);
    let hit = Instant::now();
    fault(&bed);
    let before = bed.processes(1);
    let (code, said) = output(run);
    assert_eq!(code, 0, "{said}");
    expect_passes(&repo, 4);
    // What ran there when the tasks went elsewhere was dead before.
    let frozen = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") T "))
    };
    let left: Vec<_> = before.into_iter().filter(|pid| alive(*pid)).collect();
    assert!(
        left.iter().all(frozen),
        "{left:?} after {:?}",
        hit.elapsed()
    );
    mend(&bed);
    bed.expect_nothing_left();
}

#[test]
fn a_host_that_refuses_connections() {
    let repo = TestRepo::new();
    repo.job("test", "test \"$GIT_CI_RUNNER\" = h2");
    (0..4).for_each(|i| drop(repo.commit(&format!("commit {i}"))));
    let Some(bed) = SshBed::up(&repo, 2) else {
        return;
    };
    bed.cut(1, "refuse");
    let done = repo.ci(["run", "HEAD~3..HEAD", "HEAD~3"]).expect_code(0);
    expect_passes(&repo, 4);
    assert!(
        done.stderr().contains("Connection refused"),
        "{}",
        done.stderr()
    );
    bed.expect_nothing_left();
}

#[test]
fn an_unknown_and_a_changed_host_key() {
    let repo = TestRepo::new();
    repo.job("test", "true").commit("one");
    let Some(bed) = SshBed::up(&repo, 2) else {
        return;
    };
    let known = bed.host(1).parent().unwrap().join("known_hosts");
    let text = fs::read_to_string(&known).unwrap();
    let (h1, h2) = text.split_once('\n').unwrap();
    fs::write(&known, h2).unwrap();
    let done = repo.ci(["run"]).expect_code(0);
    assert_eq!(repo.verdicts("HEAD"), ["pass test"]);
    repo.git(["config", "--unset", "ci-host.h2.address"]);
    repo.git(["config", "--unset", "ci-host.h2.agent"]);
    let said = repo.ci(["run", "--force"]).expect_code(125).stderr();
    assert!(said.contains("not known yet"), "{said}\n{}", done.stderr());
    assert_eq!(
        fs::read_to_string(&known).unwrap(),
        h2,
        "nobody added a key"
    );

    let other = h2.trim().replacen("h2 ", "h1 ", 1);
    fs::write(&known, format!("{other}\n")).unwrap();
    let said = repo.ci(["run", "--force"]).expect_code(125).stderr();
    assert!(said.contains("another than before"), "{said}");
    assert!(!h1.is_empty());
    bed.expect_nothing_left();
}

#[test]
fn only_dead_hosts_are_an_error_and_not_a_failure() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    repo.commit("one");
    repo.commit("two");
    let Some(bed) = SshBed::up(&repo, 1) else {
        return;
    };
    bed.cut(1, "refuse");
    let done = repo.ci(["run", "HEAD~1..HEAD", "HEAD~1"]).expect_code(125);
    for rev in ["HEAD", "HEAD~1"] {
        assert_eq!(repo.verdicts(rev), ["ERROR test"], "{}", done.stderr());
        assert!(repo.note(rev).contains("why=host-lost"));
    }
    // The next run tries again.
    bed.heal(1);
    repo.ci(["run", "HEAD~1..HEAD", "HEAD~1"]).expect_code(0);
    bed.expect_nothing_left();
}

#[test]
fn this_machine_works_while_the_host_is_away() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    (0..4).for_each(|i| drop(repo.commit(&format!("commit {i}"))));
    let Some(bed) = SshBed::up(&repo, 1) else {
        return;
    };
    repo.git(["config", "ci.local", "true"]);
    bed.cut(1, "stop");
    repo.ci(["run", "HEAD~3..HEAD", "HEAD~3"]).expect_code(0);
    expect_passes(&repo, 4);
    bed.heal(1);
    bed.expect_nothing_left();
}

#[test]
fn a_machine_that_is_reset() {
    survives(false, |bed| bed.cut(1, "crash"), |_| {});
}

#[test]
fn sshd_that_is_killed() {
    survives(false, |bed| bed.cut(1, "sessions"), |_| {});
}

#[test]
fn sshd_that_hangs() {
    survives(false, |bed| bed.cut(1, "stop"), |bed| bed.heal(1));
}

#[test]
fn a_wire_that_swallows_everything() {
    survives(true, |bed| bed.cut(1, "wire"), |bed| bed.heal(1));
}

#[test]
fn a_wire_that_snaps() {
    survives(true, |bed| bed.cut(1, "snip"), |_| {});
}

/// Processes of the host whose command line holds `what`.
fn of_host(bed: &SshBed, what: &str) -> Vec<u32> {
    let mut found = bed.processes(1);
    found.retain(|pid| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command)
            .replace('\0', " ")
            .trim_end()
            .ends_with(what)
            || String::from_utf8_lossy(&command)
                .replace('\0', " ")
                .contains(what)
                && what.len() > 8
    });
    found
}

fn send(pids: &[u32], signal: Signal) {
    for pid in pids {
        let _ = kill_process(Pid::from_raw(*pid as i32).unwrap(), signal);
    }
}

/// What of a host's processes, told apart by their command lines.
const GUARD: &str = "agent --stdio";
const HUB: &str = "agent --hub";
const AGENTS: &str = " agent";

#[test]
fn a_hub_that_is_killed() {
    survives(false, |bed| send(&of_host(bed, HUB), Signal::KILL), |_| {});
}

#[test]
fn a_guard_that_is_killed() {
    survives(
        false,
        |bed| send(&of_host(bed, GUARD), Signal::KILL),
        |_| {},
    );
}

/// Those of a host that are named are frozen, and nothing else is; jobs least of all.
/// Whoever is not frozen has ended the jobs before others have their tasks.
fn survives_frozen(which: &'static [&str]) {
    let stop = |bed: &SshBed| {
        for what in which {
            let pids = of_host(bed, what);
            assert!(!pids.is_empty(), "{what}");
            send(&pids, Signal::STOP);
        }
    };
    survives(false, stop, |bed| send(&bed.processes(1), Signal::CONT));
}

#[test]
fn a_hub_that_is_frozen_alone() {
    survives_frozen(&[HUB]);
}

#[test]
fn a_hub_that_is_frozen_with_its_agents() {
    // Agents first, or the hub lets them go on.
    survives_frozen(&[HUB, AGENTS]);
}

#[test]
fn a_hub_that_is_frozen_with_its_guard() {
    survives_frozen(&[GUARD, HUB]);
}

#[test]
fn a_hub_that_is_killed_while_its_agents_are_frozen() {
    let fault = |bed: &SshBed| {
        send(&of_host(bed, AGENTS), Signal::STOP);
        send(&of_host(bed, HUB), Signal::KILL);
    };
    survives(false, fault, |_| {});
}

#[test]
fn agents_and_a_guard_that_are_frozen_do_not_keep_a_run() {
    for which in [AGENTS, GUARD] {
        let repo = TestRepo::new();
        let (mark, go) = (repo.root().join("mark"), repo.root().join("go"));
        repo.job(
            "test",
            &format!(
                "touch {}; until test -e {}; do sleep 0.02; done",
                mark.display(),
                go.display()
            ),
        );
        repo.commit("one");
        let Some(bed) = SshBed::up(&repo, 1) else {
            return;
        };
        let run = repo.spawn_ci(["run"]);
        wait_for_mark(&repo);
        send(&of_host(&bed, which), Signal::STOP);
        fs::write(&go, "").unwrap();
        let (code, said) = output(run);
        assert_eq!(code, 0, "{said}");
        assert_eq!(repo.verdicts("HEAD"), ["pass test"]);
        send(&bed.processes(1), Signal::CONT);
        bed.expect_nothing_left();
    }
}

#[test]
fn an_agent_that_is_killed() {
    survives(
        false,
        |bed| send(&of_host(bed, " agent"), Signal::KILL),
        |_| {},
    );
}

#[test]
fn a_frozen_host_that_thaws_too_late() {
    let repo = TestRepo::new();
    let (mark, go) = (repo.root().join("mark"), repo.root().join("go"));
    repo.job(
        "test",
        &format!(
            "test \"$GIT_CI_RUNNER\" != h1 || {{ touch {0}; until test -e {1}; do sleep 0.02; done; exit 1; }}; \
             until test -e {0}; do sleep 0.02; done",
            mark.display(),
            go.display()
        ),
    );
    (0..3).for_each(|i| drop(repo.commit(&format!("commit {i}"))));
    let Some(bed) = SshBed::up(&repo, 2) else {
        return;
    };
    let run = repo.spawn_ci(["run", "HEAD~2..HEAD", "HEAD~2"]);
    wait_for_mark(&repo);
    bed.cut(1, "stop");
    let frozen = bed.processes(1);
    send(&frozen, Signal::STOP);
    let (code, said) = output(run);
    assert_eq!(code, 0, "{said}");
    fs::write(&go, "").unwrap();
    send(&frozen, Signal::CONT);
    bed.heal(1);
    bed.expect_nothing_left();
    expect_passes(&repo, 3);
}

#[test]
fn a_dispatcher_that_is_killed_leaves_nothing_on_the_host() {
    let repo = TestRepo::new();
    let mark = repo.root().join("mark");
    repo.job(
        "test",
        &format!(
            "setsid sh -c 'trap \"\" TERM; (setsid sleep 1000 &) ; sleep 1000' & touch {}; sleep 1000",
            mark.display()
        ),
    );
    repo.commit("one");
    let Some(bed) = SshBed::with_wires(&repo, 1) else {
        return;
    };
    let mut run = repo.spawn_ci(["run"]);
    wait_for_mark(&repo);
    // Nobody will tell the host.
    bed.cut(1, "wire");
    run.kill().unwrap();
    run.wait().unwrap();
    let start = Instant::now();
    bed.expect_nothing_left();
    let silence = Duration::from_secs(1);
    assert!(start.elapsed() < silence + Duration::from_secs(10));
    bed.heal(1);
    assert_eq!(repo.noted_commits(), 0);
}

#[test]
fn two_dispatchers_share_a_host() {
    let repo = TestRepo::new();
    (0..6).for_each(|i| drop(repo.commit(&format!("commit {i}"))));
    let Some(bed) = SshBed::up(&repo, 1) else {
        return;
    };
    repo.git(["config", "ci-host.h1.slots", "2"]);
    let busy = repo.root().join("busy");
    // Two at once in one worktree would see each other.
    let job = format!(
        "mkdir {0}-$GIT_CI_SLOT && sleep 0.05 && test -z \"$(git status --porcelain)\" && rmdir {0}-$GIT_CI_SLOT",
        busy.display()
    );
    let start =
        |name: &str| repo.spawn_ci(["run", "-x", &job, "--as", name, "HEAD~5..HEAD", "HEAD~5"]);
    let (one, other) = (start("one"), start("other"));
    for run in [one, other] {
        let (code, said) = output(run);
        assert_eq!(code, 0, "{said}");
    }
    assert_eq!(repo.verdicts("HEAD~3"), ["pass one", "pass other"]);
    bed.expect_nothing_left();
}

#[test]
fn a_full_disk_on_the_host() {
    let repo = TestRepo::new();
    repo.job("test", "test \"$GIT_CI_RUNNER\" = h2");
    // More than the disk holds, and nothing that packs well.
    let noise: Vec<u8> = (0..4u32 << 20)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 ^ (i >> 7) as u8)
        .collect();
    repo.write("noise", noise);
    repo.commit("big");
    let Some(bed) = SshBed::up(&repo, 2) else {
        return;
    };
    let small = repo.root().join("small");
    fs::create_dir(&small).unwrap();
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "none"])
        .arg(&small)
        .output();
    if !mount.is_ok_and(|done| done.status.success()) {
        return skip("a small file system needs root");
    }
    repo.git(["config", "ci-host.h1.root", small.to_str().unwrap()]);
    let done = repo.ci(["run", "HEAD"]).expect_code(0);
    expect_passes(&repo, 1);
    repo.git(["config", "ci-host.h2.drain", "true"]);
    let alone = repo
        .ci(["run", "--force", "HEAD"])
        .expect_code(125)
        .stderr();
    std::process::Command::new("umount")
        .arg(&small)
        .status()
        .unwrap();
    assert!(alone.contains("space"), "{alone}\n{}", done.stderr());
    bed.expect_nothing_left();
}

/// A small file system at `small` in the test's directory; `None` where that takes root.
fn small_disk(repo: &TestRepo) -> Option<std::path::PathBuf> {
    let small = repo.root().join("small");
    fs::create_dir(&small).unwrap();
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=2m", "none"])
        .arg(&small)
        .output();
    if mount.is_ok_and(|done| done.status.success()) {
        return Some(small);
    }
    skip("a small file system needs root");
    None
}

#[test]
fn a_disk_that_is_too_small_for_the_worktree() {
    let repo = TestRepo::new();
    repo.job("test", "test \"$GIT_CI_RUNNER\" = h2");
    // The pack is small, the file is not.
    repo.write("xs", vec![b'x'; 8 << 20]);
    (0..3).for_each(|i| drop(repo.commit(&format!("commit {i}"))));
    let Some(bed) = SshBed::up(&repo, 2) else {
        return;
    };
    let Some(small) = small_disk(&repo) else {
        return;
    };
    repo.git(["config", "ci-host.h1.root", small.to_str().unwrap()]);
    let done = repo.ci(["run", "HEAD~2..HEAD", "HEAD~2"]);
    std::process::Command::new("umount")
        .arg(&small)
        .status()
        .unwrap();
    done.expect_code(0);
    expect_passes(&repo, 3);
    bed.expect_nothing_left();
}

#[test]
fn a_host_that_comes_back_is_used_again() {
    let repo = TestRepo::new();
    let mark = repo.root().join("mark");
    let job = format!("mkdir {} || exit 0; sleep 1000; exit 1", mark.display());
    repo.job("test", &job);
    (0..3).for_each(|i| drop(repo.commit(&format!("commit {i}"))));
    let Some(bed) = SshBed::up(&repo, 1) else {
        return;
    };
    let run = repo.spawn_ci(["run", "HEAD~2..HEAD", "HEAD~2"]);
    wait_for_mark(&repo);
    bed.cut(1, "crash");
    bed.heal(1);
    let (code, said) = output(run);
    assert_eq!(code, 0, "{said}");
    expect_passes(&repo, 3);
    bed.expect_nothing_left();
}

#[test]
fn an_interrupted_run_leaves_nothing_on_the_host() {
    let repo = TestRepo::new();
    let mark = repo.root().join("mark");
    let job = format!("touch {}; setsid sleep 1000 & sleep 1000", mark.display());
    repo.job("test", &job).commit("one");
    let Some(bed) = SshBed::up(&repo, 1) else {
        return;
    };
    let run = repo.spawn_ci(["run"]);
    wait_for_mark(&repo);
    send(&[run.id()], Signal::INT);
    let (code, said) = output(run);
    assert_eq!(code, 130, "{said}");
    bed.expect_nothing_left();
    // And where the host does not answer any more.
    fs::remove_file(&mark).unwrap();
    let run = repo.spawn_ci(["run"]);
    wait_for_mark(&repo);
    bed.cut(1, "stop");
    send(&[run.id()], Signal::INT);
    wait_until("the first signal to be heard", || {
        // Both count only one after the other.
        std::thread::sleep(Duration::from_millis(20));
        send(&[run.id()], Signal::INT);
        !alive(run.id())
    });
    // The last of them may have come when the run was over, and ended the process.
    let (code, said) = output(run);
    assert!([130, -1].contains(&code), "{code}: {said}");
    bed.heal(1);
    bed.expect_nothing_left();
    assert_eq!(repo.noted_commits(), 0);
}
