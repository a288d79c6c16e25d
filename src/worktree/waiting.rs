//! Waiting for what others do: until nobody begins a task, until nothing of a dead run
//! is left.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::private;

use super::LeaseError;
use super::state::{self, Holder, holders, try_lock};

/// How long an agent whose dispatcher is dead may take to end by itself before it is
/// killed: as long as the kernel may take for its jobs.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(15);

/// How long it may take to disappear after that.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait for a moment without new tasks.
const STANDSTILL_TIMEOUT: Duration = Duration::from_secs(2);

/// Nobody can lease a slot until this is dropped.
#[derive(Debug)]
pub(crate) struct Standstill {
    _tickets: Vec<File>,
    /// Who has a slot meanwhile.
    pub holders: Vec<(u32, Holder)>,
}

/// Keeps new tasks from beginning, for the moment that it takes to move something out of
/// their way; `None` where somebody is waiting for a slot and keeps the ticket.
///
/// # Errors
/// Where locks cannot be made.
pub(crate) fn standstill(ci_dir: &Path) -> io::Result<Option<Standstill>> {
    private::dir_in(ci_dir, state::locks_name(ci_dir))?;
    let start = Instant::now();
    let mut tickets = Vec::new();
    for locks in state::all_locks(ci_dir) {
        loop {
            if let Some(ticket) = try_lock(&locks.join("ticket"))? {
                tickets.push(ticket);
                break;
            }
            if start.elapsed() > STANDSTILL_TIMEOUT {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(Some(Standstill {
        _tickets: tickets,
        holders: holders(ci_dir),
    }))
}

/// Waits until no agent of a dead dispatcher is still ending its jobs, so that nothing
/// is started beside what is about to be killed. One that does not end is killed. What
/// works for a dispatcher that cannot be seen from here is none of our business: its
/// agents will hear of its end.
///
/// # Errors
/// Where an agent cannot be killed.
pub(crate) fn wait_for_orphans(ci_dir: &Path) -> Result<(), LeaseError> {
    let start = Instant::now();
    loop {
        let orphan = holders(ci_dir)
            .into_iter()
            .find(|(_, holder)| is_orphan(holder));
        let Some((slot, holder)) = orphan else {
            return Ok(());
        };
        if start.elapsed() > ORPHAN_TIMEOUT {
            holder.agent().kill_tree();
        } else {
            end_orphan(&holder);
        }
        if start.elapsed() > ORPHAN_TIMEOUT + KILL_TIMEOUT {
            let message = format!("process {} still holds slot {slot}", holder.pid);
            return Err(LeaseError::Orphans(io::Error::new(
                io::ErrorKind::TimedOut,
                message,
            )));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether an agent works for nobody any more. That of another user is that user's to end.
fn is_orphan(holder: &Holder) -> bool {
    holder.works_for().lives() == Some(false) && holder.agent().is_own()
}

/// Kills an agent that works for nobody any more and cannot end by itself, since it is
/// stopped.
pub(super) fn end_orphan(holder: &Holder) {
    if is_orphan(holder) && holder.agent().is_stopped() {
        holder.agent().kill_tree();
    }
}
