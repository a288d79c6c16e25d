//! Locks on open files and directories (flock(2)): advisory, between processes, and
//! released by death, so that nothing that died holds anything.
//!
//! Where the file system has none, each function says so by an error, and its caller what that
//! means.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_millis(5);

/// Locks a file against everybody else; `false` where somebody has it. Never waits.
///
/// # Errors
/// Where the file system has no locks.
pub(crate) fn try_exclusive(file: &File) -> io::Result<bool> {
    once(|| file.try_lock())
}

/// Locks a file against those who want it alone; `false` where somebody has it so. Never
/// waits. Makes one's own exclusive lock a shared one.
///
/// # Errors
/// As for [`try_exclusive`].
pub(crate) fn try_shared(file: &File) -> io::Result<bool> {
    once(|| file.try_lock_shared())
}

fn once(lock: impl Fn() -> Result<(), TryLockError>) -> io::Result<bool> {
    loop {
        match lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Waits until nobody else has a lock on a file, and locks it.
///
/// # Errors
/// As for [`try_exclusive`].
pub(crate) fn exclusive(file: &File) -> io::Result<()> {
    waiting(|| file.lock())
}

/// Waits until nobody has a file alone, and locks it against that.
///
/// # Errors
/// As for [`try_exclusive`].
pub(crate) fn shared(file: &File) -> io::Result<()> {
    waiting(|| file.lock_shared())
}

fn waiting(lock: impl Fn() -> io::Result<()>) -> io::Result<()> {
    loop {
        match lock() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Tries to lock a file until `deadline`; `false` where somebody has it for so long.
///
/// # Errors
/// As for [`try_exclusive`].
pub(crate) fn exclusive_until(file: &File, deadline: Instant) -> io::Result<bool> {
    let mut pause = Duration::from_micros(100);
    while !try_exclusive(file)? {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(pause);
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
    Ok(true)
}

/// Whether somebody has a file alone. Those who look do not see each other.
pub(crate) fn is_held(file: &File) -> bool {
    match try_shared(file) {
        Ok(true) => {
            // It is released with the file at the latest.
            let _ = file.unlock();
            false
        }
        Ok(false) => true,
        Err(_) => false,
    }
}

/// Whether a file that was opened is still what is at `path`: the lock of one that was removed
/// meanwhile says nothing.
///
/// # Errors
/// Where it cannot be looked at.
pub(crate) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(now) => Ok((now.dev(), now.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_alone_or_several_share_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let open = || {
            File::options()
                .create(true)
                .append(true)
                .open(&path)
                .unwrap()
        };
        let [one, two, three] = [open(), open(), open()];
        assert!(try_exclusive(&one).unwrap());
        assert!(!try_exclusive(&two).unwrap());
        assert!(!try_shared(&two).unwrap());
        assert!(is_held(&two));
        let begun = Instant::now();
        let deadline = begun + Duration::from_millis(20);
        assert!(!exclusive_until(&two, deadline).unwrap());
        assert!(begun.elapsed() >= Duration::from_millis(20));
        // Shared from now on, without a moment in which nobody has it.
        shared(&one).unwrap();
        assert!(try_shared(&two).unwrap());
        assert!(!try_exclusive(&three).unwrap());
        assert!(!is_held(&three));
        drop((one, two));
        exclusive(&three).unwrap();
    }

    #[test]
    fn a_file_that_is_not_there_any_more_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let file = File::create(&path).unwrap();
        assert!(is_at(&file, &path).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(!is_at(&file, &path).unwrap());
        File::create(&path).unwrap();
        assert!(!is_at(&file, &path).unwrap());
    }
}
