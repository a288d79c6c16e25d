//! What is on the screen: the displays of `run` and `watch` in a real terminal multiplexer,
//! while the window changes its size, and as somebody copies it afterwards.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::beds::have;
use crate::pty::{Terminal, path_with_git_ci};
use crate::support::{PATIENCE, TestRepo};

/// A window of tmux, with a server of its own, in which a shell runs in the repository.
pub(crate) struct Window<'r> {
    repo: &'r TestRepo,
}

impl<'r> Window<'r> {
    pub(crate) fn open(repo: &'r TestRepo, columns: u32, rows: u32) -> Self {
        let window = Self { repo };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let size = ["-x", &columns, "-y", &rows];
        let start = ["-f", "/dev/null", "new-session", "-d", "-s", "s"];
        // No login shell, which would have a PATH of its own.
        window.tmux(&[&start[..], &size, &["sh"]].concat());
        // One that echoes nothing of its own but this prompt.
        window.type_line("PS1='ready> '; clear");
        window.wait_until("the shell", |rows| rows.starts_with("ready>"));
        window
    }

    fn command(&self) -> Command {
        let mut tmux = self.repo.command("tmux", self.repo.path());
        let socket = self.repo.root().join("tmux");
        tmux.arg("-S").arg(socket).env("PATH", path_with_git_ci());
        tmux.env("SHELL", "/bin/sh");
        tmux
    }

    fn tmux(&self, args: &[&str]) -> String {
        let output = self.command().args(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn type_line(&self, line: &str) {
        self.tmux(&["send-keys", "-t", "s", "-l", line]);
        self.tmux(&["send-keys", "-t", "s", "Enter"]);
    }

    fn resize(&self, columns: u32, rows: u32) {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        self.tmux(&["resize-window", "-t", "s", "-x", &columns, "-y", &rows]);
    }

    /// All lines from the first, as somebody copies them: those that were broken are whole.
    pub(crate) fn copy(&self) -> String {
        self.lines(&["-J"])
    }

    /// All rows from the first.
    fn rows(&self) -> String {
        self.lines(&[])
    }

    fn lines(&self, options: &[&str]) -> String {
        let args = [&["capture-pane", "-p", "-S", "-", "-t", "s"], options].concat();
        let text = self.tmux(&args);
        let lines: Vec<_> = text.lines().map(str::trim_end).collect();
        lines.join("\n").trim_end().to_owned()
    }

    /// Waits until the rows are as they should be.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, mut are_right: impl FnMut(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let rows = self.rows();
            if are_right(&rows) {
                return self.copy();
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "waited in vain for {what}\n{rows}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.wait_until(text, |rows| rows.contains(text))
    }
}

impl Drop for Window<'_> {
    fn drop(&mut self) {
        let _ = self.command().arg("kill-server").output();
    }
}

fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

#[test]
fn a_watch_is_a_matrix_in_order_that_survives_every_window() {
    if !have(&["tmux"]) {
        return;
    }
    let repo = TestRepo::new();
    let go = repo.root().join("go");
    repo.job("test", "! grep -q bad file")
        .job("slow", &format!("test -e {} || sleep 60", go.display()))
        .job("a-job-with-a-long-name[features=default]", "true");
    repo.git(["config", "ci.slots", "3"]);
    repo.write("file", "good").commit("one");
    // In one second: their times say nothing of their order.
    for (subject, text) in [("two", "bad"), ("three", "good")] {
        repo.write("file", text).git(["add", "-A"]);
        repo.git(["commit", "-q", "-m", subject]);
    }
    let window = Window::open(&repo, 80, 24);
    window.type_line("git ci watch --since HEAD~2");
    let shown = window.wait_for("about ");
    window.wait_for("✗ FAIL");
    let last = shown.lines().rfind(|line| line.contains("three")).unwrap();
    assert!(
        last.starts_with("* ") && last.contains("(main) three"),
        "{shown}"
    );
    let place = |text: &str| shown.rfind(text).unwrap();
    assert!(place(" three") < place(" two"), "{shown}");
    for (columns, rows) in [(120, 40), (80, 24), (60, 15), (80, 24)] {
        window.resize(columns, rows);
        let width = usize::try_from(columns).unwrap();
        let fits = |line: &str| line.chars().count() < width;
        window.wait_until("the matrix to fit", |rows| {
            // What was said before is as wide as the window was then.
            let matrix = rows.lines().skip_while(|line| !line.starts_with("* "));
            let matrix: Vec<_> = matrix.collect();
            // What was drawn for a narrower window fits, too.
            let whole = rows.contains("a-job-wi…efault]") && rows.contains("queued,");
            whole && matrix.len() > 2 && matrix.iter().all(|line| fits(line))
        });
        let copied = window.copy();
        assert_eq!(count(&copied, "(main) three"), 1, "{copied}");
        assert_eq!(count(&copied, " queued, "), 1, "{copied}");
    }
    std::fs::write(go, "").unwrap();
    window.tmux(&["send-keys", "-t", "s", "C-c"]);
    let end = window.wait_for(" passed");
    // It stays behind, once, and nothing in it waits any more.
    assert_eq!(count(&end, "(main) three"), 1, "{end}");
    assert!(!end.contains("queued") && !end.contains('▶'), "{end}");
    assert!(end.contains("1 FAILED"), "{end}");
}

#[test]
fn what_was_cancelled_or_replaced_does_not_seem_to_wait() {
    if !have(&["tmux"]) {
        return;
    }
    let repo = TestRepo::new();
    repo.job("test", "sleep 60").job("more", "sleep 60");
    repo.git(["config", "ci.slots", "1"]);
    repo.commit("one");
    let window = Window::open(&repo, 80, 24);
    window.type_line("git ci watch");
    window.wait_for("1 running, 1 queued");
    repo.ci(["cancel"]).expect_code(0);
    let shown = window.wait_for("waiting for commits");
    assert_eq!(count(&shown, "- cancelled"), 2, "{shown}");
    repo.commit("two");
    window.wait_for("(main) two");
    repo.git(["commit", "-q", "--amend", "-m", "two, said better"]);
    window.wait_until("the replaced commit to go", |shown| {
        shown.contains("(main) two, said better") && count(shown, " two") == 1
    });
    repo.git(["switch", "-q", "--detach", "HEAD~1"]);
    window.wait_until("the mark to follow", |shown| {
        let mut lines = shown.lines();
        lines.any(|line| line.starts_with("* ") && line.ends_with(" one"))
    });
    window.tmux(&["send-keys", "-t", "s", "C-c"]);
    let end = window.wait_for(" in ");
    assert!(
        end.contains("cancelled") && !end.contains("queued"),
        "{end}"
    );
}

#[test]
fn a_run_fits_the_window_and_leaves_only_what_it_said() {
    if !have(&["tmux"]) {
        return;
    }
    let repo = TestRepo::new();
    let go = repo.root().join("go");
    let wait = format!("while ! test -e {}; do sleep 0.05; done", go.display());
    let long = "a subject that is as long as nobody should write one, but somebody will";
    repo.git(["config", "ci.slots", "12"]);
    let tabs = "printf 'a\\tb\\033[1;31mred\\033[m\\n'";
    for n in 0..12 {
        repo.jobs_file(&format!(
            "[jobs.job-{n}]\nrun = '''{tabs}; {wait}; false'''\n"
        ));
    }
    repo.commit(long);
    let window = Window::open(&repo, 120, 24);
    window.type_line("git ci run");
    window.wait_until("every row", |rows| count(rows, "a       bred") == 12);
    for (columns, rows) in [(80, 24), (120, 40), (80, 12)] {
        window.resize(columns, rows);
        let width = usize::try_from(columns).unwrap();
        window.wait_until("the rows to fit", |rows| {
            rows.contains("/12") && rows.lines().all(|line| line.chars().count() < width)
        });
    }
    // Not all of them have room.
    window.wait_for("more task");
    std::fs::write(go, "").unwrap();
    let end = window.wait_for("12 FAILED");
    window.resize(80, 40);
    assert_eq!(count(&end, "\n      | a       bred"), 12, "{end}");
    let rows = window.rows();
    assert!(
        rows.lines().all(|line| line.chars().count() <= 80),
        "{rows}"
    );
    assert!(!rows.contains("\\x1b"), "{rows}");
    // Printed to be read, not to be wrapped.
    for command in ["git ci log", "git ci run -n", "git ci run"] {
        // A pager would ask for the height while tmux still changes it.
        window.type_line(&format!(
            "clear; GIT_PAGER=cat {command}; echo after {command}"
        ));
        window.wait_for(&format!("\nafter {command}\nready>"));
        let (rows, copied) = (window.rows(), window.copy());
        assert_eq!(rows.lines().count(), copied.lines().count(), "{rows}");
        assert!(rows.contains('…'), "{rows}");
    }
}

#[test]
fn terminals_that_can_do_less_get_less() {
    let repo = TestRepo::new();
    let long = "a subject that is as long as nobody should write one, but somebody will, and \
                so on and on, until no window is wide enough for it";
    repo.job("test", "true")
        .job("bad", "echo no; false")
        .commit(long);
    for words in [
        &["git", "ci", "run", "--force"][..],
        &["git", "ci", "watch", "--since", "HEAD", "--until-idle"],
        &["git", "ci", "status"],
        &["git", "ci", "log"],
    ] {
        let show = |env: &[(&str, &str)]| {
            let env = [env, &[("GIT_PAGER", "cat")]].concat();
            Terminal::start_with(&repo, words, &env).wait().1
        };
        let plain = show(&[("NO_COLOR", "1")]);
        let is_style = |part: &str| {
            part.trim_start_matches(|c: char| "[;0123456789".contains(c))
                .starts_with('m')
        };
        assert!(!plain.split('\x1b').skip(1).any(is_style), "{plain}");
        let ascii = show(&[("LC_ALL", "C")]);
        assert!(ascii.is_ascii(), "{ascii}");
        let dumb = show(&[("TERM", "dumb")]);
        assert!(!dumb.contains('\x1b'), "{dumb}");
    }
}
