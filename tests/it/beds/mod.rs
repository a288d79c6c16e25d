//! Machines made for one test: real `sshd` on loopback and in network namespaces, a
//! real Slurm cluster. The scripts beside this file make them and take them down.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{TestRepo, processes_with, wait_until};

/// Says why a test cannot run here. CI has everything, so there it fails.
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "cannot run in CI: {why}");
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("skipped: {why}\n").as_bytes(),
    );
}

/// Whether all of these programs are here; says which is not.
pub(crate) fn have(programs: &[&str]) -> bool {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let missing = programs.iter().find(|program| {
        !path
            .split(':')
            .any(|dir| Path::new(dir).join(program).exists())
    });
    if let Some(missing) = missing {
        skip(&format!("{missing} is not installed"));
    }
    missing.is_none()
}

/// One of the scripts, as a command.
pub(crate) fn script(name: &str) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/beds")
        .join(name);
    let mut command = Command::new("sh");
    command.arg(path).stdin(Stdio::null());
    command
}

/// ssh hosts `h1`, `h2`, … on loopback.
pub(crate) struct SshBed {
    dir: PathBuf,
    count: usize,
}

impl SshBed {
    /// Starts `count` hosts for the test of `repo`; `None` where that cannot be done here.
    pub(crate) fn up(repo: &TestRepo, count: usize) -> Option<Self> {
        Self::with(repo, count, false)
    }

    /// The same, with a process on the wire of each connection that can be stopped or killed.
    pub(crate) fn with_wires(repo: &TestRepo, count: usize) -> Option<Self> {
        Self::with(repo, count, true)
    }

    fn with(repo: &TestRepo, count: usize, wires: bool) -> Option<Self> {
        if !have(&["sshd", "ssh", "ssh-keygen", "python3"]) || wires && !have(&["socat"]) {
            return None;
        }
        let dir = repo.root().join("bed");
        let mut up = script("sshbed.sh");
        if wires {
            up.env("SSHBED_WIRE", "1");
        }
        let made = up
            .arg("up")
            .arg(&dir)
            .arg(count.to_string())
            .stdout(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(made.status.success(), "{said}");
        let config = dir.join("ssh_config");
        repo.git([
            "config",
            "ci.sshCommand",
            &format!("ssh -F {}", config.display()),
        ]);
        repo.git(["config", "ci.local", "false"]);
        repo.git(["config", "ci.silence", "1s"]);
        repo.git(["config", "ci.lease", "3s"]);
        let bed = Self { dir, count };
        for host in 1..=count {
            bed.add(repo, host);
        }
        Some(bed)
    }

    fn add(&self, repo: &TestRepo, host: usize) {
        repo.git([
            "config",
            &format!("ci-host.h{host}.address"),
            &format!("h{host}"),
        ]);
        let agent = env!("CARGO_BIN_EXE_git-ci");
        repo.git(["config", &format!("ci-host.h{host}.agent"), agent]);
    }

    /// The directory of a host, which the environment of all its processes names.
    pub(crate) fn host(&self, host: usize) -> PathBuf {
        self.dir.join(format!("h{host}"))
    }

    /// Everything that the host's agents started, and they themselves.
    pub(crate) fn processes(&self, host: usize) -> Vec<u32> {
        let mut found = processes_with(&format!("SSHBED={}", self.host(host).display()));
        found.retain(|pid| {
            // Those of sshd itself, which keep it, too.
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            !command.starts_with(b"sshd") && !command.starts_with(b"/usr/sbin/sshd")
        });
        found
    }

    /// Cuts a host off; see the script for the ways.
    pub(crate) fn cut(&self, host: usize, how: &str) {
        self.call(&["cut"], &[&format!("h{host}"), how]);
    }

    /// Undoes it.
    pub(crate) fn heal(&self, host: usize) {
        self.call(&["heal"], &[&format!("h{host}")]);
    }

    fn call(&self, before: &[&str], after: &[&str]) {
        let done = script("sshbed.sh")
            .args(before)
            .arg(&self.dir)
            .args(after)
            .stdout(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{before:?} {after:?}: {said}");
    }

    /// Nothing of a job or an agent is left on any host.
    #[track_caller]
    pub(crate) fn expect_nothing_left(&self) {
        for host in 1..=self.count {
            wait_until("the host to be empty", || self.processes(host).is_empty());
        }
    }
}

impl Drop for SshBed {
    fn drop(&mut self) {
        // A test that panics must not leave hosts behind, and must not panic twice.
        let _ = script("sshbed.sh")
            .arg("down")
            .arg(&self.dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}
