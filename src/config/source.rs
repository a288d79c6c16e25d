//! Where the jobs file is read from: the work tree, each commit, or one revision.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::git::revs::{self, RevError};
use crate::git::{ReadError, RefError, Repo};
use crate::model::{Job, JobName, Oid, Stage};

use super::JOBS_FILE;
use super::parse::{ConfigError, nearest, parse};

/// Which jobs file counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigFrom {
    /// The work tree's, committed or not.
    Worktree,
    /// Each commit's own.
    Commit,
    /// That of one revision, for all commits.
    Rev(String),
}

impl From<&str> for ConfigFrom {
    fn from(text: &str) -> Self {
        match text {
            "worktree" => Self::Worktree,
            "commit" => Self::Commit,
            rev => Self::Rev(rev.to_owned()),
        }
    }
}

/// No jobs file is longer, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// Why there are no jobs.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No jobs file at that place.
    #[error("find a jobs file: there is no {0}")]
    Missing(String),
    /// It is there and cannot be read.
    #[error("read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It can be read and makes no sense.
    #[error("understand the jobs file\n{0}")]
    Invalid(ConfigError),
    /// A bare repository, or a place within `.git`.
    #[error("find a jobs file: there is no work tree here")]
    NoWorkTree,
    /// The revision to read it from is none.
    #[error(transparent)]
    Rev(#[from] RevError),
    /// The repository is damaged.
    #[error("read the jobs file of {rev}")]
    Object {
        /// The revision.
        rev: String,
        /// Why.
        source: ReadError,
    },
    /// It cannot be told which branches there are.
    #[error(transparent)]
    Refs(#[from] RefError),
    /// A job was asked for that is not in the file.
    #[error("find a job named \"{name}\": {}", the_jobs(.known))]
    NoSuchJob {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
        /// The one that may have been meant.
        near: Option<String>,
    },
    /// A job that was asked for needs one that is to be left out.
    #[error("leave out {need}: {job} needs it")]
    SkippedNeed {
        /// The job.
        job: JobName,
        /// What it needs.
        need: JobName,
    },
}

/// More jobs are not listed in a sentence.
const LISTED: usize = 20;

fn the_jobs(known: &[String]) -> String {
    match known {
        [] => "none is configured here, and none is on record".to_owned(),
        [one] => format!("the only one is {one}"),
        _ => {
            let listed = known[..known.len().min(LISTED)].join(", ");
            match known.len().saturating_sub(LISTED) {
                0 => format!("there are {listed}"),
                more => format!("there are {listed} and {more} more"),
            }
        }
    }
}

/// The jobs that count for every commit alike.
///
/// # Errors
/// Where there is no jobs file, or it is not right.
pub fn load(repo: &Repo, from: &ConfigFrom) -> Result<Vec<Job>, LoadError> {
    match from {
        ConfigFrom::Worktree => {
            let top = repo.work_tree().ok_or(LoadError::NoWorkTree)?;
            load_path(&top.join(JOBS_FILE), false)
        }
        ConfigFrom::Commit => load_rev(repo, "HEAD"),
        ConfigFrom::Rev(rev) => load_rev(repo, rev),
    }
}

/// The jobs of the branch on which a bisect began that is under way here, with what to call
/// it: they count where the commit that is checked out has no jobs file. `None` where there
/// is no such bisect, or that branch has none either.
///
/// # Errors
/// Where that file is not right.
pub fn load_bisected(repo: &Repo) -> Result<Option<(String, Vec<Job>)>, LoadError> {
    let Some((name, start)) = revs::bisect_start(repo) else {
        return Ok(None);
    };
    match find_blob(repo, &start.id, &name) {
        Err(LoadError::Missing(_)) => Ok(None),
        blob => Ok(Some((name.clone(), parse_blob(repo, &blob?, &name)?))),
    }
}

/// The jobs of a file that the user named.
///
/// # Errors
/// Where it is not there, cannot be read, or is not right.
pub fn load_file(path: &Path) -> Result<Vec<Job>, LoadError> {
    load_path(path, true)
}

fn load_path(path: &Path, named: bool) -> Result<Vec<Job>, LoadError> {
    let text = match read_bounded(path, named) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(LoadError::Missing(path.display().to_string()));
        }
        Err(source) => {
            let path = path.to_owned();
            return Err(LoadError::Read { path, source });
        }
    };
    // As the user would name it: the file itself, not the way from the root.
    let origin = path.file_name().map_or_else(
        || path.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    );
    parse(&text, &origin).map_err(LoadError::Invalid)
}

/// A plain file as text. What a tree brings may be a link to anywhere, a device or a pipe:
/// a link is only followed where the user `named` the file, and nothing is waited for.
fn read_bounded(path: &Path, named: bool) -> io::Result<String> {
    let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    if !named {
        flags |= OFlags::NOFOLLOW;
    }
    let refused = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    let opened = File::options()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path);
    let file = opened.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::LOOP) => refused("it is a symbolic link, and no plain file"),
        Some(Errno::NXIO) => refused("it is no plain file"),
        _ => error,
    })?;
    if !file.metadata()?.is_file() {
        return Err(refused("it is no plain file"));
    }
    let mut text = String::new();
    file.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        let message = format!("it is longer than {} MiB", MAX_FILE >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

fn load_rev(repo: &Repo, rev: &str) -> Result<Vec<Job>, LoadError> {
    let commit = revs::resolve(repo, rev)?.id;
    let blob = find_blob(repo, &commit, rev)?;
    parse_blob(repo, &blob, rev)
}

fn object(rev: &str) -> impl Fn(ReadError) -> LoadError {
    move |source| LoadError::Object {
        rev: rev.to_owned(),
        source,
    }
}

/// The jobs file of a commit, which messages call `rev`.
fn find_blob(repo: &Repo, commit: &Oid, rev: &str) -> Result<Oid, LoadError> {
    let blob = repo.file_in(commit, JOBS_FILE).map_err(object(rev))?;
    blob.ok_or_else(|| LoadError::Missing(format!("{JOBS_FILE} in {rev}")))
}

fn parse_blob(repo: &Repo, blob: &Oid, rev: &str) -> Result<Vec<Job>, LoadError> {
    let text = repo.read_blob(blob).map_err(object(rev))?;
    let text = String::from_utf8_lossy(&text);
    parse(&text, &format!("{rev}:{JOBS_FILE}")).map_err(LoadError::Invalid)
}

/// The jobs of each commit, read from the commit itself; equal files are parsed once.
pub struct CommitJobs<'a> {
    repo: &'a Repo,
    parsed: HashMap<Oid, Arc<[Job]>>,
}

impl<'a> CommitJobs<'a> {
    /// A reader that has read nothing yet.
    pub fn new(repo: &'a Repo) -> Self {
        Self {
            repo,
            parsed: HashMap::new(),
        }
    }

    /// The jobs of a commit, with the id of the file that they are in.
    ///
    /// # Errors
    /// Where the commit has no jobs file, or it is not right.
    pub fn of(&mut self, commit: &Oid) -> Result<(Oid, Arc<[Job]>), LoadError> {
        let blob = find_blob(self.repo, commit, &commit.short())?;
        if let Some(jobs) = self.parsed.get(&blob) {
            return Ok((blob, Arc::clone(jobs)));
        }
        let jobs: Arc<[Job]> = parse_blob(self.repo, &blob, &commit.short())?.into();
        self.parsed.insert(blob, Arc::clone(&jobs));
        Ok((blob, jobs))
    }
}

/// The error of asking for a job that is none of the `known` ones.
pub fn no_such_job<'n>(name: &str, known: impl Iterator<Item = &'n str> + Clone) -> LoadError {
    let matrices = known.clone().filter_map(|job| Some(job.split_once('[')?.0));
    LoadError::NoSuchJob {
        name: name.to_owned(),
        near: nearest(name, known.clone().chain(matrices)).map(str::to_owned),
        known: known.map(str::to_owned).collect(),
    }
}

/// Which jobs of a file are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobChoice {
    /// The names of jobs, of matrices, or patterns of names, in which `*` is any text; none
    /// means all that run by default.
    pub names: Vec<String>,
    /// The same of those that are left out.
    pub skipped: Vec<String>,
    /// Only those of this stage, whether they run by default or not.
    pub stage: Option<Stage>,
}

impl JobChoice {
    /// Jobs by their names.
    pub fn of_names(names: &[String]) -> Self {
        Self {
            names: names.to_vec(),
            ..Self::default()
        }
    }

    /// Whether a job is meant, and not only needed by one that is.
    pub fn is_wanted(&self, job: &Job) -> bool {
        let any = |names: &[String]| names.iter().any(|name| job.name.is_meant_by(name));
        let is_named = match (self.names.as_slice(), self.stage) {
            ([], None) => !job.on_request,
            ([], Some(_)) => true,
            (names, _) => any(names),
        };
        let is_of_stage = self.stage.is_none() || job.stage == self.stage;
        is_named && is_of_stage && !any(&self.skipped)
    }

    /// The jobs that are meant and those that they need, in the order of the file.
    ///
    /// # Errors
    /// Where there is no job of one of the names, or one that is left out is needed.
    pub fn of(&self, jobs: Vec<Job>) -> Result<Vec<Job>, LoadError> {
        for name in self.names.iter().chain(&self.skipped) {
            if !jobs.iter().any(|job| job.name.is_meant_by(name)) {
                return Err(no_such_job(name, jobs.iter().map(|job| job.name.as_str())));
            }
        }
        let mut chosen: HashSet<&JobName> = HashSet::new();
        let mut next: Vec<&Job> = Vec::new();
        for job in &jobs {
            if self.is_wanted(job) && chosen.insert(&job.name) {
                next.push(job);
            }
        }
        let by_name: HashMap<_, _> = jobs.iter().map(|job| (&job.name, job)).collect();
        while let Some(job) = next.pop() {
            for need in &job.needs {
                let Some(needed) = by_name.get(&need.job) else {
                    continue;
                };
                let mut skipped = self.skipped.iter();
                if skipped.any(|name| needed.name.is_meant_by(name)) {
                    return Err(LoadError::SkippedNeed {
                        job: job.name.clone(),
                        need: need.job.clone(),
                    });
                }
                if chosen.insert(&needed.name) {
                    next.push(needed);
                }
            }
        }
        let chosen: HashSet<_> = chosen.into_iter().cloned().collect();
        let is_chosen = |job: &Job| chosen.contains(&job.name);
        Ok(jobs.into_iter().filter(is_chosen).collect())
    }
}
