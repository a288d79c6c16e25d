//! What is wanted: the list that the dispatcher gets, and what the display is told.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::engine::Wanted;
use crate::git::HistoryError;
use crate::model::{Commit, Event, JobName, Oid, WatchedCommit};
use crate::plan::PlannedJob;
use crate::watch::wanted::Order;

use super::{Observer, Offered, SHOWN, WINDOW};

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

    /// Tells the display what is watched.
    pub(super) fn show(&mut self) {
        let mut refs: HashMap<Oid, Vec<String>> = HashMap::new();
        for (name, id) in &self.tips {
            refs.entry(*id).or_default().push(name.short());
        }
        let offered = self
            .sent
            .iter()
            .filter_map(|id| self.offered.get(id))
            .map(|offered| {
                let names = offered.jobs.iter().map(|job| job.job.name.clone());
                (Arc::clone(&offered.commit), names.collect())
            });
        let mut shown: Vec<(Arc<Commit>, Vec<JobName>)> = offered.collect();
        let waiting: HashSet<_> = self.sent.iter().collect();
        let recent = self
            .recent
            .iter()
            .filter(|(commit, _)| !waiting.contains(&commit.id));
        shown.extend(recent.cloned());
        shown.sort_by_key(|(commit, _)| std::cmp::Reverse(commit.time));
        shown.truncate(SHOWN);
        let commits = shown.into_iter().map(|(commit, jobs)| WatchedCommit {
            commit: commit.id,
            subject: commit.subject.clone(),
            refs: refs.remove(&commit.id).unwrap_or_default(),
            jobs,
        });
        self.feed.tell(Event::Watching {
            commits: commits.collect(),
            took_us: u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX),
        });
    }
}
