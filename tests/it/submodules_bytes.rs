//! The bytes of the files in submodules: they are made as those of the tree are, and no
//! cache takes them for others.

use std::fs;
use std::time::{Duration, SystemTime};

use super::bytes_filters::Elsewhere;
use super::checkout::Bench;
use super::pty::expect_nothing_left;
use super::submodules::{add_submodule, move_on};
use super::support::{Ran, TestRepo, wait_until};

#[test]
fn attributes_inside_count_as_in_the_tree() {
    let bench = Bench::new();
    let inner = TestRepo::new();
    inner.write("f.txt", "one\ntwo $Id$\n").write("g", "x\n");
    inner.commit("plain");
    add_submodule(&bench.repo, &inner, "lib");
    bench
        .repo
        .git(["config", "--global", "filter.up.smudge", "tr a-z A-Z"]);
    bench
        .repo
        .git(["config", "--global", "filter.up.clean", "tr A-Z a-z"]);
    let mut commits = vec![bench.repo.commit("plain")];
    for attributes in [
        "text eol=crlf",
        "text eol=lf",
        "ident",
        "filter=up",
        "-text",
    ] {
        inner.write(".gitattributes", format!("*.txt {attributes}\n"));
        commits.push(move_on(&bench.repo, &inner, "lib"));
    }
    bench.check(&commits, &["--order", "oldest"]);
    bench.check(&commits, &["--order", "newest"]);
    for commit in &commits {
        bench.check(std::slice::from_ref(commit), &[]);
    }
}

#[test]
fn line_ends_that_the_users_submodule_is_configured_to_have_count_from_when_they_are_set() {
    let repo = TestRepo::new();
    let inner = TestRepo::new();
    inner.write("f.txt", "one\ntwo\n");
    inner.commit("inner");
    add_submodule(&repo, &inner, "lib");
    repo.commit("one");
    repo.job("lf", "! grep -q \"$(printf '\\r')\" lib/f.txt");
    let modules = repo.git_dir().join("modules/lib");
    let named = repo.root().join("attributes");
    fs::write(&named, "*.txt text eol=crlf\n").unwrap();
    let named = named.to_str().unwrap().to_owned();
    let info = modules.join("info/attributes");
    let config = |args: &[&str]| {
        repo.git([&["-C", "lib", "config"], args].concat());
    };
    // Also what was said before is no verdict any more.
    let run = |code: i32| repo.ci(["run", "-q"]).expect_code(code);
    run(0);
    config(&["core.autocrlf", "true"]);
    run(1);
    config(&["--unset", "core.autocrlf"]);
    run(0);
    fs::create_dir_all(info.parent().unwrap()).unwrap();
    fs::write(&info, "*.txt text eol=crlf\n").unwrap();
    run(1);
    fs::remove_file(&info).unwrap();
    run(0);
    config(&["core.attributesFile", &named]);
    run(1);
    config(&["--unset", "core.attributesFile"]);
    run(0);
    // Each of these is known now.
    let known = repo.ci(["run"]).expect_code(0);
    assert!(known.stderr().contains("cached"), "{}", known.stderr());
}

#[test]
fn a_filter_that_fails_inside_a_submodule_is_no_verdict() {
    for required in ["false", "true"] {
        let repo = TestRepo::new();
        let inner = TestRepo::new();
        inner.write(".gitattributes", "*.made filter=f\n");
        inner.write("x.made", "blob\n");
        inner.commit("inner");
        add_submodule(&repo, &inner, "lib");
        repo.commit("one");
        let filter = repo.root().join("filter");
        let smudge = format!("sh {}", filter.display());
        for (key, value) in [
            ("smudge", smudge.as_str()),
            ("clean", "cat"),
            ("required", required),
        ] {
            let key = format!("filter.f.{key}");
            repo.git(["-C", "lib", "config", &key, value]);
        }
        repo.job("j", "grep -q 'made of' lib/x.made");
        for failing in ["exit 1", "cat; exit 3", "kill -9 $$"] {
            fs::write(&filter, failing).unwrap();
            let ran = repo.ci(["run"]).expect_code(125);
            let said = ran.stdout() + &ran.stderr();
            assert!(said.contains("filter") && said.contains("'lib'"), "{said}");
        }
        fs::write(&filter, "cat; echo made of").unwrap();
        repo.ci(["run", "-q"]).expect_code(0);
        let mut verdicts = repo.verdicts("HEAD");
        verdicts.dedup();
        assert_eq!(verdicts, ["ERROR j", "pass j"]);
        // What the program makes now is what the next task finds, and no longer what it made.
        fs::write(&filter, "cat; echo changed").unwrap();
        repo.ci(["run", "-q", "--force", "-x", "grep -q changed lib/x.made"])
            .expect_code(0);
        // Not even a slot that cannot be made to hold what it had says that a commit fails.
        fs::write(&filter, "exit 1").unwrap();
        repo.commit("two");
        let job = "rm -f .git/index .git/modules/lib/index";
        repo.ci(["run", "-q", "-j1", "--force", "-x", job])
            .expect_code(125);
        fs::write(&filter, "cat; echo made of").unwrap();
        repo.ci(["run", "-q", "-j1", "-x", job]).expect_code(0);
        fs::write(&filter, "exit 1").unwrap();
        repo.ci(["run", "-q"]).expect_code(125);
        assert_eq!(repo.verdicts("HEAD").last().unwrap(), "ERROR j");
    }
}

#[test]
fn caches_see_each_change_inside_a_submodule() {
    let repo = TestRepo::new();
    let inner = TestRepo::new();
    repo.write(".gitignore", "left*\n");
    inner.write(".gitignore", "__pycache__/\n");
    inner.write("m.py", "X = 1\n");
    inner.commit("first");
    add_submodule(&repo, &inner, "lib");
    let mut commits = vec![repo.commit("first")];
    for i in 1..6 {
        inner.write("m.py", format!("X = {}\n", 1 + i % 2));
        commits.push(move_on(&repo, &inner, "lib"));
    }
    // One cache inside and one outside; it says what a job made of the file, too.
    let kept = "k=left-$(stat -c %Y-%s lib/m.py); test -e $k || cp lib/m.py $k; cmp -s lib/m.py $k";
    let import = "cd lib && python3 -c 'import m; assert m.X == 1'";
    let job = format!(
        "{kept} && ({import}); said=$?; \
         sed -i 's/X = ./X = 7/' lib/m.py; {kept}; (cd lib; python3 -c 'import m'); exit $said"
    );
    repo.job("t", &job);
    for _ in 0..2 {
        wait_until("a second to begin", || {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            now.unwrap().subsec_millis() < 50
        });
        let args = ["run", "-q", "-j1", "--force", "--order", "oldest"];
        let all: Vec<_> = commits.iter().map(String::as_str).collect();
        repo.ci([&args[..], &all].concat()).expect_code(1);
        for (i, commit) in commits.iter().enumerate() {
            let right = ["pass t", "FAIL t"][i % 2];
            assert_eq!(repo.verdicts(commit).last().unwrap(), right, "commit {i}");
        }
    }
}

#[test]
fn changes_that_a_job_makes_inside_a_submodule_are_counted() {
    let repo = TestRepo::new();
    let inner = TestRepo::new();
    inner.write("f", "inner\n");
    inner.commit("inner");
    add_submodule(&repo, &inner, "lib");
    repo.commit("one");
    let ran = repo.ci(["run", "-x", "echo x >lib/f; echo x >n; touch lib/new"]);
    let said = ran.stdout() + &ran.stderr();
    assert!(said.contains("2 tracked files"), "{said}");
}

#[test]
fn what_a_job_wrote_and_compiled_inside_is_not_taken_for_the_commits() {
    let repo = TestRepo::new();
    let inner = TestRepo::new();
    inner.write(".gitignore", "__pycache__/\n");
    inner.write("m.py", "X = 1\n");
    inner.commit("first");
    add_submodule(&repo, &inner, "lib");
    repo.write(".gitignore", "left\n");
    let one = repo.commit("one");
    let two = repo.commit("the same inside");
    let import = "python3 -c 'import m; assert m.X == 1'";
    for before in [
        "printf 'X = 2\\n' >m.py; python3 -c 'import m'; git checkout -q m.py",
        "printf 'X = 2\\n' >m.py; python3 -c 'import m'; rm m.py",
        "printf 'X = 2\\n' >m.py; python3 -c 'import m'; cd ..; cp -r lib/__pycache__ left; rm -rf lib",
    ] {
        let then = "if test -e ../left; then cp -r ../left __pycache__; rm -r ../left; fi";
        let job =
            format!("cd lib; if test $(cat ../n) = 1; then {before}; else {then}; {import}; fi");
        for _ in 0..3 {
            let args = [
                "run", "-q", "-j1", "--force", "--order", "oldest", "-x", &job,
            ];
            let ran = repo.ci([&args[..], &[&one, &two]].concat());
            assert_eq!(ran.code(), 0, "{before}\n{}{}", ran.stdout(), ran.stderr());
        }
    }
}

#[test]
fn submodules_that_stay_as_they_are_need_no_git() {
    let repo = TestRepo::new();
    let inner = TestRepo::new();
    inner.write(".gitignore", "cache\n");
    inner.write("d/f", "inner\n");
    inner.commit("inner");
    for path in ["one", "two", "three"] {
        add_submodule(&repo, &inner, path);
    }
    for _ in 0..6 {
        repo.commit("another");
    }
    // Configuration that is too young may change without showing it.
    let config = repo.git_dir().join("modules/three/config");
    wait_until("the configuration to be old", || {
        let written = fs::metadata(&config).unwrap().modified().unwrap();
        written.elapsed().unwrap() > Duration::from_millis(300)
    });
    let trace = repo.root().join("trace");
    // What a job does with git is no change, nor is what is ignored; the third is changed.
    let job = "git status >/dev/null; git -C one status >/dev/null; touch one/cache; \
               test \"$(cat three/d/f)\" = inner && test ! -e three/x && \
               echo x >three/d/f && touch three/x && git add -A && git -C three add -A";
    let mut run = repo.ci_command(["run", "-q", "-j1", "--force", "HEAD~5..", "-x", job]);
    let ran = Ran(run.env("GIT_TRACE", &trace).output().unwrap());
    ran.expect_code(0);
    let trace = fs::read_to_string(trace).unwrap();
    let checkouts = trace.matches("built-in: git checkout").count();
    // Five commits; the first finds nothing; the third of them is changed each time.
    assert_eq!(checkouts, 5 + 3 + 4, "{trace}");
}

#[test]
fn a_submodule_that_is_not_wanted_at_home_is_not_missed_on_a_host() {
    let repo = TestRepo::new();
    let inner = TestRepo::new();
    inner.commit("inner");
    for path in ["one", "two"] {
        add_submodule(&repo, &inner, path);
    }
    repo.commit("one");
    for name in ["one", "two"] {
        let key = format!("submodule.{name}.active");
        let set = repo
            .command("git", repo.path())
            .args(["config", "--unset", &key])
            .status();
        assert!(set.is_ok());
    }
    let elsewhere = Elsewhere::new(&repo);
    let said = elsewhere.said(true, 125);
    assert!(said.contains("hosts have no submodules"), "{said}");
    repo.git(["config", "--add", "submodule.active", "other"]);
    repo.git(["config", "--add", "submodule.active", "another"]);
    elsewhere.expect_same("none of them");
    repo.git(["config", "--add", "submodule.active", "two"]);
    let said = elsewhere.said(true, 125);
    assert!(said.contains("submodule 'two'"), "{said}");
    repo.git(["config", "submodule.two.update", "none"]);
    elsewhere.expect_same("neither");
    // What is wanted is a part of what a verdict is about.
    repo.git(["config", "ci.local", "true"]);
    repo.git(["config", "ci-host.box.drain", "true"]);
    repo.job("t", "test ! -e two/n");
    repo.ci(["run", "-q"]).expect_code(0);
    repo.git(["config", "--unset", "submodule.two.update"]);
    repo.ci(["run", "-q"]).expect_code(1);
    repo.git(["config", "--unset-all", "submodule.active"]);
    repo.ci(["run", "-q"]).expect_code(1);
    assert_eq!(
        repo.note("HEAD").lines().count(),
        3,
        "{}",
        repo.note("HEAD")
    );
}

#[test]
fn a_filter_inside_that_does_not_end_is_ended_and_no_verdict() {
    for filter in [
        "sleep 300",
        "trap '' TERM INT HUP; while :; do sleep 0.05; done",
    ] {
        let repo = TestRepo::new();
        let inner = TestRepo::new();
        inner.write(".gitattributes", "file filter=slow\n");
        inner.write("file", "content\n");
        inner.commit("inner");
        add_submodule(&repo, &inner, "lib");
        repo.commit("one");
        repo.jobs_file(
            "[jobs.test]\nrun = \"grep content lib/file\"\ntimeout = \"1s\"\ngrace = \"500ms\"\n",
        );
        let set = |filter: &str| {
            repo.git(["-C", "lib", "config", "filter.slow.smudge", filter]);
        };
        set(filter);
        let ran = repo.ci(["run"]).expect_code(125);
        assert!(ran.stderr().contains("timeout of 1s"), "{}", ran.stderr());
        expect_nothing_left(&repo.root().display().to_string());
        set("cat");
        repo.ci(["run"]).expect_code(0);
    }
}
