//! What the user says about colours: `--color`, else git's `color.ci` and `color.ui`.
//! What comes of it is up to [`printer`].

use clap::ValueEnum;

use crate::error::Failure;
use crate::git::Repo;
use crate::printer;

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::commands) enum When {
    /// Even into a file or a pipe.
    Always,
    /// On a terminal that can, unless NO_COLOR is set.
    Auto,
    /// Not at all.
    Never,
}

/// The option that every command with output for people has.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(in crate::commands) struct ColorArgs {
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

impl ColorArgs {
    /// Asks the option, then the configuration; messages on standard error follow, too.
    ///
    /// # Errors
    /// Where the configuration says something that is neither a boolean nor a [`When`].
    pub(in crate::commands) fn resolve(self, repo: &Repo) -> Result<(), Failure> {
        let when = match self.color {
            Some(when) => when,
            None => configured(repo)?,
        };
        printer::set_colors(match when {
            When::Always => printer::When::Always,
            When::Auto => printer::When::Auto,
            When::Never => printer::When::Never,
        });
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_reads_as_git_reads_it() {
        assert_eq!(parse("true"), Some(When::Auto));
        assert_eq!(parse("Always"), Some(When::Always));
        assert_eq!(parse("off"), Some(When::Never));
        assert_eq!(parse("perhaps"), None);
    }
}
