//! Contents that were in a slot a moment ago.
//!
//! Many caches take a file for unchanged when its size, and the second in which it was last
//! written, are those that they remember: Python's compiled files, mypy, rsync. A slot
//! may come to several commits within a second, so that a path can have three contents in
//! it that no such cache can tell apart. Here it is remembered which contents of the
//! newest seconds are gone, so that a move knows when it repeats one; then, and only where
//! something was left that could be such a cache, the file is given a later second.
//!
//! What is remembered is about one slot, goes from process to process with the slot's
//! state, and is empty unless a slot moved within the last second. A wrong answer
//! may only ever be "could be": that costs at most a second.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use rustix::fs::{FileType, Stat};
use rustix::time::{ClockId, Timespec, clock_gettime};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::index::{second_and_size, stamp};

/// More contents of a second than this are not told apart.
const MOST: usize = 1024;

/// By how many seconds the clock may go back before a slot's caches are not trusted.
const SLACK: i64 = 2;

/// Contents of the newest seconds that are gone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Past {
    /// The newest second in which the slot was in use.
    #[serde(default)]
    used: i64,
    /// By the second that a content's file had.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    seconds: BTreeMap<i64, Second>,
    /// When the move began that is going on.
    #[serde(skip)]
    began: i64,
    /// Where in the slot the worktree is that is being moved.
    #[serde(skip)]
    below: Vec<u8>,
}

/// What had one second, as hashes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Second {
    /// A path with a size.
    contents: BTreeSet<u64>,
    /// A path, of which any size and anything below could have been there.
    anything: BTreeSet<u64>,
    /// Every path, of any size.
    all: bool,
    /// The second had not come yet when a file had it.
    early: bool,
}

impl Past {
    /// That of a slot of which nothing is known but that it is there.
    pub(crate) fn unknown() -> Self {
        let mut past = Self::default();
        past.begin();
        past.lost_all();
        past
    }

    /// A move begins: the files that it makes get no earlier second than this.
    pub(super) fn begin(&mut self) {
        self.began = now().tv_sec;
        self.used = self.used.max(self.began);
        self.seconds = self.seconds.split_off(&self.began);
    }

    /// Does something in which paths are below the directory `path`.
    pub(super) fn below<T>(&mut self, path: &[u8], act: impl FnOnce(&mut Self) -> T) -> T {
        let inner = self.full(path);
        let outer = std::mem::replace(&mut self.below, inner);
        let done = act(self);
        self.below = outer;
        done
    }

    /// The path from the slot.
    fn full(&self, path: &[u8]) -> Vec<u8> {
        match (self.below.is_empty(), path.is_empty()) {
            (true, _) => path.to_vec(),
            (_, true) => self.below.clone(),
            _ => [&self.below, b"/".as_slice(), path].concat(),
        }
    }

    /// A file with this second and size at `path` is replaced or removed.
    pub(super) fn left(&mut self, path: &[u8], (second, size): (i64, u64)) {
        if second >= self.began {
            let early = second > now().tv_sec;
            let path = self.full(path);
            let seconds = self.seconds.entry(second).or_default();
            seconds.early |= early;
            if !seconds.is_full() {
                seconds.contents.insert(hash(&path, Some(size)));
            }
        }
    }

    /// What has this status at `path` is replaced or removed.
    pub(super) fn leaves(&mut self, path: &[u8], stat: &Stat) {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => self.left(path, second_and_size(&stamp(stat))),
            // Files below a directory, or what a link led to.
            _ => self.lost(path),
        }
    }

    /// What was at `path` or below it is gone, and nobody knows what it was; it was there
    /// before this move began.
    pub(super) fn lost(&mut self, path: &[u8]) {
        let path = self.full(path);
        for second in self.lost_seconds() {
            let second = self.seconds.entry(second).or_default();
            if !second.is_full() {
                second.anything.insert(hash(&path, None));
            }
        }
    }

    /// Anything could have been anywhere.
    pub(super) fn lost_all(&mut self) {
        for second in self.lost_seconds() {
            self.seconds.entry(second).or_default().all = true;
        }
    }

    /// The seconds that something may have had which was written before this move began:
    /// some file systems are a tick ahead.
    fn lost_seconds(&self) -> [i64; 2] {
        [self.began, self.began + 1]
    }

    /// Whether a file of this size and second may have been at `path` before.
    pub(super) fn repeats(&self, path: &[u8], (second, size): (i64, u64)) -> bool {
        let Some(second) = self.seconds.get(&second) else {
            return false;
        };
        if second.all {
            return true;
        }
        let path = self.full(path);
        let path = path.as_slice();
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let mut above = ends.map(|(end, _)| &path[..end]).chain([path]);
        second.contents.contains(&hash(path, Some(size)))
            || above.any(|path| second.anything.contains(&hash(path, None)))
    }

    /// Whether a cache that knows a file of `second` may have been written before it.
    pub(super) fn is_early(&self, second: i64) -> bool {
        self.seconds.get(&second).is_some_and(|second| second.early)
    }

    /// The slot has been used until now.
    pub(super) fn used_until_now(&mut self) {
        self.used = self.used.max(now().tv_sec);
    }

    /// Whether the clock has gone back since the slot was used: then its caches may know
    /// files of seconds that are still to come.
    pub(super) fn is_to_come(&self) -> bool {
        now().tv_sec + SLACK < self.used
    }
}

impl Second {
    /// Whether every content counts as one of this second already.
    fn is_full(&mut self) -> bool {
        if self.contents.len() + self.anything.len() >= MOST {
            self.contents.clear();
            self.anything.clear();
            self.all = true;
        }
        self.all
    }
}

fn hash(path: &[u8], size: Option<u64>) -> u64 {
    let mut hash = Sha256::new();
    hash.update(size.map_or([0xff; 8], u64::to_be_bytes));
    hash.update(path);
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}

/// The time that files get: it goes by ticks of some milliseconds.
pub(super) fn now() -> Timespec {
    clock_gettime(ClockId::RealtimeCoarse)
}

/// The time now, finer than that of files.
pub(super) fn precisely() -> Timespec {
    clock_gettime(ClockId::Realtime)
}

/// Waits until what is written gets a later time than anything that was written at
/// `time`. That is a tick at most, and nothing where the clock was set.
pub(super) fn wait_for_tick(time: Timespec) {
    const TICK: i64 = 20_000_000;
    loop {
        let nanoseconds =
            |time: Timespec| i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
        let left = nanoseconds(time) - nanoseconds(now());
        if left < 0 || left > TICK.into() {
            return;
        }
        std::thread::sleep(Duration::from_micros(250));
    }
}

/// Waits until the second after `second` has begun; at most about one, whatever the clock says.
pub(super) fn wait_for_second_after(second: i64) {
    let present = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let next = Duration::from_secs((second + 1).unsigned_abs());
    let left = next.saturating_sub(present.unwrap_or_default());
    // The time of files lags behind by a tick.
    std::thread::sleep(left.min(Duration::from_secs(1)));
    wait_for_tick(precisely());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_known_by_its_path_size_and_second() {
        let mut past = Past::default();
        past.begin();
        let second = past.began + 5;
        past.left(b"a/b", (second, 7));
        assert!(past.repeats(b"a/b", (second, 7)));
        assert!(!past.repeats(b"a/b", (second, 8)));
        assert!(!past.repeats(b"a/b", (second + 1, 7)));
        assert!(!past.repeats(b"a", (second, 7)));
        assert!(past.is_early(second));
        past.left(b"a/b", (past.began - 1, 7));
        assert!(!past.repeats(b"a/b", (past.began - 1, 7)), "it is over");
    }

    #[test]
    fn what_is_not_known_could_be_anything() {
        let mut past = Past::default();
        past.begin();
        past.lost(b"dir");
        let second = past.began;
        assert!(past.repeats(b"dir/deep/file", (second, 1)));
        assert!(past.repeats(b"dir", (second, 1)));
        assert!(!past.repeats(b"dirt", (second, 1)));
        for n in 0..=MOST as u64 {
            past.left(b"f", (second + 60, n));
        }
        assert!(past.repeats(b"other", (second + 60, 3)));
        let unknown = Past::unknown();
        assert!(unknown.repeats(b"x", (unknown.began, 0)));
    }

    #[test]
    fn what_is_written_after_a_tick_is_newer() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, "").unwrap();
            std::fs::metadata(&path).unwrap().modified().unwrap()
        };
        for i in 0..20 {
            let before = write(&format!("before-{i}"));
            wait_for_tick(precisely());
            assert!(write(&format!("after-{i}")) > before);
        }
    }

    #[test]
    fn it_goes_from_process_to_process() {
        let mut past = Past::default();
        past.left(b"f", (now().tv_sec + 60, 3));
        let text = serde_json::to_string(&past).unwrap();
        assert_eq!(serde_json::from_str::<Past>(&text).unwrap(), past);
        let old: Past = serde_json::from_str("{}").unwrap();
        assert_eq!(old, Past::default());
        assert!(!old.is_to_come());
    }
}
