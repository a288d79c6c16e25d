//! JavaScript and TypeScript: npm, pnpm, Yarn, Bun and Deno.

use super::job::{Kind, Suggestion, install_once};
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
    /// Puts what the lock file says into `node_modules`; empty where nothing is needed.
    install: String,
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
        jobs.push(job.after(&manager.install));
    }
    if jobs.is_empty() && manager.label == "Bun" && has_tests(dir) {
        jobs.push(Suggestion::new("test", "bun test").after(&manager.install));
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
    let stamp = "node_modules/.git-ci-inputs";
    if dir.has(&["pnpm-lock.yaml"]) || named("pnpm") {
        let install = "pnpm install --frozen-lockfile || exit 126".to_owned();
        return Manager {
            label: "pnpm",
            install,
            run: "pnpm",
        };
    }
    if dir.has(&["bun.lock", "bun.lockb"]) || named("bun") {
        let install = "bun install --frozen-lockfile || exit 126".to_owned();
        return Manager {
            label: "Bun",
            install,
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
        return Manager {
            label: "Yarn",
            install: format!("yarn install {option} || exit 126"),
            run: "yarn",
        };
    }
    let install = match dir.first(&["npm-shrinkwrap.json", "package-lock.json"]) {
        // `npm ci` begins by removing all packages, so it runs only where it must.
        Some(lock) => {
            let inputs = format!("{{ node --version && cat package.json {lock}; }}");
            install_once(&inputs, stamp, "npm ci")
        }
        None if depends => {
            let inputs = "{ node --version && cat package.json; }";
            install_once(inputs, stamp, "npm install --no-package-lock")
        }
        None => String::new(),
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
