//! What a jobs file says of one job, and the hash that stands for it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ids::{DefId, JobName};

/// How long a job may take to end after `SIGTERM` when its definition does not say.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// What to execute: a string goes to `sh -c`, a list is executed as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
        }
    }

    /// The identity of what runs: SHA-256 over the fields that can change the verdict
    /// (`run`, `env`, `clean`), cut to 64 bits.
    ///
    /// The name is left out, so that renaming a job keeps its results; `labels`, since
    /// they choose where it runs and not what; `timeout` and `grace` too, since a verdict that they bring about is never reused.
    pub fn definition(&self) -> DefId {
        #[derive(Serialize)]
        struct Defining<'a> {
            run: &'a CommandLine,
            env: &'a BTreeMap<String, String>,
            clean: Clean,
        }
        let defining = Defining {
            run: &self.run,
            env: &self.env,
            clean: self.clean,
        };
        // JSON keeps `"a b"` and `["a", "b"]` apart, and a BTreeMap fixes the order of the keys.
        let json = serde_json::to_vec(&defining).unwrap_or_default();
        let mut hash = Sha256::new();
        hash.update(b"git-ci definition 1\0");
        hash.update(&json);
        let hex: String = hash.finalize()[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        #[expect(
            clippy::unwrap_used,
            reason = "eight bytes are sixteen hexadecimal digits"
        )]
        hex.parse().unwrap()
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
        same.name = "other".parse().unwrap();
        same.timeout = Some(Duration::from_secs(1));
        same.allow_failure = true;
        same.labels = vec!["gpu".into()];
        assert_eq!(base.definition(), same.definition());

        let list = job(CommandLine::Argv(vec!["make test".into()]));
        let mut env = base.clone();
        env.env.insert("A".into(), "1".into());
        let mut clean = base.clone();
        clean.clean = Clean::All;
        for other in [list, env, clean] {
            assert_ne!(base.definition(), other.definition());
        }
    }

    #[test]
    fn definition_is_stable_across_versions() {
        // Changing this value throws away every user's results: do it knowingly.
        let id = job(CommandLine::Shell("cargo test".into())).definition();
        assert_eq!(id.as_str().len(), 16);
        insta::assert_snapshot!(id, @"260cfbdcc8dd2281");
    }
}
