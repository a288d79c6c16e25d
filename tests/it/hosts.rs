//! Runs on other machines: real `sshd`, real `ssh`, and the same notes as at home.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::beds::SshBed;
use crate::submodules::add_submodule;
use crate::support::{TestRepo, wait_until};

/// How many records there are, by their first two words and their runner.
fn records(repo: &TestRepo, rev: &str) -> Vec<String> {
    repo.note(rev)
        .lines()
        .map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            format!("{} {} {}", words[0], words[1], words[4])
        })
        .collect()
}

#[test]
fn one_host_runs_a_range() {
    let repo = TestRepo::new();
    repo.job(
        "test",
        "cat n && test \"$GIT_CI_RUNNER\" = h1 && git log -1 && git describe --always",
    );
    repo.job("lint", "exit 3");
    let commits: Vec<_> = (0..5)
        .map(|i| repo.commit(&format!("commit {i}")))
        .collect();
    let Some(bed) = SshBed::up(&repo, 1) else {
        return;
    };
    let done = repo.ci(["run", "HEAD~3..HEAD"]).expect_code(1);
    for commit in &commits[2..] {
        assert_eq!(
            records(&repo, commit),
            ["FAIL lint h1", "pass test h1"],
            "{}",
            done.stderr()
        );
    }
    assert_eq!(repo.noted_commits(), 3);
    // The second time only what is new travels.
    repo.commit("one more");
    repo.ci(["run", "HEAD"]).expect_code(1);
    assert_eq!(records(&repo, "HEAD"), ["FAIL lint h1", "pass test h1"]);
    bed.expect_nothing_left();
}

#[test]
fn hosts_are_listed_checked_and_drained() {
    let repo = TestRepo::new();
    let said = repo.ci(["hosts"]).expect_code(0).stderr();
    assert!(said.contains("no hosts are configured"), "{said}");
    let mark = repo.root().join("mark");
    let job = format!(
        "touch {0}-$GIT_CI_COMMIT; until test -e {0}; do sleep 0.02; done",
        mark.display()
    );
    repo.job("test", &job);
    let commits: Vec<_> = (0..2)
        .map(|i| repo.commit(&format!("commit {i}")))
        .collect();
    let Some(bed) = SshBed::up(&repo, 2) else {
        return;
    };
    repo.git(["config", "ci-host.h2.address", "nobody@nowhere.invalid"]);
    repo.git(["config", "ci-host.h1.labels", "gpu, linux"]);
    let listed = repo.ci(["hosts"]).expect_code(0).stdout();
    assert!(
        listed.contains("h1           ready    h1  slots=1 labels=gpu,linux"),
        "{listed}"
    );

    let run = repo.spawn_ci(["run", "HEAD~1..HEAD", "HEAD~1"]);
    let started =
        |commit: &String| std::path::PathBuf::from(format!("{}-{commit}", mark.display())).exists();
    wait_until("the job to run", || commits.iter().any(started));
    let checked = repo.ci(["hosts", "--check"]).expect_code(128).stdout();
    assert!(checked.contains("h1           ok "), "{checked}");
    assert!(checked.contains("slot 1 runs test on "), "{checked}");
    assert!(checked.contains("nowhere.invalid"), "{checked}");
    assert!(checked.contains("hint: check the name"), "{checked}");

    let lines = repo
        .ci(["hosts", "--check", "--json"])
        .expect_code(128)
        .stdout();
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (&lines[0]["event"], &lines[0]["format"]),
        (&"hosts".into(), &1.into())
    );
    assert_eq!(lines.len(), 3);
    let (h1, h2) = (&lines[1], &lines[2]);
    assert_eq!((&h1["name"], &h1["usable"]), (&"h1".into(), &true.into()));
    assert_eq!(h1["labels"], serde_json::json!(["gpu", "linux"]));
    assert_eq!(h1["running"][0]["job"], "test");
    assert!(h1["free_bytes"].as_u64().unwrap() > 0 && h1["error"].is_null());
    assert_eq!((&h2["usable"], &h2["git"]), (&false.into(), &().into()));
    assert!(h2["hint"].as_str().unwrap().starts_with("check the name"));

    // What runs there ends in peace, and nothing more comes.
    repo.ci(["hosts", "--drain", "h1"]).expect_code(0);
    fs::write(&mark, "").unwrap();
    let done = run.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(
        repo.ci(["hosts"]).stdout().contains("h1           drained"),
        "{said}"
    );
    repo.ci(["hosts", "--undrain", "h1"]).expect_code(0);
    repo.ci(["hosts", "--drain", "h3"]).expect_code(129);
    repo.git(["config", "ci-host.h1.drain", "yes"]);
    repo.git(["config", "ci-host.h2.drain", "yes"]);
    let said = repo.ci(["run", "--force"]).expect_code(128).stderr();
    assert!(said.contains("nowhere to run"), "{said}");
    bed.expect_nothing_left();
}

#[test]
fn a_host_without_git_or_space_is_named() {
    let repo = TestRepo::new();
    repo.job("test", "true").commit("one");
    let Some(bed) = SshBed::up(&repo, 1) else {
        return;
    };
    let agent = repo.root().join("no-git");
    let text = format!(
        "#!/bin/sh\nPATH=/nowhere exec {} \"$@\"\n",
        env!("CARGO_BIN_EXE_git-ci")
    );
    fs::write(&agent, text).unwrap();
    std::process::Command::new("chmod")
        .arg("+x")
        .arg(&agent)
        .status()
        .unwrap();
    repo.git(["config", "ci-host.h1.agent", agent.to_str().unwrap()]);
    let said = repo.ci(["hosts", "--check"]).expect_code(128).stdout();
    assert!(said.contains("hint: install git on the host"), "{said}");
    repo.git(["config", "ci-host.h1.agent", env!("CARGO_BIN_EXE_git-ci")]);
    repo.git(["config", "ci-host.h1.address", "no-such-user@h1"]);
    let said = repo.ci(["hosts", "--check"]).expect_code(128).stdout();
    assert!(said.contains("wrong user"), "{said}");
    repo.git(["config", "ci-host.h1.address", "h1"]);
    repo.git(["config", "ci-host.h1.root", "/proc/nowhere"]);
    let said = repo.ci(["hosts", "--check"]).expect_code(128).stdout();
    assert!(said.contains("ci-host.h1.root"), "{said}");
    bed.expect_nothing_left();
}

#[test]
fn labels_choose_the_host() {
    let repo = TestRepo::new();
    repo.jobs_file("[jobs.gpu]\nrun = 'test $GIT_CI_RUNNER = h2'\nlabels = ['gpu']\n");
    repo.jobs_file("[jobs.here]\nrun = 'test $GIT_CI_RUNNER = here'\nlabels = ['home']\n");
    (0..3).for_each(|i| drop(repo.commit(&format!("commit {i}"))));
    let Some(bed) = SshBed::up(&repo, 2) else {
        return;
    };
    repo.git(["config", "ci-host.h2.labels", "gpu fast"]);
    let said = repo.ci(["run"]).expect_code(128).stderr();
    assert!(
        said.contains("no runner has the labels of job here: home"),
        "{said}"
    );
    repo.git(["config", "ci.local", "true"]);
    repo.git(["config", "ci.name", "here"]);
    repo.git(["config", "ci.labels", "home"]);
    repo.ci(["run", "HEAD~2..HEAD", "HEAD~2"]).expect_code(0);
    for back in 0..3 {
        assert_eq!(
            records(&repo, &format!("HEAD~{back}")),
            ["pass gpu h2", "pass here here"]
        );
    }
    bed.expect_nothing_left();
}

#[test]
fn what_only_a_slow_host_may_do_gets_done() {
    let repo = TestRepo::new();
    // Slow enough to be the slower machine, on which alone the last task may run.
    repo.jobs_file("[jobs.here]\nrun = 'true'\nlabels = ['home']\n");
    repo.jobs_file("[jobs.gpu]\nrun = 'sleep 0.5'\nlabels = ['gpu']\n");
    (0..4).for_each(|i| drop(repo.commit(&format!("commit {i}"))));
    let Some(bed) = SshBed::up(&repo, 1) else {
        return;
    };
    repo.git(["config", "ci-host.h1.labels", "gpu"]);
    repo.git(["config", "ci.local", "true"]);
    repo.git(["config", "ci.name", "here"]);
    repo.git(["config", "ci.labels", "home"]);
    repo.ci(["run", "-j1", "HEAD~3..HEAD", "HEAD~3"])
        .expect_code(0);
    for back in 0..4 {
        assert_eq!(
            records(&repo, &format!("HEAD~{back}")),
            ["pass gpu h1", "pass here here"]
        );
    }
    bed.expect_nothing_left();
}

#[test]
fn a_slow_host_gets_less() {
    let repo = TestRepo::new();
    let job = "case $GIT_CI_RUNNER in h1) sleep 0.6;; esac";
    repo.job("test", job).commit("base");
    (0..20).for_each(|i| drop(repo.commit(&format!("commit {i}"))));
    let Some(bed) = SshBed::up(&repo, 2) else {
        return;
    };
    repo.ci(["run", "HEAD~20..HEAD"]).expect_code(0);
    let by = |host: &str| {
        let here =
            |back: &u32| records(&repo, &format!("HEAD~{back}")) == [format!("pass test {host}")];
        (0..20).filter(here).count()
    };
    let (slow, fast) = (by("h1"), by("h2"));
    assert_eq!(slow + fast, 20);
    assert!(slow < fast, "{slow} against {fast}");
    bed.expect_nothing_left();
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let repo = TestRepo::new();
    repo.job("test", "true").commit("one");
    for (key, value, says) in [
        (
            "ci-host.h.address",
            "-oProxyCommand=touch x",
            "ci-host.h.address",
        ),
        (
            "ci-host.h.address",
            "me@-oProxyCommand=x",
            "ci-host.h.address",
        ),
        ("ci-host.h.slots", "0", "1 to 1024"),
        ("ci-host.h.kind", "rsh", "`ssh`, `slurm` or `command`"),
        ("ci-host.h.agent", "~/it's", "ci-host.h.agent"),
        ("ci-host.h.slot", "3", "one of account, address"),
        ("ci-host.h.lease", "20s", "ci-host.h.silence"),
        ("ci-host.no name.address", "x", "a name of at most"),
        ("ci.local", "maybe", "true or false"),
    ] {
        repo.git(["config", "ci-host.h.address", "h"]);
        repo.git(["config", key, value]);
        let said = repo.ci(["run"]).expect_code(128).stderr();
        assert!(said.contains(says), "{key} = {value}: {said}");
        repo.git(["config", "--unset", key]);
    }
    assert_eq!(repo.noted_commits(), 0);
}

/// A host that is up to no good, for `ci-host.evil.command`.
fn evil(how: &str) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/beds/evil.py");
    format!("python3 {script} {how} {{}}")
}

#[test]
fn a_hostile_host_can_lie_and_nothing_else() {
    if !crate::beds::have(&["python3"]) {
        return;
    }
    let ways = [
        "version",
        "garbage",
        "huge",
        "unknown",
        "flood",
        "files",
        "repeat",
        "code",
        "huge-code",
        "cancelled",
        "why",
        "lie",
        "starts",
        "lie-and-leave",
        "beats",
        "failed",
        "silent",
    ];
    std::thread::scope(|scope| {
        for how in ways {
            scope.spawn(move || be_hosted_by(how));
        }
    });
}

/// One run whose only host is up to no good in this way.
fn be_hosted_by(how: &str) {
    let repo = TestRepo::new();
    repo.job("test", "true").commit("one");
    let before = repo.git(["for-each-ref"]);
    repo.git(["config", "ci.local", "false"]);
    repo.git(["config", "ci.silence", "300ms"]);
    repo.git(["config", "ci.lease", "1500ms"]);
    repo.git(["config", "ci-host.evil.connect", "2s"]);
    repo.git(["config", "ci-host.evil.command", &evil(how)]);
    let (code, verdict) = match how {
        "lie" => (0, "pass test"),
        _ => (125, "ERROR test"),
    };
    let done = repo.ci(["run"]).expect_code(code);
    assert_eq!(repo.verdicts("HEAD"), [verdict], "{how}");
    let said = done.stderr() + &done.stdout();
    assert!(!said.contains(['\x1b', '\x07']), "{how}: {said:?}");
    assert!(said.len() < 20_000, "{how}: {}", said.len());
    let refs = repo.git(["for-each-ref"]);
    let rest: Vec<_> = refs
        .lines()
        .filter(|line| !line.ends_with("refs/notes/ci"))
        .collect();
    assert_eq!(rest.join("\n"), before, "{how}");
    let logs = fs::read_dir(repo.git_dir().join("ci/logs")).unwrap();
    for log in logs {
        assert!(log.unwrap().metadata().unwrap().len() < 6 << 20, "{how}");
    }
    let shown = repo.ci(["hosts", "--check"]).stdout();
    assert!(!shown.contains(['\x1b', '\x07']), "{how}: {shown:?}");
    if how == "lie" {
        assert!(said.contains("failed to keep what test left"), "{said}");
        let planted = std::process::Command::new("find")
            .args([repo.root(), Path::new("/tmp/planted")])
            .args(["-name", "planted"])
            .output();
        assert_eq!(String::from_utf8_lossy(&planted.unwrap().stdout), "");
        assert!(shown.contains("its clock is"), "{shown}");
    }
}

#[test]
fn a_command_template_is_a_host() {
    let repo = TestRepo::new();
    repo.job(
        "test",
        "test \"$GIT_CI_RUNNER\" = box && test \"$WHERE\" = there",
    )
    .commit("one");
    repo.git(["config", "ci.local", "false"]);
    repo.git(["config", "ci-host.box.command", "env WHERE=there {}"]);
    repo.git(["config", "ci-host.box.agent", env!("CARGO_BIN_EXE_git-ci")]);
    repo.ci(["run"]).expect_code(0);
    assert_eq!(records(&repo, "HEAD"), ["pass test box"]);
}

#[test]
fn a_slow_link_is_not_a_dead_one() {
    if !crate::beds::have(&["python3"]) {
        return;
    }
    let repo = TestRepo::new();
    repo.job("test", "true");
    // Bytes that no pack makes smaller; they take several times as long as silence.
    let mut bytes = Vec::new();
    let random = fs::File::open("/dev/urandom").unwrap();
    random.take(3 << 20).read_to_end(&mut bytes).unwrap();
    fs::write(repo.path().join("large"), bytes).unwrap();
    repo.git(["add", "large"]);
    repo.commit("one");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/beds/slowpipe.py");
    let agent = env!("CARGO_BIN_EXE_git-ci");
    let root = repo.root().join("far");
    repo.git(["config", "ci.local", "false"]);
    repo.git(["config", "ci.silence", "1s"]);
    repo.git(["config", "ci.lease", "3s"]);
    repo.git(["config", "ci-host.far.agent", agent]);
    repo.git(["config", "ci-host.far.root", root.to_str().unwrap()]);
    let template = format!("python3 {script} 1000000 {{}}");
    repo.git(["config", "ci-host.far.command", &template]);
    repo.ci(["run"]).expect_code(0);
    assert_eq!(repo.verdicts("HEAD"), ["pass test"]);
}

#[test]
fn a_command_that_does_not_want_to_end_keeps_nobody() {
    let repo = TestRepo::new();
    repo.job("test", "true").commit("one");
    let template = "trap \"\" TERM; sleep 3600; : {}";
    repo.git(["config", "ci-host.stuck.command", template]);
    repo.git(["config", "ci-host.stuck.connect", "1h"]);
    repo.ci(["run"]).expect_code(0);
    assert_eq!(repo.verdicts("HEAD"), ["pass test"]);
}

#[test]
fn shallow_and_sha256_repositories_travel() {
    let repo = TestRepo::init(&["-b", "main", "--object-format=sha256"]);
    repo.job(
        "test",
        "git fsck && test $(git log --format=%h | wc -l) = 3",
    );
    (0..3).for_each(|i| drop(repo.commit(&format!("commit {i}"))));
    let Some(bed) = SshBed::up(&repo, 1) else {
        return;
    };
    repo.ci(["run"]).expect_code(0);

    let shallow = repo.root().join("shallow");
    let from = format!("file://{}", repo.path().display());
    let made = repo
        .command("git", repo.root())
        .args(["clone", "-q", "--depth=2", &from])
        .arg(&shallow)
        .status()
        .unwrap();
    assert!(made.success());
    let git_dir = repo.git_dir();
    fs::copy(git_dir.join("config"), shallow.join(".git/config")).unwrap();
    let done = repo
        .command(env!("CARGO_BIN_EXE_git-ci"), &shallow)
        .args([
            "run",
            "-x",
            "test $(git log --format=%h | wc -l) = 2",
            "--as",
            "two",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(0), "{said}");
    bed.expect_nothing_left();
}

/// Makes what `shell` is sshd's idea of the login shell, as `$SSH_ORIGINAL_COMMAND` sees it.
fn login_shell(repo: &TestRepo, bed: &SshBed, shell: &str) {
    let config = bed.host(1).join("sshd_config");
    let mut text = fs::read_to_string(&config).unwrap();
    text += &format!("ForceCommand {shell}\n");
    fs::write(&config, text).unwrap();
    bed.cut(1, "refuse");
    bed.heal(1);
    repo.commit("another");
}

#[test]
fn login_shells_that_print_and_that_are_not_sh() {
    let repo = TestRepo::new();
    repo.job("test", "echo \"it's\" 'fine!'");
    let Some(bed) = SshBed::up(&repo, 1) else {
        return;
    };
    let motd = repo.root().join("noisy");
    fs::write(
        &motd,
        "#!/bin/sh\nprintf 'Welcome!\\n\\033[2J'; head -c 200000 /dev/zero; echo $1; echo git-ci: hello >&2\n\
         exec sh -c \"$1\"\n",
    )
    .unwrap();
    fs::set_permissions(&motd, fs::Permissions::from_mode(0o755)).unwrap();
    login_shell(
        &repo,
        &bed,
        &format!("{} \"$SSH_ORIGINAL_COMMAND\"", motd.display()),
    );
    repo.ci(["run"]).expect_code(0);
    for shell in ["fish", "csh"] {
        if !crate::beds::have(&[shell]) {
            continue;
        }
        let config = bed.host(1).join("sshd_config");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, text.split("ForceCommand").next().unwrap()).unwrap();
        login_shell(
            &repo,
            &bed,
            &format!("{shell} -c \"$SSH_ORIGINAL_COMMAND\""),
        );
        repo.ci(["run"]).expect_code(0);
        // And where the agent has to be found first.
        repo.git(["config", "--unset", "ci-host.h1.agent"]);
        repo.commit("once more");
        repo.ci(["run"]).expect_code(0);
        repo.git(["config", "ci-host.h1.agent", env!("CARGO_BIN_EXE_git-ci")]);
    }
    bed.expect_nothing_left();
}

#[test]
fn a_host_without_an_agent_gets_this_one() {
    let repo = TestRepo::new();
    repo.job("test", "true").commit("one");
    let Some(bed) = SshBed::up(&repo, 1) else {
        return;
    };
    repo.git(["config", "--unset", "ci-host.h1.agent"]);
    repo.git(["config", "ci-host.h1.root", "~/things"]);
    repo.ci(["run"]).expect_code(0);
    let agents = bed.host(1).join("home/things/agents");
    let listed = || fs::read_dir(&agents).unwrap().count();
    assert_eq!(listed(), 1);
    repo.commit("two");
    repo.ci(["run"]).expect_code(0);
    assert_eq!(listed(), 1);
    // One that is no agent of this version is named, and not replaced.
    repo.git(["config", "ci-host.h1.agent", "/bin/true"]);
    let said = repo.ci(["run", "--force"]).expect_code(125).stderr();
    assert!(said.contains("run /bin/true there"), "{said}");
    bed.expect_nothing_left();
}

#[test]
fn exit_codes_and_output_are_the_jobs_own() {
    let repo = TestRepo::new();
    repo.job("a255", "exit 255");
    repo.job(
        "big",
        "head -c 100000000 /dev/zero | tr '\\0' x; echo; echo the end",
    );
    repo.job("killed", "kill -9 $$");
    repo.commit("one");
    let Some(bed) = SshBed::up(&repo, 1) else {
        return;
    };
    repo.ci(["run"]).expect_code(1);
    assert_eq!(
        repo.verdicts("HEAD"),
        ["ERROR killed", "FAIL a255", "pass big"]
    );
    let note = repo.note("HEAD");
    assert!(
        note.contains("why=exit:255") && note.contains("why=signal:9"),
        "{note}"
    );
    let logs = repo.git_dir().join("ci/logs");
    let size: u64 = fs::read_dir(&logs)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(size < 6 << 20, "{size}");
    bed.expect_nothing_left();
}

#[test]
fn what_a_host_does_not_have_is_an_error_and_never_a_wrong_verdict() {
    let repo = TestRepo::new();
    let inner = TestRepo::new();
    inner.commit("inner");
    repo.job("test", "true");
    let plain = repo.commit("plain");
    add_submodule(&repo, &inner, "sub");
    let with_submodule = repo.commit("with a submodule");
    repo.git(["rm", "-q", "-f", "sub"]);
    repo.git(["config", "filter.shout.smudge", "tr a-z A-Z"]);
    repo.git(["config", "filter.shout.clean", "tr A-Z a-z"]);
    repo.write(".gitattributes", "*.shout filter=shout\n");
    repo.write("a.shout", "hello\n");
    let with_filter = repo.commit("with a filter");
    let Some(bed) = SshBed::up(&repo, 1) else {
        return;
    };
    let done = repo
        .ci(["run", "HEAD", "HEAD~1", "HEAD~2"])
        .expect_code(125);
    assert_eq!(
        records(&repo, &plain),
        ["pass test h1"],
        "{}",
        done.stderr()
    );
    assert_eq!(records(&repo, &with_submodule), ["ERROR test h1"]);
    assert_eq!(records(&repo, &with_filter), ["ERROR test h1"]);
    let said = done.stderr();
    assert!(
        said.contains("submodule 'sub': hosts have no submodules"),
        "{said}"
    );
    assert!(said.contains("shout"), "{said}");
    // At home all is well.
    repo.git(["config", "ci.local", "true"]);
    repo.git(["config", "ci-host.h1.drain", "true"]);
    repo.ci(["run", "HEAD", "HEAD~1"]).expect_code(0);
    bed.expect_nothing_left();
}
