//! The note store: records in git notes, whole, durable and without losing anybody else's.
//!
//! | File | What it is for |
//! |---|---|
//! | `store` | adding to the notes |
//! | `tree` | the tree of notes that is written |
//! | `read` | the tree of notes that is found |
//! | `commit` | the commits of the notes ref |
//! | `error` | why notes cannot be read or written |
//! | `check` | whether what is in the notes can be read, and what helps where it cannot |
//! | `records` | what is known: every record, found by commit and by what was tested |
//! | `audit` | what all notes hold |

mod audit;
mod check;
mod commit;
mod error;
mod read;
mod records;
mod store;
mod tree;

pub use audit::{Audit, audit_notes};
pub use check::{Remedy, find_remedy};
pub use error::NotesError;
pub use read::TreeError;
#[cfg(fuzzing)]
pub(crate) use records::parse as parse_records;
pub use records::{Records, Unread};
pub use store::{Appended, NoteStore, notes_tip, read_note};
