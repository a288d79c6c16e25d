//! `git ci log`: records, newest first.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ffi::OsString;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;

use crate::error::Failure;
use crate::git::{CommitReader, Repo, revs};
use crate::logs::LogStore;
use crate::model::{Commit, JSON_FORMAT, JobName, Oid, Record, Status, TestReport};
use crate::notes::Records;
use crate::reporter::{
    JOB_WIDTH, human_duration, status_style, subject_text, test_counts_text, tests_text, why_text,
};
use crate::settings::Settings;
use crate::verdict::Standing;

use super::ui::lines::{Line, RecordLine};
use super::ui::pager::Page;
use super::ui::reading::{Configured, human_time};
use super::ui::select::{ConfigArgs, RevArgs};
use super::ui::{color, output, reading, slips};

/// Show the records, newest first.
///
/// One line for each: the verdict, the commit, the job, the running time, when and where
/// it finished, why it did not pass, and the commit's subject. Without a revision these
/// are all records that there are, also those of commits that no branch holds any more;
/// paths after `--` leave those of commits that change something there.
///
/// A record marked "outdated" is of a job that is defined otherwise by now; one marked
/// "stale" is of other contents or of another commit, and says nothing about this one. One
/// of "another platform", of "surroundings" that have "changed" or that is "forgotten" does
/// not count either.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    revs: RevArgs,

    /// Only records of commits that change something at one of these paths, after `--`.
    #[arg(value_name = "PATH", last = true)]
    paths: Vec<OsString>,

    /// Show this many records at most; `-5` is the same as `-n 5`.
    #[arg(short = 'n', long, value_name = "N")]
    max_count: Option<usize>,

    /// Only the commit, the verdict, the job and the subject of each record.
    #[arg(long, conflicts_with = "json")]
    oneline: bool,

    /// Only records with one of these verdicts: error, fail, flaky, pass, skip.
    #[arg(long, value_name = "STATUS,...", value_delimiter = ',', value_parser = status)]
    status: Vec<Status>,

    /// Only what failed: the same as `--status=error,fail`.
    #[arg(long, conflicts_with = "status")]
    failed: bool,

    /// Only records from this time on, written as for `git log --since`.
    #[arg(long, value_name = "DATE")]
    since: Option<String>,

    /// Below each record the tests that failed or are flaky, of jobs with `junit`.
    #[arg(long, conflicts_with = "oneline")]
    tests: bool,

    #[command(flatten)]
    config: ConfigArgs,

    /// Print JSON, one record a line.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    color: color::ColorArgs,
}

fn status(text: &str) -> Result<Status, String> {
    let mut all = Status::ALL.into_iter();
    all.find(|status| status.as_str().eq_ignore_ascii_case(text))
        .ok_or_else(|| "it is one of error, fail, flaky, pass, skip".to_owned())
}

/// Which records are wanted.
struct Filter {
    statuses: Vec<Status>,
    jobs: Vec<JobName>,
    since: Option<Timestamp>,
}

impl Filter {
    fn accepts(&self, record: &Record) -> bool {
        (self.statuses.is_empty() || self.statuses.contains(&record.status))
            && (self.jobs.is_empty() || self.jobs.contains(&record.job))
            && self.since.is_none_or(|since| record.finished >= since)
    }
}

/// Collects, sorts, prints.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    let repo = Repo::discover()?;
    let settings = Settings::of(&repo)?;
    let selected = if args.revs.is_empty() {
        None
    } else {
        Some(args.revs.commits(&repo, "HEAD").map_err(|failure| {
            // As `git log` takes a path where no revision has that name.
            let mut words = args.revs.revs.iter();
            match words.find_map(|word| slips::path_of(&word.to_string_lossy())) {
                Some(hint) if args.paths.is_empty() => failure.hint(hint),
                _ => failure,
            }
        })?)
    };
    let records = super::ui::reading::records(&repo, &settings)?;
    let mut configured = Configured::load(&args.config, &repo, &settings)?;
    let filter = Filter {
        statuses: if args.failed {
            vec![Status::Error, Status::Fail]
        } else {
            args.status.clone()
        },
        jobs: configured.check_names(
            &args.config.choice(),
            configured.same().unwrap_or_default(),
            &records,
            &[],
        )?,
        since: match &args.since {
            Some(date) => Timestamp::from_second(revs::since(&repo, date)?).ok(),
            None => None,
        },
    };
    let mut found = collect(&records, selected.as_deref(), &filter);
    if !args.paths.is_empty() {
        let mut ids: Vec<_> = found.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        let touching = revs::touching(&repo, ids.into_iter(), &args.paths)?;
        found.retain(|(id, _)| touching.contains(id));
    }
    if found.is_empty() && !args.json {
        output::note("no such records");
    }
    let commits = Commits::new(&repo, selected.as_deref());
    let widths = Widths::of(&found);
    let mut page = Page::open(&repo, args.color, !args.json)?;
    if args.json {
        page.write(
            &Line::Log {
                format: JSON_FORMAT,
            }
            .render(),
        )?;
    }
    let logs = args.tests.then(|| LogStore::new(&repo.ci_dir()));
    let mut left = args.max_count.unwrap_or(usize::MAX);
    // Most records are never looked at, so that reading their commits must wait until
    // they are shown.
    for same_time in found.chunk_by_mut(|a, b| a.1.finished == b.1.finished) {
        if left == 0 || page.is_closed() {
            break;
        }
        commits.sort(same_time);
        for &(id, record) in same_time.iter().take(left) {
            let commit = commits.find(&id);
            let standing = match &commit {
                Some(commit) => {
                    let jobs = configured.of(commit)?;
                    Some(reading::standing(&records, commit, &jobs, record))
                }
                None => None,
            };
            let subject = commit.as_ref().map(|commit| commit.subject.as_str());
            if args.json {
                let mut line = RecordLine::new(record, id);
                (line.subject, line.standing) = (subject, standing);
                line.tests = logs.as_ref().and_then(|logs| logs.tests(&record.log));
                page.write(&Line::Record(line).render())?;
            } else {
                page.write(&if args.oneline {
                    one_line(&id, record, subject, &widths)
                } else {
                    let line = render(&id, record, standing, subject, &widths);
                    let tests = logs.as_ref().and_then(|logs| logs.tests(&record.log));
                    line + &tests.map_or_else(String::new, |tests| {
                        tests_text(&tests, TestReport::MOST_CASES)
                    })
                })?;
            }
        }
        left -= same_time.len().min(left);
    }
    page.close()?;
    Ok(ExitCode::SUCCESS)
}

/// The wanted records of the wanted commits, newest first.
fn collect<'r>(
    records: &'r Records,
    selected: Option<&[Commit]>,
    filter: &Filter,
) -> Vec<(Oid, &'r Record)> {
    let mut found = Vec::new();
    let mut take = |id: Oid, of: &'r [Record]| {
        let wanted = of.iter().filter(|record| filter.accepts(record));
        found.extend(wanted.map(|record| (id, record)));
    };
    match selected {
        None => records.iter().for_each(|(id, of)| take(*id, of)),
        Some(commits) => {
            let each = commits.iter();
            each.for_each(|commit| take(commit.id, records.of(&commit.id)));
        }
    }
    found.sort_by_key(|(_, record)| Reverse(record.finished));
    found
}

/// The commits of records: those that were selected, in that order, or any.
struct Commits {
    reader: CommitReader,
    selected: HashMap<Oid, (usize, Commit)>,
}

impl Commits {
    fn new(repo: &Repo, selected: Option<&[Commit]>) -> Self {
        let each = selected.unwrap_or_default().iter().enumerate();
        Self {
            reader: CommitReader::new(repo),
            selected: each.map(|(i, one)| (one.id, (i, one.clone()))).collect(),
        }
    }

    fn find(&self, id: &Oid) -> Option<Commit> {
        match self.selected.get(id) {
            Some((_, commit)) => Some(commit.clone()),
            None => self.reader.find(id),
        }
    }

    /// Sorts records of the same second: by their commits, newest first, then as in a note.
    fn sort(&self, records: &mut [(Oid, &Record)]) {
        if records.len() > 1 {
            records.sort_by_cached_key(|(id, record)| {
                let place = self.selected.get(id).map(|(place, _)| *place);
                let time = match place {
                    Some(_) => None,
                    None => self.reader.find(id).map(|commit| commit.time),
                };
                (place, Reverse(time), *id, record.status, record.job.clone())
            });
        }
    }
}

/// The widths of columns.
struct Widths {
    job: usize,
    runner: usize,
    /// Of all together.
    columns: Option<usize>,
}

impl Widths {
    fn of(found: &[(Oid, &Record)]) -> Self {
        let widest = |width: fn(&Record) -> usize| {
            let widths = found.iter().map(|(_, record)| width(record));
            widths.max().unwrap_or(0)
        };
        Self {
            job: widest(|record| record.job.as_str().len()).min(JOB_WIDTH),
            runner: widest(|record| record.runner.as_str().len()),
            columns: output::columns(),
        }
    }
}

/// A record as `git log --oneline` shows a commit.
fn one_line(id: &Oid, record: &Record, subject: Option<&str>, widths: &Widths) -> String {
    let yellow = Style::new().fg_color(Some(AnsiColor::Yellow.into()));
    let style = status_style(Some(record.status));
    let line = format!(
        "{yellow}{}{yellow:#} {style}{:<5}{style:#} {:<job$} ",
        id.short(),
        record.status,
        record.job,
        job = widths.job,
    );
    ended(line, subject, widths)
}

fn render(
    id: &Oid,
    record: &Record,
    standing: Option<Standing>,
    subject: Option<&str>,
    widths: &Widths,
) -> String {
    let style = status_style(Some(record.status));
    let line = format!(
        "{style}{:<5}{style:#} {} {:<job$} {:>7}  {}  {:<runner$}  {}",
        record.status,
        id.short(),
        record.job,
        human_duration(record.duration),
        human_time(record.finished),
        record.runner,
        remarks(record, standing.and_then(Standing::mark)),
        job = widths.job,
        runner = widths.runner,
    );
    ended(line, subject, widths)
}

/// A line with the commit's subject at its end, as far as there is room.
fn ended(line: String, subject: Option<&str>, widths: &Widths) -> String {
    let subject = subject.unwrap_or("(not in this repository)");
    let subject = subject_text(subject, &line, widths.columns);
    (line + &subject).trim_end().to_owned() + "\n"
}

/// Why a record says what it says, and what it is worth, in parentheses and with a space
/// behind them; nothing where there is nothing to say.
pub(super) fn remarks(record: &Record, mark: Option<&str>) -> String {
    let why = record.why.map(why_text);
    let tests = test_counts_text(record.tests);
    let mark = mark.map(str::to_owned);
    let remarks: Vec<_> = why.into_iter().chain(tests).chain(mark).collect();
    if remarks.is_empty() {
        return String::new();
    }
    format!("({}) ", remarks.join(", "))
}
