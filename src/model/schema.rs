//! The JSON Schema of identifiers: what a text of each kind looks like.
//!
//! Types of several fields derive theirs; these say more than that they are strings.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{DefId, JobName, LogId, Oid, Platform, RunnerLabel, Why};

/// Gives a type that is written as text its schema.
macro_rules! text_schema {
    ($name:ident, $about:literal, $pattern:literal) => {
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "description": $about, "pattern": $pattern})
            }
        }
    };
}

text_schema!(
    Oid,
    "The id of an object of git, SHA-1 or SHA-256.",
    "^([0-9a-f]{40}|[0-9a-f]{64})$"
);
text_schema!(
    DefId,
    "The hash of a job's definition; 16 digits in early records.",
    "^([0-9a-f]{32}|[0-9a-f]{16})$"
);
text_schema!(LogId, "Names a log.", "^[0-9a-f]{16}$");
text_schema!(
    JobName,
    "The name of a job.",
    "^[a-z0-9][a-z0-9._/\\[\\]=,-]{0,63}$"
);
text_schema!(
    RunnerLabel,
    "What records call who ran a task.",
    "^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$"
);
text_schema!(
    Platform,
    "Machine and system, such as `x86_64-linux`.",
    "^[a-z0-9][a-z0-9._-]{0,31}$"
);
text_schema!(
    Why,
    "A reason, as in git-ci-note(5).",
    "^(exit:[0-9]{1,3}|signal:[0-9]{1,3}|[a-z]+(-[a-z]+)*)$"
);
