//! The move by git itself, from any state: `git checkout -f --detach` and `git clean`, and
//! around them what these do not do.
//!
//! They believe the flags of the index, which a job may have set; they keep files
//! as they are whose blob is the same, though another filter would make another file of it;
//! they do not look for repositories that a job made between tracked files.

use std::fs;
use std::path::Path;

use gix::index::entry::{Flags, Mode};

use super::admin::{Admin, state_line};
use super::apart::{Caches, tell_apart};
use super::before::Before;
use super::fast::Known;
use super::files::{Tree, clear_path, is_special, remove_path, umask, unlock_all};
use super::filtered::{Filtered, Rules};
use super::git_in::GitIn;
use super::ignored::ignores;
use super::index::{Image, stamp};
use super::kept::Kept;
use super::left::{At, Left, Modules};
use super::module_dirs;
use super::past::Past;
use super::pipes;
use super::rules::CheckoutRules;
use super::scan::scan;
use super::slow::Slow;
use super::submodules::{self, Outer};
use super::template::Template;
use super::{CheckoutError, Goal};
use crate::git::{GitError, Repo};
use crate::model::{Clean, Oid, printable_line};
use crate::private;

/// How far to go: the worktree as it is, then without believing its index, then anew.
const ATTEMPTS: [Attempt; 3] = [Attempt::AsItIs, Attempt::WithoutIndex, Attempt::Anew];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    AsItIs,
    WithoutIndex,
    Anew,
}

/// What is known of a worktree that git has moved.
pub(super) enum Arrived {
    /// A move in process can start from there.
    Plain(Box<Known>),
    /// The next move is git's, too, for this reason.
    Other(Option<Box<Left>>, Option<Slow>),
}

/// The same for a submodule, which leaves only what a next move by git can go by.
fn move_submodule(
    goal: &Goal<'_>,
    past: &mut Past,
    left: Option<Left>,
) -> Result<Option<Left>, CheckoutError> {
    Ok(match move_to(goal, past, left)? {
        Arrived::Other(left, _) => left.map(|left| *left),
        Arrived::Plain(_) => None,
    })
}

/// Brings the worktree at `path` to `commit`; returns what is known of it then. `left` is what
/// was known of it before.
pub(super) fn move_to(
    goal: &Goal<'_>,
    past: &mut Past,
    mut left: Option<Left>,
) -> Result<Arrived, CheckoutError> {
    let Goal {
        repo,
        template,
        location,
        path,
        commit,
        clean,
        ..
    } = *goal;
    let mut last = None;
    let sparse = sparse(template);
    let first = usize::from(past.is_to_come()) * (ATTEMPTS.len() - 1);
    if location.is_slot() {
        past.begin();
    }
    for &attempt in &ATTEMPTS[first..] {
        // What another attempt would do costs a warm worktree.
        if repo.git().gate().is_closed() {
            return Err(CheckoutError::Interrupted { commit: *commit });
        }
        let found = if attempt == Attempt::Anew {
            None
        } else {
            let admin = location.find(repo.common_dir());
            admin.filter(|admin| state_line(admin, "sparse ").as_ref() == Some(&sparse))
        };
        let fresh = found.is_none();
        let admin = match found {
            Some(admin) => admin,
            None => make(goal, past)?,
        };
        let mut worktree = Worktree {
            goal: *goal,
            repo,
            template,
            git: match goal.outer {
                None => GitIn::slot(repo, path),
                Some(outer) => outer.git.submodule(path.to_owned(), repo.common_dir()),
            },
            path,
            admin,
            commit,
            clean,
            fresh,
        };
        match worktree.bring(attempt, left.take(), past) {
            Ok((ground, modules)) => {
                let left = worktree.index().ok().and_then(|file| {
                    let image = Image::of(&worktree.admin.index(), &file)?;
                    let kept = Kept::read(location.slot_path(), location.index());
                    Some(Left::new(image).with(kept, modules))
                });
                if !location.is_slot() {
                    let (commit, seen) = (*commit, template.ground());
                    let at = At {
                        commit,
                        ground,
                        seen,
                    };
                    let left = left.map(|left| Box::new(left.at(at)));
                    return Ok(Arrived::Other(left, None));
                }
                let mut ground = ground;
                let known = match ground.slow.take() {
                    Some(slow) => Err(slow),
                    None => Known::after_git(repo, template, worktree.admin, ground, commit),
                };
                return Ok(match known {
                    Ok(known) => Arrived::Plain(Box::new(known)),
                    Err(slow) => Arrived::Other(left.map(Box::new), Some(slow)),
                });
            }
            Err(error) if error.is_final() => return Err(error),
            Err(error) => last = Some(error),
        }
    }
    last.map_or(Ok(Arrived::Other(None, None)), Err)
}

/// Whether an index says things that only a job could have had it say. `skipping` is
/// whether parts of a tree are meant to be left out.
pub(super) fn distrusts(index: &Path, hash: gix::hash::Kind, skipping: bool) -> bool {
    let Ok(file) = gix::index::File::at(index, hash, true, Default::default()) else {
        return true;
    };
    let mut flags = Flags::ASSUME_VALID | Flags::FSMONITOR_VALID;
    if !skipping {
        flags |= Flags::SKIP_WORKTREE | Flags::INTENT_TO_ADD;
    }
    file.fs_monitor().is_some()
        || file.link().is_some()
        || file
            .entries()
            .iter()
            .any(|entry| entry.flags.intersects(flags))
}

struct Worktree<'a> {
    goal: Goal<'a>,
    repo: &'a Repo,
    template: &'a Template,
    git: GitIn<'a>,
    path: &'a Path,
    admin: Admin,
    commit: &'a Oid,
    clean: Clean,
    /// It was made just now and has no files yet.
    fresh: bool,
}

impl Worktree<'_> {
    fn io(&self, source: std::io::Error) -> CheckoutError {
        CheckoutError::of_io(self.path, source)
    }

    fn git(&self, args: &[&str]) -> Result<(), CheckoutError> {
        let done = self.git.run(args);
        done.map(|_| ()).map_err(|source| self.git_error(source))
    }

    fn git_error(&self, source: GitError) -> CheckoutError {
        CheckoutError::of_git(self.commit, self.path, source)
    }

    fn remove_index(&self) -> Result<(), CheckoutError> {
        remove_path(&self.admin.index()).map_err(|error| self.io(error))
    }

    fn index(&self) -> Result<gix::index::File, CheckoutError> {
        let hash = self.repo.objects().object_hash();
        gix::index::File::at(self.admin.index(), hash, true, Default::default())
            .map_err(|_| self.io(std::io::ErrorKind::InvalidData.into()))
    }

    /// Looks at what is there, which the index or `left` lists.
    fn before(&self, left: Option<Left>, past: &mut Past) -> Result<Before, CheckoutError> {
        let hash = self.repo.objects().object_hash();
        let path = self.admin.index();
        let listed = || Some(Left::new(Image::of(&path, &self.index().ok()?)?));
        let Some(left) = left.or_else(listed) else {
            past.lost_all();
            return Ok(Before::nothing(hash));
        };
        Tree::open(self.path)
            .and_then(|mut files| Before::look(&mut files, left, self.clean, past))
            .map_err(|error| self.io(error))
    }

    fn bring(
        &mut self,
        attempt: Attempt,
        mut left: Option<Left>,
        past: &mut Past,
    ) -> Result<(CheckoutRules, Modules), CheckoutError> {
        if attempt == Attempt::WithoutIndex {
            unlock_all(rustix::fs::CWD, self.path.as_os_str()).map_err(|error| self.io(error))?;
        }
        let objects = self.repo.objects();
        let hash = objects.object_hash();
        let index = self.admin.index();
        let interrupted = self.admin.was_interrupted();
        let renewed = self.admin.renew(self.template);
        renewed.map_err(|error| self.io(error))?;
        module_dirs::tidy(self.admin.dir()).map_err(|error| self.io(error))?;
        self.admin.unlock_index().map_err(|error| self.io(error))?;
        if !self.fresh {
            let distrusted = attempt != Attempt::AsItIs || distrusts(&index, hash, true);
            if distrusted {
                self.remove_index()?;
            }
            if interrupted || distrusted {
                past.lost_all();
                let files = Tree::open(self.path);
                let removed = files.and_then(|files| pipes::remove_all(&files));
                removed.map_err(|error| self.io(error))?;
                // What that commit has is tracked then, and does not stay as a leftover.
                let tracked = self.git.run(&["checkout", "-q", "-f", "--detach", "HEAD"]);
                if distrusted && let Err(source) = tracked {
                    // Without index and commit nobody knows what was tracked. Whatever went
                    // wrong is not about this commit: the slot is made anew.
                    let commit = *self.commit;
                    return Err(CheckoutError::Git { commit, source });
                }
            }
        }
        self.admin
            .set_head(self.commit)
            .map_err(|error| self.io(error))?;
        let ground = CheckoutRules::survey(self.repo, &self.git, self.path, self.admin.dir())
            .map_err(|error| self.git_error(error))?;
        if let Some(what) = &ground.missing {
            return Err(CheckoutError::NotOnHost { what: what.clone() });
        }
        self.git.convert(&ground.conversion);
        let mut before = Before::nothing(hash);
        let mut modules = left.as_mut().map(Left::take_modules).unwrap_or_default();
        if !self.fresh {
            let left = left.filter(|_| !interrupted);
            before = self.before(left, past)?;
            self.remove_pipes(&before, &ground)
                .map_err(|error| self.io(error))?;
            if distrusts(&index, hash, ground.sparse) {
                self.remove_index()?;
            } else {
                let file = self.index().ok();
                if let Some(file) = &file {
                    submodules::leave(&self.goal, file, past).map_err(|error| self.io(error))?;
                }
                // Attributes that a job left would count for what is checked out.
                let _ = self.git.clean(self.clean);
            }
        }
        let commit = self.commit.to_string();
        self.git(&["checkout", "-q", "-f", "--detach", &commit])?;
        let links = self.settle(&objects, &ground, &before)?;

        let caches = Caches {
            paths: before.caches(),
            outer: self
                .goal
                .outer
                .map(|outer| (outer.goal.path, &outer.caches)),
        };
        if !links.is_empty() {
            let outer = Outer {
                goal: &self.goal,
                git: &self.git,
                caches,
                move_to: move_submodule,
            };
            modules = submodules::update(&outer, &links, modules, past)?;
        }
        let cleaned = self.git.clean(self.clean);
        cleaned.map_err(|error| self.git_error(error))?;
        if !self.fresh || self.goal.outer.is_some() {
            self.tell_apart(&objects, &before, caches, past)?;
        }
        // Filters leave things, too: git-lfs installs hooks wherever it runs.
        let renewed = self.admin.renew(self.template);
        renewed.map_err(|error| self.io(error))?;
        Ok((ground, modules))
    }

    /// See [`pipes`].
    fn remove_pipes(&self, before: &Before, ground: &CheckoutRules) -> std::io::Result<()> {
        let (image, untracked) = (before.image(), before.caches());
        let ignored = |files: &mut Tree, path: &[u8]| {
            self.clean == Clean::None
                || ignores(self.repo, ground, files, path, true).is_ok_and(|ignored| ignored)
        };
        pipes::remove(
            &mut Tree::open(self.path)?,
            self.goal.location,
            image,
            untracked,
            ignored,
        )
    }

    /// See [`apart`](super::apart).
    fn tell_apart(
        &self,
        objects: &gix::Repository,
        before: &Before,
        caches: Caches<'_>,
        past: &mut Past,
    ) -> Result<(), CheckoutError> {
        let Ok(file) = self.index() else {
            return Ok(());
        };
        let Some(mut image) = Image::of(&self.admin.index(), &file) else {
            return Ok(());
        };
        let written = before.written(&image, past);
        if self.clean == Clean::All {
            return Ok(());
        }
        let read = |id| Some(objects.find_blob(id).ok()?.data.clone());
        let renewed = Tree::open(self.path).and_then(|mut files| {
            for &i in &written {
                // What git notes of a file that is too new for it is no size.
                if let Some(stat) = files.status(image.path(i)) {
                    image.refresh(i, &stamp(&stat));
                }
            }
            tell_apart(&mut files, &mut image, &written, caches, past, &read)
        });
        if renewed.map_err(|error| self.io(error))? {
            // It says what needs more than that by its exit code, and nothing does.
            let _ = self.git.run(&["update-index", "-q", "--refresh"]);
        }
        Ok(())
    }

    /// What git left undone: files that another filter made, repositories between tracked
    /// files. Returns the submodules that the commit has.
    fn settle(
        &self,
        objects: &gix::Repository,
        ground: &CheckoutRules,
        before: &Before,
    ) -> Result<Vec<(Vec<u8>, gix::ObjectId)>, CheckoutError> {
        let file = match self.index() {
            Ok(file) => file,
            // The empty tree: git writes no index for it.
            Err(_) if !self.admin.index().exists() => {
                return self.remember("plain").map(|()| Vec::new());
            }
            Err(error) => return Err(error),
        };
        let Some(image) = Image::of(&self.admin.index(), &file) else {
            return Err(self.io(std::io::ErrorKind::InvalidData.into()));
        };
        let read = |id| Some(objects.find_blob(id).ok()?.data.clone());
        let rules = Rules::read(ground, &image, read);
        // Permissions follow the umask of who made the files.
        let conversion = format!("{} {:o}", rules.identity, umask());
        let mut kept = !self.fresh;
        if kept && state_line(&self.admin, "conversion ") != Some(conversion.clone()) {
            self.remove_index()?;
            self.git(&["reset", "-q", "--hard"])?;
            kept = false;
        }
        if rules.filters {
            self.make_filtered(ground, &rules, before, kept)?;
        }
        self.remember(&conversion)?;
        if self.clean != Clean::None && before.is_mixed_into(&image) {
            let mut files = Tree::open(self.path).map_err(|error| self.io(error))?;
            let found = scan(&files, &image).map_err(|error| self.io(error))?;
            let special = found.untracked.into_iter();
            let special = special.filter(|path| files.status(path).is_some_and(|s| is_special(&s)));
            let special: Vec<_> = special.collect();
            for path in found.nested.into_iter().chain(special) {
                files.remove_all(&path).map_err(|error| self.io(error))?;
            }
        }
        Ok(file
            .entries()
            .iter()
            .filter(|entry| entry.mode == Mode::COMMIT)
            .map(|entry| (entry.path(&file).to_vec(), entry.id))
            .collect())
    }

    /// Makes those files anew which programs make, unless nothing was `kept`, and makes
    /// sure that none of them is a pointer by mistake.
    fn make_filtered(
        &self,
        ground: &CheckoutRules,
        rules: &Rules,
        before: &Before,
        kept: bool,
    ) -> Result<(), CheckoutError> {
        let image = Image::of(&self.admin.index(), &self.index()?);
        let image = image.ok_or_else(|| self.io(std::io::ErrorKind::InvalidData.into()))?;
        let mut files = Tree::open(self.path).map_err(|error| self.io(error))?;
        let filtered = Filtered::find(&self.git, &image);
        let filtered = filtered.map_err(|error| self.git_error(error))?;
        if kept {
            let stale = filtered.stale(&mut files, &image, before, &ground.conversion);
            for &i in &stale {
                let removed = files.remove(image.path(i));
                removed.map_err(|error| self.io(error))?;
            }
            if !stale.is_empty() {
                self.git(&["reset", "-q", "--hard"])?;
            }
        }
        if !rules.wants_pointers
            && let Some(path) = filtered.pointer(&mut files, &image)
        {
            return Err(CheckoutError::Pointer {
                path: printable_line(&path).into_owned(),
                how: if ground.conversion.has_lfs() {
                    "`git lfs fetch --all` gets what the remote has"
                } else {
                    "`git lfs install` sets git-lfs up"
                },
            });
        }
        Ok(())
    }

    fn remember(&self, conversion: &str) -> Result<(), CheckoutError> {
        let sparse = sparse(self.template);
        let state = format!("conversion {conversion}\nsparse {sparse}\n");
        if self.admin.state() == state {
            return Ok(());
        }
        self.admin
            .set_state(self.repo.common_dir(), &state)
            .map_err(|error| self.io(error))
    }
}

/// What decides which part of a tree is there.
fn sparse(template: &Template) -> String {
    template
        .sparse()
        .map_or("all".to_owned(), |id| faster_hex::hex_string(&id))
}

/// Makes the worktree anew, without files.
fn make(goal: &Goal<'_>, past: &mut Past) -> Result<Admin, CheckoutError> {
    let Goal {
        repo,
        template,
        location,
        path,
        ..
    } = *goal;
    let io = |source| CheckoutError::of_io(path, source);
    let state = format!("sparse {}\n", sparse(template));
    if !location.is_slot() {
        past.lost(b"");
        let admin = location.make(repo.common_dir(), template).map_err(io)?;
        admin.set_state(repo.common_dir(), &state).map_err(io)?;
        return Ok(admin);
    }
    clear_path(path).map_err(io)?;
    if let Some(parent) = path.parent() {
        private::make_private_dir(parent).map_err(io)?;
    }
    fs::create_dir(path).map_err(io)?;
    // Older versions had linked worktrees of the user's repository.
    repo.forget_worktree(path).map_err(io)?;
    let admin = Admin::make(repo.common_dir(), path, template).map_err(io)?;
    admin.set_state(repo.common_dir(), &state).map_err(io)?;
    Ok(admin)
}
