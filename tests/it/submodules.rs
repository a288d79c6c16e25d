//! Submodules in slots: what a fresh clone has of them is what a task finds, whatever the
//! job before did, and the user's are, byte for byte, what they were.

use std::fs;

use super::slots::{NASTY, in_job, rich, snapshot};
use super::support::{Ran, TestRepo};

/// Adds `inner` as a submodule of a repository.
fn add_submodule(repo: &TestRepo, inner: &TestRepo, path: &str) {
    let url = inner.path().to_str().unwrap();
    repo.git([
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "-q",
        "add",
        url,
        path,
    ]);
}

#[test]
fn a_submodule_that_is_not_there_is_no_verdict_and_one_that_is_not_wanted_stays_empty() {
    let deep = TestRepo::new();
    deep.commit("deep");
    let inner = TestRepo::new();
    add_submodule(&inner, &deep, "deep");
    inner.commit("inner");
    let made = TestRepo::new();
    add_submodule(&made, &inner, "lib/sub");
    made.commit("outer");
    let clone = made.root().join("clone");
    let git = |args: &[&str]| {
        let mut git = made.command("git", &clone);
        git.args(["-c", "protocol.file.allow=always"]).args(args);
        let done = git.output().unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    fs::create_dir(&clone).unwrap();
    git(&["clone", "-q", made.path().to_str().unwrap(), "."]);
    git(&["config", "user.name", "x"]);
    git(&["config", "user.email", "x@x"]);
    let run = |job: &str, code: i32| {
        let mut ci = made.command(env!("CARGO_BIN_EXE_git-ci"), &clone);
        ci.args(["run", "-j1", "-x", job, "--as", "t"]);
        let ran = Ran(ci.output().unwrap()).expect_code(code);
        ran.stdout() + &ran.stderr()
    };
    let full = "test -f lib/sub/deep/n";
    let said = run(full, 125);
    assert!(
        said.contains("`git submodule update --init --recursive`"),
        "{said}"
    );
    assert!(
        said.contains("git config submodule.lib/sub.update none"),
        "{said}"
    );
    // Only the outer one: the job would miss files of the other.
    git(&["submodule", "-q", "update", "--init"]);
    let said = run(full, 125);
    assert!(
        said.contains("git -C lib/sub config submodule.deep.update none"),
        "{said}"
    );
    git(&["submodule", "-q", "update", "--init", "--recursive"]);
    run(full, 0);
    for (set, unset) in [
        ("submodule.lib/sub.active=false", true),
        ("submodule.lib/sub.update=none", true),
        ("submodule.active=other", false),
        ("submodule.active=:(exclude)lib/sub", false),
    ] {
        let (key, value) = set.split_once('=').unwrap();
        git(&["config", key, value]);
        run(
            "test -d lib/sub && test ! -e lib/sub/n && test -z \"$(git status --porcelain)\"",
            0,
        );
        if unset {
            git(&["config", "--unset", key]);
        }
    }
    git(&["config", "submodule.active", "lib"]);
    run(&format!("{full} && true"), 0);
    // And again, of one that is inside another.
    git(&["-C", "lib/sub", "config", "submodule.deep.update", "none"]);
    run("test -f lib/sub/n && test ! -e lib/sub/deep/n", 0);
}

#[test]
fn whatever_a_job_does_to_a_submodule_the_users_is_as_it_was() {
    let inner = rich();
    inner.git(["reset", "-q", "--hard"]);
    let repo = TestRepo::new();
    add_submodule(&repo, &inner, "lib/sub");
    repo.git(["-C", "lib/sub", "config", "user.name", "x"]);
    repo.git(["-C", "lib/sub", "config", "user.email", "x@x"]);
    repo.git(["-C", "lib/sub", "remote", "add", "relative", "../other.git"]);
    repo.git(["-C", "lib/sub", "tag", "-m", "a tag", "here"]);
    repo.write("lib/sub/n", "stashed\n");
    repo.git(["-C", "lib/sub", "stash", "-q"]);
    let before = {
        repo.commit("one");
        repo.commit("two");
        snapshot(repo.path())
    };
    let outside = repo.root().join("outside");
    fs::create_dir_all(outside.join("sub/objects")).unwrap();
    fs::write(outside.join("sub/precious"), "").unwrap();
    let nasty = repo.root().join("nasty");
    fs::write(&nasty, NASTY).unwrap();
    let users = repo.git_dir().join("modules/lib/sub");
    let look = "cd lib/sub && test -f n && git status && git describe --tags && git stash list && \
                git remote get-url relative && git config user.email; git for-each-ref; git rev-parse HEAD; \
                git symbolic-ref HEAD; cd ../..; git submodule status; git status --porcelain; \
                find .git -type d | grep -v objects/.. | sort";
    let first = in_job(&repo, repo.path(), "HEAD", look);
    assert!(first.contains("/repo/lib/other.git\n"), "{first}");
    for damage in [
        format!("cd lib/sub; sh {}", nasty.display()),
        "rm -rf lib/sub/.git".to_owned(),
        format!("rm -rf .git/modules/lib/sub; ln -s {} .git/modules/lib/sub", users.display()),
        format!("rm -rf .git/modules/lib; ln -s {} .git/modules/lib", outside.display()),
        format!("rm -rf lib; ln -s {} lib", repo.path().join("lib").display()),
        format!("echo gitdir: {} >lib/sub/.git", users.display()),
        "cd .git/modules/lib/sub; for f in HEAD config index packed-refs; do rm $f; mkfifo $f; done".to_owned(),
        "rm -rf .git/modules; mkfifo .git/modules".to_owned(),
        "rm -rf .git/modules/lib/sub/objects; mkfifo .git/modules/lib/sub/objects".to_owned(),
        "cd .git/modules/lib/sub; : >HEAD; : >index; : >config; : >git-ci".to_owned(),
        format!("cd lib/sub; git config core.worktree {}; git config core.bare true", outside.display()),
        format!("git -c protocol.file.allow=always submodule add {} more && git -C more log", inner.path().display()),
        "cd lib/sub; git checkout -q --orphan x; git rm -rqf .; git -c user.name=x -c user.email=x commit -q --allow-empty -m x; git gc -q --prune=now".to_owned(),
    ] {
        in_job(&repo, repo.path(), "HEAD~1", &format!("({damage}); true"));
        assert_eq!(in_job(&repo, repo.path(), "HEAD", look), first, "{damage}");
        let after = snapshot(repo.path());
        assert!(after == before, "{damage}");
        assert_eq!(fs::read_dir(outside.join("sub")).unwrap().count(), 2, "{damage}");
    }
}
