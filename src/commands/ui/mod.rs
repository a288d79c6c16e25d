//! What subcommands share: how commits, jobs and machines are chosen, what is said and how.

pub(in crate::commands) mod background;
pub(in crate::commands) mod color;
pub(in crate::commands) mod commit_hint;
pub(in crate::commands) mod crash;
pub(in crate::commands) mod ending;
pub(in crate::commands) mod failure;
pub(in crate::commands) mod fleet;
pub(in crate::commands) mod kinds;
pub(in crate::commands) mod launch;
pub(in crate::commands) mod lines;
pub(in crate::commands) mod open_help;
pub(in crate::commands) mod output;
pub(in crate::commands) mod pager;
pub(in crate::commands) mod processes;
pub(in crate::commands) mod reading;
pub(in crate::commands) mod select;
pub(in crate::commands) mod slips;
pub(in crate::commands) mod suspects;
pub(in crate::commands) mod target;
pub(in crate::commands) mod trace;
