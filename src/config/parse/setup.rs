//! The tables of `setup`: what a worktree must have before jobs can run in it.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use crate::model::{JobName, Setup};

use super::{Reader, list, unknown};

/// The keys of a set-up.
const KEYS: [&str; 5] = ["env", "inputs", "key", "run", "timeout"];

/// A table of `setup`.
pub(super) struct SetupDraft {
    pub(super) name: String,
    /// `None` where something is wrong with it.
    pub(super) setup: Option<Setup>,
}

impl Reader<'_> {
    /// The set-ups of the file.
    pub(super) fn setups(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<SetupDraft> {
        let Some(table) = self.table(value, "setup") else {
            return Vec::new();
        };
        let mut setups = Vec::new();
        for (name, value) in table {
            let parsed = name.get_ref().parse::<JobName>();
            if let Err(error) = &parsed {
                let message = format!("bad name of a set-up \"{}\": {error}", name.get_ref());
                self.problem(name.span(), message);
            }
            setups.push(SetupDraft {
                name: name.get_ref().to_string(),
                setup: self.setup(parsed.ok(), value, name.span()),
            });
        }
        setups
    }

    fn setup(
        &mut self,
        name: Option<JobName>,
        value: &Spanned<DeValue<'_>>,
        at: Range<usize>,
    ) -> Option<Setup> {
        let table = self.table(value, "a set-up")?;
        let (mut run, mut inputs, mut env, mut timeout) = (None, None, BTreeMap::new(), None);
        let mut asks = None;
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "run" => run = self.command(value, "run"),
                "inputs" => inputs = self.paths(value, "inputs"),
                "key" => asks = self.command(value, "key"),
                "env" => env = self.env(value),
                "timeout" => timeout = self.duration(value, "timeout"),
                other => {
                    let rest = format!("a set-up has {}", list(&KEYS));
                    self.problem(key.span(), unknown("key", other, &KEYS, &rest));
                }
            }
        }
        if !table.contains_key("run") {
            self.problem(at, "this set-up has no `run`: the command to execute");
        }
        Some(Setup {
            name: name?,
            run: run?,
            inputs: inputs.unwrap_or_default(),
            key: asks,
            env,
            timeout,
        })
    }
}
