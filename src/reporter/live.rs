//! The live display of a watcher: commits and jobs as a matrix, the newest commit on top.
//!
//! What passed is in the matrix, what needs attention also scrolls above it with the end
//! of its log. All of it is one block of text, made anew on `tick` and never wider or
//! higher than the window is at that moment; what does not change is not drawn again. At
//! the end the matrix stays behind as a summary.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use anstyle::Style;
use unicode_width::UnicodeWidthStr as _;

use crate::model::{Event, JobName, Oid, Status, TaskId, WatchedCommit, printable, printable_line};
use crate::printer::{self, Stream};

use super::Reporter;
use super::matrix;
use super::plain::{Verbosity, verdict};
use super::screen::{Screen, window};
use super::symbols::Symbols;
use super::text::{elapsed_text, summary_text, whole_seconds};

/// How often it is drawn while something runs, and while nothing does: then only to see
/// whether the window has changed.
const BUSY: Duration = Duration::from_millis(200);
const IDLE: Duration = Duration::from_secs(1);

/// No name of a job is wider.
const WIDEST: usize = 16;

/// Between columns.
const GAP: usize = 2;

/// The mark of the current commit and a commit's short id.
const COMMIT: usize = 12;

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
    Blocked,
}

/// A column of the matrix.
struct Column<'a> {
    job: &'a JobName,
    width: usize,
    /// Something in it needs attention.
    matters: bool,
}

/// The matrix.
pub(crate) struct LiveMatrix {
    screen: Screen,
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
    /// The run is over: what has not begun never will.
    over: bool,
    symbols: Symbols,
}

impl LiveMatrix {
    /// A display on standard error, which must be a terminal. Verdicts go to standard
    /// output as well where that is `apart`.
    pub(crate) fn new(apart: bool, verbosity: Verbosity) -> Self {
        Self {
            screen: Screen::default(),
            apart,
            verbosity,
            job_width: 4,
            slots: 1,
            commits: Vec::new(),
            cells: HashMap::new(),
            waiting: 0,
            measured: (Duration::ZERO, 0),
            dirty: false,
            over: false,
            symbols: Symbols::here(),
        }
    }

    fn all_cells(&self) -> impl Iterator<Item = &Cell> {
        self.cells.values().flat_map(BTreeMap::values)
    }

    fn running(&self) -> usize {
        let running = |cell: &&Cell| matches!(cell, Cell::Running { .. });
        self.all_cells().filter(running).count()
    }

    /// The matrix and the line below it, for a window of `rows` and `columns`.
    fn text(&self, (rows, columns): (usize, usize)) -> Vec<String> {
        // The last column stays free, and so does a row for the cursor.
        let columns = columns.saturating_sub(1);
        let mut lines = self.matrix(rows.saturating_sub(3).max(1), columns);
        lines.push(self.symbols.fit(&self.status(), columns));
        lines
    }

    fn status(&self) -> String {
        let running = self.running();
        let failed = |cell: &&Cell| matches!(cell, Cell::Done(Some(Status::Fail | Status::Error)));
        let failed = self.all_cells().filter(failed).count();
        let mut text = match running {
            0 if self.waiting == 0 => "waiting for commits".to_owned(),
            _ => format!("{running} running, {} queued", self.waiting),
        };
        if failed > 0 {
            text += &format!(", {failed} FAILED");
        }
        let (sum, count) = self.measured;
        if running > 0
            && let Some(mean) = sum.checked_div(count)
        {
            let left = |cell: &Cell| match cell {
                Cell::Running {
                    since, estimate, ..
                } => estimate.unwrap_or(mean).saturating_sub(since.elapsed()),
                Cell::Done(_) | Cell::Blocked => Duration::ZERO,
            };
            let running: Duration = self.all_cells().map(left).sum();
            let waiting = mean.saturating_mul(u32::try_from(self.waiting).unwrap_or(u32::MAX));
            let slots = u32::try_from(self.slots.max(1)).unwrap_or(1);
            let eta = (running + waiting) / slots;
            text += &format!(", about {} to go", whole_seconds(eta));
        }
        text
    }

    fn matrix(&self, rows: usize, columns: usize) -> Vec<String> {
        let commits = self.pick(rows);
        let all = self.columns(&commits);
        if all.is_empty() {
            return Vec::new();
        }
        let shown = choose(&all, columns);
        let dim = Style::new().dimmed();
        let mut head = " ".repeat(COMMIT);
        for column in &shown {
            let title = self.symbols.shorten(column.job.as_str(), WIDEST);
            head += &format!("{:GAP$}{}", "", pad(title, column.width));
        }
        match all.len() - shown.len() {
            0 => {}
            hidden => head += &format!("{:GAP$}+{hidden} more", ""),
        }
        let head = self.symbols.fit(head.trim_end(), columns);
        let mut lines = vec![format!("{dim}{head}{dim:#}")];
        lines.extend(
            commits
                .iter()
                .map(|commit| self.row(commit, &shown, columns)),
        );
        lines
    }

    fn row(&self, commit: &WatchedCommit, shown: &[&Column<'_>], columns: usize) -> String {
        let bold = Style::new().bold();
        let mark = if commit.current { "*" } else { " " };
        let mut line = format!("{bold}{mark}{bold:#} {}", commit.commit.short());
        let mut taken = COMMIT;
        for column in shown {
            let (style, word) = self.cell(commit, column.job);
            // A window may be too narrow for a single column.
            let room = columns.saturating_sub(taken + GAP).min(column.width);
            let word = self.symbols.fit(&word, room);
            let padding = column.width.saturating_sub(word.width());
            line += &format!("{:GAP$}{style}{word}{style:#}{:padding$}", "", "");
            taken += GAP + column.width;
        }
        let mut about = String::new();
        if !commit.refs.is_empty() {
            let refs = commit.refs.join(", ");
            about += &format!("({}) ", printable_line(refs.as_bytes()));
        }
        about += &printable_line(commit.subject.as_bytes());
        let room = columns.saturating_sub(taken + GAP);
        if room > 0 {
            line += &format!("{:GAP$}{}", "", self.symbols.fit(&about, room));
        }
        line.trim_end().to_owned()
    }

    /// Every job of `commits`, in their order.
    fn columns<'a>(&self, commits: &[&'a WatchedCommit]) -> Vec<Column<'a>> {
        let mut found: Vec<Column<'a>> = Vec::new();
        for job in commits.iter().flat_map(|commit| &commit.jobs) {
            if found.iter().any(|column| column.job == job) {
                continue;
            }
            let name = job.as_str().len().min(WIDEST);
            let cells = commits
                .iter()
                .map(|commit| self.cell(commit, job).1.width());
            found.push(Column {
                job,
                width: cells.max().unwrap_or(0).max(name),
                matters: commits.iter().any(|commit| self.matters(commit, job)),
            });
        }
        found
    }

    fn get(&self, commit: &WatchedCommit, job: &JobName) -> Option<&Cell> {
        self.cells.get(&commit.commit)?.get(job)
    }

    fn matters(&self, commit: &WatchedCommit, job: &JobName) -> bool {
        matches!(
            self.get(commit, job),
            Some(
                Cell::Running { .. }
                    | Cell::Done(Some(Status::Fail | Status::Error | Status::Flaky))
            )
        )
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
        let cell = match self.get(commit, job) {
            Some(Cell::Running {
                since, estimate, ..
            }) => {
                let mark = self.symbols.pick("▶", ">");
                let elapsed = elapsed_text(since.elapsed(), *estimate);
                return (Style::new().bold(), format!("{mark} {elapsed}"));
            }
            Some(Cell::Done(Some(status))) => matrix::Cell::Verdict {
                status: *status,
                outdated: false,
            },
            Some(Cell::Done(None)) => matrix::Cell::Cancelled,
            Some(Cell::Blocked) => matrix::Cell::Blocked,
            None if commit.cancelled.contains(job) => matrix::Cell::Cancelled,
            None if commit.jobs.contains(job) && !self.over => matrix::Cell::Queued,
            None => matrix::Cell::Nothing,
        };
        (cell.style(), cell.text(self.symbols))
    }

    fn set(&mut self, commit: Oid, job: &JobName, cell: Cell) {
        self.cells
            .entry(commit)
            .or_default()
            .insert(job.clone(), cell);
    }
}

/// The columns that fit beside a third of the window for subjects: what needs attention
/// before the others, and all in their order.
fn choose<'c, 'a>(all: &'c [Column<'a>], columns: usize) -> Vec<&'c Column<'a>> {
    let room = columns.saturating_sub(COMMIT + columns / 3);
    let mut used = 0;
    let mut taken = vec![false; all.len()];
    for matters in [true, false] {
        for (at, column) in all.iter().enumerate() {
            let is_first = !taken.contains(&true);
            if column.matters == matters && (is_first || used + GAP + column.width <= room) {
                used += GAP + column.width;
                taken[at] = true;
            }
        }
    }
    let shown = all.iter().zip(taken).filter(|(_, taken)| *taken);
    shown.map(|(column, _)| column).collect()
}

fn pad(text: String, width: usize) -> String {
    let padding = width.saturating_sub(text.width());
    format!("{text}{:padding$}", "")
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
                if status.is_some() {
                    self.measured = (self.measured.0 + *duration, self.measured.1 + 1);
                }
            }
            Event::TaskReused {
                commit,
                job,
                status,
                ..
            } => self.set(*commit, job, Cell::Done(Some(*status))),
            Event::TaskBlocked { commit, job, .. } => {
                self.waiting = self.waiting.saturating_sub(1);
                self.set(*commit, job, Cell::Blocked);
            }
            Event::Note { message } => self.screen.scroll(&printable(message.as_bytes())),
            Event::Warning { message } => {
                let message = printable(message.as_bytes());
                self.screen.scroll(&format!("warning: {message}"));
            }
            Event::RunFinished {
                counts, elapsed, ..
            } => {
                self.screen.end();
                self.over = true;
                let (rows, columns) = window();
                let rows = rows.saturating_sub(4).max(1);
                let mut lines = self.matrix(rows, columns.saturating_sub(1));
                lines.push(summary_text(counts, *elapsed));
                self.screen.scroll(&lines.join("\n"));
            }
            _ => {}
        }
        let columns = (!self.apart).then(|| window().1);
        let told = verdict(event, self.verbosity, &mut self.job_width, columns);
        if let Some((line, details)) = told {
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
                self.screen.scroll(&(line + &details));
            }
        }
    }

    fn tick_interval(&self) -> Option<Duration> {
        Some(if self.dirty || self.running() > 0 {
            BUSY
        } else {
            IDLE
        })
    }

    fn tick(&mut self) {
        if self.dirty || self.running() > 0 || self.screen.is_resized() {
            self.dirty = !self.screen.draw(self.text(window()));
        }
    }

    fn suspend(&mut self) {
        self.screen.clear();
        printer::settle();
        self.dirty = true;
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
            cancelled: Vec::new(),
            current: false,
        }
    }

    fn matrix() -> LiveMatrix {
        let mut matrix = LiveMatrix::new(false, Verbosity::Normal);
        matrix.symbols = Symbols::Unicode;
        matrix.commits = vec![
            watched(3, "three \x1b[31m", &["test", "lint"]),
            watched(2, "two", &["test"]),
            watched(1, "one", &["test", "lint"]),
        ];
        matrix.commits[0].refs.push("main".to_owned());
        matrix.commits[0].current = true;
        matrix.commits[2].cancelled.push("test".parse().unwrap());
        let (test, lint) = ("test".parse().unwrap(), "lint".parse().unwrap());
        let id = |n| Oid::from_bytes(&[n; 20]).unwrap();
        matrix.set(id(3), &test, Cell::Done(Some(Status::Fail)));
        matrix.set(id(2), &test, Cell::Done(None));
        matrix.set(id(1), &lint, Cell::Done(Some(Status::Pass)));
        matrix
    }

    fn shown(matrix: &LiveMatrix, rows: usize, columns: usize) -> String {
        let text = matrix.text((rows, columns)).join("\n");
        printable_styled(&text, false).into_owned()
    }

    #[test]
    fn it_shows_commits_and_jobs() {
        let mut matrix = matrix();
        insta::assert_snapshot!(shown(&matrix, 24, 70), @r"
                      test         lint
        * 0303030303  ✗ FAIL       · queued  (main) three \x1b[31m
          0202020202  - cancelled  -         two
          0101010101  - cancelled  ✓ pass    one
        waiting for commits, 1 FAILED
        ");
        // At the end nothing waits any more.
        matrix.over = true;
        assert!(!shown(&matrix, 24, 70).contains("queued"));
        matrix.symbols = Symbols::Ascii;
        assert!(shown(&matrix, 24, 70).is_ascii());
    }

    #[test]
    fn what_needs_attention_has_a_column() {
        let mut matrix = matrix();
        let jobs: Vec<_> = (0..30).map(|n| format!("job-{n}")).collect();
        let names: Vec<_> = jobs.iter().map(String::as_str).collect();
        matrix.commits = vec![watched(1, "one", &names)];
        matrix.cells.clear();
        let id = Oid::from_bytes(&[1; 20]).unwrap();
        let fails = "job-27".parse().unwrap();
        matrix.set(id, &fails, Cell::Done(Some(Status::Fail)));
        for columns in [30, 80, 120] {
            let text = shown(&matrix, 24, columns);
            assert!(text.contains("✗ FAIL") && text.contains("job-27"), "{text}");
            assert!(columns < 80 || text.contains(" more"), "{text}");
        }
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
                let text = shown(&matrix, rows, columns);
                assert!(text.lines().count() <= rows.max(3), "{rows}: {text}");
                if columns > 20 {
                    assert!(text.lines().all(|line| line.width() < columns), "{text}");
                }
                // What runs is always there.
                assert!(text.contains("0101010101"), "{text}");
            }
        }
    }
}
