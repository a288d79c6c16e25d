//! `git ci notify` as git calls it: every way to make a commit, every kind of
//! repository, and faults. A commit is what it would be without hooks, the user's index
//! included, and it never fails or waits because of them.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use git_ci::spool::{Entry, Source, Spool};
use rustix::fs::{FlockOperation, flock};

use crate::support::{TestRepo, processes_with, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_git-ci");

/// The source of an entry for a ref.
fn ref_source(name: &str) -> Source {
    Source::Ref(git_ci::model::RefName::parse(name.as_bytes()).unwrap())
}

fn spooled(git_dir: &Path) -> Vec<Entry> {
    Spool::new(&git_dir.join("ci")).read().unwrap().entries
}

fn commits(git_dir: &Path) -> Vec<String> {
    let entries = spooled(git_dir).into_iter();
    entries.map(|entry| entry.commit.to_string()).collect()
}

/// A repository with one commit, and the hooks.
fn hooked() -> TestRepo {
    let repo = TestRepo::new();
    repo.commit("one");
    repo.ci(["hook", "install"]).expect_code(0);
    repo
}

/// Runs git, which must succeed and say nothing on standard error.
#[track_caller]
fn quietly(command: &mut Command) -> Output {
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success() && said.is_empty(), "{said}");
    done
}

/// The index without what differs between two copies of a work tree: times, device and
/// inode of each entry, and the checksum over them.
fn index_bytes(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"DIRC\0\0\0\x02");
    let count = u32::from_be_bytes(bytes[8..12].try_into().unwrap());
    let mut at = 12;
    for _ in 0..count {
        bytes[at..at + 24].fill(0);
        let name = bytes[at + 62..].iter().position(|&byte| byte == 0).unwrap();
        at += (62 + name + 8) / 8 * 8;
    }
    bytes.truncate(bytes.len() - 20);
    bytes
}

/// Makes commits in every way there is; after each, the commit and the index.
fn every_way(repo: &TestRepo) -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seen = Vec::new();
    let run = |dir: &Path, script: &str| {
        let done = repo
            .command("sh", dir)
            .args(["-ec", script])
            .env("GIT_EDITOR", "true")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{script}: {said}");
    };
    let linked = repo.root().join("linked");
    let (main, git_dir) = (repo.path().to_owned(), repo.git_dir());
    let linked_index = git_dir.join("worktrees/linked/index");
    let ways: [(&'static str, &Path, &str); 13] = [
        ("commit -a", &main, "echo 1 >a; git commit -qam commit-a"),
        (
            "commit FILE beside staged changes",
            &main,
            "echo 2 >a; echo 2 >b; git add b; git commit -qm file a",
        ),
        (
            "commit --include in a subdirectory",
            &main,
            "cd sub; echo 3 >../a; git commit -qim include ../a",
        ),
        ("commit --amend", &main, "git commit -q --amend -m amended"),
        (
            "commit with a bare message",
            &main,
            "echo 4 >c; git add c; git commit -qm c",
        ),
        (
            "cherry-pick",
            &main,
            "git checkout -q -b side HEAD~1; echo 5 >d; git add d; git commit -qm d; \
             git checkout -q main; git cherry-pick side >/dev/null",
        ),
        ("revert", &main, "git revert HEAD >/dev/null"),
        (
            "am",
            &main,
            "git checkout -q side; echo 6 >e; git add e; git commit -qm e; echo 7 >>e; \
             git commit -qam e2; git format-patch -q -2 -o ../patches; git checkout -q main; \
             git am -q ../patches/*",
        ),
        (
            "rebase -i",
            &main,
            "git checkout -q -b topic HEAD~3; echo 8 >f; git add f; git commit -qm f; \
             echo 9 >g; git add g; git commit -qm g; \
             GIT_SEQUENCE_EDITOR='sed -i 1s/pick/reword/' git rebase -q -i main 2>/dev/null",
        ),
        (
            "rebase -i with edit and squash",
            &main,
            "GIT_SEQUENCE_EDITOR='sed -i 1s/pick/edit/' git rebase -q -i HEAD~2 2>/dev/null; \
             echo 10 >>f; git commit -q -a --amend -m edited; git rebase --continue >/dev/null 2>&1; \
             GIT_SEQUENCE_EDITOR='sed -i 2s/pick/squash/' git rebase -q -i HEAD~2 2>/dev/null",
        ),
        (
            "merge",
            &main,
            "git checkout -q main; git merge -q --no-ff --no-edit topic",
        ),
        (
            "commit -a in a linked worktree",
            &linked,
            "echo 11 >a; git commit -qam linked",
        ),
        (
            "commit FILE in a linked worktree with a detached HEAD",
            &linked,
            "git checkout -q --detach; echo 12 >a; echo 12 >b; git add b; git commit -qm detached a",
        ),
    ];
    for (what, dir, script) in ways {
        if dir == linked && !linked.exists() {
            repo.git(["worktree", "add", "-q", "-b", "linked", "../linked"]);
        }
        run(dir, script);
        let head = repo
            .command("git", dir)
            .args(["rev-parse", "HEAD"])
            .output()
            .unwrap();
        let index = if dir == linked {
            index_bytes(&linked_index)
        } else {
            index_bytes(&git_dir.join("index"))
        };
        seen.push((what, String::from_utf8(head.stdout).unwrap(), index));
    }
    seen
}

fn start() -> TestRepo {
    let repo = TestRepo::new();
    for name in ["a", "b", "sub/x"] {
        repo.write(name, "0\n");
    }
    repo.commit("start");
    repo
}

#[test]
fn commits_and_the_index_are_as_without_hooks_and_nothing_is_missed() {
    let (plain, hooked) = (start(), start());
    let first = hooked.git(["rev-parse", "HEAD"]);
    hooked.ci(["hook", "install"]).expect_code(0);
    let (without, with) = (every_way(&plain), every_way(&hooked));
    for ((what, commit, index), (_, hooked_commit, hooked_index)) in without.iter().zip(&with) {
        assert_eq!(commit, hooked_commit, "{what}");
        assert_eq!(index, hooked_index, "{what}");
    }
    assert_eq!(plain.git(["status", "-s"]), hooked.git(["status", "-s"]));
    // Every commit that was made is in the spool, those that were rewritten later, too.
    let git_dir = hooked.git_dir();
    let spooled: HashSet<_> = commits(&git_dir).into_iter().collect();
    let made = hooked.git(["rev-list", "--all", "--reflog"]);
    for commit in made.lines().filter(|line| *line != first) {
        let subject = hooked.git(["log", "-1", "--format=%s", commit]);
        assert!(spooled.contains(commit), "{commit} {subject}");
    }
}

#[test]
fn an_entry_says_what_the_commit_belongs_to() {
    let repo = hooked();
    let commit = repo.commit("two");
    repo.git(["checkout", "-q", "--detach"]);
    let detached = repo.commit("three");
    repo.git(["worktree", "add", "-q", "../x y", "main"]);
    let linked = repo.root().join("x y");
    let git = |args: &[&str]| {
        quietly(repo.command("git", &linked).args(args));
    };
    git(&["commit", "-q", "--allow-empty", "-m", "four"]);
    git(&["checkout", "-q", "--detach"]);
    git(&["commit", "-q", "--allow-empty", "-m", "five"]);
    let git_dir = repo.git_dir();
    let seen = spooled(&git_dir);
    let main = ref_source("refs/heads/main");
    assert_eq!(seen.len(), 4);
    assert_eq!(
        (seen[0].commit.to_string(), &seen[0].source),
        (commit, &main)
    );
    let own = Source::Detached(git_dir.clone());
    assert_eq!(
        (seen[1].commit.to_string(), &seen[1].source),
        (detached, &own)
    );
    assert_eq!(seen[2].source, main);
    let of_linked = Source::Detached(git_dir.join("worktrees/x-y"));
    assert_eq!(seen[3].source, of_linked);
}

#[test]
fn a_push_tells_of_new_tips() {
    for options in [&["--bare", "-b", "main"][..], &["-b", "main"]] {
        let server = TestRepo::init(options);
        server.git(["config", "receive.denyCurrentBranch", "ignore"]);
        server.ci(["hook", "install", "--server"]).expect_code(0);
        let client = TestRepo::new();
        let commit = client.commit("one");
        client.git(["branch", "feature/x"]);
        client.git(["tag", "v1"]);
        client.git(["notes", "add", "-m", "note"]);
        let url = server.path().display().to_string();
        let push = |args: &[&str]| client.git([&["push", "-q", &url], args].concat());
        push(&["main", "feature/x", "v1", "refs/notes/commits"]);
        push(&[":feature/x"]);
        let seen = spooled(&server.git_dir());
        let names: Vec<_> = seen.iter().map(|entry| &entry.source).collect();
        let of = ref_source;
        assert_eq!(
            names,
            [
                &of("refs/heads/main"),
                &of("refs/heads/feature/x"),
                &of("refs/tags/v1")
            ]
        );
        assert!(seen.iter().all(|entry| entry.commit.to_string() == commit));
    }
}

#[test]
fn a_bare_repository_with_worktrees_a_submodule_and_git_dir() {
    let bare = TestRepo::init(&["--bare", "-b", "main"]);
    bare.ci(["hook", "install"]).expect_code(0);
    let commit = |repo: &TestRepo, dir: &Path, extra: &[(&str, &Path)]| {
        let mut git = repo.command("git", dir);
        git.args(["commit", "-q", "--allow-empty", "-m", "x"]);
        quietly(git.envs(extra.iter().copied()));
    };
    bare.git(["worktree", "add", "-q", "--orphan", "-b", "main", "../tree"]);
    commit(&bare, &bare.root().join("tree"), &[]);
    assert_eq!(commits(bare.path()), [bare.git(["rev-parse", "main"])]);

    let inner = TestRepo::new();
    inner.commit("inner");
    let outer = TestRepo::new();
    let url = inner.path().display().to_string();
    outer.git([
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        &url,
        "sub",
    ]);
    let sub = outer.path().join("sub");
    let installed = outer
        .command(PROGRAM, &sub)
        .args(["hook", "install"])
        .status();
    assert!(installed.unwrap().success());
    for (key, value) in [("user.name", "A"), ("user.email", "a@example.com")] {
        quietly(outer.command("git", &sub).args(["config", key, value]));
    }
    commit(&outer, &sub, &[]);
    assert_eq!(spooled(&outer.git_dir().join("modules/sub")).len(), 1);
    assert!(spooled(&outer.git_dir()).is_empty());

    // GIT_DIR and GIT_WORK_TREE from somewhere else altogether.
    let repo = hooked();
    let elsewhere = repo.root().join("home");
    commit(
        &repo,
        &elsewhere,
        &[("GIT_DIR", &repo.git_dir()), ("GIT_WORK_TREE", repo.path())],
    );
    assert_eq!(commits(&repo.git_dir()), [repo.git(["rev-parse", "HEAD"])]);
}

#[test]
fn packed_refs_an_unborn_branch_and_a_reftable() {
    let repo = hooked();
    repo.git(["pack-refs", "--all"]);
    let call = |repo: &TestRepo| {
        repo.ci(["notify", "--hook", "post-merge", "0"])
            .expect_code(0)
    };
    call(&repo);
    assert_eq!(commits(&repo.git_dir()), [repo.git(["rev-parse", "HEAD"])]);
    repo.git(["checkout", "-q", "--orphan", "unborn"]);
    call(&repo);
    assert_eq!(spooled(&repo.git_dir()).len(), 1);

    let tables = TestRepo::init(&["--ref-format=reftable", "-b", "main"]);
    let commit = tables.commit("one");
    call(&tables);
    let seen = spooled(&tables.git_dir());
    assert_eq!(seen[0].source, ref_source("refs/heads/main"));
    assert_eq!(seen[0].commit.to_string(), commit);
}

#[test]
fn by_hand_it_takes_revisions_and_may_fail() {
    let repo = TestRepo::new();
    let one = repo.commit("one");
    repo.commit("two");
    repo.ci(["notify", "main~1", "main"]).expect_code(0);
    let seen = spooled(&repo.git_dir());
    assert_eq!(seen[0].commit.to_string(), one);
    assert_eq!(seen[0].source, Source::Detached(repo.git_dir()));
    assert_eq!(seen[1].source, ref_source("refs/heads/main"));
    repo.ci(["notify", "nowhere"]).expect_code(128);
}

#[test]
fn the_mode_is_what_git_says_it_is() {
    let repo = hooked();
    let count = || spooled(&repo.git_dir()).len();
    repo.git(["config", "ci.hookMode", "off"]);
    repo.commit("off");
    assert_eq!(count(), 0);
    repo.git([
        "-c",
        "ci.hookMode=spool",
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "on",
    ]);
    assert_eq!(count(), 1);
    // From an included file, as git has it.
    repo.git(["config", "--unset", "ci.hookMode"]);
    fs::write(
        repo.root().join("home/.gitconfig"),
        "[include]\n\tpath = more\n",
    )
    .unwrap();
    fs::write(repo.root().join("home/more"), "[ci]\n\thookMode = off\n").unwrap();
    repo.commit("off again");
    assert_eq!(count(), 1);
    // Where a work tree has a configuration of its own, that counts, too.
    fs::write(repo.root().join("home/more"), "").unwrap();
    repo.git(["config", "extensions.worktreeConfig", "true"]);
    repo.git(["config", "--worktree", "ci.hookMode", "off"]);
    repo.commit("off here");
    assert_eq!(count(), 1);
    repo.git(["config", "--worktree", "--unset", "ci.hookMode"]);
    // A slip of the pen loses nothing; who asks is told.
    repo.git(["config", "ci.hookMode", "sometimes"]);
    let mut git = repo.command("git", repo.path());
    let git = git.args(["commit", "-q", "--allow-empty", "-m", "x"]);
    quietly(git);
    assert_eq!(count(), 2);
    let traced = git.env("GIT_CI_TRACE", "1").output().unwrap();
    assert!(traced.status.success());
    let said = String::from_utf8_lossy(&traced.stderr).into_owned();
    assert!(said.contains("ci.hookMode = \"sometimes\""), "{said}");
    repo.ci(["hook", "status"]).expect_code(128);
    assert_eq!(count(), 3);
}

#[test]
fn what_a_job_commits_makes_no_work() {
    let repo = hooked();
    repo.job(
        "commits",
        "git -c user.name=J -c user.email=j@example.com commit -q --allow-empty -m job",
    );
    repo.ci(["run"]).expect_code(0);
    assert!(spooled(&repo.git_dir()).is_empty());
}

#[test]
fn a_hundred_at_once_lose_nothing() {
    let repo = TestRepo::new();
    repo.commit("one");
    let zero = "0".repeat(40);
    let mut running = Vec::new();
    for n in 1..=100 {
        let mut notify = repo
            .ci_command(["notify", "--hook", "post-receive"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let line = format!("{zero} {n:040x} refs/heads/b{n}\n");
        notify
            .stdin
            .take()
            .unwrap()
            .write_all(line.as_bytes())
            .unwrap();
        running.push(notify);
    }
    for mut notify in running {
        assert!(notify.wait().unwrap().success());
    }
    let seen: HashSet<_> = commits(&repo.git_dir()).into_iter().collect();
    assert_eq!(seen.len(), 100);
}

#[test]
fn a_torn_line_of_a_killed_hook_is_passed_over() {
    let repo = hooked();
    let one = repo.commit("two");
    let file = repo.git_dir().join("ci/spool/commits");
    let whole = fs::read(&file).unwrap();
    fs::write(
        &file,
        [&whole[..], b"1750000000 0123456789 refs/he"].concat(),
    )
    .unwrap();
    let two = repo.commit("three");
    assert_eq!(commits(&repo.git_dir()), [one, two]);
}

#[test]
fn a_spool_that_cannot_be_written_fails_no_commit() {
    let repo = hooked();
    let ci = repo.git_dir().join("ci");
    let commit = || {
        let mut git = repo.command("git", repo.path());
        quietly(git.args(["commit", "-q", "--allow-empty", "-m", "x"]));
        let mut git = repo.command("git", repo.path());
        git.args(["commit", "-q", "--allow-empty", "-m", "x"]);
        let said = git.env("GIT_CI_TRACE", "1").output().unwrap().stderr;
        String::from_utf8_lossy(&said).into_owned()
    };
    // A file where the directory should be; a directory where the file should be.
    let _ = fs::remove_dir_all(&ci);
    fs::write(&ci, "").unwrap();
    assert!(commit().contains("failed to write to the spool"));
    fs::remove_file(&ci).unwrap();
    fs::create_dir_all(ci.join("spool/commits")).unwrap();
    assert!(commit().contains("failed to write to the spool"));
    // A program that is gone, a HEAD that makes no sense, no repository at all.
    fs::remove_dir_all(&ci).unwrap();
    let hook = repo.git_dir().join("hooks/post-commit");
    let text = fs::read_to_string(&hook).unwrap();
    fs::write(&hook, text.replace(PROGRAM, "/gone/git-ci")).unwrap();
    let path = std::env::var("PATH").unwrap();
    if which_in(&path, "git-ci").is_none() {
        assert_eq!(commit(), "");
    }
    for dir in [repo.root(), Path::new("/")] {
        let done = repo
            .command(PROGRAM, dir)
            .args(["notify", "--hook", "post-commit"])
            .output()
            .unwrap();
        assert!(done.status.success() && done.stderr.is_empty());
    }
    fs::write(repo.git_dir().join("HEAD"), "ref: refs/heads/../../x\n").unwrap();
    for hook in [
        "post-commit",
        "post-rewrite",
        "post-receive",
        "no-such-hook",
    ] {
        let done = repo.ci(["notify", "--hook", hook, "--odd", "arguments"]);
        assert_eq!(done.expect_code(0).stderr(), "");
    }
}

fn which_in(path: &str, name: &str) -> Option<PathBuf> {
    let found = path.split(':').map(|dir| Path::new(dir).join(name));
    found.into_iter().find(|file| file.exists())
}

/// Says why a test cannot run here. CI has everything, so there it fails.
fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "cannot run in CI: {why}");
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

#[test]
fn a_full_disk_and_a_read_only_one_fail_no_commit() {
    if !rustix::process::geteuid().is_root() {
        return skip("needs root, for a mount namespace");
    }
    let repo = hooked();
    let ci = repo.git_dir().join("ci");
    let within = |script: &str| {
        let done = repo
            .command("unshare", repo.path())
            .args(["-m", "sh", "-ec", script])
            .env("CI_DIR", &ci)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{said}");
        said
    };
    let full = "mkdir -p $CI_DIR; mount -t tmpfs -o size=16k none $CI_DIR; mkdir $CI_DIR/spool; \
                echo start >$CI_DIR/spool/commits; cat /dev/zero >$CI_DIR/fill 2>/dev/null || :; ";
    // What fits into the page that the file has goes in; then a line is torn, then nothing goes.
    let commits =
        "i=0; while [ $i -lt 60 ]; do i=$((i + 1)); git commit -q --allow-empty -m x; done; ";
    let said = within(&format!("{full}{commits}"));
    assert_eq!(said, "");
    let said = within(&format!(
        "{full}{commits}export GIT_CI_TRACE=1; git commit -q --allow-empty -m x"
    ));
    assert!(said.contains("No space left on device"), "{said}");
    // With space again, a torn line does no harm.
    let said = within(&format!(
        "{full}{commits}rm $CI_DIR/fill; git commit -q --allow-empty -m last; \
         tail -1 $CI_DIR/spool/commits | grep -q \"$(git rev-parse HEAD) refs/heads/main .$\""
    ));
    assert_eq!(said, "");
    let said = within(
        "mkdir -p $CI_DIR; mount -t tmpfs -o ro none $CI_DIR; git commit -q --allow-empty -m x",
    );
    assert_eq!(said, "");
    let said = within(
        "mount --bind . .; mount -o remount,ro,bind . ; cd .; GIT_CI_TRACE=1 git hook run post-commit",
    );
    assert!(said.contains("Read-only file system"), "{said}");
}

#[test]
fn a_spool_of_a_shared_repository_is_writable_for_the_group() {
    let repo = TestRepo::init(&["--shared=group", "-b", "main"]);
    repo.ci(["hook", "install"]).expect_code(0);
    repo.commit("one");
    let mode = |name: &str| fs::metadata(repo.git_dir().join(name)).unwrap().mode();
    assert_eq!(mode("ci/spool/commits") & 0o660, 0o660);
    assert_eq!(mode("ci/spool") & 0o2070, mode("objects") & 0o2070);
}

/// The process whose command line starts like this.
fn find_process(marker: &str, words: &[&str]) -> Option<u32> {
    let line = words.join("\0");
    processes_with(marker).into_iter().find(|pid| {
        let found = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&found).contains(&line)
    })
}

#[test]
fn a_watcher_that_a_hook_starts_has_nothing_of_the_hooks_caller() {
    let repo = hooked();
    repo.git(["config", "ci.hookMode", "run"]);
    repo.job("slow", "echo >$HOME/job; while :; do sleep 1; done");
    // A lock by a descriptor, as flock(1) teaches it, and ignored signals.
    let script = "exec 7>lock 200>lock; flock -n 200 || exit; trap '' HUP INT QUIT TERM; \
                  exec git commit -q --allow-empty -m two";
    let done = repo
        .command("bash", repo.path())
        .args(["-c", script])
        .env("XDG_CACHE_HOME", repo.root().join("cache"))
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    let marker = repo.root().display().to_string();
    wait_until("the job to run", || repo.root().join("home/job").exists());
    let lock = File::open(repo.path().join("lock")).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    for pid in processes_with(&marker) {
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
        {
            let open = fs::read_link(entry.unwrap().path()).unwrap_or_default();
            assert!(!open.ends_with("lock") || open.starts_with(repo.git_dir().join("ci")));
        }
    }
    let pid = find_process(&marker, &[PROGRAM, "watch", "--until-idle"]).unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let session = stat.rsplit(')').next().unwrap().split_whitespace().nth(3);
    assert_eq!(session, Some(pid.to_string().as_str()));
    let process = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    wait_until("everything to end", || processes_with(&marker).is_empty());
}

#[test]
fn a_client_that_waits_for_the_hooks_pipes_is_not_kept() {
    let repo = hooked();
    repo.git(["config", "ci.hookMode", "run"]);
    repo.job("slow", "echo >$HOME/job; while :; do sleep 1; done");
    let mut git = repo
        .command("sh", repo.path())
        // A descriptor more than it ought to have.
        .args(["-c", "exec 5>&1; exec git commit -q --allow-empty -m two"])
        .env("XDG_CACHE_HOME", repo.root().join("cache"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    git.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    git.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert!(git.wait().unwrap().success());
    assert_eq!((out.as_str(), err.as_str()), ("", ""));
    // It lives on, and its job.
    let marker = repo.root().display().to_string();
    wait_until("the job to run", || repo.root().join("home/job").exists());
    let pid = find_process(&marker, &[PROGRAM, "watch", "--until-idle"]).unwrap();
    let open = |n: u32| fs::read_link(format!("/proc/{pid}/fd/{n}")).unwrap();
    let log = repo.git_dir().join("ci/watch.log");
    assert_eq!(open(0), Path::new("/dev/null"));
    assert_eq!((open(1), open(2)), (log.clone(), log));
    assert_eq!(spooled(&repo.git_dir()).len(), 1);
    repo.git(["commit", "-q", "--allow-empty", "-m", "three"]);
    // A running one is not doubled.
    let watchers = processes_with(&marker).into_iter().filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("watch\0--until-idle")
    });
    assert_eq!(watchers.count(), 1);
    for pid in processes_with(&repo.root().display().to_string()) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    wait_until("it to end", || {
        processes_with(&repo.root().display().to_string()).is_empty()
    });
}

#[test]
fn no_watcher_is_started_beside_one_that_runs() {
    let repo = hooked();
    repo.git(["config", "ci.hookMode", "run"]);
    let ci = repo.git_dir().join("ci");
    fs::create_dir_all(&ci).unwrap();
    let lease = File::create(ci.join("watch.lock")).unwrap();
    flock(&lease, FlockOperation::LockExclusive).unwrap();
    repo.commit("two");
    assert_eq!(spooled(&repo.git_dir()).len(), 1);
    assert!(!ci.join("watch.log").exists());
    // Dead, it holds nothing. A long log makes room.
    drop(lease);
    fs::write(ci.join("watch.log"), vec![b'x'; 2 * 1024 * 1024]).unwrap();
    repo.commit("three");
    wait_until("the old log to be put aside", || {
        ci.join("watch.log.old").exists()
    });
    assert!(fs::metadata(ci.join("watch.log")).unwrap().len() < 1024 * 1024);
    assert!(
        fs::metadata(ci.join("watch.log"))
            .unwrap()
            .permissions()
            .mode()
            & 0o600
            == 0o600
    );
    wait_until("it to end", || {
        processes_with(&repo.root().display().to_string()).is_empty()
    });
}
