//! What each kind of project gets.

use std::fs;
use std::path::Path;

use super::*;
use crate::config::parse;
use crate::model::{CommandLine, Setup};

/// A project of these files.
fn project(dir: &Path, files: &[(&str, &str)]) -> Project {
    for (name, text) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    Project::new(dir, files.iter().map(|(name, _)| (*name).to_owned()))
}

/// The jobs in `made`, read back by the parser, as `name: command`. What is a comment
/// must be right, too, once it is none.
fn read_back(made: &Starter) -> Vec<String> {
    if made.jobs.is_empty() {
        return Vec::new();
    }
    let parsed = parse(&made.text, ".git-ci.toml").unwrap();
    let names: Vec<_> = parsed.iter().map(|job| job.name.to_string()).collect();
    assert_eq!(names, made.jobs);
    parse(&uncommented(&made.text), ".git-ci.toml").unwrap();
    let show = |run: &CommandLine| match run {
        CommandLine::Shell(text) => text.trim_end().to_owned(),
        CommandLine::Argv(words) => words.join(" ").trim_end().to_owned(),
    };
    let jobs = parsed.iter();
    let setup = |setup: &Setup| {
        let key = setup.key.as_ref().map(show);
        let key = key.map_or_else(String::new, |key| format!(", {key}"));
        format!("{} <- {}{key}\n", show(&setup.run), setup.inputs.join(" "))
    };
    jobs.map(|job| {
        let setups: String = job.setups.iter().map(setup).collect();
        format!("{}: {setups}{}", job.name, show(&job.run))
    })
    .collect()
}

fn jobs(files: &[(&str, &str)]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    read_back(&starter(&project(dir.path(), files), "main"))
}

fn imported(files: &[(&str, &str)]) -> (String, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let import = Import::read(&project(dir.path(), files));
    assert_eq!(import.problems, []);
    let made = import.starter("main");
    let jobs = read_back(&made);
    (made.text, jobs)
}

/// The file with every commented table of TOML made real.
fn uncommented(text: &str) -> String {
    let mut inside = false;
    let mut out = String::new();
    for line in text.lines() {
        let rest = line.strip_prefix("# ").unwrap_or_default();
        inside = if rest.starts_with("[jobs") || rest.starts_with("[setup") {
            true
        } else {
            inside && line.starts_with('#')
        };
        out += if inside {
            line.strip_prefix("# ").unwrap_or("")
        } else {
            line
        };
        out.push('\n');
    }
    out
}

#[test]
fn nothing_recognised_gives_an_example_that_is_right_once_uncommented() {
    let dir = tempfile::tempdir().unwrap();
    let made = starter(&project(dir.path(), &[]), "main");
    assert!(made.jobs.is_empty() && made.kinds.is_empty());
    assert_eq!(parse(&uncommented(&made.text), "x").unwrap().len(), 2);
    let none = parse(&made.text, "x").unwrap_err();
    assert!(none.to_string().contains("no jobs"));
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
            &[
                ("package.json", r#"{"scripts":{"typecheck":"tsc"}}"#),
                ("pnpm-lock.yaml", ""),
            ],
            &[
                "typecheck: pnpm install --frozen-lockfile <- package.json pnpm-lock.yaml, node --version\npnpm run typecheck",
            ],
        ),
        (
            &[
                ("package.json", r#"{"scripts":{"test":"jest"}}"#),
                ("yarn.lock", ""),
            ],
            &[
                "test: yarn install --frozen-lockfile <- package.json yarn.lock, node --version\nyarn run test",
            ],
        ),
        (
            &[
                (
                    "package.json",
                    r#"{"packageManager":"yarn@4.1.0","scripts":{"test":"jest"}}"#,
                ),
                ("yarn.lock", ""),
            ],
            &[
                "test: yarn install --immutable <- package.json yarn.lock, node --version\nyarn run test",
            ],
        ),
        (
            &[
                ("package.json", r#"{"scripts":{"format:check":"x"}}"#),
                ("bun.lock", ""),
            ],
            &[
                "format-check: bun install --frozen-lockfile <- package.json bun.lock, bun --version\nbun run format:check",
            ],
        ),
        (
            &[
                (
                    "deno.json",
                    r#"{"tasks":{"test":"deno test -A"},"lint":{}}"#,
                ),
                ("deno.lock", ""),
            ],
            &["test: deno task test", "lint: deno lint"],
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
            &[("build.gradle.kts", ""), ("gradlew", "")],
            &["test: ./gradlew --no-daemon check"],
        ),
        (
            &[("pyproject.toml", "dev = ['pytest']\n"), ("uv.lock", "")],
            &[
                "test: uv sync --locked <- pyproject.toml uv.lock, python3 --version\nuv run --no-sync pytest",
            ],
        ),
        (
            &[
                (
                    "pyproject.toml",
                    "[project.optional-dependencies]\ntest = ['pytest', 'ruff']\ndocs = ['sphinx']\n[tool.ruff]\nfix = true\n",
                ),
                ("uv.lock", ""),
            ],
            &[
                "test: uv sync --locked --extra test <- pyproject.toml uv.lock, python3 --version\nuv run --no-sync pytest",
                "lint: uv sync --locked --extra test <- pyproject.toml uv.lock, python3 --version\nuv run --no-sync ruff check --no-fix .",
            ],
        ),
        (
            &[
                (
                    "pyproject.toml",
                    "[tool.poetry.dependencies]\npython = '*'\n[tool.poetry.group.test]\noptional = true\ndependencies = { pytest = '*' }\n",
                ),
                ("poetry.lock", ""),
            ],
            &[
                "test: poetry install --no-interaction --with test <- pyproject.toml poetry.lock, python3 --version\npoetry run pytest",
            ],
        ),
        (
            &[("Pipfile", "pytest = '*'"), ("Pipfile.lock", "")],
            &[
                "test: pipenv sync --dev <- Pipfile Pipfile.lock, python3 --version\npipenv run pytest",
            ],
        ),
        (
            &[("setup.cfg", "[tox:tox]\n"), ("tox.ini", "")],
            &["test: tox"],
        ),
        (
            &[("requirements.txt", ""), ("pytest.ini", "")],
            &[
                "test: rm -rf .venv && python3 -m venv .venv && echo '*' >.venv/.gitignore &&\n\
                 .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt pytest \
                 <- requirements.txt, python3 --version\n\
                 .venv/bin/python -m pytest",
            ],
        ),
        (
            &[("Gemfile", ""), (".rspec", "")],
            &[
                "test: mkdir -p .bundle/gems && echo '*' >.bundle/gems/.gitignore && bundle install \
                 <- Gemfile, ruby --version\nbundle exec rspec",
            ],
        ),
        (
            &[("composer.json", r#"{"require-dev":{"pestphp/pest":"^2"}}"#)],
            &[
                "test: composer install --no-interaction --no-progress <- composer.json, php --version\nvendor/bin/pest",
            ],
        ),
        (&[("App.sln", "")], &["test: dotnet test --nologo"]),
        (
            &[("Makefile", "check: test\ntest := x\ntest:\n\ttrue\n")],
            &["check: make check"],
        ),
        (
            &[("Makefile", "all check:\n\ttrue\ntest: a\n\ttrue\n")],
            &["check: make check", "test: make test"],
        ),
        (
            &[("justfile", "test:\n  x\nlint arg:\n  x\n")],
            &["test: just test"],
        ),
    ] {
        assert_eq!(jobs(files), expected, "{files:?}");
    }
}

#[test]
fn a_build_directory_is_made_that_git_ignores() {
    for (files, command) in [
        (
            &[(
                "CMakeLists.txt",
                "option(X_TESTS \"t\" OFF)\nenable_testing()\n",
            )][..],
            "cmake -S . -B build-ci -DX_TESTS=ON || exit 126\ncmake --build build-ci --parallel \"$(nproc)\" &&\nctest ",
        ),
        (&[("meson.build", "")], "meson test -C build-ci"),
        (
            &[("configure.ac", ""), ("autogen.sh", "")],
            "[ -f configure ] || NOCONFIGURE=1 sh ./autogen.sh || exit 126\nmkdir",
        ),
        (
            &[("configure.ac", ""), ("configure", "")],
            "(cd build-ci && ../configure) || exit 126\nmake -C build-ci",
        ),
    ] {
        let [job] = &jobs(files)[..] else {
            panic!("{files:?}")
        };
        assert!(job.contains(command), "{job}");
        assert!(job.contains("echo '*' >build-ci/.gitignore"), "{job}");
    }
}

#[test]
fn packages_are_installed_once_for_each_lock_file() {
    let files = [
        (
            "package.json",
            r#"{"scripts":{"test":"a","lint":"eslint --fix ."}}"#,
        ),
        ("package-lock.json", "{}"),
    ];
    let made = jobs(&files);
    assert_eq!(made.len(), 1, "a script that repairs is no check: {made:?}");
    let expected = "test: npm ci <- package.json package-lock.json, node --version\nnpm run test";
    assert_eq!(made, [expected]);
}

#[test]
fn a_package_is_tested_from_the_worktree_and_what_it_needs_is_chosen() {
    let files = [
        (
            "pyproject.toml",
            "[project]\nname = 'x'\n[project.optional-dependencies]\ndev = ['black']\ntests = ['pytest']\n[dependency-groups]\ntest = ['pytest-cov']\n[build-system]\nbuild-backend = 'maturin'\n",
        ),
        ("requirements-dev.txt", "mypy\n"),
        ("requirements/prod.txt", ""),
    ];
    let made = jobs(&files).join("\n");
    for part in [
        " -e '.[tests]' -r requirements-dev.txt --group test pytest <- pyproject.toml requirements-dev.txt, python3 --version\n",
        "--upgrade pip &&",
        "pip install --quiet --disable-pip-version-check --no-deps -e . || exit 126\n",
    ] {
        assert!(made.contains(part), "{part}\n{made}");
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
fn directories_of_a_monorepo_get_jobs_of_their_own() {
    let files = [
        ("Cargo.toml", "[workspace]\n"),
        ("crates/a/Cargo.toml", ""),
        ("web app/package.json", r#"{"scripts":{"test":"a"}}"#),
        ("services/api/go.mod", ""),
        ("examples/b/package.json", r#"{"scripts":{"test":"a"}}"#),
        ("Makefile", "test:\n\ttrue\n"),
    ];
    assert_eq!(
        jobs(&files),
        [
            "rust-test: cargo test --workspace",
            "web-app-test: cd 'web app' || exit 126\nnpm run test",
            "services-api-test: cd services/api || exit 126\ngo test ./...",
            "services-api-vet: cd services/api || exit 126\ngo vet ./...",
        ]
    );
}

#[test]
fn cargo_asks_for_the_repository_and_not_for_the_commit() {
    let dir = tempfile::tempdir().unwrap();
    let plain = starter(&project(dir.path(), &[("Cargo.toml", "")]), "main");
    assert!(plain.text.contains("reuse = \"tree\""), "{}", plain.text);
    let files = [("Cargo.toml", ""), ("build.rs", "vergen::emit()")];
    let knows = starter(&project(dir.path(), &files), "main");
    assert!(!knows.text.contains("reuse"), "{}", knows.text);
}

#[test]
fn what_holds_no_job_is_not_recognised() {
    for (name, text) in [
        ("package.json", "no JSON"),
        (
            "package.json",
            r#"{"scripts":{"test":"echo \"Error: no test specified\" && exit 1"}}"#,
        ),
        ("Makefile", "xall:\n\ttest: x\n#test:\n.PHONY: test\n"),
        ("setup.py", ""),
        ("composer.json", "{}"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let made = starter(&project(dir.path(), &[(name, text)]), "main");
        assert_eq!(made.kinds, [""; 0], "{name} {text}");
    }
}

#[test]
fn files_that_git_does_not_track_do_not_count() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("Cargo.lock"), "").unwrap();
    let made = starter(&project(dir.path(), &[("Cargo.toml", "")]), "main");
    assert!(!made.text.contains("--locked"), "{}", made.text);
}

const WORKFLOW: &str = r#"
name: CI
on: [push]
env:
  CARGO_TERM_COLOR: always
  TOKEN: ${{ secrets.TOKEN }}
jobs:
  test:
    name: Tests
    runs-on: ${{ matrix.os }}
    timeout-minutes: 20
    strategy:
      matrix:
        os: [macos-latest, ubuntu-latest]
        python-version: ["3.9", "3.12"]
    steps:
      - uses: actions/checkout@v4
        with: { submodules: recursive }
      - uses: actions/setup-python@v5
        with: { python-version: "${{ matrix.python-version }}" }
      - run: sudo apt-get install -y libfoo
      - name: Unit tests
        run: |
          python -m pytest -k "not ${{ matrix.python-version }}"
        env: { FOO: "a b" }
        working-directory: sub dir
      - run: curl -H "${{ secrets.KEY }}" x
      - run: echo a=b >> $GITHUB_OUTPUT
      - run: make lint
        continue-on-error: true
      - run: make newest
        if: matrix.python-version == '3.12'
      - run: make oldest
        if: ${{ matrix.python-version != '3.12' }}
  db:
    runs-on: ubuntu-latest
    services: { postgres: { image: postgres } }
    steps: [{ run: make it }]
  win:
    runs-on: windows-latest
    steps: [{ run: make }]
  reusable:
    uses: ./.github/workflows/other.yml
"#;

#[test]
fn steps_of_a_workflow_are_carried_over_or_say_why_not() {
    let (text, jobs) = imported(&[(".github/workflows/ci.yml", WORKFLOW)]);
    assert_eq!(
        jobs,
        [
            "test: bash -e -c # not carried over, since it changes the machine; have this there:\n\
          # sudo apt-get install -y libfoo\n\
          # Unit tests\n(\ncd 'sub dir'\nexport FOO=\"a b\"\npython -m pytest -k \"not 3.9\"\n)\n\
          # not carried over, since it needs the secret KEY:\n# curl -H \"${{ secrets.KEY }}\" x\n\
          # not carried over, since it talks to the other CI:\n# echo a=b >> $GITHUB_OUTPUT\n\
          (\nmake lint\n) || true\n\
          # not carried over, since it runs only if matrix.python-version == '3.12':\n# make newest\n\
          make oldest"
        ]
    );
    for part in [
        "# From .github/workflows/ci.yml, job test: Tests.\n",
        "# TOKEN is not set: it needs the secret TOKEN.\n",
        "# It needs submodules: git submodule update --init --recursive.\n",
        "# It wants python 3.9; here it gets what the machine has.\n",
        "env = { CARGO_TERM_COLOR = \"always\" }\ntimeout = \"20m\"\n",
        "# Not carried over: it needs services beside it.\n# [jobs.db]\n",
        "# Not carried over: it runs on windows.\n# [jobs.win]\n",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn scripts_of_gitlab_are_carried_over_or_say_why_not() {
    let file = r#"
stages: [test]
default: { image: "rust:1" }
variables: { A: "1", B: $A }
.base: &base
  before_script: [make deps]
  variables: { C: "2" }
test one:
  extends: .base
  script:
    - make test
    - - make more
  timeout: 1h 30m
  allow_failure: true
  rules: [{ if: $CI_COMMIT_TAG }]
deploy:
  <<: *base
  script: ["scp x y"]
  environment: production
"#;
    let (text, jobs) = imported(&[(".gitlab-ci.yml", file)]);
    assert_eq!(
        jobs,
        ["test-one: bash -e -c make deps\nmake test\nmake more"]
    );
    for part in [
        "# There it runs in the image rust:1;",
        "# There rules says when it runs;",
        "# B is not set:",
        "env = { A = \"1\", C = \"2\" }\ntimeout = \"90m\"\nallow-failure = true\n",
        "# Not carried over: it deploys, or is started by hand.\n# [jobs.deploy]\n",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn hostile_files_of_other_cis_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let refs = vec![format!("*a{}", n - 1); 10].join(", ");
        laughs += &format!("a{n}: &a{n} [{refs}]\n");
    }
    let files = [
        (".gitlab-ci.yml", laughs.as_str()),
        (".github/workflows/deep.yml", &"[".repeat(100_000)),
        (
            ".github/workflows/name.yml",
            "jobs:\n  \"a\\n[jobs.evil]\":\n    name: \"x\\nrun = 1\"\n    steps: [{ run: \"'''\\ntrue\", name: \"y\\n]\" }]\n",
        ),
    ];
    let import = Import::read(&project(dir.path(), &files));
    assert_eq!(import.problems.len(), 2, "{:?}", import.problems);
    let made = import.starter("main");
    assert_eq!(read_back(&made).len(), 1, "{}", made.text);
    assert_eq!(made.jobs, ["a-jobs.evil"]);
}
