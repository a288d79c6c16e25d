//! The values of keys: what each may be, and what is said where it is something else.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::model::{CommandLine, parse_duration};

use super::job::MOST_TOKENS;
use super::{Reader, is_label, list, unknown};

impl Reader<'_> {
    pub(super) fn command(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        key: &str,
    ) -> Option<CommandLine> {
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

    pub(super) fn duration(&mut self, value: &Spanned<DeValue<'_>>, key: &str) -> Option<Duration> {
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

    pub(super) fn env(&mut self, value: &Spanned<DeValue<'_>>) -> BTreeMap<String, String> {
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

    pub(super) fn labels(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<String> {
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

    pub(super) fn boolean(&mut self, value: &Spanned<DeValue<'_>>, key: &str) -> Option<bool> {
        match value.get_ref() {
            DeValue::Boolean(is_so) => Some(*is_so),
            other => {
                self.mismatch(value, key, "true or false", other);
                None
            }
        }
    }

    /// A number from 0 to `most`.
    pub(super) fn count(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        key: &str,
        most: u32,
    ) -> Option<u32> {
        let wanted = format!("a number from 0 to {most}");
        let DeValue::Integer(number) = value.get_ref() else {
            self.mismatch(value, key, &wanted, value.get_ref());
            return None;
        };
        let count = number.as_str().parse().ok().filter(|count| *count <= most);
        if count.is_none() {
            self.problem(value.span(), format!("`{key}` is {wanted}, not {number}"));
        }
        count
    }

    /// How many tokens of what.
    pub(super) fn resources(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        key: &str,
    ) -> BTreeMap<String, u32> {
        let DeValue::Table(table) = value.get_ref() else {
            self.mismatch(value, key, "a table of numbers", value.get_ref());
            return BTreeMap::new();
        };
        let mut found = BTreeMap::new();
        for (name, count) in table.iter() {
            let text = name.get_ref();
            // As git takes it for the name of a variable.
            let is_name = text.len() <= 32
                && text.starts_with(|c: char| c.is_ascii_lowercase())
                && text
                    .bytes()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-');
            if !is_name {
                let message =
                    "a resource is named by at most 32 of a-z, 0-9 and '-', the first a letter";
                self.problem(name.span(), message);
            }
            if let Some(count) = self.count(count, text, MOST_TOKENS)
                && count > 0
            {
                found.insert(text.to_string(), count);
            }
        }
        found
    }

    /// Text for people, on one line.
    pub(super) fn line(&mut self, value: &Spanned<DeValue<'_>>, key: &str) -> Option<String> {
        match value.get_ref() {
            DeValue::String(text) => Some(text.trim().to_owned()),
            other => {
                self.mismatch(value, key, "a string", other);
                None
            }
        }
    }

    /// A list of strings, each with its place.
    pub(super) fn strings(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        key: &str,
    ) -> Vec<(Range<usize>, String)> {
        let DeValue::Array(items) = value.get_ref() else {
            self.mismatch(value, key, "a list of strings", value.get_ref());
            return Vec::new();
        };
        let mut strings = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(text) => strings.push((item.span(), text.to_string())),
                other => self.mismatch(item, key, "a list of strings", other),
            }
        }
        strings
    }

    /// Patterns that select files; none of them leads out of the tree.
    pub(super) fn paths(&mut self, value: &Spanned<DeValue<'_>>, key: &str) -> Option<Vec<String>> {
        let patterns = self.strings(value, key);
        if !matches!(value.get_ref(), DeValue::Array(_)) {
            return None;
        }
        if !patterns
            .iter()
            .any(|(_, pattern)| !pattern.starts_with('!'))
        {
            let message = format!("`{key}` selects nothing: it has no pattern without a `!`");
            self.problem(value.span(), message);
        }
        for (at, pattern) in &patterns {
            let pattern = pattern.strip_prefix('!').unwrap_or(pattern);
            let message = if pattern.trim_matches('/').is_empty() {
                "an empty pattern selects nothing"
            } else if pattern.split('/').any(|part| part == ".." || part == ".") {
                "a pattern is below the top of the tree, without `.` and `..`"
            } else if pattern.contains('\0') {
                "no path holds a NUL byte"
            } else {
                continue;
            };
            self.problem(at.clone(), message);
        }
        Some(patterns.into_iter().map(|(_, pattern)| pattern).collect())
    }

    /// Patterns of the names of branches.
    pub(super) fn branches(&mut self, value: &Spanned<DeValue<'_>>, key: &str) -> Vec<String> {
        let patterns = self.strings(value, key);
        if let DeValue::Array(items) = value.get_ref()
            && items.is_empty()
        {
            let message = format!("`{key}` names no branch, so that the job would never run");
            self.problem(value.span(), message);
        }
        for (at, pattern) in &patterns {
            let message = if pattern.is_empty() || pattern.starts_with('!') {
                "a pattern is the name of a branch, in which `*` is any text"
            } else if pattern.starts_with("refs/") {
                "a branch is named without `refs/heads/`"
            } else {
                continue;
            };
            self.problem(at.clone(), message);
        }
        patterns.into_iter().map(|(_, pattern)| pattern).collect()
    }

    /// Patterns as of [`paths`](Self::paths), where one need not be a list.
    pub(super) fn path_or_paths(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        key: &str,
    ) -> Option<Vec<String>> {
        let DeValue::String(_) = value.get_ref() else {
            return self.paths(value, key);
        };
        let list = DeValue::Array([value.clone()].into_iter().collect());
        self.paths(&Spanned::new(value.span(), list), key)
    }

    /// What a word stands for that is one of a few.
    pub(super) fn one_of<T: Copy>(
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

    pub(super) fn table<'v, 'i>(
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

    pub(super) fn mismatch(
        &mut self,
        at: &Spanned<DeValue<'_>>,
        key: &str,
        wanted: &str,
        got: &DeValue<'_>,
    ) {
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
