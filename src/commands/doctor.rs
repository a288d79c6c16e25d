//! `git ci doctor`: what is wrong with a set-up, and the command that mends it.
//!
//! It looks and changes nothing. It must work where other commands fail: without a
//! repository, with a broken jobs file, with settings that make no sense. So every check
//! stands for itself, and what one cannot find out is a finding and not an error.

use std::process::ExitCode;

use anstyle::{AnsiColor, Style};

use crate::error::Failure;
use crate::git::Repo;
use crate::model::{JSON_FORMAT, printable, printable_line};

use crate::upkeep::doctor::{self, Finding, Severity};

use super::ui::lines::Line;
use super::ui::open_help::has_page;
use super::ui::{color, output};

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

/// Looks at everything that can be looked at.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    let repo = Repo::discover();
    let findings = doctor::examine(repo.as_ref(), || has_page("git-ci"));
    let wrong = findings
        .iter()
        .filter(|finding| finding.severity < Severity::Info)
        .count();
    if args.json {
        print_json(&findings, wrong)?;
    } else {
        if let Ok(repo) = &repo {
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
