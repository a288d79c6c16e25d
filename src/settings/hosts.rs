//! Other machines: `ci-host.NAME.*`, in git configuration alone. A tree must not be
//! able to name one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{MAX_SLOTS, SettingsError};
use crate::config::is_label;
use crate::git::Repo;
use crate::model::{RunnerLabel, duration_text, parse_duration};

/// `silence` where nothing is set.
const SILENCE: Duration = Duration::from_secs(20);

/// `lease` where nothing is set.
const LEASE: Duration = Duration::from_secs(45);

/// What `lease` must be above `silence`, so that a host's jobs are dead by then.
const MARGIN: Duration = Duration::from_secs(1);

/// The settings of a host.
const KEYS: [&str; 17] = [
    "account",
    "address",
    "agent",
    "command",
    "connect",
    "drain",
    "extra",
    "kind",
    "labels",
    "lease",
    "partition",
    "release",
    "resource",
    "root",
    "silence",
    "slots",
    "time",
];

/// A machine that tasks may be sent to.
#[derive(Debug, Clone)]
pub struct HostSettings {
    /// `NAME`, which records call it by.
    pub name: RunnerLabel,
    /// How to get there.
    pub kind: HostKind,
    /// `slots`: how many tasks run there at once; 1 where it is not set.
    pub slots: u32,
    /// `labels`: what jobs may ask for. The name is always one of them.
    pub labels: Vec<String>,
    /// `resource`, once for each: `NAME=COUNT` or `NAME=VALUE`.
    pub resources: BTreeMap<String, Vec<String>>,
    /// `root`: where it keeps its things.
    pub root: Option<String>,
    /// `agent`: where git-ci is there.
    pub agent: Option<String>,
    /// `drain`: it gets no tasks.
    pub drain: bool,
    /// `silence`, else `ci.silence`: how long its jobs live without a word from here.
    pub silence: Duration,
    /// `lease`, else `ci.lease`: how long without a word from there until its tasks go elsewhere.
    pub lease: Duration,
    /// `connect`: how long a connection may take until git-ci answers there.
    pub connect: Duration,
    /// `release`: let go of it after this long without work.
    pub release: Option<Duration>,
}

/// How to get to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostKind {
    /// ssh to `address`.
    Ssh {
        /// `[USER@]HOST`.
        address: String,
    },
    /// `srun` with these options.
    Slurm {
        /// From `partition`, `account`, `time` and `extra`.
        options: Vec<String>,
    },
    /// The shell command `command`.
    Command {
        /// The command.
        template: String,
    },
}

/// Every host in the configuration, by name.
pub(super) fn hosts(repo: &Repo) -> Result<Vec<HostSettings>, SettingsError> {
    // They are read although there may be no hosts yet, so that a slip is named early.
    for key in ["ci.silence", "ci.lease"] {
        duration_at(repo, key)?;
    }
    let mut names: Vec<String> = Vec::new();
    for (key, _) in repo.config_entries() {
        let Some((name, variable)) = key
            .strip_prefix("ci-host.")
            .and_then(|rest| rest.rsplit_once('.'))
        else {
            continue;
        };
        if !KEYS.contains(&variable) {
            return Err(SettingsError::Host {
                key: key.to_owned(),
                value: repo.config(key).unwrap_or_default().to_owned(),
                expected: format!("one of {}", KEYS.join(", ")),
            });
        }
        if names.last().is_none_or(|last| last != name) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    names.dedup();
    names.iter().map(|name| host(repo, name)).collect()
}

fn host(repo: &Repo, name: &str) -> Result<HostSettings, SettingsError> {
    let one = One { repo, name };
    let label = name
        .parse::<RunnerLabel>()
        .map_err(|_| SettingsError::Host {
            key: format!("ci-host.{name}"),
            value: name.to_owned(),
            expected: "a name of at most 32 letters, digits, '.', '_' and '-'".to_owned(),
        })?;
    let kind = one.kind()?;
    let silence = one.duration("silence")?;
    let silence = match silence {
        Some(silence) => silence,
        None => duration_at(repo, "ci.silence")?.unwrap_or(SILENCE),
    };
    let lease = match one.duration("lease")? {
        Some(lease) => lease,
        None => duration_at(repo, "ci.lease")?.unwrap_or(LEASE),
    };
    if lease < silence + MARGIN {
        return Err(SettingsError::Host {
            key: format!("ci-host.{name}.lease"),
            value: duration_text(lease),
            expected: format!(
                "at least a second longer than silence (ci-host.{name}.silence or ci.silence, {}), \
                 or a task could run in two places at once",
                duration_text(silence)
            ),
        });
    }
    let slurm = matches!(kind, HostKind::Slurm { .. });
    Ok(HostSettings {
        slots: one.slots()?,
        labels: one.labels()?,
        resources: one.resources()?,
        root: one.path("root")?,
        agent: one.path("agent")?,
        drain: one.flag("drain")?,
        silence,
        lease,
        connect: one.duration("connect")?.unwrap_or(if slurm {
            Duration::from_secs(24 * 3600)
        } else {
            Duration::from_secs(30)
        }),
        release: match one.duration("release")? {
            None if slurm => Some(Duration::from_secs(10)),
            release => release,
        },
        name: label,
        kind,
    })
}

struct One<'a> {
    repo: &'a Repo,
    name: &'a str,
}

impl One<'_> {
    fn key(&self, variable: &str) -> String {
        format!("ci-host.{}.{variable}", self.name)
    }

    fn get(&self, variable: &str) -> Option<&str> {
        let value = self.repo.config(&self.key(variable))?.trim();
        (!value.is_empty()).then_some(value)
    }

    fn bad(&self, variable: &str, expected: &str) -> SettingsError {
        SettingsError::Host {
            key: self.key(variable),
            value: self.get(variable).unwrap_or_default().to_owned(),
            expected: expected.to_owned(),
        }
    }

    fn kind(&self) -> Result<HostKind, SettingsError> {
        let expected = "`ssh`, `slurm` or `command`";
        let given = self.get("kind").unwrap_or(match self.get("command") {
            Some(_) => "command",
            None => "ssh",
        });
        match given {
            "ssh" => {
                let address = self.get("address").unwrap_or_default();
                let good = !address.is_empty()
                    && !address.starts_with('-')
                    && !address.contains(|c: char| c.is_whitespace() || c.is_control());
                // After the user, too, a `-` would be read as an option by whatever ssh starts.
                let host = address.rsplit('@').next().unwrap_or_default();
                if good && !host.starts_with('-') {
                    Ok(HostKind::Ssh {
                        address: address.to_owned(),
                    })
                } else {
                    Err(self.bad("address", "user@host, which cannot begin with `-`"))
                }
            }
            "slurm" => {
                let mut options = Vec::new();
                for key in ["partition", "account", "time"] {
                    options.extend(self.get(key).map(|value| format!("--{key}={value}")));
                }
                if let Some(extra) = self.get("extra") {
                    let words = shell_words::split(extra)
                        .map_err(|_| self.bad("extra", "options of srun, quoted as for a shell"))?;
                    options.extend(words);
                }
                Ok(HostKind::Slurm { options })
            }
            "command" => match self.get("command") {
                Some(template) => Ok(HostKind::Command {
                    template: template.to_owned(),
                }),
                None => Err(self.bad("command", "the command that connects to the machine")),
            },
            _ => Err(self.bad("kind", expected)),
        }
    }

    fn slots(&self) -> Result<u32, SettingsError> {
        let Some(value) = self.get("slots") else {
            return Ok(1);
        };
        let parsed = value.parse().ok();
        parsed
            .filter(|slots| (1..=MAX_SLOTS).contains(slots))
            .ok_or_else(|| self.bad("slots", "a number from 1 to 1024"))
    }

    fn labels(&self) -> Result<Vec<String>, SettingsError> {
        let mut labels = words(self.get("labels").unwrap_or_default())
            .ok_or_else(|| self.bad("labels", LABELS))?;
        labels.push(self.name.to_owned());
        Ok(labels)
    }

    fn resources(&self) -> Result<BTreeMap<String, Vec<String>>, SettingsError> {
        let key = self.key("resource");
        let mut entries = self.repo.config_entries();
        let values = entries.find(|(name, _)| *name == key);
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for value in values.into_iter().flat_map(|(_, values)| values) {
            let (name, token) = value
                .split_once('=')
                .ok_or_else(|| self.bad("resource", "NAME=COUNT or NAME=VALUE"))?;
            let tokens = found.entry(name.trim().to_lowercase()).or_default();
            tokens.push(token.to_owned());
        }
        let tokens = |(name, values): (String, Vec<String>)| {
            Ok((name, super::machine::tokens(&key, &values)?))
        };
        found.into_iter().map(tokens).collect()
    }

    /// A path there; a shell there reads it, so it must hold nothing that means something to one.
    fn path(&self, variable: &str) -> Result<Option<String>, SettingsError> {
        let Some(value) = self.get(variable) else {
            return Ok(None);
        };
        let special = |c: char| c.is_control() || "'\"\\!$`".contains(c);
        let whole = value.starts_with('/') || value.starts_with("~/");
        if whole && !value.contains(special) {
            Ok(Some(value.to_owned()))
        } else {
            Err(self.bad(
            variable,
            "an absolute path or one that starts with ~/, without quotes, `$`, `!` and backslashes",
        ))
        }
    }

    fn flag(&self, variable: &str) -> Result<bool, SettingsError> {
        let Some(value) = self.get(variable) else {
            return Ok(false);
        };
        super::boolean(value).ok_or_else(|| self.bad(variable, "true or false"))
    }

    fn duration(&self, variable: &str) -> Result<Option<Duration>, SettingsError> {
        duration_at(self.repo, &self.key(variable))
    }
}

/// What a list of labels may be.
pub(super) const LABELS: &str =
    "labels of letters, digits, '.', '_' and '-', separated by commas or spaces";

/// The labels in a list.
pub(super) fn words(list: &str) -> Option<Vec<String>> {
    let words = list.split([',', ' ', '\t']).filter(|word| !word.is_empty());
    words
        .map(|word| is_label(word).then(|| word.to_owned()))
        .collect()
}

fn duration_at(repo: &Repo, key: &str) -> Result<Option<Duration>, SettingsError> {
    let Some(value) = repo.config(key) else {
        return Ok(None);
    };
    parse_duration(value, Duration::from_millis(100))
        .map(Some)
        .map_err(|error| SettingsError::Unit {
            key: key.to_owned(),
            value: value.to_owned(),
            error,
        })
}
