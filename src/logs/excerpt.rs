//! What of a failed task's log looks like the failure: the lines that compilers and test
//! runners mark, with a few around each, and the end.

use std::collections::VecDeque;
use std::sync::LazyLock;

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

/// How many lines before a marked one belong to it.
const BEFORE: usize = 2;

/// How many lines behind it.
const AFTER: usize = 5;

/// A failure itself, and where it is.
const FAILURES: [&str; 17] = [
    // rustc, cargo, gcc, clang, javac, git, tsc: `error: …`, `error[E0308]: …`, `error TS2322: …`
    r"(?:^|[\s:(])(?:fatal )?error(?:\[\w+\]| TS\d+)?: \S",
    // linkers
    r"undefined reference to |undefined symbol: ",
    // Rust's test harness, and nextest
    r"panicked at ",
    // pytest
    r"^E {2,}\S",
    // Python, Node, Java, Ruby: what was thrown
    r"^\s*(?:[\w.]+\.)?\w*(?:Error|Exception)(?: \[\w+\])?(?::\s|$)",
    r"^Exception in thread ",
    // pytest's and Ruby's place
    r"^\S+:\d+: \w*(?:Error|Exception|Failure)\b",
    // unittest
    r"^(?:FAIL|ERROR): \S",
    // TAP: Node's runner, bats, prove -v
    r"^\s*not ok \d",
    // Perl's Test::More
    r"^\s*#\s+Failed test ",
    // go test
    r"^\s*--- FAIL: ",
    // Jest: a black circle
    r"^\s*\xe2\x97\x8f \S",
    // eslint
    r"^\s+\d+:\d+\s+error\s",
    // maven, gradle, log libraries
    r"^\[ERROR\] \S|^(?:ERROR|FATAL)\b",
    // gtest, ctest
    r"^\[  FAILED  \] |\*\*\*(?:Failed|Exception|Timeout)",
    // shells
    r": (?:command )?not found$|: Permission denied$|: No such file or directory$",
    r"Segmentation fault|core dumped|AddressSanitizer|Traceback \(most recent call last\)",
];

/// What only says that something failed, and where there is nothing better.
const HINTS: [&str; 3] = [
    r"\bFAIL(?:ED|URE)?\b|\b[Ff]ailed\b",
    // crosses
    r"^\s*(?:\xe2\x9c[\x95-\x98]|\xc3\x97) ",
    r"^\S+\.\w+:\d+(?::\d+)?: \S",
];

#[expect(clippy::expect_used, reason = "every pattern is tried by a test")]
static MARKS: LazyLock<[RegexSet; 2]> = LazyLock::new(|| {
    // Of bytes: the classes of Unicode take megabytes, where a machine may have run out of them.
    let set = |patterns: &[&str]| RegexSetBuilder::new(patterns).unicode(false).build();
    [
        set(&FAILURES).expect("a pattern"),
        set(&HINTS).expect("a pattern"),
    ]
});

#[expect(clippy::expect_used, reason = "the pattern is tried by a test")]
static COLOUR: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = RegexBuilder::new(r"\x1b\[[0-9;:]*[A-Za-z]")
        .unicode(false)
        .build();
    pattern.expect("a pattern")
});

/// A line with its number, from 1.
type Numbered = (usize, Vec<u8>);

/// The parts of a log around the lines that one set of patterns marks.
#[derive(Default)]
struct Parts {
    lines: Vec<Numbered>,
    first: Option<usize>,
    /// The last line that belongs to what was marked last.
    until: usize,
}

impl Parts {
    fn add(&mut self, (number, line): &Numbered, room: usize) {
        let is_new = self.lines.last().is_none_or(|(last, _)| last < number);
        if is_new && self.lines.len() < room {
            self.lines.push((*number, line.clone()));
        }
    }
}

/// Gathers an excerpt while a log is read; it never holds more than a few dozen lines.
pub(super) struct Excerpt {
    count: usize,
    read: usize,
    tail: VecDeque<Numbered>,
    parts: [Parts; 2],
}

impl Excerpt {
    /// Of about `count` lines.
    pub(super) fn new(count: usize) -> Self {
        Self {
            count,
            read: 0,
            tail: VecDeque::new(),
            parts: Default::default(),
        }
    }

    /// How many of the lines are the end of the log.
    fn ending(&self) -> usize {
        self.count / 4
    }

    /// The next line of the log.
    pub(super) fn push(&mut self, line: Vec<u8>) {
        self.read += 1;
        let room = self.count - self.ending();
        let bare = if line.contains(&0x1b) {
            COLOUR.replace_all(&line, &b""[..])
        } else {
            line.as_slice().into()
        };
        for (parts, marks) in self.parts.iter_mut().zip(&*MARKS) {
            if parts.lines.len() < room && marks.is_match(&bare) {
                parts.first.get_or_insert(self.read);
                parts.until = self.read + AFTER;
                let before = self.tail.len().saturating_sub(BEFORE);
                for one in self.tail.range(before..) {
                    parts.add(one, room);
                }
            }
        }
        drop(bare);
        let one = (self.read, line);
        for parts in &mut self.parts {
            if self.read <= parts.until {
                parts.add(&one, room);
            }
        }
        self.tail.push_back(one);
        if self.tail.len() > self.count {
            self.tail.pop_front();
        }
    }

    /// The excerpt: only the end, where nothing is marked before it. A line `… N lines …`
    /// stands for what is left out.
    pub(super) fn finish(self) -> Vec<Vec<u8>> {
        let ending = self.ending();
        let start = self.tail.front().map_or(0, |(number, _)| *number);
        let parts = self.parts.into_iter().find(|parts| parts.first.is_some());
        let parts = parts.filter(|parts| parts.first.is_some_and(|first| first < start));
        let Some(Parts { lines, .. }) = parts else {
            return self.tail.into_iter().map(|(_, line)| line).collect();
        };
        let last = lines.last().map_or(0, |(number, _)| *number);
        let skipped = self.tail.len().saturating_sub(ending);
        let end = self.tail.into_iter().skip(skipped);
        let mut excerpt = Vec::new();
        let mut at = 0;
        for (number, line) in lines
            .into_iter()
            .chain(end.filter(|(number, _)| *number > last))
        {
            match number - at - 1 {
                0 => {}
                1 => excerpt.push("… 1 line …".into()),
                left_out => excerpt.push(format!("… {left_out} lines …").into_bytes()),
            }
            at = number;
            excerpt.push(line);
        }
        excerpt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(count: usize, lines: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut excerpt = Excerpt::new(count);
        for line in lines {
            excerpt.push(line.into_bytes());
        }
        let text = |line: Vec<u8>| String::from_utf8(line).unwrap();
        excerpt.finish().into_iter().map(text).collect()
    }

    fn noise(count: usize) -> impl Iterator<Item = String> {
        (0..count).map(|n| format!("test parser::error::case_{n} ... ok"))
    }

    /// What the tools themselves have printed, and a line that must be shown of each.
    #[test]
    fn what_failed_is_found_in_the_logs_of_many_tools() {
        let logs = [
            // rustc
            (
                "error[E0308]: mismatched types\n --> src/lib.rs:1:21\n  |\n1 | pub fn f() -> u32 { \"x\" }",
                " --> src/lib.rs:1:21",
            ),
            // cargo test
            (
                "---- tests::adds stdout ----\n\nthread 'tests::adds' (9777) panicked at src/lib.rs:4:44:\nassertion `left == right` failed: sums\n  left: 2\n right: 3\nstack backtrace:",
                " right: 3",
            ),
            // cargo nextest
            (
                "  stderr ───\n\n    thread 'tests::adds' (9813) panicked at src/lib.rs:4:44:\n    assertion `left == right` failed: sums\n      left: 2\n     right: 3",
                "    assertion `left == right` failed: sums",
            ),
            // gcc, by make
            (
                "gcc -c a.c\na.c: In function ‘main’:\na.c:2:12: error: ‘x’ undeclared (first use in this function)\n    2 |     return x;",
                "    2 |     return x;",
            ),
            // ld
            (
                "/usr/bin/ld: /tmp/ccOHxnAN.o: in function `main':\nb.c:(.text+0x5): undefined reference to `f'",
                "/usr/bin/ld: /tmp/ccOHxnAN.o: in function `main':",
            ),
            // pytest
            (
                ">       assert total == 3\nE       assert 2 == 3\n\ntest_a.py:3: AssertionError",
                "test_a.py:3: AssertionError",
            ),
            // unittest
            (
                "FAIL: test_a (test_u.T.test_a)\n----\nTraceback (most recent call last):\n  File \"test_u.py\", line 4, in test_a\n    self.assertEqual(1, 2)\nAssertionError: 1 != 2",
                "AssertionError: 1 != 2",
            ),
            // node --test
            (
                "not ok 1 - adds\n  ---\n  location: 'a.test.js:2:1'\n  error: |-\n    Expected values to be strictly equal:\n    \n    1 !== 2",
                "    1 !== 2",
            ),
            // node
            (
                "/tmp/b.js:1\nthrow new Error(\"boom\")\n^\n\nError: boom\n    at Object.<anonymous> (/tmp/b.js:1:7)",
                "Error: boom",
            ),
            // javac
            (
                "A.java:1: error: incompatible types: String cannot be converted to int\nclass A { int f() { return \"x\"; } }",
                "A.java:1: error: incompatible types: String cannot be converted to int",
            ),
            // prove
            (
                "#   Failed test 'adds'\n#   at pt/a.t line 1.\n#          got: '1'\n#     expected: '2'",
                "#     expected: '2'",
            ),
            // sh
            (
                "sh: 1: frobnicate: not found",
                "sh: 1: frobnicate: not found",
            ),
            // colours
            (
                "\u{1b}[0m\u{1b}[1m\u{1b}[38;5;9merror\u{1b}[0m\u{1b}[1m: it broke\u{1b}[0m",
                "\u{1b}[0m\u{1b}[1m\u{1b}[38;5;9merror\u{1b}[0m\u{1b}[1m: it broke\u{1b}[0m",
            ),
            // Jest
            (
                "  ● adds\n\n    expect(received).toBe(expected)",
                "    expect(received).toBe(expected)",
            ),
            // only a hint
            ("  ✘ three of eight", "  ✘ three of eight"),
            ("integration: 3 of 8 FAILED", "integration: 3 of 8 FAILED"),
        ];
        for (log, line) in logs {
            let failure = log.lines().map(str::to_owned);
            let shown = excerpt(20, noise(90).chain(failure).chain(noise(70)));
            assert!(shown.iter().any(|one| one == line), "{log}\n{shown:#?}");
            assert!(shown.len() <= 24, "{log}\n{shown:#?}");
        }
    }

    #[test]
    fn where_nothing_is_marked_before_it_the_end_is_shown() {
        let end: Vec<_> = noise(90).skip(70).collect();
        assert_eq!(excerpt(20, noise(90)), end);
        let failed = || noise(90).chain(["error: bad".to_owned()]);
        let end: Vec<_> = failed().skip(71).collect();
        assert_eq!(excerpt(20, failed()), end);
        assert_eq!(excerpt(20, noise(3)), noise(3).collect::<Vec<_>>());
        assert!(excerpt(0, failed()).is_empty());
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let log = noise(10)
            .chain(["error: first".to_owned()])
            .chain((0..30).map(|n| n.to_string()));
        let ok = |n| format!("test parser::error::case_{n} ... ok");
        let expected = [
            "… 8 lines …",
            &ok(8),
            &ok(9),
            "error: first",
            "0",
            "1",
            "2",
            "3",
            "4",
            "… 23 lines …",
            "28",
            "29",
        ];
        assert_eq!(excerpt(11, log), expected);
    }

    #[test]
    fn a_thousand_failures_take_no_more_room_than_one() {
        let log = (0..1000).map(|n| format!("a.c:{n}: error: bad"));
        let shown = excerpt(20, log);
        assert_eq!(shown.len(), 21);
        assert_eq!(shown[0], "a.c:0: error: bad");
        assert_eq!(shown[20], "a.c:999: error: bad");
    }
}
