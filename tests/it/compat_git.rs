//! Every git on this machine: the same commands, the same results.
//!
//! `tests/setup.sh` cannot install old versions (Debian has one at a time), so this
//! takes what there is: each `git` on PATH and in the usual places, once a version.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::support::TestRepo;

/// One directory with a `git` in it for each version there is.
fn gits() -> BTreeMap<String, PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"].map(PathBuf::from);
    let mut found = BTreeMap::new();
    for dir in std::env::split_paths(&path).chain(usual) {
        let said = std::process::Command::new(dir.join("git"))
            .arg("version")
            .output();
        if let Ok(said) = said {
            let version = String::from_utf8_lossy(&said.stdout).trim().to_owned();
            found.entry(version).or_insert(dir);
        }
    }
    found
}

fn with_git(dir: &Path) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(dir.to_owned()).chain(std::env::split_paths(&path));
    std::env::join_paths(dirs).unwrap()
}

#[test]
fn every_git_gives_the_same_results() {
    let gits = gits();
    assert!(!gits.is_empty());
    for (version, dir) in gits {
        let repo = TestRepo::new();
        repo.write(".gitignore", "cache\n");
        repo.write("dir/a", "a\n").commit("one");
        std::fs::remove_dir_all(repo.path().join("dir")).unwrap();
        repo.write("dir", "now a file\n").commit("two");
        std::fs::remove_file(repo.path().join("dir")).unwrap();
        std::os::unix::fs::symlink("n", repo.path().join("link")).unwrap();
        repo.commit("three");
        let job = "test -z \"$(git status --porcelain)\" && git diff --quiet HEAD && \
                   test \"$(git rev-parse HEAD)\" = \"$GIT_CI_COMMIT\" && git describe --always && \
                   touch left cache && echo x >> n";
        let ci = |args: &[&str]| {
            let done = repo
                .ci_command(args)
                .env("PATH", with_git(&dir))
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            assert_eq!(done.status.code(), Some(0), "{version}: {args:?}: {said}");
            said
        };
        ci(&["run", "-j1", "--all", "-x", job, "--as", "look"]);
        ci(&[
            "run",
            "-j1",
            "--all",
            "--force",
            "--order=oldest",
            "-x",
            job,
            "--as",
            "look",
        ]);
        let again = ci(&["run", "--all", "-x", job, "--as", "look"]);
        assert!(again.contains("3 cached"), "{version}: {again}");
        assert_eq!(repo.noted_commits(), 3, "{version}");
        repo.git(["fsck", "--strict"]);
    }
}
