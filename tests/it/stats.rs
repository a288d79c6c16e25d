//! `git ci stats`: how often jobs pass, how long they take, what reuse has saved.

use serde_json::Value;

use crate::support::TestRepo;

#[test]
fn what_ran_is_counted_once_and_what_was_taken_over_is_told() {
    let repo = TestRepo::new();
    repo.write("src/a", "1").write(
        ".git-ci.toml",
        "[jobs.slow]\nrun = 'sleep 0.3; test $(cat src/a) != 2'\npaths = ['src']\n\
         [jobs.odd]\nrun = 'exit $(cat code)'\n",
    );
    for (number, code) in [(1, 0), (2, 1), (3, 125), (4, 127)] {
        repo.write("code", code.to_string());
        repo.write("src/a", if number == 2 { "2" } else { "1" });
        repo.commit(&format!("commit {number}"));
    }
    let said = repo.ci(["stats"]).expect_code(0);
    assert!(
        said.stderr().contains("no such records"),
        "{}",
        said.stderr()
    );
    repo.ci([
        "run", "--order", "oldest", "HEAD~3", "HEAD~2", "HEAD~1", "HEAD",
    ]);
    let shown = repo.ci(["stats", "--json"]).expect_code(0).stdout();
    let lines: Vec<Value> = shown
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |job: &str, keys: &[&str]| -> Vec<u64> {
        let line = lines.iter().find(|line| line["job"] == job).unwrap();
        keys.iter().map(|key| line[key].as_u64().unwrap()).collect()
    };
    let counts = ["runs", "passed", "failed", "skipped", "errored", "reused"];
    assert_eq!(of("odd", &counts), [4, 1, 1, 1, 1, 0]);
    // The third and the fourth commit have what the first had.
    assert_eq!(of("slow", &counts), [2, 1, 1, 0, 0, 2]);
    let times = of(
        "slow",
        &["median_ms", "ninth_decile_ms", "longest_ms", "saved_ms"],
    );
    assert!(times[..3].iter().all(|took| *took >= 300), "{times:?}");
    assert!(times[3] >= 600, "{times:?}");
    let shown = repo.ci(["stats", "slow"]).expect_code(0).stdout();
    let mut table = shown.lines();
    let words: Vec<_> = table.next().unwrap().split_whitespace().collect();
    assert_eq!(words[..3], ["job", "runs", "passed"]);
    let words: Vec<_> = table.next().unwrap().split_whitespace().collect();
    assert_eq!(words[..4], ["slow", "2", "50", "%"]);
    assert_eq!(table.next(), None);
    let later = repo.ci(["stats", "--since", "2090-01-01"]).expect_code(0);
    assert_eq!(later.stdout(), "");
    repo.ci(["stats", "none"]).expect_code(129);
}
