//! The kinds of runners that there are here, as far as verdicts depend on them: what is
//! known of each without asking it, and of this machine what it says when it is asked.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::git::{Conversion, InputReader, JobInputs, Repo};
use crate::model::{Criteria, EnvId, Job, KeyId, RunnerLabel};
use crate::runner::{Keys, Memory, platform};
use crate::settings::Settings;
use crate::watch::CriteriaOf;

use super::fleet::keep_surroundings_from_jobs;

/// How long it counts what was read of the configuration: for the jobs that are read at once.
const FRESH: Duration = Duration::from_millis(500);

/// The runners of a repository, here and on the hosts that are configured.
pub(in crate::commands) struct Kinds {
    /// What jobs may ask this machine for, where its own slots are used.
    local: Option<Arc<[String]>>,
    hosts: Vec<(RunnerLabel, Arc<[String]>)>,
    memory: RefCell<Memory>,
    /// Of the configuration that changes the bytes of files: hosts are told of it.
    env: Option<EnvId>,
    /// What the `key` commands of jobs say here; `None` for who runs nothing, and so asks
    /// nothing either.
    keys: Option<RefCell<Keys>>,
    inputs: Arc<InputReader>,
}

impl Kinds {
    /// What the settings say, and what hosts and this machine said of themselves last.
    pub(in crate::commands) fn of(repo: &Repo, settings: &Settings) -> Self {
        let hosts = settings.hosts.iter();
        Self {
            local: settings.local.then(|| settings.labels.clone().into()),
            hosts: hosts
                .map(|host| (host.name.clone(), host.labels.clone().into()))
                .collect(),
            memory: RefCell::new(Memory::load(&repo.ci_dir())),
            env: Conversion::of(repo).id(),
            keys: None,
            inputs: InputReader::new(repo),
        }
    }

    /// The same, and what this machine says now.
    pub(in crate::commands) fn asking(repo: &Repo, settings: &Settings) -> Self {
        keep_surroundings_from_jobs(repo);
        Self {
            keys: std::env::current_exe()
                .ok()
                .map(|program| RefCell::new(Keys::through(program))),
            ..Self::of(repo, settings)
        }
    }

    /// What a record must agree in to count for `job`.
    pub(in crate::commands) fn criteria(&self, job: &Job) -> Criteria {
        let can_take = |labels: &[String]| job.labels.iter().all(|label| labels.contains(label));
        let mut kinds = Vec::new();
        if self.local.as_deref().is_some_and(can_take) {
            kinds.push((platform(), self.key(job, None)));
        }
        for (name, labels) in &self.hosts {
            let on = self.memory.borrow().platform(name);
            if let Some(on) = on.filter(|_| can_take(labels)) {
                let kind = (on, self.key(job, Some(name)));
                if !kinds.contains(&kind) {
                    kinds.push(kind);
                }
            }
        }
        let mut criteria = Criteria::new(job, self.env, kinds);
        if let Some(selections) = job.selections.clone() {
            criteria.inputs = Some(Arc::new(JobInputs::new(&self.inputs, selections)));
        }
        criteria
    }

    /// What the job's `key` says on a host, or here; `None` where it has none.
    fn key(&self, job: &Job, host: Option<&RunnerLabel>) -> Option<KeyId> {
        let question = Keys::question(job)?;
        let mut memory = self.memory.borrow_mut();
        if let (None, Some(keys)) = (host, &self.keys) {
            // Where it says nothing the task runs, and tells why that is no verdict.
            let said = keys.borrow_mut().ask(job).ok().flatten();
            if let Some(said) = said {
                memory.learn_key(None, question, said);
            }
            return Some(said.unwrap_or(KeyId::UNKNOWN));
        }
        Some(memory.key(host, &question).unwrap_or(KeyId::UNKNOWN))
    }
}

/// The same for whoever reads the jobs again and again, while configuration and tools change.
pub(in crate::commands) fn judging<'r>(repo: &'r Repo, settings: &Settings) -> CriteriaOf<'r> {
    let kinds = RefCell::new((Instant::now(), Kinds::asking(repo, settings)));
    Box::new(move |job| {
        let (read, kinds) = &mut *kinds.borrow_mut();
        if read.elapsed() > FRESH {
            *read = Instant::now();
            // Who tests a commit finds out, too, what cannot be read.
            kinds.env = Conversion::now(repo).map_or(kinds.env, |conversion| conversion.id());
        }
        kinds.criteria(job)
    })
}
