//! Events as lines of text: the one wording that the terminal and plain output share.

use std::fmt::Write as _;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr as _;

use crate::model::{
    Counts, Oid, Status, TestReport, TestVerdict, Tests, Why, printable_line, printable_output,
    printable_styled,
};

use super::symbols::Symbols;

/// No more of a subject is shown, in columns.
const SUBJECT: usize = 160;

/// Less of one is not worth showing, in columns.
const LEAST_SUBJECT: usize = 8;

/// No more lines are shown of what a test said.
const MESSAGE_LINES: usize = 4;

/// Names of jobs are lined up where none is wider.
pub(crate) const JOB_WIDTH: usize = 20;

/// How a status is drawn; the word says it all without the colour.
pub(crate) fn status_style(status: Option<Status>) -> Style {
    let style = Style::new();
    let color = match status {
        Some(Status::Error) => AnsiColor::Magenta,
        Some(Status::Fail) => AnsiColor::Red,
        Some(Status::Flaky) => AnsiColor::Yellow,
        Some(Status::Pass) => AnsiColor::Green,
        Some(Status::Skip) => AnsiColor::Cyan,
        None => return style.dimmed(),
    };
    let style = style.fg_color(Some(color.into()));
    match status {
        Some(Status::Error | Status::Fail) => style.bold(),
        _ => style,
    }
}

/// A duration as people read it: `0.3s`, `41.8s`, `3m07s`, `2h05m`.
pub(crate) fn human_duration(duration: Duration) -> String {
    let tenths = (duration.as_millis() + 50) / 100;
    let seconds = duration.as_secs();
    match seconds {
        0..100 if tenths < 1000 => format!("{}.{}s", tenths / 10, tenths % 10),
        0..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// The same to the second, for what changes while it is looked at: `12s`, `3m07s`.
pub(super) fn whole_seconds(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..100 => format!("{seconds}s"),
        seconds => human_duration(Duration::from_secs(seconds)),
    }
}

/// For how long something has been running, and how long it is expected to: `12s/41s`.
pub(super) fn elapsed_text(elapsed: Duration, expected: Option<Duration>) -> String {
    let elapsed = whole_seconds(elapsed);
    match expected.filter(|expected| expected.as_secs() > 0) {
        Some(expected) => format!("{elapsed}/{}", whole_seconds(expected)),
        None => elapsed,
    }
}

/// Why a task did not pass, in words.
pub(crate) fn why_text(why: Why) -> String {
    match why {
        Why::Exit(code) => format!("exit code {code}"),
        Why::Signal(signal) => format!("killed by signal {signal}"),
        Why::Timeout => "timed out".to_owned(),
        Why::Worktree => "no worktree".to_owned(),
        Why::Disk => "no room on disk".to_owned(),
        Why::Key => "no key".to_owned(),
        Why::Log => "log not written".to_owned(),
        Why::Spawn => "not started".to_owned(),
        Why::Setup => "not set up".to_owned(),
        Why::Needs => "a needed job failed here".to_owned(),
        Why::RunnerLost => "runner lost".to_owned(),
        Why::HostLost => "host lost".to_owned(),
    }
}

/// A finished or cached task on one line, without a line feed.
#[derive(Debug)]
pub(crate) struct TaskLine<'a> {
    /// `None` is shown as `word`.
    pub status: Option<Status>,
    /// What stands for a verdict where there is none.
    pub word: &'a str,
    /// The commit.
    pub commit: &'a Oid,
    /// The job's name.
    pub job: &'a str,
    /// The width of the column of jobs.
    pub job_width: usize,
    /// What stands in the column of durations: a duration, or `cached`.
    pub duration: &'a str,
    /// Why, where the status does not say it all.
    pub why: Option<Why>,
    /// Why it need not run, where that is to be said.
    pub reason: Option<&'a str>,
    /// It could not be stored.
    pub unstored: bool,
    /// The commit's subject, raw.
    pub subject: &'a str,
    /// What a window has room for; the subject is cut to fit.
    pub columns: Option<usize>,
}

impl TaskLine<'_> {
    /// The line, with colours.
    pub(crate) fn render(&self) -> String {
        let style = status_style(self.status);
        let word = self.status.map_or(self.word, |status| status.as_str());
        let mut line = format!(
            "{style}{word:<5}{style:#} {} {:<width$} {:>7}  ",
            self.commit.short(),
            self.job,
            self.duration,
            width = self.job_width,
        );
        if let Some(why) = self.why {
            let _ = write!(line, "({}) ", why_text(why));
        }
        if let Some(reason) = self.reason {
            let _ = write!(line, "({reason}) ");
        }
        if self.unstored {
            line += "(not stored) ";
        }
        let subject = subject_text(self.subject, &line, self.columns);
        line + &subject
    }
}

/// A subject behind `line`, which may have styles, in a window of so many columns: cut to
/// fit, and left out where only a few letters would.
pub(crate) fn subject_text(subject: &str, line: &str, columns: Option<usize>) -> String {
    // It may be as long as a whole message that has no empty line.
    let end = subject.char_indices().nth(SUBJECT + 1);
    let front = end.map_or(subject, |(end, _)| &subject[..end]);
    let safe = printable_line(front.as_bytes());
    let used = printable_styled(line, false).width();
    let room = columns.map_or(usize::MAX, |columns| columns.saturating_sub(used));
    match room {
        0..LEAST_SUBJECT if safe.width() > room => String::new(),
        _ => Symbols::here().fit(&safe, room.min(SUBJECT)),
    }
}

/// The end of a failed task's log, indented, each line with its line feed.
pub(crate) fn tail_text(tail: &[String]) -> String {
    let dim = Style::new().dimmed();
    let mut text = String::new();
    for line in tail.iter().flat_map(|lines| lines.split('\n')) {
        let _ = writeln!(text, "      {dim}|{dim:#} {}", printable_output(line));
    }
    text
}

/// The tests that failed or are flaky, indented: at most so many, each with the beginning of
/// what it said.
pub(crate) fn tests_text(tests: &TestReport, most: usize) -> String {
    let mut text = String::new();
    for case in tests.cases.iter().take(most) {
        let status = match case.verdict {
            TestVerdict::Fail => Status::Fail,
            TestVerdict::Flaky => Status::Flaky,
        };
        let style = status_style(Some(status));
        let place = case.place.as_ref();
        let place = place.map_or_else(String::new, |place| format!("  {place}"));
        let name = format!("{} {}", case.suite, case.name);
        let _ = writeln!(
            text,
            "      {style}{status:<5}{style:#} {}{}",
            printable_line(name.trim().as_bytes()),
            printable_line(place.as_bytes())
        );
        let message = case.message.as_deref().unwrap_or_default();
        let lines: Vec<_> = message
            .lines()
            .take(MESSAGE_LINES)
            .map(str::to_owned)
            .collect();
        text += &tail_text(&lines);
    }
    let all = u64::from(tests.failed) + u64::from(tests.flaky);
    let shown = tests.cases.len().min(most) as u64;
    if all > shown {
        let _ = writeln!(text, "      and {} more", all - shown);
    }
    text
}

/// `3 of 412 tests failed`; nothing where there is nothing to say.
pub(crate) fn test_counts_text(tests: Option<Tests>) -> Option<String> {
    let Tests { failed, all } = tests.filter(|tests| tests.failed > 0)?;
    Some(format!(
        "{failed} of {} failed",
        counted(u64::from(all), "test")
    ))
}

/// `1 task`, `2 tasks`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

/// What a run is about to do: `3 tasks on 2 commits, 1 cached, 2 at once`.
pub(super) fn outlook_text(commits: u64, tasks: u64, reused: u64, slots: u64) -> String {
    let commits = counted(commits, "commit");
    if tasks == 0 {
        return format!("{} on {commits}, all cached", counted(reused, "task"));
    }
    let cached = match reused {
        0 => String::new(),
        _ => format!(", {reused} cached"),
    };
    format!(
        "{} on {commits}{cached}, {slots} at once",
        counted(tasks, "task")
    )
}

/// `3 passed, 1 FAILED (2 cached) in 41.8s`.
pub(crate) fn summary_text(counts: &Counts, elapsed: Duration) -> String {
    let ran_and_cached = [
        (counts.failed, "FAILED", Some(Status::Fail)),
        (
            counts.errored,
            "without a verdict (ERROR)",
            Some(Status::Error),
        ),
        (counts.flaky, "FLAKY", Some(Status::Flaky)),
        (counts.passed, "passed", Some(Status::Pass)),
        (counts.allowed, "failed as allowed", None),
        (counts.skipped, "skipped", Some(Status::Skip)),
        (counts.blocked, "not run", None),
        (counts.cancelled, "cancelled", None),
    ];
    let mut parts = Vec::new();
    for (count, word, status) in ran_and_cached {
        if count > 0 {
            let style = status_style(status);
            parts.push(format!("{style}{count} {word}{style:#}"));
        }
    }
    if parts.is_empty() {
        parts.push("nothing to do".to_owned());
    }
    let mut text = parts.join(", ");
    if counts.reused > 0 {
        let _ = write!(text, " ({} cached)", counts.reused);
    }
    if counts.unstored > 0 {
        let style = status_style(Some(Status::Error));
        let _ = write!(text, ", {style}{} NOT STORED{style:#}", counts.unstored);
    }
    let _ = write!(text, " in {}", human_duration(elapsed));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well_at_every_size() {
        for (millis, text) in [
            (0, "0.0s"),
            (340, "0.3s"),
            (41_760, "41.8s"),
            (99_940, "99.9s"),
            (99_960, "1m39s"),
            (187_000, "3m07s"),
            (7_500_000, "2h05m"),
        ] {
            assert_eq!(human_duration(Duration::from_millis(millis)), text);
        }
    }
}
