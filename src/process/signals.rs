//! Signals that end or stop this process, told to whoever can act on them.
//!
//! One thread hears them for as long as the process lives. Where nobody listens (before a
//! run, after it, in commands that have none) a signal does what it does by default, but
//! takes along what this process has started in sessions of their own: a Ctrl-C does not
//! reach it there.
//!
//! **One Ctrl-C is one signal.** `git` runs `git-ci` as its child and sends it each signal
//! that it gets itself, once for each number. What a terminal sends to its foreground group
//! reaches both, and so comes twice, within a millisecond or, on a busy machine, much
//! later. The kernel says who sent a signal, so the two are told apart from two keystrokes:
//! what comes from the parent, after the same signal from somebody else, is its echo. So
//! it is with other programs that pass signals on (`npm`, `timeout`).

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithRawSiginfo;

use super::{adopted, sys};

/// How long after a signal its echo may come.
const ECHO: Duration = Duration::from_secs(1);

/// How long before the signal that both got: the parent was quicker, no more.
const FORE_ECHO: Duration = Duration::from_millis(50);

/// How long what was started gets to tidy up where nobody listens.
const GRACE: Duration = Duration::from_secs(1);

/// A signal that came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived {
    /// Its number.
    pub signal: i32,
    /// When.
    pub at: Instant,
}

type Listener = Box<dyn FnMut(Arrived) -> bool + Send>;

/// Who listens, and whether there is the thread that tells them.
struct Office {
    open: bool,
    listener: Option<Listener>,
}

static OFFICE: Mutex<Office> = Mutex::new(Office {
    open: false,
    listener: None,
});

fn office() -> MutexGuard<'static, Office> {
    OFFICE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Somebody listens while this lives.
#[derive(Debug)]
pub(crate) struct Listening(());

impl Drop for Listening {
    fn drop(&mut self) {
        office().listener = None;
    }
}

/// Has `told` called for `SIGHUP`, `SIGINT`, `SIGQUIT`, `SIGTERM` and `SIGTSTP`, except for
/// those that the caller of this process had ignored (`nohup`, a shell's `&`). Where it
/// returns `false` the signal does what it does where nobody listens.
///
/// # Errors
/// Where handlers cannot be set.
pub(crate) fn listen(told: impl FnMut(Arrived) -> bool + Send + 'static) -> io::Result<Listening> {
    take_along_what_was_started()?;
    office().listener = Some(Box::new(told));
    Ok(Listening(()))
}

/// Has signals that end this process end what it started, too.
///
/// # Errors
/// Where handlers cannot be set.
pub(crate) fn take_along_what_was_started() -> io::Result<()> {
    let mut office = office();
    if office.open {
        return Ok(());
    }
    let ignored = ignored();
    let wanted = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP]
        .into_iter()
        .filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let signals = SignalsInfo::<WithRawSiginfo>::new(wanted)?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || hear(signals))?;
    office.open = true;
    Ok(())
}

fn hear(mut signals: SignalsInfo<WithRawSiginfo>) {
    let mut echoes = Echoes::default();
    for info in signals.forever() {
        let arrived = Arrived {
            signal: info.si_signo,
            at: Instant::now(),
        };
        let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
        if echoes.is_echo(arrived, sys::sender(&info), parent) {
            continue;
        }
        let heard = match &mut office().listener {
            Some(listener) => listener(arrived),
            None => false,
        };
        if !heard {
            by_default(arrived.signal);
        }
    }
}

/// Does what `signal` does by default.
fn by_default(signal: i32) {
    if signal == SIGTSTP {
        return stop();
    }
    adopted::end_started(GRACE);
    // It does not return.
    let _ = signal_hook::low_level::emulate_default_handler(signal);
}

/// Stops this process as `SIGTSTP` does, until it is continued. Where nobody could continue
/// it, as at a terminal that a shell does not look after, it goes on at once.
pub(crate) fn stop() {
    // Without it there is no stop, and nothing worse.
    let _ = sys::take_default_action(SIGTSTP);
}

/// The mask of signals that are ignored; empty where the system does not tell.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

/// Tells the echo of a signal from another one.
#[derive(Debug, Default)]
struct Echoes {
    /// The last one of each number that counted, with the process that sent it; no
    /// process is the kernel, which speaks for the terminal.
    last: HashMap<i32, (Option<i32>, Instant)>,
}

impl Echoes {
    fn is_echo(&mut self, arrived: Arrived, sender: Option<i32>, parent: Option<i32>) -> bool {
        let Arrived { signal, at } = arrived;
        let (from_parent, known) = (sender.is_some() && sender == parent, self.last.get(&signal));
        if let Some(&(before, then)) = known
            && before != sender
        {
            let apart = at.saturating_duration_since(then);
            let to_parent_first = before.is_some() && before == parent;
            if from_parent && apart < ECHO || to_parent_first && apart < FORE_ECHO {
                return true;
            }
        }
        self.last.insert(signal, (sender, at));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_is_what_the_parent_passes_on() {
        let (terminal, git, other) = (None, Some(7), Some(8));
        // Milliseconds, sender, and whether it counts.
        let cases: [&[(u64, Option<i32>, bool)]; 8] = [
            // Two keystrokes, of which git passes on the first.
            &[(0, terminal, true), (1, git, false), (150, terminal, true)],
            &[
                (0, terminal, true),
                (150, terminal, true),
                (700, git, false),
            ],
            // git was quicker.
            &[(0, git, true), (1, terminal, false), (150, terminal, true)],
            // Only git was asked, and then somebody presses a key.
            &[(0, git, true), (150, terminal, true)],
            // Somebody signals the group, or both one after the other.
            &[(0, other, true), (3, git, false)],
            // The same process twice, and two processes: each means it.
            &[(0, other, true), (1, other, true)],
            &[(0, other, true), (1, Some(9), true)],
            // Long after, git is asked, too.
            &[(0, other, true), (2000, git, true)],
        ];
        for case in cases {
            let mut echoes = Echoes::default();
            let start = Instant::now();
            for &(ms, sender, counts) in case {
                let at = start + Duration::from_millis(ms);
                let arrived = Arrived { signal: SIGINT, at };
                assert_eq!(
                    !echoes.is_echo(arrived, sender, git),
                    counts,
                    "{case:?} at {ms}"
                );
            }
            // Another signal is another matter.
            let at = start + Duration::from_millis(2);
            let other = Arrived {
                signal: SIGTERM,
                at,
            };
            assert!(!echoes.is_echo(other, git, git));
        }
    }
}
