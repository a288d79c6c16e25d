//! The jobs file `.git-ci.toml`: strict, so that a slip of the pen is an error and not a
//! job that never runs.
//!
//! The text comes from a tree, and the tree may be anybody's. It names commands and
//! nothing of the machine: no hosts, no number of slots, no paths.

mod parse;
#[cfg(test)]
mod schema;
mod source;

pub use parse::{ConfigError, KEYS, Problem, is_label, nearest, parse};
pub use source::{
    CommitJobs, ConfigFrom, JobChoice, LoadError, load, load_bisected, load_file, no_such_job,
};

/// The name of the jobs file, at the top of the tree.
pub const JOBS_FILE: &str = ".git-ci.toml";
