//! Questions that nobody asks but who wants to know whether all is well.

use super::notes::{NotesError, from_gix};
use super::notes_read::{TreeError, changes, read_note, tree_of};
use super::notes_ref::read_ref;
use super::records::Unread;
use super::{GitError, Repo};
use crate::model::{Census, Oid};

/// What all notes hold.
#[derive(Debug, Default)]
pub struct Audit {
    /// How many lines are whose.
    pub census: Census,
    /// The commits whose notes could not be read, and why.
    pub unread: Vec<(Oid, Unread)>,
}

/// Reads every note, and counts whose its lines are.
///
/// # Errors
/// Where the ref, the notes tree or a note cannot be read.
pub fn audit_notes(repo: &Repo, notes_ref: &str) -> Result<Audit, NotesError> {
    let objects = repo.objects();
    let mut audit = Audit::default();
    let Some(tip) = read_ref(&objects, notes_ref)? else {
        return Ok(audit);
    };
    for (commit, blobs) in changes(&objects, None, tree_of(&objects, tip)?)? {
        match read_note(&objects, &blobs) {
            Ok(note) => audit.census += note.census(),
            Err(TreeError::TooLong { .. }) => {
                audit.unread.push((from_gix(&commit), Unread::TooLarge));
            }
            Err(TreeError::Away { .. }) => audit.unread.push((from_gix(&commit), Unread::Away)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(audit)
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
