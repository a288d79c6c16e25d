//! What happens at a terminal: nothing that git-ci starts can wait at it for an answer.
//! Signals of a terminal are in `signals`.

use std::fs;

use crate::pty::{Terminal, code, expect_nothing_left};
use crate::support::{TestRepo, processes_with, wait_until};

/// Jobs that would ask something of a person.
const ASKING: [(&str, &str); 9] = [
    ("reads", "read x </dev/tty"),
    ("writes", "echo who are you >/dev/tty"),
    ("modes", "stty sane </dev/tty"),
    ("bash", "bash --norc -ic 'exit 3'"),
    ("zsh", "zsh -fic 'exit 3'"),
    (
        "stopped",
        "kill -TSTP $$; kill -TTIN $$; kill -TTOU $$; exit 3",
    ),
    (
        "ssh",
        "ssh -o StrictHostKeyChecking=ask -o ProxyCommand='no-such-command' somewhere.invalid true",
    ),
    ("git", "git ls-remote https://user@somewhere.invalid/x"),
    ("python", "python3 -c 'import getpass; open(\"/dev/tty\")'"),
];

#[test]
fn a_job_that_asks_at_the_terminal_fails_at_once() {
    let repo = TestRepo::new();
    for (name, run) in ASKING {
        repo.job(name, run);
    }
    repo.commit("one");
    let terminal = Terminal::git_ci(&repo, &["run", "-j2"]);
    let (status, shown) = terminal.wait();
    assert_eq!(status.code(), Some(1), "{shown}");
    let failed: Vec<_> = ASKING.map(|(name, _)| format!("FAIL {name}")).into();
    let mut verdicts = repo.verdicts("HEAD");
    verdicts.sort();
    let mut expected = failed.clone();
    expected.sort();
    assert_eq!(verdicts, expected, "{}", repo.note("HEAD"));
    for name in ["bash", "zsh", "stopped"] {
        let note = repo.note("HEAD");
        let line = note
            .lines()
            .find(|line| line.contains(&format!(" {name} ")));
        assert!(line.unwrap().contains("why=exit:3"), "{note}");
    }
    assert!(!shown.contains("who are you"), "{shown}");
    expect_nothing_left(&repo.root().display().to_string());
}

#[test]
fn a_job_leads_a_session_without_a_terminal_and_inherits_nothing() {
    let repo = TestRepo::new();
    let seen = repo.root().join("seen");
    repo.job(
        "test",
        &format!(
            "{{ ps -o pid=,sid=,pgid=,tty= -p $$; ls -l /proc/$$/fd; \
             grep -E '^Sig(Blk|Ign)' /proc/self/status; }} >{}",
            seen.display()
        ),
    );
    repo.commit("one");
    // What a caller may leave: descriptors, ignored and blocked signals. git itself
    // cannot wait for its children where SIGCHLD is ignored.
    let script = "exec 5>lock 77>lock; trap '' HUP INT QUIT TERM USR1 CHLD; exec python3 -c '
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGCHLD, signal.SIGTERM})
os.set_inheritable(77, True)
os.execvp(\"git-ci\", [\"git-ci\", \"run\"])'";
    let (status, shown) = Terminal::start(&repo, &["bash", "--norc", "-c", script]).wait();
    assert!(status.success(), "{shown}");
    let seen = fs::read_to_string(seen).unwrap();
    let mut lines = seen.lines();
    let words: Vec<_> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(words[3], "?", "a terminal: {seen}");
    assert!(words[0] == words[1] && words[0] == words[2], "{seen}");
    assert!(!seen.contains("lock"), "{seen}");
    for name in ["SigBlk:", "SigIgn:"] {
        let mask = seen.lines().find_map(|line| line.strip_prefix(name));
        let mask = u64::from_str_radix(mask.unwrap().trim(), 16).unwrap();
        // The C library ignores two of its own, 32 and 33, in what it starts.
        assert_eq!(mask & !(0b11 << 31), 0, "{seen}");
    }
}

#[test]
fn a_fetch_that_would_ask_fails_and_one_that_hangs_ends_with_the_watch() {
    for transport in ["read x </dev/tty; :", "trap '' HUP INT TERM; sleep 300; :"] {
        let repo = TestRepo::new();
        repo.job("test", "true").commit("one");
        repo.git(["remote", "add", "o", "ssh://somewhere.invalid/x"]);
        repo.git(["config", "core.sshCommand", transport]);
        let mut terminal = Terminal::git_ci(&repo, &["watch", "--fetch", "o"]);
        if transport.starts_with("read") {
            terminal.wait_for("failed to fetch o");
        } else {
            let marker = repo.root().display().to_string();
            wait_until("the fetch to hang", || {
                processes_with(&marker).into_iter().any(|pid| {
                    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                    line.starts_with(b"sleep\0")
                })
            });
        }
        terminal.press("\x03");
        let (status, shown) = terminal.wait();
        assert_eq!(code(status), Some(130), "{shown}");
        expect_nothing_left(&repo.root().display().to_string());
    }
}
