//! Questions to git that only those ask who want to know whether all is well.

use crate::model::RefName;

use super::{GitError, Repo};

/// Whether a ref has a log.
pub fn has_reflog(repo: &Repo, name: &str) -> bool {
    let mut command = repo.git_command();
    let asked = repo.git().output(command.args(["reflog", "exists", name]));
    asked.is_ok()
}

/// Who git says writes commits here.
///
/// # Errors
/// Where it does not know.
pub fn identity(repo: &Repo) -> Result<String, GitError> {
    let mut command = repo.git().as_the_user();
    command.arg("--git-dir").arg(repo.git_dir());
    repo.git()
        .read(command.args(["var", "GIT_COMMITTER_IDENT"]))
}

/// The branch that is checked out, also where it has no commit yet; `None` where `HEAD` is
/// detached.
pub fn branch(repo: &Repo) -> Option<RefName> {
    let mut command = repo.git().as_the_user();
    command.arg("--git-dir").arg(repo.git_dir());
    let said = repo
        .git()
        .read(command.args(["symbolic-ref", "-q", "HEAD"]));
    RefName::parse(said.ok()?.trim_end_matches('\n').as_bytes())
}

/// Where a configuration key has its value from: `system`, `global`, `local`,
/// `worktree` or `command`; `None` where git does not say.
pub fn setting_scope(repo: &Repo, key: &str) -> Option<String> {
    let mut command = repo.git().as_the_user();
    command.args(["config", "--show-scope", "--get", key]);
    let said = repo.git().read(&mut command).ok()?;
    said.split_whitespace().next().map(str::to_owned)
}
