//! Processes known by what they are, where nobody is left who knows them as children.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long killed processes may take to disappear.
const PATIENCE: Duration = Duration::from_secs(10);

/// Kills every process whose environment says `variable`=`path`, and waits until they
/// are gone. Only this user's processes can be looked at, and no others are ours.
///
/// # Errors
/// Where they survive for ten seconds.
pub fn kill_marked(variable: &str, path: &Path) -> io::Result<()> {
    let mut mark = variable.as_bytes().to_vec();
    mark.push(b'=');
    mark.extend_from_slice(path.as_os_str().as_bytes());
    let start = Instant::now();
    loop {
        let marked = marked(&mark);
        if marked.is_empty() {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            let message = format!("processes {marked:?} cannot be killed");
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        for pid in marked
            .into_iter()
            .filter_map(|pid| Pid::from_raw(pid as i32))
        {
            // Gone meanwhile, or not ours.
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn marked(mark: &[u8]) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A zombie's environment is empty.
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if pid != std::process::id() && environment.split(|&byte| byte == 0).any(|one| one == mark)
        {
            found.push(pid);
        }
    }
    found
}
