//! Python: uv, Poetry, PDM, Pipenv, Hatch, and a plain virtual environment.
//!
//! The environment lies in the worktree and has the commit's own package in it. One that
//! the user has active would import the files of the user's checkout: every commit
//! would pass or fail alike.

use super::job::{Kind, SetUp, Suggestion, quoted};
use super::project::{Dir, has_line};

/// Names under which projects keep what their tests need.
const TEST_GROUPS: [&str; 8] = [
    "test",
    "tests",
    "testing",
    "dev",
    "develop",
    "development",
    "all",
    "ci",
];

/// Build back ends that compile: an editable installation of theirs is not up to date by
/// itself when the commit changes.
const COMPILED: [&str; 5] = [
    "maturin",
    "mesonpy",
    "scikit_build",
    "setuptools_rust",
    "enscons",
];

pub(super) fn python(dir: &Dir<'_>) -> Option<Kind> {
    let signs = [
        "pyproject.toml",
        "setup.py",
        "setup.cfg",
        "tox.ini",
        "pytest.ini",
        "conftest.py",
        "requirements.txt",
        "Pipfile",
        "ruff.toml",
        ".ruff.toml",
    ];
    if !dir.has(&signs) {
        return None;
    }
    let project = Package::read(dir);
    let environment = project.environment();
    let mut jobs = Vec::new();
    if let Some(test) = project.tests(&environment) {
        jobs.push(environment.job("test", &test));
    }
    if project.has_ruff() {
        // `fix = true` in its settings would repair what the commit has wrong.
        let command = "ruff check --no-fix .";
        jobs.push(if project.needs("ruff") {
            environment.job("lint", command)
        } else {
            Suggestion::new("lint", command)
                .because(
                    "No list of what is needed says which ruff: another one finds other things.",
                )
                .asleep()
        });
    }
    let mut kind = Kind::new(environment.label, "python", jobs)?;
    kind.recursive = project.manifest("tool.uv.workspace").is_some();
    Some(kind)
}

/// What the files say.
struct Package<'a> {
    dir: &'a Dir<'a>,
    pyproject: toml::Table,
    setup_cfg: String,
    setup_py: String,
    /// The files of requirements, those for tests last.
    requirements: Vec<String>,
    /// Everything that names what is needed, in one text.
    wanted: String,
}

/// Where the commands run.
struct Environment {
    label: &'static str,
    setup: Option<SetUp>,
    /// What each job does before, where anything.
    prepare: String,
    /// Goes before a command.
    within: &'static str,
    env: Vec<(&'static str, &'static str)>,
}

/// What is made of these files, with the Python that there is.
fn python_setup(run: String, inputs: &[&str]) -> SetUp {
    SetUp::new("python", run, inputs, "python3 --version")
}

impl Environment {
    fn job(&self, name: &str, command: &str) -> Suggestion {
        Suggestion::new(name, format!("{}{command}", self.within))
            .after(&self.prepare)
            .with(self.setup.as_ref())
            .env(&self.env)
    }
}

impl<'a> Package<'a> {
    fn read(dir: &'a Dir<'a>) -> Self {
        let text = dir.read("pyproject.toml");
        let (setup_cfg, setup_py) = (dir.read("setup.cfg"), dir.read("setup.py"));
        let requirements = requirements(dir);
        let mut wanted = format!("{text}{setup_cfg}{setup_py}{}", dir.read("Pipfile"));
        for file in &requirements {
            wanted += &dir.read(file);
        }
        Self {
            dir,
            pyproject: text.parse().unwrap_or_default(),
            setup_cfg,
            setup_py,
            requirements,
            wanted,
        }
    }

    /// A value of `pyproject.toml`, by its keys with dots between them.
    fn manifest(&self, path: &str) -> Option<&toml::Value> {
        let mut keys = path.split('.');
        let mut value = self.pyproject.get(keys.next()?)?;
        for key in keys {
            value = value.get(key)?;
        }
        Some(value)
    }

    fn environment(&self) -> Environment {
        let dir = self.dir;
        if dir.has(&["uv.lock"]) {
            let (extras, groups) = (self.extras(), self.groups());
            let extras = extras
                .iter()
                .map(|name| format!(" --extra {}", quoted(name)));
            let groups = groups
                .iter()
                .map(|name| format!(" --group {}", quoted(name)));
            let options: String = extras.chain(groups).collect();
            return Environment {
                label: "uv",
                setup: Some(python_setup(
                    format!("uv sync --locked{options}"),
                    &dir.those(&["pyproject.toml", "uv.lock"]),
                )),
                prepare: String::new(),
                within: "uv run --no-sync ",
                env: Vec::new(),
            };
        }
        if dir.has(&["poetry.lock"]) || self.manifest("tool.poetry.dependencies").is_some() {
            return Environment {
                label: "Poetry",
                setup: Some(
                    python_setup(
                        format!("poetry install --no-interaction{}", self.poetry()),
                        &dir.those(&["pyproject.toml", "poetry.lock"]),
                    )
                    .env(&[("POETRY_VIRTUALENVS_IN_PROJECT", "true")]),
                ),
                prepare: String::new(),
                within: "poetry run ",
                env: vec![("POETRY_VIRTUALENVS_IN_PROJECT", "true")],
            };
        }
        if dir.has(&["pdm.lock"]) {
            return Environment {
                label: "PDM",
                setup: Some(
                    python_setup(
                        "pdm install --frozen-lockfile".to_owned(),
                        &dir.those(&["pyproject.toml", "pdm.lock"]),
                    )
                    .env(&[("PDM_CHECK_UPDATE", "false")]),
                ),
                prepare: String::new(),
                within: "pdm run ",
                env: vec![("PDM_CHECK_UPDATE", "false")],
            };
        }
        if dir.has(&["Pipfile"]) {
            let install = if dir.has(&["Pipfile.lock"]) {
                "pipenv sync --dev"
            } else {
                "pipenv install --dev --skip-lock"
            };
            return Environment {
                label: "Pipenv",
                setup: Some(
                    python_setup(install.to_owned(), &dir.those(&["Pipfile", "Pipfile.lock"]))
                        .env(&[("PIPENV_VENV_IN_PROJECT", "1")]),
                ),
                prepare: String::new(),
                within: "pipenv run ",
                env: vec![("PIPENV_VENV_IN_PROJECT", "1")],
            };
        }
        if self.manifest("tool.hatch.envs").is_some() && self.hatch_tests() {
            return Environment {
                label: "Hatch",
                setup: None,
                prepare: String::new(),
                within: "",
                env: Vec::new(),
            };
        }
        self.virtual_environment()
    }

    /// An environment that `python3 -m venv` makes.
    fn virtual_environment(&self) -> Environment {
        let mut inputs: Vec<&str> = ["pyproject.toml", "setup.py", "setup.cfg"]
            .into_iter()
            .filter(|file| self.dir.has(&[file]))
            .collect();
        let mut wants = String::new();
        if self.installs() {
            let extras = self.extras();
            match extras.as_slice() {
                [] => wants += " -e .",
                extras => wants += &format!(" -e '.[{}]'", extras.join(",")),
            }
        }
        for file in &self.requirements {
            wants += &format!(" -r {}", quoted(file));
            inputs.push(file);
        }
        let groups = self.groups();
        for group in &groups {
            wants += &format!(" --group {}", quoted(group));
        }
        if self.has_pytest() {
            wants += " pytest";
        }
        if wants.is_empty() {
            // The standard library is all that is needed.
            return Environment {
                label: "Python",
                setup: None,
                prepare: String::new(),
                within: "",
                env: Vec::new(),
            };
        }
        let pip = ".venv/bin/python -m pip install --quiet --disable-pip-version-check";
        // Groups are new in pip, and a new environment has the pip of its Python.
        let newer = if groups.is_empty() {
            String::new()
        } else {
            format!("{pip} --upgrade pip && ")
        };
        let install = format!(
            "rm -rf .venv && python3 -m venv .venv && echo '*' >.venv/.gitignore &&\n{newer}{pip}{wants}"
        );
        let prepare = if self.compiles() {
            format!("{pip} --no-deps -e . || exit 126")
        } else {
            String::new()
        };
        Environment {
            label: "Python",
            setup: Some(python_setup(install, &inputs)),
            prepare,
            within: ".venv/bin/python -m ",
            env: Vec::new(),
        }
    }

    /// The command of the tests, without what leads into the environment.
    fn tests(&self, environment: &Environment) -> Option<String> {
        let module = environment.within.ends_with("-m ");
        let dir = self.dir;
        if environment.label == "Hatch" {
            return Some("hatch test".to_owned());
        }
        if self.has_pytest() {
            return Some("pytest".to_owned());
        }
        if dir.has(&["noxfile.py"]) {
            return Some("nox".to_owned()).filter(|_| !module);
        }
        let tox = dir.has(&["tox.ini", "tox.toml"])
            || self.manifest("tool.tox").is_some()
            || has_line(&self.setup_cfg, &["[tox"]);
        if tox {
            return Some("tox".to_owned()).filter(|_| !module);
        }
        let tests = ["tests", "test"].into_iter().find(|dir| {
            let mut files = self.dir.files();
            files.any(|file| file.starts_with(&format!("{dir}/")) && file.ends_with(".py"))
        })?;
        let python = if module { "" } else { "python3 -m " };
        Some(format!("{python}unittest discover -s {tests}"))
    }

    fn has_pytest(&self) -> bool {
        let dir = self.dir;
        let configured = self.manifest("tool.pytest").is_some()
            || has_line(&self.setup_cfg, &["[tool:pytest]"])
            || has_line(&dir.read("tox.ini"), &["[pytest]"]);
        let files = [
            "pytest.ini",
            "pytest.toml",
            "conftest.py",
            "tests/conftest.py",
            "test/conftest.py",
        ];
        configured || dir.has(&files) || self.wanted.contains("pytest")
    }

    fn has_ruff(&self) -> bool {
        self.dir.has(&["ruff.toml", ".ruff.toml"]) || self.manifest("tool.ruff").is_some()
    }

    /// Whether a list of dependencies names the package.
    fn needs(&self, package: &str) -> bool {
        let settings = |key: &&String| *key != "tool";
        let lists = self.pyproject.iter().filter(|(key, _)| settings(key));
        let poetry = self.manifest("tool.poetry").map(ToString::to_string);
        let lists: String = lists
            .map(|(_, value)| value.to_string())
            .chain(poetry)
            .collect();
        let files = self.requirements.iter().map(|file| self.dir.read(file));
        lists.contains(package) || files.into_iter().any(|text| text.contains(package))
    }

    fn hatch_tests(&self) -> bool {
        self.manifest("tool.hatch.envs.hatch-test").is_some()
    }

    /// Whether there is a package to install, and not only scripts.
    fn installs(&self) -> bool {
        self.manifest("project").is_some()
            || self.manifest("build-system").is_some()
            || self.setup_py.contains("setup(")
            || has_line(&self.setup_cfg, &["[metadata]"])
    }

    fn compiles(&self) -> bool {
        let backend = self.manifest("build-system.build-backend");
        let backend = backend.and_then(toml::Value::as_str).unwrap_or_default();
        COMPILED.iter().any(|name| backend.contains(name))
            || self.setup_py.contains("ext_modules")
            || self.setup_py.contains("cythonize")
    }

    /// The optional dependencies that tests need.
    fn extras(&self) -> Vec<String> {
        let table = self.manifest("project.optional-dependencies");
        let mut found = self.chosen(table);
        if found.is_empty() {
            found = old_extras(&self.setup_cfg, &self.setup_py);
        }
        found
    }

    /// The dependency groups that tests need; uv takes "dev" by itself, and so it does no harm.
    fn groups(&self) -> Vec<String> {
        self.chosen(self.manifest("dependency-groups"))
    }

    /// Of several lists of packages those that the jobs need.
    fn chosen(&self, table: Option<&toml::Value>) -> Vec<String> {
        let Some(table) = table.and_then(toml::Value::as_table) else {
            return Vec::new();
        };
        let mut found: Vec<_> = lists_with(table, "pytest").into_iter().collect();
        if self.has_ruff() {
            found.extend(lists_with(table, "ruff"));
        }
        if found.is_empty() {
            let named = TEST_GROUPS.iter().find(|name| table.contains_key(**name));
            found.extend(named.map(|name| (*name).to_owned()));
        }
        found.dedup();
        found
    }

    /// Options of `poetry install`.
    fn poetry(&self) -> String {
        let groups = self.manifest("tool.poetry.group");
        let optional = groups.and_then(toml::Value::as_table).into_iter().flatten();
        let optional = optional.filter(|(name, group)| {
            group.get("optional").and_then(toml::Value::as_bool) == Some(true)
                && TEST_GROUPS.contains(&name.as_str())
        });
        let with: Vec<_> = optional.map(|(name, _)| name.clone()).collect();
        let extras = self.manifest("tool.poetry.extras");
        let extras = self.chosen(extras);
        let mut options = String::new();
        if !with.is_empty() {
            options += &format!(" --with {}", with.join(","));
        }
        for extra in extras.iter().chain(&self.extras()) {
            options += &format!(" --extras {}", quoted(extra));
        }
        options
    }
}

/// The list that has the package in it; of several one whose name says that it is for tests.
fn lists_with(table: &toml::Table, package: &str) -> Option<String> {
    let with = table
        .iter()
        .filter(|(_, list)| list.to_string().contains(package));
    let place = |name: &str| TEST_GROUPS.iter().position(|group| *group == name);
    let best = with.min_by_key(|(name, _)| place(name).unwrap_or(TEST_GROUPS.len()));
    best.map(|(name, _)| name.clone())
}

/// The names of optional dependencies that tests need, from the files of before.
fn old_extras(setup_cfg: &str, setup_py: &str) -> Vec<String> {
    let lines = setup_cfg.lines();
    let below = lines.skip_while(|line| line.trim() != "[options.extras_require]");
    let section = below.skip(1).take_while(|line| !line.starts_with('['));
    let mut names = section.filter_map(|line| {
        let (name, _) = line.split_once('=')?;
        (!line.starts_with(char::is_whitespace)).then(|| name.trim().to_owned())
    });
    if let Some(name) = names.find(|name| TEST_GROUPS.contains(&name.as_str())) {
        return vec![name];
    }
    let (_, extras) = setup_py.split_once("extras_require").unwrap_or_default();
    let named = TEST_GROUPS.iter().find(|name| {
        [format!("\"{name}\":"), format!("'{name}':")]
            .iter()
            .any(|key| extras.contains(key.as_str()))
    });
    named.map(|name| (*name).to_owned()).into_iter().collect()
}

/// The files of requirements that tests need.
fn requirements(dir: &Dir<'_>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    if dir.has(&["requirements.txt"]) {
        found.push("requirements.txt".to_owned());
    }
    let for_tests = dir.files().filter(|file| {
        let (of, name) = file.rsplit_once('/').unwrap_or(("", file));
        let Some(stem) = name.strip_suffix(".txt") else {
            return false;
        };
        let words: Vec<_> = stem.split(['-', '_', '.']).collect();
        let about = words.iter().any(|word| TEST_GROUPS[..6].contains(word));
        match of {
            "" => words.contains(&"requirements") && about,
            "requirements" => about,
            _ => false,
        }
    });
    let mut for_tests: Vec<_> = for_tests.map(str::to_owned).collect();
    // Of several the one that names tests is closest to what is meant.
    for_tests.sort_by_key(|file| !file.contains("test"));
    found.extend(for_tests.into_iter().take(1));
    found
}
