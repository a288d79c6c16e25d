//! What a task runs in its slot, one after the other: what must be set up there, the jobs that
//! it needs where they have not passed there, and the job itself. It is all one task, with one
//! log, and only the last step says something of the commit.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use crate::artifacts::{self, ArtifactLimits, ArtifactStore, Artifacts, Left};
use crate::git::{InputReader, Repo};
use crate::model::{
    self, COMMIT_VARIABLE, CommandLine, DEFAULT_GRACE, InputId, Job, JobName, Outcome,
    REPOSITORY_VARIABLE, Why,
};
use crate::private;
use crate::process::{self, ExitKind, JobProcess, SpawnSpec};
use crate::worktree::{self, Lease};

use super::agent_error::AgentError;
use super::attend::attend;
use super::channel::Channel;
use super::complaints::Complaints;
use super::course::{Ending, Limits};
use super::follow::{Followed, follow};
use super::key::Keys;
use super::output::Output;
use super::protocol::{ARTIFACT_PIECE, ArtifactPart, FromAgent, RunTask, Setup};
use super::unstarted::not_started;
use super::within;

/// The variable that says above which directories no git looks for a repository.
const CEILINGS: &str = "GIT_CEILING_DIRECTORIES";

/// What the steps of a task have to do with.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) setup: &'a Setup,
    pub(super) repo: &'a Repo,
    pub(super) inputs: &'a InputReader,
    pub(super) keys: &'a RefCell<Keys>,
    pub(super) task: &'a RunTask,
    /// The variables that tell of what it has of the machine.
    pub(super) granted: &'a BTreeMap<String, String>,
}

impl Context<'_> {
    /// The identity of what a set-up does for this task.
    ///
    /// # Errors
    /// Where its tree cannot be read, or its key says nothing.
    pub(super) fn identity(&self, setup: &model::Setup) -> Result<InputId, String> {
        let lists = [setup.inputs.clone()];
        let inputs = if setup.inputs.is_empty() {
            InputId::of_entries(&[])
        } else {
            let inputs = self.inputs.input(&lists, &self.task.tree);
            inputs.ok_or("the tree cannot be read")?
        };
        let key = self.keys.borrow_mut().ask_setup(setup);
        let key = key.map_err(|error| error.to_string())?;
        // The last says that what does not last is not on record: once it was.
        let parts = [
            setup.definition().to_string(),
            inputs.to_string(),
            "lasting".to_owned(),
        ];
        let parts = parts.into_iter().chain(key.map(|key| key.to_string()));
        let parts: Vec<_> = parts.map(|part| (part.into_bytes(), Vec::new())).collect();
        Ok(InputId::of_entries(&parts))
    }
}

/// A step: a command with what it gets.
pub(super) struct Step<'s> {
    run: &'s CommandLine,
    job: &'s JobName,
    env: &'s BTreeMap<String, String>,
    is_told_commit: bool,
    artifacts: &'s Path,
    limits: Limits,
}

impl<'s> Step<'s> {
    /// A job with its directory for artifacts.
    pub(super) fn of(job: &'s Job, artifacts: &'s Path) -> Self {
        Self {
            run: &job.run,
            job: &job.name,
            env: &job.env,
            is_told_commit: job.is_told_commit(),
            artifacts,
            limits: Limits::of(job),
        }
    }
}

/// The steps of a task, as far as they have come.
pub(super) struct Steps<'s, I: Read + AsFd + Send, O: Write + AsFd + Send> {
    channel: &'s mut Channel<I, O>,
    ctx: Context<'s>,
    output: Output,
    is_started: bool,
    /// The directories in which jobs have left files, for as long as the task may look there.
    artifacts: Vec<Artifacts>,
    ran: Duration,
}

impl<'s, I: Read + AsFd + Send, O: Write + AsFd + Send> Steps<'s, I, O> {
    /// None yet.
    pub(super) fn new(channel: &'s mut Channel<I, O>, ctx: Context<'s>) -> Self {
        Self {
            output: Output::new(ctx.setup.output, ctx.task.task),
            channel,
            ctx,
            is_started: false,
            artifacts: Vec::new(),
            ran: Duration::ZERO,
        }
    }

    /// What was said of the machine.
    pub(super) fn complaints(&self) -> &Complaints {
        self.output.complaints()
    }

    /// Does what comes before the job. Returns what keeps it from being run, if something does.
    pub(super) fn prepare(
        &mut self,
        lease: &mut Lease<'_, '_>,
    ) -> Result<Option<Outcome>, AgentError> {
        let task = self.ctx.task;
        let missing: Vec<&Job> = task
            .upstream
            .iter()
            .filter(|job| !lease.has_passed(job.definition(), &task.commit))
            .collect();
        let jobs = || missing.iter().copied().chain([&task.job]);
        let mut due: Vec<&model::Setup> = Vec::new();
        for setup in jobs().flat_map(|job| &job.setups) {
            if !due.iter().any(|other| other.name == setup.name) {
                due.push(setup);
            }
        }
        let all = task.upstream.iter().chain([&task.job]);
        let beside: Vec<_> = all
            .flat_map(|job| &job.setups)
            .map(|one| &one.name)
            .collect();
        for setup in due {
            if let Some(outcome) = self.set_up(lease, setup, &beside)? {
                return Ok(Some(outcome));
            }
        }
        for job in missing {
            self.remark(&format!("running {}, which this job needs", job.name))?;
            match self.job(lease, job)? {
                Outcome::Passed => lease.note_passed(job.definition()),
                Outcome::Cancelled => return Ok(Some(Outcome::Cancelled)),
                other => {
                    let reason = format!("pass {}, which it needs: {}", job.name, text(&other));
                    return Ok(Some(Outcome::Errored {
                        why: Why::Needs,
                        reason,
                    }));
                }
            }
        }
        Ok(None)
    }

    fn set_up(
        &mut self,
        lease: &mut Lease<'_, '_>,
        setup: &model::Setup,
        beside: &[&JobName],
    ) -> Result<Option<Outcome>, AgentError> {
        let failed = |reason: String| {
            Ok(Some(Outcome::Errored {
                why: Why::Setup,
                reason: format!("set up {}: {reason}", setup.name),
            }))
        };
        let (ctx, task) = (self.ctx, self.ctx.task);
        let gate = ctx.repo.git().gate();
        let (identity, ending) = attend(self.channel, gate, task, || ctx.identity(setup))?;
        match ending {
            Some(Ending::Asked) => return Ok(Some(Outcome::Cancelled)),
            Some(Ending::TimedOut(_) | Ending::Silent(_)) => {
                gate.open();
                return failed("its `key` took longer than the job may".to_owned());
            }
            None => {}
        }
        let identity = match identity {
            Ok(identity) => identity,
            Err(reason) => return failed(reason),
        };
        if lease.has_setup(&setup.name, identity) {
            return Ok(None);
        }
        if let Err(error) = lease.begin_setup(&setup.name) {
            return failed(error.to_string());
        }
        self.remark(&format!("setting up {}", setup.name))?;
        let artifacts = match self.artifacts(&self.ctx.task.job.name) {
            Ok(artifacts) => artifacts,
            Err(outcome) => return Ok(Some(outcome)),
        };
        let outcome = self.step(
            lease,
            &Step {
                run: &setup.run,
                job: &self.ctx.task.job.name,
                env: &setup.env,
                is_told_commit: false,
                artifacts: &artifacts,
                limits: Limits {
                    timeout: setup.timeout,
                    silence: None,
                    grace: DEFAULT_GRACE,
                },
            },
        )?;
        match outcome {
            Outcome::Passed => match lease.end_setup(&setup.name, identity, beside) {
                Ok(None) => Ok(None),
                Ok(Some(path)) => {
                    self.remark(&setup.does_not_last(&path))?;
                    Ok(None)
                }
                Err(error) => failed(error.to_string()),
            },
            Outcome::Cancelled => Ok(Some(Outcome::Cancelled)),
            other => failed(text(&other)),
        }
    }

    /// Runs a job: that of the task, or one that it needs.
    pub(super) fn job(&mut self, lease: &Lease<'_, '_>, job: &Job) -> Result<Outcome, AgentError> {
        let artifacts = match self.artifacts(&job.name) {
            Ok(artifacts) => artifacts,
            Err(outcome) => return Ok(outcome),
        };
        let outcome = self.step(lease, &Step::of(job, &artifacts))?;
        if outcome != Outcome::Cancelled {
            self.keep(lease, job)?;
        }
        Ok(outcome)
    }

    /// Keeps what the job that ran last has left.
    fn keep(&mut self, lease: &Lease<'_, '_>, job: &Job) -> Result<(), AgentError> {
        let Context {
            setup, repo, task, ..
        } = self.ctx;
        let Some(artifacts) = self.artifacts.last() else {
            return Ok(());
        };
        let limits = ArtifactLimits::of(setup.artifacts.most);
        let keep = || artifacts.keep(limits, lease.path(), &job.artifacts);
        let gate = repo.git().gate();
        let (kept, ending) = attend(self.channel, gate, task, keep)?;
        if ending.is_some() {
            // It is done all the same, and what follows is not for the job's time to end.
            gate.open();
        }
        for remark in &kept.remarks {
            self.remark(remark)?;
        }
        Ok(())
    }

    /// Sends what the job of the task has left, where the dispatcher is to have it.
    pub(super) fn send_artifacts(&mut self) -> Result<(), AgentError> {
        let Context {
            setup, repo, task, ..
        } = self.ctx;
        if !setup.artifacts.send {
            return Ok(());
        }
        let dir = ArtifactStore::new(&repo.ci_dir()).path(&task.commit, &task.job.name);
        self.send_part(ArtifactPart::Begin)?;
        let files = match artifacts::list(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return self.remark(&format!("failed to send the artifacts: {error}")),
            Ok(files) => files,
        };
        for file in files {
            let (path, from) = (file.path.clone(), dir.join(&file.path));
            match file.what {
                Left::Link(target) => self.send_part(ArtifactPart::Link { path, target })?,
                Left::File { executable, .. } => {
                    self.send_part(ArtifactPart::File { path, executable })?;
                    if let Err(error) = self.send_content(&from)? {
                        let name = file.path.display();
                        self.remark(&format!("failed to send {name}: {error}"))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn send_content(&mut self, from: &Path) -> Result<io::Result<()>, AgentError> {
        let mut file = match private::open(from, private::Open::Read) {
            Ok(file) => file,
            Err(error) => return Ok(Err(error)),
        };
        loop {
            let mut bytes = vec![0; ARTIFACT_PIECE];
            match file.read(&mut bytes) {
                Ok(0) => return Ok(Ok(())),
                Ok(count) => bytes.truncate(count),
                Err(error) => return Ok(Err(error)),
            }
            self.send_part(ArtifactPart::Bytes { bytes })?;
        }
    }

    /// Sends a part once there is room on the way.
    fn send_part(&mut self, part: ArtifactPart) -> Result<(), AgentError> {
        let task = self.ctx.task.task;
        while !self.channel.has_room() {
            self.channel.poll([], None)?;
            // It is over, so that there is nothing to end but this.
            let _ = self.channel.request(task)?;
        }
        self.channel.send(&FromAgent::Artifact { task, part })
    }

    /// The directory in which a job may leave files.
    fn artifacts(&mut self, job: &JobName) -> Result<std::path::PathBuf, Outcome> {
        let task = self.ctx.task;
        let store = ArtifactStore::new(&self.ctx.repo.ci_dir());
        let opened = if *job == task.job.name {
            store.open(&task.commit, job, task.try_)
        } else {
            store.open_needed(&task.commit, job)
        };
        let artifacts = opened.map_err(|error| Outcome::Errored {
            why: Why::Spawn,
            reason: format!("make the directory for artifacts: {error}"),
        })?;
        let path = artifacts.path().to_owned();
        self.artifacts.push(artifacts);
        Ok(path)
    }

    fn step(&mut self, lease: &Lease<'_, '_>, step: &Step<'_>) -> Result<Outcome, AgentError> {
        let task = self.ctx.task;
        let spawned = JobProcess::spawn(SpawnSpec {
            run: step.run,
            dir: lease.path(),
            env: environment(self.ctx, lease, step),
        });
        let mut job = match spawned {
            Ok(job) => job,
            Err(error) => return Ok(not_started(step.run, lease.path(), &error)),
        };
        if !std::mem::replace(&mut self.is_started, true) {
            self.channel.send(&FromAgent::Started {
                task: task.task,
                slot: lease.slot(),
                pid: job.id(),
            })?;
        }
        let followed = follow(
            self.channel,
            task.task,
            step.limits,
            &mut job,
            &mut self.output,
        );
        job.reap().map_err(AgentError::Processes)?;
        // With every process gone the pipe has an end, unless somebody outside holds it.
        process::end_everything().map_err(AgentError::Processes)?;
        let Followed { ending, exit, ran } = followed?;
        self.ran = ran;
        self.output.drain(self.channel, &mut job)?;
        if let Some(Ending::Silent(limit)) = ending {
            self.remark(&format!("ended since it said nothing for {limit:?}"))?;
        }
        Ok(match (ending, exit) {
            (Some(Ending::Asked), _) => Outcome::Cancelled,
            (Some(Ending::TimedOut(limit) | Ending::Silent(limit)), _) => {
                Outcome::TimedOut { limit }
            }
            (None, ExitKind::Exited(code)) => Outcome::from_exit_code(code),
            (None, ExitKind::Signaled(signal)) => Outcome::from_signal(signal),
        })
    }

    /// Says something in the log that is not the job's.
    pub(super) fn remark(&mut self, text: &str) -> Result<(), AgentError> {
        self.output.remark(self.channel, text)
    }

    /// Says the rest: all that was printed, and how long the last step ran.
    pub(super) fn finish(self) -> Result<(), AgentError> {
        self.output.finish(self.channel)?;
        self.channel.send(&FromAgent::Ran {
            task: self.ctx.task.task,
            time: self.ran,
        })
    }
}

/// How a step ended that was to pass.
fn text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Passed => "it passed".to_owned(),
        Outcome::Skipped => "exit code 125".to_owned(),
        Outcome::Failed { code } => format!("exit code {code}"),
        Outcome::Signaled { signal } => format!("signal {signal}"),
        Outcome::TimedOut { limit } => format!("it took longer than {limit:?}"),
        Outcome::Errored { reason, .. } => format!("failed to {reason}"),
        Outcome::Cancelled => "cancelled".to_owned(),
    }
}

/// What a step finds in its environment beside what this process has.
pub(super) fn environment(
    ctx: Context<'_>,
    lease: &Lease<'_, '_>,
    step: &Step<'_>,
) -> BTreeMap<OsString, OsString> {
    let Context {
        setup, task, repo, ..
    } = ctx;
    let ours: [(&str, OsString); 11] = [
        ("CI", "true".into()),
        ("GIT_CI", "1".into()),
        // For those who mean the user's repository, and not the slot's.
        (REPOSITORY_VARIABLE, setup.repository.clone().into()),
        ("GIT_CI_TREE", task.tree.to_string().into()),
        ("GIT_CI_JOB", step.job.as_str().into()),
        ("GIT_CI_TRY", task.try_.to_string().into()),
        ("GIT_CI_SLOT", lease.slot().to_string().into()),
        ("GIT_CI_RUNNER", setup.label.as_str().into()),
        ("GIT_CI_ARTIFACTS", step.artifacts.into()),
        (worktree::MARK, lease.path().into()),
        ("TERM", "dumb".into()),
    ];
    let mut env: BTreeMap<_, _> = ours
        .into_iter()
        .map(|(key, value)| (key.into(), value))
        .collect();
    env.extend(
        ctx.granted
            .iter()
            .map(|(name, value)| (name.into(), value.into())),
    );
    let store = ArtifactStore::new(&repo.ci_dir());
    for job in &task.upstream {
        let path = store.path(&task.commit, &job.name);
        env.insert(artifacts::variable(&job.name).into(), path.into());
    }
    // Beside a slot no git is to find a repository further up, nor the user's from the
    // directory for artifacts, which is in it.
    let beside = lease.path().parent().and_then(Path::parent);
    let mut ceilings = vec![setup.repository.clone()];
    ceilings.extend(beside.map(Path::to_owned));
    if let Some(others) = std::env::var_os(CEILINGS) {
        ceilings.extend(std::env::split_paths(&others));
    }
    // A path with a colon cannot be told.
    if let Ok(ceilings) = std::env::join_paths(ceilings) {
        env.insert(CEILINGS.into(), ceilings);
    }
    if step.is_told_commit {
        env.insert(COMMIT_VARIABLE.into(), task.commit.to_string().into());
    }
    let within = within::value(&task.job.name, &task.tree);
    env.insert(super::WITHIN.into(), within);
    for (key, value) in step.env {
        env.insert(key.into(), value.into());
    }
    env
}
