//! One line an event, for pipes, files and other programs' terminals: verdicts on
//! standard output, everything else on standard error.

use crate::model::{Event, Status, TestReport, printable};
use crate::printer::{self, Stream};

use super::Reporter;
use super::closing::Closing;
use super::text::{
    JOB_WIDTH, TaskLine, counted, human_duration, outlook_text, tail_text, test_counts_text,
    tests_text, why_text,
};

/// No more tests are listed of a task.
const LISTED_TESTS: usize = 10;

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Verbosity {
    /// Failures only.
    Quiet,
    /// Every task that ran.
    #[default]
    Normal,
    /// Cached verdicts and starts, too.
    Verbose,
}

/// Writes plain lines.
#[derive(Debug)]
pub(crate) struct Plain {
    verbosity: Verbosity,
    job_width: usize,
    closing: Closing,
}

impl Plain {
    /// One that says so much.
    pub(crate) fn new(verbosity: Verbosity) -> Self {
        Self {
            verbosity,
            job_width: 4,
            closing: Closing::default(),
        }
    }
}

/// The line of a task that starts, without a line feed; `None` where `verbosity` leaves it
/// out.
pub(super) fn start(event: &Event, verbosity: Verbosity) -> Option<String> {
    match event {
        Event::TaskStarted {
            commit,
            job,
            log,
            reason,
            ..
        } if verbosity >= Verbosity::Verbose => Some(format!(
            "start {} {job}  ({reason})  log={log}",
            commit.short()
        )),
        Event::TaskRetried {
            commit,
            job,
            try_,
            why,
            ..
        } if verbosity >= Verbosity::Normal => {
            let how = why.map_or_else(String::new, |why| format!(" ({})", why_text(why)));
            Some(format!(
                "retry {} {job}  try {} failed{how}",
                commit.short(),
                try_ - 1
            ))
        }
        _ => None,
    }
}

/// The line of a finished or cached task, with the end of its log; `None` where
/// `verbosity` leaves it out. Widens the column of jobs as needed; the line is cut to fit
/// into `columns`.
pub(super) fn verdict(
    event: &Event,
    verbosity: Verbosity,
    job_width: &mut usize,
    columns: Option<usize>,
) -> Option<(String, String)> {
    let (status, commit, job, duration, why, subject) = match event {
        Event::TaskFinished {
            status,
            commit,
            job,
            duration,
            why,
            subject,
            ..
        } => (
            *status,
            commit,
            job,
            human_duration(*duration),
            *why,
            subject,
        ),
        Event::TaskReused {
            status,
            commit,
            job,
            why,
            subject,
            ..
        } => (
            Some(*status),
            commit,
            job,
            "cached".to_owned(),
            *why,
            subject,
        ),
        Event::TaskBlocked {
            commit,
            job,
            subject,
            ..
        } => (None, commit, job, "-".to_owned(), None, subject),
        _ => return None,
    };
    let unstored = matches!(
        event,
        Event::TaskFinished {
            stored: Some(false),
            ..
        } | Event::TaskReused {
            stored: Some(false),
            ..
        }
    );
    let bad = matches!(status, Some(Status::Error | Status::Fail | Status::Flaky)) || unstored;
    let wanted = match event {
        Event::TaskReused { .. } => bad || verbosity >= Verbosity::Verbose,
        _ => bad || verbosity >= Verbosity::Normal,
    };
    if !wanted {
        return None;
    }
    *job_width = (*job_width).max(job.as_str().len()).min(JOB_WIDTH);
    let reason = match event {
        Event::TaskReused { reason, .. } if verbosity >= Verbosity::Verbose => Some(reason.clone()),
        // A formatter that repairs passes for the wrong reason.
        Event::TaskFinished {
            changed: changed @ 1..,
            ..
        } => Some(format!("changed {}", counted(*changed, "tracked file"))),
        Event::TaskFinished { tests, .. } => {
            test_counts_text(tests.as_ref().map(TestReport::counts))
        }
        Event::TaskBlocked { needs, .. } => Some(format!("needs {needs}")),
        _ => None,
    };
    let line = TaskLine {
        word: match event {
            Event::TaskBlocked { .. } => "not run",
            _ => "cancelled",
        },
        reason: reason.as_deref(),
        status,
        commit,
        job: job.as_str(),
        job_width: *job_width,
        duration: &duration,
        why,
        unstored,
        subject,
        columns,
    };
    let mut details = match event {
        Event::TaskReused { tail, .. } => tail_text(tail),
        _ => String::new(),
    };
    if let Event::TaskFinished {
        reason,
        tail,
        tests,
        ..
    } = event
    {
        let tests = tests.as_ref().filter(|tests| !tests.cases.is_empty());
        if let Some(tests) = tests {
            details += &tests_text(tests, LISTED_TESTS);
        }
        // What failed says more than what was printed last.
        if tests.is_none_or(|tests| tests.failed == 0) {
            details += &tail_text(tail);
        }
        // An ERROR's reason is the last line of its log, unless the log is what failed.
        if let Some(reason) = reason
            && !tail
                .last()
                .is_some_and(|line| line.ends_with(reason.as_str()))
        {
            details += &tail_text(&[format!("failed to {reason}")]);
        }
    }
    Some((line.render() + "\n", details))
}

/// Says something besides verdicts. There is nobody to tell when it is closed.
fn notice(text: &str) {
    let _ = printer::text(Stream::Err, &format!("{text}\n"));
}

impl Reporter for Plain {
    fn event(&mut self, event: &Event) {
        self.closing.note(event);
        match event {
            Event::RunStarted {
                commits,
                tasks,
                reused,
                slots,
                ..
            } if self.verbosity >= Verbosity::Normal && *commits > 0 => {
                let outlook = outlook_text(*commits, *tasks, *reused, *slots);
                notice(&outlook);
            }
            Event::TaskStarted { .. } | Event::TaskRetried { .. } => {
                if let Some(line) = start(event, self.verbosity) {
                    notice(&line);
                }
            }
            Event::TaskFinished { .. } | Event::TaskReused { .. } | Event::TaskBlocked { .. } => {
                let columns = Stream::Out.window().map(|(_, columns)| columns);
                let told = verdict(event, self.verbosity, &mut self.job_width, columns);
                if let Some((line, details)) = told {
                    // There is nobody to tell when they are closed.
                    let _ = printer::text(Stream::Out, &line);
                    let _ = printer::text(Stream::Err, &details);
                }
            }
            Event::Note { message } if self.verbosity >= Verbosity::Normal => {
                notice(&printable(message.as_bytes()));
            }
            Event::Warning { message } => {
                notice(&format!("warning: {}", printable(message.as_bytes())));
            }
            Event::RunFinished {
                counts,
                elapsed,
                uncommitted,
                ..
            } if self.verbosity >= Verbosity::Normal => {
                let columns = Stream::Err.window().map(|(_, columns)| columns);
                notice(&self.closing.text(counts, *elapsed, *uncommitted, columns));
            }
            _ => {}
        }
    }
}
