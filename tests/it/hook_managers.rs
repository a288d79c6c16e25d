//! Hook managers as people have them, from npm and PyPI: installed before our hooks and
//! after them, and removed again. `tests/setup.sh` brings them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::pty::path_with_git_ci;
use crate::support::{Ran, TestRepo};

/// The directory with the managers' programs.
fn managers() -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/hook-managers");
    assert!(
        dir.join("ready").exists(),
        "no hook managers in {}: tests/setup.sh installs them",
        dir.display()
    );
    dir
}

/// A project with a manager, which finds the program and git-ci on PATH.
struct Project(TestRepo);

impl Project {
    fn new(files: &[(&str, &str)]) -> Self {
        let repo = TestRepo::new();
        for (path, text) in files {
            repo.write(path, text);
        }
        repo.commit("one");
        Self(repo)
    }

    fn run(&self, program: &str, args: &[&str]) -> Ran {
        let managers = managers();
        let path = format!(
            "{}:{}:{}",
            managers.join("npm/node_modules/.bin").display(),
            managers.join("venv/bin").display(),
            path_with_git_ci()
        );
        let mut command = self.0.command(program, self.0.path());
        command.args(args).env("PATH", path).env("NO_COLOR", "1");
        Ran(command.output().unwrap())
    }

    fn manage(&self, program: &str, args: &[&str]) {
        self.run(program, args).expect_code(0);
    }

    fn hook(&self, action: &str) -> Ran {
        self.run("git", &["ci", "hook", action])
    }

    /// Commits; returns how many commits our hooks noted of it and how often theirs ran.
    #[track_caller]
    fn commit(&self) -> (usize, usize) {
        let spool = self.0.git_dir().join("ci/spool/commits");
        let theirs = self.0.root().join("home/theirs");
        let _ = fs::remove_file(&spool);
        let _ = fs::remove_file(&theirs);
        self.run("git", &["commit", "-q", "--allow-empty", "-m", "more"])
            .expect_code(0);
        let lines = |path| fs::read_to_string(path).unwrap_or_default().lines().count();
        (lines(spool).saturating_sub(1), lines(theirs))
    }

    /// The hooks that git would call.
    fn hooks(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.git_dir().join("hooks"));
        let names = entries.into_iter().flatten().flatten();
        let names = names.map(|entry| entry.file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| !name.ends_with(".sample")).collect();
        names.sort();
        names
    }
}

#[test]
fn husky() {
    let project = Project::new(&[("package.json", "{\"name\":\"x\"}\n")]);
    let theirs = "echo x >>$HOME/theirs\n";
    project.hook("install").expect_code(0);
    assert_eq!(project.commit(), (1, 0));
    project.manage("husky", &[]);
    project.0.write(".husky/pre-commit", theirs);
    // git looks elsewhere now.
    assert_eq!(project.commit(), (0, 1));
    project.hook("status").expect_code(1);
    let left = project.hook("install").expect_code(1).stderr();
    // What it says to do is what works.
    let mut lines = left.lines();
    while let Some(line) = lines.next() {
        if let Some(file) = line.split("add this line to ").nth(1) {
            let line = lines.next().unwrap().trim();
            project
                .0
                .write(file.trim_end_matches(':'), format!("{line}\n"));
        }
    }
    project.hook("install").expect_code(0);
    assert_eq!(project.commit(), (1, 1));
    // Without it ours count again, and go without a trace.
    project.run("git", &["config", "--unset", "core.hooksPath"]);
    assert_eq!(project.commit(), (1, 0));
    project.hook("remove");
    assert_eq!(project.hooks(), [] as [&str; 0]);
    assert_eq!(project.commit(), (0, 0));
}

#[test]
fn lefthook() {
    let theirs = "post-commit:\n  jobs:\n    - run: echo x >>$HOME/theirs\n";
    for ours_first in [true, false] {
        let project = Project::new(&[("lefthook.yml", theirs)]);
        if ours_first {
            project.hook("install").expect_code(0);
        }
        project.manage("lefthook", &["install"]);
        assert_eq!(project.commit(), (0, 1), "its hook alone");
        let left = project.hook("install").expect_code(1).stderr();
        // What it says to add is what works.
        let mut lines = left
            .lines()
            .skip_while(|line| !line.ends_with("lefthook.yml:"));
        let told = lines.next().unwrap();
        assert!(told.contains("lefthook-local.yml"), "{left}");
        let lines = lines.map_while(|line| line.strip_prefix("    "));
        let text: String = lines.flat_map(|line| [line, "\n"]).collect();
        project.0.write("lefthook-local.yml", &text);
        project.hook("install").expect_code(0);
        assert_eq!(project.commit(), (1, 1), "{text}");
        project.hook("remove").expect_code(1);
        project.manage("lefthook", &["uninstall"]);
        assert_eq!(project.hooks(), [] as [&str; 0], "ours first: {ours_first}");
    }
}

#[test]
fn pre_commit_and_prek() {
    let theirs = "repos:\n- repo: local\n  hooks:\n  - id: theirs\n    name: theirs\n    \
                  entry: sh -c 'echo x >>$HOME/theirs'\n    language: system\n    \
                  always_run: true\n    pass_filenames: false\n    stages: [post-commit]\n";
    for program in ["pre-commit", "prek"] {
        for ours_first in [true, false] {
            let project = Project::new(&[(".pre-commit-config.yaml", theirs)]);
            let kind = ["--hook-type", "post-commit"];
            let theirs = |action| project.manage(program, &[&[action], &kind[..]].concat());
            if ours_first {
                project.hook("install").expect_code(0);
            }
            theirs("install");
            if !ours_first {
                project.hook("install").expect_code(0);
            }
            assert_eq!(project.commit(), (1, 1), "{program}");
            project.hook("status").expect_code(0);
            theirs("uninstall");
            assert_eq!(project.commit(), (1, 0), "{program}");
            theirs("install");
            project.hook("remove").expect_code(0);
            assert_eq!(project.commit(), (0, 1), "{program}");
            theirs("uninstall");
            assert_eq!(project.hooks(), [] as [&str; 0], "{program}");
        }
    }
}
