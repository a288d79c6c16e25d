//! Lock files that processes left which died, told from those of processes at work.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::git::Repo;
use crate::settings::{self, Settings};

use super::{Findings, quote};

/// A lock younger than this may be that of a process at work.
const LOCK_AGE: Duration = Duration::from_secs(60);

/// The unit of times in `/proc/PID/stat`: `USER_HZ`, 100 wherever we run.
const TICKS: f64 = 100.0;

pub(super) fn check(repo: &Repo, settings: Option<&Settings>, findings: &mut Findings) {
    let common = repo.common_dir();
    let notes_ref = settings.map_or(settings::NOTES_REF, |settings| &settings.notes_ref);
    let mut files: Vec<PathBuf> = ["packed-refs.lock", "config.lock", "shallow.lock"]
        .iter()
        .map(|name| common.join(name))
        .collect();
    files.push(common.join(format!("{notes_ref}.lock")));
    files.push(common.join("objects/maintenance.lock"));
    for file in files {
        let written = fs::symlink_metadata(&file).and_then(|meta| meta.modified());
        let Some(age) = written.ok().and_then(|at| at.elapsed().ok()) else {
            continue;
        };
        if age < LOCK_AGE {
            continue;
        }
        let mut dirs = vec![common];
        dirs.extend(repo.work_tree());
        dirs.extend(settings.map(|settings| settings.worktree_root.as_path()));
        let owners = git_processes(&dirs, age);
        let message = format!("{} is {} minutes old", file.display(), age.as_secs() / 60);
        match owners.first() {
            Some(pid) => {
                let message = format!("{message}; git process {pid} works here and may own it");
                findings.info("lock", message, &[&format!("ps -fp {pid}")]);
            }
            None => {
                let message = format!("{message}, and no git process works here");
                findings.warning("lock", message, &[&format!("rm {}", quote(&file))]);
            }
        }
    }
}

/// Processes named like git that work below one of `dirs` and are there for so long, as
/// whoever made a lock that is so old must be. What started us is none of them: `git ci`
/// is a process of git itself.
fn git_processes(dirs: &[&Path], age: Duration) -> Vec<u32> {
    let own = ancestors();
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let path = process.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(pid) = name.and_then(|name| name.parse().ok()) else {
            continue;
        };
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        let cwd = fs::read_link(path.join("cwd")).unwrap_or_default();
        let is_git =
            name.trim() == "git" || name.starts_with("git-") && !name.starts_with("git-ci");
        let works_here = dirs.iter().any(|dir| cwd.starts_with(dir));
        // Whose age cannot be told may own it.
        let is_young = age_of(pid).is_some_and(|of_process| of_process < age);
        if is_git && works_here && !is_young && !own.contains(&pid) {
            found.push(pid);
        }
    }
    found
}

/// Our own process and those that it descends from.
fn ancestors() -> Vec<u32> {
    let mut found = vec![std::process::id()];
    // It changes while it is read, and must not be followed in a circle.
    while let Some(&last) = found.last()
        && let Some(parent) = stat(last).and_then(|stat| stat.get(1)?.parse().ok())
        && !found.contains(&parent)
    {
        found.push(parent);
    }
    found
}

/// How long a process has been there.
fn age_of(pid: u32) -> Option<Duration> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    let start: f64 = stat(pid)?.get(19)?.parse().ok()?;
    Duration::try_from_secs_f64(uptime - start / TICKS).ok()
}

/// The words of `/proc/PID/stat` from the state on, behind the name of the program.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}
