//! Files below `ci/` that hold what is derived or remembered: read only where they are
//! as they were written, and made anew otherwise.
//!
//! The first line carries a hash of all that follows, so that a disk that lies, a file
//! that was cut and a file of somebody else's are all the same: no file. It is no
//! protection from whoever may write there.

use std::io::{self, Write as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::private;

/// No such file is longer, in bytes.
const MAX: u64 = 1 << 30;

/// What was written to the file at `path` as a `kind`; `None` where it is not there, or
/// not as it was written.
pub(crate) fn read(path: &Path, kind: &str) -> Option<String> {
    let bytes = private::read(path, MAX).ok()?;
    let mut text = String::from_utf8(bytes).ok()?;
    let (first, body) = text.split_once('\n')?;
    if first != header(kind, body) {
        return None;
    }
    let start = first.len() + 1;
    text.drain(..start);
    Some(text)
}

/// Writes `body` to the file at `path` as a `kind`, in place of whatever is there. The
/// first word of the kind begins the name of the file while it is being written.
///
/// # Errors
/// Those of writing and renaming.
pub(crate) fn write(path: &Path, kind: &str, body: &str) -> io::Result<()> {
    let dir = path.parent().unwrap_or(path);
    let name = kind.split(' ').next().unwrap_or(kind);
    let mut file = private::temporary(dir, &format!("{name}-"))?;
    let out = file.as_file_mut();
    writeln!(out, "{}", header(kind, body))?;
    out.write_all(body.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

fn header(kind: &str, body: &str) -> String {
    let hash = Sha256::digest(body.as_bytes());
    format!("git-ci {kind} {}", faster_hex::hex_string(&hash))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn one_bit_makes_it_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("things");
        assert_eq!(read(&path, "things 1"), None);
        write(&path, "things 1", "a\nb\n").unwrap();
        assert_eq!(read(&path, "things 1").as_deref(), Some("a\nb\n"));
        assert_eq!(read(&path, "things 2"), None);
        let whole = fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, damaged).unwrap();
            assert_eq!(read(&path, "things 1"), None, "bit {bit}");
        }
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(read(&path, "things 1"), None, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_plain_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("things"), dir.path().join("other"));
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        assert_eq!(read(&path, "things 1"), None);
        write(&path, "things 1", "a").unwrap();
        assert_eq!(read(&path, "things 1").as_deref(), Some("a"));
        std::os::unix::fs::symlink(&path, &other).unwrap();
        assert_eq!(read(&other, "things 1"), None);
    }
}
