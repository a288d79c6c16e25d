//! Commits × jobs as a table that fits the terminal.
//!
//! A cell says what it says by a symbol and a word; the colour only helps. Where the
//! columns do not fit beside each other, the table is cut into several, one below the
//! other, each with all commits. Long names of jobs are shortened in their middle, since
//! their ends (`test[mac]`) tell them apart.

use std::collections::HashSet;
use std::time::Duration;

use anstyle::Style;
use unicode_width::UnicodeWidthStr as _;

use crate::model::{Oid, Status, printable_line};

use super::symbols::Symbols;
use super::text::{human_duration, status_style};

/// The width of the column of commits.
const COMMIT: usize = 10;

/// Between columns.
const GAP: usize = 2;

/// No job's name is made shorter than this.
const SHORTEST_NAME: usize = 12;

/// A subject is worth that much width, in a narrow table a quarter of it, and is left
/// out below [`LEAST_SUBJECT`].
const SUBJECT: usize = 24;

/// See [`SUBJECT`].
const LEAST_SUBJECT: usize = 8;

/// What is known of one job on one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell {
    /// Nothing counts.
    Nothing,
    /// The job does not run on this commit.
    Apart,
    /// A verdict.
    Verdict {
        /// The verdict.
        status: Status,
        /// Of another definition of the job.
        outdated: bool,
    },
    /// It runs now, for so long.
    Running(Duration),
    /// It waits for a worker.
    Queued,
    /// It was ended on request, or before its turn.
    Cancelled,
    /// It was not run: a job that it needs did not pass.
    Blocked,
}

impl Cell {
    pub(super) fn text(self, symbols: Symbols) -> String {
        let symbol = |unicode, ascii| symbols.pick(unicode, ascii);
        match self {
            Self::Nothing => "-".to_owned(),
            Self::Apart => String::new(),
            Self::Running(elapsed) => {
                format!("{} running {}", symbol('▶', '>'), human_duration(elapsed))
            }
            Self::Queued => format!("{} queued", symbol('·', '.')),
            Self::Cancelled => "- cancelled".to_owned(),
            Self::Blocked => "- not run".to_owned(),
            Self::Verdict { status, outdated } => {
                let symbol = match status {
                    Status::Error => '!',
                    Status::Fail => symbol('✗', 'x'),
                    Status::Flaky => '~',
                    Status::Pass => symbol('✓', '+'),
                    Status::Skip => symbol('○', 'o'),
                };
                format!(
                    "{symbol} {status}{}",
                    if outdated { " (outdated)" } else { "" }
                )
            }
        }
    }

    pub(super) fn style(self) -> Style {
        match self {
            Self::Verdict { outdated: true, .. } => Style::new().dimmed(),
            Self::Verdict { status, .. } => status_style(Some(status)),
            Self::Running(_) => Style::new().bold(),
            Self::Queued | Self::Cancelled | Self::Blocked => Style::new().dimmed(),
            Self::Nothing | Self::Apart => status_style(None),
        }
    }
}

/// One commit.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// Its id.
    pub commit: Oid,
    /// Its subject, raw.
    pub subject: String,
    /// One for each column.
    pub cells: Vec<Cell>,
}

/// The table.
#[derive(Debug, Clone)]
pub(crate) struct Matrix {
    /// The names of the jobs, one for each column.
    pub jobs: Vec<String>,
    /// The commits, from the top.
    pub rows: Vec<Row>,
}

impl Matrix {
    /// The table, with colours, no wider than `width` cells where that can be done.
    pub(crate) fn render(&self, width: Option<usize>, symbols: Symbols) -> String {
        let width = width.unwrap_or(usize::MAX);
        let subject = GAP + SUBJECT.min(width / 4);
        let full: Vec<String> = self.jobs.clone();
        let columns = self.columns(&full, symbols);
        let columns = if total(&columns) + subject <= width {
            columns
        } else {
            self.columns(&shortened(&self.jobs, symbols), symbols)
        };
        let mut text = String::new();
        let mut rest = columns.as_slice();
        loop {
            let mut count = rest.len().min(1);
            while count < rest.len() && total(&rest[..=count]) + subject <= width {
                count += 1;
            }
            let (block, later) = rest.split_at(count);
            self.render_block(block, width, symbols, &mut text);
            rest = later;
            if rest.is_empty() {
                return text;
            }
            text.push('\n');
        }
    }

    fn columns(&self, names: &[String], symbols: Symbols) -> Vec<Column> {
        let column = |(index, name): (usize, &String)| {
            let cells = self.rows.iter().map(|row| row.cells.get(index));
            let cells: Vec<_> = cells
                .map(|cell| cell.copied().unwrap_or(Cell::Nothing))
                .map(|cell| (cell.text(symbols), cell.style()))
                .collect();
            let widest = cells.iter().map(|(text, _)| text.width()).max();
            Column {
                name: name.clone(),
                width: name.width().max(widest.unwrap_or(0)),
                cells,
            }
        };
        names.iter().enumerate().map(column).collect()
    }

    fn render_block(&self, columns: &[Column], width: usize, symbols: Symbols, text: &mut String) {
        let bold = Style::new().bold();
        let dim = Style::new().dimmed();
        let room = width.saturating_sub(total(columns) + GAP);
        let mut line = format!("{:<COMMIT$}", "commit");
        for column in columns {
            line += &format!("{:GAP$}{}", "", pad(&column.name, column.width));
        }
        if room >= LEAST_SUBJECT {
            line += &format!("{:GAP$}subject", "");
        }
        *text += &format!("{bold}{}{bold:#}\n", line.trim_end());
        for (index, row) in self.rows.iter().enumerate() {
            let mut line = row.commit.short();
            for column in columns {
                let (cell, style) = &column.cells[index];
                let padding = column.width - cell.width();
                line += &format!("{:GAP$}{style}{cell}{style:#}{:padding$}", "", "");
            }
            if room >= LEAST_SUBJECT {
                let subject = printable_line(row.subject.as_bytes());
                line += &format!("{:GAP$}{dim}{}{dim:#}", "", symbols.fit(&subject, room));
            }
            *text += line.trim_end();
            text.push('\n');
        }
    }
}

struct Column {
    name: String,
    width: usize,
    cells: Vec<(String, Style)>,
}

/// The width of the commits and these columns.
fn total(columns: &[Column]) -> usize {
    let each = columns.iter().map(|column| GAP + column.width);
    COMMIT + each.sum::<usize>()
}

fn pad(text: &str, width: usize) -> String {
    let padding = width.saturating_sub(text.width());
    format!("{text}{:padding$}", "")
}

/// The names, each as short as [`SHORTEST_NAME`] allows while all of them stay different.
fn shortened(names: &[String], symbols: Symbols) -> Vec<String> {
    let longest = names.iter().map(|name| name.len()).max().unwrap_or(0);
    let different: HashSet<_> = names.iter().collect();
    (SHORTEST_NAME..longest)
        .map(|width| {
            let short = |name: &String| symbols.shorten(name, width);
            names.iter().map(short).collect()
        })
        .find(|short: &Vec<String>| short.iter().collect::<HashSet<_>>().len() == different.len())
        .unwrap_or_else(|| names.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::printable_styled;

    fn matrix(jobs: &[&str]) -> Matrix {
        let verdict = |status, outdated| Cell::Verdict { status, outdated };
        let cells = [
            verdict(Status::Pass, false),
            verdict(Status::Fail, false),
            verdict(Status::Flaky, true),
            Cell::Running(Duration::from_secs(75)),
            Cell::Nothing,
            verdict(Status::Error, false),
            verdict(Status::Skip, false),
        ];
        let row = |id: &str, subject: &str, from: usize| Row {
            commit: id.repeat(40).parse().unwrap(),
            subject: subject.to_owned(),
            cells: (0..jobs.len())
                .map(|i| cells[(i + from) % cells.len()])
                .collect(),
        };
        Matrix {
            jobs: jobs.iter().map(|job| (*job).to_owned()).collect(),
            rows: vec![
                row(
                    "a",
                    "parser: take \u{1b}[31mred for what it is, and say so",
                    0,
                ),
                row("b", "文字の幅を数える文字の幅を数える文字の幅を数える", 1),
            ],
        }
    }

    fn render(jobs: &[&str], width: usize) -> String {
        let text = matrix(jobs).render(Some(width), Symbols::Unicode);
        let text = printable_styled(&text, false).into_owned();
        for line in text.lines() {
            assert!(line.width() <= width, "{} cells: {line}", line.width());
        }
        text
    }

    const JOBS: [&str; 7] = ["build", "test", "lint", "docs", "fuzz", "bench", "miri"];

    #[test]
    fn what_fits_is_one_table() {
        insta::assert_snapshot!(render(&JOBS[..3], 80), @r#"
        commit      build   test                lint                subject
        aaaaaaaaaa  ✓ pass  ✗ FAIL              ~ FLAKY (outdated)  parser: take \x1b[3…
        bbbbbbbbbb  ✗ FAIL  ~ FLAKY (outdated)  ▶ running 75.0s     文字の幅を数える文…
        "#);
        insta::assert_snapshot!(render(&JOBS, 140), @r#"
        commit      build   test                lint                docs             fuzz     bench    miri    subject
        aaaaaaaaaa  ✓ pass  ✗ FAIL              ~ FLAKY (outdated)  ▶ running 75.0s  -        ! ERROR  ○ skip  parser: take \x1b[31mred for what it…
        bbbbbbbbbb  ✗ FAIL  ~ FLAKY (outdated)  ▶ running 75.0s     -                ! ERROR  ○ skip   ✓ pass  文字の幅を数える文字の幅を数える文字…
        "#);
    }

    #[test]
    fn what_does_not_fit_is_cut_into_several() {
        insta::assert_snapshot!(render(&JOBS, 60), @r#"
        commit      build   test                subject
        aaaaaaaaaa  ✓ pass  ✗ FAIL              parser: take \x1b[3…
        bbbbbbbbbb  ✗ FAIL  ~ FLAKY (outdated)  文字の幅を数える文…

        commit      lint                subject
        aaaaaaaaaa  ~ FLAKY (outdated)  parser: take \x1b[31mred fo…
        bbbbbbbbbb  ▶ running 75.0s     文字の幅を数える文字の幅を…

        commit      docs             fuzz     subject
        aaaaaaaaaa  ▶ running 75.0s  -        parser: take \x1b[31m…
        bbbbbbbbbb  -                ! ERROR  文字の幅を数える文字…

        commit      bench    miri    subject
        aaaaaaaaaa  ! ERROR  ○ skip  parser: take \x1b[31mred for w…
        bbbbbbbbbb  ○ skip   ✓ pass  文字の幅を数える文字の幅を数え…
        "#);
    }

    #[test]
    fn long_names_lose_their_middle_and_stay_different() {
        let jobs = [
            "test[features=default,os=linux]",
            "test[features=default,os=macos]",
            "test[features=minimal,os=linux]",
        ];
        insta::assert_snapshot!(render(&jobs, 90), @r#"
        commit      test[featur…t,os=linux]  test[featur…t,os=macos]  subject
        aaaaaaaaaa  ✓ pass                   ✗ FAIL                   parser: take \x1b[31mred fo…
        bbbbbbbbbb  ✗ FAIL                   ~ FLAKY (outdated)       文字の幅を数える文字の幅を…

        commit      test[featur…l,os=linux]  subject
        aaaaaaaaaa  ~ FLAKY (outdated)       parser: take \x1b[31mred for what it is, and say so
        bbbbbbbbbb  ▶ running 75.0s          文字の幅を数える文字の幅を数える文字の幅を数える
        "#);
    }

    #[test]
    fn ascii_is_enough() {
        let text = matrix(&JOBS).render(None, Symbols::Ascii);
        let first = text.lines().nth(1).unwrap();
        assert!(first.is_ascii(), "{first}");
    }
}
