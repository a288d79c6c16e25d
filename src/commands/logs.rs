//! `git ci logs`: the whole log of one task, also while it runs.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::process::ExitCode;
use std::time::Duration;

use crate::error::{Failure, FailureKind};
use crate::git::Repo;
use crate::logs::{LogReader, LogStore, LogTask, Unfinished};
use crate::model::{Commit, JSON_FORMAT, JobName, LogId, Record, printable};
use crate::notes::Records;
use crate::plan::PlannedJob;
use crate::settings::Settings;

use super::ui::lines::{Line, RecordLine};
use super::ui::pager::Page;
use super::ui::reading::{Configured, Running, judge, running};
use super::ui::select::ConfigArgs;
use super::ui::target::Target;
use super::ui::{color, output};

/// How often a growing log is looked at.
const INTERVAL: Duration = Duration::from_millis(50);

/// Show the whole log of one task, also while it runs.
///
/// While the task runs, its log as far as it has come; else the log of the verdict that
/// counts; where there is none since the run was killed, what there is of its log.
///
/// Of a long log the first 4 MiB and the last MiB are kept; a line says how much was left
/// out between them, also while the task runs.
///
/// On a terminal, control characters are shown as escapes; into a file or pipe the
/// log goes as it is.
///
/// Logs stay on the machine that ran the task, and `git ci gc` removes old ones.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The commit [default: HEAD].
    #[arg(value_name = "REV")]
    rev: Option<OsString>,

    /// The job; may be left out where the commit has only one. Alone it means HEAD's.
    #[arg(value_name = "JOB")]
    job: Option<String>,

    /// Show what comes while the task runs, until it ends.
    #[arg(short, long)]
    follow: bool,

    /// Show the log as it is, also on a terminal.
    #[arg(long, conflicts_with = "json")]
    raw: bool,

    /// Print JSON: what is known of the task, then the log, one line a line.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    color: color::ColorArgs,
}

/// The log that is meant.
struct Found {
    log: LogId,
    running: bool,
    record: Option<Record>,
}

/// Finds the log and copies it out.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    let repo = Repo::discover()?;
    let settings = Settings::of(&repo)?;
    let records = super::ui::reading::records(&repo, &settings)?;
    let config = ConfigArgs::default();
    let mut configured = Configured::load(&config, &repo, &settings)?;
    let running = running(&repo);
    let logs = LogStore::new(&repo.ci_dir());
    let unfinished = logs.unfinished();
    let words = (args.rev.as_ref(), args.job.as_deref());
    let target = Target::of(&repo, &mut configured, &records, &running, words)?;
    let Target { commit, job, jobs } = target;
    let name = match job {
        Some(job) => job,
        None => only_job(&commit, &records, &running, &unfinished)?,
    };
    let found = find(&commit, &name, &jobs, &records, &running, &unfinished)?;
    let log = logs
        .open(&found.log)
        .map_err(|error| no_log(&logs, &found, &name, &commit, &settings, error))?;

    let mut page = Page::open(&repo, args.color, !args.json && !args.follow)?;
    if args.json {
        let record = found.record.as_ref();
        page.write(
            &Line::Logs {
                format: JSON_FORMAT,
                commit: commit.id,
                job: &name,
                log: &found.log,
                running: found.running,
                record: record.map(|record| RecordLine::new(record, commit.id)),
            }
            .render(),
        )?;
    }
    let form = match (args.json, args.raw || !page.is_watched()) {
        (true, _) => Form::Json,
        (false, true) => Form::Raw,
        (false, false) => Form::Escaped,
    };
    copy(log, form, args.follow, &mut page)?;
    if args.json {
        page.write(&Line::End.render())?;
    }
    page.close()?;
    if found.running && !args.follow && !args.json {
        output::note("the task is still running; `--follow` shows what comes");
    }
    Ok(ExitCode::SUCCESS)
}

/// The job of a commit that has only one.
fn only_job(
    commit: &Commit,
    records: &Records,
    running: &[Running],
    unfinished: &[Unfinished],
) -> Result<JobName, Failure> {
    let on_record = records.of(&commit.id).iter().map(|record| &record.job);
    let tasks = running.iter().filter(|task| task.commit == commit.id);
    let logs = unfinished.iter().filter(|log| log.of.commit == commit.id);
    let mut names: Vec<_> = on_record
        .chain(tasks.map(|task| &task.job))
        .chain(logs.map(|log| &log.of.job))
        .collect();
    names.sort();
    names.dedup();
    match names.as_slice() {
        [only] => Ok((*only).clone()),
        [] => Err(nothing(commit, None)),
        several => {
            let list: Vec<_> = several.iter().map(|name| name.as_str()).collect();
            Err(Failure::usage(format!(
                "failed to choose a job of {}: it has several, {}",
                commit.id.short(),
                list.join(", ")
            ))
            .hint(format!(
                "git ci logs {} {}",
                commit.id.short(),
                shell_words::quote(list[0])
            )))
        }
    }
}

/// The running task's log, else that of the verdict, else that of the newest record,
/// whatever it is of, else that of a task whose run was killed.
fn find(
    commit: &Commit,
    name: &JobName,
    jobs: &[PlannedJob],
    records: &Records,
    running: &[Running],
    unfinished: &[Unfinished],
) -> Result<Found, Failure> {
    let of = LogTask {
        commit: commit.id,
        job: name.clone(),
    };
    let mut tasks = running.iter();
    let task = tasks.find(|task| task.commit == commit.id && task.job == *name);
    // What runs on a host has no slot here.
    let mut elsewhere = unfinished.iter().filter(|log| log.growing && log.of == of);
    let elsewhere = || elsewhere.next().map(|log| log.id.clone());
    if let Some(log) = task.and_then(|task| task.log.clone()).or_else(elsewhere) {
        return Ok(Found {
            log,
            running: true,
            record: None,
        });
    }
    let record = match judge(records, commit, jobs, name) {
        Some(verdict) => Some(verdict.record),
        None => {
            let own = records.of(&commit.id).iter();
            let newest = own
                .filter(|record| record.job == *name)
                .max_by_key(|record| record.rank(records.now()));
            if newest.is_some() {
                output::note(
                    "this log is of other contents than the commit's: its record is stale",
                );
            }
            newest.cloned()
        }
    };
    let Some(record) = record else {
        let killed = unfinished.iter().find(|log| log.of == of);
        let killed = killed.ok_or_else(|| nothing(commit, Some(name)))?;
        output::note("there is no record of this task: its run was killed, or is just storing it");
        return Ok(Found {
            log: killed.id.clone(),
            running: false,
            record: None,
        });
    };
    Ok(Found {
        log: record.log.clone(),
        running: false,
        record: Some(record),
    })
}

fn nothing(commit: &Commit, name: Option<&JobName>) -> Failure {
    let short = commit.id.short();
    let (job, run) = match name {
        Some(name) => (format!("{name} on {short}"), format!(" --job {name}")),
        None => (short.clone(), String::new()),
    };
    Failure::new(
        FailureKind::NoVerdict,
        format!("failed to find a log of {job}: it is not running, and there is no record"),
    )
    .hint(format!("git ci run{run} {short}"))
}

/// Says where a log went.
fn no_log(
    logs: &LogStore,
    found: &Found,
    name: &JobName,
    commit: &Commit,
    settings: &Settings,
    error: std::io::Error,
) -> Failure {
    let short = commit.id.short();
    match &found.record {
        _ if error.kind() != std::io::ErrorKind::NotFound => {
            Failure::failed_to(format!("read log {}", found.log), error)
        }
        Some(record) if record.runner != settings.name => Failure::new(
            FailureKind::NoVerdict,
            format!(
                "failed to find log {}: {name} ran on {}, and logs stay where they were written",
                found.log, record.runner
            ),
        )
        .hint(format!("on {}: git ci logs {short} {name}", record.runner)),
        _ => Failure::new(
            FailureKind::NoVerdict,
            if logs.was_removed(&found.log) { format!(
                "failed to find log {}: `git ci gc` removed it, as it does with old logs",
                found.log
            ) } else { format!(
                "failed to find log {}: it was never in this clone; logs stay where they were written",
                found.log
            ) },
        )
        .hint(format!("git ci run --force --job {name} {short}")),
    }
}

/// How a log is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Raw,
    Escaped,
    Json,
}

/// Copies a log out; while it grows and `follow` asks for it, what comes, too.
fn copy(log: LogReader, form: Form, follow: bool, page: &mut Page) -> Result<(), Failure> {
    let failed = |error| Failure::failed_to("read the log", error);
    let mut log = BufReader::with_capacity(64 * 1024, log);
    let mut writer = Writer {
        page,
        form,
        held: Vec::new(),
    };
    loop {
        // Asked first: what is written before it stops growing is read below.
        let more = follow && log.get_ref().is_growing();
        loop {
            let part = log.fill_buf().map_err(failed)?;
            let read = part.len();
            if read == 0 || writer.page.is_closed() {
                break;
            }
            writer.take(part)?;
            log.consume(read);
        }
        writer.page.flush()?;
        if !more || writer.page.is_closed() {
            return writer.finish();
        }
        std::thread::sleep(INTERVAL);
    }
}

/// Gives a log the form that is wanted, chunk by chunk.
struct Writer<'p> {
    page: &'p mut Page,
    form: Form,
    /// What cannot be shown before more has come.
    held: Vec<u8>,
}

impl Writer<'_> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self.form {
            Form::Raw => self.page.write_raw(bytes),
            Form::Escaped => {
                self.held.extend_from_slice(bytes);
                let end = self.held.len() - unfinished(&self.held);
                let rest = self.held.split_off(end);
                let text = std::mem::replace(&mut self.held, rest);
                self.page.write_raw(printable(&text).as_bytes())
            }
            Form::Json => {
                self.held.extend_from_slice(bytes);
                let Some(end) = self.held.iter().rposition(|&byte| byte == b'\n') else {
                    return Ok(());
                };
                let rest = self.held.split_off(end + 1);
                let text = std::mem::replace(&mut self.held, rest);
                self.lines(&text[..end])
            }
        }
    }

    fn lines(&mut self, text: &[u8]) -> Result<(), Failure> {
        for line in text.split(|&byte| byte == b'\n') {
            let line = String::from_utf8_lossy(line).into_owned();
            self.page
                .write_raw(Line::Output { line }.render().as_bytes())?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), Failure> {
        let held = std::mem::take(&mut self.held);
        match self.form {
            _ if held.is_empty() => Ok(()),
            Form::Json => self.lines(&held),
            _ => self.page.write_raw(printable(&held).as_bytes()),
        }
    }
}

/// How many bytes at the end are the beginning of a character whose rest is to come.
fn unfinished(bytes: &[u8]) -> usize {
    let last = &bytes[bytes.len().saturating_sub(4)..];
    let Some(start) = last.iter().rposition(|&byte| byte >= 0xc0) else {
        return 0;
    };
    let have = last.len() - start;
    let length = match last[start] {
        0xf0.. => 4,
        0xe0.. => 3,
        _ => 2,
    };
    if have < length { have } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_not_cut_in_two() {
        for (bytes, rest) in [
            (&b"abc"[..], 0),
            (b"", 0),
            ("aé".as_bytes(), 0),
            (&"aé".as_bytes()[..2], 1),
            (&"✓".as_bytes()[..2], 2),
            (&"\u{1f600}".as_bytes()[..3], 3),
            ("\u{1f600}".as_bytes(), 0),
            (b"\x80\x80\x80\x80", 0),
        ] {
            assert_eq!(unfinished(bytes), rest, "{bytes:?}");
        }
    }
}
