//! Which refs are watched.
//!
//! A pattern is a branch (`main`), a full ref name (`refs/tags/v1`), or either with `*`,
//! which stands for anything, slashes included. Refs that hold results and bookkeeping
//! are never watched, whatever a pattern says.

/// Refs that are no history.
const NEVER: [&str; 5] = [
    "refs/notes/",
    "refs/ci/",
    "refs/stash",
    "refs/prefetch/",
    "refs/bisect/",
];

/// A pattern that no ref name can match.
#[derive(Debug, thiserror::Error)]
#[error("use {pattern:?} as a pattern for refs: {why}")]
pub struct PatternError {
    pattern: String,
    why: &'static str,
}

/// The patterns of what is watched.
#[derive(Debug, Clone)]
pub struct Patterns {
    named: bool,
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    typed: String,
    full: String,
}

impl Patterns {
    /// Everything that one of `include` matches, or local branches where there is none,
    /// and nothing that one of `exclude` matches.
    ///
    /// # Errors
    /// Where a pattern is none.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, PatternError> {
        let parse = |patterns: &[String]| -> Result<Vec<_>, PatternError> {
            patterns.iter().map(|text| Pattern::parse(text)).collect()
        };
        let mut include: Vec<_> = parse(include)?;
        let named = !include.is_empty();
        if !named {
            include.push(Pattern {
                typed: "refs/heads/*".to_owned(),
                full: "refs/heads/*".to_owned(),
            });
        }
        Ok(Self {
            named,
            include,
            exclude: parse(exclude)?,
        })
    }

    /// Whether a ref, by its full name, is watched.
    pub fn matches(&self, name: &str) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|one| glob(&one.full, name));
        !NEVER.iter().any(|never| name.starts_with(never))
            && any(&self.include)
            && !any(&self.exclude)
    }

    /// The patterns that none of `names` matches, as they were typed; that there are no
    /// local branches yet is no news.
    pub fn idle<'n>(&self, names: impl Iterator<Item = &'n String> + Clone) -> Vec<&str> {
        if !self.named {
            return Vec::new();
        }
        let matched = |one: &&Pattern| !names.clone().any(|name| glob(&one.full, name));
        let idle = self.include.iter().filter(matched);
        idle.map(|one| one.typed.as_str()).collect()
    }

    /// Directories of refs, each with a slash at the end, below which all of it is.
    pub fn prefixes(&self) -> Vec<String> {
        let mut dirs: Vec<String> = self.include.iter().map(Pattern::dir).collect();
        dirs.sort();
        dirs.dedup_by(|dir, shorter| dir.starts_with(shorter.as_str()));
        dirs
    }

    /// The patterns as they were typed, for people.
    pub fn describe(&self) -> Vec<String> {
        self.include.iter().map(|one| one.typed.clone()).collect()
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, PatternError> {
        let bad = |why| {
            Err(PatternError {
                pattern: text.to_owned(),
                why,
            })
        };
        // git-check-ref-format(1), as far as it applies to a pattern.
        if text.is_empty() {
            return bad("it is empty");
        }
        if text.starts_with('-') {
            return bad("it looks like an option");
        }
        let forbidden = |c: char| c.is_control() || " ~^:?[\\".contains(c);
        if text.contains(forbidden) {
            return bad(
                "a ref's name has no space, control character, '~', '^', ':', '?', '[' or '\\'",
            );
        }
        if text.contains("..") || text.contains("//") || text.contains("@{") {
            return bad("a ref's name has no '..', '//' or '@{'");
        }
        if text.starts_with('/') || text.ends_with('/') || text.ends_with('.') {
            return bad("a ref's name neither begins nor ends with '/', nor ends with '.'");
        }
        let full = match text.starts_with("refs/") {
            true => text.to_owned(),
            false => format!("refs/heads/{text}"),
        };
        Ok(Self {
            typed: text.to_owned(),
            full,
        })
    }

    fn dir(&self) -> String {
        let literal = self.full.split('*').next().unwrap_or_default();
        let end = literal.rfind('/').map_or(0, |at| at + 1);
        literal[..end].to_owned()
    }
}

/// Whether `name` is what `pattern` says, where `*` is any text.
fn glob(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// A ref's name as people write it.
pub fn short_name(name: &str) -> &str {
    let prefixes = ["refs/heads/", "refs/remotes/", "refs/"];
    let short = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix));
    short.unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(include: &[&str], exclude: &[&str]) -> Patterns {
        let owned = |texts: &[&str]| {
            texts
                .iter()
                .map(|&text| text.to_owned())
                .collect::<Vec<_>>()
        };
        Patterns::new(&owned(include), &owned(exclude)).unwrap()
    }

    #[test]
    fn branches_are_watched_unless_something_else_is_named() {
        let all = patterns(&[], &["wip/*"]);
        assert!(all.matches("refs/heads/main"));
        assert!(all.matches("refs/heads/a/b/c"));
        assert!(!all.matches("refs/heads/wip/x"));
        assert!(!all.matches("refs/tags/v1"));
        let some = patterns(&["feature/*-x", "refs/tags/v1", "refs/*"], &[]);
        assert!(some.matches("refs/heads/feature/a/b-x"));
        assert!(some.matches("refs/tags/v1"));
        assert!(!some.matches("refs/notes/ci"));
        assert!(!some.matches("refs/ci/checkpoint/heads/main"));
        let one = patterns(&["main"], &[]);
        assert!(one.matches("refs/heads/main"));
        assert!(!one.matches("refs/heads/main2"));
    }

    #[test]
    fn directories_cover_the_patterns() {
        let some = patterns(&["main", "feature/*", "refs/remotes/origin/*"], &[]);
        assert_eq!(some.prefixes(), ["refs/heads/", "refs/remotes/origin/"]);
        assert_eq!(patterns(&["a/b/c*"], &[]).prefixes(), ["refs/heads/a/b/"]);
        let names = ["refs/heads/main".to_owned()];
        assert_eq!(
            some.idle(names.iter()),
            ["feature/*", "refs/remotes/origin/*"]
        );
    }

    #[test]
    fn what_no_ref_can_match_is_refused() {
        for text in [
            "", "-x", "a b", "a..b", "a~1", "/a", "a/", "a[b]", "a:b", "a\x1b",
        ] {
            assert!(Pattern::parse(text).is_err(), "{text:?}");
        }
    }
}
