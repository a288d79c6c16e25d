//! Where git looks for hooks, and whose directory that is.

use std::path::{Path, PathBuf};

use crate::git::{GitError, Repo};

use super::{Hook, script};

/// Why it is not known where hooks belong.
#[derive(Debug, thiserror::Error)]
#[error("find the directory of hooks")]
pub(crate) struct HookDirError(#[from] GitError);

/// The directory of hooks that counts in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HookDir {
    /// Within the repository: nobody else uses it, and it is no part of the project.
    Own(PathBuf),
    /// In the work tree: part of the project, or of a tool of the project.
    InTree(PathBuf),
    /// Somewhere else: other repositories may use it, too.
    Elsewhere {
        /// The directory.
        dir: PathBuf,
        /// Which configuration says so: "global", "system", "local", …
        scope: String,
    },
}

impl HookDir {
    /// Asks git's configuration.
    pub(super) fn of(repo: &Repo) -> Result<Self, HookDirError> {
        let own = repo.common_dir().join("hooks");
        let (scope, dir) = match configured(repo)? {
            Some((scope, path)) => {
                // Hooks run at the top of the work tree, or in the git directory.
                let top = repo.work_tree().unwrap_or(repo.git_dir());
                (scope, top.join(path))
            }
            None => ("local".to_owned(), own),
        };
        // Somebody may have made it a link to the project's hooks.
        let real = dir.canonicalize().unwrap_or_else(|_| dir.clone());
        let within = |outer: &Path| {
            let outer = outer.canonicalize().unwrap_or_else(|_| outer.to_owned());
            real.starts_with(outer)
        };
        Ok(if within(repo.common_dir()) {
            Self::Own(dir)
        } else if repo.work_tree().is_some_and(within) {
            Self::InTree(dir)
        } else {
            Self::Elsewhere { dir, scope }
        })
    }

    /// The directory, where it is somebody's.
    pub(super) fn dir(&self) -> Option<&Path> {
        match self {
            Self::Own(_) => None,
            Self::InTree(dir) | Self::Elsewhere { dir, .. } => Some(dir),
        }
    }

    /// Why nothing is installed there.
    pub(super) fn why(&self) -> String {
        match self {
            Self::Own(dir) => format!("hooks are in {}", dir.display()),
            Self::InTree(dir) => format!(
                "hooks are in {}, which is part of the work tree",
                dir.display()
            ),
            Self::Elsewhere { dir, scope } => format!(
                "hooks are in {} ({scope} core.hooksPath), which other repositories may use, too",
                dir.display()
            ),
        }
    }

    /// What to add there.
    pub(super) fn advice(&self, hook: Hook) -> String {
        let file = self.dir().unwrap_or(Path::new("hooks")).join(hook.name());
        let new = if file.exists() {
            ""
        } else {
            ", a new executable file that starts with #!/bin/sh"
        };
        let line = script::line(hook);
        format!("add this line to {}{new}:\n    {line}", file.display())
    }
}

/// `core.hooksPath` with the scope it was set in.
fn configured(repo: &Repo) -> Result<Option<(String, PathBuf)>, GitError> {
    let mut ask = repo.git().as_the_user();
    ask.args(["config", "--show-scope", "--type=path", "--get"])
        .arg("core.hooksPath");
    match repo.git().read(&mut ask) {
        Ok(said) => Ok(said
            .split_once('\t')
            .map(|(scope, path)| (scope.to_owned(), PathBuf::from(path)))),
        // Not set.
        Err(GitError::Failed { code: Some(1), .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
