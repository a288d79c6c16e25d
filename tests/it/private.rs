//! Private stays private: what git-ci keeps of a repository can be read by its owner
//! alone, or by those with whom the repository is shared; and what is not ours is not used.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::beds::{have, skip};
use crate::support::{Ran, TestRepo, wait_until};

/// Everything below a directory, itself included; links are not followed.
fn all_below(dir: &Path) -> Vec<(PathBuf, fs::Metadata)> {
    let mut found = vec![(dir.to_owned(), fs::symlink_metadata(dir).unwrap())];
    if found[0].1.is_dir() {
        for entry in fs::read_dir(dir).unwrap() {
            found.extend(all_below(&entry.unwrap().path()));
        }
    }
    found
}

/// `git-ci` under a umask.
fn ci_with_umask(repo: &TestRepo, umask: &str, args: &[&str]) -> Ran {
    let mut command = repo.command("sh", repo.path());
    command
        .args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")])
        .arg(env!("CARGO_BIN_EXE_git-ci"))
        .args(args);
    Ran(command.output().unwrap())
}

fn cache(repo: &TestRepo) -> PathBuf {
    repo.root().join("home/.cache/git-ci")
}

/// The directory with the repository's worktrees.
fn worktrees(repo: &TestRepo) -> PathBuf {
    let mut entries = fs::read_dir(cache(repo)).unwrap();
    entries.next().unwrap().unwrap().path()
}

#[test]
fn nothing_is_open_to_others_whatever_the_umask_is() {
    for umask in ["022", "000", "077"] {
        let repo = TestRepo::new();
        fs::set_permissions(repo.path(), fs::Permissions::from_mode(0o700)).unwrap();
        repo.job(
            "test",
            "seq 3000; echo secret >left; echo secret >$GIT_CI_ARTIFACTS/f",
        );
        repo.commit("one");
        ci_with_umask(&repo, umask, &["notify", "--hook", "post-commit"]).expect_code(0);
        ci_with_umask(&repo, umask, &["run"]).expect_code(0);
        ci_with_umask(&repo, umask, &["watch", "--until-idle"]).expect_code(0);
        for dir in [cache(&repo), worktrees(&repo), repo.git_dir().join("ci")] {
            let mode = fs::metadata(&dir).unwrap().mode() & 0o7777;
            assert_eq!(mode, 0o700, "{} under {umask}", dir.display());
        }
        for (path, meta) in all_below(&repo.git_dir().join("ci")) {
            let of_a_job = path
                .components()
                .any(|part| part.as_os_str() == "artifacts");
            assert!(
                of_a_job || meta.mode() & 0o077 == 0,
                "{} has mode {:o} under {umask}",
                path.display(),
                meta.mode()
            );
        }
    }
}

#[test]
fn what_an_older_version_left_open_is_closed_at_the_next_use() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    repo.commit("one");
    repo.ci(["run"]).expect_code(0);
    let (slots, ci) = (worktrees(&repo), repo.git_dir().join("ci"));
    for dir in [&slots, &ci, &ci.join("logs"), &ci.join("slots")] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    }
    repo.commit("two");
    repo.ci(["run"]).expect_code(0);
    for dir in [&slots, &ci, &ci.join("logs"), &ci.join("slots")] {
        let mode = fs::metadata(dir).unwrap().mode() & 0o7777;
        assert_eq!(mode, 0o700, "{}", dir.display());
    }
}

#[test]
fn a_worktree_that_was_replaced_by_a_link_is_refused_and_nothing_behind_it_is_touched() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    repo.git(["config", "ci.slots", "1"]);
    repo.git([
        "config",
        "ci.worktreeDir",
        repo.root().join("trees").to_str().unwrap(),
    ]);
    repo.commit("one");
    repo.ci(["run"]).expect_code(0);
    let slots = fs::read_dir(repo.root().join("trees")).unwrap();
    let slots = slots.map(|entry| entry.unwrap().path()).next().unwrap();
    let valuable = repo.root().join("valuable");
    fs::create_dir_all(valuable.join("slot-1")).unwrap();
    fs::write(valuable.join("file"), "x").unwrap();
    fs::write(valuable.join("slot-1/file"), "x").unwrap();
    let (slot, aside) = (slots.join("slot-1"), repo.root().join("aside"));
    // The worktree, then the directory of all of them.
    for (place, target) in [(&slot, valuable.join("slot-1")), (&slots, valuable.clone())] {
        fs::rename(place, &aside).unwrap();
        symlink(&target, place).unwrap();
        repo.commit("next");
        let ran = repo.ci(["run"]);
        assert_ne!(ran.code(), 0);
        assert_ne!(ran.code(), 1, "no verdict on the commit");
        let said = ran.stderr() + &ran.stdout();
        assert!(said.contains("a symbolic link"), "{said}");
        assert!(said.contains(place.to_str().unwrap()), "{said}");
        assert_eq!(all_below(&valuable).len(), 4, "nothing went, nothing came");
        fs::remove_file(place).unwrap();
        fs::rename(&aside, place).unwrap();
    }
    repo.ci(["run"]).expect_code(0);
}

/// Two users of a machine, who share a group.
struct Users {
    bin: PathBuf,
    root: PathBuf,
}

const ALICE: u32 = 64_001;
const BOB: u32 = 64_002;
const GROUP: u32 = 64_003;

impl Users {
    /// Sets them up below the root of `repo`; `None` where that takes rights we lack.
    fn new(repo: &TestRepo) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip("only root can be two users");
            return None;
        }
        if !have(&["setpriv"]) {
            return None;
        }
        let root = repo.root().join("users");
        fs::create_dir(&root).unwrap();
        for dir in [repo.root(), &root] {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
        }
        // The build directory may be closed to others.
        let bin = root.join("git-ci");
        fs::copy(env!("CARGO_BIN_EXE_git-ci"), &bin).unwrap();
        for uid in [ALICE, BOB] {
            let home = root.join(uid.to_string());
            fs::create_dir(&home).unwrap();
            std::os::unix::fs::chown(&home, Some(uid), Some(uid)).unwrap();
            fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
            let config = format!(
                "[user]\nname = U{uid}\nemail = u{uid}@example.com\n[safe]\ndirectory = *\n"
            );
            fs::write(home.join(".gitconfig"), config).unwrap();
        }
        Some(Self { bin, root })
    }

    fn command(&self, repo: &TestRepo, uid: u32, program: &Path, dir: &Path) -> Command {
        let mut command = repo.command("setpriv", dir);
        command
            .arg(format!("--reuid={uid}"))
            .arg(format!("--regid={uid}"))
            .arg(format!("--groups={GROUP}"))
            .args(["sh", "-c", "umask 022; exec \"$0\" \"$@\""])
            .arg(program)
            .env("HOME", self.root.join(uid.to_string()));
        command
    }

    #[track_caller]
    fn sh(&self, repo: &TestRepo, uid: u32, dir: &Path, script: &str) -> String {
        let mut command = self.command(repo, uid, Path::new("sh"), dir);
        let output = command.args(["-ec", script]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {said}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn ci(&self, repo: &TestRepo, uid: u32, dir: &Path, args: &[&str]) -> Ran {
        Ran(self
            .command(repo, uid, &self.bin, dir)
            .args(args)
            .output()
            .unwrap())
    }
}

/// A repository of Alice's.
fn alices(repo: &TestRepo, users: &Users, init: &str) -> PathBuf {
    let dir = users.root.join("shared");
    fs::create_dir(&dir).unwrap();
    std::os::unix::fs::chown(&dir, Some(ALICE), Some(GROUP)).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o2775)).unwrap();
    users.sh(
        repo,
        ALICE,
        &dir,
        &format!(
            "{init}; printf '[jobs.test]\\nrun = \"test -f a\"\\n' >.git-ci.toml; \
             echo 1 >a; git add .; git commit -qm one"
        ),
    );
    dir
}

#[test]
fn two_users_of_a_shared_repository_run_jobs_and_share_what_comes_of_it() {
    let repo = TestRepo::new();
    let Some(users) = Users::new(&repo) else {
        return;
    };
    let config_only =
        "git init -qb main; git config core.sharedRepository group; chmod -R g+rwX .git";
    for (init, first) in [
        ("git init -qb main --shared=group", ALICE),
        ("git init -qb main --shared=group", BOB),
        ("git init -qb main --shared=0660", BOB),
        (config_only, ALICE),
        (config_only, BOB),
    ] {
        let dir = alices(&repo, &users, init);
        let second = ALICE + BOB - first;
        let what = format!("{init}, {first} first");
        let ci = |uid, args: &[&str]| users.ci(&repo, uid, &dir, args);
        users
            .command(&repo, first, &users.bin, &dir)
            .args(["notify", "--hook", "post-commit"])
            .output()
            .unwrap();
        ci(first, &["run"]).expect_code(0);
        let again = ci(second, &["run", "-v"]).expect_code(0);
        assert!(
            again.stdout().contains("cached"),
            "{what}: {}",
            again.stdout()
        );
        ci(second, &["run", "--force"]).expect_code(0);
        ci(first, &["run", "--force"]).expect_code(0);
        users.sh(&repo, ALICE, &dir, "echo 2 >a; git commit -qam two");
        ci(second, &["notify"]).expect_code(0);
        ci(second, &["watch", "--until-idle"]).expect_code(0);
        users.sh(&repo, ALICE, &dir, "echo 3 >a; git commit -qam three");
        ci(first, &["notify"]).expect_code(0);
        ci(first, &["run", "--new"]).expect_code(0);
        for uid in [ALICE, BOB] {
            for args in [
                &["status"][..],
                &["log"],
                &["show"],
                &["logs", "HEAD", "test"],
                &["doctor"],
                &["gc"],
                &["hosts"],
            ] {
                ci(uid, args).expect_code(0);
            }
        }
        // A place for worktrees that the repository's configuration names is everybody's,
        // and so are commits that only a task needs.
        let trees = users.root.join("trees");
        fs::create_dir(&trees).unwrap();
        fs::set_permissions(&trees, fs::Permissions::from_mode(0o1777)).unwrap();
        let set = format!("git config ci.worktreeDir {}", trees.display());
        users.sh(&repo, ALICE, &dir, &set);
        let lone = "git commit-tree -m lone HEAD^{tree}";
        for uid in [ALICE, BOB] {
            let lone = users.sh(&repo, ALICE, &dir, lone);
            ci(uid, &["run", "--force", &lone]).expect_code(0);
            ci(uid, &["gc"]).expect_code(0);
        }
        assert_eq!(fs::read_dir(&trees).unwrap().count(), 2, "{what}");
        assert_eq!(
            users.sh(&repo, BOB, &dir, "git for-each-ref refs/ci/pin"),
            ""
        );
        fs::remove_dir_all(&trees).unwrap();
        // Others are no more let in than by the repository itself.
        for (path, meta) in all_below(&dir.join(".git/ci")) {
            assert_eq!(meta.mode() & 0o007, 0, "{what}: {}", path.display());
            assert_eq!(meta.mode() & 0o600, 0o600, "{what}: {}", path.display());
        }
        // Each has worktrees of their own.
        for uid in [ALICE, BOB] {
            let cache = users.root.join(uid.to_string()).join(".cache/git-ci");
            let owned = |(_, meta): &(PathBuf, fs::Metadata)| meta.uid() == uid;
            assert!(all_below(&cache).iter().all(owned), "{what}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn what_one_user_runs_is_seen_by_the_other_and_blocks_nobody() {
    let repo = TestRepo::new();
    let Some(users) = Users::new(&repo) else {
        return;
    };
    let dir = alices(&repo, &users, "git init -qb main --shared=group");
    users.sh(&repo, ALICE, &dir, "git config ci.slots 1");
    let gate = users.root.join("gate");
    let wait = format!(
        "touch {0}.up; until test -e {0}; do sleep 0.02; done",
        gate.display()
    );
    // Both can write there.
    fs::set_permissions(&users.root, fs::Permissions::from_mode(0o777)).unwrap();
    let watcher = users
        .command(&repo, ALICE, &users.bin, &dir)
        .args(["run", "-x", &wait, "--as", "slow"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("Alice's job", || gate.with_extension("up").exists());
    let seen = users.ci(&repo, BOB, &dir, &["status"]).expect_code(0);
    assert!(seen.stdout().contains("slow"), "{}", seen.stdout());
    users.ci(&repo, BOB, &dir, &["run"]).expect_code(0);
    fs::write(&gate, "").unwrap();
    assert!(watcher.wait_with_output().unwrap().status.success());
}

#[test]
fn a_directory_of_another_user_is_refused_by_name() {
    let repo = TestRepo::new();
    let Some(users) = Users::new(&repo) else {
        return;
    };
    let dir = alices(&repo, &users, "git init -qb main");
    let trees = users.root.join("trees");
    fs::create_dir(&trees).unwrap();
    fs::set_permissions(&trees, fs::Permissions::from_mode(0o1777)).unwrap();
    let set = format!(
        "git config ci.worktreeDir {}; git config ci.slots 1",
        trees.display()
    );
    users.sh(&repo, ALICE, &dir, &set);
    users.ci(&repo, ALICE, &dir, &["run"]).expect_code(0);
    let slots = fs::read_dir(&trees)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    for place in [slots.join("slot-1"), slots.clone()] {
        std::os::unix::fs::chown(&place, Some(BOB), Some(BOB)).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
        let before = all_below(&place).len();
        users.sh(&repo, ALICE, &dir, "date +%N >a; git commit -qam next");
        let ran = users.ci(&repo, ALICE, &dir, &["run"]);
        assert!(![0, 1].contains(&ran.code()), "{}", ran.code());
        let said = ran.stdout() + &ran.stderr();
        assert!(said.contains("belongs to another user"), "{said}");
        assert!(said.contains(place.to_str().unwrap()), "{said}");
        assert_eq!(all_below(&place).len(), before);
        std::os::unix::fs::chown(&place, Some(ALICE), Some(ALICE)).unwrap();
    }
    users.ci(&repo, ALICE, &dir, &["run"]).expect_code(0);
}
