//! `git ci run`: the jobs on the commits, once.

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args as _, FromArgMatches as _};

use crate::config::{self, JobChoice, LoadError};
use crate::engine::control::{self, Kind, Listener, Process};
use crate::engine::{self, OnError, Summary, Superseded};
use crate::error::{Failure, FailureKind};
use crate::git::{Look, Repo, auto_gc, revs, snapshot};
use crate::logs::LogStore;
use crate::model::{CommandLine, Commit, JSON_FORMAT, Job, JobName, Oid, Stage, Task};
use crate::notes::{NoteStore, Records};
use crate::plan::{Action, Entry, Plan, PlannedJob, ReusePolicy};
use crate::reporter::{JOB_WIDTH, Reporter, Verbosity, subject_text};
use crate::settings::Settings;
use crate::watch::wanted::QueueOrder;
use crate::watch::{Options, Patterns, WatchJobs, WatchLock};

use super::config::idle_patterns;
use super::ui::kinds::{Kinds, judging};
use super::ui::launch::{self, Live, TalkArgs};
use super::ui::lines::{Line, PlannedAction};
use super::ui::select::{self, ConfigArgs, Jobs, RevArgs};
use super::ui::suspects::Suspects;
use super::ui::{fleet, output};
use super::watch::Extra;

/// Run the jobs on commits, and record the results.
///
/// Every commit gets a worktree of its own, outside the repository, and nothing of
/// yours is touched: not the index, not HEAD, not a branch. A job whose verdict on the
/// same content is on record already is not run again.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    revs: RevArgs,

    /// What is new on the local branches, or on those named, since the last time.
    ///
    /// New is what is reachable from a branch and not from a checkpoint; the checkpoints
    /// move to what has been tested. It is what `git ci watch` does, once: for cron and
    /// scripts. The first time, the tip of each branch is tested. A task that ends
    /// without a verdict (ERROR) is tried again the next time.
    #[arg(long, conflicts_with_all = ["exec", "all", "branches", "first_parent", "stdin", "force", "retry_failed", "dry_run", "fail_fast"])]
    new: bool,

    /// Test what is staged, as if it were committed.
    ///
    /// Jobs see it as staged, so that `git diff --cached` shows it. Neither the index nor the
    /// work tree is touched; a verdict counts for the commit that is made of it, too.
    #[arg(long, conflicts_with_all = ["revs", "all", "branches", "first_parent", "stdin", "new", "worktree"])]
    staged: bool,

    /// Test the work tree as it is, with untracked files that are not ignored.
    ///
    /// Neither the index nor the work tree is touched; a verdict counts for a commit of just
    /// these files, too.
    #[arg(long, conflicts_with_all = ["revs", "all", "branches", "first_parent", "stdin", "new"])]
    worktree: bool,

    /// Run this shell command instead of the configured jobs.
    #[arg(short = 'x', long = "exec", value_name = "CMD", value_parser = clap::builder::NonEmptyStringValueParser::new(), conflicts_with_all = ["job", "skip", "config", "config_from"])]
    exec: Option<String>,

    /// Record the results of `--exec` under this job name; without it nothing is recorded.
    #[arg(long = "as", value_name = "NAME", requires = "exec")]
    as_: Option<JobName>,

    #[command(flatten)]
    config: ConfigArgs,

    /// Only the jobs of this stage, whether they run by default or not, and what they need.
    ///
    /// Those of `commit` are what the hook pre-commit runs with `--staged`, if it is installed.
    #[arg(long, value_name = "STAGE", value_parser = clap::builder::PossibleValuesParser::new(["commit"]), conflicts_with_all = ["exec", "new"])]
    stage: Option<String>,

    /// For a hook: fail only where a job failed or could not be run, and say how to go on.
    ///
    /// Skips keep nobody from committing, nor does it where there is no jobs file or no commit
    /// yet.
    #[arg(long, requires = "stage")]
    gate: bool,

    /// How many tasks to run at once [default: `ci.slots`, else the number of CPUs].
    #[arg(short = 'j', long = "slots", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots: Option<u32>,

    /// Stop at the first failure, and end what runs; a cached one counts.
    #[arg(long)]
    fail_fast: bool,

    /// A job that passed only in another try (FLAKY) fails the run.
    #[arg(long)]
    fail_flaky: bool,

    /// Run again whatever is cached; the newest record counts.
    #[arg(long)]
    force: bool,

    /// Run again what failed.
    #[arg(long, conflicts_with = "force")]
    retry_failed: bool,

    /// Run again whatever is cached, each task in a worktree that holds nothing but the commit,
    /// as after a fresh clone.
    ///
    /// This rules out what earlier tasks have left there. The verdict counts as that of any
    /// other run: the job's `clean` says the least that is removed. With `--retry-failed`
    /// only what failed is run again.
    #[arg(long, conflicts_with_all = ["new", "force"])]
    clean: bool,

    /// Keep the slot of a task that fails as it is left, for `git ci shell REV JOB`.
    ///
    /// No other task gets it until that shell was in it and has ended; another slot takes its
    /// place. At most eight are kept, on this machine only.
    #[arg(long, conflicts_with = "new")]
    keep_failed: bool,

    /// Say what would run, what is cached, and why; do nothing.
    ///
    /// The exit code is 125 where something would run, else 0.
    #[arg(short = 'n', long)]
    dry_run: bool,

    #[command(flatten)]
    talk: TalkArgs,
}

impl Args {
    /// What the user asked for, word by word.
    fn typed(&self) -> Vec<String> {
        let options = [(self.staged, "--staged"), (self.worktree, "--worktree")];
        let given = options.into_iter().filter(|(given, _)| *given);
        let given = given.map(|(_, option)| option.to_owned());
        given.chain(self.revs.typed()).collect()
    }

    /// Which jobs are meant.
    fn choice(&self) -> JobChoice {
        JobChoice {
            stage: self.stage.as_ref().map(|_| Stage::Commit),
            ..self.config.choice()
        }
    }

    fn reuse_policy(&self) -> ReusePolicy {
        match (self.force || self.clean, self.retry_failed) {
            (_, true) => ReusePolicy::Passed,
            (true, false) => ReusePolicy::Nothing,
            _ => ReusePolicy::Known,
        }
    }
}

/// Plans, runs, reports.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    let repo = Repo::discover()?;
    let settings = Settings::of(&repo)?;
    if !args.dry_run {
        repo.refuse_quarantine("run anything here")?;
    }
    if args.new {
        return run_new(&args, &repo, &settings);
    }
    let source = match (args.staged, args.worktree) {
        (true, _) => Some(snapshot::Source::Staged),
        (_, true) => Some(snapshot::Source::WorkTree),
        _ => None,
    };
    if args.gate && !select::has_commit(&repo) {
        output::note("nothing is tested before the first commit");
        return Ok(ExitCode::SUCCESS);
    }
    if args.gate && is_without_jobs(&repo, &settings) {
        return Ok(ExitCode::SUCCESS);
    }
    let commits = match source {
        Some(source) => vec![snapshot::take(&repo, source)?],
        None => args.revs.commits(&repo, select::bisected(&repo))?,
    };
    let look = look(&args, &repo, &commits);
    let commits: Vec<_> = commits.into_iter().map(Arc::new).collect();
    let records = super::ui::reading::records(&repo, &settings)?;
    let (plan, left_out) = plan(&args, &repo, &settings, &commits, &records)?;
    if !args.talk.json && args.talk.verbosity() >= Verbosity::Normal {
        left_out.iter().for_each(|message| output::note(message));
    }

    if args.dry_run {
        return print_plan(&args, &plan);
    }
    if plan.to_run() > 0 && args.talk.verbosity() >= Verbosity::Normal && !args.talk.json {
        warn_of_idle_patterns(&repo, &plan);
    }
    let mut reporter = args.talk.reporter(&repo, Live::Rows)?;
    if plan.entries.is_empty() {
        // `--json` says so by an empty run.
        if !args.talk.json {
            if commits.is_empty() {
                output::note("no commits in that range: nothing to run");
            } else if left_out.is_empty() && !args.gate {
                output::note("no job is meant: nothing to run");
            }
            return Ok(ExitCode::SUCCESS);
        }
    }
    let mut suspects = Suspects::new(reporter.as_mut());
    let summary = run(&args, &repo, &settings, plan, records, look, &mut suspects)?;
    let said = !args.talk.json && args.talk.verbosity() >= Verbosity::Normal;
    if said && !args.clean && summary.signal.is_none() {
        suspects.tell(&repo, |job, commit| again(&args, job, commit));
    }
    if args.gate {
        return Ok(gate(&summary));
    }
    launch::finish(summary, args.fail_flaky)
}

/// Whether there is no jobs file, as on a branch from before it.
fn is_without_jobs(repo: &Repo, settings: &Settings) -> bool {
    let loaded = config::load(repo, &settings.config_from);
    matches!(loaded, Err(LoadError::Missing(_)))
}

/// What a hook says to git: that it may go on, unless something speaks against it.
fn gate(summary: &Summary) -> ExitCode {
    let counts = &summary.counts;
    let bad = counts.failed + counts.errored + counts.unstored > 0;
    if !bad && summary.signal.is_none() && summary.error.is_none() && summary.cancelled == 0 {
        return ExitCode::SUCCESS;
    }
    output::note("nothing was committed; `git commit --no-verify` commits it all the same");
    ExitCode::from(1)
}

/// Runs one job on commits for another command, which says what came of it.
///
/// # Errors
/// As for the command itself.
pub(super) fn one_job(
    repo: &Repo,
    settings: &Settings,
    job: &JobName,
    commits: &[Commit],
) -> Result<Summary, Failure> {
    repo.refuse_quarantine("run anything here")?;
    let command = Args::augment_args(clap::Command::new("run"));
    let parsed = command.try_get_matches_from(["run", "--job", job.as_str()]);
    let parsed = parsed.and_then(|found| Args::from_arg_matches(&found));
    let args = parsed.map_err(|error| Failure::usage(error.to_string()))?;
    let commits: Vec<_> = commits.iter().cloned().map(Arc::new).collect();
    let records = super::ui::reading::records(repo, settings)?;
    let (plan, _) = plan(&args, repo, settings, &commits, &records)?;
    let mut reporter = args.talk.reporter(repo, Live::Rows)?;
    run(
        &args,
        repo,
        settings,
        plan,
        records,
        None,
        reporter.as_mut(),
    )
}

/// Says which patterns of jobs match nothing in the first commit.
fn warn_of_idle_patterns(repo: &Repo, plan: &Plan) {
    let first = plan.entries.first().map(|entry| &entry.task.commit);
    let Some(commit) = first else {
        return;
    };
    let of_first = plan
        .entries
        .iter()
        .take_while(|entry| entry.task.commit.id == commit.id);
    let jobs: Vec<_> = of_first.map(|entry| Job::clone(&entry.task.job)).collect();
    for message in idle_patterns(repo, commit, &jobs) {
        output::note(&message);
    }
}

/// The command that runs a job of this run on a commit in a pristine worktree.
fn again(args: &Args, job: &JobName, commit: &Oid) -> String {
    let mut words = vec![
        "git".to_owned(),
        "ci".into(),
        "run".into(),
        "--clean".into(),
    ];
    let mut add = |option: &str, value: &str| words.extend([option.to_owned(), value.to_owned()]);
    if let Some(command) = &args.exec {
        add("-x", command);
    }
    if let Some(name) = &args.as_ {
        add("--as", name.as_str());
    }
    if let Some(file) = &args.config.config {
        add("--config", &file.to_string_lossy());
    }
    if let Some(from) = &args.config.config_from {
        add("--config-from", from);
    }
    if args.exec.is_none() {
        add("--job", job.as_str());
    }
    words.push(commit.short());
    shell_words::join(&words)
}

/// Runs what is new since the checkpoints.
fn run_new(args: &Args, repo: &Repo, settings: &Settings) -> Result<ExitCode, Failure> {
    let patterns = Patterns::new(&args.revs.revs, &[])?;
    let process = Process::this(Kind::Watch, patterns.describe());
    let options = Options {
        patterns,
        order: match args.revs.order {
            select::Order::Newest => QueueOrder::Tips,
            select::Order::Oldest => QueueOrder::Oldest,
        },
        superseded: Superseded::Finish,
        poll: None,
        until_idle: false,
        once: true,
        since: None,
        fetching: None,
        on_result: None,
    };
    let source = args.config.source(settings);
    let jobs = WatchJobs::new(repo, source, args.config.choice(), judging(repo, settings))?;
    let reporter = args.talk.reporter(repo, Live::Rows)?;
    let slots = args.slots.unwrap_or(settings.slots);
    let _lease = WatchLock::take(&repo.ci_dir(), &process, false)?;
    let (summary, _) = super::watch::observe(
        repo,
        settings,
        options,
        jobs,
        slots,
        reporter,
        Extra {
            process,
            remote: None,
            on_result: None,
        },
    )?;
    launch::finish(summary, args.fail_flaky)
}

/// Lays the jobs against what is known.
fn plan(
    args: &Args,
    repo: &Repo,
    settings: &Settings,
    commits: &[Arc<Commit>],
    records: &Records,
) -> Result<(Plan, Vec<String>), Failure> {
    let mut jobs = match &args.exec {
        Some(command) => {
            let kinds = Kinds::asking(repo, settings);
            Jobs::only(repo, ad_hoc(command, args.as_.as_ref(), &kinds))
        }
        None => {
            let kinds = Kinds::asking(repo, settings);
            Jobs::chosen(&args.config, args.choice(), repo, settings, kinds)?
        }
    };
    let plan = Plan::new(
        commits,
        |commit| {
            let jobs = jobs.of(commit)?;
            Ok::<_, LoadError>(if args.clean {
                jobs.iter().cloned().map(PlannedJob::pristine).collect()
            } else {
                jobs
            })
        },
        |commit, criteria| records.known(commit, criteria),
        |commit, criteria| records.why_not(commit, criteria),
        args.reuse_policy(),
    )?;
    Ok((plan, jobs.left_out()))
}

/// The job that `--exec` asks for.
fn ad_hoc(command: &str, name: Option<&JobName>, kinds: &Kinds) -> PlannedJob {
    let run = CommandLine::Shell(command.to_owned());
    match name {
        Some(name) => {
            let job = Job::new(name.clone(), run);
            let criteria = kinds.criteria(&job);
            PlannedJob::new(job, criteria)
        }
        None => {
            #[expect(clippy::unwrap_used, reason = "the word is a job name")]
            let name = "exec".parse().unwrap();
            PlannedJob::unrecorded(Job::new(name, run))
        }
    }
}

fn run(
    args: &Args,
    repo: &Repo,
    settings: &Settings,
    plan: Plan,
    records: Records,
    look: Option<Look>,
    reporter: &mut dyn Reporter,
) -> Result<Summary, Failure> {
    let to_run = plan.to_run();
    // A missing identity or a read-only repository is better known before anything runs.
    let store = if plan.adds_records() {
        Some(NoteStore::open(repo, &settings.notes_ref)?)
    } else {
        None
    };
    let slots = args.slots.unwrap_or(settings.slots);
    let runners = fleet::runners(repo, settings, slots, to_run, args.keep_failed)?;
    let wanted = plan
        .entries
        .iter()
        .filter(|entry| matches!(entry.action, Action::Run));
    fleet::check_labels(wanted.map(|entry| entry.task.job.as_ref()), &runners)?;
    let mailbox = engine::Mailbox::default();
    let feed = mailbox.feed();
    let answers = mailbox.feed();
    let listener = Listener::start(&repo.ci_dir(), move |request| answers.answer(request));
    if let Err(error) = &listener {
        feed.tell(control::unreachable(error));
    }
    let summary = engine::run(
        engine::Run {
            repo,
            process: Process::this(Kind::Run, args.typed()),
            plan,
            runners,
            store,
            records,
            logs: LogStore::new(&repo.ci_dir()),
            reuse: args.reuse_policy(),
            fail_fast: args.fail_fast,
            look,
            mailbox,
            on_error: OnError::End,
            on_done: None,
            stay: false,
        },
        reporter,
    )?;
    auto_gc(repo);
    Ok(summary)
}

/// Looks beside the jobs for what is not committed, where what is checked out is tested and
/// somebody may take that for the work tree.
fn look(args: &Args, repo: &Repo, commits: &[Commit]) -> Option<Look> {
    let unsaid = args.talk.verbosity() == Verbosity::Quiet && !args.talk.json;
    let is_all = args.staged || args.worktree;
    if unsaid || is_all || args.dry_run || repo.work_tree().is_none() {
        return None;
    }
    let head = revs::resolve(repo, "HEAD").ok()?.id;
    let tested = commits.iter().any(|commit| commit.id == head);
    tested.then(|| Look::begin(repo))?
}

/// Prints what a run would do, and why: to standard output, one line a task. The exit code
/// says whether it would run anything.
fn print_plan(args: &Args, plan: &Plan) -> Result<ExitCode, Failure> {
    let columns = output::columns();
    let mut text = String::new();
    let blocked = plan.blocked();
    let to_run = plan.to_run() - blocked.len();
    if args.talk.json {
        text += &Line::Plan {
            format: JSON_FORMAT,
            tasks: to_run,
            reused: plan.reused(),
        }
        .render();
    }
    let widest = |width: fn(&Entry) -> usize| plan.entries.iter().map(width).max().unwrap_or(0);
    let job_width = widest(|entry| entry.task.job.name.as_str().len()).min(JOB_WIDTH);
    let why = |entry: &Entry| match blocked.get(&entry.task.id) {
        Some(need) => format!("needs {need}"),
        None => entry.task.reason.text(),
    };
    let reasons = plan.entries.iter().map(|entry| why(entry).len());
    let reason_width = reasons.max().unwrap_or(0);
    for entry in &plan.entries {
        let Task {
            commit,
            job,
            reason,
            ..
        } = &entry.task;
        let (status, from) = match &entry.action {
            Action::Run => (None, None),
            Action::Reuse(known) => (Some(known.record.status), Some(known.from)),
        };
        if args.talk.json {
            text += &Line::Planned {
                commit: commit.id,
                job: &job.name,
                action: match entry.action {
                    Action::Run if blocked.contains_key(&entry.task.id) => PlannedAction::Blocked,
                    Action::Run => PlannedAction::Run,
                    Action::Reuse(_) => PlannedAction::Reuse,
                },
                status,
                from,
                reason: why(entry),
                rule: reason.rule(),
            }
            .render();
        } else {
            let action = match status {
                Some(status) => format!("cached {status}"),
                None if blocked.contains_key(&entry.task.id) => "not run".to_owned(),
                None => "run".to_owned(),
            };
            let line = format!(
                "{} {:<job_width$}  {action:<12}  {:<reason_width$}  ",
                commit.id.short(),
                job.name,
                why(entry),
            );
            let subject = subject_text(&commit.subject, &line, columns);
            text += (line + &subject).trim_end();
            text.push('\n');
        }
    }
    let (run, reused) = (to_run, plan.reused());
    if args.talk.json {
        output::print_json(text)?;
    } else {
        output::print(&text)?;
        let tasks = crate::reporter::counted(run as u64, "task");
        output::note(&format!("{tasks} would run, {reused} cached"));
    }
    Ok(match run {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(FailureKind::NoVerdict.exit_code()),
    })
}
