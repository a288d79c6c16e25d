//! Where a slot finds the objects of the user's repository:
//! `objects/info/alternates`, gitrepository-layout(5).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use crate::git::read_file;

/// git follows no longer chain.
const MAX_DEPTH: u32 = 5;

/// A file of alternates is a few lines.
const MAX_SIZE: u64 = 1 << 20;

/// The object directory `objects` and all that it borrows from, in the order in which git
/// looks through them; and every file that this was read from.
///
/// The chain is followed here, since git ignores relative paths further down in one.
pub(super) fn chain(objects: PathBuf) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut chain, mut files) = (Vec::new(), Vec::new());
    follow(objects, 0, &mut chain, &mut files);
    (chain, files)
}

fn follow(objects: PathBuf, depth: u32, chain: &mut Vec<PathBuf>, files: &mut Vec<PathBuf>) {
    if chain.contains(&objects) {
        return;
    }
    let file = objects.join("info/alternates");
    let text = read_file(&file, MAX_SIZE).unwrap_or_default();
    files.push(file);
    let below: Vec<_> = entries(&text)
        .map(|entry| objects.join(OsStr::from_bytes(&entry)))
        // As git does, and so that a loop is seen as one.
        .map(|entry| entry.canonicalize().unwrap_or(entry))
        .collect();
    chain.push(objects);
    if depth < MAX_DEPTH {
        for objects in below {
            follow(objects, depth + 1, chain, files);
        }
    }
}

/// The paths in a file of alternates: one a line, or in quotes as C has them.
fn entries(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    text.split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
        .map(|line| unquote(line).unwrap_or_else(|| line.to_vec()))
}

/// The file that names the directories `chain`.
pub(super) fn file(chain: &[PathBuf]) -> Vec<u8> {
    let mut text = Vec::new();
    for objects in chain {
        let path = objects.as_os_str().as_bytes();
        if path.contains(&b'\n') || path.starts_with(b"\"") {
            quote(path, &mut text);
        } else {
            text.extend_from_slice(path);
        }
        text.push(b'\n');
    }
    text
}

fn quote(path: &[u8], text: &mut Vec<u8>) {
    text.push(b'"');
    for &byte in path {
        match byte {
            b'"' | b'\\' => text.extend([b'\\', byte]),
            b'\n' => text.extend(b"\\n"),
            _ => text.push(byte),
        }
    }
    text.push(b'"');
}

/// What stands between quotes; `None` where there are none, or no end to them.
fn unquote(line: &[u8]) -> Option<Vec<u8>> {
    let mut rest = line.strip_prefix(b"\"")?.iter().copied();
    let mut path = Vec::new();
    loop {
        match rest.next()? {
            b'"' => return Some(path),
            b'\\' => path.push(match rest.next()? {
                b'a' => 7,
                b'b' => 8,
                b'f' => 12,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'v' => 11,
                first @ b'0'..=b'3' => {
                    let mut digit = || rest.next()?.checked_sub(b'0').filter(|digit| *digit < 8);
                    (first - b'0') << 6 | digit()? << 3 | digit()?
                }
                other => other,
            }),
            byte => path.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_reads_as_it_was() {
        let odd = PathBuf::from("/a\nb \"c\" \\d\\/objects");
        let plain = PathBuf::from("/x \"y\"/objects");
        let text = file(&[odd.clone(), plain.clone()]);
        assert_eq!(
            text,
            b"\"/a\\nb \\\"c\\\" \\\\d\\\\/objects\"\n/x \"y\"/objects\n"
        );
        let read: Vec<_> = entries(&text)
            .map(|entry| PathBuf::from(OsStr::from_bytes(&entry)))
            .collect();
        assert_eq!(read, [odd, plain]);
        assert_eq!(unquote(b"\"\\303\\244\\t\""), Some(b"\xc3\xa4\t".to_vec()));
    }

    #[test]
    fn a_chain_is_followed_with_its_relative_paths_and_its_loops() {
        let root = tempfile::tempdir().unwrap();
        let of = |name: &str| root.path().join(name).join("objects");
        for (name, alternates) in [
            ("a", "# a comment\n../../b/objects\n".to_owned()),
            ("b", format!("{}\n../../a/objects\n", of("c").display())),
            ("c", String::new()),
        ] {
            std::fs::create_dir_all(of(name).join("info")).unwrap();
            std::fs::write(of(name).join("info/alternates"), alternates).unwrap();
        }
        let real = |name: &str| of(name).canonicalize().unwrap();
        let (chain, files) = chain(real("a"));
        assert_eq!(chain, [real("a"), real("b"), real("c")]);
        assert_eq!(files.len(), 3);
    }
}
