//! Files and directories of ours: who may use them, and whether they are what they
//! should be.
//!
//! Two places hold what git-ci keeps: `ci` in a repository's common git directory, and
//! the caches with the worktrees. Both may hold the content of a private repository, so
//! directories are 0700 and files 0600 whatever the umask is. Only what is below `ci` of
//! a repository with `core.sharedRepository` gets the rights that git gives there: `ci`
//! has them from the configuration, and all below it inherits them from its directory.
//!
//! A directory is checked each time it is used: a link, something else than a directory,
//! or what belongs to somebody else is refused with a reason that names it. A directory
//! of our own that is open too far (an older version made it) is closed. Files are opened
//! without following links and without waiting for whoever is at the other end of a FIFO.
//!
//! What this does not do: it does not protect from whoever may write to the directory
//! above, as the owner of a repository may; it finds accidents, and what others prepared
//! in a place that is open to them (`/tmp`).

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

/// How often a directory is made again that somebody removes at the same time.
const TRIES: u32 = 100;

/// `core.sharedRepository`: who else may use what is made in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// As the umask says; what is ours alone is for its owner.
    Umask,
    /// At least these bits.
    AtLeast(u32),
    /// Exactly these bits.
    Exactly(u32),
}

impl Sharing {
    /// What a value of `core.sharedRepository` means, as git's `git_config_perm` has it;
    /// where it means nothing, git itself refuses the repository.
    pub fn parse(value: Option<&str>) -> Self {
        let Some(value) = value.map(str::to_ascii_lowercase) else {
            return Self::Umask;
        };
        match value.as_str() {
            "group" | "true" | "yes" | "on" => Self::AtLeast(0o660),
            "all" | "world" | "everybody" => Self::AtLeast(0o664),
            octal => match u32::from_str_radix(octal, 8) {
                Ok(1) => Self::AtLeast(0o660),
                Ok(2) => Self::AtLeast(0o664),
                Ok(bits) if bits & 0o600 == 0o600 => Self::Exactly(bits & 0o666),
                _ => Self::Umask,
            },
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

    /// Gives a file or directory of the repository itself the mode that git would.
    ///
    /// # Errors
    /// Those of changing a mode.
    pub fn apply(self, path: &Path) -> io::Result<()> {
        if self == Self::Umask {
            return Ok(());
        }
        let meta = fs::metadata(path)?;
        let mode = self.adjust(meta.permissions().mode() & 0o7777, meta.is_dir());
        fs::set_permissions(path, Permissions::from_mode(mode))
    }

    /// The mode of the `ci` directory.
    fn of_ci_dir(self) -> u32 {
        self.adjust(0o700, true)
    }
}

/// Makes the directory `ci_dir` of a repository, for those who may use the repository,
/// or checks that it is one.
///
/// # Errors
/// Where something else is there, or it belongs to somebody else.
pub(crate) fn make_ci_dir(ci_dir: &Path, sharing: Sharing) -> io::Result<()> {
    use_dir(ci_dir, Some(sharing.of_ci_dir()), Owner::OrOfParent)
}

/// Gives a `ci_dir` that is there the mode that it should have, where it is ours to
/// change. The configuration may have changed since it was made.
pub(crate) fn settle_ci_dir(ci_dir: &Path, sharing: Sharing) {
    if let Ok(found) = fs::symlink_metadata(ci_dir)
        && found.is_dir()
        && found.uid() == own_uid()
        && found.mode() & 0o7777 != sharing.of_ci_dir()
    {
        // Whoever needs it will say what is wrong with it.
        let _ = make_ci_dir(ci_dir, sharing);
    }
}

/// Makes the directory `name` (or `a/b`) below a repository's `ci` directory, and what
/// is missing above it; returns its path. Those who may use `ci` may use it.
///
/// # Errors
/// Where something else is there, or it belongs to somebody else.
pub(crate) fn dir_in(ci_dir: &Path, name: impl AsRef<Path>) -> io::Result<PathBuf> {
    let path = ci_dir.join(name.as_ref());
    let mut tries = 0;
    loop {
        let made = make_below(ci_dir, name.as_ref());
        match made {
            Ok(()) => return Ok(path),
            // Empty directories are removed by whoever emptied them.
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

fn make_below(ci_dir: &Path, name: &Path) -> io::Result<()> {
    use_dir(ci_dir, None, Owner::OrOfParent)?;
    let mut path = ci_dir.to_owned();
    for part in name.components() {
        if !matches!(part, Component::Normal(_)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mode = fs::symlink_metadata(&path)?.mode() & 0o2777 | 0o700;
        path.push(part);
        use_dir(&path, Some(mode), Owner::OrOfParent)?;
    }
    Ok(())
}

/// Makes a directory for this user alone, and what is missing above it; what is there
/// must be a directory, no link, and this user's own.
///
/// # Errors
/// Where it is not, or cannot be made.
pub(crate) fn make_private_dir(path: &Path) -> io::Result<()> {
    if let Some(above) = path.parent()
        && !above.exists()
    {
        make_above(above)?;
    }
    use_dir(path, Some(0o700), Owner::Own)
}

/// Makes directories that are missing, for this user alone. Those that are there are as
/// they are: the user's, who may have put a link there.
fn make_above(path: &Path) -> io::Result<()> {
    if let Some(above) = path.parent()
        && !above.exists()
    {
        make_above(above)?;
    }
    match mkdirat(CWD, path, Mode::from_raw_mode(0o700)) {
        Err(rustix::io::Errno::EXIST) if path.is_dir() => Ok(()),
        made => Ok(made?),
    }
}

/// Checks what is at `path` in a directory of this user's own: nothing, or a directory
/// that is no link and belongs to this user.
///
/// # Errors
/// Where it is anything else.
pub(crate) fn check_own_dir(path: &Path) -> io::Result<()> {
    match open_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(dir) => check_owner(path, dir.metadata()?.uid(), Owner::Own),
    }
}

/// Whose a directory may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// This user's.
    Own,
    /// Or that of the repository: of the directory above. Where several share one,
    /// anybody's.
    OrOfParent,
}

/// The id of this user, where a repository with this git directory is another user's. What
/// each user has for themselves, and is named in a place that several share, has this in
/// its name.
pub(crate) fn other_user(common_dir: &Path) -> Option<u32> {
    let owner = fs::metadata(common_dir).ok()?.uid();
    (owner != own_uid()).then(own_uid)
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Makes the directory `path` with `mode`, or checks the one that is there, and corrects
/// its mode where it is ours. Without a mode, a new one gets what fits the directory
/// above, and one that is there keeps its own, unless it is open to more than a group.
fn use_dir(path: &Path, mode: Option<u32>, owner: Owner) -> io::Result<()> {
    let above = path.parent().unwrap_or(path);
    let dir = match open_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match mkdirat(CWD, path, Mode::from_raw_mode(0o700)) {
                // Somebody was faster, and what it is shows when it is opened.
                Ok(()) | Err(rustix::io::Errno::EXIST) => open_dir(path)?,
                Err(error) => return Err(error.into()),
            }
        }
        dir => dir?,
    };
    let found = dir.metadata()?;
    check_owner(path, found.uid(), owner)?;
    let is = found.mode() & 0o7777;
    let wanted = mode.unwrap_or_else(|| match is & 0o2000 {
        // Made for a group; how far it is open was decided then.
        0o2000 if is & 0o070 != 0 => is,
        _ => match fs::metadata(above).map_or(0, |above| above.mode()) {
            group if group & 0o2020 == 0o2020 => 0o2770,
            _ => 0o700,
        },
    });
    if is != wanted && found.uid() == own_uid() {
        // Some file systems have no modes; nothing there is private.
        let _ = dir.set_permissions(Permissions::from_mode(wanted));
    }
    Ok(())
}

fn open_dir(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty())
        .map(File::from)
        .map_err(|error| match error {
            // A link, too, is told as something that is no directory.
            rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP => {
                refused(path, kind_of(path), "no directory")
            }
            error => error.into(),
        })
}

fn check_owner(path: &Path, uid: u32, owner: Owner) -> io::Result<()> {
    let may = uid == own_uid()
        || owner == Owner::OrOfParent
            && path
                .parent()
                .and_then(|above| fs::metadata(above).ok())
                .is_some_and(|above| above.uid() == uid || above.mode() & 0o020 != 0);
    if may {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "{} belongs to another user (uid {uid}), so it is not used",
                path.display()
            ),
        ))
    }
}

/// What is at a path instead of what should be there.
fn kind_of(path: &Path) -> &'static str {
    use std::os::unix::fs::FileTypeExt as _;
    match fs::symlink_metadata(path).map(|found| found.file_type()) {
        Ok(kind) if kind.is_symlink() => "a symbolic link",
        Ok(kind) if kind.is_dir() => "a directory",
        Ok(kind) if kind.is_fifo() => "a FIFO",
        Ok(kind) if kind.is_socket() => "a socket",
        Ok(kind) if kind.is_file() => "a file",
        Ok(_) => "a device",
        Err(_) => "something else",
    }
}

fn refused(path: &Path, is: &str, should: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{} is {is} and {should}; remove it", path.display()),
    )
}

/// How a file is opened; it is in a directory that was made or checked before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    /// To read what is there.
    Read,
    /// To read and write, made where there is none: locks and state.
    Update,
    /// To read, and to write at its end, made where there is none.
    Append,
    /// To write from its beginning, made where there is none.
    Truncate,
    /// To write, and there must be none.
    New,
}

/// Opens a plain file: no link is followed, no FIFO waited for. A new one can be read
/// and written by those who may use its directory, and so can one of ours that was there.
///
/// # Errors
/// Those of opening; where something else is there, an error that names it.
pub(crate) fn open(path: &Path, how: Open) -> io::Result<File> {
    let flags = match how {
        Open::Read => OFlags::RDONLY,
        Open::Update => OFlags::RDWR | OFlags::CREATE,
        Open::Append => OFlags::RDWR | OFlags::APPEND | OFlags::CREATE,
        // Truncated below, once it is known to be a file.
        Open::Truncate => OFlags::WRONLY | OFlags::CREATE,
        Open::New => OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL,
    };
    let safe = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = openat(CWD, path, flags | safe, Mode::from_raw_mode(0o600))
        .map(File::from)
        .map_err(|error| match error {
            rustix::io::Errno::LOOP
            | rustix::io::Errno::ISDIR
            // A socket, or a FIFO without a reader.
            | rustix::io::Errno::NXIO => refused(path, kind_of(path), "no file"),
            error => error.into(),
        })?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(refused(path, kind_of(path), "no file"));
    }
    if how != Open::Read && found.uid() == own_uid() {
        let wanted = file_mode(path.parent().unwrap_or(path));
        if found.mode() & 0o777 != wanted {
            // As in `use_dir`.
            let _ = file.set_permissions(Permissions::from_mode(wanted));
        }
    }
    if how == Open::Truncate {
        file.set_len(0)?;
    }
    // `O_NONBLOCK` means nothing for a plain file.
    Ok(file)
}

/// The mode of files in a directory of ours.
pub(crate) fn file_mode(dir: &Path) -> u32 {
    fs::metadata(dir).map_or(0o600, |dir| dir.mode() & 0o666 | 0o600)
}

/// Reads a plain file, as [`open`] opens it, of at most `most` bytes.
///
/// # Errors
/// Those of opening and reading, and `FileTooLarge`.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path, Open::Read)?
        .take(most.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Puts a file with these bytes in the place of whatever file is there, whole or not at
/// all; it is not synced.
///
/// # Errors
/// Those of writing and renaming.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(path);
    let mut new = temporary(dir, ".new-")?;
    new.write_all(bytes)?;
    new.persist(path)?;
    Ok(())
}

/// A temporary file in a directory of ours; its name begins with `prefix`.
///
/// # Errors
/// Those of making a file.
pub(crate) fn temporary(dir: &Path, prefix: &str) -> io::Result<tempfile::NamedTempFile> {
    let new = tempfile::Builder::new().prefix(prefix).tempfile_in(dir)?;
    // Not at once, or the umask would have a say.
    let mode = Mode::from_raw_mode(file_mode(dir));
    if mode != Mode::from_raw_mode(0o600) {
        rustix::fs::fchmod(new.as_file().as_fd(), mode)?;
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn shared_repositories_get_the_modes_that_git_gives() {
        let adjust = |value, mode, dir| Sharing::parse(Some(value)).adjust(mode, dir);
        assert_eq!(adjust("umask", 0o444, false), 0o444);
        assert_eq!(adjust("false", 0o755, true), 0o755);
        assert_eq!(adjust("group", 0o400, false), 0o440);
        assert_eq!(adjust("1", 0o400, false), 0o440);
        assert_eq!(adjust("true", 0o755, true), 0o2775);
        assert_eq!(adjust("all", 0o400, false), 0o444);
        assert_eq!(adjust("0640", 0o444, false), 0o440);
        assert_eq!(adjust("640", 0o444, false), 0o440);
        assert_eq!(adjust("0640", 0o755, true), 0o2750);
        assert_eq!(adjust("0400", 0o755, true), 0o755);
    }

    #[test]
    fn what_is_below_ci_is_open_to_those_who_share_the_repository() {
        for (shared, dirs, files) in [
            (None, 0o700, 0o600),
            (Some("group"), 0o2770, 0o660),
            (Some("all"), 0o2775, 0o664),
            (Some("0640"), 0o2750, 0o640),
        ] {
            let root = tempfile::tempdir().unwrap();
            let ci = root.path().join("ci");
            make_ci_dir(&ci, Sharing::parse(shared)).unwrap();
            let dir = dir_in(&ci, "a/b").unwrap();
            for dir in [&ci, &ci.join("a"), &dir] {
                assert_eq!(mode(dir), dirs, "{shared:?} {}", dir.display());
            }
            for (name, how) in [
                ("lock", Open::Update),
                ("log", Open::Append),
                ("new", Open::New),
            ] {
                drop(open(&dir.join(name), how).unwrap());
                assert_eq!(mode(&dir.join(name)), files, "{shared:?} {name}");
            }
            replace(&dir.join("new"), b"x").unwrap();
            assert_eq!(mode(&dir.join("new")), files);
            assert_eq!(read(&dir.join("new"), 1).unwrap(), b"x");
            assert!(read(&dir.join("new"), 0).is_err(), "bounded");
        }
    }

    #[test]
    fn what_an_older_version_left_open_is_closed() {
        let root = tempfile::tempdir().unwrap();
        let ci = root.path().join("ci");
        fs::create_dir_all(ci.join("logs")).unwrap();
        fs::set_permissions(&ci, Permissions::from_mode(0o755)).unwrap();
        fs::write(ci.join("logs/lock"), "").unwrap();
        fs::set_permissions(ci.join("logs/lock"), Permissions::from_mode(0o644)).unwrap();
        let logs = dir_in(&ci, "logs").unwrap();
        drop(open(&logs.join("lock"), Open::Update).unwrap());
        assert_eq!((mode(&ci), mode(&logs)), (0o700, 0o700));
        assert_eq!(mode(&logs.join("lock")), 0o600);
        // Without the configuration at hand, the repository's own directory tells.
        let shared = root.path().join("shared");
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(&shared, Permissions::from_mode(0o2775)).unwrap();
        let spool = dir_in(&shared.join("ci"), "spool").unwrap();
        assert_eq!(mode(&spool), 0o2770);
    }

    #[test]
    fn links_and_other_things_are_refused_by_name() {
        let root = tempfile::tempdir().unwrap();
        let ci = root.path().join("ci");
        let other = root.path().join("other");
        fs::create_dir(&other).unwrap();
        std::os::unix::fs::symlink(&other, &ci).unwrap();
        let said = dir_in(&ci, "logs").unwrap_err().to_string();
        assert!(said.contains("a symbolic link"), "{said}");
        assert_eq!(fs::read_dir(&other).unwrap().count(), 0);

        let dir = root.path().join("own");
        make_private_dir(&dir).unwrap();
        let lock = dir.join("lock");
        std::os::unix::fs::symlink(root.path().join("target"), &lock).unwrap();
        let said = open(&lock, Open::Update).unwrap_err().to_string();
        assert!(said.contains("a symbolic link"), "{said}");
        assert!(!root.path().join("target").exists());
        fs::remove_file(&lock).unwrap();
        fs::create_dir(&lock).unwrap();
        for how in [Open::Update, Open::Append, Open::Read] {
            let said = open(&lock, how).unwrap_err().to_string();
            assert!(said.contains("is a directory"), "{said}");
        }
        fs::remove_dir(&lock).unwrap();
        rustix::fs::mknodat(
            CWD,
            &lock,
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        for how in [Open::Update, Open::Append, Open::Truncate, Open::Read] {
            let said = open(&lock, how).unwrap_err().to_string();
            assert!(said.contains("a FIFO"), "{said}");
        }
        std::os::unix::fs::symlink(&other, dir.join("slot")).unwrap();
        assert!(check_own_dir(&dir.join("slot")).is_err());
        assert!(check_own_dir(&dir.join("none")).is_ok());
        assert!(check_own_dir(&dir).is_ok());
        let through = root.path().join("through");
        std::os::unix::fs::symlink(&dir, &through).unwrap();
        assert!(make_private_dir(&through).is_err());
        // What is above is the user's own affair.
        make_private_dir(&through.join("new/deep")).unwrap();
        assert_eq!(mode(&dir.join("new")), 0o700);
    }
}
