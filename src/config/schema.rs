//! The JSON Schema of the jobs file, for editors; made from the types here, which say what the
//! reader of [`parse`](super::parse) takes.
//!
//! Only tests make it, and hold it against the keys that are read; it is committed, and
//! `UPDATE_GENERATED=1 cargo test generated` writes it anew.
#![expect(dead_code, reason = "only the schema of it is made")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

use super::KEYS;

/// The jobs file of git-ci. Its manual page is git-ci-jobs(5).
#[derive(JsonSchema)]
#[schemars(title = ".git-ci.toml")]
#[serde(deny_unknown_fields)]
struct JobsFile {
    /// The jobs, by their names.
    jobs: BTreeMap<String, Job>,
    /// Keys that apply to every job that does not have them.
    defaults: Option<Job>,
    /// What a worktree must have before jobs can run in it, by its name.
    setup: Option<BTreeMap<String, Setup>>,
}

/// A string goes to `sh -c`, a list is executed as it is.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum CommandLine {
    Shell(String),
    Argv(Vec<String>),
}

/// One pattern, or a list of them.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// Such as `90s`, `1m30s`, `500ms`.
#[derive(JsonSchema)]
struct Duration(#[schemars(regex(pattern = r"^([0-9]+(w|d|h|m|s|ms))+$"))] String);

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Clean {
    Untracked,
    All,
    None,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Platform {
    Same,
    Any,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Stage {
    Commit,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Reuse {
    Auto,
    Tree,
    Commit,
    Never,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum Scalar {
    Text(String),
    Number(f64),
    Boolean(bool),
}

/// Lists of values, of which each combination is a job.
#[derive(JsonSchema)]
struct Matrix {
    /// Combinations that are left out.
    exclude: Option<Vec<BTreeMap<String, Scalar>>>,
    /// Combinations that are added, or variables for those that are there.
    include: Option<Vec<BTreeMap<String, Scalar>>>,
    #[schemars(flatten)]
    axes: BTreeMap<String, Vec<Scalar>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
struct Job {
    /// A failure is recorded, and does not make the run fail.
    allow_failure: Option<bool>,
    /// What is removed from the worktree before the job starts.
    clean: Option<Clean>,
    /// Patterns of branches: it runs only for commits that one of these reaches.
    #[schemars(length(min = 1))]
    branches: Option<Vec<String>>,
    /// How many slots it takes of its machine.
    #[schemars(range(min = 0, max = 1024))]
    cpus: Option<u32>,
    /// What it takes of its machine: tokens of each kind.
    resources: Option<BTreeMap<String, u32>>,
    /// Whether it runs where nobody names it, and nothing needs it.
    default: Option<bool>,
    /// What the job is for.
    description: Option<String>,
    /// Variables for the job.
    env: Option<BTreeMap<String, String>>,
    /// A job whose keys apply to this one, too.
    extends: Option<String>,
    /// The time between SIGTERM and SIGKILL.
    grace: Option<Duration>,
    /// Verdicts count while what this command prints is the same.
    key: Option<CommandLine>,
    /// What a runner must have to get it.
    labels: Option<Vec<String>>,
    /// One job for each combination of values.
    matrix: Option<Matrix>,
    /// Jobs that must have passed on the same commit.
    needs: Option<Vec<String>>,
    /// Patterns of files that are kept.
    artifacts: Option<OneOrMore>,
    /// Patterns of the files in which its tests say how they went, as JUnit's XML.
    junit: Option<OneOrMore>,
    /// Patterns of the files that the job reads.
    paths: Option<Vec<String>>,
    /// Whether the verdict of another platform counts.
    platform: Option<Platform>,
    /// How often it is tried again after a failure.
    #[schemars(range(min = 0, max = 10))]
    retries: Option<u32>,
    /// What a verdict may be reused for.
    reuse: Option<Reuse>,
    /// The command.
    run: Option<CommandLine>,
    /// Set-ups that must have been done in the worktree, in this order.
    setup: Option<Vec<String>>,
    /// How long it may run without printing anything.
    silence: Option<Duration>,
    /// When it runs besides.
    stage: Option<Stage>,
    /// How long it may run.
    timeout: Option<Duration>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Setup {
    /// Variables for the command.
    env: Option<BTreeMap<String, String>>,
    /// Patterns of the files on which it depends.
    inputs: Option<Vec<String>>,
    /// It is done again when what this command prints is something else.
    key: Option<CommandLine>,
    /// The command.
    run: CommandLine,
    /// How long it may run.
    timeout: Option<Duration>,
}

#[test]
fn generated_schema_of_the_jobs_file_is_current() {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let schema = generator.into_root_schema_for::<JobsFile>().to_value();
    let keys = schema["$defs"]["Job"]["properties"].as_object().unwrap();
    let mut keys: Vec<_> = keys.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, KEYS);
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/git-ci-jobs.schema.json");
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::write(path, text).unwrap();
    } else {
        let committed = fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == text,
            "man/git-ci-jobs.schema.json is not what the types say\n\
             UPDATE_GENERATED=1 cargo test generated"
        );
    }
}
