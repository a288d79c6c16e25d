//! `git ci status`: commits × jobs, what runs now, and what waits.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anstyle::Style;
use jiff::Timestamp;

use crate::error::Failure;
use crate::git::{CommitReader, Repo, revs};
use crate::model::{Commit, JSON_FORMAT, JobName};
use crate::notes::Records;
use crate::plan::PlannedJob;
use crate::reporter::{Cell, Matrix, Row, Symbols, human_duration};
use crate::settings::Settings;
use crate::verdict::{Standing, Verdict};

use super::ui::color;
use super::ui::lines::{CellLine, Line, RecordLine};
use super::ui::output;
use super::ui::pager::Page;
use super::ui::processes::Processes;
use super::ui::reading::{Configured, Running, judge, millis, running, safe};
use super::ui::select::{ConfigArgs, RevArgs};

/// So many commits are shown where the branch has no commits of its own.
const LAST: usize = 10;

/// So many of a branch's own commits are shown unless `-n` says otherwise.
const OWN: usize = 25;

/// Show what is known of each commit, and what runs and waits now.
///
/// Without a revision, the commits of the current branch that are not in its upstream,
/// the newest 25 of them; where there are none, or the branch has no upstream, the last
/// 10 commits of HEAD.
///
/// Each commit is a row, each configured job a column; without a jobs file, each job on
/// record is one. A cell holds the verdict that counts: the newest of the job as it is
/// defined now, on the same contents and a platform that is here, in whosever note; else
/// the newest of another definition or platform, marked "(outdated)". `-` is a job with no verdict on that commit.
///
/// What runs and waits now is shown whichever `git ci run` or `git ci watch` has it: the
/// first thousand waiting tasks of each are marked "queued", and all are counted.
///
/// The exit code is 0, whatever the verdicts are: this is a report.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    revs: RevArgs,

    /// Show this many commits at most; `-5` is the same as `-n 5`.
    #[arg(short = 'n', long, value_name = "N")]
    max_count: Option<usize>,

    #[command(flatten)]
    config: ConfigArgs,

    /// Print JSON: one commit a line, then one running task a line, then each run and the watcher.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    color: color::ColorArgs,
}

/// The commits that are shown, and what to call them.
struct Shown {
    commits: Vec<Commit>,
    /// What they are, where the user did not say.
    title: Option<String>,
    /// More of the same that are left out.
    more: usize,
}

/// Finds the commits, judges them, draws the table.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    let repo = Repo::discover()?;
    let settings = Settings::of(&repo)?;
    let shown = shown(&args, &repo)?;
    let records = super::ui::reading::records(&repo, &settings)?;
    let mut configured = Configured::load(&args.config, &repo, &settings)?;
    let running = running(&repo);
    let processes = Processes::ask(&repo);

    let mut jobs_of = Vec::with_capacity(shown.commits.len());
    for commit in &shown.commits {
        jobs_of.push(configured.of(commit)?);
    }
    let columns = columns(
        &args,
        &configured,
        &jobs_of,
        &shown.commits,
        &records,
        &running,
    )?;
    let judged: Vec<_> = shown
        .commits
        .iter()
        .zip(&jobs_of)
        .map(|(commit, jobs)| Judged::new(commit, jobs, &columns, &records, &running, &processes))
        .collect();

    let mut page = Page::open(&repo, args.color, false)?;
    if args.json {
        page.write(&json(&columns, &judged, &running))?;
        for line in processes.lines() {
            page.write(&line.render())?;
        }
    } else {
        if judged.is_empty() {
            output::note("no commits in that range");
        } else if columns.is_empty() && configured.is_broken() {
            output::note("no records of these commits");
        } else if columns.is_empty() {
            output::note("no jobs are configured here, and none are on record");
        }
        page.write(&render(&shown, &columns, &judged))?;
        let now = running_text(&repo, &running) + &processes.text();
        if !judged.is_empty() && !now.is_empty() {
            page.write("\n")?;
        }
        page.write(&now)?;
    }
    page.close()?;
    Ok(ExitCode::SUCCESS)
}

fn shown(args: &Args, repo: &Repo) -> Result<Shown, Failure> {
    let max = args.max_count.unwrap_or(usize::MAX);
    if !args.revs.is_empty() {
        let mut commits = args.revs.commits(repo, "HEAD")?;
        let more = commits.len().saturating_sub(max);
        commits.truncate(max);
        return Ok(Shown {
            commits,
            title: None,
            more,
        });
    }
    if let Some(upstream) = revs::upstream(repo) {
        let mut commits = args.revs.commits(repo, "@{upstream}..HEAD")?;
        if !commits.is_empty() {
            let max = args.max_count.unwrap_or(OWN);
            let more = commits.len().saturating_sub(max);
            commits.truncate(max);
            return Ok(Shown {
                commits,
                title: Some(format!("Commits that are not in {upstream}:")),
                more,
            });
        }
    }
    Ok(Shown {
        commits: revs::last(repo, args.max_count.unwrap_or(LAST))?,
        title: Some("The last commits:".to_owned()),
        more: 0,
    })
}

/// The jobs that have a column: those that the user named, else those that are
/// configured, else those on record.
fn columns(
    args: &Args,
    of: &Configured<'_>,
    jobs_of: &[Arc<[PlannedJob]>],
    commits: &[Commit],
    records: &Records,
    running: &[Running],
) -> Result<Vec<JobName>, Failure> {
    let mut configured: Vec<PlannedJob> = Vec::new();
    let mut seen = BTreeSet::new();
    for jobs in jobs_of.chunk_by(Arc::ptr_eq) {
        for job in jobs[0].iter() {
            if seen.insert(&job.job.name) {
                configured.push(job.clone());
            }
        }
    }
    if !args.config.job.is_empty() || !args.config.skip.is_empty() {
        return of.check_names(&args.config.choice(), &configured, records, running);
    }
    let of_commits = commits.iter().flat_map(|commit| records.of(&commit.id));
    let names: BTreeSet<_> = of_commits.map(|record| record.job.clone()).collect();
    if !configured.is_empty() {
        let is_shown = |job: &&PlannedJob| !job.job.on_request || names.contains(&job.job.name);
        let shown = configured.iter().filter(is_shown);
        return Ok(shown.map(|job| job.job.name.clone()).collect());
    }
    Ok(names.into_iter().collect())
}

/// One commit with what counts for each column.
struct Judged<'a> {
    commit: &'a Commit,
    verdicts: Vec<Option<Verdict>>,
    now: Vec<Now>,
}

/// What goes on for a commit and a job.
#[derive(Clone, Copy)]
enum Now {
    Nothing,
    /// The job is none of the commit's: branches reach others.
    Apart,
    Waits,
    Runs(Duration),
}

impl<'a> Judged<'a> {
    fn new(
        commit: &'a Commit,
        jobs: &[PlannedJob],
        columns: &[JobName],
        records: &Records,
        running: &[Running],
        processes: &Processes,
    ) -> Self {
        let now = |name: &JobName| {
            let mut tasks = running.iter();
            let here = tasks.find(|task| task.commit == commit.id && task.job == *name);
            // One on another machine has no slot here.
            let elsewhere = || processes.runs(commit.id, name);
            match here.map(|task| task.elapsed).or_else(elsewhere) {
                Some(elapsed) => Now::Runs(elapsed),
                None if processes.waits(commit.id, name) => Now::Waits,
                None if !jobs.is_empty() && jobs.iter().all(|job| job.job.name != *name) => {
                    Now::Apart
                }
                None => Now::Nothing,
            }
        };
        let each = columns.iter();
        Self {
            commit,
            verdicts: each
                .clone()
                .map(|name| judge(records, commit, jobs, name))
                .collect(),
            now: each.map(now).collect(),
        }
    }

    fn row(&self) -> Row {
        let cell = |(verdict, now): (&Option<Verdict>, &Now)| match (now, verdict) {
            (Now::Runs(elapsed), _) => Cell::Running(*elapsed),
            (Now::Waits, _) => Cell::Queued,
            (Now::Nothing | Now::Apart, Some(verdict)) => Cell::Verdict {
                status: verdict.record.status,
                outdated: is_old(verdict),
            },
            (Now::Nothing, None) => Cell::Nothing,
            (Now::Apart, None) => Cell::Apart,
        };
        Row {
            commit: self.commit.id,
            subject: self.commit.subject.clone(),
            cells: self.verdicts.iter().zip(&self.now).map(cell).collect(),
        }
    }
}

/// Whether a run would not take a verdict for one of the job as it is now and here.
fn is_old(verdict: &Verdict) -> bool {
    !matches!(verdict.standing, Standing::Current | Standing::Unconfigured)
}

fn render(shown: &Shown, columns: &[JobName], judged: &[Judged<'_>]) -> String {
    let mut text = String::new();
    if judged.is_empty() {
        return text;
    }
    if let Some(title) = &shown.title {
        text += &format!("{}\n", safe(title));
    }
    let matrix = Matrix {
        jobs: columns.iter().map(JobName::to_string).collect(),
        rows: judged.iter().map(Judged::row).collect(),
    };
    text += &matrix.render(output::columns(), Symbols::here());
    let dim = Style::new().dimmed();
    let mut foot = |note: String| text += &format!("{dim}{note}{dim:#}\n");
    let mut verdicts = judged.iter().flat_map(|one| one.verdicts.iter().flatten());
    if verdicts.any(is_old) {
        foot("(outdated): of the job as it was defined before, or of other surroundings; it would run again".to_owned());
    }
    if shown.more > 0 {
        foot(format!("and {} commits more", shown.more));
    }
    text
}

fn running_text(repo: &Repo, running: &[Running]) -> String {
    let mut text = String::new();
    if running.is_empty() {
        return text;
    }
    let bold = Style::new().bold();
    let commits = CommitReader::new(repo);
    let width = running.iter().map(|task| task.job.as_str().len()).max();
    text += "Running now:\n";
    for task in running {
        let commit = commits.find(&task.commit);
        let subject = commit.as_ref().map_or("", |commit| commit.subject.as_str());
        text += &format!(
            "  slot {:<2} {} {bold}{:<width$}{bold:#} {:>7}  process {}  {}\n",
            task.slot,
            task.commit.short(),
            task.job,
            human_duration(task.elapsed),
            task.pid,
            safe(subject),
            width = width.unwrap_or(0),
        );
    }
    text
}

fn json(columns: &[JobName], judged: &[Judged<'_>], running: &[Running]) -> String {
    let mut text = Line::Status {
        format: JSON_FORMAT,
        jobs: columns.iter().collect(),
    }
    .render();
    for one in judged {
        let mut cells = Vec::with_capacity(columns.len());
        for ((job, verdict), now) in columns.iter().zip(&one.verdicts).zip(&one.now) {
            let record = verdict.as_ref().map(|verdict| RecordLine {
                subject: Some(&one.commit.subject),
                standing: Some(verdict.standing),
                counts: Some(true),
                from: verdict.from,
                ..RecordLine::new(&verdict.record, one.commit.id)
            });
            cells.push(CellLine {
                job,
                running: matches!(now, Now::Runs(_)),
                queued: matches!(now, Now::Waits),
                record,
            });
        }
        let line = Line::Commit {
            commit: one.commit.id,
            subject: &one.commit.subject,
            cells,
        };
        text += &line.render();
    }
    for task in running {
        let line = Line::Running {
            slot: task.slot,
            commit: task.commit,
            job: &task.job,
            since: i64::try_from(task.since)
                .ok()
                .and_then(|seconds| Timestamp::from_second(seconds).ok()),
            elapsed_ms: millis(task.elapsed),
            pid: task.pid,
            log: task.log.as_ref(),
        };
        text += &line.render();
    }
    text
}
