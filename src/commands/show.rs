//! `git ci show`: everything about one commit.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;

use crate::artifacts::ArtifactStore;
use crate::error::Failure;
use crate::git::Repo;
use crate::git::revs::{self, Details};
use crate::logs::LogStore;
use crate::model::{
    CommandLine, Commit, JSON_FORMAT, JobName, LogId, Reason, Record, RunnerLabel, Status,
    TestReport, printable_line,
};
use crate::notes::{Records, read_note};
use crate::plan::PlannedJob;
use crate::reporter::{human_duration, status_style, tail_text, tests_text};
use crate::settings::Settings;
use crate::verdict::{Standing, Verdict};
use crate::worktree::{AsLeft, as_left};

use super::log::remarks;
use super::ui::color;
use super::ui::lines::{Line, RecordLine};
use super::ui::pager::Page;
use super::ui::reading::{
    Configured, Running, human_time, judge, millis, reason, running, safe, standing,
};
use super::ui::select::{self, ConfigArgs};

/// No more foreign lines are shown than this, and no more of each, in characters.
const FOREIGN: (usize, usize) = (10, 200);

/// Show everything about one commit.
///
/// First what counts: for each job its verdict, the command and the platform it ran on, how
/// long it usually takes, and where it failed the tests that failed (of a job with `junit`), or
/// what looks like the failure in the log, with its end, and the command that runs it again; where `git ci run` would run the job, why. Below it every other record of the
/// commit, and what it means: "superseded" by a newer one, "outdated" since the job is
/// defined otherwise by now, of "another platform", of "surroundings" that have "changed",
/// "forgotten", or "stale" since it speaks of other contents or of another commit (git
/// copies notes to amended commits). Lines of the note that
/// are no records come last.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The commit.
    #[arg(value_name = "REV", default_value = "HEAD")]
    rev: OsString,

    /// How many lines of a failed log to show: of what looks like the failure, and its end.
    #[arg(long, value_name = "N", default_value_t = 20)]
    lines: usize,

    #[command(flatten)]
    config: ConfigArgs,

    /// Print JSON, one record a line.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    color: color::ColorArgs,
}

/// No more of a command is shown, in characters.
const COMMAND: usize = 100;

/// So many of a job's latest passes say what is usual.
const SAMPLE: usize = 15;

/// What is shown of a commit.
struct Shown<'a> {
    commit: &'a Commit,
    records: &'a Records,
    jobs: &'a [PlannedJob],
    /// For each job that is configured, on record or running, what counts.
    verdicts: Vec<(JobName, Option<Verdict>, Option<Reason>)>,
    /// The other records, newest first.
    others: Vec<&'a Record>,
    /// What runs on this commit.
    running: Vec<Running>,
    /// The passes of each job: when, for how long, and their logs; the newest first.
    passes: HashMap<&'a JobName, Vec<(Timestamp, Duration, &'a LogId)>>,
    logs: LogStore,
    ci_dir: PathBuf,
    here: RunnerLabel,
    lines: usize,
    /// The jobs file cannot be used.
    is_broken: bool,
}

/// Finds, judges, prints.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    let repo = Repo::discover()?;
    let settings = Settings::of(&repo)?;
    let commit = select::commit(&repo, &args.rev)?;
    let details = revs::details(&repo, &commit.id)?;
    let records = super::ui::reading::records(&repo, &settings)?;
    let mut configured = Configured::load(&args.config, &repo, &settings)?;
    let jobs = configured.of(&commit)?;
    let mut running = running(&repo);
    let names = configured.check_names(&args.config.choice(), &jobs, &records, &running)?;
    running.retain(|task| task.commit == commit.id);
    let wanted = |job: &JobName| names.is_empty() || names.contains(job);

    let verdicts: Vec<_> = job_names(&jobs, records.of(&commit.id), &running)
        .into_iter()
        .filter(wanted)
        .map(|name| {
            let verdict = judge(&records, &commit, &jobs, &name);
            let reason = reason(&records, &commit, &jobs, &name);
            (name, verdict, reason)
        })
        .collect();
    let counts = |record: &Record| {
        let mut all = verdicts
            .iter()
            .filter_map(|(_, verdict, _)| verdict.as_ref());
        all.any(|verdict| verdict.from == commit.id && verdict.record == *record)
    };
    let mut others: Vec<_> = records
        .of(&commit.id)
        .iter()
        .filter(|record| wanted(&record.job) && !counts(record))
        .collect();
    others.sort_by_key(|record| (Reverse(record.finished), record.status, &record.job));
    let shown = Shown {
        commit: &commit,
        records: &records,
        jobs: &jobs,
        verdicts,
        others,
        running,
        passes: passes(&records),
        logs: LogStore::new(&repo.ci_dir()),
        ci_dir: repo.ci_dir(),
        here: settings.name.clone(),
        lines: args.lines,
        is_broken: configured.is_broken(),
    };
    let note = read_note(&repo, &settings.notes_ref, &commit.id)?;
    let foreign: Vec<&[u8]> = if names.is_empty() {
        note.foreign().map(|(line, _)| line).collect()
    } else {
        Vec::new()
    };
    let mut page = Page::open(&repo, args.color, !args.json)?;
    if args.json {
        page.write(&shown.json(&details, &foreign))?
    } else {
        page.write(&shown.render(&details, &foreign))?
    }
    page.close()?;
    Ok(ExitCode::SUCCESS)
}

/// The configured jobs in their order, then those that are only on record or running.
fn job_names(jobs: &[PlannedJob], records: &[Record], running: &[Running]) -> Vec<JobName> {
    let mut names: Vec<_> = jobs
        .iter()
        .map(|planned| planned.job.name.clone())
        .collect();
    let on_record = records.iter().map(|record| &record.job);
    let mut rest: Vec<_> = on_record
        .chain(running.iter().map(|task| &task.job))
        .filter(|name| !names.contains(name))
        .cloned()
        .collect();
    rest.sort();
    rest.dedup();
    names.append(&mut rest);
    names
}

impl Shown<'_> {
    fn render(&self, details: &Details, foreign: &[&[u8]]) -> String {
        let yellow = Style::new().fg_color(Some(AnsiColor::Yellow.into()));
        let mut text = format!(
            "{yellow}commit {}{yellow:#}\nAuthor: {} <{}>\nDate:   {}\n\n    {}\n\n",
            self.commit.id,
            safe(&details.author),
            safe(&details.email),
            safe(&details.date),
            safe(&self.commit.subject),
        );
        let names = self.verdicts.iter().map(|(name, ..)| name);
        let others = self.others.iter().map(|record| &record.job);
        let width = names.chain(others).map(|name| name.as_str().len()).max();
        let width = width.unwrap_or(0);
        if self.verdicts.is_empty() {
            text += if self.is_broken {
                "No records.\n"
            } else {
                "No jobs are configured here, and none are on record.\n"
            };
        }
        for (name, verdict, reason) in &self.verdicts {
            for task in self.running.iter().filter(|task| task.job == *name) {
                let bold = Style::new().bold();
                text += &format!(
                    "{bold}running{bold:#} {name:<width$} {:>7}  now, in slot {} (`git ci logs {} {name} -f` follows)\n",
                    human_duration(task.elapsed),
                    task.slot,
                    self.commit.id.short(),
                );
            }
            match verdict {
                Some(verdict) => text += &self.verdict(verdict, reason.as_ref(), name, width),
                None if self.running.iter().any(|task| task.job == *name) => {}
                None => {
                    let dim = status_style(None);
                    let reason = reason.as_ref().map_or("no verdict".into(), Reason::text);
                    text += &format!("{dim}-{dim:#}     {name:<width$}  ({reason})\n");
                }
            }
        }
        if !self.others.is_empty() {
            text += "\nRecords that do not count:\n";
        }
        for record in &self.others {
            text += &record_line(record, &record.job, width, Some(self.mark(record)));
        }
        text + &foreign_text(foreign)
    }

    /// The line of what counts, with what a failure printed last.
    fn verdict(
        &self,
        verdict: &Verdict,
        reason: Option<&Reason>,
        name: &JobName,
        width: usize,
    ) -> String {
        let record = &verdict.record;
        let mark = match reason {
            None if !self.jobs.is_empty() => Some("not configured".to_owned()),
            // The line itself says so.
            None | Some(Reason::Known(_) | Reason::NoVerdict(_)) => None,
            Some(reason) => Some(reason.text()),
        };
        let mut text = record_line(record, name, width, mark.as_deref());
        let dim = Style::new().dimmed();
        let how = self.how(verdict);
        if !is_bad(record) {
            return text + &how;
        }
        let tests = self.logs.tests(&record.log);
        if let Some(tests) = &tests {
            text += &tests_text(tests, TestReport::MOST_CASES);
        }
        let has_failed_tests = tests.is_some_and(|tests| tests.failed > 0);
        let whole = match self.logs.excerpt(&record.log, self.lines) {
            Ok(tail) => {
                let lines: Vec<_> = tail.iter().map(|line| lossy(line)).collect();
                // What failed says more than what was printed last.
                if !has_failed_tests {
                    text += &tail_text(&lines);
                }
                format!("whole log: git ci logs {} {name}", self.commit.id.short())
            }
            Err(_) if record.runner != self.here => format!("its log is on {}", record.runner),
            Err(_) if self.logs.was_removed(&record.log) => "its log was removed".to_owned(),
            Err(_) => "its log was never in this clone".to_owned(),
        };
        let short = self.commit.id.short();
        let again = if self.jobs.iter().any(|planned| planned.job.name == *name) {
            let name = shell_words::quote(name.as_str());
            format!("      {dim}run again: git ci run --force --job {name} {short}{dim:#}\n")
        } else {
            String::new()
        };
        text + &how + &format!("      {dim}{whole}{dim:#}\n") + &again
    }

    /// The command that gave a verdict, where the job is still the same.
    fn command(&self, verdict: &Verdict) -> Option<&CommandLine> {
        let record = &verdict.record;
        let mut jobs = self.jobs.iter();
        let planned = jobs.find(|one| one.job.name == record.job && one.def == record.def)?;
        Some(&planned.job.run)
    }

    /// How long the job usually takes: the median of its latest passes but for this one.
    fn usual(&self, record: &Record) -> Option<Duration> {
        let passes = self.passes.get(&record.job)?.iter();
        let others = passes.filter(|(_, _, log)| **log != record.log);
        let mut sample: Vec<_> = others.take(SAMPLE).map(|(_, took, _)| *took).collect();
        sample.sort_unstable();
        sample.get(sample.len() / 2).copied()
    }

    /// A line about how a verdict came about: command, platform, and the usual duration.
    fn how(&self, verdict: &Verdict) -> String {
        let mut parts = Vec::new();
        if let Some(command) = self.command(verdict) {
            parts.push(command_text(command));
        }
        if let Some(on) = &verdict.record.on {
            parts.push(format!("on {on}"));
        }
        if let Some(usual) = self.usual(&verdict.record) {
            parts.push(format!("usually {}", human_duration(usual)));
        }
        let dim = Style::new().dimmed();
        let mut text = if parts.is_empty() {
            String::new()
        } else {
            format!("      {dim}ran: {}{dim:#}\n", parts.join(", "))
        };
        let (commit, job) = (&self.commit.id, &verdict.record.job);
        if let Some(left) = as_left(&self.ci_dir, &verdict.record.log) {
            let AsLeft { slot, path, .. } = &left;
            let how = if left.is_kept {
                let job = shell_words::quote(job.as_str());
                format!(
                    "is kept as it was left: git ci shell {} {job}",
                    commit.short()
                )
            } else {
                let path = path.as_os_str().as_encoded_bytes();
                format!("is as it was left: {}", printable_line(path))
            };
            text += &format!("      {dim}slot {slot} {how}{dim:#}\n");
        }
        if ArtifactStore::new(&self.ci_dir).path(commit, job).is_dir() {
            let job = shell_words::quote(job.as_str());
            let short = commit.short();
            text +=
                &format!("      {dim}files that it left: git ci artifacts {short} {job}{dim:#}\n");
        }
        text
    }

    fn standing(&self, record: &Record) -> Standing {
        standing(self.records, self.commit, self.jobs, record)
    }

    /// Why a record does not count.
    fn mark(&self, record: &Record) -> &'static str {
        self.standing(record).mark().unwrap_or("superseded")
    }

    fn json(&self, details: &Details, foreign: &[&[u8]]) -> String {
        let mut text = Line::Show {
            format: JSON_FORMAT,
            commit: self.commit.id,
            tree: self.commit.tree,
            subject: &self.commit.subject,
            author: &details.author,
            email: &details.email,
            date: &details.iso_date,
        }
        .render();
        let subject = Some(self.commit.subject.as_str());
        for (job, verdict, reason) in &self.verdicts {
            let rule = reason.as_ref().map(Reason::rule);
            let reason = reason.as_ref().map(Reason::text);
            let Some(verdict) = verdict else {
                if let Some((reason, rule)) = reason.zip(rule) {
                    text += &Line::NoVerdict { job, reason, rule }.render();
                }
                continue;
            };
            let record = &verdict.record;
            let tail = if is_bad(record) {
                self.logs.excerpt(&record.log, self.lines).ok()
            } else {
                None
            };
            let line = RecordLine {
                subject,
                standing: Some(verdict.standing),
                reason,
                rule,
                counts: Some(true),
                from: verdict.from,
                command: self.command(verdict),
                usual_ms: self.usual(record).map(millis),
                tests: self.logs.tests(&record.log),
                slot: as_left(&self.ci_dir, &record.log).map(|left| left.slot),
                tail: tail.map(|tail| tail.iter().map(|line| lossy(line)).collect()),
                ..RecordLine::new(record, self.commit.id)
            };
            text += &Line::Record(line).render();
        }
        for record in &self.others {
            let line = RecordLine {
                subject,
                standing: Some(self.standing(record)),
                counts: Some(false),
                ..RecordLine::new(record, self.commit.id)
            };
            text += &Line::Record(line).render();
        }
        for line in foreign {
            text += &Line::Foreign { line: lossy(line) }.render();
        }
        text
    }
}

/// The passes of every job, each once: a verdict may stand in the notes of several commits.
fn passes(records: &Records) -> HashMap<&JobName, Vec<(Timestamp, Duration, &LogId)>> {
    let mut passes: HashMap<_, Vec<_>> = HashMap::new();
    for record in records.iter().flat_map(|(_, of)| of) {
        if record.status == Status::Pass {
            let one = (record.finished, record.duration, &record.log);
            passes.entry(&record.job).or_default().push(one);
        }
    }
    for all in passes.values_mut() {
        all.sort_unstable_by(|a, b| b.cmp(a));
        all.dedup();
    }
    passes
}

/// A command on one line: of a script its first.
fn command_text(command: &CommandLine) -> String {
    let text = match command {
        CommandLine::Shell(script) => script.trim().to_owned(),
        CommandLine::Argv(argv) => shell_words::join(argv),
    };
    let line = text.lines().next().unwrap_or_default();
    let cut: String = line.chars().take(COMMAND).collect();
    let safe = safe(&cut);
    if cut.len() < text.len() {
        format!("{safe} …")
    } else {
        safe.into_owned()
    }
}

fn is_bad(record: &Record) -> bool {
    matches!(record.status, Status::Error | Status::Fail | Status::Flaky)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn record_line(record: &Record, name: &JobName, width: usize, mark: Option<&str>) -> String {
    let style = status_style(Some(record.status));
    let line = format!(
        "{style}{:<5}{style:#} {name:<width$} {:>7}  {}  {}  {}",
        record.status,
        human_duration(record.duration),
        human_time(record.finished),
        record.runner,
        remarks(record, mark),
    );
    line.trim_end().to_owned() + "\n"
}

/// The lines of a note that are no records of ours.
fn foreign_text(foreign: &[&[u8]]) -> String {
    if foreign.is_empty() {
        return String::new();
    }
    let dim = Style::new().dimmed();
    let mut text =
        "\nOther lines of the note (of other programs, or of a newer git-ci):\n".to_owned();
    for line in foreign.iter().take(FOREIGN.0) {
        let line = &line[..line.len().min(4 * FOREIGN.1)];
        let safe = crate::model::printable_line(line);
        let cut: String = safe.chars().take(FOREIGN.1).collect();
        text += &format!("      {dim}|{dim:#} {cut}\n");
    }
    if foreign.len() > FOREIGN.0 {
        text += &format!("      and {} more\n", foreign.len() - FOREIGN.0);
    }
    text
}
