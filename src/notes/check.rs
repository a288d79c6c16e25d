//! Whether notes are whole: the quick look that each start takes, and the search for the
//! newest ones that were.
//!
//! What a power cut or somebody's prune takes are the objects of the latest batches. So
//! the quick look is at those; it costs a fraction of a millisecond.

use std::collections::{BinaryHeap, HashSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use gix::ObjectId;
use gix::objs::CommitRefIter;

use super::commit::{is_ours, parents};
use super::read::{Reader, TreeError, changes, tree_of};
use crate::git::Repo;
use crate::git::objects::from_gix;
use crate::git::reading::Objects;
use crate::git::ref_writer::read_ref;
use crate::model::Oid;

/// So many notes that the newest batch has changed are looked for.
const MOST: usize = 1000;

/// So many commits are looked at for the last one that was whole.
const MOST_COMMITS: usize = 20_000;

/// No longer than this.
const SEARCH: Duration = Duration::from_secs(60);

/// Looks for the objects that the newest batch of the notes at `tip` brought.
///
/// # Errors
/// Where one is missing, or cannot be read.
pub(super) fn check_newest(objects: &Objects, tip: ObjectId) -> Result<(), TreeError> {
    let root = tree_of(objects, tip)?;
    let listing = Reader::new(objects).listing(root, &[])?;
    if objects.may_be_promised() {
        return Ok(());
    }
    for (_, dir) in listing.dirs {
        expect(objects, dir)?;
    }
    // Where there is nothing behind it, there is nothing to compare with.
    let before = parents(objects, tip).first().copied();
    let Some(before) = before.and_then(|parent| tree_of(objects, parent).ok()) else {
        return Ok(());
    };
    let changed = match changes(objects, Some(before), root) {
        Ok(changed) => changed,
        // It may be the older notes that are damaged.
        Err(_) => changes(objects, None, root)?,
    };
    for (_, blobs) in changed.into_iter().take(MOST) {
        for blob in blobs {
            expect(objects, blob)?;
        }
    }
    Ok(())
}

fn expect(objects: &Objects, id: ObjectId) -> Result<(), TreeError> {
    if objects.has(id) {
        Ok(())
    } else {
        objects
            .find_object(id)
            .map(drop)
            .map_err(|error| TreeError::read(id, error))
    }
}

/// What mends notes that are not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing: they are whole.
    NotNeeded,
    /// A commit with whole notes and a whole history, to set the ref to.
    Tip(Oid),
    /// A commit with whole notes and a history that is not: a new one with its tree.
    TreeOf(Oid),
    /// No whole notes were found.
    None,
}

/// Looks for the newest notes that are whole: in the history of the ref, in its reflog,
/// and among all commits that git-ci has made and that are there still. May take a while
/// where notes are many.
pub fn find_remedy(repo: &Repo, notes_ref: &str) -> Remedy {
    let objects = repo.objects();
    let tip = read_ref(&objects, notes_ref).ok().flatten();
    let mut search = Search {
        repo,
        objects: &objects,
        heap: BinaryHeap::new(),
        seen: HashSet::new(),
        whole: HashSet::new(),
        end: Instant::now() + SEARCH,
    };
    if let Some(tip) = tip.filter(|tip| search.has_whole_notes(*tip)) {
        return if search.has_history(tip) {
            Remedy::NotNeeded
        } else {
            Remedy::TreeOf(from_gix(&tip))
        };
    }
    for id in tip.into_iter().chain(reflog(repo, notes_ref)) {
        search.add(id);
    }
    let mut found = search.newest();
    if found.is_none() {
        search.add_lost();
        found = search.newest();
    }
    match found {
        Some(found) if search.has_history(found) => Remedy::Tip(from_gix(&found)),
        Some(found) => Remedy::TreeOf(from_gix(&found)),
        None => Remedy::None,
    }
}

/// What the ref was at, newest first, as far as its log tells.
fn reflog(repo: &Repo, notes_ref: &str) -> Vec<ObjectId> {
    let path = repo.common_dir().join("logs").join(notes_ref);
    let log = fs::read(path).unwrap_or_default();
    let lines = log.split(|&byte| byte == b'\n').rev().take(MOST_COMMITS);
    let ids = lines.flat_map(|line| {
        let mut words = line.split(|&byte| byte == b' ');
        let ids = [words.next(), words.next()];
        ids.into_iter().flatten().rev()
    });
    ids.filter_map(|id| ObjectId::from_hex(id).ok()).collect()
}

struct Search<'r> {
    repo: &'r Repo,
    objects: &'r Objects,
    /// What to look at, the newest on top.
    heap: BinaryHeap<(i64, ObjectId)>,
    seen: HashSet<ObjectId>,
    /// Trees and notes that are there.
    whole: HashSet<ObjectId>,
    end: Instant,
}

impl Search<'_> {
    fn add(&mut self, commit: ObjectId) {
        if self.seen.len() >= MOST_COMMITS || !self.seen.insert(commit) {
            return;
        }
        let Ok(found) = self.objects.find_object(commit) else {
            return;
        };
        if found.kind.is_commit() {
            let iter = CommitRefIter::from_bytes(&found.data, commit.kind());
            let time = iter.committer().ok().and_then(|who| who.time().ok());
            let time = time.map_or(0, |time| time.seconds);
            self.heap.push((time, commit));
        }
    }

    /// Adds every commit that has the message of ours, reachable or not.
    fn add_lost(&mut self) {
        let mut command = self.repo.git_command();
        command
            .args(["cat-file", "--batch-all-objects", "--unordered"])
            .arg("--batch-check=%(objecttype) %(objectname)")
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let Ok(mut child) = command.spawn() else {
            return;
        };
        let lines = child.stdout.take().map(|out| BufReader::new(out).lines());
        for line in lines.into_iter().flatten().map_while(Result::ok) {
            if Instant::now() > self.end {
                break;
            }
            let id = line.strip_prefix("commit ");
            let id = id.and_then(|id| ObjectId::from_hex(id.as_bytes()).ok());
            if let Some(id) = id.filter(|id| is_ours(self.objects, *id)) {
                self.add(id);
            }
        }
        // It may still write what nobody reads.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// The newest commit whose notes are whole.
    fn newest(&mut self) -> Option<ObjectId> {
        while let Some((_, commit)) = self.heap.pop() {
            if Instant::now() > self.end {
                return None;
            }
            if self.has_whole_notes(commit) {
                return Some(commit);
            }
            for parent in parents(self.objects, commit) {
                self.add(parent);
            }
        }
        None
    }

    fn has_whole_notes(&mut self, tip: ObjectId) -> bool {
        tree_of(self.objects, tip).is_ok_and(|root| self.is_whole(root, &mut Vec::new()))
    }

    fn is_whole(&mut self, tree: ObjectId, prefix: &mut Vec<u8>) -> bool {
        if self.whole.contains(&tree) {
            return true;
        }
        // Each by itself: the same directory may be that of many commits.
        let Ok(listing) = Reader::new(self.objects).listing(tree, prefix) else {
            return false;
        };
        for (_, blob) in listing.notes {
            if !self.whole.contains(&blob) {
                if !self.objects.has(blob) && !self.objects.may_be_promised() {
                    return false;
                }
                self.whole.insert(blob);
            }
        }
        for (byte, dir) in listing.dirs {
            prefix.push(byte);
            let is_whole = self.is_whole(dir, prefix);
            prefix.pop();
            if !is_whole {
                return false;
            }
        }
        self.whole.insert(tree);
        true
    }

    /// Whether git finds all that is reachable from a commit, as a gc or a push needs it.
    fn has_history(&self, commit: ObjectId) -> bool {
        let mut command = self.repo.git_command();
        command.args(["rev-list", "--objects", "--quiet"]);
        if self.repo.is_partial() {
            command.arg("--exclude-promisor-objects");
        }
        let walked = self.repo.git().output(command.arg(commit.to_string()));
        walked.is_ok()
    }
}
