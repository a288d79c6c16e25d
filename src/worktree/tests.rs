//! The pool, over real repositories. Each pool here stands for an agent: what they share
//! are files.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::{Holder, Lease, Pool};
use crate::git::Repo;
use crate::model::{Clean, CommandLine, InputId, Job, JobName, LogId, Oid};

/// A repository of two commits, and a place for worktrees.
struct Place {
    dir: TempDir,
    repo: Repo,
    commits: [Oid; 2],
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("repo");
        let git = |args: &[&str]| {
            let identity = ["-c", "user.name=A", "-c", "user.email=a@b.c"];
            let mut git = Command::new("git");
            let at = [
                ("GIT_CONFIG_GLOBAL", "/dev/null"),
                ("GIT_CONFIG_NOSYSTEM", "1"),
            ];
            git.arg("-C").arg(&path).args(identity).args(args).envs(at);
            let said = git.output().unwrap();
            assert!(said.status.success(), "{said:?}");
            String::from_utf8(said.stdout).unwrap()
        };
        fs::create_dir(&path).unwrap();
        git(&["init", "-q"]);
        fs::write(path.join(".gitignore"), "/kept\n").unwrap();
        git(&["add", "."]);
        let commit = || -> Oid {
            git(&["commit", "-q", "--allow-empty", "-m", "one"]);
            git(&["rev-parse", "HEAD"]).trim().parse().unwrap()
        };
        let commits = [commit(), {
            fs::write(path.join("file"), "").unwrap();
            git(&["add", "."]);
            commit()
        }];
        let repo = Repo::open_common(&path.join(".git")).unwrap();
        Self { dir, repo, commits }
    }

    fn worktrees(&self) -> PathBuf {
        self.dir.path().join("worktrees")
    }

    fn pool(&self, slots: u32) -> Pool<'_> {
        Pool::new(&self.repo, self.worktrees(), slots)
    }
}

/// Has a slot leased for `work`. A process that another test is starting has the files of this
/// one until it is another program, and so holds for a moment what was given back.
fn lease<R>(pool: &mut Pool<'_>, commit: &Oid, work: impl FnOnce(Lease<'_, '_>) -> R) -> R {
    for _ in 0..2000 {
        if let Some(lease) = pool.try_lease(commit, &holder(commit)).unwrap() {
            return work(lease);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("no slot is free");
}

fn name(text: &str) -> JobName {
    text.parse().unwrap()
}

fn holder(commit: &Oid) -> Holder {
    Holder::new(std::process::id(), *commit, &name("test"), LogId::of(1))
}

fn identity(text: &str) -> InputId {
    InputId::of_entries(&[(text.into(), Vec::new())])
}

#[test]
fn two_have_a_slot_each_and_come_back_to_what_they_left() {
    let place = Place::new();
    let [one, two] = &place.commits;
    let (mut a, mut b) = (place.pool(2), place.pool(2));
    lease(&mut a, one, |mut first| {
        lease(&mut b, two, |mut second| {
            assert_ne!(first.slot(), second.slot());
            assert_eq!(first.before(), None, "it is new");
            first.move_to(one, Clean::Untracked).unwrap();
            second.move_to(two, Clean::Untracked).unwrap();
            assert!(!first.path().join("file").exists());
            assert!(second.path().join("file").exists());
            second.release();
        });
        first.release();
    });
    let comes_back = |_| {
        lease(&mut b, two, |again| {
            let is_there = again.before() == Some(*two);
            again.release();
            is_there
        })
    };
    assert!((0..100).any(comes_back));
}

#[test]
fn what_was_not_given_back_is_not_trusted() {
    let place = Place::new();
    let one = &place.commits[0];
    let path = lease(&mut place.pool(1), one, |mut lease| {
        lease.move_to(one, Clean::Untracked).unwrap();
        lease.path().to_owned()
    });
    fs::remove_file(path.join(".gitignore")).unwrap();
    lease(&mut place.pool(1), one, |mut lease| {
        assert_eq!(lease.before(), None);
        lease.move_to(one, Clean::None).unwrap();
        assert!(path.join(".gitignore").exists());
    });
}

#[test]
fn a_setup_lasts_in_the_worktree_that_it_was_made_in() {
    let place = Place::new();
    let one = &place.commits[0];
    let (deps, npm, of) = (name("deps"), name("npm"), identity("lock"));
    lease(&mut place.pool(1), one, |mut lease| {
        lease.move_to(one, Clean::Untracked).unwrap();
        assert!(!lease.has_setup(&deps, of));
        lease.begin_setup(&deps).unwrap();
        fs::write(lease.path().join("kept"), "").unwrap();
        assert_eq!(lease.end_setup(&deps, of, &[&deps]).unwrap(), None);
        lease.release();
    });
    let path = lease(&mut place.pool(1), one, |mut lease| {
        lease.move_to(one, Clean::Untracked).unwrap();
        assert!(lease.has_setup(&deps, of));
        assert!(!lease.has_setup(&deps, identity("another lock")));
        lease.begin_setup(&npm).unwrap();
        lease.end_setup(&npm, of, &[&npm, &deps]).unwrap();
        assert!(lease.has_setup(&deps, of), "the job wants both");
        // Another package manager may take away what the first has put there.
        lease.begin_setup(&npm).unwrap();
        lease.end_setup(&npm, of, &[&npm]).unwrap();
        assert!(!lease.has_setup(&deps, of));
        let path = lease.path().to_owned();
        lease.release();
        path
    });
    fs::remove_dir_all(path).unwrap();
    lease(&mut place.pool(1), one, |mut lease| {
        lease.move_to(one, Clean::Untracked).unwrap();
        assert!(!lease.has_setup(&npm, of), "it is another worktree");
    });
}

#[test]
fn a_setup_lasts_where_git_ignores_what_it_made_and_nowhere_else() {
    let place = Place::new();
    let one = &place.commits[0];
    let (deps, of) = (name("deps"), identity("lock"));
    lease(&mut place.pool(1), one, |mut lease| {
        lease.move_to(one, Clean::Untracked).unwrap();
        lease.begin_setup(&deps).unwrap();
        fs::create_dir(lease.path().join("deps")).unwrap();
        fs::write(lease.path().join("deps/a"), "").unwrap();
        let passing = lease.end_setup(&deps, of, &[&deps]).unwrap();
        assert_eq!(passing.as_deref(), Some(&b"deps/"[..]));
        assert!(!lease.has_setup(&deps, of));
    });
}

#[test]
fn a_pristine_worktree_has_nothing_set_up() {
    let place = Place::new();
    let one = &place.commits[0];
    let (deps, of) = (name("deps"), identity("lock"));
    let mut pool = place.pool(1);
    lease(&mut pool, one, |mut lease| {
        lease.move_to(one, Clean::Untracked).unwrap();
        fs::write(lease.path().join("kept"), "").unwrap();
        lease.end_setup(&deps, of, &[&deps]).unwrap();
        lease.release();
    });
    lease(&mut pool, one, |mut lease| {
        assert!(lease.has_setup(&deps, of));
        lease.move_to(one, Clean::All).unwrap();
        assert!(!lease.path().join("kept").exists());
        assert!(!lease.has_setup(&deps, of));
    });
}

#[test]
fn what_has_passed_counts_until_the_worktree_is_cleaned_or_moved() {
    let place = Place::new();
    let [one, two] = &place.commits;
    let build = Job::new(name("build"), CommandLine::Shell("make".into())).definition();
    let mut pool = place.pool(1);
    let pass = |pool: &mut Pool<'_>, clean| {
        lease(pool, one, |mut lease| {
            lease.move_to(one, clean).unwrap();
            lease.note_passed(build);
            lease.release();
        });
    };
    let counts = |pool: &mut Pool<'_>, commit: &Oid, clean| {
        lease(pool, commit, |mut lease| {
            lease.move_to(commit, clean).unwrap();
            let counts = lease.has_passed(build, commit);
            lease.release();
            counts
        })
    };
    pass(&mut pool, Clean::Untracked);
    assert!(counts(&mut pool, one, Clean::None));
    assert!(!counts(&mut pool, two, Clean::None));
    assert!(!counts(&mut pool, one, Clean::None), "it was elsewhere");
    pass(&mut pool, Clean::None);
    assert!(!counts(&mut pool, one, Clean::Untracked));
}
