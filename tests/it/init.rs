//! `git ci init`: what it writes, what it never does, and that what it writes runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::support::{Ran, TestRepo};

/// Whether a tool is on this machine.
fn there(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output();
    found.is_ok_and(|output| output.status.success())
}

/// `git ci init` and then `git ci run`, in a repository of these files, with the
/// toolchains of the machine's user, which a private `HOME` hides.
#[track_caller]
fn init_and_run(files: &[(&str, &str)]) -> TestRepo {
    let repo = TestRepo::new();
    for (name, text) in files {
        repo.write(name, text);
    }
    let done = repo.ci(["init"]).expect_code(0);
    assert!(
        done.stderr().contains("next: `git ci run`"),
        "{}",
        done.stderr()
    );
    repo.commit("one");
    let mut run = repo.ci_command(["run"]);
    let home = std::path::PathBuf::from(std::env::var_os("HOME").unwrap());
    for (name, dir) in [
        ("CARGO_HOME", ".cargo"),
        ("RUSTUP_HOME", ".rustup"),
        ("PYENV_ROOT", ".pyenv"),
    ] {
        let set = std::env::var_os(name).map_or_else(|| home.join(dir), Into::into);
        run.env(name, set);
    }
    run.env_remove("CARGO_TARGET_DIR");
    Ran(run.output().unwrap()).expect_code(0);
    repo
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let repo = TestRepo::new();
    repo.write(".git-ci.toml", "mine");
    let done = repo.ci(["init"]).expect_code(128);
    assert!(
        done.stderr().contains("never overwritten"),
        "{}",
        done.stderr()
    );
    assert_eq!(
        fs::read_to_string(repo.path().join(".git-ci.toml")).unwrap(),
        "mine"
    );

    let repo = TestRepo::new();
    symlink("nowhere", repo.path().join(".git-ci.toml")).unwrap();
    repo.ci(["init"]).expect_code(128);
    assert!(!repo.path().join("nowhere").exists());
    repo.ci(["init", "--print"]).expect_code(0);
}

#[test]
fn it_goes_to_the_top_and_dry_runs_print() {
    let repo = TestRepo::new();
    repo.write("go.mod", "module x\n").write("sub/a", "");
    for option in ["-n", "--dry-run", "--print"] {
        let done = repo.ci(["init", option]).expect_code(0);
        assert!(done.stdout().contains("[jobs.vet]"), "{}", done.stdout());
    }
    assert!(!repo.path().join(".git-ci.toml").exists());
    let mut command = repo.ci_command(["init"]);
    let done = Ran(command
        .current_dir(repo.path().join("sub"))
        .output()
        .unwrap())
    .expect_code(0);
    assert!(done.stdout().is_empty());
    assert!(
        done.stderr().contains("for Go: test, vet"),
        "{}",
        done.stderr()
    );
    assert!(repo.path().join(".git-ci.toml").exists());
}

#[test]
fn without_a_work_tree_there_is_no_place_for_it() {
    let repo = TestRepo::init(&["--bare"]);
    let done = repo.ci(["init"]).expect_code(128);
    assert!(done.stderr().contains("no work tree"), "{}", done.stderr());
    let repo = TestRepo::new();
    let mut command = repo.ci_command(["init"]);
    Ran(command.current_dir(repo.root()).output().unwrap()).expect_code(128);
}

#[test]
fn where_nothing_is_recognised_an_example_is_left() {
    let repo = TestRepo::new();
    let done = repo.ci(["init"]).expect_code(0);
    assert!(done.stderr().contains("edit it"), "{}", done.stderr());
    repo.commit("one");
    let done = repo.ci(["run"]).expect_code(128);
    assert!(
        done.stderr().contains("there are no jobs"),
        "{}",
        done.stderr()
    );
}

#[test]
fn a_cargo_workspace_passes() {
    let repo = init_and_run(&[
        (
            "Cargo.toml",
            "[workspace]\nmembers = ['a']\nresolver = '3'\n",
        ),
        (
            "a/Cargo.toml",
            "[package]\nname = 'a'\nversion = '0.1.0'\nedition = '2021'\n",
        ),
        ("a/src/lib.rs", "#[test]\nfn passes() {}\n"),
        (".gitignore", "target\nCargo.lock\n"),
    ]);
    assert_eq!(repo.verdicts("HEAD"), ["pass test"]);
}

#[test]
fn a_makefile_passes() {
    let repo = init_and_run(&[("Makefile", "check:\n\ttest -f n\n")]);
    assert_eq!(repo.verdicts("HEAD"), ["pass check"]);
}

#[test]
fn node_scripts_pass() {
    if !there("npm") {
        return; // tests/setup.sh does not install it.
    }
    let repo = init_and_run(&[
        (
            "package.json",
            r#"{"name":"x","version":"1.0.0","scripts":{"test":"test -f n","build":"true"}}"#,
        ),
        (
            "package-lock.json",
            r#"{"name":"x","version":"1.0.0","lockfileVersion":3,"requires":true,"packages":{"":{"name":"x","version":"1.0.0"}}}"#,
        ),
    ]);
    assert_eq!(repo.verdicts("HEAD"), ["pass build", "pass test"]);
}

#[test]
fn python_unit_tests_pass() {
    if !there("python3") {
        return; // tests/setup.sh does not install it.
    }
    let repo = init_and_run(&[
        ("pyproject.toml", "[tool.x]\n"),
        (
            "tests/test_a.py",
            "import unittest\n\nclass A(unittest.TestCase):\n    def test_it(self):\n        pass\n",
        ),
        (".gitignore", "__pycache__\n"),
    ]);
    assert_eq!(repo.verdicts("HEAD"), ["pass test"]);
}

/// A build back end that needs nothing from elsewhere: an installation in place is a file
/// with the path of the sources.
const BACKEND: &str = r#"
import os, zipfile

def build_editable(dir, config_settings=None, metadata_directory=None):
    name = "greet-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(dir, name), "w") as wheel:
        wheel.writestr("greet.pth", os.path.abspath("src"))
        info = "greet-1.0.dist-info/"
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: greet\nVersion: 1.0\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(info + "RECORD", "")
    return name

build_wheel = build_editable
"#;

#[test]
fn a_python_package_is_tested_from_the_worktree() {
    if !there("python3") {
        return; // tests/setup.sh does not install it.
    }
    let repo = init_and_run(&[
        (
            "pyproject.toml",
            "[project]\nname = 'greet'\nversion = '1.0'\n\
             [build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n",
        ),
        ("backend.py", BACKEND),
        ("src/greet.py", "WORD = 'hello'\n"),
        (
            "tests/test_greet.py",
            "import unittest, greet\n\nclass Greet(unittest.TestCase):\n    \
             def test_it(self):\n        self.assertEqual(greet.WORD, 'hello')\n",
        ),
        (".gitignore", "__pycache__\n"),
    ]);
    assert_eq!(repo.verdicts("HEAD"), ["pass test"]);
    // The environment stays, and what is imported is the commit's all the same.
    repo.write("src/greet.py", "WORD = 'goodbye'\n")
        .commit("two");
    repo.ci(["run"]).expect_code(1);
    assert_eq!(repo.verdicts("HEAD"), ["FAIL test"]);
    repo.ci(["run", "--force", "HEAD~1"]).expect_code(0);
    let log = repo.ci(["logs", "HEAD~1", "test"]).expect_code(0).stdout();
    assert!(!log.contains("Installing"), "{log}");
}

#[test]
fn what_cannot_be_installed_is_no_verdict() {
    if !there("python3") {
        return; // tests/setup.sh does not install it.
    }
    let repo = TestRepo::new();
    repo.write("requirements.txt", "./no-such-directory\n")
        .write("pytest.ini", "");
    repo.ci(["init"]).expect_code(0);
    repo.commit("one");
    repo.ci(["run"]).expect_code(125);
    assert_eq!(repo.verdicts("HEAD"), ["ERROR test"]);
}

#[test]
fn jobs_of_another_ci_are_taken_over_and_run() {
    let repo = TestRepo::new();
    let none = repo.ci(["init", "--from-ci"]).expect_code(128);
    assert!(none.stderr().contains("neither"), "{}", none.stderr());
    repo.write(
        ".github/workflows/ci.yml",
        "on: push\njobs:\n  unit:\n    runs-on: ubuntu-latest\n    steps:\n\
        \x20     - uses: actions/checkout@v4\n      - run: test -f n\n        shell: bash\n\
        \x20     - { run: 'test \"$WORD\" = hi', env: { WORD: hi } }\n  \
        deploy:\n    runs-on: ubuntu-latest\n    steps: [{ run: 'x ${{ secrets.KEY }}' }]\n",
    );
    repo.write("go.mod", "module x\n");
    let hint = repo.ci(["init", "-n"]).expect_code(0);
    assert!(hint.stdout().contains("[jobs.vet]"), "{}", hint.stdout());
    let done = repo.ci(["init", "--from-ci"]).expect_code(0);
    let said = done.stderr();
    assert!(
        said.contains("for .github/workflows/ci.yml: unit\n"),
        "{said}"
    );
    assert!(said.contains("git add .git-ci.toml"), "{said}");
    let text = fs::read_to_string(repo.path().join(".git-ci.toml")).unwrap();
    assert!(text.contains("needs the secret KEY"), "{text}");
    repo.commit("one");
    repo.ci(["run"]).expect_code(0);
    assert_eq!(repo.verdicts("HEAD"), ["pass unit"]);
}

#[test]
fn the_main_branch_is_named_and_another_ci_is_pointed_at() {
    let repo = TestRepo::init(&["-b", "trunk"]);
    repo.write("Makefile", "check:\n")
        .write(".gitlab-ci.yml", "t:\n  script: [make]\n");
    repo.commit("one");
    repo.git(["checkout", "-q", "-b", "topic"]);
    let done = repo.ci(["init"]).expect_code(0);
    let said = done.stderr();
    assert!(said.contains("`git ci run trunk..`"), "{said}");
    assert!(said.contains(".gitlab-ci.yml has commands, too"), "{said}");
}
