//! From text to jobs. Every problem is reported with its line, its column and what would
//! be right.

mod graph;
mod job;
mod matrix;
mod setup;
mod values;

use std::fmt;
use std::ops::Range;

use toml::de::DeTable;

use crate::model::{Job, JobName, printable_line};

use job::Draft;
pub use job::KEYS;

/// The tables of a jobs file.
const TABLES: [&str; 3] = ["defaults", "jobs", "setup"];

/// A jobs file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where the text is from: a path, or a path in a revision.
    pub origin: String,
    /// What is wrong with it, in the order of the text; at least one.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong with a jobs file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters from 1.
    pub column: usize,
    /// The line's text.
    pub excerpt: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            let Problem {
                line,
                column,
                excerpt,
                message,
            } = problem;
            write!(f, "{}:{line}:{column}: {message}", self.origin)?;
            if !excerpt.is_empty() {
                let number = line.to_string();
                write!(
                    f,
                    "\n {number} | {excerpt}\n {:w$} | {:c$}^",
                    "",
                    "",
                    w = number.len(),
                    c = column - 1
                )?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Reads a jobs file. `origin` is how errors call it.
///
/// # Errors
/// With every problem that was found.
pub fn parse(text: &str, origin: &str) -> Result<Vec<Job>, ConfigError> {
    // As an editor of another system leaves it. In a command a carriage return would be
    // part of a word: `if true` would be none.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = &text.replace("\r\n", "\n");
    let mut reader = Reader {
        text,
        problems: Vec::new(),
    };
    let jobs = match DeTable::parse(text) {
        Ok(table) => reader.file(table.get_ref()),
        Err(error) => {
            reader.problem(error.span().unwrap_or(0..0), error.message());
            Vec::new()
        }
    };
    if reader.problems.is_empty() && jobs.is_empty() {
        reader.problem(
            0..0,
            "there are no jobs: a job is a table such as [jobs.test]",
        );
    }
    if reader.problems.is_empty() {
        return Ok(jobs);
    }
    reader
        .problems
        .sort_by_key(|problem| (problem.line, problem.column));
    // What jobs inherit is read for each of them.
    reader.problems.dedup();
    Err(ConfigError {
        origin: printable_line(origin.as_bytes()).into_owned(),
        problems: reader.problems,
    })
}

struct Reader<'t> {
    text: &'t str,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn problem(&mut self, at: Range<usize>, message: impl AsRef<str>) {
        let start = at.start.min(self.text.len());
        let before = self.text.get(..start).unwrap_or("");
        let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.text[begin..].lines().next().unwrap_or("");
        self.problems.push(Problem {
            line: before.matches('\n').count() + 1,
            column: before[begin..].chars().count() + 1,
            // A tab would put the mark below in another column.
            excerpt: printable_line(line.replace('\t', " ").as_bytes()).into_owned(),
            message: printable_line(message.as_ref().as_bytes()).into_owned(),
        });
    }

    /// The jobs, in the order of the file.
    fn file(&mut self, table: &DeTable<'_>) -> Vec<Job> {
        let (mut jobs, mut defaults, mut setups) = (None, None, Vec::new());
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "jobs" => jobs = self.table(value, "jobs"),
                "defaults" => defaults = self.table(value, "defaults"),
                "setup" => setups = self.setups(value),
                other => {
                    let rest = "jobs are tables such as [jobs.test]";
                    self.problem(key.span(), unknown("key", other, &TABLES, rest));
                }
            }
        }
        let Some(jobs) = jobs else {
            return Vec::new();
        };
        let mut drafts = Vec::new();
        for (name, job) in jobs {
            let parsed = name.get_ref().parse::<JobName>();
            if let Err(error) = &parsed {
                self.problem(
                    name.span(),
                    format!("bad job name \"{}\": {error}", name.get_ref()),
                );
            }
            let (Some(_), Ok(parsed)) = (self.table(job, name.get_ref()), parsed) else {
                continue;
            };
            let keys = self.inherit(name.get_ref(), jobs, defaults);
            drafts.push(self.draft(parsed, &keys, name.span()));
        }
        drafts.sort_by_key(|draft: &Draft| draft.at.start);
        let names: Vec<_> = jobs.keys().map(|name| name.get_ref().as_ref()).collect();
        self.resolve(drafts, &names, &setups)
    }
}

/// Whether a word may be a label of runners and jobs.
pub fn is_label(word: &str) -> bool {
    !word.is_empty()
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// ``unknown key `runn`; did you mean `run`?``
fn unknown(what: &str, word: &str, known: &[&str], otherwise: &str) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("unknown {what} `{word}`; did you mean `{near}`?"),
        None => format!("unknown {what} `{word}`; {otherwise}"),
    }
}

/// The known word that somebody may have meant.
pub fn nearest<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let folded = word.to_lowercase().replace('_', "-");
    let distance = |known: &str| strsim::damerau_levenshtein(&folded, known);
    let near = known.into_iter().min_by_key(|known| distance(known))?;
    (distance(near) <= 1 + near.len() / 4).then_some(near)
}

fn list(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Clean, CommandLine, Reuse};

    fn problems(text: &str) -> String {
        parse(text, ".git-ci.toml").unwrap_err().to_string()
    }

    #[test]
    fn a_whole_file_reads_in_its_order() {
        let jobs = parse(
            "[jobs.test]\nrun = 'make'\ntimeout = '1h30m'\ngrace = '5s'\nenv = { A = '1' }\n\
             clean = 'all'\nallow-failure = true\nlabels = ['gpu', 'linux']\n[jobs.\"a[b]\"]\nrun = ['x', 'y z']\n",
            "x",
        )
        .unwrap();
        assert_eq!(jobs[0].name.as_str(), "test");
        assert_eq!(jobs[0].timeout, Some(Duration::from_secs(5400)));
        assert_eq!(jobs[0].grace, Duration::from_secs(5));
        assert_eq!(jobs[0].env["A"], "1");
        assert_eq!(jobs[0].clean, Clean::All);
        assert!(jobs[0].allow_failure);
        assert_eq!(jobs[0].labels, ["gpu", "linux"]);
        assert_eq!(
            jobs[1].run,
            CommandLine::Argv(vec!["x".into(), "y z".into()])
        );
    }

    #[test]
    fn every_slip_is_named_with_its_place() {
        insta::assert_snapshot!(problems("[jobs.test]\nrunn = 'x'\nTimeout = 5\n"), @"
        .git-ci.toml:1:7: this job has no `run`: the command to execute
         1 | [jobs.test]
           |       ^
        .git-ci.toml:2:1: unknown key `runn`; did you mean `run`?
         2 | runn = 'x'
           | ^
        .git-ci.toml:3:1: unknown key `Timeout`; did you mean `timeout`?
         3 | Timeout = 5
           | ^
        ");
        insta::assert_snapshot!(problems("job = 1\n"), @"
        .git-ci.toml:1:1: unknown key `job`; did you mean `jobs`?
         1 | job = 1
           | ^
        ");
        insta::assert_snapshot!(problems(""), @".git-ci.toml:1:1: there are no jobs: a job is a table such as [jobs.test]");
        insta::assert_snapshot!(problems("[jobs.t]\nrun = 'x'\nrun = 'y'\n"), @"
        .git-ci.toml:3:1: duplicate key
         3 | run = 'y'
           | ^
        ");
        insta::assert_snapshot!(problems("[jobs.Bad]\nrun = 'x'\n[jobs.b]\nrun = []\nresources = { GPU = 1 }\n"), @r#"
        .git-ci.toml:1:7: bad job name "Bad": a job name starts with a-z or 0-9 and goes on with at most 63 of a-z, 0-9, '.', '_', '/', '[', ']', '=', ',' and '-'
         1 | [jobs.Bad]
           |       ^
        .git-ci.toml:4:7: `run` is empty: there is no command to execute
         4 | run = []
           |       ^
        .git-ci.toml:5:15: a resource is named by at most 32 of a-z, 0-9 and '-', the first a letter
         5 | resources = { GPU = 1 }
           |               ^
        "#);
        insta::assert_snapshot!(
            problems("[jobs.t]\nrun = 'x'\ntimeout = '10 parsecs'\nenv = { A = 1 }\nclean = 'untrackd'\n"),
            @r#"
        .git-ci.toml:3:11: `timeout` = "10 parsecs": it is no duration; write numbers with ms, s, m, h, d or w, such as 90s, 1m30s or 2w
         3 | timeout = '10 parsecs'
           |           ^
        .git-ci.toml:4:13: `A` is a string: put it in quotes, not a number
         4 | env = { A = 1 }
           |             ^
        .git-ci.toml:5:9: unknown value `untrackd`; did you mean `untracked`?
         5 | clean = 'untrackd'
           |         ^
        "#
        );
    }

    #[test]
    fn a_command_in_a_list_of_one_is_a_slip() {
        insta::assert_snapshot!(problems("[jobs.t]\nrun = ['make test']\n"), @r#"
        .git-ci.toml:2:7: `run` = ["make test"] is a program with a space in its name; did you mean a string? run = "make test"
         2 | run = ['make test']
           |       ^
        "#);
        for good in ["['make']", "['./my tests']", "['a b', 'c']", "'make test'"] {
            assert!(
                parse(&format!("[jobs.t]\nrun = {good}\n"), "x").is_ok(),
                "{good}"
            );
        }
    }

    #[test]
    fn zero_and_negative_durations_are_refused() {
        for bad in ["'0s'", "'-5m'", "''", "'5'", "5", "[5]"] {
            assert!(
                parse(&format!("[jobs.t]\nrun='x'\ntimeout={bad}\n"), "x").is_err(),
                "{bad}"
            );
        }
        let bare = problems("[jobs.t]\nrun = 'x'\ntimeout = 90\n");
        assert!(bare.contains("for seconds write 90s"), "{bare}");
    }

    #[test]
    fn keys_come_from_the_defaults_and_from_what_a_job_extends() {
        let jobs = parse(
            "[defaults]\ntimeout = '5m'\nenv = { A = '1', B = '1' }\n\
             [jobs.base]\nrun = 'x'\nenv = { B = '2', C = '2' }\ndefault = false\n\
             [jobs.test]\nextends = 'base'\nenv = { C = '3' }\ntimeout = '1m'\nretries = 2\n",
            "x",
        )
        .unwrap();
        let [base, test] = jobs.as_slice() else {
            panic!("{jobs:?}");
        };
        assert!(base.on_request && !test.on_request);
        assert_eq!(test.run, base.run);
        assert_eq!(test.timeout, Some(Duration::from_secs(60)));
        assert_eq!(base.timeout, Some(Duration::from_secs(300)));
        assert_eq!((test.retries, base.retries), (2, 0));
        let values: Vec<_> = ["A", "B", "C"].map(|name| test.env[name].as_str()).into();
        assert_eq!(values, ["1", "2", "3"]);
    }

    #[test]
    fn a_matrix_is_multiplied_out() {
        let names = |matrix: &str| {
            let text = format!("[jobs.t]\nrun = 'x'\nmatrix = {matrix}\n");
            let jobs = parse(&text, "x").unwrap();
            let names: Vec<_> = jobs.iter().map(|job| job.name.to_string()).collect();
            names.join(" ")
        };
        assert_eq!(
            names("{ v = ['', 'serde', 'A b'] }"),
            "t[-] t[serde] t[a-b]"
        );
        assert_eq!(
            names("{ os = ['l', 'm'], v = [1, 2], exclude = [{ os = 'm', v = 1 }] }"),
            "t[os=l,v=1] t[os=l,v=2] t[os=m,v=2]"
        );
        assert_eq!(
            names("{ v = [1], include = [{ v = 2 }, { v = 1, extra = true }] }"),
            "t[1] t[2]"
        );
        assert_eq!(
            names("{ include = [{ a = 1 }, { b = 2 }] }"),
            "t[a=1] t[b=2]"
        );
        let text = "[jobs.t]\nrun = 'x'\nmatrix = { v = [1], include = [{ v = 1, w = true }] }\n";
        let env = &parse(text, "x").unwrap()[0].env;
        assert_eq!((env["v"].as_str(), env["w"].as_str()), ("1", "true"));
    }

    #[test]
    fn what_a_job_needs_is_a_part_of_it() {
        let text = |build: &str| {
            format!(
                "[jobs.test]\nrun = 't'\nneeds = ['build']\npaths = ['tests']\n\
                 [jobs.build]\nrun = '{build}'\npaths = ['src']\nmatrix = {{ v = [1, 2] }}\n\
                 setup = ['deps']\n[setup.deps]\nrun = 's'\ninputs = ['lock']\n"
            )
        };
        let jobs = parse(&text("b"), "x").unwrap();
        let test = &jobs[0];
        let needs: Vec<_> = test.needs.iter().map(|need| need.job.as_str()).collect();
        assert_eq!(needs, ["build[1]", "build[2]"]);
        assert_eq!(test.reuse, Reuse::Tree);
        let lists = [["lock"], ["src"], ["tests"]];
        let lists: Vec<Vec<_>> = lists.map(|list| list.map(String::from).into()).into();
        assert_eq!(test.selections.as_ref().unwrap(), &lists);
        let other = parse(&text("c"), "x").unwrap();
        assert_ne!(test.definition(), other[0].definition());
        // Who needs a job that may read anything may read anything, too.
        let any = parse(&text("b").replace("paths = ['src']", ""), "x").unwrap();
        assert_eq!(any[0].selections, None);
    }

    #[test]
    fn slips_of_the_whole_file_are_named() {
        insta::assert_snapshot!(
            problems(
                "[jobs.a]\nrun = 'x'\nneeds = ['b', 'tset']\n[jobs.b]\nrun = 'x'\nneeds = ['a']\n\
                 [jobs.test]\nrun = 'x'\nextends = 'loop'\nsetup = ['nod']\nretries = 11\n\
                 [jobs.loop]\nextends = 'test'\npaths = ['!x', '../y']\n[setup.node]\nrun = 'x'\n"
            ),
            @r"
        .git-ci.toml:3:10: jobs need each other: a → b → a
         3 | needs = ['b', 'tset']
           |          ^
        .git-ci.toml:3:15: unknown job `tset`; did you mean `test`?
         3 | needs = ['b', 'tset']
           |               ^
        .git-ci.toml:9:11: `extends` leads back: loop → test → loop
         9 | extends = 'loop'
           |           ^
        .git-ci.toml:10:10: unknown set-up `nod`; did you mean `node`?
         10 | setup = ['nod']
            |          ^
        .git-ci.toml:11:11: `retries` is a number from 0 to 10, not 11
         11 | retries = 11
            |           ^
        .git-ci.toml:13:11: `extends` leads back: test → loop → test
         13 | extends = 'test'
            |           ^
        .git-ci.toml:14:16: a pattern is below the top of the tree, without `.` and `..`
         14 | paths = ['!x', '../y']
            |                ^
        "
        );
        insta::assert_snapshot!(
            problems(
                "[jobs.a]\nrun = 'x'\nmatrix = { 'a b' = [1], c = [], d = [[]], e = ['x', 'X'] }\n\
                 [jobs.b]\nrun = 'x'\nmatrix = { v = [1], exclude = [{ w = 1 }] }\n"
            ),
            @r#"
        .git-ci.toml:3:12: "a b" cannot be the name of a variable, as which jobs see their part of the matrix
         3 | matrix = { 'a b' = [1], c = [], d = [[]], e = ['x', 'X'] }
           |            ^
        .git-ci.toml:3:29: `c` has no values: this matrix has no cells
         3 | matrix = { 'a b' = [1], c = [], d = [[]], e = ['x', 'X'] }
           |                             ^
        .git-ci.toml:3:38: `d` is made of strings, numbers and booleans, not a list
         3 | matrix = { 'a b' = [1], c = [], d = [[]], e = ['x', 'X'] }
           |                                      ^
        .git-ci.toml:6:32: `exclude` names `w`, which is no axis of this matrix
         6 | matrix = { v = [1], exclude = [{ w = 1 }] }
           |                                ^
        "#
        );
        let axis = |name: &str| {
            let values: Vec<_> = (0..100).map(|n| n.to_string()).collect();
            format!("{name} = [{}]", values.join(", "))
        };
        let text = format!(
            "[jobs.a]\nrun = 'x'\nmatrix = {{ {}, {} }}\n",
            axis("a"),
            axis("b")
        );
        let said = problems(&text);
        assert!(
            said.contains("this matrix has 10000 cells, and 256 are the most"),
            "{said}"
        );
    }

    #[test]
    fn a_long_chain_of_jobs_is_refused() {
        let mut text = "[jobs.j0]\nrun = 'x'\n".to_owned();
        for n in 1..5000 {
            text += &format!("[jobs.j{n}]\nrun = 'x'\nneeds = ['j{}']\n", n - 1);
        }
        // In either direction.
        assert!(parse(&text, "x").is_ok());
        let text = text.replace("[jobs.j", "[jobs.x").replace("['j", "['x");
        let mut lines: Vec<_> = text.split_inclusive("\n[").collect();
        lines.reverse();
        let text = lines.concat();
        let _ = parse(&text, "x");
    }
}
