//! `git ci stats`: how often jobs pass, how long they take, and what reuse has saved.

use std::collections::{BTreeMap, HashMap};
use std::process::ExitCode;
use std::time::Duration;

use anstyle::Style;

use crate::error::Failure;
use crate::git::Repo;
use crate::model::{JSON_FORMAT, JobName, LogId, Oid, Record, Status};
use crate::reporter::human_duration;
use crate::settings::Settings;

use super::ui::color;
use super::ui::lines::Line;
use super::ui::output;
use super::ui::pager::Page;
use super::ui::reading::{Meant, millis};

/// Say how often jobs pass, how long they take, and what reuse has saved.
///
/// Of each job: how often it ran, and how many of those runs passed (those that flaked
/// included); how long a run takes that reached a verdict, by the median and the ninth
/// decile, and the longest; and how often a verdict was taken over for another commit, with the
/// running time that would have taken.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this job; the name of a matrix means all of its jobs, and `*` any text.
    #[arg(value_name = "JOB")]
    job: Option<String>,

    /// Only what finished since then, as `git log --since` understands it.
    #[arg(long, value_name = "DATE")]
    since: Option<String>,

    /// Print JSON, one job a line.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    color: color::ColorArgs,
}

/// Counts, and prints.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    let repo = Repo::discover()?;
    let settings = Settings::of(&repo)?;
    let records = super::ui::reading::records(&repo, &settings)?;
    let since = args.since.as_deref();
    let meant = Meant::of(&repo, &settings, &records, args.job.as_slice(), since)?;
    let mut jobs: BTreeMap<JobName, Runs> = BTreeMap::new();
    for (commit, of) in records.iter() {
        for record in of.iter().filter(|record| meant.covers(record)) {
            let runs = jobs.entry(record.job.clone()).or_default();
            runs.add(*commit, record);
        }
    }
    let mut page = Page::open(&repo, args.color, !args.json)?;
    if args.json {
        let format = JSON_FORMAT;
        page.write(&Line::Stats { format }.render())?;
    }
    let all: Vec<_> = jobs.iter().map(|(job, runs)| (job, runs.stats())).collect();
    if args.json {
        for (job, stats) in &all {
            page.write(&stats.line(job).render())?;
        }
    } else {
        page.write(&text(&all))?;
    }
    page.close()?;
    if all.is_empty() && !args.json {
        output::note("no such records");
    }
    Ok(ExitCode::SUCCESS)
}

/// The runs of one job, each once: a record may stand in the notes of several commits.
#[derive(Default)]
struct Runs<'r>(HashMap<&'r LogId, Run<'r>>);

struct Run<'r> {
    record: &'r Record,
    /// In how many notes it stands, and the first of these commits by its id.
    notes: u64,
    commit: Oid,
}

/// What there is to say of a job.
#[derive(Debug, Default, PartialEq, Eq)]
struct Stats {
    runs: u64,
    passed: u64,
    flaky: u64,
    failed: u64,
    errored: u64,
    skipped: u64,
    /// Of those that reached a verdict.
    median: Duration,
    ninth: Duration,
    longest: Option<(Duration, Oid)>,
    reused: u64,
    saved: Duration,
}

impl<'r> Runs<'r> {
    fn add(&mut self, commit: Oid, record: &'r Record) {
        let run = self.0.entry(&record.log).or_insert(Run {
            record,
            notes: 0,
            commit,
        });
        run.notes += 1;
        run.commit = run.commit.min(commit);
    }

    fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        let mut took = Vec::new();
        for run in self.0.values() {
            let record = run.record;
            stats.runs += 1;
            *match record.status {
                Status::Pass => &mut stats.passed,
                Status::Flaky => &mut stats.flaky,
                Status::Fail => &mut stats.failed,
                Status::Error => &mut stats.errored,
                Status::Skip => &mut stats.skipped,
            } += 1;
            if !matches!(record.status, Status::Error | Status::Skip) {
                took.push((record.duration, run.commit));
            }
            let reused = run.notes - 1;
            stats.reused += reused;
            let times = u32::try_from(reused).unwrap_or(u32::MAX);
            stats.saved += record.duration.saturating_mul(times);
        }
        took.sort_unstable();
        let at = |part: usize| took.get(took.len() * part / 10).or(took.last());
        stats.median = at(5).map(|(took, _)| *took).unwrap_or_default();
        stats.ninth = at(9).map(|(took, _)| *took).unwrap_or_default();
        stats.longest = took.last().copied();
        stats
    }
}

impl Stats {
    /// How many of the runs that reached a verdict passed, in per cent.
    fn rate(&self) -> Option<f64> {
        let good = self.passed + self.flaky;
        let all = good + self.failed;
        (all > 0).then(|| 100.0 * good as f64 / all as f64)
    }

    fn line<'a>(&self, job: &'a JobName) -> Line<'a> {
        Line::JobStats {
            job,
            runs: self.runs,
            passed: self.passed,
            flaky: self.flaky,
            failed: self.failed,
            errored: self.errored,
            skipped: self.skipped,
            median_ms: millis(self.median),
            ninth_decile_ms: millis(self.ninth),
            longest_ms: self.longest.map(|(took, _)| millis(took)),
            longest_on: self.longest.map(|(_, commit)| commit),
            reused: self.reused,
            saved_ms: millis(self.saved),
        }
    }
}

/// A table, one job a line.
fn text(all: &[(&JobName, Stats)]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let titles = [
        "job", "runs", "passed", "median", "90 %", "longest", "reused", "saved",
    ];
    let mut rows = vec![titles.map(str::to_owned)];
    for (job, stats) in all {
        let rate = stats.rate();
        let longest = stats.longest.map_or_else(String::new, |(took, commit)| {
            format!("{} on {}", human_duration(took), commit.short())
        });
        rows.push([
            job.to_string(),
            stats.runs.to_string(),
            rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0} %")),
            human_duration(stats.median),
            human_duration(stats.ninth),
            longest,
            stats.reused.to_string(),
            human_duration(stats.saved),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..titles.len()).map(|at| width(at).unwrap_or(0)).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let mut line = format!("{:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            line += &format!("  {cell:>width$}", width = *width);
        }
        if number == 0 {
            let dim = Style::new().dimmed();
            line = format!("{dim}{line}{dim:#}");
        }
        text += &(line + "\n");
    }
    text
}
