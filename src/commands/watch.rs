//! `git ci watch`: every new commit, by itself, for as long as it is left running.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::ValueEnum;

use crate::engine::control::{Kind, Process};
use crate::engine::{Summary, Superseded};
use crate::error::Failure;
use crate::git::{Repo, revs};
use crate::model::{Counts, Oid, UnitError, parse_duration};
use crate::notes::NoteStore;
use crate::reporter::{Bell, Reporter};
use crate::settings::Settings;
use crate::spool::{Notices, Spool};
use crate::watch::wanted::QueueOrder;
use crate::watch::{
    Abandon, Observed, Options, Patterns, Remote, ResultCommand, Session, WatchJobs, WatchLock,
    WatchLockError, on_result, tips,
};

use super::ui::background::{self, Background};
use super::ui::kinds::judging;
use super::ui::launch::{self, Live, TalkArgs};
use super::ui::select::ConfigArgs;
use super::ui::{fleet, output};

/// Watch for new commits and run the jobs on each.
///
/// Every commit that appears on a watched branch is tested once, whatever way it came:
/// by a commit, a merge, a rebase, a push or a fetch. The newest goes first, and a
/// commit that is no longer on any watched branch is dropped, also while it is tested.
///
/// The first time, the tip of each watched branch is tested, and what is behind it
/// counts as seen. From then on a checkpoint of each branch says up to where everything
/// has been tested, so nothing is missed while nobody watches, and nothing is tested
/// twice. A task that ended without a verdict (ERROR) is tried twice more.
///
/// What is tested is run: whoever can put a commit on a watched ref can run commands as
/// you. Only local branches are watched unless refs are named. A pattern such as
/// `refs/remotes/origin/*` tests what others pushed there: do that only where you would
/// also check out and run what they push.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to watch: branches (`main`), or full ref names (`refs/tags/v1`), where `*`
    /// stands for anything; HEAD for whatever is checked out here, also where that is no
    /// branch [default: all local branches].
    #[arg(value_name = "REF")]
    refs: Vec<OsString>,

    /// Leave these out.
    #[arg(long, value_name = "REF")]
    exclude: Vec<OsString>,

    /// Begin behind this commit: what is on a watched branch and not reachable from it is
    /// tested, unless that is cached.
    #[arg(long, value_name = "REV")]
    since: Option<OsString>,

    /// Which commits go first.
    #[arg(long, value_enum, default_value = "tips", value_name = "ORDER")]
    order: OrderArg,

    /// Let tasks run to their end whose commits are no longer on a watched branch.
    #[arg(long)]
    no_cancel: bool,

    /// Look for changes this often, and do without events of the file system.
    ///
    /// By default events tell, and a look every 30 seconds stands behind them; where
    /// there are no events, as on network mounts, this is the way.
    #[arg(long, value_name = "TIME", value_parser = interval)]
    poll: Option<Duration>,

    /// Fetch this remote again and again, and watch its branches (`refs/remotes/REMOTE/*`)
    /// beside what is named, or beside the local branches.
    ///
    /// Only those refs are written and pruned. Nothing asks for a password; what fails is
    /// tried again after growing pauses. What others push there is run here as you.
    #[arg(long, value_name = "REMOTE")]
    fetch: Option<String>,

    /// How often to fetch.
    #[arg(long, value_name = "TIME", value_parser = interval, default_value = "60s", requires = "fetch")]
    every: Duration,

    /// Run this shell command for each commit that is done, in the background; not for
    /// one whose verdicts were all cached.
    ///
    /// Its standard input is the result as one line of JSON; `GIT_CI_COMMIT`,
    /// `GIT_CI_STATUS` (the worst of its jobs), `GIT_CI_SUBJECT` and `GIT_CI_REFS` are set.
    /// In all of them control characters stand as escapes.
    /// One runs at a time, for a minute at most; that it fails is a warning. Without this
    /// option the setting `ci.onResult` counts, also for watchers that a hook starts.
    #[arg(long, value_name = "CMD")]
    on_result: Option<String>,

    /// Ring the terminal's bell when something fails.
    #[arg(long)]
    bell: bool,

    /// End once there is nothing left to do.
    #[arg(long)]
    until_idle: bool,

    /// Leave notices for the hook that started this.
    #[arg(long, hide = true)]
    background: bool,

    /// Where another process watches this repository, wait until it ends.
    #[arg(long)]
    wait: bool,

    #[command(flatten)]
    config: ConfigArgs,

    /// How many tasks to run at once [default: `ci.slots`, else the number of CPUs].
    #[arg(short = 'j', long = "slots", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots: Option<u32>,

    #[command(flatten)]
    talk: TalkArgs,
}

/// Which of the new commits go first.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum OrderArg {
    /// The tips, those that moved last first; then the rest of each branch, newest first.
    Tips,
    /// Children before their parents, whatever branch they are on.
    Newest,
    /// Parents before their children.
    Oldest,
}

impl From<OrderArg> for QueueOrder {
    fn from(order: OrderArg) -> Self {
        match order {
            OrderArg::Tips => Self::Tips,
            OrderArg::Newest => Self::Newest,
            OrderArg::Oldest => Self::Oldest,
        }
    }
}

/// How often something is looked at.
fn interval(text: &str) -> Result<Duration, UnitError> {
    parse_duration(text, Duration::from_millis(100))
}

/// Watches until it is told to end.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    let repo = Repo::discover()?;
    let watched = watch_on(&args, &repo);
    if args.background
        && let Err(failure) = &watched
    {
        background::failed(&Notices::new(&repo.ci_dir()), failure);
    }
    watched
}

/// Watches, and once more where something came while it ended.
fn watch_on(args: &Args, repo: &Repo) -> Result<ExitCode, Failure> {
    repo.refuse_quarantine("watch this repository")?;
    let settings = Settings::of(repo)?;
    let remote = remote(args, repo)?;
    let mut refs = args.refs.clone();
    if let Some(remote) = &remote {
        if refs.is_empty() {
            refs.push("refs/heads/*".into());
        }
        refs.push(remote.pattern().into());
    }
    let patterns = Patterns::new(&refs, &args.exclude)?;
    let mut since = since(repo, args.since.as_deref())?;
    let mut counts = Counts::default();
    loop {
        let process = Process::this(Kind::Watch, patterns.describe());
        let lease = match WatchLock::take(&repo.ci_dir(), &process, args.wait) {
            // Whoever has it sees what there is to do.
            Err(WatchLockError::Held(_)) if args.background => return Ok(ExitCode::SUCCESS),
            lease => lease?,
        };
        let since = since.take();
        let (summary, observed) = watch(args, repo, &settings, process, &patterns, &remote, since)?;
        drop(lease);
        counts.failed += summary.counts.failed;
        // An ERROR that came to a verdict when it was tried again is none any more.
        counts.errored += summary.gave_up;
        let ended = summary.error.is_some() || summary.signal.is_some();
        // A hook that found the lease taken relies on whoever had it: what came before
        // it was given back must not be left behind.
        if ended || nothing_new(repo, &patterns, &observed)? {
            let cancelled = 0;
            let summary = Summary {
                counts,
                cancelled,
                ..summary
            };
            return launch::finish(summary, false);
        }
    }
}

/// Whether refs and spool are as an observer saw them last.
fn nothing_new(repo: &Repo, patterns: &Patterns, seen: &Observed) -> Result<bool, Failure> {
    // A spool that cannot be read tells nothing new.
    let spooled = Spool::new(&repo.ci_dir()).read();
    let spooled = spooled.map(|spooled| spooled.entries).unwrap_or_default();
    Ok(spooled.iter().all(|entry| seen.spooled.contains(entry))
        && tips(repo, patterns)? == seen.tips)
}

/// Watches once; the caller has the lease.
fn watch(
    args: &Args,
    repo: &Repo,
    settings: &Settings,
    process: Process,
    patterns: &Patterns,
    remote: &Option<Remote>,
    since: Option<Oid>,
) -> Result<(Summary, Observed), Failure> {
    let fetching = remote.is_some().then(|| Arc::new(AtomicBool::new(true)));
    let command = args.on_result.clone().or(settings.on_result.clone());
    let (on_result, command) = match command.map(on_result) {
        Some((to, command, abandon)) => (Some(to), Some((command, abandon))),
        None => (None, None),
    };
    let extra = Extra {
        process,
        remote: remote.clone(),
        on_result: command,
    };
    let options = Options {
        patterns: patterns.clone(),
        order: args.order.into(),
        superseded: if args.no_cancel {
            Superseded::Finish
        } else {
            Superseded::End
        },
        poll: args.poll,
        until_idle: args.until_idle,
        once: false,
        since,
        fetching,
        on_result,
    };
    let source = args.config.source(settings);
    let jobs = WatchJobs::new(repo, source, args.config.choice(), judging(repo, settings))?;
    let mut reporter = args.talk.reporter(repo, Live::Matrix)?;
    let mut others: Vec<Box<dyn Reporter>> = Vec::new();
    if args.bell {
        others.push(Box::new(Bell));
    }
    if args.background {
        others.push(Box::new(Background::new(Notices::new(&repo.ci_dir()))));
    }
    if !others.is_empty() {
        others.insert(0, reporter);
        reporter = Box::new(others);
    }
    let slots = args.slots.unwrap_or(settings.slots);
    observe(repo, settings, options, jobs, slots, reporter, extra)
}

/// The remote that `--fetch` names.
fn remote(args: &Args, repo: &Repo) -> Result<Option<Remote>, Failure> {
    let Some(name) = args.fetch.clone() else {
        return Ok(None);
    };
    if repo.config(&format!("remote.{name}.url")).is_none() {
        return Err(Failure::usage(format!("there is no remote named '{name}'"))
            .hint(format!("git remote add {name} URL")));
    }
    let every = args.every;
    Ok(Some(Remote { name, every }))
}

/// What goes on beside the observer.
pub(super) struct Extra {
    /// Who this is, for other processes.
    pub(super) process: Process,
    pub(super) remote: Option<Remote>,
    pub(super) on_result: Option<(ResultCommand, Abandon)>,
}

/// The commit that `--since` names.
pub(super) fn since(repo: &Repo, rev: Option<&OsStr>) -> Result<Option<Oid>, Failure> {
    let commit = rev.map(|rev| revs::resolve(repo, rev)).transpose()?;
    Ok(commit.map(|commit| commit.id))
}

/// Runs the observer beside the dispatcher. The caller has the lease.
pub(super) fn observe(
    repo: &Repo,
    settings: &Settings,
    options: Options,
    jobs: WatchJobs<'_>,
    slots: u32,
    reporter: Box<dyn Reporter>,
    extra: Extra,
) -> Result<(Summary, Observed), Failure> {
    let session = Session {
        repo,
        process: extra.process,
        options,
        jobs,
        // How much there will be to do nobody knows.
        runners: fleet::runners(repo, settings, slots, usize::MAX, false)?,
        records: super::ui::reading::records(repo, settings)?,
        store: NoteStore::open(repo, &settings.notes_ref)?,
        reporter,
        remote: extra.remote,
        on_result: extra.on_result,
    };
    let watched = session.run()?;
    for warning in watched.late {
        output::note(&format!("warning: {warning}"));
    }
    Ok((watched.summary, watched.observed))
}
