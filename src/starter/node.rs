//! JavaScript and TypeScript: npm, pnpm, Yarn, Bun and Deno.

use super::job::{Kind, SetUp, Suggestion};
use super::project::Dir;

/// Scripts of a package that say whether it is right, in the order in which they are wanted.
const SCRIPTS: [&str; 11] = [
    "test",
    "lint",
    "typecheck",
    "type-check",
    "check-types",
    "check:types",
    "tsc",
    "format:check",
    "fmt:check",
    "prettier:check",
    "build",
];

/// What a script has in it that repairs files instead of complaining about them.
const REPAIRS: [&str; 4] = ["--fix", "--write", "--apply", "-w "];

/// How packages come into a worktree.
struct Manager {
    label: &'static str,
    /// Puts what the lock file says into `node_modules`, where something is needed.
    install: Option<SetUp>,
    run: &'static str,
}

pub(super) fn node(dir: &Dir<'_>) -> Option<Kind> {
    if !dir.has(&["package.json"]) {
        return None;
    }
    let text = dir.read("package.json");
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let manager = manager(dir, &manifest);
    let mut jobs = Vec::new();
    for name in SCRIPTS {
        let Some(script) = manifest["scripts"][name].as_str() else {
            continue;
        };
        // What `npm init` writes is no test.
        if script.contains("Error: no test specified") {
            continue;
        }
        if REPAIRS.iter().any(|word| script.contains(word)) {
            continue;
        }
        let mut job = Suggestion::new(
            name.replace(':', "-"),
            format!("{} run {name}", manager.run),
        );
        if name == "test" && watches(script) {
            job = job.because("CI=true is set, so that this runs once and does not watch.");
        }
        jobs.push(job.with(manager.install.as_ref()));
    }
    if jobs.is_empty() && manager.label == "Bun" && has_tests(dir) {
        jobs.push(Suggestion::new("test", "bun test").with(manager.install.as_ref()));
    }
    let mut kind = Kind::new(manager.label, "node", jobs)?;
    kind.recursive = manifest.get("workspaces").is_some() || dir.has(&["pnpm-workspace.yaml"]);
    Some(kind)
}

fn manager(dir: &Dir<'_>, manifest: &serde_json::Value) -> Manager {
    let wanted = manifest["packageManager"].as_str().unwrap_or_default();
    let named = |name: &str| wanted.starts_with(&format!("{name}@"));
    let depends = [
        "dependencies",
        "devDependencies",
        "optionalDependencies",
        "workspaces",
    ]
    .iter()
    .any(|key| match &manifest[key] {
        serde_json::Value::Object(list) => !list.is_empty(),
        serde_json::Value::Array(list) => !list.is_empty(),
        _ => false,
    });
    let version = "node --version";
    let install = |run: String, lock: &[&str], version| {
        // Those of workspaces, too.
        let inputs = [&["package.json"], lock].concat();
        Some(SetUp::new("node", run, &inputs, version))
    };
    if dir.has(&["pnpm-lock.yaml"]) || named("pnpm") {
        let locks = dir.those(&["pnpm-lock.yaml", "pnpm-workspace.yaml"]);
        let run = "pnpm install --frozen-lockfile".to_owned();
        return Manager {
            label: "pnpm",
            install: install(run, &locks, version),
            run: "pnpm",
        };
    }
    if dir.has(&["bun.lock", "bun.lockb"]) || named("bun") {
        let lock = dir.first(&["bun.lock", "bun.lockb"]);
        let run = "bun install --frozen-lockfile".to_owned();
        return Manager {
            label: "Bun",
            install: install(run, lock.as_slice(), "bun --version"),
            run: "bun",
        };
    }
    if dir.has(&["yarn.lock"]) || named("yarn") {
        let classic = (named("yarn") && wanted.starts_with("yarn@1")) || !named("yarn");
        let option = if classic && !dir.has(&[".yarnrc.yml"]) {
            "--frozen-lockfile"
        } else {
            "--immutable"
        };
        let locks = dir.those(&["yarn.lock", ".yarnrc.yml"]);
        return Manager {
            label: "Yarn",
            install: install(format!("yarn install {option}"), &locks, version),
            run: "yarn",
        };
    }
    let lock = dir.first(&["npm-shrinkwrap.json", "package-lock.json"]);
    let install = match lock {
        Some(_) => install("npm ci".to_owned(), lock.as_slice(), version),
        None if depends => install("npm install --no-package-lock".to_owned(), &[], version),
        None => None,
    };
    Manager {
        label: "npm",
        install,
        run: "npm",
    }
}

/// Whether a test script stays and watches unless it knows that it runs in a CI.
fn watches(script: &str) -> bool {
    let once = script.contains(" run") || script.contains("--run");
    script.contains("react-scripts test") || script.contains("vitest") && !once
}

fn has_tests(dir: &Dir<'_>) -> bool {
    dir.files()
        .any(|file| file.contains(".test.") || file.contains("_test.") || file.contains(".spec."))
}

pub(super) fn deno(dir: &Dir<'_>) -> Option<Kind> {
    let file = dir.first(&["deno.json", "deno.jsonc"])?;
    let text = dir.read(file);
    // A comment in it makes it no JSON; then its tasks are not known.
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let frozen = if dir.has(&["deno.lock"]) {
        " --frozen"
    } else {
        ""
    };
    let task = |name: &str| manifest["tasks"].get(name).is_some();
    let mut jobs = Vec::new();
    if task("test") {
        jobs.push(Suggestion::new("test", "deno task test"));
    } else if has_tests(dir) {
        jobs.push(Suggestion::new("test", format!("deno test{frozen}")));
    }
    match task("lint") {
        true => jobs.push(Suggestion::new("lint", "deno task lint")),
        false if manifest.get("lint").is_some() => jobs.push(Suggestion::new("lint", "deno lint")),
        false => {}
    }
    if manifest.get("fmt").is_some() {
        jobs.push(Suggestion::new("fmt", "deno fmt --check"));
    }
    Kind::new("Deno", "deno", jobs)
}
