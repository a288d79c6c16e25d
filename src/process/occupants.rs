//! Who is in a directory that a task left in disorder.
//!
//! Where the agent and the dispatcher of a task were killed, nobody knows its processes as
//! children any more. Each carries the task's mark in its environment, unless it took that
//! away or wrote over it. One that did is known by what it does there, and only if nothing
//! speaks against it: it is younger than the task, in the agent's control group, this
//! user's, and no person's: it has no terminal, and nothing in its environment comes from
//! a person's session. Whatever else is found in the directory, a shell, an editor, is
//! left alone, and so should be the directory.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::peer::here;
use super::stat::Stat;

/// How long killed processes may take to disappear.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Variables of a person's session, which no process of a job has that took its own
/// environment away. A job's `TERM` is `dumb`.
const SESSION: [&[u8]; 6] = [
    b"DISPLAY=",
    b"WAYLAND_DISPLAY=",
    b"XDG_SESSION_ID=",
    b"SSH_CONNECTION=",
    b"TERM_PROGRAM=",
    b"TERM=",
];

/// When and where a task began: what tells its processes from those of others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Birth {
    /// In clock ticks since boot.
    ticks: u64,
    /// Where that means anything; see [`here`].
    place: String,
    /// The control groups, as `/proc/self/cgroup` has them.
    groups: String,
}

impl Birth {
    /// Now, in this process.
    pub fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let ticks = rustix::param::clock_ticks_per_second();
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let part = u64::try_from(now.tv_nsec).unwrap_or(0) * ticks / 1_000_000_000;
        Self {
            ticks: seconds * ticks + part,
            place: here().to_owned(),
            groups: groups_of("self"),
        }
    }
}

fn groups_of(process: &str) -> String {
    fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap_or_default()
}

/// Who is in a directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Occupants {
    /// Processes of the task, and all that is below them.
    pub ours: BTreeSet<i32>,
    /// Others that work there or have something open there.
    pub foreign: BTreeSet<i32>,
}

/// Finds who is in `dir`: processes whose environment says `mark`=`dir`, and those of the
/// task that was born so, where that is known, as far as they can be told by what they do.
pub(crate) fn occupants(mark: &str, dir: &Path, born: Option<&Birth>) -> Occupants {
    let all: Vec<Stat> = Stat::all().into_iter().filter(Stat::lives).collect();
    let own = std::process::id().cast_signed();
    let born = born.filter(|born| born.place == here());
    let mut found = Occupants::default();
    let mut ours: Vec<i32> = Vec::new();
    for process in all.iter().filter(|one| one.pid != own) {
        let seen = Seen { process, mark, dir };
        match seen.judge(born) {
            Some(Belongs::Task) => ours.push(process.pid),
            Some(Belongs::Others) => drop(found.foreign.insert(process.pid)),
            None => {}
        }
    }
    // What a process of the task started is of the task, wherever it is and looks like.
    while let Some(pid) = ours.pop() {
        if found.ours.insert(pid) {
            let children = all.iter().filter(|one| one.parent == pid && one.pid != own);
            ours.extend(children.map(|one| one.pid));
        }
    }
    found.foreign = &found.foreign - &found.ours;
    found
}

/// Kills what a task left in `dir`, and waits until it is gone. Returns who else is there.
///
/// # Errors
/// Where something survives for ten seconds.
pub(crate) fn evict(mark: &str, dir: &Path, born: Option<&Birth>) -> io::Result<BTreeSet<i32>> {
    let start = Instant::now();
    loop {
        let Occupants { ours, foreign } = occupants(mark, dir, born);
        if ours.is_empty() {
            return Ok(foreign);
        }
        if start.elapsed() > TIMEOUT {
            let message = format!("processes {ours:?} cannot be killed");
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        for pid in ours.into_iter().filter_map(Pid::from_raw) {
            // Gone meanwhile, or another user's.
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whose a process in a directory is.
enum Belongs {
    Task,
    Others,
}

/// A process that is looked at.
struct Seen<'a> {
    process: &'a Stat,
    mark: &'a str,
    dir: &'a Path,
}

impl Seen<'_> {
    /// `None` where it has nothing to do with the directory.
    fn judge(&self, born: Option<&Birth>) -> Option<Belongs> {
        let environment = fs::read(self.path("environ")).unwrap_or_default();
        let variables = || environment.split(|&byte| byte == 0);
        let mark = variables().find_map(|variable| {
            let value = variable.strip_prefix(self.mark.as_bytes())?;
            value.strip_prefix(b"=")
        });
        match mark {
            Some(dir) if dir == self.dir.as_os_str().as_bytes() => return Some(Belongs::Task),
            // Of another task, whoever that belongs to; it may look around.
            Some(_) => return None,
            None => {}
        }
        let is_there = self.is_there();
        if !is_there && !self.speaks_of_it() {
            return None;
        }
        let of_task = born.is_some_and(|born| {
            self.process.started >= born.ticks
                && self.process.terminal == 0
                && !variables().any(is_of_a_session)
                && self.is_own()
                && groups_of(&self.process.pid.to_string()) == born.groups
        });
        match (of_task, is_there) {
            (true, _) => Some(Belongs::Task),
            // Another git-ci remembers worktrees that it had, and does nothing there.
            (false, true) if !self.is_git_ci() => Some(Belongs::Others),
            (false, _) => None,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.process.pid))
    }

    /// Whether it works in the directory, comes from there or has something open there.
    fn is_there(&self) -> bool {
        let below = |link: PathBuf| {
            // A file that was removed keeps its path, with a word behind it.
            fs::read_link(link).is_ok_and(|to| to.starts_with(self.dir))
        };
        let open = || {
            fs::read_dir(self.path("fd"))
                .into_iter()
                .flatten()
                .flatten()
        };
        ["cwd", "exe", "root"]
            .map(|name| self.path(name))
            .into_iter()
            .any(below)
            || open().any(|entry| below(entry.path()))
    }

    /// Whether the directory is named by its command line.
    fn speaks_of_it(&self) -> bool {
        let line = fs::read(self.path("cmdline")).unwrap_or_default();
        let mut dir = self.dir.as_os_str().as_bytes().to_vec();
        dir.push(b'/');
        line.windows(dir.len()).any(|part| part == dir)
    }

    fn is_own(&self) -> bool {
        let own = rustix::process::geteuid().as_raw();
        fs::metadata(self.path("")).is_ok_and(|of| of.uid() == own)
    }

    fn is_git_ci(&self) -> bool {
        let program = |path: PathBuf| fs::read_link(path).ok();
        let name = program(self.path("exe"));
        name.as_deref().and_then(Path::file_name) == Some(OsStr::new("git-ci"))
    }
}

fn is_of_a_session(variable: &[u8]) -> bool {
    variable != b"TERM=dumb" && SESSION.iter().any(|name| variable.starts_with(name))
}

/// What people call a process: its number and its name.
pub(crate) fn describe(pid: i32) -> String {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = crate::model::printable_line(name.trim_ascii_end()).into_owned();
    format!("process {pid} ({name})")
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    const MARK: &str = "GIT_CI_OCCUPANTS_TEST";

    fn start(dir: &Path, script: &str, clear: bool) -> Child {
        // Without the terminal that the tests may have been started at.
        let mut command = Command::new("setsid");
        command
            .args(["sh", "-c", script])
            .current_dir(dir)
            .stdin(Stdio::null());
        if clear {
            command.env_clear();
        }
        command.spawn().unwrap()
    }

    #[test]
    fn who_hides_is_told_from_who_works_there() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("slot-1");
        let beside = root.path().join("slot-10");
        fs::create_dir(&dir).unwrap();
        fs::create_dir(&beside).unwrap();
        let old = start(&dir, "exec sleep 100", true);
        // The clock of processes ticks a hundred times a second.
        let mut born = Birth::now();
        while born.ticks <= Stat::of(old.id() as i32).unwrap().started {
            born = Birth::now();
        }
        let hidden = start(&dir, "exec sleep 100", true);
        let opened = format!("cd /; exec sleep 100 >{}/file", dir.display());
        let opened = start(root.path(), &opened, true);
        let named = format!("cd /; sleep 100; : {}/file", dir.display());
        let named = start(root.path(), &named, true);
        let apart = start(&beside, "exec sleep 100", true);
        let mut person = Command::new("setsid");
        person.args(["sleep", "100"]);
        person.current_dir(&dir).env("TERM", "xterm");
        let person = person.spawn().unwrap();
        let mut marked = Command::new("setsid");
        marked
            .args(["sleep", "100"])
            .current_dir("/")
            .env(MARK, &dir)
            .env("TERM", "xterm");
        let marked = marked.spawn().unwrap();
        let id = |child: &Child| child.id() as i32;
        // Until each has become what it is.
        let became = |child: &Child| {
            fs::read(format!("/proc/{}/comm", child.id())).is_ok_and(|name| name == b"sleep\n")
        };
        while ![&old, &hidden, &opened, &person, &marked]
            .into_iter()
            .all(became)
        {
            std::thread::yield_now();
        }
        let below_named = loop {
            let all = Stat::all();
            let below = all.iter().filter(|one| one.parent == id(&named));
            let below: Vec<i32> = below.map(|one| one.pid).collect();
            if !below.is_empty() {
                break below;
            }
        };
        let found = occupants(MARK, &dir, Some(&born));
        let mut ours = BTreeSet::from([id(&hidden), id(&opened), id(&named), id(&marked)]);
        ours.extend(below_named);
        assert_eq!(found.ours, ours);
        assert_eq!(found.foreign, BTreeSet::from([id(&old), id(&person)]));

        let of_another_boot = Birth {
            place: "other".to_owned(),
            ..born.clone()
        };
        let found = occupants(MARK, &dir, Some(&of_another_boot));
        assert_eq!(found.ours, BTreeSet::from([id(&marked)]));

        let foreign = evict(MARK, &dir, Some(&born)).unwrap();
        assert_eq!(foreign, BTreeSet::from([id(&old), id(&person)]));
        for mut child in [old, hidden, opened, named, apart, person, marked] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
