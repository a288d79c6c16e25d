//! Hosts with network and power of their own, in namespaces, so that cables can be
//! pulled, packets dropped, and machines switched off.

use std::fs;

use crate::beds::{have, script, skip};
use crate::support::{TestRepo, processes_with, wait_until};

/// Runs four commits on two hosts, does `fault` (a shell script that knows `bed`) once
/// a job hangs on h1, and expects four passes.
fn survives(fault: &str) {
    if !have(&[
        "sshd",
        "ssh",
        "ssh-keygen",
        "unshare",
        "nsenter",
        "ip",
        "iptables",
    ]) {
        return;
    }
    let repo = TestRepo::new();
    let mark = repo.root().join("mark");
    repo.job(
        "test",
        &format!(
            "if test $GIT_CI_RUNNER = h1 && mkdir {0} 2>/dev/null; then \
             echo $$ > {0}/pid; setsid sleep 1000 & until test -e {0}/go; do sleep 0.05; done; exit $(cat {0}/go); fi; \
             until test -e {0}; do sleep 0.02; done",
            mark.display()
        ),
    );
    (0..4).for_each(|i| drop(repo.commit(&format!("commit {i}"))));
    repo.git(["config", "ci.local", "false"]);
    repo.git(["config", "ci.silence", "1s"]);
    repo.git(["config", "ci.lease", "3s"]);
    repo.git(["config", "ci-host.h1.address", "h1"]);
    repo.git(["config", "ci-host.h2.address", "h2"]);
    for host in ["h1", "h2"] {
        let key = format!("ci-host.{host}.agent");
        repo.git(["config", &key, env!("CARGO_BIN_EXE_git-ci")]);
    }
    let scenario = repo.root().join("scenario");
    let bed = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/beds/netbed.sh");
    let text = format!(
        "export GIT_SSH_COMMAND=\"ssh -F $BED/ssh_config\" MARK={mark}\n\
         bed() {{ sh {bed} \"$@\" >&2; }}\n\
         {ci} run HEAD~3..HEAD HEAD~3 >&2 & run=$!\n\
         i=0; until test -s $MARK/pid; do i=$((i + 1)); test $i -lt 600 || exit 99; sleep 0.05; done\n\
         {fault}\n\
         wait $run; exit $?\n",
        mark = mark.display(),
        ci = env!("CARGO_BIN_EXE_git-ci"),
    );
    fs::write(&scenario, text).unwrap();
    let done = repo
        .command("sh", repo.path())
        .args(script("netbed.sh").get_args())
        .args(["run", "2", "sh"])
        .arg(&scenario)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    if said.contains("Operation not permitted") {
        return skip("namespaces of one's own are not allowed here");
    }
    assert_eq!(done.status.code(), Some(0), "{fault}: {said}");
    for back in 0..4 {
        assert_eq!(
            repo.verdicts(&format!("HEAD~{back}")),
            ["pass test"],
            "{said}"
        );
    }
    let root = repo.root().to_str().unwrap().to_owned();
    wait_until("the hosts to be empty", || processes_with(&root).is_empty());
}

#[test]
fn a_cable_that_is_pulled() {
    survives("bed cut h1 link");
}

#[test]
fn a_cable_that_is_pulled_and_plugged_in_again() {
    // The job, if it were still there, would say no.
    survives("bed cut h1 link; sleep 4; echo 1 > $MARK/go; bed heal h1");
}

#[test]
fn a_cable_that_is_out_for_a_moment() {
    survives("bed cut h1 link; sleep 0.4; bed heal h1; echo 0 > $MARK/go");
}

#[test]
fn packets_that_vanish() {
    survives("bed cut h1 drop");
}

#[test]
fn connections_that_are_reset() {
    survives("bed cut h1 reject");
}

#[test]
fn a_host_that_loses_power() {
    survives("bed cut h1 power");
}

#[test]
fn a_host_that_is_rebooted() {
    survives("bed cut h1 reboot");
}

#[test]
fn a_network_that_loses_a_third_of_everything() {
    survives("bed cut h1 lossy; bed cut h2 lossy; echo 0 > $MARK/go");
}

#[test]
fn a_host_that_is_frozen_and_thawed() {
    survives("bed cut h1 stop; sleep 4; echo 1 > $MARK/go; bed heal h1");
}
