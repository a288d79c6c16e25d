//! What is said when a run is over: how many ended how, which failed and the command that
//! shows more of each, and what was not tested.

use std::fmt::Write as _;
use std::time::Duration;

use anstyle::Style;

use crate::model::{Counts, Event, JobName, Oid, Status, Uncommitted, Why};

use super::text::{counted, status_style, subject_text, summary_text, why_text};

/// No more failures are listed.
const LISTED: usize = 10;

/// A failure, and what shows more of it.
#[derive(Debug)]
struct Failed {
    commit: Oid,
    job: JobName,
    status: Status,
    why: Option<Why>,
    cached: bool,
    subject: String,
}

/// Gathers what is to be said at the end.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// The run has a plan. One that goes on for as long as somebody watches has none, and
    /// what failed long ago in it is no news.
    planned: bool,
    failed: Vec<Failed>,
    more: usize,
}

impl Closing {
    /// Takes note of an event.
    pub(super) fn note(&mut self, event: &Event) {
        match event {
            Event::RunStarted { commits, .. } => self.planned = *commits > 0,
            Event::TaskFinished {
                commit,
                job,
                status: Some(status @ (Status::Fail | Status::Error)),
                why,
                allowed: false,
                subject,
                // One that leaves no record is not found again by its commit and job.
                stored: Some(_),
                ..
            } => self.add(*commit, job, *status, *why, false, subject),
            Event::TaskReused {
                commit,
                job,
                status: status @ Status::Fail,
                why,
                allowed: false,
                subject,
                ..
            } => self.add(*commit, job, *status, *why, true, subject),
            _ => {}
        }
    }

    fn add(
        &mut self,
        commit: Oid,
        job: &JobName,
        status: Status,
        why: Option<Why>,
        cached: bool,
        subject: &str,
    ) {
        if !self.planned {
            return;
        }
        if self.failed.len() >= LISTED {
            self.more += 1;
            return;
        }
        self.failed.push(Failed {
            commit,
            job: job.clone(),
            status,
            why,
            cached,
            subject: subject.to_owned(),
        });
    }

    /// All lines, for a window of so many columns, without the last line feed.
    pub(super) fn text(
        &self,
        counts: &Counts,
        elapsed: Duration,
        uncommitted: Option<Uncommitted>,
        columns: Option<usize>,
    ) -> String {
        let mut text = summary_text(counts, elapsed);
        let commands: Vec<_> = self.failed.iter().map(Failed::command).collect();
        let width = commands.iter().map(String::len).max().unwrap_or(0);
        for (failed, command) in self.failed.iter().zip(&commands) {
            let style = status_style(Some(failed.status));
            let word = failed.status;
            let mut line = format!("  {command:<width$}  {style}{word:<5}{style:#} ");
            line += &failed.remarks();
            line += &subject_text(&failed.subject, &line, columns);
            let _ = write!(text, "\n{}", line.trim_end());
        }
        if self.more > 0 {
            let _ = write!(text, "\n  and {} more", self.more);
        }
        let dim = Style::new().dimmed();
        if let Some(command) = self.again() {
            let _ = write!(text, "\n{dim}cached; to run again:{dim:#} {command}");
        }
        if let Some(what) = uncommitted.and_then(not_tested) {
            let _ = write!(text, "\n{what}");
        }
        text
    }

    /// The command that runs again what failed before this run.
    fn again(&self) -> Option<String> {
        let cached: Vec<_> = self.failed.iter().filter(|failed| failed.cached).collect();
        Some(match cached.as_slice() {
            [] => return None,
            [one] => format!(
                "git ci run --force --job {} {}",
                quote(&one.job),
                one.commit.short()
            ),
            [first, rest @ ..] if rest.iter().all(|one| one.commit == first.commit) => {
                format!("git ci run --retry-failed {}", first.commit.short())
            }
            _ => "the same command with --retry-failed".to_owned(),
        })
    }
}

impl Failed {
    fn command(&self) -> String {
        format!("git ci logs {} {}", self.commit.short(), quote(&self.job))
    }

    /// Why it failed, in parentheses and with a space behind them.
    fn remarks(&self) -> String {
        let cached = self.cached.then(|| "cached".to_owned());
        let remarks: Vec<_> = self.why.map(why_text).into_iter().chain(cached).collect();
        if remarks.is_empty() {
            String::new()
        } else {
            format!("({}) ", remarks.join(", "))
        }
    }
}

/// A job's name as a word of a shell's command line: brackets mean something there.
fn quote(job: &JobName) -> String {
    shell_words::quote(job.as_str()).into_owned()
}

/// What was not tested; `None` where that is nothing.
fn not_tested(what: Uncommitted) -> Option<String> {
    let parts = [
        (what.changed, "changed file"),
        (what.untracked, "untracked file"),
    ];
    let parts: Vec<_> = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, noun)| counted(count, noun))
        .collect();
    (!parts.is_empty()).then(|| format!("not tested: {} (not committed)", parts.join(", ")))
}
