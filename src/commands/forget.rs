//! `git ci forget`: takes the weight from what is on record.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::process::ExitCode;

use jiff::Timestamp;

use crate::config::JobChoice;
use crate::error::Failure;
use crate::git::{Repo, auto_gc};
use crate::model::{
    Commit, Forget, Forgotten, JobName, Line, LogId, Oid, RunnerLabel, Status, latest,
    printable_line,
};
use crate::notes::{NoteStore, Records};
use crate::reporter::counted;
use crate::settings::Settings;

use super::ui::output;
use super::ui::reading::check_names;
use super::ui::select::RevArgs;

/// Make what is on record of commits not count any more.
///
/// What was recorded of the contents of the commits is not reused, wherever it stands, and
/// the jobs run again when they are asked for: after a machine that was broken, say, or a
/// service that was down. Where a job looked at the commit itself, only the records of that
/// commit are meant. Notes only grow: the records stay, and a line beside them takes their
/// weight. It travels with the notes, and so it counts in other clones, too.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    revs: RevArgs,

    /// Only records of this job; may be given several times.
    #[arg(long, value_name = "NAME")]
    job: Vec<String>,

    /// Say what would be forgotten, and do nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Finds the records, adds the lines, says which.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    let repo = Repo::discover()?;
    let settings = Settings::of(&repo)?;
    let commits = args.revs.commits(&repo, "HEAD")?;
    let records = Records::load(&repo, &settings.notes_ref)?;
    let names = check_names(&JobChoice::of_names(&args.job), &[], &records, &[])?;
    let found = find(&records, &commits, &names);
    if found.is_empty() {
        output::note("nothing of that is on record");
        return Ok(ExitCode::SUCCESS);
    }
    if !args.dry_run {
        let mut store = NoteStore::open(&repo, &settings.notes_ref)?;
        let lines = found.iter().flat_map(|one| {
            let lines = one.lines(&settings.name).into_iter();
            lines.map(|line| (one.commit.id, line))
        });
        store.append(&lines.collect::<Vec<_>>())?;
        auto_gc(&repo);
    }
    let mut text = String::new();
    let width = found.iter().map(|one| one.job.as_str().len()).max();
    for one in &found {
        text += &format!(
            "{:<5} {} {:<width$}  {:<10}  {}\n",
            one.status,
            one.commit.id.short(),
            one.job,
            counted(one.count as u64, "record"),
            printable_line(one.commit.subject.as_bytes()),
            width = width.unwrap_or(0),
        );
    }
    output::print(&text)?;
    let count: usize = found.iter().map(|one| one.count).sum();
    let records = counted(count as u64, "record");
    output::note(&if args.dry_run {
        format!("{records} would be forgotten")
    } else {
        format!("{records} forgotten: the jobs run again when they are asked for")
    });
    Ok(ExitCode::SUCCESS)
}

/// The records of a job that one commit is the reason to forget.
struct Found<'c> {
    commit: &'c Commit,
    job: JobName,
    count: usize,
    /// That of the newest.
    status: Status,
    newest: Option<Timestamp>,
    /// Those that are dated in the future.
    future: Vec<LogId>,
    now: Timestamp,
}

impl Found<'_> {
    /// The lines that say so.
    fn lines(&self, runner: &RunnerLabel) -> Vec<Line> {
        let at = self.newest.map_or(self.now, |newest| newest.max(self.now));
        let line = |what| {
            Line::Forget(Forget {
                job: self.job.clone(),
                at,
                runner: runner.clone(),
                what,
            })
        };
        let older = self.newest.map(|_| Forgotten::Older {
            tree: self.commit.tree,
            commit: self.commit.id,
        });
        let future = self.future.iter().cloned().map(Forgotten::Log);
        older.into_iter().chain(future).map(line).collect()
    }
}

/// The records of the contents of `commits` that count, by commit and job. Those that hold
/// for every commit with a tree are found at the first of them.
fn find<'c>(records: &Records, commits: &'c [Commit], names: &[JobName]) -> Vec<Found<'c>> {
    type Group = BTreeMap<JobName, Vec<Rec>>;
    struct Rec {
        log: LogId,
        finished: Timestamp,
        status: Status,
    }
    // By tree, and by the commit that a job looked at.
    let mut groups: HashMap<Oid, HashMap<Option<Oid>, Group>> = HashMap::new();
    let now = Timestamp::now();
    let mut found = Vec::new();
    for commit in commits {
        let of_tree = groups.entry(commit.tree).or_insert_with(|| {
            let mut groups: HashMap<_, Group> = HashMap::new();
            let mut seen = HashSet::new();
            for record in records.of_tree(commit.tree) {
                let wanted = names.is_empty() || names.contains(&record.job);
                // One stands in the note of each commit that it was reused for.
                if wanted
                    && !records.is_forgotten(record)
                    && seen.insert((&record.job, &record.log, record.finished))
                {
                    let group = groups.entry(record.seen.commit()).or_default();
                    let of_job = group.entry(record.job.clone()).or_default();
                    of_job.push(Rec {
                        log: record.log.clone(),
                        finished: record.finished,
                        status: record.status,
                    });
                }
            }
            groups
        });
        let mut here: Group = of_tree.remove(&None).unwrap_or_default();
        for (job, mut of_job) in of_tree.remove(&Some(commit.id)).unwrap_or_default() {
            here.entry(job).or_default().append(&mut of_job);
        }
        for (job, mut of_job) in here {
            of_job.sort_by_key(|record| record.finished);
            let (past, future): (Vec<_>, Vec<_>) = of_job
                .iter()
                .partition(|record| record.finished <= latest(now));
            let Some(newest) = past.last().or(future.last()) else {
                continue;
            };
            found.push(Found {
                commit,
                job,
                count: of_job.len(),
                status: newest.status,
                newest: past.last().map(|record| record.finished),
                future: future.iter().map(|record| record.log.clone()).collect(),
                now,
            });
        }
    }
    found
}
