//! What of the user's work tree is not committed, and so not tested by a run of what is.
//!
//! git itself looks, in the background and without locks: where the work tree is large that
//! takes a while, for which no run waits. Its answer counts only where it comes in time.

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::Repo;
use crate::model::Uncommitted;

/// The jobs file of the work tree counts whether it is committed or not.
const USED: &[u8] = b".git-ci.toml";

/// A look at the work tree that is under way; dropped, it ends.
#[derive(Debug)]
pub struct Look {
    git: Child,
    found: Receiver<Uncommitted>,
}

impl Look {
    /// Begins to look; `None` where there is no work tree, or git cannot be started.
    pub fn begin(repo: &Repo) -> Option<Self> {
        let top = repo.work_tree()?.to_owned();
        let git_dir = repo.git_dir().to_owned();
        let filters = filters(repo);
        let (git, has_filters) = (repo.git().clone(), !filters.is_empty());
        let command = move || {
            let mut command = git.command();
            // Nothing is to stay behind, and no filter is to run: git-lfs writes into the
            // repository whenever it does.
            let off = [("clean", ""), ("process", ""), ("required", "false")];
            let off = filters.iter().flat_map(|name| {
                off.map(|(variable, value)| (format!("filter.{name}.{variable}"), value))
            });
            let off = off.chain([("core.fsmonitor".to_owned(), "false")]);
            let mut count = 0;
            for (key, value) in off {
                command
                    .env(format!("GIT_CONFIG_KEY_{count}"), key)
                    .env(format!("GIT_CONFIG_VALUE_{count}"), value);
                count += 1;
            }
            command
                .env("GIT_CONFIG_COUNT", count.to_string())
                .arg("--git-dir")
                .arg(&git_dir)
                .arg("--work-tree")
                .arg(&top)
                .current_dir(&top)
                .stderr(Stdio::null())
                .process_group(0);
            command
        };
        let mut status = command();
        status
            .args(["status", "--porcelain=v1", "-z"])
            .stdout(Stdio::piped());
        let mut git = status.spawn().ok()?;
        let output = git.stdout.take()?;
        let (sender, found) = mpsc::channel();
        let counting = std::thread::Builder::new().spawn(move || {
            let found = read(output).and_then(|mut entries| {
                if has_filters && !entries.changed.is_empty() {
                    leave_out_filtered(&mut entries, command())?;
                }
                Ok(entries.count())
            });
            if let Ok(found) = found {
                let _ = sender.send(found);
            }
        });
        // Where there is no thread there is no answer, either.
        drop(counting);
        Some(Self { git, found })
    }

    /// What was found; `None` where that takes longer than `timeout`, or git failed.
    pub fn finish(mut self, timeout: Duration) -> Option<Uncommitted> {
        let found = self.found.recv_timeout(timeout).ok()?;
        // It has said all, and ends now.
        let ended = self.git.wait();
        ended.ok()?.success().then_some(found)
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        // Until it was waited for its number is nobody else's.
        if let Ok(None) = self.git.try_wait() {
            let _ = kill_process_group(Pid::from_child(&self.git), Signal::KILL);
        }
        let _ = self.git.wait();
    }
}

/// The names of the filters that are configured.
fn filters(repo: &Repo) -> BTreeSet<String> {
    let keys = repo.config_entries().filter_map(|(key, _)| {
        let (name, _) = key.strip_prefix("filter.")?.rsplit_once('.')?;
        Some(name.to_owned())
    });
    keys.collect()
}

/// What `git status` said.
#[derive(Debug, Default)]
struct Entries {
    changed: Vec<Vec<u8>>,
    untracked: u64,
}

impl Entries {
    fn count(&self) -> Uncommitted {
        Uncommitted {
            changed: self.changed.len() as u64,
            untracked: self.untracked,
        }
    }
}

/// Reads the entries of `git status --porcelain=v1 -z`.
fn read(output: impl Read) -> io::Result<Entries> {
    let mut found = Entries::default();
    let mut entries = BufReader::new(output).split(0);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let (state, path) = entry.split_at(entry.len().min(3));
        if state[..state.len().min(2)]
            .iter()
            .any(|&one| b"RC".contains(&one))
        {
            // Another entry says where it was.
            entries.next().transpose()?;
        }
        match state {
            _ if path == USED => {}
            b"?? " => found.untracked += 1,
            _ => found.changed.push(path.to_owned()),
        }
    }
    Ok(found)
}

/// Leaves out what a filter makes: without it, it looks changed.
fn leave_out_filtered(entries: &mut Entries, mut check: Command) -> io::Result<()> {
    let mut git = check
        .args(["check-attr", "-z", "--stdin", "filter"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let paths = entries.changed.join(&0);
    let writing = git.stdin.take().map(|mut stdin| {
        std::thread::Builder::new().spawn(move || {
            let _ = stdin.write_all(&paths);
            let _ = stdin.write_all(&[0]);
        })
    });
    writing.transpose()?;
    let said = git.wait_with_output()?.stdout;
    let fields: Vec<_> = said.split(|&byte| byte == 0).collect();
    let filtered: BTreeSet<_> = fields
        .chunks_exact(3)
        .filter(|answer| !matches!(answer[2], b"unspecified" | b"unset"))
        .map(|answer| answer[0])
        .collect();
    entries
        .changed
        .retain(|path| !filtered.contains(path.as_slice()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_counted_whatever_paths_are() {
        let said = b" M a\0R  new\0?? old\0?? x y\0?? .git-ci.toml\0 M .git-ci.toml\0UU both\0\
                     ?? \xff\0A  d/.git-ci.toml\0";
        let found = read(&said[..]).unwrap().count();
        assert_eq!((found.changed, found.untracked), (4, 2));
        assert_eq!(read(&b""[..]).unwrap().count(), Uncommitted::default());
    }
}
