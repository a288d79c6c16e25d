//! What a jobs file says of one job, and the hash that stands for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{DefId, JobName};

/// How long a job may take to end after `SIGTERM` when its definition does not say.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// What to execute: a string goes to `sh -c`, a list is executed as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum CommandLine {
    /// Handed to `sh -c` in one piece.
    Shell(String),
    /// A program and its arguments; never empty.
    Argv(Vec<String>),
}

/// What is removed from a worktree before a task starts in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clean {
    /// Untracked files go, ignored ones (build caches) stay.
    #[default]
    Untracked,
    /// Untracked and ignored files go: as after a fresh clone.
    All,
    /// Nothing goes; tracked files are still put back.
    None,
}

/// When a job runs besides where commits are tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Before a commit, on what is staged.
    Commit,
}

/// What a verdict may be reused for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reuse {
    /// The same tree, unless the job is seen to look at the commit: then only that commit.
    #[default]
    Auto,
    /// The same tree: the job looks at nothing else that matters.
    Tree,
    /// The same commit.
    Commit,
    /// Nothing: it runs each time.
    Never,
}

/// The variable that tells a job which commit it tests.
pub const COMMIT_VARIABLE: &str = "GIT_CI_COMMIT";

/// The variable that leads a job to the user's repository.
pub const REPOSITORY_VARIABLE: &str = "GIT_CI_REPOSITORY";

/// What a worktree must have before jobs can run in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Unique within a jobs file.
    pub name: JobName,
    /// What to execute.
    pub run: CommandLine,
    /// Patterns of the files on which it depends.
    pub inputs: Vec<String>,
    /// Its output is part of what it depends on, beside its inputs.
    #[serde(default)]
    pub key: Option<CommandLine>,
    /// Variables set for it.
    pub env: BTreeMap<String, String>,
    /// Running time after which it is ended; `None` is no limit.
    pub timeout: Option<Duration>,
}

impl Setup {
    /// The identity of what it does: a hash over all that can change it but the contents of
    /// its inputs.
    pub fn definition(&self) -> DefId {
        let defining = (&self.name, &self.run, &self.inputs, &self.env);
        let json = match &self.key {
            // As before there were keys.
            None => serde_json::to_vec(&defining),
            Some(key) => serde_json::to_vec(&(defining, key)),
        };
        let json = json.unwrap_or_default();
        DefId::of("git-ci definition 2", &[("setup", &json)])
    }

    /// Why it is done again for the next task, for people: it made `path`, which goes.
    pub fn does_not_last(&self, path: &[u8]) -> String {
        let path = String::from_utf8_lossy(path);
        let name = &self.name;
        format!("{name} is set up again for the next task, since git does not ignore {path}")
    }
}

/// A job that another one needs, on the same commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// Its name.
    pub job: JobName,
    /// Its definition.
    pub def: DefId,
}

/// One configured command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Unique within a jobs file.
    pub name: JobName,
    /// What to execute.
    pub run: CommandLine,
    /// Running time after which the job's processes are ended; `None` is no limit.
    pub timeout: Option<Duration>,
    /// Time between `SIGTERM` and `SIGKILL`.
    pub grace: Duration,
    /// Variables set for the job, over what git-ci itself sets.
    pub env: BTreeMap<String, String>,
    /// What is removed from the worktree first.
    pub clean: Clean,
    /// A failure is recorded but does not fail the run.
    pub allow_failure: bool,
    /// What a runner must have to get it.
    #[serde(default)]
    pub labels: Vec<String>,
    /// What its verdicts may be reused for.
    #[serde(default)]
    pub reuse: Reuse,
    /// The verdict of any platform counts.
    #[serde(default)]
    pub any_platform: bool,
    /// What its verdicts depend on besides is what this command prints.
    #[serde(default)]
    pub key: Option<CommandLine>,
    /// What it is for, in the words of whoever wrote it.
    #[serde(default)]
    pub description: Option<String>,
    /// Running time without output after which the job's processes are ended; `None` is no
    /// limit.
    #[serde(default)]
    pub silence: Option<Duration>,
    /// What must have been set up in a worktree before, in this order.
    #[serde(default)]
    pub setups: Vec<Setup>,
    /// The jobs that must have passed on the same commit.
    #[serde(default)]
    pub needs: Vec<Need>,
    /// Which files it reads, as lists of patterns of which each selects some; `None` where it
    /// may read any.
    #[serde(default)]
    pub selections: Option<Vec<Vec<String>>>,
    /// The patterns of its own among them, as they were written.
    #[serde(default)]
    pub paths: Vec<String>,
    /// How often it is tried again after a failure.
    #[serde(default)]
    pub retries: u32,
    /// It runs only where it is named, or needed.
    #[serde(default)]
    pub on_request: bool,
    /// Patterns of the files in which its tests say how they went, as JUnit's XML.
    #[serde(default)]
    pub junit: Vec<String>,
    /// Patterns of branches: it runs only for commits that one of these reaches. Empty where
    /// it runs for any.
    #[serde(default)]
    pub branches: Vec<String>,
    /// When it runs besides.
    #[serde(default)]
    pub stage: Option<Stage>,
    /// What it takes of its machine: tokens of each kind.
    #[serde(default)]
    pub resources: BTreeMap<String, u32>,
    /// How many slots it takes of its machine.
    #[serde(default = "one")]
    pub cpus: u32,
    /// Patterns of the files that are kept beside what it leaves in its directory for artifacts.
    #[serde(default)]
    pub artifacts: Vec<String>,
}

/// What a job takes that does not say.
fn one() -> u32 {
    1
}

impl Job {
    /// A job with nothing but a name and a command.
    pub fn new(name: JobName, run: CommandLine) -> Self {
        Self {
            name,
            run,
            timeout: None,
            grace: DEFAULT_GRACE,
            env: BTreeMap::new(),
            clean: Clean::default(),
            allow_failure: false,
            labels: Vec::new(),
            reuse: Reuse::default(),
            any_platform: false,
            key: None,
            description: None,
            silence: None,
            setups: Vec::new(),
            needs: Vec::new(),
            selections: None,
            paths: Vec::new(),
            retries: 0,
            on_request: false,
            junit: Vec::new(),
            artifacts: Vec::new(),
            branches: Vec::new(),
            stage: None,
            resources: BTreeMap::new(),
            cpus: 1,
        }
    }

    /// Whether the definition names the variable that holds the commit, or the one that leads
    /// to the user's repository: then it looks at it.
    pub fn names_commit(&self) -> bool {
        let telling = [COMMIT_VARIABLE, REPOSITORY_VARIABLE];
        let names = |text: &String| telling.iter().any(|name| text.contains(name));
        let run = match &self.run {
            CommandLine::Shell(script) => names(script),
            CommandLine::Argv(argv) => argv.iter().any(names),
        };
        run || self
            .env
            .iter()
            .any(|(key, value)| names(key) || names(value))
    }

    /// Whether it is told which commit it tests: where it asks for it, and where `reuse`
    /// says what that means. Elsewhere nobody could see that it looked.
    pub fn is_told_commit(&self) -> bool {
        self.reuse != Reuse::Auto || self.names_commit()
    }

    /// The identity of what runs: a hash over the fields that can change the verdict
    /// (`name`, `run`, `env`, `clean`, `labels`), and the definitions of its set-ups and of the jobs it needs.
    ///
    /// The name is one of them, since a job is told it; `labels` are, since they choose
    /// what kind of machine is asked. `timeout` and `grace` are left out: a verdict that
    /// they bring about is never reused. So is what says which verdicts count
    /// (`allow_failure`, `reuse`, `platform`, `key`, `paths`, `retries`, `junit`, `artifacts`, `branches`, `stage`,
    /// `resources`, `cpus`), and not what is run.
    pub fn definition(&self) -> DefId {
        #[derive(Serialize)]
        struct Defining<'a> {
            name: &'a JobName,
            run: &'a CommandLine,
            env: &'a BTreeMap<String, String>,
            clean: Clean,
            labels: BTreeSet<&'a str>,
        }
        let defining = Defining {
            name: &self.name,
            run: &self.run,
            env: &self.env,
            clean: self.clean,
            labels: self.labels.iter().map(String::as_str).collect(),
        };
        // JSON keeps `"a b"` and `["a", "b"]` apart, and a BTreeMap fixes the order of the keys.
        let json = serde_json::to_vec(&defining).unwrap_or_default();
        // What came to count later is a part of its own, left out where a job has none of it.
        let needs: BTreeMap<_, _> = self
            .needs
            .iter()
            .map(|need| (&need.job, need.def))
            .collect();
        let needs = serde_json::to_vec(&needs).unwrap_or_default();
        let mut parts = vec![("job", json.as_slice())];
        if !self.needs.is_empty() {
            parts.push(("needs", &needs));
        }
        let setups = self.setups.iter().map(Setup::definition);
        let setups = serde_json::to_vec(&setups.collect::<Vec<_>>()).unwrap_or_default();
        if !self.setups.is_empty() {
            parts.push(("setup", &setups));
        }
        DefId::of("git-ci definition 2", &parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(run: CommandLine) -> Job {
        Job::new("test".parse().unwrap(), run)
    }

    #[test]
    fn definition_changes_with_what_runs_and_with_nothing_else() {
        let base = job(CommandLine::Shell("make test".into()));
        let mut same = base.clone();
        same.timeout = Some(Duration::from_secs(1));
        same.allow_failure = true;
        assert_eq!(base.definition(), same.definition());

        let list = job(CommandLine::Argv(vec!["make test".into()]));
        let mut env = base.clone();
        env.env.insert("A".into(), "1".into());
        let mut clean = base.clone();
        clean.clean = Clean::All;
        let mut name = base.clone();
        name.name = "other".parse().unwrap();
        let mut labels = base.clone();
        labels.labels = vec!["gpu".into(), "linux".into()];
        let mut again = labels.clone();
        again.labels = vec!["linux".into(), "gpu".into(), "gpu".into()];
        assert_eq!(labels.definition(), again.definition());
        let need = |def: &str| {
            let mut job = base.clone();
            let def = def.repeat(32).parse().unwrap();
            let name = "build".parse().unwrap();
            job.needs.push(Need { job: name, def });
            job
        };
        assert_ne!(need("a").definition(), need("b").definition());
        for other in [list, env, clean, name, labels, need("a")] {
            assert_ne!(base.definition(), other.definition());
        }
    }

    #[test]
    fn definition_is_stable_across_versions() {
        // Changing this value throws away every user's results: do it knowingly.
        let id = job(CommandLine::Shell("cargo test".into())).definition();
        insta::assert_snapshot!(id, @"7aca0b69595c33ec2ac6d412066cbc81");
    }
}
