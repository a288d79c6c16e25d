//! The bytes that a task finds are the commit's, whatever surrounds the repository and
//! whatever was in the slot before; and where the machine failed there is no verdict.

use super::support::TestRepo;

/// The job's verdict on each of `commits`, in one run with `more` arguments.
#[track_caller]
fn verdicts(repo: &TestRepo, more: &[&str], commits: &[&str]) -> Vec<String> {
    repo.ci([&["run", "-q", "-j1"], more, commits].concat());
    let newest = |commit: &&str| repo.verdicts(commit).join(", ");
    commits.iter().map(newest).collect()
}

#[test]
fn objects_are_tested_as_they_were_recorded() {
    let repo = TestRepo::new();
    repo.write("f", "one\n");
    let one = repo.commit("one");
    repo.write("f", "two\n");
    let two = repo.commit("two");
    let blob = |commit: &str| repo.git(["rev-parse", &format!("{commit}:f")]);
    repo.git(["replace", &blob(&one), &blob(&two)]);
    repo.git(["replace", &two, &one]);
    repo.job("one", "grep -q one f").job("two", "grep -q two f");
    let both = [one.as_str(), two.as_str()];
    let right = [["FAIL two", "pass one"], ["FAIL one", "pass two"]].map(|lines| lines.join(", "));
    assert_eq!(verdicts(&repo, &[], &both), right);

    // Neither the replacement nor its end changes what was tested.
    repo.git(["replace", "-d", &blob(&one), &two]);
    let again = repo.ci(["run", "-q", &one, &two]);
    assert_eq!(again.code(), 1, "{}", again.stderr());
    assert_eq!(verdicts(&repo, &[], &both), right);
    let tree = repo.git(["rev-parse", &format!("{two}^{{tree}}")]);
    assert!(repo.note(&two).contains(&format!("tree={tree}")));
}

#[test]
fn history_is_walked_as_it_was_recorded() {
    let repo = TestRepo::new();
    let one = repo.commit("one");
    let two = repo.commit("two");
    let three = repo.commit("three");
    repo.job("j", "true");
    repo.git(["replace", "--graft", &three, &one]);
    std::fs::write(
        repo.git_dir().join("info/grafts"),
        format!("{three} {one}\n"),
    )
    .unwrap();
    repo.ci(["run", "-q", &format!("{one}..{three}")])
        .expect_code(0);
    assert_eq!(repo.verdicts(&two), ["pass j"]);
}
