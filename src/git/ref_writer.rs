//! One ref, moved from a known value to the next.
//!
//! Moving is left to `git update-ref`: a process that is killed inside gix
//! leaves `packed-refs.lock` or the ref's own lock behind, and every later write fails. A
//! child has the whole transaction in one write to its pipe and completes it whatever
//! happens to us. It is kept for the next update: that takes 0.4 ms, a new process 2.2 ms.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use gix::ObjectId;
use gix::hash::Kind;

use super::command::{Git, GitError, Version};
use super::durable::sync_dir;
use super::reading::Objects;
use super::ref_store::RefStore;
use super::refs::{RefError, read_one};
use super::repo::Repo;
use crate::model::RefName;

/// As in git, a chain of symbolic refs is no longer.
const MAX_SYMBOLIC: u32 = 5;

/// Before this, `update-ref --stdin` answered only when it ended.
const ANSWERS_AT_ONCE: Version = Version(2, 34);

const REFLOG_MESSAGE: &str = "notes: Notes added by 'git ci'";

/// What the ref `name` is at; `None` where it does not exist.
///
/// # Errors
/// Where the name is not a full ref name, or a file is broken.
pub(crate) fn read_ref(objects: &Objects, name: &str) -> Result<Option<ObjectId>, RefError> {
    let full = RefName::parse(name.as_bytes()).filter(|name| !name.is_head());
    let full = full.ok_or_else(|| RefError::Name {
        name: name.to_owned(),
    })?;
    read_one(objects, &full)
}

/// What keeps a ref from coming into being, and is no lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// Refs with names that go on where this one ends, or end within it: the name, what
    /// it is at, and a name that would be in nobody's way.
    Refs(Vec<(String, String, String)>),
    /// A file that is no ref.
    File(PathBuf),
}

impl std::fmt::Display for Obstacle {
    /// What it is, as the subject of a sentence in the singular.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refs(refs) => {
                let name = refs.first().map_or("", |(name, ..)| name);
                write!(f, "the ref {name}")
            }
            Self::File(path) => write!(f, "the file {}", path.display()),
        }
    }
}

impl Obstacle {
    /// What is in the way of the ref `name`; `None` where nothing is to be seen.
    pub(crate) fn of(git: &Git, common_dir: &Path, name: &str) -> Option<Self> {
        let mut command = git.command();
        command.arg("--git-dir").arg(common_dir);
        command.args(["for-each-ref", "--format=%(refname) %(objectname)"]);
        // `refs` itself is a directory, whatever there is.
        let above = name.match_indices('/').skip(1);
        let above: Vec<_> = above.map(|(end, _)| &name[..end]).collect();
        let below = format!("{name}/");
        let listed = git.read(command.args(&above).arg(&below)).ok()?;
        let refs = listed.lines().filter_map(|line| line.split_once(' '));
        let refs = refs.filter_map(|(other, id)| {
            let free = match other.strip_prefix(&below) {
                Some(rest) => format!("{name}-{rest}"),
                None if above.contains(&other) => format!("{other}-moved"),
                None => return None,
            };
            Some((other.to_owned(), id.to_owned(), free))
        });
        let refs: Vec<_> = refs.collect();
        if !refs.is_empty() {
            return Some(Self::Refs(refs));
        }
        let mut above = above.iter().map(|name| common_dir.join(name));
        above.find(|path| path.is_file()).map(Self::File)
    }

    /// Commands that take it out of the way; nothing is lost by them.
    pub fn commands(&self) -> Vec<String> {
        match self {
            Self::Refs(refs) => {
                let each = refs.iter().flat_map(|(name, id, free)| {
                    let zero = "0".repeat(id.len());
                    let [name, free] = [name, free].map(|name| shell_words::quote(name));
                    [
                        format!("git update-ref {free} {id} {zero}"),
                        format!("git update-ref -d {name} {id}"),
                    ]
                });
                each.collect()
            }
            Self::File(path) => {
                let away = path.parent().and_then(Path::parent).unwrap_or(path);
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let away = away.join(format!("{name}.moved"));
                let quoted = [path, &away]
                    .map(|path| shell_words::quote(&path.display().to_string()).into_owned());
                vec![format!("mv {}", quoted.join(" "))]
            }
        }
    }
}

/// What is in the way of the ref `name`, if that does not exist.
pub fn obstacle(repo: &Repo, name: &str) -> Option<Obstacle> {
    match read_ref(&repo.objects(), name) {
        Ok(None) => Obstacle::of(repo.git(), repo.common_dir(), name),
        _ => None,
    }
}

/// Updates one ref of one repository.
pub(crate) struct RefWriter {
    git: Git,
    common_dir: PathBuf,
    name: String,
    /// Name and address that stand in the reflog.
    committer: [String; 2],
    session: Option<Session>,
}

struct Session {
    child: Child,
    /// What it was started for: a process that has opened the refs as files goes on
    /// writing files when they have been converted.
    store: RefStore,
    /// `None` once no more is to be said.
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl RefWriter {
    /// `name` is a full ref name; `committer` (name and address) goes into its reflog,
    /// where it has one.
    pub(crate) fn new(git: &Git, common_dir: &Path, name: &str, committer: [String; 2]) -> Self {
        Self {
            git: git.clone(),
            common_dir: common_dir.to_owned(),
            name: name.to_owned(),
            committer,
            session: None,
        }
    }

    /// Sets the ref to `new` if it is at `old` (`None`: if it does not exist).
    ///
    /// An error does not mean that nothing happened: look at the ref.
    pub(crate) fn update(&mut self, new: ObjectId, old: Option<ObjectId>) -> Result<(), GitError> {
        let old = old.unwrap_or(ObjectId::null(new.kind()));
        let update = format!("start\nupdate {} {new} {old}\nprepare\ncommit\n", self.name);
        self.transact(&update, "commit: ok\n")
    }

    /// Does all of an update but the update, if the ref is at `old`: where something is in
    /// its way, that is better known before there is something to store.
    pub(crate) fn rehearse(&mut self, old: Option<ObjectId>, hash: Kind) -> Result<(), GitError> {
        let old = old.unwrap_or(ObjectId::null(hash));
        let verify = format!("start\nverify {} {old}\nprepare\nabort\n", self.name);
        self.transact(&verify, "abort: ok\n")
    }

    fn transact(&mut self, transaction: &str, last: &str) -> Result<(), GitError> {
        let store = RefStore::of(&self.common_dir);
        let mut session = match self.session.take() {
            Some(session) if session.store == store => session,
            _ => self.start(store).map_err(io_error)?,
        };
        let answers_at_once = self.git.version() >= ANSWERS_AT_ONCE;
        match session.transact(transaction, last, answers_at_once) {
            Ok(true) => self.session = Some(session),
            Ok(false) => {}
            Err(error) => return Err(session.end(error)),
        }
        Ok(())
    }

    /// The file that whoever moves the ref creates first.
    pub(crate) fn lock_path(&self) -> PathBuf {
        match RefStore::of(&self.common_dir) {
            RefStore::Files => self.common_dir.join(format!("{}.lock", self.name)),
            RefStore::Reftable => self.common_dir.join("reftable/tables.list.lock"),
        }
    }

    fn start(&self, store: RefStore) -> io::Result<Session> {
        let mut child = self
            .git
            .ref_command(&self.common_dir)
            .args(["-c", "core.fsync=reference"])
            .args(["update-ref", "-m", REFLOG_MESSAGE, "--stdin"])
            .env("GIT_COMMITTER_NAME", &self.committer[0])
            .env("GIT_COMMITTER_EMAIL", &self.committer[1])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for us to handle: what is stored must not depend on it.
            .process_group(0)
            .spawn()?;
        let missing = || io::Error::other("no pipe");
        Ok(Session {
            stdin: Some(child.stdin.take().ok_or_else(missing)?),
            stdout: BufReader::new(child.stdout.take().ok_or_else(missing)?),
            child,
            store,
        })
    }

    /// Makes the ref durable: git syncs its file (from 2.36), but never its directory.
    pub(crate) fn sync(&self) -> io::Result<()> {
        if RefStore::of(&self.common_dir) == RefStore::Reftable {
            return sync_dir(&self.common_dir.join("reftable"));
        }
        let mut path = self.common_dir.join(&self.name);
        for _ in 0..MAX_SYMBOLIC {
            let text = fs::read_to_string(&path).unwrap_or_default();
            match text.strip_prefix("ref:") {
                Some(target) => path = self.common_dir.join(target.trim()),
                None => break,
            }
        }
        match File::open(&path) {
            Ok(file) => file.sync_all()?,
            // Packed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                File::open(self.common_dir.join("packed-refs"))?.sync_all()?;
                return sync_dir(&self.common_dir);
            }
            Err(error) => return Err(error),
        }
        for dir in path.ancestors().skip(1) {
            if dir == self.common_dir {
                break;
            }
            sync_dir(dir)?;
        }
        Ok(())
    }
}

impl Session {
    /// Says `transaction` and waits for the last of its answers; `false` where the process
    /// is used up by that.
    fn transact(
        &mut self,
        transaction: &str,
        last: &str,
        answers_at_once: bool,
    ) -> io::Result<bool> {
        if let Some(stdin) = &mut self.stdin {
            stdin.write_all(transaction.as_bytes())?;
        }
        if !answers_at_once {
            self.stdin = None;
        }
        let mut line = String::new();
        while line != last {
            line.clear();
            if self.stdout.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(answers_at_once)
    }

    /// What the process had against the update.
    fn end(mut self, error: io::Error) -> GitError {
        self.stdin = None;
        let mut said = Vec::new();
        if let Some(stderr) = &mut self.child.stderr {
            // Without its words there is still the exit code.
            let _ = stderr.read_to_end(&mut said);
        }
        let status = match self.child.wait() {
            Ok(status) => status,
            Err(error) => return io_error(error),
        };
        let said = String::from_utf8_lossy(&said);
        let said = said.trim().trim_start_matches("fatal: ");
        if said.is_empty() && status.success() {
            return io_error(error);
        }
        GitError::Failed {
            verb: "update-ref".to_owned(),
            message: if said.is_empty() {
                status.to_string()
            } else {
                crate::model::printable(said.as_bytes()).into_owned()
            },
            code: status.code(),
        }
    }
}

impl Drop for Session {
    /// End of input ends the process; whatever it was told, it has done.
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}

fn io_error(source: io::Error) -> GitError {
    GitError::Io {
        verb: "update-ref".to_owned(),
        source,
    }
}
