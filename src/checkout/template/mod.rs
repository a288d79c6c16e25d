//! What a slot's git directory has to be: a repository of its own that borrows the
//! objects of the user's, with the refs, the configuration and the rest as they are
//! there now.
//!
//! In a linked worktree a job's `git stash clear`, `git config` or `git checkout -B`
//! would be the user's. In a repository of its own all of that stays in the slot and is
//! gone before the next task, since [`renew`](super::admin::Admin::renew) brings it back
//! to this. The whole of it is kept in memory by whoever prepares slots, out of reach
//! of jobs, and read again where a stat says that something changed.
//!
//! What is not here, on purpose: hooks (they are the user's), reflogs, the stash, replaced
//! objects and grafts (a commit is tested as it was recorded), and any way back: no URL and
//! no link leads to the user's repository, but for the objects, which git only reads.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

use rustix::fs::RawMode;
use sha2::{Digest as _, Sha256};

use super::layout::{Children, Node, insert};
use super::mark::{Mark, Marks};
use crate::git::pins::Reach;
use crate::git::{Git, GitError, Repo, RepoError, read_file};
use crate::model::Oid;

mod alternates;
mod config;
mod own;
mod refs;

use config::SlotDirs;
pub(super) use config::{Config, is_true};
use refs::{Refs, Store};

/// Files of a git directory that a slot's has, too, where the user's has them.
const COPIED: [&str; 3] = ["shallow", "info/attributes", "info/exclude"];

/// The patterns of a sparse checkout.
const SPARSE: &str = "info/sparse-checkout";

/// Keys of git-crypt(1), which it looks for in a repository's own git directory.
const KEYS: &str = "git-crypt";

/// An alternate without objects, for the LFS objects beside it.
const LFS: &str = "lfsref";

/// None of the copied files is larger.
const MAX_SIZE: u64 = 64 << 20;

/// How many files of keys are copied.
const MAX_KEYS: usize = 1000;

const USUAL: RawMode = 0o666;
const PRIVATE: RawMode = 0o600;

/// The templates of a repository's slots, as one process keeps them.
pub(crate) struct Templates {
    top: RefCell<Template>,
    /// What the refs reach, and which refs that was.
    reach: RefCell<(u64, Reach)>,
    /// Those of submodules, by the user's git directories.
    modules: RefCell<HashMap<PathBuf, Rc<Lent>>>,
    /// The directory with the user's objects, to tell it from another in its place.
    objects: Cell<Option<(u64, u64)>>,
}

impl Templates {
    /// Nothing is read before a slot needs it.
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            top: RefCell::default(),
            reach: RefCell::default(),
            modules: RefCell::default(),
            objects: Cell::default(),
        })
    }

    /// The template of the slots of `repo`, brought up to date.
    pub(super) fn of(&self, repo: &Repo) -> Result<RefMut<'_, Template>, GitError> {
        let lender = Lender {
            git: repo.git(),
            dir: repo.common_dir(),
            ci_dir: &repo.ci_dir(),
            notes: repo.config("ci.notesref"),
        };
        let mut template = self.top.borrow_mut();
        template.refresh(&lender, Some(repo))?;
        Ok(template)
    }

    /// A submodule of `repo`, of which the user's git directory is `source`.
    pub(super) fn of_submodule(&self, repo: &Repo, source: &Path) -> Result<Rc<Lent>, RepoError> {
        let mut modules = self.modules.borrow_mut();
        let lent = match modules.remove(source) {
            Some(lent) => lent,
            None => Rc::new(Lent {
                repo: Rc::new(repo.open_submodule(source)?),
                template: Template::default(),
            }),
        };
        let lender = Lender {
            git: repo.git(),
            dir: source,
            ci_dir: &repo.ci_dir(),
            notes: None,
        };
        // Nobody else has it: tasks come one after the other.
        let mut lent = Rc::unwrap_or_clone(lent);
        lent.template.refresh(&lender, Some(&lent.repo))?;
        let lent = Rc::new(lent);
        modules.insert(source.to_owned(), Rc::clone(&lent));
        Ok(lent)
    }

    /// Whether the repository is where it was when it was first asked for, and the same.
    pub(super) fn has(&self, repo: &Repo) -> bool {
        let found = Mark::of(&repo.common_dir().join("objects")).map(|mark| mark.identity());
        match self.objects.get() {
            None => self.objects.set(found),
            Some(known) => return found == Some(known),
        }
        found.is_some()
    }

    /// Whether a ref of the repository is known to reach a commit; see [`Reach`].
    pub(super) fn reaches(&self, repo: &Repo, template: &Template, commit: &Oid) -> bool {
        let Ok(commit) = gix::ObjectId::try_from(commit.as_bytes()) else {
            return false;
        };
        let mut reach = self.reach.borrow_mut();
        if reach.0 != template.refs_read {
            *reach = (template.refs_read, Reach::of(&template.refs.tips));
        }
        reach.1.reaches(&repo.objects(), commit)
    }
}

/// A submodule of the user's repository, and what its git directories in slots have to be.
#[derive(Clone)]
pub(super) struct Lent {
    pub(super) repo: Rc<Repo>,
    pub(super) template: Template,
}

/// Where what a slot borrows is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lender<'a> {
    pub(super) git: &'a Git,
    /// The common git directory of the user's repository or of one of its submodules.
    pub(super) dir: &'a Path,
    /// Where git-ci keeps its own.
    pub(super) ci_dir: &'a Path,
    /// Where results are, if not where they usually are.
    pub(super) notes: Option<&'a str>,
}

/// What a slot's git directory has to be.
#[derive(Debug, Clone, Default)]
pub(super) struct Template {
    config: Config,
    refs: Refs,
    copies: Copies,
    alternates: Alternates,
    children: Children,
    generation: u64,
    ground: u64,
    /// How often the refs were others.
    refs_read: u64,
}

#[derive(Debug, Clone, Default)]
struct Alternates {
    marks: Marks,
    file: Vec<u8>,
}

#[derive(Debug, Clone, Default)]
struct Copies {
    marks: Marks,
    sparse: bool,
    files: Vec<(Vec<u8>, RawMode, Vec<u8>)>,
}

impl Template {
    /// Brings it up to date with the lender, which is `repo` where it is open already.
    ///
    /// # Errors
    /// Where the lender's files cannot be read, and those of git.
    pub(super) fn refresh(
        &mut self,
        lender: &Lender<'_>,
        repo: Option<&Repo>,
    ) -> Result<(), GitError> {
        let mut changed = self.generation == 0;
        let mut ground = false;
        if !self.config.holds() {
            let place = SlotDirs {
                dir: lender.dir,
                ci_dir: lender.ci_dir,
            };
            let new = Config::read(lender.git, &place)?;
            ground |= new.file != self.config.file || new.sparse != self.config.sparse;
            self.config = new;
        }
        if !self.refs.hold() {
            let reftable = self.config.get("extensions.refstorage");
            let objects = repo.map(Repo::objects);
            let new = Refs::read(&Store {
                git: lender.git,
                dir: lender.dir,
                reftable: reftable.is_some_and(|kind| kind.eq_ignore_ascii_case(b"reftable")),
                notes: lender.notes,
                objects: objects.as_deref(),
            })?;
            let others = new.packed != self.refs.packed || new.symbolic != self.refs.symbolic;
            self.refs_read += u64::from(others);
            changed |= others;
            self.refs = new;
        }
        if !self.copies.hold(self.config.sparse) {
            let new = Copies::read(lender.dir, self.config.sparse);
            ground |= new.files != self.copies.files;
            self.copies = new;
        }
        if !self.alternates.marks.hold() {
            let new = Alternates::read(lender.dir);
            changed |= new.file != self.alternates.file;
            self.alternates = new;
        }
        self.ground += u64::from(ground);
        if changed || ground {
            self.generation += 1;
            self.children = self.lay_out();
        }
        Ok(())
    }

    /// What belongs in the git directory `dir`.
    ///
    /// `worktree` is where its worktree is, if not in the directory above.
    pub(super) fn children(&self, dir: &Path, worktree: Option<&[u8]>) -> Children {
        let mut children = self.children.clone();
        if let Some(worktree) = worktree {
            let config = file(&self.config.with_worktree(worktree));
            insert(&mut children, b"config", config);
        }
        let mut alternates = self.alternates.file.clone();
        if self.config.lfs.is_some() {
            // git-lfs looks for objects beside those of each alternate.
            alternates.extend_from_slice(&alternates::file(&[dir.join(LFS).join("objects")]));
        }
        insert(&mut children, b"objects/info/alternates", file(&alternates));
        children
    }

    /// The lender's configuration.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Another number whenever what belongs in the git directory has changed.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Another number whenever that of it has changed which decides how files are made:
    /// all but refs and objects.
    pub(super) fn ground(&self) -> u64 {
        self.ground
    }

    /// What identifies the part of a tree that a slot holds; `None` where that is all
    /// of it.
    pub(super) fn sparse(&self) -> Option<[u8; 16]> {
        if !self.config.sparse {
            return None;
        }
        let mut hash = Sha256::new();
        hash.update([u8::from(self.config.boolean("core.sparsecheckoutcone"))]);
        let patterns = self.copies.files.iter();
        for (_, _, text) in patterns.filter(|(path, ..)| path == SPARSE.as_bytes()) {
            hash.update(text);
        }
        let mut short = [0; 16];
        short.copy_from_slice(&hash.finalize()[..16]);
        Some(short)
    }

    fn lay_out(&self) -> Children {
        let empty = || Node::Dir(Children::new());
        let mut top = Children::new();
        insert(&mut top, b"config", file(&self.config.file));
        insert(&mut top, b"packed-refs", file(&self.refs.packed));
        insert(&mut top, b"refs/heads", empty());
        insert(&mut top, b"refs/tags", empty());
        for (name, target) in &self.refs.symbolic {
            let text = [b"ref: ", target.as_slice(), b"\n"].concat();
            insert(&mut top, name, file(&text));
        }
        insert(&mut top, b"objects/pack", empty());
        insert(&mut top, b"info", empty());
        for (path, mode, bytes) in &self.copies.files {
            insert(&mut top, path, Node::File(Rc::new(bytes.clone()), *mode));
        }
        if let Some(storage) = &self.config.lfs {
            let in_lfs = |name: &str| format!("{LFS}/{name}").into_bytes();
            insert(&mut top, &in_lfs("objects"), empty());
            let target = storage.as_os_str().as_bytes().to_vec();
            insert(&mut top, &in_lfs("lfs"), Node::Link(target));
        }
        top
    }
}

impl Alternates {
    fn read(dir: &Path) -> Self {
        let began = SystemTime::now();
        let (chain, files) = alternates::chain(dir.join("objects"));
        Self {
            file: alternates::file(&chain),
            marks: Marks::since(began, files),
        }
    }
}

impl Copies {
    fn hold(&self, sparse: bool) -> bool {
        self.sparse == sparse && self.marks.hold()
    }

    fn read(dir: &Path, sparse: bool) -> Self {
        let began = SystemTime::now();
        let mut files = Vec::new();
        let mut watched = vec![dir.join(KEYS)];
        let wanted = COPIED.into_iter().chain(sparse.then_some(SPARSE));
        for name in wanted {
            let path = dir.join(name);
            if let Some(bytes) = read_file(&path, MAX_SIZE) {
                files.push((name.as_bytes().to_vec(), USUAL, bytes));
            }
            watched.push(path);
        }
        read_keys(dir, KEYS.as_bytes(), &mut files, &mut watched);
        Self {
            sparse,
            files,
            marks: Marks::since(began, watched),
        }
    }
}

fn file(bytes: &[u8]) -> Node {
    Node::File(Rc::new(bytes.to_vec()), USUAL)
}

/// Reads all files below `name`, a directory of `dir`.
fn read_keys(
    dir: &Path,
    name: &[u8],
    files: &mut Vec<(Vec<u8>, RawMode, Vec<u8>)>,
    watched: &mut Vec<PathBuf>,
) {
    let entries = std::fs::read_dir(dir.join(OsStr::from_bytes(name)));
    for entry in entries.into_iter().flatten().flatten() {
        if watched.len() > MAX_KEYS {
            return;
        }
        let path = [name, b"/", entry.file_name().as_bytes()].concat();
        watched.push(entry.path());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            read_keys(dir, &path, files, watched);
        } else if let Some(bytes) = read_file(&entry.path(), MAX_SIZE) {
            files.push((path, PRIVATE, bytes));
        }
    }
}
