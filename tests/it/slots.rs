//! A slot is a repository of its own: whatever a job does with git stays there and is
//! gone before the next task, and the user's repository is, byte for byte, what it was.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Child;

use super::support::{Ran, TestRepo, processes_with, wait_until};

/// Everything below a directory, by its path: what it is, and what is in it. Nothing of
/// git-ci's own: its directory, and the notes with their objects.
pub(super) fn snapshot(dir: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    walk(dir, dir, &mut found);
    found
}

fn walk(top: &Path, dir: &Path, found: &mut BTreeMap<PathBuf, (u32, Vec<u8>)>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        let below = path.strip_prefix(top).unwrap();
        let ours = [".git/ci", ".git/refs/notes", ".git/refs/ci", ".git/objects"];
        if ours.iter().any(|ours| below == Path::new(ours)) {
            continue;
        }
        let meta = fs::symlink_metadata(&path).unwrap();
        let bytes = if meta.is_symlink() {
            fs::read_link(&path)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .to_vec()
        } else if meta.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        found.insert(below.to_owned(), (meta.mode(), bytes));
        if meta.is_dir() {
            walk(top, &path, found);
        }
    }
}

/// The objects that a repository has of its own, but for those of notes.
fn objects(repo: &TestRepo) -> Vec<String> {
    let listed = repo.git([
        "cat-file",
        "--batch-all-objects",
        "--batch-check=%(objectname)",
    ]);
    let notes = repo.git(["rev-list", "--objects", "--no-object-names", "--all"]);
    let reached = repo.git([
        "rev-list",
        "--objects",
        "--no-object-names",
        "--exclude=refs/notes/ci*",
        "--all",
        "--reflog",
    ]);
    let ours =
        |id: &&str| notes.lines().any(|one| one == *id) && !reached.lines().any(|one| one == *id);
    listed
        .lines()
        .filter(|id| !ours(id))
        .map(str::to_owned)
        .collect()
}

/// What a job might do with git, for good reasons or bad.
pub(super) const NASTY: &str = r#"
exec 2>&1
git config user.email ci@bot
git config user.name bot
git config core.bare true; git config core.bare false
echo changed >>n
git stash; git stash pop; git stash clear
git checkout -qB tmp
git branch -f main HEAD
git checkout -q main
git commit -q --allow-empty -m mine
git tag v1; git tag -f -m annotated v2
git branch -D main side
git update-ref refs/heads/side HEAD
git symbolic-ref HEAD refs/heads/elsewhere
git symbolic-ref HEAD refs/heads/tmp
git worktree add -q ../of-job; git worktree prune --expire=now
git remote set-url origin /nowhere; git remote add other /nowhere; git remote remove other
git notes add -f -m note
git reflog expire --expire=now --all
git repack -qad
git gc -q --prune=now
git prune --expire=now
git pack-refs --all
git update-index --assume-unchanged n
git sparse-checkout set nothing; git sparse-checkout disable
git bisect start; git bisect bad; git bisect reset
git replace --graft HEAD
git maintenance run --task=gc
FILTER_BRANCH_SQUELCH_WARNING=1 git filter-branch -f --msg-filter cat HEAD
git submodule init; git submodule deinit -f --all
git rebase -q --root
git rm -rqf .; git commit -qm 'all gone'
git config --unset-all remote.origin.url
rm -rf .git/refs .git/packed-refs
true
"#;

/// A repository with something of everything that could be lost.
pub(super) fn rich() -> TestRepo {
    let repo = TestRepo::new();
    repo.commit("one");
    repo.git(["branch", "side"]);
    repo.git(["tag", "-m", "a tag", "v0"]);
    let origin = repo.root().join("origin.git");
    repo.git(["clone", "-q", "--bare", ".", origin.to_str().unwrap()]);
    repo.git(["remote", "add", "origin", "../origin.git"]);
    repo.git(["fetch", "-q", "origin"]);
    repo.git(["remote", "set-head", "origin", "main"]);
    repo.git(["branch", "-q", "-u", "origin/main"]);
    repo.commit("two");
    repo.write("n", "stashed\n");
    repo.git(["stash", "-q"]);
    repo.git(["notes", "add", "-m", "the user's"]);
    repo.write("untracked", "mine\n");
    repo.write("n", "changed\n");
    repo.git(["add", "n"]);
    // What leaves no ref: found by reflogs only.
    repo.git(["commit", "-q", "-m", "dropped"]);
    repo.git(["reset", "-q", "--soft", "HEAD~1"]);
    repo
}

#[test]
fn whatever_a_job_does_with_git_the_users_repository_is_as_it_was() {
    let repo = rich();
    let (before, had) = (snapshot(repo.path()), objects(&repo));
    let script = repo.root().join("nasty");
    fs::write(&script, NASTY).unwrap();
    let command = format!("sh {} >{}/said", script.display(), repo.root().display());
    for _ in 0..2 {
        repo.ci([
            "run", "-q", "-j1", "--force", "HEAD", "HEAD~1", "-x", &command,
        ])
        .expect_code(0);
    }
    let after = snapshot(repo.path());
    for (path, was) in &before {
        assert!(after.get(path) == Some(was), "{} changed", path.display());
    }
    let new: Vec<_> = after
        .keys()
        .filter(|path| !before.contains_key(*path))
        .collect();
    assert!(new.is_empty(), "{new:?} came");
    let has = objects(&repo);
    assert!(had.iter().all(|id| has.contains(id)));
    assert!(has.iter().all(|id| had.contains(id)), "objects of a job");
    assert_eq!(repo.git(["stash", "list"]).lines().count(), 1);
    repo.git(["fsck", "--strict"]);
    repo.git(["branch", "-D", "side"]);
}

#[test]
fn the_next_task_finds_nothing_of_what_a_job_did_with_git() {
    let repo = rich();
    let script = repo.root().join("nasty");
    fs::write(&script, NASTY).unwrap();
    let look = "git for-each-ref; git stash list; git config --local --list; git worktree list; \
                git reflog; git status --porcelain; git rev-parse HEAD; git symbolic-ref -q HEAD; \
                find .git | grep -v ' ' | sort";
    let seen = |name: &str| repo.root().join(name);
    let command = |name: &str| format!("({look}) >{} 2>&1; true", seen(name).display());
    repo.ci(["run", "-q", "-j1", "--force", "-x", &command("first")])
        .expect_code(0);
    let nasty = format!("sh {} >/dev/null 2>&1; true", script.display());
    // In one process, and in another.
    let both = format!(
        "if test -e {0}; then {1}; else touch {0}; {nasty}; fi",
        seen("mark").display(),
        command("second"),
    );
    repo.ci(["run", "-q", "-j1", "--force", "-x", &both])
        .expect_code(0);
    repo.ci(["run", "-q", "-j1", "--force", "-x", &both])
        .expect_code(0);
    let two = [
        "run", "-q", "-j1", "--force", "--order", "oldest", "HEAD~1", "HEAD", "-x",
    ];
    let both = format!(
        "if test $(git rev-list --count HEAD) = 2; then {}; else {nasty}; fi",
        command("third"),
    );
    repo.ci(two.into_iter().chain([both.as_str()]))
        .expect_code(0);
    let first = fs::read_to_string(seen("first")).unwrap();
    assert!(first.contains("refs/remotes/origin/HEAD"), "{first}");
    for name in ["second", "third"] {
        assert_eq!(fs::read_to_string(seen(name)).unwrap(), first, "{name}");
    }
}

/// A run whose job waits, so that something can happen meanwhile.
pub(super) struct Paused {
    run: Child,
    go: PathBuf,
}

impl Paused {
    /// Starts `then` on `rev` and returns once it waits.
    pub(super) fn start(repo: &TestRepo, rev: &str, then: &str) -> Self {
        let (started, go) = (repo.root().join("started"), repo.root().join("go"));
        let _ = fs::remove_file(&started);
        let _ = fs::remove_file(&go);
        let command = format!(
            "touch {}; until test -e {}; do sleep 0.01; done; {then}",
            started.display(),
            go.display(),
        );
        let run = repo.spawn_ci(["run", "-j1", "--force", "-x", &command, "--as", "t", rev]);
        wait_until("the job to run", || started.exists());
        Self { run, go }
    }

    /// Lets the job go on; returns what the run printed.
    pub(super) fn go_on(self) -> Ran {
        fs::write(&self.go, "").unwrap();
        Ran(self.run.wait_with_output().unwrap())
    }
}

fn pins(repo: &TestRepo) -> String {
    repo.git([
        "for-each-ref",
        "--format=%(refname) %(objectname)",
        "refs/ci/pin",
    ])
}

/// What the user does to get rid of all that no ref reaches.
fn prune(repo: &TestRepo) {
    repo.git(["reflog", "expire", "--expire=now", "--all"]);
    repo.git(["gc", "-q", "--prune=now"]);
}

#[test]
fn a_commit_that_no_ref_reaches_is_kept_while_its_task_runs() {
    let repo = TestRepo::new();
    repo.commit("one");
    let dropped = repo.commit("dropped");
    repo.git(["reset", "-q", "--hard", "HEAD~1"]);
    let hook = repo.git_dir().join("hooks/reference-transaction");
    let fired = repo.root().join("fired");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", fired.display())).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();

    let paused = Paused::start(&repo, &dropped, "git show HEAD >/dev/null && git fsck");
    assert_eq!(pins(&repo), format!("refs/ci/pin/slot-1 {dropped}"));
    assert!(!fired.exists(), "a hook of the user's");
    // Also one that `git gc` has packed goes with the task.
    prune(&repo);
    fs::remove_file(&fired).unwrap();
    paused.go_on().expect_code(0);
    assert_eq!(pins(&repo), "");
    assert!(!fired.exists(), "a hook of the user's");
    fs::remove_file(hook).unwrap();

    // What is reached needs none, nor does anybody see one as a new commit.
    let paused = Paused::start(&repo, "HEAD", "true");
    assert_eq!(pins(&repo), "");
    paused.go_on().expect_code(0);
    repo.ci(["run", "--all", "-n", "-x", "true"]);
    let paused = Paused::start(&repo, &repo.commit("two"), "true");
    repo.git(["reset", "-q", "--hard", "HEAD~1"]);
    assert_eq!(pins(&repo), "", "it was reached when the task began");
    paused.go_on().expect_code(0);
}

#[test]
fn what_a_killed_run_pinned_does_not_stay() {
    let repo = TestRepo::new();
    repo.commit("one");
    let dropped = repo.commit("dropped");
    repo.git(["reset", "-q", "--hard", "HEAD~1"]);
    for round in 0..3 {
        let mut paused = Paused::start(&repo, &dropped, "true");
        let of_job = processes_with(&format!("GIT_CI_WORKTREE={}", repo.root().display()));
        let agents: Vec<_> = of_job.into_iter().filter_map(parent).collect();
        agents.iter().copied().for_each(kill);
        paused.run.kill().unwrap();
        paused.run.wait().unwrap();
        // Who has the lock of the slot has its pin, too, until the last moment.
        wait_until("the end of the agents", || {
            !agents.iter().any(|agent| crate::support::alive(*agent))
        });
        assert_ne!(pins(&repo), "");
        match round {
            // Another slot's run, the same slot's, and gc.
            0 => drop(repo.ci(["run", "--force", "-x", "true"]).expect_code(0)),
            1 => {
                repo.git(["pack-refs", "--all"]);
                repo.ci(["gc"]).expect_code(0);
            }
            _ => drop(repo.ci(["gc"]).expect_code(0)),
        }
        assert_eq!(pins(&repo), "");
    }
}

/// The parent of a process, unless it has ended.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after = stat.rsplit(')').next()?;
    after.split_whitespace().nth(1)?.parse().ok()
}

fn kill(pid: u32) {
    if pid > 1 && pid != std::process::id() {
        let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

#[test]
fn what_was_removed_during_a_task_is_no_verdict_on_the_commit() {
    let repo = TestRepo::new();
    repo.commit("one");
    let dropped = repo.commit("dropped");
    repo.git(["reset", "-q", "--hard", "HEAD~1"]);
    let paused = Paused::start(&repo, &dropped, "git log -1");
    repo.git(["update-ref", "-d", "refs/ci/pin/slot-1"]);
    prune(&repo);
    let ran = paused.go_on().expect_code(125);
    let said = ran.stdout() + &ran.stderr();
    assert!(said.contains("objects were removed"), "{said}");
    assert!(!repo.note(&dropped).contains("FAIL"));

    // The whole repository.
    for verdict in ["false", "true"] {
        let paused = Paused::start(&repo, "HEAD", verdict);
        let aside = repo.root().join("aside");
        fs::rename(repo.path(), &aside).unwrap();
        let ran = paused.go_on();
        assert_ne!(ran.code(), 0, "{}", ran.stdout());
        assert!(!repo.path().exists(), "nothing is made where it was");
        fs::rename(&aside, repo.path()).unwrap();
        let said = ran.stdout() + &ran.stderr();
        assert!(!said.contains("FAIL") && !said.contains("pass "), "{said}");
        assert_eq!(repo.note("HEAD"), "");
    }
    repo.ci(["run", "-x", "true"]).expect_code(0);
}

#[test]
fn a_slot_whose_commit_was_pruned_holds_the_next_one() {
    let repo = TestRepo::new();
    repo.write(".gitignore", "*.o\n");
    repo.commit("one");
    let keep = repo.git(["rev-parse", "HEAD"]);
    for round in 0..3 {
        repo.write("gone/a.o", "tracked though ignored")
            .write("b", "b");
        repo.git(["add", "-f", "."]);
        let dropped = repo.commit("dropped");
        // A job may leave its slot at a commit of its own, without an index, or both.
        let leave = [
            "true",
            "git -c user.name=x -c user.email=x commit -q --allow-empty -m x",
            "rm .git/index",
        ];
        repo.ci(["run", "-j1", "-x", leave[round], &dropped])
            .expect_code(0);
        repo.git(["reset", "-q", "--hard", &keep]);
        prune(&repo);
        let look = "test ! -e gone && test ! -e b && test -f n && \
                    test -z \"$(git status --porcelain --ignored)\" && git fsck --no-dangling";
        repo.ci(["run", "-j1", "--force", "-x", look])
            .expect_code(0);
    }
}

#[test]
fn an_object_that_a_job_made_does_not_hide_the_users() {
    let repo = TestRepo::new();
    repo.write("f", "right\n");
    repo.commit("one");
    let blob = repo.git(["rev-parse", "HEAD:f"]);
    // Another object under the name of one of the user's.
    let hide = format!(
        "o={blob}; d=.git/objects/$(echo $o | cut -c1-2); mkdir -p $d; \
         printf 'x\\234' >$d/$(echo $o | cut -c3-); git cat-file blob $o >/dev/null 2>&1; true"
    );
    repo.ci(["run", "-j1", "--force", "-x", &hide])
        .expect_code(0);
    let look = format!(
        "test \"$(git cat-file blob {blob})\" = right && git fsck && rm f && git checkout -q f"
    );
    repo.ci(["run", "-j1", "--force", "-x", &look])
        .expect_code(0);
}

#[test]
fn slots_of_older_versions_are_replaced_and_leave_the_list_of_worktrees() {
    let repo = TestRepo::new();
    repo.commit("one");
    repo.ci(["run", "-j1", "-x", "true"]).expect_code(0);
    let slots = fs::read_dir(repo.root().join("home/.cache/git-ci")).unwrap();
    let slots = slots.flatten().next().unwrap().path();
    fs::remove_dir_all(slots.join("slot-1")).unwrap();
    repo.git(["worktree", "add", "-q", "--detach", "../mine"]);
    for slot in ["slot-1", "slot-2"] {
        let path = slots.join(slot);
        repo.git([
            "worktree",
            "add",
            "-q",
            "-f",
            "-f",
            "--detach",
            path.to_str().unwrap(),
        ]);
        fs::write(path.join("left"), "").unwrap();
    }
    // As a power cut leaves it: every `git worktree list` ends with an error.
    fs::write(repo.git_dir().join("worktrees/slot-2/commondir"), "").unwrap();
    let look = "test -d .git && test ! -e left && git status";
    repo.ci(["run", "-j1", "--force", "-x", look])
        .expect_code(0);
    let listed = repo.git(["worktree", "list"]);
    assert!(
        !listed.contains("slot-") && listed.contains("mine"),
        "{listed}"
    );
    repo.git(["worktree", "remove", "../mine"]);
    assert!(!repo.git_dir().join("worktrees").exists());
    repo.ci(["gc"]).expect_code(0);
    assert!(!slots.join("slot-2").exists());
}

/// Runs `script` as a job on `rev`; it prints to a file, whose contents are returned.
pub(super) fn in_job(repo: &TestRepo, dir: &Path, rev: &str, script: &str) -> String {
    let (file, said) = (repo.root().join("script"), repo.root().join("said"));
    fs::write(&file, script).unwrap();
    let command = format!("sh {} >{} 2>&1", file.display(), said.display());
    let mut ci = repo.command(env!("CARGO_BIN_EXE_git-ci"), dir);
    ci.args(["run", "-q", "-j1", "--force", "-x", &command, rev]);
    ci.envs([("GIT_COMMITTER_NAME", "C"), ("GIT_COMMITTER_EMAIL", "c@x")]);
    let ran = Ran(ci.output().unwrap());
    let text = fs::read_to_string(&said).unwrap_or_default();
    assert_eq!(ran.code(), 0, "{text}\n{}{}", ran.stdout(), ran.stderr());
    text
}

/// The same, beside the user: in a clone of the repository that has its refs and
/// configuration, and a detached `HEAD`, which is what a linked worktree has.
fn as_the_user(repo: &TestRepo, dir: &Path, rev: &str, script: &str) -> String {
    let beside = repo.root().join("beside");
    let git = |args: &[&str]| {
        let done = repo.command("git", dir).args(args).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    let path = beside.to_str().unwrap();
    git(&["worktree", "add", "-q", "--detach", path, rev]);
    let done = repo
        .command("sh", &beside)
        .args(["-c", &format!("exec 2>&1; {script}")])
        .output();
    git(&["worktree", "remove", "--force", path]);
    String::from_utf8_lossy(&done.unwrap().stdout).into_owned()
}

#[test]
fn questions_about_history_and_remotes_have_the_users_answers() {
    let repo = rich();
    repo.git(["tag", "light", "HEAD~1"]);
    repo.git(["commit", "-q", "--allow-empty", "-m", "ahead"]);
    repo.git(["branch", "-q", "--track", "topic", "origin/main"]);
    repo.git(["remote", "add", "pushed", "ssh://git@example.com/x.git"]);
    repo.git(["config", "remote.pushed.pushurl", "host:path"]);
    let script = "
        git log --format=%H%d origin/main..; git log --format=%H main...HEAD
        git merge-base HEAD origin/main
        git merge-base --fork-point origin/main main
        git rev-parse main@{u} topic@{u} origin refs/remotes/origin/HEAD
        git describe --tags; git describe; git describe --all; git diff --stat main...HEAD
        git for-each-ref --format='%(refname) %(objectname) %(*objectname) %(symref)' refs/heads refs/tags refs/remotes
        git branch -a -v | sed 's/^[+ ] //' | grep -v '^[*]'; git tag -l
        git ls-remote --heads origin; git remote -v | grep -v origin; git notes show side
        git rev-list --count --exclude=refs/stash --all -- n; git name-rev --tags HEAD; git config user.email
        git rev-parse HEAD; git rev-parse --is-shallow-repository; git symbolic-ref HEAD
    ";
    for rev in ["main", "HEAD~1", "v0"] {
        // The user's own notes of results, which no slot has, would be in the way.
        let expected = as_the_user(&repo, repo.path(), rev, script);
        let seen = in_job(&repo, repo.path(), rev, &format!("{script}\ntrue"));
        assert_eq!(seen, expected, "at {rev}");
    }
    // As it changes, packed or not, within a moment.
    let refs = "git for-each-ref refs/heads refs/tags refs/remotes refs/notes/commits";
    for change in [
        "git tag later",
        "git pack-refs --all",
        "git branch -m topic topic/deep",
        "git branch -D topic/deep && git branch topic",
        "git update-ref refs/heads/topic main",
        "git tag -d later",
        "git notes add -f -m other",
        "git notes --ref=others add -m new && git notes --ref=commits remove",
        "git update-ref refs/remotes/origin/deep/er main",
        "git update-ref -d refs/remotes/origin/deep/er",
        "git tag -m annotated loose && git tag loose2 loose",
        "git pack-refs --all && git tag -f light main",
    ] {
        let changed = repo
            .command("sh", repo.path())
            .args(["-c", change])
            .status();
        assert!(changed.unwrap().success(), "{change}");
        let expected = as_the_user(&repo, repo.path(), "main", refs);
        assert_eq!(
            in_job(&repo, repo.path(), "main", refs),
            expected,
            "{change}"
        );
    }
}

#[test]
fn refs_that_change_within_one_run_are_seen_by_the_next_task() {
    let repo = TestRepo::new();
    let commits: Vec<_> = (0..12).map(|n| repo.commit(&n.to_string())).collect();
    let seen = repo.root().join("seen");
    fs::create_dir(&seen).unwrap();
    // Each job changes a ref of the user's and the next one says what it sees.
    let step = format!(
        "git for-each-ref --format='%(refname) %(objectname)' refs/heads refs/tags >{0}/$(cat n); \
         cd {1} && n=$(ls {0} | wc -l) && git tag t$n && git update-ref refs/heads/b HEAD~$n && \
         case $n in 3|6) git pack-refs --all ;; 9) git tag -d t1 ;; esac && \
         git for-each-ref --format='%(refname) %(objectname)' refs/heads refs/tags >{0}.after",
        seen.display(),
        repo.path().display(),
    );
    let check = format!(
        "test ! -e {0}.after || {{ git for-each-ref --format='%(refname) %(objectname)' refs/heads refs/tags | cmp - {0}.after || exit 9; }}; {step}",
        seen.display()
    );
    let check = check.replace("cd ", "unset GIT_DIR; cd ");
    let mut args = vec!["run", "-q", "-j1", "--order", "oldest", "-x", &check];
    args.extend(commits[..10].iter().map(String::as_str));
    repo.ci(args).expect_code(0);
    assert_eq!(fs::read_dir(seen).unwrap().count(), 10);
}

#[test]
fn the_configuration_is_the_users_and_leads_nowhere_into_the_repository() {
    let repo = rich();
    let home = repo.root().join("home");
    let dir = repo.path().display().to_string();
    fs::write(
        home.join(".gitconfig"),
        format!(
            "[includeIf \"gitdir:{dir}/\"]\n\tpath = below\n\
             [includeIf \"gitdir:/nowhere/\"]\n\tpath = never\n[g]\n\tkey = global\n"
        ),
    )
    .unwrap();
    fs::write(
        home.join("below"),
        "[user]\n\temail = here@example.com\n[include]\n\tpath = deeper\n",
    )
    .unwrap();
    fs::write(home.join("deeper"), "[d]\n\tkey = deep\n").unwrap();
    fs::write(home.join("never"), "[never]\n\tkey = 1\n").unwrap();
    repo.git(["config", "--unset", "user.email"]);
    let odd = "a \"b\" \\c\n\td;#e ";
    repo.git(["config", "x.Some \"sub\\section.KEY", odd]);
    repo.git(["config", "--add", "x.multi", "1"]);
    repo.git(["config", "--add", "x.multi", "2"]);
    fs::write(repo.git_dir().join("own"), "[own]\n\tkey = included\n").unwrap();
    repo.git(["config", "include.path", "own"]);
    fs::write(repo.git_dir().join("on-main"), "[branch-only]\n\tkey = 1\n").unwrap();
    repo.git(["config", "includeIf.onbranch:main.path", "on-main"]);
    repo.git(["config", "core.hooksPath", ".git/hooks"]);
    repo.git(["config", "remote.self.url", "."]);
    repo.git(["config", "remote.self2.url", &dir]);
    repo.git(["config", "remote.self3.url", &format!("file://{dir}/.git")]);
    repo.git(["config", "remote.deep.url", "./../origin.git/"]);
    repo.git(["config", &format!("url.{dir}.insteadOf"), "me:"]);
    repo.git(["config", "url.https://example.com/.insteadOf", "ex/"]);
    repo.git(["config", "remote.alias.url", "ex/y"]);
    let config = |script: &str| in_job(&repo, repo.path(), "HEAD", script);
    let list = config("git config --local --list --no-includes -z | tr '\\0' '\\1'");
    for line in list.split('\u{1}') {
        let safe =
            !line.contains(&dir) || line.starts_with("remote.") && line.contains("/origin.git");
        assert!(safe && !line.contains("/repo/"), "{line}");
    }
    let get = |key: &str| config(&format!("git config --get-all '{key}'; true"));
    assert_eq!(get("user.email"), "here@example.com\n");
    assert_eq!(get("d.key"), "deep\n");
    assert_eq!(get("never.key"), "");
    assert_eq!(get("own.key"), "included\n");
    assert_eq!(get("branch-only.key"), "");
    assert_eq!(get("x.Some \"sub\\section.KEY"), format!("{odd}\n"));
    assert_eq!(get("x.multi"), "1\n2\n");
    assert_eq!(get("core.hooksPath"), "");
    let origin = format!("{}/origin.git\n", repo.root().display());
    assert_eq!(get("remote.origin.url"), origin);
    assert_eq!(get("remote.deep.url"), origin);
    for own in ["self", "self2", "self3"] {
        assert_eq!(get(&format!("remote.{own}.url")), ".\n", "{own}");
    }
    assert_eq!(get("remote.alias.url"), "ex/y\n");
    assert_eq!(get("gc.auto"), "0\n");
    // One file is all that there is to change.
    let set = "git remote set-url origin /x && git config --unset x.multi 1 && git config user.email y && \
               git remote get-url origin; git config x.multi; git config user.email";
    assert_eq!(config(set), "/x\n2\ny\n");
    assert_eq!(config("git remote get-url origin"), origin);
    // What the user changes counts for the next task.
    repo.git(["config", "x.multi", "3", "2"]);
    fs::write(home.join("deeper"), "[d]\n\tkey = deeper\n").unwrap();
    assert_eq!(
        config("git config --get-all x.multi; git config d.key"),
        "1\n3\ndeeper\n"
    );
}

#[test]
fn a_job_pushes_to_remotes_and_never_to_the_users_repository() {
    let repo = rich();
    let before = snapshot(repo.path());
    let origin = repo.root().join("origin.git");
    let script = "
        git push -q origin HEAD:refs/heads/pushed
        git push -q self HEAD:refs/heads/pushed
        git push -q --mirror self
        git fetch -q origin && git fetch -q self
        true
    ";
    repo.git(["remote", "add", "self", repo.path().to_str().unwrap()]);
    let config = fs::read(repo.git_dir().join("config")).unwrap();
    in_job(&repo, repo.path(), "HEAD", script);
    let mut after = snapshot(repo.path());
    assert_eq!(after.remove(Path::new(".git/config")).unwrap().1, config);
    for (path, was) in before
        .iter()
        .filter(|(path, _)| *path != Path::new(".git/config"))
    {
        assert!(after.get(path) == Some(was), "{} changed", path.display());
    }
    let pushed = repo.git(["--git-dir", origin.to_str().unwrap(), "rev-parse", "pushed"]);
    assert_eq!(pushed, repo.git(["rev-parse", "HEAD"]));
}

#[test]
fn git_ci_in_a_job_means_the_users_repository() {
    let repo = rich();
    repo.git(["config", "ci.slots", "2"]);
    let program = env!("CARGO_BIN_EXE_git-ci");
    let inner = format!(
        "test \"$GIT_CI_REPOSITORY\" = {dir} && cd .git/.. && \
         {program} run -q -x 'test -d .git' --as inner HEAD~1 origin/main && {program} status -n 1 && \
         test ! -e .git/ci && git status --porcelain",
        dir = repo.git_dir().display(),
    );
    in_job(&repo, repo.path(), "HEAD", &inner);
    assert_eq!(repo.verdicts("HEAD~1"), ["pass inner"]);
    // A repository that a job makes is its own.
    let own = format!(
        "set -e; mkdir own; cd own; git init -q; git config user.name x; git config user.email x; git commit -q --allow-empty -m x; \
         {program} run -q -x true --as own; git notes --ref=ci show"
    );
    assert!(in_job(&repo, repo.path(), "HEAD", &own).contains("own"));
    assert!(!repo.note("HEAD").contains("own"));
}

#[test]
fn a_job_finds_no_repository_around_its_own() {
    let repo = TestRepo::new();
    // The user's caches may be in a repository, too.
    repo.git(["init", "-q", repo.root().to_str().unwrap()]);
    repo.job(
        "test",
        "for dir in $GIT_CI_ARTIFACTS $GIT_CI_ARTIFACTS/.. $GIT_CI_WORKTREE/..; do \
         cd $dir; git rev-parse --git-dir && exit 1; git tag here && exit 1; \
         git config user.name ours && exit 1; done; \
         cd $GIT_CI_ARTIFACTS && git init -q x && cd x && git rev-parse --git-dir",
    );
    repo.commit("one");
    let config = fs::read(repo.git_dir().join("config")).unwrap();
    let mut run = repo.ci_command(["run"]);
    run.env("GIT_CEILING_DIRECTORIES", repo.root().join("elsewhere"));
    Ran(run.output().unwrap()).expect_code(0);
    assert_eq!(repo.git(["tag"]), "");
    assert_eq!(fs::read(repo.git_dir().join("config")).unwrap(), config);
}

#[test]
fn a_worktree_that_a_job_adds_is_gone_before_the_next_task() {
    let repo = TestRepo::new();
    let elsewhere = repo.root().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("f"), "").unwrap();
    repo.job(
        "test",
        &format!(
            "git worktree add -q ../beside && git worktree add -q inside && touch ../beside/x \
             && git worktree add -q -f ../other && rm -rf ../other && ln -s {} ../other",
            elsewhere.display()
        ),
    );
    repo.commit("one");
    repo.commit("two");
    repo.ci(["run", "-j1", "HEAD~1"]).expect_code(0);
    let root = slot_root(&repo);
    fs::remove_file(root.join("other")).unwrap();
    // Somebody else's, and one that says it is the slot's.
    fs::create_dir(root.join("mine")).unwrap();
    let lies = root.join("slot-1/.git/worktrees/lies");
    fs::create_dir_all(&lies).unwrap();
    let named = format!("{}/mine/.git\n", root.display());
    fs::write(lies.join("gitdir"), named).unwrap();
    repo.ci(["run", "-j1", "HEAD"]).expect_code(0);
    assert!(root.join("mine").is_dir());
    assert!(elsewhere.join("f").exists());
}

/// The directory that the slots are in.
fn slot_root(repo: &TestRepo) -> PathBuf {
    let caches = fs::read_dir(repo.root().join("home/.cache/git-ci")).unwrap();
    let mut roots = caches.map(|entry| entry.unwrap().path());
    roots.find(|path| path.join("slot-1").exists()).unwrap()
}
