//! A starter jobs file that fits what a project looks like.
//!
//! What it writes has to pass on a fresh clone, and has to test *the commit's* files: so
//! dependencies are installed into the worktree that the job runs in, never taken from
//! an environment that points at the user's own checkout; tools that repair instead of
//! complaining are told not to; and an installation is a set-up, so that it is done again only
//! where it must be, and is no verdict where it fails: that says nothing about the commit.
//!
//! Only what the project itself shows becomes a job: a lint that it has no settings for
//! would fail on the first run and say nothing. What may run the same again, or needs a
//! decision, is there as a comment.
//!
//! | File | What it is for |
//! |---|---|
//! | `project` | the files of a fresh clone |
//! | `job` | one suggested job, and how it is written down |
//! | `rust`, `node`, `python`, `java`, `native`, `others` | what each ecosystem shows |
//! | `import`, `imported`, `github`, `gitlab` | jobs taken over from another CI's configuration |
//!
//! Nothing here runs anything, and nothing knows git: which files there are is told.

mod github;
mod gitlab;
mod import;
mod imported;
mod java;
mod job;
mod native;
mod node;
mod others;
mod project;
mod python;
mod rust;

use std::collections::BTreeSet;
use std::fmt::Write as _;

pub(crate) use import::{Import, sources};
pub(crate) use project::Project;

use job::Kind;
use project::Dir;

/// A jobs file that somebody may begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Starter {
    /// The text of the file.
    pub text: String,
    /// What was recognised, for people: `Cargo`, `npm in web`.
    pub kinds: Vec<String>,
    /// The names of the jobs in it.
    pub jobs: Vec<String>,
}

const EXAMPLE: &str = r#"
# Nothing that git-ci knows was found here. An example to begin with:
#
# [jobs.test]
# run = "./run-tests"          # a string goes to `sh -c`; a list is executed as it is
# timeout = "10m"              # then SIGTERM, and SIGKILL after `grace`
#
# [jobs.lint]
# run = ["./lint", "--strict"]
# env = { LANG = "C.UTF-8" }
# allow-failure = true         # recorded, and does not count
"#;

/// More directories of a monorepo than this are left to their owners.
const MOST_DIRECTORIES: usize = 12;

/// Directories whose manifests are no part of the project's own build.
const NOT_OWN: [&str; 22] = [
    "node_modules",
    "vendor",
    "vendored",
    "third_party",
    "third-party",
    "external",
    "deps",
    "examples",
    "example",
    "samples",
    "fixtures",
    "testdata",
    "tests",
    "test",
    "benches",
    "templates",
    "docs",
    "doc",
    "support",
    "contrib",
    "packaging",
    "pkg",
];

/// Looks at the top of a project, and at its directories for what the top does not cover.
/// `branch` is what its main branch is called.
pub(crate) fn starter(project: &Project, branch: &str) -> Starter {
    let mut found: Vec<(String, Kind)> = kinds(&project.top())
        .into_iter()
        .map(|kind| (String::new(), kind))
        .collect();
    let own = found.iter().any(|(_, kind)| !kind.wrapper);
    let mut below = BTreeSet::new();
    for dir in project.directories(2) {
        let parts: Vec<_> = dir.split('/').collect();
        let foreign = |part: &&&str| part.starts_with('.') || NOT_OWN.contains(*part);
        if parts.iter().find(foreign).is_some() || below.len() >= MOST_DIRECTORIES {
            continue;
        }
        for kind in kinds(&project.dir(&dir)) {
            let covered = found.iter().any(|(of, other)| {
                let above = of.is_empty() || dir == *of || dir.starts_with(&format!("{of}/"));
                above && (other.covers(&kind) || kind.wrapper)
            });
            if !(covered || kind.wrapper && own) {
                below.insert(dir.clone());
                found.push((dir.clone(), kind));
            }
        }
    }
    write(found, branch)
}

/// What there is in one directory.
fn kinds(dir: &Dir<'_>) -> Vec<Kind> {
    let all: [fn(&Dir<'_>) -> Option<Kind>; 17] = [
        rust::cargo,
        node::node,
        node::deno,
        others::go,
        java::maven,
        java::gradle,
        python::python,
        others::ruby,
        others::php,
        others::dotnet,
        native::cmake,
        native::meson,
        native::autotools,
        others::pre_commit,
        others::swift,
        native::just,
        native::make,
    ];
    let mut kinds: Vec<Kind> = all.iter().filter_map(|look| look(dir)).collect();
    // Where a project has several build systems for one thing the first is enough.
    let native = ["CMake", "Meson", "autotools"];
    let mut seen = false;
    kinds.retain(|kind| {
        let one = native.contains(&kind.label);
        !one || !std::mem::replace(&mut seen, true)
    });
    kinds
}

fn header(branch: &str) -> String {
    format!(
        "\
# Jobs for git-ci: what has to pass on each commit. See git-ci(1).
#
# `git ci run --dry-run` shows what would run, `git ci run` runs it on HEAD,
# and `git ci run {branch}..` on every commit of a branch.
"
    )
}

fn write(found: Vec<(String, Kind)>, branch: &str) -> Starter {
    let own = found.iter().filter(|(_, kind)| !kind.wrapper).count();
    let mut starter = Starter {
        text: header(branch),
        kinds: Vec::new(),
        jobs: Vec::new(),
    };
    let (mut used, mut used_setups) = (BTreeSet::new(), BTreeSet::new());
    for (dir, kind) in &found {
        starter.kinds.push(match dir.as_str() {
            "" => kind.label.to_owned(),
            dir => format!("{} in {dir}", kind.label),
        });
        let active = own == 0 || !kind.wrapper;
        if !active {
            let label = kind.label;
            let _ = write!(
                starter.text,
                "\n# What {label} has, which may run the same as above:\n#"
            );
        }
        let mut setups: Vec<(&job::SetUp, String)> = Vec::new();
        for job in &kind.jobs {
            let prefixed = own > 1 || !active || !dir.is_empty();
            let prefix = if dir.is_empty() { kind.prefix } else { dir };
            let wish = if prefixed && kind.prefix != job.name {
                format!("{prefix}-{}", job.name)
            } else {
                job.name.clone()
            };
            let name = job::unique(&wish, &mut used);
            let active = active && !job.asleep;
            starter.text.push('\n');
            let mut known = setups.iter();
            let setup = match (
                &job.setup,
                known.find(|(one, _)| Some(*one) == job.setup.as_ref()),
            ) {
                (None, _) => None,
                (Some(_), Some((_, name))) => Some(name.clone()),
                (Some(setup), None) => {
                    let wish = match dir.as_str() {
                        "" => setup.name.to_owned(),
                        dir => format!("{dir}-{}", setup.name),
                    };
                    let name = job::unique(&wish, &mut used_setups);
                    starter.text += &setup.written(&name, dir, active);
                    starter.text.push('\n');
                    setups.push((setup, name.clone()));
                    Some(name)
                }
            };
            starter.text += &job.written(&name, setup.as_deref(), dir, active);
            if active {
                starter.jobs.push(name);
            }
        }
    }
    if starter.jobs.is_empty() {
        starter.text += EXAMPLE;
    }
    starter
}

#[cfg(test)]
mod tests;
