//! What comes out: the logs of jobs, whatever they print, and the output of the program,
//! whoever reads it or does not.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{TestRepo, alive, wait_until};

/// What `git ci logs` shows of job `job` on HEAD.
fn log_of(repo: &TestRepo, job: &str) -> Vec<u8> {
    repo.ci(["logs", "HEAD", job]).0.stdout
}

/// What the files below a directory take, in bytes.
fn size_of(dir: &Path) -> u64 {
    let mut sum = 0;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        // Gone meanwhile.
        let Ok(meta) = entry.metadata() else { continue };
        sum += match meta.is_dir() {
            true => size_of(&entry.path()),
            false => meta.len(),
        };
    }
    sum
}

/// A job that prints much, then `STUCK` without an end of line, and waits for a file.
fn chatty(repo: &TestRepo) -> &TestRepo {
    let go = repo.root().join("go");
    repo.job(
        "chatty",
        &format!(
            "yes 'a line' | head -c 9000000; printf STUCK; \
             while ! test -e {}; do sleep 0.02; done; echo; echo done",
            go.display()
        ),
    )
}

/// The log shows the beginning, the newest byte, and how much is missing between them.
#[track_caller]
fn expect_newest(log: &[u8]) {
    let text = String::from_utf8_lossy(log);
    assert!(text.starts_with("a line\na line\n"));
    let (head, rest) = text.split_once("\n[git-ci: ").unwrap();
    let (left_out, tail) = rest.split_once(" bytes left out]\n").unwrap();
    let left_out: usize = left_out.parse().unwrap();
    assert_eq!(head.len() + left_out + tail.len(), 9_000_000 + 5);
    // What git-ci itself has to say counts as well.
    assert!(tail.len() + 1000 >= 1 << 20, "{}", tail.len());
}

#[test]
fn the_newest_output_is_in_the_log_whatever_came_before() {
    let repo = TestRepo::new();
    chatty(&repo).commit("one");
    let mut run = repo.spawn_ci(["run"]);
    wait_until("the end of what it prints", || {
        log_of(&repo, "chatty").ends_with(b"STUCK")
    });
    expect_newest(&log_of(&repo, "chatty"));
    let logs = repo.git_dir().join("ci/logs");
    assert!(size_of(&logs) < 6 << 20, "{}", size_of(&logs));

    let mut follow = repo.spawn_ci(["logs", "HEAD", "chatty", "--follow"]);
    let mut out = follow.stdout.take().unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"STUCK") {
        let mut bytes = [0; 65536];
        let count = out.read(&mut bytes).unwrap();
        assert!(count > 0, "it ended: {}", seen.len());
        seen.extend_from_slice(&bytes[..count]);
    }
    expect_newest(&seen);
    fs::write(repo.root().join("go"), "").unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "\ndone\n");
    assert!(follow.wait().unwrap().success());
    assert!(run.wait().unwrap().success());

    let done = log_of(&repo, "chatty");
    assert!(done.ends_with(b"STUCK\ndone\n"));
    let left_out = 9_000_000 + 11 - (5 << 20);
    let line = format!("\n[git-ci: {left_out} bytes left out]\n");
    assert_eq!(done.len(), (5 << 20) + line.len());
    assert_eq!(fs::read_dir(logs).unwrap().count(), 1, "one file");
    let unfinished = fs::read_dir(repo.git_dir().join("ci/unfinished"));
    assert_eq!(unfinished.unwrap().count(), 0);
}

#[test]
fn the_newest_output_survives_a_kill() {
    // Once the run, and once the agent alone.
    for (whom, code) in [("run", -1), ("agent", 125)] {
        let repo = TestRepo::new();
        chatty(&repo).commit("one");
        let run = repo.spawn_ci(["run"]);
        wait_until("the end of what it prints", || {
            log_of(&repo, "chatty").ends_with(b"STUCK")
        });
        let slot = repo.git_dir().join("ci/slots/slot-1.lock");
        let slot: serde_json::Value = serde_json::from_slice(&fs::read(slot).unwrap()).unwrap();
        let agent = slot["holder"]["pid"].as_u64().unwrap() as u32;
        let victim = if whom == "run" { run.id() } else { agent };
        let victim = Pid::from_raw(victim.try_into().unwrap()).unwrap();
        kill_process(victim, Signal::KILL).unwrap();
        let ended = run.wait_with_output().unwrap();
        assert_eq!(ended.status.code().unwrap_or(-1), code, "{ended:?}");
        wait_until("the agent to end", || !alive(agent));
        let log = log_of(&repo, "chatty");
        let end = log.windows(5).rposition(|part| part == b"STUCK");
        let end = end.expect("the newest output");
        expect_newest(&log[..end + 5]);
        let shown = repo.ci(["logs", "HEAD"]).expect_code(0);
        let said = shown.stderr().contains("killed");
        assert_eq!(said, whom == "run", "{}", shown.stderr());
    }
}

#[test]
fn any_bytes_are_kept_as_they_are() {
    let repo = TestRepo::new();
    let file = repo.root().join("bytes");
    // A line longer than any buffer, bytes that are no text, and no end of line.
    let mut bytes = b"\0\xff\xfe\x1b[2Jcut \xe2\x82".to_vec();
    bytes.extend(std::iter::repeat_n(b'x', 3 << 20));
    bytes.extend(b"\r\n\n\0last");
    fs::write(&file, &bytes).unwrap();
    repo.job("cat", &format!("cat {}; exit 1", file.display()))
        .commit("one");
    let run = repo.ci(["run"]).expect_code(1);
    assert!(log_of(&repo, "cat") == bytes);
    let shown = run.stdout() + &run.stderr();
    assert!(shown.contains("\\x00last"), "{shown}");
    assert!(shown.len() < 10_000, "{}", shown.len());
    let json = repo.ci(["logs", "HEAD", "--json"]).expect_code(0);
    for line in json.stdout().lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[test]
fn a_flood_neither_fills_memory_nor_slows_the_job() {
    let repo = TestRepo::new();
    repo.job("flood", "yes | head -c 1000000000").commit("one");
    let run = repo.spawn_ci(["run"]);
    let logs = repo.git_dir().join("ci/logs");
    let (mut memory, mut disk) = (0, 0);
    let path = format!("/proc/{}/status", run.id());
    wait_until("the flood to end", || {
        let status = fs::read_to_string(&path).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|peak| peak.split_whitespace().next()?.parse().ok());
        memory = memory.max(peak.unwrap_or(0));
        disk = disk.max(size_of(&logs));
        !alive(run.id())
    });
    let ended = run.wait_with_output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    assert!(memory < 150_000, "{memory} kB");
    assert!(disk < 8 << 20, "{disk} bytes");
    let log = log_of(&repo, "flood");
    assert!(log.starts_with(b"y\ny\n") && log.ends_with(b"y\n"));
}

/// The link takes seconds for what the job prints in a moment; signs of life pass.
#[test]
fn the_newest_output_of_a_host_comes_over_a_slow_link() {
    if !crate::beds::have(&["python3"]) {
        return;
    }
    let repo = TestRepo::new();
    chatty(&repo).commit("one");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/beds/slowpipe.py");
    for (key, value) in [
        ("ci.local", "false"),
        ("ci.silence", "1s"),
        ("ci.lease", "3s"),
        ("ci-host.far.agent", env!("CARGO_BIN_EXE_git-ci")),
        (
            "ci-host.far.root",
            repo.root().join("far").to_str().unwrap(),
        ),
        (
            "ci-host.far.command",
            &format!("python3 {script} --back 2000000 {{}}"),
        ),
    ] {
        repo.git(["config", key, value]);
    }
    let mut run = repo
        .ci_command(["run", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("the end of what it prints", || {
        log_of(&repo, "chatty").ends_with(b"STUCK")
    });
    let follow = repo.spawn_ci(["logs", "HEAD", "--follow"]);
    fs::write(repo.root().join("go"), "").unwrap();
    assert!(run.wait().unwrap().success());
    let followed = follow.wait_with_output().unwrap();
    assert!(followed.stdout.ends_with(b"STUCK\ndone\n"));
    let log = log_of(&repo, "chatty");
    assert!(log.ends_with(b"STUCK\ndone\n"));
    assert_eq!(repo.verdicts("HEAD"), ["pass chatty"]);
}
