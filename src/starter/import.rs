//! Jobs taken over from the configuration of another CI.
//!
//! What is a command is taken over; what is a service, a secret, an action of that CI or
//! a change to the machine cannot be, and stands as a comment that says why. Files of
//! other CIs may be anybody's: they are read within bounds, and no anchor of theirs can
//! make the result larger than that.

use std::collections::BTreeSet;

use super::imported::Imported;
use super::job::unique;
use super::project::Project;
use super::{Starter, github, gitlab, header};

/// A file of another CI that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read {file}: {message}")]
pub(crate) struct ImportError {
    /// Its path in the project.
    pub file: String,
    /// What is wrong with it.
    pub message: String,
}

/// The files of other CIs in a project that have steps to take over.
pub(crate) fn sources(project: &Project) -> Vec<String> {
    let workflow = |file: &&str| {
        let name = file.strip_prefix(".github/workflows/");
        name.is_some_and(|name| {
            !name.contains('/') && (name.ends_with(".yml") || name.ends_with(".yaml"))
        })
    };
    let top = project.top();
    let mut found: Vec<_> = top.files().filter(workflow).map(str::to_owned).collect();
    found.extend(
        top.first(&[".gitlab-ci.yml", ".gitlab-ci.yaml"])
            .map(str::to_owned),
    );
    found
}

/// The jobs of all those files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Import {
    /// What could not be read; the rest is taken over.
    pub problems: Vec<ImportError>,
    jobs: Vec<Imported>,
}

impl Import {
    /// Reads every file of [`sources`].
    pub(crate) fn read(project: &Project) -> Self {
        let mut import = Self::default();
        for file in sources(project) {
            let text = project.top().read(&file);
            let read = if file.starts_with(".github/") {
                github::jobs(&text, &file)
            } else {
                gitlab::jobs(&text, &file)
            };
            match read {
                Ok(jobs) => import.jobs.extend(jobs),
                Err(message) => import.problems.push(ImportError { file, message }),
            }
        }
        import
    }

    /// The jobs file. `branch` is what the project's main branch is called.
    pub(crate) fn starter(&self, branch: &str) -> Starter {
        let mut starter = Starter {
            text: header(branch),
            kinds: Vec::new(),
            jobs: Vec::new(),
        };
        let mut used = BTreeSet::new();
        for job in &self.jobs {
            let name = unique(&job.name, &mut used);
            starter.text.push('\n');
            starter.text += &job.written(&name);
            if job.obstacle.is_none() {
                starter.jobs.push(name);
            }
            if !starter.kinds.contains(&job.origin) {
                starter.kinds.push(job.origin.clone());
            }
        }
        starter
    }
}
