//! A slot is a repository of its own: whatever a job does with git stays there and is
//! gone before the next task, and the user's repository is, byte for byte, what it was.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::support::TestRepo;

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
git filter-branch -f --msg-filter cat HEAD
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
