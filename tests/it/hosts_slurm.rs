//! Runs on a real Slurm cluster, made for one test and gone after it.

use std::fs;

use crate::beds::{have, script};
use crate::support::{TestRepo, processes_with, wait_until};

/// Runs four commits on a cluster of three nodes, does `fault` (a shell script that knows
/// `$SLURMBED` and `bed`) once a job hangs on a node, `$NODE`, and expects four passes.
fn survives(fault: &str) {
    if !have(&["slurmctld", "slurmd", "srun", "unshare", "ip", "python3"]) {
        return;
    }
    let repo = TestRepo::new();
    let mark = repo.root().join("mark");
    repo.job(
        "test",
        &format!(
            "mkdir {0} 2>/dev/null || exit 0; echo $SLURMD_NODENAME > {0}/node; \
             until test -e {0}/go; do sleep 0.05; done; exit $(cat {0}/go)",
            mark.display()
        ),
    );
    (0..4).for_each(|i| drop(repo.commit(&format!("commit {i}"))));
    repo.git(["config", "ci.local", "false"]);
    repo.git(["config", "ci.silence", "2s"]);
    repo.git(["config", "ci.lease", "6s"]);
    for (key, value) in [
        ("kind", "slurm"),
        ("slots", "2"),
        ("partition", "ci"),
        ("extra", "--export=ALL '--comment=a test'"),
        ("agent", env!("CARGO_BIN_EXE_git-ci")),
        ("root", repo.root().join("nodes").to_str().unwrap()),
    ] {
        repo.git(["config", &format!("ci-host.hpc.{key}"), value]);
    }
    let scenario = repo.root().join("scenario");
    let bed = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/beds/slurmbed.sh");
    let text = format!(
        "bed() {{ sh {bed} \"$@\" >&2; }}\nMARK={mark}\n\
         git-ci run HEAD~3..HEAD HEAD~3 >&2 & run=$!\n\
         i=0; until test -s $MARK/node; do i=$((i + 1)); test $i -lt 600 || exit 99; sleep 0.05; done\n\
         NODE=$(cat $MARK/node)\n\
         {fault}\n\
         wait $run; code=$?\n\
         i=0; while test -n \"$(timeout 2 squeue -h -t R,PD 2>/dev/null)\"; do\n\
         i=$((i + 1)); test $i -lt 600 || exit 98; sleep 0.05; done; exit $code\n",
        mark = mark.display(),
    );
    fs::write(&scenario, text).unwrap();
    let program = env!("CARGO_BIN_EXE_git-ci").rsplit_once('/').unwrap().0;
    let done = repo
        .command("sh", repo.path())
        .args(script("slurmbed.sh").get_args())
        .args(["run", "3", "1", "sh"])
        .arg(&scenario)
        .env(
            "PATH",
            format!(
                "{program}:{}:/usr/sbin:/sbin",
                std::env::var("PATH").unwrap()
            ),
        )
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(0), "{fault}: {said}");
    for back in 0..4 {
        assert_eq!(
            repo.verdicts(&format!("HEAD~{back}")),
            ["pass test"],
            "{said}"
        );
    }
    let root = repo.root().to_str().unwrap().to_owned();
    wait_until("the nodes to be empty", || processes_with(&root).is_empty());
}

#[test]
fn a_range_on_a_cluster() {
    survives("echo 0 > $MARK/go");
}

#[test]
fn a_node_whose_slurmd_is_killed() {
    // The job goes on until the controller gives the node up; srun says 0 to that.
    survives("bed node $SLURMBED $NODE kill");
}

#[test]
fn an_allocation_that_is_cancelled() {
    survives("scancel $(squeue -h -o %i); sleep 2; echo 1 > $MARK/go");
}

#[test]
fn a_node_that_is_drained() {
    survives("scontrol update nodename=$NODE state=drain reason=test; echo 0 > $MARK/go");
}

#[test]
fn a_controller_that_is_away() {
    survives(
        "bed ctl $SLURMBED kill; sleep 1; echo 0 > $MARK/go; sleep 2; bed ctl $SLURMBED start",
    );
}
