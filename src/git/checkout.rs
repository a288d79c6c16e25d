//! One slot's worktree: brought to a commit exactly as `git checkout` does, whatever
//! the last job did to it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::model::{Clean, Oid};

use super::{GitError, Repo};

/// Why a worktree could not be brought to a commit.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
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
}

/// A linked worktree outside the repository, with a detached `HEAD`.
pub struct Checkout<'a> {
    repo: &'a Repo,
    path: PathBuf,
}

impl<'a> Checkout<'a> {
    /// The worktree at `path`, in whatever state it is, if it is there at all.
    pub fn new(repo: &'a Repo, path: PathBuf) -> Self {
        Self { repo, path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Brings it to `commit`, makes it where needed, and cleans it as asked.
    ///
    /// # Errors
    /// Where git cannot, not even in a worktree made anew.
    pub fn move_to(&mut self, commit: &Oid, clean: Clean) -> Result<(), CheckoutError> {
        if self.checkout(commit, clean).is_ok() {
            return Ok(());
        }
        self.make(commit)?;
        self.checkout(commit, clean)
            .map_err(|source| CheckoutError::Git {
                commit: *commit,
                source,
            })
    }

    fn checkout(&self, commit: &Oid, clean: Clean) -> Result<(), GitError> {
        let git = self.repo.git();
        let here = |args: &[&str]| {
            let mut command = git.command();
            command.arg("-C").arg(&self.path).args(args);
            git.output(&mut command).map(|_| ())
        };
        here(&["checkout", "-q", "-f", "--detach", &commit.to_string()])?;
        match clean {
            Clean::Untracked => here(&["clean", "-ffdq"]),
            Clean::All => here(&["clean", "-ffdxq"]),
            Clean::None => Ok(()),
        }
    }

    /// Makes the worktree anew.
    fn make(&self, commit: &Oid) -> Result<(), CheckoutError> {
        let io = |source| CheckoutError::Io {
            path: self.path.clone(),
            source,
        };
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        if let Some(parent) = self.path.parent() {
            fs::create_dir_all(parent).map_err(io)?;
        }
        // While one is being made, git stumbles over its half of a directory in `worktrees`.
        let ci_dir = self.repo.ci_dir();
        fs::create_dir_all(&ci_dir).map_err(io)?;
        let lock = fs::File::create(ci_dir.join("worktrees.lock")).map_err(io)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| io(error.into()))?;
        let git = self.repo.git();
        let mut add = self.repo.git_command();
        add.args([
            "worktree",
            "add",
            "-q",
            "-f",
            "-f",
            "--detach",
            "--no-checkout",
        ]);
        add.arg(&self.path).arg(commit.to_string());
        git.output(&mut add)
            .map(|_| ())
            .map_err(|source| CheckoutError::Git {
                commit: *commit,
                source,
            })
    }
}
