//! Failures that a warm worktree may be the cause of: those of commits that change how the
//! project is built, in a worktree that still had what another commit had built.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::git::Repo;
use crate::git::revs;
use crate::model::{Event, JobName, Oid, Status, printable_line};
use crate::reporter::Reporter;

use super::output;

/// No more failures are looked at.
const LOOKED_AT: usize = 20;

/// No more hints are given.
const HINTS: usize = 3;

/// Files that say what a build is made of, and how: where they change, tools that compare
/// times may take something for current that is not. As patterns of git.
const BUILD_FILES: [&str; 32] = [
    "Cargo.toml",
    "Cargo.lock",
    "build.rs",
    "rust-toolchain*",
    "package.json",
    "package-lock.json",
    "pnpm-lock.yaml",
    "yarn.lock",
    "bun.lock",
    "go.mod",
    "go.sum",
    "pom.xml",
    "build.gradle*",
    "settings.gradle*",
    "gradle.properties",
    "pyproject.toml",
    "setup.py",
    "setup.cfg",
    "uv.lock",
    "poetry.lock",
    "requirements*.txt",
    "Gemfile",
    "Gemfile.lock",
    "composer.json",
    "composer.lock",
    "CMakeLists.txt",
    "*.cmake",
    "meson.build",
    "configure.ac",
    "Makefile*",
    "*.mk",
    ".gitmodules",
];

/// A failure, and the commit that its worktree was at before.
struct Suspect {
    commit: Oid,
    job: JobName,
    before: Oid,
}

/// Gathers them while a run goes on, and hands each event on.
pub(in crate::commands) struct Suspects<'r> {
    next: &'r mut dyn Reporter,
    found: Vec<Suspect>,
}

impl Reporter for Suspects<'_> {
    fn event(&mut self, event: &Event) {
        self.next.event(event);
        if let Event::TaskFinished {
            commit,
            job,
            status: Some(Status::Fail),
            allowed: false,
            before: Some(before),
            ..
        } = event
            && before != commit
            && self.found.len() < LOOKED_AT
        {
            self.found.push(Suspect {
                commit: *commit,
                job: job.clone(),
                before: *before,
            });
        }
    }

    fn tick_interval(&self) -> Option<Duration> {
        self.next.tick_interval()
    }

    fn tick(&mut self) {
        self.next.tick();
    }

    fn suspend(&mut self) {
        self.next.suspend();
    }
}

impl<'r> Suspects<'r> {
    /// None yet; what happens is told to `next`, too.
    pub(in crate::commands) fn new(next: &'r mut dyn Reporter) -> Self {
        Self {
            next,
            found: Vec::new(),
        }
    }

    /// Names the way out for the first of them: `again` makes the command that runs a job
    /// on a commit.
    pub(in crate::commands) fn tell(&self, repo: &Repo, again: impl Fn(&JobName, &Oid) -> String) {
        let patterns = BUILD_FILES.map(|name| format!(":(top,glob)**/{name}"));
        let mut told = BTreeSet::new();
        for suspect in &self.found {
            if told.len() >= HINTS || told.contains(&suspect.commit) {
                continue;
            }
            // What is not known any more is no reason to say anything.
            let changed = revs::changed(repo, &suspect.before, &suspect.commit, &patterns);
            let Some(file) = changed.unwrap_or_default().into_iter().next() else {
                continue;
            };
            told.insert(suspect.commit);
            output::hint(&format!(
                "{} changes {}, and its worktree was in use before; to rule that out: {}",
                suspect.commit.short(),
                printable_line(&file),
                again(&suspect.job, &suspect.commit),
            ));
        }
    }
}
