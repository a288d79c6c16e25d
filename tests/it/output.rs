//! What comes out: the logs of jobs, whatever they print, and the output of the program,
//! whoever reads it or does not.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::pty::{Terminal, code, expect_nothing_left, path_with_git_ci};
use crate::support::{Ran, TestRepo, alive, processes_with, wait_until};

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
        sum += if meta.is_dir() {
            size_of(&entry.path())
        } else {
            meta.len()
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

/// The agent that has slot 1, where there is one.
fn agent(repo: &TestRepo) -> Option<u32> {
    let slot = fs::read(repo.git_dir().join("ci/slots/slot-1.lock")).ok()?;
    let slot: serde_json::Value = serde_json::from_slice(&slot).ok()?;
    slot["holder"]["pid"].as_u64()?.try_into().ok()
}

#[test]
fn the_newest_output_survives_a_kill_of_the_run() {
    let repo = TestRepo::new();
    chatty(&repo).commit("one");
    let mut run = repo.spawn_ci(["run"]);
    wait_until("the end of what it prints", || {
        log_of(&repo, "chatty").ends_with(b"STUCK")
    });
    let agent = agent(&repo).unwrap();
    run.kill().unwrap();
    run.wait().unwrap();
    wait_until("the agent to end", || !alive(agent));
    let shown = repo.ci(["logs", "HEAD"]).expect_code(0);
    expect_newest(&shown.0.stdout);
    assert!(
        shown.stderr().contains("its run was killed"),
        "{}",
        shown.stderr()
    );
}

#[test]
fn the_newest_output_survives_a_kill_of_agents() {
    let repo = TestRepo::new();
    chatty(&repo).commit("one");
    let run = repo.spawn_ci(["run"]);
    // The first is replaced once.
    let mut last = None;
    for count in 1..=2 {
        wait_until("the end of what it prints", || {
            let log = log_of(&repo, "chatty");
            agent(&repo).is_some_and(|now| Some(now) != last) && log.ends_with(b"STUCK")
        });
        last = agent(&repo);
        let pid = last.and_then(|pid| Pid::from_raw(pid.try_into().unwrap()));
        kill_process(pid.unwrap(), Signal::KILL).unwrap();
        if count == 1 {
            wait_until("the next one to print", || {
                !log_of(&repo, "chatty").ends_with(b"STUCK")
            });
        }
    }
    let ended = run.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(125), "{ended:?}");
    let log = log_of(&repo, "chatty");
    assert!(log.windows(5).any(|part| part == b"STUCK"));
    assert!(
        log.ends_with(b"it ended\n"),
        "{:?}",
        String::from_utf8_lossy(&log[log.len() - 200..])
    );
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
        ("ci.silence", "5s"),
        ("ci.lease", "15s"),
        ("ci-host.far.agent", env!("CARGO_BIN_EXE_git-ci")),
        (
            "ci-host.far.root",
            repo.root().join("far").to_str().unwrap(),
        ),
        (
            "ci-host.far.command",
            &format!("python3 {script} --back 700000 {{}}"),
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

/// A repository with so many commits whose subjects fill pipes, and a job that passes.
fn long_subjects(count: usize) -> TestRepo {
    let repo = TestRepo::new();
    repo.job("test", "true");
    let mut input = Vec::new();
    let subject = "x".repeat(9000);
    for n in 1..=count {
        let line = format!(
            "commit refs/heads/main\ncommitter A U Thor <author@example.com> {} +0000\n\
             data {}\n{n} {subject}\nM 100644 inline n\ndata {}\n{n}\n",
            1_750_000_000 + n,
            subject.len() + n.to_string().len() + 1,
            n.to_string().len(),
        );
        input.extend_from_slice(line.as_bytes());
    }
    let mut import = repo.command("git", repo.path());
    let mut import = import
        .args(["fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    import.stdin.take().unwrap().write_all(&input).unwrap();
    assert!(import.wait().unwrap().success());
    repo.git(["reset", "-q", "--hard"]);
    repo
}

/// `git ci`, as a person calls it.
fn git_ci(repo: &TestRepo, args: &[&str]) -> Command {
    let mut git = repo.command("git", repo.path());
    git.arg("ci").args(args).env("PATH", path_with_git_ci());
    git
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Waits for the end of what is told to end, which must not take long.
#[track_caller]
fn expect_prompt_end(child: &mut Child, code: i32) {
    let begun = Instant::now();
    let status = child.wait().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "{begun:?}");
    let signalled = status.signal().map(|signal| 128 + signal);
    assert_eq!(status.code().or(signalled), Some(code));
}

#[test]
fn a_run_does_not_wait_for_who_reads_its_output() {
    for args in [&["run", "--json", "--branches"][..], &["run", "--branches"]] {
        let repo = long_subjects(121);
        // Nobody reads this; both streams are one pipe, as with `2>&1 | less`.
        let (unread, pipe) = std::io::pipe().unwrap();
        let mut run = git_ci(&repo, args)
            .stdout(pipe.try_clone().unwrap())
            .stderr(pipe)
            .spawn()
            .unwrap();
        wait_until("every result to be stored", || repo.noted_commits() == 121);
        assert!(run.try_wait().unwrap().is_none(), "it waits for its reader");
        signal(&run, Signal::TERM);
        signal(&run, Signal::TERM);
        expect_prompt_end(&mut run, 143);
        drop(unread);
        wait_until("git-ci to end as well", || {
            processes_with(repo.root().to_str().unwrap()).is_empty()
        });
    }
}

#[test]
fn a_signal_is_heard_while_nobody_reads() {
    let repo = long_subjects(121);
    let mark = repo.root().join("mark");
    // The newest commit comes last, and never ends.
    let job = format!(
        "test $(cat n) != 121 || {{ touch {}; sleep 1000; }}",
        mark.display()
    );
    fs::write(
        repo.path().join(".git-ci.toml"),
        format!("[jobs.test]\nrun = '{job}'\n"),
    )
    .unwrap();
    let run = ["run", "--json", "--branches", "--order=oldest", "-j1"];
    let (unread, pipe) = std::io::pipe().unwrap();
    let mut run = repo.ci_command(run).stdout(pipe).spawn().unwrap();
    wait_until("the last job", || mark.exists());
    wait_until("the others' results", || repo.noted_commits() == 120);
    signal(&run, Signal::TERM);
    expect_prompt_end(&mut run, 143);
    drop(unread);
    assert_eq!(repo.noted_commits(), 120);
}

#[test]
fn a_reader_that_comes_back_gets_everything_in_its_order() {
    let repo = long_subjects(200);
    let mut run = repo
        .ci_command(["run", "--json", "--branches"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("every result to be stored", || repo.noted_commits() == 200);
    let mut text = String::new();
    let mut out = run.stdout.take().unwrap();
    out.read_to_string(&mut text).unwrap();
    assert!(run.wait().unwrap().success());
    assert!(
        text.len() > 3_000_000,
        "more than is kept in memory: {}",
        text.len()
    );
    let mut finished = 0;
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["event"], "run-started");
    assert_eq!(lines[lines.len() - 1]["event"], "run-finished");
    assert_eq!(lines[lines.len() - 1]["counts"]["passed"], 200);
    let mut running = std::collections::BTreeSet::new();
    for line in &lines {
        let id = line["id"].as_u64();
        match line["event"].as_str().unwrap() {
            "task-started" => assert!(running.insert(id)),
            "task-finished" => {
                assert!(running.remove(&id), "{id:?}");
                finished += 1;
            }
            _ => {}
        }
    }
    assert_eq!(finished, 200);
}

#[test]
fn a_reader_that_goes_away_ends_nothing() {
    let repo = long_subjects(60);
    let mut run = repo
        .ci_command(["run", "--json", "--branches"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut some = [0; 1000];
    run.stdout.as_mut().unwrap().read_exact(&mut some).unwrap();
    drop(run.stdout.take());
    let ended = run.wait_with_output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(repo.noted_commits(), 60);
    assert_eq!(
        String::from_utf8_lossy(&ended.stderr)
            .matches("error")
            .count(),
        0
    );
}

#[test]
fn a_stopped_terminal_stops_no_run() {
    for (words, tasks) in [
        (&["run", "--branches"][..], 121),
        (&["watch", "--since", "HEAD~60"], 60),
    ] {
        let repo = long_subjects(121);
        let (mark, go) = (repo.root().join("mark"), repo.root().join("go"));
        let job = format!(
            "[jobs.test]\nrun = 'touch {}; until test -e {}; do sleep 0.02; done'\n",
            mark.display(),
            go.display()
        );
        fs::write(repo.path().join(".git-ci.toml"), job).unwrap();
        let mut terminal = Terminal::git_ci(&repo, words);
        wait_until("a job", || mark.exists());
        // Ctrl-S: nothing is taken from the program any more.
        terminal.press("\x13");
        fs::write(go, "").unwrap();
        wait_until("every result to be stored", || {
            repo.noted_commits() == tasks
        });
        // Not by the keyboard: Ctrl-C would let the terminal go on.
        signal(terminal.child(), Signal::TERM);
        let begun = Instant::now();
        let (status, _) = terminal.wait();
        assert!(begun.elapsed() < Duration::from_secs(20), "{begun:?}");
        assert_eq!(code(status), Some(143));
        expect_nothing_left(repo.root().to_str().unwrap());
    }
}

#[test]
fn a_follower_ends_with_its_reader() {
    let repo = TestRepo::new();
    let go = repo.root().join("go");
    let until = format!("until test -e {}; do sleep 0.02; done", go.display());
    repo.job("slow", &format!("echo first; {until}"))
        .commit("one");
    let mut run = repo.spawn_ci(["run"]);
    wait_until("output", || log_of(&repo, "slow") == b"first\n");
    let mut follow = repo.spawn_ci(["logs", "HEAD", "slow", "-f"]);
    let mut first = [0; 6];
    follow
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    // Nothing more comes, and there is nobody to whom it could go.
    drop(follow.stdout.take());
    assert!(follow.wait().unwrap().success());
    fs::write(go, "").unwrap();
    assert!(run.wait().unwrap().success());
}

/// Every source file but those of `printer`, with its lines that are code.
fn sources() -> Vec<(String, Vec<String>)> {
    fn collect(dir: &Path, files: &mut Vec<std::path::PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, files)
            } else {
                files.push(path)
            }
        }
    }
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    files.retain(|path| {
        let name = path.strip_prefix(&src).unwrap().to_str().unwrap();
        name.ends_with(".rs") && !name.starts_with("printer")
    });
    assert!(files.len() > 50, "{}", files.len());
    let read = |path: std::path::PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(&src).unwrap().display().to_string();
        let code = text.lines().filter(|line| !line.trim().starts_with("//"));
        (name, code.map(str::to_owned).collect())
    };
    files.into_iter().map(read).collect()
}

#[test]
fn everything_leaves_by_the_printer() {
    let ways = [
        "print!(",
        "println!(",
        "eprint!(",
        "eprintln!(",
        "dbg!(",
        "::stdout()",
        "::stderr()",
        "STDOUT_FILENO",
        "STDERR_FILENO",
        "/dev/stdout",
        "/dev/stderr",
        "anstream",
    ];
    // An agent is this program: what it says leaves by its own printer.
    let exceptions = [
        ("runner/local.rs", "::stderr()"),
        // A fixed line, when there is no memory for anything else.
        ("process/memory.rs", "::stderr()"),
    ];
    let mut found = Vec::new();
    for (file, code) in sources() {
        for line in code {
            let used = ways.iter().filter(|way| line.contains(**way));
            let wrong = used.filter(|way| !exceptions.contains(&(file.as_str(), **way)));
            found.extend(wrong.map(|_| format!("{file}: {line}")));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_bug_is_said_in_a_way_that_it_can_be_reported() {
    let repo = TestRepo::new();
    repo.job("test", "sleep 1000").commit("one");
    // In the dispatcher, and in a worker.
    for point in ["handed-out", "executing"] {
        let mut run = repo.ci_command(["run"]);
        run.env("GIT_CI_FAIL_POINT", point)
            .env("GIT_CI_FAIL_HOW", "panic");
        let ran = Ran(run.output().unwrap()).expect_code(134);
        let said = ran.stderr();
        let line = format!(
            "error: this is a bug in git-ci: a test wants \\u{{9b}}31m\n{point} to fail at src/"
        );
        assert!(said.contains(&line), "{said}");
        let system = format!("git-ci {}, git version ", env!("CARGO_PKG_VERSION"));
        assert!(said.contains("hint: please report it"), "{said}");
        assert!(said.contains(&system), "{said}");
        expect_nothing_left(repo.root().to_str().unwrap());
    }
    repo.jobs_file("[jobs.other]\nrun = 'true'\n");
    repo.ci(["run", "--job", "other"]).expect_code(0);
}

#[test]
fn a_full_disk_behind_the_output_loses_no_verdict() {
    let repo = TestRepo::new();
    repo.job("good", "true").job("bad", "false").commit("one");
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    for (args, code) in [
        (&["run", "--job", "good"][..], 128),
        (&["run", "--job", "good", "--json"], 128),
        (&["run", "--job", "good", "-n"], 128),
        // A failed job stays one.
        (&["run", "--job", "bad"], 1),
        (&["log"], 128),
        (&["status"], 128),
        (&["show"], 128),
        (&["logs", "HEAD", "bad", "--json"], 128),
        (&["--version"], 128),
        (&["completions", "bash"], 128),
    ] {
        let mut ci = repo.ci_command(args);
        let ran = Ran(ci.stdout(full()).output().unwrap()).expect_code(code);
        let said = ran.stderr();
        assert!(
            said.contains("failed to write to standard output"),
            "{args:?}: {said}"
        );
        assert!(said.contains("No space left on device"), "{args:?}: {said}");
        assert_eq!(said.matches("error:").count(), 1, "{args:?}: {said}");
    }
    // And where the complaint cannot be written either.
    let mut ci = repo.ci_command(["run", "--job", "good", "--force"]);
    let status = ci.stdout(full()).stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(128));
    assert_eq!(
        repo.verdicts("HEAD"),
        ["FAIL bad", "pass good", "pass good"]
    );
}

#[test]
fn streams_that_were_closed_are_nobodys() {
    let repo = TestRepo::new();
    repo.job("good", "true")
        .job("bad", "echo no; exit 1")
        .commit("one");
    let shell = |line: &str| {
        let line = line.replace("git-ci", env!("CARGO_BIN_EXE_git-ci"));
        let mut shell = repo.command("sh", repo.path());
        Ran(shell.args(["-c", &line]).output().unwrap())
    };
    for (line, code) in [
        ("git-ci run --job good >&-", 0),
        ("git-ci run --job good --force >&- 2>&- <&-", 0),
        ("git-ci run --job bad 2>&-", 1),
        ("git-ci run --json --force >&-", 1),
        ("git-ci status >&-", 0),
        ("git-ci log >&- 2>&-", 0),
        ("git-ci logs HEAD bad >&-", 0),
        ("git-ci no-such 2>&-", 129),
    ] {
        let ran = shell(line).expect_code(code);
        assert!(
            !ran.stderr().contains("panicked"),
            "{line}: {}",
            ran.stderr()
        );
    }
    // Nothing that was opened meanwhile got what was meant for a stream.
    assert_eq!(repo.git(["fsck", "--strict"]), "");
    let ran = repo.ci(["run", "--job", "good"]).expect_code(0);
    assert!(ran.stderr().contains("cached"), "{}", ran.stderr());
}

#[test]
fn a_dumb_terminal_gets_plain_lines() {
    let repo = TestRepo::new();
    repo.job("test", "true").commit("one");
    for term in ["dumb", ""] {
        let env = [("TERM", term)];
        let run = ["git", "ci", "run", "--force"];
        let (status, shown) = Terminal::start_with(&repo, &run, &env).wait();
        assert!(status.success(), "{shown}");
        assert!(shown.contains("pass"), "{shown}");
        assert!(!shown.contains('\x1b'), "{shown:?}");
    }
    let env = [("NO_COLOR", "1")];
    let (_, shown) = Terminal::start_with(&repo, &["git", "ci", "run", "--force"], &env).wait();
    assert!(
        !shown.contains("\x1b[3") && !shown.contains("\x1b[1m"),
        "{shown:?}"
    );
}

/// What drives a terminal, reorders what stands on it, or is no text, as an attacker has it.
const HOSTILE: &str = "a\u{1b}[31mred\u{1b}]0;title\u{7}\u{9b}2J\u{202e}evil\u{200b}\u{7f}";

/// Nothing in it drives a terminal.
#[track_caller]
fn expect_tame(what: &str, bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap_or_else(|_| panic!("{what}: {bytes:?}"));
    let wild = |c: char| {
        c.is_control() && !matches!(c, '\n' | '\t')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!text.contains(wild), "{what}: {text:?}");
}

#[test]
fn what_comes_from_outside_is_escaped_by_every_printer() {
    let repo = TestRepo::new();
    // In the path, in authors and subjects, in job output, file names, notes, settings.
    let dir = repo.root().join(format!("re{HOSTILE}po"));
    fs::rename(repo.path(), &dir).unwrap();
    fs::create_dir(repo.path()).unwrap();
    let git = |args: &[&str]| {
        let mut git = repo.command("git", &dir);
        let done = git.args(args).output().unwrap();
        assert!(done.status.success(), "{args:?} {done:?}");
    };
    fs::write(
        dir.join("output"),
        format!("{HOSTILE}\n\u{1b}[2J\u{9b}\r\u{0}\n").as_bytes(),
    )
    .unwrap();
    let jobs = dir.join(".git-ci.toml");
    let good = "[jobs.good]\nrun = 'cat output'\n[jobs.bad]\nrun = 'cat output; exit 1'\n\
                [jobs.error]\nrun = ['./no\\u001b[31m']\n";
    let good = good.replace("'./no\\u001b[31m'", "\"./no\\u001b[31m\\u202e\"");
    fs::write(&jobs, &good).unwrap();
    git(&["add", "-A"]);
    git(&[
        "-c",
        &format!("user.name={HOSTILE}"),
        "commit",
        "-qm",
        HOSTILE,
    ]);
    git(&["branch", "b\u{9b}\u{202e}"]);
    git(&["notes", "--ref=ci", "add", "-m", HOSTILE]);
    git(&["config", "ci.bogus", HOSTILE]);
    git(&[
        "config",
        "ci-host.h.command",
        &format!("echo '{HOSTILE}'; exit 1"),
    ]);
    git(&["config", "ci-host.h.drain", "true"]);
    git(&["config", "remote.r.url", &format!("/nowhere/{HOSTILE}")]);
    let path = dir.join("no").join(HOSTILE).display().to_string();
    let option = format!("--{HOSTILE}");
    let joined = format!("--order={HOSTILE}");
    let hook = repo.root().join("result");
    let to_file = format!("cat > {0}; env | grep GIT_CI_ >> {0}", hook.display());
    let ci = |args: &[&str]| {
        let mut ci = repo.ci_command(args);
        let ran = ci.current_dir(&dir).output().unwrap();
        let what = args.join(" ");
        assert_ne!(ran.status.code(), Some(134), "{what}: {ran:?}");
        expect_tame(&what, &ran.stdout);
        expect_tame(&what, &ran.stderr);
        Ran(ran)
    };
    ci(&["run", "-v", "-j1"]).expect_code(1);
    ci(&["run", "--json", "--force"]).expect_code(1);
    for args in [
        &["run", "-n"][..],
        &["run", "-n", "--json"],
        &["run", HOSTILE],
        &["run", &format!("{HOSTILE}..HEAD")],
        &["run", "--job", HOSTILE],
        &["run", "--config", &path],
        &["run", "--config-from", HOSTILE],
        &["run", "-j", HOSTILE],
        &["run", &option],
        &["run", &joined],
        &["run", "-x", HOSTILE, "--as", HOSTILE],
        &["run", "-x", &format!("echo '{HOSTILE}'; exit 1")],
        &[HOSTILE],
        &[&option],
        &["log"],
        &["log", "--json"],
        &["log", HOSTILE],
        &["show"],
        &["show", "--json"],
        &["show", HOSTILE],
        &["status"],
        &["status", "--json"],
        &["status", "--branches"],
        &["logs", "HEAD", "bad", "--json"],
        &["logs", "HEAD", HOSTILE],
        &["logs", HOSTILE],
        &["watch", "--until-idle", "--since", "HEAD"],
        &["watch", "--until-idle", "--json", "--order", "oldest"],
        &["watch", "--until-idle", "--fetch", HOSTILE],
        &["watch", "--until-idle", "--fetch", "r", "--every", "1s"],
        &["watch", "--until-idle", HOSTILE],
        &["watch", "--until-idle", "--poll", HOSTILE],
        &["hook", "install"],
        &["hook", "status"],
        &["hook", "remove"],
        &["hook", HOSTILE],
        &["notify"],
        &["notify", HOSTILE],
        &["notify", "-v", "--hook", HOSTILE],
        &["doctor"],
        &["doctor", "--json"],
        &["hosts"],
        &["hosts", "--json"],
        &["hosts", "--check", "--json"],
        &["gc", "-v"],
        &["gc", "-n", "--json"],
        &["cancel"],
        &["cancel", HOSTILE],
        &["init"],
        &["completions", HOSTILE],
    ] {
        ci(args);
    }
    git(&["update-ref", "-d", "refs/notes/ci"]);
    ci(&[
        "watch",
        "--until-idle",
        "--since",
        "HEAD~0",
        "--on-result",
        &to_file,
    ]);
    git(&["commit", "-q", "--allow-empty", "-m", HOSTILE]);
    ci(&["watch", "--until-idle", "--on-result", &to_file]).expect_code(1);
    let told = fs::read(&hook).unwrap();
    expect_tame("--on-result", &told);
    let json = String::from_utf8(told).unwrap();
    let json: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(json["subject"], HOSTILE, "which says the same");

    // Jobs files that are wrong, and settings.
    for wrong in [
        format!("[jobs.t]\nrun = \"x\"\n\"{HOSTILE}\" = 1\n"),
        "[jobs.\"\\u001b\\u202e\\u009b\"]\nrun = 'x'\n".to_owned(),
        "[jobs.t]\nrun = 'x'\ntimeout = \"\\u001b\\u202e\"\nclean = \"\\u009b\"\nlabels = [\"\\u202e\"]\n".to_owned(),
        format!("# {HOSTILE}\n"),
    ] {
        fs::write(&jobs, wrong).unwrap();
        for args in [&["run"][..], &["status"], &["show"], &["doctor"]] {
            ci(args);
        }
    }
    fs::write(&jobs, &good).unwrap();
    for key in [
        "ci.slots",
        "ci.name",
        "ci.notesRef",
        "ci.worktreeDir",
        "ci.hookMode",
        "ci.labels",
        "ci.local",
        "ci.logMaxAge",
        "ci.logMaxSize",
        "ci.lease",
        "color.ci",
        "ci-host.h.address",
        "ci-host.h.kind",
        "ci.configFrom",
    ] {
        // The first of them reads all, the last none but its own.
        for args in [
            &["run", "-n"][..],
            &["doctor"],
            &["notify", "--hook", "post-commit", "-v"],
        ] {
            let setting = format!("{key}={HOSTILE}");
            let mut ci = repo.command("git", &dir);
            ci.arg("-c").arg(setting).arg("ci").args(args);
            let ran = ci.env("PATH", path_with_git_ci()).output().unwrap();
            let what = format!("{key} {args:?}");
            expect_tame(&what, &ran.stdout);
            expect_tame(&what, &ran.stderr);
        }
    }
    // With colours there are ours, and no others.
    let shown = ci_bytes(&repo, &dir, &["show", "--color=always"]);
    let text = String::from_utf8(shown).unwrap();
    for part in text.split('\u{1b}').skip(1) {
        let style = part.split('m').next().unwrap();
        let ours = ["[0", "[1", "[2", "[31", "[32", "[33", "[35", "[36"];
        assert!(ours.contains(&style), "{style:?} in {text:?}");
    }
    assert!(text.contains("\u{1b}[1m"), "{text:?}");
}

fn ci_bytes(repo: &TestRepo, dir: &Path, args: &[&str]) -> Vec<u8> {
    let mut ci = repo.ci_command(args);
    ci.current_dir(dir).output().unwrap().stdout
}
