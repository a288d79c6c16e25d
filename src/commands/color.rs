//! Whether output has colours: the one place that decides.
//!
//! Text is made with colours everywhere, and the writer strips them where none are
//! wanted. Who has a say, first to last: `--color`; git's `color.ci` and `color.ui`
//! where they say "always" or "never"; `NO_COLOR`, `CLICOLOR_FORCE` and `CLICOLOR`
//! (<https://no-color.org>: configuration and options override the variable);
//! `TERM=dumb`; and whether a person is looking.

use std::env;

use clap::ValueEnum;

use crate::error::Failure;
use crate::git::Repo;

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum When {
    /// Even into a file or a pipe.
    Always,
    /// On a terminal that can, unless NO_COLOR is set.
    Auto,
    /// Not at all.
    Never,
}

/// The option that every command with output for people has.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct ColorArgs {
    /// When to use colours; color.ci and color.ui of git's configuration set the default.
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "always",
        hide_possible_values = true
    )]
    color: Option<When>,
}

/// The decision, as far as it can be made without knowing the stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Colors {
    when: When,
}

impl ColorArgs {
    /// Asks the option, then the configuration; messages on standard error follow, too.
    ///
    /// # Errors
    /// Where the configuration says something that is neither a boolean nor a [`When`].
    pub(super) fn resolve(self, repo: &Repo) -> Result<Colors, Failure> {
        let when = match self.color {
            Some(when) => when,
            None => configured(repo)?,
        };
        anstream::ColorChoice::write_global(match when {
            When::Always => anstream::ColorChoice::Always,
            When::Auto => anstream::ColorChoice::Auto,
            When::Never => anstream::ColorChoice::Never,
        });
        Ok(Colors { when })
    }
}

impl Colors {
    /// Whether to use colours on something that a person looks at (`watched`) or not.
    pub(super) fn wanted(self, watched: bool) -> bool {
        decide(self.when, watched, |name| env::var(name).ok())
    }
}

fn configured(repo: &Repo) -> Result<When, Failure> {
    for key in ["color.ci", "color.ui"] {
        if let Some(value) = repo.config(key) {
            return parse(value).ok_or_else(|| {
                Failure::fatal(format!("{key} is '{value}' in git's configuration"))
                    .hint(format!("git config {key} auto"))
            });
        }
    }
    Ok(When::Auto)
}

/// What git understands: a true boolean means "auto".
fn parse(value: &str) -> Option<When> {
    match value.to_ascii_lowercase().as_str() {
        "always" => Some(When::Always),
        "auto" | "true" | "yes" | "on" | "1" => Some(When::Auto),
        "never" | "false" | "no" | "off" | "0" | "" => Some(When::Never),
        _ => None,
    }
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

    #[test]
    fn configuration_reads_as_git_reads_it() {
        assert_eq!(parse("true"), Some(When::Auto));
        assert_eq!(parse("Always"), Some(When::Always));
        assert_eq!(parse("off"), Some(When::Never));
        assert_eq!(parse("perhaps"), None);
    }
}
