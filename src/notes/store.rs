//! The note store: records go into the notes ref, whole, durable and without losing
//! anybody else's.
//!
//! `git notes` passes no old value when it moves its ref, so of two at a time one is
//! lost. Here every batch is: read the tip, merge each note by union, write the objects,
//! move the ref *from that tip*; where it has moved, begin again. One batch is one notes
//! commit. Processes of git-ci take turns by a lock on a file (released by death), so
//! that they do not waste each other's work; correctness rests on the ref alone. And what
//! `git notes` left out of the notes while a store is open is added again.
//!
//! Nothing here knows what a record means; see [`records`](super::records) for that.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gix::ObjectId;
use gix::objs::Kind;

use super::check::check_newest;
use super::commit::{Identity, is_ours, parents};
use super::error::NotesError;
use super::read::{self, TreeError};
use super::tree::NotesTree;
use crate::fail;
use crate::git::Repo;
use crate::git::command::{Git, GitError};
use crate::git::objects::{NewObjects, ObjectWriter, from_gix};
use crate::git::packs::Kept;
use crate::git::reading::Objects;
use crate::git::ref_store::RefStore;
use crate::git::ref_writer::{Obstacle, RefWriter, read_ref};
use crate::lock;
use crate::model::{Note, Oid};
use crate::private;

/// How long a lock on the ref may be in the way before that is an error.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// A lock on the ref that is older was left by a process that died: git holds one for
/// milliseconds.
const LOCK_LIFE: Duration = Duration::from_secs(60);

/// How long to wait for one's turn; after that, the ref's own protection must do.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// For how long what was added is remembered, in case somebody leaves it out who has read
/// the notes before: `git notes edit` waits for an editor.
const REMEMBERED: Duration = Duration::from_secs(10 * 60);

/// And no more lines than this.
const MOST_REMEMBERED: usize = 20_000;

/// So many commits are looked through for the last one of ours.
const LOOK_BACK: usize = 1000;

/// How often others may move the ref first before that is an error.
const LOST_RACES: u32 = 1000;

/// No file of a ref is longer, in bytes.
const MAX_LOOSE: u64 = 4096;

/// How often an update may fail that nothing is in the way of before that is an error.
const FAILURES: u32 = 3;

/// The tip of the notes ref, by one or two small reads; `None` where nothing was noted yet.
///
/// # Errors
/// Where the ref is ill-named, broken or cannot be read.
pub fn notes_tip(repo: &Repo, notes_ref: &str) -> Result<Option<Oid>, NotesError> {
    let tip = read_ref(&repo.objects(), notes_ref)?;
    Ok(tip.as_ref().map(from_gix))
}

/// Where a symbolic ref leads to, if not to notes.
fn led_elsewhere(repo: &Repo, notes_ref: &str) -> Option<String> {
    // Most are not symbolic, which is seen without a process.
    let loose = crate::git::read_file(&repo.common_dir().join(notes_ref), MAX_LOOSE);
    let files = RefStore::of(repo.common_dir()) != RefStore::Reftable;
    if files && !loose.is_some_and(|text| text.starts_with(b"ref:")) {
        return None;
    }
    let mut ask = repo.git_command();
    ask.args(["symbolic-ref", "-q", notes_ref]);
    let target = repo.git().read(&mut ask).ok()?;
    (!target.starts_with("refs/notes/")).then_some(target)
}

/// The note of `commit` as it stands, with the lines of everybody; empty where there is
/// none, and where it is too large or away.
///
/// # Errors
/// Where the ref or the notes cannot be read.
pub fn read_note(repo: &Repo, notes_ref: &str, commit: &Oid) -> Result<Note, NotesError> {
    let objects = repo.objects();
    let Some(tip) = read_ref(&objects, notes_ref)? else {
        return Ok(Note::default());
    };
    let root = read::tree_of(&objects, tip)?;
    let blobs = read::blobs_of(&objects, root, to_gix(&objects, commit)?)?;
    match read::read_note(&objects, &blobs) {
        Err(TreeError::TooLong { .. } | TreeError::Away { .. }) => Ok(Note::default()),
        read => Ok(read?),
    }
}

/// Writes notes. One is enough for a run; it may move to another thread.
pub struct NoteStore {
    notes_ref: String,
    git: Git,
    objects: Objects,
    writer: ObjectWriter,
    refs: RefWriter,
    identity: Identity,
    /// Locked while one process of git-ci writes.
    turn: PathBuf,
    /// What killed processes left was cleared up.
    tidied: bool,
    /// The commit that the ref was moved to last.
    last: Option<ObjectId>,
    /// What was added lately.
    recent: VecDeque<(Instant, (Oid, String))>,
}

/// What is to be added to which note.
type Lines = Vec<(Oid, String)>;

/// What came of a batch.
#[derive(Debug)]
pub struct Appended {
    /// Where the ref is; `None` where there are no notes.
    pub tip: Option<Oid>,
    /// The notes that could not be added to, being damaged or too large; completes
    /// "failed to …".
    pub refused: Vec<(Oid, String)>,
}

impl NoteStore {
    /// Gets ready to write, and checks what can be checked before there is something to
    /// lose: who writes, whether the repository can be written to and the ref be moved,
    /// and whether the newest notes are whole.
    ///
    /// # Errors
    /// [`NotesError::Identity`], [`NotesError::ReadOnly`], [`NotesError::Locked`],
    /// [`NotesError::Blocked`], an ill-named or broken ref, and notes that are damaged.
    pub fn open(repo: &Repo, notes_ref: &str) -> Result<Self, NotesError> {
        let mut objects = repo.objects();
        // Trees and notes that were replaced are never read again: a store that lives
        // long must not gather them.
        objects.object_cache_size(1024 * 1024);
        read_ref(&objects, notes_ref)?;
        if let Some(target) = led_elsewhere(repo, notes_ref) {
            let name = notes_ref.to_owned();
            return Err(NotesError::Elsewhere { name, target });
        }
        let identity = Identity::ask(repo)?;
        let common_dir = repo.common_dir();
        let writer = ObjectWriter::new(common_dir, objects.object_hash(), repo.sharing());
        let of_ref = common_dir.join(notes_ref);
        let dirs = [writer.dir(), &writer.dir().join("pack")];
        let dirs = dirs.into_iter().chain(of_ref.ancestors().skip(1));
        let dirs = dirs.take_while(|dir| *dir != common_dir);
        for path in dirs.filter(|dir| dir.is_dir()) {
            let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
            rustix::fs::access(path, access).map_err(|errno| NotesError::ReadOnly {
                path: path.to_owned(),
                source: errno.into(),
            })?;
        }
        let mut store = Self {
            refs: RefWriter::new(
                repo.git(),
                common_dir,
                notes_ref,
                identity.name_and_address(),
            ),
            notes_ref: notes_ref.to_owned(),
            git: repo.git().clone(),
            objects,
            writer,
            identity,
            turn: repo.ci_dir().join("notes.lock"),
            tidied: false,
            last: None,
            recent: VecDeque::new(),
        };
        if let Some(tip) = store.rehearse()? {
            check_newest(&store.objects, tip)?;
        }
        Ok(store)
    }

    /// Finds out whether the ref can be moved, and where it is.
    fn rehearse(&mut self) -> Result<Option<ObjectId>, NotesError> {
        let mut tries = Tries::new();
        loop {
            let old = read_ref(&self.objects, &self.notes_ref)?;
            let hash = self.objects.object_hash();
            let Err(source) = self.refs.rehearse(old, hash) else {
                return Ok(old);
            };
            let common_dir = self.objects.common_dir();
            if old.is_none()
                && let Some(obstacle) = Obstacle::of(&self.git, common_dir, &self.notes_ref)
            {
                let name = self.notes_ref.clone();
                return Err(NotesError::Blocked {
                    name,
                    obstacle,
                    source,
                });
            }
            let now = read_ref(&self.objects, &self.notes_ref)?;
            self.hindered(&mut tries, now != old, source)?;
        }
    }

    /// Adds each line (a record, or what is said of records) to the note of its commit,
    /// all in one notes commit, and returns once everything is on the disk.
    ///
    /// What this store has added in the last minutes and what is not in the notes any more
    /// is added again: whoever moves the ref without looking where it was, as `git notes`
    /// does, leaves it out.
    ///
    /// # Errors
    /// Nothing of the batch is lost by an error: it may be appended again, and what was
    /// stored after all is found and not doubled.
    pub fn append<L: Display>(&mut self, batch: &[(Oid, L)]) -> Result<Appended, NotesError> {
        let turn = self.take_turn(TURN_TIMEOUT);
        if !self.tidied {
            self.tidied = true;
            self.writer.tidy();
        }
        let batch: Lines = batch
            .iter()
            .map(|(commit, line)| (*commit, line.to_string()))
            .collect();
        let mut tries = Tries::new();
        loop {
            let old = read_ref(&self.objects, &self.notes_ref)?;
            let again = if self.may_lack_ours(old) {
                self.recent.len()
            } else {
                0
            };
            let again = self.recent.iter().take(again).map(|(_, line)| line);
            let (new, refused) = match self.prepare(old, again.chain(&batch)) {
                Ok(prepared) => prepared,
                // What nothing leads to any more may be gone by now.
                Err(_) if self.has_moved(old, &mut tries) => continue,
                Err(error) => return Err(error),
            };
            let Some((tip, new)) = new else {
                let tip = old.as_ref().map(from_gix);
                return Ok(Appended { tip, refused });
            };
            self.wait_for_lock(&tries)?;
            let kept = self.writer.write(&new)?;
            let moved = loop {
                let moved = self.refs.update(tip, old);
                fail::point("ref-moved");
                let Err(error) = moved else {
                    break true;
                };
                let now = read_ref(&self.objects, &self.notes_ref)?;
                if now == Some(tip) {
                    break true;
                }
                self.hindered(&mut tries, now != old, error)?;
                if now != old {
                    break false;
                }
            };
            if moved {
                self.stored(kept, turn.is_some())?;
                self.remember(tip, batch);
                let tip = Some(from_gix(&tip));
                return Ok(Appended { tip, refused });
            }
        }
    }

    /// Whether the notes at `tip` may lack what this store has added lately: between its
    /// last commit and that there is more than commits of git-ci. `git notes` makes one
    /// whose parent is the ref as it is, and whose tree is of the notes as they were when
    /// it began.
    fn may_lack_ours(&self, tip: Option<ObjectId>) -> bool {
        let Some(last) = self.last else {
            return false;
        };
        let mut next = tip;
        for _ in 0..LOOK_BACK {
            match next {
                Some(commit) if commit == last => return false,
                Some(commit) if is_ours(&self.objects, commit) => {
                    next = parents(&self.objects, commit).first().copied();
                }
                _ => break,
            }
        }
        true
    }

    /// Takes note of what was added last.
    fn remember(&mut self, tip: ObjectId, batch: Lines) {
        self.last = Some(tip);
        let now = Instant::now();
        self.recent
            .extend(batch.into_iter().map(|line| (now, line)));
        while let Some((at, _)) = self.recent.front()
            && (at.elapsed() > REMEMBERED || self.recent.len() > MOST_REMEMBERED)
        {
            self.recent.pop_front();
        }
    }

    /// Makes the notes commit that adds `lines` to `old`, and all objects it needs, unless
    /// nothing would change; and the notes that cannot be added to.
    #[expect(clippy::type_complexity, reason = "two results, each used once")]
    fn prepare<'l>(
        &self,
        old: Option<ObjectId>,
        lines: impl Iterator<Item = &'l (Oid, String)>,
    ) -> Result<(Option<(ObjectId, NewObjects)>, Vec<(Oid, String)>), NotesError> {
        let root = match old {
            Some(tip) => Some(read::tree_of(&self.objects, tip)?),
            None => None,
        };
        let mut of_notes = BTreeMap::<ObjectId, Vec<&String>>::new();
        for (commit, line) in lines {
            let key = to_gix(&self.objects, commit)?;
            of_notes.entry(key).or_default().push(line);
        }
        let mut new = NewObjects::new(self.objects.object_hash());
        let mut tree = NotesTree::read(&self.objects, root)?;
        let (mut changed, mut refused) = (false, Vec::new());
        for (key, lines) in of_notes {
            let blobs = tree.get(key);
            let note = blobs.and_then(|blobs| read::read_note(&self.objects, &blobs));
            let mut note = match note {
                Ok(note) => note,
                // Without all of its lines it cannot be written.
                Err(error) if error.is_of_one_object() => {
                    let commit = from_gix(&key);
                    let source = std::error::Error::source(&error);
                    let cause = source.map_or(String::new(), |cause| format!(": {cause}"));
                    refused.push((
                        commit,
                        format!("add to the note of {commit}: {error}{cause}"),
                    ));
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let mut is_new = false;
            for line in lines {
                is_new |= note.insert(line);
            }
            if is_new {
                let blob = new.add(Kind::Blob, note.to_bytes())?;
                tree.set(key, blob)?;
                changed = true;
            }
        }
        if !changed {
            return Ok((None, refused));
        }
        let root = tree.write(&mut new)?;
        // git allows a tree in a commit's place, and a tree is nobody's parent.
        let is_commit = |tip: &ObjectId| {
            let found = self.objects.find_header(*tip);
            found.is_ok_and(|found| found.kind().is_commit())
        };
        let commit = self.identity.commit(root, old.filter(is_commit));
        let tip = new.add(Kind::Commit, commit)?;
        Ok((Some((tip, new)), refused))
    }

    /// The ref was moved: makes that durable. Objects need no other protection then.
    fn stored(&mut self, kept: Kept, has_turn: bool) -> Result<(), NotesError> {
        self.refs.sync().map_err(|source| NotesError::Sync {
            name: self.notes_ref.clone(),
            source,
        })?;
        drop(kept);
        if has_turn {
            // Results are stored, whatever becomes of this.
            let _ = self.writer.merge_many();
        }
        Ok(())
    }

    /// Ends writing: looks once more whether somebody has left out what was added, and
    /// leaves few packs behind. Where that does not come about, whoever writes next sees
    /// to it.
    ///
    /// # Errors
    /// Where what was left out cannot be added again.
    pub fn finish(&mut self) -> Result<(), NotesError> {
        let tip = read_ref(&self.objects, &self.notes_ref)?;
        if self.may_lack_ours(tip) {
            self.append::<String>(&[])?;
        }
        if self.tidied && self.take_turn(Duration::ZERO).is_some() {
            let _ = self.writer.merge();
        }
        Ok(())
    }

    /// Whether the ref is not at `old` any more, so that a new try is worth while.
    fn has_moved(&self, old: Option<ObjectId>, tries: &mut Tries) -> bool {
        tries.lost_races += 1;
        let now = read_ref(&self.objects, &self.notes_ref);
        tries.lost_races <= LOST_RACES && now.is_ok_and(|now| now != old)
    }

    /// Waits while somebody has locked the ref: what is written meanwhile would be
    /// written for nothing.
    fn wait_for_lock(&self, tries: &Tries) -> Result<(), NotesError> {
        let path = self.refs.lock_path();
        while let Some(held) = age(&path) {
            if held > LOCK_LIFE || tries.start.elapsed() > LOCK_TIMEOUT {
                let name = self.notes_ref.clone();
                return Err(NotesError::Locked { name, path, held });
            }
            pause();
        }
        Ok(())
    }

    /// Waits a moment before the next try, or says that there should be none.
    fn hindered(&self, tries: &mut Tries, moved: bool, source: GitError) -> Result<(), NotesError> {
        match age(&self.refs.lock_path()) {
            _ if moved => tries.lost_races += 1,
            Some(_) => self.wait_for_lock(tries)?,
            None => tries.failures += 1,
        }
        if tries.lost_races > LOST_RACES || tries.failures > FAILURES {
            let name = self.notes_ref.clone();
            return Err(NotesError::Update { name, source });
        }
        pause();
        Ok(())
    }

    /// Waits until no other process of git-ci writes. Where that cannot be found out, or
    /// takes too long (the other is stopped), goes on without.
    fn take_turn(&self, timeout: Duration) -> Option<File> {
        private::dir_in(self.turn.parent()?, "").ok()?;
        let file = private::open(&self.turn, private::Open::Append).ok()?;
        let taken = lock::exclusive_until(&file, Instant::now() + timeout);
        taken.unwrap_or(false).then_some(file)
    }
}

/// What stood in the way of one append so far.
struct Tries {
    start: Instant,
    lost_races: u32,
    failures: u32,
}

impl Tries {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            lost_races: 0,
            failures: 0,
        }
    }
}

/// Sleeps for 1 to 16 ms, so that those who collided do not collide again.
fn pause() {
    let random = getrandom::u64().unwrap_or_default();
    std::thread::sleep(Duration::from_micros(1000 + random % 15_000));
}

/// How long ago a file was written; `None` where there is none.
fn age(path: &Path) -> Option<Duration> {
    let written = fs::metadata(path).and_then(|meta| meta.modified()).ok()?;
    Some(written.elapsed().unwrap_or_default())
}

/// The id in gix's type.
pub(super) fn to_gix(objects: &Objects, id: &Oid) -> Result<ObjectId, NotesError> {
    match ObjectId::try_from(id.as_bytes()) {
        Ok(gix) if gix.kind() == objects.object_hash() => Ok(gix),
        _ => Err(NotesError::ForeignId { id: *id }),
    }
}
