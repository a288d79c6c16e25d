//! Which refs are watched.
//!
//! A pattern is a branch (`main`), a full ref name (`refs/tags/v1`), or either with `*`,
//! which stands for anything, slashes included; `HEAD` is whatever the work tree has
//! checked out, a branch or not. Names need not be UTF-8. Refs that hold results and
//! bookkeeping are never watched, whatever a pattern says.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use crate::git::WantedRefs;
use crate::model::{RefName, glob, printable_line};

/// Refs that are no history.
const NEVER: [&str; 5] = [
    "refs/notes/",
    "refs/ci/",
    "refs/stash",
    "refs/prefetch/",
    "refs/bisect/",
];

/// The pattern that stands for what is checked out.
const HEAD: &[u8] = b"HEAD";

/// A pattern that no ref name can match.
#[derive(Debug, thiserror::Error)]
#[error("use \"{pattern}\" as a pattern for refs: {why}")]
pub(crate) struct PatternError {
    pattern: String,
    why: &'static str,
}

/// The patterns of what is watched.
#[derive(Debug, Clone)]
pub(crate) struct Patterns {
    named: bool,
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    /// As it was typed, escaped.
    typed: String,
    full: Vec<u8>,
}

impl Patterns {
    /// Everything that one of `include` matches, or local branches where there is none,
    /// and nothing that one of `exclude` matches.
    ///
    /// # Errors
    /// Where a pattern is none.
    pub(crate) fn new(include: &[OsString], exclude: &[OsString]) -> Result<Self, PatternError> {
        let parse = |patterns: &[OsString]| -> Result<Vec<_>, PatternError> {
            let patterns = patterns.iter().map(|text| Pattern::parse(text.as_bytes()));
            patterns.collect()
        };
        let mut include: Vec<_> = parse(include)?;
        let named = !include.is_empty();
        if !named {
            include.push(Pattern {
                typed: "refs/heads/*".to_owned(),
                full: b"refs/heads/*".to_vec(),
            });
        }
        Ok(Self {
            named,
            include,
            exclude: parse(exclude)?,
        })
    }

    /// Whether a ref is watched.
    pub(crate) fn matches(&self, name: &RefName) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|one| one.matches(name));
        !NEVER.iter().any(|never| name.starts_with(never))
            && any(&self.include)
            && !any(&self.exclude)
    }

    /// The patterns that none of `names` matches, as they were typed; that there are no
    /// local branches yet is no news.
    pub(crate) fn idle<'n>(&self, names: impl Iterator<Item = &'n RefName> + Clone) -> Vec<&str> {
        if !self.named {
            return Vec::new();
        }
        let idle = |one: &&Pattern| !names.clone().any(|name| one.matches(name));
        let idle = self.include.iter().filter(idle);
        idle.map(|one| one.typed.as_str()).collect()
    }

    /// What has to be read so that nothing that is watched is missed.
    pub(crate) fn wanted(&self) -> WantedRefs {
        let dirs = self.include.iter().filter(|one| one.full != HEAD);
        let mut dirs: Vec<_> = dirs.map(Pattern::dir).collect();
        dirs.sort();
        dirs.dedup_by(|dir, shorter| dir.starts_with(shorter));
        WantedRefs {
            dirs,
            head: self.watches_head(),
        }
    }

    /// Whether what is checked out is watched.
    pub(crate) fn watches_head(&self) -> bool {
        self.include.iter().any(|one| one.full == HEAD)
    }

    /// The patterns as they were typed, for people.
    pub(crate) fn describe(&self) -> Vec<String> {
        self.include.iter().map(|one| one.typed.clone()).collect()
    }
}

impl Pattern {
    fn parse(text: &[u8]) -> Result<Self, PatternError> {
        let bad = |why| {
            Err(PatternError {
                pattern: printable_line(text).into_owned(),
                why,
            })
        };
        // git-check-ref-format(1), as far as it applies to a pattern.
        if text.is_empty() {
            return bad("it is empty");
        }
        if text.starts_with(b"-") {
            return bad("it looks like an option");
        }
        let forbidden = |&byte: &u8| byte <= b' ' || byte == 0x7f || b"~^:?[\\".contains(&byte);
        if text.iter().any(forbidden) {
            return bad(
                "a ref's name has no space, control character, '~', '^', ':', '?', '[' or '\\'",
            );
        }
        if text
            .windows(2)
            .any(|pair| [b"..", b"//", b"@{"].contains(&pair.try_into().unwrap_or(b"  ")))
        {
            return bad("a ref's name has no '..', '//' or '@{'");
        }
        if text.starts_with(b"/") || text.ends_with(b"/") || text.ends_with(b".") {
            return bad("a ref's name neither begins nor ends with '/', nor ends with '.'");
        }
        let full = if text == HEAD || text.starts_with(b"refs/") {
            text.to_vec()
        } else {
            [b"refs/heads/", text].concat()
        };
        Ok(Self {
            typed: printable_line(text).into_owned(),
            full,
        })
    }

    fn matches(&self, name: &RefName) -> bool {
        if self.full == HEAD {
            name.is_head()
        } else {
            glob(&self.full, name.as_bytes())
        }
    }

    fn dir(&self) -> Vec<u8> {
        let mut literal = self.full.split(|&byte| byte == b'*');
        let literal = literal.next().unwrap_or_default();
        let end = literal.iter().rposition(|&byte| byte == b'/');
        literal[..end.map_or(0, |at| at + 1)].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(include: &[&str], exclude: &[&str]) -> Patterns {
        let owned = |texts: &[&str]| texts.iter().map(OsString::from).collect::<Vec<_>>();
        Patterns::new(&owned(include), &owned(exclude)).unwrap()
    }

    fn name(text: &str) -> RefName {
        RefName::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn branches_are_watched_unless_something_else_is_named() {
        let all = patterns(&[], &["wip/*"]);
        assert!(all.matches(&name("refs/heads/main")));
        assert!(all.matches(&name("refs/heads/a/b/c")));
        assert!(!all.matches(&name("refs/heads/wip/x")));
        assert!(!all.matches(&name("refs/tags/v1")));
        let some = patterns(&["feature/*-x", "refs/tags/v1", "refs/*"], &[]);
        assert!(some.matches(&name("refs/heads/feature/a/b-x")));
        assert!(some.matches(&name("refs/tags/v1")));
        assert!(!some.matches(&name("refs/notes/ci")));
        assert!(!some.matches(&name("refs/ci/checkpoint/heads/main")));
        let head = patterns(&["HEAD"], &[]);
        assert!(head.matches(&name("HEAD")) && head.matches(&name("worktrees/x/HEAD")));
        assert!(!head.matches(&name("refs/heads/HEAD")) && !all.matches(&name("HEAD")));
        let one = patterns(&["main"], &[]);
        assert!(one.matches(&name("refs/heads/main")));
        assert!(!one.matches(&name("refs/heads/main2")));
    }

    #[test]
    fn directories_cover_the_patterns() {
        let some = patterns(&["main", "feature/*", "refs/remotes/origin/*"], &[]);
        let dirs = |patterns: &Patterns| {
            let dirs = patterns.wanted().dirs.into_iter();
            dirs.map(|dir| String::from_utf8(dir).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(dirs(&some), ["refs/heads/", "refs/remotes/origin/"]);
        assert_eq!(dirs(&patterns(&["a/b/c*"], &[])), ["refs/heads/a/b/"]);
        assert!(dirs(&patterns(&["HEAD"], &[])).is_empty());
        let names = [name("refs/heads/main")];
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
            assert!(Pattern::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
