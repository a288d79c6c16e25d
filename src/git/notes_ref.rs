//! One ref, moved from a known value to the next.
//!
//! Moving is left to `git update-ref`: a process that is killed inside gix
//! leaves `packed-refs.lock` or the ref's own lock behind, and every later write fails. A
//! child has the whole transaction in one write to its pipe and completes it whatever
//! happens to us. It is kept for the next update: that takes 0.4 ms, a new process 2.2 ms.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use gix::ObjectId;

use super::command::{Git, GitError, Version};
use super::objects::sync_dir;
use super::reading::Objects;
use super::ref_store::RefStore;
use super::refs::read_one;
use crate::model::RefName;

/// Before this, `update-ref --stdin` answered only when it ended.
const ANSWERS_AT_ONCE: Version = Version(2, 34);

const REFLOG_MESSAGE: &str = "notes: Notes added by 'git ci'";

/// Why a ref cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RefError {
    /// The name is not that of a ref.
    #[error("use {name:?} as a ref: a full name such as refs/notes/ci is needed")]
    Name {
        /// The name as it was given.
        name: String,
    },
    /// git cannot say.
    #[error(transparent)]
    Git(#[from] GitError),
    /// What is in the file is not an id.
    #[error("read {path}: not the id of an object")]
    Broken {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What the ref `name` is at; `None` where it does not exist.
///
/// # Errors
/// Where the name is not a full ref name, or a file is broken.
pub(super) fn read_ref(objects: &Objects, name: &str) -> Result<Option<ObjectId>, RefError> {
    let full = RefName::parse(name.as_bytes()).filter(|name| !name.is_head());
    let full = full.ok_or_else(|| RefError::Name {
        name: name.to_owned(),
    })?;
    read_one(objects, &full)
}

/// Updates one ref of one repository.
pub(super) struct RefWriter {
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
    pub(super) fn new(git: &Git, common_dir: &Path, name: &str, committer: [String; 2]) -> Self {
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
    pub(super) fn update(&mut self, new: ObjectId, old: Option<ObjectId>) -> Result<(), GitError> {
        let old = old.unwrap_or(ObjectId::null(new.kind()));
        let transaction = format!("start\nupdate {} {new} {old}\nprepare\ncommit\n", self.name);
        let store = RefStore::of(&self.common_dir);
        let mut session = match self.session.take() {
            Some(session) if session.store == store => session,
            _ => self.start(store).map_err(io_error)?,
        };
        match session.transact(&transaction, self.git.version() >= ANSWERS_AT_ONCE) {
            Ok(true) => self.session = Some(session),
            Ok(false) => {}
            Err(error) => return Err(session.end(error)),
        }
        Ok(())
    }

    /// The file that whoever moves the ref creates first.
    pub(super) fn lock_path(&self) -> PathBuf {
        match RefStore::of(&self.common_dir) {
            RefStore::Files => self.common_dir.join(format!("{}.lock", self.name)),
            RefStore::Reftable => self.common_dir.join("reftable/tables.list.lock"),
        }
    }

    fn start(&self, store: RefStore) -> io::Result<Session> {
        let mut child = self
            .git
            .command()
            .arg("--git-dir")
            .arg(&self.common_dir)
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
    pub(super) fn sync(&self) -> io::Result<()> {
        if RefStore::of(&self.common_dir) == RefStore::Reftable {
            return sync_dir(&self.common_dir.join("reftable"));
        }
        let path = self.common_dir.join(&self.name);
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
    /// Says `transaction` and waits until it is committed; `false` where the process is
    /// used up by that.
    fn transact(&mut self, transaction: &str, answers_at_once: bool) -> io::Result<bool> {
        if let Some(stdin) = &mut self.stdin {
            stdin.write_all(transaction.as_bytes())?;
        }
        if !answers_at_once {
            self.stdin = None;
        }
        let mut line = String::new();
        while line != "commit: ok\n" {
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
