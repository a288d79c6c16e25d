//! The worktree that a task finds, compared with the one that `git worktree add` and
//! `git checkout` make: the same files, modes, links and contents, the same `git status`,
//! whatever the task before did.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::support::{Ran, TestRepo};

/// Prints all there is to see of a worktree.
const LOOK: &str = r#"
echo "HEAD $(git rev-parse HEAD)"
git symbolic-ref -q HEAD
git status --porcelain --ignored
git diff --no-ext-diff HEAD
find . -name .git -prune -o -printf '%y %m %p -> %l\n' | LC_ALL=C sort
find . -name .git -prune -o -type f -exec sha256sum {} + | LC_ALL=C sort
find . -mindepth 2 -name .git -printf '%p\n' | LC_ALL=C sort
(cd "$(git rev-parse --git-dir)" && ls | grep -vxE 'HEAD|ORIG_HEAD|commondir|gitdir|index|logs|refs|info|modules|config.worktree|git-ci|config|objects|packed-refs|lfs|hooks')
git ls-files -v | grep -v '^[HS] '
true
"#;

/// Compares what tasks see with what fresh worktrees show.
pub(super) struct Bench {
    pub(super) repo: TestRepo,
    /// What runs in a task after it has looked.
    pub(super) then: String,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::on(TestRepo::new())
    }

    pub(super) fn on(repo: TestRepo) -> Self {
        fs::write(repo.root().join("look"), LOOK).unwrap();
        fs::create_dir(repo.root().join("seen")).unwrap();
        let then = "true".to_owned();
        Self { repo, then }
    }

    pub(super) fn seen(&self) -> PathBuf {
        self.repo.root().join("seen")
    }

    /// Runs a task on each of `commits`, in one process.
    pub(super) fn run(&self, commits: &[String], more: &[&str]) -> Ran {
        for entry in fs::read_dir(self.seen()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        let command = format!(
            "sh {root}/look >{root}/seen/$GIT_CI_COMMIT 2>&1; {then}",
            root = self.repo.root().display(),
            then = self.then
        );
        let mut args = vec!["run", "-q", "-j1", "--force", "-x", &command];
        args.extend(more);
        args.extend(commits.iter().map(String::as_str));
        self.repo.ci(args)
    }

    /// What a fresh worktree at `commit` shows.
    pub(super) fn fresh(&self, commit: &str) -> String {
        let path = self.repo.root().join("fresh");
        self.repo.git([
            OsStr::new("worktree"),
            OsStr::new("add"),
            OsStr::new("-q"),
            OsStr::new("--detach"),
            path.as_os_str(),
            OsStr::new(commit),
        ]);
        if path.join(".gitmodules").exists() {
            let mut update = self.repo.command("git", &path);
            update.args(["-c", "protocol.file.allow=always", "submodule", "-q"]);
            update.args(["update", "--init", "--recursive"]);
            let output = update.output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        let look = self.repo.root().join("look");
        let output = self.repo.command("sh", &path).arg(look).output().unwrap();
        self.repo.git([
            OsStr::new("worktree"),
            OsStr::new("remove"),
            OsStr::new("--force"),
            OsStr::new("--force"),
            path.as_os_str(),
        ]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(super) fn compare(&self, commit: &str) {
        let seen = fs::read(self.seen().join(commit)).unwrap();
        let (seen, fresh) = (
            String::from_utf8_lossy(&seen).into_owned(),
            self.fresh(commit),
        );
        assert!(
            seen == fresh,
            "at {commit} a task saw\n{seen}\n--- where a fresh worktree has\n{fresh}"
        );
    }

    /// Runs on `commits` and compares each.
    #[track_caller]
    pub(super) fn check(&self, commits: &[String], more: &[&str]) {
        self.run(commits, more).expect_code(0);
        for commit in commits {
            self.compare(commit);
        }
    }
}

/// Small numbers that look random and are the same each time.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Removes whatever is at `path`.
fn remove(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

/// Changes a few random paths of the work tree: files become directories, links,
/// executables, or go.
fn shake(repo: &TestRepo, dice: &mut Dice, names: &[&[u8]]) {
    for _ in 0..1 + dice.roll(4) {
        let name = names[dice.roll(names.len() as u64) as usize];
        let path = repo.path().join(OsStr::from_bytes(name));
        let mut above = path.parent().unwrap();
        while above != repo.path() {
            if fs::symlink_metadata(above).is_ok_and(|meta| !meta.is_dir()) {
                remove(above);
            }
            above = above.parent().unwrap();
        }
        remove(&path);
        let text = format!("text {}\nand more\n", dice.roll(5));
        match dice.roll(6) {
            0 => continue,
            1 => {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let target = if dice.roll(2) == 0 {
                    "../elsewhere"
                } else {
                    "d"
                };
                std::os::unix::fs::symlink(target, &path).unwrap();
            }
            kind => {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, text).unwrap();
                let mode = if kind == 2 { 0o755 } else { 0o644 };
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            }
        }
    }
}

/// Commits the work tree as it is.
fn commit_all(repo: &TestRepo) -> String {
    repo.git(["add", "-A"]);
    repo.git(["commit", "-q", "--allow-empty", "-m", "a commit"]);
    repo.git(["rev-parse", "HEAD"])
}

const NAMES: [&[u8]; 13] = [
    b"a",
    b"a/b",
    b"a.c",
    b"d/x",
    b"d/y/z",
    b"d/y/w",
    b"d",
    b"e/f/g/h",
    b"n\xff\xfe",
    b"s\xe9/t",
    b"sp ace/q\"uote",
    b"new\nline",
    b"-dash",
];

#[test]
fn generated_histories_arrive_as_git_checks_them_out() {
    for seed in 1..=3 {
        let format = if seed == 3 { "sha256" } else { "sha1" };
        let options = ["-b", "main", &format!("--object-format={format}")];
        let bench = Bench::on(TestRepo::init(&options));
        let mut dice = Dice(seed);
        let mut commits = Vec::new();
        for round in 0..18 {
            match round {
                6 => {
                    bench.repo.git(["rm", "-rqf", "--ignore-unmatch", "."]);
                }
                12 => {
                    bench.repo.git(["checkout", "-q", "--orphan", "other"]);
                    shake(&bench.repo, &mut dice, &NAMES);
                }
                _ => shake(&bench.repo, &mut dice, &NAMES),
            }
            commits.push(commit_all(&bench.repo));
        }
        commits.dedup();
        bench.check(&commits, &["--order", "oldest"]);
        let every_third: Vec<_> = commits.iter().step_by(3).cloned().collect();
        bench.check(&every_third, &["--order", "newest"]);
    }
}

#[test]
fn plain_moves_need_no_git() {
    let repo = TestRepo::new();
    repo.write(".gitattributes", "* text=auto\n*.png binary\n");
    repo.write(".gitignore", "cache\n");
    repo.write("d/e", "e\n");
    for i in 0..8 {
        repo.write("f", format!("{i}\n"));
        repo.commit("one more");
    }
    repo.let_configuration_settle();
    let trace = repo.root().join("trace");
    let job = "git status >/dev/null; rm f; echo x >d/e; touch cache; git add -A; test ! -e left";
    let mut run = repo.ci_command(["run", "-q", "-j1", "--force", "--all", "-x", job]);
    let ran = Ran(run.env("GIT_TRACE", &trace).output().unwrap());
    ran.expect_code(0);
    let trace = fs::read_to_string(trace).unwrap();
    // The first one finds nothing that it could trust.
    assert_eq!(
        trace.matches("built-in: git checkout").count(),
        1,
        "{trace}"
    );
    assert_eq!(trace.matches("built-in: git clean").count(), 1, "{trace}");
}

#[test]
fn filters_and_line_endings_come_and_go_with_their_attributes() {
    let bench = Bench::new();
    let repo = &bench.repo;
    repo.git(["config", "filter.rot.clean", "tr a-z n-za-m"]);
    repo.git(["config", "filter.rot.smudge", "tr a-z n-za-m"]);
    repo.git(["config", "filter.rot.required", "true"]);
    let mut dice = Dice(7);
    let mut commits = Vec::new();
    for attributes in [
        "",
        "* text=auto\n",
        "*.txt filter=rot\n",
        "*.txt filter=rot\n*.crlf text eol=crlf\n",
        "",
        "*.crlf text eol=crlf\n*.id ident\n",
        "*.txt -filter diff\n",
        "* text=auto eol=lf\n",
    ] {
        repo.write("keep.txt", "the same all the time\n");
        repo.write("keep.crlf", "the same\nall the time\n");
        repo.write("keep.id", "$Id$\n");
        repo.write(".gitattributes", attributes);
        if attributes.is_empty() {
            fs::remove_file(repo.path().join(".gitattributes")).unwrap();
        }
        shake(repo, &mut dice, &[b"x.txt", b"y.crlf", b"d/z.txt", b"d/w"]);
        // What the attributes make of the blobs is in the work tree only once it is checked out.
        repo.git(["add", "-A"]);
        repo.git(["add", "--renormalize", "."]);
        commits.push(commit_all(repo));
    }
    bench.check(&commits, &["--order", "oldest"]);
    bench.check(&commits, &["--order", "newest"]);
    // One process each.
    for commit in [&commits[0], &commits[3], &commits[4], &commits[2]] {
        bench.check(std::slice::from_ref(commit), &[]);
    }
}

#[test]
fn line_endings_of_the_configuration_count_from_when_they_are_set() {
    let bench = Bench::new();
    let repo = &bench.repo;
    repo.write("lf", "one\ntwo\n");
    let commits = vec![repo.commit("one"), repo.commit("two")];
    bench.check(&commits, &[]);
    repo.git(["config", "core.autocrlf", "true"]);
    bench.check(&commits, &[]);
    repo.git(["config", "--unset", "core.autocrlf"]);
    bench.check(&commits, &[]);
    repo.write("../attributes", "lf eol=crlf\n");
    let attributes = repo.root().join("attributes");
    repo.git([
        OsStr::new("config"),
        OsStr::new("core.attributesFile"),
        attributes.as_os_str(),
    ]);
    bench.check(&commits, &[]);
    fs::write(&attributes, "").unwrap();
    bench.check(&commits, &[]);
}

#[test]
fn what_is_cleaned_is_what_the_job_says() {
    for (clean, untracked, ignored) in [
        ("untracked", "no", "yes"),
        ("all", "no", "no"),
        ("none", "yes", "yes"),
    ] {
        let repo = TestRepo::new();
        let log = repo.root().join("log");
        repo.write(".gitignore", "*.o\n/target/\n!/target/kept.o\nd/build\n");
        repo.write("d/.gitignore", "!x.o\n");
        repo.write("d/e", "e");
        let run = format!(
            "for f in untracked u/u d/x.o; do test -e $f && echo untracked yes || echo untracked no; done >>{log}; \
             for f in a.o target/x/y d/y.o d/build/z; do test -e $f && echo ignored yes || echo ignored no; done >>{log}; \
             mkdir -p u target/x d/build empty; touch untracked u/u d/x.o a.o target/x/y d/y.o d/build/z",
            log = log.display()
        );
        repo.jobs_file(&format!(
            "[jobs.j]\nrun = \"\"\"{run}\"\"\"\nclean = \"{clean}\"\n"
        ));
        repo.commit("one");
        repo.commit("two");
        repo.commit("three");
        repo.ci(["run", "-q", "-j1", "--force", "--all"])
            .expect_code(0);
        fs::remove_file(&log).unwrap();
        repo.ci(["run", "-q", "-j1", "--force", "--all"])
            .expect_code(0);
        let said = fs::read_to_string(&log).unwrap();
        assert_eq!(said.lines().count(), 21);
        for line in said.lines() {
            let expected = [
                format!("untracked {untracked}"),
                format!("ignored {ignored}"),
            ];
            assert!(expected.iter().any(|one| one == line), "{clean}: {line}");
        }
    }
}

#[test]
fn an_ignored_leftover_goes_once_the_rules_change() {
    let bench = Bench::new();
    let repo = &bench.repo;
    repo.write(".gitignore", "*.o\n");
    repo.write("d/e", "e");
    let one = repo.commit("one");
    repo.write(".gitignore", "");
    let two = repo.commit("two");
    repo.write("d/out.o/x", "in the way of a directory\n");
    let three = repo.commit("three");
    let mut bench = bench;
    bench.then = "case $(cat n) in 1) touch d/out.o ;; esac".to_owned();
    bench.check(&[one.clone(), two], &["--order", "oldest"]);
    bench.check(&[one, three], &["--order", "oldest"]);
}

#[test]
fn submodules_come_from_what_is_there() {
    let mut bench = Bench::new();
    let inner = TestRepo::new();
    inner.commit("inner one");
    let middle = TestRepo::new();
    let add = |repo: &TestRepo, of: &TestRepo, path: &str| {
        repo.git([
            OsStr::new("-c"),
            OsStr::new("protocol.file.allow=always"),
            OsStr::new("submodule"),
            OsStr::new("-q"),
            OsStr::new("add"),
            of.path().as_os_str(),
            OsStr::new(path),
        ]);
    };
    add(&middle, &inner, "in/ner");
    middle.commit("middle one");
    let mut commits = vec![bench.repo.commit("none yet")];
    add(&bench.repo, &middle, "sub/mod");
    bench.repo.git([
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "-q",
        "update",
        "--init",
        "--recursive",
    ]);
    commits.push(bench.repo.commit("with one"));
    middle.commit("middle two");
    bench.repo.git(["-C", "sub/mod", "pull", "-q"]);
    commits.push(bench.repo.commit("moved on"));
    bench.repo.git(["rm", "-qf", "sub/mod"]);
    bench.repo.write("sub/mod/file", "a directory now\n");
    commits.push(bench.repo.commit("a directory instead"));
    bench.then = "test ! -e sub/mod/.git || { cd sub/mod; touch left; echo x >n; rm -rf in; git config core.autocrlf true; }; true".to_owned();
    bench.check(&commits, &["--order", "oldest"]);
    bench.check(&commits, &["--order", "newest"]);

    // Nobody has this one here.
    let gone = middle.commit("middle three");
    bench.repo.git(["checkout", "-q", "-f", &commits[2]]);
    bench.repo.git([
        "update-index",
        "--cacheinfo",
        &format!("160000,{gone},sub/mod"),
    ]);
    bench.repo.git(["commit", "-q", "-m", "missing"]);
    let missing = bench.repo.git(["rev-parse", "HEAD"]);
    let ran = bench.run(&[missing], &[]).expect_code(125);
    let said = ran.stdout() + &ran.stderr();
    assert!(
        said.contains("submodule 'sub/mod'") && said.contains(&gone),
        "{said}"
    );
}

#[test]
fn a_sparse_checkout_is_as_sparse_in_the_slots_where_that_is_asked_for() {
    let bench = Bench::new();
    let repo = &bench.repo;
    repo.git(["config", "ci.sparse", "true"]);
    for path in ["in/a", "out/b", "in/deep/c"] {
        repo.write(path, "x\n");
    }
    let mut commits = vec![repo.commit("one")];
    repo.write("out/b", "y\n").write("in/a", "y\n");
    commits.push(repo.commit("two"));
    bench.check(&commits, &[]);
    repo.git(["sparse-checkout", "set", "in"]);
    bench.check(&commits, &[]);
    repo.git(["sparse-checkout", "set", "out"]);
    bench.check(&commits, &[]);
    repo.git(["sparse-checkout", "disable"]);
    bench.check(&commits, &[]);
}

#[test]
fn large_files_come_from_the_local_store() {
    let bench = Bench::new();
    let repo = &bench.repo;
    repo.git(["lfs", "install"]);
    repo.git(["lfs", "track", "*.bin"]);
    repo.write("big.bin", "a large file\n");
    let mut commits = vec![repo.commit("one")];
    repo.write("big.bin", "another large file\n");
    commits.push(repo.commit("two"));
    repo.git(["lfs", "untrack", "*.bin"]);
    repo.git(["add", "--renormalize", "."]);
    commits.push(repo.commit("three"));
    let stored = repo.git(["cat-file", "blob", "HEAD~1:big.bin"]);
    assert!(stored.starts_with("version https://git-lfs"), "{stored}");
    bench.check(&commits, &["--order", "oldest"]);
    bench.check(&commits, &["--order", "newest"]);
}

#[test]
fn a_configuration_that_a_job_changes_counts_for_the_next() {
    let mut bench = Bench::new();
    let repo = &bench.repo;
    repo.write("lf", "one\ntwo\n");
    repo.write("other", "1\n");
    let one = repo.commit("one");
    repo.write("other", "2\n");
    let two = repo.commit("two");
    bench.then = "git config core.autocrlf true".to_owned();
    bench
        .run(&[one, two.clone()], &["--order", "oldest"])
        .expect_code(0);
    bench.compare(&two);
}
