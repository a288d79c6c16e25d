//! A job of another CI as it is taken over, and what reading their files takes.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};

use super::job::{commented, quoted, toml_string};

/// One step of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) name: Option<String>,
    pub(super) script: String,
    pub(super) dir: Option<String>,
    pub(super) env: Vec<(String, String)>,
    /// Why it is not carried over.
    pub(super) obstacle: Option<String>,
    /// Its failure does not count.
    pub(super) may_fail: bool,
}

impl Step {
    /// A step that cannot be carried over; `what` is what it is.
    pub(super) fn left_out(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            name: None,
            script: what.into(),
            dir: None,
            env: Vec::new(),
            obstacle: Some(why.into()),
            may_fail: false,
        }
    }

    pub(super) fn written(&self) -> String {
        if let Some(why) = &self.obstacle {
            let text = format!("not carried over, {why}:\n{}", self.script.trim_end());
            return commented(&text);
        }
        let mut text = String::new();
        if let Some(name) = &self.name {
            text += &commented(&one_line(name));
        }
        let own = self.dir.is_some() || !self.env.is_empty() || self.may_fail;
        if own {
            text += "(\n";
            if let Some(dir) = &self.dir {
                text += &format!("cd {}\n", quoted(dir));
            }
            for (key, value) in &self.env {
                text += &format!("export {key}={}\n", shell_value(value));
            }
        }
        text += self.script.trim_end();
        text.push('\n');
        if own {
            text += if self.may_fail { ") || true\n" } else { ")\n" };
        }
        text
    }
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Imported {
    pub(super) name: String,
    /// The file, and the job in it.
    pub(super) origin: String,
    pub(super) title: String,
    /// What is different here, or should be looked at.
    pub(super) remarks: Vec<String>,
    /// Why none of it can be carried over.
    pub(super) obstacle: Option<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) steps: Vec<Step>,
    pub(super) timeout: Option<String>,
    pub(super) may_fail: bool,
}

impl Imported {
    pub(super) fn written(&self, name: &str) -> String {
        let mut text = commented(&format!("From {}, {}.", self.origin, one_line(&self.title)));
        for remark in &self.remarks {
            text += &commented(&one_line(remark));
        }
        let script: String = self.steps.iter().map(Step::written).collect();
        // The shell and its options that the other CI gives to a step.
        let words = format!(
            "[\"bash\", \"-e\", \"-c\", {}]",
            toml_string(script.trim_end())
        );
        let mut job = format!("[jobs.{}]\nrun = {words}\n", toml_key(name));
        if !self.env.is_empty() {
            let pairs = self.env.iter();
            let pairs: Vec<_> = pairs
                .map(|(key, value)| format!("{} = {}", toml_key(key), toml_string(value)))
                .collect();
            job += &format!("env = {{ {} }}\n", pairs.join(", "));
        }
        if let Some(timeout) = &self.timeout {
            job += &format!("timeout = \"{timeout}\"\n");
        }
        if self.may_fail {
            job += "allow-failure = true\n";
        }
        match &self.obstacle {
            None => text + &job,
            Some(why) => {
                text + &commented(&format!("Not carried over: {}.", one_line(why)))
                    + &commented(&job)
            }
        }
    }
}

/// A text without anything that could end a comment.
fn one_line(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.chars()
        .map(clean)
        .collect::<String>()
        .trim()
        .to_owned()
}

fn toml_key(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) {
        key.to_owned()
    } else {
        toml::Value::String(key.to_owned()).to_string()
    }
}

/// A value in double quotes, in which variables still count.
fn shell_value(value: &str) -> String {
    let escaped = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('`', "\\`");
    format!("\"{escaped}\"")
}

/// Why a command would change the machine that it runs on, which there may be somebody's.
pub(super) fn changes_machine(script: &str) -> Option<&'static str> {
    let words = [
        "sudo ",
        "apt-get ",
        "apt install",
        "apk add",
        "brew install",
        "dnf install",
        "yum install",
        "choco install",
    ];
    let found = words.iter().any(|word| script.contains(word));
    found.then_some("since it changes the machine; have this there")
}

/// Reads YAML within bounds.
pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    // The defaults bound depth, nodes, and what anchors may be repeated to.
    serde_saphyr::from_str(text).map_err(|error| {
        let text = error.to_string();
        one_line(text.lines().next().unwrap_or_default())
    })
}

/// A mapping whose order counts: jobs stay in the order of the file.
#[derive(Debug, Clone)]
pub(super) struct Ordered<V>(pub(super) Vec<(String, V)>);

impl<V> Default for Ordered<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V> Ordered<V> {
    pub(super) fn get(&self, key: &str) -> Option<&V> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value)
    }
}

impl<'de, V: serde::Deserialize<'de>> serde::Deserialize<'de> for Ordered<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<V>(PhantomData<V>);

        impl<'de, V: serde::Deserialize<'de>> Visitor<'de> for Entries<V> {
            type Value = Ordered<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Ordered::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }

        deserializer.deserialize_any(Entries(PhantomData))
    }
}

/// A value as it stands in an environment.
pub(super) fn scalar(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Pairs whose values are plain, and whose names a shell takes.
pub(super) fn variables(of: &Ordered<serde_json::Value>) -> Vec<(String, String)> {
    let name = |key: &str| {
        !key.is_empty()
            && !key.starts_with(|c: char| c.is_ascii_digit())
            && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let pairs = of.0.iter().filter(|(key, _)| name(key));
    pairs
        .filter_map(|(key, value)| Some((key.clone(), scalar(value)?)))
        .collect()
}
