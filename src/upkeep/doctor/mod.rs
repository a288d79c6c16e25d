//! What is wrong with a set-up, and the command that mends it.
//!
//! Looks and changes nothing. It must work where commands fail: without a repository, with a
//! broken jobs file, with settings that make no sense. So every check stands for itself, and
//! what one cannot find out is a finding and not an error.

mod locks;
mod machine;
mod repository;
mod results;

use serde::Serialize;

use crate::git::{Repo, RepoError};
use crate::model::printable_line;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// git-ci does not work.
    Error,
    /// It works, and something will go wrong, or has.
    Warning,
    /// Worth knowing.
    Info,
}

/// One thing that `doctor` found.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about, one word, for programs.
    pub check: &'static str,
    /// What it is, for people.
    pub message: String,
    /// Commands that mend it, in order; text from outside in them is quoted.
    pub fix: Vec<String>,
}

/// What was found so far.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(
        &mut self,
        severity: Severity,
        check: &'static str,
        message: impl Into<String>,
        fix: &[&str],
    ) {
        self.0.push(Finding {
            severity,
            check,
            message: message.into(),
            fix: fix.iter().map(|&command| command.to_owned()).collect(),
        });
    }

    fn error(&mut self, check: &'static str, message: impl Into<String>, fix: &[&str]) {
        self.add(Severity::Error, check, message, fix);
    }

    fn warning(&mut self, check: &'static str, message: impl Into<String>, fix: &[&str]) {
        self.add(Severity::Warning, check, message, fix);
    }

    fn info(&mut self, check: &'static str, message: impl Into<String>, fix: &[&str]) {
        self.add(Severity::Info, check, message, fix);
    }
}

/// Looks at everything that can be looked at; the worst comes first. `repo` is what there is
/// where this process is, `has_page` says whether man(1) finds the page of git-ci.
pub(crate) fn examine(
    repo: Result<&Repo, &RepoError>,
    has_page: impl Fn() -> bool,
) -> Vec<Finding> {
    let mut findings = Findings::default();
    machine::check(&mut findings, has_page);
    match repo {
        Ok(repo) => {
            repository::check(repo, &mut findings);
            results::check(repo, &mut findings);
        }
        Err(error) => no_repository(error, &mut findings),
    }
    let mut findings = findings.0;
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// Why there is no repository to look at; git itself was looked at before.
fn no_repository(error: &RepoError, findings: &mut Findings) {
    let message = with_causes(error);
    match error {
        RepoError::Git(_) | RepoError::Quarantine { .. } => {}
        RepoError::NotHere { message: said } => {
            // git names the command itself where it does not trust the owner.
            let trust = said
                .lines()
                .map(str::trim)
                .find(|line| line.starts_with("git config"));
            let fix = trust.unwrap_or("git init");
            findings.error("repository", message, &[fix]);
        }
        RepoError::Open { .. } => findings.error("repository", message, &["git fsck"]),
    }
}

/// "failed to `error`: cause: cause".
fn with_causes(error: &dyn std::error::Error) -> String {
    format!("failed to {}", crate::error::with_causes(error))
}

/// An argument of a command that a shell is to read.
fn quote(text: impl AsRef<std::path::Path>) -> String {
    let text = text.as_ref().display().to_string();
    shell_words::quote(&printable_line(text.as_bytes())).into_owned()
}
