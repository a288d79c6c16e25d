//! `git ci flaky`: what gave both verdicts on the same content.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::process::ExitCode;

use anstyle::Style;
use jiff::Timestamp;

use crate::error::Failure;
use crate::git::Repo;
use crate::logs::LogStore;
use crate::model::{
    DefId, EnvId, InputId, JSON_FORMAT, JobName, Oid, Platform, Record, Status, TestReport,
    TestVerdict, printable_line,
};
use crate::settings::Settings;

use super::ui::color;
use super::ui::lines::Line;
use super::ui::output;
use super::ui::pager::Page;
use super::ui::reading::{Meant, human_time};

/// List the jobs and tests that gave both verdicts on the same content.
///
/// Content is what a verdict is for: the tree, or what of it the job reads, the job's
/// definition, the platform and what else counts. A job is flaky on it that passed and failed
/// there, in one run (with `retries`) or in several, whoever ran it. Of each is said on how much
/// of what it ran on it was flaky, how many runs of that failed, and when that was last.
///
/// Tests are those of jobs with `junit`, as far as this clone has what they said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this job; may be given several times.
    #[arg(long, value_name = "NAME")]
    job: Vec<String>,

    /// Only what finished since then, as `git log --since` understands it.
    #[arg(long, value_name = "DATE")]
    since: Option<String>,

    /// Print JSON, one job or test a line.
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
    let meant = Meant::of(&repo, &settings, &records, &args.job, since)?;
    let counts = |record: &Record| meant.covers(record) && !records.is_forgotten(record);
    let mut found = Contents::default();
    for (commit, of) in records.iter() {
        for record in of.iter().filter(|record| counts(record)) {
            found.add(*commit, record);
        }
    }
    let logs = LogStore::new(&repo.ci_dir());
    let jobs = found.flaky_jobs();
    let tests = found.flaky_tests(|record| logs.tests(&record.log));

    let mut page = Page::open(&repo, args.color, !args.json)?;
    if args.json {
        page.write(
            &Line::Flaky {
                format: JSON_FORMAT,
            }
            .render(),
        )?;
        for (job, flaky) in &jobs {
            page.write(&flaky.line(job).render())?;
        }
        for ((job, suite, name), flaky) in &tests {
            page.write(
                &Line::FlakyTest {
                    job,
                    suite,
                    name,
                    runs: flaky.runs,
                    failures: flaky.failures,
                    last: flaky.last,
                    commit: flaky.commit,
                }
                .render(),
            )?;
        }
    } else {
        page.write(&text(&jobs, &tests))?;
    }
    page.close()?;
    if jobs.is_empty() && tests.is_empty() && !args.json {
        output::note("nothing gave both verdicts on the same content");
    }
    Ok(ExitCode::SUCCESS)
}

/// The jobs, and below them the tests, each with what is known of it.
fn text(jobs: &[(JobName, Flaky)], tests: &[((JobName, String, String), Flaky)]) -> String {
    let bold = Style::new().bold();
    let mut text = String::new();
    for (job, flaky) in jobs {
        let percent = 100.0 * f64::from(flaky.flaky) / f64::from(flaky.contents.max(1));
        let of = format!(
            "{} of {} contents ({percent:.1} %)",
            flaky.flaky, flaky.contents
        );
        text += &format!("{bold}{job}{bold:#}  {of}, {}\n", flaky.runs_text());
    }
    let of_job = tests.chunk_by(|a, b| a.0.0 == b.0.0);
    for tests in of_job {
        let job = &tests[0].0.0;
        text += &format!("\ntests of {bold}{job}{bold:#}\n");
        for ((_, suite, name), flaky) in tests {
            let full = match suite.as_str() {
                "" => name.clone(),
                suite => format!("{suite} {name}"),
            };
            let full = printable_line(full.as_bytes());
            text += &format!("  {full}  {}\n", flaky.runs_text());
        }
    }
    text
}

/// What is known of something that is flaky.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Flaky {
    /// On how much content it was.
    flaky: u32,
    /// On how much it ran.
    contents: u32,
    /// How often it ran where it was flaky, each try counted.
    runs: u32,
    /// How many of these failed.
    failures: u32,
    /// When the last of those runs was, and on which commit.
    last: Timestamp,
    commit: Oid,
}

impl Flaky {
    fn runs_text(&self) -> String {
        format!(
            "{} of {} runs there failed, last {} on {}",
            self.failures,
            self.runs,
            human_time(self.last),
            self.commit.short()
        )
    }

    fn line<'a>(&self, job: &'a JobName) -> Line<'a> {
        Line::FlakyJob {
            job,
            flaky: self.flaky,
            contents: self.contents,
            runs: self.runs,
            failures: self.failures,
            last: self.last,
            commit: self.commit,
        }
    }

    /// Adds what is known of more content.
    fn add(&mut self, other: &Self) {
        self.flaky += other.flaky;
        self.runs += other.runs;
        self.failures += other.failures;
        if other.last > self.last {
            (self.last, self.commit) = (other.last, other.commit);
        }
    }
}

/// What a verdict is for: a record of the same must have the same verdict.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Content {
    job: JobName,
    def: DefId,
    env: Option<EnvId>,
    on: Option<Platform>,
    of: Of,
}

/// What of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Of {
    Input(InputId),
    Tree(Oid),
    Commit(Oid),
}

/// The runs of each content.
#[derive(Default)]
struct Contents(HashMap<Content, Runs>);

/// Each once, though its record may stand in the notes of several commits; with one of these.
type Runs = BTreeMap<String, (Oid, Record)>;

impl Contents {
    fn add(&mut self, commit: Oid, record: &Record) {
        if !matches!(record.status, Status::Pass | Status::Flaky | Status::Fail) {
            return;
        }
        let of = match (record.seen.commit(), record.input) {
            (Some(commit), _) => Of::Commit(commit),
            (None, Some(input)) => Of::Input(input),
            (None, None) => Of::Tree(record.tree),
        };
        let content = Content {
            job: record.job.clone(),
            def: record.def,
            env: record.env,
            on: record.on.clone(),
            of,
        };
        let runs = self.0.entry(content).or_default();
        let run = runs.entry(record.log.to_string());
        run.or_insert_with(|| (commit, record.clone()));
    }

    /// The jobs that are flaky, those first that are it most often.
    fn flaky_jobs(&self) -> Vec<(JobName, Flaky)> {
        let mut jobs: BTreeMap<&JobName, (u32, Option<Flaky>)> = BTreeMap::new();
        for (content, runs) in &self.0 {
            let (contents, known) = jobs.entry(&content.job).or_default();
            *contents += 1;
            let Some(flaky) = flaky(runs) else {
                continue;
            };
            match known {
                Some(known) => known.add(&flaky),
                None => *known = Some(flaky),
            }
        }
        let with_contents = |(job, (contents, flaky)): (&JobName, (u32, Option<Flaky>))| {
            let flaky = flaky?;
            Some((job.clone(), Flaky { contents, ..flaky }))
        };
        let mut jobs: Vec<_> = jobs.into_iter().filter_map(with_contents).collect();
        jobs.sort_by_key(|(_, flaky)| Reverse((flaky.flaky * 1000 / flaky.contents, flaky.last)));
        jobs
    }

    /// The tests that are flaky, by their jobs, those first that fail most often.
    fn flaky_tests(
        &self,
        report: impl Fn(&Record) -> Option<TestReport>,
    ) -> Vec<((JobName, String, String), Flaky)> {
        let mut tests: BTreeMap<(JobName, String, String), Flaky> = BTreeMap::new();
        for (content, runs) in &self.0 {
            for (test, flaky) in tests_of(runs, &report) {
                let key = (content.job.clone(), test.0, test.1);
                match tests.get_mut(&key) {
                    Some(known) => known.add(&flaky),
                    None => drop(tests.insert(key, flaky)),
                }
            }
        }
        let mut tests: Vec<_> = tests.into_iter().collect();
        tests.sort_by(|(one, a), (other, b)| {
            (&one.0, Reverse((a.failures, a.last))).cmp(&(&other.0, Reverse((b.failures, b.last))))
        });
        tests
    }
}

/// What is to be said of the runs of one content, where they gave both verdicts.
fn flaky(runs: &Runs) -> Option<Flaky> {
    let (mut all, mut failures) = (0, 0);
    for (_, record) in runs.values() {
        let failed = match record.status {
            Status::Pass => 0,
            Status::Flaky => record.try_.saturating_sub(1).max(1),
            _ => record.try_,
        };
        failures += failed;
        all += match record.status {
            Status::Fail => failed,
            _ => failed + 1,
        };
    }
    let (commit, last) = runs.values().max_by_key(|(_, record)| record.finished)?;
    (failures > 0 && failures < all).then_some(Flaky {
        flaky: 1,
        contents: 0,
        runs: all,
        failures,
        last: last.finished,
        commit: *commit,
    })
}

/// The tests that gave both verdicts in the runs of one content.
fn tests_of(
    runs: &Runs,
    report: impl Fn(&Record) -> Option<TestReport>,
) -> Vec<((String, String), Flaky)> {
    let reports: Vec<_> = runs
        .values()
        .filter_map(|(commit, record)| Some((commit, record, report(record)?)))
        .collect();
    let mut names: HashSet<(&str, &str)> = HashSet::new();
    for (_, _, report) in &reports {
        names.extend(
            report
                .cases
                .iter()
                .map(|case| (&case.suite[..], &case.name[..])),
        );
    }
    let flaky = |(suite, name): (&str, &str)| {
        let (mut all, mut failures, mut last) = (0, 0, None);
        for (commit, record, report) in &reports {
            let mut cases = report.cases.iter();
            let case = cases.find(|case| (&case.suite[..], &case.name[..]) == (suite, name));
            let (runs, failed) = match case.map(|case| case.verdict) {
                Some(TestVerdict::Flaky) => (2, 1),
                Some(TestVerdict::Fail) => (1, 1),
                None if report.is_complete() => (1, 0),
                None => continue,
            };
            (all, failures) = (all + runs, failures + failed);
            if failed > 0 && last.is_none_or(|(at, _)| record.finished > at) {
                last = Some((record.finished, **commit));
            }
        }
        let (last, commit) = last?;
        (failures < all).then_some(Flaky {
            flaky: 1,
            contents: 0,
            runs: all,
            failures,
            last,
            commit,
        })
    };
    let owned = |(suite, name): (&str, &str)| (suite.to_owned(), name.to_owned());
    let found = names.into_iter();
    found
        .filter_map(|test| Some((owned(test), flaky(test)?)))
        .collect()
}
