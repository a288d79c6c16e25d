//! Talking to the observer from another terminal: what runs and waits, and dropping tasks.
//!
//! A Unix socket, `<ci>/watch.sock`: an observer that is gone does not answer, so nothing
//! here can be stale. One JSON line asks, one answers. Who can reach it are this user, and
//! those with whom the repository is shared.

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lease::Observer;
use crate::model::{JobName, Oid};
use crate::private;

/// When to look again after a connection that could not be taken.
const AGAIN: Duration = Duration::from_millis(100);

/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(5);

/// No more waiting tasks are listed.
pub(super) const MOST_WAITING: usize = 1000;

/// No request or answer is longer.
const MOST: u64 = 4 * 1024 * 1024;

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Request {
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
pub enum Reply {
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

/// What an observer is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Who it is.
    pub observer: Observer,
    /// What runs now.
    pub running: Vec<RunningTask>,
    /// What waits for a worker, most urgent first; the first thousand.
    pub waiting: Vec<WaitingTask>,
    /// How many tasks wait.
    pub waiting_count: u64,
}

/// A task that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningTask {
    /// Its commit.
    pub commit: Oid,
    /// Its job.
    pub job: JobName,
    /// For how long, in milliseconds.
    pub elapsed_ms: u64,
}

/// A task that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingTask {
    /// Its commit.
    pub commit: Oid,
    /// Its job.
    pub job: JobName,
}

/// Answers requests while it lives.
pub(super) struct Listener {
    path: PathBuf,
}

impl Listener {
    /// Has each request answered by `answer`, from a thread of its own. The caller has
    /// the lease: a socket that is there already belongs to a dead process.
    pub(super) fn start(
        ci_dir: &Path,
        answer: impl Fn(Request) -> Option<Reply> + Send + 'static,
    ) -> io::Result<Self> {
        let path = ci_dir.join("watch.sock");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        private::dir_in(ci_dir, "")?;
        let listener = with_short_path(&path, |path| UnixListener::bind(path))?;
        // Nobody gets into the directory who may not.
        fs::set_permissions(&path, Permissions::from_mode(private::file_mode(ci_dir)))?;
        std::thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                for stream in listener.incoming() {
                    match stream {
                        // Whoever asked and went away needs no answer.
                        Ok(stream) => drop(serve(&stream, &answer)),
                        // Out of descriptors, say: whoever waits is still there then.
                        Err(_) => std::thread::sleep(AGAIN),
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

fn serve(stream: &UnixStream, answer: impl Fn(Request) -> Option<Reply>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = read_line(stream)?;
    match answer(request) {
        Some(reply) => write_line(stream, &reply),
        None => Ok(()),
    }
}

/// Asks the observer of a repository; `None` where there is none.
///
/// # Errors
/// Where it does not answer.
pub fn ask(ci_dir: &Path, request: &Request) -> io::Result<Option<Reply>> {
    let path = ci_dir.join("watch.sock");
    let stream = match with_short_path(&path, |path| UnixStream::connect(path)) {
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
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write_line(&stream, request)?;
    read_line(&stream).map(Some)
}

/// What the observer of a repository is doing; `None` where there is none.
///
/// # Errors
/// Where it does not answer: it may be stopped.
pub fn read(ci_dir: &Path) -> io::Result<Option<State>> {
    match ask(ci_dir, &Request::State)? {
        Some(Reply::State(state)) => Ok(Some(state)),
        Some(_) => Err(io::ErrorKind::InvalidData.into()),
        None => Ok(None),
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
