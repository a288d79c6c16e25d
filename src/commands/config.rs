//! `git ci config`: the jobs file, checked and shown.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use toml::{Table, Value};

use crate::config::{self, ConfigFrom, JOBS_FILE, LoadError};
use crate::error::Failure;
use crate::git::{InputReader, Repo, revs, setting_scope};
use crate::model::{
    Clean, CommandLine, Commit, DEFAULT_GRACE, Job, Reuse, Setup, duration_text, printable_line,
};
use crate::reporter::counted;
use crate::settings::{KEYS, Settings};

use super::ui::output;

/// The schema of the jobs file, as a test makes it.
const SCHEMA: &str = include_str!("../../man/git-ci-jobs.schema.json");

/// Check the jobs file, or show what applies.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Name everything that is wrong with the jobs file.
    ///
    /// The exit code is 0 where nothing is wrong, else 128. Patterns that match nothing in
    /// HEAD are said, and no error.
    Check {
        /// Check this file instead of the one that counts.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Show the jobs as they apply, where they are from, and what git configuration sets.
    ///
    /// Defaults, what jobs extend and matrices are worked out.
    Show {
        /// Only this job.
        #[arg(value_name = "JOB")]
        job: Option<String>,
    },
    /// Print the JSON Schema of the jobs file, for editors.
    Schema,
}

/// Does what is asked.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    match args.action {
        Action::Check { file } => check(file),
        Action::Show { job } => show(job.as_deref()),
        Action::Schema => {
            output::print(SCHEMA)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn check(file: Option<PathBuf>) -> Result<ExitCode, Failure> {
    // A file can be checked anywhere.
    let (repo, (jobs, origin)) = match file {
        Some(file) => {
            let jobs = config::load_file(&file)?;
            (Repo::discover().ok(), (jobs, file.display().to_string()))
        }
        None => {
            let repo = Repo::discover()?;
            let loaded = load(&repo)?;
            (Some(repo), loaded)
        }
    };
    if let Some(repo) = &repo
        && let Ok(head) = revs::resolve(repo, "HEAD")
    {
        for message in idle_patterns(repo, &head, &jobs) {
            output::note(&message);
        }
    }
    let count = counted(jobs.len() as u64, "job");
    output::note(&format!(
        "{}: {count}, nothing wrong",
        printable_line(origin.as_bytes())
    ));
    Ok(ExitCode::SUCCESS)
}

/// The jobs that count by default, and where they are from.
fn load(repo: &Repo) -> Result<(Vec<Job>, String), Failure> {
    let settings = Settings::of(repo)?;
    let from = settings.config_from;
    let origin = match &from {
        ConfigFrom::Worktree => {
            let top = repo.work_tree().ok_or(LoadError::NoWorkTree)?;
            top.join(JOBS_FILE).display().to_string()
        }
        ConfigFrom::Commit => format!("HEAD:{JOBS_FILE}"),
        ConfigFrom::Rev(rev) => format!("{rev}:{JOBS_FILE}"),
    };
    Ok((config::load(repo, &from)?, origin))
}

/// What is to be said of patterns that match nothing in a commit.
pub(super) fn idle_patterns(repo: &Repo, commit: &Commit, jobs: &[Job]) -> Vec<String> {
    let reader = InputReader::new(repo);
    let mut said = Vec::new();
    for job in jobs {
        for pattern in &job.paths {
            let is_idle = !pattern.starts_with('!') && !reader.matches(pattern, &commit.tree);
            let pattern = printable_line(pattern.as_bytes());
            if is_idle {
                said.push(format!(
                    "warning: {}: the pattern \"{pattern}\" of `paths` matches nothing in {}",
                    job.name,
                    commit.id.short()
                ));
            }
        }
    }
    said
}

fn show(name: Option<&str>) -> Result<ExitCode, Failure> {
    let repo = Repo::discover()?;
    let (mut jobs, origin) = load(&repo)?;
    if let Some(name) = name {
        let all = jobs.clone();
        jobs.retain(|job| job.name.is_meant_by(name));
        if jobs.is_empty() {
            let names = all.iter().map(|job| job.name.as_str());
            return Err(config::no_such_job(name, names).into());
        }
    }
    let mut text = format!("# from {}\n", printable_line(origin.as_bytes()));
    let mut setups: Vec<&Setup> = Vec::new();
    for setup in jobs.iter().flat_map(|job| &job.setups) {
        if !setups.iter().any(|other| other.name == setup.name) {
            setups.push(setup);
        }
    }
    for setup in setups {
        text += &table("setup", setup.name.as_str(), of_setup(setup));
    }
    for job in &jobs {
        text += &table("jobs", job.name.as_str(), of_job(job));
    }
    if name.is_none() {
        text += &settings(&repo);
    }
    output::print(&crate::model::printable(text.as_bytes()))?;
    Ok(ExitCode::SUCCESS)
}

fn table(kind: &str, name: &str, keys: Table) -> String {
    let key = if name.contains(['[', '/', '=', ',', '.']) {
        Value::from(name).to_string()
    } else {
        name.to_owned()
    };
    // A value that is a table stands on the line of its key.
    let lines = keys.iter().map(|(key, value)| format!("{key} = {value}\n"));
    format!("\n[{kind}.{key}]\n{}", lines.collect::<String>())
}

/// The keys of a set-up that say something.
fn of_setup(setup: &Setup) -> Table {
    let mut keys = Table::new();
    let mut set =
        |key: &str, value: Option<Value>| keys.extend(value.map(|value| (key.to_owned(), value)));
    set("run", Some(command(&setup.run)));
    set("inputs", list(&setup.inputs));
    set("key", setup.key.as_ref().map(command));
    set("env", variables(&setup.env));
    set(
        "timeout",
        setup.timeout.map(|timeout| duration_text(timeout).into()),
    );
    keys
}

/// The keys of a job that say something.
fn of_job(job: &Job) -> Table {
    let mut keys = Table::new();
    let mut set =
        |key: &str, value: Option<Value>| keys.extend(value.map(|value| (key.to_owned(), value)));
    let names = |names: Vec<&str>| list(&names.into_iter().map(str::to_owned).collect::<Vec<_>>());
    set("description", job.description.clone().map(Value::from));
    set("run", Some(command(&job.run)));
    set(
        "needs",
        names(job.needs.iter().map(|need| need.job.as_str()).collect()),
    );
    set(
        "setup",
        names(job.setups.iter().map(|setup| setup.name.as_str()).collect()),
    );
    set("paths", list(&job.paths));
    let resources = job.resources.iter();
    let resources = resources.map(|(name, count)| (name.clone(), i64::from(*count).into()));
    let resources: toml::Table = resources.collect();
    set(
        "resources",
        (!resources.is_empty()).then_some(Value::Table(resources)),
    );
    set("cpus", (job.cpus != 1).then(|| i64::from(job.cpus).into()));
    set("branches", list(&job.branches));
    set("stage", job.stage.map(|_| "commit".into()));
    set("artifacts", list(&job.artifacts));
    set("junit", list(&job.junit));
    set("env", variables(&job.env));
    set("labels", list(&job.labels));
    set("key", job.key.as_ref().map(command));
    set(
        "timeout",
        job.timeout.map(|timeout| duration_text(timeout).into()),
    );
    set(
        "silence",
        job.silence.map(|silence| duration_text(silence).into()),
    );
    let grace = (job.grace != DEFAULT_GRACE).then_some(job.grace);
    set("grace", grace.map(|grace| duration_text(grace).into()));
    set(
        "retries",
        (job.retries > 0).then(|| i64::from(job.retries).into()),
    );
    set("allow-failure", job.allow_failure.then_some(true.into()));
    set("default", job.on_request.then_some(false.into()));
    set("platform", job.any_platform.then(|| "any".into()));
    let clean = match job.clean {
        Clean::Untracked => None,
        Clean::All => Some("all"),
        Clean::None => Some("none"),
    };
    set("clean", clean.map(Value::from));
    let reuse = match job.reuse {
        Reuse::Auto => None,
        Reuse::Tree => Some("tree"),
        Reuse::Commit => Some("commit"),
        Reuse::Never => Some("never"),
    };
    set("reuse", reuse.map(Value::from));
    keys
}

fn command(run: &CommandLine) -> Value {
    match run {
        CommandLine::Shell(script) => script.clone().into(),
        CommandLine::Argv(argv) => argv.clone().into(),
    }
}

fn list(words: &[String]) -> Option<Value> {
    (!words.is_empty()).then(|| words.to_vec().into())
}

fn variables(env: &std::collections::BTreeMap<String, String>) -> Option<Value> {
    let pairs = env
        .iter()
        .map(|(name, value)| (name.clone(), Value::from(value.clone())));
    (!env.is_empty()).then(|| Value::Table(pairs.collect()))
}

/// What git configuration sets for this machine.
fn settings(repo: &Repo) -> String {
    let mut text = String::new();
    for key in KEYS.iter().filter(|key| !key.name.contains("NAME")) {
        if let Some(value) = repo.config(&key.name.to_lowercase()) {
            let scope = setting_scope(repo, key.name).unwrap_or_default();
            text += &format!("# {} = {value}  ({scope})\n", key.name);
        }
    }
    if text.is_empty() {
        return text;
    }
    format!("\n# git configuration of this machine:\n{text}")
}
