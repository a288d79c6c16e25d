//! `core.sharedRepository`: the modes of what is created in the repository's own
//! directories. What is private to a user is not for here.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// `core.sharedRepository`: who else may use what we create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// As the umask says.
    Umask,
    /// At least these bits.
    AtLeast(u32),
    /// Exactly these bits.
    Exactly(u32),
}

impl Sharing {
    pub(super) fn parse(value: Option<&str>) -> Self {
        match value.map(str::to_ascii_lowercase).as_deref() {
            Some("group" | "true" | "yes" | "on" | "1") => Self::AtLeast(0o660),
            Some("all" | "world" | "everybody" | "2") => Self::AtLeast(0o664),
            Some(octal) if octal.starts_with('0') && octal.len() > 1 => {
                match u32::from_str_radix(octal, 8) {
                    Ok(bits) if bits & 0o600 == 0o600 => Self::Exactly(bits & 0o666),
                    _ => Self::Umask,
                }
            }
            _ => Self::Umask,
        }
    }

    /// What git's `adjust_shared_perm` makes of a mode.
    fn adjust(self, mode: u32, dir: bool) -> u32 {
        let (mut bits, keep) = match self {
            Self::Umask => return mode,
            Self::AtLeast(bits) => (bits, mode),
            Self::Exactly(bits) => (bits, mode & !0o777),
        };
        if mode & 0o200 == 0 {
            bits &= !0o222;
        }
        if mode & 0o100 != 0 {
            bits |= (bits & 0o444) >> 2;
        }
        let mode = keep | bits;
        // Files in it belong to the directory's group.
        if dir { mode | 0o2000 } else { mode }
    }

    pub(super) fn apply(self, path: &Path) -> io::Result<()> {
        if self == Self::Umask {
            return Ok(());
        }
        let meta = fs::metadata(path)?;
        let mode = self.adjust(meta.permissions().mode() & 0o7777, meta.is_dir());
        fs::set_permissions(path, Permissions::from_mode(mode))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_repositories_get_the_modes_that_git_gives() {
        let adjust = |value, mode, dir| Sharing::parse(Some(value)).adjust(mode, dir);
        assert_eq!(adjust("umask", 0o444, false), 0o444);
        assert_eq!(adjust("group", 0o400, false), 0o440);
        assert_eq!(adjust("true", 0o755, true), 0o2775);
        assert_eq!(adjust("all", 0o400, false), 0o444);
        assert_eq!(adjust("0640", 0o444, false), 0o440);
        assert_eq!(adjust("0640", 0o755, true), 0o2750);
        assert_eq!(adjust("0400", 0o755, true), 0o755);
    }
}
