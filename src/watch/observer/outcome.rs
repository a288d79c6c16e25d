//! What came of it: commits that are done, and who is told.

use crate::engine::{CommitDone, Wanted};
use crate::model::JSON_FORMAT;
use crate::watch::result::{CommitResult, worst};

use super::{Observer, REFILL, SHOWN, Seen, WINDOW};

impl Observer<'_> {
    /// Counts a commit as handled, unless something of it was left for the next time.
    pub(super) fn handle_done(&mut self, done: CommitDone) {
        let id = done.commit.id;
        if done.is_left {
            self.backlog.left.insert(id);
            return;
        }
        if !self.backlog.handled.insert(id) {
            return;
        }
        self.pace.dirty = true;
        self.pace.since_gc += 1;
        self.tell_result(&done);
        self.recent.push_front(Seen {
            commit: done.commit,
            jobs: done.jobs,
            cancelled: done.cancelled,
        });
        self.recent.truncate(SHOWN);
        let handled = |wanted: &&Wanted| self.backlog.handled.contains(&wanted.commit.id);
        let count = self.sent.iter().filter(handled).count();
        let has_more = self.sent.len() >= self.window;
        if count == self.sent.len() {
            self.window = WINDOW;
        }
        if has_more && (count >= REFILL || count == self.sent.len()) {
            self.publish(false);
        }
    }

    /// Tells whoever wants to know that a commit is done, unless all of it was known.
    fn tell_result(&mut self, done: &CommitDone) {
        let Some(to) = &self.options.on_result else {
            return;
        };
        if done.tasks.iter().all(|task| task.reused) {
            return;
        }
        let id = done.commit.id;
        let at = self.tips.at.iter().filter(|(_, tip)| **tip == id);
        let result = CommitResult {
            format: JSON_FORMAT,
            commit: id,
            subject: done.commit.subject.clone(),
            refs: at.map(|(name, _)| name.to_string()).collect(),
            status: worst(&done.tasks),
            tasks: done.tasks.clone(),
        };
        if !to.send(result) {
            let id = id.short();
            self.warn(format!(
                "the command for results is too slow: that of {id} is left out"
            ));
        }
    }
}
