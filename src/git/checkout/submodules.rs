//! Submodules of a slot's worktree, from what the user's repository has of them.
//!
//! Each gets a git directory of its own below the slot's (`modules/NAME`, where git keeps
//! them for a linked worktree, too) that borrows the objects of the user's. Nothing is
//! fetched from anywhere else, and nothing of the user's is written.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::super::{GitError, Repo};
use super::CheckoutError;
use super::by_git::{GitIn, distrusts};
use super::files::{Tree, remove_path};
use crate::model::{Clean, printable_line};

/// What belongs in a submodule's git directory; all else is what a job left.
const KEPT: [&str; 10] = [
    "HEAD",
    "config",
    CONFIG,
    "objects",
    "refs",
    "packed-refs",
    "index",
    "shallow",
    "modules",
    "info",
];

/// The configuration as we made it, since a job may change its own.
const CONFIG: &str = "git-ci-config";

/// A worktree with submodules.
pub(super) struct Super<'a> {
    pub(super) repo: &'a Repo,
    pub(super) git: &'a GitIn<'a>,
    pub(super) path: &'a Path,
    /// Where the git directories of its submodules go.
    pub(super) modules: &'a Path,
    pub(super) clean: Clean,
}

/// Where the user's submodules are.
pub(super) struct Sources {
    /// Directories that have them by name.
    modules: Vec<PathBuf>,
    /// A worktree that may have them in place, from before git kept them elsewhere.
    worktree: Option<PathBuf>,
    /// They are the repository's own, and not those of a submodule.
    top: bool,
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
            top: true,
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

    /// Whether the user has the submodule at all.
    fn know(&self, repo: &Repo, name: &str, path: &Path) -> bool {
        let wanted = format!("submodule.{name}.url");
        (self.top && repo.config(&wanted).is_some()) || self.all(name, path).next().is_some()
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
        // Without a name git does not know what to do with it, either.
        let Some(name) = names.get(path) else {
            continue;
        };
        let setting = |variable| outer.repo.config(&format!("submodule.{name}.{variable}"));
        if setting("update") == Some("none") || setting("active") == Some("false") {
            continue;
        }
        let commit = commit.to_string();
        let path = Path::new(OsStr::from_bytes(path));
        let printable = printable_line(name.as_bytes()).into_owned();
        let Some((source, commit)) = sources.find(outer.repo, name, path, &commit) else {
            let name = printable;
            if outer.repo.is_cache() {
                return Err(CheckoutError::SubmoduleOnHost { name });
            }
            if !sources.know(outer.repo, name.as_str(), path) {
                return Err(CheckoutError::SubmoduleUnknown { name });
            }
            return Err(CheckoutError::SubmoduleMissing { name, commit });
        };
        let module = Module {
            outer,
            git: outer.git.submodule(outer.path.join(path), &source),
            path: outer.path.join(path),
            below: path,
            dir: outer.modules.join(name),
            source: &source,
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
            git: &module.git,
            path: &module.path,
            modules: &module.dir.join("modules"),
            clean: outer.clean,
        };
        let sources = Sources {
            modules: vec![source.join("modules")],
            worktree: None,
            top: false,
        };
        update(&inner, &sources, &links)?;
    }
    Ok(())
}

/// The names of submodules by their paths, as `.gitmodules` has them.
fn names(outer: &Super<'_>) -> HashMap<Vec<u8>, String> {
    let file = outer.path.join(".gitmodules");
    let mut names = HashMap::new();
    if !fs::symlink_metadata(&file).is_ok_and(|meta| meta.is_file()) {
        return names;
    }
    let mut ask = outer.repo.git().command();
    ask.args(["config", "--no-includes", "-z", "-f"]).arg(&file);
    ask.args(["--get-regexp", r"^submodule\..*\.path$"]);
    let Ok(said) = outer.repo.git().output(&mut ask) else {
        return names;
    };
    for entry in said.stdout.split(|&byte| byte == 0) {
        let Some(line) = entry.iter().position(|&byte| byte == b'\n') else {
            continue;
        };
        let (key, path) = (&entry[..line], &entry[line + 1..]);
        let name = std::str::from_utf8(key)
            .ok()
            .and_then(|key| key.strip_prefix("submodule.")?.strip_suffix(".path"));
        // It becomes a path of ours.
        let safe = |name: &&str| {
            !name
                .split(['/', '\\'])
                .any(|part| part.is_empty() || part == "..")
                && !name.starts_with('-')
        };
        if let Some(name) = name.filter(safe) {
            names.insert(path.to_vec(), name.to_owned());
        }
    }
    names
}

struct Module<'a> {
    outer: &'a Super<'a>,
    git: GitIn<'a>,
    /// Where it is checked out.
    path: PathBuf,
    /// The same, below the worktree that it is in.
    below: &'a Path,
    /// Its git directory.
    dir: PathBuf,
    source: &'a Path,
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

    fn bring(&self, commit: &str) -> Result<(), CheckoutError> {
        if self.is_sound() && self.check_out(commit).is_ok() {
            return Ok(());
        }
        self.make()?;
        self.check_out(commit).map_err(|error| self.failed(error))
    }

    /// Whether what is there is what [`make`](Self::make) made, as far as git needs it.
    fn is_sound(&self) -> bool {
        let dot_git = self.path.join(".git");
        let leads = || {
            // Not through links: a job may have put one in place of the submodule.
            let mut files = Tree::open(self.outer.path).ok()?;
            let below = self.below.as_os_str().as_bytes();
            let text = files.read(&[below, b"/.git"].concat())?;
            let target = text.strip_prefix(b"gitdir: ")?.trim_ascii_end();
            let led = fs::canonicalize(self.path.join(OsStr::from_bytes(target))).ok()?;
            Some(led == fs::canonicalize(&self.dir).ok()?)
        };
        let alternates = fs::read(self.dir.join("objects/info/alternates"));
        let restore = || fs::copy(self.dir.join(CONFIG), self.dir.join("config"));
        fs::symlink_metadata(&dot_git).is_ok_and(|meta| meta.is_file())
            && leads() == Some(true)
            && alternates.is_ok_and(|text| text == self.alternates())
            && self.tidy().is_ok()
            && restore().is_ok()
    }

    fn tidy(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if !KEPT.iter().any(|kept| *kept == entry.file_name()) {
                remove_path(&entry.path())?;
            }
        }
        let index = self.dir.join("index");
        if distrusts(&index, self.hash, false) {
            remove_path(&index)?;
        }
        Ok(())
    }

    fn alternates(&self) -> Vec<u8> {
        let objects = self.source.join("objects");
        [objects.as_os_str().as_bytes(), b"\n"].concat()
    }

    /// Makes it anew, without files.
    fn make(&self) -> Result<(), CheckoutError> {
        let io = |error| self.io(error);
        let mut files = Tree::open(self.outer.path).map_err(io)?;
        files
            .make_empty_dir(self.below.as_os_str().as_bytes())
            .map_err(io)?;
        remove_path(&self.dir).map_err(io)?;
        if let Some(parent) = self.dir.parent() {
            fs::create_dir_all(parent).map_err(io)?;
        }
        let git = self.outer.repo.git();
        let mut init = git.init(&self.hash.to_string());
        init.arg("--separate-git-dir").arg(&self.dir);
        init.arg(&self.path);
        git.output(&mut init).map_err(|error| self.failed(error))?;
        let info = self.dir.join("objects/info");
        fs::create_dir_all(&info).map_err(io)?;
        fs::write(info.join("alternates"), self.alternates()).map_err(io)?;
        if let Ok(shallow) = fs::read(self.source.join("shallow")) {
            fs::write(self.dir.join("shallow"), shallow).map_err(io)?;
        }
        // Names to describe commits with. Without them it is a submodule all the same.
        let mut fetch = self.git.command();
        fetch.args([
            "-c",
            "protocol.allow=never",
            "-c",
            "protocol.file.allow=always",
        ]);
        fetch.args([
            "fetch",
            "-q",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
        ]);
        fetch.arg(self.source);
        fetch.args([
            "+refs/tags/*:refs/tags/*",
            "+refs/heads/*:refs/remotes/origin/*",
        ]);
        let _ = git.output(&mut fetch);
        fs::copy(self.dir.join("config"), self.dir.join(CONFIG))
            .map(|_| ())
            .map_err(io)
    }

    fn check_out(&self, commit: &str) -> Result<(), GitError> {
        self.git
            .run(&["checkout", "-q", "-f", "--detach", commit])?;
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
