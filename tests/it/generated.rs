//! Manual pages and completion scripts: what is committed is what the program makes.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::TestRepo;

/// What is made from the types that are printed: a test beside them looks after it.
const OF_TYPES: [&str; 3] = [
    "man/git-ci-jobs.schema.json",
    "man/git-ci-json.5",
    "man/git-ci-json.schema.json",
];

/// `UPDATE_GENERATED=1 cargo test generated` writes the files instead.
#[test]
fn committed_files_are_what_the_program_makes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = git_ci::commands::generated();
    let update = std::env::var_os("UPDATE_GENERATED").is_some();
    let mut stale = Vec::new();
    for dir in ["man", "completions"] {
        for entry in fs::read_dir(root.join(dir)).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = format!("{dir}/{}", path.file_name().unwrap().to_str().unwrap());
            if !made.iter().any(|(made, _)| *made == name) && !OF_TYPES.contains(&&*name) {
                if update {
                    fs::remove_file(&path).unwrap()
                } else {
                    stale.push(name)
                }
            }
        }
    }
    for (name, text) in &made {
        let path = root.join(name);
        if update {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
        } else if fs::read_to_string(&path).ok().as_ref() != Some(text) {
            stale.push(name.clone());
        }
    }
    assert!(
        stale.is_empty(),
        "not what the program makes: {stale:?}\nUPDATE_GENERATED=1 cargo test generated"
    );
}

fn pages() -> Vec<std::path::PathBuf> {
    let man = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    let listing = fs::read_dir(man).unwrap().flatten();
    let files = listing.map(|entry| entry.path());
    files
        .filter(|path| path.extension().is_some_and(|ext| ext != "json"))
        .collect()
}

#[test]
fn manual_pages_are_without_fault() {
    for page in pages() {
        for (program, args) in [
            ("man", &["--warnings", "-l"][..]),
            ("mandoc", &["-T", "lint", "-W", "warning"][..]),
        ] {
            let output = Command::new(program)
                .args(args)
                .arg(&page)
                .env("LC_ALL", "C.UTF-8")
                .env("MANPAGER", "cat")
                .output()
                .unwrap();
            let stdout = String::from_utf8_lossy(&output.stdout);
            let stderr = String::from_utf8_lossy(&output.stderr);
            // `man` prints the page, `mandoc` what it finds; that there is no date is meant.
            let said = if program == "man" { stderr } else { stdout };
            let faults: Vec<_> = said
                .lines()
                .filter(|line| !line.contains("missing date"))
                .collect();
            assert!(
                faults.is_empty(),
                "{program} {}: {faults:?}",
                page.display()
            );
        }
    }
}

#[test]
fn every_setting_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    for key in git_ci::settings::KEYS {
        assert!(readme.contains(&format!("`{}`", key.name)), "{}", key.name);
    }
    let names: Vec<_> = git_ci::settings::KEYS.iter().map(|key| key.name).collect();
    assert!(
        names.is_sorted_by_key(|name| name.to_lowercase()),
        "{names:?}"
    );
}

#[test]
fn git_opens_the_manual() {
    let repo = TestRepo::new();
    for page in pages() {
        let section = page.extension().unwrap().to_str().unwrap();
        let man = repo.root().join(format!("share/man/man{section}"));
        fs::create_dir_all(&man).unwrap();
        fs::copy(&page, man.join(page.file_name().unwrap())).unwrap();
    }
    let bin = Path::new(env!("CARGO_BIN_EXE_git-ci")).parent().unwrap();
    let run = |program: &str, args: &[&str]| {
        let output = repo
            .command(program, repo.path())
            .env(
                "PATH",
                format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()),
            )
            .env("MANPATH", repo.root().join("share/man"))
            .env("MANPAGER", "cat")
            .args(args)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for args in [["ci", "--help"], ["help", "ci"]] {
        let shown = run("git", &args);
        assert!(
            shown.starts_with("GIT-CI(1)") && shown.contains("CONFIGURATION"),
            "{shown}"
        );
    }
    assert!(run("man", &["git-ci-run"]).starts_with("GIT-CI-RUN(1)"));
    let shown = run("git", &["ci", "help", "note"]);
    assert!(shown.starts_with("GIT-CI-NOTE(5)"), "{shown}");
    // Of a subcommand git knows nothing, and asks the program.
    assert!(run("git", &["ci", "run", "--help"]).contains("Usage: git ci run"));
}

/// Where a line stands.
fn place(lines: &[&str], wanted: &str) -> usize {
    lines.iter().position(|line| *line == wanted).unwrap()
}

#[test]
fn every_command_that_people_use_has_a_page_and_no_other() {
    let repo = TestRepo::new();
    let help = repo.ci(["--help"]).expect_code(0).stdout();
    let lines: Vec<_> = help.lines().collect();
    let (commands, formats) = lines.split_at(place(&lines, "More pages:"));
    let commands = &commands[place(commands, "Commands:")..];
    let mut listed = Vec::new();
    for (section, lines) in [(1, commands), (5, formats)] {
        let entries = lines.iter().take_while(|line| !line.ends_with("ptions:"));
        let names = entries.filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
        listed.extend(names.map(|name| match name {
            "agents" => "git-ci-agents.7".to_owned(),
            "trace" => "git-ci-trace.7".to_owned(),
            _ => format!("git-ci-{name}.{section}"),
        }));
    }
    listed.push("git-ci.1".to_owned());
    listed.sort();
    let mut there: Vec<_> = pages()
        .iter()
        .map(|page| page.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    there.sort();
    assert_eq!(there, listed);
    assert!(!there.contains(&"git-ci-agent.1".to_owned()));
}
