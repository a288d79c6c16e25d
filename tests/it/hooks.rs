//! `git ci hook`: installed beside whatever is there, removed without a trace.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use git_ci::spool::Spool;

use crate::support::TestRepo;

const CLIENT: [&str; 4] = [
    "post-commit",
    "post-merge",
    "post-rewrite",
    "post-applypatch",
];

fn hooks(repo: &TestRepo) -> PathBuf {
    repo.git_dir().join("hooks")
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Everything below a directory: bytes, mode and owner; links by their targets.
fn everything(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, u32, u32)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        let bytes = if metadata.is_symlink() {
            fs::read_link(&path)
                .unwrap()
                .into_os_string()
                .into_encoded_bytes()
        } else if metadata.is_dir() {
            found.extend(everything(&path));
            Vec::new()
        } else {
            fs::read(&path).unwrap()
        };
        found.insert(path, (bytes, metadata.mode(), metadata.uid()));
    }
    found
}

fn spooled(repo: &TestRepo) -> usize {
    Spool::new(&repo.git_dir().join("ci"))
        .read()
        .unwrap()
        .entries
        .len()
}

/// A repository with one commit.
fn repo() -> TestRepo {
    let repo = TestRepo::new();
    repo.commit("one");
    repo
}

#[test]
fn installed_twice_is_installed_once_and_removed_is_never_installed() {
    for template in [true, false] {
        let repo = if template {
            TestRepo::new()
        } else {
            TestRepo::init(&["-b", "main", "--template="])
        };
        let before = everything(&repo.git_dir());
        let none = repo.ci(["hook", "status"]).expect_code(1);
        assert!(
            none.stdout().contains("post-commit      not installed"),
            "{}",
            none.stdout()
        );
        repo.ci(["hook", "install"]).expect_code(0);
        let installed = everything(&hooks(&repo));
        for name in CLIENT {
            assert!(installed[&hooks(&repo).join(name)].1 & 0o100 != 0, "{name}");
        }
        repo.ci(["hook", "install"]).expect_code(0);
        assert_eq!(everything(&hooks(&repo)), installed);
        let status = repo.ci(["hook", "status"]).expect_code(0);
        assert!(
            status.stdout().contains("post-commit      installed: "),
            "{}",
            status.stdout()
        );
        repo.ci(["hook", "install", "--server"]).expect_code(0);
        repo.ci(["hook", "remove"]).expect_code(0);
        assert_eq!(everything(&repo.git_dir()), before);
        let again = repo.ci(["hook", "remove"]).expect_code(0);
        assert!(again.stderr().contains("no hook"), "{}", again.stderr());
    }
}

#[test]
fn a_shell_script_keeps_what_it_does() {
    for script in [
        "#!/bin/sh\necho \"mine $#\" >>../said\nexit 7\n",
        "#!/bin/sh -e\necho \"mine $#\" >>../said\nfalse\necho never >>../said",
        "#!/usr/bin/env bash\nset -euo pipefail\necho \"mine $#\" >>../said\nexec false\n",
    ] {
        let repo = repo();
        let path = hooks(&repo).join("post-commit");
        write(&path, script, 0o754);
        let before = everything(&repo.git_dir());
        repo.ci(["hook", "install"]).expect_code(0);
        repo.ci(["hook", "install"]).expect_code(0);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o754);
        let status = repo.ci(["hook", "status"]).expect_code(0);
        assert!(
            status.stdout().contains("a block in"),
            "{}",
            status.stdout()
        );
        let mut git = repo.command("git", repo.path());
        git.args(["hook", "run", "post-commit", "--", "a b"]);
        let code = git.status().unwrap().code();
        assert_eq!(code, Some(if script.contains("exit 7") { 7 } else { 1 }));
        assert_eq!(
            fs::read_to_string(repo.root().join("said")).unwrap(),
            "mine 1\n"
        );
        assert_eq!(spooled(&repo), 1);
        let _ = fs::remove_dir_all(repo.git_dir().join("ci"));
        repo.ci(["hook", "remove"]).expect_code(0);
        assert_eq!(everything(&repo.git_dir()), before);
    }
}

#[test]
fn a_script_that_reads_its_input_still_gets_it() {
    for shell in ["/bin/sh", "/bin/bash"] {
        let server = TestRepo::init(&["--bare", "-b", "main"]);
        let script =
            format!("#!{shell}\nwhile read -r old new name; do echo \"$name\" >>said; done\n");
        write(&hooks(&server).join("post-receive"), &script, 0o755);
        server.ci(["hook", "install", "--server"]).expect_code(0);
        let client = TestRepo::new();
        client.commit("one");
        let refs: Vec<_> = (0..400)
            .map(|n| format!("refs/heads/branch-{n:03}"))
            .collect();
        for name in &refs {
            client.git(["update-ref", name, "HEAD"]);
        }
        let url = server.path().display().to_string();
        client.git(["push", "-q", &url, "refs/heads/branch-*"]);
        let said = fs::read_to_string(server.path().join("said")).unwrap();
        assert_eq!(said.lines().collect::<Vec<_>>(), refs, "{shell}");
        assert_eq!(spooled(&server), 400, "{shell}");
        // And where there is nothing to read, there is nothing.
        server.git(["hook", "run", "post-receive"]);
        assert_eq!(
            fs::read_to_string(server.path().join("said")).unwrap(),
            said
        );
        server.ci(["hook", "remove"]).expect_code(0);
        let left = fs::read_to_string(hooks(&server).join("post-receive")).unwrap();
        assert_eq!(left, script);
    }
    let repo = repo();
    write(
        &hooks(&repo).join("post-rewrite"),
        "#!/bin/sh\ncat >../said\n",
        0o755,
    );
    repo.ci(["hook", "install"]).expect_code(0);
    repo.git(["commit", "-q", "--amend", "-m", "new"]);
    let said = fs::read_to_string(repo.root().join("said")).unwrap();
    assert!(
        said.trim_end().ends_with(&repo.git(["rev-parse", "HEAD"])),
        "{said}"
    );
}

#[test]
fn hooks_that_are_not_ours_to_change() {
    let repo = repo();
    let dir = hooks(&repo);
    let elsewhere = repo.root().join("shared-hook");
    write(&elsewhere, "#!/bin/sh\n", 0o755);
    write(
        &dir.join("post-commit"),
        "#!/usr/bin/env python3\nprint()\n",
        0o755,
    );
    symlink(&elsewhere, dir.join("post-merge")).unwrap();
    write(&dir.join("post-rewrite"), "#!/bin/sh\n", 0o644);
    fs::hard_link(&elsewhere, dir.join("post-applypatch")).unwrap();
    let before = everything(repo.root());
    let done = repo.ci(["hook", "install"]).expect_code(1);
    for part in [
        "post-commit is no shell script",
        "post-merge is a symbolic link",
        "post-rewrite is not executable",
        "post-applypatch has another name",
        "git-ci notify --hook post-commit \"$@\" || :",
    ] {
        assert!(done.stderr().contains(part), "{part}: {}", done.stderr());
    }
    repo.ci(["hook", "status"]).expect_code(1);
    repo.ci(["hook", "remove"]).expect_code(0);
    assert_eq!(everything(repo.root()), before);
    // The user does as they were told: that counts.
    write(
        &dir.join("post-commit"),
        "#!/usr/bin/env python3\nimport os\nos.system('git-ci notify --hook post-commit')\n",
        0o755,
    );
    let status = repo.ci(["hook", "status"]);
    assert!(
        status.stdout().contains("by hand in"),
        "{}",
        status.stdout()
    );
}

/// What managers leave, and what is said about it.
#[test]
fn hooks_of_managers_are_left_to_them() {
    let old_husky = "#!/bin/sh\n# husky\n\n. \"$(dirname \"$0\")/husky.sh\"\n";
    let lefthook = "#!/bin/sh\n\ncall_lefthook()\n{\n  lefthook \"$@\"\n}\n\ncall_lefthook run \"post-commit\" \"$@\"\n";
    let overcommit = "#!/usr/bin/env ruby\n# Entrypoint for Overcommit hook integration. Installing Overcommit\n";
    for (script, advice, file, call) in [
        (
            old_husky,
            "\"post-commit\": \"git-ci notify --hook post-commit || :\"",
            "package.json",
            "{\"husky\":{\"hooks\":{\"post-commit\":\"git-ci notify --hook post-commit || :\"}}}\n",
        ),
        (
            lefthook,
            "lefthook-local.yml",
            "lefthook-local.yml",
            "post-commit:\n  commands:\n    git-ci:\n      run: git-ci notify --hook post-commit || true\n",
        ),
        (
            overcommit,
            "PostCommit:\n      GitCi:",
            ".overcommit.yml",
            "PostCommit:\n  GitCi:\n    command: ['sh', '-c', 'git-ci notify --hook post-commit']\n",
        ),
    ] {
        let repo = repo();
        write(&hooks(&repo).join("post-commit"), script, 0o755);
        let done = repo.ci(["hook", "install"]).expect_code(1);
        assert!(done.stderr().contains(advice), "{}", done.stderr());
        assert_eq!(
            fs::read_to_string(hooks(&repo).join("post-commit")).unwrap(),
            script
        );
        // Where the manager has no hook, ours is as good as any.
        assert!(hooks(&repo).join("post-merge").exists());
        repo.write(file, call);
        repo.ci(["hook", "install"]).expect_code(0);
        repo.ci(["hook", "status"]).expect_code(0);
        let removed = repo.ci(["hook", "remove"]).expect_code(1);
        assert!(
            removed.stderr().contains("yours to remove"),
            "{}",
            removed.stderr()
        );
        assert_eq!(fs::read_to_string(repo.path().join(file)).unwrap(), call);
    }
}

#[test]
fn pre_commit_runs_what_was_there_before_it() {
    let repo = repo();
    let generated = "#!/usr/bin/env bash\n# File generated by pre-commit: https://pre-commit.com\n\
                     here=\"$(cd \"$(dirname \"$0\")\" && pwd)\"\n\
                     if [ -x \"$here/post-commit.legacy\" ]; then \"$here/post-commit.legacy\" \"$@\" </dev/null; fi\n";
    write(&hooks(&repo).join("post-commit"), generated, 0o755);
    let before = everything(&repo.git_dir());
    repo.ci(["hook", "install"]).expect_code(0);
    repo.ci(["hook", "install"]).expect_code(0);
    assert_eq!(
        fs::read_to_string(hooks(&repo).join("post-commit")).unwrap(),
        generated
    );
    repo.git(["hook", "run", "post-commit"]);
    assert_eq!(spooled(&repo), 1);
    fs::remove_dir_all(repo.git_dir().join("ci")).unwrap();
    repo.ci(["hook", "remove"]).expect_code(0);
    assert_eq!(everything(&repo.git_dir()), before);

    // Installed after ours: it moves ours out of its way, and still runs it.
    repo.ci(["hook", "install"]).expect_code(0);
    let merge = hooks(&repo).join("post-merge");
    fs::rename(&merge, hooks(&repo).join("post-merge.legacy")).unwrap();
    write(&merge, generated, 0o755);
    repo.ci(["hook", "status"]).expect_code(0);
    repo.ci(["hook", "remove"]).expect_code(0);
    assert!(!hooks(&repo).join("post-merge.legacy").exists());
    assert_eq!(fs::read_to_string(&merge).unwrap(), generated);
}

#[test]
fn directories_of_hooks_that_others_share() {
    // The project's tree: husky, and anybody's.
    for (path, advice) in [
        (".husky/_", "add this line to .husky/post-commit"),
        (".husky", "add this line to .husky/post-commit"),
        (".githooks", ".githooks/post-commit"),
    ] {
        let repo = repo();
        repo.git(["config", "core.hooksPath", path]);
        fs::create_dir_all(repo.path().join(path)).unwrap();
        let before = everything(repo.root());
        let sub = repo.path().join("sub");
        fs::create_dir(&sub).unwrap();
        let done = repo
            .command(env!("CARGO_BIN_EXE_git-ci"), &sub)
            .args(["hook", "install"])
            .output()
            .unwrap();
        fs::remove_dir(&sub).unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(1), "{said}");
        assert!(
            said.contains(advice) && said.contains("part of the work tree"),
            "{said}"
        );
        assert_eq!(everything(repo.root()), before);
        for name in CLIENT {
            let file = repo.path().join(path.trim_end_matches("/_")).join(name);
            write(
                &file,
                &format!("git-ci notify --hook {name} \"$@\" || :\n"),
                0o755,
            );
        }
        repo.ci(["hook", "install"]).expect_code(0);
        repo.ci(["hook", "status"]).expect_code(0);
    }
    // All of the user's repositories.
    let repo = repo();
    let shared = repo.root().join("all-hooks");
    fs::create_dir(&shared).unwrap();
    repo.git([
        "config",
        "--global",
        "core.hooksPath",
        shared.to_str().unwrap(),
    ]);
    let before = everything(repo.root());
    let done = repo.ci(["hook", "install"]).expect_code(1);
    assert!(
        done.stderr().contains("global core.hooksPath"),
        "{}",
        done.stderr()
    );
    assert_eq!(everything(repo.root()), before);
    // The repository's own directory, by way of the same setting, is its own.
    repo.git(["config", "core.hooksPath", hooks(&repo).to_str().unwrap()]);
    repo.ci(["hook", "install"]).expect_code(0);
    // Where hooks moved away after we came, ours still go.
    repo.git(["config", "core.hooksPath", "/dev/null"]);
    repo.ci(["hook", "status"]).expect_code(1);
    repo.ci(["hook", "remove"]).expect_code(0);
    assert!(!hooks(&repo).join("post-commit").exists());
    // A directory that is a link into the tree is the tree's.
    let repo = self::repo();
    fs::remove_dir_all(hooks(&repo)).unwrap();
    fs::create_dir(repo.path().join("scripts")).unwrap();
    symlink("../scripts", hooks(&repo)).unwrap();
    repo.ci(["hook", "install"]).expect_code(1);
    assert_eq!(
        fs::read_dir(repo.path().join("scripts")).unwrap().count(),
        0
    );
}

#[test]
fn a_link_on_path_is_what_hooks_call_and_any_name_is_quoted() {
    let repo = repo();
    let bin = repo.root().join("it's a \"bin\" $HOME");
    fs::create_dir(&bin).unwrap();
    symlink(env!("CARGO_BIN_EXE_git-ci"), bin.join("git-ci")).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let done = repo
        .ci_command(["hook", "install"])
        .env("PATH", &path)
        .output()
        .unwrap();
    assert!(done.status.success());
    let text = fs::read_to_string(hooks(&repo).join("post-commit")).unwrap();
    assert!(text.contains("$HOME/git-ci"), "{text}");
    repo.commit("two");
    assert_eq!(spooled(&repo), 1);
    let status = repo.ci(["hook", "status"]).expect_code(0);
    assert!(
        status
            .stdout()
            .ends_with("ci.hookMode      spool\ncommits          1 noted\n"),
        "{}",
        status.stdout()
    );
    // Moved since: PATH has it, and `status` says that the hook is out of date.
    let moved = repo.root().join("bin");
    fs::rename(&bin, &moved).unwrap();
    let path = format!("{}:{}", moved.display(), std::env::var("PATH").unwrap());
    let mut git = repo.command("git", repo.path());
    let git = git
        .args(["commit", "-q", "--allow-empty", "-m", "x"])
        .env("PATH", &path);
    assert!(git.status().unwrap().success());
    assert_eq!(spooled(&repo), 2);
    let status = repo.ci(["hook", "status"]).expect_code(0);
    assert!(status.stdout().contains("outdated"), "{}", status.stdout());
    repo.ci(["hook", "install"]).expect_code(0);
    let status = repo.ci(["hook", "status"]).expect_code(0);
    assert!(!status.stdout().contains("outdated"), "{}", status.stdout());
}
