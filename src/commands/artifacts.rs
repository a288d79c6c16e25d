//! `git ci artifacts`: what a task left, and where.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::artifacts::{self, ArtifactStore, Left, LeftFile};
use crate::error::{Failure, FailureKind};
use crate::git::Repo;
use crate::model::{Commit, JSON_FORMAT, JobName, Oid, Record, printable_line, size_text};
use crate::notes::Records;
use crate::plan::PlannedJob;
use crate::settings::Settings;

use super::ui::color;
use super::ui::lines::Line;
use super::ui::output;
use super::ui::pager::Page;
use super::ui::reading::{Configured, Running, judge, running};
use super::ui::select::ConfigArgs;
use super::ui::target::Target;

/// List the files that a task left, or copy them out.
///
/// A job leaves what it writes into the directory `GIT_CI_ARTIFACTS`, and the files that its
/// `artifacts` select. They are listed below the directory that they are in, with those that
/// earlier tries of the task left.
///
/// Where the verdict is that of another commit, so are the files. They stay in the clone that
/// ran the task, also where that was on another machine; `git ci gc` removes old ones
/// (`ci.artifactMaxAge`, `ci.artifactMaxSize`).
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The commit [default: HEAD].
    #[arg(value_name = "REV")]
    rev: Option<OsString>,

    /// The job; without it those of all jobs are listed. Alone it means HEAD's.
    #[arg(value_name = "JOB")]
    job: Option<String>,

    /// Copy the files of the last try into this directory, over nothing that is there.
    #[arg(long, value_name = "DIR", conflicts_with = "json")]
    extract: Option<PathBuf>,

    /// Print JSON, one file a line.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    color: color::ColorArgs,
}

/// What one try of a job left.
struct Found {
    job: JobName,
    /// On which commit.
    from: Oid,
    /// The try, unless it was the last.
    try_: Option<u32>,
    dir: PathBuf,
    files: Vec<LeftFile>,
}

/// Finds the files, and lists or copies them.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    let repo = Repo::discover()?;
    let settings = Settings::of(&repo)?;
    let records = super::ui::reading::records(&repo, &settings)?;
    let mut configured = Configured::load(&ConfigArgs::default(), &repo, &settings)?;
    let running = running(&repo);
    let words = (args.rev.as_ref(), args.job.as_deref());
    let target = Target::of(&repo, &mut configured, &records, &running, words)?;
    let Target { commit, job, jobs } = target;
    let store = ArtifactStore::new(&repo.ci_dir());
    let names = match &job {
        Some(job) => vec![job.clone()],
        None => {
            let configured = jobs.iter().map(|planned| planned.job.name.clone());
            let mut names: Vec<_> = configured.chain(store.jobs(&commit.id)).collect();
            names.sort();
            names.dedup();
            names
        }
    };
    let mut found = Vec::new();
    for name in names {
        let from = from(&store, &commit, &name, &jobs, &records, &running);
        for (try_, dir) in store.tries(&from, &name) {
            let files = artifacts::list(&dir);
            let files = files
                .map_err(|error| Failure::failed_to(format!("list {}", dir.display()), error))?;
            if !files.is_empty() {
                found.push(Found {
                    job: name.clone(),
                    from,
                    try_,
                    dir,
                    files,
                });
            }
        }
    }
    if found.is_empty() && !args.json {
        return Err(nothing(&commit, job.as_ref()));
    }
    if let Some(to) = &args.extract {
        return extract(&found, to);
    }
    let mut page = Page::open(&repo, args.color, !args.json)?;
    if args.json {
        page.write(
            &Line::Artifacts {
                format: JSON_FORMAT,
                commit: commit.id,
            }
            .render(),
        )?;
    }
    for one in &found {
        page.write(&if args.json { one.json() } else { one.text() })?;
    }
    page.close()?;
    Ok(ExitCode::SUCCESS)
}

/// The commit on which the job left what counts for `commit`.
fn from(
    store: &ArtifactStore,
    commit: &Commit,
    name: &JobName,
    jobs: &[PlannedJob],
    records: &Records,
    running: &[Running],
) -> Oid {
    let mut tasks = running.iter();
    if tasks.any(|task| task.commit == commit.id && task.job == *name) {
        return commit.id;
    }
    let Some(verdict) = judge(records, commit, jobs, name) else {
        return commit.id;
    };
    let record = verdict.record;
    let is_here = |commit: &Oid| store.path(commit, name).is_dir();
    if record.tree == commit.tree && is_here(&commit.id) {
        return commit.id;
    }
    // The record stands where it was made, too.
    let has_it = |records: &[Record]| records.iter().any(|other| other.log == record.log);
    let all = records.iter().filter(|(_, records)| has_it(records));
    let mut all = all.map(|(commit, _)| *commit);
    all.find(|other| *other != commit.id && is_here(other))
        .unwrap_or(commit.id)
}

fn nothing(commit: &Commit, job: Option<&JobName>) -> Failure {
    let short = commit.id.short();
    let (of, run) = match job {
        Some(job) => {
            let quoted = shell_words::quote(job.as_str()).into_owned();
            (format!("{job} on {short}"), format!(" --job {quoted}"))
        }
        None => (short.clone(), String::new()),
    };
    let message = format!(
        "failed to find artifacts of {of}: it left none in this clone, or `git ci gc` removed them"
    );
    Failure::new(FailureKind::NoVerdict, message).hint(format!("git ci run --force{run} {short}"))
}

fn extract(found: &[Found], to: &Path) -> Result<ExitCode, Failure> {
    let last: Vec<_> = found.iter().filter(|one| one.try_.is_none()).collect();
    let [one] = last.as_slice() else {
        let names: Vec<_> = last.iter().map(|one| one.job.as_str()).collect();
        let message = match names.as_slice() {
            [] => "failed to choose what to copy: the last try left nothing".to_owned(),
            names => format!(
                "failed to choose a job: several left something, {}",
                names.join(", ")
            ),
        };
        return Err(Failure::usage(message));
    };
    artifacts::extract(&one.files, &one.dir, to)
        .map_err(|error| Failure::failed_to(format!("copy to {}", to.display()), error))?;
    let (count, bytes) = (one.files.len(), one.bytes());
    let files = if count == 1 { "file" } else { "files" };
    output::note(&format!(
        "{count} {files}, {}, in {}",
        size_text(bytes),
        to.display()
    ));
    Ok(ExitCode::SUCCESS)
}

impl Found {
    fn bytes(&self) -> u64 {
        let bytes = |file: &LeftFile| match file.what {
            Left::File { bytes, .. } => bytes,
            Left::Link(_) => 0,
        };
        self.files.iter().map(bytes).sum()
    }

    fn text(&self) -> String {
        let try_ = self.try_.map(|try_| format!(", try {try_}"));
        let safe = |path: &Path| {
            let path = path.as_os_str().as_encoded_bytes();
            printable_line(path).into_owned()
        };
        let mut text = format!(
            "{}{}: {}\n",
            self.job,
            try_.unwrap_or_default(),
            safe(&self.dir)
        );
        for file in &self.files {
            let path = safe(&file.path);
            text += &match &file.what {
                Left::File { bytes, .. } => format!("{:>12}  {path}\n", size_text(*bytes)),
                Left::Link(target) => format!("{:>12}  {path} -> {}\n", "link", safe(target)),
            };
        }
        text
    }

    fn json(&self) -> String {
        let line = |file: &LeftFile| {
            let (bytes, link) = match &file.what {
                Left::File { bytes, .. } => (Some(*bytes), None),
                Left::Link(target) => (None, Some(target.display().to_string())),
            };
            Line::Artifact {
                job: &self.job,
                from: self.from,
                try_: self.try_,
                path: file.path.display().to_string(),
                file: self.dir.join(&file.path).display().to_string(),
                bytes,
                link,
            }
            .render()
        };
        self.files.iter().map(line).collect()
    }
}
