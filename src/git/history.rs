//! What is reachable from some commits and not from others, in process.
//!
//! The walk goes by time, newest first, and paints as `git rev-list` does: with a few
//! commits more than the clock says are enough, since clocks lie. What it has learnt
//! about commits is kept, so that the next walk over the same part is a matter of
//! microseconds.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use gix::ObjectId;

use super::commit_object::{self, CommitObject};
use super::objects::from_gix;
use super::reading::Objects;
use super::repo::Repo;
use crate::model::{Commit, Oid};

/// So many commits that are older than all that was found are looked at, in case a
/// clock was wrong; git takes as many.
pub(super) const SLOP: u32 = 5;

/// More commits than this are not kept in mind, about 8 MB.
const MOST_KEPT: usize = 50_000;

/// No more commits than this are looked at for what is only shown.
const MOST_LOOKED_AT: usize = 20_000;

/// A commit that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("read commit {id}")]
pub struct HistoryError {
    id: Oid,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// What a walk needs of a commit.
#[derive(Debug, Clone)]
struct Node {
    time: i64,
    parents: Arc<[Oid]>,
}

/// Commits that a walk found.
#[derive(Debug, Default)]
pub struct Graph {
    /// Children before their parents, otherwise newest first.
    pub commits: Vec<GraphCommit>,
    /// Tips and parents of these that cannot be read: where they are tested, what is
    /// behind is not.
    pub unreadable: BTreeMap<Oid, HistoryError>,
    places: HashMap<Oid, usize>,
}

/// A commit of a [`Graph`].
#[derive(Debug, Clone)]
pub struct GraphCommit {
    /// Its id.
    pub id: Oid,
    /// Its committer's time, in seconds since the epoch.
    pub time: i64,
    /// All its parents, those outside the graph included.
    pub parents: Arc<[Oid]>,
}

impl Graph {
    /// Sorts `commits`, whatever their order.
    pub fn new(commits: Vec<GraphCommit>) -> Self {
        let mut places: HashMap<Oid, usize> = HashMap::with_capacity(commits.len());
        places.extend(commits.iter().enumerate().map(|(at, one)| (one.id, at)));
        let mut children = vec![0u32; commits.len()];
        for commit in &commits {
            for parent in commit.parents.iter().filter_map(|id| places.get(id)) {
                children[*parent] += 1;
            }
        }
        // Of those without a child left the newest; of equally new ones the first given.
        let key = |at: usize| (commits[at].time, Reverse(at));
        let free = (0..commits.len()).filter(|&at| children[at] == 0);
        let mut heap: BinaryHeap<_> = free.map(key).collect();
        let mut order = Vec::with_capacity(commits.len());
        while let Some((_, Reverse(at))) = heap.pop() {
            order.push(at);
            for &parent in commits[at].parents.iter().filter_map(|id| places.get(id)) {
                children[parent] -= 1;
                if children[parent] == 0 {
                    heap.push(key(parent));
                }
            }
        }
        let mut commits: Vec<_> = commits.into_iter().map(Some).collect();
        let commits: Vec<_> = order
            .into_iter()
            .filter_map(|at| commits[at].take())
            .collect();
        let places = commits
            .iter()
            .enumerate()
            .map(|(at, one)| (one.id, at))
            .collect();
        Self {
            commits,
            unreadable: BTreeMap::new(),
            places,
        }
    }

    /// The same with more commits, of which some may be here already.
    #[must_use]
    pub fn with(self, more: Vec<GraphCommit>) -> Self {
        let more = more.into_iter().filter(|one| !self.contains(&one.id));
        let more: Vec<_> = more.collect();
        let mut seen = HashSet::new();
        let mut all = self.commits;
        all.extend(more.into_iter().filter(|one| seen.insert(one.id)));
        Self {
            unreadable: self.unreadable,
            ..Self::new(all)
        }
    }

    /// Where a commit stands in `commits`.
    pub fn place(&self, id: &Oid) -> Option<usize> {
        self.places.get(id).copied()
    }

    /// Whether a commit is one of these.
    pub fn contains(&self, id: &Oid) -> bool {
        self.places.contains_key(id)
    }

    /// Whether a commit belongs to what was asked for, and cannot be read.
    pub fn lacks(&self, id: &Oid) -> bool {
        self.unreadable.contains_key(id)
    }

    /// A commit of these.
    pub fn get(&self, id: &Oid) -> Option<&GraphCommit> {
        self.commits.get(self.place(id)?)
    }
}

/// Reads commits of one repository, for one thread.
pub struct History {
    objects: Objects,
    shallow: HashSet<Oid>,
    known: HashMap<Oid, Node>,
    /// What tags lead to, and other objects that are no commits.
    peeled: HashMap<Oid, Option<Oid>>,
}

const NEW: u8 = 1;
const SEEN: u8 = 2;
const QUEUED: u8 = 4;

impl History {
    /// A reader that knows nothing yet.
    pub fn new(repo: &Repo) -> Self {
        let mut objects = repo.objects();
        // What is read here is kept as what a walk needs of it, not as an object.
        objects.object_cache_size(0);
        // A commit at the border has parents that are not there.
        let border = objects.shallow_commits().ok().flatten();
        let border = border.iter().flat_map(|ids| ids.iter());
        Self {
            shallow: border.map(from_gix).collect(),
            objects,
            known: HashMap::new(),
            peeled: HashMap::new(),
        }
    }

    /// The commit that an object is, or that a tag leads to; `None` for anything else.
    ///
    /// # Errors
    /// Where it is not there, or is a commit that cannot be read.
    pub fn peel(&mut self, id: &Oid) -> Result<Option<Oid>, HistoryError> {
        if self.known.contains_key(id) {
            return Ok(Some(*id));
        }
        if let Some(commit) = self.peeled.get(id) {
            return Ok(*commit);
        }
        let commit = self.leads_to(id)?;
        if let Some(commit) = &commit {
            self.node(commit)?;
        }
        if commit != Some(*id) {
            self.peeled.insert(*id, commit);
        }
        Ok(commit)
    }

    /// What an object or the tag that it is names, if that is a commit.
    fn leads_to(&self, id: &Oid) -> Result<Option<Oid>, HistoryError> {
        let found = self.objects.find_object(object(id)?);
        let found = found.map_err(|error| failed(id, error))?;
        if found.kind.is_commit() {
            return Ok(Some(*id));
        }
        let peeled = found.peel_tags_to_end();
        let peeled = peeled.map_err(|error| failed(id, error))?;
        Ok(peeled.kind.is_commit().then(|| from_gix(&peeled.id)))
    }

    /// What is reachable from `tips` and not from `seen`. A commit of `seen` that is not
    /// there any more hides nothing; where a new one cannot be read, history ends there,
    /// and the graph says so.
    pub fn unseen(&mut self, tips: &[Oid], seen: &[Oid]) -> Graph {
        if self.known.len() > MOST_KEPT {
            self.known.clear();
        }
        let mut walk = Walk::default();
        let mut unreadable = BTreeMap::new();
        for id in seen {
            if let Ok(node) = self.node(id) {
                walk.push(*id, node.time, SEEN);
            }
        }
        for id in tips {
            match self.node(id) {
                Ok(node) => walk.push(*id, node.time, NEW),
                Err(error) => drop(unreadable.insert(*id, error)),
            }
        }
        while let Some((_, id)) = walk.queue.pop() {
            // Only what could be read is in the queue, and is known by now.
            let Ok(node) = self.node(&id) else {
                continue;
            };
            let paint = walk.pop(id, node.time);
            for parent in node.parents.iter() {
                match walk.flags.get(parent).copied() {
                    None => match self.node(parent) {
                        Ok(node) => walk.push(*parent, node.time, paint),
                        // Behind what was seen a repository may end anywhere.
                        Err(_) if paint == SEEN => {}
                        Err(error) => drop(unreadable.insert(*parent, error)),
                    },
                    Some(old) if paint == SEEN && old & SEEN == 0 => {
                        walk.hide(*parent, &self.known);
                    }
                    Some(_) => {}
                }
            }
            if walk.over() {
                break;
            }
        }
        let mut commits = Vec::new();
        for id in walk.found {
            if walk.flags.get(&id).is_some_and(|flags| flags & SEEN == 0)
                && let Ok(Node { time, parents }) = self.node(&id)
            {
                commits.push(GraphCommit { id, time, parents });
            }
        }
        let mut graph = Graph::new(commits);
        // What is behind a commit that was seen after all is not missed.
        let parents = graph.commits.iter().flat_map(|one| one.parents.iter());
        let missed: HashSet<_> = parents.chain(tips).copied().collect();
        unreadable.retain(|id, _| missed.contains(id));
        graph.unreadable = unreadable;
        graph
    }

    /// Whether `descendant` has `ancestor` in its history, or is it; no commit has one that
    /// cannot be read.
    pub fn reaches(&mut self, descendant: &Oid, ancestor: &Oid) -> bool {
        let missing = self.unseen(&[*ancestor], &[*descendant]);
        missing.commits.is_empty() && missing.unreadable.is_empty()
    }

    /// Those of `targets` that one of `tips` has in its history, or is. It looks at what is
    /// newer than the oldest of them, and at a bounded number of commits: what was not found
    /// by then counts as reached.
    pub fn reached(&mut self, tips: &[Oid], targets: &[Oid]) -> HashSet<Oid> {
        let times = targets
            .iter()
            .filter_map(|id| Some(self.node(id).ok()?.time));
        let Some(oldest) = times.min() else {
            return HashSet::new();
        };
        let mut left: HashSet<_> = targets.iter().copied().collect();
        let mut reached = HashSet::new();
        let mut queue = BinaryHeap::new();
        let mut queued = HashSet::new();
        let mut next: Vec<_> = tips.to_vec();
        let mut slop = SLOP;
        for _ in 0..MOST_LOOKED_AT {
            for id in next.drain(..) {
                if queued.insert(id)
                    && let Ok(node) = self.node(&id)
                {
                    queue.push((node.time, id));
                }
            }
            let Some((time, id)) = queue.pop() else {
                return reached;
            };
            if left.remove(&id) {
                reached.insert(id);
            }
            slop = if time < oldest {
                slop.saturating_sub(1)
            } else {
                SLOP
            };
            if left.is_empty() || slop == 0 {
                return reached;
            }
            if let Ok(node) = self.node(&id) {
                next.extend(node.parents.iter().copied());
            }
        }
        targets.iter().copied().collect()
    }

    /// The parents of a commit.
    ///
    /// # Errors
    /// Where the commit cannot be read.
    pub fn parents(&mut self, id: &Oid) -> Result<Arc<[Oid]>, HistoryError> {
        Ok(self.node(id)?.parents)
    }

    /// When a commit comes in a walk, newest first, and its parents; `None` where it cannot be
    /// read.
    pub(super) fn place(&mut self, id: &Oid) -> Option<(i64, Arc<[Oid]>)> {
        let node = self.node(id).ok()?;
        Some((node.time, node.parents))
    }

    /// A commit with all that tasks need of it.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn commit(&self, id: &Oid) -> Result<Commit, HistoryError> {
        let (read, subject) = self.read(id, commit_object::subject)?;
        Ok(Commit {
            id: *id,
            tree: from_gix(&read.tree),
            subject,
            time: read.time,
            snapshot: None,
        })
    }

    /// The commit, and what `more` makes of its raw form.
    fn read<T>(
        &self,
        id: &Oid,
        more: impl FnOnce(&[u8]) -> T,
    ) -> Result<(CommitObject, T), HistoryError> {
        let object = self.objects.find_object(object(id)?);
        let object = object.map_err(|error| failed(id, error))?;
        if !object.kind.is_commit() {
            return Err(failed(id, format!("it is a {}", object.kind)));
        }
        let read = commit_object::parse(&object.data, self.objects.object_hash());
        let read = read.map_err(|error| failed(id, error))?;
        Ok((read, more(&object.data)))
    }

    fn node(&mut self, id: &Oid) -> Result<Node, HistoryError> {
        if let Some(node) = self.known.get(id) {
            return Ok(node.clone());
        }
        let (read, ()) = self.read(id, |_| ())?;
        let parents = if self.shallow.contains(id) {
            Arc::new([]) as Arc<[Oid]>
        } else {
            read.parents.iter().map(from_gix).collect()
        };
        let node = Node {
            time: self.place_in_time(read.time, &parents),
            parents,
        };
        self.known.insert(*id, node.clone());
        Ok(node)
    }

    /// When a commit comes in a walk: a date that makes no sense would have all of history
    /// walked before it, so it counts as that of the newest parent.
    fn place_in_time(&self, time: i64, parents: &[Oid]) -> i64 {
        if time != 0 {
            return time;
        }
        let known = |id: &Oid| self.known.get(id).map(|node| node.time);
        let read = |id: &Oid| known(id).or_else(|| Some(self.read(id, |_| ()).ok()?.0.time));
        parents.iter().filter_map(read).max().unwrap_or(0)
    }
}

/// The state of one walk.
#[derive(Default)]
struct Walk {
    queue: BinaryHeap<(i64, Oid)>,
    flags: HashMap<Oid, u8>,
    /// How many in the queue are not known to be seen.
    pending: usize,
    found: Vec<Oid>,
    /// The time of the oldest of `found`.
    oldest: Option<i64>,
    slop: u32,
}

impl Walk {
    fn push(&mut self, id: Oid, time: i64, paint: u8) {
        if self.flags.contains_key(&id) {
            return;
        }
        self.flags.insert(id, paint | QUEUED);
        self.queue.push((time, id));
        self.pending += usize::from(paint == NEW);
    }

    /// Takes note that a commit left the queue; returns what its parents are painted with.
    fn pop(&mut self, id: Oid, time: i64) -> u8 {
        let flags = self.flags.entry(id).or_default();
        *flags &= !QUEUED;
        if *flags & SEEN != 0 {
            return SEEN;
        }
        self.pending -= 1;
        self.found.push(id);
        self.oldest = Some(self.oldest.map_or(time, |oldest| oldest.min(time)));
        NEW
    }

    /// Paints a commit that seemed new, and what was painted through it.
    fn hide(&mut self, id: Oid, known: &HashMap<Oid, Node>) {
        let mut stack = vec![id];
        while let Some(id) = stack.pop() {
            let Some(flags) = self.flags.get_mut(&id) else {
                continue;
            };
            if *flags & SEEN != 0 {
                continue;
            }
            *flags |= SEEN;
            self.pending -= usize::from(*flags & QUEUED != 0);
            stack.extend(known.get(&id).iter().flat_map(|node| node.parents.iter()));
        }
    }

    fn over(&mut self) -> bool {
        if self.pending > 0 {
            self.slop = 0;
            return false;
        }
        let Some((time, _)) = self.queue.peek() else {
            return true;
        };
        if self.oldest.is_some_and(|oldest| *time >= oldest) {
            self.slop = 0;
            return false;
        }
        self.slop += 1;
        self.slop > SLOP
    }
}

fn object(id: &Oid) -> Result<ObjectId, HistoryError> {
    ObjectId::try_from(id.as_bytes()).map_err(|error| failed(id, error))
}

fn failed(id: &Oid, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> HistoryError {
    HistoryError {
        id: *id,
        source: error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> Oid {
        Oid::from_bytes(&[n; 20]).unwrap()
    }

    fn commit(n: u8, time: i64, parents: &[u8]) -> GraphCommit {
        GraphCommit {
            id: id(n),
            time,
            parents: parents.iter().map(|&n| id(n)).collect(),
        }
    }

    #[test]
    fn children_come_before_their_parents_whatever_the_clocks_say() {
        let graph = Graph::new(vec![
            commit(1, 100, &[]),
            commit(2, 50, &[1]),
            commit(3, 200, &[2, 9]),
            commit(4, 70, &[2]),
        ]);
        let order: Vec<_> = graph.commits.iter().map(|one| one.id).collect();
        assert_eq!(order, [id(3), id(4), id(2), id(1)]);
        assert_eq!(graph.place(&id(2)), Some(2));
        assert!(!graph.contains(&id(9)));
    }
}
