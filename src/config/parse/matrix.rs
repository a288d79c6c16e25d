//! `matrix`: one table, many jobs.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Reader;

/// More cells than this are a slip, or more than anybody waits for.
const MOST_CELLS: usize = 256;

/// Values of axes and other variables, by name.
type Values = BTreeMap<String, String>;

/// One job of a matrix.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cell {
    /// What its name has after that of the matrix: `[linux]`, `[os=linux,features=serde]`.
    pub(super) suffix: String,
    /// What it sees of it in its environment.
    pub(super) env: Values,
}

/// The values of one variable of a matrix.
struct Axis {
    at: Range<usize>,
    name: String,
    values: Vec<String>,
}

impl Reader<'_> {
    /// The cells of a matrix: every combination of the values of its axes that `exclude` does
    /// not name, and what `include` adds.
    pub(super) fn matrix(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<Cell> {
        let Some(table) = self.table(value, "matrix") else {
            return Vec::new();
        };
        let before = self.problems.len();
        let mut axes = Vec::new();
        let (mut excluded, mut included) = (Vec::new(), Vec::new());
        for (name, value) in table {
            match name.get_ref().as_ref() {
                "exclude" => excluded = self.combinations(value, "exclude"),
                "include" => included = self.combinations(value, "include"),
                axis => {
                    self.check_variable(name.span(), axis);
                    let values = self.axis(value, axis);
                    axes.push(Axis {
                        at: name.span(),
                        name: axis.to_owned(),
                        values,
                    });
                }
            }
        }
        // As they stand in the file: names of cells are read by people.
        axes.sort_by_key(|axis| axis.at.start);
        for (at, values) in &excluded {
            let known = |name: &String| axes.iter().any(|axis| axis.name == *name);
            if let Some(name) = values.keys().find(|name| !known(name)) {
                let message = format!("`exclude` names `{name}`, which is no axis of this matrix");
                self.problem(at.clone(), message);
            }
        }
        let count = axes
            .iter()
            .try_fold(1usize, |count, axis| count.checked_mul(axis.values.len()));
        let count = count.map_or(usize::MAX, |count| count + included.len());
        if count > MOST_CELLS {
            let message = format!("this matrix has {count} cells, and {MOST_CELLS} are the most");
            self.problem(value.span(), message);
            return Vec::new();
        }
        let mut found = if axes.is_empty() {
            Vec::new()
        } else {
            vec![Values::new()]
        };
        for axis in &axes {
            let with = |cell: &Values| {
                let cells = axis.values.iter().map(|value| {
                    let mut cell = cell.clone();
                    cell.insert(axis.name.clone(), value.clone());
                    cell
                });
                cells.collect::<Vec<_>>()
            };
            found = found.iter().flat_map(with).collect();
        }
        let fits = |cell: &Values, values: &Values| {
            values
                .iter()
                .all(|(name, value)| cell.get(name) == Some(value))
        };
        found.retain(|cell| !excluded.iter().any(|(_, values)| fits(cell, values)));
        let mut cells: Vec<Cell> = found
            .into_iter()
            .map(|env| Cell {
                suffix: suffix(&axes, &env),
                env,
            })
            .collect();
        for (_, values) in included {
            let of_axes = |name: &String| axes.iter().any(|axis| axis.name == *name);
            let fixed: Values = values
                .clone()
                .into_iter()
                .filter(|(name, _)| of_axes(name))
                .collect();
            let is_extra = fixed.len() < values.len();
            let mut met = cells
                .iter_mut()
                .filter(|cell| fits(&cell.env, &fixed))
                .peekable();
            if is_extra && !axes.is_empty() && met.peek().is_some() {
                met.for_each(|cell| cell.env.extend(values.clone()));
            } else {
                cells.push(Cell {
                    suffix: suffix(&axes, &values),
                    env: values,
                });
            }
        }
        if cells.is_empty() && self.problems.len() == before {
            self.problem(value.span(), "this matrix has no cells");
        }
        let mut names = HashSet::new();
        for cell in &cells {
            if !names.insert(&cell.suffix) {
                let message = format!("two cells of this matrix have the name {}", cell.suffix);
                self.problem(value.span(), message);
            }
        }
        cells
    }

    fn axis(&mut self, value: &Spanned<DeValue<'_>>, name: &str) -> Vec<String> {
        let DeValue::Array(items) = value.get_ref() else {
            self.mismatch(value, name, "a list of values", value.get_ref());
            return Vec::new();
        };
        if items.is_empty() {
            let message = format!("`{name}` has no values: this matrix has no cells");
            self.problem(value.span(), message);
        }
        let values = items.iter().filter_map(|item| self.scalar(item, name));
        values.collect()
    }

    /// The tables of `exclude` or `include`, each with its place.
    fn combinations(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        key: &str,
    ) -> Vec<(Range<usize>, Values)> {
        let DeValue::Array(items) = value.get_ref() else {
            self.mismatch(value, key, "a list of tables", value.get_ref());
            return Vec::new();
        };
        let mut combinations = Vec::new();
        for item in items.iter() {
            let Some(table) = self.table(item, key) else {
                continue;
            };
            if table.is_empty() {
                self.problem(item.span(), format!("`{key}` has an empty table"));
            }
            combinations.push((item.span(), self.values_of(table)));
        }
        combinations
    }

    fn values_of(&mut self, table: &DeTable<'_>) -> Values {
        let mut values = Values::new();
        for (name, value) in table {
            self.check_variable(name.span(), name.get_ref());
            if let Some(text) = self.scalar(value, name.get_ref()) {
                values.insert(name.get_ref().to_string(), text);
            }
        }
        values
    }

    fn scalar(&mut self, value: &Spanned<DeValue<'_>>, key: &str) -> Option<String> {
        match value.get_ref() {
            DeValue::String(text) if text.contains('\0') => {
                self.problem(value.span(), "a variable cannot hold a NUL byte");
                None
            }
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(number) => Some(number.to_string()),
            DeValue::Float(number) => Some(number.to_string()),
            DeValue::Boolean(is_so) => Some(is_so.to_string()),
            other => {
                self.mismatch(value, key, "made of strings, numbers and booleans", other);
                None
            }
        }
    }

    fn check_variable(&mut self, at: Range<usize>, name: &str) {
        let mut chars = name.chars();
        let begins = chars
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        if !begins || !chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
            let message = format!(
                "\"{name}\" cannot be the name of a variable, as which jobs see their part of the matrix"
            );
            self.problem(at, message);
        }
    }
}

/// What a cell's name has after that of its matrix: the value where there is one axis and
/// nothing else, else all with their names, those of axes first.
fn suffix(axes: &[Axis], values: &Values) -> String {
    if let ([axis], 1) = (axes, values.len())
        && let Some(value) = values.get(&axis.name)
    {
        return format!("[{}]", word(value));
    }
    let place = |name: &str| {
        axes.iter()
            .position(|axis| axis.name == name)
            .unwrap_or(axes.len())
    };
    let mut pairs: Vec<_> = values.iter().collect();
    pairs.sort_by_key(|(name, _)| place(name));
    let pairs = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", word(name), word(value)));
    format!("[{}]", pairs.collect::<Vec<_>>().join(","))
}

/// A value as a part of a job's name.
fn word(value: &str) -> String {
    if value.is_empty() {
        return "-".to_owned();
    }
    let fit = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '.' | '_' | '/' | '-') => c,
        _ => '-',
    };
    value.chars().map(fit).collect()
}
