//! Which commits the branches reach that somebody names by patterns.

use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};

use crate::model::{Commit, Oid, RefName, glob};

use super::history::{History, SLOP};
use super::queries;
use super::refs::{RefError, RefReader, Wanted};
use super::repo::Repo;

/// Where branches are.
const HEADS: &[u8] = b"refs/heads/";

/// Where those of remotes are.
const REMOTES: &[u8] = b"refs/remotes/";

/// The branches of one repository, local and of remotes, and what they reach.
pub struct Branches<'a> {
    repo: &'a Repo,
    history: History,
    refs: Option<BTreeMap<RefName, Oid>>,
    walks: HashMap<Vec<String>, Walk>,
}

impl<'a> Branches<'a> {
    /// Those of `repo`, which are read when they are asked for first.
    pub fn new(repo: &'a Repo) -> Self {
        Self {
            repo,
            history: History::new(repo),
            refs: None,
            walks: HashMap::new(),
        }
    }

    /// Has them read again.
    pub fn refresh(&mut self) {
        self.refs = None;
        self.walks.clear();
    }

    /// Whether a branch whose name one of `patterns` matches reaches a commit: a local one, or
    /// one of a remote, without the remote's name. What is not committed yet is on the branch
    /// that is checked out.
    ///
    /// # Errors
    /// Where the refs cannot be read.
    pub fn reach(&mut self, patterns: &[String], commit: &Commit) -> Result<bool, RefError> {
        if commit.snapshot.is_some() {
            let head = queries::branch(self.repo);
            return Ok(head.is_some_and(|name| is_named(&name, patterns)));
        }
        let refs = match &mut self.refs {
            Some(refs) => refs,
            refs => {
                let dirs = vec![HEADS.to_vec(), REMOTES.to_vec()];
                let wanted = Wanted { dirs, head: false };
                refs.insert(RefReader::new(self.repo).read(&wanted)?)
            }
        };
        let walk = match self.walks.get_mut(patterns) {
            Some(walk) => walk,
            None => {
                let mut walk = Walk::default();
                let named = refs.iter().filter(|(name, _)| is_named(name, patterns));
                for (_, tip) in named {
                    walk.push(&mut self.history, tip);
                }
                self.walks.entry(patterns.to_vec()).or_insert(walk)
            }
        };
        Ok(walk.reaches(&mut self.history, commit))
    }
}

/// Whether one of `patterns` matches the name of a branch.
pub fn is_named(name: &RefName, patterns: &[String]) -> bool {
    let name = name.as_bytes();
    let local = name.strip_prefix(HEADS);
    let of_remote = || {
        let rest = name.strip_prefix(REMOTES)?;
        let slash = rest.iter().position(|&byte| byte == b'/')?;
        Some(&rest[slash + 1..])
    };
    let Some(name) = local.or_else(of_remote) else {
        return false;
    };
    patterns
        .iter()
        .any(|pattern| glob(pattern.as_bytes(), name))
}

/// A walk from some branches, newest first, as far as it was asked for.
#[derive(Default)]
struct Walk {
    queue: BinaryHeap<(i64, Oid)>,
    /// What was in the queue.
    met: HashSet<Oid>,
}

impl Walk {
    fn push(&mut self, history: &mut History, id: &Oid) {
        // What cannot be read reaches nothing.
        if let Ok(Some(id)) = history.peel(id)
            && let Some((time, _)) = history.place(&id)
            && self.met.insert(id)
        {
            self.queue.push((time, id));
        }
    }

    /// Goes on until the commit was met, or everything left is older.
    fn reaches(&mut self, history: &mut History, commit: &Commit) -> bool {
        let mut slop = SLOP;
        while !self.met.contains(&commit.id) {
            let Some((time, _)) = self.queue.peek() else {
                return false;
            };
            if *time < commit.time {
                // Clocks differ.
                if slop == 0 {
                    return false;
                }
                slop -= 1;
            }
            let Some((_, id)) = self.queue.pop() else {
                return false;
            };
            let parents = history.place(&id).map(|(_, parents)| parents);
            for parent in parents.iter().flat_map(|parents| parents.iter()) {
                self.push(history, parent);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_of_names_without_what_is_before_them() {
        let name = |text: &str| RefName::parse(text.as_bytes()).unwrap();
        let patterns = ["main".to_owned(), "release/*".to_owned()];
        for (text, expected) in [
            ("refs/heads/main", true),
            ("refs/heads/maintenance", false),
            ("refs/heads/release/1.0", true),
            ("refs/remotes/origin/main", true),
            ("refs/remotes/main/x", false),
            ("refs/tags/main", false),
        ] {
            assert_eq!(is_named(&name(text), &patterns), expected, "{text}");
        }
    }
}
