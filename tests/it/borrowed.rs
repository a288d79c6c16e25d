//! What a task has of the user's repository besides commits: keys, large files, an end of
//! history, a part of the tree. It is there where the user has it, wherever they keep it, and
//! none of it is theirs to be changed.

use std::fs;
use std::path::{Path, PathBuf};

use super::slots::{in_job, snapshot};
use super::submodules::add_submodule;
use super::support::{Ran, TestRepo};

/// A repository with an encrypted file `x.secret`, unlocked, of whose commit nothing is
/// known yet.
fn encrypted() -> TestRepo {
    let repo = TestRepo::new();
    repo.git(["crypt", "init"]);
    repo.write(
        ".gitattributes",
        "*.secret filter=git-crypt diff=git-crypt\n",
    );
    repo.write("x.secret", "plain words\n");
    repo.commit("one");
    let blob = repo.git(["cat-file", "blob", "HEAD:x.secret"]);
    assert!(blob.contains("GITCRYPT"), "{blob}");
    repo
}

/// Runs `job` on `HEAD` of the clone at `dir`; returns all that was said.
#[track_caller]
fn run_in(repo: &TestRepo, dir: &Path, job: &str, code: i32) -> String {
    let mut ci = repo.command(env!("CARGO_BIN_EXE_git-ci"), dir);
    ci.args(["run", "-j1", "-x", job, "--as", "t"]);
    ci.envs([("GIT_COMMITTER_NAME", "C"), ("GIT_COMMITTER_EMAIL", "c@x")]);
    let ran = Ran(ci.output().unwrap()).expect_code(code);
    ran.stdout() + &ran.stderr()
}

#[test]
fn a_job_reads_what_git_crypt_has_unlocked() {
    let repo = encrypted();
    let before = snapshot(&repo.git_dir().join("git-crypt"));
    let look = "grep -q 'plain words' x.secret && test -z \"$(git status --porcelain)\" && \
                git crypt status x.secret && git diff --quiet && git show HEAD:x.secret | grep -aq GITCRYPT";
    repo.ci(["run", "-q", "-x", look, "--as", "t"])
        .expect_code(0);
    // The key in the slot is the slot's, and only the user may read it.
    let damage = "stat -c %a .git/git-crypt/keys/default; git crypt lock; \
                  rm -rf .git/git-crypt; mkdir -p .git/git-crypt/keys; echo x >.git/git-crypt/keys/default";
    assert!(in_job(&repo, repo.path(), "HEAD", damage).starts_with("600\n"));
    repo.write("x.secret", "plain words, others\n");
    repo.commit("two");
    repo.ci(["run", "-q", "-j1", "HEAD~1", "HEAD", "--force", "-x", look])
        .expect_code(0);
    assert!(snapshot(&repo.git_dir().join("git-crypt")) == before);
}

#[test]
fn what_git_crypt_has_locked_is_tested_as_it_is_for_the_user_and_is_another_verdict() {
    let repo = encrypted();
    let (plain, cipher) = (
        "grep -q 'plain words' x.secret",
        "grep -aq GITCRYPT x.secret",
    );
    repo.job("plain", plain).job("cipher", cipher);
    repo.ci(["run", "-q"]).expect_code(1);
    assert_eq!(repo.verdicts("HEAD"), ["FAIL cipher", "pass plain"]);
    let key = repo.root().join("key");
    repo.git(["crypt", "export-key", key.to_str().unwrap()]);
    repo.git(["crypt", "lock"]);
    let users = repo
        .command("sh", repo.path())
        .args(["-c", cipher])
        .status();
    assert!(users.unwrap().success());
    let known = repo.ci(["run"]).expect_code(1);
    assert!(known.stderr().contains("1 FAILED"), "{}", known.stderr());
    assert!(repo.verdicts("HEAD").contains(&"pass cipher".to_owned()));
    // A clone that was never unlocked.
    let clone = repo.root().join("clone");
    repo.git(["clone", "-q", ".", clone.to_str().unwrap()]);
    run_in(&repo, &clone, cipher, 0);
    // Where only the key is gone nothing can be said.
    let key = key.to_str().unwrap();
    repo.git(["crypt", "unlock", key]);
    fs::rename(repo.git_dir().join("git-crypt"), repo.root().join("away")).unwrap();
    let said = run_in(&repo, repo.path(), plain, 125);
    assert!(said.contains("filter"), "{said}");
    fs::rename(repo.root().join("away"), repo.git_dir().join("git-crypt")).unwrap();
    run_in(&repo, repo.path(), plain, 0);
}

#[test]
fn keys_by_name_and_keys_of_submodules_are_there() {
    let inner = encrypted();
    inner.git(["crypt", "init", "-k", "other"]);
    inner.write(
        ".gitattributes",
        "*.secret filter=git-crypt diff=git-crypt\n*.other filter=git-crypt-other\n",
    );
    inner.write("y.other", "other words\n");
    inner.commit("two");
    let keys = ["default", "other"].map(|name| {
        let file = inner.root().join(name);
        inner.git(["crypt", "export-key", "-k", name, file.to_str().unwrap()]);
        file
    });
    let look = "grep -q 'plain words' x.secret && grep -q 'other words' y.other && \
                test -z \"$(git status --porcelain)\"";
    inner.ci(["run", "-q", "-x", look]).expect_code(0);
    let repo = TestRepo::new();
    add_submodule(&repo, &inner, "lib");
    repo.commit("one");
    repo.ci([
        "run",
        "-q",
        "--force",
        "-x",
        "grep -aq GITCRYPT lib/x.secret",
    ])
    .expect_code(0);
    for key in keys {
        let lib = repo.path().join("lib");
        let mut unlock = repo.command("git", &lib);
        let done = unlock.args(["crypt", "unlock"]).arg(key).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    let look = format!("cd lib && {look}");
    repo.ci(["run", "-q", "--force", "-x", &look])
        .expect_code(0);
}

#[test]
fn large_files_are_found_wherever_they_are_stored_and_no_job_stores_any_there() {
    for storage in ["store", "absolute", "~/store"] {
        let repo = TestRepo::new();
        let (value, place): (String, PathBuf) = match storage {
            "absolute" => {
                let place = repo.root().join("elsewhere");
                (place.to_str().unwrap().to_owned(), place)
            }
            "~/store" => {
                // git-lfs knows no `~`: it is a directory of this name in the git directory.
                (storage.to_owned(), repo.git_dir().join(storage))
            }
            _ => (storage.to_owned(), repo.git_dir().join(storage)),
        };
        repo.git(["config", "lfs.storage", &value]);
        repo.git(["lfs", "install"]);
        repo.git(["lfs", "track", "*.bin"]);
        repo.write("big.bin", "a large file\n");
        repo.commit("one");
        let before = snapshot(&place);
        assert!(!before.is_empty(), "{storage}: {}", place.display());
        let look = "grep -q 'a large file' big.bin && test -z \"$(git status --porcelain)\"";
        repo.ci(["run", "-q", "--force", "-x", look]).expect_code(0);
        let add = "echo of a job >job.bin; git add job.bin; git lfs ls-files -l; git lfs prune; rm -rf .git/store; true";
        let said = in_job(&repo, repo.path(), "HEAD", add);
        assert!(said.contains("job.bin"), "{said}");
        assert!(snapshot(&place) == before, "{storage}");
        repo.ci(["run", "-q", "--force", "-x", look]).expect_code(0);
    }
}

#[test]
fn large_files_of_a_submodule_are_there() {
    let repo = TestRepo::new();
    let inner = TestRepo::new();
    repo.git(["lfs", "install"]);
    inner.git(["lfs", "install"]);
    inner.git(["lfs", "track", "*.bin"]);
    inner.write("big.bin", "a large file\n");
    inner.commit("inner");
    add_submodule(&repo, &inner, "lib");
    repo.commit("one");
    repo.job(
        "j",
        "grep -q 'a large file' lib/big.bin && test -z \"$(git -C lib status --porcelain)\"",
    );
    repo.ci(["run", "-q"]).expect_code(0);
    repo.commit("two");
    // git-lfs stores whatever git asks it about.
    fs::remove_file(repo.path().join("lib/big.bin")).unwrap();
    let store = repo.git_dir().join("modules/lib/lfs");
    fs::rename(&store, repo.root().join("away")).unwrap();
    fs::rename(inner.path(), inner.root().join("gone")).unwrap();
    repo.ci(["run", "-q", "--force"]).expect_code(0);
    // In a slot that has never had it.
    repo.ci(["gc"]).expect_code(0);
    fs::remove_dir_all(repo.root().join("home/.cache")).unwrap();
    let ran = repo.ci(["run", "--force"]).expect_code(125);
    let said = ran.stdout() + &ran.stderr();
    assert!(said.contains("'lib'") && said.contains("big.bin"), "{said}");
    let _ = fs::remove_dir_all(&store);
    fs::rename(repo.root().join("away"), &store).unwrap();
    repo.ci(["run", "-q", "--force"]).expect_code(0);
}

#[test]
fn a_history_that_is_cut_off_is_as_long_for_a_job_as_for_the_user() {
    let origin = TestRepo::new();
    for subject in ["one", "two", "three", "four"] {
        origin.commit(subject);
        if subject != "four" {
            origin.git(["tag", "-m", "a tag", &format!("v-{subject}")]);
        }
    }
    let shallow = origin.root().join("shallow");
    let url = format!("file://{}", origin.path().display());
    let to = shallow.to_str().unwrap();
    origin.git(["clone", "-q", "--depth=2", &url, to]);
    let look = "git describe --tags; git log --format=%s; git rev-parse --is-shallow-repository; \
                git rev-list --count HEAD; git fsck 2>&1; git for-each-ref refs/tags";
    let users = origin.command("sh", &shallow).args(["-c", look]).output();
    let users = String::from_utf8(users.unwrap().stdout).unwrap();
    assert!(users.starts_with("v-three-1-g"), "{users}");
    assert_eq!(in_job(&origin, &shallow, "HEAD", look), users);
    // Deeper and whole, from one task to the next.
    for deepen in [
        ["fetch", "-q", "--deepen=1"],
        ["fetch", "-q", "--unshallow"],
    ] {
        let done = origin.command("git", &shallow).args(deepen).status();
        assert!(done.unwrap().success());
        let users = origin.command("sh", &shallow).args(["-c", look]).output();
        let users = String::from_utf8(users.unwrap().stdout).unwrap();
        assert_eq!(in_job(&origin, &shallow, "HEAD", look), users);
    }
}

#[test]
fn a_history_that_is_grafted_is_for_a_job_what_was_recorded() {
    let repo = TestRepo::new();
    let one = repo.commit("one");
    let two = repo.commit("two");
    let three = repo.commit("three");
    let info = repo.git_dir().join("info");
    fs::create_dir_all(&info).unwrap();
    fs::write(info.join("grafts"), format!("{three} {one}\n")).unwrap();
    let log =
        "git log --format=%s; git merge-base --is-ancestor HEAD~1 HEAD && git rev-parse HEAD~1";
    assert!(!repo.git(["log", "--format=%s"]).contains("two"));
    let recorded = format!("three\ntwo\none\n{two}\n");
    assert_eq!(in_job(&repo, repo.path(), "HEAD", log), recorded);
    fs::remove_file(info.join("grafts")).unwrap();
    repo.git(["replace", "--graft", &three, &one]);
    assert!(!repo.git(["log", "--format=%s"]).contains("two"));
    assert_eq!(in_job(&repo, repo.path(), "HEAD", log), recorded);
    // A job's own stays in its slot.
    let graft = "git replace --graft HEAD; mkdir -p .git/info; echo $(git rev-parse HEAD) >.git/info/grafts";
    in_job(&repo, repo.path(), "HEAD", graft);
    assert_eq!(in_job(&repo, repo.path(), "HEAD", log), recorded);
}

#[test]
fn a_part_of_the_tree_in_the_work_tree_is_no_verdict_on_the_whole() {
    let repo = TestRepo::new();
    repo.write("a/t", "ok\n").write("b/t", "BAD\n");
    repo.job("t", "! grep -rq BAD a b");
    repo.commit("one");
    repo.git(["sparse-checkout", "set", "a"]);
    assert!(!repo.path().join("b").exists());
    let tree = repo.git(["ls-files", "-t"]);
    assert!(tree.contains("S b/t"), "{tree}");
    repo.job("u", "test -f b/t");
    repo.ci(["run", "-q"]).expect_code(1);
    repo.git(["sparse-checkout", "disable"]);
    repo.ci(["run", "-q"]).expect_code(1);
    assert_eq!(repo.verdicts("HEAD"), ["FAIL t", "pass u"]);

    // Where slots are to follow that is part of what a verdict is about.
    let repo = TestRepo::new();
    repo.git(["config", "ci.sparse", "true"]);
    repo.write("a/t", "ok\n").write("b/t", "BAD\n");
    repo.job("t", "! grep -rq BAD a b");
    repo.commit("one");
    repo.git(["sparse-checkout", "set", "a"]);
    repo.ci(["run", "-q"]).expect_code(0);
    assert!(repo.note("HEAD").contains(" env="), "{}", repo.note("HEAD"));
    repo.git(["sparse-checkout", "set", "b"]);
    repo.ci(["run", "-q"]).expect_code(1);
    repo.git(["sparse-checkout", "set", "a"]);
    repo.ci(["run", "-q"]).expect_code(0);
    repo.git(["sparse-checkout", "disable"]);
    repo.ci(["run", "-q"]).expect_code(1);
    let note = repo.note("HEAD");
    assert_eq!(note.matches(" env=").count(), 2, "{note}");
    assert_eq!(note.lines().count(), 3, "{note}");
}
