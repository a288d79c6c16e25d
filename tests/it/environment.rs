//! What a job sees of the environment of its caller: nothing that ties it to a checkout.

use std::fs;

use crate::pty::path_with_git_ci;
use crate::support::TestRepo;

#[test]
fn a_job_tests_the_commit_and_not_the_work_tree() {
    let repo = TestRepo::new();
    // As an active environment has it: a program in front, and where to look for packages.
    repo.write("bin/check", "#!/bin/sh\nexit 0\n");
    repo.write(".gitignore", "venv\n")
        .write("venv/bin/check", "#!/bin/sh\nexit 0\n");
    for file in ["bin/check", "venv/bin/check"] {
        let path = repo.path().join(file);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(path, mode).unwrap();
    }
    let seen = repo.root().join("seen");
    repo.job("env", &format!("env >{}", seen.display()));
    repo.job("uses", "check");
    repo.commit("one");
    let venv = repo.path().join("venv").display().to_string();
    let top = repo.path().display().to_string();
    let done = repo
        .command("git", repo.path())
        .args(["ci", "run"])
        .env("PATH", format!("{venv}/bin:{}", path_with_git_ci()))
        .env("VIRTUAL_ENV", &venv)
        .env("PYTHONPATH", format!("{top}/src:/somewhere"))
        .env("CARGO_TARGET_DIR", format!("{top}/target"))
        .env("GOFLAGS", format!("-modfile={top}/go.mod"))
        .env("DIRENV_DIR", format!("-{top}"))
        .env("MAKELEVEL", "1")
        .env("MAKEFLAGS", "-j --jobserver-auth=3,4")
        .env("GPG_TTY", "/dev/pts/0")
        .env("EDITOR", "vi")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(said.contains("not passed on to jobs"), "{said}");
    for name in [
        "VIRTUAL_ENV",
        "PYTHONPATH",
        "CARGO_TARGET_DIR",
        "GOFLAGS",
        "PATH",
    ] {
        assert!(said.contains(name), "{said}");
    }
    // The program of the work tree is not found: no verdict, and no pass.
    assert!(
        repo.verdicts("HEAD").contains(&"ERROR uses".to_owned()),
        "{said}"
    );
    let seen = fs::read_to_string(seen).unwrap();
    let exec_path = repo.git(["--exec-path"]);
    for gone in [
        top.as_str(),
        "MAKE",
        "DIRENV",
        "GPG_TTY",
        "GIT_EXEC_PATH",
        &exec_path,
    ] {
        // Where no git is to look further up.
        let ours = ["GIT_CI_", "GIT_CEILING_DIRECTORIES="];
        let lines = seen
            .lines()
            .filter(|line| !ours.iter().any(|start| line.starts_with(start)));
        assert!(
            !lines.clone().any(|line| line.contains(gone)),
            "{gone}: {seen}"
        );
    }
    assert!(
        seen.contains("\nPYTHONPATH=/somewhere\n") || seen.starts_with("PYTHONPATH="),
        "{seen}"
    );
    assert!(
        seen.contains("EDITOR=vi") && seen.contains("TERM=dumb"),
        "{seen}"
    );
}

#[test]
fn a_jobs_own_variables_come_after_all_this() {
    let repo = TestRepo::new();
    let dir = repo.path().join("data").display().to_string();
    repo.jobs_file(&format!(
        "[jobs.test]\nrun = \"test $DATA = {dir}\"\nenv = {{ DATA = \"{dir}\" }}\n"
    ));
    repo.commit("one");
    let done = repo.ci_command(["run"]).env("DATA", &dir).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}
