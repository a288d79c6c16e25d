//! The integration tests: one binary, one module a subject. Everything here runs the
//! real program on real repositories.
#![expect(
    clippy::unwrap_used,
    reason = "a test says by panicking what went wrong"
)]

mod artifacts;
mod beds;
mod blame;
mod borrowed;
mod bytes;
mod bytes_filters;
mod checkout;
mod checkout_damage;
mod checkout_ends;
mod compat_git;
mod completions;
mod config_command;
mod control;
mod doctor;
mod environment;
mod fault;
mod flaky;
mod formats;
mod formats_note;
mod gc;
mod generated;
mod graph;
mod hook_managers;
mod hooks;
mod hosts;
mod hosts_fault;
mod hosts_net;
mod hosts_slurm;
mod hosts_watch;
mod identity;
mod init;
mod junit;
mod key;
mod kinds;
mod layers;
mod leases;
mod limits;
mod machine;
mod notes;
mod notes_faults;
mod notes_mend;
mod notes_unstored;
mod notices;
mod notify;
mod output;
mod private;
mod pty;
mod read;
mod readme;
mod repositories;
mod requests;
mod resources;
mod run;
mod screens;
mod shell;
mod signals;
mod slots;
mod snapshot;
mod stages;
mod stats;
mod storm;
mod submodules;
mod submodules_any;
mod submodules_bytes;
mod support;
mod survivors;
mod terminals;
mod trace;
mod usage;

mod wait;
mod watch;
mod watch_faults;
mod watch_remote;
mod watch_soak;
mod watch_spool;
