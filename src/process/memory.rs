//! What becomes of this process when there is no memory left.
//!
//! The standard library says how much it asked for and aborts, which looks like a bug. It
//! is the machine, or a limit that the user has set: the process ends with the exit code
//! that says so.

#![expect(
    unsafe_code,
    reason = "an allocator and a signal handler have no safe form; each block says why it is sound"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::mm::{self, MapFlags, ProtFlags};
use signal_hook::consts::SIGABRT;
use signal_hook::low_level;

/// The exit code of a run that came to no verdict.
const NO_VERDICT: i32 = 125;

const MESSAGE: &[u8] = b"error: failed to get the memory that this takes\n\
    hint: `ulimit -v` shows a limit; -j1 takes less\n";

/// Where less than this is to be had, in bytes, an abort is for want of memory: the C library's
/// heap and the start of unwinding ask for less, and do not tell us when they get none.
const LITTLE: usize = 8 << 20;

/// Memory was asked for in vain.
static EXHAUSTED: AtomicBool = AtomicBool::new(false);

/// The system's allocator, which remembers that it had nothing to give.
struct Remembering;

#[global_allocator]
static ALLOCATOR: Remembering = Remembering;

fn remember(given: *mut u8) -> *mut u8 {
    if given.is_null() {
        EXHAUSTED.store(true, Ordering::Relaxed);
    }
    given
}

// SAFETY: every call is passed on as it is, and so is what comes of it.
unsafe impl GlobalAlloc for Remembering {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        remember(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        remember(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        remember(unsafe { System.realloc(block, layout, size) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Has an abort for want of memory end this process with the exit code of a run without a
/// verdict; any other abort is what it was.
///
/// # Errors
/// Where the handler cannot be set.
pub(super) fn end_well_without_memory() -> std::io::Result<()> {
    let handler = || {
        if EXHAUSTED.load(Ordering::Relaxed) || !is_to_be_had(LITTLE) {
            // What it started sees its input end. There is nobody to tell where this fails.
            let _ = rustix::io::write(rustix::stdio::stderr(), MESSAGE);
            low_level::exit(NO_VERDICT);
        }
    };
    // SAFETY: the handler reads an atomic, calls the system and exits, all of which is
    // allowed in a signal handler.
    unsafe { low_level::register(SIGABRT, handler) }.map(|_| ())
}

/// Whether so many bytes can be had from the system, which is asked and nobody else.
fn is_to_be_had(bytes: usize) -> bool {
    // SAFETY: it is a mapping of its own, anywhere, that nobody else knows of.
    let mapped = unsafe {
        mm::mmap_anonymous(
            std::ptr::null_mut(),
            bytes,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )
    };
    // SAFETY: it is what was mapped above, and nothing was put there.
    mapped.is_ok_and(|at| unsafe { mm::munmap(at, bytes) }.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_had_is_told_from_what_cannot() {
        assert!(is_to_be_had(LITTLE));
        assert!(!is_to_be_had(1 << 60));
    }
}
