//! What jobs and crashes do to a worktree, and that the next task finds none of it.

use std::fs;

use super::checkout::Bench;
use super::support::wait_until;

/// What jobs do to their worktree. `$O` is a directory outside it.
const DAMAGE: &[&str] = &[
    "rm -rf keep n d",
    "echo changed >keep",
    // As long as before, and as old.
    "t=$(stat -c %y keep); printf KEPT >keep; touch -d \"$t\" keep",
    "chmod 600 keep; chmod +x n",
    "rm -rf d; ln -s $O d",
    "rm -rf d; ln -s $O d; git add -A",
    "rm keep; mkdir -p keep/deep; echo x >keep/deep/file",
    "rm keep; ln -s $O/precious keep",
    "rm -rf d; echo x >d",
    "touch $(git rev-parse --git-dir)/index.lock $(git rev-parse --git-dir)/HEAD.lock",
    "echo junk >junk; mkdir -p j/u; echo junk >j/u/nk; git add -A",
    "git init -q nested; echo x >nested/file; git init -q d; git init -q junk/deep",
    "git checkout -q -b branch-$GIT_CI_COMMIT; echo x >x; git add x; git -c user.name=x -c user.email=x commit -qm x",
    "git update-index --assume-unchanged keep; echo hidden >keep",
    "git update-index --skip-worktree keep d/e; echo hidden >keep; rm d/e",
    "git rm -q --cached keep; git add -N nothing; rm -f $(git rev-parse --git-dir)/index",
    "echo x >$(git rev-parse --git-dir)/index",
    "git stash -q 2>/dev/null; echo y >keep; git stash -q; git tag -f mine -m mine 2>/dev/null; git bisect start; git bisect bad",
    "git checkout -q --orphan o; git rm -rqf .; git branch -f side $GIT_CI_COMMIT~1 2>/dev/null",
    "git cherry-pick --no-commit HEAD~1; git merge -q side; git revert HEAD~1; git rebase -q side",
    "rm -rf .git",
    "rm -rf .git; git init -q .; git add -A",
    "rm -rf .git; ln -s $REPO/.git .git; echo x >keep",
    "rm -rf .git; echo gitdir: $REPO/.git >.git",
    "mv .git $O/moved; ln -s $O/moved .git; echo x >keep; git add -A",
    "rm -rf $O/moved; rm -rf .git/objects; ln -s $REPO/.git/objects .git/objects",
    "rm -rf .git/refs .git/info; ln -s $O .git/refs; ln -s $O .git/info",
    "echo nonsense >.git/HEAD",
    "rm .git/HEAD .git/index; ln -s $O/precious .git/HEAD; ln -s $O/e .git/index",
    "echo $REPO/.git >.git/commondir; echo x >.git/config.worktree; git config extensions.worktreeConfig true",
    "for f in HEAD index config packed-refs git-ci objects/info/alternates; do : >.git/$f; done",
    "for f in HEAD index index.lock config packed-refs; do rm -f .git/$f; mkfifo .git/$f; done",
    "for f in git-ci objects/info/alternates info/exclude config.worktree shallow; do rm -f .git/$f; mkfifo .git/$f; done; mkfifo .gitattributes .gitignore",
    "mkdir -p u/v/.git u/w keep.d/.git; for f in u/.gitignore u/v/.git/HEAD u/w/.gitattributes keep.d/.git/HEAD; do mkfifo $f; done; git init -q x; mkfifo x/.git/commondir; ln -s u/v/.git/HEAD u/w/.gitignore",
    "mkfifo d/f/.gitignore d/.gitattributes .gitmodules .lfsconfig; rm keep; mkfifo keep; rm .git/index",
    "rm -rf .git/objects/info .git/refs; mkfifo .git/refs .git/objects/info",
    "rm .git/config .git/packed-refs .git/objects/info/alternates; mkdir .git/config .git/packed-refs .git/objects/info/alternates",
    "echo $O >.git/objects/info/alternates; git config core.worktree $O; git config core.attributesFile $O/e",
    "chmod 0 .git/objects .git/refs .git/config .git",
    "chmod 0 .git/HEAD .git/index .git/packed-refs .git/objects/info/alternates",
    "printf '*.o binary\n* eol=crlf\n' >.git/info/attributes; echo '*' >.git/info/exclude; echo x >.git/shallow",
    "w=$PWD; cd /; rm -rf \"$w\"",
    "mkdir -p locked/in d/deep; echo x >locked/in/x; chmod 0 locked/in locked d",
    "chmod 555 d .",
    "echo '* text eol=crlf' >.gitattributes; echo '*' >d/.gitattributes; rm keep d/e",
    "git config --worktree x.y z; git sparse-checkout set --no-cone /n 2>/dev/null; git config core.sparseCheckout false; git config extensions.worktreeConfig false",
    "mkfifo keep2; rm keep; mkfifo keep; mkdir -p a/b/c/d/e",
    "ln keep hard; echo other >hard",
    "git update-index --split-index; git update-index --untracked-cache; git update-index --index-version 4",
    "git add -A; git write-tree >/dev/null; git read-tree --empty",
];

#[test]
fn whatever_a_job_does_the_next_one_finds_the_commit() {
    let mut bench = Bench::new();
    let outside = bench.repo.root().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "precious").unwrap();
    fs::write(outside.join("e"), "not yours").unwrap();
    let mut commits = Vec::new();
    for i in 0..=DAMAGE.len() {
        bench.repo.write("keep", "kept");
        bench.repo.write("d/e", "e");
        bench
            .repo
            .write("d/f/g", if i % 3 == 0 { "g" } else { "h" });
        commits.push(bench.repo.commit("one more"));
    }
    let mut script = String::from("n=$(cat n); case $n in\n");
    for (i, damage) in DAMAGE.iter().enumerate() {
        script += &format!("{}) {damage} ;;\n", i + 1);
    }
    script += "esac >/dev/null 2>&1; true\n";
    fs::write(bench.repo.root().join("damage"), script).unwrap();
    bench.then = format!(
        "O={} REPO={} sh {}/damage",
        outside.display(),
        bench.repo.path().display(),
        bench.repo.root().display()
    );
    let index = fs::read(bench.repo.path().join(".git/index")).unwrap();
    let head = bench.repo.git(["symbolic-ref", "HEAD"]);

    bench.check(&commits, &["--order", "oldest"]);
    // And with a process for each.
    for commit in &commits {
        bench.run(std::slice::from_ref(commit), &[]).expect_code(0);
        bench.compare(commit);
    }
    let mut left: Vec<_> = fs::read_dir(&outside)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["e", "precious"]);
    assert_eq!(fs::read(outside.join("e")).unwrap(), b"not yours");
    assert_eq!(
        index,
        fs::read(bench.repo.path().join(".git/index")).unwrap()
    );
    assert_eq!(head, bench.repo.git(["symbolic-ref", "HEAD"]));
    assert_eq!(bench.repo.git(["status", "--porcelain"]), "");
}

#[test]
fn a_move_that_was_killed_leaves_nothing() {
    let bench = Bench::new();
    let repo = &bench.repo;
    repo.write(".gitignore", "*.o\n");
    let last = repo.commit("without");
    let mut commits = Vec::new();
    for i in 0..40 {
        repo.git(["rm", "-rqf", "--ignore-unmatch", "x0", "x1", "x2"]);
        for file in 0..150 {
            // Tracked though ignored: as leftovers they would be taken for a build cache.
            repo.write(&format!("x{}/{file}.o", i % 3), format!("{i}"));
        }
        repo.git(["add", "-f", "-A", "."]);
        commits.push(repo.commit("with many"));
    }
    for kill_after in [0, 1, 4, 9, 16, 25] {
        let root = repo.root().display();
        let count = repo.root().join("count");
        fs::write(&count, "").unwrap();
        let command = format!("echo >>{root}/count");
        let mut args = vec![
            "run", "-q", "-j1", "--force", "--order", "oldest", "-x", &command,
        ];
        args.extend(commits.iter().map(String::as_str));
        let mut run = repo.spawn_ci(args);
        let agents = || -> Vec<i32> {
            let tasks = fs::read_dir(format!("/proc/{}/task", run.id())).unwrap();
            let lists = tasks.flatten().map(|task| task.path().join("children"));
            lists
                .flat_map(|list| {
                    let list = fs::read_to_string(list).unwrap_or_default();
                    let pids = list.split_whitespace().map(|pid| pid.parse().unwrap());
                    pids.collect::<Vec<i32>>()
                })
                .collect()
        };
        wait_until("enough tasks", || {
            fs::metadata(&count).unwrap().len() >= kill_after && !agents().is_empty()
        });
        for agent in agents() {
            let agent = rustix::process::Pid::from_raw(agent).unwrap();
            let _ = rustix::process::kill_process(agent, rustix::process::Signal::KILL);
        }
        run.kill().unwrap();
        run.wait().unwrap();
        bench.check(&[last.clone(), commits[5].clone()], &["--order", "oldest"]);
    }
}
