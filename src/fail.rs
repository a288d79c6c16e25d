//! Fail points: places where a test makes the program die as if by `kill -9`, or panic.
//!
//! `GIT_CI_FAIL_POINT=NAME` ends the process the first time it comes to the point of that
//! name, `NAME:N` the Nth time; with `GIT_CI_FAIL_HOW=panic` the thread panics. Only debug builds look; in a release build nothing is left
//! of it.

/// How long to wait where it should be for `pause`: a hundredth of that where a test says so by
/// `GIT_CI_FAIL_PAUSES=short`, in debug builds.
pub(crate) fn pause(pause: std::time::Duration) -> std::time::Duration {
    #[cfg(debug_assertions)]
    if std::env::var_os("GIT_CI_FAIL_PAUSES").is_some_and(|value| value == "short") {
        return pause / 100;
    }
    pause
}

/// Dies here, if a test wants that.
#[inline]
pub(crate) fn point(name: &str) {
    #[cfg(debug_assertions)]
    armed::point(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static WANTED: OnceLock<Option<(String, AtomicU32)>> = OnceLock::new();

    pub(super) fn point(name: &str) {
        let wanted = WANTED.get_or_init(|| {
            let wanted = std::env::var("GIT_CI_FAIL_POINT").ok()?;
            let (name, count) = wanted.split_once(':').unwrap_or((&wanted, "1"));
            Some((name.to_owned(), AtomicU32::new(count.parse().ok()?)))
        });
        if let Some((wanted, left)) = wanted
            && wanted == name
            && left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            match std::env::var("GIT_CI_FAIL_HOW").as_deref() {
                Ok("panic") => panic!("a test wants \u{9b}31m\n{name} to fail"),
                _ => std::process::abort(),
            }
        }
    }
}
