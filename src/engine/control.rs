//! Talking to a run from another terminal: what runs and waits, and cancelling tasks.
//!
//! Each run and watch of a repository listens at a Unix socket of its own in `<ci>/control`:
//! one that is gone does not answer, so nothing here can be stale. One JSON line asks, one
//! answers. Who can reach them are this user, and those with whom the repository is shared.

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::model::{Event, JobName, Oid};
use crate::private;
use crate::process::Peer;

/// Where the sockets are, below the repository's `ci` directory.
const DIR: &str = "control";

/// When to look again after a connection that could not be taken.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// How long either side waits for the other.
const TIMEOUT: Duration = Duration::from_secs(5);

/// No more waiting tasks are listed.
pub(crate) const MOST_WAITING: usize = 1000;

/// No request or answer is longer.
const MOST: u64 = 4 * 1024 * 1024;

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub(crate) enum Request {
    /// What runs and waits.
    State,
    /// Drop tasks.
    Cancel {
        /// Of this commit only.
        commit: Option<Oid>,
        /// Of this job only.
        job: Option<JobName>,
    },
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub(crate) enum Reply {
    /// To [`Request::State`].
    State(State),
    /// To [`Request::Cancel`]: how many tasks were dropped.
    Cancelled {
        /// That ran.
        running: u64,
        /// That waited.
        waiting: u64,
    },
}

/// What a process does on a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// It watches for new commits.
    #[default]
    Watch,
    /// It runs jobs on commits that were named.
    Run,
}

/// A process that works on a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// What it does.
    #[serde(default)]
    pub kind: Kind,
    /// Its id.
    pub pid: u32,
    /// The machine it is on.
    pub host: String,
    /// Since when, in seconds since the epoch.
    pub since: u64,
    /// The refs that it watches, or the revisions that it runs on, as they were typed.
    pub refs: Vec<String>,
}

impl Process {
    /// This process, from now on.
    pub(crate) fn this(kind: Kind, refs: Vec<String>) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let host = rustix::system::uname();
        Self {
            kind,
            pid: std::process::id(),
            host: host.nodename().to_string_lossy().into_owned(),
            since: now.unwrap_or_default().as_secs(),
            refs,
        }
    }
}

/// What a process is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Who it is.
    pub process: Process,
    /// What runs now.
    pub running: Vec<RunningTask>,
    /// What waits for a worker, most urgent first; the first thousand.
    pub waiting: Vec<WaitingTask>,
    /// How many tasks wait.
    pub waiting_count: u64,
}

/// A task that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunningTask {
    /// Its commit.
    pub commit: Oid,
    /// Its job.
    pub job: JobName,
    /// For how long, in milliseconds.
    pub elapsed_ms: u64,
}

/// A task that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WaitingTask {
    /// Its commit.
    pub commit: Oid,
    /// Its job.
    pub job: JobName,
}

/// Answers requests while it lives.
pub(crate) struct Listener {
    path: PathBuf,
}

impl Listener {
    /// Has each request answered by `answer`, from a thread of its own.
    ///
    /// # Errors
    /// Where there can be no socket, or no thread.
    pub(crate) fn start(
        ci_dir: &Path,
        answer: impl Fn(Request) -> Option<Reply> + Send + 'static,
    ) -> io::Result<Self> {
        let dir = private::dir_in(ci_dir, DIR)?;
        remove_dead(&dir);
        let this = Peer::this();
        let path = dir.join(format!("{}-{}.sock", this.pid, this.started));
        // Under its name it is found only when it can answer.
        let new = dir.join(format!("{}-{}.new", this.pid, this.started));
        let _ = fs::remove_file(&new);
        let listener = with_short_path(&new, |path| UnixListener::bind(path))?;
        // Nobody gets into the directory who may not.
        fs::set_permissions(&new, Permissions::from_mode(private::file_mode(ci_dir)))?;
        fs::rename(&new, &path)?;
        std::thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                for stream in listener.incoming() {
                    match stream {
                        // Whoever asked and went away needs no answer.
                        Ok(stream) => drop(serve(&stream, &answer)),
                        // Out of descriptors, say: whoever waits is still there then.
                        Err(_) => std::thread::sleep(RETRY_INTERVAL),
                    }
                }
            })?;
        Ok(Self { path })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The thread goes with the process; without a name nobody finds it.
        let _ = fs::remove_file(&self.path);
    }
}

/// That other processes will not reach this one.
pub(crate) fn unreachable(error: &io::Error) -> Event {
    Event::Warning {
        message: format!(
            "`git ci status` and `git ci cancel` will not reach this process: {error}"
        ),
    }
}

/// The sockets in the directory, in the order of their names.
fn sockets(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let mut sockets: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "sock"))
        .collect();
    sockets.sort_unstable();
    sockets
}

/// Removes what processes that were killed have left.
fn remove_dead(dir: &Path) {
    for path in sockets(dir) {
        if let Err(error) = with_short_path(&path, |path| UnixStream::connect(path))
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            let _ = fs::remove_file(&path);
        }
    }
}

fn serve(stream: &UnixStream, answer: impl Fn(Request) -> Option<Reply>) -> io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = read_line(stream)?;
    match answer(request) {
        Some(reply) => write_line(stream, &reply),
        None => Ok(()),
    }
}

/// Asks every process that works on a repository. The reason where one does not answer: it
/// may be stopped.
pub(crate) fn ask(ci_dir: &Path, request: &Request) -> Vec<io::Result<Reply>> {
    let sockets = sockets(&ci_dir.join(DIR)).into_iter();
    let replies = sockets.filter_map(|path| ask_one(&path, request).transpose());
    replies.collect()
}

/// Asks the process of one socket; `None` where it is gone.
fn ask_one(path: &Path, request: &Request) -> io::Result<Option<Reply>> {
    let stream = match with_short_path(path, |path| UnixStream::connect(path)) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write_line(&stream, request)?;
    match read_line(&stream) {
        // It ended before it could answer.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        reply => reply.map(Some),
    }
}

fn write_line(mut stream: &UnixStream, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn read_line<T: for<'de> Deserialize<'de>>(stream: &UnixStream) -> io::Result<T> {
    let mut line = Vec::new();
    BufReader::new(stream.take(MOST)).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&line)?)
}

/// A socket's address has room for a hundred bytes. Where the path is longer and the
/// system has `/proc`, an open directory stands in for it.
fn with_short_path<T>(path: &Path, use_it: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
    const ROOM: usize = 100;
    let parts = path.parent().zip(path.file_name());
    let Some((dir, name)) = parts.filter(|_| path.as_os_str().len() > ROOM) else {
        return use_it(path);
    };
    let dir = File::open(dir)?;
    let short = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string());
    use_it(&short.join(name))
}
