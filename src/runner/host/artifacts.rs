//! What a task leaves on a host, as it arrives from there.

use std::io;

use crate::artifacts::{ArtifactLimits, ArtifactStore, Received};
use crate::runner::{ArtifactPart, Assignment};

use super::HostSpec;

/// What of a task's artifacts has arrived.
pub(super) struct ArrivingArtifacts<'a> {
    store: ArtifactStore,
    assignment: &'a Assignment,
    limits: ArtifactLimits,
    /// How much has arrived.
    files: usize,
    bytes: u64,
    received: Option<Received>,
    failed: Option<io::Error>,
}

impl<'a> ArrivingArtifacts<'a> {
    /// Nothing yet.
    pub(super) fn new(spec: &HostSpec, assignment: &'a Assignment) -> Self {
        Self {
            store: ArtifactStore::new(&spec.repo.ci_dir()),
            assignment,
            limits: ArtifactLimits::of(spec.setup.artifacts),
            files: 0,
            bytes: 0,
            received: None,
            failed: None,
        }
    }

    /// Takes a part, or says why a host that sends it does not do as it was asked. What this
    /// machine cannot keep is not the host's fault: see [`finish`](Self::finish).
    pub(super) fn accept(&mut self, part: ArtifactPart) -> Result<(), &'static str> {
        match &part {
            ArtifactPart::Begin => {}
            ArtifactPart::File { .. } | ArtifactPart::Link { .. } => self.files += 1,
            ArtifactPart::Bytes { bytes } => self.bytes += bytes.len() as u64,
        }
        if self.files > self.limits.files || self.bytes > self.limits.bytes {
            return Err("it sends more files than was asked for");
        }
        if self.failed.is_none() {
            self.failed = self.keep(part).err();
        }
        Ok(())
    }

    fn keep(&mut self, part: ArtifactPart) -> io::Result<()> {
        let Some(received) = &mut self.received else {
            let task = &self.assignment.task;
            let (commit, job) = (&task.commit.id, &task.job.name);
            let dir = self.store.open(commit, job, self.assignment.try_)?;
            self.received = Some(Received::new(dir));
            return match part {
                ArtifactPart::Begin => Ok(()),
                _ => Err(io::ErrorKind::InvalidData.into()),
            };
        };
        match part {
            // An agent there that was lost has begun it before.
            ArtifactPart::Begin => {
                self.received = None;
                self.keep(ArtifactPart::Begin)
            }
            ArtifactPart::File { path, executable } => received.begin(&path, executable),
            ArtifactPart::Bytes { bytes } => received.append(&bytes),
            ArtifactPart::Link { path, target } => received.link(&path, &target),
        }
    }

    /// Nothing more comes. Returns what kept this machine from keeping it all.
    pub(super) fn finish(&mut self) -> Option<io::Error> {
        if let Some(received) = self.received.take() {
            received.finish(self.limits);
        }
        self.failed.take()
    }
}
