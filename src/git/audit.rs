//! Questions that nobody asks but who wants to know whether all is well.

use super::notes::NotesError;
use super::notes_read::{changes, read_note, tree_of};
use super::notes_ref::read_ref;
use super::{GitError, Repo};
use crate::model::Census;

/// Reads every note, and counts whose its lines are; `None` where nothing was noted yet.
///
/// # Errors
/// Where the ref, the notes tree or a note cannot be read.
pub fn audit_notes(repo: &Repo, notes_ref: &str) -> Result<Option<Census>, NotesError> {
    let objects = repo.objects();
    let Some(tip) = read_ref(&objects, notes_ref)? else {
        return Ok(None);
    };
    let mut census = Census::default();
    for (_, blobs) in changes(&objects, None, tree_of(&objects, tip)?)? {
        census += read_note(&objects, &blobs)?.census();
    }
    Ok(Some(census))
}

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

/// Where a configuration key has its value from: `system`, `global`, `local`,
/// `worktree` or `command`; `None` where git does not say.
pub fn setting_scope(repo: &Repo, key: &str) -> Option<String> {
    let mut command = repo.git().as_the_user();
    command.args(["config", "--show-scope", "--get", key]);
    let said = repo.git().read(&mut command).ok()?;
    said.split_whitespace().next().map(str::to_owned)
}
