//! What is wanted: the list that the dispatcher gets, and what the display is told.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::engine::Wanted;
use crate::git::{Graph, GraphCommit, HistoryError};
use crate::model::{Event, JobName, Oid, WatchedCommit};
use crate::plan::PlannedJob;
use crate::watch::wanted::Order;

use super::{Observer, Offered, SHOWN, Seen, WINDOW};

impl Observer<'_> {
    /// Tells the dispatcher what is wanted, unless it knows.
    pub(super) fn publish(&mut self, anew: bool) {
        if self.closed {
            return;
        }
        let tips: HashSet<_> = self.tips.values().copied().collect();
        let order = std::mem::take(&mut self.order);
        let mut list = Vec::new();
        for id in &order {
            if list.len() >= WINDOW {
                break;
            }
            if self.handled.contains(id) {
                continue;
            }
            match self.offer(id, anew) {
                Ok(Some(wanted)) => list.push(Wanted {
                    urgent: tips.contains(id) && self.options.order == Order::Tips,
                    ..wanted
                }),
                Ok(None) => {
                    self.handled.insert(*id);
                    self.dirty = true;
                }
                Err(error) => self.complain(&error),
            }
        }
        self.order = order;
        let sent: Vec<_> = list.iter().map(|wanted| wanted.commit.id).collect();
        if anew || sent != self.sent {
            self.sent = sent;
            self.feed.want(list, self.options.superseded);
        }
        self.show();
    }

    /// A commit with what is left to do on it; `None` where that is nothing.
    ///
    /// # Errors
    /// Where the commit cannot be read.
    pub(super) fn offer(&mut self, id: &Oid, anew: bool) -> Result<Option<Wanted>, HistoryError> {
        if anew || !self.offered.contains_key(id) {
            let commit = Arc::new(self.history.commit(id)?);
            let jobs = match self.jobs.of(&commit) {
                Ok(jobs) => jobs,
                Err(error) => {
                    self.warn(format!("{} is not tested: failed to {error}", id.short()));
                    return Ok(None);
                }
            };
            let offered = Offered {
                commit,
                jobs,
                done: HashSet::new(),
                results: Vec::new(),
            };
            let before = self.offered.remove(id);
            let done = before.map(|before| before.done).unwrap_or_default();
            self.offered.insert(*id, Offered { done, ..offered });
        }
        let Some(offered) = self.offered.get(id) else {
            return Ok(None);
        };
        let kept = |job: &&PlannedJob| !self.dropped.contains(&(*id, job.job.name.clone()));
        let jobs: Arc<[_]> = offered.jobs.iter().filter(kept).cloned().collect();
        if jobs.is_empty() || offered.is_done(&jobs) {
            return Ok(None);
        }
        Ok(Some(Wanted {
            commit: Arc::clone(&offered.commit),
            jobs,
            urgent: false,
        }))
    }

    /// A commit as the display is told of it.
    pub(super) fn seen(&self, offered: &Offered) -> Seen {
        let jobs = offered.jobs.iter();
        let jobs: Vec<_> = jobs.map(|job| job.job.name.clone()).collect();
        let commit = Arc::clone(&offered.commit);
        let is_dropped = |job: &&JobName| self.dropped.contains(&(commit.id, (*job).clone()));
        Seen {
            cancelled: jobs.iter().filter(is_dropped).cloned().collect(),
            jobs,
            commit,
        }
    }

    /// Tells the display what is watched.
    pub(super) fn show(&mut self) {
        let mut refs: HashMap<Oid, Vec<String>> = HashMap::new();
        for (name, id) in &self.tips {
            refs.entry(*id).or_default().push(name.short());
        }
        let sent = self.sent.iter().filter_map(|id| self.offered.get(id));
        let sent: Vec<_> = sent.map(|offered| self.seen(offered)).collect();
        let mut shown: HashMap<Oid, Seen> = self
            .recent
            .iter()
            .cloned()
            .chain(sent)
            .map(|seen| (seen.commit.id, seen))
            .collect();
        let mut commits: Vec<_> = shown
            .values()
            .map(|seen| GraphCommit {
                id: seen.commit.id,
                time: seen.commit.time,
                parents: self.history.parents(&seen.commit.id).unwrap_or_default(),
            })
            .collect();
        // What has the same time and is not related comes in the same order each time.
        commits.sort_unstable_by_key(|commit| commit.id);
        let graph = Graph::new(commits);
        let commits = graph.commits.iter().take(SHOWN);
        let commits = commits.filter_map(|commit| shown.remove(&commit.id));
        let commits = commits.map(|seen| WatchedCommit {
            commit: seen.commit.id,
            subject: seen.commit.subject.clone(),
            refs: refs.remove(&seen.commit.id).unwrap_or_default(),
            jobs: seen.jobs,
            cancelled: seen.cancelled,
            current: self.head == Some(seen.commit.id),
        });
        self.feed.tell(Event::Watching {
            commits: commits.collect(),
            took_us: u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX),
        });
    }
}
