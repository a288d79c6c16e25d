//! Names and identifiers, each valid by construction.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::text::glob;

/// Why a text is not the identifier it was meant to be; completes "not a valid …: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// Not 40 (SHA-1) or 64 (SHA-256) lower-case hexadecimal digits.
    #[error("an object id is 40 or 64 hexadecimal digits")]
    Oid,
    /// Not 16 lower-case hexadecimal digits.
    #[error("an identifier is 16 hexadecimal digits")]
    Short,
    /// Not 32 lower-case hexadecimal digits.
    #[error("a hash is 32 hexadecimal digits")]
    Hash,
    /// Not `[a-z0-9][a-z0-9._/\[\]=,-]{0,63}`.
    #[error(
        "a job name starts with a-z or 0-9 and goes on with at most 63 of a-z, 0-9, '.', '_', '/', '[', ']', '=', ',' and '-'"
    )]
    JobName,
    /// Not `[A-Za-z0-9][A-Za-z0-9._-]{0,31}`.
    #[error(
        "a runner's label starts with a letter or digit and goes on with at most 31 letters, digits, '.', '_' and '-'"
    )]
    RunnerLabel,
    /// Not `[a-z0-9][a-z0-9._-]{0,31}`.
    #[error(
        "a platform starts with a-z or 0-9 and goes on with at most 31 of a-z, 0-9, '.', '_' and '-'"
    )]
    Platform,
}

/// A git object id, SHA-1 or SHA-256, held inline.
///
/// `gix` has a type of its own; this one keeps `gix` out of every module but `git`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Oid {
    /// Only the first `len` bytes count; the rest is zero.
    bytes: [u8; 32],
    len: u8,
}

impl Oid {
    /// The id whose raw form is `bytes`: 20 of them for SHA-1, 32 for SHA-256.
    ///
    /// # Errors
    /// [`ParseIdError::Oid`] for any other length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ParseIdError> {
        if bytes.len() != 20 && bytes.len() != 32 {
            return Err(ParseIdError::Oid);
        }
        let mut own = [0; 32];
        own[..bytes.len()].copy_from_slice(bytes);
        Ok(Self {
            bytes: own,
            len: bytes.len() as u8,
        })
    }

    /// The raw form: 20 or 32 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The first ten hexadecimal digits, for people.
    pub fn short(&self) -> String {
        let mut hex = self.to_string();
        hex.truncate(10);
        hex
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut digits, bytes) = ([0u8; 64], self.as_bytes());
        let text = faster_hex::hex_encode(bytes, &mut digits).map_err(|_| fmt::Error)?;
        f.pad(text)
    }
}

impl FromStr for Oid {
    type Err = ParseIdError;

    fn from_str(hex: &str) -> Result<Self, ParseIdError> {
        let mut bytes = [0u8; 32];
        if hex.len() != 40 && hex.len() != 64 {
            return Err(ParseIdError::Oid);
        }
        unhex(hex, &mut bytes).ok_or(ParseIdError::Oid)?;
        Ok(Self {
            bytes,
            len: (hex.len() / 2) as u8,
        })
    }
}

/// Decodes pairs of lower-case hexadecimal digits into the front of `out`, which has room.
pub(super) fn unhex(hex: &str, out: &mut [u8]) -> Option<()> {
    let is_upper = hex.bytes().any(|byte| byte.is_ascii_uppercase());
    let out = out.get_mut(..hex.len() / 2).filter(|_| !is_upper)?;
    faster_hex::hex_decode(hex.as_bytes(), out).ok()
}

/// Gives a type that has `Display` and `FromStr` its `Debug` and serde forms.
macro_rules! display_forms {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(super) use display_forms;

/// What the text types have in common.
macro_rules! text_forms {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = ParseIdError;

            fn try_from(text: String) -> Result<Self, ParseIdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }
    };
}

/// Gives a checked text type, of which there are many copies, its constructor, `Display`, `AsRef<str>` and serde forms.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $error:ident, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(ParseIdError::$error)
                }
            }
        }

        text_forms!($name);
    };
}

display_forms!(Oid);

fn short_hex(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

/// Gives an identifier of 16 hexadecimal digits the same forms, held inline: there is one
/// of each in every record.
macro_rules! short_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 16]);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                // Nothing but ASCII ever gets in.
                std::str::from_utf8(&self.0).unwrap_or_default()
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let digits = text.as_bytes().try_into().map_err(|_| ParseIdError::Short)?;
                match short_hex(text) {
                    true => Ok(Self(digits)),
                    false => Err(ParseIdError::Short),
                }
            }
        }

        text_forms!($name);
    };
}

short_id!(
    /// Names one log file: 16 hexadecimal digits.
    LogId
);

impl LogId {
    /// The name that these bits are.
    pub fn of(bits: u64) -> Self {
        let mut digits = [0; 16];
        digits.copy_from_slice(format!("{bits:016x}").as_bytes());
        Self(digits)
    }
}

text_id!(
    /// A job's name: `[a-z0-9][a-z0-9._/\[\]=,-]{0,63}`, so that it is one word of a note's line.
    JobName, JobName, |text| {
        let mut bytes = text.bytes();
        matches!(bytes.next(), Some(b'a'..=b'z' | b'0'..=b'9'))
            && text.len() <= 64
            && bytes.all(|c| {
                matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'/' | b'[' | b']' | b'=' | b',' | b'-')
            })
    }
);

impl JobName {
    /// Whether somebody who says `text` means this job: by its name, by that of its matrix, or
    /// by a pattern, in which `*` is any text.
    pub fn is_meant_by(&self, text: &str) -> bool {
        let name = self.as_str();
        let is_cell = name
            .strip_prefix(text)
            .is_some_and(|rest| rest.starts_with('['));
        name == text || is_cell || text.contains('*') && glob(text.as_bytes(), name.as_bytes())
    }
}

text_id!(
    /// Where a task ran, as far as its verdict depends on it: machine and system, such as
    /// `x86_64-linux`: `[a-z0-9][a-z0-9._-]{0,31}`.
    Platform, Platform, |text| {
        let mut bytes = text.bytes();
        matches!(bytes.next(), Some(b'a'..=b'z' | b'0'..=b'9'))
            && text.len() <= 32
            && bytes.all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
    }
);

impl Platform {
    /// The platform of a machine that says these two words of itself, as `uname -s` and
    /// `uname -m` print them. What has several names gets one.
    pub fn of(system: &str, machine: &str) -> Self {
        let machine = match machine {
            "arm64" => "aarch64",
            "amd64" | "x64" => "x86_64",
            other => other,
        };
        let word: String = format!("{machine}-{system}")
            .chars()
            .map(|c| match c.to_ascii_lowercase() {
                c @ ('a'..='z' | '0'..='9' | '.' | '_' | '-') => c,
                _ => '_',
            })
            .take(32)
            .collect();
        let word = word.trim_start_matches(['.', '_', '-']).parse();
        #[expect(clippy::unwrap_used, reason = "the word is a platform")]
        word.unwrap_or_else(|_| "unknown".parse().unwrap())
    }
}

text_id!(
    /// The label a record carries of who ran it (`ci.name`): `[A-Za-z0-9][A-Za-z0-9._-]{0,31}`.
    RunnerLabel, RunnerLabel, |text| {
        let mut bytes = text.bytes();
        matches!(bytes.next(), Some(c) if c.is_ascii_alphanumeric())
            && text.len() <= 32
            && bytes.all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'))
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oid_round_trips_both_formats_and_refuses_the_rest() {
        for hex in ["0cf036bf".repeat(5), "0cf036bf".repeat(8)] {
            assert_eq!(hex.parse::<Oid>().unwrap().to_string(), hex);
        }
        for bad in ["", "0cf0", &"0CF036BF".repeat(5), &"g".repeat(40)] {
            assert_eq!(bad.parse::<Oid>(), Err(ParseIdError::Oid));
        }
    }

    #[test]
    fn platforms_have_one_name_whatever_the_system_calls_them() {
        for (system, machine, name) in [
            ("Linux", "x86_64", "x86_64-linux"),
            ("Darwin", "arm64", "aarch64-darwin"),
            ("FreeBSD", "amd64", "x86_64-freebsd"),
            ("", "", "unknown"),
            ("CYGWIN_NT 10", "x\u{1b}", "x_-cygwin_nt_10"),
        ] {
            assert_eq!(Platform::of(system, machine).as_str(), name);
        }
    }

    #[test]
    fn job_names_are_one_printable_word() {
        for good in ["test", "test[mac]", "a/b=c,d-e_f.g", "0", &"a".repeat(64)] {
            assert!(good.parse::<JobName>().is_ok(), "{good}");
        }
        for bad in ["", "Test", "-x", "a b", "a\u{1b}", "é", &"a".repeat(65)] {
            assert!(bad.parse::<JobName>().is_err(), "{bad}");
        }
    }
}
