//! git and the machine, whatever the repository.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, getrlimit};

use crate::git::{Git, GitError, Version};
use crate::process;

use super::{Findings, with_causes};

/// What a newer git does better, oldest first.
const BETTER: [(Version, &str); 3] = [
    (
        Version(2, 34),
        "one process moves the notes ref for a whole run",
    ),
    (
        Version(2, 36),
        "refs and packs are synced to the disk before a result is reported",
    ),
    (Version(2, 45), "refs may be kept as a reftable"),
];

/// Fewer open files than this do not do for many slots.
const FILES: u64 = 256;

/// Fewer processes than this do not do for builds.
const PROCESSES: u64 = 256;

pub(super) fn check(findings: &mut Findings, has_page: impl Fn() -> bool) {
    check_git(findings);
    if let Err(error) = process::become_subreaper() {
        let message = format!(
            "this system has no child subreapers, so what a job leaves running cannot be ended: {error}"
        );
        findings.error(
            "subreaper",
            message,
            &["uname -sr  # Linux 3.4 or newer is needed"],
        );
    }
    if !Path::new("/proc/self/stat").exists() {
        let message = "/proc is not mounted, so processes of jobs cannot be found";
        findings.error("proc", message, &["mount -t proc proc /proc"]);
    }
    limits(findings);
    manual(findings, has_page);
}

fn check_git(findings: &mut Findings) {
    match Git::find() {
        Ok(git) => {
            let missing: Vec<_> = BETTER
                .iter()
                .filter(|(version, _)| git.version() < *version)
                .map(|(version, what)| format!("from {version} {what}"))
                .collect();
            if !missing.is_empty() {
                let message = format!("git {} works; {}", git.version(), missing.join("; "));
                findings.info("git", message, &[]);
            }
        }
        Err(error @ GitError::NotFound(_)) => {
            let message = with_causes(&error);
            findings.error(
                "git",
                message,
                &["apt-get install git  # or your system's way"],
            );
        }
        Err(error) => {
            let message = with_causes(&error);
            findings.error("git", message, &["git version", "apt-get install git"]);
        }
    }
}

fn limits(findings: &mut Findings) {
    let files = getrlimit(Resource::Nofile).current;
    if files.is_some_and(|limit| limit < FILES) {
        let message = format!("only {} files may be open at once", files.unwrap_or(0));
        findings.warning("limits", message, &["ulimit -n 1024"]);
    }
    let processes = getrlimit(Resource::Nproc).current;
    if processes.is_some_and(|limit| limit < PROCESSES) {
        let message = format!("only {} processes may run at once", processes.unwrap_or(0));
        findings.warning("limits", message, &["ulimit -u 4096"]);
    }
}

/// Whether `watch` gets the events it needs: one watch for each of `needed` directories,
/// and an instance to put them in.
pub(super) fn inotify(needed: u64, findings: &mut Findings) {
    let read = |name: &str| -> Option<u64> {
        let path = format!("/proc/sys/fs/inotify/{name}");
        fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    let (Some(watches), Some(instances)) = (read("max_user_watches"), read("max_user_instances"))
    else {
        let message = "there is no inotify here: `git ci watch` polls";
        return findings.info("inotify", message, &[]);
    };
    if watches < needed.saturating_mul(2) {
        let message = format!(
            "inotify may watch {watches} directories, and refs alone have {needed}: \
             `git ci watch` may have to poll"
        );
        let fix = format!(
            "sysctl fs.inotify.max_user_watches={}",
            (needed * 4).max(65_536)
        );
        findings.warning("inotify", message, &[&fix]);
    }
    let used = instances_used();
    if used >= instances {
        let message =
            format!("all {instances} inotify instances are in use: `git ci watch` has to poll");
        let fix = format!(
            "sysctl fs.inotify.max_user_instances={}",
            instances.max(64) * 2
        );
        findings.warning("inotify", message, &[&fix]);
    }
}

/// How many inotify instances this user's processes have.
fn instances_used() -> u64 {
    let mut used = 0;
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        // Others' cannot be read, and count for them.
        for file in fs::read_dir(process.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let target = fs::read_link(file.path()).unwrap_or_default();
            used += u64::from(target == Path::new("anon_inode:inotify"));
        }
    }
    used
}

/// Whether `git ci --help` finds a page: git hands that to man(1).
fn manual(findings: &mut Findings, has_page: impl Fn() -> bool) {
    let (true, Ok(program)) = (which::which("man").is_ok(), std::env::current_exe()) else {
        return;
    };
    if has_page() {
        return;
    }
    let prefix = program.parent().and_then(Path::parent);
    let dir = prefix.unwrap_or(Path::new("/usr/local")).join("share/man");
    let install = ["1", "5", "7"].map(|section| {
        let dir = dir.join(format!("man{section}"));
        let dir = dir.to_string_lossy();
        let dir = shell_words::quote(&dir);
        format!("install -Dm644 -t {dir} man/*.{section}  # in a checkout of git-ci")
    });
    findings.info(
        "manual",
        "`git ci --help` has no page to open: man(1) does not find git-ci",
        &install.each_ref().map(String::as_str),
    );
}
