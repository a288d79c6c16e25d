//! Files below one directory, reached without ever following a link.
//!
//! A job may have put a symbolic link to anywhere in place of a directory. So every path is
//! walked from the top, one component at a time, and a component that is no directory is
//! an obstacle and never a way.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RawMode, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use super::index::{EXECUTABLE, LINK, Stamp, file_mode, second_and_size, stamp, written_and_owned};

/// How many leftovers of a worktree that cannot be removed are moved out of its way.
const LEFT_OVER: u32 = 8;

/// A directory and what is below it.
pub(super) struct Tree {
    root: OwnedFd,
    /// The directory that was last used, since changes come in order.
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl Tree {
    /// The tree at `path`, which must be a directory itself.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let root = open_dir(rustix::fs::CWD, path.as_os_str())?;
        Ok(Self { root, last: None })
    }

    /// The tree at `path` below this one.
    pub(super) fn below(&mut self, path: &[u8]) -> io::Result<Self> {
        let (dir, name) = self.parent(path, false)?;
        let root = open_dir(dir, name)?;
        Ok(Self { root, last: None })
    }

    /// The top.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The directory of `path`, and its last component. Where directories are missing or
    /// something else is in their place they are made, if asked for.
    pub(super) fn parent<'p>(
        &mut self,
        path: &'p [u8],
        make: bool,
    ) -> io::Result<(BorrowedFd<'_>, &'p OsStr)> {
        let (dir, name) = match path.iter().rposition(|&byte| byte == b'/') {
            None => return Ok((self.root.as_fd(), OsStr::from_bytes(path))),
            Some(slash) => (&path[..slash], OsStr::from_bytes(&path[slash + 1..])),
        };
        if self.last.as_ref().is_none_or(|(last, _)| last != dir) {
            self.last = None;
            let mut at: Option<OwnedFd> = None;
            for component in dir.split(|&byte| byte == b'/') {
                let component = OsStr::from_bytes(component);
                let from = at.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
                at = Some(match open_dir(from, component) {
                    Err(Errno::NOENT) if make => make_dir(from, component)?,
                    Err(Errno::NOTDIR | Errno::LOOP) if make => {
                        rustix::fs::unlinkat(from, component, AtFlags::empty())?;
                        make_dir(from, component)?
                    }
                    other => other?,
                });
            }
            self.last = at.map(|at| (dir.to_vec(), at));
        }
        let at = self.last.as_ref().map(|(_, at)| at.as_fd());
        Ok((at.unwrap_or(self.root.as_fd()), name))
    }

    /// Puts a file or link there, in place of whatever is there; returns its stamp.
    pub(super) fn write(&mut self, path: &[u8], mode: u32, data: &[u8]) -> io::Result<Stamp> {
        let (dir, name) = self.parent(path, true)?;
        if mode == LINK {
            let target = OsStr::from_bytes(data);
            let made = match rustix::fs::symlinkat(target, dir, name) {
                Err(Errno::EXIST) => {
                    remove_at(dir, name)?;
                    rustix::fs::symlinkat(target, dir, name)
                }
                other => other,
            };
            made?;
            let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            return Ok(stamp(&stat));
        }
        let bits = permissions(mode);
        let create = || {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(bits))
        };
        // A new file always: others may have links to the old one.
        let file = match create() {
            Err(Errno::EXIST) => {
                remove_at(dir, name)?;
                create()
            }
            other => other,
        };
        let mut file = std::fs::File::from(file?);
        file.write_all(data)?;
        Ok(stamp(&rustix::fs::fstat(&file)?))
    }

    /// Makes a directory there, unless there is one, in place of whatever else is there, and
    /// the same for those above it.
    pub(super) fn make_dir(&mut self, path: &[u8]) -> io::Result<()> {
        self.parent(&[path, b"/."].concat(), true).map(|_| ())
    }

    /// Puts an empty directory there, in place of whatever is there.
    pub(super) fn make_empty_dir(&mut self, path: &[u8]) -> io::Result<()> {
        let (dir, name) = self.parent(path, true)?;
        match remove_at(dir, name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        make_dir(dir, name)?;
        Ok(())
    }

    /// Removes a file or link, and the directories that are empty without it. Anything else
    /// that is there stays.
    pub(super) fn remove(&mut self, path: &[u8]) -> io::Result<()> {
        let gone = |error: &io::Error| {
            matches!(
                Errno::from_io_error(error),
                Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
            )
        };
        let (dir, name) = match self.parent(path, false) {
            Err(error) if gone(&error) => return Ok(()),
            other => other?,
        };
        match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) => return Ok(()),
            // What Linux calls EISDIR is EPERM elsewhere.
            Err(Errno::PERM) if is_dir(dir, name) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        self.remove_empty(path)
    }

    /// Removes the directories above `path` that are empty.
    fn remove_empty(&mut self, path: &[u8]) -> io::Result<()> {
        let mut path = path;
        while let Some(slash) = path.iter().rposition(|&byte| byte == b'/') {
            path = &path[..slash];
            let (dir, name) = self.parent(path, false)?;
            match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
                Ok(()) => {}
                Err(Errno::NOTEMPTY | Errno::EXIST) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Removes whatever is at `path`, with everything below it, and the directories
    /// that are empty without it.
    pub(super) fn remove_all(&mut self, path: &[u8]) -> io::Result<()> {
        let removed = match self.parent(path, false) {
            Ok((dir, name)) => remove_at(dir, name),
            Err(error) => Err(error),
        };
        match removed {
            Err(error)
                if matches!(
                    Errno::from_io_error(&error),
                    Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
            Ok(()) => self.remove_empty(path),
        }
    }

    /// The status of what is at `path`, itself and not what it leads to.
    pub(super) fn status(&mut self, path: &[u8]) -> Option<Stat> {
        let (dir, name) = self.parent(path, false).ok()?;
        rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()
    }

    /// Compares what is at `path` with what [`write`](Self::write) would put there, and
    /// `known` with its status: when and by whom it was written last.
    pub(super) fn compare(
        &mut self,
        path: &[u8],
        mode: u32,
        data: &[u8],
        umask: RawMode,
        known: &[u8],
    ) -> Holds {
        let Ok((dir, name)) = self.parent(path, false) else {
            return Holds::Other;
        };
        let Ok(stat) = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) else {
            return Holds::Other;
        };
        let now = stamp(&stat);
        if stat.st_size as u64 != data.len() as u64 || file_mode(&now) != mode {
            return Holds::Other;
        }
        if mode == LINK {
            let target = rustix::fs::readlinkat(dir, name, Vec::new());
            return match target {
                Ok(target) if target.as_bytes() == data => Holds::AsWritten(now),
                _ => Holds::Other,
            };
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(dir, name, flags, Mode::empty()) else {
            // Its permissions are not those of a new file, then.
            return Holds::Other;
        };
        let mut contents = Vec::with_capacity(data.len() + 1);
        let mut reader = std::fs::File::from(file);
        if io::Read::read_to_end(&mut reader, &mut contents).is_err() || contents != data {
            return Holds::Other;
        }
        let same = is_usual(&stat, mode, umask)
            && written_and_owned(&now) == written_and_owned(known)
            && !has_attributes(reader.as_fd());
        if same {
            Holds::AsWritten(now)
        } else {
            Holds::Touched
        }
    }

    /// Whether somebody was at the file at `path`, which has the stamp `now` and had the
    /// stamp `known`, that git would not see who only compares its bytes.
    pub(super) fn is_touched(&mut self, path: &[u8], now: &[u8], known: &[u8]) -> bool {
        if written_and_owned(now) != written_and_owned(known) {
            return true;
        }
        let Ok((dir, name)) = self.parent(path, false) else {
            return true;
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let opened = rustix::fs::openat(dir, name, flags, Mode::empty());
        opened.map_or(true, |file| has_attributes(file.as_fd()))
    }

    /// Whether what is at `path` is not what was checked out there: a blob whose bytes a
    /// filter may have changed, with the stamp `known`.
    pub(super) fn is_changed(
        &mut self,
        path: &[u8],
        mode: u32,
        blob: Option<&[u8]>,
        known: &[u8],
    ) -> bool {
        let Some(stat) = self.status(path) else {
            return true;
        };
        let now = stamp(&stat);
        if file_mode(&now) != mode {
            return true;
        }
        if written_and_owned(&now) == written_and_owned(known)
            && second_and_size(&now) == second_and_size(known)
        {
            return false;
        }
        let Some(blob) = blob else { return true };
        let Ok((dir, name)) = self.parent(path, false) else {
            return true;
        };
        if mode == LINK {
            let target = rustix::fs::readlinkat(dir, name, Vec::new());
            return target.map_or(true, |target| target.as_bytes() != blob);
        }
        // Line endings are all that is known of what a filter does.
        let lines = |bytes: &[u8]| -> Vec<u8> {
            let is_end = |at: usize| bytes[at] == b'\r' && bytes.get(at + 1) == Some(&b'\n');
            let kept = (0..bytes.len()).filter(|&at| !is_end(at));
            kept.map(|at| bytes[at]).collect()
        };
        let contents = self.read(path);
        contents.is_none_or(|contents| contents != blob && lines(&contents) != lines(blob))
    }

    /// Gives the file at `path` the present time; returns its stamp.
    pub(super) fn renew(&mut self, path: &[u8]) -> io::Result<Stamp> {
        let (dir, name) = self.parent(path, false)?;
        let times = Timestamps {
            last_access: UTIME_IS_NOW,
            last_modification: UTIME_IS_NOW,
        };
        rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(stamp(&stat))
    }

    /// Gives the file at `path` a time.
    pub(super) fn set_time(&mut self, path: &[u8], modified: Timespec) -> io::Result<()> {
        let (dir, name) = self.parent(path, false)?;
        let times = Timestamps {
            last_access: modified,
            last_modification: modified,
        };
        Ok(rustix::fs::utimensat(
            dir,
            name,
            &times,
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    /// Whether anything at `path` or below it may have been written in `second` or
    /// later. Each thing that is looked at takes one from `budget`; where nothing is left
    /// of that it may.
    pub(super) fn written_since(&mut self, path: &[u8], second: i64, budget: &mut usize) -> bool {
        match self.parent(path, false) {
            Ok((dir, name)) => written_since(dir, name, second, budget),
            Err(_) => false,
        }
    }

    /// The contents of the regular file at `path`.
    pub(super) fn read(&mut self, path: &[u8]) -> Option<Vec<u8>> {
        let (dir, name) = self.parent(path, false).ok()?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat(dir, name, flags, Mode::empty()).ok()?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&file).ok()?.st_mode);
        if kind != FileType::RegularFile {
            return None;
        }
        let mut contents = Vec::new();
        io::Read::read_to_end(&mut std::fs::File::from(file), &mut contents).ok()?;
        Some(contents)
    }
}

/// What is at a path.
pub(super) enum Holds {
    /// What was written there: its bytes, its permissions, its time, and no other name.
    AsWritten(Stamp),
    /// The same bytes, and as executable as it should be, but somebody was there.
    Touched,
    /// Something else, or nothing.
    Other,
}

/// Whether this is a pipe, a socket or a device. git does not see those at all, so it does
/// not clean them, either; nobody is at the other end any more.
pub(super) fn is_special(stat: &Stat) -> bool {
    !matches!(
        FileType::from_raw_mode(stat.st_mode),
        FileType::RegularFile | FileType::Directory | FileType::Symlink
    )
}

/// Whether a file has the permissions of a new one, and no other name by which
/// somebody could write to it.
pub(super) fn is_usual(stat: &Stat, mode: u32, umask: RawMode) -> bool {
    stat.st_nlink == 1 && stat.st_mode & 0o7777 == permissions(mode) & !umask
}

/// Whether a file has attributes beside its contents, such as access lists or
/// capabilities. What the system gives to every file does not count.
fn has_attributes(file: BorrowedFd<'_>) -> bool {
    let mut names = [0; 4096];
    match rustix::fs::flistxattr(file, &mut names) {
        Ok(length) => names[..length]
            .split(|&byte| byte == 0)
            .any(|name| !name.is_empty() && !name.starts_with(b"security.selinux")),
        Err(Errno::NOTSUP | Errno::NOSYS) => false,
        Err(_) => true,
    }
}

fn written_since(at: BorrowedFd<'_>, name: &OsStr, second: i64, budget: &mut usize) -> bool {
    let Ok(stat) = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) else {
        return false;
    };
    if *budget == 0 || stat.st_ctime >= second {
        return true;
    }
    *budget -= 1;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return false;
    }
    let opened = rustix::fs::openat(at, name, directory(), Mode::empty());
    let Ok(mut dir) = opened.and_then(Dir::new) else {
        return true;
    };
    while let Some(entry) = dir.next() {
        let (Ok(entry), Ok(fd)) = (entry, dir.fd()) else {
            return true;
        };
        let name = entry.file_name().to_bytes();
        if name != b"."
            && name != b".."
            && written_since(fd, OsStr::from_bytes(name), second, budget)
        {
            return true;
        }
    }
    false
}

/// The nanoseconds that mean the present.
const UTIME_IS_NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: rustix::fs::UTIME_NOW,
};

/// What a new file is given, before the umask.
fn permissions(mode: u32) -> RawMode {
    if mode == EXECUTABLE { 0o777 } else { 0o666 }
}

/// How directories are opened: themselves, and not what a link in their place names.
fn directory() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// Opens a directory in a directory; one that a job has locked is unlocked.
pub(super) fn open_dir(at: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let open = || rustix::fs::openat(at, name, directory(), Mode::empty());
    let dir = match open() {
        // No link: that would have been another error.
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(at, name, Mode::RWXU, AtFlags::empty())?;
            open()?
        }
        other => other?,
    };
    make_accessible(dir.as_fd())?;
    Ok(dir)
}

/// Gives the owner all rights to a directory.
fn make_accessible(dir: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let mode = Mode::from_raw_mode(rustix::fs::fstat(dir)?.st_mode & 0o7777);
    if mode.contains(Mode::RWXU) {
        return Ok(());
    }
    rustix::fs::fchmod(dir, mode | Mode::RWXU)
}

/// Gives a directory of the tree the permissions that a new one gets.
pub(super) fn make_usual(dir: BorrowedFd<'_>, umask: RawMode) -> rustix::io::Result<()> {
    let mode = rustix::fs::fstat(dir)?.st_mode & 0o7777;
    let usual = mode & 0o7000 | 0o777 & !umask;
    if mode == usual {
        return Ok(());
    }
    rustix::fs::fchmod(dir, Mode::from_raw_mode(usual))
}

/// Unlocks every directory below `at`.
pub(super) fn unlock_all(at: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let mut dir = Dir::new(open_dir(at, name)?)?;
    while let Some(entry) = dir.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." && is_dir(dir.fd()?, OsStr::from_bytes(name)) {
            unlock_all(dir.fd()?, OsStr::from_bytes(name))?;
        }
    }
    Ok(())
}

fn make_dir(at: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    rustix::fs::mkdirat(at, name, Mode::from_raw_mode(0o777))?;
    open_dir(at, name)
}

fn is_dir(at: BorrowedFd<'_>, name: &OsStr) -> bool {
    rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Removes whatever is there, with everything below it; where that fails, as much as can be.
pub(super) fn remove_at(at: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(at, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        Err(Errno::PERM) if is_dir(at, name) => {}
        other => return other.map_err(io::Error::from),
    }
    let mut dir = Dir::new(open_dir(at, name)?)?;
    let mut names = Vec::new();
    for entry in dir.by_ref() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    let mut removed = Ok(());
    for below in names {
        removed = removed.and(remove_at(dir.fd()?, OsStr::from_bytes(&below)));
    }
    removed?;
    rustix::fs::unlinkat(at, name, AtFlags::REMOVEDIR).map_err(io::Error::from)
}

/// Removes whatever is at `path`, with everything below it; nothing there is fine.
pub(super) fn remove_path(path: &Path) -> io::Result<()> {
    match remove_at(rustix::fs::CWD, path.as_os_str()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes whatever is at `path`, or moves what of it cannot be removed out of the way:
/// a container may have left files of another user.
pub(super) fn clear_path(path: &Path) -> io::Result<()> {
    let Err(error) = remove_path(path) else {
        return Ok(());
    };
    let Some(name) = path.file_name() else {
        return Err(error);
    };
    // A few, since whoever leaves such files may do it each time.
    for number in 1..=LEFT_OVER {
        let mut aside = name.to_owned();
        aside.push(format!(".left-{number}"));
        let aside = path.with_file_name(aside);
        if remove_path(&aside).is_ok() && std::fs::rename(path, &aside).is_ok() {
            return Ok(());
        }
    }
    Err(error)
}

/// The permissions that new files of this process do not get.
pub(super) fn umask() -> RawMode {
    // Asking for it by the system call would set it.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|octal| RawMode::from_str_radix(octal.trim(), 8).ok())
        .unwrap_or(0o022)
}
