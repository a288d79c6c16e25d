//! Keeping a set-up in order: what goes, and what is wrong.

pub(crate) mod doctor;
pub(crate) mod gc;
