//! The keys of one job, and where it has them from: its own table, those that it extends,
//! and the defaults.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::model::{Clean, CommandLine, Job, JobName, Reuse, Stage};

use super::matrix::Cell;
use super::{Reader, list, unknown};

/// The keys of a job; a page of the manual has them all.
pub const KEYS: [&str; 25] = [
    "allow-failure",
    "artifacts",
    "branches",
    "clean",
    "cpus",
    "default",
    "description",
    "env",
    "extends",
    "grace",
    "junit",
    "key",
    "labels",
    "matrix",
    "needs",
    "paths",
    "platform",
    "resources",
    "retries",
    "reuse",
    "run",
    "setup",
    "silence",
    "stage",
    "timeout",
];

/// Keys that are of one job and no other.
const OWN: [&str; 3] = ["default", "description", "extends"];

/// A job takes no more of anything.
pub(super) const MOST_TOKENS: u32 = 1024;

/// A job is tried again at most so often.
const MOST_RETRIES: u32 = 10;

/// The keys that apply to a job: of each its values, of which the last counts.
pub(super) type Keys<'v, 'i> =
    BTreeMap<&'v str, Vec<(&'v Spanned<Cow<'i, str>>, &'v Spanned<DeValue<'i>>)>>;

/// A job as its table says it, before names in it are looked up.
pub(super) struct Draft {
    /// Where its name is.
    pub(super) at: Range<usize>,
    pub(super) job: Job,
    /// What it is multiplied by; nothing where it is one job.
    pub(super) cells: Vec<Cell>,
    /// What it needs, and where it says so.
    pub(super) needs: Vec<(Range<usize>, String)>,
    pub(super) paths: Option<Vec<String>>,
    /// What must have been set up, and where it says so.
    pub(super) setups: Vec<(Range<usize>, String)>,
}

impl Reader<'_> {
    /// The keys that apply to the job `name`.
    pub(super) fn inherit<'v, 'i>(
        &mut self,
        name: &str,
        jobs: &'v DeTable<'i>,
        defaults: Option<&'v DeTable<'i>>,
    ) -> Keys<'v, 'i> {
        let mut chain: Vec<(&str, &DeTable<'_>)> = Vec::new();
        let mut next = jobs.get_key_value(name);
        while let Some((name, job)) = next.take() {
            let DeValue::Table(table) = job.get_ref() else {
                break;
            };
            chain.push((name.get_ref(), table));
            let Some(base) = table.get("extends") else {
                break;
            };
            let DeValue::String(of) = base.get_ref() else {
                self.mismatch(base, "extends", "the name of a job", base.get_ref());
                break;
            };
            if chain.iter().any(|(name, _)| name == of) {
                let names = chain.iter().map(|(name, _)| *name).chain([of.as_ref()]);
                let names: Vec<_> = names.collect();
                let message = format!("`extends` leads back: {}", names.join(" → "));
                self.problem(base.span(), message);
                break;
            }
            next = jobs.get_key_value(of.as_ref());
            if next.is_none() {
                let known: Vec<_> = jobs.keys().map(|name| name.get_ref().as_ref()).collect();
                let rest = format!("the jobs are {}", list(&known));
                self.problem(base.span(), unknown("job", of, &known, &rest));
            }
        }
        let mut keys = Keys::new();
        let tables = defaults
            .into_iter()
            .chain(chain.iter().rev().map(|(_, table)| *table));
        let tables: Vec<_> = tables.collect();
        for (index, table) in tables.iter().enumerate() {
            let is_own = index + 1 == tables.len();
            for (key, value) in *table {
                let key_name = key.get_ref().as_ref();
                if is_own || !OWN.contains(&key_name) {
                    keys.entry(key_name).or_default().push((key, value));
                }
            }
        }
        keys
    }

    /// The job that these keys make.
    pub(super) fn draft(&mut self, name: JobName, keys: &Keys<'_, '_>, at: Range<usize>) -> Draft {
        let mut run = None;
        let mut reuse = None;
        let mut job = Job::new(name, CommandLine::Shell(String::new()));
        let (mut cells, mut needs, mut paths, mut setups) =
            (Vec::new(), Vec::new(), None, Vec::new());
        for (name, values) in keys {
            let Some((key, value)) = values.last().copied() else {
                continue;
            };
            match *name {
                "run" => run = self.command(value, "run"),
                "key" => job.key = self.command(value, "key"),
                "timeout" => job.timeout = self.duration(value, name),
                "silence" => job.silence = self.duration(value, name),
                "grace" => job.grace = self.duration(value, name).unwrap_or_default(),
                // Each variable counts for itself.
                "env" => {
                    for (_, value) in values {
                        job.env.extend(self.env(value));
                    }
                }
                "clean" => {
                    let words = [
                        ("untracked", Clean::Untracked),
                        ("all", Clean::All),
                        ("none", Clean::None),
                    ];
                    job.clean = self.one_of(value, name, &words).unwrap_or_default();
                }
                "labels" => job.labels = self.labels(value),
                "platform" => {
                    let words = [("same", false), ("any", true)];
                    let any = self.one_of(value, name, &words);
                    job.any_platform = any.unwrap_or_default();
                }
                "reuse" => {
                    let words = [
                        ("auto", Reuse::Auto),
                        ("tree", Reuse::Tree),
                        ("commit", Reuse::Commit),
                        ("never", Reuse::Never),
                    ];
                    reuse = self.one_of(value, name, &words);
                }
                "allow-failure" => {
                    job.allow_failure = self.boolean(value, name).unwrap_or_default();
                }
                "default" => job.on_request = !self.boolean(value, name).unwrap_or(true),
                "description" => job.description = self.line(value, name),
                "retries" => {
                    job.retries = self.count(value, name, MOST_RETRIES).unwrap_or_default();
                }
                "needs" => needs = self.strings(value, name),
                "setup" => setups = self.strings(value, name),
                "paths" => paths = self.paths(value, name),
                "junit" => job.junit = self.path_or_paths(value, name).unwrap_or_default(),
                "artifacts" => {
                    job.artifacts = self.path_or_paths(value, name).unwrap_or_default();
                }
                "cpus" => job.cpus = self.count(value, name, MOST_TOKENS).unwrap_or(1).max(1),
                "resources" => job.resources = self.resources(value, name),
                "branches" => job.branches = self.branches(value, name),
                "stage" => job.stage = self.one_of(value, name, &[("commit", Stage::Commit)]),
                "matrix" => cells = self.matrix(value),
                "extends" => {}
                other => {
                    let rest = format!("a job has {}", list(&KEYS));
                    self.problem(key.span(), unknown("key", other, &KEYS, &rest));
                }
            }
        }
        if !keys.contains_key("run") {
            self.problem(at.clone(), "this job has no `run`: the command to execute");
        }
        // Without one it is no job, and what else is wrong with it is told all the same.
        job.run = run.unwrap_or(job.run);
        // Who says what a job reads says that it reads nothing else.
        let is_selecting = paths.is_some();
        job.reuse = reuse.unwrap_or(if is_selecting {
            Reuse::Tree
        } else {
            Reuse::Auto
        });
        Draft {
            at,
            job,
            cells,
            needs,
            paths,
            setups,
        }
    }
}
