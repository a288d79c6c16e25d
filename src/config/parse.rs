//! From text to jobs. Every problem is reported with its line, its column and what would
//! be right.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::model::{Clean, CommandLine, Job, JobName, Reuse, parse_duration, printable_line};

/// The keys of a job; a page of the manual has them all.
pub const KEYS: [&str; 10] = [
    "allow-failure",
    "clean",
    "env",
    "grace",
    "key",
    "labels",
    "platform",
    "reuse",
    "run",
    "timeout",
];

/// Keys that the format has in mind and this version does not know yet.
const LATER: [&str; 5] = ["matrix", "needs", "paths", "resources", "retries"];

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
    let mut jobs = match DeTable::parse(text) {
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
    if !reader.problems.is_empty() {
        reader
            .problems
            .sort_by_key(|problem| (problem.line, problem.column));
        return Err(ConfigError {
            origin: printable_line(origin.as_bytes()).into_owned(),
            problems: reader.problems,
        });
    }
    jobs.sort_by_key(|(at, _)| *at);
    Ok(jobs.into_iter().map(|(_, job)| job).collect())
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

    /// The jobs, each with its place in the text.
    fn file(&mut self, table: &DeTable<'_>) -> Vec<(usize, Job)> {
        let mut jobs = Vec::new();
        for (key, value) in table {
            if key.get_ref() != "jobs" {
                let message = unknown(
                    "key",
                    key.get_ref(),
                    &["jobs"],
                    "jobs are tables such as [jobs.test]",
                );
                self.problem(key.span(), message);
                continue;
            }
            let Some(table) = self.table(value, "jobs") else {
                continue;
            };
            for (name, job) in table {
                let at = name.span().start;
                let parsed = name.get_ref().parse::<JobName>();
                if let Err(error) = &parsed {
                    self.problem(
                        name.span(),
                        format!("bad job name \"{}\": {error}", name.get_ref()),
                    );
                }
                let Some(table) = self.table(job, name.get_ref()) else {
                    continue;
                };
                let job = self.job(parsed.ok(), table, name.span());
                jobs.extend(job.map(|job| (at, job)));
            }
        }
        jobs
    }

    fn job(&mut self, name: Option<JobName>, table: &DeTable<'_>, at: Range<usize>) -> Option<Job> {
        let mut run = None;
        let mut fields = Job::new(name.clone()?, CommandLine::Shell(String::new()));
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "run" => run = self.command(value, "run"),
                "key" => fields.key = self.command(value, "key"),
                "timeout" => fields.timeout = self.duration(value, key.get_ref()),
                "grace" => fields.grace = self.duration(value, key.get_ref()).unwrap_or_default(),
                "env" => fields.env = self.env(value),
                "clean" => {
                    let words = [
                        ("untracked", Clean::Untracked),
                        ("all", Clean::All),
                        ("none", Clean::None),
                    ];
                    fields.clean = self.one_of(value, "clean", &words).unwrap_or_default();
                }
                "labels" => fields.labels = self.labels(value),
                "platform" => {
                    let words = [("same", false), ("any", true)];
                    let any = self.one_of(value, "platform", &words);
                    fields.any_platform = any.unwrap_or_default();
                }
                "reuse" => {
                    let words = [
                        ("auto", Reuse::Auto),
                        ("tree", Reuse::Tree),
                        ("commit", Reuse::Commit),
                        ("never", Reuse::Never),
                    ];
                    fields.reuse = self.one_of(value, "reuse", &words).unwrap_or_default();
                }
                "allow-failure" => match value.get_ref() {
                    DeValue::Boolean(allow) => fields.allow_failure = *allow,
                    other => self.mismatch(value, "allow-failure", "true or false", other),
                },
                later if LATER.contains(&later) => {
                    let message = format!("`{later}` is not supported by this version of git-ci");
                    self.problem(key.span(), message);
                }
                other => {
                    let rest = format!("a job has {}", list(&KEYS));
                    self.problem(key.span(), unknown("key", other, &KEYS, &rest));
                }
            }
        }
        if !table.keys().any(|key| key.get_ref() == "run") {
            self.problem(at, "this job has no `run`: the command to execute");
        }
        fields.run = run?;
        Some(fields)
    }

    fn command(&mut self, value: &Spanned<DeValue<'_>>, key: &str) -> Option<CommandLine> {
        let run = match value.get_ref() {
            DeValue::String(text) => CommandLine::Shell(text.to_string()),
            DeValue::Array(items) => {
                let mut argv = Vec::new();
                for item in items.iter() {
                    match item.get_ref() {
                        DeValue::String(word) => argv.push(word.to_string()),
                        other => self.mismatch(item, key, "a list of strings", other),
                    }
                }
                CommandLine::Argv(argv)
            }
            other => {
                self.mismatch(value, key, "a string or a list of strings", other);
                return None;
            }
        };
        let (empty, nul) = match &run {
            CommandLine::Shell(text) => (text.trim().is_empty(), text.contains('\0')),
            CommandLine::Argv(argv) => (
                argv.first().is_none_or(String::is_empty),
                argv.iter().any(|word| word.contains('\0')),
            ),
        };
        if empty {
            self.problem(
                value.span(),
                format!("`{key}` is empty: there is no command to execute"),
            );
        }
        if let Some(command) = command_in_a_list(&run) {
            let message = format!(
                "`run` = [{command:?}] is a program with a space in its name; \
                 did you mean a string? run = {command:?}"
            );
            self.problem(value.span(), message);
        }
        if nul {
            let message = format!("`{key}` holds a NUL byte, which no command can");
            self.problem(value.span(), message);
        }
        Some(run)
    }

    fn duration(&mut self, value: &Spanned<DeValue<'_>>, key: &str) -> Option<Duration> {
        let text = match value.get_ref() {
            DeValue::String(text) => text.as_ref(),
            // The same slip without quotes.
            DeValue::Integer(number) => number.as_str(),
            other => {
                self.mismatch(value, key, "a duration such as \"90s\" or \"1m30s\"", other);
                return None;
            }
        };
        parse_duration(text, Duration::from_millis(1))
            .map_err(|error| self.problem(value.span(), format!("`{key}` = {text:?}: {error}")))
            .ok()
    }

    fn env(&mut self, value: &Spanned<DeValue<'_>>) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        let Some(table) = self.table(value, "env") else {
            return env;
        };
        for (name, value) in table {
            let key = name.get_ref();
            if key.is_empty() || key.contains(['=', '\0']) {
                self.problem(
                    name.span(),
                    format!("\"{key}\" cannot be the name of a variable"),
                );
            }
            match value.get_ref() {
                DeValue::String(text) if text.contains('\0') => {
                    self.problem(value.span(), "a variable cannot hold a NUL byte");
                }
                DeValue::String(text) => {
                    env.insert(key.to_string(), text.to_string());
                }
                other => self.mismatch(value, key, "a string: put it in quotes", other),
            }
        }
        env
    }

    fn labels(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<String> {
        let mut labels = Vec::new();
        let DeValue::Array(items) = value.get_ref() else {
            self.mismatch(value, "labels", "a list of strings", value.get_ref());
            return labels;
        };
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(label) if is_label(label) => labels.push(label.to_string()),
                DeValue::String(label) => self.problem(
                    item.span(),
                    format!("\"{label}\" is no label: letters, digits, '.', '_' and '-'"),
                ),
                other => self.mismatch(item, "labels", "a list of strings", other),
            }
        }
        labels
    }

    /// What a word stands for that is one of a few.
    fn one_of<T: Copy>(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        key: &str,
        words: &[(&str, T)],
    ) -> Option<T> {
        let DeValue::String(text) = value.get_ref() else {
            self.mismatch(value, key, "a string", value.get_ref());
            return None;
        };
        let found = words.iter().find(|(word, _)| word == text);
        if found.is_none() {
            let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            let rest = format!("`{key}` is one of {}", list(&words));
            self.problem(value.span(), unknown("value", text, &words, &rest));
        }
        found.map(|(_, meaning)| *meaning)
    }

    fn table<'v, 'i>(
        &mut self,
        value: &'v Spanned<DeValue<'i>>,
        key: &str,
    ) -> Option<&'v DeTable<'i>> {
        match value.get_ref() {
            DeValue::Table(table) => Some(table),
            other => {
                self.mismatch(value, key, "a table", other);
                None
            }
        }
    }

    fn mismatch(&mut self, at: &Spanned<DeValue<'_>>, key: &str, wanted: &str, got: &DeValue<'_>) {
        let got = match got {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) | DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.problem(at.span(), format!("`{key}` is {wanted}, not {got}"));
    }
}

/// The only word of a list, where it is a command with arguments: a program is looked for on
/// `PATH`, and none there has a space in its name. One with a slash may be a file of the tree.
fn command_in_a_list(run: &CommandLine) -> Option<&str> {
    match run {
        CommandLine::Argv(argv) => match argv.as_slice() {
            [one] if !one.contains('/') && one.trim().contains(char::is_whitespace) => Some(one),
            _ => None,
        },
        CommandLine::Shell(_) => None,
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
    use super::*;

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
        insta::assert_snapshot!(problems("[jobs.Bad]\nrun = 'x'\n[jobs.b]\nrun = []\nmatrix = {}\n"), @r#"
        .git-ci.toml:1:7: bad job name "Bad": a job name starts with a-z or 0-9 and goes on with at most 63 of a-z, 0-9, '.', '_', '/', '[', ']', '=', ',' and '-'
         1 | [jobs.Bad]
           |       ^
        .git-ci.toml:4:7: `run` is empty: there is no command to execute
         4 | run = []
           |       ^
        .git-ci.toml:5:1: `matrix` is not supported by this version of git-ci
         5 | matrix = {}
           | ^
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
}
