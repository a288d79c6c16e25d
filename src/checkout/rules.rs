//! What surrounds a worktree and decides how git fills it: configuration, and attributes
//! from outside the tree.
//!
//! It is looked at before every move by git, and remembered with the files that this made;
//! a move in process asks whether all is as it was.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::git_in::GitIn;
use super::mark::Marks;
use super::slow::Slow;
use crate::git::conversion::{Conversion, EXPAND_ATTRIBUTES, GitFiles, NOT_HERE, said_path};
use crate::git::{GitError, Repo};
use crate::model::printable_line;

/// Extensions of a repository that change nothing for a checkout.
const EXTENSIONS: [&str; 6] = [
    "extensions.objectformat",
    "extensions.worktreeconfig",
    "extensions.refstorage",
    "extensions.relativeworktrees",
    "extensions.noop",
    "extensions.preciousobjects",
];

/// The surroundings of a worktree.
pub(super) struct CheckoutRules {
    /// Of every file that this was read from, or that would count if it came to be.
    marks: Marks,
    /// What of it stands against a plain checkout.
    pub(super) slow: Option<Slow>,
    /// How blobs become files.
    pub(super) conversion: Conversion,
    /// Whether only a part of the tree may be there.
    pub(super) sparse: bool,
    /// The user's own ignore rules.
    pub(super) excludes: Option<PathBuf>,
    /// What of these surroundings is missing here, on a host.
    pub(super) missing: Option<String>,
}

impl CheckoutRules {
    /// Looks at everything that counts for the worktree at `path`, in which `git` runs, with
    /// the git directory `admin`.
    pub(super) fn survey(
        repo: &Repo,
        git: &GitIn<'_>,
        path: &Path,
        admin: &Path,
    ) -> Result<Self, GitError> {
        let began = SystemTime::now();
        let places = GitFiles::of(repo.git());
        let common = repo.common_dir();
        let mut files = BTreeSet::from([common.join("config"), PathBuf::from("/etc/gitconfig")]);
        files.extend(places.home.as_ref().map(|home| home.join(".gitconfig")));
        files.extend(places.user.as_ref().map(|user| user.join("config")));
        for variable in ["GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"] {
            files.extend(std::env::var_os(variable).map(PathBuf::from));
        }

        let mut list = git.command();
        list.args(["config", "--list", "--show-origin", "-z"]);
        let listed = repo.git().output(&mut list)?.stdout;
        let mut ground = Self {
            marks: Marks::default(),
            slow: repo.is_partial().then_some(Slow::Partial),
            conversion: Conversion::default(),
            sparse: false,
            excludes: places.user.as_ref().map(|user| user.join("ignore")),
            missing: None,
        };
        let mut attributes = None;
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
                None => ground.only_if(false, || Slow::Elsewhere),
            }
            let mut parts = entry.splitn(2, |&byte| byte == b'\n');
            let key = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
            let value = parts.next().unwrap_or(b"true");
            match key.as_str() {
                "core.attributesfile" => attributes = Some(value.to_vec()),
                "core.excludesfile" => ground.excludes = ground.expand(value, &places),
                NOT_HERE => {
                    ground.missing = Some(String::from_utf8_lossy(value).into_owned());
                }
                _ => ground.setting(&key, value),
            }
        }
        let info = common.join("info/attributes");
        let named = attributes.as_deref();
        let expand = || Some(said_path(&git.run(&EXPAND_ATTRIBUTES).ok()?.stdout));
        ground
            .conversion
            .read_attributes(&places, named, info, expand);
        ground.conversion.resolve(|tree| {
            let said = git.run(&["rev-parse", "-q", "--verify", tree]).ok()?;
            Some(String::from_utf8_lossy(said.stdout.trim_ascii()).into_owned())
        });
        let keeps = ground.conversion.keeps_blobs();
        ground.only_if(keeps, || Slow::Conversion);
        files.extend(ground.conversion.files().map(Path::to_owned));
        ground.marks = Marks::since(began, files);
        Ok(ground)
    }

    /// Whether all is as it was.
    pub(super) fn unchanged(&self) -> bool {
        self.marks.hold()
    }

    /// Takes account of one setting.
    fn setting(&mut self, key: &str, value: &[u8]) {
        self.conversion.setting(key, value);
        let value = value.to_ascii_lowercase();
        let no = matches!(value.as_slice(), b"false" | b"no" | b"off" | b"0" | b"");
        let yes = matches!(value.as_slice(), b"true" | b"yes" | b"on" | b"1");
        let followed = match key {
            "core.autocrlf" => no || value == b"input" || yes,
            "core.eol" => matches!(value.as_slice(), b"lf" | b"native" | b"crlf"),
            "core.filemode" | "core.symlinks" => yes,
            "core.ignorecase" | "core.precomposeunicode" | "core.protecthfs" => no,
            "core.sparsecheckout" | "core.sparsecheckoutcone" => {
                self.sparse |= !no;
                no
            }
            "core.virtualfilesystem" => false,
            _ if key.starts_with("extensions.") => EXTENSIONS.contains(&key),
            _ => true,
        };
        self.only_if(followed, || {
            Slow::Setting(printable_line(key.as_bytes()).into_owned())
        });
    }

    /// Keeps the first reason why a checkout is not plain.
    fn only_if(&mut self, plain: bool, why: impl FnOnce() -> Slow) {
        if !plain && self.slow.is_none() {
            self.slow = Some(why());
        }
    }

    /// A path of the configuration.
    fn expand(&mut self, value: &[u8], places: &GitFiles) -> Option<PathBuf> {
        let path = Path::new(OsStr::from_bytes(value));
        match path.strip_prefix("~") {
            Ok(below) => Some(places.home.as_ref()?.join(below)),
            Err(_) if path.is_absolute() => Some(path.to_owned()),
            Err(_) if value.is_empty() => None,
            Err(_) => {
                self.only_if(false, || Slow::Setting("core.excludesfile".to_owned()));
                None
            }
        }
    }
}
