//! One connection, as everybody sees it who uses it: what is on the host, what is on
//! its way there, and who waits for news.

use std::collections::HashMap;
use std::sync::mpsc::{self, Sender};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::model::{Oid, Outcome, TaskId};

use super::super::wire::ToHost;
use super::Tasks;
use super::packer::Order;

/// Fewer commits than this are not sent ahead in a pack of their own, unless they are all that is left.
const BATCH: usize = 16;

/// What becomes known of a task.
pub(super) enum News {
    Started {
        slot: u32,
    },
    Output(Vec<u8>),
    Done(Outcome),
    /// The host is gone, and no process of the task is left there.
    Lost(String),
    /// Nobody cares for the verdict any more.
    Hurry,
}

/// A connection.
pub(super) struct Conn {
    /// `None` once nothing can be sent any more.
    out: Mutex<Option<Sender<ToHost>>>,
    packs: Sender<Order>,
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
    /// Bytes of packs that have not arrived.
    pub(super) on_the_way: u64,
    /// Why it must end, or has.
    pub(super) over: Option<String>,
    /// When there was a task here last.
    pub(super) active: Instant,
    /// A task was done.
    pub(super) worked: bool,
}

impl Conn {
    /// A connection to a host that has the commits `have`.
    pub(super) fn new(out: Sender<ToHost>, packs: mpsc::Sender<Order>, have: &[Oid]) -> Self {
        Self {
            out: Mutex::new(Some(out)),
            packs,
            books: Mutex::new(Books {
                tasks: HashMap::new(),
                packs: have.iter().map(|id| (*id, 0)).collect(),
                last_pack: 0,
                on_the_way: 0,
                over: None,
                active: Instant::now(),
                worked: false,
            }),
            room: Condvar::new(),
        }
    }

    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a frame, never blocking; `false` where the connection has ended.
    pub(super) fn send(&self, frame: ToHost) -> bool {
        let out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.as_ref().is_some_and(|out| out.send(frame).is_ok())
    }

    /// Sends nothing more.
    pub(super) fn hang_up(&self) {
        *self.out.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.books().over.get_or_insert_with(String::new);
        self.room.notify_all();
    }

    /// Ends the connection because of what the host did.
    pub(super) fn give_up(&self, why: &str) {
        self.books().over.get_or_insert_with(|| why.to_owned());
        self.room.notify_all();
    }

    /// Waits for news of a task.
    pub(super) fn expect(&self, id: (TaskId, u32), news: Sender<News>) {
        let mut books = self.books();
        books.active = Instant::now();
        match books.over.clone() {
            // It ended before the task could get there.
            Some(why) => {
                let _ = news.send(News::Lost(why));
            }
            None => {
                books.tasks.insert(id, news);
            }
        }
    }

    /// Ends the connection because of what the host said of a task, which is not done.
    pub(super) fn distrust(&self, id: (TaskId, u32), news: Sender<News>, why: &str) {
        // It is told when the host cannot be running it any more.
        self.books().tasks.insert(id, news);
        self.give_up(why);
    }

    /// Waits for no more news of a task.
    pub(super) fn forget(&self, id: (TaskId, u32)) {
        self.books().tasks.remove(&id);
    }

    /// Passes news on; what nobody waits for is dropped.
    pub(super) fn tell(&self, id: (TaskId, u32), news: News) {
        let mut books = self.books();
        let done = matches!(news, News::Done(_));
        let to = match done {
            true => books.tasks.remove(&id),
            false => books.tasks.get(&id).cloned(),
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
        let _ = self.packs.send(Order { pack, commits });
        pack
    }
}
