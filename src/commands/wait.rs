//! `git ci wait`: blocks until there are verdicts.

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Failure, FailureKind};
use crate::git::Repo;
use crate::git::revs;
use crate::logs::LogStore;
use crate::model::{Commit, JSON_FORMAT, Job, Status};
use crate::notes::Records;
use crate::plan::PlannedJob;
use crate::reporter::{TaskLine, counted, human_duration, tail_text, tests_text};
use crate::settings::Settings;
use crate::verdict::{Standing, Verdict};

use super::ui::kinds::Kinds;
use super::ui::lines::{Line, RecordLine};
use super::ui::output;
use super::ui::processes::Processes;
use super::ui::reading::{judge, safe};
use super::ui::select::{ConfigArgs, Jobs, RevArgs};

/// How often the notes are looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// For so long it is waited for somebody who works on what is waited for: a hook may just
/// have told of it.
const NOBODY: Duration = Duration::from_secs(3);

/// So far back a pass is looked for.
const BACK: usize = 200;

/// No more files are listed that have changed since the last pass.
const FILES: usize = 10;

/// So many tests that failed are shown.
const TESTS: usize = 20;

/// So many lines of a failed log are shown.
const LINES: usize = 40;

/// Wait until there are verdicts on commits, and say what failed.
///
/// It ends once each of the jobs has a verdict on each of the commits, or at the first
/// failure: then it shows the end of that log, and what has changed since the job passed last.
/// It runs nothing: that is for `git ci watch`, a hook or a `git ci run` somewhere else. Where
/// nobody works on it, it ends without a verdict. Made for scripts and agents:
/// `git commit && git ci wait`. See git-ci-agents(7).
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    revs: RevArgs,

    #[command(flatten)]
    config: ConfigArgs,

    /// Do not wait for longer than this, such as `10m`.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,

    /// Go on after a failure, until there are all verdicts.
    #[arg(long)]
    keep_going: bool,

    /// Print JSON: a `verdict` for each task, and what failed.
    #[arg(long)]
    json: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::model::parse_duration(text, Duration::from_millis(1)).map_err(|error| error.to_string())
}

/// A task that is waited for.
struct Waited<'a> {
    commit: &'a Commit,
    jobs: Arc<[PlannedJob]>,
    job: Arc<Job>,
}

/// Waits, and says what came.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    let repo = Repo::discover()?;
    let settings = Settings::of(&repo)?;
    let commits = args.revs.commits(&repo, "HEAD")?;
    let mut jobs = Jobs::configured(&args.config, &repo, &settings, Kinds::of(&repo, &settings))?;
    let mut waited = Vec::new();
    for commit in &commits {
        let jobs = jobs.of(commit)?;
        waited.extend(jobs.iter().map(|planned| Waited {
            commit,
            jobs: Arc::clone(&jobs),
            job: Arc::clone(&planned.job),
        }));
    }
    let mut records = super::ui::reading::records(&repo, &settings)?;
    if args.json {
        let tasks = waited.len();
        let format = JSON_FORMAT;
        output::print_json(Line::Wait { format, tasks }.render())?;
    }
    let begun = Instant::now();
    let mut worked = Instant::now();
    let mut seen = Seen::default();
    loop {
        records
            .refresh(&repo)
            .map_err(|error| Failure::failed_to("read the results", error))?;
        let before = waited.len();
        let mut left = Vec::new();
        for task in waited {
            match verdict(&records, &task) {
                Some(found) => seen.add(&args, &repo, &records, &task, &found)?,
                None if is_blocked(&records, &task) => seen.blocked += 1,
                None => left.push(task),
            }
        }
        waited = left;
        let is_over = waited.is_empty() || (seen.failed > 0 && !args.keep_going);
        if is_over {
            break;
        }
        if waited.len() < before || is_worked_on(&repo, &waited) {
            worked = Instant::now();
        }
        let why = if args.timeout.is_some_and(|most| begun.elapsed() >= most) {
            "the time is over"
        } else if worked.elapsed() >= NOBODY {
            "nobody works on it: `git ci run` does, and `git ci watch` all the time"
        } else {
            thread::sleep(INTERVAL);
            continue;
        };
        seen.unknown += waited.len() as u64;
        let first = &waited[0];
        let message = format!(
            "{} without a verdict, {} on {} for one; {why}",
            counted(waited.len() as u64, "task"),
            first.job.name,
            first.commit.id.short()
        );
        output::note(&message);
        break;
    }
    if !args.json {
        output::note(&seen.text(begun.elapsed()));
    }
    Ok(match seen {
        Seen { failed: 1.., .. } => ExitCode::from(1),
        Seen {
            passed: 0,
            skipped: 1..,
            ..
        }
        | Seen { unknown: 1.., .. } => ExitCode::from(FailureKind::NoVerdict.exit_code()),
        _ => ExitCode::SUCCESS,
    })
}

/// The verdict on a task, where there is one; that there is none may change.
fn verdict(records: &Records, task: &Waited<'_>) -> Option<Verdict> {
    let found = judge(records, task.commit, &task.jobs, &task.job.name)?;
    let counts = found.standing == Standing::Current && found.record.status != Status::Error;
    counts.then_some(found)
}

/// Whether a job that it needs has ended otherwise than by passing, so that it is not run.
fn is_blocked(records: &Records, task: &Waited<'_>) -> bool {
    let mut needs = task.job.needs.iter();
    needs.any(|need| {
        let found = judge(records, task.commit, &task.jobs, &need.job);
        found.is_some_and(|found| {
            found.standing == Standing::Current
                && matches!(found.record.status, Status::Fail | Status::Skip)
        })
    })
}

/// Whether some process has one of the tasks, or may be about to.
fn is_worked_on(repo: &Repo, waited: &[Waited<'_>]) -> bool {
    let processes = Processes::ask(repo);
    let has = |task: &Waited<'_>| {
        let id = task.commit.id;
        processes.waits(id, &task.job.name) || processes.runs(id, &task.job.name).is_some()
    };
    processes.has_more() || waited.iter().any(has)
}

/// What came so far.
#[derive(Default)]
struct Seen {
    passed: u64,
    failed: u64,
    skipped: u64,
    blocked: u64,
    unknown: u64,
}

impl Seen {
    fn add(
        &mut self,
        args: &Args,
        repo: &Repo,
        records: &Records,
        task: &Waited<'_>,
        found: &Verdict,
    ) -> Result<(), Failure> {
        let record = &found.record;
        let failed = record.status == Status::Fail && !task.job.allow_failure;
        let count = match record.status {
            Status::Fail if failed => &mut self.failed,
            Status::Skip => &mut self.skipped,
            _ => &mut self.passed,
        };
        *count += 1;
        if args.json {
            let record = RecordLine::new(record, task.commit.id);
            output::print_json(Line::Verdict(record).render())?;
        } else {
            let line = TaskLine {
                status: Some(record.status),
                word: "",
                commit: &task.commit.id,
                job: task.job.name.as_str(),
                job_width: 0,
                duration: &human_duration(record.duration),
                why: record.why,
                reason: None,
                unstored: false,
                subject: &task.commit.subject,
                columns: output::columns(),
            };
            output::print(&(line.render() + "\n"))?;
        }
        if failed {
            self.explain(args, repo, records, task, found)?;
        }
        Ok(())
    }

    /// Shows the end of a failed log, and what has changed since the last pass.
    fn explain(
        &self,
        args: &Args,
        repo: &Repo,
        records: &Records,
        task: &Waited<'_>,
        found: &Verdict,
    ) -> Result<(), Failure> {
        let logs = LogStore::new(&repo.ci_dir());
        let tests = logs.tests(&found.record.log);
        let tail = logs.excerpt(&found.record.log, LINES);
        let tail: Vec<_> = tail
            .unwrap_or_default()
            .iter()
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect();
        let since = last_pass(repo, records, task);
        let changed = since.as_ref().map(|(pass, _)| {
            let changed = revs::changed(repo, &pass.id, &task.commit.id, &[]);
            let names = changed.unwrap_or_default().into_iter();
            let text = |name: Vec<u8>| String::from_utf8_lossy(&name).into_owned();
            names.map(text).collect::<Vec<_>>()
        });
        if args.json {
            let line = Line::Failure {
                commit: task.commit.id,
                job: &task.job.name,
                tests,
                tail,
                last_pass: since.as_ref().map(|(pass, _)| pass.id),
                changed: changed.unwrap_or_default(),
            };
            return output::print_json(line.render());
        }
        let mut text = match tests.filter(|tests| tests.failed > 0) {
            Some(tests) => tests_text(&tests, TESTS),
            None => tail_text(&tail),
        };
        text += &format!(
            "  whole log: git ci logs {} {}\n",
            task.commit.id.short(),
            shell_words::quote(task.job.name.as_str())
        );
        if let (Some((pass, before)), Some(changed)) = (since, changed) {
            text += &format!(
                "  passed last on {}, {} before: {}\n",
                pass.id.short(),
                counted(before as u64, "commit"),
                safe(&pass.subject)
            );
            let listed = changed.iter().take(FILES);
            for name in listed {
                text += &format!("  changed since: {}\n", safe(name));
            }
            if changed.len() > FILES {
                text += &format!("  … and {} more\n", changed.len() - FILES);
            }
        }
        output::print(&text)
    }

    fn text(&self, elapsed: Duration) -> String {
        let parts = [
            (self.failed, "FAILED"),
            (self.passed, "passed"),
            (self.skipped, "skipped"),
            (self.blocked, "not run"),
            (self.unknown, "without a verdict"),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<_> = parts
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        let what = if parts.is_empty() {
            "nothing to wait for".to_owned()
        } else {
            parts.join(", ")
        };
        format!("{what} after {}", human_duration(elapsed))
    }
}

/// The nearest commit before this one on which the job passed, as it is defined now, and how
/// many commits before that is.
fn last_pass(repo: &Repo, records: &Records, task: &Waited<'_>) -> Option<(Commit, usize)> {
    let before = revs::before(repo, &task.commit.id, BACK).ok()?;
    let passed = |commit: &Commit| {
        let found = judge(records, commit, &task.jobs, &task.job.name);
        found.is_some_and(|found| {
            let status = found.record.status;
            let counts = matches!(found.standing, Standing::Current | Standing::Outdated);
            counts && matches!(status, Status::Pass | Status::Flaky)
        })
    };
    let mut all = before.into_iter().enumerate();
    let (at, commit) = all.find(|(_, commit)| passed(commit))?;
    Some((commit, at + 1))
}
