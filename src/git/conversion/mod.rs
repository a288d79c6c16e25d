//! What outside a tree decides how its blobs become files: configuration, attributes of
//! the user and the system, a few variables.
//!
//! Three ask. A checkout has to know whether the files of a slot were made as they would be
//! now. A verdict is only good for surroundings that made the same files
//! ([`Conversion::settings`]). And a host has to make the files that would be
//! made at home ([`Beyond`](super::Beyond)). None of it is there in ordinary
//! repositories, and then there is nothing to tell; what is as `git lfs install` leaves it
//! is ordinary.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::command::{Git, GitError};
use super::repo::{Repo, is_true};
use crate::model::EnvId;

/// A setting of a cache on a host: what of home's surroundings it cannot have.
pub(crate) const NOT_HERE: &str = "ci.nothere";

/// How lines end in files of text, unless `core.autocrlf` says something about it.
const EOL: &str = "core.eol";

mod submodules;

/// No file of attributes is larger.
const MAX_SIZE: u64 = 64 << 20;

/// Which submodules are wanted: several pathspecs, of which "." means all.
const ACTIVE: &str = "submodule.active";

/// A variable by which git-lfs leaves pointers where files should be.
const SKIP_SMUDGE: &str = "GIT_LFS_SKIP_SMUDGE";

/// Where the user's and the system's files of git are, as git looks for them.
#[derive(Debug, Clone)]
pub(crate) struct GitFiles {
    pub(crate) home: Option<PathBuf>,
    /// `~/.config/git`.
    pub(crate) user: Option<PathBuf>,
    /// The system's attributes, which depend on where git was installed.
    system_attributes: Vec<PathBuf>,
}

impl GitFiles {
    /// Those of the processes that `git` starts.
    pub(crate) fn of(git: &Git) -> Self {
        if let Some(nowhere) = git.away_from_home() {
            return Self {
                home: Some(nowhere.to_owned()),
                user: Some(nowhere.join("git")),
                system_attributes: Vec::new(),
            };
        }
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let user = variable("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| home.as_ref().map(|home| home.join(".config")));
        let mut system_attributes = vec![PathBuf::from("/etc/gitattributes")];
        let prefix = git.program().canonicalize().ok();
        let prefix = prefix.as_deref().and_then(|git| git.parent()?.parent());
        if let Some(prefix) = prefix.filter(|prefix| *prefix != Path::new("/usr")) {
            system_attributes.push(prefix.join("etc/gitattributes"));
        }
        let without = variable("GIT_ATTR_NOSYSTEM").and_then(|value| value.into_string().ok());
        if without.is_some_and(|value| is_true(&value)) {
            system_attributes.clear();
        }
        Self {
            home,
            user: user.map(|user| user.join("git")),
            system_attributes,
        }
    }
}

/// A program that makes files of blobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Filter {
    smudge: Vec<u8>,
    process: Vec<u8>,
}

impl Filter {
    /// Whether it changes anything.
    fn is_active(&self) -> bool {
        !self.process.is_empty() || !matches!(self.smudge.as_slice(), b"" | b"cat")
    }

    /// Whether it is git-lfs, as it sets itself up.
    fn is_lfs(&self) -> bool {
        let is = |command: &[u8], start: &[u8]| command.is_empty() || command.starts_with(start);
        is(&self.smudge, b"git-lfs smudge") && is(&self.process, b"git-lfs filter-process")
    }

    /// Whether it is git-lfs, told to leave pointers.
    fn skips(&self) -> bool {
        let skips = |command: &[u8]| {
            let mut words = command.split(u8::is_ascii_whitespace);
            words.any(|word| matches!(word, b"--skip" | b"-s"))
        };
        self.is_lfs() && (skips(&self.smudge) || skips(&self.process))
    }
}

/// What decides how blobs become files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conversion {
    /// Settings that change files, by their names; those that change none are not here.
    settings: BTreeMap<String, Vec<u8>>,
    filters: BTreeMap<String, Filter>,
    /// Lines end as in the blob, whatever [`EOL`] says.
    keeps_lines: bool,
    /// Attributes from outside the tree that are not harmless, weakest first: the system's,
    /// the user's, the repository's.
    attributes: [Vec<u8>; 3],
    /// The files that the attributes are in, or could be.
    files: BTreeSet<PathBuf>,
    /// What submodules have besides, as hashes, by their git directories.
    submodules: BTreeMap<String, Vec<u8>>,
    /// The user's file has a name that means another file in each work tree. In a new one
    /// that file is not there yet when the others are made, so it never counts.
    floating: bool,
}

/// Has git say where the user's file of attributes is.
pub(crate) const EXPAND_ATTRIBUTES: [&str; 4] =
    ["config", "--type=path", "--get", "core.attributesFile"];

/// A path that git said, on a line of its own.
pub(crate) fn said_path(said: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(said.strip_suffix(b"\n").unwrap_or(said)))
}

impl Conversion {
    /// What counts for checkouts of `repo`.
    pub fn of(repo: &Repo) -> Self {
        // What was given to this command alone, or counts in this work tree alone, does not
        // reach what is checked out for it.
        let lent = ["GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT"];
        let here_alone = |key: &String| {
            key == "extensions.worktreeconfig" || key.starts_with("includeif.onbranch:")
        };
        let fresh = (lent.iter().any(|name| std::env::var_os(name).is_some())
            || repo.all_config().keys().any(here_alone))
        .then(|| repo.config_afresh().ok())
        .flatten();
        Self::from_config(repo, fresh.as_ref().unwrap_or(repo.all_config()))
    }

    /// What counts for checkouts of `repo` now, whatever was read of it before.
    ///
    /// # Errors
    /// Where its configuration cannot be read.
    pub fn now(repo: &Repo) -> Result<Self, GitError> {
        Ok(Self::from_config(repo, &repo.config_afresh()?))
    }

    fn from_config(repo: &Repo, config: &BTreeMap<String, Vec<String>>) -> Self {
        let mut conversion = Self::alone(repo, config);
        conversion.submodules = conversion.of_submodules(repo);
        conversion
    }

    /// The same without submodules.
    fn alone(repo: &Repo, config: &BTreeMap<String, Vec<String>>) -> Self {
        let mut conversion = Self::default();
        let mut attributes = None;
        for (key, values) in config {
            let Some(value) = values.last() else { continue };
            if key == "core.attributesfile" {
                attributes = Some(value.as_bytes().to_vec());
            }
            conversion.setting(key, value.as_bytes());
        }
        conversion.left_out(config);
        let sparse = |key| config.get(key).and_then(|values| values.last());
        if ["ci.sparse", "core.sparsecheckout"]
            .map(sparse)
            .iter()
            .all(|value| value.is_some_and(|value| is_true(value)))
        {
            let file = repo.common_dir().join("info/sparse-checkout");
            let cone = sparse("core.sparsecheckoutcone").is_some_and(|value| is_true(value));
            let text = crate::git::read_file(&file, MAX_SIZE).unwrap_or_default();
            let text = [&[u8::from(cone)], text.as_slice()].concat();
            conversion.settings.insert("sparse".to_owned(), text);
        }
        let info = repo.common_dir().join("info/attributes");
        conversion.read_attributes(
            &GitFiles::of(repo.git()),
            attributes.as_deref(),
            info,
            || {
                let mut ask = repo.git_command();
                let said = repo.git().output(ask.args(EXPAND_ATTRIBUTES)).ok()?;
                Some(said_path(&said.stdout))
            },
        );
        conversion.resolve(|tree| {
            let mut ask = repo.git_command();
            ask.args(["rev-parse", "-q", "--verify", tree]);
            repo.git().read(&mut ask).ok()
        });
        conversion
    }

    /// Takes account of one setting, whose key has its section and variable in lower case.
    pub(crate) fn setting(&mut self, key: &str, value: &[u8]) {
        let lower = value.to_ascii_lowercase();
        let yes = is_true(&String::from_utf8_lossy(value));
        let takes_part = match key {
            "core.autocrlf" => {
                self.keeps_lines = lower == b"input";
                lower != b"input" && yes
            }
            EOL => lower == b"crlf",
            "core.symlinks" => !yes,
            "attr.tree" | "lfs.fetchinclude" | "lfs.fetchexclude" => !value.is_empty(),
            _ => {
                self.filter(key, value);
                return;
            }
        };
        self.settings.remove(key);
        if takes_part {
            let value = match key {
                "attr.tree" | "lfs.fetchinclude" | "lfs.fetchexclude" => value.to_vec(),
                "core.symlinks" => b"false".to_vec(),
                "core.autocrlf" => b"true".to_vec(),
                _ => lower,
            };
            self.settings.insert(key.to_owned(), value);
        }
    }

    fn filter(&mut self, key: &str, value: &[u8]) {
        let named = key.strip_prefix("filter.");
        let Some((name, variable)) = named.and_then(|rest| rest.rsplit_once('.')) else {
            return;
        };
        let filter = self.filters.entry(name.to_owned()).or_default();
        match variable {
            "smudge" => filter.smudge = value.to_vec(),
            "process" => filter.process = value.to_vec(),
            _ => {}
        }
    }

    /// Takes note of submodules that are not to be checked out.
    fn left_out(&mut self, config: &BTreeMap<String, Vec<String>>) {
        for (key, values) in config {
            if key == ACTIVE && values.iter().any(|value| value != ".") {
                let values = values.join("\n").into_bytes();
                self.settings.insert(key.clone(), values);
            }
            let value = values.last().map_or("", String::as_str);
            let submodule = key.starts_with("submodule.");
            let left_out = submodule && key.ends_with(".update") && value == "none"
                || submodule && key.ends_with(".active") && value == "false";
            if left_out {
                self.settings.insert(key.clone(), value.as_bytes().to_vec());
            }
        }
    }

    /// Reads the attributes from outside the tree. `named` is the value of
    /// `core.attributesFile`, which git can `expand`, `info` the repository's own file.
    pub(crate) fn read_attributes(
        &mut self,
        places: &GitFiles,
        named: Option<&[u8]>,
        info: PathBuf,
        expand: impl FnOnce() -> Option<PathBuf>,
    ) {
        let user = match named {
            None => places.user.as_ref().map(|user| user.join("attributes")),
            Some(b"") => None,
            Some(named) => match named.strip_prefix(b"~/") {
                Some(rest) => places
                    .home
                    .as_ref()
                    .map(|home| home.join(OsStr::from_bytes(rest))),
                // Somebody's home, or where git was installed.
                None if named.starts_with(b"~") || named.starts_with(b"%(") => expand(),
                None => Some(PathBuf::from(OsStr::from_bytes(named))),
            },
        };
        self.floating = user.as_ref().is_some_and(|path| !path.is_absolute());
        let user = user.filter(|path| path.is_absolute());
        let read = |file: &PathBuf| crate::git::read_file(file, MAX_SIZE).unwrap_or_default();
        let kinds = [
            places.system_attributes.clone(),
            Vec::from_iter(user),
            vec![info],
        ];
        for (attributes, files) in self.attributes.iter_mut().zip(kinds) {
            let texts = files
                .iter()
                .map(|file| [read(file).as_slice(), b"\n"].concat());
            let text: Vec<u8> = texts.collect::<Vec<_>>().concat();
            if !super::attributes::keeps_blobs(&text) {
                *attributes = text;
            }
            self.files.extend(files);
        }
        if std::env::var(SKIP_SMUDGE).is_ok_and(|value| is_true(&value)) {
            self.settings.insert(SKIP_SMUDGE.to_owned(), b"1".to_vec());
        }
    }

    /// Puts the id in place of the name of a tree that attributes are read from.
    pub(crate) fn resolve(&mut self, find: impl Fn(&str) -> Option<String>) {
        if let Some(name) = self.settings.remove("attr.tree") {
            let name = String::from_utf8_lossy(&name);
            // git ignores one that is not there.
            if let Some(id) = find(&format!("{name}^{{tree}}")) {
                self.settings
                    .insert("attr.tree".to_owned(), id.into_bytes());
            }
        }
    }

    /// The files whose change may change this.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(PathBuf::as_path)
    }

    /// The settings that change files.
    fn active(&self) -> impl Iterator<Item = (&String, &Vec<u8>)> {
        let settings = self.settings.iter();
        settings.filter(|(key, _)| !(self.keeps_lines && *key == EOL))
    }

    /// Whether blobs become files as they are where no attribute of a tree says otherwise.
    pub(crate) fn keeps_blobs(&self) -> bool {
        const HARMLESS: [&str; 3] = ["lfs.fetchinclude", "lfs.fetchexclude", SKIP_SMUDGE];
        let mut settings = self.active().map(|(key, _)| key);
        settings.all(|key| HARMLESS.contains(&key.as_str()) || key.starts_with("submodule."))
            && self.attributes.iter().all(Vec::is_empty)
    }

    /// Whether attributes are read from elsewhere than the commit.
    pub(crate) fn has_attributes_of_its_own(&self) -> bool {
        self.settings.contains_key("attr.tree") || self.attributes.iter().any(|a| !a.is_empty())
    }

    /// Whether the user's file of attributes must be kept from git.
    pub(crate) fn is_floating(&self) -> bool {
        self.floating
    }

    /// The names of the filters that make files of blobs.
    pub(crate) fn filters(&self) -> impl Iterator<Item = &str> {
        let set = |filter: &Filter| !filter.smudge.is_empty() || !filter.process.is_empty();
        let filters = self.filters.iter();
        filters
            .filter(move |(_, filter)| set(filter))
            .map(|(name, _)| name.as_str())
    }

    /// Whether files of this filter are git-lfs's, and hold what their pointers name once
    /// they are no pointers.
    pub(crate) fn is_lfs(&self, filter: &str) -> bool {
        self.filters.get(filter).is_some_and(Filter::is_lfs)
    }

    /// Whether git-lfs is set up.
    pub(crate) fn has_lfs(&self) -> bool {
        self.filters().any(|name| name == "lfs")
    }

    /// Whether somebody wants pointers in place of some large files.
    pub(crate) fn wants_pointers(&self) -> bool {
        let asked = ["lfs.fetchinclude", "lfs.fetchexclude", SKIP_SMUDGE];
        asked.iter().any(|key| self.settings.contains_key(*key))
            || self.filters.get("lfs").is_some_and(Filter::skips)
    }

    /// What identifies all of this: files that were made under another identity are not to be kept.
    pub(crate) fn identity(&self) -> Vec<u8> {
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        for (key, value) in self.active() {
            add(key.as_bytes());
            add(value);
        }
        add(b"");
        for (name, filter) in &self.filters {
            add(name.as_bytes());
            add(&filter.smudge);
            add(&filter.process);
        }
        add(b"");
        for text in &self.attributes {
            add(text);
        }
        hash.finalize().to_vec()
    }

    /// What of the surroundings a verdict depends on besides the commit, as names and
    /// values. Empty where they change nothing, and where that is only what `git lfs install` sets up.
    fn settings(&self) -> Vec<(String, Vec<u8>)> {
        let settings = self.active();
        let mut settings: Vec<_> = settings
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        for (name, filter) in &self.filters {
            let ordinary = name == "lfs" && filter.is_lfs() && !filter.skips();
            if filter.is_active() && !ordinary {
                settings.push((format!("filter.{name}.smudge"), filter.smudge.clone()));
                settings.push((format!("filter.{name}.process"), filter.process.clone()));
            }
        }
        let names = ["system", "user", "repository"];
        for (name, text) in names.iter().zip(&self.attributes) {
            if !text.is_empty() {
                settings.push((format!("attributes.{name}"), text.clone()));
            }
        }
        for (dir, hash) in &self.submodules {
            settings.push((format!("conversion in {dir}"), hash.clone()));
        }
        settings
    }

    /// The hash of `settings`; `None` where there are none.
    pub fn id(&self) -> Option<EnvId> {
        let settings = self.settings();
        let parts: Vec<_> = settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()))
            .collect();
        EnvId::of(&parts)
    }

    /// What a host has to be told, to make the same files.
    pub(crate) fn for_hosts(&self) -> ForHosts {
        let mut for_hosts = ForHosts::default();
        for (key, value) in self.active() {
            let value = String::from_utf8_lossy(value).into_owned();
            match key.as_str() {
                "core.autocrlf" | EOL | "core.symlinks" => {
                    for_hosts.settings.push((key.clone(), value));
                }
                ACTIVE => {
                    let specs = value.split('\n').map(|spec| (key.clone(), spec.to_owned()));
                    for_hosts.settings.extend(specs);
                }
                _ if key.starts_with("submodule.") => {
                    for_hosts.settings.push((key.clone(), value));
                }
                "attr.tree" => for_hosts
                    .missing
                    .push("the attributes of `attr.tree`".to_owned()),
                "sparse" => for_hosts
                    .missing
                    .push("the patterns of `ci.sparse`".to_owned()),
                _ => {}
            }
        }
        let [system, user, info] = self.attributes.clone();
        for_hosts.attributes = [system, user].concat();
        for_hosts.info = info;
        for_hosts
    }
}

/// What a host has to be told of a conversion.
#[derive(Debug, Default)]
pub(crate) struct ForHosts {
    pub(crate) settings: Vec<(String, String)>,
    /// The user's and the system's attributes.
    pub(crate) attributes: Vec<u8>,
    /// The repository's own attributes.
    pub(crate) info: Vec<u8>,
    /// What a host cannot have.
    pub(crate) missing: Vec<String>,
}
