//! `git ci doctor`: what is wrong with a set-up, and the command that mends it.
//!
//! It looks and changes nothing. It must work where other commands fail: without a
//! repository, with a broken jobs file, with settings that make no sense. So every check
//! stands for itself, and what one cannot find out is a finding and not an error.

mod locks;
mod machine;
mod repository;
mod results;

use std::process::ExitCode;

use anstyle::{AnsiColor, Style};

use crate::error::Failure;
use crate::git::{Repo, RepoError};
use crate::model::{JSON_FORMAT, printable, printable_line};

use super::lines::{Finding, Line, Severity};
use super::{color, output};

/// Look for what is wrong with this set-up, and name the command that mends it.
///
/// Looks at git, the machine, the repository, the settings, the jobs file, the worktrees
/// and the notes. Changes nothing. Exits with 0 where nothing is wrong and with 1 where
/// something is; what is merely worth knowing does not count.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print findings as JSON, one a line.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    color: color::ColorArgs,
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

/// Looks at everything that can be looked at.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    let mut findings = Findings::default();
    machine::check(&mut findings);
    let repo = match Repo::discover() {
        Ok(repo) => Some(repo),
        Err(error) => {
            no_repository(&error, &mut findings);
            None
        }
    };
    if let Some(repo) = &repo {
        repository::check(repo, &mut findings);
        results::check(repo, &mut findings);
    }
    let mut findings = findings.0;
    findings.sort_by_key(|finding| finding.severity);
    let wrong = findings
        .iter()
        .filter(|finding| finding.severity < Severity::Info)
        .count();
    if args.json {
        print_json(&findings, wrong)?;
    } else {
        if let Some(repo) = &repo {
            // A bad color.ui is not worth failing for here.
            let _ = args.color.resolve(repo);
        }
        print(&findings)?;
        match wrong {
            0 => output::note("nothing is wrong"),
            1 => output::note("1 thing is wrong"),
            _ => output::note(&format!("{wrong} things are wrong")),
        }
    }
    Ok(ExitCode::from(u8::from(wrong > 0)))
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
    let mut text = format!("failed to {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

/// An argument of a command that a shell is to read.
fn quote(text: impl AsRef<std::path::Path>) -> String {
    let text = text.as_ref().display().to_string();
    shell_words::quote(&printable_line(text.as_bytes())).into_owned()
}

fn print(findings: &[Finding]) -> Result<(), Failure> {
    let mut text = String::new();
    for finding in findings {
        let (color, word) = match finding.severity {
            Severity::Error => (AnsiColor::Red, "error"),
            Severity::Warning => (AnsiColor::Yellow, "warning"),
            Severity::Info => (AnsiColor::Cyan, "info"),
        };
        let style = Style::new().bold().fg_color(Some(color.into()));
        let message = printable(finding.message.as_bytes()).replace('\n', "\n  ");
        text += &format!("{style}{word}:{style:#} {}: {message}\n", finding.check);
        for command in &finding.fix {
            text += &format!("    {}\n", printable_line(command.as_bytes()));
        }
    }
    output::print(&text)
}

fn print_json(findings: &[Finding], wrong: usize) -> Result<(), Failure> {
    let first = Line::Doctor {
        format: JSON_FORMAT,
    };
    let mut text = first.render();
    text.extend(findings.iter().map(|one| Line::Finding(one).render()));
    text += &Line::DoctorFinished { wrong }.render();
    output::print_json(text)
}
