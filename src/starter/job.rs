//! One suggested job, and how it is written down.

use std::collections::BTreeSet;

/// A job's name is no longer, in characters.
const LONGEST_NAME: usize = 64;

/// One job of the file.
#[derive(Debug, Clone)]
pub(super) struct Suggestion {
    pub(super) name: String,
    /// A shell script; what comes before the last line only prepares.
    pub(super) run: String,
    pub(super) timeout: &'static str,
    /// What somebody should know, without the marks of a comment.
    pub(super) why: Vec<String>,
    pub(super) env: Vec<(&'static str, &'static str)>,
    /// It asks where the repository is and does not care for the commit.
    pub(super) reuse_tree: bool,
    /// It needs a decision first, and so is a comment.
    pub(super) asleep: bool,
    /// What must be there before.
    pub(super) setup: Option<SetUp>,
}

/// What a worktree must have before a job can run in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SetUp {
    /// What it is called.
    pub(super) name: &'static str,
    /// A shell script.
    pub(super) run: String,
    /// The files on which it depends.
    pub(super) inputs: Vec<String>,
    /// The command whose output it depends on, too; empty for none.
    pub(super) key: &'static str,
    pub(super) env: Vec<(&'static str, &'static str)>,
}

impl SetUp {
    /// One that depends on files and on the version that a command prints.
    pub(super) fn new(
        name: &'static str,
        run: impl Into<String>,
        inputs: &[&str],
        key: &'static str,
    ) -> Self {
        Self {
            name,
            run: run.into(),
            inputs: inputs.iter().map(|file| (*file).to_owned()).collect(),
            key,
            env: Vec::new(),
        }
    }

    pub(super) fn env(mut self, env: &[(&'static str, &'static str)]) -> Self {
        self.env.extend_from_slice(env);
        self
    }

    /// It as TOML, for the directory `dir` of the project; as a comment unless it is `active`.
    pub(super) fn written(&self, name: &str, dir: &str, active: bool) -> String {
        let run = within(dir, &self.run);
        let mut text = format!("[setup.{}]\nrun = {}\n", key(name), toml_string(&run));
        let below = |file: &String| match dir {
            "" => toml_string(file),
            dir => toml_string(&format!("{dir}/{file}")),
        };
        let inputs: Vec<_> = self.inputs.iter().map(below).collect();
        if !inputs.is_empty() {
            text += &format!("inputs = [{}]\n", inputs.join(", "));
        }
        if !self.key.is_empty() {
            text += &format!("key = {}\n", toml_string(self.key));
        }
        text += &env_text(&self.env);
        if active { text } else { commented(&text) }
    }
}

/// A script in a directory of the project.
fn within(dir: &str, run: &str) -> String {
    match dir {
        "" => run.to_owned(),
        dir => format!("cd {} || exit 126\n{run}", quoted(dir)),
    }
}

fn env_text(env: &[(&'static str, &'static str)]) -> String {
    if env.is_empty() {
        return String::new();
    }
    let pair = |(key, value): &(&str, &str)| format!("{key} = {}", toml_string(value));
    let pairs: Vec<_> = env.iter().map(pair).collect();
    format!("env = {{ {} }}\n", pairs.join(", "))
}

impl Suggestion {
    pub(super) fn new(name: impl Into<String>, run: impl Into<String>) -> Self {
        let name = name.into();
        let timeout = if name == "test" || name == "check" {
            "30m"
        } else {
            "15m"
        };
        Self {
            name,
            run: run.into(),
            timeout,
            why: Vec::new(),
            env: Vec::new(),
            reuse_tree: false,
            asleep: false,
            setup: None,
        }
    }

    /// The same where this is set up.
    pub(super) fn with(mut self, setup: Option<&SetUp>) -> Self {
        self.setup = setup.cloned();
        self
    }

    /// The same after `preparation`, which is a step of its own.
    pub(super) fn after(mut self, preparation: &str) -> Self {
        if !preparation.is_empty() {
            self.run = format!("{preparation}\n{}", self.run);
        }
        self
    }

    pub(super) fn because(mut self, why: impl Into<String>) -> Self {
        self.why.push(why.into());
        self
    }

    pub(super) fn env(mut self, env: &[(&'static str, &'static str)]) -> Self {
        self.env.extend_from_slice(env);
        self
    }

    pub(super) fn asleep(mut self) -> Self {
        self.asleep = true;
        self
    }

    pub(super) fn for_any_commit(mut self) -> Self {
        self.reuse_tree = true;
        self
    }

    /// The job as TOML, for the directory `dir` of the project, with the name of its set-up; as
    /// a comment unless it is `active`.
    pub(super) fn written(
        &self,
        name: &str,
        setup: Option<&str>,
        dir: &str,
        active: bool,
    ) -> String {
        let run = within(dir, &self.run);
        let why: String = self.why.iter().map(|line| format!("# {line}\n")).collect();
        let mut text = format!("[jobs.{}]\nrun = {}\n", key(name), toml_string(&run));
        if let Some(setup) = setup {
            text += &format!("setup = [{}]\n", toml_string(setup));
        }
        text += &env_text(&self.env);
        if self.reuse_tree {
            text += "reuse = \"tree\"\n";
        }
        text += &format!("timeout = \"{}\"\n", self.timeout);
        if active {
            why + &text
        } else {
            why + &commented(&text)
        }
    }
}

/// What one tool makes of a directory.
#[derive(Debug, Clone)]
pub(super) struct Kind {
    pub(super) label: &'static str,
    /// Goes before the names of its jobs where there are several kinds.
    pub(super) prefix: &'static str,
    pub(super) jobs: Vec<Suggestion>,
    /// It only starts what another kind may run as well.
    pub(super) wrapper: bool,
    /// Its jobs include those of the same kind in directories below.
    pub(super) recursive: bool,
}

impl Kind {
    /// `None` where there is no job.
    pub(super) fn new(
        label: &'static str,
        prefix: &'static str,
        jobs: Vec<Suggestion>,
    ) -> Option<Self> {
        (!jobs.is_empty()).then_some(Self {
            label,
            prefix,
            jobs,
            wrapper: false,
            recursive: true,
        })
    }

    /// Whether a directory below this one needs no jobs of `other` of its own.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let native = |kind: &Self| kind.prefix == "native";
        self.recursive && (self.prefix == other.prefix || native(self) && native(other))
    }
}

/// One word for a shell.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// `text` as a job's name that is not in `used` yet.
pub(super) fn unique(text: &str, used: &mut BTreeSet<String>) -> String {
    let mut name: String = text
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9' | '.' | '_' | '-') => c,
            _ => '-',
        })
        .collect();
    while name.contains("--") {
        name = name.replace("--", "-");
    }
    let trimmed = name.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let mut name: String = trimmed.chars().take(LONGEST_NAME - 4).collect();
    if name.is_empty() {
        name = "job".to_owned();
    }
    let base = name.clone();
    let mut number = 2;
    while !used.insert(name.clone()) {
        name = format!("{base}-{number}");
        number += 1;
    }
    name
}

/// A key of TOML; a dot would begin another table.
fn key(name: &str) -> String {
    if name.contains('.') {
        format!("\"{name}\"")
    } else {
        name.to_owned()
    }
}

/// A string of TOML: on one line, or line by line where it has several.
pub(super) fn toml_string(text: &str) -> String {
    let control = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains('\n') && !text.contains("'''") && !text.contains(control) {
        return format!("'''\n{text}\n'''");
    }
    toml::Value::String(text.to_owned()).to_string()
}

/// Every line as a comment.
pub(super) fn commented(text: &str) -> String {
    text.lines()
        .map(|line| match line {
            "" => "#\n".to_owned(),
            line => format!("# {line}\n"),
        })
        .collect()
}
