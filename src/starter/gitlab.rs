//! The jobs of a `.gitlab-ci.yml`: `before_script` and `script`.

use serde_json::{Map, Value};

use super::imported::{Imported, Ordered, Step, changes_machine, parse, scalar, variables};

/// Keys at the top that are no jobs.
const NO_JOBS: [&str; 13] = [
    "after_script",
    "before_script",
    "cache",
    "default",
    "image",
    "include",
    "pages",
    "services",
    "spec",
    "stages",
    "types",
    "variables",
    "workflow",
];

/// How long a chain of `extends` may be, as at GitLab.
const MOST_EXTENDS: usize = 11;

/// The jobs that have anything to run; `file` is what messages call it.
pub(super) fn jobs(text: &str, file: &str) -> Result<Vec<Imported>, String> {
    let top: Ordered<Value> = parse(text)?;
    let mut found = Vec::new();
    for (name, job) in &top.0 {
        let Value::Object(job) = job else { continue };
        // Names with a dot in front are templates.
        if NO_JOBS.contains(&name.as_str()) || name.starts_with('.') {
            continue;
        }
        let job = extended(job, &top, 0);
        if job.contains_key("script") {
            found.push(carry(name, &job, &top, file));
        }
    }
    Ok(found)
}

/// The job with what it takes over from those that it extends.
fn extended(job: &Map<String, Value>, top: &Ordered<Value>, depth: usize) -> Map<String, Value> {
    let names = match job.get("extends") {
        Some(Value::String(name)) => vec![name.clone()],
        Some(Value::Array(names)) => names.iter().filter_map(scalar).collect(),
        _ => Vec::new(),
    };
    let mut merged = Map::new();
    if depth < MOST_EXTENDS {
        for name in names {
            if let Some(Value::Object(base)) = top.get(&name) {
                merge(&mut merged, extended(base, top, depth + 1));
            }
        }
    }
    merge(&mut merged, job.clone());
    merged
}

/// Mappings are merged, everything else is replaced.
fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn carry(name: &str, job: &Map<String, Value>, top: &Ordered<Value>, file: &str) -> Imported {
    let default = |key: &str| {
        let default = top.get("default").and_then(|default| default.get(key));
        job.get(key).or(default).or(top.get(key))
    };
    let mut remarks = Vec::new();
    if let Some(image) = default("image") {
        let image = scalar(image).or_else(|| scalar(image.get("name")?));
        if let Some(image) = image {
            remarks.push(format!(
                "There it runs in the image {image}; here it gets what the machine has."
            ));
        }
    }
    for key in ["rules", "only", "except"] {
        if job.contains_key(key) {
            remarks.push(format!(
                "There {key} says when it runs; here it runs on every commit."
            ));
        }
    }
    let services = default("services").and_then(Value::as_array);
    let mut obstacle = services
        .filter(|services| !services.is_empty())
        .map(|_| "it needs services beside it".to_owned());
    if job.get("when").and_then(Value::as_str) == Some("manual") || job.contains_key("environment")
    {
        obstacle.get_or_insert("it deploys, or is started by hand".to_owned());
    }
    let before = default("before_script").into_iter().flat_map(lines);
    let script = job.get("script").into_iter().flat_map(lines);
    let steps: Vec<_> = before.chain(script).map(step).collect();
    if steps.iter().all(|step| step.obstacle.is_some()) {
        obstacle.get_or_insert("nothing of it can run here".to_owned());
    }
    let mut env = Vec::new();
    for of in [top.get("variables"), job.get("variables")] {
        let pairs = of.and_then(Value::as_object).into_iter().flatten();
        let pairs = pairs.map(|(key, value)| {
            let value = value.get("value").unwrap_or(value);
            (key.clone(), value.clone())
        });
        for (key, value) in variables(&Ordered(pairs.collect())) {
            // Set in a jobs file a variable is a plain text.
            if value.contains('$') {
                remarks.push(format!("{key} is not set: it is made of other variables."));
                continue;
            }
            env.retain(|(name, _)| *name != key);
            env.push((key, value));
        }
    }
    Imported {
        name: name.to_owned(),
        origin: file.to_owned(),
        title: format!("job {name}"),
        remarks,
        obstacle,
        env,
        steps,
        timeout: job
            .get("timeout")
            .and_then(scalar)
            .and_then(|text| minutes(&text)),
        may_fail: job.get("allow_failure") == Some(&Value::Bool(true)),
    }
}

/// The commands of a script: a list, a list of lists, or one text.
fn lines(script: &Value) -> Vec<String> {
    match script {
        Value::Array(list) => list.iter().flat_map(lines).collect(),
        other => scalar(other).into_iter().collect(),
    }
}

fn step(script: String) -> Step {
    if let Some(why) = changes_machine(&script) {
        return Step::left_out(script, why);
    }
    let theirs = [
        "$CI_JOB_TOKEN",
        "$CI_REGISTRY",
        "${CI_JOB_TOKEN",
        "${CI_REGISTRY",
    ];
    if theirs.iter().any(|name| script.contains(name)) {
        return Step::left_out(script, "since it needs a token of the other CI");
    }
    if script.contains("!reference") {
        return Step::left_out(script, "since it stands in another place");
    }
    Step {
        name: None,
        script,
        dir: None,
        env: Vec::new(),
        obstacle: None,
        may_fail: false,
    }
}

/// `1h 30m`, `90 minutes` as what a jobs file takes.
fn minutes(text: &str) -> Option<String> {
    let (mut total, mut number) = (0u32, String::new());
    for c in text.chars() {
        match c {
            '0'..='9' => number.push(c),
            'h' | 'm' if !number.is_empty() => {
                let value: u32 = number.parse().ok()?;
                let of = if c == 'h' { 60 } else { 1 };
                total = total.checked_add(value.checked_mul(of)?)?;
                number.clear();
            }
            _ => {}
        }
    }
    (total > 0 && number.is_empty()).then(|| format!("{total}m"))
}
