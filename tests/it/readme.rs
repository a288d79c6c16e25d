//! The README shows what the program does: its transcript is run here, line by line, and
//! its output compared. `UPDATE_GENERATED=1 cargo test readme` writes it anew.

use std::fs;
use std::path::Path;

use crate::support::TestRepo;

const BEGIN: &str = "<!-- transcript -->\n```console\n";
const END: &str = "```\n";

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
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(&readme).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("a transcript");
    let (shown, after) = rest.split_once(END).unwrap();
    let real = play(&scene(), shown);
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::write(&readme, format!("{before}{BEGIN}{real}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(
        normal(&real),
        normal(shown),
        "UPDATE_GENERATED=1 writes it anew"
    );
}
