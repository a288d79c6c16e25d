//! `git ci blame`: since when a job fails, and which commit began it.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use crate::config::JobChoice;
use crate::error::Failure;
use crate::git::Repo;
use crate::git::revs;
use crate::logs::LogStore;
use crate::model::{
    Commit, JSON_FORMAT, JobName, Record, Status, TestCase, TestReport, TestVerdict, printable_line,
};
use crate::notes::Records;
use crate::plan::PlannedJob;
use crate::reporter::counted;
use crate::settings::Settings;
use crate::verdict::Standing;
use anstyle::Style;

use super::run;
use super::ui::launch;
use super::ui::lines::Line;
use super::ui::pager::Page;
use super::ui::reading::{Configured, judge, safe};
use super::ui::select::{self, ConfigArgs};
use super::ui::{color, output};

/// So far back is looked, in commits.
const BACK: usize = 10_000;

/// So many files that a commit has changed are listed.
const FILES: usize = 8;

/// So many failing tests of a job are looked into where none is named.
const TESTS: usize = 10;

/// Say since when a job fails, and which commit began it.
///
/// It goes back along first parents from HEAD, through the verdicts that are on record: to the
/// oldest failure with no pass after it, and the last pass before that. Where commits between
/// the two have no verdict, it is one of several that began it; `--run` finds out which. Without
/// a job it is said of all that fail.
///
/// Of a job with `junit` the same is said of its tests.
///
/// Exit codes: 0 where nothing fails, 1 where something does.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The job; without it all that fail.
    #[arg(value_name = "JOB")]
    job: Option<String>,

    /// One of its tests, by its name, with what it is grouped under or without.
    #[arg(value_name = "TEST")]
    test: Option<String>,

    /// Begin at this commit.
    #[arg(long, value_name = "REV", default_value = "HEAD")]
    rev: OsString,

    /// Run the job on commits between that have no verdict, as few as it takes.
    #[arg(long, requires = "job")]
    run: bool,

    /// Print JSON, one job or test a line.
    #[arg(long, conflicts_with = "run")]
    json: bool,

    #[command(flatten)]
    color: color::ColorArgs,
}

/// What is known of one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Passes,
    Fails,
    Nothing,
}

/// Since when something fails, as places in a history that begins with the newest commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Since {
    /// The oldest failure with no pass after it.
    first: usize,
    /// The last pass before it.
    pass: Option<usize>,
}

impl Since {
    /// `None` where it does not fail, as far as that is known.
    fn of(history: impl Iterator<Item = Known>) -> Option<Self> {
        let mut first = None;
        for (at, known) in history.enumerate() {
            match (known, first) {
                (Known::Fails, _) => first = Some(at),
                (Known::Passes, Some(first)) => {
                    let pass = Some(at);
                    return Some(Self { first, pass });
                }
                (Known::Passes, None) => return None,
                (Known::Nothing, _) => {}
            }
        }
        first.map(|first| Self { first, pass: None })
    }

    /// The commits that may have begun it, the oldest failure included: the newest first.
    fn suspects(self) -> std::ops::Range<usize> {
        self.first..self.pass.unwrap_or(self.first + 1)
    }
}

/// The commits, the newest first, with what each one's jobs are.
struct History<'a> {
    repo: &'a Repo,
    records: Records,
    logs: LogStore,
    commits: Vec<(Commit, Arc<[PlannedJob]>)>,
}

/// A test, by what it is grouped under and its name.
type Test = (String, String);

impl History<'_> {
    fn record(&self, at: usize, job: &JobName) -> Option<Record> {
        let (commit, jobs) = &self.commits[at];
        let found = judge(&self.records, commit, jobs, job)?;
        let counts = matches!(
            found.standing,
            Standing::Current | Standing::Outdated | Standing::Unconfigured
        );
        counts.then_some(found.record)
    }

    /// What is known of a job, or of a test of it.
    fn known(&self, at: usize, job: &JobName, test: Option<&Test>) -> Known {
        let Some(record) = self.record(at, job) else {
            return Known::Nothing;
        };
        let Some(test) = test else {
            return match record.status {
                Status::Pass | Status::Flaky => Known::Passes,
                Status::Fail => Known::Fails,
                Status::Skip | Status::Error => Known::Nothing,
            };
        };
        let report = self.logs.tests(&record.log);
        match (record.status, report) {
            (Status::Pass | Status::Flaky, _) => Known::Passes,
            (Status::Fail, Some(report)) => {
                let is_it = |case: &&TestCase| (&case.suite, &case.name) == (&test.0, &test.1);
                match report.cases.iter().find(is_it).map(|case| case.verdict) {
                    Some(TestVerdict::Fail) => Known::Fails,
                    Some(TestVerdict::Flaky) => Known::Passes,
                    None if report.is_complete() => Known::Passes,
                    None => Known::Nothing,
                }
            }
            _ => Known::Nothing,
        }
    }

    fn since(&self, job: &JobName, test: Option<&Test>) -> Option<Since> {
        let all = 0..self.commits.len();
        Since::of(all.map(|at| self.known(at, job, test)))
    }

    /// What the tests said where the job fails last.
    fn report(&self, job: &JobName) -> Option<TestReport> {
        let mut all = 0..self.commits.len();
        let at = all.find(|at| self.known(*at, job, None) != Known::Nothing)?;
        self.logs.tests(&self.record(at, job)?.log)
    }
}

/// Looks, runs what is missing where that is wanted, and says.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    let repo = Repo::discover()?;
    let settings = Settings::of(&repo)?;
    let mut history = history(&repo, &settings, &args)?;
    let jobs = match &args.job {
        Some(word) => vec![meant(&repo, &settings, &history, word)?],
        None => {
            let of_tip = history.commits[0].1.iter();
            of_tip.map(|planned| planned.job.name.clone()).collect()
        }
    };
    let mut found: Vec<(JobName, Option<Test>, Since)> = Vec::new();
    for job in jobs {
        let report = history.report(&job);
        if let Some(word) = &args.test {
            let test = named(report.as_ref(), word, &job)?;
            if args.run
                && let Some(code) = find_out(&mut history, &settings, &job, Some(&test))?
            {
                return Ok(code);
            }
            let since = history.since(&job, Some(&test));
            found.extend(since.map(|since| (job, Some(test), since)));
            continue;
        }
        if args.run
            && let Some(code) = find_out(&mut history, &settings, &job, None)?
        {
            return Ok(code);
        }
        let Some(since) = history.since(&job, None) else {
            continue;
        };
        found.push((job.clone(), None, since));
        let cases = report.map_or_else(Vec::new, |report| report.cases);
        let failed = cases
            .into_iter()
            .filter(|case| case.verdict == TestVerdict::Fail);
        for case in failed.take(TESTS) {
            let test = (case.suite, case.name);
            let since = history.since(&job, Some(&test));
            found.extend(since.map(|since| (job.clone(), Some(test), since)));
        }
    }
    let mut page = Page::open(&repo, args.color, !args.json)?;
    if args.json {
        let commit = history.commits[0].0.id;
        let format = JSON_FORMAT;
        page.write(&Line::Blame { format, commit }.render())?;
    }
    for (job, test, since) in &found {
        page.write(&if args.json {
            json(&history, job, test.as_ref(), *since)
        } else {
            text(&history, job, test.as_ref(), *since)?
        })?;
    }
    page.close()?;
    if found.is_empty() && !args.json {
        output::note("nothing fails, as far as there are verdicts");
    }
    Ok(ExitCode::from(u8::from(!found.is_empty())))
}

fn history<'a>(repo: &'a Repo, settings: &Settings, args: &Args) -> Result<History<'a>, Failure> {
    let records = super::ui::reading::records(repo, settings)?;
    let tip = select::commit(repo, &args.rev)?;
    let before = revs::before(repo, &tip.id, BACK)?;
    let mut configured = Configured::load(&ConfigArgs::default(), repo, settings)?;
    let mut commits = Vec::new();
    for commit in [tip].into_iter().chain(before) {
        let jobs = configured.of(&commit)?;
        commits.push((commit, jobs));
    }
    Ok(History {
        repo,
        records,
        logs: LogStore::new(&repo.ci_dir()),
        commits,
    })
}

/// The one job that is meant.
fn meant(
    repo: &Repo,
    settings: &Settings,
    history: &History<'_>,
    word: &str,
) -> Result<JobName, Failure> {
    let configured = Configured::load(&ConfigArgs::default(), repo, settings)?;
    let choice = JobChoice::of_names(&[word.to_owned()]);
    let jobs = &history.commits[0].1;
    let names = configured.check_names(&choice, jobs, &history.records, &[])?;
    match names.as_slice() {
        [one] => Ok(one.clone()),
        several => {
            let names: Vec<_> = several.iter().map(JobName::as_str).collect();
            let message = format!("{word} means several jobs: {}", names.join(", "));
            Err(Failure::usage(message))
        }
    }
}

/// The test that is meant, of those that fail.
fn named(report: Option<&TestReport>, word: &str, job: &JobName) -> Result<Test, Failure> {
    let cases = report.map_or(&[][..], |report| &report.cases);
    let is_it = |case: &&TestCase| {
        case.name == word
            || ["", " ", "::", "."].iter().any(|between| {
                !case.suite.is_empty() && format!("{}{between}{}", case.suite, case.name) == word
            })
    };
    let mut found = cases.iter().filter(is_it);
    match (found.next(), found.next()) {
        (Some(case), None) => Ok((case.suite.clone(), case.name.clone())),
        (Some(_), Some(_)) => Err(Failure::usage(format!(
            "{word} means several tests of {job}: name it with what it is grouped under"
        ))),
        (None, _) => {
            let failed = cases
                .iter()
                .filter(|case| case.verdict == TestVerdict::Fail);
            let names: Vec<_> = failed.map(|case| case.name.as_str()).take(TESTS).collect();
            let known = if names.is_empty() {
                "none is known to fail".to_owned()
            } else {
                format!("those that fail are {}", names.join(", "))
            };
            let known = printable_line(known.as_bytes()).into_owned();
            Err(Failure::usage(format!(
                "failed to find the test {word:?} of {job}: {known}"
            )))
        }
    }
}

/// Runs a job on commits that may have begun it and have no verdict, until it is known which
/// did, or no more can be known: each time as many at once as there are slots, evenly spread.
/// Returns the exit code where that was ended before its time.
fn find_out(
    history: &mut History<'_>,
    settings: &Settings,
    job: &JobName,
    test: Option<&Test>,
) -> Result<Option<ExitCode>, Failure> {
    let mut tried: Vec<usize> = Vec::new();
    loop {
        let Some(since) = history
            .since(job, test)
            .filter(|since| since.pass.is_some())
        else {
            return Ok(None);
        };
        let between = since.suspects().skip(1);
        let open: Vec<_> = between.filter(|at| !tried.contains(at)).collect();
        if open.is_empty() {
            return Ok(None);
        }
        let count = open.len().min(settings.slots as usize);
        let spread = (1..=count).map(|part| open[part * open.len() / (count + 1)]);
        let mut chosen: Vec<usize> = spread.collect();
        chosen.dedup();
        tried.extend(&chosen);
        let commits = chosen.iter().map(|at| history.commits[*at].0.clone());
        let commits: Vec<_> = commits.collect();
        let summary = run::one_job(history.repo, settings, job, &commits)?;
        // Whoever ended it, or what keeps it from going on, ends this, too.
        if summary.signal.is_some() || summary.error.is_some() {
            return launch::finish(summary, false).map(Some);
        }
        history
            .records
            .refresh(history.repo)
            .map_err(|error| Failure::failed_to("read the results", error))?;
    }
}

fn text(
    history: &History<'_>,
    job: &JobName,
    test: Option<&Test>,
    since: Since,
) -> Result<String, Failure> {
    let bold = Style::new().bold();
    let what = match test {
        None => format!("{bold}{job}{bold:#}"),
        Some((suite, name)) => {
            let full = format!("{suite} {name}");
            format!("  {}", printable_line(full.trim().as_bytes()))
        }
    };
    let indent = if test.is_some() { "    " } else { "  " };
    let line = |at: usize| {
        let commit = &history.commits[at].0;
        format!("{} {}", commit.id.short(), safe(&commit.subject))
    };
    let suspects = since.suspects();
    let count = suspects.len();
    let fails = counted(since.first as u64 + 1, "commit");
    // With the test behind it, where it is about one.
    let meant = [Some(job.as_str()), test.map(|(_, name)| name.as_str())];
    let meant = shell_words::join(meant.into_iter().flatten());
    let mut text = match since.pass {
        None => format!(
            "{what}  fails as far back as there are verdicts, to {}\n",
            line(since.first)
        ),
        Some(_) if count == 1 => {
            let details = revs::details(history.repo, &history.commits[since.first].0.id)?;
            format!(
                "{what}  fails since {}\n{indent}of {}, {}; {fails} by now\n",
                line(since.first),
                safe(&details.author),
                safe(&details.date)
            )
        }
        Some(pass) => {
            let (from, to) = (&history.commits[pass].0, &history.commits[since.first].0);
            let meant = printable_line(meant.as_bytes());
            format!(
                "{what}  fails since one of {count} commits, {}..{}\n\
                 {indent}the others have no verdict; to find out which: git ci blame {meant} --run\n",
                from.id.short(),
                to.id.short()
            )
        }
    };
    if let Some(pass) = since.pass {
        text += &format!("{indent}passed last on {}\n", line(pass));
        let (from, to) = (
            &history.commits[pass].0.id,
            &history.commits[since.first].0.id,
        );
        let changed = revs::changed(history.repo, from, to, &[]).unwrap_or_default();
        if test.is_none() {
            for name in changed.iter().take(FILES) {
                text += &format!("{indent}changed: {}\n", printable_line(name));
            }
            if changed.len() > FILES {
                text += &format!("{indent}… and {} more\n", changed.len() - FILES);
            }
        }
    }
    Ok(text)
}

fn json(history: &History<'_>, job: &JobName, test: Option<&Test>, since: Since) -> String {
    let id = |at: usize| history.commits[at].0.id;
    Line::Blamed {
        job,
        suite: test.map(|test| test.0.as_str()),
        test: test.map(|test| test.1.as_str()),
        since: id(since.first),
        last_pass: since.pass.map(id),
        suspects: since.suspects().map(id).collect(),
        commits: since.first + 1,
    }
    .render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fails_since_the_oldest_failure_after_the_last_pass() {
        let of = |text: &str| {
            Since::of(text.chars().map(|c| match c {
                'F' => Known::Fails,
                'p' => Known::Passes,
                _ => Known::Nothing,
            }))
        };
        let since = |first, pass| Some(Since { first, pass });
        for (history, expected) in [
            ("", None),
            ("---", None),
            ("pFFp", None),
            ("-pF", None),
            ("Fp", since(0, Some(1))),
            ("FFFp", since(2, Some(3))),
            ("-F-F--pF", since(3, Some(6))),
            ("F-F-", since(2, None)),
        ] {
            assert_eq!(of(history), expected, "{history}");
        }
        let since = of("-F--p").unwrap();
        assert_eq!(since.suspects(), 1..4);
        assert_eq!(of("F").unwrap().suspects(), 0..1);
    }
}
