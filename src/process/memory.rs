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

use signal_hook::consts::SIGABRT;
use signal_hook::low_level;

/// The exit code of a run that came to no verdict.
const NO_VERDICT: i32 = 125;

const MESSAGE: &[u8] = b"error: failed to get the memory that this takes\n\
    hint: `ulimit -v` shows a limit; -j1 takes less\n";

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
        if EXHAUSTED.load(Ordering::Relaxed) {
            // What it started sees its input end. There is nobody to tell where this fails.
            let _ = rustix::io::write(rustix::stdio::stderr(), MESSAGE);
            low_level::exit(NO_VERDICT);
        }
    };
    // SAFETY: the handler reads an atomic, writes to a descriptor and exits, all of which
    // is allowed in a signal handler.
    unsafe { low_level::register(SIGABRT, handler) }.map(|_| ())
}
