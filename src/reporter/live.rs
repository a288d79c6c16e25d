//! The live display of a watcher: commits and jobs as a matrix, the newest commit on top.
//!
//! What passed is in the matrix, what needs attention also scrolls above it with the end
//! of its log. All of it is one block of text, made anew on `tick` and never wider or
//! higher than the window is at that moment; what does not change is not drawn again. At
//! the end the matrix stays behind as a summary.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use anstyle::Style;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use unicode_width::UnicodeWidthChar as _;

use crate::model::{Event, JobName, Oid, Status, TaskId, WatchedCommit, printable, printable_line};
use crate::printer::{self, Stream};

use super::Reporter;
use super::plain::{Verbosity, verdict};
use super::screen::{is_behind, screen, window};
use super::text::{human_duration, status_style, summary_text};

/// How often it is drawn while something runs, and while nothing does: then only to see
/// whether the window has changed.
const BUSY: Duration = Duration::from_millis(200);
const IDLE: Duration = Duration::from_secs(1);

/// Columns of jobs are between these.
const NARROWEST: usize = 6;
const WIDEST: usize = 16;

/// Where a task stands.
#[derive(Debug, Clone)]
enum Cell {
    Running {
        id: TaskId,
        since: Instant,
        estimate: Option<Duration>,
    },
    /// `None` where it was ended on request.
    Done(Option<Status>),
}

/// The matrix.
pub struct LiveMatrix {
    screen: MultiProgress,
    block: Option<ProgressBar>,
    /// What is drawn now, and the window it was made for.
    drawn: (String, (usize, usize)),
    /// Standard output is not this terminal, and gets the lines of finished tasks.
    apart: bool,
    verbosity: Verbosity,
    job_width: usize,
    slots: u64,
    commits: Vec<WatchedCommit>,
    cells: HashMap<Oid, BTreeMap<JobName, Cell>>,
    waiting: u64,
    /// The running time of so many tasks.
    measured: (Duration, u32),
    dirty: bool,
}

impl LiveMatrix {
    /// A display on standard error, which must be a terminal. Verdicts go to standard
    /// output as well where that is `apart`.
    pub fn new(apart: bool, verbosity: Verbosity) -> Self {
        Self {
            screen: screen(),
            block: None,
            drawn: (String::new(), (0, 0)),
            apart,
            verbosity,
            job_width: 4,
            slots: 1,
            commits: Vec::new(),
            cells: HashMap::new(),
            waiting: 0,
            measured: (Duration::ZERO, 0),
            dirty: false,
        }
    }

    fn scroll(&mut self, text: &str) {
        let _ = self.screen.println(text.trim_end_matches('\n'));
    }

    fn running(&self) -> usize {
        let cells = self.cells.values().flat_map(BTreeMap::values);
        cells
            .filter(|cell| matches!(cell, Cell::Running { .. }))
            .count()
    }

    /// The matrix and the line below it, for a window of `rows` and `columns`.
    fn text(&self, (rows, columns): (usize, usize)) -> String {
        let mut lines = self.matrix(rows.saturating_sub(4).max(1), columns);
        lines.push(self.status(columns));
        lines.join("\n")
    }

    fn status(&self, columns: usize) -> String {
        let running = self.running();
        let mut text = match running {
            0 if self.waiting == 0 => "waiting for commits".to_owned(),
            _ => format!("{running} running, {} waiting", self.waiting),
        };
        let (sum, count) = self.measured;
        if running > 0
            && let Some(mean) = sum.checked_div(count)
        {
            let left = |cell: &Cell| match cell {
                Cell::Running {
                    since, estimate, ..
                } => estimate.unwrap_or(mean).saturating_sub(since.elapsed()),
                Cell::Done(_) => Duration::ZERO,
            };
            let running: Duration = self
                .cells
                .values()
                .flat_map(BTreeMap::values)
                .map(left)
                .sum();
            let waiting = mean.saturating_mul(u32::try_from(self.waiting).unwrap_or(u32::MAX));
            let slots = u32::try_from(self.slots.max(1)).unwrap_or(1);
            let eta = (running + waiting) / slots;
            text += &format!(", about {} to go", human_duration(eta));
        }
        cut(&text, columns)
    }

    fn matrix(&self, rows: usize, columns: usize) -> Vec<String> {
        let mut jobs: Vec<&JobName> = Vec::new();
        for name in self.commits.iter().flat_map(|commit| &commit.jobs) {
            if !jobs.contains(&name) {
                jobs.push(name);
            }
        }
        if jobs.is_empty() {
            return Vec::new();
        }
        // The commit, a third for its subject, the rest for jobs.
        let room = columns.saturating_sub(11 + columns / 3);
        let width = |name: &JobName| name.as_str().len().clamp(NARROWEST, WIDEST) + 1;
        let mut used = 0;
        let fits = |name: &&&JobName| {
            used += width(name);
            used <= room
        };
        let shown = jobs.iter().take_while(fits).count().max(1);
        let hidden = jobs.len() - shown;
        let jobs = &jobs[..shown];
        let dim = Style::new().dimmed();
        let mut head = format!("{:<11}", "");
        for name in jobs {
            let title = cut(name.as_str(), width(name) - 1);
            head += &format!("{title:<width$}", width = width(name));
        }
        if hidden > 0 {
            head += &format!("+{hidden} more");
        }
        let mut lines = vec![format!("{dim}{}{dim:#}", cut(&head, columns))];
        for commit in self.pick(rows) {
            let mut line = format!("{:<11}", commit.commit.short());
            let mut taken = 11;
            for name in jobs {
                let (style, word) = self.cell(commit, name);
                let word = cut(&word, width(name) - 1);
                line += &format!("{style}{word}{style:#}{:1$}", "", width(name) - word.len());
                taken += width(name);
            }
            let mut about = String::new();
            if !commit.refs.is_empty() {
                let refs = commit.refs.join(", ");
                about += &format!("({}) ", printable_line(refs.as_bytes()));
            }
            about += &printable_line(commit.subject.as_bytes());
            line += &cut(&about, columns.saturating_sub(taken));
            lines.push(line);
        }
        lines
    }

    /// The commits that are shown: those where something runs, and the newest.
    fn pick(&self, rows: usize) -> Vec<&WatchedCommit> {
        let runs = |commit: &&WatchedCommit| {
            let cells = self.cells.get(&commit.commit);
            let mut cells = cells.into_iter().flat_map(BTreeMap::values);
            cells.any(|cell| matches!(cell, Cell::Running { .. }))
        };
        let mut spare = rows.saturating_sub(self.commits.iter().filter(runs).count());
        let mut wanted = |commit: &&WatchedCommit| {
            if runs(commit) {
                return true;
            }
            let fits = spare > 0;
            spare = spare.saturating_sub(1);
            fits
        };
        let picked = self.commits.iter().filter(|commit| wanted(commit));
        picked.take(rows).collect()
    }

    fn cell(&self, commit: &WatchedCommit, job: &JobName) -> (Style, String) {
        let cell = self
            .cells
            .get(&commit.commit)
            .and_then(|cells| cells.get(job));
        match cell {
            Some(Cell::Done(status)) => {
                let word = status.map_or("gone", Status::as_str);
                (status_style(*status), word.to_owned())
            }
            Some(Cell::Running { since, .. }) => {
                (Style::new().bold(), human_duration(since.elapsed()))
            }
            None if commit.jobs.contains(job) => (Style::new().dimmed(), "wait".to_owned()),
            None => (Style::new(), "-".to_owned()),
        }
    }

    fn draw(&mut self) {
        let window = window();
        let text = self.text(window);
        self.dirty = false;
        if self.drawn == (text.clone(), window) && self.block.is_some() {
            return;
        }
        if window != self.drawn.1 {
            // What is there was broken into other lines by the new width.
            let _ = self.screen.clear();
        }
        let block = self.block.get_or_insert_with(|| {
            let block = self.screen.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{msg}") {
                block.set_style(style);
            }
            block
        });
        block.set_message(text.clone());
        block.tick();
        self.drawn = (text, window);
    }

    fn end(&mut self) {
        if let Some(block) = self.block.take() {
            block.finish_and_clear();
        }
        let _ = self.screen.clear();
    }

    fn set(&mut self, commit: Oid, job: &JobName, cell: Cell) {
        self.cells
            .entry(commit)
            .or_default()
            .insert(job.clone(), cell);
    }
}

/// `text` as far as it fits into `columns`.
fn cut(text: &str, columns: usize) -> String {
    let mut left = columns;
    let fits = |c: &char| {
        let width = c.width().unwrap_or(0);
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    };
    text.chars().take_while(fits).collect()
}

impl Reporter for LiveMatrix {
    fn event(&mut self, event: &Event) {
        self.dirty = true;
        match event {
            Event::RunStarted { slots, .. } => self.slots = *slots,
            Event::Watching { commits, .. } => {
                self.commits.clone_from(commits);
                let listed = |id: &Oid| commits.iter().any(|commit| commit.commit == *id);
                self.cells.retain(|id, cells| {
                    let runs = |cell: &Cell| matches!(cell, Cell::Running { .. });
                    listed(id) || cells.values().any(runs)
                });
            }
            Event::Queue { waiting } => self.waiting = *waiting,
            Event::TaskStarted {
                id,
                commit,
                job,
                estimate,
                ..
            } => {
                self.waiting = self.waiting.saturating_sub(1);
                let cell = Cell::Running {
                    id: *id,
                    since: Instant::now(),
                    estimate: *estimate,
                };
                self.set(*commit, job, cell);
            }
            Event::TaskFinished {
                id,
                commit,
                job,
                status,
                duration,
                ..
            } => {
                // The same task may have begun anew before this one's end was stored.
                let cell = self.cells.get(commit).and_then(|cells| cells.get(job));
                let other = matches!(cell, Some(Cell::Running { id: now, .. }) if now != id);
                if !other {
                    self.set(*commit, job, Cell::Done(*status));
                }
                self.measured = (self.measured.0 + *duration, self.measured.1 + 1);
            }
            Event::TaskReused {
                commit,
                job,
                status,
                ..
            } => self.set(*commit, job, Cell::Done(Some(*status))),
            Event::Note { message } => self.scroll(&printable(message.as_bytes())),
            Event::Warning { message } => {
                self.scroll(&format!("warning: {}", printable(message.as_bytes())));
            }
            Event::RunFinished {
                counts, elapsed, ..
            } => {
                self.end();
                let (rows, columns) = window();
                for line in self.matrix(rows.saturating_sub(3).max(1), columns) {
                    self.scroll(&line);
                }
                self.scroll(&summary_text(counts, *elapsed));
            }
            _ => {}
        }
        if let Some((line, details)) = verdict(event, self.verbosity, &mut self.job_width) {
            let bad = matches!(
                event,
                Event::TaskFinished {
                    status: Some(Status::Error | Status::Fail | Status::Flaky),
                    ..
                }
            );
            if self.apart {
                // There is nobody to tell when it is closed.
                let _ = printer::text(Stream::Out, &line);
            }
            if bad || self.verbosity >= Verbosity::Verbose {
                self.scroll(&(line + &details));
            }
        }
    }

    fn tick_interval(&self) -> Option<Duration> {
        Some(match self.dirty || self.running() > 0 {
            true => BUSY,
            false => IDLE,
        })
    }

    fn tick(&mut self) {
        let changed = self.dirty || self.running() > 0 || window() != self.drawn.1;
        if changed && !is_behind() {
            self.draw();
        }
    }

    fn suspend(&mut self) {
        let _ = self.screen.clear();
        printer::settle();
        self.drawn.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::printable_styled;

    fn watched(n: u8, subject: &str, jobs: &[&str]) -> WatchedCommit {
        WatchedCommit {
            commit: Oid::from_bytes(&[n; 20]).unwrap(),
            subject: subject.to_owned(),
            refs: Vec::new(),
            jobs: jobs.iter().map(|name| name.parse().unwrap()).collect(),
        }
    }

    fn matrix() -> LiveMatrix {
        let mut matrix = LiveMatrix::new(false, Verbosity::Normal);
        matrix.commits = vec![
            watched(3, "three \x1b[31m", &["test", "lint"]),
            watched(2, "two", &["test"]),
            watched(1, "one", &["test", "lint"]),
        ];
        matrix.commits[0].refs.push("main".to_owned());
        let (test, lint) = ("test".parse().unwrap(), "lint".parse().unwrap());
        let id = |n| Oid::from_bytes(&[n; 20]).unwrap();
        matrix.set(id(3), &test, Cell::Done(Some(Status::Fail)));
        matrix.set(id(2), &test, Cell::Done(None));
        matrix.set(id(1), &lint, Cell::Done(Some(Status::Pass)));
        matrix
    }

    #[test]
    fn it_shows_commits_and_jobs() {
        let matrix = matrix();
        let text = printable_styled(&matrix.text((24, 60)), false).into_owned();
        insta::assert_snapshot!(text, @"
                   test   lint   
        0303030303 FAIL   wait   (main) three \\x1b[31m
        0202020202 gone   -      two
        0101010101 wait   pass   one
        waiting for commits
        ");
    }

    #[test]
    fn it_fits_every_window() {
        let mut matrix = matrix();
        let test = "test".parse().unwrap();
        let id = Oid::from_bytes(&[1; 20]).unwrap();
        let running = Cell::Running {
            id: TaskId(1),
            since: Instant::now(),
            estimate: None,
        };
        matrix.set(id, &test, running);
        for rows in 1..12 {
            for columns in [1, 10, 20, 35, 80] {
                let text = matrix.text((rows, columns));
                let text = printable_styled(&text, false);
                assert!(text.lines().count() <= rows.max(3), "{rows}: {text}");
                if columns > 20 {
                    assert!(
                        text.lines().all(|line| line.chars().count() <= columns),
                        "{text}"
                    );
                }
                // What runs is always there.
                assert!(text.contains("0101010101"), "{text}");
            }
        }
    }
}
