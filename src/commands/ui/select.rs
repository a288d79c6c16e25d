//! What commands about commits have in common: which commits, and which jobs of them.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;

use crate::config::{self, CommitJobs, ConfigFrom, JobChoice, LoadError};
use crate::error::Failure;
use crate::git::revs::{self, RevError, Selection};
use crate::git::{Branches, Repo};
use crate::model::{Commit, Job, JobName, Oid, printable_line};
use crate::plan::PlannedJob;
use crate::settings::Settings;
use crate::watch;

use super::kinds::Kinds;
use super::{output, slips};

/// Which commits are meant.
#[derive(Debug, clap::Args)]
pub(in crate::commands) struct RevArgs {
    /// Commits and ranges, as `git rev-parse` and `git rev-list` know them.
    ///
    /// A revision stands for that one commit, `A..B` for the commits of B that are not
    /// in A. With `^A`, `--all` or `--branches`, all arguments together select what
    /// `git rev-list` would.
    #[arg(value_name = "REV|RANGE", allow_hyphen_values = false)]
    pub(in crate::commands) revs: Vec<OsString>,

    /// Every commit that a branch, a tag or another ref reaches.
    #[arg(long)]
    pub(in crate::commands) all: bool,

    /// Every commit that a local branch reaches.
    #[arg(long)]
    pub(in crate::commands) branches: bool,

    /// Follow only the first parent of a merge.
    #[arg(long)]
    pub(in crate::commands) first_parent: bool,

    /// Read more revisions from standard input, one a line.
    #[arg(long)]
    pub(in crate::commands) stdin: bool,

    /// The order of the commits of a range.
    #[arg(long, value_enum, default_value = "newest", value_name = "ORDER")]
    pub(in crate::commands) order: Order,
}

/// The order of the commits of a range.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::commands) enum Order {
    /// Children before their parents.
    Newest,
    /// Parents before their children.
    Oldest,
}

/// Where `git bisect --no-checkout` is, as in a bare repository.
const BISECT_HEAD: &str = "BISECT_HEAD";

impl RevArgs {
    /// What the user asked for, word by word, as text for people.
    pub(in crate::commands) fn typed(&self) -> Vec<String> {
        let options = [
            (self.all, "--all"),
            (self.branches, "--branches"),
            (self.stdin, "--stdin"),
        ];
        let options = options.into_iter().filter(|(given, _)| *given);
        let options = options.map(|(_, option)| option.to_owned());
        let revs = self
            .revs
            .iter()
            .map(|rev| rev.to_string_lossy().into_owned());
        options.chain(revs).collect()
    }

    /// Whether no commit was named in any way.
    pub(in crate::commands) fn is_empty(&self) -> bool {
        self.revs.is_empty() && !self.all && !self.branches && !self.stdin
    }

    /// The commits, each once; `default` stands in where none was named.
    ///
    /// # Errors
    /// Where a revision is none, or standard input cannot be read.
    pub(in crate::commands) fn commits(
        &self,
        repo: &Repo,
        default: &str,
    ) -> Result<Vec<Commit>, Failure> {
        let mut args = self.revs.clone();
        if self.stdin {
            for line in io::stdin().lock().split(b'\n') {
                let line =
                    line.map_err(|error| Failure::failed_to("read standard input", error))?;
                let line = line.trim_ascii();
                if !line.is_empty() {
                    args.push(OsStr::from_bytes(line).to_owned());
                }
            }
        }
        if self.is_empty() {
            args.push(default.into());
        }
        let selection = Selection {
            args,
            all: self.all,
            branches: self.branches,
            first_parent: self.first_parent,
            order: match self.order {
                Order::Newest => revs::Order::Newest,
                Order::Oldest => revs::Order::Oldest,
            },
        };
        let found = revs::select(repo, &selection).map_err(|error| unknown_rev(repo, error))?;
        for what in found.left_out {
            output::note(&format!("warning: left out is {what}"));
        }
        Ok(found.commits)
    }
}

/// The one commit that `rev` names.
///
/// # Errors
/// Where it names none, or several.
pub(in crate::commands) fn commit(repo: &Repo, rev: &OsStr) -> Result<Commit, Failure> {
    revs::resolve(repo, rev).map_err(|error| unknown_rev(repo, error))
}

/// Adds the branch or tag that may have been meant.
fn unknown_rev(repo: &Repo, error: RevError) -> Failure {
    let hint = match &error {
        RevError::Unknown { rev, .. } => slips::no_rev(repo, rev).or_else(|| {
            let near = nearest_rev(rev, &revs::names(repo))?;
            Some(format!("did you mean `{near}`?"))
        }),
        _ => None,
    };
    let failure = Failure::from(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// `rev` with the name in it replaced by the nearest that there is.
fn nearest_rev(rev: &str, names: &[String]) -> Option<String> {
    if revs::is_range(rev) {
        return None;
    }
    let end = rev.find(['~', '^', '@', ':']).unwrap_or(rev.len());
    let (name, rest) = rev.split_at(end);
    let known = names.iter().map(String::as_str).chain(["head"]);
    let near = config::nearest(name, known)?;
    let near = if near == "head" { "HEAD" } else { near };
    // Where the name is right it is the rest that leads nowhere.
    (near != name).then(|| format!("{near}{rest}"))
}

/// Where configured jobs come from.
#[derive(Debug, Default, clap::Args)]
pub(in crate::commands) struct ConfigArgs {
    /// Only this job, and what it needs; may be given several times.
    ///
    /// The name of a matrix means all of its jobs, and `*` in a name any text.
    #[arg(long, value_name = "NAME")]
    pub(in crate::commands) job: Vec<String>,

    /// Leave this job out; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub(in crate::commands) skip: Vec<String>,

    /// Read the jobs from this file.
    #[arg(long, value_name = "FILE", conflicts_with = "config_from")]
    pub(in crate::commands) config: Option<PathBuf>,

    /// Which jobs file counts: that of the `worktree`, of each `commit`, or of a revision.
    ///
    /// By default the work tree's, so that a job you just wrote runs on old commits,
    /// too, and a fetched commit cannot choose the commands; in a bare repository the
    /// commit's own. `ci.configFrom` sets another default.
    #[arg(long, value_name = "worktree|commit|REV")]
    pub(in crate::commands) config_from: Option<String>,
}

impl ConfigArgs {
    /// Which jobs are meant.
    pub(in crate::commands) fn choice(&self) -> JobChoice {
        JobChoice {
            names: self.job.clone(),
            skipped: self.skip.clone(),
            stage: None,
        }
    }

    /// Where the jobs come from, for whoever reads them again and again.
    pub(in crate::commands) fn source(&self, settings: &Settings) -> watch::Source {
        match (&self.config, &self.config_from) {
            (Some(file), _) => watch::Source::File(file.clone()),
            (None, Some(from)) => watch::Source::From(ConfigFrom::from(from.as_str())),
            (None, None) => watch::Source::From(settings.config_from.clone()),
        }
    }
}

/// The jobs of each commit.
pub(in crate::commands) struct Jobs<'a> {
    all: AllJobs<'a>,
    choice: JobChoice,
    branches: Branches<'a>,
    /// On how many commits which jobs were left out, since none of their branches reaches those.
    left_out: BTreeMap<JobName, (usize, Vec<String>)>,
}

/// The jobs, whatever branch a commit is on: the same for all commits, unless each brings its own.
enum AllJobs<'a> {
    Same(Arc<[PlannedJob]>),
    /// Those of the commit's own jobs file.
    OfEach {
        files: CommitJobs<'a>,
        /// What verdicts must agree in.
        kinds: Box<Kinds>,
        /// What came of each file so far.
        planned: HashMap<Oid, Arc<[PlannedJob]>>,
    },
}

impl<'a> Jobs<'a> {
    fn new(repo: &'a Repo, choice: JobChoice, all: AllJobs<'a>) -> Self {
        Self {
            all,
            choice,
            branches: Branches::new(repo),
            left_out: BTreeMap::new(),
        }
    }

    /// One job, for every commit.
    pub(in crate::commands) fn only(repo: &'a Repo, job: PlannedJob) -> Self {
        Self::new(repo, JobChoice::default(), AllJobs::Same([job].into()))
    }

    /// The configured jobs that `args` choose.
    ///
    /// # Errors
    /// Where there is no jobs file, it is not right, or has no job of a chosen name.
    pub(in crate::commands) fn configured(
        args: &ConfigArgs,
        repo: &'a Repo,
        settings: &Settings,
        kinds: Kinds,
    ) -> Result<Self, LoadError> {
        Self::chosen(args, args.choice(), repo, settings, kinds)
    }

    /// The same with another choice than that of `args`.
    ///
    /// # Errors
    /// As for [`configured`](Self::configured).
    pub(in crate::commands) fn chosen(
        args: &ConfigArgs,
        choice: JobChoice,
        repo: &'a Repo,
        settings: &Settings,
        kinds: Kinds,
    ) -> Result<Self, LoadError> {
        let from = match (&args.config, &args.config_from) {
            (Some(file), _) => {
                let jobs = planned(config::load_file(file)?, &choice, &kinds)?;
                return Ok(Self::new(repo, choice, AllJobs::Same(jobs)));
            }
            (None, Some(from)) => ConfigFrom::from(from.as_str()),
            (None, None) => settings.config_from.clone(),
        };
        let all = match from {
            ConfigFrom::Commit => AllJobs::OfEach {
                files: CommitJobs::new(repo),
                kinds: Box::new(kinds),
                planned: HashMap::new(),
            },
            other => AllJobs::Same(planned(load(repo, &other)?, &choice, &kinds)?),
        };
        Ok(Self::new(repo, choice, all))
    }

    /// The jobs of one commit.
    ///
    /// # Errors
    /// Where the commit's own jobs file is missing or not right, or the branches cannot be read.
    pub(in crate::commands) fn of(
        &mut self,
        commit: &Commit,
    ) -> Result<Arc<[PlannedJob]>, LoadError> {
        let jobs = match &mut self.all {
            AllJobs::Same(jobs) => Arc::clone(jobs),
            AllJobs::OfEach {
                files,
                kinds,
                planned: seen,
            } => {
                let (file, jobs) = files.of(&commit.id)?;
                match seen.get(&file) {
                    Some(jobs) => Arc::clone(jobs),
                    None => {
                        let jobs = planned(jobs.to_vec(), &self.choice, kinds)?;
                        seen.insert(file, Arc::clone(&jobs));
                        jobs
                    }
                }
            }
        };
        if jobs.iter().all(|planned| planned.job.branches.is_empty()) {
            return Ok(jobs);
        }
        let (choice, branches, left_out) = (&self.choice, &mut self.branches, &mut self.left_out);
        PlannedJob::wanted(&jobs, |job| {
            let is_wanted = choice.is_wanted(job);
            let is_reached = job.branches.is_empty() || branches.reach(&job.branches, commit)?;
            if is_wanted && !is_reached {
                let count = left_out.entry(job.name.clone()).or_default();
                *count = (count.0 + 1, job.branches.clone());
            }
            Ok(is_wanted && is_reached)
        })
    }

    /// The jobs that are the same for all commits, where they are.
    pub(in crate::commands) fn same(&self) -> Option<&[PlannedJob]> {
        match &self.all {
            AllJobs::Same(jobs) => Some(jobs),
            AllJobs::OfEach { .. } => None,
        }
    }

    /// What there is to say of jobs that were left out, in sentences.
    pub(in crate::commands) fn left_out(&self) -> Vec<String> {
        let text = |(name, (count, branches)): (&JobName, &(usize, Vec<String>))| {
            let commits = if *count == 1 { "commit" } else { "commits" };
            let branches = branches.join(", ");
            let branches = printable_line(branches.as_bytes());
            format!("{name} is left out on {count} {commits}: it runs only on {branches}")
        };
        self.left_out.iter().map(text).collect()
    }
}

/// Whether there is a commit that `HEAD` leads to.
pub(in crate::commands) fn has_commit(repo: &Repo) -> bool {
    revs::resolve(repo, "HEAD").is_ok()
}

/// What a run is about where no commit is named: `HEAD`, unless a bisect that checks nothing
/// out is at another commit.
pub(in crate::commands) fn bisected(repo: &Repo) -> &'static str {
    if repo.git_dir().join(BISECT_HEAD).exists() {
        output::note("bisecting without a checkout: BISECT_HEAD is tested");
        return BISECT_HEAD;
    }
    "HEAD"
}

/// The jobs that count for all commits; says where they are not from where they should be.
fn load(repo: &Repo, from: &ConfigFrom) -> Result<Vec<Job>, LoadError> {
    match (config::load(repo, from), from) {
        // A bisect has checked out a commit from before the jobs file.
        (Err(error @ LoadError::Missing(_)), ConfigFrom::Worktree) => {
            let Some((name, jobs)) = config::load_bisected(repo)? else {
                return Err(error);
            };
            let file = config::JOBS_FILE;
            output::note(&format!("bisecting: no {file} here, that of {name} counts"));
            Ok(jobs)
        }
        (loaded, _) => loaded,
    }
}

fn planned(
    jobs: Vec<Job>,
    choice: &JobChoice,
    kinds: &Kinds,
) -> Result<Arc<[PlannedJob]>, LoadError> {
    let chosen = choice.of(jobs)?;
    Ok(PlannedJob::all(chosen, |job| kinds.criteria(job)))
}
