//! What is wanted: the list that the dispatcher gets, and what the display is told.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use crate::engine::Wanted;
use crate::engine::control::{Reply, Request};
use crate::git::{Graph, GraphCommit, HistoryError};
use crate::model::{Event, Oid, WatchedCommit};
use crate::watch::wanted::QueueOrder;

use super::{Observer, SHOWN, Seen};

impl Observer<'_> {
    /// Tells the dispatcher what is wanted, unless it knows; `anew` where the jobs may be
    /// others than before.
    pub(super) fn publish(&mut self, anew: bool) {
        if self.closed {
            return;
        }
        let tips: HashSet<_> = self.tips.at.values().copied().collect();
        let sent: Vec<_> = self.sent.iter().map(|wanted| wanted.commit.id).collect();
        let before = std::mem::take(&mut self.sent).into_iter();
        let mut before: HashMap<_, _> = before.map(|wanted| (wanted.commit.id, wanted)).collect();
        let order = std::mem::take(&mut self.backlog.order);
        let (mut list, mut more) = (Vec::new(), 0);
        for id in &order {
            if self.backlog.handled.contains(id) {
                continue;
            }
            if list.len() >= self.window {
                more += 1;
                continue;
            }
            match self.wanted(id, before.remove(id).filter(|_| !anew)) {
                Ok(Some(wanted)) => list.push(Wanted {
                    urgent: tips.contains(id) && self.options.order == QueueOrder::Tips,
                    ..wanted
                }),
                Ok(None) => {
                    self.backlog.handled.insert(*id);
                    self.pace.dirty = true;
                }
                Err(error) => self.complain(&error),
            }
        }
        self.backlog.order = order;
        self.sent = list;
        if anew || !self.sent.iter().map(|wanted| wanted.commit.id).eq(sent) {
            let superseded = self.options.superseded;
            self.feed.want(self.sent.clone(), more, superseded);
        }
        self.show();
    }

    /// A commit with its jobs: as it was wanted `before`, or read now. `None` where it has none.
    ///
    /// # Errors
    /// Where the commit cannot be read.
    fn wanted(&mut self, id: &Oid, before: Option<Wanted>) -> Result<Option<Wanted>, HistoryError> {
        if before.is_some() {
            return Ok(before);
        }
        let commit = Arc::new(self.history.commit(id)?);
        let jobs = match self.jobs.of(&commit) {
            Ok(jobs) => jobs,
            Err(error) => {
                self.warn(format!("{} is not tested: failed to {error}", id.short()));
                return Ok(None);
            }
        };
        Ok((!jobs.is_empty()).then_some(Wanted {
            commit,
            jobs,
            urgent: false,
            decided: None,
        }))
    }

    /// Has the dispatcher cancel tasks. What is far back in the queue it has not got yet, so
    /// it gets all there is first.
    pub(super) fn cancel(&mut self, request: Request, to: Sender<Reply>) {
        if self.sent.len() < self.backlog.order.len() {
            self.window = self.window.max(self.backlog.order.len());
            self.publish(false);
        }
        self.feed.pass_on(request, to);
    }

    /// Tells the display what is watched. What was cancelled of commits that are not done the
    /// dispatcher adds.
    pub(super) fn show(&mut self) {
        let mut refs: HashMap<Oid, Vec<String>> = HashMap::new();
        for (name, id) in &self.tips.at {
            refs.entry(*id).or_default().push(name.short());
        }
        let sent = self.sent.iter().map(|wanted| Seen {
            commit: Arc::clone(&wanted.commit),
            jobs: wanted.jobs.iter().map(|job| job.job.name.clone()).collect(),
            cancelled: Vec::new(),
        });
        let sent = sent.filter(|seen| !self.backlog.handled.contains(&seen.commit.id));
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
            took_us: u64::try_from(self.pace.took.as_micros()).unwrap_or(u64::MAX),
        });
    }
}
