//! One line of the spool.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::{Oid, RefName};

/// What a new commit belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// A ref, by its full name.
    Ref(RefName),
    /// The detached `HEAD` of the work tree with this git directory.
    Detached(PathBuf),
}

/// One new commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id; for a tag that was received, the tag object's.
    pub commit: Oid,
    /// Where it appeared.
    pub source: Source,
    /// When, in seconds since the epoch.
    pub seconds: u64,
}

impl Entry {
    /// An entry of now.
    pub fn new(commit: Oid, source: Source) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            commit,
            source,
            seconds: now.map_or(0, |now| now.as_secs()),
        }
    }

    /// Its line, line feed included.
    pub(crate) fn line(&self) -> Vec<u8> {
        let mut line = format!("{} {} ", self.seconds, self.commit).into_bytes();
        match &self.source {
            // A ref's name holds neither spaces nor control characters.
            Source::Ref(name) => line.extend(name.as_bytes()),
            Source::Detached(dir) => {
                line.push(b'@');
                line.extend(encode(dir.as_os_str().as_bytes()).bytes());
            }
        }
        line.extend(b" .\n");
        line
    }

    /// What a line says, without its line feed; `None` where it is torn or no entry.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let mut words = line.split(|&byte| byte == b' ');
        let mut text = || std::str::from_utf8(words.next()?).ok();
        let (seconds, commit) = (text()?, text()?);
        let (source, end) = (words.next()?, words.next()?);
        if end != b"." || words.next().is_some() {
            return None;
        }
        let source = match source.strip_prefix(b"@") {
            Some(dir) => {
                let dir = decode(std::str::from_utf8(dir).ok()?)?;
                Source::Detached(PathBuf::from(OsString::from_vec(dir)))
            }
            None => Source::Ref(RefName::parse(source).filter(|name| !name.is_head())?),
        };
        if matches!(&source, Source::Detached(dir) if !dir.is_absolute()) {
            return None;
        }
        Some(Self {
            commit: commit.parse().ok()?,
            source,
            seconds: seconds.parse().ok()?,
        })
    }
}

/// `bytes` with everything escaped that could end a word or a line.
fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                text.push(char::from(byte));
            }
            _ => text += &format!("%{byte:02x}"),
        }
    }
    text
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    (!bytes.contains(&0)).then_some(bytes)
}
