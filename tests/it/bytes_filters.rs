//! Programs, attributes and settings that decide how blobs become files: what changes
//! between two tasks changes the files, and what fails is no verdict.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use super::checkout::Bench;
use super::support::{Ran, TestRepo};

/// Runs `job` on `HEAD` once more, with a variable.
#[track_caller]
fn run_with(repo: &TestRepo, variable: (&str, &str), job: &str) -> Ran {
    let mut command = repo.ci_command(["run", "-q", "--force", "-x", job]);
    Ran(command.env(variable.0, variable.1).output().unwrap())
}

fn large_file() -> TestRepo {
    let repo = TestRepo::new();
    repo.git(["lfs", "install"]);
    repo.git(["lfs", "track", "*.bin"]);
    repo.write("big.bin", "a large file\n");
    repo.commit("one");
    repo
}

#[test]
fn pointers_are_tested_only_where_somebody_asked_for_them() {
    let repo = large_file();
    let large = "grep -q 'a large file' big.bin";
    let pointer = "grep -q ^oid big.bin";
    let skip = ("GIT_LFS_SKIP_SMUDGE", "1");
    for _ in 0..2 {
        run_with(&repo, skip, pointer).expect_code(0);
        repo.ci(["run", "-q", "--force", "-x", large])
            .expect_code(0);
    }
    repo.git(["config", "lfs.fetchexclude", "*.bin"]);
    repo.ci(["run", "-q", "--force", "-x", pointer])
        .expect_code(0);
    repo.git(["config", "--unset", "lfs.fetchexclude"]);
    repo.ci(["run", "-q", "--force", "-x", large])
        .expect_code(0);
}

#[test]
fn large_files_that_are_not_here_are_no_verdict() {
    for tolerant in [false, true] {
        let repo = large_file();
        if tolerant {
            repo.git(["config", "lfs.skipdownloaderrors", "true"]);
        }
        repo.job("j", "grep -q 'a large file' big.bin");
        // git-lfs stores what `git status` asks it about, and so brings it back.
        fs::remove_file(repo.path().join("big.bin")).unwrap();
        let (store, away) = (repo.git_dir().join("lfs"), repo.root().join("away"));
        fs::rename(&store, &away).unwrap();
        let ran = repo.ci(["run"]).expect_code(125);
        let said = ran.stdout() + &ran.stderr();
        assert!(said.contains("big.bin"), "{said}");
        assert_eq!(repo.verdicts("HEAD"), ["ERROR j"]);
        // Once they are, it runs.
        let _ = fs::remove_dir_all(&store);
        fs::rename(&away, &store).unwrap();
        repo.ci(["run", "-q"]).expect_code(0);
    }
}

#[test]
fn large_files_without_their_program_are_no_verdict() {
    let repo = large_file();
    repo.git(["config", "--global", "--remove-section", "filter.lfs"]);
    repo.job("j", "grep -q 'a large file' big.bin");
    let ran = repo.ci(["run"]).expect_code(125);
    let said = ran.stdout() + &ran.stderr();
    assert!(said.contains("`git lfs install`"), "{said}");
    repo.git(["lfs", "install"]);
    repo.ci(["run", "-q"]).expect_code(0);
}

/// A repository whose `*.made` files are made by what `root/filter` prints.
fn made_by_filter() -> TestRepo {
    let repo = TestRepo::new();
    let filter = format!("sh {}/filter", repo.root().display());
    repo.git(["config", "filter.f.smudge", &filter]);
    repo.git(["config", "filter.f.clean", "cat"]);
    repo.write(".gitattributes", "*.made filter=f\n");
    repo.write("x.made", "blob\n")
        .write("d/y.made", "blob\n")
        .write("z", "z\n");
    repo.write("../filter", "cat");
    repo.commit("one");
    repo
}

#[test]
fn what_a_filter_makes_is_made_for_each_task() {
    let repo = made_by_filter();
    repo.write("../filter", "cat; echo first");
    let made = |what: &str| format!("grep -q {what} x.made && grep -q {what} d/y.made");
    repo.ci(["run", "-q", "--force", "-x", &made("first")])
        .expect_code(0);
    repo.write("../filter", "cat; echo second");
    repo.ci(["run", "-q", "--force", "-x", &made("second")])
        .expect_code(0);
    // Also for the next task of one process; what no filter makes stays.
    repo.commit("two");
    let count = format!(
        "cat; echo >>{0}/count; wc -l <{0}/count",
        repo.root().display()
    );
    repo.write("../filter", count);
    let job = "cat x.made >>$OUT/seen; stat -c %Y.%Z.%i z >>$OUT/z";
    let mut run = repo.ci_command(["run", "-q", "-j1", "--force", "-x", job, "HEAD", "HEAD~1"]);
    Ran(run.env("OUT", repo.root()).output().unwrap()).expect_code(0);
    let lines = |name: &str| -> Vec<String> {
        let text = fs::read_to_string(repo.root().join(name)).unwrap();
        text.lines()
            .filter(|line| *line != "blob")
            .map(str::to_owned)
            .collect()
    };
    let seen = lines("seen");
    assert!(seen.len() == 2 && seen[0] != seen[1], "{seen:?}");
    let z = lines("z");
    assert_eq!(z[0], z[1]);
}

#[test]
fn a_filter_that_fails_is_no_verdict() {
    let repo = made_by_filter();
    repo.job("j", "grep -q 'made of' x.made");
    for failing in ["exit 1", "cat; exit 3", "kill -9 $$"] {
        repo.write("../filter", failing);
        let ran = repo.ci(["run"]).expect_code(125);
        let said = ran.stdout() + &ran.stderr();
        assert!(said.contains("filter"), "{said}");
    }
    repo.write("../filter", "cat; echo made of");
    repo.ci(["run", "-q"]).expect_code(0);
    let mut verdicts = repo.verdicts("HEAD");
    verdicts.dedup();
    assert_eq!(verdicts, ["ERROR j", "pass j"]);
}

#[test]
fn attributes_of_another_tree_count_as_they_are_now() {
    let bench = Bench::new();
    let repo = &bench.repo;
    repo.write("a.txt", "one\ntwo\n");
    let commits = vec![repo.commit("one"), repo.commit("two")];
    let at = |attributes: &str| {
        repo.git(["checkout", "-q", "-B", "at"]);
        repo.write(".gitattributes", attributes);
        repo.commit("attributes");
        repo.git(["checkout", "-q", "main"]);
    };
    at("*.txt text eol=crlf\n");
    bench.check(&commits, &[]);
    repo.git(["config", "attr.tree", "at"]);
    bench.check(&commits, &[]);
    at("*.txt ident\n");
    bench.check(&commits, &[]);
    at("*.txt text eol=crlf\n");
    bench.check(&commits, &[]);
    repo.git(["branch", "-qD", "at"]);
    bench.check(&commits, &[]);
    repo.git(["config", "--unset", "attr.tree"]);
    bench.check(&commits, &[]);
}

#[test]
fn variables_of_the_caller_change_no_bytes() {
    let repo = TestRepo::new();
    repo.write("a.txt", "one\ntwo\n");
    repo.commit("one");
    repo.git(["checkout", "-q", "-b", "at"]);
    repo.write(".gitattributes", "*.txt text eol=crlf\n");
    repo.commit("attributes");
    repo.git(["checkout", "-q", "main"]);
    let lf = "test $(wc -c <a.txt) = 8 && ! grep -q $(printf '\\r') a.txt";
    let config = [
        ("GIT_CONFIG_COUNT", "1"),
        ("GIT_CONFIG_KEY_0", "core.autocrlf"),
        ("GIT_CONFIG_VALUE_0", "true"),
    ];
    for variables in [
        &[("GIT_ATTR_SOURCE", "at")][..],
        &[("GIT_CONFIG_PARAMETERS", "'attr.tree'='at'")],
        &config,
        &[("GIT_LITERAL_PATHSPECS", "1")],
        &[("GIT_GLOB_PATHSPECS", "1"), ("GIT_NOGLOB_PATHSPECS", "1")],
        &[("GIT_ICASE_PATHSPECS", "1")],
        &[("GIT_INDEX_VERSION", "4")],
        &[("GIT_REPLACE_REF_BASE", "refs/heads/")],
        &[("GIT_EXTERNAL_DIFF", "false")],
    ] {
        let mut run = repo.ci_command(["run", "-q", "--force", "-x", lf]);
        let ran = run.envs(variables.iter().copied()).output().unwrap();
        Ran(ran).expect_code(0);
        // In what it was brought to, too.
        repo.ci(["run", "-q", "--force", "-x", lf]).expect_code(0);
    }
}

#[test]
fn attributes_of_a_file_that_is_named_oddly_count_as_they_are_now() {
    let bench = Bench::new();
    let repo = &bench.repo;
    repo.write("lf", "one\ntwo\n").write("own", "lf eol=crlf\n");
    let commits = vec![repo.commit("one"), repo.commit("two")];
    repo.git(["config", "core.attributesFile", "own"]);
    bench.check(&commits, &[]);
    repo.write("own", "* -diff\n");
    let commits = vec![repo.commit("three"), commits[0].clone()];
    bench.check(&commits, &[]);
    let home = repo.root().join("home");
    for (value, file) in [("~/attributes", home.join("attributes"))] {
        repo.git(["config", "core.attributesFile", value]);
        for text in ["lf eol=crlf\n", "", "lf ident\n", "lf eol=crlf\n"] {
            fs::write(&file, text).unwrap();
            bench.check(&commits, &[]);
        }
    }
}

#[test]
fn files_that_a_job_left_say_nothing_about_others() {
    // Where these are ignored they stay, and git would believe them.
    let mut bench = Bench::new();
    let repo = &bench.repo;
    repo.write(".gitignore", ".gitattributes\n.lfsconfig\n");
    repo.write("lf", "one\ntwo\n")
        .write("d/lf", "one\ntwo\n")
        .write("id", "$Id$\n");
    let one = repo.commit("one");
    repo.write("lf", "one\ntwo\nthree\n").write("d/lf", "one\n");
    let two = repo.commit("two");
    bench.then = "echo '* text eol=crlf' >.gitattributes; cp .gitattributes d/".to_owned();
    let repo = &bench.repo;
    // Each in a process of its own: git moves all of them.
    for commit in [&one, &two, &one] {
        bench.run(std::slice::from_ref(commit), &[]).expect_code(0);
        let seen = fs::read_to_string(repo.root().join("seen").join(commit)).unwrap();
        assert!(!seen.contains(".gitattributes"), "{seen}");
        let hash = |path: &str| {
            let command = format!("git cat-file blob {commit}:{path} | sha256sum | cut -c-64");
            let said = repo
                .command("sh", repo.path())
                .args(["-c", &command])
                .output();
            String::from_utf8(said.unwrap().stdout)
                .unwrap()
                .trim()
                .to_owned()
        };
        for path in ["lf", "d/lf"] {
            assert!(seen.contains(&hash(path)), "{path} at {commit}: {seen}");
        }
    }
}

#[test]
fn what_a_jobs_git_noted_of_files_that_it_made_is_not_believed() {
    let repo = TestRepo::new();
    // Not plain, so that git moves the slot.
    repo.write(".gitattributes", "*.md ident\n");
    repo.write("f", "one\ntwo\n");
    repo.commit("one");
    // git believes an index of what is a second older.
    let later = "s=$(stat -c %Y f); until test $(date +%s) -gt $s; do sleep 0.02; done; \
                 echo x >new; git add new";
    for damage in [
        "git config core.autocrlf true; rm f; git checkout -q f",
        "echo 'f text eol=crlf' >.git/info/attributes; rm f; git checkout -q f",
    ] {
        let damage = format!("{damage}; {later}");
        let job = format!("test \"$(od -An -c f | tr -d ' \\n')\" = 'one\\ntwo\\n' && ({damage})");
        for _ in 0..3 {
            // A process for each.
            repo.ci(["run", "-q", "-j1", "--force", "-x", &job])
                .expect_code(0);
        }
    }
}

#[test]
fn another_umask_makes_files_anew() {
    for attributes in ["", "*.id ident\n"] {
        let repo = TestRepo::new();
        repo.write(".gitattributes", attributes).write("d/f", "f\n");
        repo.commit("one");
        let modes = |umask: &str, file: &str, dir: &str| {
            let look = format!("test $(stat -c %a d/f) = {file} && test $(stat -c %a d) = {dir}");
            let command = format!("umask {umask}; exec \"$0\" run -q --force -x '{look}'");
            let program = Path::new(env!("CARGO_BIN_EXE_git-ci"));
            let mut run = repo.command("sh", repo.path());
            let run = run.args([OsStr::new("-c"), OsStr::new(&command), program.as_os_str()]);
            Ran(run.output().unwrap()).expect_code(0);
        };
        modes("022", "644", "755");
        modes("077", "600", "700");
        modes("002", "664", "775");
    }
}

#[test]
fn a_submodule_that_was_never_fetched_is_no_verdict() {
    let home = TestRepo::new();
    let inner = TestRepo::new();
    inner.write("f", "inner\n");
    inner.commit("inner");
    let allow = ["-c", "protocol.file.allow=always"];
    let inner = inner.path().to_str().unwrap();
    home.git([&allow[..], &["submodule", "-q", "add", inner, "sub"]].concat());
    home.commit("with one");
    let clone = home.root().join("clone");
    home.git(["clone", "-q", ".", clone.to_str().unwrap()]);
    let config = clone.join(".git/config");
    let identity = "[user]\n\tname = A\n\temail = a@example.com\n";
    let text = fs::read_to_string(&config).unwrap() + identity;
    fs::write(config, text).unwrap();
    let exclude = clone.join(".git/info/exclude");
    fs::write(exclude, ".git-ci.toml\n").unwrap();
    fs::write(
        clone.join(".git-ci.toml"),
        "[jobs.j]\nrun = 'grep -q inner sub/f'\n",
    )
    .unwrap();
    let ci = || {
        let mut run = home.ci_command(["run"]);
        Ran(run.current_dir(&clone).output().unwrap())
    };
    let git = |args: &[&str]| {
        let git = home.command("git", &clone).args(args).output().unwrap();
        assert!(git.status.success(), "{git:?}");
        String::from_utf8_lossy(&git.stdout).into_owned()
    };
    let ran = ci().expect_code(125);
    let said = ran.stdout() + &ran.stderr();
    for hint in ["git submodule update --init", "submodule.sub.update none"] {
        assert!(said.contains(hint), "{said}");
    }
    git(&["config", "submodule.sub.update", "none"]);
    ci().expect_code(1);
    git(&["config", "--unset", "submodule.sub.update"]);
    git(&[
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "update",
        "--init",
    ]);
    let note = git(&["notes", "--ref=ci", "show"]);
    assert!(note.contains("FAIL") && note.contains("ERROR"), "{note}");
    Ran(home
        .ci_command(["run", "--force"])
        .current_dir(&clone)
        .output()
        .unwrap())
    .expect_code(0);
}

/// Makes a host of this machine, with a home of its own, and switches between the two.
pub(super) struct Elsewhere<'r>(&'r TestRepo);

impl<'r> Elsewhere<'r> {
    pub(super) fn new(repo: &'r TestRepo) -> Self {
        let there = repo.root().join("there");
        fs::create_dir(&there).unwrap();
        let command = format!("env HOME={} {{}}", there.display());
        repo.git(["config", "ci-host.box.command", &command]);
        repo.git(["config", "ci-host.box.agent", env!("CARGO_BIN_EXE_git-ci")]);
        Self(repo)
    }

    fn home(&self) -> std::path::PathBuf {
        self.0.root().join("there")
    }

    /// What `job` prints about `HEAD` there, or here.
    #[track_caller]
    pub(super) fn said(&self, there: bool, code: i32) -> String {
        let repo = self.0;
        repo.git(["config", "ci.local", if there { "false" } else { "true" }]);
        repo.git([
            "config",
            "ci-host.box.drain",
            if there { "false" } else { "true" },
        ]);
        let out = repo.root().join("said");
        let _ = fs::remove_file(&out);
        // What git says of them in the job, too.
        let look = "git ls-files -z | xargs -0 sha256sum; git status --short";
        let job = format!("{{ {look}; }} >{} 2>&1", out.display());
        let ran = repo.ci(["run", "--force", "-x", &job]).expect_code(code);
        match code {
            0 => fs::read_to_string(&out).unwrap(),
            _ => ran.stdout() + &ran.stderr(),
        }
    }

    #[track_caller]
    pub(super) fn expect_same(&self, what: &str) {
        assert_eq!(self.said(true, 0), self.said(false, 0), "{what}");
    }
}

#[test]
fn a_host_makes_the_files_that_are_made_at_home() {
    let repo = TestRepo::new();
    repo.write("a.txt", "one\ntwo\n")
        .write("b.bin", "one\ntwo\n");
    repo.write(".gitattributes", "*.txt text\n");
    repo.commit("one");
    let elsewhere = Elsewhere::new(&repo);
    elsewhere.expect_same("nothing");
    let plain = elsewhere.said(false, 0);
    for (key, value) in [
        ("core.autocrlf", "true"),
        ("core.autocrlf", "input"),
        ("core.eol", "crlf"),
    ] {
        repo.git(["config", key, value]);
        elsewhere.expect_same(key);
        assert_eq!(elsewhere.said(true, 0) == plain, value == "input", "{key}");
        repo.git(["config", "--unset", key]);
        elsewhere.expect_same("what was set is not any more");
    }
    let info = repo.git_dir().join("info/attributes");
    for text in ["*.bin text eol=crlf\n", "*.txt -text\n", ""] {
        fs::write(&info, text).unwrap();
        elsewhere.expect_same(text);
    }
    fs::remove_file(&info).unwrap();
    let own = repo.root().join("home/attributes");
    repo.git(["config", "--global", "core.attributesFile", "~/attributes"]);
    for text in ["*.bin text eol=crlf\n", "* ident\n", ""] {
        fs::write(&own, text).unwrap();
        elsewhere.expect_same(text);
    }
    // What the host's own user has configured is nobody's business.
    let there = elsewhere.home();
    fs::write(
        there.join("attributes"),
        "*.bin text eol=crlf\n*.txt filter=x\n",
    )
    .unwrap();
    let config = "[core]\nautocrlf = true\neol = crlf\nattributesFile = ~/attributes\n\
                  [filter \"x\"]\nsmudge = tr a-z A-Z\n\
                  [init]\ndefaultRefFormat = reftable\ndefaultObjectFormat = sha256\n";
    fs::write(there.join(".gitconfig"), config).unwrap();
    assert_eq!(elsewhere.said(true, 0), plain);
    fs::remove_dir_all(there.join(".cache")).unwrap();
    assert_eq!(elsewhere.said(true, 0), plain, "in a cache that is new");
}

#[test]
fn what_a_host_cannot_have_is_an_error_that_says_so() {
    let repo = TestRepo::new();
    repo.write("a.txt", "one\ntwo\n").write("in/b", "b\n");
    repo.commit("one");
    repo.git(["checkout", "-q", "-b", "at"]);
    repo.write(".gitattributes", "*.txt text eol=crlf\n");
    repo.commit("attributes");
    repo.git(["checkout", "-q", "main"]);
    let elsewhere = Elsewhere::new(&repo);
    let plain = elsewhere.said(true, 0);
    repo.git(["config", "attr.tree", "at"]);
    let said = elsewhere.said(true, 125);
    assert!(said.contains("`attr.tree`"), "{said}");
    repo.git(["config", "--unset", "attr.tree"]);
    assert_eq!(elsewhere.said(true, 0), plain);

    repo.git(["sparse-checkout", "set", "in"]);
    assert_eq!(elsewhere.said(true, 0), plain);
    repo.git(["config", "ci.sparse", "true"]);
    let said = elsewhere.said(true, 125);
    assert!(said.contains("`ci.sparse`"), "{said}");
    repo.git(["config", "--unset", "ci.sparse"]);
    assert_eq!(elsewhere.said(true, 0), plain);
}
