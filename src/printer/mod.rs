//! The one way out: standard output and standard error.
//!
//! Nothing else in the crate writes to either; a test reads the sources. So two things
//! hold for all that the program says, whoever says it:
//!
//! - *Escaped.* Text gets out through the escaper of [`model`](crate::model), as text or
//!   as JSON. What came from outside was made safe where it was put into a sentence;
//!   what nobody thought of is made safe here. Only our own styles get through, and what
//!   a display does with the cursor by [`control`]. Logs that somebody asks for as they
//!   are go by [`raw`].
//! - *Never waited for by a run.* Before [`relay`] a write is a write, and waits for
//!   whoever reads, as with any program. From then on writing never waits: a thread of
//!   its own writes, and what a reader does not take is kept in order, beyond a bound in
//!   an unlinked file. So a reader that stops reading delays what it is shown, and
//!   nothing else. [`drain`] waits for what is on its way.

mod backlog;
mod color;
mod queue;

use std::io::{self, IsTerminal as _};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::model::{printable_json, printable_styled};

pub(crate) use color::{When, colors, set_colors, wanted};
use queue::Queue;

/// Where text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output: results.
    Out,
    /// Standard error: all else.
    Err,
}

impl Stream {
    fn index(self) -> usize {
        match self {
            Self::Out => 0,
            Self::Err => 1,
        }
    }

    fn fd(self) -> BorrowedFd<'static> {
        match self {
            Self::Out => rustix::stdio::stdout(),
            Self::Err => rustix::stdio::stderr(),
        }
    }

    /// Whether it is a terminal.
    pub(crate) fn is_terminal(self) -> bool {
        self.fd().is_terminal()
    }

    /// Whether it is a terminal on which the cursor can be moved, and a person looks at it.
    pub(crate) fn has_cursor(self) -> bool {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if ["CI", "AI_AGENT"].into_iter().any(is_set) {
            return false;
        }
        let able = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        able && self.is_terminal()
    }

    /// Rows and columns of the terminal; `None` where it is none, or does not tell.
    pub(crate) fn window(self) -> Option<(usize, usize)> {
        let size = rustix::termios::tcgetwinsize(self.fd()).ok()?;
        let known = size.ws_row > 0 && size.ws_col > 0;
        known.then(|| (size.ws_row.into(), size.ws_col.into()))
    }

    /// Whether whoever read it has closed it.
    pub(crate) fn is_closed(self) -> bool {
        let mut polled = [PollFd::from_borrowed_fd(self.fd(), PollFlags::empty())];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // A pipe without a reader is an error, a closed terminal a hang-up.
        poll(&mut polled, Some(&now)).is_ok()
            && (polled[0].revents()).intersects(PollFlags::ERR | PollFlags::HUP)
    }

    /// The descriptor itself, for a program that speaks a protocol on it.
    pub(crate) fn descriptor(self) -> BorrowedFd<'static> {
        self.fd()
    }
}

/// How long somebody waits at most who cannot wait for a reader.
const TIMEOUT: Duration = Duration::from_millis(200);

/// The queues of both streams, once there are any; the same one where both go to one
/// place, so that their order there is the order in which things were said.
static QUEUES: OnceLock<[Arc<Queue>; 2]> = OnceLock::new();

/// Keeps lines whole that several threads write.
static TURN: Mutex<()> = Mutex::new(());

static IMPATIENT: AtomicBool = AtomicBool::new(false);

/// Writes text with styles, which are taken out where no colours are wanted.
///
/// # Errors
/// Those of writing, a closed pipe included; none from [`relay`] on.
pub(crate) fn text(to: Stream, text: &str) -> io::Result<()> {
    let colors = text.contains('\x1b') && colors(to);
    raw(to, printable_styled(text, colors).as_bytes())
}

/// Writes lines of JSON to standard output.
///
/// # Errors
/// As [`text`].
pub(crate) fn json(lines: String) -> io::Result<()> {
    raw(Stream::Out, printable_json(lines).as_bytes())
}

/// Writes bytes as they are.
///
/// # Errors
/// As [`text`].
pub(crate) fn raw(to: Stream, bytes: &[u8]) -> io::Result<()> {
    if let Some(queues) = QUEUES.get() {
        queues[to.index()].push(to, bytes);
        return Ok(());
    }
    let impatient = IMPATIENT.load(Ordering::Relaxed) && to == Stream::Err;
    let timeout = impatient.then_some(TIMEOUT);
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    write_now(to, bytes, timeout)
}

/// What a display does with a terminal besides writing text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// So many lines up.
    Up(usize),
    /// To the beginning of the line.
    Begin,
    /// Nothing on the line from here on.
    ClearRest,
    /// Nothing from here on, in this line and below.
    ClearBelow,
    /// The bell.
    Bell,
}

impl Control {
    /// What a terminal takes for it.
    pub(crate) fn sequence(self) -> String {
        match self {
            Self::Up(0) => String::new(),
            Self::Up(count) => format!("\x1b[{count}A"),
            Self::Begin => "\r".to_owned(),
            Self::ClearRest => "\x1b[K".to_owned(),
            Self::ClearBelow => "\x1b[J".to_owned(),
            Self::Bell => "\x07".to_owned(),
        }
    }
}

/// Lets the terminal at standard error do something.
pub(crate) fn control(what: Control) {
    // There is nobody to tell when it is closed.
    let _ = raw(Stream::Err, what.sequence().as_bytes());
}

/// From now on writing never waits. Where no thread can be had it waits as before.
pub(crate) fn relay() {
    if QUEUES.get().is_some() {
        return;
    }
    let start = || -> io::Result<[Arc<Queue>; 2]> {
        let first = Queue::start()?;
        let second = if same_place() {
            Arc::clone(&first)
        } else {
            Queue::start()?
        };
        Ok([first, second])
    };
    if let Ok(queues) = start() {
        let _ = QUEUES.set(queues);
    }
}

/// Whether both streams are one file, pipe or terminal.
fn same_place() -> bool {
    let place =
        |stream: Stream| rustix::fs::fstat(stream.fd()).map(|stat| (stat.st_dev, stat.st_ino));
    place(Stream::Out).is_ok_and(|out| place(Stream::Err) == Ok(out))
}

/// How many bytes are on their way and not written yet.
pub(crate) fn unwritten(to: Stream) -> u64 {
    QUEUES
        .get()
        .map_or(0, |queues| queues[to.index()].unwritten())
}

/// Waits until all that was said is written, for as long as `hurry` says no; then only
/// while readers take something every moment, and no longer than a second. Says what was
/// wrong with standard output; that it was closed is no error.
///
/// # Errors
/// Those of writing to standard output.
pub(crate) fn drain(hurry: &dyn Fn() -> bool) -> io::Result<()> {
    let Some([out, err]) = QUEUES.get() else {
        return Ok(());
    };
    out.drain(hurry);
    err.drain(hurry);
    out.failure(Stream::Out).map_or(Ok(()), Err)
}

/// Waits for what was said until now, but only for a moment.
pub(crate) fn settle() {
    for queue in QUEUES.get().into_iter().flatten() {
        queue.wait(TIMEOUT);
    }
}

/// From now on nobody waits long for whoever reads standard error: what is said there is
/// not worth it.
pub(crate) fn be_impatient() {
    IMPATIENT.store(true, Ordering::Relaxed);
}

/// Writes to standard error from wherever the program has gone wrong: in whatever state
/// all else is, it waits for nobody for long.
pub(crate) fn emergency(message: &str) {
    let safe = printable_styled(message, colors(Stream::Err));
    let queued = QUEUES
        .get()
        .is_some_and(|queues| queues[1].try_push(Stream::Err, safe.as_bytes()));
    if !queued {
        let _ = write_now(Stream::Err, safe.as_bytes(), Some(TIMEOUT));
    }
}

/// Writes all of `bytes`, or as much as goes until nothing can be written for `timeout`.
fn write_now(to: Stream, mut bytes: &[u8], timeout: Option<Duration>) -> io::Result<()> {
    while !bytes.is_empty() {
        if timeout.is_some() {
            wait_writable(to, timeout)?;
        }
        // At most what a pipe takes at once where it takes something.
        let piece = match timeout {
            Some(_) => &bytes[..bytes.len().min(4096)],
            None => bytes,
        };
        match rustix::io::write(to.fd(), piece) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            // Somebody who has the same terminal or pipe has made it so.
            Err(Errno::AGAIN) => wait_writable(to, timeout)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn wait_writable(to: Stream, timeout: Option<Duration>) -> io::Result<()> {
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    let mut polled = [PollFd::from_borrowed_fd(to.fd(), PollFlags::OUT)];
    match poll(&mut polled, timeout.as_ref()) {
        Ok(0) => Err(io::ErrorKind::TimedOut.into()),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
