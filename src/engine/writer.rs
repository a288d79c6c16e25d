//! The thread that stores results, so that the dispatcher never waits for a disk.
//!
//! While one batch is being written the next one gathers at the dispatcher: the
//! slower the disk, the larger the batches, one notes commit each.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::logs::LogStore;
use crate::model::{Line, Oid};
use crate::notes::{NoteStore, NotesError};

use super::message::{Message, Refused};

/// Hands batches to the storing thread, one at a time.
pub(super) struct Writer {
    batches: Sender<Vec<(Oid, Line)>>,
    thread: JoinHandle<Result<(), NotesError>>,
}

impl Writer {
    /// Starts the thread; each batch is answered by [`Message::Stored`].
    ///
    /// # Errors
    /// Where there are no threads left.
    pub(super) fn start(
        mut store: NoteStore,
        logs: LogStore,
        to: Sender<Message>,
    ) -> io::Result<Self> {
        let (batches, inbox) = mpsc::channel::<Vec<(Oid, Line)>>();
        let thread = std::thread::Builder::new()
            .name("writer".into())
            .spawn(move || {
                let _farewell = Farewell(to.clone());
                for batch in inbox {
                    let begun = Instant::now();
                    let stored = store.append(&batch).map(|appended| {
                        tracing::debug!(target: "notes", lines = batch.len(), took = ?begun.elapsed(), "stored");
                        let refused = appended.refused.into_iter();
                        let refused = refused.map(|(commit, reason)| Refused { commit, reason });
                        let refused: Vec<_> = refused.collect();
                        settle(&logs, &batch, &refused);
                        refused
                    });
                    if to.send(Message::Stored(stored)).is_err() {
                        break;
                    }
                }
                store.finish()
            })?;
        Ok(Self { batches, thread })
    }

    /// Begins to store a batch.
    pub(super) fn store(&self, batch: Vec<(Oid, Line)>) {
        // The thread ends only when this end is dropped, or by a panic, which `finish` sees.
        let _ = self.batches.send(batch);
    }

    /// Waits until the thread has nothing left to do.
    ///
    /// # Errors
    /// Where somebody has left out what was stored, and it cannot be stored again.
    pub(super) fn finish(self) -> Result<(), NotesError> {
        drop(self.batches);
        // A panic was told by the farewell.
        self.thread.join().unwrap_or(Ok(()))
    }
}

/// From now on it is the records that say what their logs are of.
fn settle(logs: &LogStore, batch: &[(Oid, Line)], refused: &[Refused]) {
    for (commit, line) in batch {
        if let Line::Record(record) = line
            && !refused.iter().any(|refused| refused.commit == *commit)
        {
            logs.settle(&record.log);
        }
    }
}

/// Tells the dispatcher that no answer will come any more, also after a panic.
struct Farewell(Sender<Message>);

impl Drop for Farewell {
    fn drop(&mut self) {
        let _ = self.0.send(Message::WriterGone);
    }
}
