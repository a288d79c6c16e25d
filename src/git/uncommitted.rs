//! What of the user's work tree is not committed, and so not tested by a run of what is.
//!
//! git itself looks, in the background and without locks: where the work tree is large that
//! takes a while, for which no run waits. Its answer counts only where it comes in time.

use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};
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
        let top = repo.work_tree()?;
        let mut status = repo.git().command();
        status
            .arg("--git-dir")
            .arg(repo.git_dir())
            .arg("--work-tree")
            .arg(top)
            // Nothing is to stay behind.
            .args(["-c", "core.fsmonitor=false"])
            .args(["status", "--porcelain=v1", "-z"])
            .current_dir(top)
            // With the filters that it may start.
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut git = status.spawn().ok()?;
        let output = git.stdout.take()?;
        let (sender, found) = mpsc::channel();
        let counting = std::thread::Builder::new().spawn(move || {
            if let Ok(count) = count(output) {
                let _ = sender.send(count);
            }
        });
        // Where there is no thread there is no answer, either.
        drop(counting);
        Some(Self { git, found })
    }

    /// What was found; `None` where that takes longer than `patience`, or git failed.
    pub fn finish(mut self, patience: Duration) -> Option<Uncommitted> {
        let found = self.found.recv_timeout(patience).ok()?;
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

/// Counts the entries of `git status --porcelain=v1 -z`.
fn count(output: impl Read) -> std::io::Result<Uncommitted> {
    let mut found = Uncommitted::default();
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
            _ => found.changed += 1,
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_counted_whatever_paths_are() {
        let said = b" M a\0R  new\0?? old\0?? x y\0?? .git-ci.toml\0 M .git-ci.toml\0UU both\0\
                     ?? \xff\0A  d/.git-ci.toml\0";
        let found = count(&said[..]).unwrap();
        assert_eq!((found.changed, found.untracked), (4, 2));
        assert_eq!(count(&b""[..]).unwrap(), Uncommitted::default());
    }
}
