//! The bytes that a task finds are the commit's, whatever surrounds the repository and
//! whatever was in the slot before; and where the machine failed there is no verdict.

use std::time::SystemTime;

use super::support::{TestRepo, wait_until};

/// The job's verdict on each of `commits`, in one run with `more` arguments.
#[track_caller]
fn verdicts(repo: &TestRepo, more: &[&str], commits: &[&str]) -> Vec<String> {
    repo.ci([&["run", "-q", "-j1"], more, commits].concat());
    let newest = |commit: &&str| repo.verdicts(commit).join(", ");
    commits.iter().map(newest).collect()
}

#[test]
fn objects_are_tested_as_they_were_recorded() {
    let repo = TestRepo::new();
    repo.write("f", "one\n");
    let one = repo.commit("one");
    repo.write("f", "two\n");
    let two = repo.commit("two");
    let blob = |commit: &str| repo.git(["rev-parse", &format!("{commit}:f")]);
    repo.git(["replace", &blob(&one), &blob(&two)]);
    repo.git(["replace", &two, &one]);
    repo.job("one", "grep -q one f").job("two", "grep -q two f");
    let both = [one.as_str(), two.as_str()];
    let right = [["FAIL two", "pass one"], ["FAIL one", "pass two"]].map(|lines| lines.join(", "));
    assert_eq!(verdicts(&repo, &[], &both), right);

    // Neither the replacement nor its end changes what was tested.
    repo.git(["replace", "-d", &blob(&one), &two]);
    let again = repo.ci(["run", "-q", &one, &two]);
    assert_eq!(again.code(), 1, "{}", again.stderr());
    assert_eq!(verdicts(&repo, &[], &both), right);
    let tree = repo.git(["rev-parse", &format!("{two}^{{tree}}")]);
    assert!(repo.note(&two).contains(&format!("tree={tree}")));
}

#[test]
fn history_is_walked_as_it_was_recorded() {
    let repo = TestRepo::new();
    let one = repo.commit("one");
    let two = repo.commit("two");
    let three = repo.commit("three");
    repo.job("j", "true");
    repo.git(["replace", "--graft", &three, &one]);
    std::fs::write(
        repo.git_dir().join("info/grafts"),
        format!("{three} {one}\n"),
    )
    .unwrap();
    repo.ci(["run", "-q", &format!("{one}..{three}")])
        .expect_code(0);
    assert_eq!(repo.verdicts(&two), ["pass j"]);
}

/// A repository with a module `m` that says `X = 1` in every second commit and `X = 2` in
/// the others, as long each time, and caches that stay; returns the commits, oldest first.
fn alternating(repo: &TestRepo, count: usize) -> Vec<String> {
    repo.write(".gitignore", "__pycache__/\n.pytest_cache/\nleft*\n");
    let commit = |i: usize| {
        repo.write("m.py", format!("X = {}\n", 1 + i % 2));
        repo.commit("another")
    };
    (0..count).map(commit).collect()
}

/// Runs `job`, which is right where `m` says 1, on alternating commits, and checks each verdict.
#[track_caller]
fn check_alternating(repo: &TestRepo, commits: &[String], job: &str, more: &[&str]) {
    repo.job("t", job);
    let args = ["run", "-q", "-j1", "--order", "oldest"];
    let commits: Vec<_> = commits.iter().map(String::as_str).collect();
    repo.ci([&args[..], more, &commits].concat()).expect_code(1);
    for (i, commit) in commits.iter().enumerate() {
        let right = ["pass t", "FAIL t"][i % 2];
        assert_eq!(repo.verdicts(commit), [right], "commit {i}");
    }
}

const IMPORT: &str = "python3 -c 'import m; assert m.X == 1'";

#[test]
fn caches_that_compare_whole_seconds_see_each_change() {
    let repo = TestRepo::new();
    let commits = alternating(&repo, 8);
    check_alternating(&repo, &commits, IMPORT, &[]);
}

#[test]
fn caches_see_each_change_that_git_checks_out() {
    let repo = TestRepo::new();
    repo.write(".gitattributes", "*.md ident\n");
    let commits = alternating(&repo, 6);
    check_alternating(&repo, &commits, IMPORT, &[]);
}

#[test]
fn caches_see_each_change_from_process_to_process() {
    let repo = TestRepo::new();
    let commits = alternating(&repo, 4);
    // The sizes differ, so nothing waits between the first two; the third has the size, and
    // would have the second, of the first.
    repo.write("m.py", "X = 3 # longer\n");
    let longer = repo.commit("longer");
    // A cache that never forgets.
    let run =
        "c=left-$(stat -c %Y-%s m.py); test -e $c || cp m.py $c; cmp -s m.py $c && grep -q 1 $c";
    repo.job("t", run);
    for _ in 0..6 {
        // Early in a second, so that both processes are in it.
        wait_until("a second to begin", || {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            now.unwrap().subsec_millis() < 50
        });
        repo.ci([
            "run",
            "-q",
            "-j1",
            "--force",
            "--order",
            "oldest",
            &commits[0],
            &longer,
        ]);
        assert_eq!(repo.verdicts(&commits[0]).last().unwrap(), "pass t");
        repo.ci(["run", "-q", "--force", &commits[1]]);
        assert_eq!(repo.verdicts(&commits[1]).last().unwrap(), "FAIL t");
    }
}

#[test]
fn pytest_is_right_about_twenty_alternating_commits() {
    let repo = TestRepo::new();
    repo.write(
        "test_m.py",
        "import m\n\ndef test_x():\n    assert m.X == 1\n",
    );
    let commits = alternating(&repo, 20);
    check_alternating(&repo, &commits, "pytest-3 -q", &[]);
}

/// Whether some of the tasks that noted when `m.py` was written have the same second.
fn shared_seconds(repo: &TestRepo) -> bool {
    let noted = std::fs::read_to_string(repo.root().join("seconds")).unwrap();
    let mut seconds: Vec<_> = noted.lines().collect();
    let all = seconds.len();
    seconds.sort_unstable();
    seconds.dedup();
    seconds.len() < all
}

#[test]
fn what_leaves_nothing_does_not_wait() {
    let repo = TestRepo::new();
    let commits = alternating(&repo, 24);
    let note = format!("stat -c %Y m.py >>{}/seconds", repo.root().display());
    let run = format!("{note}; grep -q 'X = 1' m.py");
    check_alternating(&repo, &commits, &run, &[]);
    assert!(shared_seconds(&repo));
    // Something of another size each time, beside what is left.
    let repo = TestRepo::new();
    repo.write(".gitignore", "left*\n");
    for i in 0..12 {
        repo.write("m.py", "x".repeat(i + 1));
        repo.commit("longer");
    }
    let note = format!("stat -c %Y m.py >>{}/seconds", repo.root().display());
    repo.job("t", &format!("{note}; touch left; date >left-$(cat n)"));
    repo.ci(["run", "-q", "-j1", "--all"]).expect_code(0);
    assert!(shared_seconds(&repo));
}

/// Runs two commits, `before` in the first, and then a job that must find `m.X == 1`.
#[track_caller]
fn check_after(repo: &TestRepo, before: &str, commits: [&str; 2]) {
    // The second try of a job that began late in a second may end in the next one.
    for _ in 0..3 {
        let job = format!("if test $(cat n) = 1; then {before}; else {IMPORT}; fi");
        let args = [
            "run", "-q", "-j1", "--force", "--order", "oldest", "-x", &job,
        ];
        let ran = repo.ci([&args[..], &commits].concat());
        assert_eq!(ran.code(), 0, "{before}\n{}{}", ran.stdout(), ran.stderr());
    }
}

#[test]
fn what_a_job_wrote_and_compiled_is_not_taken_for_the_commits() {
    for before in [
        // Put back as it was, in the same second; of the same size, and then another.
        "cp m.py left; printf 'X = 2\\n' >m.py; python3 -c 'import m'; cp left m.py",
        "printf 'X = 2\\n' >m.py; python3 -c 'import m'; git checkout -q m.py",
        "printf 'X = 2\\n' >m.py; python3 -c 'import m'; rm m.py",
        "printf 'X = 2\\n' >m.py; python3 -c 'import m'; rm m.py; mkdir m.py; touch m.py/x",
        // Time as it was, too.
        "touch -r m.py left; printf 'X = 2\\n' >m.py; touch -r left m.py; python3 -c 'import m'",
    ] {
        let repo = TestRepo::new();
        let commits = alternating(&repo, 1);
        let other = repo.commit("the same module");
        check_after(&repo, before, [&commits[0], &other]);
    }
}

#[test]
fn what_was_not_tracked_is_not_taken_for_what_is() {
    for ignored in ["", "m.py\n"] {
        let repo = TestRepo::new();
        repo.write(".gitignore", format!("__pycache__/\n{ignored}"));
        let one = repo.commit("without");
        repo.write("m.py", "X = 1\n");
        repo.git(["add", "-f", "m.py"]);
        let two = repo.commit("with");
        let before = "printf 'X = 2\\n' >m.py; python3 -c 'import m'";
        check_after(&repo, before, [&one, &two]);
    }
}

#[test]
fn make_builds_again_what_changed() {
    let repo = TestRepo::new();
    repo.write(".gitignore", "out*\n");
    for i in 0..30 {
        // Of another size each time: nothing waits for the next second.
        repo.write("f", "x".repeat(i + 1));
        repo.commit("another");
    }
    // What make builds is the last thing that a job does, and as new as can be when the
    // next commit comes; `make` builds again only what is older than its source.
    let run = "if test -e out && ! test f -nt out; then exit 1; fi; exec cp f out";
    repo.job("t", run);
    repo.ci(["run", "-q", "-j1", "--all"]).expect_code(0);
}

#[test]
fn what_a_link_leads_to_is_as_new_as_the_link() {
    for attributes in ["", "*.md ident\n"] {
        let repo = TestRepo::new();
        repo.write(".gitattributes", attributes);
        repo.write(".gitignore", "out\n__pycache__/\n.cache/\n");
        repo.write("v1/f", "1\n").write("v2/f", "2\n");
        repo.write("one.py", "X = 1\n").write("two.py", "X = 2\n");
        let link = |dir: &str, module: &str| {
            for (target, name) in [(dir, "lib"), (module, "m.py")] {
                let path = repo.path().join(name);
                let _ = std::fs::remove_file(&path);
                std::os::unix::fs::symlink(target, path).unwrap();
            }
            repo.commit("a link")
        };
        let commits = [
            link("v1", "one.py"),
            link("v2", "two.py"),
            link("v1", "one.py"),
            link("./v2/../v2", "two.py"),
        ];
        repo.write("Makefile", "out: lib/f\n\tcp lib/f out\n");
        let job = "printf 'out: lib/f\\n\\tcp lib/f out\\n' | make -s -f -; cmp out lib/f && \
             cat m.py | grep -q \"X = $(python3 -c 'import m; print(m.X)')\"";
        let args = ["run", "-q", "-j1", "--order", "oldest", "-x", job];
        let commits = commits.each_ref().map(String::as_str);
        repo.ci([&args[..], &commits].concat()).expect_code(0);
    }
}

#[test]
fn tracked_files_that_a_job_changed_are_counted() {
    for attributes in ["", "*.md ident\n"] {
        let repo = TestRepo::new();
        repo.write(".gitattributes", attributes)
            .write(".gitignore", "left\n");
        for file in ["a", "b", "c", "d/e", "f.md"] {
            repo.write(file, format!("{file}\n"));
        }
        repo.commit("one");
        let run = |job: &str| {
            let said = repo
                .ci(["run", "-j1", "--force", "--json", "-x", job])
                .stdout();
            let lines = said.lines().map(|line| serde_json::from_str(line).unwrap());
            let lines: Vec<serde_json::Value> = lines.collect();
            let mut ended = lines.iter().filter(|line| line["event"] == "task-finished");
            ended.next().unwrap()["changed"].as_u64().unwrap()
        };
        for (job, changed) in [
            ("true", 0),
            ("touch left new a; chmod 600 b; ln c left-c", 0),
            ("cp a a2; echo x >a; cp a2 a", 0),
            ("echo x >>a", 1),
            ("echo x >>a; exit 1", 1),
            ("chmod +x b", 1),
            ("rm c; ln -s a c", 1),
            ("rm -r d", 1),
            ("git rm -q -r .", 8),
            (
                "echo x >a; git add a; git -c user.name=x -c user.email=x@x commit -qm x",
                1,
            ),
            ("git init -q nested; echo x >nested/a; echo x >>f.md", 1),
        ] {
            assert_eq!(run(job), changed, "{job}");
        }
    }
}

#[test]
fn a_formatter_that_repairs_is_told_of() {
    let repo = TestRepo::new();
    repo.write("a", "bad\n").write("b", "bad\n");
    repo.commit("one");
    repo.job("fix", "sed -i s/bad/good/ a")
        .job("all", "sed -i s/bad/good/ a b; exit 1");
    let said = repo.ci(["run"]).expect_code(1).stdout();
    let line = |job: &str| said.lines().find(|line| line.contains(job)).unwrap();
    assert!(line(" fix ").contains("(changed 1 tracked file)"), "{said}");
    assert!(
        line(" all ").contains("(changed 2 tracked files)"),
        "{said}"
    );
}

/// A job that passes where no line of `f` ends in a carriage return.
fn line_ends(attributes: &str) -> TestRepo {
    let repo = TestRepo::new();
    repo.tree_job("lf", "! grep -q \"$(printf '\\r')\" f");
    repo.write("f", "x\ny\n");
    if !attributes.is_empty() {
        repo.write(".gitattributes", attributes);
    }
    repo.commit("one");
    repo
}

#[test]
fn settings_of_line_ends_count_as_git_combines_them() {
    let repo = line_ends("* text\n");
    let set = |crlf: &str, eol: &str| {
        for (key, value) in [("core.autocrlf", crlf), ("core.eol", eol)] {
            match value {
                // It fails where there is nothing to unset.
                "" => drop(
                    repo.command("git", repo.path())
                        .args(["config", "--unset", key])
                        .output(),
                ),
                value => drop(repo.git(["config", key, value])),
            }
        }
    };
    let all = ["", "false", "input", "true"];
    // In an order in which each setting comes before and after each other.
    let mut last = (String::new(), String::new());
    for crlf in all.iter().chain(all.iter().rev()) {
        for eol in ["", "lf", "crlf", "lf", ""] {
            set(crlf, eol);
            let worktree = repo.root().join("as-git");
            let worktree = worktree.to_str().unwrap();
            repo.git(["worktree", "add", "-q", "--detach", worktree, "HEAD"]);
            let right = std::fs::read(format!("{worktree}/f")).unwrap() == b"x\ny\n";
            repo.git(["worktree", "remove", "--force", worktree]);
            let ran = repo.ci(["run", "-q"]);
            assert_eq!(
                ran.code(),
                if right { 0 } else { 1 },
                "autocrlf {crlf:?}, eol {eol:?} after {last:?}"
            );
            last = ((*crlf).to_owned(), eol.to_owned());
        }
    }
}

#[test]
fn a_file_of_attributes_is_where_git_finds_it() {
    let repo = line_ends("");
    let file = repo.root().join("attributes");
    std::fs::write(&file, "* text eol=crlf\n").unwrap();
    let output = |program: &str, args: &[&str]| {
        let done = repo.command(program, repo.path()).args(args).output();
        String::from_utf8(done.unwrap().stdout).unwrap()
    };
    let user = output("id", &["-un"]);
    let home = output("sh", &["-c", &format!("echo ~{}", user.trim())]);
    let up = "/..".repeat(home.trim().matches('/').count());
    let at_home = repo.root().join("home/attributes");
    std::fs::copy(&file, &at_home).unwrap();
    for named in [
        format!("~{}{up}{}", user.trim(), file.display()),
        "~/attributes".to_owned(),
        file.display().to_string(),
    ] {
        repo.git(["config", "core.attributesFile", &named]);
        assert_eq!(repo.ci(["run", "-q"]).code(), 1, "{named}");
        repo.git(["config", "--unset", "core.attributesFile"]);
        assert_eq!(repo.ci(["run", "-q"]).code(), 0, "{named}");
    }
}
