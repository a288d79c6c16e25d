//! What this machine has for all repositories: `ci.resource.*`, `ci.machineSlots` and
//! `ci.minFree*`. Those of one user share it, so it belongs into the user's own configuration.

use std::collections::BTreeMap;

use super::{MAX_SLOTS, SettingsError};
use crate::git::Repo;
use crate::model::parse_size;

/// Where resources are set.
pub(super) const RESOURCE: &str = "ci.resource.";

/// A number of tokens is no larger.
const MOST: u32 = 1024;

/// What the machine has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineSettings {
    /// `ci.resource.NAME`: the values of the tokens; numbers from 0 where only a count is set.
    pub resources: BTreeMap<String, Vec<String>>,
    /// `ci.machineSlots`: how many slots all repositories have together.
    pub slots: Option<u32>,
    /// `ci.minFreeMemory`, in bytes; 0 for no limit.
    pub min_free_memory: u64,
    /// `ci.minFreeDisk`: the same where the worktrees are.
    pub min_free_disk: u64,
}

impl MachineSettings {
    /// Reads what counts in `repo`.
    ///
    /// # Errors
    /// Where a value makes no sense.
    pub(super) fn of(repo: &Repo) -> Result<Self, SettingsError> {
        let mut resources = BTreeMap::new();
        for (key, values) in repo.config_entries() {
            if let Some(name) = key.strip_prefix(RESOURCE) {
                resources.insert(name.to_owned(), tokens(key, values)?);
            }
        }
        Ok(Self {
            resources,
            slots: slots(repo)?,
            min_free_memory: size(repo, "ci.minFreeMemory")?,
            min_free_disk: size(repo, "ci.minFreeDisk")?,
        })
    }
}

/// The tokens that the values of a key stand for: a count, or each value one.
///
/// # Errors
/// Where a value is empty, or there are too many.
pub(super) fn tokens(key: &str, values: &[String]) -> Result<Vec<String>, SettingsError> {
    let bad = |value: &str| SettingsError::Host {
        key: key.to_owned(),
        value: value.to_owned(),
        expected: format!("a number up to {MOST}, or the name of one such thing"),
    };
    if let [one] = values
        && let Ok(count) = one.trim().parse::<u64>()
    {
        let count = u32::try_from(count).ok().filter(|count| *count <= MOST);
        let count = count.ok_or_else(|| bad(one))?;
        return Ok((0..count).map(|number| number.to_string()).collect());
    }
    let mut tokens = Vec::new();
    for value in values {
        let value = value.trim();
        if value.is_empty() || value.contains([',', '\0']) || tokens.len() >= MOST as usize {
            return Err(bad(value));
        }
        if !tokens.iter().any(|other| other == value) {
            tokens.push(value.to_owned());
        }
    }
    Ok(tokens)
}

fn slots(repo: &Repo) -> Result<Option<u32>, SettingsError> {
    let Some(value) = repo.config("ci.machineslots") else {
        return Ok(None);
    };
    let slots = value.trim().parse().ok();
    let slots = slots.filter(|slots| (1..=MAX_SLOTS).contains(slots));
    slots.map(Some).ok_or_else(|| SettingsError::Value {
        key: "ci.machineSlots",
        value: value.to_owned(),
        expected: "a number from 1 to 1024",
    })
}

fn size(repo: &Repo, key: &str) -> Result<u64, SettingsError> {
    let Some(value) = repo.config(&key.to_lowercase()) else {
        return Ok(0);
    };
    parse_size(value).map_err(|error| SettingsError::Unit {
        key: key.to_owned(),
        value: value.to_owned(),
        error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_count_and_anything_else_a_thing() {
        let of = |values: &[&str]| {
            let values: Vec<_> = values.iter().map(|value| (*value).to_owned()).collect();
            tokens("ci.resource.x", &values).map_err(|error| error.to_string())
        };
        let strings = |values: &[&str]| Ok(values.iter().map(|v| (*v).to_owned()).collect());
        assert_eq!(of(&["2"]), strings(&["0", "1"]));
        assert_eq!(of(&["0"]), strings(&[]));
        assert_eq!(of(&["/dev/ttyUSB0"]), strings(&["/dev/ttyUSB0"]));
        assert_eq!(of(&["1", "7", "1"]), strings(&["1", "7"]));
        for bad in [&["1025"][..], &[""], &["a,b"], &["a", " "]] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
    }
}
