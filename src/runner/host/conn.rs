//! One connection, as everybody sees it who uses it: what is on the host, what is on
//! its way there, and who waits for news.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::model::{Oid, Outcome, TaskId};

use super::super::outbox::Outbox;
use super::super::protocol::{ArtifactPart, Observed};
use super::super::wire::{PIECE, ToHost};
use super::Tasks;

/// Fewer commits than this are not sent ahead in a pack of their own, unless they are all that is left.
const BATCH: usize = 16;

/// How much of packs may be on its way at most, in bytes.
const WINDOW: u64 = 8 << 20;

/// A piece that takes no longer to arrive is a reason to have more on the way, and one
/// that takes longer than the other to have less: what is on the way delays all that
/// is sent after it, signs of life included.
const ARRIVES: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(1));

/// More pieces than this need not wait to be written.
const UNWRITTEN: usize = 64;

/// A pack that is wanted.
pub(super) struct PackRequest {
    pub(super) pack: u64,
    pub(super) commits: Vec<Oid>,
}

/// What becomes known of a task.
pub(super) enum TaskUpdate {
    /// It waits for a slot there.
    Waiting(String),
    /// Something that the user should know.
    Note(String),
    Started {
        slot: u32,
    },
    Output {
        at: u64,
        bytes: Vec<u8>,
    },
    /// A part of what it left.
    Artifact(ArtifactPart),
    Done(Outcome, Observed),
    /// The host is gone, and no process of the task is left there.
    Lost(String),
    /// Nobody cares for the verdict any more.
    Hurry,
}

/// A connection.
pub(super) struct Conn {
    pub(super) out: Arc<Outbox<ToHost>>,
    packs: Sender<PackRequest>,
    pub(super) books: Mutex<Books>,
    /// Told when there is room on the way, or the connection has ended.
    pub(super) room: Condvar,
}

/// What is known about a connection.
pub(super) struct Books {
    pub(super) tasks: Tasks,
    /// The pack that brings a commit; 0 for what was there.
    packs: HashMap<Oid, u64>,
    last_pack: u64,
    /// Pieces of packs that have not arrived: their bytes, and when they were sent.
    pieces: VecDeque<(u64, Instant)>,
    /// How many bytes of them there may be.
    window: u64,
    /// Why it must end, or has.
    pub(super) over: Option<String>,
    /// When there was a task here last.
    pub(super) active: Instant,
    /// A task was done.
    pub(super) worked: bool,
    /// Nobody reads it any more, and who waited was told.
    gone: bool,
}

impl Conn {
    /// A connection to a host that has the commits `have`.
    pub(super) fn new(
        out: Arc<Outbox<ToHost>>,
        packs: mpsc::Sender<PackRequest>,
        have: &[Oid],
    ) -> Self {
        Self {
            out,
            packs,
            books: Mutex::new(Books {
                tasks: HashMap::new(),
                packs: have.iter().map(|id| (*id, 0)).collect(),
                last_pack: 0,
                pieces: VecDeque::new(),
                window: PIECE as u64,
                over: None,
                active: Instant::now(),
                worked: false,
                gone: false,
            }),
            room: Condvar::new(),
        }
    }

    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a frame, never blocking; `false` where the connection has ended.
    pub(super) fn send(&self, frame: ToHost) -> bool {
        self.out.push(frame)
    }

    /// Sends nothing more.
    pub(super) fn hang_up(&self) {
        self.out.close();
        self.books().over.get_or_insert_with(String::new);
        self.room.notify_all();
    }

    /// Ends the connection because of what the host did.
    pub(super) fn give_up(&self, why: &str) {
        self.books().over.get_or_insert_with(|| why.to_owned());
        self.room.notify_all();
    }

    /// Waits for news of a task.
    pub(super) fn expect(&self, id: (TaskId, u32), news: Sender<TaskUpdate>) {
        let mut books = self.books();
        books.active = Instant::now();
        match books.over.clone() {
            // It ended before the task could get there.
            Some(why) => {
                let _ = news.send(TaskUpdate::Lost(why));
            }
            None => {
                books.tasks.insert(id, news);
            }
        }
    }

    /// Ends the connection because of what the host said of a task, which is not done.
    /// It is told when the host cannot be running it any more; `false` where the
    /// connection has ended already, and nobody is left to tell it.
    pub(super) fn distrust(&self, id: (TaskId, u32), news: Sender<TaskUpdate>, why: &str) -> bool {
        let mut books = self.books();
        if books.gone {
            return false;
        }
        books.tasks.insert(id, news);
        books.over.get_or_insert_with(|| why.to_owned());
        self.room.notify_all();
        true
    }

    /// Nobody reads the connection any more: tells all who wait.
    pub(super) fn lose_all(&self, reason: &str) {
        let mut books = self.books();
        books.gone = true;
        for news in std::mem::take(&mut books.tasks).into_values() {
            let _ = news.send(TaskUpdate::Lost(reason.to_owned()));
        }
    }

    /// Waits until a piece of a pack may be sent, and counts it; `false` where the
    /// connection ended.
    pub(super) fn wait_for_room(&self, bytes: u64) -> bool {
        /// Nobody says when a frame was written.
        const INTERVAL: Duration = Duration::from_millis(20);
        let mut books = self.books();
        loop {
            if books.over.is_some() {
                return false;
            }
            let on_the_way: u64 = books.pieces.iter().map(|(bytes, _)| bytes).sum();
            let full = !books.pieces.is_empty() && on_the_way + bytes > books.window;
            // What a host says has arrived it may not even have read.
            let unwritten = self.out.len() > UNWRITTEN;
            books = match (full, unwritten) {
                (true, _) => self
                    .room
                    .wait(books)
                    .unwrap_or_else(PoisonError::into_inner),
                (false, true) => {
                    let waited = self.room.wait_timeout(books, INTERVAL);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                (false, false) => break,
            };
        }
        books.pieces.push_back((bytes, Instant::now()));
        true
    }

    /// The oldest piece that was on its way has arrived.
    pub(super) fn arrived(&self) {
        let mut books = self.books();
        let Some((bytes, sent)) = books.pieces.pop_front() else {
            return;
        };
        let took = sent.elapsed();
        if took < ARRIVES.0 {
            books.window = (books.window + bytes).min(WINDOW);
        } else if took > ARRIVES.1 {
            books.window = (books.window / 2).max(PIECE as u64);
        }
        self.room.notify_all();
    }

    /// Waits for no more news of a task.
    pub(super) fn forget(&self, id: (TaskId, u32)) {
        self.books().tasks.remove(&id);
    }

    /// Passes news on; what nobody waits for is dropped.
    pub(super) fn tell(&self, id: (TaskId, u32), news: TaskUpdate) {
        let mut books = self.books();
        let done = matches!(news, TaskUpdate::Done(..));
        let to = if done {
            books.tasks.remove(&id)
        } else {
            books.tasks.get(&id).cloned()
        };
        if let Some(to) = to {
            books.active = Instant::now();
            books.worked |= done;
            let _ = to.send(news);
        }
    }

    /// Sees to it that `commit` gets to the host, and that what comes next is on its
    /// way before it is needed. Returns the pack that brings the commit.
    pub(super) fn want(&self, commit: &Oid, ahead: &[Oid]) -> u64 {
        let mut books = self.books();
        let known = books.packs.get(commit).copied();
        let after = known.unwrap_or_else(|| self.order(&mut books, vec![*commit]));
        let missing: Vec<Oid> = ahead
            .iter()
            .filter(|id| !books.packs.contains_key(id))
            .copied()
            .collect();
        if missing.len() >= BATCH || (!missing.is_empty() && missing.len() == ahead.len()) {
            self.order(&mut books, missing);
        }
        after
    }

    fn order(&self, books: &mut Books, commits: Vec<Oid>) -> u64 {
        books.last_pack += 1;
        let pack = books.last_pack;
        books.packs.extend(commits.iter().map(|id| (*id, pack)));
        // The packer ends only with the connection.
        let _ = self.packs.send(PackRequest { pack, commits });
        pack
    }
}
