#![doc = include_str!("../ARCHITECTURE.md")]

mod artifacts;
mod checkout;
pub mod commands;
pub mod config;
mod engine;
mod error;
mod fail;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod git;
mod hooks;
mod lock;
mod logs;
pub mod model;
pub mod notes;
mod plan;
mod printer;
mod private;
mod process;
mod reporter;
pub mod runner;
mod sealed;
pub mod settings;
pub mod spool;
mod starter;
mod upkeep;
pub mod verdict;
mod watch;
mod worktree;
