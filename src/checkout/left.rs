//! What a move by git leaves, for the next one: of a worktree and, by their paths, of its
//! submodules.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::files::Tree;
use super::index::{EXECUTABLE, FILE, Image, LINK};
use super::kept::Kept;
use super::location::Location;
use super::rules::CheckoutRules;
use super::scan::{Found, scan};
use crate::git::{GitError, Repo};
use crate::model::Oid;

/// How long it counts what a walk after a job found. The next task follows at once; before a
/// later one somebody may have looked around in the idle worktree, and left something.
pub(super) const WALK_COUNTS: Duration = Duration::from_millis(500);

/// Files that say how others are checked out. One that is not tracked counts for git, also
/// where it is ignored and so stays.
pub(super) const COUNT_FOR_GIT: [&[u8]; 3] = [b".gitattributes", b".gitmodules", b".lfsconfig"];

/// What a move by git left in a worktree that it leaves to git the next time, too.
pub(super) struct Left {
    pub(super) image: Image,
    /// The index that says so.
    pub(super) kept: Option<Kept>,
    /// Its submodules.
    modules: Modules,
    /// Where a submodule was left.
    pub(super) at: Option<At>,
    pub(super) walked: Option<(Instant, Found)>,
}

impl Left {
    /// What the image says.
    pub(super) fn new(image: Image) -> Self {
        Self {
            image,
            kept: None,
            modules: Modules::default(),
            at: None,
            walked: None,
        }
    }

    /// The same with what is to be known of a worktree by whoever has it next.
    pub(super) fn with(self, kept: Option<Kept>, modules: Modules) -> Self {
        Self {
            kept,
            modules,
            ..self
        }
    }

    /// The same of a submodule.
    pub(super) fn at(self, at: At) -> Self {
        Self {
            at: Some(at),
            ..self
        }
    }

    /// A commit of a submodule that the user does not have any more.
    pub(super) fn missing(&self) -> Option<Oid> {
        self.modules.missing()
    }

    /// Takes out what is known of submodules.
    pub(super) fn take_modules(&mut self) -> Modules {
        std::mem::take(&mut self.modules)
    }

    /// Walks over the worktree after a job; returns how many tracked files it changed or
    /// removed. `files` is the worktree, `slot` the one of the slot, and `read` gives a blob.
    pub(super) fn look(
        &mut self,
        files: &mut Tree,
        slot: &mut Tree,
        read: impl Fn(gix::ObjectId) -> Option<Vec<u8>>,
    ) -> io::Result<u64> {
        let at = Instant::now();
        let found = scan(files, &self.image)?;
        let mut changed = 0;
        for &i in &found.suspects {
            let mode = self.image.mode(i);
            let blob = match mode {
                FILE | EXECUTABLE | LINK => read(self.image.id(i)),
                _ => continue,
            };
            let (path, known) = (self.image.path(i), self.image.stamp(i));
            changed += u64::from(files.is_changed(path, mode, blob.as_deref(), known));
        }
        self.walked = Some((at, found));
        // The job's git may have noted files there that somebody else made, and another
        // process would take them for ours.
        if let Some(kept) = &mut self.kept {
            kept.put_back(slot)?;
        }
        Ok(changed + self.modules.look(slot))
    }
}

/// Where a move left a submodule, and what surrounded it then.
pub(super) struct At {
    pub(super) commit: Oid,
    pub(super) ground: CheckoutRules,
    /// What the template's ground was.
    pub(super) seen: u64,
}

/// What a move left in submodules, by their paths in the worktree that they are in.
#[derive(Default)]
pub(super) struct Modules(pub(super) BTreeMap<Vec<u8>, Module>);

pub(super) struct Module {
    pub(super) location: Location,
    pub(super) repo: Rc<Repo>,
    pub(super) left: Left,
}

impl Modules {
    /// Walks over them after a job; returns how many tracked files it changed or removed.
    /// Those that it removed count as one each.
    pub(super) fn look(&mut self, slot: &mut Tree) -> u64 {
        let modules = self.0.values_mut();
        modules.map(|module| module.look(slot).unwrap_or(1)).sum()
    }

    /// A commit that the user's submodules do not have any more.
    pub(super) fn missing(&self) -> Option<Oid> {
        self.0.values().find_map(Module::missing)
    }

    pub(super) fn take(
        &mut self,
        path: &[u8],
        location: &Location,
        repo: &Rc<Repo>,
    ) -> Option<Left> {
        let module = self.0.remove(path)?;
        let same = module.location == *location && Rc::ptr_eq(&module.repo, repo);
        same.then_some(module.left)
    }
}

impl Module {
    fn missing(&self) -> Option<Oid> {
        let commit = self.left.at.as_ref()?.commit;
        let mut ask = without_worktree(&self.repo, self.repo.common_dir());
        ask.args(["cat-file", "-e", &format!("{commit}^{{tree}}")]);
        match self.repo.git().output(&mut ask) {
            Err(GitError::Failed { .. }) => Some(commit),
            _ => self.left.missing(),
        }
    }

    fn look(&mut self, slot: &mut Tree) -> io::Result<u64> {
        let objects = self.repo.objects();
        let read = |id| Some(objects.find_blob(id).ok()?.data.clone());
        let mut files = slot.below(self.location.below())?;
        self.left.look(&mut files, slot, read)
    }
}

/// A command in the user's submodule with the git directory `dir`, whose work tree may be
/// gone, which git would take ill.
pub(super) fn without_worktree(repo: &Repo, dir: &Path) -> Command {
    let mut command = repo.git().command();
    command
        .arg("--git-dir")
        .arg(dir)
        .arg("--work-tree")
        .arg(dir);
    command
}
