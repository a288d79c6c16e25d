//! Submodules in slots: what a fresh clone has of them is what a task finds, whatever the
//! job before did, and the user's are, byte for byte, what they were.

use std::fs;
use std::path::Path;

use super::checkout::Bench;
use super::slots::{NASTY, Paused, in_job, rich, snapshot};
use super::support::{Ran, TestRepo};

/// What lets `git submodule` fetch from a directory.
const FILES: [&str; 2] = ["-c", "protocol.file.allow=always"];

/// Commits in `inner`, and in a repository that has it at `path`; returns the latter's id.
pub(super) fn move_on(repo: &TestRepo, inner: &TestRepo, path: &str) -> String {
    inner.commit("inner");
    repo.git(["-C", path, "fetch", "-q"]);
    repo.git(["-C", path, "checkout", "-q", "--detach", "origin/main"]);
    repo.commit("another inner")
}

/// Adds `inner` as a submodule of a repository.
pub(super) fn add_submodule(repo: &TestRepo, inner: &TestRepo, path: &str) {
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
                git symbolic-ref HEAD; ls -l --time-style=+ .; od -c n; git ls-files -v; \
                cd ../..; git submodule status; git status --porcelain --ignored; ls -A . lib; \
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
        "cd lib/sub; git config core.autocrlf true; rm n; git checkout -q n; git update-index --refresh".to_owned(),
        "cd lib/sub; echo '* text eol=crlf' >.gitattributes; rm n; git checkout -q n; git add .".to_owned(),
        "cd lib/sub; git update-index --assume-unchanged n; echo x >n".to_owned(),
        "cd lib/sub; git update-index --skip-worktree n; rm n".to_owned(),
        "cd lib/sub; t=$(stat -c %y n); tr 0-9 X <n >x; cat x >n; rm x; touch -d \"$t\" n".to_owned(),
        "cd lib/sub; ln n hard; chmod +x n; mkdir d; git init -q d; echo x >d/x; chmod 0 d".to_owned(),
        "cd lib/sub; git stash; git branch b; git tag t; git -c user.name=x -c user.email=x commit -q --allow-empty -m x; git reset -q --hard HEAD~1".to_owned(),
        "cd .git/modules/lib/sub; mkdir hooks; for h in post-checkout post-index-change reference-transaction; do printf '#!/bin/sh\necho x >$PWD/hooked; exit 1\n' >hooks/$h; chmod +x hooks/$h; done".to_owned(),
        "cd lib/sub; git update-index --split-index --untracked-cache; git config core.fsmonitor /nowhere".to_owned(),
        "git submodule deinit -f --all".to_owned(),
        "git rm -qf lib/sub".to_owned(),
        "git mv lib/sub elsewhere; git -C elsewhere checkout -q -b x".to_owned(),
        "mv .git/modules/lib/sub/* .; rm lib/sub/.git; mv .git/modules/lib/sub lib/sub/.git".to_owned(),
        "git -C lib/sub worktree add -q ../../w".to_owned(),
        "chmod 0 .git/modules/lib/sub/config .git/modules/lib/sub lib/sub/.git lib/sub lib .git/modules".to_owned(),
        "cd lib/sub; rm n; mkfifo n .gitignore .gitattributes .gitmodules; mkdir -p u/v/.git; mkfifo u/.gitignore u/v/.git/HEAD".to_owned(),
        "rm .gitmodules; mkfifo .gitmodules".to_owned(),
        "mkfifo fifo; rm .gitmodules; ln -s fifo .gitmodules; rm -rf lib/sub/.git; ln -s ../../fifo lib/sub/.git".to_owned(),
        "rm -rf lib/sub; mkfifo lib/sub; rm .git/index".to_owned(),
        "mkdir u; mkfifo u/HEAD; echo gitdir: ../../u >lib/sub/.git; rm .git/index".to_owned(),
        "rm .git/modules/lib/sub/index .git/index; mkfifo .git/modules/lib/sub/index lib/sub/p; mkdir -p lib/sub/q/.git; mkfifo lib/sub/q/.git/HEAD".to_owned(),
        "touch .git/modules/lib/sub/index.lock .git/modules/lib/sub/HEAD.lock .git/modules/lib/sub/git-ci.lock".to_owned(),
        "cd lib/sub; git checkout -q --orphan x; git rm -rqf .; git -c user.name=x -c user.email=x commit -q --allow-empty -m x; git gc -q --prune=now".to_owned(),
    ] {
        in_job(&repo, repo.path(), "HEAD~1", &format!("({damage}); true"));
        assert_eq!(in_job(&repo, repo.path(), "HEAD", look), first, "{damage}");
        let after = snapshot(repo.path());
        assert!(after == before, "{damage}");
        assert_eq!(fs::read_dir(outside.join("sub")).unwrap().count(), 2, "{damage}");
    }
}

#[test]
fn submodules_come_go_and_move_and_other_things_take_their_place() {
    let bench = Bench::new();
    let repo = &bench.repo;
    let (inner, other) = (TestRepo::new(), TestRepo::new());
    inner.write("d/f", "inner\n");
    inner.commit("inner");
    other.write("g", "other\n");
    other.commit("other");
    repo.write("dir/x", "x\n");
    let mut commits = vec![repo.commit("none")];
    add_submodule(repo, &inner, "lib");
    commits.push(repo.commit("added"));
    repo.git(["mv", "lib", "deep"]);
    commits.push(repo.commit("moved"));
    repo.git(["mv", "deep", "dir/lib"]);
    commits.push(repo.commit("moved below"));
    repo.git(["rm", "-qf", "dir/lib"]);
    repo.write("dir/lib/d", "a directory\n");
    commits.push(repo.commit("a directory"));
    repo.git(["rm", "-qrf", "dir/lib"]);
    repo.write("dir/lib", "a file\n");
    commits.push(repo.commit("a file"));
    fs::remove_file(repo.path().join("dir/lib")).unwrap();
    std::os::unix::fs::symlink("../dir", repo.path().join("dir/lib")).unwrap();
    commits.push(repo.commit("a link"));
    fs::remove_file(repo.path().join("dir/lib")).unwrap();
    repo.git(["rm", "-q", "dir/lib"]);
    let url = other.path().to_str().unwrap();
    let add = ["submodule", "-q", "add", "--name", "other", url, "dir/lib"];
    repo.git([&FILES[..], &add].concat());
    commits.push(repo.commit("another submodule there"));
    repo.git(["mv", "dir/lib", "lib"]);
    commits.push(repo.commit("and where the first was"));
    repo.git(["rm", "-qf", "lib"]);
    repo.git(["rm", "-qrf", "--ignore-unmatch", "dir", ".gitmodules"]);
    repo.write("dir", "a file\n");
    commits.push(repo.commit("nothing of it"));
    bench.check(&commits, &["--order", "oldest"]);
    bench.check(&commits, &["--order", "newest"]);
    // From each to many others, a process for each.
    for step in [3, 7] {
        for i in 0..commits.len() {
            let commit = commits[i * step % commits.len()].clone();
            bench.check(&[commit], &[]);
        }
    }
}

#[test]
fn a_commit_that_is_missing_is_no_verdict_until_it_is_there() {
    let repo = TestRepo::new();
    let inner = TestRepo::new();
    inner.commit("inner");
    add_submodule(&repo, &inner, "lib");
    repo.commit("one");
    let newer = inner.commit("newer");
    let entry = format!("160000,{newer},lib");
    repo.git(["update-index", "--cacheinfo", &entry]);
    repo.git(["commit", "-q", "-m", "newer"]);
    repo.job("j", &format!("test $(git -C lib rev-parse HEAD) = {newer}"));
    for _ in 0..2 {
        let ran = repo.ci(["run"]).expect_code(125);
        let said = ran.stdout() + &ran.stderr();
        assert!(
            said.contains(&newer) && said.contains("git submodule update"),
            "{said}"
        );
    }
    repo.git(["-C", "lib", "fetch", "-q"]);
    repo.ci(["run"]).expect_code(0);
    let mut verdicts = repo.verdicts("HEAD");
    verdicts.dedup();
    assert_eq!(verdicts, ["ERROR j", "pass j"]);
}

#[test]
fn a_submodule_that_was_removed_during_a_task_is_no_verdict() {
    let deep = TestRepo::new();
    deep.commit("deep");
    let inner = TestRepo::new();
    add_submodule(&inner, &deep, "in");
    inner.commit("inner");
    let repo = TestRepo::new();
    add_submodule(&repo, &inner, "lib");
    let update = ["submodule", "-q", "update", "--init", "--recursive"];
    repo.git([&FILES[..], &update].concat());
    repo.commit("one");
    let modules = repo.git_dir().join("modules/lib");
    for (dir, job) in [
        ("objects", "git -C lib log -1"),
        ("", "git -C lib log -1"),
        ("modules/in/objects", "git -C lib/in log -1"),
    ] {
        let (dir, aside) = (modules.join(dir), repo.root().join("aside"));
        let paused = Paused::start(&repo, "HEAD", job);
        fs::rename(&dir, &aside).unwrap();
        let ran = paused.go_on().expect_code(125);
        let said = ran.stdout() + &ran.stderr();
        assert!(said.contains("objects were removed"), "{said}");
        fs::rename(&aside, &dir).unwrap();
    }
    assert!(!repo.note("HEAD").contains("FAIL"), "{}", repo.note("HEAD"));
    Paused::start(&repo, "HEAD", "false").go_on().expect_code(1);
}

#[test]
fn relative_urls_and_git_submodule_itself_work_in_a_job() {
    let repo = TestRepo::new();
    let at = |name: &str| repo.root().join(name);
    for name in ["inner", "outer"] {
        repo.git(["init", "-q", "-b", "main", at(name).to_str().unwrap()]);
    }
    let git = |dir: &Path, args: &[&str]| {
        let identity = ["-c", "user.name=x", "-c", "user.email=x@x"];
        let mut git = repo.command("git", dir);
        let done = git.args(FILES).args(identity).args(args).output().unwrap();
        assert!(done.status.success(), "{args:?} {done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    let (inner, outer, clone) = (at("inner"), at("outer"), at("clone"));
    git(&inner, &["commit", "-q", "--allow-empty", "-m", "inner"]);
    git(&outer, &["commit", "-q", "--allow-empty", "-m", "outer"]);
    git(&outer, &["submodule", "-q", "add", "../inner", "lib"]);
    git(&outer, &["commit", "-q", "-m", "with one"]);
    let (from, to) = (outer.to_str().unwrap(), clone.to_str().unwrap());
    git(
        repo.root(),
        &["clone", "-q", "--recurse-submodules", from, to],
    );
    git(&clone, &["config", "user.name", "x"]);
    git(&clone, &["config", "user.email", "x@x"]);
    let look = "git submodule status --recursive; git -C lib remote get-url origin; \
                git config submodule.lib.url; git submodule summary; git -C lib log --format=%s";
    let said = in_job(
        &repo,
        &clone,
        "HEAD",
        &format!(
            "{look}; git submodule update --init --recursive && git submodule foreach -q 'git rev-parse HEAD'"
        ),
    );
    let mut users = repo.command("sh", &clone);
    let users = users.args(["-c", look]).output().unwrap();
    let users = String::from_utf8(users.stdout).unwrap();
    assert!(users.contains(inner.to_str().unwrap()), "{users}");
    let head = git(&inner, &["rev-parse", "HEAD"]);
    // A task has no remote branches that its HEAD could be named after.
    assert_eq!(said, users + &head);
}

#[test]
fn the_users_submodules_are_found_in_every_layout() {
    let home = TestRepo::new();
    let inner = TestRepo::new();
    inner.write("f", "inner\n");
    inner.commit("inner");
    add_submodule(&home, &inner, "lib");
    home.commit("one");
    let at = |name: &str| home.root().join(name);
    let git = |dir: &Path, args: &[&str]| {
        let git = home.command("git", dir).args(FILES).args(args).output();
        let done = git.unwrap();
        assert!(done.status.success(), "{args:?} {done:?}");
    };
    let url = home.path().to_str().unwrap();
    let run = |dir: &Path| {
        let identity = ["config", "user.email", "x@x"];
        git(dir, &identity);
        git(dir, &["config", "user.name", "x"]);
        let said = in_job(&home, dir, "HEAD", "cat lib/f; git status --porcelain");
        assert_eq!(said, "inner\n", "{}", dir.display());
    };

    // A bare one, whose worktrees have their own.
    git(home.root(), &["clone", "-q", "--bare", url, "bare"]);
    git(&at("bare"), &["worktree", "add", "-q", "../linked"]);
    git(&at("linked"), &["submodule", "-q", "update", "--init"]);
    assert!(at("bare/worktrees/linked/modules/lib/objects").is_dir());
    run(&at("linked"));
    run(&at("bare"));

    // One whose submodule is a clone of its own, in the worktree and in a linked one.
    git(home.root(), &["clone", "-q", url, "old"]);
    let from = inner.path().to_str().unwrap();
    git(&at("old"), &["clone", "-q", from, "lib"]);
    run(&at("old"));
    git(&at("old"), &["submodule", "-q", "init"]);
    git(&at("old"), &["submodule", "-q", "absorbgitdirs"]);
    assert!(at("old/.git/modules/lib").is_dir() && at("old/lib/.git").is_file());
    run(&at("old"));
    git(home.root(), &["clone", "-q", url, "other"]);
    git(
        &at("other"),
        &["worktree", "add", "-q", "--detach", "../beside"],
    );
    git(&at("beside"), &["clone", "-q", from, "lib"]);
    run(&at("beside"));

    // And one whose work tree is gone.
    fs::remove_dir_all(home.path().join("lib")).unwrap();
    home.git([
        "config",
        "-f",
        ".git/modules/lib/config",
        "core.worktree",
        "/nowhere",
    ]);
    run(home.path());
}

#[test]
fn a_repository_that_is_its_own_submodule_is_not_pushed_to() {
    let repo = rich();
    repo.git(["reset", "-q", "--hard"]);
    repo.git([&FILES[..], &["submodule", "-q", "add", "./", "itself"]].concat());
    repo.commit("with itself");
    let url = repo.git(["-C", "itself", "remote", "get-url", "origin"]);
    assert!(!url.is_empty());
    let away = repo.root().join("away.git");
    repo.git(["init", "-q", "--bare", away.to_str().unwrap()]);
    for (name, url) in [
        ("top", "../"),
        ("dir", "../.git"),
        ("own", "."),
        ("away", "../../away.git"),
    ] {
        repo.git(["-C", "itself", "remote", "add", name, url]);
    }
    let before = snapshot(repo.path());
    let push = "cd itself; for r in $(git remote); do git push -q $r HEAD:refs/heads/pushed; \
                git push -q --mirror $r; done; git remote -v; true";
    let said = in_job(&repo, repo.path(), "HEAD", push);
    assert!(said.contains("away.git (push)"), "{said}");
    assert!(snapshot(repo.path()) == before, "{said}");
    let away = away.to_str().unwrap();
    assert_ne!(repo.git(["--git-dir", away, "for-each-ref"]), "");
}

#[test]
fn nested_ones_have_ids_of_their_own_kind_whatever_new_repositories_have() {
    for [outer, middle, deep] in [["sha1"; 3], ["sha256"; 3], ["sha256", "sha1", "sha1"]] {
        let init = |kind: &str| {
            let repo = TestRepo::init(&["-b", "main", &format!("--object-format={kind}")]);
            repo.git(["config", "--global", "protocol.file.allow", "always"]);
            repo
        };
        let (repo, inner, deepest) = (init(outer), init(middle), init(deep));
        deepest.write("f", "deep\n");
        deepest.commit("deep");
        add_submodule(&inner, &deepest, "a/b");
        inner.commit("inner");
        add_submodule(&repo, &inner, "lib");
        repo.git(["submodule", "-q", "update", "--init", "--recursive"]);
        repo.commit("one");
        let users = repo.git(["submodule", "status", "--recursive"]);
        let look = "cat lib/a/b/f; git submodule status --recursive; git status --porcelain; \
                    git -C lib/a/b rev-parse --show-object-format HEAD";
        let head = repo.git(["-C", "lib/a/b", "rev-parse", "HEAD"]);
        let users = format!("deep\n{users}\n{deep}\n{head}\n");
        repo.write("../look", look);
        let said = repo.root().join("seen");
        let job = format!("sh ../look-at 2>&1 >{}", said.display());
        let job = job.replace("../look-at", repo.root().join("look").to_str().unwrap());
        for variables in [
            vec![("GIT_DEFAULT_HASH", "sha256")],
            vec![
                ("GIT_DEFAULT_HASH", "sha1"),
                ("GIT_DEFAULT_REF_FORMAT", "reftable"),
            ],
            vec![],
        ] {
            if variables.is_empty() {
                repo.git(["config", "--global", "init.defaultObjectFormat", "sha256"]);
                repo.git(["config", "--global", "init.defaultRefFormat", "reftable"]);
            }
            let mut ci = repo.ci_command(["run", "-q", "-j1", "--force", "-x", &job]);
            Ran(ci.envs(variables).output().unwrap()).expect_code(0);
            let said = fs::read_to_string(&said).unwrap();
            // git names a commit by branches and tags that it finds beside it.
            let plain = |text: &str| -> Vec<String> {
                let lines = text.lines().map(|line| line.split(" (").next().unwrap());
                lines.map(|line| line.trim().to_owned()).collect()
            };
            assert_eq!(plain(&said), plain(&users));
            fs::remove_dir_all(repo.root().join("home/.cache")).unwrap();
        }
    }
}
