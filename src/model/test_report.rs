//! What the tests of a job said.

use serde::{Deserialize, Serialize};

use super::Tests;

/// How a test needs attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum TestVerdict {
    /// It failed, or could not be run to its end.
    Fail,
    /// It passed after it had failed.
    Flaky,
}

/// A test that failed or is flaky. All of it is text from outside: escape it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TestCase {
    /// How it needs attention.
    pub verdict: TestVerdict,
    /// Its class, module or suite; empty where it is in none.
    pub suite: String,
    /// Its name in there.
    pub name: String,
    /// What it said, in at most 1024 bytes.
    #[serde(default)]
    pub message: Option<String>,
    /// `FILE:LINE` in the tree, where that could be told.
    #[serde(default)]
    pub place: Option<String>,
}

/// What the tests of a job said: how many ran, and those that need attention.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TestReport {
    /// Tests that ran; those that were skipped are left out.
    pub all: u32,
    /// Those that failed.
    pub failed: u32,
    /// Those that passed after they had failed.
    pub flaky: u32,
    /// The first hundred of those that failed or are flaky, the failed ones first.
    pub cases: Vec<TestCase>,
}

impl TestReport {
    /// No more cases are kept.
    pub const MOST_CASES: usize = 100;

    /// Whether each test that failed is among the cases.
    pub fn is_complete(&self) -> bool {
        let failed = |case: &&TestCase| case.verdict == TestVerdict::Fail;
        self.cases.iter().filter(failed).count() as u64 >= u64::from(self.failed)
    }

    /// Adds what others say.
    pub fn add(&mut self, other: Self) {
        self.all = self.all.saturating_add(other.all);
        self.failed = self.failed.saturating_add(other.failed);
        self.flaky = self.flaky.saturating_add(other.flaky);
        self.cases.extend(other.cases);
        self.cases
            .sort_by_key(|case| case.verdict != TestVerdict::Fail);
        self.cases.truncate(Self::MOST_CASES);
    }

    /// What they said in the last try, after what they said in those `before`: what failed
    /// there and does not fail here is flaky.
    #[must_use]
    pub fn after(mut self, before: Self) -> Self {
        // What is not among so many may have failed again.
        if !self.is_complete() {
            return self;
        }
        let mut passed: Vec<TestCase> = Vec::new();
        for mut case in before.cases {
            let same = |other: &TestCase| (&other.suite, &other.name) == (&case.suite, &case.name);
            if !self.cases.iter().chain(&passed).any(same) {
                case.verdict = TestVerdict::Flaky;
                passed.push(case);
            }
        }
        self.flaky = self
            .flaky
            .saturating_add(u32::try_from(passed.len()).unwrap_or(u32::MAX));
        self.cases.extend(passed);
        self.cases.truncate(Self::MOST_CASES);
        self
    }

    /// What a record says of it.
    pub fn counts(&self) -> Tests {
        Tests {
            failed: self.failed,
            all: self.all,
        }
    }
}
