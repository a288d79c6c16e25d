//! Dependencies point one way: what `ARCHITECTURE.md` says is what the code does.
//!
//! The reader here knows just enough Rust to find paths: it skips comments and
//! literals, follows `crate::`, `super::` and groups in braces, and knows in which module
//! it is. A name that a macro puts together would escape it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What the architecture page allows.
#[derive(Default)]
struct Rules {
    /// Each module, from the top, and what it may use.
    modules: Vec<(String, Vec<String>)>,
    /// Crates that only some modules may use.
    crates: BTreeMap<String, Vec<String>>,
}

impl Rules {
    /// Reads the block below "## Directions" of the architecture page.
    fn read(page: &str) -> Self {
        let words =
            |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        let mut rules = Self::default();
        let below = page.lines().skip_while(|line| *line != "## Directions");
        for line in below.skip(1).take_while(|line| !line.starts_with("## ")) {
            if let Some((from, to)) = line.split_once('→') {
                rules.modules.push((from.trim().to_owned(), words(to)));
            } else if let Some((crates, users)) = line.split_once('←') {
                for name in words(crates) {
                    rules.crates.insert(name, words(users));
                }
            }
        }
        rules
    }

    /// What is wrong with the page itself: a direction that is none.
    fn contradictions(&self) -> Vec<String> {
        let place = |name: &str| self.modules.iter().position(|(module, _)| module == name);
        let mut found = Vec::new();
        for (index, (from, to)) in self.modules.iter().enumerate() {
            for name in to {
                if place(name).is_none_or(|place| place <= index) {
                    found.push(format!(
                        "{from} → {name}: {name} does not stand below {from}"
                    ));
                }
            }
        }
        found
    }

    /// What is allowed and used nowhere: `used` are modules with what they use.
    fn unused(&self, used: &BTreeSet<(String, String)>) -> Vec<String> {
        let is_used = |room: &str, name: &str| used.contains(&(room.to_owned(), name.to_owned()));
        let mut found = Vec::new();
        for (room, allowed) in &self.modules {
            let idle = allowed.iter().filter(|name| !is_used(room, name));
            found.extend(idle.map(|name| format!("{room} → {name}: used nowhere")));
        }
        for (name, users) in &self.crates {
            let idle = users.iter().filter(|room| !is_used(room, name));
            found.extend(idle.map(|room| format!("{name} ← {room}: used nowhere")));
        }
        found
    }

    /// What is wrong with a file of module `room`.
    fn violations(&self, room: &str, path: &[String], source: &str) -> Vec<String> {
        let Some((_, allowed)) = self.modules.iter().find(|(module, _)| module == room) else {
            return vec![format!("{room} has no line below \"## Directions\"")];
        };
        let mut found = Vec::new();
        for reference in references(source, path) {
            let Reference { line, of, name } = reference;
            let wrong = match of {
                Of::Module => {
                    name != room
                        && self.modules.iter().any(|(module, _)| *module == name)
                        && !allowed.contains(&name)
                }
                Of::Crate => self
                    .crates
                    .get(&name)
                    .is_some_and(|users| !users.iter().any(|user| user == room)),
            };
            if wrong {
                found.push(format!("line {line}: {room} must not use {name}"));
            }
        }
        found
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Of {
    /// A module at the top of this crate.
    Module,
    /// Another crate, or whatever else a path may start with.
    Crate,
}

struct Reference {
    line: usize,
    of: Of,
    name: String,
}

/// The words and marks of a source text with their lines, without comments and literals.
fn tokens(source: &str) -> Vec<(usize, String)> {
    let chars: Vec<char> = source.chars().collect();
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    let word = |c: char| c.is_alphanumeric() || c == '_';
    while let Some(&c) = chars.get(at) {
        let next = chars.get(at + 1).copied().unwrap_or(' ');
        if c == '\n' {
            line += 1;
            at += 1;
        } else if c == '/' && next == '/' {
            while chars.get(at).is_some_and(|&c| c != '\n') {
                at += 1;
            }
        } else if c == '/' && next == '*' {
            while at < chars.len() && !chars[at..].starts_with(&['*', '/']) {
                line += usize::from(chars[at] == '\n');
                at += 1;
            }
            at += 2;
        } else if c == 'r' && (next == '"' || next == '#' && chars.get(at + 2) == Some(&'"')) {
            let end: &[char] = if next == '#' { &['"', '#'] } else { &['"'] };
            at += 1 + end.len();
            while at < chars.len() && !chars[at..].starts_with(end) {
                line += usize::from(chars[at] == '\n');
                at += 1;
            }
            at += end.len();
        } else if c == '"' {
            at += 1;
            while at < chars.len() && chars[at] != '"' {
                line += usize::from(chars[at] == '\n');
                at += 1 + usize::from(chars[at] == '\\');
            }
            at += 1;
        } else if c == '\'' && (next == '\\' || chars.get(at + 2) == Some(&'\'')) {
            at += 2 + usize::from(next == '\\');
            while at < chars.len() && chars[at] != '\'' {
                at += 1;
            }
            at += 1;
        } else if word(c) {
            let start = at;
            while chars.get(at).is_some_and(|&c| word(c)) {
                at += 1;
            }
            tokens.push((line, chars[start..at].iter().collect()));
        } else if c == ':' && next == ':' {
            tokens.push((line, "::".to_owned()));
            at += 2;
        } else {
            if !c.is_whitespace() {
                tokens.push((line, c.to_string()));
            }
            at += 1;
        }
    }
    tokens
}

/// Every path of `source`, which is module `module` (`["git", "repo"]`), by what it
/// starts with.
fn references(source: &str, module: &[String]) -> Vec<Reference> {
    let tokens = tokens(source);
    let text = |at: usize| tokens.get(at).map_or("", |(_, text)| text.as_str());
    let is_word = |at: usize| text(at).starts_with(|c: char| c.is_alphabetic() || c == '_');
    let mut found = Vec::new();
    // Inline modules that we are in, by the depth of braces that they begin at.
    let (mut depth, mut inline) = (0_usize, Vec::new());
    for at in 0..tokens.len() {
        match text(at) {
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                if inline.last() == Some(&depth) {
                    inline.pop();
                }
            }
            "mod" if text(at + 2) == "{" => inline.push(depth),
            _ => {}
        }
        if !is_word(at) || at > 0 && matches!(text(at - 1), "::" | ".") {
            continue;
        }
        let starts_path = text(at + 1) == "::";
        let used_whole = at > 0 && text(at - 1) == "use";
        if !starts_path && !used_whole {
            continue;
        }
        // How many steps up from here, and whether that is the top of the crate.
        let (mut end, mut up) = (at, 0);
        if matches!(text(at), "self" | "super") {
            while matches!(text(end), "self" | "super") && text(end + 1) == "::" {
                up += usize::from(text(end) == "super");
                end += 2;
            }
            if up < module.len() + inline.len() {
                continue;
            }
        } else if matches!(text(at), "crate" | "git_ci") {
            // The program calls the library by its name.
            end = at + 2;
        } else {
            let (line, name) = tokens[at].clone();
            found.push(Reference {
                line,
                of: Of::Crate,
                name,
            });
            continue;
        }
        for place in heads(&tokens, end) {
            let (line, name) = tokens[place].clone();
            found.push(Reference {
                line,
                of: Of::Module,
                name,
            });
        }
    }
    found
}

/// Where the first names of a path's rest are: one, or several in braces.
fn heads(tokens: &[(usize, String)], at: usize) -> Vec<usize> {
    if tokens.get(at).is_none_or(|(_, text)| text != "{") {
        return (at < tokens.len()).then_some(at).into_iter().collect();
    }
    let (mut found, mut depth) = (Vec::new(), 0);
    for (place, (_, text)) in tokens.iter().enumerate().skip(at) {
        match text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ if depth == 1 && matches!(tokens[place - 1].1.as_str(), "{" | ",") => {
                found.push(place);
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

/// Every source file with its module's path; `src/main.rs` is module `main`, and the
/// crate's own page is no module.
fn sources() -> Vec<(PathBuf, Vec<String>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut found, mut dirs) = (Vec::new(), vec![root.clone()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let inside = path.strip_prefix(&root).unwrap().with_extension("");
                let mut module: Vec<String> = inside
                    .iter()
                    .map(|part| part.to_string_lossy().into_owned())
                    .collect();
                module.pop_if(|last| last == "mod");
                if module != ["lib"] {
                    found.push((path, module));
                }
            }
        }
    }
    found.sort();
    found
}

fn documented() -> Rules {
    Rules::read(include_str!("../../ARCHITECTURE.md"))
}

#[test]
fn the_code_depends_as_the_architecture_page_says() {
    let rules = documented();
    assert!(rules.modules.len() > 10 && rules.crates.len() > 4);
    assert_eq!(rules.contradictions(), [""; 0]);
    let mut wrong = Vec::new();
    for (path, module) in sources() {
        let source = fs::read_to_string(&path).unwrap();
        for violation in rules.violations(&module[0], &module, &source) {
            wrong.push(format!("{}: {violation}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_page_allows_nothing_that_the_code_does_not_need() {
    let mut used = BTreeSet::new();
    for (path, module) in sources() {
        let source = fs::read_to_string(&path).unwrap();
        let found = references(&source, &module).into_iter();
        used.extend(found.map(|reference| (module[0].clone(), reference.name)));
    }
    let unused = documented().unused(&used);
    assert!(unused.is_empty(), "\n{}", unused.join("\n"));
}

/// Every file of the repository that a page of ours names is there.
#[test]
fn the_files_that_pages_name_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for page in ["ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"] {
        let text = fs::read_to_string(root.join(page)).unwrap();
        let code = text.split('`').skip(1).step_by(2);
        let is_path = |word: &&str| {
            let dirs = ["src/", "tests/", "man/", ".ci/", "completions/"];
            dirs.iter().any(|dir| word.starts_with(dir)) && !word.contains([' ', '*', '\n'])
        };
        let paths: Vec<_> = code.filter(is_path).collect();
        assert!(!paths.is_empty(), "{page} names none");
        for path in paths {
            assert!(root.join(path).exists(), "{page}: {path}");
        }
    }
}

#[test]
fn every_module_of_the_page_exists() {
    let there: Vec<_> = sources().into_iter().map(|(_, module)| module).collect();
    for (module, _) in documented().modules {
        assert!(there.iter().any(|path| path[0] == module), "{module}");
        let row = format!("| `{module}` | ");
        let page = include_str!("../../ARCHITECTURE.md");
        assert!(module == "main" || page.contains(&row), "{row}");
    }
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let rules =
        Rules::read("## Directions\ntop → mid low\nmid → low\nlow →\ngix ← low\n## Next\nx → y\n");
    assert_eq!(rules.modules.len(), 3);
    let check = |room: &str, source: &str| {
        let path = [room.to_owned(), "file".to_owned()];
        rules.violations(room, &path, source).join("\n")
    };
    for (room, good) in [
        ("top", "use crate::mid::A; use crate::{low, mid::{top, B}};"),
        (
            "mid",
            "use super::other; fn f() { crate::low::g() } // crate::top::x",
        ),
        (
            "mid",
            "const A: &str = \"crate::top::x\"; const Q: char = '\"'; use crate::low;",
        ),
        (
            "mid",
            "/// [`crate::top`]\nfn f() {}\nmod tests { use super::super::top; }",
        ),
        ("low", "use gix::ObjectId; struct S<'a>(&'a str);"),
        ("mid", "let low = a.gix::<u8>(); other::gix::b();"),
    ] {
        assert_eq!(check(room, good), "", "{good}");
    }
    for (room, bad, says) in [
        (
            "mid",
            "\nuse crate::top::A;",
            "line 2: mid must not use top",
        ),
        (
            "low",
            "use crate::{low::a, mid::{b, c}};",
            "line 1: low must not use mid",
        ),
        (
            "low",
            "use super::super::mid;",
            "line 1: low must not use mid",
        ),
        (
            "low",
            "fn f() { g(crate::top::h()) }",
            "line 1: low must not use top",
        ),
        (
            "low",
            "mod tests { use super::super::super::top; }",
            "line 1: low must not use top",
        ),
        ("top", "use gix::ObjectId;", "line 1: top must not use gix"),
        (
            "top",
            "#[derive(Debug, gix::Args)]\nstruct A;",
            "line 1: top must not use gix",
        ),
        (
            "top",
            "use {std::fs, gix as g};\nuse gix as h;",
            "line 2: top must not use gix",
        ),
        ("new", "", "new has no line below \"## Directions\""),
    ] {
        assert_eq!(check(room, bad), says, "{bad}");
    }
    let circle = Rules::read("## Directions\na → b\nb → a\n");
    assert_eq!(circle.contradictions(), ["b → a: a does not stand below b"]);
}

/// The module of every file that `source` names, which is module `module`: the longest part of
/// each path that is a file, wherever the path ends. A module that `module` is a part of
/// does not count: a part may use what its whole has for all of them.
fn named_files(
    source: &str,
    module: &[String],
    files: &BTreeSet<Vec<String>>,
) -> BTreeSet<Vec<String>> {
    let tokens = tokens(source);
    let text = |at: usize| tokens.get(at).map_or("", |(_, text)| text.as_str());
    let mut named = BTreeSet::new();
    for at in 0..tokens.len() {
        let begins = at == 0 || !matches!(text(at - 1), "::" | ".");
        if !begins || text(at + 1) != "::" || !matches!(text(at), "crate" | "super" | "self") {
            continue;
        }
        let mut base = if text(at) == "crate" {
            Vec::new()
        } else {
            module.to_vec()
        };
        let mut end = at;
        while matches!(text(end), "crate" | "super" | "self") && text(end + 1) == "::" {
            if text(end) == "super" {
                base.pop();
            }
            end += 2;
        }
        let mut open = vec![(base, end)];
        while let Some((path, at)) = open.pop() {
            for head in heads(&tokens, at) {
                let mut longer = path.clone();
                longer.push(text(head).to_owned());
                if files.contains(&longer) {
                    if text(head + 1) == "::" {
                        open.push((longer.clone(), head + 2));
                    }
                    named.insert(longer);
                }
            }
        }
    }
    named.retain(|other| !module.starts_with(other));
    named
}

/// Files that use each other, be it by way of others: each group once.
fn circles(uses: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>) -> Vec<Vec<String>> {
    let reach = |from: &Vec<String>| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(at) = open.pop() {
            for next in uses.get(at).into_iter().flatten() {
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<_, _> = uses.keys().map(|file| (file, reach(file))).collect();
    let mut found = BTreeSet::new();
    for (file, seen) in &reached {
        let circle = seen
            .iter()
            .filter(|other| reached.get(**other).is_some_and(|back| back.contains(file)));
        let circle: Vec<_> = circle.map(|file| file.join("::")).collect();
        if circle.len() > 1 {
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}

#[test]
fn no_files_use_each_other() {
    let sources = sources();
    let files: BTreeSet<_> = sources.iter().map(|(_, module)| module.clone()).collect();
    let uses = sources.iter().map(|(path, module)| {
        let source = fs::read_to_string(path).unwrap();
        (module.clone(), named_files(&source, module, &files))
    });
    let uses: BTreeMap<_, _> = uses.collect();
    assert!(uses.values().map(BTreeSet::len).sum::<usize>() > 300);
    let circles = circles(&uses);
    let circles: Vec<_> = circles.iter().map(|circle| circle.join(", ")).collect();
    assert!(circles.is_empty(), "\n{}", circles.join("\n"));
}

/// What other crates may use is what the program and these tests use, and no more.
#[test]
fn the_library_shows_nothing_that_nobody_uses() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lib = fs::read_to_string(root.join("src/lib.rs")).unwrap();
    let shown = lib.lines().filter_map(|line| line.strip_prefix("pub mod "));
    let shown: BTreeSet<_> = shown
        .map(|name| name.trim_end_matches(';').to_owned())
        .collect();
    assert!(!shown.is_empty() && !lib.contains("pub use"));
    let mut users = vec![root.join("src/main.rs")];
    users.extend(
        fs::read_dir(root.join("tests/it"))
            .unwrap()
            .map(|entry| entry.unwrap().path()),
    );
    users.extend(
        fs::read_dir(root.join("tests/fuzz/fuzz_targets"))
            .unwrap()
            .map(|entry| entry.unwrap().path()),
    );
    let mut used = BTreeSet::new();
    for user in users.iter().filter(|path| path.is_file()) {
        let tokens = tokens(&fs::read_to_string(user).unwrap());
        let starts = (2..tokens.len()).filter(|at| tokens[at - 2].1 == "git_ci");
        let heads = starts.flat_map(|at| heads(&tokens, at));
        used.extend(heads.map(|at| tokens[at].1.clone()));
    }
    let idle: Vec<_> = shown.difference(&used).collect();
    assert!(idle.is_empty(), "{idle:?} should be private");
}
