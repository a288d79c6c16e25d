//! The live display: a row a busy worker, the total below, finished tasks above.
//!
//! Rows come in the order of the workers, and keep their place while the worker has
//! a task. Everything is drawn on standard error; nothing that came from outside is
//! drawn raw. Redrawing happens on `tick` only, so that a flood of output costs nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::model::{Event, Status, TaskId, printable, printable_line};
use crate::printer::{self, Stream};

use super::Reporter;
use super::closing::Closing;
use super::plain::{Verbosity, start, verdict};
use super::screen::{is_behind, screen, window};
use super::text::human_duration;

/// How often the rows are brought up to date.
const TICK: Duration = Duration::from_millis(100);

/// A task that runs, as a row.
struct Row {
    bar: ProgressBar,
    title: String,
    started: Instant,
    estimate: Option<Duration>,
    line: String,
}

/// The live display.
pub struct Terminal {
    screen: MultiProgress,
    total: Option<ProgressBar>,
    rows: BTreeMap<usize, (TaskId, Row)>,
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
    pub fn new(apart: bool, verbosity: Verbosity) -> Self {
        Self {
            screen: screen(),
            total: None,
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

    fn scroll(&mut self, text: &str) {
        let _ = self.screen.println(text.trim_end_matches('\n'));
    }

    fn draw(&mut self) {
        for (_, row) in self.rows.values() {
            let elapsed = row.started.elapsed();
            let of = match row.estimate {
                Some(estimate) => format!("/{}", human_duration(estimate)),
                None => String::new(),
            };
            row.bar.set_message(format!(
                "{} {}{of}  {}",
                row.title,
                human_duration(elapsed),
                row.line
            ));
            row.bar.tick();
        }
        let eta = self.eta();
        if let Some(total) = &self.total {
            let mut message = String::new();
            if self.failed > 0 {
                message += &format!("  {} FAILED", self.failed);
            }
            if let Some(eta) = eta {
                message += &format!("  about {} to go", human_duration(eta));
            }
            total.set_position(self.finished);
            total.set_message(message);
            total.tick();
        }
    }

    /// The time that the rest will take, from earlier records and from what ran so far.
    fn eta(&self) -> Option<Duration> {
        let (sum, count) = self.measured;
        let mean = sum.checked_div(u32::try_from(count).ok()?)?;
        let running: Duration = self
            .rows
            .values()
            .map(|(_, row)| {
                row.estimate
                    .unwrap_or(mean)
                    .saturating_sub(row.started.elapsed())
            })
            .sum();
        let waiting = self
            .tasks
            .saturating_sub(self.finished + self.rows.len() as u64);
        let work = mean * u32::try_from(waiting).ok()? + running;
        Some(work / u32::try_from(self.slots.max(1)).ok()?)
    }

    fn row(&mut self, worker: usize) -> ProgressBar {
        // Below the rows of the workers before this one, above the total.
        let above = self.rows.range(..worker).count();
        let bar = self.screen.insert(above, ProgressBar::new_spinner());
        let cyan = Style::new().fg_color(Some(AnsiColor::Cyan.into()));
        let template = format!("{cyan}{{spinner}}{cyan:#} {{wide_msg}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        bar
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
                if *tasks > 0 {
                    let total = self.screen.add(ProgressBar::new(*tasks));
                    let green = Style::new().fg_color(Some(AnsiColor::Green.into()));
                    let template = format!("{green}{{bar:24}}{green:#} {{pos}}/{{len}}{{msg}}");
                    if let Ok(style) = ProgressStyle::with_template(&template) {
                        total.set_style(style);
                    }
                    self.total = Some(total);
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
                self.job_width = self.job_width.max(job.as_str().len());
                let bar = self.row(*worker);
                let subject = printable_line(subject.as_bytes());
                let subject: String = subject.chars().take(30).collect();
                let row = Row {
                    bar,
                    title: format!(
                        "{} {job:<width$} {subject:<30}",
                        commit.short(),
                        width = self.job_width
                    ),
                    started: Instant::now(),
                    estimate: *estimate,
                    line: String::new(),
                };
                self.rows.insert(*worker, (*id, row));
            }
            Event::TaskOutput { id, line } => {
                let row = self.rows.values_mut().find(|(task, _)| task == id);
                if let Some((_, row)) = row {
                    row.line = printable_line(line.as_bytes()).into_owned();
                }
            }
            Event::TaskFinished {
                id,
                status,
                duration,
                allowed,
                ..
            } => {
                let worker = self.rows.iter().find(|(_, (task, _))| task == id);
                if let Some((&worker, _)) = worker
                    && let Some((_, row)) = self.rows.remove(&worker)
                {
                    row.bar.finish_and_clear();
                    self.screen.remove(&row.bar);
                }
                self.finished += 1;
                self.failed += u64::from(*status == Some(Status::Fail) && !allowed);
                self.measured = (self.measured.0 + *duration, self.measured.1 + 1);
            }
            Event::Note { message } => self.scroll(&printable(message.as_bytes())),
            Event::Warning { message } => {
                self.scroll(&format!("warning: {}", printable(message.as_bytes())));
            }
            Event::RunFinished {
                counts,
                elapsed,
                uncommitted,
                ..
            } => {
                if let Some(total) = self.total.take() {
                    total.finish_and_clear();
                }
                let _ = self.screen.clear();
                if self.verbosity >= Verbosity::Normal {
                    let columns = Some(window().1);
                    let text = self.closing.text(counts, *elapsed, *uncommitted, columns);
                    self.scroll(&text);
                }
            }
            _ => {}
        }
        if let Some(line) = start(event, self.verbosity) {
            self.scroll(&line);
        }
        if let Some((line, details)) = verdict(event, self.verbosity, &mut self.job_width) {
            if !self.apart {
                return self.scroll(&(line + &details));
            }
            // There is nobody to tell when it is closed.
            let _ = printer::text(Stream::Out, &line);
            if !details.is_empty() {
                self.scroll(&details);
            }
        }
    }

    fn tick_interval(&self) -> Option<Duration> {
        Some(TICK)
    }

    fn tick(&mut self) {
        if !is_behind() {
            self.draw();
        }
    }

    fn suspend(&mut self) {
        let _ = self.screen.clear();
        printer::settle();
    }
}
