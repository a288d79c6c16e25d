//! What all notes hold.

use super::error::NotesError;
use super::read::{TreeError, changes, read_note, tree_of};
use super::records::Unread;
use crate::git::Repo;
use crate::git::objects::from_gix;
use crate::git::ref_writer::read_ref;
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
