//! The README shows what the program does: its transcript is run here, line by line, and
//! its output compared; so is the picture of the screen while it watches.
//! `UPDATE_GENERATED=1 cargo test readme` writes both anew.

use std::fs;
use std::path::Path;

use crate::beds::have;
use crate::screens::Window;
use crate::support::TestRepo;

const BEGIN: &str = "<!-- transcript -->\n```console\n";
const SCREEN: &str = "<!-- screen -->\n```text\n";
const END: &str = "```\n";

/// Compares what stands between two marks with what is `real`, or writes that there.
#[track_caller]
fn check(begin: &str, real: impl FnOnce(&str) -> String, normal: impl Fn(&str) -> String) {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(&readme).unwrap();
    let (before, rest) = text.split_once(begin).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    let real = real(shown);
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::write(&readme, format!("{before}{begin}{real}{END}{after}")).unwrap();
        return;
    }
    let (real, shown) = (normal(&real), normal(shown));
    assert_eq!(real, shown, "UPDATE_GENERATED=1 writes it anew");
}

/// The repository that the transcript plays in: a small tool with a bug in the middle.
fn scene() -> TestRepo {
    let repo = TestRepo::new();
    repo.git(["config", "ci.name", "mira"]);
    // One at a time, so that the order of the output is the same each time.
    repo.git(["config", "ci.slots", "1"]);
    repo.git(["config", "notes.displayRef", "refs/notes/ci"]);
    repo.write("greet", "#!/bin/sh\necho \"hello, ${1:-world}\"\n");
    repo.write(
        "check",
        "test \"$(sh ./greet)\" = 'hello, world' || { echo \"greet says: $(sh ./greet)\"; exit 1; }\n",
    );
    repo.commit("greet: say hello");
    repo.write("greet", "#!/bin/sh\necho \"hello, $1\"\n");
    repo.commit("greet: simplify");
    repo.write("greet", "#!/bin/sh\necho \"hello, ${1-world}\"\n");
    repo.commit("greet: bring back the default");
    repo.jobs_file("[jobs.test]\nrun = \"sh ./check\"\n");
    repo
}

/// What the commands of a transcript print, as a transcript.
fn play(repo: &TestRepo, transcript: &str) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_git-ci")).parent().unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(program.to_owned()).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(dirs).unwrap();
    let mut text = String::new();
    for command in transcript
        .lines()
        .filter_map(|line| line.strip_prefix("$ "))
    {
        let done = repo
            .command("sh", repo.path())
            .args(["-c", &format!("{command} 2>&1")])
            .env("PATH", &path)
            .output()
            .unwrap();
        text += &format!("$ {command}\n{}", String::from_utf8_lossy(&done.stdout));
    }
    text
}

/// Without what differs from run to run: times and the names of logs.
fn normal(transcript: &str) -> String {
    let mut text = String::new();
    for line in transcript.lines() {
        let mut words = Vec::new();
        for word in line.split_whitespace() {
            let seconds = word
                .strip_suffix('s')
                .is_some_and(|n| n.parse::<f64>().is_ok());
            words.push(match word {
                _ if seconds => "0.0s",
                _ if word.starts_with("log=") => "log=…",
                _ if word.starts_with("on=") => "on=…",
                _ if word.len() == 20 && word.ends_with('Z') => "…Z",
                _ => word,
            });
        }
        text += &words.join(" ");
        text.push('\n');
    }
    text
}

#[test]
fn the_transcript_is_what_the_program_prints() {
    check(BEGIN, |shown| play(&scene(), shown), normal);
}

/// A repository in which a branch and a failure are to be seen, and a test that takes until
/// there is the file `go`.
fn watched() -> TestRepo {
    let repo = TestRepo::new();
    repo.git(["config", "ci.slots", "2"]);
    let commit = |n: &str, subject: &str| {
        repo.write("parser", n);
        repo.commit(subject);
    };
    commit("0", "Begin");
    commit("1", "Parse numbers");
    commit("2", "Parse empty input");
    commit("3", "Add a flag");
    repo.git(["checkout", "-q", "-b", "topic"]);
    repo.write("other", "");
    repo.commit("Try another parser");
    repo.git(["checkout", "-q", "main"]);
    commit("4", "Fix the parser");
    let go = repo.root().join("go");
    repo.job("build", "true");
    let wait = format!("until test -e {}; do sleep 0.02; done", go.display());
    let test = format!(
        "case $(cat parser) in 3) test -e other || {{ echo left 3, right 4; exit 1; }} ;; 4) {wait} ;; esac"
    );
    repo.job("test", &test).job("lint", "true");
    repo
}

/// The screen once all but that test is done.
fn screen() -> String {
    let repo = watched();
    let window = Window::open(&repo, 80, 24);
    window.type_line("clear; git ci watch --since main~4");
    let is_there =
        |rows: &str| rows.contains("1 running, 0 queued") && rows.contains("\u{25b6} 2s");
    let screen = window.wait_until("the screen", is_there);
    fs::write(repo.root().join("go"), "").unwrap();
    window.wait_until("the end of the test", |rows| !rows.contains("1 running"));
    let from = screen.find("              build").unwrap();
    format!("{}\n", &screen[from..])
}

#[test]
fn the_picture_is_what_is_on_the_screen() {
    if !have(&["tmux"]) {
        return;
    }
    // Without what takes as long as it takes.
    let normal = |text: &str| {
        let digits = text.replace(|c: char| c.is_ascii_digit(), "0");
        digits.replace("00s", "0s")
    };
    check(SCREEN, |_| screen(), normal);
}
