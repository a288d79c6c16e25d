//! What is new: looking at the refs, the jobs file and the history.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use crate::fail;
use crate::git::{GraphCommit, Move, RefReader, WantedRefs};
use crate::watch::jobs::Change;
use crate::watch::wanted;

use super::{Observer, WatchError, describe};

/// A lock on a checkpoint is held for milliseconds.
const STALE_LOCK: Duration = Duration::from_secs(60);

/// For so long a repository may be without a `HEAD`.
const CONVERSION: Duration = Duration::from_secs(1);

impl Observer<'_> {
    /// Marks where watching begins.
    pub(super) fn begin(&mut self) -> Result<(), WatchError> {
        for lock in self.repo.stale_locks(STALE_LOCK) {
            // Where it stays, that checkpoint does, and the reason is told.
            let _ = fs::remove_file(lock);
        }
        self.read_tips()?;
        if let Some(since) = self.options.since {
            let names = self.tips.at.keys().cloned();
            let moves: Vec<_> = names.map(|name| Move { name, to: since }).collect();
            // In this order: whenever it ends, no ref is without a checkpoint that had one.
            self.checkpoints.advance(&moves)?;
            let others = self.checkpoints.names();
            let others = others.filter(|name| !self.tips.at.contains_key(*name));
            let others: Vec<_> = others.cloned().collect();
            self.checkpoints.forget(&others)?;
            if !self.checkpoints.has_begun() {
                self.checkpoints.begin(BTreeMap::new())?;
            }
        } else if self.checkpoints.is_damaged() {
            self.warn(
                "the file that says where watching began is damaged: \
                 branches without a checkpoint begin anew at their tips"
                    .to_owned(),
            );
            self.checkpoints.begin(self.tips.at.clone())?;
        } else if self.checkpoints.is_first() {
            self.checkpoints.begin(self.tips.at.clone())?;
        }
        Ok(())
    }

    /// Looks at the jobs file and the refs, if that is due, and says what is wanted.
    pub(super) fn look_around(&mut self) -> Result<(), WatchError> {
        if !self.pace.stale || self.closed || self.pace.is_paused() {
            return Ok(());
        }
        self.pace.stale = false;
        self.pace.pause = None;
        self.pace.looked = Instant::now();
        self.check_place()?;
        if self.options.once && !self.pace.unseen {
            return Ok(());
        }
        let moved = match self.read_tips() {
            Ok(moved) => moved,
            Err(error) => {
                self.check_place()?;
                self.complain(&error);
                return Ok(());
            }
        };
        let spooled = self.read_spool(moved || self.pace.unseen);
        let moved = moved || spooled;
        let mut jobs = self.look_at_jobs(moved);
        // What branches reach now may be wanted with other jobs than before.
        jobs |= moved && self.tips.at.keys().any(|name| self.jobs.ask_for(name));
        match self.notice.extend() {
            // What came there before it was watched gave no event.
            Ok(true) => self.inbox.bell()(),
            Ok(false) => {}
            Err(error) => self.say_polling(&error),
        }
        let switched = self.read_head();
        if moved || self.pace.unseen {
            self.pace.unseen = true;
            self.walk();
            self.pace.dirty = true;
            fail::point("noticed");
        }
        self.pace.complaint = None;
        if self.pace.unseen || jobs {
            self.pace.unseen = false;
            self.pace.took = self.pace.looked.elapsed();
            self.publish(jobs);
        } else if switched {
            self.show();
        }
        Ok(())
    }

    /// Whether the repository is still there. For a moment of its conversion by `git refs
    /// migrate` it has no `HEAD`.
    pub(super) fn check_place(&self) -> Result<(), WatchError> {
        let common = self.repo.common_dir();
        let begun = Instant::now();
        loop {
            let meta = fs::metadata(common);
            let same = meta.is_ok_and(|meta| (meta.dev(), meta.ino()) == self.place);
            match common.join("HEAD").exists() {
                true if same => return Ok(()),
                false if same && begun.elapsed() < CONVERSION => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                _ => return Err(WatchError::Gone(common.to_owned())),
            }
        }
    }

    /// Reads the watched refs; whether anything moved.
    pub(super) fn read_tips(&mut self) -> Result<bool, WatchError> {
        let wanted = self.options.patterns.wanted();
        let refs = self.refs.read(&wanted).map_err(WatchError::Refs)?;
        let mut tips = BTreeMap::new();
        for (name, id) in refs {
            if !self.options.patterns.matches(&name) {
                continue;
            }
            if self.tips.at.get(&name) == Some(&id) {
                tips.insert(name, id);
                continue;
            }
            match self.history.peel(&id) {
                Ok(Some(commit)) => {
                    tips.insert(name, commit);
                }
                // A tag of something else than a commit is nothing to test.
                Ok(None) => {}
                Err(error) => {
                    if self.tips.broken.insert(id) {
                        let why = describe(&error);
                        self.warn(format!("{} is left out: {why}", name.short()));
                    }
                }
            }
        }
        self.tips.look += 1;
        let mut moved = tips.len() != self.tips.at.len();
        for (name, id) in &tips {
            if self.tips.at.get(name) != Some(id) {
                moved = true;
                self.tips.moved.insert(name.clone(), self.tips.look);
            }
        }
        self.tips.moved.retain(|name, _| tips.contains_key(name));
        self.tips.at = tips;
        Ok(moved)
    }

    /// Reads what is checked out, which the display marks; whether that is another commit.
    fn read_head(&mut self) -> bool {
        let wanted = WantedRefs {
            dirs: Vec::new(),
            head: true,
        };
        let head = match self.repo.work_tree() {
            Some(_) => RefReader::new(self.repo).read(&wanted).ok(),
            None => None,
        };
        let head = head.and_then(|found| Some(found.into_iter().next()?.1));
        let switched = self.head != head;
        self.head = head;
        switched
    }

    /// What branches reach that jobs ask for and their own checkpoints do not: another branch
    /// may have brought it, where those jobs did not run. What such a branch has come to reach
    /// since the last time is not handled any more.
    fn new_to_branches(&mut self) -> Vec<GraphCommit> {
        let jobs = &self.jobs;
        let asked_for = self.tips.at.iter().filter(|(name, _)| jobs.ask_for(name));
        let asked_for: Vec<_> = asked_for.map(|(name, tip)| (name.clone(), *tip)).collect();
        let mut all = Vec::new();
        for (name, tip) in asked_for {
            let before = self.tips.asked_for.insert(name.clone(), tip);
            let Some(checkpoint) = self.checkpoints.of(&name) else {
                continue;
            };
            let new = self.history.unseen(&[tip], &[checkpoint]).commits;
            if let Some(before) = before.filter(|before| *before != tip) {
                for commit in self.history.unseen(&[tip], &[before]).commits {
                    self.backlog.handled.remove(&commit.id);
                }
            }
            all.extend(new);
        }
        all
    }

    pub(super) fn look_at_jobs(&mut self, moved: bool) -> bool {
        match self.jobs.look(moved) {
            None => return false,
            Some(Change::Jobs(count)) => {
                let jobs = if count == 1 { "job" } else { "jobs" };
                self.note(format!(
                    "the jobs file has changed: {count} {jobs} from now on"
                ));
                return true;
            }
            Some(Change::Mended) => self.note("the jobs file is in order again".to_owned()),
            Some(Change::Broken(error)) => {
                self.warn(format!("the old jobs still count: failed to {error}"));
            }
        }
        false
    }

    /// Finds what the tips reach and the checkpoints do not.
    pub(super) fn walk(&mut self) {
        let mut seen = self.checkpoints.ids();
        let begun: Vec<_> = self.checkpoints.all_begun().map(|(_, id)| id).collect();
        for id in &begun {
            // A commit that is gone hides nothing.
            if let Ok(parents) = self.history.parents(id) {
                seen.extend(parents.iter().copied());
            }
        }
        let hidden: HashSet<_> = seen.iter().copied().collect();
        let mut tips: Vec<_> = self.tips.at.values().copied().collect();
        tips.retain(|id| !hidden.contains(id));
        tips.sort_unstable();
        tips.dedup();
        let mut graph = self.history.unseen(&tips, &seen);
        let asked_for = self.new_to_branches();
        if !asked_for.is_empty() {
            graph = graph.with(asked_for);
        }
        for (id, error) in &graph.unreadable {
            if self.tips.ends.insert(*id) {
                let why = describe(error);
                self.warn(format!("what is behind {} is left out: {why}", id.short()));
            }
        }

        let mut forced = Vec::new();
        for (name, tip) in &self.tips.at {
            if let Some(begun) = self.checkpoints.begun(name)
                && (begun == *tip || self.history.reaches(tip, &begun))
            {
                forced.push(begun);
            }
        }
        forced.sort_unstable();
        forced.dedup();

        let mut by_urgency: Vec<_> = self.tips.at.iter().collect();
        by_urgency.sort_by_cached_key(|(name, id)| {
            let moved = self.tips.moved.get(*name).copied().unwrap_or(0);
            let time = graph.get(id).map_or(i64::MIN, |commit| commit.time);
            (std::cmp::Reverse((moved, time)), (*name).clone())
        });
        let by_urgency: Vec<_> = by_urgency.into_iter().map(|(_, id)| *id).collect();
        let told = [&*forced, &*self.spooled.wanted].concat();
        let backlog = &mut self.backlog;
        backlog.order = wanted::order(&graph, &by_urgency, &told, self.options.order);
        backlog.graph = graph;
        backlog.forced = forced;
        let live: HashSet<_> = backlog.order.iter().copied().collect();
        backlog.handled.retain(|id| live.contains(id));
        backlog.left.retain(|id| live.contains(id));
        let recent: Vec<_> = self.recent.iter().map(|seen| seen.commit.id).collect();
        let all: Vec<_> = self.tips.at.values().copied().collect();
        let reached = self.history.reached(&all, &recent);
        self.recent.retain(|seen| reached.contains(&seen.commit.id));
    }
}
