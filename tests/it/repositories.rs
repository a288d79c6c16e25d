//! Repositories as they are: partial clones, odd commits, stray refs, reftables.

use std::path::{Path, PathBuf};

use crate::support::{Ran, TestRepo, wait_until};

/// `git-ci` in `dir`, as somebody with an identity.
fn ci_in(repo: &TestRepo, dir: &Path, args: &[&str]) -> Ran {
    let mut command = repo.command(env!("CARGO_BIN_EXE_git-ci"), dir);
    command.args(args).envs([
        ("GIT_COMMITTER_NAME", "C"),
        ("GIT_COMMITTER_EMAIL", "c@example.com"),
    ]);
    Ran(command.output().unwrap())
}

/// `git` in `dir`; it must succeed.
#[track_caller]
fn git_in(repo: &TestRepo, dir: &Path, args: &[&str]) -> String {
    let done = Ran(repo.command("git", dir).args(args).output().unwrap());
    done.expect_code(0).stdout().trim_end().to_owned()
}

/// A clone that lacks what `filter` leaves out, with the notes of the original.
fn partial_clone(repo: &TestRepo, filter: &str) -> PathBuf {
    repo.git(["config", "uploadpack.allowFilter", "true"]);
    repo.git(["config", "uploadpack.allowAnySHA1InWant", "true"]);
    let partial = repo.root().join(filter.replace(':', "-"));
    let url = format!("file://{}", repo.path().display());
    let to = partial.to_str().unwrap();
    let filter = format!("--filter={filter}");
    repo.git(["clone", "-q", "--no-checkout", &filter, &url, to]);
    git_in(
        repo,
        &partial,
        &["fetch", "-q", "origin", "refs/notes/*:refs/notes/*"],
    );
    partial
}

#[test]
fn notes_that_a_partial_clone_lacks_are_fetched_when_they_are_read() {
    let repo = TestRepo::new();
    repo.job("look", "test -f n");
    for number in 0..12 {
        repo.commit(&format!("commit {number}"));
    }
    repo.ci(["run", "--all"]).expect_code(0);
    for filter in ["blob:none", "tree:0"] {
        let partial = partial_clone(&repo, filter);
        std::fs::copy(
            repo.path().join(".git-ci.toml"),
            partial.join(".git-ci.toml"),
        )
        .unwrap();
        let lacking = ["rev-list", "--objects", "--missing=print", "refs/notes/ci"];
        let before = git_in(&repo, &partial, &lacking);
        assert!(before.contains("\n?"), "nothing is missing: {before}");
        let status = ci_in(&repo, &partial, &["status", "--all"]).expect_code(0);
        assert_eq!(
            status.stdout().matches("pass").count(),
            12,
            "{}",
            status.stdout()
        );
        let packs = std::fs::read_dir(partial.join(".git/objects/pack")).unwrap();
        let packs = packs
            .flatten()
            .filter(|file| file.path().extension().unwrap() == "pack");
        assert!(packs.count() < 12, "the notes were fetched one by one");
        let log = ci_in(&repo, &partial, &["log", "--all"]).expect_code(0);
        assert_eq!(log.stdout().matches("pass").count(), 12, "{}", log.stdout());
        let known = ci_in(&repo, &partial, &["run", "--all"]).expect_code(0);
        assert!(known.stderr().contains("12 cached"), "{}", known.stderr());
        let more = ci_in(&repo, &partial, &["run", "--all", "--force"]).expect_code(0);
        assert!(more.stderr().contains("12 passed"), "{}", more.stderr());
    }
}

/// A commit object with these lines after its tree and its parent `HEAD`; its id.
fn raw_commit(repo: &TestRepo, rest: &[u8]) -> String {
    let tree = repo.git(["rev-parse", "HEAD^{tree}"]);
    let parent = repo.git(["rev-parse", "HEAD"]);
    let mut raw = format!("tree {tree}\nparent {parent}\n").into_bytes();
    raw.extend(rest);
    write_object(repo, "commit", &raw)
}

/// Writes an object that git itself would not; its id.
fn write_object(repo: &TestRepo, kind: &str, raw: &[u8]) -> String {
    let file = repo.root().join("raw");
    std::fs::write(&file, raw).unwrap();
    let file = file.to_str().unwrap();
    repo.git(["hash-object", "-t", kind, "-w", "--literally", file])
}

const AUTHOR: &str = "author A <a@b> 1 +0000\n";

/// Commits that git works with, although nobody should have written them.
fn odd_commits(repo: &TestRepo) -> Vec<(&'static str, String)> {
    let committer = |date: &str| format!("{AUTHOR}committer C <c@d>{date}\n\nm\n").into_bytes();
    let good = "committer C <c@d> 1750000000 +0000\n";
    let all: Vec<(_, Vec<u8>)> = vec![
        ("empty-date", committer(" ")),
        ("no-date", committer("")),
        ("absurd-date", committer(" the day before yesterday")),
        ("negative-date", committer(" -86400 +0000")),
        (
            "overflowing-date",
            committer(" 99999999999999999999999999 +0000"),
        ),
        ("far-date", committer(" 9999999999999 +0000")),
        ("no-zone", committer(" 1750000000")),
        ("absurd-zone", committer(" 1750000000 +99999999999999")),
        ("word-zone", committer(" 1750000000 Europe/Berlin")),
        ("no-author", format!("{good}\nm\n").into_bytes()),
        ("no-committer", format!("{AUTHOR}\nm\n").into_bytes()),
        ("nobody", b"\nm\n".to_vec()),
        (
            "no-address",
            format!("author A\ncommitter C\n\n{good}").into_bytes(),
        ),
        ("cut-header", format!("{AUTHOR}{good}gpgsig").into_bytes()),
        ("no-message", format!("{AUTHOR}{good}").into_bytes()),
        (
            "odd-header",
            format!("{AUTHOR}{good}x\n y\n\n\n\nm\n").into_bytes(),
        ),
        (
            "odd-encoding",
            format!("{AUTHOR}{good}encoding \n\nm\n").into_bytes(),
        ),
        (
            "not-utf-8",
            [
                format!("{AUTHOR}{good}\n").as_bytes(),
                b"\xff\xfe\x1b[31m\n",
            ]
            .concat(),
        ),
        ("nul", format!("{AUTHOR}{good}\na\0b\n").into_bytes()),
        (
            "nul-in-header",
            format!("author A\0 <a@b> 1 +0000\n{good}\nm\n").into_bytes(),
        ),
        (
            "long-subject",
            format!("{AUTHOR}{good}\n{}\n", "x".repeat(1_000_000)).into_bytes(),
        ),
        (
            "mergetag",
            format!("{AUTHOR}{good}mergetag object 0\n type x\n\nm\n").into_bytes(),
        ),
    ];
    let all = all.into_iter();
    all.map(|(name, raw)| (name, raw_commit(repo, &raw)))
        .collect()
}

#[test]
fn commits_that_nobody_should_have_written_are_read_as_git_reads_them() {
    let repo = TestRepo::new();
    repo.job("look", "test -f n");
    repo.commit("one");
    let odd = odd_commits(&repo);
    for (name, id) in &odd {
        repo.git(["update-ref", &format!("refs/heads/{name}"), id]);
    }
    let all = repo.ci(["status", "--all"]).expect_code(0);
    assert_eq!(all.stdout().matches("one\n").count(), 1, "{}", all.stdout());
    // Everything on every branch, by the walk of the watcher.
    let new = repo.ci(["run", "--new", "-j1"]).expect_code(0);
    for (name, id) in &odd {
        assert_eq!(repo.verdicts(id), ["pass look"], "{name}: {}", new.stderr());
        repo.ci(["run", name]).expect_code(0);
    }
    assert_eq!(repo.verdicts("main"), ["pass look"]);
    // The same once more, with something new behind what was seen.
    let next = repo.commit("two");
    let again = odd_commits(&repo);
    for (name, id) in &again {
        repo.git(["update-ref", &format!("refs/heads/{name}"), id]);
    }
    repo.ci(["watch", "--until-idle"]).expect_code(0);
    for (name, id) in &again {
        assert_eq!(repo.verdicts(id), ["pass look"], "{name}");
        let checkpoint = format!("refs/ci/checkpoint/heads/{name}");
        assert_eq!(&repo.git(["rev-parse", &checkpoint]), id, "{name}");
    }
    assert_eq!(repo.verdicts(&next), ["pass look"]);
    let log = repo.ci(["log", "--all"]).expect_code(0).stdout();
    assert_eq!(log.matches("pass ").count(), odd.len() + 2);
}

#[test]
fn a_commit_that_git_cannot_read_is_named_and_the_others_are_tested() {
    let repo = TestRepo::new();
    repo.job("look", "test -f n");
    repo.commit("one");
    repo.ci(["run", "--new"]).expect_code(0);
    let tree = repo.git(["rev-parse", "HEAD^{tree}"]);
    let date = "1750000000 +0000";
    let head = format!("author A <a@b> {date}\ncommitter C <c@d> {date}\n");
    let bogus = [
        (
            "no-tree",
            write_object(&repo, "commit", format!("{head}\nm\n").as_bytes()),
        ),
        ("bad-parent", {
            let raw = format!("tree {tree}\nparent {}\n{head}\nm\n", "x".repeat(40));
            write_object(&repo, "commit", raw.as_bytes())
        }),
        (
            "missing",
            "1234567890123456789012345678901234567890".to_owned(),
        ),
        ("blob", repo.git(["rev-parse", "HEAD:n"])),
    ];
    for (name, id) in &bogus {
        std::fs::write(
            repo.git_dir().join("refs/heads").join(name),
            format!("{id}\n"),
        )
        .unwrap();
    }
    // What is behind a commit that cannot be read cannot be tested, but what is before it.
    let raw = format!("tree {tree}\nparent {}\n{head}\nm\n", bogus[2].1);
    let child = write_object(&repo, "commit", raw.as_bytes());
    std::fs::write(
        repo.git_dir().join("refs/heads/child"),
        format!("{child}\n"),
    )
    .unwrap();
    let two = repo.commit("two");
    for command in [&["run", "--new"][..], &["watch", "--until-idle"]] {
        let done = repo.ci(command).expect_code(0);
        let said = done.stderr();
        for (name, _) in &bogus[..3] {
            assert!(said.contains(&format!("{name} is left out")), "{said}");
        }
        assert!(!said.contains("blob"), "{said}");
        assert_eq!(
            said.matches("what is behind 1234567890").count(),
            1,
            "{said}"
        );
        assert!(!said.contains("trying again"), "{said}");
        assert_eq!(repo.verdicts(&two), ["pass look"]);
        assert_eq!(repo.verdicts(&child), ["pass look"]);
    }
    let checkpoints = repo.git(["for-each-ref", "--format=%(refname)", "refs/ci/checkpoint"]);
    assert_eq!(checkpoints, "refs/ci/checkpoint/heads/main");
    // Looking at everything works as well, where git itself gives up.
    for command in ["status", "log", "run"] {
        let all = repo.ci([command, "--all"]).expect_code(0);
        let said = all.stderr();
        assert_eq!(said.matches("warning: left out is").count(), 4, "{said}");
        assert!(
            said.contains("left out is what is behind 1234567890"),
            "{said}"
        );
    }
    let all = repo.ci(["status", "--all"]).stdout();
    assert_eq!(all.matches("pass").count(), 3, "{all}");
}

/// The names of all checkpoints.
fn checkpoints(repo: &TestRepo) -> Vec<String> {
    let list = repo.git(["for-each-ref", "--format=%(refname)", "refs/ci/checkpoint"]);
    let names = list
        .lines()
        .map(|line| line.replace("refs/ci/checkpoint/", ""));
    names.collect()
}

fn make_fifo(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

#[test]
fn what_is_no_ref_below_refs_is_in_nobodys_way() {
    let repo = TestRepo::new();
    repo.job("look", "test -f n");
    let one = repo.commit("one");
    repo.ci(["run", "--new"]).expect_code(0);
    let heads = repo.git_dir().join("refs/heads");
    let at = |name: &str| heads.join(name);
    let id = format!("{one}\n");
    for name in [
        "main (conflicted copy)",
        "main~",
        ".DS_Store",
        ".main.swp",
        "two..dots",
        "what?",
        "main.",
    ] {
        std::fs::write(at(name), &id).unwrap();
    }
    std::fs::write(at("stale.lock"), &id).unwrap();
    std::fs::write(at("empty"), "").unwrap();
    std::fs::write(at("text"), "no id at all\n").unwrap();
    std::fs::write(at("half"), &one[..20]).unwrap();
    std::fs::write(at("zero"), format!("{}\n", "0".repeat(40))).unwrap();
    std::fs::write(at("not-text"), b"\xff\xfe\0\x01".repeat(5000)).unwrap();
    std::fs::write(at("dangling"), "ref: refs/heads/nothing\n").unwrap();
    std::fs::write(at("outside"), "ref: ../../config\n").unwrap();
    std::fs::write(at("loop"), "ref: refs/heads/loop\n").unwrap();
    std::fs::write(at("annotated"), format!("{one} and more\n")).unwrap();
    make_fifo(&at("fifo"));
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    std::fs::create_dir_all(at("a/b/c/d/e/f")).unwrap();
    let link = std::os::unix::fs::symlink::<&Path, PathBuf>;
    link(Path::new("."), at("round")).unwrap();
    link(Path::new(".."), at("up")).unwrap();
    link(Path::new("/"), at("everything")).unwrap();
    link(Path::new("refs/heads/main"), at("as-of-old")).unwrap();
    link(Path::new("nowhere"), at("gone")).unwrap();
    let two = repo.commit("two");
    let new = repo.ci(["run", "--new"]).expect_code(0);
    assert_eq!(repo.verdicts(&two), ["pass look"], "{}", new.stderr());
    assert_eq!(
        new.stderr().matches("warning").count(),
        0,
        "{}",
        new.stderr()
    );
    let mut ours = vec![at("fifo"), at("everything"), at("up"), at("round")];
    ours.push(at("loop"));
    for path in &ours {
        // git itself would wait, or walk, without an end.
        std::fs::remove_file(path).unwrap();
    }
    assert_eq!(
        checkpoints(&repo),
        ["heads/annotated", "heads/as-of-old", "heads/main"]
    );
    let three = repo.commit("three");
    repo.ci(["watch", "--until-idle"]).expect_code(0);
    assert_eq!(repo.verdicts(&three), ["pass look"]);
    repo.ci(["status", "--all"]).expect_code(0);
}

#[test]
fn branches_whose_names_are_not_utf_8_are_tested() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let repo = TestRepo::new();
    repo.job("look", "test -f n");
    repo.commit("one");
    let name = OsStr::from_bytes(b"caf\xe9/\"x\"");
    repo.git([OsStr::new("branch"), name]);
    let watch = repo
        .ci([OsStr::new("run"), OsStr::new("--new"), name])
        .expect_code(0);
    assert!(
        watch.stderr().contains("caf\\xe9/\"x\""),
        "{}",
        watch.stderr()
    );
    assert_eq!(repo.verdicts("HEAD"), ["pass look"]);
    repo.git([OsStr::new("checkout"), OsStr::new("-q"), name]);
    let two = repo.commit("two");
    repo.git(["checkout", "-q", "main"]);
    repo.git(["pack-refs", "--all"]);
    repo.ci(["run", "--new"]).expect_code(0);
    assert_eq!(repo.verdicts(&two), ["pass look"]);
    let list = repo
        .command("git", repo.path())
        .arg("for-each-ref")
        .output()
        .unwrap();
    let checkpoint = b"refs/ci/checkpoint/heads/caf\xe9/\"x\"\n";
    assert!(
        list.stdout
            .windows(checkpoint.len())
            .any(|part| part == checkpoint)
    );
    // By its name, as everywhere in git; in the spool; and where it is the only one.
    for command in ["run", "status", "log", "show"] {
        repo.ci([OsStr::new(command), name]).expect_code(0);
    }
    repo.ci([OsStr::new("notify"), name]).expect_code(0);
    let spool = std::fs::read(repo.git_dir().join("ci/spool/commits")).unwrap();
    assert!(spool.windows(4).any(|part| part == b"caf\xe9"));
    let watched = repo.ci([OsStr::new("watch"), OsStr::new("--until-idle"), name]);
    watched.expect_code(0);
    let bare = repo.root().join("bare.git");
    repo.git(["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
    let all = ci_in(&repo, &bare, &["run", "--all", "-x", "true", "--as", "x"]);
    all.expect_code(0);
    repo.git([OsStr::new("branch"), OsStr::new("-D"), name]);
    repo.ci(["gc"]).expect_code(0);
    assert_eq!(checkpoints(&repo), ["heads/main"]);
}

#[test]
fn names_that_are_directories_of_others_and_long_ones_have_checkpoints() {
    let repo = TestRepo::new();
    repo.job("look", "test -f n");
    repo.commit("one");
    let deep = ["d"; 200].join("/");
    let long = "l".repeat(240);
    repo.git(["branch", "a"]);
    repo.git(["branch", &deep]);
    repo.git(["branch", &long]);
    repo.ci(["run", "--new"]).expect_code(0);
    assert_eq!(checkpoints(&repo).len(), 4);
    repo.git(["branch", "-D", "a"]);
    repo.git(["checkout", "-q", "-b", "a/b"]);
    let two = repo.commit("two");
    repo.ci(["run", "--new"]).expect_code(0);
    assert_eq!(repo.verdicts(&two), ["pass look"]);
    assert!(checkpoints(&repo).contains(&"heads/a/b".to_owned()));
    repo.git(["checkout", "-q", "main"]);
    repo.git(["branch", "-D", "a/b"]);
    repo.git(["branch", "a"]);
    repo.ci(["watch", "--until-idle"]).expect_code(0);
    assert!(checkpoints(&repo).contains(&"heads/a".to_owned()));
}

#[test]
fn what_is_checked_out_is_watched_whether_it_is_a_branch_or_not() {
    let repo = TestRepo::new();
    repo.job("look", "test -f n");
    let first = repo.commit("one");
    repo.commit("two");
    repo.git(["checkout", "-q", "--detach", &first]);
    repo.ci(["run", "--new", "HEAD"]).expect_code(0);
    assert_eq!(repo.verdicts(&first), ["pass look"]);
    assert_eq!(repo.verdicts("main"), [""; 0]);
    let three = repo.commit("three");
    let done = repo.ci(["run", "--new", "HEAD"]).expect_code(0);
    assert!(
        !done.stderr().contains("nothing matches"),
        "{}",
        done.stderr()
    );
    assert_eq!(repo.verdicts(&three), ["pass look"]);
    assert_eq!(checkpoints(&repo), ["HEAD"]);
    // A linked worktree has a HEAD of its own.
    let linked = repo.root().join("linked");
    repo.git([
        "worktree",
        "add",
        "-q",
        "--detach",
        linked.to_str().unwrap(),
        "main",
    ]);
    let own = git_in(
        &repo,
        &linked,
        &["commit-tree", "-p", "main", "-m", "own", "main^{tree}"],
    );
    git_in(&repo, &linked, &["checkout", "-q", &own]);
    std::fs::copy(
        repo.path().join(".git-ci.toml"),
        linked.join(".git-ci.toml"),
    )
    .unwrap();
    ci_in(&repo, &linked, &["run", "--new", "HEAD"]).expect_code(0);
    assert_eq!(repo.verdicts(&own), ["pass look"]);
    assert_eq!(checkpoints(&repo), ["HEAD", "worktrees/linked/HEAD"]);
    // Followed while it is watched, onto a branch and off it again.
    let mut watch = repo.spawn_ci(["watch", "HEAD"]);
    repo.git(["checkout", "-q", "main"]);
    let four = repo.commit("four");
    wait_until("the branch", || repo.verdicts(&four) == ["pass look"]);
    repo.git(["checkout", "-q", "--detach"]);
    let five = repo.commit("five");
    wait_until("the detached commit", || {
        repo.verdicts(&five) == ["pass look"]
    });
    wait_until("the checkpoint", || {
        repo.git(["rev-parse", "refs/ci/checkpoint/HEAD"]) == five
    });
    interrupt(&mut watch);
    // Its checkpoint goes with the worktree, and that of HEAD never.
    repo.git(["worktree", "remove", "--force", linked.to_str().unwrap()]);
    repo.ci(["gc"]).expect_code(0);
    assert_eq!(checkpoints(&repo), ["HEAD"]);
}

/// Ends a watcher as Ctrl-C does, and waits for it.
fn interrupt(watch: &mut std::process::Child) {
    let id = watch.id().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-INT", &id])
        .status();
    assert!(sent.unwrap().success());
    watch.wait().unwrap();
}

#[test]
fn checkpoints_do_not_keep_what_a_rewriting_dropped() {
    let repo = TestRepo::new();
    repo.job("look", "test -f n");
    let one = repo.commit("one");
    let two = repo.commit("two");
    repo.ci(["run", "--new"]).expect_code(0);
    let checkpoint = || repo.git(["rev-parse", "refs/ci/checkpoint/heads/main"]);
    assert_eq!(checkpoint(), two);
    // Taken back: the checkpoint goes along, and nothing is tested again.
    repo.git(["reset", "-q", "--hard", &one]);
    repo.ci(["watch", "--until-idle"]).expect_code(0);
    assert_eq!(checkpoint(), one);
    repo.git(["reset", "-q", "--hard", &two]);
    let again = repo.ci(["watch", "--until-idle"]).expect_code(0);
    assert!(again.stderr().contains("1 cached"), "{}", again.stderr());
    assert_eq!(checkpoint(), two);
    // Rewritten while nobody watched, and nobody will: the collector puts it where the
    // two histories part, so that what is new is still new.
    repo.git(["reset", "-q", "--hard", &one]);
    let other = repo.commit("other");
    repo.ci(["gc"]).expect_code(0);
    assert_eq!(checkpoint(), one);
    assert_eq!(repo.git(["for-each-ref", "--contains", &two]), "");
    repo.ci(["watch", "--until-idle"]).expect_code(0);
    assert_eq!(repo.verdicts(&other), ["pass look"]);
    assert_eq!(checkpoint(), other);
}

/// A repository that keeps its refs as a reftable; `None` where git knows none.
fn reftable_repo() -> Option<TestRepo> {
    let probe = TestRepo::new();
    let known = probe.command("git", probe.root());
    let known = { known }
        .args(["init", "-q", "--ref-format=reftable", "probe"])
        .output();
    known.unwrap().status.success().then(|| {
        let repo = TestRepo::init(&["--ref-format=reftable", "-b", "main"]);
        repo.job("look", "test -f n");
        repo
    })
}

#[test]
fn every_command_works_where_refs_are_a_reftable() {
    let Some(repo) = reftable_repo() else { return };
    let one = repo.commit("one");
    let ran = repo.ci(["run"]).expect_code(0);
    assert!(ran.stderr().contains("1 passed"), "{}", ran.stderr());
    assert_eq!(repo.verdicts("HEAD"), ["pass look"]);
    repo.git(["tag", "-a", "-m", "v1", "v1"]);
    repo.git(["branch", "feature/x"]);
    let two = repo.commit("two");
    let known = repo.ci(["run", "--all"]).expect_code(0);
    assert!(known.stderr().contains("1 cached"), "{}", known.stderr());
    let new = repo.ci(["run", "--new"]).expect_code(0);
    assert!(new.stderr().contains("cached"), "{}", new.stderr());
    assert_eq!(checkpoints(&repo), ["heads/feature/x", "heads/main"]);
    for command in ["status", "log", "show", "doctor", "gc", "hosts"] {
        let done = repo.ci([command]).expect_code(0);
        assert!(!done.stderr().contains("warning"), "{}", done.stderr());
    }
    repo.ci(["logs", "HEAD", "look"]).expect_code(0);
    // A branch gives way to one below its name, and its checkpoint does so, too.
    repo.git(["branch", "-D", "feature/x"]);
    repo.git(["checkout", "-q", "-b", "feature"]);
    let three = repo.commit("three");
    repo.ci(["watch", "--until-idle"]).expect_code(0);
    assert_eq!(repo.verdicts(&three), ["pass look"]);
    assert_eq!(checkpoints(&repo), ["heads/feature", "heads/main"]);
    repo.git(["checkout", "-q", "main"]);
    repo.git(["branch", "-D", "feature"]);
    repo.ci(["gc"]).expect_code(0);
    assert_eq!(checkpoints(&repo), ["heads/main"]);
    // From a hook, a detached HEAD, and a linked worktree.
    repo.ci(["hook", "install"]).expect_code(0);
    repo.git(["checkout", "-q", "--detach"]);
    let four = repo.commit("four");
    repo.ci(["run", "--new", "HEAD"]).expect_code(0);
    assert_eq!(repo.verdicts(&four), ["pass look"]);
    let linked = repo.root().join("linked");
    repo.git([
        "worktree",
        "add",
        "-q",
        "--detach",
        linked.to_str().unwrap(),
        "main",
    ]);
    let own = git_in(
        &repo,
        &linked,
        &["commit-tree", "-p", "main", "-m", "own", "main^{tree}"],
    );
    git_in(&repo, &linked, &["checkout", "-q", &own]);
    std::fs::copy(
        repo.path().join(".git-ci.toml"),
        linked.join(".git-ci.toml"),
    )
    .unwrap();
    ci_in(&repo, &linked, &["run", "--new", "HEAD"]).expect_code(0);
    assert_eq!(
        checkpoints(&repo),
        ["HEAD", "heads/main", "worktrees/linked/HEAD"]
    );
    assert_eq!(repo.verdicts(&one), ["pass look"]);
    assert_eq!(repo.verdicts(&two), ["pass look"]);
}

#[test]
fn a_watcher_sees_what_happens_in_a_reftable_at_once_and_outlives_its_conversion() {
    let Some(repo) = reftable_repo() else { return };
    // git converts no reflogs yet.
    repo.git(["config", "core.logAllRefUpdates", "false"]);
    repo.commit("one");
    let mut watch = repo.spawn_ci(["watch"]);
    wait_until("the first verdict", || {
        repo.verdicts("HEAD") == ["pass look"]
    });
    let begun = std::time::Instant::now();
    let two = repo.commit("two");
    wait_until("the second", || repo.verdicts(&two) == ["pass look"]);
    assert!(begun.elapsed().as_secs() < 20, "only the poll has seen it");
    // git does not convert what somebody writes to meanwhile.
    let at = || {
        let mut read = repo.command("git", repo.path());
        read.args(["rev-parse", "refs/ci/checkpoint/heads/main"]);
        let said = read.output().unwrap().stdout;
        String::from_utf8_lossy(&said).trim().to_owned()
    };
    wait_until("its checkpoint", || at() == two);
    for format in ["files", "reftable", "files"] {
        repo.git(["refs", "migrate", "--ref-format", format]);
        let subject = format!("with {format}");
        let next = repo.commit(&subject);
        wait_until(&subject, || repo.verdicts(&next) == ["pass look"]);
        wait_until("its checkpoint", || at() == next);
    }
    interrupt(&mut watch);
    let stray = repo.git_dir().join("refs/notes/ci");
    assert!(stray.exists(), "the last conversion was to files");
    assert_eq!(repo.noted_commits(), 5);
}

#[test]
fn what_a_machine_makes_new_repositories_of_does_not_matter() {
    for (key, value) in [
        ("init.defaultRefFormat", "reftable"),
        ("init.defaultObjectFormat", "sha256"),
    ] {
        let repo = TestRepo::new();
        repo.job("look", "test -f n && git log -1 && git rev-parse HEAD");
        repo.commit("one");
        // The host, and then this machine.
        let far = repo.root().join("far");
        std::fs::create_dir(&far).unwrap();
        let config = format!("{}/.gitconfig", far.display());
        repo.git(["config", "-f", &config, key, value]);
        let command = format!(
            "env HOME={} GIT_DEFAULT_HASH=sha256 GIT_DEFAULT_REF_FORMAT=reftable {{}}",
            far.display()
        );
        repo.git(["config", "ci-host.far.command", &command]);
        repo.git(["config", "ci.local", "false"]);
        repo.ci(["run"]).expect_code(0);
        assert!(repo.note("HEAD").contains(" far "), "{}", repo.note("HEAD"));
        repo.ci(["hosts", "--check"]).expect_code(0);
        repo.git(["config", "ci.local", "true"]);
        repo.git(["config", "--remove-section", "ci-host.far"]);
        repo.git(["config", "--global", key, value]);
        repo.commit("two");
        repo.ci(["run"]).expect_code(0);
        let mut command = repo.ci_command(["run", "--force"]);
        command.envs([
            ("GIT_DEFAULT_HASH", "sha256"),
            ("GIT_DEFAULT_REF_FORMAT", "reftable"),
        ]);
        Ran(command.output().unwrap()).expect_code(0);
    }
}

#[test]
fn submodules_have_ids_of_their_own_kind() {
    for (outer, inner) in [("sha1", "sha1"), ("sha1", "sha256"), ("sha256", "sha1")] {
        let repo = TestRepo::init(&["-b", "main", &format!("--object-format={outer}")]);
        repo.git(["config", "--global", "protocol.file.allow", "always"]);
        let other = repo.root().join("other");
        let format = format!("--object-format={inner}");
        let made = repo.command("git", repo.root());
        let made = { made }
            .args(["init", "-q", "-b", "main", &format])
            .arg(&other)
            .output();
        Ran(made.unwrap()).expect_code(0);
        std::fs::write(other.join("inner"), "x").unwrap();
        git_in(&repo, &other, &["add", "."]);
        git_in(
            &repo,
            &other,
            &[
                "-c",
                "user.name=I",
                "-c",
                "user.email=i@x",
                "commit",
                "-qm",
                "i",
            ],
        );
        repo.git(["submodule", "-q", "add", other.to_str().unwrap(), "sub"]);
        repo.commit("one");
        let mut look = "test -f n && test -f sub/inner && git -C sub log -1".to_owned();
        if (outer, inner) != ("sha1", "sha256") {
            // There git itself takes the submodule for changed: it knows half of the id.
            look += " && test -z \"$(git status --porcelain)\"";
        }
        repo.job("look", &look);
        let mut command = repo.ci_command(["run"]);
        command.envs([
            ("GIT_DEFAULT_HASH", "sha256"),
            ("GIT_DEFAULT_REF_FORMAT", "reftable"),
        ]);
        let ran = Ran(command.output().unwrap()).expect_code(0);
        assert!(
            ran.stderr().contains("1 passed"),
            "{outer} {inner}: {}",
            ran.stderr()
        );
        repo.commit("two");
        repo.git(["config", "--global", "init.defaultObjectFormat", "sha256"]);
        repo.ci(["run"]).expect_code(0);
    }
}

#[test]
fn a_path_need_be_no_text_and_no_single_line() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let origin = TestRepo::new();
    origin.commit("one");
    for name in [
        &b"caf\xe9"[..],
        b"two\nlines",
        b"end\n",
        b" \"quoted\" \t\x1b[31m",
        b"\xff:\n;'",
    ] {
        let dir = origin.root().join(OsStr::from_bytes(name));
        let cloned = origin.command("git", origin.root());
        let cloned = { cloned }
            .args(["clone", "-q"])
            .arg(origin.path())
            .arg(&dir)
            .output();
        Ran(cloned.unwrap()).expect_code(0);
        std::fs::write(
            dir.join(".git-ci.toml"),
            "[jobs.look]\nrun = \"test -f n && git status --porcelain && git log -1\"\n",
        )
        .unwrap();
        let shown = String::from_utf8_lossy(name).into_owned();
        let ran = ci_in(&origin, &dir, &["run"]).expect_code(0);
        assert!(
            ran.stderr().contains("1 passed"),
            "{shown}: {}",
            ran.stderr()
        );
        for command in [
            &["run", "--new"][..],
            &["run", "--all"],
            &["watch", "--until-idle"],
            &["status"],
            &["log"],
            &["show"],
            &["logs", "HEAD", "look"],
            &["notify"],
            &["gc"],
            &["doctor"],
            &["hook", "install"],
            &["hook", "remove"],
        ] {
            let done = ci_in(&origin, &dir, command).expect_code(0);
            assert!(!done.stderr().contains('\x1b'), "{}", done.stderr());
        }
        // Where worktrees are kept, too.
        let kept = origin
            .root()
            .join(OsStr::from_bytes(&[name, b"-kept"].concat()));
        let set = origin.command("git", &dir);
        let set = { set }
            .args(["config", "ci.worktreeDir"])
            .arg(&kept)
            .output();
        Ran(set.unwrap()).expect_code(0);
        ci_in(&origin, &dir, &["run", "--force"]).expect_code(0);
        assert!(
            std::fs::read_dir(&kept).unwrap().next().is_some(),
            "{shown}"
        );
        let log = git_in(&origin, &dir, &["log", "--format=%N", "--notes=ci"]);
        assert_eq!(log.matches("pass").count(), 2, "{log}");
    }
}

#[test]
fn a_git_directory_may_be_anywhere() {
    let repo = TestRepo::new();
    repo.commit("one");
    let at = |name: &str| repo.root().join(name);
    let look = "test -f n && git log -1 && test -z \"$(git status --porcelain)\"";
    let run = ["run", "--force", "-x", look, "--as", "look"];
    // Elsewhere; elsewhere by `core.worktree`; with a configuration for each worktree.
    let (separate, dir) = (at("separate"), at("work"));
    let option = format!("--separate-git-dir={}", separate.display());
    repo.git(["clone", "-q", &option, ".", dir.to_str().unwrap()]);
    ci_in(&repo, &dir, &run).expect_code(0);
    assert_eq!(notes_in(&repo, &dir), 1);
    assert!(separate.join("ci").is_dir());
    git_in(
        &repo,
        &separate,
        &["config", "core.worktree", dir.to_str().unwrap()],
    );
    ci_in(&repo, &separate, &run).expect_code(0);
    git_in(&repo, &dir, &["config", "--unset", "core.worktree"]);
    git_in(
        &repo,
        &dir,
        &["config", "extensions.worktreeConfig", "true"],
    );
    let linked = at("linked");
    git_in(
        &repo,
        &dir,
        &["worktree", "add", "-q", linked.to_str().unwrap()],
    );
    git_in(&repo, &linked, &["config", "--worktree", "ci.slots", "1"]);
    git_in(
        &repo,
        &linked,
        &["config", "--worktree", "core.sparseCheckout", "false"],
    );
    ci_in(&repo, &linked, &run).expect_code(0);
    let jobs = "[jobs.slow]\nrun = \"true\"\n";
    std::fs::write(linked.join(".git-ci.toml"), jobs).unwrap();
    ci_in(&repo, &linked, &["run", "--new"]).expect_code(0);
    // A bare one with worktrees, a shallow one, and one that `includeIf` configures.
    let bare = at("bare.git");
    repo.git(["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
    let beside = at("beside");
    git_in(
        &repo,
        &bare,
        &["worktree", "add", "-q", beside.to_str().unwrap()],
    );
    ci_in(&repo, &bare, &run).expect_code(0);
    ci_in(&repo, &beside, &run).expect_code(0);
    let shallow = at("shallow");
    repo.commit("two");
    let url = format!("file://{}", repo.path().display());
    repo.git(["clone", "-q", "--depth=1", &url, shallow.to_str().unwrap()]);
    ci_in(&repo, &shallow, &run).expect_code(0);
    std::fs::write(shallow.join(".git-ci.toml"), jobs).unwrap();
    ci_in(&repo, &shallow, &["run", "--new"]).expect_code(0);
    ci_in(&repo, &shallow, &["status", "--all"]).expect_code(0);
    let included = at("included");
    std::fs::write(
        &included,
        b"[ci]\n\tslots = 1\n[x]\n\tnot-text = \"\xff\"\n",
    )
    .unwrap();
    let key = format!("includeIf.gitdir:{}/.path", shallow.display());
    repo.git(["config", "--global", &key, included.to_str().unwrap()]);
    ci_in(&repo, &shallow, &["run"]).expect_code(0);
    let slots = ci_in(&repo, &shallow, &["doctor", "--json"]).stdout();
    assert!(!slots.contains("\"error\""), "{slots}");
}

/// How many commits of the repository at `dir` have a note.
fn notes_in(repo: &TestRepo, dir: &Path) -> usize {
    git_in(repo, dir, &["notes", "--ref=ci", "list"])
        .lines()
        .count()
}

#[test]
fn a_watcher_whose_repository_goes_ends_at_once_and_leaves_nothing_in_its_place() {
    enum How {
        Move,
        MoveAbove,
        Delete,
    }
    for (how, busy) in [
        (How::Move, true),
        (How::Move, false),
        (How::MoveAbove, false),
        (How::MoveAbove, true),
        (How::Delete, false),
        (How::Delete, true),
    ] {
        let repo = TestRepo::new();
        let above = repo.root().join("above/and");
        std::fs::create_dir_all(&above).unwrap();
        let dir = above.join("repo");
        repo.commit("one");
        repo.git(["clone", "-q", ".", dir.to_str().unwrap()]);
        let mark = repo.root().join("mark");
        let job = if busy {
            format!("touch {}; sleep 600", mark.display())
        } else {
            format!("touch {}", mark.display())
        };
        let jobs = format!("[jobs.look]\nrun = \"{job}\"\n");
        std::fs::write(dir.join(".git-ci.toml"), jobs).unwrap();
        let mut command = repo.command(env!("CARGO_BIN_EXE_git-ci"), &dir);
        command
            .arg("watch")
            .env("GIT_COMMITTER_NAME", "C")
            .env("GIT_COMMITTER_EMAIL", "c@example.com")
            .stderr(std::process::Stdio::piped());
        let mut watch = command.spawn().unwrap();
        wait_until("the job", || mark.exists());
        if !busy {
            wait_until("its verdict", || notes_in(&repo, &dir) == 1);
        }
        let begun = std::time::Instant::now();
        match how {
            How::Move => std::fs::rename(&dir, repo.root().join("elsewhere")).unwrap(),
            How::MoveAbove => {
                std::fs::rename(repo.root().join("above"), repo.root().join("beyond")).unwrap();
            }
            // Also what is written meanwhile.
            How::Delete => while std::fs::remove_dir_all(&dir).is_err() {},
        }
        let status = watch.wait().unwrap();
        assert!(begun.elapsed().as_secs() < 15, "{:?}", begun.elapsed());
        let mut said = String::new();
        std::io::Read::read_to_string(&mut watch.stderr.unwrap(), &mut said).unwrap();
        assert_eq!(status.code(), Some(128), "{said}");
        assert!(
            said.contains("the repository is not there any more"),
            "{said}"
        );
        assert!(!dir.exists(), "something made it anew: {said}");
    }
}

#[test]
fn before_a_push_is_accepted_everything_can_be_read_and_nothing_is_run() {
    let repo = TestRepo::new();
    repo.write(".git-ci.toml", "[jobs.look]\nrun = \"test -f n\"\n");
    repo.commit("one");
    let bare = repo.root().join("bare.git");
    repo.git(["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
    ci_in(&repo, &bare, &["run", "main"]).expect_code(0);
    let out = repo.root().join("out");
    let ci = env!("CARGO_BIN_EXE_git-ci");
    let script = format!(
        "#!/bin/sh\nread old new name\nexec >{} 2>&1\n\
         for what in \"status $new\" \"show $new\" \"log $old\" \"run -n $new\" \\\n\
         \"run $new\" \"run --new\" watch \"notify $new\" \"notify --hook pre-receive\"; do\n\
         {ci} $what </dev/null; echo \"== $what: $?\"; done\nexit 0\n",
        out.display()
    );
    let hook = bare.join("hooks/pre-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&hook, mode).unwrap();
    let two = repo.commit("two");
    let refs = git_in(&repo, &bare, &["for-each-ref", "refs/notes", "refs/ci"]);
    repo.git(["push", "-q", bare.to_str().unwrap(), "main"]);
    let said = std::fs::read_to_string(&out).unwrap();
    let one = repo.git(["rev-parse", "main~1"]);
    for (what, code) in [
        (format!("status {two}"), 0),
        (format!("show {two}"), 0),
        (format!("log {one}"), 0),
        (format!("run {two}"), 128),
        ("run --new".to_owned(), 128),
        ("watch".to_owned(), 128),
        (format!("notify {two}"), 128),
        ("notify --hook pre-receive".to_owned(), 0),
    ] {
        assert!(
            said.contains(&format!("== {what}: {code}\n")),
            "{what}: {said}"
        );
    }
    assert!(said.contains(&format!("== run -n {two}: ")), "{said}");
    assert_eq!(said.matches("post-receive").count(), 5, "{said}");
    assert!(!said.contains("fsck"), "{said}");
    assert_eq!(
        git_in(&repo, &bare, &["for-each-ref", "refs/notes", "refs/ci"]),
        refs
    );
    assert!(!bare.join("ci/spool/commits").exists());
}

#[test]
fn whatever_is_in_the_place_of_a_state_file_there_is_a_way_out() {
    let repo = TestRepo::new();
    repo.job("look", "test -f n");
    repo.commit("one");
    repo.ci(["watch", "--until-idle"]).expect_code(0);
    repo.ci(["notify"]).expect_code(0);
    let ci = repo.git_dir().join("ci");
    let mut files = Vec::new();
    let mut dirs = vec![ci.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true if entry.file_name() != "logs" => dirs.push(entry.path()),
                true => {}
                false => files.push(entry.path()),
            }
        }
    }
    for name in [
        "watch.begin",
        "watch.lock",
        "control",
        "spool/commits",
        "records",
    ] {
        let path = ci.join(name);
        files.retain(|other| *other != path);
        files.push(path);
    }
    assert!(files.len() > 5, "{files:?}");
    for path in &files {
        for what in ["nothing", "half", "garbage", "directory", "fifo", "link"] {
            let before = std::fs::read(path).unwrap_or_default();
            let _ = std::fs::remove_file(path).or_else(|_| std::fs::remove_dir_all(path));
            match what {
                "nothing" => std::fs::write(path, "").unwrap(),
                "half" => std::fs::write(path, &before[..before.len() / 2]).unwrap(),
                "garbage" => std::fs::write(path, b"\xff\xfe\0garbage\n".repeat(99)).unwrap(),
                "directory" => std::fs::create_dir(path).unwrap(),
                "fifo" => make_fifo(path),
                _ => std::os::unix::fs::symlink("/etc/hostname", path).unwrap(),
            }
            repo.commit(&format!("{} {what}", path.display()));
            for command in [
                &["watch", "--until-idle"][..],
                &["run"],
                &["status"],
                &["notify"],
            ] {
                let done = repo.ci(command);
                let said = done.stderr();
                let place = format!("{command:?} with {what} at {}: {said}", path.display());
                match done.code() {
                    0 => {}
                    128 => assert!(said.contains("remove it"), "{place}"),
                    code => panic!("{code}: {place}"),
                }
            }
            let _ = std::fs::remove_file(path).or_else(|_| std::fs::remove_dir_all(path));
            repo.ci(["watch", "--until-idle"]).expect_code(0);
            assert_eq!(
                repo.verdicts("HEAD"),
                ["pass look"],
                "{what} at {}",
                path.display()
            );
        }
    }
}

#[test]
fn locks_of_ours_that_killed_processes_left_are_in_nobodys_way() {
    let repo = TestRepo::new();
    repo.job("look", "test -f n");
    repo.commit("one");
    repo.ci(["run", "--new"]).expect_code(0);
    let checkpoints = repo.git_dir().join("refs/ci/checkpoint/heads");
    let lock = checkpoints.join("main.lock");
    let theirs = repo.git_dir().join("refs/heads/other.lock");
    let make = |path: &Path, age: u64| {
        let file = std::fs::File::create(path).unwrap();
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(age);
        file.set_modified(then).unwrap();
    };
    make(&lock, 3600);
    make(&theirs, 3600);
    let two = repo.commit("two");
    repo.ci(["run", "--new"]).expect_code(0);
    assert_eq!(
        repo.git(["rev-parse", "refs/ci/checkpoint/heads/main"]),
        two
    );
    make(&lock, 3 * 24 * 3600);
    repo.ci(["gc"]).expect_code(0);
    assert!(!lock.exists() && theirs.exists());
}
