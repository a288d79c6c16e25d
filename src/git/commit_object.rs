//! What a commit object says, read as leniently as git reads it.
//!
//! Tools of all kinds have written commits: with no author, no date, a date that no clock
//! ever had, headers that nobody knows. git works with each of them as long as the tree
//! and the parents can be made out, and so does this, to the letter of git's
//! `parse_commit_buffer` and `parse_commit_date`; gix refuses many of them.

use gix::ObjectId;
use gix::hash::Kind;

/// A commit, as far as anybody here needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommitObject {
    pub(crate) tree: ObjectId,
    pub(crate) parents: Vec<ObjectId>,
    /// The committer's time in seconds since the epoch, as git sorts by it: 0 where it
    /// makes no sense, the last possible one where it is negative or too large.
    pub(crate) time: i64,
}

/// What git calls a bogus commit.
#[derive(Debug, thiserror::Error)]
#[error("the object is no commit that git could read: {0}")]
pub(crate) struct Bogus(&'static str);

/// Reads the contents of a commit object.
///
/// # Errors
/// Where the tree or a parent cannot be made out.
pub(crate) fn parse(data: &[u8], hash: Kind) -> Result<CommitObject, Bogus> {
    let mut rest = data;
    let tree = id_line(&mut rest, b"tree ", hash)?.ok_or(Bogus("it begins with no tree"))?;
    let mut parents = Vec::new();
    while let Some(parent) = id_line(&mut rest, b"parent ", hash)? {
        parents.push(parent);
    }
    Ok(CommitObject {
        tree,
        parents,
        time: time(rest),
    })
}

/// Takes a line such as `tree ID` off the front; `None` where the next one is another.
fn id_line(rest: &mut &[u8], name: &[u8], hash: Kind) -> Result<Option<ObjectId>, Bogus> {
    let length = hash.len_in_hex();
    let Some(line) = rest.strip_prefix(name) else {
        return Ok(None);
    };
    // git wants more to come, and takes a cut `parent` for another header.
    if line.len() <= length + 1 {
        return if line.len() <= length && name == b"parent " {
            Ok(None)
        } else {
            Err(Bogus("it is cut off"))
        };
    }
    let bogus = || Bogus("an id in it is none");
    let id = ObjectId::from_hex(&line[..length]).map_err(|_| bogus())?;
    let after = line[length..].strip_prefix(b"\n").ok_or_else(bogus)?;
    *rest = after;
    Ok(Some(id))
}

/// The committer's time from the lines that follow the parents.
fn time(rest: &[u8]) -> i64 {
    let digits = || {
        let (_, rest) = split_line(rest.strip_prefix(b"author")?)?;
        let (line, _) = split_line(rest.strip_prefix(b"committer")?)?;
        let from = line.iter().rposition(|&byte| byte == b'>')? + 1;
        Some(line[from..].trim_ascii_start())
    };
    let digits = digits().unwrap_or_default();
    let (negative, digits) = match digits.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, digits),
    };
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    let number = digits.fold(0u64, |number, byte| {
        let digit = u64::from(byte - b'0');
        number.saturating_mul(10).saturating_add(digit)
    });
    // git counts in unsigned numbers, where what is negative comes last.
    let number = if negative {
        number.wrapping_neg()
    } else {
        number
    };
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn split_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|&byte| byte == b'\n')?;
    Some((&text[..end], &text[end + 1..]))
}

/// The first paragraph of the message of a commit object on one line, as `%s` has it; raw.
pub(crate) fn subject(data: &[u8]) -> String {
    // To git, a message ends with a NUL.
    let data = data.split(|&byte| byte == 0).next().unwrap_or_default();
    let header = data.windows(2).position(|pair| pair == b"\n\n");
    let Some(header) = header else {
        return String::new();
    };
    let latin1 = is_latin1(&data[..header]);
    let lines = data[header + 2..].split(|&byte| byte == b'\n');
    let lines = lines.map(<[u8]>::trim_ascii_end);
    let lines = lines.skip_while(|line| line.is_empty());
    let lines: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    let bytes = lines.join(&b' ');
    if latin1 {
        bytes.iter().copied().map(char::from).collect()
    } else {
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Whether the header says that the message is in the one other encoding that needs no
/// tables; whatever else it says, what is not UTF-8 is replaced.
fn is_latin1(header: &[u8]) -> bool {
    let mut lines = header.split(|&byte| byte == b'\n');
    let encoding = lines.find_map(|line| line.strip_prefix(b"encoding "));
    encoding.is_some_and(|name| {
        let names: [&[u8]; 4] = [b"ISO-8859-1", b"ISO8859-1", b"latin1", b"latin-1"];
        names.iter().any(|one| name.eq_ignore_ascii_case(one))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n";
    const PARENT: &str = "parent 0cf036bf0cf036bf0cf036bf0cf036bf0cf036bf\n";

    fn commit(text: &str) -> CommitObject {
        parse(text.as_bytes(), Kind::Sha1).unwrap()
    }

    #[test]
    fn a_committers_time_is_read_as_git_reads_it() {
        for (line, time) in [
            ("committer C <c@d> 1750000000 +0000", 1_750_000_000),
            ("committer C <c@d> 1750000000", 1_750_000_000),
            ("committer C <c@d>1750000000+0200", 1_750_000_000),
            ("committer C <c> d> 12 +0000", 12),
            ("committer C <c@d> 12foo34 +0000", 12),
            ("committer C <c@d> ", 0),
            ("committer C <c@d>", 0),
            ("committer C <c@d> now", 0),
            ("committer C <c@d> +5 +0000", 0),
            ("committer", 0),
            ("committer C c@d 1750000000 +0000", 0),
            ("commiter C <c@d> 1750000000 +0000", 0),
            ("committer C <c@d> 99999999999 +0000", 99_999_999_999),
            ("committer C <c@d> 18446744073709551615 +0000", i64::MAX),
            ("committer C <c@d> 99999999999999999999999 +0000", i64::MAX),
            ("committer C <c@d> -1 +0000", i64::MAX),
            ("committer C <c@d> - +0000", 0),
        ] {
            let read = commit(&format!("{TREE}author A <a@b> 1 +0000\n{line}\n\nm\n"));
            assert_eq!(read.time, time, "{line}");
        }
        let committer = "committer C <c@d> 1750000000 +0000\n";
        for before in ["", "auth A\n", "encoding x\nauthor A <a@b> 1 +0000\n"] {
            let read = commit(&format!("{TREE}{PARENT}{before}{committer}\nm\n"));
            assert_eq!((read.time, read.parents.len()), (0, 1), "{before}");
        }
        assert_eq!(commit(&format!("{TREE}\n")).parents.len(), 0);
    }

    #[test]
    fn a_subject_is_the_first_paragraph() {
        for (message, subject) in [
            ("\n\n\none\ntwo\n\nthree\n", "one two"),
            ("one  \r\n \ntwo", "one"),
            ("one\0two", "one"),
            ("", ""),
        ] {
            let head = format!("{TREE}gpgsig -----BEGIN\n \n x\n -----END\n");
            assert_eq!(
                super::subject(format!("{head}\n{message}").as_bytes()),
                subject
            );
        }
        let mut latin = format!("{TREE}encoding iso-8859-1\n\nd").into_bytes();
        latin.extend(b"\xe9p\xf4t");
        assert_eq!(subject(&latin), "dépôt");
    }

    #[test]
    fn what_git_cannot_read_is_refused() {
        let long = "author A <a@b> 1 +0000\n";
        for text in [
            "",
            "tree 4b825d\n",
            PARENT,
            TREE,
            &format!("{TREE}{PARENT}"),
            &TREE.replace("4b", "xx"),
            &format!("{TREE}parent 0cf036bf0cf036bf0cf036bf0cf036bf0cf036bg\n{long}"),
            &format!("{TREE}{}x\n{long}", PARENT.trim_end()),
        ] {
            assert!(parse(text.as_bytes(), Kind::Sha1).is_err(), "{text}");
        }
        assert!(parse(TREE.as_bytes(), Kind::Sha256).is_err());
    }
}
