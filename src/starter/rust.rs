//! Cargo: packages and workspaces.

use super::job::{Kind, Suggestion};
use super::project::{Dir, has_line};

/// Words in a build script that say that what it builds knows its commit.
const KNOWS_COMMIT: [&str; 5] = ["git", "vergen", "built::", "shadow", "gix"];

pub(super) fn cargo(dir: &Dir<'_>) -> Option<Kind> {
    if !dir.has(&["Cargo.toml"]) {
        return None;
    }
    let manifest = dir.read("Cargo.toml");
    let workspace = if has_line(&manifest, &["[workspace]"]) {
        " --workspace"
    } else {
        ""
    };
    let locked = if dir.has(&["Cargo.lock"]) {
        " --locked"
    } else {
        ""
    };
    let mut jobs = vec![Suggestion::new(
        "test",
        format!("cargo test{workspace}{locked}"),
    )];
    let lints = ["[lints", "[workspace.lints"];
    if dir.has(&["clippy.toml", ".clippy.toml"]) || has_line(&manifest, &lints) {
        let run = format!("cargo clippy{workspace}{locked} --all-targets -- -D warnings");
        jobs.push(Suggestion::new("lint", run));
    }
    if dir.has(&["rustfmt.toml", ".rustfmt.toml"]) {
        jobs.push(Suggestion::new("fmt", "cargo fmt --all --check"));
    }
    // Cargo asks for the repository wherever there is a build script, to list the
    // package's files; that is no interest in the commit.
    if !builds_in_its_commit(dir) {
        jobs = jobs.into_iter().map(Suggestion::for_any_commit).collect();
    }
    Kind::new("Cargo", "rust", jobs)
}

fn builds_in_its_commit(dir: &Dir<'_>) -> bool {
    let scripts = dir.files().filter(|file| {
        *file == "build.rs" || file.ends_with("/build.rs") && file.matches('/').count() <= 3
    });
    let scripts: Vec<_> = scripts.map(str::to_owned).collect();
    scripts.iter().any(|script| {
        let text = dir.read(script);
        KNOWS_COMMIT.iter().any(|word| text.contains(word))
    })
}
