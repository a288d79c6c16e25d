//! One slot's worktree: brought to a commit exactly as `git checkout` does, whatever
//! the last job did to it.
//!
//! There are two ways. The fast one works in process on a worktree that this process
//! left in a known state, and only where a checkout is plain. Wherever that is not certain git
//! does it: with filters, line endings, submodules, a sparse checkout, a
//! configuration that changed, a worktree that somebody else had, or any error on
//! the fast way. What is slow here is at most slow; a wrong file is a wrong verdict.
//!
//! | File | What it is for |
//! |---|---|
//! | `fast` | the move in process |
//! | `by_git` | the move by git, and worktrees made anew |
//! | `git_in` | how git is run in a slot |
//! | `left` | what a move by git leaves for the next one |
//! | `module_dirs` | git directories of submodules: what is not ours goes |
//! | `submodules` | submodules, from what is there locally |
//! | `slow` | why a checkout was left to git |
//! | `unmoved` | whether there is nothing to do in a submodule |
//! | `gitmodules` | which submodules there are, and which the user wants |
//! | `location` | where a worktree and its git directory are in a slot |
//! | `rules` | what surrounds a worktree: configuration, attributes from elsewhere |
//! | `filtered` | files that programs make of blobs |
//! | `template` | what a slot's git directory has to be, from the user's repository |
//! | `admin` | that git directory |
//! | `layout` | a directory brought to what should be in it |
//! | `mark` | whether a file is as it was |
//! | `index` | what a worktree held when it was left |
//! | `kept` | an index as it was left, to be put back |
//! | `scan` | what a job did to it |
//! | `diff` | what differs between two commits |
//! | `before` | what git must not find when it moves |
//! | `apart` | files that are new look new |
//! | `links` | what links of a tree lead to |
//! | `past` | contents that a cache could take for those that came after |
//! | `files` | files, never reached through a link |
//! | `ignored` | whether a path is ignored |
//! | `pipes` | what git would wait at for ever |

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::model::{Clean, EnvId, Oid};

use crate::git::{Conversion, GitError, Repo};

mod admin;
mod apart;
mod before;
mod by_git;
mod diff;
mod fast;
mod files;
mod filtered;
mod git_in;
mod gitmodules;
mod ignored;
mod index;
mod kept;
mod layout;
mod left;
mod links;
mod location;
mod mark;
mod module_dirs;
mod past;
mod pipes;
mod rules;
mod scan;
mod slow;
mod submodules;
mod template;
mod unmoved;

#[cfg(fuzzing)]
pub(crate) use index::Image;
pub(crate) use template::Templates;

pub(crate) use past::Past;

use slow::Slow;

/// Why a worktree could not be brought to a commit.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckoutError {
    /// A file or directory stood in the way.
    #[error("prepare the worktree {}", .path.display())]
    Io {
        /// What it was about.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// git could not do it.
    #[error("bring a worktree to {commit}")]
    Git {
        /// The commit.
        commit: Oid,
        /// Why.
        source: GitError,
    },
    /// The user's repository is not where it was.
    #[error("find the repository {}: it was moved, deleted or replaced", .path.display())]
    RepositoryGone {
        /// Where it was.
        path: PathBuf,
    },
    /// The commit was there when the task began.
    #[error("find {commit} again: its objects were removed while the task ran")]
    Pruned {
        /// The commit.
        commit: Oid,
    },
    /// A submodule is not there, and nothing is fetched from elsewhere. An empty directory
    /// in its place would be another state than the commit's.
    #[error(
        "check out the submodule '{name}': it was never fetched here; \
         `git submodule update --init --recursive` does that, \
         and `git {inside}config submodule.{name}.update none` leaves it out"
    )]
    SubmoduleNotInitialised {
        /// Its name in `.gitmodules`, escaped.
        name: String,
        /// How to name the submodule that it is in: `-C PATH `, escaped.
        inside: String,
    },
    /// A submodule's commit is not there, and nothing is fetched from elsewhere.
    #[error(
        "check out the submodule '{name}': its commit {commit} is not in this repository; \
         `git submodule update --init --recursive` fetches what is checked out now"
    )]
    SubmoduleMissing {
        /// Its name in `.gitmodules`, escaped.
        name: String,
        /// The commit that is missing.
        commit: String,
    },
    /// Hosts are sent commits, and not those of submodules.
    #[error(
        "check out the submodule '{name}': hosts have no submodules; \
         `labels` keeps a job that needs them on this machine"
    )]
    SubmoduleOnHost {
        /// Its name in `.gitmodules`, escaped.
        name: String,
    },
    /// Somebody removed or replaced the worktree while a job ran in it.
    #[error(
        "keep the worktree {}: while the job ran it or its .git was removed or replaced",
        .path.display()
    )]
    Gone {
        /// The worktree.
        path: PathBuf,
    },
    /// No room is left for the files.
    #[error(
        "check out into {}: no space is left there; free some, or put worktrees elsewhere \
         (`git config ci.worktreeDir DIR`)",
        .path.display()
    )]
    Full {
        /// The worktree.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A program that makes files of blobs failed. Without it they would be other files.
    #[error("run the filters that make the files of {commit}")]
    Filter {
        /// The commit.
        commit: Oid,
        /// What git said.
        source: GitError,
    },
    /// The contents of a large file are not there.
    #[error(
        "check out the large file '{path}': only its pointer is here; {how}, \
         and GIT_LFS_SKIP_SMUDGE=1 tests pointers"
    )]
    Pointer {
        /// Its path, escaped.
        path: String,
        /// What may help.
        how: &'static str,
    },
    /// Hosts do not have all that decides how files are made at home.
    #[error(
        "make the same files as at home: hosts do not have {what}; \
         `labels` keeps a job on this machine"
    )]
    NotOnHost {
        /// What is missing.
        what: String,
    },
    /// Whoever asked for it wants it no longer.
    #[error("check out {commit}: it was interrupted")]
    Interrupted {
        /// The commit.
        commit: Oid,
    },
    /// A submodule is there and could not be checked out.
    #[error("check out the submodule '{name}'")]
    Submodule {
        /// Its name in `.gitmodules`, escaped.
        name: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl CheckoutError {
    fn of_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full {
                path,
                source: source.into(),
            },
            _ => Self::Io { path, source },
        }
    }

    fn of_git(commit: &Oid, path: &Path, source: GitError) -> Self {
        let commit = *commit;
        let text = source.to_string();
        let says = |part: &&str| text.contains(*part);
        // git is told to speak English, and does not always say why.
        let full = [
            "No space left on device",
            "Disk quota exceeded",
            "Out of diskspace",
        ];
        let unable = ["unable to write", "unable to create", "write error"];
        if full.iter().any(says) || unable.iter().any(says) && has_no_room(path) {
            let path = path.to_owned();
            let source = source.into();
            return Self::Full { path, source };
        }
        if matches!(source, GitError::Interrupted { .. }) {
            return Self::Interrupted { commit };
        }
        if ["smudge filter", "external filter"].iter().any(says) {
            return Self::Filter { commit, source };
        }
        Self::Git { commit, source }
    }

    /// Whether another attempt would end in the same way.
    fn is_final(&self) -> bool {
        !matches!(self, Self::Io { .. } | Self::Git { .. })
    }

    /// Whether the disk is full.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

/// Whether so little room is left that a file may not have found any.
fn has_no_room(path: &Path) -> bool {
    const LEAST: u64 = 1 << 20;
    rustix::fs::statvfs(path)
        .is_ok_and(|fs| fs.f_bavail * fs.f_frsize < LEAST || fs.f_files > 0 && fs.f_favail == 0)
}

/// A worktree of a repository of its own, which borrows the objects of the user's, with a
/// detached `HEAD`.
pub(crate) struct Checkout<'a> {
    repo: &'a Repo,
    templates: Rc<Templates>,
    path: PathBuf,
    /// What was there before, as far as it may matter.
    past: Past,
    /// The state that the last move left, if a move in process can start from there.
    known: Option<Box<fast::Known>>,
    /// What that move left, where one in process cannot start from there.
    left: Option<left::Left>,
    /// Why not, where that is so.
    slow: Option<Slow>,
    /// A ref of ours keeps its commit.
    pinned: bool,
    /// What decided how its files were made, beside the tree.
    made_by: Option<EnvId>,
    /// Its directory and its git directory, as the job was given them.
    given: Option<[(u64, u64); 2]>,
}

/// Which worktree is to be brought where, and how.
#[derive(Clone, Copy)]
struct Goal<'a> {
    repo: &'a Repo,
    templates: &'a Templates,
    template: &'a template::Template,
    location: &'a location::Location,
    /// The same, as a path.
    path: &'a Path,
    /// The worktree that it is in as a submodule.
    outer: Option<&'a submodules::Outer<'a>>,
    commit: &'a Oid,
    clean: Clean,
}

impl<'a> Checkout<'a> {
    /// The worktree at `path`, in whatever state it is, if it is there at all.
    pub(crate) fn new(
        repo: &'a Repo,
        templates: &Rc<Templates>,
        path: PathBuf,
        past: Past,
    ) -> Self {
        Self {
            repo,
            templates: Rc::clone(templates),
            path,
            past,
            known: None,
            left: None,
            slow: None,
            pinned: false,
            made_by: None,
            given: None,
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What was there before; whoever has the worktree next has to know.
    pub(crate) fn past(&self) -> &Past {
        &self.past
    }

    /// Brings it to `commit`, makes it where needed, and cleans it as asked.
    ///
    /// Nothing may be running in it, and nobody else may have it: locks that are found
    /// are removed.
    ///
    /// # Errors
    /// Where git cannot, not even in a worktree made anew, and where a submodule's
    /// commit is not there locally.
    pub(crate) fn move_to(&mut self, commit: &Oid, clean: Clean) -> Result<(), CheckoutError> {
        let brought = self.bring_to(commit, clean);
        match brought {
            Ok(()) => self.given = self.identity(),
            // There will be no task: a pin that leads nowhere would be in the user's way.
            Err(_) => self.unpin(),
        }
        brought
    }

    /// Has `HEAD` at a commit, whatever the worktree was brought to.
    ///
    /// # Errors
    /// Where its file cannot be replaced.
    pub(crate) fn set_head(&mut self, head: &Oid) -> Result<(), CheckoutError> {
        let path = self.path.join(".git");
        let admin = admin::Admin::at(path.clone()).ok_or(io::ErrorKind::NotADirectory.into());
        let set = admin.and_then(|admin| admin.set_head(head));
        set.map_err(|source| CheckoutError::Io { path, source })
    }

    /// What tells the directories that are there now from others in their place.
    fn identity(&self) -> Option<[(u64, u64); 2]> {
        let of = |path: &Path| {
            let mark = mark::Mark::at(rustix::fs::CWD, path.as_os_str()).ok()?;
            Some(mark.identity())
        };
        Some([of(&self.path)?, of(&self.path.join(".git"))?])
    }

    fn bring_to(&mut self, commit: &Oid, clean: Clean) -> Result<(), CheckoutError> {
        self.find_repository()?;
        let templates = Rc::clone(&self.templates);
        let template = templates.of(self.repo);
        let template = template.map_err(|source| CheckoutError::Git {
            commit: *commit,
            source,
        })?;
        self.pin(&template, commit);
        let location = location::Location::slot(&self.path);
        let goal = Goal {
            repo: self.repo,
            templates: &templates,
            template: &template,
            location: &location,
            path: &self.path,
            outer: None,
            commit,
            clean,
        };
        let mut left = self.left.take();
        let mut slow = self.slow.take().unwrap_or(Slow::FirstUse);
        if let Some(mut known) = self.known.take() {
            let moved = if self.past.is_to_come() {
                Err(Slow::Clock)
            } else {
                known.move_to(&goal, &mut self.past)
            };
            match moved {
                Ok(fast::Left::Nothing) => {
                    self.known = Some(known);
                    return Ok(());
                }
                Ok(fast::Left::Untracked) => {
                    let git = git_in::GitIn::slot(self.repo, &self.path);
                    if git.clean(clean).is_ok() {
                        self.known = Some(known);
                        return Ok(());
                    }
                    slow = Slow::Mixed;
                }
                // The index may say what the job's git made of it.
                Err(why) => {
                    slow = why;
                    left = Some(left::Left::new(known.into_image()));
                }
            }
        }
        tracing::debug!(target: "checkout", slot = %self.path.display(), %commit, "by git: {slow}");
        let arrived = by_git::move_to(&goal, &mut self.past, left)?;
        let conversion = Conversion::now(self.repo);
        let conversion =
            conversion.map_err(|error| CheckoutError::of_git(commit, &self.path, error))?;
        self.made_by = conversion.id();
        match arrived {
            by_git::Arrived::Plain(known) => self.known = Some(known),
            by_git::Arrived::Other(left, slow) => {
                (self.left, self.slow) = (left.map(|left| *left), slow);
            }
        }
        Ok(())
    }

    /// Why the moves of this worktree are left to git, where that will not change by itself.
    pub(crate) fn why_slow(&self) -> Option<String> {
        let slow = self.slow.as_ref().filter(|slow| slow.is_lasting());
        slow.map(ToString::to_string)
    }

    /// The hash of what decided how the files were made beside the tree: see
    /// [`Conversion::id`].
    pub(crate) fn made_by(&self) -> Option<EnvId> {
        self.made_by
    }

    /// Looks at what a job did, once nothing of it is running any more; returns how many
    /// tracked files it changed or removed, and `None` where that cannot be said.
    pub(crate) fn look(&mut self) -> Option<u64> {
        self.past.used_until_now();
        let objects = self.repo.objects();
        let read = |id| Some(objects.find_blob(id).ok()?.data.clone());
        let looked = match (&mut self.known, &mut self.left) {
            (Some(known), _) => known.look(&self.path).ok(),
            (None, Some(left)) => {
                let open = || files::Tree::open(&self.path).ok();
                open()
                    .zip(open())
                    .and_then(|(mut files, mut slot)| left.look(&mut files, &mut slot, read).ok())
            }
            (None, None) => None,
        };
        if looked.is_none() {
            (self.known, self.left) = (None, None);
        }
        looked
    }

    /// Something that is neither tracked nor ignored, and so goes before the next task;
    /// directories end with a slash.
    ///
    /// # Errors
    /// Where git cannot say.
    pub(crate) fn first_untracked(&self) -> Result<Option<Vec<u8>>, GitError> {
        let listed = git_in::GitIn::slot(self.repo, &self.path).run(&[
            "ls-files",
            "-z",
            "--others",
            "--exclude-standard",
            "--directory",
            "--no-empty-directory",
        ])?;
        let mut paths = listed.stdout.split(|&byte| byte == 0);
        Ok(paths.find(|path| !path.is_empty()).map(<[u8]>::to_vec))
    }

    /// Whether what a job said is about the commit and not about the machine: the user's
    /// repository is still there, and, where the job `failed`, has the commit, as its
    /// submodules have theirs, and the worktree is the one that the job was given.
    ///
    /// # Errors
    /// Where that is not so.
    pub(crate) fn verify(&self, commit: &Oid, failed: bool) -> Result<(), CheckoutError> {
        self.find_repository()?;
        if !failed {
            return Ok(());
        }
        if self.given.is_none() || self.identity() != self.given {
            let path = self.path.clone();
            return Err(CheckoutError::Gone { path });
        }
        let missing = if self.is_there(commit) {
            self.left.as_ref().and_then(left::Left::missing)
        } else {
            Some(*commit)
        };
        match missing {
            None => Ok(()),
            Some(commit) => Err(CheckoutError::Pruned { commit }),
        }
    }

    /// The task is over: whatever becomes of the commit from now on is not our concern.
    pub(crate) fn release(&mut self) {
        self.unpin();
    }

    fn find_repository(&self) -> Result<(), CheckoutError> {
        if self.templates.has(self.repo) {
            return Ok(());
        }
        Err(CheckoutError::RepositoryGone {
            path: self.repo.common_dir().to_owned(),
        })
    }

    /// Keeps the commit, unless a ref of the user's does.
    fn pin(&mut self, template: &template::Template, commit: &Oid) {
        let Some(slot) = self.path.file_name().and_then(|name| name.to_str()) else {
            return;
        };
        if self.templates.reaches(self.repo, template, commit) {
            self.unpin();
            return;
        }
        // Without a pin the task may come to miss objects, which is seen then. One to a
        // commit that was pruned already, or in this moment, would break the user's
        // `git gc`.
        if self.is_there(commit) {
            self.pinned |= self.repo.pin(slot, commit).is_ok();
        }
        if !self.is_there(commit) {
            self.unpin();
        }
    }

    /// Whether the repository has the commit. By a process of its own: packs that were
    /// removed can be read here for as long as they are open.
    fn is_there(&self, commit: &Oid) -> bool {
        let mut ask = self.repo.git_command();
        ask.args(["cat-file", "-e", &format!("{commit}^{{tree}}")]);
        let answer = self.repo.git().output(&mut ask);
        !matches!(answer, Err(GitError::Failed { .. }))
    }

    fn unpin(&mut self) {
        if let Some(slot) = self.path.file_name().and_then(|name| name.to_str()) {
            // What stays is removed with the next task here, or by `git ci gc`.
            let _ = self.repo.unpin(slot, self.pinned);
        }
        self.pinned = false;
    }
}
