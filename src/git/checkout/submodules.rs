//! Submodules of a slot's worktree, from what the user's repository has of them.
//!
//! Each gets a git directory of its own below the slot's (`modules/NAME`, where git keeps
//! them), made from the user's in the way the slot's is. Nothing is fetched from anywhere
//! else, and nothing of the user's is written.
//!
//! A submodule that the user does not want (`active = false`, `update = none`) stays an
//! empty directory, as it does for them. One that is only not there is no reason to say
//! that the commit fails: the task ends without a verdict.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::super::{GitError, Repo};
use super::admin::Admin;
use super::by_git::{GitIn, distrusts};
use super::files::{Tree, is_special, remove_path};
use super::index::{FILE, Image};
use super::pipes::{self, Place};
use super::scan::scan;
use super::template::{Config, Template, Templates, is_true};
use super::{CheckoutError, Goal};
use crate::model::{Clean, Oid, printable_line};
use rustix::fs::FileType;

/// Where git keeps the git directories of submodules.
const MODULES: &[u8] = b"modules";

/// A worktree with submodules.
pub(super) struct Super<'a> {
    repo: &'a Repo,
    templates: &'a Templates,
    /// The configuration of the user's repository, or of the user's submodule.
    config: &'a Config,
    git: &'a GitIn<'a>,
    /// Where it is, and below the slot.
    path: &'a Path,
    below: Vec<u8>,
    /// Where the git directories of its submodules go, below that of the slot.
    modules: Vec<u8>,
    clean: Clean,
}

impl<'a> Super<'a> {
    /// The slot's worktree.
    pub(super) fn slot(goal: &Goal<'a>, git: &'a GitIn<'a>) -> Self {
        Self {
            repo: goal.repo,
            templates: goal.templates,
            config: goal.template.config(),
            git,
            path: goal.path,
            below: Vec::new(),
            modules: MODULES.to_vec(),
            clean: goal.clean,
        }
    }

    /// What the user wants of the submodule at this path.
    fn wants(&self, path: &Path, named: &Named) -> Wanted {
        let key = |variable: &str| format!("submodule.{}.{variable}", named.name);
        let update = self.config.get(&key("update"));
        if update.unwrap_or(named.update.as_slice()) == b"none" {
            return Wanted::No;
        }
        let initialised = match self.config.get(&key("url")) {
            Some(_) => Wanted::Yes,
            None => Wanted::Perhaps,
        };
        if let Some(active) = self.config.get(&key("active")) {
            return match is_true(active) {
                true => initialised,
                false => Wanted::No,
            };
        }
        let active: Vec<_> = self.config.all("submodule.active").collect();
        if !active.is_empty() && !self.matches(path, &active) {
            return Wanted::No;
        }
        initialised
    }

    /// Makes the directory of a submodule empty, if it is not.
    fn leave_empty(&self, path: &[u8]) -> Result<(), CheckoutError> {
        let full = self.path.join(OsStr::from_bytes(path));
        let made = Tree::open(self.path).and_then(|mut files| {
            let is_dir = files.kind(path) == Some(FileType::Directory);
            if is_dir && fs::read_dir(&full)?.next().is_none() {
                return Ok(());
            }
            files.make_empty_dir(path)
        });
        made.map_err(|source| CheckoutError::Io { path: full, source })
    }

    /// Whether one of these pathspecs matches the submodule at `path`.
    fn matches(&self, path: &Path, specs: &[&[u8]]) -> bool {
        let mut list = self.git.command();
        list.args(["ls-files", "-z", "--"]);
        list.args(specs.iter().map(|spec| OsStr::from_bytes(spec)));
        let listed = self.repo.git().output(&mut list);
        // What git cannot tell is not left out.
        listed.is_ok_and(|listed| {
            let mut paths = listed.stdout.split(|&byte| byte == 0);
            paths.any(|one| one == path.as_os_str().as_bytes())
        })
    }
}

/// Whether a submodule belongs in the worktree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Yes,
    /// The user has not said: it was never initialised.
    Perhaps,
    No,
}

/// Where the user's submodules are.
pub(super) struct Sources {
    /// Directories that have them by name.
    modules: Vec<PathBuf>,
    /// A worktree that may have them in place, from before git kept them elsewhere.
    worktree: Option<PathBuf>,
}

impl Sources {
    /// Those of a repository: its own and those of its worktrees, except the slots below `slots`.
    pub(super) fn of_repository(common: &Path, slots: &Path, main: Option<PathBuf>) -> Self {
        let mut modules = vec![common.join("modules")];
        let worktrees = fs::read_dir(common.join("worktrees"));
        for entry in worktrees.into_iter().flatten().flatten() {
            let dot_git = fs::read(entry.path().join("gitdir")).unwrap_or_default();
            if !Path::new(OsStr::from_bytes(&dot_git)).starts_with(slots) {
                modules.push(entry.path().join("modules"));
            }
        }
        Self {
            modules,
            worktree: main,
        }
    }

    /// The git directories that a submodule has.
    fn all(&self, name: &str, path: &Path) -> impl Iterator<Item = PathBuf> {
        let by_name = self.modules.iter().map(move |dir| dir.join(name));
        let in_place = self.worktree.iter();
        let in_place = in_place.map(move |dir| dir.join(path).join(".git"));
        by_name
            .chain(in_place)
            .filter(|dir| dir.join("objects").is_dir())
    }

    /// The git directory of a submodule that has `commit`, and the commit's id there: a
    /// submodule may have ids of the other kind, and what git records is as long as its
    /// own are, filled up with zeros or cut.
    fn find(
        &self,
        repo: &Repo,
        name: &str,
        path: &Path,
        commit: &str,
    ) -> Option<(PathBuf, String)> {
        self.all(name, path).find_map(|dir| {
            let mut ask = repo.git().command();
            // Its own work tree may be gone, which git would take ill.
            ask.arg("--git-dir").arg(&dir).arg("--work-tree").arg(&dir);
            ask.args(["rev-parse", "--verify", "--quiet", "--end-of-options"]);
            ask.arg(format!("{commit}^{{commit}}"));
            Some((dir, repo.git().read(&mut ask).ok()?))
        })
    }
}

/// Checks out each of `links`, a path and a commit.
pub(super) fn update(
    outer: &Super<'_>,
    sources: &Sources,
    links: &[(Vec<u8>, gix::ObjectId)],
) -> Result<(), CheckoutError> {
    let names = names(outer);
    for (path, commit) in links {
        let below = Path::new(OsStr::from_bytes(path));
        let named = names.get(path);
        // Without a name git does not know what to do with it, either.
        let wanted = named.map_or(Wanted::No, |named| outer.wants(below, named));
        let Some(Named { name, .. }) = named.filter(|_| wanted != Wanted::No) else {
            outer.leave_empty(path)?;
            continue;
        };
        let printable = printable_line(name.as_bytes()).into_owned();
        let commit = commit.to_string();
        let Some((source, commit)) = sources.find(outer.repo, name, below, &commit) else {
            let name = printable;
            if outer.repo.is_cache() {
                return Err(CheckoutError::SubmoduleOnHost { name });
            }
            if wanted == Wanted::Perhaps && sources.all(name.as_str(), below).next().is_none() {
                let inside = match outer.below.is_empty() {
                    true => String::new(),
                    false => format!("-C {} ", printable_line(&outer.below)),
                };
                return Err(CheckoutError::SubmoduleNotInitialised { name, inside });
            }
            return Err(CheckoutError::SubmoduleMissing { name, commit });
        };
        let template = outer.templates.of_submodule(outer.repo, &source);
        let template = template.map_err(|error| CheckoutError::Submodule {
            name: printable.clone(),
            source: error,
        })?;
        let module = Module {
            outer,
            template: &template,
            git: outer.git.submodule(outer.path.join(below), &source),
            path: outer.path.join(below),
            below: path,
            dir: [&outer.modules, b"/".as_slice(), name.as_bytes()].concat(),
            name: printable,
            hash: match commit.len() {
                64 => gix::hash::Kind::Sha256,
                _ => gix::hash::Kind::Sha1,
            },
        };
        module.bring(&commit)?;
        let links = module.links()?;
        if links.is_empty() {
            continue;
        }
        let inner = Super {
            repo: outer.repo,
            templates: outer.templates,
            config: template.config(),
            git: &module.git,
            path: &module.path,
            below: module.below_slot(),
            modules: [&module.dir, b"/".as_slice(), MODULES].concat(),
            clean: outer.clean,
        };
        let sources = Sources {
            modules: vec![source.join("modules")],
            worktree: None,
        };
        update(&inner, &sources, &links)?;
    }
    Ok(())
}

/// What `.gitmodules` says of a submodule.
#[derive(Debug, Default)]
struct Named {
    name: String,
    update: Vec<u8>,
}

/// What `.gitmodules` says of submodules, by their paths.
fn names(outer: &Super<'_>) -> HashMap<Vec<u8>, Named> {
    let file = outer.path.join(".gitmodules");
    if !fs::symlink_metadata(&file).is_ok_and(|meta| meta.is_file()) {
        return HashMap::new();
    }
    let mut ask = outer.repo.git().command();
    ask.args(["config", "--no-includes", "-z", "-f"]).arg(&file);
    ask.args(["--get-regexp", r"^submodule\..*\.(path|update)$"]);
    let Ok(said) = outer.repo.git().output(&mut ask) else {
        return HashMap::new();
    };
    let mut paths = HashMap::new();
    let mut updates = HashMap::new();
    for entry in said.stdout.split(|&byte| byte == 0) {
        let Some(line) = entry.iter().position(|&byte| byte == b'\n') else {
            continue;
        };
        let (key, value) = (&entry[..line], entry[line + 1..].to_vec());
        let Some(key) = std::str::from_utf8(key).ok() else {
            continue;
        };
        let Some((name, variable)) = key
            .strip_prefix("submodule.")
            .and_then(|rest| rest.rsplit_once('.'))
        else {
            continue;
        };
        // It becomes a path of ours.
        let safe = !name
            .split(['/', '\\'])
            .any(|part| part.is_empty() || part == "." || part == "..")
            && !name.starts_with('-');
        match variable {
            "path" if safe => drop(paths.insert(value, name.to_owned())),
            "update" => drop(updates.insert(name.to_owned(), value)),
            _ => {}
        }
    }
    let named = |name: String| Named {
        update: updates.get(&name).cloned().unwrap_or_default(),
        name,
    };
    let paths = paths.into_iter();
    paths.map(|(path, name)| (path, named(name))).collect()
}

/// Removes the git directories of submodules that are not ours, which a job made.
///
/// # Errors
/// Where they cannot be removed.
pub(super) fn tidy(admin: &Path) -> io::Result<()> {
    let modules = admin.join(OsStr::from_bytes(MODULES));
    if fs::symlink_metadata(&modules).is_err() {
        return Ok(());
    }
    // git looks into them from the outer worktree, too.
    pipes::remove_from_modules(admin)?;
    keep_ours(&modules).map(|_| ())
}

/// Removes what is not ours in a directory, and says whether anything is left; names of
/// submodules may have slashes in them.
fn keep_ours(dir: &Path) -> io::Result<bool> {
    let mut any = false;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let is_dir = fs::symlink_metadata(&path)?.is_dir();
        if is_dir && (Admin::is_ours(&path) || keep_ours(&path)?) {
            any = true;
        } else {
            remove_path(&path)?;
        }
    }
    Ok(any)
}

struct Module<'a> {
    outer: &'a Super<'a>,
    template: &'a Template,
    git: GitIn<'a>,
    /// Where it is checked out.
    path: PathBuf,
    /// The same, below the worktree that it is in.
    below: &'a [u8],
    /// Its git directory, below the slot's.
    dir: Vec<u8>,
    name: String,
    /// Its ids, which need not be of the kind that those of the outer one are.
    hash: gix::hash::Kind,
}

impl Module<'_> {
    fn failed(&self, source: GitError) -> CheckoutError {
        CheckoutError::Submodule {
            name: self.name.clone(),
            source,
        }
    }

    fn io(&self, source: io::Error) -> CheckoutError {
        CheckoutError::Io {
            path: self.path.clone(),
            source,
        }
    }

    /// Where it is checked out, below the slot.
    fn below_slot(&self) -> Vec<u8> {
        match self.outer.below.is_empty() {
            true => self.below.to_vec(),
            false => [&self.outer.below, b"/".as_slice(), self.below].concat(),
        }
    }

    /// The way from here to the slot: so many steps up.
    fn up(path: &[u8]) -> Vec<u8> {
        let steps = path.split(|&byte| byte == b'/').count();
        b"../".repeat(steps)
    }

    /// The file `.git` of its worktree.
    fn dot_git(&self) -> Vec<u8> {
        let up = Self::up(&self.below_slot());
        [b"gitdir: ", up.as_slice(), b".git/", &self.dir, b"\n"].concat()
    }

    /// What its configuration has besides that of the user's: where its worktree is.
    fn worktree(&self) -> Vec<u8> {
        let up = Self::up(&self.dir);
        [b"../", up.as_slice(), &self.below_slot()].concat()
    }

    fn bring(&self, commit: &str) -> Result<(), CheckoutError> {
        let io = |error| self.io(error);
        let slot = self.git.slot_path().join(".git");
        // Not through links, of which a job may have made any.
        let mut dirs = Tree::open(&slot).map_err(io)?;
        dirs.make_dir(&self.dir).map_err(io)?;
        let dir = slot.join(OsStr::from_bytes(&self.dir));
        let gone = || self.io(io::ErrorKind::NotADirectory.into());
        let mut admin = Admin::at(dir).ok_or_else(gone)?.of(self.worktree());
        let known = Admin::is_ours(admin.dir());
        admin.renew(self.template).map_err(io)?;
        tidy(admin.dir()).map_err(io)?;
        admin.unlock_index().map_err(io)?;
        let commit: Oid = commit
            .parse()
            .map_err(|error| self.io(io::Error::other(error)))?;
        let mut files = Tree::open(self.outer.path).map_err(io)?;
        let dot_git = [self.below, b"/.git"].concat();
        if known
            && files.read(&dot_git).as_deref() == Some(&self.dot_git())
            && self.remove_pipes(&admin).is_ok()
            && self.is_trusted(&admin).map_err(io)?
            && self.check_out(&admin, &commit).is_ok()
        {
            return admin.renew(self.template).map_err(io);
        }
        // Anew, without files.
        files.make_empty_dir(self.below).map_err(io)?;
        files.write(&dot_git, FILE, &self.dot_git()).map_err(io)?;
        remove_path(&admin.index()).map_err(io)?;
        admin
            .set_state(&self.outer.repo.common_dir().join("modules"), "")
            .map_err(io)?;
        let done = self.check_out(&admin, &commit);
        done.map_err(|error| self.failed(error))?;
        // Filters leave things.
        admin.renew(self.template).map_err(io)
    }

    /// See [`pipes`].
    fn remove_pipes(&self, admin: &Admin) -> io::Result<()> {
        let mut files = Tree::open(&self.path)?;
        let index = admin.index();
        let file = gix::index::File::at(&index, self.hash, true, Default::default());
        let Some(image) = file.ok().and_then(|file| Image::of(&index, &file)) else {
            return pipes::remove_all(&files);
        };
        let mut untracked = scan(&files, &image)?.untracked;
        for path in &untracked {
            if files.status(path).is_some_and(|stat| is_special(&stat)) {
                files.remove_all(path)?;
            }
        }
        untracked.retain(|path| files.status(path).is_some());
        let place = Place {
            slot: self.git.slot_path(),
            path: &self.path,
        };
        pipes::remove(&mut files, &place, &image, &untracked, |_, _| false)
    }

    /// Whether the index lists what is tracked; where it does not the commit that was
    /// checked out last must tell.
    fn is_trusted(&self, admin: &Admin) -> io::Result<bool> {
        if !distrusts(&admin.index(), self.hash, false) {
            return Ok(true);
        }
        remove_path(&admin.index())?;
        Ok(self
            .git
            .run(&["checkout", "-q", "-f", "--detach", "HEAD"])
            .is_ok())
    }

    fn check_out(&self, admin: &Admin, commit: &Oid) -> Result<(), GitError> {
        admin.set_head(commit).map_err(|source| GitError::Io {
            verb: "checkout".to_owned(),
            source,
        })?;
        let commit = commit.to_string();
        self.git
            .run(&["checkout", "-q", "-f", "--detach", &commit])?;
        self.git.clean(self.outer.clean)
    }

    /// The submodules of this one.
    fn links(&self) -> Result<Vec<(Vec<u8>, gix::ObjectId)>, CheckoutError> {
        let listed = self.git.run(&["ls-files", "-s", "-z"]);
        let listed = listed.map_err(|error| self.failed(error))?;
        let mut links = Vec::new();
        for line in listed.stdout.split(|&byte| byte == 0) {
            let Some(rest) = line.strip_prefix(b"160000 ") else {
                continue;
            };
            let (Some(space), Some(tab)) = (
                rest.iter().position(|&byte| byte == b' '),
                rest.iter().position(|&byte| byte == b'\t'),
            ) else {
                continue;
            };
            if let Ok(id) = gix::ObjectId::from_hex(&rest[..space]) {
                links.push((rest[tab + 1..].to_vec(), id));
            }
        }
        Ok(links)
    }
}
