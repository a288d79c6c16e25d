//! What is known of the runners when nobody can ask them: their platforms, and what the
//! `key` commands of jobs said there last.
//!
//! A planner may not wait for hosts that are away, and who only reads results starts
//! nothing. Kept below the repository's `ci` directory, in a file that is derived from what
//! agents said; without it, or where it is damaged, verdicts of hosts count again once a
//! task ran there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{KeyId, Platform, RunnerLabel};
use crate::sealed;

/// What the file is, and the version of its format.
const KIND: &str = "runners 2";

/// So many answers of a runner are kept.
const MOST_KEYS: usize = 100;

/// What runners said last.
#[derive(Debug, Default)]
pub struct Memory {
    path: PathBuf,
    known: Known,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Known {
    platforms: BTreeMap<RunnerLabel, Platform>,
    /// Of hosts.
    #[serde(default)]
    keys: BTreeMap<RunnerLabel, BTreeMap<KeyId, KeyId>>,
    /// Of this machine.
    #[serde(default)]
    keys_here: BTreeMap<KeyId, KeyId>,
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

    /// The platform that a host said last that it is.
    pub fn platform(&self, name: &RunnerLabel) -> Option<Platform> {
        self.known.platforms.get(name).cloned()
    }

    /// What a host, or this machine, answered a question last.
    pub fn key(&self, host: Option<&RunnerLabel>, question: &KeyId) -> Option<KeyId> {
        let answers = match host {
            Some(name) => self.known.keys.get(name)?,
            None => &self.known.keys_here,
        };
        answers.get(question).copied()
    }

    /// Takes note of an answer; writes the file where that is news.
    pub fn learn_key(&mut self, host: Option<&RunnerLabel>, question: KeyId, answer: KeyId) {
        if self.key(host, &question) == Some(answer) {
            return;
        }
        self.update(|known| {
            let answers = match host {
                Some(name) => known.keys.entry(name.clone()).or_default(),
                None => &mut known.keys_here,
            };
            if answers.len() >= MOST_KEYS {
                answers.clear();
            }
            answers.insert(question, answer);
        });
    }

    /// Takes note of what a host says now; writes the file where that is news.
    pub fn learn(&mut self, name: &RunnerLabel, on: &Platform) {
        if self.platform(name).as_ref() == Some(on) {
            return;
        }
        self.update(|known| {
            known.platforms.insert(name.clone(), on.clone());
        });
    }

    fn update(&mut self, change: impl FnOnce(&mut Known)) {
        // Others may have learned something meanwhile.
        self.known = Self::load(self.path.parent().unwrap_or(&self.path)).known;
        change(&mut self.known);
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
        let platform = |on: &str| -> Platform { on.parse().unwrap() };
        let mut memory = Memory::load(dir.path());
        assert_eq!(memory.platform(&name), None);
        for on in ["x86_64-linux", "aarch64-linux"] {
            memory.learn(&name, &platform(on));
            let again = Memory::load(dir.path());
            assert_eq!(again.platform(&name), Some(platform(on)));
        }
        let question = KeyId::of_question(b"rustc -V");
        for (host, said) in [(Some(&name), "1.89"), (None, "1.90"), (None, "1.91")] {
            let said = KeyId::of(said.as_bytes());
            memory.learn_key(host, question, said);
            assert_eq!(Memory::load(dir.path()).key(host, &question), Some(said));
        }
        assert_eq!(memory.key(Some(&name), &question), Some(KeyId::of(b"1.89")));
        std::fs::write(dir.path().join("runners"), "{}").unwrap();
        assert_eq!(Memory::load(dir.path()).platform(&name), None);
    }
}
