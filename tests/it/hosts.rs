//! Runs on other machines: real `sshd`, real `ssh`, and the same notes as at home.


use crate::beds::SshBed;
use crate::support::TestRepo;

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
