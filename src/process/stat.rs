//! What the kernel says of a process, from `/proc/<pid>/stat`.

use std::fs;

/// A process as it was when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) pid: i32,
    /// `R`, `S`, `D`, `T` (stopped), `t` (traced), `Z` (zombie), `X` and others.
    pub(super) state: u8,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    /// The controlling terminal's device; 0 where there is none.
    pub(super) terminal: i64,
    /// When it was started, in clock ticks since boot.
    pub(super) started: u64,
}

impl Stat {
    /// `None` where there is no such process.
    pub(super) fn of(pid: i32) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// All processes that can be seen.
    pub(super) fn all() -> Vec<Self> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries
            .filter_map(|entry| Self::of(entry.file_name().to_str()?.parse().ok()?))
            .collect()
    }

    fn parse(text: &[u8]) -> Option<Self> {
        // The second field is a name in parentheses that may itself hold anything.
        let name_ends = text.iter().rposition(|&byte| byte == b')')?;
        let before = str::from_utf8(text.get(..text.iter().position(|&b| b == b' ')?)?).ok()?;
        let after = str::from_utf8(text.get(name_ends + 1..)?).ok()?;
        // From the third on; the start time is the twenty-second.
        let fields: Vec<&str> = after.split_ascii_whitespace().collect();
        Some(Self {
            pid: before.parse().ok()?,
            state: *fields.first()?.as_bytes().first()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            terminal: fields.get(4)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }

    /// Whether it runs, or could: a zombie is only an entry that nobody has asked for.
    pub(super) fn lives(&self) -> bool {
        !matches!(self.state, b'Z' | b'X' | b'x')
    }

    /// Whether only somebody else can let it go on.
    pub(super) fn is_stopped(&self) -> bool {
        self.state == b'T'
    }
}

/// When a process was started, in clock ticks since boot; `None` where there is none
/// with this id, or it is a zombie. Together with the id it names a process for good.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    let stat = Stat::of(pid.try_into().ok()?)?;
    stat.lives().then_some(stat.started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let fields = "S 7 42 40 34816 42 4194560 1 0 0 0 0 0 0 0 20 0 1 0 8712 4 1";
        let text = format!("42 (a) Z 1 (\n) {fields}");
        let stat = Stat::parse(text.as_bytes()).unwrap();
        let expected = Stat {
            pid: 42,
            state: b'S',
            parent: 7,
            group: 42,
            session: 40,
            terminal: 34816,
            started: 8712,
        };
        assert_eq!(stat, expected);
        assert_eq!(Stat::parse(b"42 (sh"), None);
        assert_eq!(Stat::parse(b""), None);
    }

    #[test]
    fn this_process_is_among_all() {
        let own = Stat::of(std::process::id() as i32).unwrap();
        assert!(own.lives() && !own.is_stopped());
        assert!(Stat::all().iter().any(|one| one.pid == own.pid));
    }
}
