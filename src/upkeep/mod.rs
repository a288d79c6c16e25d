//! Keeping a set-up in order: what goes, and what is wrong.

pub mod doctor;
pub mod gc;
