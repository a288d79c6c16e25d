//! Completions: by pressing Tab in real shells.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{TestRepo, wait_until};

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("completions")
        .join(name)
}

/// A command with git-ci on PATH.
fn command(repo: &TestRepo, program: &str) -> Command {
    let bin = Path::new(env!("CARGO_BIN_EXE_git-ci")).parent().unwrap();
    let mut command = repo.command(program, repo.path());
    command.env(
        "PATH",
        format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()),
    );
    command
}

fn project() -> TestRepo {
    let repo = TestRepo::new();
    repo.job("unit", "true").job("lint[a]", "true");
    repo.commit("one");
    repo.git(["branch", "topic-one"]);
    repo
}

/// A shell in a terminal of its own.
struct Terminal<'r> {
    repo: &'r TestRepo,
    socket: PathBuf,
}

impl<'r> Terminal<'r> {
    fn start(repo: &'r TestRepo, shell: &str) -> Self {
        let terminal = Self {
            repo,
            socket: repo.root().join("tmux"),
        };
        let mut tmux = terminal.tmux(&["new-session", "-d", "-x", "120", "-y", "50", shell]);
        let done = tmux.env("TERM", "xterm").output().unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        terminal
    }

    fn tmux(&self, args: &[&str]) -> Command {
        let mut command = command(self.repo, "tmux");
        command
            .args(["-f", "/dev/null", "-S"])
            .arg(&self.socket)
            .args(args);
        command
    }

    fn screen(&self) -> String {
        let shown = self.tmux(&["capture-pane", "-p"]).output().unwrap();
        String::from_utf8_lossy(&shown.stdout).into_owned()
    }

    fn keys(&self, keys: &[&str]) {
        let mut args = vec!["send-keys"];
        args.extend(keys);
        assert!(self.tmux(&args).status().unwrap().success());
    }

    /// Runs a command line to its end, on an empty screen.
    fn run(&self, line: &str) {
        self.keys(&["C-u", &format!("{line}; clear; echo rea''dy"), "Enter"]);
        wait_until("the prompt", || {
            self.screen()
                .lines()
                .next()
                .is_some_and(|line| line == "ready")
        });
    }

    /// Types, presses Tab, and waits until all of `expected` is on the screen.
    #[track_caller]
    fn tab(&self, typed: &str, tabs: usize, expected: &[&str]) {
        self.run("true");
        self.keys(&["-l", typed]);
        wait_until("the echo", || self.screen().contains(typed.trim_end()));
        for _ in 0..tabs {
            self.keys(&["Tab"]);
        }
        let start = std::time::Instant::now();
        loop {
            let screen = self.screen();
            if expected.iter().all(|part| screen.contains(part)) {
                return;
            }
            let left = crate::support::PATIENCE.checked_sub(start.elapsed());
            assert!(left.is_some(), "{typed:?}: no {expected:?} in\n{screen}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]).output();
    }
}

#[test]
fn bash_completes_by_tab_after_git_and_alone() {
    let repo = project();
    let terminal = Terminal::start(&repo, "bash --norc --noprofile");
    let git = "/usr/share/bash-completion/completions/git";
    terminal.run(&format!(
        "PS1='> '; . {git}; . {}",
        script("git-ci.bash").display()
    ));
    terminal.tab("git ci ", 2, &["completions", "doctor", "init", "run"]);
    terminal.tab("git ci ru", 1, &["> git ci run"]);
    terminal.tab("git -C . ci doc", 1, &["> git -C . ci doctor"]);
    terminal.tab("git ci run --fail-fa", 1, &["> git ci run --fail-fast"]);
    terminal.tab("git ci run --job ", 2, &["unit", "lint[a]"]);
    terminal.tab("git ci run --order=ol", 1, &["> git ci run --order=oldest"]);
    terminal.tab("git ci run --order ne", 1, &["> git ci run --order newest"]);
    terminal.tab(
        "git ci run main..topi",
        1,
        &["> git ci run main..topic-one"],
    );
    terminal.tab("git ci completions ", 2, &["bash", "fish", "zsh"]);
    terminal.tab("git-ci ru", 1, &["> git-ci run"]);
    terminal.tab("git-ci run topi", 1, &["> git-ci run topic-one"]);
}

#[test]
fn fish_completes_after_git_and_alone() {
    let repo = project();
    let source = format!("source {}", script("git-ci.fish").display());
    let complete = |line: &str| {
        let ask = format!("{source}; complete -C '{line}'");
        let output = command(&repo, "fish").args(["-c", &ask]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty());
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for (line, expected) in [
        ("git ci ", "doctor\t"),
        ("git ci run --fa", "--fail-fast\t"),
        ("git c", "ci\t"),
        ("git-ci ru", "run\t"),
        ("git-ci run --job ", "unit"),
        ("git-ci run topi", "topic-one"),
    ] {
        let found = complete(line);
        assert!(found.contains(expected), "{line}: {found}");
    }
    assert!(!complete("git-ci ").contains("agent"));
}

#[test]
fn zsh_completes_by_tab_after_git_and_alone() {
    let repo = project();
    let terminal = Terminal::start(&repo, "zsh -f");
    let dir = script("_git-ci");
    terminal.run(&format!(
        "PS1='> '; fpath=({} $fpath); autoload -U compinit; compinit -u -D",
        dir.parent().unwrap().display()
    ));
    terminal.tab("git ci ", 1, &["completions", "doctor", "init", "run"]);
    terminal.tab("git ci run --fail-fa", 1, &["> git ci run --fail-fast"]);
    terminal.tab("git ci run --job ", 1, &["unit", "lint"]);
    terminal.tab("git-ci ru", 1, &["> git-ci run"]);
}

#[test]
fn the_command_prints_what_is_committed() {
    let repo = TestRepo::new();
    for (shell, file) in [
        ("bash", "git-ci.bash"),
        ("fish", "git-ci.fish"),
        ("zsh", "_git-ci"),
    ] {
        let done = repo.ci(["completions", shell]).expect_code(0);
        assert_eq!(
            done.stdout(),
            std::fs::read_to_string(script(file)).unwrap()
        );
    }
    let done = repo.ci(["completions", "tcsh"]).expect_code(129);
    assert!(done.stderr().contains("bash"), "{}", done.stderr());
    // Whoever stopped reading has seen enough.
    let mut shell = command(&repo, "bash");
    let pipe = "set -o pipefail; git ci completions bash | true";
    assert!(shell.args(["-c", pipe]).status().unwrap().success());
}
