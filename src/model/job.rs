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
    /// (`name`, `run`, `env`, `clean`, `labels`).
    ///
    /// The name is one of them, since a job is told it; `labels` are, since they choose
    /// what kind of machine is asked. `timeout` and `grace` are left out: a verdict that
    /// they bring about is never reused. So is what says which verdicts count
    /// (`allow_failure`, `reuse`, `platform`, `key`), and not what is run.
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
        // What comes to count later is a part of its own, left out where a job has none of it.
        DefId::of("git-ci definition 2", &[("job", &json)])
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
        for other in [list, env, clean, name, labels] {
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
