//! The repository: who writes, where to, what stands in the way, and what is configured.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statvfs};

use crate::config::{self, ConfigFrom, JOBS_FILE, LoadError};
use crate::git::revs::RevError;
use crate::git::{Repo, identity, setting_scope};
use crate::settings::{self, Settings, SettingsError};
use crate::worktree::{IdleSlot, slots_on_disk, slow_reasons};

use super::{Findings, locks, machine, quote, with_causes};

/// Less free space than this is little.
const LITTLE: u64 = 1 << 30;

/// Less than this is none.
const NONE: u64 = 64 << 20;

/// Fewer free inodes than this are few.
const FEW_INODES: u64 = 10_000;

pub(super) fn check(repo: &Repo, findings: &mut Findings) {
    if identity(repo).is_err() {
        let message = "git does not know who you are, so no result can be recorded";
        let name = "git config --global user.name 'Your Name'";
        let email = "git config --global user.email you@example.com";
        findings.error("identity", message, &[name, email]);
    }
    check_settings(repo, findings);
    let settings = Settings::of(repo).ok();
    jobs(repo, settings.as_ref(), findings);
    kind(repo, findings);
    let mut places = vec![repo.common_dir().to_owned()];
    if let Some(settings) = &settings {
        places.push(nearest_existing(&settings.worktree_root));
        worktrees(repo, settings, findings);
    }
    for reason in slow_reasons(&repo.ci_dir()) {
        let message = format!(
            "git itself checks out each commit, which takes longer than it might: {reason}"
        );
        let trace = "GIT_CI_TRACE=1 git ci run --force  # says why at each";
        findings.info("checkouts", message, &[trace]);
    }
    disks(&places, findings);
    writable(repo, settings.as_ref(), findings);
    locks::check(repo, settings.as_ref(), findings);
    let refs = count_dirs(&repo.common_dir().join("refs"));
    machine::inotify(refs + 2, findings);
}

/// `--global` and the like for a `git config` that is to change a key where it is set.
fn scope_option(repo: &Repo, key: &str) -> &'static str {
    match setting_scope(repo, key).as_deref() {
        Some("global") => "--global ",
        Some("system") => "--system ",
        Some("worktree") => "--worktree ",
        _ => "",
    }
}

fn check_settings(repo: &Repo, findings: &mut Findings) {
    for problem in settings::problems(repo) {
        let fix = match &problem {
            SettingsError::Value { key, .. } | SettingsError::Limit { key, .. } => {
                format!("git config {}--unset-all {key}", scope_option(repo, key))
            }
            SettingsError::Host { key, .. } | SettingsError::Unit { key, .. } => {
                let scope = scope_option(repo, key);
                format!("git config {scope}--unset-all {}", quote(key))
            }
            SettingsError::NoHome => "git config ci.worktreeDir /path/to/a/directory".to_owned(),
        };
        findings.error("settings", with_causes(&problem), &[&fix]);
    }
    for (name, near) in settings::unknown_keys(repo) {
        let scope = scope_option(repo, &name);
        let unset = format!("git config {scope}--unset-all {}", quote(&name));
        let message = format!("there is no setting {name}");
        match near {
            Some(near) => {
                let value = quote(repo.config(&name).unwrap_or_default());
                let set = format!("git config {scope}{near} {value}");
                let message = format!("{message}; did you mean {near}?");
                findings.warning("settings", message, &[&set, &unset]);
            }
            None => findings.warning("settings", message, &[&unset]),
        }
    }
    if let Some(alias) = repo.config("alias.ci") {
        let message = format!(
            "alias.ci = {alias} has no effect while git-ci is on PATH: commands win over aliases"
        );
        let fix = format!("git config --global alias.c {}", quote(alias));
        findings.info("alias", message, &[&fix]);
    }
}

fn jobs(repo: &Repo, settings: Option<&Settings>, findings: &mut Findings) {
    let from = match settings {
        Some(settings) => settings.config_from.clone(),
        None if repo.is_bare() => ConfigFrom::Commit,
        None => ConfigFrom::Worktree,
    };
    let Err(error) = config::load(repo, &from) else {
        return;
    };
    let message = with_causes(&error);
    match error {
        LoadError::Missing(_) if from == ConfigFrom::Worktree => {
            findings.warning("jobs", message, &["git ci init"]);
        }
        LoadError::SkippedNeed { .. } | LoadError::Refs(_) => {}
        LoadError::NoWorkTree => {
            findings.warning("jobs", message, &["git ci run --config-from commit"]);
        }
        LoadError::Rev(RevError::Unborn) => findings.info("jobs", message, &[]),
        LoadError::Invalid(_) | LoadError::Read { .. } => {
            let path = repo
                .work_tree()
                .map_or_else(|| JOBS_FILE.into(), |top| top.join(JOBS_FILE));
            let fix = format!("$(git var GIT_EDITOR) {}", quote(path));
            findings.error("jobs", message, &[&fix]);
        }
        LoadError::Object { .. } => findings.error("jobs", message, &["git fsck"]),
        LoadError::Rev(_) => {
            findings.error("jobs", message, &["git config --unset-all ci.configFrom"]);
        }
        LoadError::Missing(_) | LoadError::NoSuchJob { .. } => {
            findings.warning("jobs", message, &["git ci init", "git add .git-ci.toml"]);
        }
    }
}

/// Kinds of repositories in which something is different.
fn kind(repo: &Repo, findings: &mut Findings) {
    if repo.is_shallow() {
        let message = "history is cut off: commits before that cannot be tested";
        findings.info("shallow", message, &["git fetch --unshallow"]);
    }
    if repo.is_partial() {
        let message = "this is a partial clone: git fetches what a commit lacks when it is tested";
        findings.info("partial", message, &["git fetch --refetch --no-filter"]);
    }
}

/// What is wrong with so much space and so many inodes, if anything.
fn shortage(free: u64, inodes: Option<u64>) -> Option<(bool, String)> {
    let mebibytes = free >> 20;
    match inodes {
        _ if free < NONE => Some((true, format!("only {mebibytes} MiB are free"))),
        _ if free < LITTLE => Some((false, format!("only {mebibytes} MiB are free"))),
        Some(inodes) if inodes < FEW_INODES => {
            Some((false, format!("only {inodes} more files can be made")))
        }
        _ => None,
    }
}

fn disks(places: &[PathBuf], findings: &mut Findings) {
    for place in places {
        let Ok(disk) = statvfs(place) else {
            continue;
        };
        // Some file systems have no fixed number of inodes, and say 0.
        let inodes = (disk.f_files > 0).then_some(disk.f_favail);
        if let Some((none, short)) = shortage(disk.f_bavail * disk.f_frsize, inodes) {
            let message = format!("{short} at {}", place.display());
            let fix = ["git ci gc", "git gc"];
            if none {
                findings.error("disk", message, &fix)
            } else {
                findings.warning("disk", message, &fix)
            }
        }
    }
}

fn writable(repo: &Repo, settings: Option<&Settings>, findings: &mut Findings) {
    let common = repo.common_dir();
    let mut places: Vec<_> = ["objects", "refs", "ci"]
        .iter()
        .map(|name| common.join(name))
        .collect();
    places.extend(settings.map(|settings| settings.worktree_root.clone()));
    let mut told = Vec::new();
    for place in places {
        let place = nearest_existing(&place);
        if let Err(error) = access(&place, Access::WRITE_OK | Access::EXEC_OK)
            && !told.contains(&place)
        {
            let message = format!("{} cannot be written to: {error}", place.display());
            let fix = match error {
                rustix::io::Errno::ROFS => {
                    format!("mount -o remount,rw {}", quote(mount_of(&place)))
                }
                _ => format!("chmod u+rwx {}", quote(&place)),
            };
            findings.error("writable", message, &[&fix]);
            told.push(place);
        }
    }
}

/// The top of the file system that `path` is on.
fn mount_of(path: &Path) -> PathBuf {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev()).ok();
    let own = device(path);
    let same = path.ancestors().take_while(|dir| device(dir) == own);
    same.last().unwrap_or(path).to_owned()
}

fn nearest_existing(path: &Path) -> PathBuf {
    let mut there = path.ancestors().filter(|dir| dir.exists());
    there.next().unwrap_or(path).to_owned()
}

fn worktrees(repo: &Repo, settings: &Settings, findings: &mut Findings) {
    let root = &settings.worktree_root;
    if let Some(top) = repo.work_tree()
        && (root.starts_with(top) || root.starts_with(repo.common_dir()))
    {
        let message = format!(
            "worktrees are inside the repository, at {}: tools that look upwards find your own files",
            root.display()
        );
        let fix = format!(
            "git config {}--unset-all ci.worktreeDir",
            scope_option(repo, "ci.worktreeDir")
        );
        findings.warning("worktrees", message, &[&fix]);
    }
    for slot in slots_on_disk(repo, root) {
        // Without a right to lock it nothing can be said; in use it is well.
        let Ok(Some(idle)) = IdleSlot::look(&repo.ci_dir(), root, slot) else {
            continue;
        };
        let path = idle.path.display();
        if idle.is_foreign(repo) {
            let message = format!("{path} is a worktree of another repository");
            findings.warning(
                "worktrees",
                message,
                &["git config --unset-all ci.worktreeDir"],
            );
        } else if !idle.path.exists() {
            let message =
                format!("{path} is gone, and git has it on its books, from an older version");
            findings.warning("worktrees", message, &["git ci gc"]);
        } else if idle.is_abandoned() {
            let message =
                format!("{path} is no slot, or no more: the next task there makes it anew");
            findings.warning("worktrees", message, &["git ci gc"]);
        }
    }
}

fn count_dirs(dir: &Path) -> u64 {
    let mut count = 1;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            count += count_dirs(&entry.path());
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_and_inodes_are_short_below_their_limits() {
        assert_eq!(shortage(LITTLE, None), None);
        assert_eq!(shortage(LITTLE, Some(FEW_INODES)), None);
        assert!(!shortage(LITTLE - 1, None).unwrap().0);
        assert!(shortage(NONE - 1, None).unwrap().0);
        let few = shortage(u64::MAX, Some(3)).unwrap();
        assert_eq!(few, (false, "only 3 more files can be made".to_owned()));
    }
}
