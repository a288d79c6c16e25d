//! How far it is: checkpoints that move, and the end.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::fail;
use crate::git::{HistoryError, Move, care};
use crate::model::Oid;
use crate::watch::wanted;

use super::{ADVANCE, CARE, Observer, WatchError};

impl Observer<'_> {
    pub(super) fn may_advance(&self) -> bool {
        let all = self.order.iter().all(|id| self.handled.contains(id));
        let rested = all || self.advanced.is_none_or(|at| at.elapsed() >= ADVANCE);
        rested && self.pause.is_none_or(|until| Instant::now() >= until)
    }

    /// Moves every checkpoint as far as it may go.
    pub(super) fn advance(&mut self) -> Result<(), WatchError> {
        self.dirty = false;
        self.advanced = Some(Instant::now());
        let moves = match self.moves() {
            Ok(moves) => moves,
            Err(error) => {
                self.check_place()?;
                self.complain(&error);
                self.dirty = true;
                return Ok(());
            }
        };
        if !moves.is_empty() {
            fail::point("moving");
            if let Err(error) = self.checkpoints.advance(&moves) {
                self.check_place()?;
                if self.ends() {
                    return Err(error.into());
                }
                self.complain(&error);
                self.dirty = true;
                return Ok(());
            }
            fail::point("moved");
            if let Err(error) = self.walk() {
                self.complain(&error);
                self.stale = true;
            }
        }
        if self.since_care >= CARE && self.running.is_empty() {
            self.since_care = 0;
            care(self.repo);
        }
        Ok(())
    }

    pub(super) fn moves(&mut self) -> Result<Vec<Move>, HistoryError> {
        let complete = wanted::complete(&self.graph, &self.forced, |id| self.handled.contains(id));
        let mut moves = Vec::new();
        for (name, tip) in &self.tips {
            let now = self.checkpoints.of(name);
            if now == Some(*tip) {
                continue;
            }
            let begun = self.checkpoints.begun(name);
            if begun.is_some_and(|id| self.forced.contains(&id) && !self.handled.contains(&id)) {
                continue;
            }
            let new = self.graph.contains(tip) || self.forced.contains(tip);
            let to = match (new, now) {
                (true, _) => wanted::furthest(&self.graph, &complete, *tip),
                // All of it was seen by way of other refs. A checkpoint never goes
                // back to where it has been.
                (false, Some(now)) => self.history.reaches(tip, &now)?.then_some(*tip),
                (false, None) => Some(*tip),
            };
            if let Some(to) = to.filter(|to| Some(*to) != now) {
                let name = name.clone();
                moves.push(Move { name, to });
            }
        }
        Ok(moves)
    }

    pub(super) fn close_when_idle(&mut self) -> Result<(), WatchError> {
        if self.closed || !self.ends() || !self.is_idle() {
            return Ok(());
        }
        // One more look: what came while the last task ran is not left behind.
        self.stale = true;
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
        let waits = |id: &Oid| !self.handled.contains(id) && !self.gave_up(id);
        let fetching = self.options.fetching.as_ref();
        let fetching = fetching.is_some_and(|first| first.load(Ordering::Acquire));
        !self.stale && !self.dirty && !fetching && !self.order.iter().any(waits)
    }

    /// Whether all that is left of a commit ended without a verdict, and is not tried again.
    pub(super) fn gave_up(&self, id: &Oid) -> bool {
        let Some(offered) = self.offered.get(id).filter(|_| self.options.once) else {
            return false;
        };
        offered
            .jobs
            .iter()
            .all(|job| offered.has(job) || self.errored.contains_key(&(*id, job.job.name.clone())))
    }
}
