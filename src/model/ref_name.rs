//! Names of refs, which git keeps as bytes.

use std::borrow::Borrow;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;

use super::text::printable_line;

/// The full name of a ref, such as `refs/heads/main`, or that of the `HEAD` of a work
/// tree: `HEAD`, or `worktrees/NAME/HEAD` for a linked one, as git calls it from outside.
///
/// It need not be UTF-8. Shown, whatever is not plain text stands as an escape.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RefName(Box<[u8]>);

impl RefName {
    /// `name` as a full name; `None` where git would not have it as one
    /// (git-check-ref-format(1)).
    pub fn parse(name: &[u8]) -> Option<Self> {
        let full = name.starts_with(b"refs/") || is_head(name);
        (full && is_valid(name)).then(|| Self(name.into()))
    }

    /// The `HEAD` of the main work tree.
    pub fn head() -> Self {
        Self(b"HEAD".as_slice().into())
    }

    /// The name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name as an argument of a command or the end of a path.
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }

    /// Whether it begins with `prefix`.
    pub fn starts_with(&self, prefix: &str) -> bool {
        self.0.starts_with(prefix.as_bytes())
    }

    /// The name without `refs/`.
    pub fn without_refs(&self) -> &[u8] {
        self.0.strip_prefix(b"refs/").unwrap_or(&self.0)
    }

    /// Whether it is the `HEAD` of a work tree.
    pub fn is_head(&self) -> bool {
        is_head(&self.0)
    }

    /// The name as people write it, escaped.
    pub fn short(&self) -> String {
        let prefixes: [&[u8]; 3] = [b"refs/heads/", b"refs/remotes/", b"refs/"];
        let short = prefixes.iter().find_map(|one| self.0.strip_prefix(*one));
        printable_line(short.unwrap_or(&self.0)).into_owned()
    }
}

impl Borrow<[u8]> for RefName {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&printable_line(&self.0))
    }
}

impl fmt::Debug for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn is_head(name: &[u8]) -> bool {
    let worktree = |name: &[u8]| {
        let name = name.strip_prefix(b"worktrees/")?.strip_suffix(b"/HEAD")?;
        Some(!name.is_empty() && !name.contains(&b'/'))
    };
    name == b"HEAD" || worktree(name) == Some(true)
}

fn is_valid(name: &[u8]) -> bool {
    let forbidden = |&byte: &u8| byte < b'!' || byte == 0x7f || b"~^:?*[\\".contains(&byte);
    let sequence = |pair: &[u8]| pair == b".." || pair == b"@{";
    let component =
        |part: &[u8]| !part.is_empty() && !part.starts_with(b".") && !part.ends_with(b".lock");
    !name.iter().any(forbidden)
        && !name.windows(2).any(sequence)
        && !name.ends_with(b".")
        && name.split(|&byte| byte == b'/').all(component)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_git_takes() {
        for name in [
            "refs/heads/main",
            "refs/heads/a/b-c_d",
            "refs/heads/@",
            "refs/heads/dépôt",
            "refs/x",
            "HEAD",
            "worktrees/x/HEAD",
        ] {
            assert!(RefName::parse(name.as_bytes()).is_some(), "{name}");
        }
        assert!(RefName::parse(b"refs/heads/\xff\xfe").is_some());
        for name in [
            "",
            "main",
            "refs",
            "refs/",
            "refs/heads/",
            "refs//x",
            "refs/heads/.x",
            "refs/heads/.DS_Store",
            "refs/heads/x.lock",
            "refs/heads/x.lock/y",
            "refs/heads/x.",
            "refs/heads/x..y",
            "refs/heads/x@{1}",
            "refs/heads/main (conflicted copy)",
            "refs/heads/*",
            "refs/heads/x\n",
            "refs/heads/x\u{7f}",
            "worktrees//HEAD",
            "worktrees/a/b/HEAD",
            "ORIG_HEAD",
        ] {
            assert!(RefName::parse(name.as_bytes()).is_none(), "{name}");
        }
    }

    #[test]
    fn names_are_shown_as_text() {
        let short = |name: &[u8]| RefName::parse(name).unwrap().short();
        assert_eq!(short(b"refs/heads/a/b"), "a/b");
        assert_eq!(short(b"refs/remotes/o/b"), "o/b");
        assert_eq!(short(b"refs/tags/v1"), "tags/v1");
        assert_eq!(short(b"HEAD"), "HEAD");
        assert_eq!(short(b"refs/heads/\xff\xc2\x9b"), "\\xff\\u{9b}");
    }
}
