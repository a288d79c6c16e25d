//! The kinds of runners that there are here, as far as verdicts depend on them: what is
//! known of each without asking it.

use std::sync::Arc;

use crate::git::{Conversion, Repo};
use crate::model::{Criteria, EnvId, Job, RunnerLabel};
use crate::runner::{Memory, platform};
use crate::settings::Settings;
use crate::watch::CriteriaOf;

/// The runners of a repository, here and on the hosts that are configured.
pub(super) struct Kinds {
    /// What jobs may ask this machine for, where its own slots are used.
    local: Option<Arc<[String]>>,
    hosts: Vec<(RunnerLabel, Arc<[String]>)>,
    memory: Memory,
    /// Of the configuration that changes the bytes of files: hosts are told of it.
    env: Option<EnvId>,
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
            env: env(repo),
        }
    }

    /// What a record must agree in to count for `job`.
    pub(super) fn criteria(&self, job: &Job) -> Criteria {
        let can_take = |labels: &[String]| job.labels.iter().all(|label| labels.contains(label));
        let mut platforms = Vec::new();
        if self.local.as_deref().is_some_and(can_take) {
            platforms.push(platform());
        }
        for (name, labels) in &self.hosts {
            if can_take(labels)
                && let Some(on) = self.memory.platform(name)
                && !platforms.contains(&on)
            {
                platforms.push(on);
            }
        }
        Criteria::new(job, self.env, platforms)
    }
}

/// The hash of what outside a tree changes the bytes that are tested.
fn env(repo: &Repo) -> Option<EnvId> {
    let settings = Conversion::of(repo).settings();
    let parts: Vec<_> = settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_slice()))
        .collect();
    EnvId::of(&parts)
}

/// The same for whoever reads the jobs again and again.
pub(super) fn judging(repo: &Repo, settings: &Settings) -> CriteriaOf {
    let kinds = Kinds::of(repo, settings);
    Box::new(move |job| kinds.criteria(job))
}
