//! Whether a checkout is plain: blobs become files byte by byte, and nothing but a tree's
//! entries decides which.
//!
//! Only then the move is done in process; everything else is left to git. The rule for
//! all of this is that what is not known to be harmless is not plain.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::super::{GitError, Repo};
use super::by_git::GitIn;

/// What surrounds a worktree and decides how git fills it: configuration, and attributes
/// from outside the tree.
pub(super) struct Ground {
    /// Every file that this was read from, or that would count if it came to be.
    watched: Vec<(PathBuf, Signature)>,
    /// Whether nothing of it stands against a plain checkout.
    pub(super) plain: bool,
    /// What of it decides how blobs become files; empty where they are written as they are.
    pub(super) conversion: Vec<u8>,
    /// Whether only a part of the tree may be there.
    pub(super) sparse: bool,
    /// The user's own ignore rules.
    pub(super) excludes: Option<PathBuf>,
}

/// What changes with a file.
type Signature = Option<(u64, u64, i64, i64, i64, i64)>;

fn signature(path: &Path) -> Signature {
    let stat = rustix::fs::stat(path).ok()?;
    Some((
        stat.st_ino,
        stat.st_size as u64,
        stat.st_mtime,
        stat.st_mtime_nsec as i64,
        stat.st_ctime,
        stat.st_ctime_nsec as i64,
    ))
}

impl Ground {
    /// Looks at everything that counts for the worktree at `path` with the git directory `admin`.
    pub(super) fn survey(repo: &Repo, path: &Path, admin: &Path) -> Result<Self, GitError> {
        let common = repo.common_dir();
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let user = std::env::var_os("XDG_CONFIG_HOME")
            .filter(|dir| !dir.is_empty())
            .map(PathBuf::from)
            .or_else(|| home.as_ref().map(|home| home.join(".config")))
            .map(|dir| dir.join("git"));
        let mut files = BTreeSet::from([common.join("config"), PathBuf::from("/etc/gitconfig")]);
        files.extend(home.as_ref().map(|home| home.join(".gitconfig")));
        files.extend(user.as_ref().map(|user| user.join("config")));
        for variable in ["GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"] {
            files.extend(std::env::var_os(variable).map(PathBuf::from));
        }

        let mut list = GitIn::slot(repo, path).command();
        list.args(["config", "--list", "--show-origin", "-z"]);
        let listed = repo.git().output(&mut list)?.stdout;
        let mut ground = Self {
            watched: Vec::new(),
            plain: true,
            conversion: Vec::new(),
            sparse: false,
            excludes: user.as_ref().map(|user| user.join("ignore")),
        };
        let mut attributes = vec![common.join("info/attributes"), "/etc/gitattributes".into()];
        let mut own_attributes = user.map(|user| user.join("attributes"));
        let mut fields = listed.split(|&byte| byte == 0);
        while let (Some(origin), Some(entry)) = (fields.next(), fields.next()) {
            match origin.strip_prefix(b"file:") {
                Some(file) => {
                    let file = path.join(OsStr::from_bytes(file));
                    // The slot's own has been made to what it has to be.
                    if !file.starts_with(admin) {
                        files.insert(file);
                    }
                }
                // Ours.
                None if origin.starts_with(b"command line:") => continue,
                None => ground.plain = false,
            }
            let mut parts = entry.splitn(2, |&byte| byte == b'\n');
            let key = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
            let value = parts.next().unwrap_or(b"true");
            match key.as_str() {
                "core.attributesfile" => own_attributes = ground.expand(value, home.as_deref()),
                "core.excludesfile" => ground.excludes = ground.expand(value, home.as_deref()),
                _ => ground.setting(&key, &value.to_ascii_lowercase(), entry),
            }
        }
        attributes.extend(own_attributes);
        for file in attributes {
            if let Ok(text) = std::fs::read(&file)
                && !self::attributes(&text)
            {
                ground.converts(&text);
            }
            files.insert(file);
        }
        ground.plain &= !repo.is_partial();
        ground.watched = files
            .into_iter()
            .map(|file| {
                let signature = signature(&file);
                (file, signature)
            })
            .collect();
        Ok(ground)
    }

    /// Whether all is as it was.
    pub(super) fn unchanged(&self) -> bool {
        self.watched
            .iter()
            .all(|(path, old)| signature(path) == *old)
    }

    /// Takes account of one setting; `entry` is the whole of it.
    fn setting(&mut self, key: &str, value: &[u8], entry: &[u8]) {
        let no = matches!(value, b"false" | b"no" | b"off" | b"0" | b"");
        let yes = matches!(value, b"true" | b"yes" | b"on" | b"1");
        match key {
            "core.autocrlf" if !no => self.converts(entry),
            "core.eol" if value != b"lf" && value != b"native" => self.converts(entry),
            "core.symlinks" if !yes => self.converts(entry),
            "core.filemode" if !yes => self.plain = false,
            "core.ignorecase" | "core.precomposeunicode" | "core.protecthfs" if !no => {
                self.plain = false;
            }
            "core.sparsecheckout" | "core.sparsecheckoutcone" if !no => {
                self.plain = false;
                self.sparse = true;
            }
            "core.virtualfilesystem" => self.plain = false,
            _ if key.starts_with("filter.") => {
                // Harmless until an attribute names it, which is seen then.
                self.filter(entry);
            }
            _ if key.starts_with("extensions.") => {
                const KNOWN: [&str; 6] = [
                    "extensions.objectformat",
                    "extensions.worktreeconfig",
                    "extensions.refstorage",
                    "extensions.relativeworktrees",
                    "extensions.noop",
                    "extensions.preciousobjects",
                ];
                self.plain &= KNOWN.contains(&key);
            }
            _ => {}
        }
    }

    /// Blobs are changed on their way to files, in a way that `why` decides.
    fn converts(&mut self, why: &[u8]) {
        self.plain = false;
        self.filter(why);
        self.conversion.push(b'!');
    }

    fn filter(&mut self, entry: &[u8]) {
        self.conversion.extend_from_slice(entry);
        self.conversion.push(0);
    }

    /// Whether blobs become files as they are where no attribute of a tree says otherwise.
    pub(super) fn keeps_blobs(&self) -> bool {
        !self.conversion.ends_with(b"!") && !contains(&self.conversion, b"\0!")
    }

    /// A path of the configuration.
    fn expand(&mut self, value: &[u8], home: Option<&Path>) -> Option<PathBuf> {
        let path = Path::new(OsStr::from_bytes(value));
        match path.strip_prefix("~") {
            Ok(below) => Some(home?.join(below)),
            Err(_) if path.is_absolute() => Some(path.to_owned()),
            Err(_) if value.is_empty() => None,
            Err(_) => {
                self.plain = false;
                None
            }
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Whether a file of attributes leaves blobs as they are: `text` without a line ending of
/// its own only matters on the way in.
pub(super) fn attributes(text: &[u8]) -> bool {
    text.split(|&byte| byte == b'\n').all(|line| {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            return true;
        }
        // A pattern in quotes may hold blanks; a macro gives names to attributes.
        if line.starts_with(b"\"") || line.starts_with(b"[attr]") {
            return false;
        }
        line.split(u8::is_ascii_whitespace)
            .skip(1)
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

/// Whether a tree's entry has a name that git, too, takes without a second look. Those
/// that could mean `.git` on some file system it refuses, or not, as configured.
pub(super) fn name(name: &[u8]) -> bool {
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
        ] {
            assert!(attributes(harmless.as_bytes()), "{harmless}");
        }
        for not in [
            "*.bin filter=lfs diff=lfs merge=lfs -text\n",
            "*.bat eol=crlf\n",
            "* ident\n",
            "*.txt\tworking-tree-encoding=UTF-16",
            "[attr]x filter=y\n",
            "\"a b\" text\n",
        ] {
            assert!(!attributes(not.as_bytes()), "{not}");
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
