//! A watcher that a hook started: nobody sees its screen, so what fails is left for the
//! next hook to say.

use std::collections::BTreeMap;

use crate::error::Failure;
use crate::model::{Event, JobName, Oid, Status};
use crate::reporter::Reporter;
use crate::spool::{Notice, Notices};

/// Leaves notices of what fails. Without them it is in the results all the same.
pub(in crate::commands) struct Background {
    notices: Notices,
    /// Tasks without a verdict: they are tried again.
    errors: BTreeMap<(Oid, JobName), Status>,
}

impl Background {
    /// Leaves them there.
    pub(in crate::commands) fn new(notices: Notices) -> Self {
        Self {
            notices,
            errors: BTreeMap::new(),
        }
    }

    fn add(&self, (commit, job): (Oid, JobName), status: Status) {
        let _ = self.notices.add(&Notice::Task {
            commit,
            job,
            status,
        });
    }
}

impl Reporter for Background {
    fn event(&mut self, event: &Event) {
        match event {
            Event::TaskFinished {
                commit,
                job,
                status: Some(status),
                allowed: false,
                ..
            } => {
                let task = (*commit, job.clone());
                self.errors.remove(&task);
                match status {
                    Status::Fail => self.add(task, *status),
                    Status::Error => drop(self.errors.insert(task, *status)),
                    Status::Flaky | Status::Pass | Status::Skip => {}
                }
            }
            Event::RunFinished { .. } => {
                for (task, status) in std::mem::take(&mut self.errors) {
                    self.add(task, status);
                }
            }
            _ => {}
        }
    }
}

/// Leaves a notice that watching failed.
pub(in crate::commands) fn failed(notices: &Notices, failure: &Failure) {
    let _ = notices.add(&Notice::Watcher {
        reason: failure.message.clone(),
    });
}
