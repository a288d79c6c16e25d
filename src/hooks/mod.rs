//! The hooks that call `git ci`, to tell it of commits or to have it look at one before it is
//! made: where they belong, whose hooks are there
//! already, and how ours come and go without a trace.
//!
//! Nothing of somebody's is ever overwritten: a shell script of the user's gets a marked
//! block, and only in the repository's own directory of hooks. What belongs to a hook
//! manager, to the project's tree or to all repositories of the user is left alone, and
//! the user is told the line to add. What the hooks do is in [`spool`](crate::spool) and
//! in the command `notify`.

mod hook_dir;
mod manager;
mod script;

use std::fmt;
use std::fs::{self, Metadata};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use self::manager::Manager;
use self::script::Removed;

pub(crate) use hook_dir::{HookDir, HookDirError};

/// A hook that tells of new commits, or looks at one before it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    /// Before `git commit`: it can keep the commit from being made.
    PreCommit,
    /// After `git commit`, `cherry-pick`, `revert` and each pick of a rebase.
    PostCommit,
    /// After `git merge` and `git pull`.
    PostMerge,
    /// After `git rebase` and `git commit --amend`.
    PostRewrite,
    /// After each patch of `git am`.
    PostApplypatch,
    /// After a push has arrived.
    PostReceive,
}

impl Hook {
    /// Those of a repository that somebody works in.
    pub(crate) const CLIENT: [Self; 4] = [
        Self::PostCommit,
        Self::PostMerge,
        Self::PostRewrite,
        Self::PostApplypatch,
    ];

    /// Those of a repository that others push to.
    pub(crate) const SERVER: [Self; 1] = [Self::PostReceive];

    /// That which looks at what is to be committed.
    pub(crate) const GATE: [Self; 1] = [Self::PreCommit];

    /// All.
    pub(crate) const ALL: [Self; 6] = [
        Self::PreCommit,
        Self::PostCommit,
        Self::PostMerge,
        Self::PostRewrite,
        Self::PostApplypatch,
        Self::PostReceive,
    ];

    /// What git calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PreCommit => "pre-commit",
            Self::PostCommit => "post-commit",
            Self::PostMerge => "post-merge",
            Self::PostRewrite => "post-rewrite",
            Self::PostApplypatch => "post-applypatch",
            Self::PostReceive => "post-receive",
        }
    }

    /// Whether git asks it, instead of telling it something.
    pub(crate) fn is_gate(self) -> bool {
        self == Self::PreCommit
    }

    /// The command that it is for, as a shell has it.
    pub(crate) fn call(self) -> String {
        match self {
            Self::PreCommit => "run --staged --stage commit --gate".to_owned(),
            hook => format!("notify --hook {hook}"),
        }
    }

    /// Whether it is told by its standard input what is new.
    pub(crate) fn reads_input(self) -> bool {
        matches!(self, Self::PostRewrite | Self::PostReceive)
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The name is none of a hook that tells of new commits.
#[derive(Debug, thiserror::Error)]
#[error("not a hook that tells of new commits")]
pub(crate) struct UnknownHook;

impl FromStr for Hook {
    type Err = UnknownHook;

    fn from_str(name: &str) -> Result<Self, UnknownHook> {
        let mut telling = Self::ALL.into_iter().filter(|hook| !hook.is_gate());
        let found = telling.find(|hook| hook.name() == name);
        found.ok_or(UnknownHook)
    }
}

/// Why a hook could not be changed or looked at.
#[derive(Debug, thiserror::Error)]
#[error("{action} the hook {path}")]
pub(crate) struct HookError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl HookError {
    fn of(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self {
            action,
            path,
            source,
        }
    }
}

/// How things stand with one hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// There is none.
    Absent {
        /// Where it would be.
        path: PathBuf,
    },
    /// A file of ours.
    Ours {
        /// Where.
        path: PathBuf,
        /// Whether it is what would be installed now.
        current: bool,
    },
    /// Our block in somebody's script.
    Within {
        /// Where.
        path: PathBuf,
        /// Whether it is what would be installed now.
        current: bool,
    },
    /// Somebody wrote the call into a hook or a manager's configuration.
    ByHand {
        /// Where.
        path: PathBuf,
    },
    /// Somebody's shell script, which can take our block.
    Open {
        /// Where.
        path: PathBuf,
    },
    /// Not ours to change.
    Left {
        /// Why.
        why: String,
        /// What to add, and where.
        advice: String,
    },
}

impl Standing {
    /// Whether the hook calls `git ci`.
    pub(crate) fn is_installed(&self) -> bool {
        matches!(
            self,
            Self::Ours { .. } | Self::Within { .. } | Self::ByHand { .. }
        )
    }
}

/// What was done about one hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// A file was made.
    Made(PathBuf),
    /// A block was put into somebody's script.
    Added(PathBuf),
    /// Ours was brought up to date.
    Updated(PathBuf),
    /// A file of ours was removed.
    Deleted(PathBuf),
    /// A block was taken out of somebody's script.
    TakenOut(PathBuf),
}

/// The hooks of one repository.
#[derive(Debug)]
pub(crate) struct Hooks {
    dir: HookDir,
    /// The repository's own directory of hooks, whether it counts or not.
    own_dir: PathBuf,
    work_tree: Option<PathBuf>,
    /// How hooks call this program; `None` where only PATH can tell.
    program: Option<String>,
}

impl Hooks {
    /// Those of `repo`, calling `program`.
    ///
    /// # Errors
    /// Where git cannot say where hooks belong.
    pub(crate) fn of(repo: &crate::git::Repo, program: &Path) -> Result<Self, HookDirError> {
        Ok(Self {
            dir: HookDir::of(repo)?,
            own_dir: repo.common_dir().join("hooks"),
            work_tree: repo.work_tree().map(Path::to_owned),
            program: program.to_str().map(str::to_owned),
        })
    }

    /// How things stand with `hook`.
    ///
    /// # Errors
    /// Where a file is there and cannot be read.
    pub(crate) fn standing(&self, hook: Hook) -> Result<Standing, HookError> {
        let dir = match &self.dir {
            HookDir::Own(dir) => dir,
            place => return self.elsewhere(hook, place),
        };
        let path = dir.join(hook.name());
        let Some(file) = HookFile::read(&path)? else {
            return Ok(Standing::Absent { path });
        };
        if let Some(manager) = Manager::of_script(&file.bytes) {
            return self.managed(hook, manager, &path);
        }
        Ok(self.written_by_hand(hook, path, &file))
    }

    /// Installs `hook` unless it is; `None` where nothing was changed.
    ///
    /// # Errors
    /// Where a file cannot be read or written.
    pub(crate) fn install(&self, hook: Hook) -> Result<Option<Change>, HookError> {
        let (path, change): (_, fn(PathBuf) -> Change) = match self.standing(hook)? {
            Standing::Absent { path } => (path, Change::Made),
            Standing::Open { path } => (path, Change::Added),
            Standing::Ours {
                path,
                current: false,
            }
            | Standing::Within {
                path,
                current: false,
            } => (path, Change::Updated),
            _ => return Ok(None),
        };
        let file = HookFile::read(&path)?;
        let bytes = match &file {
            Some(file) => script::with_block(&file.bytes, hook, self.program()),
            None => script::own(hook, self.program()).into_bytes(),
        };
        replace(&path, &bytes, file.as_ref().map(|file| &file.metadata))
            .map_err(HookError::of("write", &path))?;
        Ok(Some(change(path)))
    }

    /// Removes everything of ours from `hook`, also where it does not count any more.
    ///
    /// # Errors
    /// Where a file cannot be read or written.
    pub(crate) fn remove(&self, hook: Hook) -> Result<Vec<Change>, HookError> {
        let mut dirs = vec![&self.own_dir];
        if let HookDir::Own(dir) = &self.dir
            && *dir != self.own_dir
        {
            dirs.push(dir);
        }
        let mut changes = Vec::new();
        for dir in dirs {
            let own = dir.join(hook.name());
            for path in [put_aside(&own, ".legacy"), put_aside(&own, ".old"), own] {
                changes.extend(remove_from(&path)?);
            }
            // Where no template brought a directory of hooks, we made it. An empty one
            // means nothing to git.
            if !changes.is_empty() {
                let _ = fs::remove_dir(dir);
            }
        }
        Ok(changes)
    }

    fn program(&self) -> Option<&str> {
        self.program.as_deref()
    }

    /// A hook of the directory in which ours may be.
    fn written_by_hand(&self, hook: Hook, path: PathBuf, file: &HookFile) -> Standing {
        let left = |why: &str| Standing::Left {
            why: format!("{} {why}", path.display()),
            advice: format!(
                "add this line to it:\n    {}\nor run that from a place of your own",
                script::line(hook)
            ),
        };
        if script::has_block(&file.bytes) {
            if let Some(why) = file.sharing() {
                return left(why);
            }
            let current = script::with_block(&file.bytes, hook, self.program()) == file.bytes;
            return if script::is_own(&file.bytes) {
                Standing::Ours { path, current }
            } else {
                Standing::Within { path, current }
            };
        }
        if script::calls(&file.bytes, hook) {
            return Standing::ByHand { path };
        }
        match file.sharing().or_else(|| script::obstacle(&file.bytes)) {
            Some(why) => left(why),
            None => Standing::Open { path },
        }
    }

    /// A hook that a manager generated.
    fn managed(&self, hook: Hook, manager: Manager, path: &Path) -> Result<Standing, HookError> {
        if let Some(found) = self.configured_by_hand(hook, manager) {
            return Ok(found);
        }
        // Some managers run what was there before them, from a place that they name.
        if manager.runs_legacy() {
            let path = put_aside(path, ".legacy");
            return Ok(match HookFile::read(&path)? {
                Some(file) => self.written_by_hand(hook, path, &file),
                None => Standing::Absent { path },
            });
        }
        Ok(Standing::Left {
            why: format!("{} is made by {manager}", path.display()),
            advice: manager.advice(hook),
        })
    }

    fn configured_by_hand(&self, hook: Hook, manager: Manager) -> Option<Standing> {
        let top = self.work_tree.as_ref()?;
        let files = manager.files(hook).into_iter().map(|name| top.join(name));
        files
            .filter(|path| fs::read(path).is_ok_and(|bytes| script::calls(&bytes, hook)))
            .map(|path| Standing::ByHand { path })
            .next()
    }

    /// A hook in a directory that is not this repository's own.
    fn elsewhere(&self, hook: Hook, dir: &HookDir) -> Result<Standing, HookError> {
        let manager = dir.dir().and_then(Manager::of_dir);
        if let Some(found) = manager.and_then(|manager| self.configured_by_hand(hook, manager)) {
            return Ok(found);
        }
        let path = dir.dir().map(|dir| dir.join(hook.name()));
        if let Some(path) = path
            && fs::read(&path).is_ok_and(|bytes| script::calls(&bytes, hook))
        {
            return Ok(Standing::ByHand { path });
        }
        Ok(Standing::Left {
            why: dir.why(),
            advice: match manager {
                Some(manager) => manager.advice(hook),
                None => dir.advice(hook),
            },
        })
    }
}

/// A hook's file as it is.
struct HookFile {
    bytes: Vec<u8>,
    metadata: Metadata,
}

impl HookFile {
    /// `None` where there is nothing at `path`, not even a dangling link.
    fn read(path: &Path) -> Result<Option<Self>, HookError> {
        let metadata = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata.map_err(HookError::of("read", path))?,
        };
        let bytes = match fs::read(path) {
            // A link to nowhere or a directory is somebody's, whatever it is.
            Err(_) if !metadata.is_file() => Vec::new(),
            bytes => bytes.map_err(HookError::of("read", path))?,
        };
        Ok(Some(Self { bytes, metadata }))
    }

    /// Why the file cannot be replaced by one with our block.
    fn sharing(&self) -> Option<&'static str> {
        let metadata = &self.metadata;
        if metadata.is_symlink() {
            Some("is a symbolic link to a file that may be used elsewhere, too")
        } else if !metadata.is_file() {
            Some("is no file")
        } else if metadata.nlink() > 1 {
            Some("has another name, and may be used elsewhere, too")
        } else if metadata.permissions().mode() & 0o111 == 0 {
            Some("is not executable, so git does not run it")
        } else {
            None
        }
    }
}

/// Where a manager keeps the hook that was there before its own, and puts back when it
/// goes: pre-commit and its kin, which run it, behind `.legacy`, lefthook behind `.old`.
fn put_aside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn remove_from(path: &Path) -> Result<Option<Change>, HookError> {
    let Some(file) = HookFile::read(path)? else {
        return Ok(None);
    };
    if !file.metadata.is_file() || !script::has_block(&file.bytes) {
        return Ok(None);
    }
    let (done, change): (_, fn(PathBuf) -> Change) = match script::without_block(&file.bytes) {
        Removed::Nothing => (fs::remove_file(path), Change::Deleted),
        Removed::Rest(rest) => (replace(path, &rest, Some(&file.metadata)), Change::TakenOut),
    };
    done.map_err(HookError::of("write", path))?;
    Ok(Some(change(path.to_owned())))
}

/// Puts a file with `bytes` at `path`, whole or not at all: a hook may be running. Mode
/// and owner are those of the file `like`, which it replaces.
fn replace(path: &Path, bytes: &[u8], like: Option<&Metadata>) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let mut file = tempfile::Builder::new()
        .prefix(".git-ci-")
        .permissions(fs::Permissions::from_mode(0o777)) // Less what the umask takes.
        .tempfile_in(dir)?;
    file.write_all(bytes)?;
    if let Some(like) = like {
        let own = file.as_file().metadata()?;
        if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
            std::os::unix::fs::fchown(file.as_file(), Some(like.uid()), Some(like.gid()))?;
        }
        file.as_file().set_permissions(like.permissions())?;
    }
    file.as_file().sync_all()?;
    match like {
        Some(_) => file.persist(path).map(|_| ()),
        // One that came into being meanwhile is somebody's.
        None => file.persist_noclobber(path).map(|_| ()),
    }
    .map_err(|error| error.error)
}
