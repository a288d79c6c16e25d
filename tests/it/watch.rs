//! `git ci watch`: which commits it sees, in which order, and where checkpoints stand.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{TestRepo, wait_until};

/// A watcher that ends with the test.
pub(crate) struct Watcher {
    child: Child,
    log: PathBuf,
}

impl Watcher {
    /// Starts `git ci watch` with these arguments; what it says goes to a file.
    pub(crate) fn start(repo: &TestRepo, args: &[&str]) -> Self {
        Self::with(repo, args, &[])
    }

    /// With more variables in its environment.
    pub(crate) fn with(repo: &TestRepo, args: &[&str], env: &[(&str, &str)]) -> Self {
        let log = repo.root().join("watch.log");
        let out = fs::File::create(&log).unwrap();
        let child = repo
            .ci_command(["watch"])
            .args(args)
            .envs(env.iter().copied())
            .stderr(Stdio::from(out.try_clone().unwrap()))
            .stdout(Stdio::from(out))
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it has said something.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) {
        wait_until(&format!("{text:?} in\n{}", self.said()), || {
            self.said().contains(text)
        });
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; the exit code, -1 after a signal.
    #[track_caller]
    pub(crate) fn wait(mut self) -> i32 {
        let mut ended = None;
        wait_until("the watcher to end", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap().code().unwrap_or(-1)
    }

    /// Ends it as Ctrl-C does.
    pub(crate) fn interrupt(self) -> i32 {
        self.signal(Signal::INT);
        self.wait()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the checkpoint of a branch is; empty where there is none.
pub(crate) fn checkpoint(repo: &TestRepo, branch: &str) -> String {
    let name = format!("refs/ci/checkpoint/heads/{branch}");
    let found = repo.git(["for-each-ref", "--format=%(refname) %(objectname)", &name]);
    let exact = found
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name} ")));
    exact.unwrap_or_default().to_owned()
}

#[track_caller]
pub(crate) fn wait_for_checkpoint(repo: &TestRepo, branch: &str, at: &str) {
    wait_until(&format!("the checkpoint of {branch} at {at}"), || {
        checkpoint(repo, branch) == at
    });
}

/// A job that leaves the commit behind in a file each time it runs.
pub(crate) fn counting(repo: &TestRepo, then: &str) -> String {
    let marks = repo.root().join("marks");
    format!("echo $GIT_CI_COMMIT >> {}; {then}", marks.display())
}

/// The commits that a counting job ran on, in order.
pub(crate) fn ran(repo: &TestRepo) -> Vec<String> {
    let text = fs::read_to_string(repo.root().join("marks")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn each_new_commit_is_tested_and_the_checkpoint_follows() {
    let repo = TestRepo::new();
    repo.tree_job("test", &counting(&repo, "true"));
    repo.commit("zero");
    let one = repo.commit("one");
    let watcher = Watcher::start(&repo, &[]);
    wait_for_checkpoint(&repo, "main", &one);
    let two = repo.commit("two");
    wait_for_checkpoint(&repo, "main", &two);
    let three = repo.commit("three");
    wait_for_checkpoint(&repo, "main", &three);
    assert_eq!(ran(&repo), [one, two, three.clone()]);
    assert_eq!(repo.verdicts(&three), ["pass test"]);
    assert_eq!(watcher.interrupt(), 130);
}

#[test]
fn the_first_start_tests_each_tip_and_nothing_behind_it() {
    let repo = TestRepo::new();
    repo.tree_job("test", &counting(&repo, "true"));
    repo.commit("zero");
    let one = repo.commit("one");
    repo.git(["checkout", "-q", "-b", "topic"]);
    repo.commit("two");
    let three = repo.commit("three");
    // `one` is behind `three`, and a tip of its own all the same.
    let watcher = Watcher::start(&repo, &["--until-idle"]);
    assert_eq!(watcher.wait(), 0);
    let mut all = ran(&repo);
    all.sort();
    let mut expected = [one.clone(), three.clone()];
    expected.sort();
    assert_eq!(all, expected);
    assert_eq!(checkpoint(&repo, "main"), one);
    assert_eq!(checkpoint(&repo, "topic"), three);
}

#[test]
fn since_begins_earlier_and_nothing_known_is_run_again() {
    let repo = TestRepo::new();
    repo.tree_job("test", &counting(&repo, "true"));
    let zero = repo.commit("zero");
    let one = repo.commit("one");
    let two = repo.commit("two");
    assert_eq!(Watcher::start(&repo, &["--until-idle"]).wait(), 0);
    assert_eq!(ran(&repo), std::slice::from_ref(&two));
    let watcher = Watcher::start(&repo, &["--until-idle", "--since", &zero]);
    assert_eq!(watcher.wait(), 0);
    assert_eq!(ran(&repo), [two.clone(), one]);
    assert_eq!(checkpoint(&repo, "main"), two);
    assert_eq!(repo.note(&zero), "");
}

#[test]
fn what_came_while_nobody_watched_is_tested_newest_first() {
    let repo = TestRepo::new();
    repo.tree_job("test", &counting(&repo, "true"));
    let zero = repo.commit("zero");
    assert_eq!(Watcher::start(&repo, &["--until-idle"]).wait(), 0);
    let one = repo.commit("one");
    repo.git(["checkout", "-q", "-b", "topic"]);
    let two = repo.commit("two");
    let three = repo.commit("three");
    let watcher = Watcher::start(&repo, &["--until-idle", "-j1"]);
    assert_eq!(watcher.wait(), 0);
    let ran = ran(&repo);
    assert_eq!(ran[..2], [zero, three.clone()]);
    let mut all = ran[1..].to_vec();
    all.sort();
    let mut expected = [one.clone(), two, three.clone()];
    expected.sort();
    assert_eq!(all, expected);
    assert_eq!(checkpoint(&repo, "main"), one);
    assert_eq!(checkpoint(&repo, "topic"), three);
}

#[test]
fn the_order_can_be_chosen() {
    for (order, places) in [("oldest", [1, 2, 3]), ("newest", [3, 2, 1])] {
        let repo = TestRepo::new();
        repo.tree_job("test", &counting(&repo, "true"));
        let commits: Vec<_> = (0..4).map(|n| repo.commit(&n.to_string())).collect();
        let args = [
            "--until-idle",
            "-j1",
            "--since",
            &commits[0],
            "--order",
            order,
        ];
        assert_eq!(Watcher::start(&repo, &args).wait(), 0);
        assert_eq!(ran(&repo), places.map(|n| commits[n].clone()), "{order}");
    }
}

#[test]
fn an_empty_repository_waits_for_its_first_commit() {
    let repo = TestRepo::new();
    repo.tree_job("test", &counting(&repo, "true"));
    let watcher = Watcher::start(&repo, &[]);
    wait_until("the socket", || !sockets(&repo).is_empty());
    let one = repo.commit("one");
    wait_for_checkpoint(&repo, "main", &one);
    // An orphan branch has a beginning of its own.
    repo.git(["checkout", "-q", "--orphan", "other"]);
    let two = repo.commit("two");
    wait_for_checkpoint(&repo, "other", &two);
    assert_eq!(ran(&repo), [one, two]);
    assert_eq!(watcher.interrupt(), 130);
}

#[test]
fn tags_and_excluded_branches_are_left_alone_and_named_refs_are_not() {
    let repo = TestRepo::new();
    repo.tree_job("test", &counting(&repo, "true"));
    repo.commit("zero");
    let args = [
        "--until-idle",
        "main",
        "feature/*",
        "refs/tags/v*",
        "--exclude",
        "feature/no*",
    ];
    let watcher = Watcher::start(&repo, &args);
    watcher.wait_for("nothing matches feature/* yet");
    assert_eq!(watcher.wait(), 0);
    let mut expected = Vec::new();
    for branch in ["feature/a/b", "feature/no", "other"] {
        repo.git(["checkout", "-q", "-b", branch, "main"]);
        let id = repo.commit(branch);
        expected.extend((branch == "feature/a/b").then_some(id));
    }
    repo.git(["checkout", "-q", "-b", "tagged", "main"]);
    expected.push(repo.commit("tagged"));
    repo.git(["tag", "-a", "-m", "one", "v1"]);
    repo.git(["tag", "x1", "other"]);
    repo.git(["pack-refs", "--all"]);
    assert_eq!(Watcher::start(&repo, &args).wait(), 0);
    let mut ran = ran(&repo).split_off(1);
    ran.sort();
    expected.sort();
    assert_eq!(ran, expected);
    assert_eq!(
        repo.git(["for-each-ref", "--format=%(refname)", "refs/ci/checkpoint"]),
        "refs/ci/checkpoint/heads/feature/a/b\nrefs/ci/checkpoint/heads/main\nrefs/ci/checkpoint/tags/v1"
    );
    let bad = repo.ci(["watch", "a..b"]).expect_code(129);
    assert!(bad.stderr().contains("as a pattern"), "{}", bad.stderr());
}

#[test]
fn a_rewritten_commit_is_ended_at_once_and_leaves_nothing() {
    let repo = TestRepo::new();
    let go = repo.root().join("go");
    repo.tree_job(
        "test",
        &counting(&repo, &format!("test -e {} || sleep 600", go.display())),
    );
    repo.commit("zero");
    let watcher = Watcher::start(&repo, &["-j1"]);
    wait_until("a start", || ran(&repo).len() == 1);
    let old = repo.git(["rev-parse", "HEAD"]);
    repo.git(["commit", "-q", "--amend", "-m", "other"]);
    wait_until("the other", || ran(&repo).len() == 2);
    let new = repo.git(["rev-parse", "HEAD"]);
    assert_eq!(ran(&repo), [old.clone(), new.clone()]);
    fs::write(&go, "").unwrap();
    // The one that sleeps is superseded once more.
    repo.git(["commit", "-q", "--amend", "-m", "third"]);
    let third = repo.git(["rev-parse", "HEAD"]);
    wait_for_checkpoint(&repo, "main", &third);
    assert_eq!([repo.note(&old), repo.note(&new)], ["", ""]);
    assert_eq!(watcher.interrupt(), 130);
}

#[test]
fn no_cancel_lets_what_runs_finish() {
    let repo = TestRepo::new();
    let go = repo.root().join("go");
    let wait = format!("while ! test -e {}; do sleep 0.02; done", go.display());
    repo.tree_job("test", &counting(&repo, &wait));
    let old = repo.commit("zero");
    let _watcher = Watcher::start(&repo, &["-j1", "--no-cancel"]);
    wait_until("a start", || ran(&repo).len() == 1);
    repo.write("n", "changed");
    repo.git(["commit", "-q", "-a", "--amend", "-m", "other"]);
    let new = repo.git(["rev-parse", "HEAD"]);
    // It is seen by now, and still nothing was ended.
    wait_until("the queue", || {
        !sockets(&repo).is_empty() && !repo.note(&old).is_empty() || {
            fs::write(&go, "").unwrap();
            false
        }
    });
    wait_for_checkpoint(&repo, "main", &new);
    assert_eq!(repo.verdicts(&old), ["pass test"]);
    assert_eq!(repo.verdicts(&new), ["pass test"]);
}

#[test]
fn a_pushed_tip_goes_before_ten_that_wait() {
    let repo = TestRepo::new();
    let go = repo.root().join("go");
    let wait = format!("while ! test -e {}; do sleep 0.02; done", go.display());
    repo.tree_job("test", &counting(&repo, &wait));
    let zero = repo.commit("zero");
    for n in 0..10 {
        repo.commit(&n.to_string());
    }
    let _watcher = Watcher::start(&repo, &["-j1", "--since", &zero]);
    wait_until("a start", || ran(&repo).len() == 1);
    let urgent = repo.commit("urgent");
    repo.git(["checkout", "-q", "-b", "topic", "HEAD~5"]);
    let topic = repo.commit("topic");
    // Both are known to the dispatcher once it says how many wait.
    wait_until("both tips", || {
        let state = state(&repo);
        state.contains(&urgent) && state.contains(&topic)
    });
    fs::write(&go, "").unwrap();
    wait_until("the rest", || ran(&repo).len() == 12);
    let mut first = ran(&repo)[1..3].to_vec();
    first.sort();
    let mut expected = [urgent, topic];
    expected.sort();
    assert_eq!(first, expected);
}

/// Where runs and watchers of a repository can be asked.
pub(crate) fn sockets(repo: &TestRepo) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(repo.git_dir().join("ci/control"));
    let paths = entries.into_iter().flatten().flatten();
    paths.map(|entry| entry.path()).collect()
}

/// What the watcher says it is doing, as JSON.
pub(crate) fn state(repo: &TestRepo) -> String {
    use std::io::Write as _;
    let mut sockets = sockets(repo).into_iter();
    let stream = sockets.find_map(|path| std::os::unix::net::UnixStream::connect(path).ok());
    let Some(mut stream) = stream else {
        return String::new();
    };
    let _ = stream.write_all(b"{\"ask\":\"state\"}\n");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn deleted_renamed_and_reset_branches_keep_what_they_have_seen() {
    let repo = TestRepo::new();
    repo.tree_job("test", &counting(&repo, "true"));
    let zero = repo.commit("zero");
    let watcher = Watcher::start(&repo, &[]);
    wait_for_checkpoint(&repo, "main", &zero);
    repo.git(["checkout", "-q", "-b", "a"]);
    let one = repo.commit("one");
    wait_for_checkpoint(&repo, "a", &one);
    // Renamed: nothing new.
    repo.git(["branch", "-m", "a", "b"]);
    wait_for_checkpoint(&repo, "b", &one);
    // A name below that of a deleted branch.
    repo.git(["checkout", "-q", "-b", "a/x"]);
    let two = repo.commit("two");
    wait_for_checkpoint(&repo, "a/x", &two);
    assert_eq!(checkpoint(&repo, "a"), "");
    // Reset back and forth: nothing new.
    repo.git(["reset", "-q", "--hard", "HEAD~1"]);
    repo.git(["reset", "-q", "--hard", &two]);
    repo.git(["checkout", "-q", "main"]);
    let three = repo.commit("three");
    wait_for_checkpoint(&repo, "main", &three);
    assert_eq!(ran(&repo), [zero, one, two, three]);
    assert_eq!(watcher.interrupt(), 130);
}

#[test]
fn a_branch_deleted_while_it_runs_is_given_up() {
    let repo = TestRepo::new();
    repo.tree_job("test", &counting(&repo, "test $(cat n) = 1 || sleep 600"));
    let zero = repo.commit("zero");
    let watcher = Watcher::start(&repo, &["-j1"]);
    wait_for_checkpoint(&repo, "main", &zero);
    repo.git(["checkout", "-q", "-b", "topic"]);
    let one = repo.commit("one");
    wait_until("a start", || ran(&repo).len() == 2);
    repo.git(["checkout", "-q", "main"]);
    repo.git(["branch", "-q", "-D", "topic"]);
    watcher.wait_for("cancelled ");
    assert_eq!(repo.note(&one), "");
    assert_eq!(watcher.interrupt(), 130);
}

#[test]
fn an_edited_jobs_file_counts_and_a_broken_one_does_not() {
    let repo = TestRepo::new();
    repo.tree_job("test", &counting(&repo, "true"));
    let zero = repo.commit("zero");
    let watcher = Watcher::start(&repo, &[]);
    wait_for_checkpoint(&repo, "main", &zero);
    repo.job("more", "true");
    watcher.wait_for("the jobs file has changed: 2 jobs");
    let one = repo.commit("one");
    wait_for_checkpoint(&repo, "main", &one);
    assert_eq!(repo.verdicts(&one), ["pass more", "pass test"]);
    let good = fs::read(repo.path().join(".git-ci.toml")).unwrap();
    repo.write(".git-ci.toml", "[jobs.test]\nruns = 1\n");
    watcher.wait_for("the old jobs still count: failed to understand");
    let two = repo.commit("two");
    wait_for_checkpoint(&repo, "main", &two);
    fs::remove_file(repo.path().join(".git-ci.toml")).unwrap();
    watcher.wait_for("the old jobs still count: failed to find a jobs file");
    let three = repo.commit("three");
    wait_for_checkpoint(&repo, "main", &three);
    assert_eq!(repo.verdicts(&three), ["pass more", "pass test"]);
    repo.write(".git-ci.toml", good);
    watcher.wait_for("in order again");
    assert_eq!(watcher.interrupt(), 130);
}

#[test]
fn an_error_is_tried_again_and_then_lets_the_checkpoint_pass() {
    let repo = TestRepo::new();
    let count = repo.root().join("count");
    let counted = format!("echo x >> {}", count.display());
    repo.job(
        "test",
        &format!(
            "{counted}; test $(wc -l < {}) -ge 2 || exit 127",
            count.display()
        ),
    );
    let zero = repo.commit("zero");
    let watcher = Watcher::start(&repo, &["--until-idle"]);
    assert_eq!(watcher.wait(), 0);
    assert_eq!(repo.verdicts(&zero), ["ERROR test", "pass test"]);
    assert_eq!(checkpoint(&repo, "main"), zero);
}

#[test]
fn a_bare_repository_takes_the_jobs_of_each_commit() {
    let repo = TestRepo::new();
    repo.commit("zero");
    repo.write(".git-ci.toml", "[jobs.test]\nrun = \"true\"\n");
    let one = repo.commit("one");
    let bare = TestRepo::init(&["--bare", "-b", "main"]);
    let url = bare.path().to_str().unwrap().to_owned();
    repo.git(["push", "-q", &url, "main"]);
    let watcher = Watcher::start(&bare, &[]);
    wait_for_checkpoint(&bare, "main", &one);
    repo.write(".git-ci.toml", "[jobs.test]\nrun = 1\n");
    let two = repo.commit("two");
    repo.write(".git-ci.toml", "[jobs.test]\nrun = \"true\"\n");
    let three = repo.commit("three");
    repo.git(["push", "-q", &url, "main"]);
    wait_for_checkpoint(&bare, "main", &three);
    watcher.wait_for(&format!("{} is not tested", &two[..10]));
    assert_eq!(bare.verdicts(&one), ["pass test"]);
    assert_eq!(bare.verdicts(&three), ["pass test"]);
    assert_eq!(watcher.interrupt(), 130);
}

#[test]
fn commits_of_linked_worktrees_and_packed_refs_are_seen() {
    let repo = TestRepo::new();
    repo.tree_job("test", &counting(&repo, "true"));
    let zero = repo.commit("zero");
    let watcher = Watcher::start(&repo, &[]);
    wait_for_checkpoint(&repo, "main", &zero);
    let linked = repo.root().join("linked");
    repo.git([
        "worktree",
        "add",
        "-q",
        "-b",
        "a/b/c",
        linked.to_str().unwrap(),
    ]);
    let made = repo
        .command("git", &linked)
        .args(["commit", "-q", "--allow-empty", "-m", "linked"])
        .output()
        .unwrap();
    assert!(made.status.success());
    let one = repo.git(["rev-parse", "a/b/c"]);
    wait_for_checkpoint(&repo, "a/b/c", &one);
    repo.git(["pack-refs", "--all"]);
    repo.git(["gc", "-q"]);
    let two = repo.commit("two");
    wait_for_checkpoint(&repo, "main", &two);
    repo.git(["update-ref", "refs/heads/new", &two]);
    wait_for_checkpoint(&repo, "new", &two);
    assert_eq!(repo.verdicts(&two), ["pass test"]);
    assert_eq!(watcher.interrupt(), 130);
}

#[test]
fn polling_sees_commits_too() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    let zero = repo.commit("zero");
    let watcher = Watcher::start(&repo, &["--poll", "100ms"]);
    wait_for_checkpoint(&repo, "main", &zero);
    let one = repo.commit("one");
    wait_for_checkpoint(&repo, "main", &one);
    watcher.signal(Signal::TERM);
    assert_eq!(watcher.wait(), 143);
}

#[test]
fn a_second_watcher_is_told_and_may_wait() {
    let repo = TestRepo::new();
    repo.job("test", "true");
    let zero = repo.commit("zero");
    let first = Watcher::start(&repo, &[]);
    wait_for_checkpoint(&repo, "main", &zero);
    let second = repo.ci(["watch"]).expect_code(128);
    let pid = format!("process {} on ", first.pid());
    assert!(second.stderr().contains(&pid), "{}", second.stderr());
    assert!(second.stderr().contains("--wait"), "{}", second.stderr());
    let mut third = repo.spawn_ci(["watch", "--wait", "--until-idle"]);
    first.kill();
    assert_eq!(third.wait().unwrap().code(), Some(0));
}

#[test]
fn tasks_can_be_cancelled_from_another_terminal() {
    let repo = TestRepo::new();
    let none = repo.ci(["cancel"]).expect_code(128);
    assert!(
        none.stderr().contains("nothing runs on this repository"),
        "{}",
        none.stderr()
    );
    repo.tree_job("test", &counting(&repo, "sleep 600"));
    repo.job("other", "true");
    let zero = repo.commit("zero");
    let watcher = Watcher::start(&repo, &["-j1"]);
    wait_until("a start", || ran(&repo).len() == 1);
    wait_until("the start to be known", || {
        state(&repo).contains("\"elapsed_ms\"")
    });
    let done = repo.ci(["cancel", "HEAD", "test"]).expect_code(0);
    assert!(
        done.stderr()
            .contains("1 task cancelled, 1 of them running"),
        "{}",
        done.stderr()
    );
    // What was cancelled holds nothing up.
    wait_for_checkpoint(&repo, "main", &zero);
    assert_eq!(repo.verdicts(&zero), ["pass other"]);
    assert_eq!(watcher.interrupt(), 130);
}

#[test]
fn run_new_does_once_what_watching_does() {
    let repo = TestRepo::new();
    repo.tree_job("test", &counting(&repo, "grep -qv 5 n || exit 127"));
    repo.commit("one");
    let two = repo.commit("two");
    repo.ci(["run", "--new"]).expect_code(0);
    let three = repo.commit("three");
    let four = repo.commit("four");
    repo.ci(["run", "--new", "-j1"]).expect_code(0);
    assert_eq!(ran(&repo), [two, four.clone(), three]);
    assert_eq!(checkpoint(&repo, "main"), four);
    let again = repo.ci(["run", "--new"]).expect_code(0);
    assert!(
        again.stderr().contains("nothing to do"),
        "{}",
        again.stderr()
    );
    // Without a verdict the checkpoint stays where it is, and the next time tries again.
    let five = repo.commit("five");
    for _ in 0..2 {
        repo.ci(["run", "--new"]).expect_code(125);
        assert_eq!(checkpoint(&repo, "main"), four);
    }
    assert_eq!(ran(&repo)[3..], [five.clone(), five]);
    repo.ci(["run", "--new", "a..b"]).expect_code(129);
}

#[test]
fn status_shows_what_waits_in_a_running_watcher() {
    let repo = TestRepo::new();
    let go = repo.root().join("go");
    let until = format!("until test -e {}; do sleep 0.02; done", go.display());
    repo.job("slow", &until);
    repo.job("quick", "true");
    let zero = repo.commit("zero");
    repo.commit("one");
    repo.commit("two");
    let watcher = Watcher::start(&repo, &["-j1", "--since", &zero]);
    let status = || repo.ci(["status", "-n2"]).expect_code(0).stdout();
    // The slot is taken a moment before the watcher hears that the job runs.
    wait_until("a running task", || {
        status().contains(": 1 running, 3 queued\n")
    });
    let shown = status();
    assert_eq!(shown.matches("· queued").count(), 3, "{shown}");
    let process = format!("Watched by process {} on ", watcher.pid());
    assert!(shown.contains(&process), "{shown}");
    assert!(shown.contains(": 1 running, 3 queued\n"), "{shown}");
    let lines = repo.ci(["status", "-n2", "--json"]).expect_code(0).stdout();
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let cells = |n: usize| lines[n]["cells"].as_array().unwrap().iter();
    let queued = cells(1)
        .chain(cells(2))
        .filter(|cell| cell["queued"] == true);
    assert_eq!(queued.count(), 3, "{lines:?}");
    let last = lines.last().unwrap();
    assert_eq!(last["event"], "watching");
    assert_eq!(last["pid"], watcher.pid());
    assert_eq!((&last["running"], &last["queued"]), (&1.into(), &3.into()));

    // One that is stopped hides nothing that is on record.
    watcher.signal(Signal::STOP);
    let ran = repo.ci(["status", "-n2"]).expect_code(0);
    assert!(ran.stderr().contains("does not answer"), "{}", ran.stderr());
    assert!(ran.stdout().contains("two"), "{}", ran.stdout());
    watcher.signal(Signal::CONT);
    fs::write(go, "").unwrap();
    wait_until("the end", || status().contains("0 running, 0 queued\n"));
    watcher.interrupt();
    assert!(!status().contains("Watched"));
}
