//! What a task takes of its machine: tokens, which all processes of this user share, each of them
//! a file that who has it keeps locked. Death gives it back.
//!
//! A task takes all that it needs or none of it, and it takes them before a slot: whoever waits
//! holds nothing that others need.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use etcetera::base_strategy::{BaseStrategy as _, Xdg};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::lock;
use crate::model::{Job, size_text};
use crate::private;

/// Below the user's cache: what all repositories share.
const DIR: &str = "git-ci/machine";

/// What slots are called among resources; no name of one.
const SLOTS: &str = "=slots";

/// How a job is told of what it has got.
const VARIABLE: &str = "GIT_CI_RESOURCE_";

/// What a machine has for all the tasks of one user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Resources by their names, each with the values of its tokens.
    #[serde(default)]
    pub resources: BTreeMap<String, Vec<String>>,
    /// How many slots all repositories have together; `None` where each has its own.
    #[serde(default)]
    pub slots: Option<u32>,
    /// Nothing begins while less memory is free than this, in bytes.
    #[serde(default)]
    pub min_free_memory: u64,
    /// Nothing begins while less is free where the worktrees are, in bytes.
    #[serde(default)]
    pub min_free_disk: u64,
}

impl Machine {
    /// How many tokens there are of each resource.
    pub fn counts(&self) -> BTreeMap<String, u32> {
        let count = |values: &Vec<String>| u32::try_from(values.len()).unwrap_or(u32::MAX);
        let counts = self.resources.iter();
        counts
            .map(|(name, values)| (name.clone(), count(values)))
            .collect()
    }
}

/// What a task has of the machine, until it is dropped.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// Each is locked.
    locked: Vec<File>,
    /// The variables that tell the job.
    pub(super) variables: BTreeMap<String, String>,
}

impl Tokens {
    /// Takes all that a task of these jobs needs, or says for what it waits, as part of a sentence.
    ///
    /// # Errors
    /// Where the files cannot be used.
    pub(super) fn try_take(
        machine: &Machine,
        worktrees: &Path,
        jobs: &[&Job],
    ) -> io::Result<Result<Self, String>> {
        if let Some(why) = low(machine, worktrees) {
            return Ok(Err(why));
        }
        let mut tokens = Self::default();
        let wanted = Wanted::of(machine, jobs);
        if wanted.0.is_empty() {
            return Ok(Ok(tokens));
        }
        let dir = dir()?;
        for (name, (count, values)) in &wanted.0 {
            let mut got = Vec::new();
            for value in *values {
                if got.len() == *count {
                    break;
                }
                let file = private::open(&dir.join(file_name(name, value)), private::Open::Update)?;
                if lock::try_exclusive(&file)? {
                    tokens.locked.push(file);
                    got.push(value.as_str());
                }
            }
            if got.len() < *count {
                let all = values.len();
                return Ok(Err(match *name {
                    SLOTS => format!("all {all} slots of this machine are in use"),
                    name if all == 1 => format!("{name} is in use"),
                    name => format!("{count} of {all} {name} are not free"),
                }));
            }
            if *name != SLOTS {
                let upper = name.to_ascii_uppercase().replace('-', "_");
                let variable = format!("{VARIABLE}{upper}");
                tokens.variables.insert(variable, got.join(","));
            }
        }
        Ok(Ok(tokens))
    }
}

/// How many tokens are wanted of which.
struct Wanted<'m>(BTreeMap<&'m str, (usize, &'m [String])>);

impl<'m> Wanted<'m> {
    fn of(machine: &'m Machine, jobs: &[&Job]) -> Self {
        /// Enough for any number of slots.
        static NUMBERS: std::sync::LazyLock<Vec<String>> =
            std::sync::LazyLock::new(|| (0..1024).map(|number: u32| number.to_string()).collect());
        let most = |count: fn(&Job, &str) -> u32, name: &str| {
            let counts = jobs.iter().map(|job| count(job, name));
            counts.max().unwrap_or(0) as usize
        };
        let mut wanted = BTreeMap::new();
        for (name, values) in &machine.resources {
            let count = most(
                |job, name| job.resources.get(name).copied().unwrap_or(0),
                name,
            );
            if count > 0 {
                wanted.insert(name.as_str(), (count, values.as_slice()));
            }
        }
        if let Some(slots) = machine.slots {
            let slots = NUMBERS.len().min(slots as usize);
            // Who asks for more than there is gets all.
            let count = most(|job, _| job.cpus, SLOTS).clamp(1, slots.max(1));
            wanted.insert(SLOTS, (count, &NUMBERS[..slots]));
        }
        Self(wanted)
    }
}

/// Where the files are.
fn dir() -> io::Result<PathBuf> {
    let cache = Xdg::new().map_err(io::Error::other)?.cache_dir();
    let dir = cache.join(DIR);
    private::make_private_dir(&dir)?;
    Ok(dir)
}

/// The file of a token: two that have the same value are one thing, whatever repository says so.
fn file_name(name: &str, value: &str) -> String {
    let hash = Sha256::digest(value.as_bytes());
    format!("{name}.{}", faster_hex::hex_string(&hash[..8]))
}

/// What there is too little of.
fn low(machine: &Machine, worktrees: &Path) -> Option<String> {
    if machine.min_free_memory > 0
        && let Some(free) = free_memory()
        && free < machine.min_free_memory
    {
        let (free, least) = (size_text(free), size_text(machine.min_free_memory));
        return Some(format!(
            "{free} of memory is free, and ci.minFreeMemory is {least}"
        ));
    }
    if machine.min_free_disk == 0 {
        return None;
    }
    let place = worktrees.ancestors().find(|path| path.exists())?;
    let disk = rustix::fs::statvfs(place).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    (free < machine.min_free_disk).then(|| {
        let (free, least) = (size_text(free), size_text(machine.min_free_disk));
        let place = place.display();
        format!("{free} is free on the disk of {place}, and ci.minFreeDisk is {least}")
    })
}

/// What the kernel says that can be used without swapping, in bytes.
fn free_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}
