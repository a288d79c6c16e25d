//! The files in which a job's tests said how they went.

use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use regex::bytes::Regex;

use crate::git::Patterns;
use crate::model::TestReport;
use crate::private;

use super::junit;

/// No more files are looked at.
const MOST_FILES: usize = 10_000;

/// No more of all of them together is read, in bytes.
const MOST_BYTES: u64 = 256 << 20;

/// A file system's clock may be behind by so much.
const BEHIND: Duration = Duration::from_millis(20);

/// Reads what `patterns` select below `root` and was written since `begun`: what an earlier
/// task left there says nothing of this one. Returns what the tests said, where any did, and
/// what there is to say of files that could not be read, in sentences.
pub(super) fn read(
    root: &Path,
    patterns: &[String],
    begun: SystemTime,
) -> (Option<TestReport>, Vec<String>) {
    let since = begun.checked_sub(BEHIND).unwrap_or(begun);
    let files = Patterns::new(patterns).files(root, MOST_FILES);
    let is_new = |meta: &std::fs::Metadata| meta.modified().is_ok_and(|at| at >= since);
    let files = files.into_iter().filter(|file| is_new(&file.meta));
    let (mut report, mut remarks) = (None, Vec::new());
    let mut left = MOST_BYTES;
    for file in files {
        let name = file.path.display();
        if file.meta.len() > left {
            remarks.push(format!("{name} is left out: its tests would be too many"));
            continue;
        }
        left -= file.meta.len();
        let found = report.get_or_insert_with(TestReport::default);
        let read = private::open(&root.join(&file.path), private::Open::Read)
            .map_err(|error| error.to_string())
            .and_then(|open| {
                let read = junit::read(open, found, |text| place(root, text));
                read.map_err(|error| error.to_string())
            });
        if let Err(error) = read {
            remarks.push(format!("{name} says nothing of its tests: {error}"));
        }
    }
    (
        report.filter(|report| *report != TestReport::default()),
        remarks,
    )
}

/// The first place in the tree that a text names: a file that is there, and a line of it.
fn place(root: &Path, text: &str) -> Option<String> {
    /// `FILE:LINE`, `FILE(LINE`, and Python's `File "FILE", line LINE`.
    static PLACE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r#"(?-u)([A-Za-z0-9_./@+~-]+\.[A-Za-z0-9_]+)(?::|\(|", line )([0-9]+)"#).ok()
    });
    let mut all = PLACE.as_ref()?.captures_iter(text.as_bytes());
    all.find_map(|found| {
        let part = |at: usize| std::str::from_utf8(found.get(at)?.as_bytes()).ok();
        let (file, line) = (part(1)?, part(2)?);
        let file = match Path::new(file).strip_prefix(root) {
            Ok(below) => below,
            Err(_) => Path::new(file.strip_prefix("./").unwrap_or(file)),
        };
        let is_below = file
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        let is_there = is_below
            && root
                .join(file)
                .symlink_metadata()
                .is_ok_and(|meta| meta.is_file());
        is_there.then(|| format!("{}:{line}", file.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_files_of_the_tree() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir(root.join("src")).unwrap();
        std::fs::write(root.join("src/lib.rs"), "").unwrap();
        for (text, expected) in [
            (
                "thread 'x' panicked at src/lib.rs:10:5:",
                Some("src/lib.rs:10"),
            ),
            ("at /usr/lib/x.rs:1 then src/lib.rs:3", Some("src/lib.rs:3")),
            (
                &format!("in {}/src/lib.rs:7", root.display()),
                Some("src/lib.rs:7"),
            ),
            (
                "File \"src/lib.rs\", line 12, in test",
                Some("src/lib.rs:12"),
            ),
            ("./src/lib.rs(4): error", Some("src/lib.rs:4")),
            ("../src/lib.rs:3", None),
            ("src/other.rs:3 and src:4", None),
        ] {
            assert_eq!(place(root, text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn what_an_earlier_task_left_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let xml = "<testsuite><testcase name='a'><failure/></testcase></testsuite>";
        std::fs::write(dir.path().join("a.xml"), xml).unwrap();
        std::fs::write(dir.path().join("bad.xml"), "<testsuite>").unwrap();
        let patterns = ["*.xml".to_owned()];
        let later = SystemTime::now() + Duration::from_secs(10);
        assert_eq!(read(dir.path(), &patterns, later), (None, Vec::new()));
        let earlier = SystemTime::now() - Duration::from_secs(10);
        let (report, remarks) = read(dir.path(), &patterns, earlier);
        assert_eq!(report.unwrap().failed, 1);
        assert!(
            remarks[0].starts_with("bad.xml says nothing"),
            "{remarks:?}"
        );
    }
}
