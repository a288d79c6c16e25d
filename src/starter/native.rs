//! C, C++ and whatever else is built with CMake, Meson, autotools, make or just.
//!
//! Builds go into a directory of their own, which git ignores by a file in it: it stays in
//! the worktree, so that the next commit builds only what it changes.

use super::job::{Kind, Suggestion};
use super::project::Dir;

/// Where things are built.
const BUILD: &str = "build-ci";

/// Makes it.
const MAKE_BUILD: &str = "mkdir -p build-ci && echo '*' >build-ci/.gitignore || exit 126";

pub(super) fn cmake(dir: &Dir<'_>) -> Option<Kind> {
    if !dir.has(&["CMakeLists.txt"]) {
        return None;
    }
    let lists: Vec<_> = dir
        .files()
        .filter(|file| *file == "CMakeLists.txt" || file.ends_with("/CMakeLists.txt"))
        .filter(|file| file.matches('/').count() <= 2)
        .map(str::to_owned)
        .collect();
    let text = dir.read("CMakeLists.txt");
    let all: String = lists.iter().map(|file| dir.read(file)).collect();
    // Tests that a project does not build unless it is asked to.
    let options: String = test_options(&text)
        .into_iter()
        .map(|option| format!(" -D{option}=ON"))
        .collect();
    let tests = ["enable_testing", "include(CTest", "include (CTest"]
        .iter()
        .any(|word| text.contains(word))
        || all.contains("add_test(")
        || all.contains("_discover_tests(");
    let configure = format!("{MAKE_BUILD}\ncmake -S . -B {BUILD}{options} || exit 126");
    let build = format!("cmake --build {BUILD} --parallel \"$(nproc)\"");
    let job = if tests {
        let run =
            format!("{build} &&\nctest --test-dir {BUILD} --output-on-failure -j \"$(nproc)\"");
        Suggestion::new("test", run)
    } else {
        Suggestion::new("build", build)
    };
    Kind::new("CMake", "native", vec![job.after(&configure)])
}

/// Options that are off and have to do with tests: `option(FOO_BUILD_TESTS "…" OFF)`.
fn test_options(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        let Some(rest) = line
            .get(..6)
            .filter(|word| word.eq_ignore_ascii_case("option"))
        else {
            continue;
        };
        let Some(inner) = line[rest.len()..].trim_start().strip_prefix('(') else {
            continue;
        };
        let Some((name, value)) = inner.split_once(char::is_whitespace) else {
            continue;
        };
        let off = value
            .trim_end()
            .trim_end_matches(')')
            .trim_end()
            .rsplit([' ', '\t', '"'])
            .next()
            .is_some_and(|word| {
                matches!(word.to_ascii_uppercase().as_str(), "OFF" | "NO" | "FALSE")
            });
        let upper = name.to_ascii_uppercase();
        let other = [
            "INSTALL", "FUZZ", "CUDA", "COVER", "PERF", "BENCH", "VALGRIND", "ONLY",
        ];
        let about = upper.contains("TEST") && !other.iter().any(|word| upper.contains(word));
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if off && about && name.chars().all(plain) {
            found.push(name.to_owned());
        }
    }
    found
}

pub(super) fn meson(dir: &Dir<'_>) -> Option<Kind> {
    if !dir.has(&["meson.build"]) {
        return None;
    }
    let configure =
        format!("{MAKE_BUILD}\n[ -f {BUILD}/build.ninja ] || meson setup {BUILD} || exit 126");
    let run = format!("meson test -C {BUILD} --print-errorlogs");
    let job = Suggestion::new("test", run).after(&configure);
    Kind::new("Meson", "native", vec![job])
}

pub(super) fn autotools(dir: &Dir<'_>) -> Option<Kind> {
    if !dir.has(&["configure.ac", "configure.in"]) {
        return None;
    }
    let generate = if dir.has(&["configure"]) {
        String::new()
    } else {
        let tool = match dir.first(&["autogen.sh", "bootstrap", "bootstrap.sh"]) {
            Some(script) => format!("NOCONFIGURE=1 sh ./{script}"),
            None => "autoreconf --install".to_owned(),
        };
        format!("[ -f configure ] || {tool} || exit 126\n")
    };
    let configure = format!(
        "{generate}{MAKE_BUILD}\n[ -f {BUILD}/config.status ] || (cd {BUILD} && ../configure) || exit 126"
    );
    let run = format!("make -C {BUILD} -j \"$(nproc)\" &&\nmake -C {BUILD} -j \"$(nproc)\" check");
    let job = Suggestion::new("check", run).after(&configure);
    Kind::new("autotools", "native", vec![job])
}

pub(super) fn make(dir: &Dir<'_>) -> Option<Kind> {
    let file = dir.first(&["GNUmakefile", "makefile", "Makefile"])?;
    let text = dir.read(file);
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
    if jobs.is_empty() && rule("all").is_some() {
        jobs.push(Suggestion::new("build", "make all"));
    }
    let mut kind = Kind::new("Make", "make", jobs)?;
    kind.wrapper = true;
    Some(kind)
}

pub(super) fn just(dir: &Dir<'_>) -> Option<Kind> {
    let file = dir.first(&["justfile", "Justfile", ".justfile"])?;
    let text = dir.read(file);
    let recipe = |name: &str| {
        text.lines().any(|line| {
            let line = line.strip_prefix('@').unwrap_or(line);
            let head = line
                .split_once(':')
                .filter(|(_, rest)| !rest.starts_with('='));
            // What needs an argument cannot be run without one.
            head.is_some_and(|(head, _)| head.trim_end() == name)
        })
    };
    let names = ["ci", "check", "test", "lint"];
    let mut jobs: Vec<_> = names
        .into_iter()
        .filter(|name| recipe(name))
        .map(|name| Suggestion::new(name, format!("just {name}")))
        .collect();
    // Where there is one for all it is enough.
    if jobs.first().is_some_and(|job| job.name == "ci") {
        jobs.truncate(1);
    }
    let mut kind = Kind::new("just", "just", jobs)?;
    kind.wrapper = true;
    Some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_for_tests_that_are_off_are_found() {
        let text = "option(FOO_BUILD_TESTS \"Build the tests\" OFF)\n\
                    option (BAR_TESTING \"x\"   no )\n\
                    OPTION(ON_TESTS \"x\" ON)\noption(INSTALL_TESTS \"x\" OFF)\n\
                    option(DOCS \"tests\" OFF)\noption(TEST_${x} \"x\" OFF)\nopti\u{e9}n(é";
        assert_eq!(test_options(text), ["FOO_BUILD_TESTS", "BAR_TESTING"]);
    }
}
