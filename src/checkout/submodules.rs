//! Submodules of a worktree in a slot, from what the user's repository has of them.
//!
//! Each gets a git directory of its own below the slot's (`modules/NAME`, where git keeps
//! them), made from the user's in the way the slot's is, and is brought to its commit in the
//! way the slot is. Nothing is fetched from anywhere else, and nothing of the user's is
//! written.
//!
//! A submodule that the user does not want (`active = false`, `update = none`) stays an
//! empty directory, as it does for them. One that is only not there is no reason to say
//! that the commit fails: the task ends without a verdict.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use gix::index::entry::Mode;
use rustix::fs::FileType;

use super::apart::Caches;
use super::files::Tree;
use super::git_in::GitIn;
use super::gitmodules::{Wanted, named, wanted};
use super::left::{Left, Module, Modules, without_worktree};
use super::location::MODULES;
use super::past::Past;
use super::unmoved::is_unmoved;
use super::{CheckoutError, Goal};
use crate::git::Repo;
use crate::model::{Oid, printable_line};

/// A worktree that has submodules.
#[derive(Clone, Copy)]
pub(super) struct Outer<'a> {
    pub(super) goal: &'a Goal<'a>,
    pub(super) git: &'a GitIn<'a>,
    /// What is not tracked in it.
    pub(super) caches: Caches<'a>,
    /// Brings a submodule to its commit; returns what the next move can go by.
    pub(super) move_to: MoveTo,
}

/// What brings a worktree to a commit, by what the last move left there.
type MoveTo = fn(&Goal<'_>, &mut Past, Option<Left>) -> Result<Option<Left>, CheckoutError>;

/// Where the user's submodules are.
struct Sources {
    /// Directories that have them by name.
    modules: Vec<PathBuf>,
    /// Worktrees that may have them in place, from before git kept them elsewhere.
    worktrees: Vec<PathBuf>,
}

impl Sources {
    /// Those of the user's repository: its own and those of its worktrees, except the slots.
    /// Or of one of its submodules.
    fn of(goal: &Goal<'_>) -> Self {
        let common = goal.repo.common_dir();
        let mut sources = Self {
            modules: vec![common.join(MODULES)],
            worktrees: vec![goal.template.config().top(common)],
        };
        if !goal.location.is_slot() {
            return sources;
        }
        let slots = goal.path.parent().unwrap_or(goal.path);
        let worktrees = fs::read_dir(common.join("worktrees"));
        for entry in worktrees.into_iter().flatten().flatten() {
            let dir = entry.path();
            let dot_git = fs::read(dir.join("gitdir")).unwrap_or_default();
            let dot_git = dir.join(OsStr::from_bytes(dot_git.trim_ascii_end()));
            if dot_git.starts_with(slots) {
                continue;
            }
            sources.modules.push(dir.join(MODULES));
            sources
                .worktrees
                .extend(dot_git.parent().map(Path::to_owned));
        }
        sources
    }

    /// The git directories that a submodule has.
    fn all(&self, name: &str, path: &Path) -> impl Iterator<Item = PathBuf> {
        let by_name = self.modules.iter().map(move |dir| dir.join(name));
        let in_place = self.worktrees.iter();
        let in_place = in_place.map(move |dir| dir.join(path).join(".git"));
        by_name
            .chain(in_place)
            .filter(|dir| dir.join("objects").is_dir())
    }

    /// The git directory of a submodule that has `commit`, and the commit's id there: a
    /// submodule may have ids of the other kind, and what git records is as long as its
    /// own are, filled up with zeros or cut.
    fn find(&self, repo: &Repo, name: &str, path: &Path, commit: &str) -> Option<(PathBuf, Oid)> {
        self.all(name, path).find_map(|dir| {
            let mut ask = without_worktree(repo, &dir);
            ask.args(["rev-parse", "--verify", "--quiet", "--end-of-options"]);
            ask.arg(format!("{commit}^{{commit}}"));
            let found = repo.git().read(&mut ask).ok()?;
            Some((dir, found.parse().ok()?))
        })
    }
}

/// Brings each of `links`, a path and a commit, to its commit; `before` is what the last move
/// left in them.
pub(super) fn update(
    outer: &Outer<'_>,
    links: &[(Vec<u8>, gix::ObjectId)],
    mut before: Modules,
    past: &mut Past,
) -> Result<Modules, CheckoutError> {
    let Goal { repo, template, .. } = *outer.goal;
    let sources = Sources::of(outer.goal);
    let of_git = |error| CheckoutError::of_git(outer.goal.commit, outer.goal.path, error);
    let all = named(outer.goal).map_err(of_git)?;
    // What git was not started for any more is not missing.
    let or_interrupted = |error| {
        if repo.git().gate().is_closed() {
            CheckoutError::Interrupted {
                commit: *outer.goal.commit,
            }
        } else {
            error
        }
    };
    let mut left = Modules::default();
    for (path, commit) in links {
        // Without a name git does not know what to do with it, either.
        let (wanted, name) = match all.get(path) {
            None => (Wanted::No, ""),
            Some(named) => {
                let wanted = wanted(repo, outer.git, template.config(), path, named);
                (wanted, named.name.as_str())
            }
        };
        if wanted == Wanted::No {
            leave_empty(outer.goal, path, past)?;
            continue;
        }
        let below = Path::new(OsStr::from_bytes(path));
        let commit = commit.to_string();
        let Some((source, commit)) = sources.find(repo, name, below, &commit) else {
            let known = wanted == Wanted::Yes || sources.all(name, below).next().is_some();
            return Err(or_interrupted(missing(outer.goal, name, commit, known)));
        };
        let printable = || printable_line(name.as_bytes()).into_owned();
        let lent = outer.goal.templates.of_submodule(repo, &source);
        let lent = lent.map_err(|error| {
            let (name, source) = (printable(), error.into());
            or_interrupted(CheckoutError::Submodule { name, source })
        })?;
        let location = outer.goal.location.submodule(path, name);
        let goal = Goal {
            repo: &lent.repo,
            template: &lent.template,
            location: &location,
            path: &location.path(),
            commit: &commit,
            outer: Some(outer),
            ..*outer.goal
        };
        let mut known = before.take(path, &location, &lent.repo);
        if !known.as_mut().is_some_and(|left| is_unmoved(&goal, left)) {
            let (below, slot) = (printable_line(location.below()), location.slot_path());
            tracing::debug!(target: "checkout", slot = %slot.display(), %commit, "by git: {below}");
            let moved = past.below(path, |past| (outer.move_to)(&goal, past, known));
            known = moved.map_err(|error| of_submodule(printable(), error))?;
        }
        if let Some(known) = known {
            let module = Module {
                location: location.clone(),
                repo: Rc::clone(&lent.repo),
                left: known,
            };
            left.0.insert(path.clone(), module);
        }
    }
    Ok(left)
}

/// Removes submodules that `index` has and the commit has not: git leaves them where they are.
///
/// # Errors
/// Where they cannot be removed.
pub(super) fn leave(goal: &Goal<'_>, index: &gix::index::File, past: &mut Past) -> io::Result<()> {
    let entries = index.entries().iter();
    let links = entries.filter(|entry| entry.mode == Mode::COMMIT);
    let links: Vec<_> = links.map(|entry| entry.path(index).to_vec()).collect();
    if links.is_empty() {
        return Ok(());
    }
    let objects = goal.repo.objects();
    let tree = gix::ObjectId::try_from(goal.commit.as_bytes())
        .ok()
        .and_then(|id| objects.find_commit(id).ok()?.tree().ok());
    let stays = |path: &[u8]| {
        let entry = tree.as_ref().and_then(|tree| {
            let parts = path.split(|&byte| byte == b'/');
            tree.lookup_entry(parts).ok().flatten()
        });
        entry.is_some_and(|entry| entry.mode().is_commit())
    };
    let mut files = Tree::open(goal.path)?;
    for path in links.iter().filter(|path| !stays(path)) {
        past.lost(path);
        files.remove_all(path)?;
    }
    Ok(())
}

/// What is missing where the user's repository does not have a submodule's commit.
fn missing(goal: &Goal<'_>, name: &str, commit: String, known: bool) -> CheckoutError {
    let name = printable_line(name.as_bytes()).into_owned();
    if goal.repo.is_cache() {
        return CheckoutError::SubmoduleOnHost { name };
    }
    if known {
        return CheckoutError::SubmoduleMissing { name, commit };
    }
    let inside = if goal.location.is_slot() {
        String::new()
    } else {
        format!("-C {} ", printable_line(goal.location.below()))
    };
    CheckoutError::SubmoduleNotInitialised { name, inside }
}

/// What went wrong in the submodule `name`. What stood in the way there may be gone in a
/// slot that is made anew, so that stays what it is.
fn of_submodule(name: String, error: CheckoutError) -> CheckoutError {
    match error {
        CheckoutError::Git { source, .. } => CheckoutError::Submodule {
            name,
            source: source.into(),
        },
        CheckoutError::Filter { .. } | CheckoutError::Pointer { .. } => CheckoutError::Submodule {
            name,
            source: error.into(),
        },
        error => error,
    }
}

/// Makes the directory of a submodule empty, if it is not.
fn leave_empty(goal: &Goal<'_>, path: &[u8], past: &mut Past) -> Result<(), CheckoutError> {
    let full = goal.path.join(OsStr::from_bytes(path));
    let made = Tree::open(goal.path).and_then(|mut files| {
        let is_dir = files.kind(path) == Some(FileType::Directory);
        if is_dir && fs::read_dir(&full)?.next().is_none() {
            return Ok(());
        }
        past.lost(path);
        files.make_empty_dir(path)
    });
    made.map_err(|source| CheckoutError::Io { path: full, source })
}
