//! Reading objects: gix in process, and git for what only git gets at.
//!
//! A partial clone lacks objects that git fetches when they are asked for, and in a hook
//! before a push is accepted the new objects are in a directory that only the environment
//! names. gix knows neither. So what gix does not find is asked of one `git cat-file`
//! process there, and nowhere else: in any other repository a missing object is missing.
//!
//! Asking for objects one by one costs a connection each. Whoever is about to read many
//! names them first, by [`Objects::prefetch`].

use std::cell::OnceCell;
use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gix::ObjectId;
use gix::objs::{Exists as _, Kind, Write as _};

use super::command::Git;
use super::ref_store::Reftable;
use super::store::{Handle, Store};

/// Larger objects are not taken over a pipe: a note, a tree or a jobs file is smaller.
const LARGEST: u64 = 256 * 1024 * 1024;

/// After so many failures in a row to fetch something git is not asked for a while: where
/// there is no network, each takes its time.
const FAILURES: u32 = 2;

/// For so long.
const REST: Duration = Duration::from_secs(60);

/// Reads objects for one thread. All that gix offers is there, but what it does not find
/// is looked for further only by the methods of this type.
pub(crate) struct Objects {
    gix: gix::Repository,
    epoch: u64,
    store: Arc<Store>,
    beyond: Option<Arc<Beyond>>,
    /// Where the store had to be opened again: what is read with from then on.
    newer: OnceCell<Box<Objects>>,
}

impl Deref for Objects {
    type Target = gix::Repository;

    fn deref(&self) -> &gix::Repository {
        &self.gix
    }
}

impl DerefMut for Objects {
    fn deref_mut(&mut self) -> &mut gix::Repository {
        &mut self.gix
    }
}

impl Objects {
    pub(crate) fn new(store: Arc<Store>, beyond: Option<Arc<Beyond>>) -> Self {
        let handle = store.handle();
        Self::with(handle, store, beyond)
    }

    fn with(handle: Handle, store: Arc<Store>, beyond: Option<Arc<Beyond>>) -> Self {
        let gix = match beyond {
            // What git says of an object is kept in memory, as if it had been found.
            Some(_) => handle.gix.with_object_memory(),
            None => handle.gix,
        };
        Self {
            gix,
            epoch: handle.epoch,
            store,
            beyond,
            newer: OnceCell::new(),
        }
    }

    /// What reads refs where they are no files.
    pub(crate) fn reftable(&self) -> &Reftable {
        self.store.reftable()
    }

    /// The object of this id, wherever git has it from.
    ///
    /// # Errors
    /// Where it is nowhere, or cannot be read.
    pub(crate) fn find_object(&self, id: impl Into<ObjectId>) -> gix::Result<gix::Object<'_>> {
        let id = id.into();
        let newest = self.newest();
        let error = match newest.gix.find_object(id) {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        let missing = error.classify().is_not_found();
        if let Some(handle) = self.store.newer(newest.epoch, missing) {
            let (store, beyond) = (Arc::clone(&self.store), self.beyond.clone());
            let newer = Self::with(handle, store, beyond);
            if newer.gix.has_object(id) {
                let newer = newest.newer.get_or_init(|| Box::new(newer));
                return newer.gix.find_object(id);
            }
        }
        let Some((kind, data)) = self.beyond.as_ref().and_then(|beyond| beyond.read(id)) else {
            return Err(error);
        };
        newest.gix.find_object(id).or_else(|_| {
            // Not fetched, then, but in a directory that gix does not look into.
            newest.gix.objects.write_buf(kind, &data)?;
            newest.gix.find_object(id)
        })
    }

    /// Whether an object is here, as far as a quick look tells: `false` is no proof.
    pub(crate) fn has(&self, id: ObjectId) -> bool {
        self.newest().gix.has_object(id)
    }

    /// Whether what is missing here may come from elsewhere when it is read.
    pub(crate) fn may_be_promised(&self) -> bool {
        self.beyond.is_some()
    }

    /// How many bytes an object has; `None` where it is not here.
    pub(crate) fn size_of(&self, id: ObjectId) -> Option<u64> {
        let header = self.newest().gix.find_header(id);
        header.ok().map(|header| header.size())
    }

    /// What the store was opened with the last time that this one had to know of.
    fn newest(&self) -> &Self {
        let mut newest = self;
        while let Some(newer) = newest.newer.get() {
            newest = newer;
        }
        newest
    }

    /// Has git fetch those of `ids` that are promised and not here, all at once. Whatever
    /// goes wrong shows when they are read.
    pub(crate) fn prefetch(&self, ids: impl Iterator<Item = ObjectId>) {
        let Some(beyond) = &self.beyond else {
            return;
        };
        // Each miss would look through the directory of packs again.
        let mut objects = self.newest().gix.objects.clone();
        objects.refresh_never();
        let missing: Vec<_> = ids.filter(|id| !objects.exists(id)).collect();
        if missing.len() > 1 {
            beyond.fetch(&missing);
        }
    }

    /// The commit of this id.
    ///
    /// # Errors
    /// As [`find_object`](Self::find_object), and where it is something else.
    pub(crate) fn find_commit(&self, id: impl Into<ObjectId>) -> gix::Result<gix::Commit<'_>> {
        self.find_object(id)?.try_into_commit()
    }

    /// The tree of this id.
    ///
    /// # Errors
    /// As [`find_object`](Self::find_object), and where it is something else.
    pub(crate) fn find_tree(&self, id: impl Into<ObjectId>) -> gix::Result<gix::Tree<'_>> {
        self.find_object(id)?.try_into_tree()
    }

    /// The blob of this id.
    ///
    /// # Errors
    /// As [`find_object`](Self::find_object), and where it is something else.
    pub(crate) fn find_blob(&self, id: impl Into<ObjectId>) -> gix::Result<gix::Blob<'_>> {
        self.find_object(id)?.try_into_blob()
    }
}

/// Asks git for objects of one repository that gix does not find.
pub(crate) struct Beyond {
    git: Git,
    common_dir: PathBuf,
    /// The remotes that promised what is not here.
    promisors: Vec<String>,
    /// What git is to run instead of `ssh`.
    ssh: Option<String>,
    link: Mutex<Link>,
}

/// The way to git.
#[derive(Default)]
struct Link {
    session: Option<Session>,
    /// How often in a row git has ended instead of answering: it cannot fetch.
    failures: u32,
    /// Nothing is asked before this.
    rests_until: Option<Instant>,
}

/// A `git cat-file --batch`.
struct Session {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Beyond {
    /// `ssh` is the command by which remotes are reached, where it has been chosen.
    pub(crate) fn new(
        git: &Git,
        common_dir: &Path,
        promisors: Vec<String>,
        ssh: Option<&str>,
    ) -> Self {
        Self {
            ssh: without_prompts(ssh),
            git: git.clone(),
            common_dir: common_dir.to_owned(),
            promisors,
            link: Mutex::default(),
        }
    }

    fn read(&self, id: ObjectId) -> Option<(Kind, Vec<u8>)> {
        let mut link = self.link.lock().ok()?;
        if link.rests_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let mut session = match link.session.take() {
            Some(session) => session,
            None => self.start().ok()?,
        };
        // After an error nobody knows what the next line belongs to.
        let Ok(found) = session.ask(id) else {
            link.failures += 1;
            if link.failures >= FAILURES {
                link.rests_until = Some(Instant::now() + REST);
            }
            return None;
        };
        (link.failures, link.rests_until) = (0, None);
        link.session = Some(session);
        found
    }

    fn start(&self) -> io::Result<Session> {
        let mut command = self.command();
        command.args(["cat-file", "--batch"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let missing = || io::Error::other("no pipe");
        Ok(Session {
            stdin: Some(child.stdin.take().ok_or_else(missing)?),
            stdout: BufReader::new(child.stdout.take().ok_or_else(missing)?),
            child,
        })
    }

    /// As git fetches what is promised, but many at once.
    fn fetch(&self, ids: &[ObjectId]) {
        let mut input = String::new();
        for id in ids {
            // Writing to a String cannot fail.
            let _ = writeln!(input, "{id}");
        }
        for remote in &self.promisors {
            let mut command = self.command();
            command
                .args(["-c", "fetch.negotiationAlgorithm=noop", "fetch", "--quiet"])
                .args(["--no-tags", "--no-write-fetch-head", "--refmap="])
                .args(["--recurse-submodules=no", "--filter=blob:none", "--stdin"])
                .arg(remote);
            // What is not there after it is asked for one by one.
            let done = self.git.output_with_input(&mut command, input.as_bytes());
            if done.is_ok() {
                return;
            }
        }
    }

    /// git with what the caller's environment says of objects, and with nothing else of
    /// it; it stays in our process group, and asks nobody for a password.
    fn command(&self) -> Command {
        let mut command = self.git.command();
        for name in ["GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("GIT_ASKPASS", "false")
            .env("SSH_ASKPASS", "false")
            .env("SSH_ASKPASS_REQUIRE", "never")
            .arg("--git-dir")
            .arg(&self.common_dir)
            .args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"]);
        if let Some(ssh) = &self.ssh {
            command.env("GIT_SSH_COMMAND", ssh);
        }
        command
    }
}

/// The ssh command that asks for nothing; `None` where somebody chose a program of which
/// we do not know how to say so.
fn without_prompts(ssh: Option<&str>) -> Option<String> {
    let chosen = std::env::var("GIT_SSH_COMMAND").ok();
    let chosen = chosen.or_else(|| ssh.map(str::to_owned));
    if chosen.is_none() && std::env::var_os("GIT_SSH").is_some() {
        return None;
    }
    let ssh = chosen.unwrap_or_else(|| "ssh".to_owned());
    let program = ssh.split_whitespace().next().unwrap_or_default();
    let is_ssh = program.rsplit('/').next() == Some("ssh");
    is_ssh.then(|| format!("{ssh} -o BatchMode=yes -o ServerAliveInterval=15"))
}

impl Session {
    /// The object; `None` where git has it from nowhere.
    fn ask(&mut self, id: ObjectId) -> io::Result<Option<(Kind, Vec<u8>)>> {
        let stdin = self.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        stdin.write_all(format!("{id}\n").as_bytes())?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        let mut words = line.split_ascii_whitespace().skip(1);
        let (kind, size) = (words.next(), words.next());
        if kind == Some("missing") {
            return Ok(None);
        }
        let odd = || io::Error::from(io::ErrorKind::InvalidData);
        let kind = kind.and_then(|kind| Kind::from_bytes(kind.as_bytes()).ok());
        let kind = kind.ok_or_else(odd)?;
        let size: u64 = size.and_then(|size| size.parse().ok()).ok_or_else(odd)?;
        if size > LARGEST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut data = Vec::new();
        // A line feed comes after it.
        (&mut self.stdout).take(size + 1).read_to_end(&mut data)?;
        match data.pop() {
            Some(b'\n') if data.len() as u64 == size => Ok(Some((kind, data))),
            _ => Err(odd()),
        }
    }
}

impl Drop for Session {
    /// End of input ends the process.
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}
