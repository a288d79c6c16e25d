//! How far it is: checkpoints that move, and the end.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::fail;
use crate::git::{CheckpointError, Move, auto_gc};
use crate::model::Oid;
use crate::watch::wanted;

use super::{ADVANCE_INTERVAL, Backlog, GC_EVERY, Observer, WatchError};

/// No more checkpoints are tried one by one.
const MOST_SINGLE: usize = 50;

impl Observer<'_> {
    pub(super) fn may_advance(&self) -> bool {
        let pace = &self.pace;
        let rested = pace
            .advanced
            .is_none_or(|at| at.elapsed() >= ADVANCE_INTERVAL);
        (rested || self.backlog.is_done()) && !pace.unseen && !pace.is_paused()
    }

    /// Moves every checkpoint as far as it may go.
    pub(super) fn advance(&mut self) -> Result<(), WatchError> {
        if self.pace.unseen {
            // The graph is not that of the tips: a walk has failed.
            return Ok(());
        }
        self.pace.dirty = false;
        self.pace.advanced = Some(Instant::now());
        let moves = self.moves();
        if !moves.is_empty() {
            fail::point("moving");
            if let Err(error) = self.move_all(&moves) {
                self.check_place()?;
                if self.ends() {
                    return Err(error.into());
                }
                self.complain(&error);
                self.pace.dirty = true;
                return Ok(());
            }
            fail::point("moved");
            self.walk();
        }
        self.drain_spool();
        if self.pace.since_gc >= GC_EVERY && self.backlog.is_done() {
            self.pace.since_gc = 0;
            auto_gc(self.repo);
        }
        Ok(())
    }

    /// Moves checkpoints together or, where one will not move, the others without it: a
    /// lock that a dead process left on one must not hold all.
    fn move_all(&mut self, moves: &[Move]) -> Result<(), CheckpointError> {
        let together = self.checkpoints.advance(moves);
        if together.is_ok() || moves.len() == 1 {
            return together;
        }
        let single = moves.iter().take(MOST_SINGLE);
        let results = single.map(|one| self.checkpoints.advance(std::slice::from_ref(one)));
        let results: Vec<_> = results.collect();
        results.into_iter().collect()
    }

    fn is_forced(&self, id: &Oid) -> bool {
        self.backlog.forced.binary_search(id).is_ok()
    }

    fn moves(&mut self) -> Vec<Move> {
        let complete = wanted::complete(&self.backlog.graph, &self.backlog.forced, |id| {
            self.backlog.handled.contains(id)
        });
        let mut moves = Vec::new();
        for (name, tip) in &self.tips.at {
            let now = self.checkpoints.of(name);
            if now == Some(*tip) {
                continue;
            }
            let begun = self.checkpoints.begun(name);
            if begun.is_some_and(|id| self.is_forced(&id) && !self.backlog.handled.contains(&id)) {
                continue;
            }
            let new = self.backlog.graph.contains(tip) || self.is_forced(tip);
            let to = if new {
                wanted::furthest(&self.backlog.graph, &complete, *tip)
            } else {
                // All of it was seen, here or by way of other refs. Where a rewriting took
                // the ref back, so does its checkpoint go: it would keep what was dropped.
                Some(*tip)
            };
            if let Some(to) = to.filter(|to| Some(*to) != now) {
                let name = name.clone();
                moves.push(Move { name, to });
            }
        }
        moves
    }

    pub(super) fn close_when_idle(&mut self) -> Result<(), WatchError> {
        if self.closed || !self.ends() || !self.is_idle() {
            return Ok(());
        }
        // One more look: what came while the last task ran is not left behind.
        self.pace.stale = true;
        self.look_around()?;
        if self.is_idle() {
            self.closed = true;
            self.feed.close();
        }
        Ok(())
    }

    /// Whether this is to end by itself.
    pub(super) fn ends(&self) -> bool {
        self.options.until_idle || self.options.once
    }

    pub(super) fn is_idle(&self) -> bool {
        let fetching = self.options.fetching.as_ref();
        let fetching = fetching.is_some_and(|first| first.load(Ordering::Acquire));
        !self.pace.stale && !self.pace.dirty && !fetching && self.backlog.is_idle()
    }
}

impl Backlog {
    /// Whether all that is wanted is handled. What was handled is part of it.
    fn is_done(&self) -> bool {
        self.handled.len() >= self.order.len()
    }

    /// Whether nothing more will come of what is wanted.
    fn is_idle(&self) -> bool {
        let waits = |id: &Oid| !self.handled.contains(id) && !self.left.contains(id);
        !self.order.iter().any(waits)
    }
}
