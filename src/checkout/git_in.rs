//! How `git` is run in a slot: with nothing on that would make the index more than a list,
//! nobody to answer it, and the user's objects.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::git::MARK;
use crate::git::conversion::Conversion;
use crate::git::{Git, GitError, Repo};
use crate::model::Clean;

/// Programs and terminals that somebody would have to answer.
const ASKING: [&str; 3] = ["SSH_ASKPASS", "GPG_TTY", "DISPLAY"];

/// How `git` is run in a slot, or in a submodule in one.
pub(super) struct GitIn<'a> {
    git: &'a Git,
    /// The slot, whose mark the processes carry.
    slot: &'a Path,
    path: PathBuf,
    /// Where objects are read, and written where git fetches them as it goes: the user's,
    /// whatever a job left in the slot's.
    objects: PathBuf,
    /// Settings about how files are made.
    settings: Vec<(String, &'static str)>,
}

impl<'a> GitIn<'a> {
    /// In the slot at `path`.
    pub(super) fn slot(repo: &'a Repo, path: &'a Path) -> Self {
        Self {
            git: repo.git(),
            slot: path,
            path: path.to_owned(),
            objects: repo.common_dir().join("objects"),
            settings: Vec::new(),
        }
    }

    /// In a submodule at `path`, of which the user's git directory is `source`.
    pub(super) fn submodule(&self, path: PathBuf, source: &Path) -> Self {
        Self {
            git: self.git,
            slot: self.slot,
            path,
            objects: source.join("objects"),
            settings: Vec::new(),
        }
    }

    /// A command with nothing on that would make the index more than a list.
    pub(super) fn command(&self) -> Command {
        let mut command = self.git.command();
        for setting in [
            "core.fsmonitor=false",
            "core.untrackedCache=false",
            "core.splitIndex=false",
            "core.trustctime=true",
            "core.checkStat=default",
            "core.logAllRefUpdates=false",
            "submodule.recurse=false",
            "advice.detachedHead=false",
        ] {
            command.args(["-c", setting]);
        }
        // An error of git-lfs is one, also where it was told to say nothing.
        let always = [("lfs.skipdownloaderrors", "false"), ("core.askPass", "")];
        let settings = self
            .settings
            .iter()
            .map(|(key, value)| (key.as_str(), *value));
        let settings: Vec<_> = always.into_iter().chain(settings).collect();
        // Not on the command line: there a name may hold no equals sign.
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (i, (key, value)) in settings.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{i}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{i}"), value);
        }
        for name in ASKING {
            command.env_remove(name);
        }
        command
            .env("GIT_ASKPASS", "")
            .env("SSH_ASKPASS_REQUIRE", "never")
            .env("GCM_INTERACTIVE", "never")
            .env_remove("GIT_LFS_SKIP_DOWNLOAD_ERRORS");
        // Where there is no sound repository git must not find one further up.
        let ceiling = self.path.parent().unwrap_or(&self.path);
        command
            .env("GIT_CEILING_DIRECTORIES", ceiling)
            .env("GIT_OBJECT_DIRECTORY", &self.objects)
            .env(MARK, self.slot)
            .arg("-C")
            .arg(&self.path);
        command
    }

    /// Runs a command to its end.
    pub(super) fn run(&self, args: &[&str]) -> Result<Output, GitError> {
        self.git.output(self.command().args(args))
    }

    /// The same with something on its standard input.
    pub(super) fn ask(&self, args: &[&str], input: &[u8]) -> Result<Output, GitError> {
        self.git.output_with_input(self.command().args(args), input)
    }

    /// Makes files as `conversion` says, and lets none be left as its blob is where a
    /// filter fails.
    pub(super) fn convert(&mut self, conversion: &Conversion) {
        let key = |name| (format!("filter.{name}.required"), "true");
        self.settings = conversion.filters().map(key).collect();
        if conversion.is_floating() {
            let none = ("core.attributesFile".to_owned(), "/dev/null");
            self.settings.push(none);
        }
    }

    /// Removes what is not tracked.
    pub(super) fn clean(&self, clean: Clean) -> Result<(), GitError> {
        let option = match clean {
            Clean::None => return Ok(()),
            Clean::Untracked => "-ffdq",
            Clean::All => "-ffdxq",
        };
        self.run(&["clean", option]).map(|_| ())
    }
}
