//! Where processes, threads, descriptors or memory run out: an end with a reason and the
//! exit code of a run without a verdict, never a panic, and never a wait without an end.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::beds::{have, skip};
use crate::support::{Ran, TestRepo, wait_until};

/// A user of whom nobody else counts the processes.
const SOMEBODY: u32 = 64_010;

/// A repository that belongs to somebody else than root, whom no limit binds.
struct Bound {
    repo: TestRepo,
    bin: PathBuf,
}

impl Bound {
    fn new() -> Option<Self> {
        if !have(&["bash", "setpriv"]) {
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            // Of a user of their own there are other processes, and nobody knows how many.
            skip("only root can be a user without processes");
            return None;
        }
        let repo = TestRepo::new();
        repo.job("a", "true").job("b", "true");
        (0..3).for_each(|i| drop(repo.commit(&format!("commit {i}"))));
        let bin = repo.root().join("git-ci");
        fs::copy(env!("CARGO_BIN_EXE_git-ci"), &bin).unwrap();
        fs::set_permissions(repo.root(), fs::Permissions::from_mode(0o755)).unwrap();
        let config = repo.root().join("home/.gitconfig");
        fs::write(config, "[safe]\ndirectory = *\n").unwrap();
        let bound = Self { repo, bin };
        bound.give();
        Some(bound)
    }

    /// Makes everything that user's.
    fn give(&self) {
        let given = Command::new("chown")
            .args(["-R", &format!("{SOMEBODY}:{SOMEBODY}")])
            .arg(self.repo.root())
            .status();
        assert!(given.unwrap().success());
    }

    fn limited(&self, limit: &str, program: &Path, args: &[&str]) -> Command {
        let mut command = self.repo.command("setpriv", self.repo.path());
        command
            .args([format!("--reuid={SOMEBODY}"), format!("--regid={SOMEBODY}")])
            .args(["--clear-groups", "bash", "-c"])
            .arg(format!("ulimit {limit} && exec \"$0\" \"$@\""))
            .arg(program)
            .args(args);
        command
    }

    /// Runs a command under a limit to its end.
    #[track_caller]
    fn run(&self, limit: &str, args: &[&str]) -> Ran {
        let ran = Ran(self.limited(limit, &self.bin, args).output().unwrap());
        if self.can_be_loaded(limit) {
            expect_reason(limit, args, &ran);
        }
        ran
    }

    /// Whether there is room for the program, which is large where it is not optimized: without
    /// that the kernel kills it before any of it runs.
    fn can_be_loaded(&self, limit: &str) -> bool {
        let mut least = self.limited(limit, &self.bin, &["version"]);
        let ran = Ran(least.output().unwrap());
        ran.code() != -1 || !(ran.stdout() + &ran.stderr()).is_empty()
    }
}

/// It ended well, or without a verdict and with a reason.
#[track_caller]
fn expect_reason(limit: &str, args: &[&str], ran: &Ran) {
    let said = ran.stdout() + &ran.stderr();
    let what = format!("{limit} {args:?}: {}\n{said}", ran.code());
    if ran.code() == 127 && said.contains("shared libraries") {
        return;
    }
    assert!(!said.contains("panicked"), "{what}");
    assert!([0, 125].contains(&ran.code()), "{what}");
    let reasons = ["os error 11)", "os error 12)", "os error 24)", "memory"];
    assert!(
        ran.code() == 0 || reasons.iter().any(|reason| said.contains(reason)),
        "{what}"
    );
}

#[test]
fn a_run_under_any_limit_ends_with_a_reason() {
    let Some(bound) = Bound::new() else { return };
    let mut limits: Vec<String> = (1..=9).map(|count| format!("-u {count}")).collect();
    limits.extend([4, 5, 6, 8, 10, 12, 14, 17, 20, 24].map(|count| format!("-n {count}")));
    limits.extend(
        (26..=46)
            .step_by(2)
            .map(|megabytes| format!("-v {megabytes}000")),
    );
    limits.push("-v 150000".to_owned());
    for limit in limits {
        bound.run(&limit, &["run", "--all", "--force", "-j6"]);
    }
    bound.run("-n 1024", &["run", "--all", "--force", "-j6"]);
    for job in ["pass a", "pass b"] {
        assert!(bound.repo.verdicts("HEAD").iter().any(|one| one == job));
    }
}

#[test]
fn a_watcher_under_any_limit_ends_or_waits_for_better_times() {
    let Some(bound) = Bound::new() else { return };
    for limit in [
        "-u 3", "-u 5", "-u 6", "-u 8", "-u 9", "-n 10", "-n 14", "-n 20", "-v 40000",
    ] {
        bound
            .repo
            .git(["commit", "-q", "--allow-empty", "-m", limit]);
        bound.give();
        let out = bound.repo.root().join("out");
        let file = fs::File::create(&out).unwrap();
        let mut watcher = bound
            .limited(limit, &bound.bin, &["watch", "--since", "HEAD~1"])
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let pid = watcher.id();
        let used = || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
            let ticks = |at: usize| fields.split_whitespace().nth(at)?.parse::<u64>().ok();
            ticks(11)
                .zip(ticks(12))
                .map_or(0, |(user, system)| user + system)
        };
        let begun = std::time::Instant::now();
        let mut status = None;
        // Long enough to see that it does not turn in circles.
        wait_until("three seconds, or the end", || {
            status = watcher.try_wait().unwrap();
            status.is_some() || begun.elapsed().as_secs() >= 3
        });
        let busy = used();
        if status.is_none() {
            let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let status = watcher.wait().unwrap();
        let said = fs::read_to_string(&out).unwrap();
        assert!(!said.contains("panicked"), "{limit}: {said}");
        assert!(
            ![Some(101), Some(134)].contains(&status.code()),
            "{limit}: {said}"
        );
        assert!(said.lines().count() < 60, "{limit}: {said}");
        // A hundred ticks are a second.
        assert!(busy < 150, "{limit}: {busy} ticks\n{said}");
    }
}

#[test]
fn a_file_that_grows_past_the_limit_is_an_error_and_no_end() {
    let repo = TestRepo::new();
    repo.job("loud", "head -c 3000000 /dev/urandom | od -x");
    repo.job("quiet", "true");
    repo.commit("one");
    let mut run = repo.command("bash", repo.path());
    run.args(["-c", "ulimit -f 200; exec \"$0\" run"]);
    let ran = Ran(run.arg(env!("CARGO_BIN_EXE_git-ci")).output().unwrap()).expect_code(125);
    assert!(ran.stderr().contains("File too large"), "{}", ran.stderr());
    assert_eq!(repo.verdicts("HEAD"), ["ERROR loud", "pass quiet"]);
}

#[test]
fn memory_that_runs_out_in_the_middle_is_no_bug() {
    let Some(bound) = Bound::new() else { return };
    // A note that takes more than there is.
    let line = "x".repeat(99) + "\n";
    let note = bound.repo.root().join("note");
    fs::write(&note, line.repeat(400_000)).unwrap();
    bound.repo.git([
        "notes",
        "--ref=ci",
        "add",
        "-F",
        note.to_str().unwrap(),
        "HEAD~1",
    ]);
    bound.give();
    for megabytes in (50..=130).step_by(20) {
        bound.run(&format!("-v {megabytes}000"), &["run", "-j1"]);
    }
}

#[test]
fn threads_are_started_by_calls_that_can_fail() {
    fn look(dir: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                look(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap();
                for (number, line) in code.lines().enumerate() {
                    let rayons = line.contains("scope.spawn(move |_|");
                    let panics = line.contains("thread::spawn(") || line.contains("scope.spawn(");
                    if panics && !rayons {
                        found.push(format!("{}:{}", path.display(), number + 1));
                    }
                }
            }
        }
    }
    let mut found = Vec::new();
    look(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    assert!(found.is_empty(), "use thread::Builder: {found:?}");
}
