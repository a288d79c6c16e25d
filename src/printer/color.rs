//! Whether output has colours: the one place that decides.
//!
//! Text is made with colours everywhere, and they are taken out where none are wanted.
//! Who has a say, first to last: what [`set_colors`] was given (`--color`, and git's
//! `color.ci` and `color.ui` where they say "always" or "never"); `NO_COLOR`,
//! `CLICOLOR_FORCE` and `CLICOLOR` (<https://no-color.org>: configuration and options
//! override the variable); `TERM=dumb`; and whether a person is looking.

use std::env;
use std::sync::atomic::{AtomicU8, Ordering};

use super::Stream;

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Even into a file or a pipe.
    Always,
    /// On a terminal that can, unless NO_COLOR is set.
    Auto,
    /// Not at all.
    Never,
}

static WHEN: AtomicU8 = AtomicU8::new(When::Auto as u8);

/// Decides for the whole program, as far as it can be decided without knowing the stream.
pub(crate) fn set_colors(when: When) {
    WHEN.store(when as u8, Ordering::Relaxed);
}

/// Whether text on a stream has colours.
pub(crate) fn colors(on: Stream) -> bool {
    wanted(on.is_terminal())
}

/// Whether to use colours on something that a person looks at (`watched`) or not.
pub(crate) fn wanted(watched: bool) -> bool {
    let when = match WHEN.load(Ordering::Relaxed) {
        when if when == When::Always as u8 => When::Always,
        when if when == When::Never as u8 => When::Never,
        _ => When::Auto,
    };
    decide(when, watched, |name| env::var(name).ok())
}

fn decide(when: When, watched: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name| variable(name).is_some_and(|value| !value.is_empty());
    let not_zero = |name| variable(name).map(|value| value != "0");
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto => {
            if set("NO_COLOR") {
                false
            } else if set("CLICOLOR_FORCE") && not_zero("CLICOLOR_FORCE") == Some(true) {
                true
            } else {
                watched
                    && not_zero("CLICOLOR") != Some(false)
                    && variable("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_count_in_their_order() {
        let with = |when, watched, set: &[(&str, &str)]| {
            decide(when, watched, |name| {
                let found = set.iter().find(|(n, _)| *n == name);
                found
                    .map(|(_, value)| (*value).to_owned())
                    .or_else(|| (name == "TERM").then(|| "xterm".to_owned()))
            })
        };
        assert!(with(When::Auto, true, &[]));
        assert!(!with(When::Auto, false, &[]));
        assert!(!with(When::Auto, true, &[("NO_COLOR", "1")]));
        assert!(with(When::Auto, true, &[("NO_COLOR", "")]));
        assert!(with(When::Auto, false, &[("CLICOLOR_FORCE", "1")]));
        assert!(!with(When::Auto, false, &[("CLICOLOR_FORCE", "0")]));
        assert!(!with(
            When::Auto,
            true,
            &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]
        ));
        assert!(!with(When::Auto, true, &[("CLICOLOR", "0")]));
        assert!(!with(When::Auto, true, &[("TERM", "dumb")]));
        assert!(with(When::Always, false, &[("NO_COLOR", "1")]));
        assert!(!with(When::Never, true, &[("CLICOLOR_FORCE", "1")]));
    }
}
