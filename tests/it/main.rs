//! The integration tests: one binary, one module a subject. Everything here runs the
//! real program on real repositories.
#![expect(
    clippy::unwrap_used,
    reason = "a test says by panicking what went wrong"
)]

mod beds;
mod fault;
mod hosts;
mod hosts_fault;
mod hosts_net;
mod hosts_slurm;
mod run;
mod support;
