//! Random histories with submodules that come, go, move and are inside each other, and jobs
//! that leave damage: each task finds what a fresh worktree has.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::checkout::{Bench, Dice};
use super::submodules::add_submodule;
use super::support::{TestRepo, setting};

/// What a job does, by the first digit of its commit.
const DAMAGE: &str = r#"
each() { git submodule -q foreach --recursive "$1"; }
case $GIT_CI_COMMIT in
0*) each 'echo changed >f; touch new; git add -A' ;;
1*) each 'git checkout -q --orphan o; git rm -rqf .' ;;
2*) each 'git config core.autocrlf true; git rm -rq --cached .; git reset -q --hard' ;;
3*) rm -rf .git/modules ;;
4*) git submodule deinit -qf --all ;;
5*) find . -name .git -type f -delete ;;
6*) git rm -rqf . ;;
7*) git init -q --bare .git/modules/zz; mv .git/modules/a .git/modules/d ;;
8*) each 'mkdir -p left/.git; mkfifo left/.git/HEAD .gitignore .gitmodules' ;;
9*) each 'git stash -q; git update-index --assume-unchanged f; echo hidden >f' ;;
a*) each 'echo x >>f'; git add -A; git -c user.name=x -c user.email=x@x commit -qm x ;;
b*) rm .git/index; each 'rm "$(git rev-parse --git-dir)/index"' ;;
c*) each 'echo "* text eol=crlf" >.gitattributes; rm -f f; git checkout -q f' ;;
d*) each 'git clean -ffdxq; git checkout -q HEAD~1' ;;
esac >/dev/null 2>&1
true
"#;

/// A repository with a few commits that differ in files and attributes.
fn inner(dice: &mut Dice, nested: Option<&TestRepo>) -> (TestRepo, Vec<String>) {
    let repo = TestRepo::new();
    let mut commits = Vec::new();
    for round in 0..4 {
        repo.write("f", format!("text {}\nand more\n", dice.roll(3)));
        if dice.roll(2) == 0 {
            let attributes = ["* text eol=crlf\n", "f ident\n", "f binary\n", ""];
            repo.write(".gitattributes", attributes[dice.roll(4) as usize]);
        }
        match (nested, round) {
            (Some(nested), 1) => add_submodule(&repo, nested, "in/side"),
            (Some(_), 3) => drop(repo.git(["mv", "in/side", "moved"])),
            _ => {}
        }
        commits.push(repo.commit("inner"));
    }
    (repo, commits)
}

/// Puts what a clone would have of a submodule into a repository.
fn fetch(repo: &TestRepo, of: &Path, into: &Path) {
    let (of, to) = (of.to_str().unwrap(), into.to_str().unwrap());
    repo.git(["clone", "-q", "--bare", of, to]);
    repo.git(["--git-dir", to, "config", "core.bare", "false"]);
    repo.git(["--git-dir", to, "config", "core.worktree", "/nowhere"]);
}

/// Commits random submodules and files.
fn commit(repo: &TestRepo, dice: &mut Dice, inners: &[(&str, PathBuf, &[String])]) -> String {
    const PATHS: [&str; 6] = ["lib", "d/lib", "x/y/z", "lib/deep", "sp ace", "x"];
    let clash = |one: &str, other: &str| {
        let below = |a: &str, b: &str| a == b || a.starts_with(&format!("{b}/"));
        below(one, other) || below(other, one)
    };
    let mut taken: Vec<&str> = Vec::new();
    let mut modules = String::new();
    repo.git(["read-tree", "--empty"]);
    let add = |mode: &str, id: &str, path: &str| {
        let entry = format!("{mode},{id},{path}");
        repo.git(["update-index", "--add", "--cacheinfo", &entry]);
    };
    for (name, url, commits) in inners {
        let path = PATHS[dice.roll(6) as usize];
        if dice.roll(4) > 0 && !taken.iter().any(|taken| clash(taken, path)) {
            taken.push(path);
            let url = url.display();
            modules += &format!("[submodule \"{name}\"]\n\tpath = \"{path}\"\n\turl = \"{url}\"\n");
            add(
                "160000",
                &commits[dice.roll(commits.len() as u64) as usize],
                path,
            );
        }
    }
    for path in PATHS {
        if dice.roll(3) == 0 && !taken.iter().any(|taken| clash(taken, path)) {
            taken.push(path);
            let mode = ["100644", "100755", "120000"][dice.roll(3) as usize];
            repo.write("../blob", format!("d{}", dice.roll(3)));
            add(mode, &repo.git(["hash-object", "-w", "../blob"]), path);
        }
    }
    repo.write("../blob", modules);
    add(
        "100644",
        &repo.git(["hash-object", "-w", "../blob"]),
        ".gitmodules",
    );
    repo.git(["commit", "-q", "--allow-empty", "-m", "a commit"]);
    repo.git(["rev-parse", "HEAD"])
}

#[test]
fn random_histories_with_submodules_arrive_as_git_checks_them_out() {
    for seed in 1..=setting("GIT_CI_TEST_SEEDS", 1) {
        let mut bench = Bench::new();
        let mut dice = Dice(seed);
        let (deep, _) = inner(&mut dice, None);
        let (one, first) = inner(&mut dice, Some(&deep));
        let (two, second) = inner(&mut dice, None);
        let repo = &bench.repo;
        let modules = repo.git_dir().join("modules");
        for (name, of) in [("a", &one), ("b/c", &two), ("d", &one)] {
            fetch(repo, of.path(), &modules.join(name));
        }
        for name in ["a", "d"] {
            fetch(
                repo,
                deep.path(),
                &modules.join(name).join("modules/in/side"),
            );
        }
        let inners = [
            ("a", one.path().to_owned(), first.as_slice()),
            ("b/c", two.path().to_owned(), second.as_slice()),
            ("d", one.path().to_owned(), first.as_slice()),
        ];
        let commits: Vec<_> = (0..12).map(|_| commit(repo, &mut dice, &inners)).collect();
        let fresh: HashMap<_, _> = commits.iter().map(|id| (id, bench.fresh(id))).collect();
        let damage = repo.root().join("damage");
        fs::write(&damage, DAMAGE).unwrap();
        bench.then = format!("sh {}", damage.display());
        let check = |commits: &[String], order: &str| {
            bench.run(commits, &["--order", order]).expect_code(0);
            for commit in commits {
                let seen = fs::read(bench.seen().join(commit)).unwrap();
                let (seen, fresh) = (String::from_utf8_lossy(&seen), &fresh[commit]);
                assert!(
                    seen == *fresh,
                    "seed {seed}: at {commit} a task saw\n{seen}\n--- where a fresh worktree has\n{fresh}"
                );
            }
        };
        check(&commits, "oldest");
        check(&commits, "newest");
        for _ in 0..commits.len() {
            let at = dice.roll(commits.len() as u64) as usize;
            check(std::slice::from_ref(&commits[at]), "oldest");
        }
    }
}
