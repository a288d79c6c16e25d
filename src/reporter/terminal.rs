//! The live display of a run: a row for each task that runs, the total below, finished
//! tasks above.
//!
//! Rows come in the order of the workers, and keep their place while the worker has
//! a task. Everything is drawn on standard error; nothing that came from outside is
//! drawn raw. Redrawing happens on `tick` only, so that a flood of output costs nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};

use crate::model::{Event, Status, TaskId, printable, printable_line, printable_output};
use crate::printer::{self, Stream};

use super::Reporter;
use super::closing::Closing;
use super::plain::{Verbosity, start, verdict};
use super::screen::{Screen, window};
use super::symbols::Symbols;
use super::text::{JOB_WIDTH, counted, elapsed_text, whole_seconds};

/// How often the rows are brought up to date.
const TICK: Duration = Duration::from_millis(200);

/// No more of a subject stands in a row, in columns.
const SUBJECT: usize = 30;

/// How long the bar is, in columns.
const BAR: usize = 24;

/// A task that runs, as a row.
struct Row {
    task: TaskId,
    commit: String,
    job: String,
    subject: String,
    started: Instant,
    estimate: Option<Duration>,
    /// What it printed last.
    line: String,
}

/// The live display.
pub(crate) struct Terminal {
    screen: Screen,
    /// By worker.
    rows: BTreeMap<usize, Row>,
    /// Standard output is not this terminal, and gets the lines of finished tasks.
    apart: bool,
    verbosity: Verbosity,
    job_width: usize,
    slots: u64,
    /// Tasks that are to run, and that have.
    tasks: u64,
    finished: u64,
    failed: u64,
    /// The expected or measured running time of all of `measured` tasks.
    measured: (Duration, u64),
    closing: Closing,
}

impl Terminal {
    /// A display on standard error, which must be a terminal. Verdicts go to standard
    /// output where that is `apart`, else they scroll above the rows.
    pub(crate) fn new(apart: bool, verbosity: Verbosity) -> Self {
        Self {
            screen: Screen::default(),
            rows: BTreeMap::new(),
            apart,
            verbosity,
            job_width: 4,
            slots: 1,
            tasks: 0,
            finished: 0,
            failed: 0,
            measured: (Duration::ZERO, 0),
            closing: Closing::default(),
        }
    }

    /// The rows and the total, for a window of `rows` and `columns`.
    fn block(&self, (rows, columns): (usize, usize)) -> Vec<String> {
        if self.tasks == 0 {
            return Vec::new();
        }
        // The last column stays free.
        let width = columns.saturating_sub(1);
        let symbols = Symbols::here();
        let shown = match rows.saturating_sub(3) {
            room if room >= self.rows.len() => self.rows.len(),
            room => room.saturating_sub(1),
        };
        let cyan = Style::new().fg_color(Some(AnsiColor::Cyan.into()));
        let mark = symbols.pick("▶", ">");
        let mut lines = Vec::new();
        for row in self.rows.values().take(shown) {
            let text = symbols.fit(&row.text(self.job_width), width.saturating_sub(2));
            lines.push(format!("{cyan}{mark}{cyan:#} {text}"));
        }
        if shown < self.rows.len() {
            let more = counted((self.rows.len() - shown) as u64, "more task");
            lines.push(symbols.fit(&format!("  and {more}"), width));
        }
        lines.push(self.total(width));
        lines
    }

    fn total(&self, width: usize) -> String {
        let done = usize::try_from(self.finished.min(self.tasks)).unwrap_or(0);
        let all = usize::try_from(self.tasks.max(1)).unwrap_or(usize::MAX);
        let filled = BAR.saturating_mul(done) / all;
        let mut text = format!(
            "[{}{}] {}/{}",
            "=".repeat(filled),
            "-".repeat(BAR - filled),
            self.finished,
            self.tasks
        );
        if self.failed > 0 {
            text += &format!("  {} FAILED", self.failed);
        }
        if let Some(eta) = self.eta() {
            text += &format!("  about {} to go", whole_seconds(eta));
        }
        Symbols::here().fit(&text, width)
    }

    /// The time that the rest will take, from earlier records and from what ran so far.
    fn eta(&self) -> Option<Duration> {
        let (sum, count) = self.measured;
        let mean = sum.checked_div(u32::try_from(count).ok()?)?;
        let left = |row: &Row| {
            let estimate = row.estimate.unwrap_or(mean);
            estimate.saturating_sub(row.started.elapsed())
        };
        let running: Duration = self.rows.values().map(left).sum();
        let waiting = self
            .tasks
            .saturating_sub(self.finished + self.rows.len() as u64);
        let work = mean * u32::try_from(waiting).ok()? + running;
        Some(work / u32::try_from(self.slots.max(1)).ok()?)
    }
}

impl Row {
    fn text(&self, job_width: usize) -> String {
        let elapsed = elapsed_text(self.started.elapsed(), self.estimate);
        let mut text = format!(
            "{} {:<job_width$} {elapsed:<11} {}",
            self.commit, self.job, self.subject
        );
        if !self.line.is_empty() {
            text += &format!("  {} {}", Symbols::here().pick("│", "|"), self.line);
        }
        text
    }
}

impl Reporter for Terminal {
    fn event(&mut self, event: &Event) {
        self.closing.note(event);
        match event {
            Event::RunStarted {
                tasks,
                slots,
                estimate,
                ..
            } => {
                self.tasks = *tasks;
                self.slots = *slots;
                if let Some(estimate) = estimate
                    && !estimate.is_zero()
                {
                    self.measured = (*estimate, *tasks);
                }
            }
            Event::TaskStarted {
                id,
                commit,
                subject,
                job,
                worker,
                estimate,
                ..
            } => {
                self.job_width = self.job_width.max(job.as_str().len()).min(JOB_WIDTH);
                let subject = printable_line(subject.as_bytes());
                let row = Row {
                    task: *id,
                    commit: commit.short(),
                    job: job.to_string(),
                    subject: Symbols::here().fit(&subject, SUBJECT),
                    started: Instant::now(),
                    estimate: *estimate,
                    line: String::new(),
                };
                self.rows.insert(*worker, row);
            }
            Event::TaskOutput { id, line } => {
                if let Some(row) = self.rows.values_mut().find(|row| row.task == *id) {
                    row.line = printable_output(line);
                }
            }
            Event::TaskFinished {
                id,
                status,
                duration,
                allowed,
                ..
            } => {
                self.rows.retain(|_, row| row.task != *id);
                self.finished += 1;
                self.failed += u64::from(*status == Some(Status::Fail) && !allowed);
                self.measured = (self.measured.0 + *duration, self.measured.1 + 1);
            }
            Event::TaskBlocked { .. } => self.finished += 1,
            Event::Note { message } => self.screen.scroll(&printable(message.as_bytes())),
            Event::Warning { message } => {
                let message = printable(message.as_bytes());
                self.screen.scroll(&format!("warning: {message}"));
            }
            Event::RunFinished {
                counts,
                elapsed,
                uncommitted,
                ..
            } => {
                self.screen.end();
                if self.verbosity >= Verbosity::Normal {
                    let columns = Some(window().1);
                    let text = self.closing.text(counts, *elapsed, *uncommitted, columns);
                    self.screen.scroll(&text);
                }
            }
            _ => {}
        }
        if let Some(line) = start(event, self.verbosity) {
            self.screen.scroll(&line);
        }
        let columns = (!self.apart).then(|| window().1);
        let told = verdict(event, self.verbosity, &mut self.job_width, columns);
        if let Some((line, details)) = told {
            if !self.apart {
                return self.screen.scroll(&(line + &details));
            }
            // There is nobody to tell when it is closed.
            let _ = printer::text(Stream::Out, &line);
            if !details.is_empty() {
                self.screen.scroll(&details);
            }
        }
    }

    fn tick_interval(&self) -> Option<Duration> {
        Some(TICK)
    }

    fn tick(&mut self) {
        let lines = self.block(window());
        self.screen.draw(lines);
    }

    fn suspend(&mut self) {
        self.screen.clear();
        printer::settle();
    }
}
