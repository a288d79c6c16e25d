//! Everything that belongs to git-ci is killed, frozen and interrupted at random, while
//! two runs and a host share a repository: in the end every task has exactly one verdict,
//! and it is the right one; no job ever ran beside another copy of itself; nothing of the
//! user's has changed, and nothing is left running.
//!
//! A few seconds in the test suite; `tests/bench/storm.sh` gives it hundreds of kills.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Random, TestRepo, processes_with, setting, wait_until};

/// How many commits each round adds.
const ROUND: u64 = 4;

/// What a process of this repository is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Dispatcher,
    Agent,
    Hub,
    Job,
}

/// Every process that says that it belongs to this test, and what it is.
fn victims(repo: &TestRepo) -> Vec<(u32, Kind)> {
    let root = repo.root().to_str().unwrap();
    let kind = |pid: u32| -> Option<Kind> {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let words: Vec<_> = line.split(|&byte| byte == 0).collect();
        let program = String::from_utf8_lossy(words.first()?).into_owned();
        let ours = program.contains("git-ci");
        Some(match words.get(1).copied().unwrap_or_default() {
            b"agent" if ours && words.iter().any(|word| word.starts_with(b"--stdio")) => Kind::Hub,
            b"agent" if ours => Kind::Agent,
            b"run" if ours => Kind::Dispatcher,
            _ if words
                .iter()
                .any(|word| word.windows(9).any(|part| part == b"#storming")) =>
            {
                Kind::Job
            }
            _ => return None,
        })
    };
    let found = processes_with(root);
    found
        .into_iter()
        .filter_map(|pid| Some((pid, kind(pid)?)))
        .collect()
}

/// The job: says by its exit code what the commit is, and shouts where another copy of it
/// is still at work. Whoever dies gives up the lock, with all that it has started.
fn script(witness: &Path) -> String {
    let witness = witness.display();
    format!(
        "exec 9>{witness}/$GIT_CI_JOB-$(cat n); \
         flock -n 9 || {{ echo $(cat n) >>{witness}/doubled; exit 1; }}; \
         sleep 0.0$(cksum <n | cut -c1-2); \
         test $(($(cksum <n | cut -c1-4) % 3)) != 0 #storming"
    )
}

fn start(repo: &TestRepo, random: &mut Random) -> Child {
    let order = ["--order=newest", "--order=oldest"][random.below(2) as usize];
    let mut command = repo.ci_command(["run", "-q", "-j2", "--branches", order]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid as i32) {
        // It may have ended by itself.
        let _ = kill_process(pid, signal);
    }
}

/// What must not change: every file of the repository but those of git-ci.
fn users_own(repo: &TestRepo) -> BTreeMap<String, Vec<u8>> {
    fn walk(dir: &Path, top: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(top).unwrap().display().to_string();
            let ours = [
                "ci",
                "refs/notes",
                "refs/ci",
                "objects",
                "logs/refs/notes",
                "packed-refs",
            ];
            if ours.contains(&name.as_str()) {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                walk(&path, top, found)
            } else {
                drop(found.insert(name, fs::read(&path).unwrap_or_default()))
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&repo.git_dir(), &repo.git_dir(), &mut found);
    found
}

#[test]
fn whatever_is_killed_every_task_gets_its_one_verdict() {
    let kills = setting("GIT_CI_STORM_KILLS", 24);
    let seed = setting("GIT_CI_STORM_SEED", 0x9e37_79b9_7f4a_7c15);
    let mut random = Random(seed);
    let repo = TestRepo::new();
    let witness = repo.root().join("witness");
    fs::create_dir(&witness).unwrap();
    repo.job("one", &script(&witness));
    repo.job("two", &script(&witness));
    let host = repo.root().join("host");
    fs::create_dir(&host).unwrap();
    let home = format!("env HOME={} {{}}", host.display());
    for (key, value) in [
        ("ci.name", "here"),
        ("ci-host.there.command", home.as_str()),
        ("ci-host.there.slots", "1"),
        ("ci.silence", "2s"),
        ("ci.lease", "4s"),
    ] {
        repo.git(["config", key, value]);
    }
    let mut done = BTreeMap::<(Kind, i32), u64>::new();
    let mut before = users_own(&repo);
    let mut frozen: Vec<(u32, Instant)> = Vec::new();
    let (mut hits, mut round) = (0, 0);
    let mut runs: Vec<Child> = Vec::new();
    while hits < kills {
        if random.below(6) == 0 || round == 0 {
            for _ in 0..ROUND {
                round += 1;
                repo.commit(&format!("commit {round}"));
            }
            before = users_own(&repo);
        }
        runs.retain_mut(|run| run.try_wait().unwrap().is_none());
        while runs.len() < 2 {
            runs.push(start(&repo, &mut random));
        }
        let until = Instant::now() + Duration::from_millis(random.below(250));
        wait_until("the next blow", || Instant::now() >= until);
        for (pid, _) in frozen.extract_if(.., |(_, until)| *until <= Instant::now()) {
            signal(pid, Signal::CONT);
        }
        let all = victims(&repo);
        if all.is_empty() {
            continue;
        }
        let (pid, kind) = all[random.below(all.len() as u64) as usize];
        let blow = match (kind, random.below(8)) {
            (Kind::Job, _) => Signal::KILL,
            (_, 0..5) => Signal::KILL,
            (Kind::Dispatcher, 5) => Signal::INT,
            (_, 5) => Signal::TERM,
            _ => Signal::STOP,
        };
        signal(pid, blow);
        if blow == Signal::STOP {
            frozen.push((
                pid,
                Instant::now() + Duration::from_millis(random.below(6000)),
            ));
        }
        *done.entry((kind, blow.as_raw())).or_default() += 1;
        hits += 1;
    }
    for (pid, _) in frozen {
        signal(pid, Signal::CONT);
    }
    for mut run in runs {
        signal(run.id(), Signal::TERM);
        run.wait().unwrap();
    }
    // What had no verdict so far gets it now.
    wait_until("a run without an ERROR", || {
        let code = repo.ci(["run", "-q", "-j2", "--branches"]).code();
        assert!([0, 1, 125].contains(&code), "exit code {code}, seed {seed}");
        code != 125
    });
    assert_eq!(
        repo.git(["status", "--porcelain", "-uno"]),
        "",
        "seed {seed}"
    );
    assert_eq!(before, users_own(&repo), "seed {seed}");
    let doubled = fs::read_to_string(witness.join("doubled")).unwrap_or_default();
    assert_eq!(doubled, "", "ran beside itself, seed {seed}, {done:?}");
    for commit in repo.git(["rev-list", "main"]).lines() {
        let n = repo.git(["show", &format!("{commit}:n")]);
        let sum = repo.root().join("sum");
        fs::write(&sum, format!("{n}\n")).unwrap();
        let sum = repo
            .command("cksum", repo.root())
            .stdin(fs::File::open(&sum).unwrap())
            .output();
        let sum = String::from_utf8(sum.unwrap().stdout).unwrap();
        let passes = sum[..4].parse::<u32>().unwrap() % 3 != 0;
        let status = if passes { "pass" } else { "FAIL" };
        let verdicts: Vec<_> = repo
            .verdicts(commit)
            .into_iter()
            .filter(|verdict| !verdict.starts_with("ERROR"))
            .collect();
        let expected = ["one", "two"].map(|job| format!("{status} {job}"));
        assert_eq!(verdicts, expected, "{commit}, seed {seed}, {done:?}");
    }
    let root = repo.root().to_str().unwrap();
    wait_until("the end of every process", || {
        processes_with(root).is_empty()
    });
    repo.git(["fsck", "--strict", "--no-dangling"]);
    let _ = writeln!(
        std::io::stderr(),
        "{hits} blows over {round} commits: {done:?}"
    );
}
