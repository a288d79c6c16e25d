//! Whether a checkout is plain: blobs become files byte by byte, and nothing but a tree's
//! entries decides which.
//!
//! Only then the move is done in process; everything else is left to git. The rule for
//! all of this is that what is not known to be harmless is not plain.

/// Whether a file of attributes leaves blobs as they are: `text` without a line ending of
/// its own only matters on the way in.
pub(crate) fn keeps_blobs(text: &[u8]) -> bool {
    text.split(|&byte| byte == b'\n').all(|line| {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            return true;
        }
        // What a macro stands for is judged where it is made, like the attributes of a pattern.
        let attributes = match line.strip_prefix(b"\"") {
            Some(quoted) => match end_of_quotes(quoted) {
                Some(end) => &quoted[end..],
                None => return false,
            },
            None => {
                let blank = line.iter().position(u8::is_ascii_whitespace);
                &line[blank.unwrap_or(line.len())..]
            }
        };
        attributes
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty())
            .all(|word| {
                let name = word.strip_prefix(b"-").or(word.strip_prefix(b"!"));
                let set = name.is_none();
                let name = name.unwrap_or(word);
                let name = name.split(|&byte| byte == b'=').next().unwrap_or(name);
                match name {
                    b"eol" => !set || word == b"eol=lf",
                    b"filter" | b"ident" | b"working-tree-encoding" => !set,
                    b"crlf" => !set || word == b"crlf=input",
                    _ => true,
                }
            })
    })
}

/// Where the text goes on after a pattern in quotes; the first one is not part of `text`.
fn end_of_quotes(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Whether a tree's entry has a name that git, too, takes without a second look. Those
/// that could mean `.git` on some file system it refuses, or not, as configured.
pub(crate) fn name(name: &[u8]) -> bool {
    let lower = name.to_ascii_lowercase();
    let fishy = matches!(name, b"" | b"." | b"..")
        || name
            .iter()
            .any(|byte| matches!(byte, b'/' | b'\\' | b':' | 0))
        || lower.starts_with(b"git~")
        || lower.starts_with(b".gitmodules")
        || lower.starts_with(b".git") && matches!(lower.get(4), None | Some(b' ' | b'.'))
        || (lower.starts_with(b".g") && !name.is_ascii());
    !fishy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_that_change_files_are_told_from_those_that_do_not() {
        for harmless in [
            "",
            "# *.c filter=x\n",
            "* text=auto\n*.sh text eol=lf\n*.png binary\r\n",
            "*.c -filter !ident diff=cpp\n",
            "\"a b\" text\n\"\\\"\" -text",
            "[attr]generated -diff linguist-generated\n*.pb generated",
        ] {
            assert!(keeps_blobs(harmless.as_bytes()), "{harmless}");
        }
        for not in [
            "*.bin filter=lfs diff=lfs merge=lfs -text\n",
            "*.bat eol=crlf\n",
            "* ident\n",
            "*.txt\tworking-tree-encoding=UTF-16",
            "[attr]x filter=y\n",
            "\"a b\" eol=crlf\n",
            "\"a b text\n",
        ] {
            assert!(!keeps_blobs(not.as_bytes()), "{not}");
        }
    }

    #[test]
    fn names_that_could_be_git_are_left_to_git() {
        for fine in ["a", ".gitignore", ".github", "-", "\u{e9}"] {
            assert!(name(fine.as_bytes()), "{fine}");
        }
        for not in ["", "..", ".git", ".GIT", "git~1", ".git ", "a\\b", "a:b"] {
            assert!(!name(not.as_bytes()), "{not}");
        }
    }
}
