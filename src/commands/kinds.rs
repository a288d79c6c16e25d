//! The kinds of runners that there are here, as far as verdicts depend on them: what is
//! known of each without asking it.

use std::sync::Arc;

use crate::git::Repo;
use crate::model::{Criteria, Job, RunnerLabel, Surroundings};
use crate::runner::{Memory, platform};
use crate::settings::Settings;
use crate::watch::CriteriaOf;

/// The runners of a repository, here and on the hosts that are configured.
pub(super) struct Kinds {
    /// What jobs may ask this machine for, where its own slots are used.
    local: Option<Arc<[String]>>,
    hosts: Vec<(RunnerLabel, Arc<[String]>)>,
    memory: Memory,
}

impl Kinds {
    /// What the settings say, and what hosts said of themselves last.
    pub(super) fn of(repo: &Repo, settings: &Settings) -> Self {
        let hosts = settings.hosts.iter();
        Self {
            local: settings.local.then(|| settings.labels.clone().into()),
            hosts: hosts
                .map(|host| (host.name.clone(), host.labels.clone().into()))
                .collect(),
            memory: Memory::load(&repo.ci_dir()),
        }
    }

    /// What a record must agree in to count for `job`.
    pub(super) fn criteria(&self, job: &Job) -> Criteria {
        let can_take = |labels: &[String]| job.labels.iter().all(|label| labels.contains(label));
        let mut runners: Vec<Surroundings> = Vec::new();
        if self.local.as_deref().is_some_and(can_take) {
            runners.push(Surroundings {
                on: platform(),
                env: None,
            });
        }
        let question = job.question();
        for (name, labels) in &self.hosts {
            if can_take(labels)
                && let Some(said) = self.memory.host(name, &question)
                && !runners.contains(&said)
            {
                runners.push(said);
            }
        }
        Criteria::new(job, runners)
    }
}

/// The same for whoever reads the jobs again and again.
pub(super) fn judging(repo: &Repo, settings: &Settings) -> CriteriaOf {
    let kinds = Kinds::of(repo, settings);
    Box::new(move |job| kinds.criteria(job))
}
