//! Workflows of GitHub Actions: `jobs.*.steps[*].run`.

use serde::Deserialize;
use serde_json::Value;

use super::imported::{Imported, Ordered, Step, changes_machine, parse, scalar, variables};

#[derive(Debug, Deserialize)]
struct Workflow {
    #[serde(default)]
    env: Ordered<Value>,
    #[serde(default)]
    defaults: Defaults,
    #[serde(default)]
    jobs: Ordered<Job>,
}

#[derive(Debug, Default, Deserialize)]
struct Defaults {
    #[serde(default)]
    run: RunDefaults,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RunDefaults {
    working_directory: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Job {
    name: Option<String>,
    #[serde(default)]
    runs_on: Value,
    #[serde(default)]
    env: Ordered<Value>,
    #[serde(default)]
    services: Option<Value>,
    #[serde(default)]
    container: Option<Value>,
    #[serde(default)]
    strategy: Strategy,
    #[serde(default)]
    defaults: Defaults,
    #[serde(default)]
    continue_on_error: Value,
    #[serde(default)]
    timeout_minutes: Value,
    #[serde(rename = "if", default)]
    condition: Value,
    uses: Option<String>,
    #[serde(default)]
    steps: Vec<RawStep>,
}

#[derive(Debug, Default, Deserialize)]
struct Strategy {
    #[serde(default)]
    matrix: Value,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawStep {
    name: Option<String>,
    run: Option<String>,
    uses: Option<String>,
    #[serde(default)]
    with: Ordered<Value>,
    #[serde(default)]
    env: Ordered<Value>,
    working_directory: Option<String>,
    shell: Option<String>,
    #[serde(rename = "if", default)]
    condition: Value,
    #[serde(default)]
    continue_on_error: Value,
}

/// The jobs of a workflow that have anything to run; `file` is what messages call it.
pub(super) fn jobs(text: &str, file: &str) -> Result<Vec<Imported>, String> {
    let workflow: Workflow = parse(text)?;
    let jobs = workflow.jobs.0.iter();
    let jobs = jobs.filter(|(_, job)| job.steps.iter().any(|step| step.run.is_some()));
    Ok(jobs
        .map(|(id, job)| carry(id, job, &workflow, file))
        .collect())
}

fn carry(id: &str, job: &Job, workflow: &Workflow, file: &str) -> Imported {
    let matrix = Matrix::of(&job.strategy.matrix);
    let mut remarks = matrix.remarks();
    let mut obstacle = obstacle(job, &matrix);
    let mut env = Vec::new();
    for (key, value) in [variables(&workflow.env), variables(&job.env)].concat() {
        match matrix.expand(&value) {
            Ok(value) => {
                env.retain(|(name, _)| *name != key);
                env.push((key, value));
            }
            Err(why) => remarks.push(format!("{key} is not set: {why}.")),
        }
    }
    let dir = job.defaults.run.working_directory.as_ref();
    let dir = dir.or(workflow.defaults.run.working_directory.as_ref());
    let mut steps = Vec::new();
    for step in &job.steps {
        match (&step.run, &step.uses) {
            (Some(run), _) => steps.push(command(step, run, dir, &matrix)),
            (None, Some(action)) => remarks.extend(action_remark(action, &step.with, &matrix)),
            (None, None) => {}
        }
    }
    if obstacle.is_none() && steps.iter().all(|step| step.obstacle.is_some()) {
        obstacle = Some("nothing of it can run here".to_owned());
    }
    let timeout = scalar(&job.timeout_minutes).filter(|text| text.parse::<u32>().is_ok());
    Imported {
        name: id.to_owned(),
        origin: file.to_owned(),
        title: match &job.name {
            Some(name) if !name.contains("${{") => format!("job {id}: {name}"),
            _ => format!("job {id}"),
        },
        remarks,
        obstacle,
        env,
        steps,
        timeout: timeout.map(|minutes| format!("{minutes}m")),
        may_fail: job.continue_on_error == Value::Bool(true),
    }
}

/// Why a job cannot run here at all.
fn obstacle(job: &Job, matrix: &Matrix) -> Option<String> {
    if job.uses.is_some() {
        return Some("it calls a workflow that is elsewhere".to_owned());
    }
    if job
        .services
        .as_ref()
        .is_some_and(|services| !services.is_null())
    {
        return Some("it needs services beside it".to_owned());
    }
    if job
        .container
        .as_ref()
        .is_some_and(|container| !container.is_null())
    {
        return Some("it runs in a container".to_owned());
    }
    let system = match &job.runs_on {
        Value::String(text) => matrix.expand(text).unwrap_or_default(),
        Value::Array(list) => list.iter().filter_map(scalar).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    };
    let other = ["windows", "macos"]
        .into_iter()
        .find(|name| system.contains(name));
    if let Some(other) = other {
        return Some(format!("it runs on {other}"));
    }
    let condition = scalar(&job.condition).unwrap_or_default();
    [
        "release",
        "refs/tags",
        "schedule",
        "workflow_dispatch",
        "secrets.",
    ]
    .iter()
    .any(|word| condition.contains(word))
    .then(|| format!("it runs only if {condition}"))
}

fn command(step: &RawStep, run: &str, dir: Option<&String>, matrix: &Matrix) -> Step {
    let left_out = |why: String| {
        let mut out = Step::left_out(run, why);
        out.name.clone_from(&step.name);
        out
    };
    let shell = step.shell.as_deref().unwrap_or("bash");
    if !shell.starts_with("bash") && !shell.starts_with("sh") {
        return left_out(format!("since it is for {shell}"));
    }
    let condition = scalar(&step.condition).unwrap_or_default();
    if let Some(why) = never(&condition, matrix) {
        return left_out(why);
    }
    if let Some(why) = changes_machine(run) {
        return left_out(why.to_owned());
    }
    if [
        "GITHUB_OUTPUT",
        "GITHUB_ENV",
        "GITHUB_PATH",
        "GITHUB_STEP_SUMMARY",
        "GITHUB_EVENT_PATH",
    ]
    .iter()
    .any(|name| run.contains(name))
    {
        return left_out("since it talks to the other CI".to_owned());
    }
    let script = match matrix.expand(run) {
        Ok(script) => script,
        Err(why) => return left_out(format!("since {why}")),
    };
    let mut env = Vec::new();
    for (key, value) in variables(&step.env) {
        match matrix.expand(&value) {
            Ok(value) => env.push((key, value)),
            Err(why) => return left_out(format!("since {why}")),
        }
    }
    let dir = step.working_directory.as_ref().or(dir);
    let dir = dir.map(|dir| matrix.expand(dir).unwrap_or_else(|_| dir.clone()));
    Step {
        name: step.name.clone().filter(|name| !name.contains("${{")),
        script,
        dir: dir.filter(|dir| dir != "." && dir != "./"),
        env,
        obstacle: None,
        may_fail: step.continue_on_error == Value::Bool(true),
    }
}

/// Why a step with this condition is none of a job that tests a commit.
fn never(condition: &str, matrix: &Matrix) -> Option<String> {
    let here = ["", "success()", "always()", "true", "runner.os == 'Linux'"];
    let bare = condition
        .trim()
        .trim_start_matches("${{")
        .trim_end_matches("}}")
        .trim();
    let met = here.contains(&bare) || matrix.compares(bare) == Some(true);
    (!met).then(|| format!("since it runs only if {bare}"))
}

/// What somebody should know of an action that is left out.
fn action_remark(action: &str, with: &Ordered<Value>, matrix: &Matrix) -> Option<String> {
    let name = action.split('@').next().unwrap_or(action);
    let quiet = [
        "actions/cache",
        "actions/upload-artifact",
        "Swatinem/rust-cache",
    ];
    if quiet.iter().any(|known| name.starts_with(known)) {
        return None;
    }
    if name == "actions/checkout" {
        let deep = with.get("submodules").and_then(scalar);
        let deep = deep.filter(|value| value != "false");
        return deep
            .map(|_| "It needs submodules: git submodule update --init --recursive.".into());
    }
    let tool = name.rsplit('/').next().and_then(|last| {
        last.strip_prefix("setup-")
            .or(last.strip_suffix("-toolchain"))
    });
    let Some(tool) = tool else {
        return Some(format!("Without the action {action}."));
    };
    let version = with
        .0
        .iter()
        .find(|(key, _)| key.ends_with("version") || key == "toolchain");
    let version = version.and_then(|(_, value)| matrix.expand(&scalar(value)?).ok());
    Some(match version {
        Some(version) => format!("It wants {tool} {version}; here it gets what the machine has."),
        None => format!("It wants {tool}; here it gets what the machine has."),
    })
}

/// The first value of each dimension of a matrix.
#[derive(Debug, Default)]
struct Matrix(Vec<(String, String, usize)>);

impl Matrix {
    fn of(matrix: &Value) -> Self {
        let mut chosen: Vec<(String, String, usize)> = Vec::new();
        let Value::Object(dimensions) = matrix else {
            return Self(chosen);
        };
        for (key, values) in dimensions {
            let Value::Array(values) = values else {
                continue;
            };
            if key == "exclude" {
                continue;
            }
            if key == "include" {
                // What one cell of it adds, where nothing else has the name.
                for (key, value) in values.iter().filter_map(Value::as_object).flatten() {
                    if let Some(value) = scalar(value)
                        && !chosen.iter().any(|(name, ..)| name == key)
                        && !dimensions.contains_key(key)
                    {
                        chosen.push((key.clone(), value, values.len()));
                    }
                }
                continue;
            }
            let plain: Vec<_> = values.iter().filter_map(scalar).collect();
            let linux = plain
                .iter()
                .find(|value| value.contains("ubuntu") || value.contains("linux"));
            if let Some(value) = linux.or(plain.first()) {
                chosen.push((key.clone(), value.clone(), values.len()));
            }
        }
        Self(chosen)
    }

    fn remarks(&self) -> Vec<String> {
        let several = self.0.iter().filter(|(_, _, count)| *count > 1);
        several
            .map(|(key, value, count)| {
                format!("Of {count} values of {key} this is the one with {value}.")
            })
            .collect()
    }

    /// What `matrix.KEY == 'VALUE'` says; `None` where a condition is anything else.
    fn compares(&self, condition: &str) -> Option<bool> {
        let (left, right, equal) = match condition.split_once("!=") {
            Some((left, right)) => (left, right, false),
            None => condition.split_once("==").map(|(l, r)| (l, r, true))?,
        };
        let value = self.value(left.trim()).ok()?;
        let wanted = right.trim().strip_prefix('\'')?.strip_suffix('\'')?;
        (!wanted.contains('\'')).then_some((value == wanted) == equal)
    }

    /// A text with its `${{ … }}` replaced; an error says what one of them needs.
    fn expand(&self, text: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${{") {
            let Some((expression, after)) = after.split_once("}}") else {
                return Err("an expression has no end".to_owned());
            };
            out += before;
            out += &self.value(expression.trim())?;
            rest = after;
        }
        Ok(out + rest)
    }

    fn value(&self, expression: &str) -> Result<String, String> {
        if let Some(key) = expression.strip_prefix("matrix.") {
            let found = self.0.iter().find(|(name, ..)| name == key);
            return found
                .map(|(_, value, _)| value.clone())
                .ok_or_else(|| format!("it needs a value of its matrix, {key}"));
        }
        if let Some(name) = expression.strip_prefix("env.")
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        {
            return Ok(format!("${{{name}}}"));
        }
        if let Some(name) = expression.strip_prefix("secrets.") {
            return Err(format!("it needs the secret {name}"));
        }
        match expression {
            "github.workspace" => Ok("${PWD}".to_owned()),
            "github.sha" => Ok("${GIT_CI_COMMIT}".to_owned()),
            "runner.os" => Ok("Linux".to_owned()),
            "runner.temp" => Ok("${TMPDIR:-/tmp}".to_owned()),
            other => Err(format!("it needs {other}")),
        }
    }
}
