//! A starter jobs file that fits what a work tree looks like.
//!
//! Only what the project itself shows becomes a job: a lint that it has no settings for
//! would fail on the first run and say nothing. What may run the same again, or needs a
//! decision, is there as a comment. Looks at the top of the tree and nowhere else.

use std::fs;
use std::path::Path;

/// A jobs file that somebody may begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Starter {
    /// The text of the file.
    pub text: String,
    /// What was recognised, for people: `Cargo`, `npm`.
    pub kinds: Vec<&'static str>,
    /// The names of the jobs in it.
    pub jobs: Vec<String>,
}

/// One job of the file.
struct Suggestion {
    name: &'static str,
    run: String,
    timeout: &'static str,
    /// Lines above the job.
    why: &'static str,
}

impl Suggestion {
    fn new(name: &'static str, run: impl Into<String>) -> Self {
        let timeout = if name == "test" { "30m" } else { "10m" };
        Self {
            name,
            run: run.into(),
            timeout,
            why: "",
        }
    }
}

/// What one tool makes of the work tree.
struct Kind {
    label: &'static str,
    /// Goes before the names of its jobs where there are several kinds.
    prefix: &'static str,
    jobs: Vec<Suggestion>,
    /// It only starts what another kind may run as well.
    wrapper: bool,
}

impl Kind {
    fn new(label: &'static str, prefix: &'static str, jobs: Vec<Suggestion>) -> Self {
        Self {
            label,
            prefix,
            jobs,
            wrapper: false,
        }
    }
}

const HEADER: &str = "\
# Jobs for git-ci: what has to pass on each commit. See git-ci(1).
#
# `git ci run --dry-run` shows what would run, `git ci run` runs it on HEAD,
# and `git ci run main..` on every commit of a branch.
";

const EXAMPLE: &str = r#"
# Nothing that git-ci knows was found here. An example to begin with:
#
# [jobs.test]
# run = "./run-tests"          # a string goes to `sh -c`; a list is executed as it is
# timeout = "10m"              # then SIGTERM, and SIGKILL after `grace`
#
# [jobs.lint]
# run = ["./lint", "--strict"]
# env = { LANG = "C.UTF-8" }
# allow-failure = true         # recorded, and does not count
"#;

/// Looks at the top of a work tree.
pub fn starter(top: &Path) -> Starter {
    let all = [cargo, node, go, maven, gradle, python, make];
    let kinds: Vec<Kind> = all.iter().filter_map(|look| look(top)).collect();
    let own = kinds.iter().filter(|kind| !kind.wrapper).count();
    let mut starter = Starter {
        text: HEADER.to_owned(),
        kinds: kinds.iter().map(|kind| kind.label).collect(),
        jobs: Vec::new(),
    };
    for kind in &kinds {
        let active = own == 0 || !kind.wrapper;
        if !active {
            starter.text += "\n# The Makefile's own, which may run the same as above:\n#";
        }
        for job in &kind.jobs {
            let name = match own > 1 || !active {
                true => format!("{}-{}", kind.prefix, job.name),
                false => job.name.to_owned(),
            };
            let text = format!(
                "{}[jobs.{name}]\nrun = \"{}\"\ntimeout = \"{}\"\n",
                job.why,
                job.run.replace('\\', "\\\\").replace('"', "\\\""),
                job.timeout,
            );
            starter.text.push('\n');
            if active {
                starter.text += &text;
                starter.jobs.push(name);
            } else {
                starter
                    .text
                    .extend(text.lines().map(|line| format!("# {line}\n")));
            }
        }
    }
    if starter.jobs.is_empty() {
        starter.text += EXAMPLE;
    }
    starter
}

/// A file of the top; empty where there is none, or it is no text.
fn read(top: &Path, name: &str) -> String {
    fs::read_to_string(top.join(name)).unwrap_or_default()
}

fn has(top: &Path, names: &[&str]) -> bool {
    names.iter().any(|name| top.join(name).exists())
}

/// Whether a line of `text` begins with one of these, as a section or a key does.
fn has_line(text: &str, starts: &[&str]) -> bool {
    text.lines().any(|line| {
        starts
            .iter()
            .any(|start| line.trim_start().starts_with(start))
    })
}

fn cargo(top: &Path) -> Option<Kind> {
    if !has(top, &["Cargo.toml"]) {
        return None;
    }
    let manifest = read(top, "Cargo.toml");
    let workspace = match has_line(&manifest, &["[workspace]"]) {
        true => " --workspace",
        false => "",
    };
    let locked = if has(top, &["Cargo.lock"]) {
        " --locked"
    } else {
        ""
    };
    let mut jobs = vec![Suggestion::new(
        "test",
        format!("cargo test{workspace}{locked}"),
    )];
    let lints = ["[lints", "[workspace.lints"];
    if has(top, &["clippy.toml", ".clippy.toml"]) || has_line(&manifest, &lints) {
        let run = format!("cargo clippy{workspace}{locked} --all-targets -- -D warnings");
        jobs.push(Suggestion::new("lint", run));
    }
    if has(top, &["rustfmt.toml", ".rustfmt.toml"]) {
        jobs.push(Suggestion::new("fmt", "cargo fmt --all --check"));
    }
    Some(Kind::new("Cargo", "rust", jobs))
}

fn node(top: &Path) -> Option<Kind> {
    if !has(top, &["package.json"]) {
        return None;
    }
    let text = read(top, "package.json");
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let manager = manifest["packageManager"].as_str().unwrap_or_default();
    let depends = ["dependencies", "devDependencies"].iter().any(|key| {
        manifest[key]
            .as_object()
            .is_some_and(|list| !list.is_empty())
    });
    // The packages stay in the worktree, so this is quick where nothing changed.
    let (label, install, tool) = if has(top, &["pnpm-lock.yaml"]) || manager.starts_with("pnpm@") {
        ("pnpm", "pnpm install --frozen-lockfile && ", "pnpm")
    } else if has(top, &["yarn.lock"]) || manager.starts_with("yarn@") {
        let classic = manager.starts_with("yarn@1") || manager.is_empty();
        match classic && !has(top, &[".yarnrc.yml"]) {
            true => ("Yarn", "yarn install --frozen-lockfile && ", "yarn"),
            false => ("Yarn", "yarn install --immutable && ", "yarn"),
        }
    } else if has(top, &["package-lock.json", "npm-shrinkwrap.json"]) {
        let install = match has(top, &["package-lock.json"]) {
            true => "{ [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci; } && ",
            false => "npm ci && ",
        };
        ("npm", install, "npm")
    } else if depends {
        ("npm", "npm install --no-package-lock && ", "npm")
    } else {
        ("npm", "", "npm")
    };
    let scripts = &manifest["scripts"];
    let jobs: Vec<_> = ["test", "lint", "typecheck", "build"]
        .into_iter()
        .filter(|name| {
            // What `npm init` writes is no test.
            let script = scripts[name].as_str();
            script.is_some_and(|script| !script.contains("Error: no test specified"))
        })
        .map(|name| Suggestion::new(name, format!("{install}{tool} run {name}")))
        .collect();
    (!jobs.is_empty()).then(|| Kind::new(label, "node", jobs))
}

fn go(top: &Path) -> Option<Kind> {
    if !has(top, &["go.mod"]) {
        return None;
    }
    let mut jobs = vec![
        Suggestion::new("test", "go test ./..."),
        Suggestion::new("vet", "go vet ./..."),
    ];
    let lint = [
        ".golangci.yml",
        ".golangci.yaml",
        ".golangci.toml",
        ".golangci.json",
    ];
    if has(top, &lint) {
        jobs.push(Suggestion::new("lint", "golangci-lint run"));
    }
    Some(Kind::new("Go", "go", jobs))
}

fn maven(top: &Path) -> Option<Kind> {
    if !has(top, &["pom.xml"]) {
        return None;
    }
    let tool = if has(top, &["mvnw"]) { "./mvnw" } else { "mvn" };
    let run = format!("{tool} --batch-mode --no-transfer-progress test");
    Some(Kind::new(
        "Maven",
        "java",
        vec![Suggestion::new("test", run)],
    ))
}

fn gradle(top: &Path) -> Option<Kind> {
    let files = [
        "build.gradle",
        "build.gradle.kts",
        "settings.gradle",
        "settings.gradle.kts",
    ];
    if !has(top, &files) {
        return None;
    }
    let tool = if has(top, &["gradlew"]) {
        "./gradlew"
    } else {
        "gradle"
    };
    let mut job = Suggestion::new("test", format!("{tool} --no-daemon check"));
    job.why = "# A daemon would not outlive the job: whatever a job leaves running is ended.\n";
    Some(Kind::new("Gradle", "gradle", vec![job]))
}

fn python(top: &Path) -> Option<Kind> {
    let project = read(top, "pyproject.toml");
    let setup = read(top, "setup.cfg");
    let wanted = format!(
        "{project}{setup}{}{}",
        read(top, "requirements.txt"),
        read(top, "requirements-dev.txt")
    );
    let signs = [
        "pyproject.toml",
        "setup.py",
        "setup.cfg",
        "tox.ini",
        "pytest.ini",
    ];
    let more = ["conftest.py", "requirements.txt", "ruff.toml", ".ruff.toml"];
    if !has(top, &signs) && !has(top, &more) {
        return None;
    }
    let within = if has(top, &["uv.lock"]) {
        "uv run "
    } else if has(top, &["poetry.lock"]) {
        "poetry run "
    } else {
        ""
    };
    let mut jobs = Vec::new();
    if has(top, &["tox.ini"]) || has_line(&project, &["[tool.tox"]) || has_line(&setup, &["[tox"]) {
        jobs.push(Suggestion::new("test", format!("{within}tox")));
    } else if has(top, &["pytest.ini", "conftest.py", "tests/conftest.py"])
        || wanted.contains("pytest")
    {
        jobs.push(Suggestion::new(
            "test",
            format!("{within}python3 -m pytest"),
        ));
    } else if let Some(dir) = ["tests", "test"]
        .into_iter()
        .find(|dir| top.join(dir).is_dir())
    {
        let run = format!("{within}python3 -m unittest discover -s {dir}");
        jobs.push(Suggestion::new("test", run));
    }
    if has(top, &["ruff.toml", ".ruff.toml"]) || has_line(&project, &["[tool.ruff"]) {
        jobs.push(Suggestion::new("lint", format!("{within}ruff check .")));
    }
    (!jobs.is_empty()).then(|| Kind::new("Python", "python", jobs))
}

fn make(top: &Path) -> Option<Kind> {
    let files = ["GNUmakefile", "makefile", "Makefile"];
    let file = files.into_iter().find(|name| top.join(name).is_file())?;
    let text = read(top, file);
    let rule = |name: &str| -> Option<String> {
        let mut rules = text.lines().filter_map(|line| line.split_once(':'));
        let (_, needs) = rules.find(|(targets, rest)| {
            let variable = rest.starts_with('=') || rest.starts_with(":=") || targets.contains('=');
            let recipe = targets.starts_with(['\t', ' ', '#', '.']);
            !variable && !recipe && targets.split_whitespace().any(|target| target == name)
        })?;
        Some(needs.to_owned())
    };
    let needs = |rule: &Option<String>, name: &str| {
        let rule = rule.as_deref().unwrap_or_default();
        rule.split_whitespace().any(|word| word == name)
    };
    let (check, test) = (rule("check"), rule("test"));
    let mut jobs = Vec::new();
    if check.is_some() && !needs(&test, "check") {
        jobs.push(Suggestion::new("check", "make check"));
    }
    if test.is_some() && !needs(&check, "test") {
        jobs.push(Suggestion::new("test", "make test"));
    }
    let mut kind = Kind::new("Make", "make", jobs);
    kind.wrapper = true;
    (!kind.jobs.is_empty()).then_some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::model::CommandLine;

    /// The jobs for a tree of these files, read back by the parser, as `name: command`.
    fn jobs(files: &[(&str, &str)]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let made = starter(dir.path());
        let parsed = parse(&made.text, ".git-ci.toml").unwrap();
        let names: Vec<_> = parsed.iter().map(|job| job.name.to_string()).collect();
        assert_eq!(names, made.jobs);
        // What is a comment must be right, too, once it is none.
        parse(&uncommented(&made.text), ".git-ci.toml").unwrap();
        let show = |run: &CommandLine| match run {
            CommandLine::Shell(text) => text.clone(),
            CommandLine::Argv(words) => words.join(" "),
        };
        parsed
            .iter()
            .map(|job| format!("{}: {}", job.name, show(&job.run)))
            .collect()
    }

    /// The file with every commented line of TOML made real.
    fn uncommented(text: &str) -> String {
        let toml = |line: &&str| {
            let rest = line.strip_prefix("# ").unwrap_or_default();
            rest.starts_with('[') || rest.split_once(" = ").is_some()
        };
        let line = |line: &str| match toml(&line) {
            true => format!("{}\n", &line[2..]),
            false => format!("{line}\n"),
        };
        text.lines().map(line).collect()
    }

    #[test]
    fn nothing_recognised_gives_an_example_that_is_right_once_uncommented() {
        let dir = tempfile::tempdir().unwrap();
        let made = starter(dir.path());
        assert!(made.jobs.is_empty() && made.kinds.is_empty());
        assert_eq!(parse(&uncommented(&made.text), "x").unwrap().len(), 2);
        assert!(
            parse(&made.text, "x")
                .unwrap_err()
                .to_string()
                .contains("no jobs")
        );
    }

    #[test]
    fn each_kind_gets_the_jobs_that_it_shows() {
        for (files, expected) in [
            (
                &[("Cargo.toml", "[package]\n")][..],
                &["test: cargo test"][..],
            ),
            (
                &[
                    ("Cargo.toml", "[workspace]\n[workspace.lints.rust]\n"),
                    ("Cargo.lock", ""),
                    ("rustfmt.toml", ""),
                ],
                &[
                    "test: cargo test --workspace --locked",
                    "lint: cargo clippy --workspace --locked --all-targets -- -D warnings",
                    "fmt: cargo fmt --all --check",
                ],
            ),
            (
                &[(
                    "package.json",
                    r#"{"scripts":{"test":"node --test","start":"x","lint":"eslint ."}}"#,
                )],
                &["test: npm run test", "lint: npm run lint"],
            ),
            (
                &[(
                    "package.json",
                    r#"{"scripts":{"build":"tsc"},"devDependencies":{"typescript":"5"}}"#,
                )],
                &["build: npm install --no-package-lock && npm run build"],
            ),
            (
                &[
                    ("package.json", r#"{"scripts":{"typecheck":"tsc"}}"#),
                    ("pnpm-lock.yaml", ""),
                ],
                &["typecheck: pnpm install --frozen-lockfile && pnpm run typecheck"],
            ),
            (
                &[
                    ("package.json", r#"{"scripts":{"test":"jest"}}"#),
                    ("yarn.lock", ""),
                ],
                &["test: yarn install --frozen-lockfile && yarn run test"],
            ),
            (
                &[
                    (
                        "package.json",
                        r#"{"packageManager":"yarn@4.1.0","scripts":{"test":"jest"}}"#,
                    ),
                    ("yarn.lock", ""),
                ],
                &["test: yarn install --immutable && yarn run test"],
            ),
            (
                &[("go.mod", "module x\n")],
                &["test: go test ./...", "vet: go vet ./..."],
            ),
            (
                &[("pom.xml", "")],
                &["test: mvn --batch-mode --no-transfer-progress test"],
            ),
            (
                &[("pom.xml", ""), ("mvnw", "")],
                &["test: ./mvnw --batch-mode --no-transfer-progress test"],
            ),
            (
                &[("build.gradle.kts", ""), ("gradlew", "")],
                &["test: ./gradlew --no-daemon check"],
            ),
            (&[("pytest.ini", "")], &["test: python3 -m pytest"]),
            (
                &[("pyproject.toml", "[tool.ruff]\n"), ("tests/test_a.py", "")],
                &[
                    "test: python3 -m unittest discover -s tests",
                    "lint: ruff check .",
                ],
            ),
            (&[("tox.ini", "")], &["test: tox"]),
            (
                &[("pyproject.toml", "dev = ['pytest']\n"), ("uv.lock", "")],
                &["test: uv run python3 -m pytest"],
            ),
            (
                &[("Makefile", "check: test\ntest := x\ntest:\n\ttrue\n")],
                &["check: make check"],
            ),
            (
                &[("Makefile", "all check:\n\ttrue\ntest: a\n\ttrue\n")],
                &["check: make check", "test: make test"],
            ),
        ] {
            assert_eq!(jobs(files), expected, "{files:?}");
        }
    }

    #[test]
    fn several_kinds_are_kept_apart_by_name() {
        let files = [
            ("Cargo.toml", ""),
            ("package.json", r#"{"scripts":{"test":"a"}}"#),
            ("Makefile", "test:\n\ttrue\n"),
        ];
        assert_eq!(
            jobs(&files),
            ["rust-test: cargo test", "node-test: npm run test"]
        );
        let files = [("go.mod", ""), ("Makefile", "test:\n\tgo test\n")];
        assert_eq!(jobs(&files).len(), 2);
    }

    #[test]
    fn what_holds_no_job_is_not_recognised() {
        for (name, text) in [
            ("package.json", "no JSON"),
            (
                "package.json",
                r#"{"scripts":{"test":"echo \"Error: no test specified\" && exit 1"}}"#,
            ),
            ("Makefile", "all:\n\ttest: x\n#test:\n.PHONY: test\n"),
            ("setup.py", ""),
        ] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(name), text).unwrap();
            assert_eq!(starter(dir.path()).kinds, [""; 0], "{name} {text}");
        }
    }
}
