//! From a verdict to the note: what gathers is stored in batches, and reported once it
//! is durable.
//!
//! Storing may fail: the disk is full, somebody holds a lock. Then nothing more is handed
//! out, and it is tried again after growing pauses; as often as this may help, and no
//! more. What could not be stored in the end is reported as that: a verdict is worth
//! knowing, stored or not.
//!
//! What is in [`Dispatcher::pending`] is lost by a `kill -9`. A journal that is written
//! before the notes are would begin here: [`Dispatcher::flush`] fills it, and what is
//! reported then is durable by it; [`Dispatcher::handle_stored`] empties it.

use std::time::{Duration, Instant};

use crate::error::with_causes;
use crate::fail;
use crate::model::{Event, Forget, Line, Oid, Record};
use crate::notes::NotesError;

use crate::engine::EngineError;
use crate::engine::claims::Right;
use crate::engine::message::Refused;

use super::{Dispatcher, Stop};

/// While tasks run, results are stored at most this often: each time the disk has to
/// sync the same number of files, however many results there are.
const STORE_INTERVAL: Duration = Duration::from_millis(40);

/// The pauses before results are stored again; after the last they are given up. A run
/// has somebody who waits for it.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// The same for a run that stays, which nobody may look at: some minutes.
const LONG_PAUSES: [Duration; 8] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(60),
    Duration::from_secs(60),
];

/// A verdict on its way into the notes, and what is said once it is there.
pub(super) struct PendingRecord {
    pub(super) commit: Oid,
    pub(super) record: Record,
    /// What it takes the weight from.
    pub(super) forgets: Vec<Forget>,
    pub(super) event: Event,
    /// Held until the record is stored, so that no other run misses it.
    pub(super) claim: Option<Right>,
}

impl PendingRecord {
    /// What is stored, and at which commit.
    fn lines(&self) -> impl Iterator<Item = (Oid, Line)> {
        let forgets = self.forgets.iter().cloned().map(Line::Forget);
        let record = Line::Record(self.record.clone());
        let lines = std::iter::once(record).chain(forgets);
        lines.map(|line| (self.commit, line))
    }
}

/// Storing has failed, and is going to be tried again.
pub(super) struct Trouble {
    /// How often it was tried.
    tries: usize,
    pub(super) due: Instant,
}

impl Dispatcher<'_, '_> {
    /// How long results may gather before they are stored: not at all when the last
    /// batch is a while ago, or nothing runs that could add to this one.
    pub(super) fn until_store(&self) -> Duration {
        if let Some(trouble) = &self.trouble {
            return trouble.due.saturating_duration_since(Instant::now());
        }
        let busy = self.workers.iter().any(|worker| worker.running.is_some());
        match self.stored_at {
            Some(at) if busy => STORE_INTERVAL.saturating_sub(at.elapsed()),
            _ => Duration::ZERO,
        }
    }

    /// Gives the writer what has gathered, unless it is busy.
    pub(super) fn flush(&mut self) {
        if self.pending.is_empty() || !self.storing.is_empty() || !self.until_store().is_zero() {
            return;
        }
        self.stored_at = Some(Instant::now());
        match &self.ctx.writer {
            Some(writer) if !self.gave_up_storing() => {
                self.storing = std::mem::take(&mut self.pending);
                writer.store(self.storing.iter().flat_map(PendingRecord::lines).collect());
            }
            _ => self.report_pending(),
        }
    }

    fn gave_up_storing(&self) -> bool {
        matches!(self.error, Some(EngineError::Store { .. }))
    }

    /// The writer is done with a batch, but for what it could not add to single notes.
    pub(super) fn handle_stored(&mut self, result: Result<Vec<Refused>, NotesError>) {
        let batch = std::mem::take(&mut self.storing);
        let refused = match result {
            Ok(refused) => refused,
            Err(source) => return self.handle_trouble(batch, source),
        };
        self.trouble = None;
        fail::point("stored");
        for Refused { reason, .. } in &refused {
            self.warn(format!("failed to store results: {reason}"));
        }
        for one in batch {
            if refused.iter().any(|refused| refused.commit == one.commit) {
                self.finish_storing(one, false);
                continue;
            }
            for (commit, line) in one.lines() {
                self.ctx.records.insert(commit, line);
            }
            self.finish_storing(one, true);
        }
    }

    /// A batch could not be stored: tries it again in a while, or gives it up.
    fn handle_trouble(&mut self, batch: Vec<PendingRecord>, source: NotesError) {
        self.pending.splice(0..0, batch);
        let tries = self.trouble.as_ref().map_or(0, |trouble| trouble.tries);
        let pauses: &[Duration] = match (self.stop, self.ctx.stay) {
            // Whoever ends a run does not want to wait.
            (Some(_), _) => &[],
            (None, true) => &LONG_PAUSES,
            (None, false) => &PAUSES,
        };
        match pauses.get(tries) {
            Some(pause) => {
                let count = self.pending.len();
                let why = with_causes(&source);
                let seconds = pause.as_secs_f64();
                self.warn(format!(
                    "failed to store results ({count} so far): {why}; trying again in {seconds} s"
                ));
                self.trouble = Some(Trouble {
                    tries: tries + 1,
                    due: Instant::now() + fail::pause(*pause),
                });
            }
            None => {
                self.trouble = None;
                let count = 0;
                self.error
                    .get_or_insert(EngineError::Store { count, source });
                self.report_pending();
                // Whatever is tested now would be tested for nothing; but what runs may
                // come to a verdict that somebody can see.
                self.stop(Stop::NoMore);
            }
        }
    }

    /// The writer is gone, and with it whatever it had.
    pub(super) fn handle_no_writer(&mut self) {
        self.ctx.writer = None;
        let lost = std::mem::take(&mut self.storing);
        self.pending.splice(0..0, lost);
        self.trouble = None;
        self.report_pending();
    }

    /// Reports what cannot be stored.
    fn report_pending(&mut self) {
        for one in std::mem::take(&mut self.pending) {
            if let Some(EngineError::Store { count, .. }) = &mut self.error {
                *count += 1;
            }
            self.finish_storing(one, false);
        }
    }

    fn finish_storing(&mut self, one: PendingRecord, is_stored: bool) {
        let PendingRecord {
            mut event, claim, ..
        } = one;
        drop(claim);
        if let Event::TaskFinished { stored, .. } | Event::TaskReused { stored, .. } = &mut event {
            *stored = Some(is_stored);
        }
        self.report(event);
    }
}
