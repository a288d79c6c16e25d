//! What is typed wrong, and what was typed for another program.

use crate::support::TestRepo;

#[test]
fn words_of_git_commit_get_a_way_out() {
    let repo = TestRepo::new();
    for args in [
        &["-m", "message"][..],
        &["-am", "message"],
        &["-a"],
        &["--amend"],
        &["-a", "--amend"],
    ] {
        let done = repo.ci(args).expect_code(129);
        let said = done.stderr();
        assert!(
            said.contains("git config --global alias.c commit"),
            "{said}"
        );
        assert!(said.contains("git commit"), "{said}");
    }
    repo.git(["config", "alias.ci", "commit -v"]);
    let said = repo.ci(["-m", "x"]).expect_code(129).stderr();
    assert!(said.contains("your alias.ci = commit -v"), "{said}");
    assert!(said.contains("alias.c 'commit -v'"), "{said}");
    let said = repo.ci(["some-file.c"]).expect_code(129).stderr();
    assert!(said.contains("your alias.ci"), "{said}");
}

#[test]
fn without_arguments_there_is_help_and_a_slip_is_named() {
    let repo = TestRepo::new();
    let done = repo.ci::<&str>([]).expect_code(129);
    assert!(done.stderr().contains("Commands:") && done.stdout().is_empty());
    for (slip, meant) in [("rnu", "run"), ("docter", "doctor")] {
        let said = repo.ci([slip]).expect_code(129).stderr();
        assert!(said.contains(meant) && !said.contains("alias"), "{said}");
    }
}
