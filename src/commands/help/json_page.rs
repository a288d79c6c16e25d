//! git-ci-json(5) and its JSON Schema, made from the types that are printed.
//!
//! Only tests make them, so that the program need not carry what describes it; they are
//! committed, and `UPDATE_GENERATED=1 cargo test generated` writes them anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::super::ui::lines::Line;
use super::man::{code, escape, version};
use crate::model::Event;
use crate::watch::CommitResult;

/// The page, with a gap for each kind of line.
const PAGE: &str = include_str!("json.roff");

/// All that is printed as JSON: one of these is a line.
#[derive(JsonSchema)]
#[schemars(untagged, title = "git-ci-json")]
#[expect(dead_code, reason = "only its schema is made")]
enum Output<'a> {
    /// What happens in a run.
    Event(Event),
    /// What other commands print.
    Line(Line<'a>),
    /// What the command of `--on-result` and `ci.onResult` gets.
    Result(CommitResult),
}

/// The schema of one line.
fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().for_serialize();
    let schema = generator
        .into_generator()
        .into_root_schema_for::<Output<'_>>();
    schema.to_value()
}

/// A text of the sources as roff.
fn prose(text: &str) -> String {
    assert!(!text.contains("[`"), "a link, which no page has: {text}");
    code(&escape(&text.replace('\n', " ")))
}

fn description(schema: &Value) -> String {
    prose(schema["description"].as_str().unwrap())
}

/// The definitions of a schema.
struct Definitions<'s>(&'s Map<String, Value>);

impl<'s> Definitions<'s> {
    /// What a reference leads to, with its name.
    fn find(&self, reference: &'s Value) -> (&'s str, &'s Value) {
        let name = reference.as_str().unwrap();
        let name = name.strip_prefix("#/$defs/").unwrap();
        (name, &self.0[name])
    }

    /// What stands for a value, in words.
    fn kind(&self, schema: &'s Value) -> String {
        if let Some(reference) = schema.get("$ref") {
            return format!("\\fI{}\\fR", self.find(reference).0);
        }
        if let Some(any) = schema["anyOf"].as_array() {
            let kinds: Vec<_> = any.iter().map(|one| self.kind(one)).collect();
            return kinds.join(" or ");
        }
        let words = match &schema["type"] {
            Value::Array(types) => types.iter().map(|one| one.as_str().unwrap()).collect(),
            one => vec![one.as_str().unwrap()],
        };
        let word = |word: &&str| match *word {
            "integer" => "number".to_owned(),
            "array" => match self.kind(&schema["items"]) {
                kind if kind == "string" => "list of strings".to_owned(),
                kind => format!("list of {kind}"),
            },
            "string" if schema["format"] == "date-time" => "time".to_owned(),
            word @ ("string" | "boolean" | "null") => word.to_owned(),
            other => panic!("no words for {other}"),
        };
        let kinds: Vec<_> = words.iter().map(word).collect();
        kinds.join(" or ")
    }

    /// The fields of an object, in the order in which they are printed.
    fn fields(&self, object: &'s Value) -> String {
        let object = match object.get("$ref") {
            Some(reference) => self.find(reference).1,
            None => object,
        };
        let names = object["required"].as_array().unwrap();
        let properties = object["properties"].as_object().unwrap();
        assert_eq!(names.len(), properties.len(), "all are always there");
        let names = names.iter().map(|name| name.as_str().unwrap());
        let entry = |name: &str| {
            let field = &properties[name];
            let (kind, about) = (self.kind(field), description(field));
            let name = escape(name);
            format!(".TP\n\\fB{name}\\fR ({kind})\n{about}\n")
        };
        names.filter(|name| *name != "event").map(entry).collect()
    }

    /// The words that a value can be.
    fn words(&self, schema: &Value) -> String {
        let words = schema["oneOf"].as_array().unwrap();
        let entry = |word: &Value| {
            let about = description(word);
            let word = escape(word["const"].as_str().unwrap());
            format!(".TP\n\\fB{word}\\fR\n{about}\n")
        };
        words.iter().map(entry).collect()
    }
}

/// The page, made from the schema.
fn page(schema: &Value) -> String {
    let definitions = Definitions(schema["$defs"].as_object().unwrap());
    let mut page = PAGE.replace("@VERSION@", &version());
    let mut fill = |gap: &str, text: &str| {
        let gap = format!("@{gap}@\n");
        assert_eq!(page.matches(&gap).count(), 1, "{gap}");
        page = page.replace(&gap, text);
    };
    for kind in ["Event", "Line"] {
        for line in definitions.0[kind]["oneOf"].as_array().unwrap() {
            let name = line["properties"]["event"]["const"].as_str().unwrap();
            let fields = definitions.fields(line);
            let text = format!(".SS {}\n{}\n{fields}", escape(name), description(line));
            fill(&format!("{kind}:{name}"), &text);
        }
    }
    let result = definitions.fields(&definitions.0["CommitResult"]);
    fill("CommitResult", &result);
    // What is told where it is printed is not told again.
    let mut told: BTreeSet<_> = ["Event", "Line", "CommitResult"].into();
    for line in definitions.0["Line"]["oneOf"].as_array().unwrap() {
        told.extend(line.get("$ref").map(|one| definitions.find(one).0));
    }
    let mut types = String::new();
    for (name, one) in definitions.0 {
        let body = match one {
            _ if told.contains(name.as_str()) && name != "RecordLine" => continue,
            _ if name == "RecordLine" => "The fields of \\fBrecord\\fR.\n".to_owned(),
            one if one.get("oneOf").is_some() => definitions.words(one),
            one if one["type"] == "object" => definitions.fields(one),
            one => match one["pattern"].as_str() {
                Some(pattern) => format!(
                    "A string of the form {}.\n",
                    escape(pattern.trim_matches(['^', '$']))
                ),
                None => format!("A {}.\n", definitions.kind(one)),
            },
        };
        types += &format!(".SS {name}\n{}\n{body}", description(one));
    }
    fill("TYPES", &types);
    assert!(!page.contains("\n@"), "a gap that nothing fills");
    page
}

#[test]
fn generated_json_page_and_schema_are_current() {
    let schema = schema();
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    for (name, text) in [
        ("git-ci-json.5", page(&schema)),
        ("git-ci-json.schema.json", text),
    ] {
        let path = dir.join(name);
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            fs::write(path, text).unwrap();
        } else {
            let committed = fs::read_to_string(path).unwrap_or_default();
            assert!(
                committed == text,
                "man/{name} is not what the types say\nUPDATE_GENERATED=1 cargo test generated"
            );
        }
    }
}
