//! Go, Ruby, PHP, .NET, Swift, and the hooks of pre-commit.

use super::job::{Kind, SetUp, Suggestion};
use super::project::{Dir, has_line};

pub(super) fn go(dir: &Dir<'_>) -> Option<Kind> {
    if !dir.has(&["go.mod"]) {
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
    if dir.has(&lint) {
        // Its settings may ask it to repair what it finds.
        jobs.push(Suggestion::new("lint", "golangci-lint run --fix=false"));
    }
    let mut kind = Kind::new("Go", "go", jobs)?;
    // A module ends where the next one begins.
    kind.recursive = false;
    Some(kind)
}

pub(super) fn ruby(dir: &Dir<'_>) -> Option<Kind> {
    if !dir.has(&["Gemfile"]) {
        return None;
    }
    let env = [("BUNDLE_PATH", ".bundle/gems")];
    let install = SetUp::new(
        "ruby",
        "mkdir -p .bundle/gems && echo '*' >.bundle/gems/.gitignore && bundle install",
        &dir.those(&["Gemfile", "Gemfile.lock"]),
        "ruby --version",
    );
    let install = install.env(&env);
    let mut jobs = Vec::new();
    let rakefile = dir.read("Rakefile");
    if dir.has(&[".rspec"]) || dir.has_dir("spec") {
        jobs.push(Suggestion::new("test", "bundle exec rspec"));
    } else if dir.has(&["bin/rails"]) {
        jobs.push(Suggestion::new("test", "bin/rails test"));
    } else if rakefile.contains("TestTask") || rakefile.contains(":test") {
        jobs.push(Suggestion::new("test", "bundle exec rake test"));
    }
    if dir.has(&[".rubocop.yml"]) {
        jobs.push(Suggestion::new("lint", "bundle exec rubocop"));
    }
    let jobs = jobs
        .into_iter()
        .map(|job| job.with(Some(&install)).env(&env));
    Kind::new("Bundler", "ruby", jobs.collect())
}

pub(super) fn php(dir: &Dir<'_>) -> Option<Kind> {
    if !dir.has(&["composer.json"]) {
        return None;
    }
    let manifest: serde_json::Value =
        serde_json::from_str(&dir.read("composer.json")).unwrap_or_default();
    let install = SetUp::new(
        "php",
        "composer install --no-interaction --no-progress",
        &dir.those(&["composer.json", "composer.lock"]),
        "php --version",
    );
    let needs = |name: &str| manifest["require-dev"].get(name).is_some();
    let mut jobs = Vec::new();
    if manifest["scripts"].get("test").is_some() {
        jobs.push(Suggestion::new("test", "composer run-script test"));
    } else if needs("pestphp/pest") {
        jobs.push(Suggestion::new("test", "vendor/bin/pest"));
    } else if dir.has(&["phpunit.xml", "phpunit.xml.dist", "phpunit.dist.xml"]) {
        jobs.push(Suggestion::new("test", "vendor/bin/phpunit"));
    }
    if dir.has(&["phpstan.neon", "phpstan.neon.dist", "phpstan.dist.neon"]) {
        jobs.push(Suggestion::new(
            "lint",
            "vendor/bin/phpstan analyse --no-progress",
        ));
    }
    let jobs = jobs.into_iter().map(|job| job.with(Some(&install)));
    Kind::new("Composer", "php", jobs.collect())
}

pub(super) fn dotnet(dir: &Dir<'_>) -> Option<Kind> {
    let project = |file: &&str| {
        [".sln", ".slnx", ".csproj", ".fsproj", ".vbproj"]
            .iter()
            .any(|end| file.ends_with(end))
    };
    dir.entries().find(project)?;
    let job = Suggestion::new("test", "dotnet test --nologo");
    Kind::new(".NET", "dotnet", vec![job])
}

pub(super) fn swift(dir: &Dir<'_>) -> Option<Kind> {
    if !dir.has(&["Package.swift"]) {
        return None;
    }
    Kind::new(
        "Swift",
        "swift",
        vec![Suggestion::new("test", "swift test")],
    )
}

pub(super) fn pre_commit(dir: &Dir<'_>) -> Option<Kind> {
    let file = dir.first(&[".pre-commit-config.yaml", "prek.toml"])?;
    // All of its hooks may be for other moments than a commit.
    let text = dir.read(file);
    if !has_line(&text, &["- id:", "- repo:", "[[repos"]) {
        return None;
    }
    let tool = if file == "prek.toml" {
        "prek"
    } else {
        "pre-commit"
    };
    let run = format!("{tool} run --all-files --show-diff-on-failure");
    let job = Suggestion::new("hooks", run)
        .because("A hook that repairs files fails where it found something to repair.")
        .for_any_commit();
    let mut kind = Kind::new("pre-commit", "pre-commit", vec![job])?;
    kind.wrapper = true;
    Some(kind)
}
