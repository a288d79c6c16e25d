//! The repository as a hook sees it, without running git: a commit waits for what
//! happens here, and each `git` process would cost it some milliseconds.
//!
//! git has found the repository, trusts it, and says where it is by `GIT_DIR` or by
//! the current directory. Everywhere else use [`Repo`](super::Repo), which lets git
//! decide; what this module cannot read (reftables, configuration given on the command
//! line) it leaves to a `git` process, too. The index is none of its business.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gix::config::file::{Metadata, includes, init};
use gix::config::{File, Source, path};

use super::ref_store::NO_HEAD;
use crate::model::{Oid, RefName};

/// No chain of symbolic refs is longer.
const MAX_SYMBOLIC: usize = 5;

/// Variables by which somebody gave configuration that is in no file, or in other files.
const CONFIG_OVERRIDES: [&str; 4] = [
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
];

/// Where a hook runs.
#[derive(Debug)]
pub struct HookRepo {
    git_dir: PathBuf,
    common_dir: PathBuf,
}

/// What `HEAD` is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The commit.
    pub commit: Oid,
    /// The full name of the branch; `None` where it is detached.
    pub branch: Option<RefName>,
}

impl HookRepo {
    /// The repository that git runs a hook for: `GIT_DIR`, else upwards from the current directory.
    ///
    /// # Errors
    /// Where there is none.
    pub fn find() -> io::Result<Self> {
        let here = std::env::current_dir()?;
        let git_dir = match std::env::var_os("GIT_DIR").filter(|dir| !dir.is_empty()) {
            Some(dir) => here.join(dir),
            None => here
                .ancestors()
                .find_map(|dir| git_dir_at(dir).transpose())
                .transpose()?
                .ok_or_else(|| io::Error::other("there is no repository here"))?,
        };
        let common_dir = match std::env::var_os("GIT_COMMON_DIR").filter(|dir| !dir.is_empty()) {
            Some(dir) => here.join(dir),
            None => match fs::read_to_string(git_dir.join("commondir")) {
                Ok(dir) => git_dir.join(dir.trim_end_matches(['\n', '\r'])),
                Err(error) if error.kind() == io::ErrorKind::NotFound => git_dir.clone(),
                Err(error) => return Err(error),
            },
        };
        Ok(Self {
            git_dir: git_dir.canonicalize()?,
            common_dir: common_dir.canonicalize()?,
        })
    }

    /// This work tree's own git directory.
    pub fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// Where spool, logs and locks live; it may not exist yet.
    pub fn ci_dir(&self) -> PathBuf {
        self.common_dir.join("ci")
    }

    /// Where a process that goes on by itself should run: the current directory, unless
    /// that is the git directory of a repository with a work tree beside it.
    pub fn top(&self) -> io::Result<PathBuf> {
        let here = std::env::current_dir()?;
        let beside = self.common_dir.parent().filter(|_| {
            here == self.common_dir && self.common_dir.file_name() == Some(".git".as_ref())
        });
        Ok(beside.map_or(here.clone(), Path::to_owned))
    }

    /// What `HEAD` is; `None` on a branch without a commit.
    ///
    /// # Errors
    /// Where it cannot be read, or makes no sense.
    pub fn head(&self) -> io::Result<Option<Head>> {
        let head = fs::read(self.git_dir.join("HEAD"))?;
        // What a repository with reftables has there for those who don't know them.
        if head.starts_with(NO_HEAD) {
            return self.head_by_git();
        }
        match head.strip_prefix(b"ref:") {
            Some(branch) => {
                let branch = parse_name(branch)?;
                let commit = self.resolve(&branch)?;
                Ok(commit.map(|commit| Head {
                    commit,
                    branch: Some(branch),
                }))
            }
            None => Ok(Some(Head {
                commit: parse_id(&head)?,
                branch: None,
            })),
        }
    }

    fn resolve(&self, name: &RefName) -> io::Result<Option<Oid>> {
        let mut name = name.clone();
        for _ in 0..MAX_SYMBOLIC {
            let text = match fs::read(self.common_dir.join(name.as_os_str())) {
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound
                            | io::ErrorKind::IsADirectory
                            | io::ErrorKind::NotADirectory
                    ) =>
                {
                    return self.packed(&name);
                }
                text => text?,
            };
            match text.strip_prefix(b"ref:") {
                Some(target) => name = parse_name(target)?,
                None => return parse_id(&text).map(Some),
            }
        }
        Err(broken("HEAD leads through too many symbolic refs"))
    }

    fn packed(&self, name: &RefName) -> io::Result<Option<Oid>> {
        let packed = match fs::read(self.common_dir.join("packed-refs")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            packed => packed?,
        };
        let found = packed.split(|&byte| byte == b'\n').find_map(|line| {
            let id = line.strip_suffix(name.as_bytes())?.strip_suffix(b" ")?;
            std::str::from_utf8(id).ok()?.parse().ok()
        });
        Ok(found)
    }

    fn head_by_git(&self) -> io::Result<Option<Head>> {
        let ask = |args: &[&str]| {
            let said = as_the_user().args(args).output()?;
            io::Result::Ok(said.status.success().then_some(said.stdout))
        };
        let Some(commit) = ask(&["rev-parse", "--verify", "-q", "HEAD"])? else {
            return Ok(None);
        };
        let branch = ask(&["symbolic-ref", "-q", "HEAD"])?;
        Ok(Some(Head {
            commit: parse_id(&commit)?,
            branch: branch.map(|name| parse_name(&name)).transpose()?,
        }))
    }

    /// The last value of a configuration key, `section.name`.
    ///
    /// # Errors
    /// Where a file cannot be read, and where git has to be asked and does not run.
    pub fn config(&self, key: &str) -> io::Result<Option<String>> {
        let overridden = CONFIG_OVERRIDES.map(std::env::var_os);
        if overridden.iter().all(Option::is_none)
            && let Ok(value) = self.config_in_files(key)
        {
            return Ok(value);
        }
        let said = as_the_user().args(["config", "--get", key]).output()?;
        let value = String::from_utf8_lossy(&said.stdout).trim_end().to_owned();
        Ok(said.status.success().then_some(value))
    }

    /// Reads the files that git reads, except for one: that of an installation with a
    /// place of its own for it, since only a `git` process knows where that is.
    fn config_in_files(
        &self,
        key: &str,
    ) -> Result<Option<String>, Box<dyn std::error::Error + Send + Sync>> {
        // Whether it counts is up to another setting.
        if self.git_dir.join("config.worktree").exists() {
            return Err("git knows whether config.worktree counts".into());
        }
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let user = match std::env::var_os("XDG_CONFIG_HOME").filter(|dir| !dir.is_empty()) {
            Some(dir) => Some(PathBuf::from(dir)),
            None => home.as_ref().map(|home| home.join(".config")),
        };
        let system = std::env::var_os("GIT_CONFIG_NOSYSTEM").is_none();
        let files = [
            (system.then(|| "/etc/gitconfig".into()), Source::System),
            (user.map(|dir| dir.join("git/config")), Source::Git),
            (
                home.as_ref().map(|home| home.join(".gitconfig")),
                Source::User,
            ),
            (Some(self.common_dir.join("config")), Source::Local),
        ];
        let mut files = files.into_iter().filter_map(|(path, source)| {
            Some(Metadata {
                path: Some(path?),
                source,
                level: 0,
                trust: gix::sec::Trust::Full,
            })
        });
        let options = init::Options {
            includes: includes::Options::follow(
                path::interpolate::Context {
                    home_dir: home.as_deref(),
                    ..Default::default()
                },
                includes::conditional::Context {
                    git_dir: Some(&self.git_dir),
                    branch_name: None,
                },
            ),
            ..Default::default()
        };
        let config = File::from_paths_metadata_buf(&mut files, &mut Vec::new(), false, options)
            .map_err(|error| error.to_string())?;
        Ok(config.and_then(|config| config.string(key).map(|value| value.to_string())))
    }
}

/// The git directory that a work tree at `dir` has, or that `dir` is.
fn git_dir_at(dir: &Path) -> io::Result<Option<PathBuf>> {
    let dot_git = dir.join(".git");
    match fs::metadata(&dot_git) {
        Ok(found) if found.is_dir() => return Ok(Some(dot_git)),
        Ok(_) => {
            let text = fs::read_to_string(&dot_git)?;
            let target = text
                .strip_prefix("gitdir: ")
                .ok_or_else(|| broken("the file .git names no git directory"))?;
            return Ok(Some(dir.join(target.trim_end_matches(['\n', '\r']))));
        }
        Err(_) => {}
    }
    let bare = ["HEAD", "objects", "refs"];
    Ok(bare
        .iter()
        .all(|name| dir.join(name).exists())
        .then(|| dir.to_owned()))
}

/// `git` as whoever called the hook would run it. Its version was good enough for the hook.
fn as_the_user() -> Command {
    let mut command = Command::new("git");
    command
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn parse_id(text: &[u8]) -> io::Result<Oid> {
    let text = std::str::from_utf8(text.trim_ascii_end()).unwrap_or_default();
    text.parse()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn parse_name(text: &[u8]) -> io::Result<RefName> {
    let name = RefName::parse(text.trim_ascii()).filter(|name| !name.is_head());
    name.ok_or_else(|| broken("HEAD names no ref"))
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
