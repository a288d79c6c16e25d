//! What is known of the runners when nobody can ask them: their platforms, and what else
//! verdicts depended on there when they were asked last.
//!
//! A planner may not wait for hosts that are away, and who only reads results starts
//! nothing. Kept below the repository's `ci` directory, in a file that is derived from what
//! agents said; without it, or where it is damaged, verdicts of hosts count again once a
//! task ran there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{EnvId, Platform, RunnerLabel, Surroundings};
use crate::sealed;

/// What the file is, and the version of its format.
const KIND: &str = "runners 1";

/// More answers than this are not kept of one host.
const ANSWERS: usize = 1000;

/// What runners said last.
#[derive(Debug, Default)]
pub struct Memory {
    path: PathBuf,
    known: Known,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Known {
    hosts: BTreeMap<RunnerLabel, Host>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Host {
    on: Option<Platform>,
    /// By what was asked; see [`Job::question`](crate::model::Job::question).
    env: BTreeMap<String, Option<EnvId>>,
}

impl Memory {
    /// What is remembered below this `ci` directory.
    pub fn load(ci_dir: &Path) -> Self {
        let path = ci_dir.join("runners");
        let known = sealed::read(&path, KIND).and_then(|text| serde_json::from_str(&text).ok());
        Self {
            path,
            known: known.unwrap_or_default(),
        }
    }

    /// What a host said last of itself for jobs that ask `question`.
    pub fn host(&self, name: &RunnerLabel, question: &str) -> Option<Surroundings> {
        let host = self.known.hosts.get(name)?;
        Some(Surroundings {
            on: host.on.clone()?,
            env: *host.env.get(question)?,
        })
    }

    /// Takes note of what a host says now; writes the file where that is news.
    pub fn learn(&mut self, name: &RunnerLabel, question: &str, said: &Surroundings) {
        if self.host(name, question).as_ref() == Some(said) {
            return;
        }
        // Others may have learned something meanwhile.
        self.known = Self::load(self.path.parent().unwrap_or(&self.path)).known;
        let host = self.known.hosts.entry(name.clone()).or_default();
        if host.on.as_ref() != Some(&said.on) || host.env.len() >= ANSWERS {
            host.env.clear();
        }
        host.on = Some(said.on.clone());
        host.env.insert(question.to_owned(), said.env);
        if let Ok(text) = serde_json::to_string(&self.known) {
            // Without the file some tasks run once more.
            let _ = sealed::write(&self.path, KIND, &text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_said_last_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let name = "mira".parse().unwrap();
        let said = |on: &str, env| Surroundings {
            on: on.parse().unwrap(),
            env,
        };
        let mut memory = Memory::load(dir.path());
        assert_eq!(memory.host(&name, ""), None);
        memory.learn(&name, "", &said("x86_64-linux", None));
        let env = EnvId::of(&[("key", b"1")]);
        memory.learn(&name, "q", &said("x86_64-linux", env));
        let again = Memory::load(dir.path());
        assert_eq!(again.host(&name, ""), Some(said("x86_64-linux", None)));
        assert_eq!(again.host(&name, "q"), Some(said("x86_64-linux", env)));
        // Another machine goes by that name now.
        memory.learn(&name, "", &said("aarch64-linux", None));
        let again = Memory::load(dir.path());
        assert_eq!(again.host(&name, "q"), None);
        std::fs::write(dir.path().join("runners"), "{}").unwrap();
        assert_eq!(Memory::load(dir.path()).host(&name, ""), None);
    }
}
