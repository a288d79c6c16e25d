//! The thread that stores results, so that the dispatcher never waits for a disk.
//!
//! While one batch is being written the next one gathers at the dispatcher: the
//! slower the disk, the larger the batches, one notes commit each.

use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use crate::git::NoteStore;
use crate::model::{Line, Oid};

use super::message::Message;

/// Hands batches to the storing thread, one at a time.
pub(super) struct Writer {
    batches: Sender<Vec<(Oid, Line)>>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Starts the thread; each batch is answered by [`Message::Stored`].
    pub(super) fn start(mut store: NoteStore, to: Sender<Message>) -> Self {
        let (batches, inbox) = mpsc::channel::<Vec<(Oid, Line)>>();
        let thread = std::thread::spawn(move || {
            let _farewell = Farewell(to.clone());
            for batch in inbox {
                let stored = store.append(&batch).map(|_| ());
                if to.send(Message::Stored(stored)).is_err() {
                    break;
                }
            }
            store.finish();
        });
        Self { batches, thread }
    }

    /// Begins to store a batch.
    pub(super) fn store(&self, batch: Vec<(Oid, Line)>) {
        // The thread ends only when this end is dropped, or by a panic, which `finish` sees.
        let _ = self.batches.send(batch);
    }

    /// Waits until the thread has nothing left to do.
    pub(super) fn finish(self) {
        drop(self.batches);
        // A panic was told by the farewell.
        let _ = self.thread.join();
    }
}

/// Tells the dispatcher that no answer will come any more, also after a panic.
struct Farewell(Sender<Message>);

impl Drop for Farewell {
    fn drop(&mut self) {
        let _ = self.0.send(Message::WriterGone);
    }
}
