//! Hashes that identify what a verdict is about: 128 bits each.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::ids::{ParseIdError, display_forms, unhex};

/// Gives a hash of 128 bits, written as 32 hexadecimal digits, its forms.
macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 16]);

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let mut bytes = [0; 16];
                if text.len() != 32 {
                    return Err(ParseIdError::Hash);
                }
                unhex(text, &mut bytes).ok_or(ParseIdError::Hash)?;
                Ok(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&faster_hex::hex_string(&self.0))
            }
        }

        display_forms!($name);
    };
}

/// 128 bits of SHA-256. The domain keeps hashes of different kinds apart; names and parts
/// cannot run into each other, since each has its length before it.
fn hash_parts(domain: &str, parts: &[(&str, &[u8])]) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(domain.as_bytes());
    hash.update([0]);
    for (name, part) in parts {
        for piece in [name.as_bytes(), part] {
            hash.update((piece.len() as u64).to_be_bytes());
            hash.update(piece);
        }
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    bytes
}

hash_id!(
    /// The hash of what a task's verdict depends on beside the tree: see `env=` in a note.
    EnvId
);
impl EnvId {
    /// The hash of named parts, whatever their order; `None` where there are none: then a
    /// verdict has no surroundings worth telling.
    pub fn of(parts: &[(&str, &[u8])]) -> Option<Self> {
        if parts.is_empty() {
            return None;
        }
        let mut parts = parts.to_vec();
        parts.sort_unstable();
        Some(Self(hash_parts("git-ci env 1", &parts)))
    }

    /// That of a job with a `key`, beside what else counts.
    pub fn with_key(others: Option<Self>, key: KeyId) -> Self {
        let others = others.map(|others| others.0);
        let others = others.as_ref().map_or(&[][..], |bytes| bytes);
        Self(hash_parts(
            "git-ci env 1",
            &[("others", others), ("key", &key.0)],
        ))
    }
}

hash_id!(
    /// The hash of what a job's `key` command printed.
    KeyId
);
impl KeyId {
    /// Of a command that was not asked yet; no output has it.
    pub const UNKNOWN: Self = Self([0; 16]);

    /// That of an output.
    pub fn of(output: &[u8]) -> Self {
        Self(hash_parts("git-ci key 1", &[("output", output)]))
    }

    /// What stands for a question: the command with the variables that it gets.
    pub fn of_question(command: &[u8]) -> Self {
        Self(hash_parts("git-ci key 1", &[("command", command)]))
    }
}

hash_id!(
    /// The hash of the entries of a tree that a job's `paths` select: see `in=` in a note.
    InputId
);

impl InputId {
    /// Of the entries of a directory: their names and what stands for them, in their order.
    pub fn of_entries(entries: &[(Vec<u8>, Vec<u8>)]) -> Self {
        let parts = entries
            .iter()
            .flat_map(|(name, what)| [("name", &name[..]), ("entry", what)]);
        Self(hash_parts("git-ci input 1", &parts.collect::<Vec<_>>()))
    }
}

/// The hash of a job's definition: 32 hexadecimal digits. See [`Job::definition`](super::Job::definition).
///
/// Records of earlier versions have one of 16 digits, which equals none that is made now.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DefId {
    /// Only the first 8 bytes count in a short one; the rest is zero.
    bytes: [u8; 16],
    short: bool,
}

impl DefId {
    /// The hash of named parts, in this order.
    pub(super) fn of(domain: &str, parts: &[(&str, &[u8])]) -> Self {
        Self {
            bytes: hash_parts(domain, parts),
            short: false,
        }
    }
}

impl FromStr for DefId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let mut bytes = [0; 16];
        if text.len() != 32 && text.len() != 16 {
            return Err(ParseIdError::Hash);
        }
        unhex(text, &mut bytes).ok_or(ParseIdError::Hash)?;
        Ok(Self {
            bytes,
            short: text.len() == 16,
        })
    }
}

impl fmt::Display for DefId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = if self.short {
            &self.bytes[..8]
        } else {
            &self.bytes[..]
        };
        f.write_str(&faster_hex::hex_string(bytes))
    }
}

display_forms!(DefId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_of_earlier_versions_read_and_equal_none_of_now() {
        let old: DefId = "260cfbdcc8dd2281".parse().unwrap();
        assert_eq!(old.to_string(), "260cfbdcc8dd2281");
        let long: DefId = "260cfbdcc8dd22810000000000000000".parse().unwrap();
        assert_eq!(long.to_string(), "260cfbdcc8dd22810000000000000000");
        assert_ne!(old, long);
        for bad in ["", "260c", &"G".repeat(32), &"0".repeat(40)] {
            assert!(bad.parse::<DefId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn parts_do_not_run_into_each_other_and_have_no_order() {
        let of = |parts: &[(&str, &[u8])]| EnvId::of(parts);
        let some = of(&[("a", b"bc"), ("d", b"")]);
        assert_eq!(some, of(&[("d", b""), ("a", b"bc")]));
        for other in [
            of(&[("ab", b"c"), ("d", b"")]),
            of(&[("a", b"bcd")]),
            of(&[("a", b"bc")]),
            of(&[]),
        ] {
            assert_ne!(some, other);
        }
        assert_eq!(of(&[]), None);
    }
}
