//! Where the tasks of a run may go: this machine's slots and the hosts, as runners.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::error::Failure;
use crate::git::{Beyond, Repo};
use crate::model::Job;
use crate::process;
use crate::runner::protocol::{ArtifactSetup, OutputLimits, Setup};
use crate::runner::wire::HostSetup;
use crate::runner::{
    Host, HostRunner, HostSpec, LocalRunner, LocalSpec, Machine, Runner, Transport,
};
use crate::settings::{HostKind, HostSettings, MachineSettings, Retention, Settings};

/// How many tasks wait at a host for a slot there, where jobs are short.
const AHEAD: u32 = 8;

/// The runners for a run of `tasks` tasks with `slots` slots on this machine, which may keep
/// those of tasks that fail.
pub(in crate::commands) fn runners(
    repo: &Repo,
    settings: &Settings,
    slots: u32,
    tasks: usize,
    keep_failed: bool,
) -> Result<Vec<Box<dyn Runner>>, Failure> {
    let mut runners: Vec<Box<dyn Runner>> = Vec::new();
    if tasks == 0 {
        return Ok(runners);
    }
    // What an agent leaves that is killed becomes this process's.
    process::become_subreaper()
        .map_err(|error| Failure::failed_to("look after orphans of jobs", error))?;
    if settings.local {
        say_what_is_kept(&keep_surroundings_from_jobs(repo));
        crate::worktree::wait_for_orphans(&repo.ci_dir())?;
        crate::worktree::tidy(repo, &settings.worktree_root);
        let mut spec = local_spec(repo, settings, slots)?;
        spec.setup.keep_failed = keep_failed;
        for _ in 0..(slots as usize).min(tasks) {
            runners.push(Box::new(LocalRunner::new(spec.clone())));
        }
    }
    let drained = |host: &HostSettings| host.drain || drain_mark(repo, host.name.as_str()).exists();
    if settings.hosts.iter().all(drained) {
        return if settings.local {
            Ok(runners)
        } else {
            Err(Failure::fatal("there is nowhere to run anything").hint(
            "ci.local is false, and no host is configured that is not drained: see `git ci hosts`",
        ))
        };
    }
    let specs = Specs::new(repo)?;
    for (machine, host) in settings.hosts.iter().enumerate() {
        if drained(host) {
            continue;
        }
        let slots = (host.slots as usize).min(tasks);
        let spec = specs.of(host, machine + 1);
        if matches!(host.kind, HostKind::Slurm { .. }) {
            // One allocation a slot, so that the cluster can place each where it likes.
            for _ in 0..slots {
                let host = Host::new(spec.clone()).map_err(no_thread)?;
                runners.push(Box::new(HostRunner::new(&host, false)));
            }
            continue;
        }
        let spare = tasks.saturating_sub(slots).min(AHEAD as usize);
        let host = Host::new(spec).map_err(no_thread)?;
        for index in 0..slots + spare {
            runners.push(Box::new(HostRunner::new(&host, index >= slots)));
        }
    }
    Ok(runners)
}

/// Keeps what ties this process to a checkout of the user's from jobs and their keys;
/// returns what that is.
pub(in crate::commands) fn keep_surroundings_from_jobs(repo: &Repo) -> Vec<String> {
    let main = repo.common_dir();
    let main = main.parent().filter(|_| main.ends_with(".git"));
    let trees = repo.work_tree().into_iter().chain(main);
    process::keep_from_jobs(trees.map(std::path::Path::to_owned).collect())
}

/// Says once what is kept from jobs.
fn say_what_is_kept(told: &[String]) {
    static SAID: std::sync::Once = std::sync::Once::new();
    if !told.is_empty() {
        SAID.call_once(|| {
            super::output::note(&format!(
                "not passed on to jobs, since it leads into your work tree: {}; \
                 a job's `env` can set it again",
                told.join(", ")
            ));
        });
    }
}

fn no_thread(error: std::io::Error) -> Failure {
    Failure::failed_to("start a thread for each host", error)
}

/// Refuses jobs that no runner may have, before anything runs.
pub(in crate::commands) fn check_labels<'j>(
    jobs: impl IntoIterator<Item = &'j Job>,
    runners: &[Box<dyn Runner>],
) -> Result<(), Failure> {
    let places: Vec<_> = runners.iter().map(|runner| runner.place()).collect();
    for job in jobs {
        if places.is_empty() || places.iter().any(|place| place.suits(job)) {
            continue;
        }
        let without = Job {
            resources: BTreeMap::new(),
            ..job.clone()
        };
        if let Some((name, count)) = job.resources.iter().next()
            && places.iter().any(|place| place.suits(&without))
        {
            let most = |name| {
                places
                    .iter()
                    .filter_map(move |place| place.resources.get(name))
                    .max()
            };
            let lacking = job
                .resources
                .iter()
                .find(|(name, count)| most(*name) < Some(*count));
            let (name, count) = lacking.unwrap_or((name, count));
            let most = most(name).copied().unwrap_or(0);
            return Err(Failure::fatal(format!(
                "{} takes {count} of the resource {name}, and no runner has more than {most}",
                job.name
            ))
            .hint(format!("git config --global ci.resource.{name} {count}")));
        }
        let wanted = job.labels.join(", ");
        return Err(Failure::fatal(format!(
            "no runner has the labels of job {}: {wanted}",
            job.name
        ))
        .hint("ci-host.NAME.labels gives labels to a host, ci.labels to this machine"));
    }
    Ok(())
}

/// How agents on this machine are started.
pub(in crate::commands) fn local_spec(
    repo: &Repo,
    settings: &Settings,
    slots: u32,
) -> Result<LocalSpec, Failure> {
    Ok(LocalSpec {
        program: program()?,
        labels: settings.labels.clone().into(),
        setup: Setup {
            repository: repo.common_dir().to_owned(),
            worktrees: settings.worktree_root.clone(),
            slots,
            label: settings.name.clone(),
            dispatcher: std::process::id(),
            output: OutputLimits::default(),
            artifacts: ArtifactSetup {
                most: most_artifacts(repo)?,
                send: false,
            },
            machine: machine(settings),
            keep_failed: false,
        },
    })
}

/// What this machine has for all repositories.
fn machine(settings: &Settings) -> Machine {
    let MachineSettings {
        resources,
        slots,
        min_free_memory,
        min_free_disk,
    } = settings.machine.clone();
    Machine {
        resources,
        slots,
        min_free_memory,
        min_free_disk,
    }
}

/// How many bytes of artifacts one task may leave: as many as all may.
fn most_artifacts(repo: &Repo) -> Result<u64, Failure> {
    let retention = Retention::of(repo)?;
    Ok(retention.artifact_size.unwrap_or(u64::MAX))
}

fn program() -> Result<std::path::PathBuf, Failure> {
    std::env::current_exe()
        .map_err(|error| Failure::failed_to("find the program that this is", error))
}

/// What all hosts of a repository have in common.
pub(in crate::commands) struct Specs {
    repo: Arc<Repo>,
    project: String,
    shallow: Vec<crate::model::Oid>,
    ssh: String,
    program: std::path::PathBuf,
    /// How many bytes of artifacts one task may leave.
    artifacts: u64,
}

impl Specs {
    /// Reads what every host must know of `repo`.
    pub(in crate::commands) fn new(repo: &Repo) -> Result<Self, Failure> {
        let shallow = repo
            .shallow_commits()
            .map_err(|error| Failure::failed_to("read where history is cut off", error))?;
        let ssh = repo
            .config("ci.sshcommand")
            .map(str::to_owned)
            .or_else(|| std::env::var("GIT_SSH_COMMAND").ok())
            .or_else(|| repo.config("core.sshcommand").map(str::to_owned))
            .filter(|command| !command.trim().is_empty())
            .unwrap_or_else(|| "ssh".to_owned());
        Ok(Self {
            project: project(repo, &shallow),
            repo: Arc::new(Repo::open_common(repo.common_dir())?),
            shallow,
            ssh,
            program: program()?,
            artifacts: most_artifacts(repo)?,
        })
    }

    /// What a runner must know of a host.
    pub(in crate::commands) fn of(&self, host: &HostSettings, machine: usize) -> HostSpec {
        let transport = match &host.kind {
            HostKind::Ssh { address } => Transport::Ssh {
                command: self.ssh.clone(),
                address: address.clone(),
            },
            HostKind::Slurm { options } => Transport::Slurm {
                options: options.clone(),
            },
            HostKind::Command { template } => Transport::Command {
                template: template.clone(),
            },
        };
        let lanes = match &transport {
            Transport::Slurm { .. } => 1,
            _ => host.slots,
        };
        HostSpec {
            name: host.name.clone(),
            machine,
            transport,
            labels: host.labels.clone().into(),
            agent: host.agent.clone(),
            setup: HostSetup {
                project: self.project.clone(),
                format: self.repo.object_format().to_owned(),
                shallow: self.shallow.clone(),
                beyond: Beyond::of(&self.repo),
                root: host.root.clone(),
                slots: host.slots,
                lanes,
                label: host.name.clone(),
                silence: host.silence,
                output: OutputLimits::far(),
                artifacts: self.artifacts,
                machine: Machine {
                    resources: host.resources.clone(),
                    ..Machine::default()
                },
            },
            lease: host.lease,
            timeout: host.connect,
            release: host.release,
            drain: drain_mark(&self.repo, host.name.as_str()),
            repo: Arc::clone(&self.repo),
            program: self.program.clone(),
        }
    }
}

/// The file that says that a host is drained: a running dispatcher looks at it.
pub(in crate::commands) fn drain_mark(repo: &Repo, name: &str) -> std::path::PathBuf {
    repo.ci_dir().join("drained").join(name)
}

/// What hosts call this repository: the same each time, and another where the same
/// commits must not share a cache.
fn project(repo: &Repo, shallow: &[crate::model::Oid]) -> String {
    let mut hash = Sha256::new();
    hash.update(rustix::system::uname().nodename().to_bytes());
    hash.update(b"\0");
    hash.update(repo.common_dir().as_os_str().as_encoded_bytes());
    hash.update(b"\0");
    hash.update(repo.object_format().as_bytes());
    for id in shallow {
        hash.update(id.as_bytes());
    }
    let hex = faster_hex::hex_string(&hash.finalize()[..8]);
    format!(
        "{}-{hex}",
        crate::settings::repository_name(repo.common_dir())
    )
}
