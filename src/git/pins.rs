//! Pins: refs that keep a commit which a slot holds, and which no other ref of the
//! user's reaches any more, from being pruned while its task runs.
//!
//! Whether other refs reach a commit is looked at in small steps, each of which costs
//! about as much as a pin: what is not known after that is pinned, which does no harm.
//! So no task waits for a walk through a long history, and all tasks together walk it
//! once at most.
//!
//! A pin is a file, as git has it for a ref, and no `git` process is started for it; a
//! repository with reftables has no such files, and git does it there. Nothing of it fires
//! a hook of the user's. What a killed process leaves is removed with the next task in
//! that slot, when the next run starts, or by `git ci gc`.

use std::collections::{BinaryHeap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use gix::ObjectId;

use super::commit_object;
use super::ref_store::RefStore;
use super::{GitError, Repo};
use crate::model::Oid;
use crate::private::Sharing;

/// Where they are: the rest of the name is the slot's.
const PINS: &str = "refs/ci/pin/";

/// How many commits are looked at for one.
const STEP: usize = 128;

/// More commits than this are not kept in mind, about 20 MB.
const MOST_SEEN: usize = 400_000;

/// What refs reach, as far as it was looked at.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// Tips that were not looked at yet, the last one first.
    tips: Vec<ObjectId>,
    all_tips: HashSet<ObjectId>,
    /// Reached by some tip.
    seen: HashSet<ObjectId>,
    /// Those whose parents were not looked at yet, the newest first.
    queue: BinaryHeap<(i64, ObjectId)>,
}

impl Reach {
    /// What these tips reach. The first ones are looked at first.
    pub(crate) fn of(tips: &[ObjectId]) -> Self {
        Self {
            tips: tips.iter().rev().copied().collect(),
            all_tips: tips.iter().copied().collect(),
            seen: HashSet::new(),
            queue: BinaryHeap::new(),
        }
    }

    /// Whether a commit is known to be reached. Where it is not found in a few steps it is
    /// not known.
    pub(crate) fn reaches(&mut self, objects: &gix::Repository, commit: ObjectId) -> bool {
        if self.all_tips.contains(&commit) || self.seen.contains(&commit) {
            return true;
        }
        let Some((_, time)) = read(objects, commit) else {
            return false;
        };
        for _ in 0..STEP {
            match (self.queue.peek(), self.tips.last()) {
                // Parents are older, as a rule; where they are not, it is pinned.
                (Some((newest, _)), _) if *newest >= time => {
                    let Some((_, next)) = self.queue.pop() else {
                        return false;
                    };
                    let parents = read(objects, next).map(|(parents, _)| parents);
                    for parent in parents.unwrap_or_default() {
                        self.add(objects, parent);
                    }
                }
                (_, Some(&tip)) => {
                    self.tips.pop();
                    self.add(objects, tip);
                }
                (_, None) => return false,
            }
            if self.seen.contains(&commit) {
                return true;
            }
        }
        false
    }

    fn add(&mut self, objects: &gix::Repository, commit: ObjectId) {
        if self.seen.len() < MOST_SEEN
            && !self.seen.contains(&commit)
            && let Some((_, time)) = read(objects, commit)
        {
            self.seen.insert(commit);
            self.queue.push((time, commit));
        }
    }
}

/// The parents of a commit and its time; `None` where there is none, which is also what a
/// shallow repository has at its end.
fn read(objects: &gix::Repository, id: ObjectId) -> Option<(Vec<ObjectId>, i64)> {
    let object = objects.try_find_object(id).ok()??;
    if !object.kind.is_commit() {
        return None;
    }
    let commit = commit_object::parse(&object.data, id.kind()).ok()?;
    Some((commit.parents, commit.time))
}

impl Repo {
    fn has_reftable(&self) -> bool {
        RefStore::of(self.common_dir()) == RefStore::Reftable
    }

    fn pin_file(&self, slot: &str) -> PathBuf {
        self.common_dir().join(self.pin_name(slot))
    }

    /// The ref of a slot. Those who share a repository have slots of their own, and number
    /// them as everybody does.
    fn pin_name(&self, slot: &str) -> String {
        format!("{}{slot}", self.pin_prefix())
    }

    fn pin_prefix(&self) -> String {
        match self.other_user() {
            Some(uid) => format!("{PINS}u{uid}-"),
            None => PINS.to_owned(),
        }
    }

    /// Pins a commit for a slot, of which the caller has the lock.
    ///
    /// # Errors
    /// Where the ref cannot be written.
    pub(crate) fn pin(&self, slot: &str, commit: &Oid) -> Result<(), GitError> {
        if self.has_reftable() {
            let mut command = self.ref_command();
            let (name, commit) = (self.pin_name(slot), commit.to_string());
            command.args(["update-ref", "--no-deref", &name, &commit]);
            return self.git().output(&mut command).map(|_| ());
        }
        let file = self.pin_file(slot);
        write_ref(&file, commit, self.sharing()).map_err(|source| GitError::Io {
            verb: format!("update-ref {}", self.pin_name(slot)),
            source,
        })
    }

    /// Removes the pin of a slot, of which the caller has the lock. `pinned` is whether
    /// there must be one: it may be packed then.
    ///
    /// # Errors
    /// Where it cannot be removed.
    pub(crate) fn unpin(&self, slot: &str, pinned: bool) -> Result<(), GitError> {
        let removed = !self.has_reftable() && fs::remove_file(self.pin_file(slot)).is_ok();
        if !pinned && !removed {
            return Ok(());
        }
        // `git gc` of the user may have packed it meanwhile.
        if removed {
            let packed = fs::read(self.common_dir().join("packed-refs")).unwrap_or_default();
            let name = format!(" {}\n", self.pin_name(slot)).into_bytes();
            if !packed.windows(name.len()).any(|window| window == name) {
                return Ok(());
            }
        }
        self.delete_pin(slot)
    }

    /// Removes a pin, wherever it is.
    ///
    /// # Errors
    /// Those of git.
    pub fn delete_pin(&self, slot: &str) -> Result<(), GitError> {
        let mut command = self.ref_command();
        command.args(["update-ref", "--no-deref", "-d"]);
        command.arg(self.pin_name(slot));
        self.git().output(&mut command).map(|_| ())
    }

    /// The slots of this user that have a pin, whether they are in use or not, by the names of their
    /// directories.
    ///
    /// # Errors
    /// Those of git.
    pub fn pins(&self) -> Result<Vec<String>, GitError> {
        let mut command = self.git_command();
        command.args(["for-each-ref", "--format=%(refname)", PINS]);
        let listed = self.git().read(&mut command)?;
        let prefix = self.pin_prefix();
        let names = listed.lines().filter_map(|name| name.strip_prefix(&prefix));
        Ok(names.map(str::to_owned).collect())
    }

    /// The same, as far as it can be told without git.
    pub fn loose_pins(&self) -> Vec<String> {
        let prefix = self.pin_prefix();
        let entries = fs::read_dir(self.common_dir().join(PINS));
        let names = entries.into_iter().flatten().flatten();
        names
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| !name.ends_with(".lock"))
            .filter_map(|name| {
                let name = format!("{PINS}{name}");
                name.strip_prefix(&prefix).map(str::to_owned)
            })
            .collect()
    }
}

/// Writes a loose ref as git does: by a lock beside it.
fn write_ref(file: &Path, commit: &Oid, sharing: Sharing) -> io::Result<()> {
    let lock = file.with_extension("lock");
    let open = || File::options().write(true).create_new(true).open(&lock);
    let mut opened = open();
    if let Err(error) = &opened {
        match error.kind() {
            io::ErrorKind::NotFound => {
                make_dirs(file.parent().unwrap_or(file), sharing)?;
            }
            // Only who has the slot makes it: one that is there was left by the dead.
            io::ErrorKind::AlreadyExists => fs::remove_file(&lock)?,
            _ => {}
        }
        opened = open();
    }
    opened?.write_all(format!("{commit}\n").as_bytes())?;
    sharing.apply(&lock)?;
    fs::rename(&lock, file)
}

/// Makes directories below `refs`, for those with whom the repository is shared.
fn make_dirs(dir: &Path, sharing: Sharing) -> io::Result<()> {
    // Not the repository itself, which may have been moved away.
    if let Some(above) = dir.parent()
        && above.ends_with("refs/ci")
        && !above.is_dir()
    {
        make_dirs(above, sharing)?;
    }
    match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.and_then(|()| sharing.apply(dir)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use gix::objs::Write as _;

    /// A repository with a chain of commits, and their ids, the oldest first.
    fn chain(length: usize) -> (tempfile::TempDir, gix::Repository, Vec<ObjectId>) {
        let dir = tempfile::tempdir().unwrap();
        let repo = gix::init_bare(dir.path()).unwrap();
        let tree = repo.empty_tree().id().detach();
        let mut ids = Vec::new();
        for time in 0..length {
            let parent = ids.last().map(|id| format!("parent {id}\n"));
            let who = format!("A <a@b> {} +0000", 1_700_000_000 + time);
            let text = format!(
                "tree {tree}\n{}author {who}\ncommitter {who}\n\nx\n",
                parent.unwrap_or_default(),
            );
            let commit = (gix::objs::Kind::Commit, text.as_bytes());
            ids.push(repo.objects.write_buf(commit.0, commit.1).unwrap());
        }
        (dir, repo, ids)
    }

    #[test]
    fn what_is_near_a_tip_is_found_at_once_and_the_rest_in_steps() {
        let (_dir, repo, ids) = chain(3 * STEP);
        let tip = *ids.last().unwrap();
        let mut reach = Reach::of(&[tip]);
        assert!(reach.reaches(&repo, tip));
        assert!(reach.reaches(&repo, ids[ids.len() - 20]));
        let mut steps = 0;
        while !reach.reaches(&repo, ids[0]) {
            steps += 1;
            assert!(steps < 5, "each step goes on where the last one ended");
        }
        assert!(steps > 0);
        assert!(reach.reaches(&repo, ids[1]));
        // A commit that nothing reaches costs no walk beyond its time.
        let mut reach = Reach::of(&[ids[ids.len() - 3]]);
        assert!(!reach.reaches(&repo, tip));
        assert!(reach.seen.len() < 3);
        assert!(!reach.reaches(&repo, repo.empty_tree().id().detach()));
    }
}
