//! What of the caller's environment is kept from jobs, and from all else below an agent.
//!
//! A job tests a commit. What ties its caller to a checkout (a virtual environment in the
//! work tree, a list of directories to look in, a directory to build in) would have it test
//! the user's files and pass or fail for the wrong reason. So whatever points into the
//! user's work tree goes, by what it says and not by its name; which these were is told.
//! What programs leave in the environment of those that they start (make, cargo, npm, git,
//! a terminal) goes silently. A job's own `env` comes after all this.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Bookkeeping of shells, terminals and programs that may have started git-ci.
const BOOKKEEPING: &[&str] = &[
    "_",
    "PWD",
    "OLDPWD",
    "COLUMNS",
    "LINES",
    "COLORTERM",
    "TERM_PROGRAM",
    "TERM_PROGRAM_VERSION",
    "TMUX",
    "TMUX_PANE",
    "STY",
    "WINDOW",
    "WINDOWID",
    "GPG_TTY",
    "SSH_TTY",
    "SUDO_ASKPASS",
    "GIT_EXEC_PATH",
    // What git tells its hooks.
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "GIT_WORK_TREE",
    "GIT_LITERAL_PATHSPECS",
    "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
    "GIT_OPTIONAL_LOCKS",
    "GIT_NO_LAZY_FETCH",
    "GIT_ADVICE",
    "GIT_PAGER_IN_USE",
    "GIT_PROTOCOL",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
];

/// Where a program has started git-ci, by the first variable, these are its own.
const NESTED: &[(&str, &[&str])] = &[
    (
        "MAKELEVEL",
        &[
            "MAKELEVEL",
            "MAKEFLAGS",
            "MFLAGS",
            "MAKEOVERRIDES",
            "MAKE_TERMOUT",
            "MAKE_TERMERR",
            "CARGO_MAKEFLAGS",
        ],
    ),
    (
        "CARGO_MANIFEST_DIR",
        &[
            "CARGO",
            "CARGO_MANIFEST_*",
            "CARGO_PKG_*",
            "CARGO_CRATE_NAME",
            "CARGO_BIN_*",
            "CARGO_PRIMARY_PACKAGE",
            "CARGO_TARGET_TMPDIR",
            "CARGO_CFG_*",
            "CARGO_FEATURE_*",
            "OUT_DIR",
        ],
    ),
    (
        "RUST_RECURSION_COUNT",
        &["RUST_RECURSION_COUNT", "RUSTUP_TOOLCHAIN"],
    ),
    ("npm_lifecycle_event", &["npm_*", "INIT_CWD"]),
    ("DIRENV_DIR", &["DIRENV_*"]),
];

/// Where environments of Python are, with what else is theirs.
const ENVIRONMENTS: &[(&str, &[&str])] = &[
    (
        "VIRTUAL_ENV",
        &["VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "PYTHONHOME"],
    ),
    (
        "CONDA_PREFIX",
        &[
            "CONDA_PREFIX",
            "CONDA_DEFAULT_ENV",
            "CONDA_PROMPT_MODIFIER",
            "CONDA_SHLVL",
        ],
    ),
];

/// No prompt may wait for somebody: neither at a terminal, which there is none of, nor in
/// a window.
const NO_PROMPTS: [(&str, &str); 4] = [
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_ASKPASS", ""),
    ("SSH_ASKPASS_REQUIRE", "never"),
    ("GCM_INTERACTIVE", "never"),
];

/// No more is read of a file that may lead from an environment into a work tree.
const MOST: usize = 256 << 10;

/// The work trees of the user whose jobs this process runs.
static WORK_TREES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Keeps what points into these directories from the agents that are started from now on.
/// Returns which variables that concerns, for the user to know.
pub(crate) fn keep_from_jobs(work_trees: Vec<PathBuf>) -> Vec<String> {
    let told = Changes::of(std::env::vars_os().collect(), &work_trees).told;
    *WORK_TREES.lock().unwrap_or_else(PoisonError::into_inner) = work_trees;
    told
}

/// The environment in which jobs are started, but for what they are told themselves.
pub(crate) fn environment_of_jobs() -> Vec<(OsString, OsString)> {
    let mut env = std::env::vars_os().collect();
    prepare_for_jobs(&mut env);
    env
}

/// Changes the environment of an agent that is about to be started.
pub(super) fn prepare_for_jobs(env: &mut Vec<(OsString, OsString)>) {
    let work_trees = WORK_TREES.lock().unwrap_or_else(PoisonError::into_inner);
    let changes = Changes::of(env.clone(), &work_trees);
    *env = changes.kept;
    let set = NO_PROMPTS.map(|(name, value)| (name.into(), value.into()));
    env.retain(|(name, _)| {
        !set.iter()
            .any(|(one, _): &(OsString, OsString)| one == name)
    });
    env.extend(set);
}

/// An environment without what is not for jobs.
struct Changes {
    kept: Vec<(OsString, OsString)>,
    told: Vec<String>,
}

impl Changes {
    fn of(env: Vec<(OsString, OsString)>, work_trees: &[PathBuf]) -> Self {
        let value = |name: &str| {
            let found = env.iter().find(|(one, _)| one == name);
            found.map(|(_, value)| value.clone())
        };
        let trees = Trees::new(work_trees, value("HOME").map(PathBuf::from));
        let mut silent: Vec<&str> = BOOKKEEPING.to_vec();
        for (sign, names) in NESTED {
            if value(sign).is_some() {
                silent.extend_from_slice(names);
            }
        }
        let (mut gone, mut bins): (Vec<&str>, Vec<PathBuf>) = (Vec::new(), Vec::new());
        for (name, names) in ENVIRONMENTS {
            let Some(prefix) = value(name).map(PathBuf::from) else {
                continue;
            };
            if trees.contain(&prefix) || trees.are_led_to_by(&prefix) {
                gone.extend_from_slice(names);
                bins.push(prefix);
            }
        }
        let exec_path = value("GIT_EXEC_PATH").map(PathBuf::from);
        let (mut kept, mut told) = (Vec::new(), Vec::new());
        for (name, value) in env {
            if silent.iter().any(|pattern| is(&name, pattern)) {
                continue;
            }
            if name == "HOME" {
                kept.push((name, value));
                continue;
            }
            let shown = crate::model::printable_line(name.as_bytes()).into_owned();
            if gone.iter().any(|pattern| is(&name, pattern)) {
                told.push(shown);
                continue;
            }
            let ours = |path: &Path| name == "PATH" && exec_path.as_deref() == Some(path);
            let tied = |path: &Path| {
                trees.contain(path)
                    || (name == "PATH" && bins.iter().any(|bin| path.starts_with(bin)))
            };
            let entries: Vec<&[u8]> = value.as_bytes().split(|&byte| byte == b':').collect();
            let path = |entry: &&[u8]| PathBuf::from(OsStr::from_bytes(entry));
            let is_list = entries
                .iter()
                .all(|entry| matches!(entry.first(), None | Some(b'/' | b'.' | b'~')));
            if name != "PATH" && !is_list {
                if trees.are_named_in(value.as_bytes()) {
                    told.push(shown)
                } else {
                    kept.push((name, value))
                }
                continue;
            }
            let rest: Vec<&[u8]> = entries
                .iter()
                .copied()
                .filter(|entry| !tied(&path(entry)) && !ours(&path(entry)))
                .collect();
            if entries.iter().any(|entry| tied(&path(entry))) {
                told.push(if name == "PATH" {
                    "entries of PATH".to_owned()
                } else {
                    shown
                });
            }
            if rest.len() == entries.len() || rest.iter().any(|entry| !entry.is_empty()) {
                let value = OsString::from_vec(rest.join(&b':'));
                kept.push((name, value));
            }
        }
        Self { kept, told }
    }
}

/// Whether a name is one, or begins with what stands before a `*`.
fn is(name: &OsStr, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.as_bytes().starts_with(prefix.as_bytes()),
        None => name == pattern,
    }
}

/// The user's work trees. Where the home directory is in one, what is below home is not
/// the work tree's: programs are there, too.
struct Trees {
    roots: Vec<PathBuf>,
    home: Option<PathBuf>,
}

impl Trees {
    fn new(work_trees: &[PathBuf], home: Option<PathBuf>) -> Self {
        let mut roots: Vec<PathBuf> = Vec::new();
        for tree in work_trees {
            roots.push(tree.clone());
            roots.extend(tree.canonicalize().ok());
        }
        roots.dedup();
        let home = home.filter(|home| roots.iter().any(|root| home.starts_with(root)));
        Self { roots, home }
    }

    fn contain(&self, path: &Path) -> bool {
        let below = |path: &Path| {
            self.roots.iter().any(|root| path.starts_with(root))
                && !self
                    .home
                    .as_ref()
                    .is_some_and(|home| path.starts_with(home))
        };
        path.is_absolute() && (below(path) || path.canonicalize().is_ok_and(|path| below(&path)))
    }

    /// Whether a text that is no list of paths names something in one of them.
    fn are_named_in(&self, text: &[u8]) -> bool {
        self.roots.iter().filter(|_| self.home.is_none()).any(|root| {
            let root = root.as_os_str().as_bytes();
            let ends = |at: usize| !matches!(text.get(at), Some(byte) if byte.is_ascii_alphanumeric() || b"._-".contains(byte));
            // Behind a word there must be an option such as -I, or it is another path.
            let begins = |at: usize| match at.checked_sub(1).map(|before| text[before]) {
                Some(byte) if byte.is_ascii_alphanumeric() => at >= 2 && text[at - 2] == b'-',
                Some(byte) => !b"._-".contains(&byte),
                None => true,
            };
            root.len() > 1
                && text
                    .windows(root.len())
                    .enumerate()
                    .any(|(at, part)| part == root && begins(at) && ends(at + root.len()))
        })
    }

    /// Whether an environment of Python that is elsewhere has packages of one of them, as
    /// `pip install -e .` puts them there.
    fn are_led_to_by(&self, prefix: &Path) -> bool {
        let list = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten();
        let sites = list(prefix.join("lib")).map(|entry| entry.path().join("site-packages"));
        sites.flat_map(list).any(|entry| {
            let name = entry.file_name();
            let leads = [&b".pth"[..], b".egg-link", b"_finder.py"];
            leads.iter().any(|end| name.as_bytes().ends_with(end))
                && fs::read(entry.path())
                    .is_ok_and(|text| self.are_named_in(&text[..text.len().min(MOST)]))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(pairs: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let env = pairs
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        let changes = Changes::of(env.collect(), &[PathBuf::from("/w/proj")]);
        let kept = changes
            .kept
            .iter()
            .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()));
        (kept.collect(), changes.told)
    }

    #[test]
    fn what_points_into_the_work_tree_goes() {
        let (kept, told) = cleaned(&[
            ("HOME", "/home/u"),
            (
                "PATH",
                "/git-core:/w/proj/.venv/bin:/usr/bin:/w/project/bin:",
            ),
            ("GIT_EXEC_PATH", "/git-core"),
            ("VIRTUAL_ENV", "/w/proj/.venv"),
            ("VIRTUAL_ENV_PROMPT", "x"),
            ("PYTHONPATH", "/w/proj/src:/opt/lib"),
            ("CARGO_TARGET_DIR", "/w/proj/target"),
            ("CFLAGS", "-O2 -I/w/proj/include"),
            ("URL", "file:///w/proj/x"),
            ("OTHER", "/mnt/w/proj/x"),
            ("FLAGS", "-L/mnt/w/proj"),
            ("MAKEFLAGS", "-j8"),
            ("EDITOR", "vi"),
        ]);
        let expected = [
            "HOME=/home/u",
            "PATH=/usr/bin:/w/project/bin:",
            "PYTHONPATH=/opt/lib",
            "OTHER=/mnt/w/proj/x",
            "FLAGS=-L/mnt/w/proj",
            "MAKEFLAGS=-j8",
            "EDITOR=vi",
        ];
        assert_eq!(kept, expected);
        let expected = [
            "entries of PATH",
            "VIRTUAL_ENV",
            "VIRTUAL_ENV_PROMPT",
            "PYTHONPATH",
            "CARGO_TARGET_DIR",
            "CFLAGS",
            "URL",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_home_that_is_a_work_tree_keeps_its_programs() {
        let (kept, told) = cleaned(&[
            ("HOME", "/w/proj"),
            ("PATH", "/w/proj/.cargo/bin:/usr/bin"),
            ("CONFIG", "x=/w/proj/config"),
        ]);
        assert_eq!(kept.len(), 3);
        assert!(told.is_empty());
    }

    #[test]
    fn what_starts_git_ci_leaves_nothing() {
        let (kept, told) = cleaned(&[
            ("MAKELEVEL", "1"),
            ("MAKEFLAGS", "-j --jobserver-auth=3,4"),
            ("npm_lifecycle_event", "ci"),
            ("npm_package_version", "1.0.0"),
            ("DIRENV_DIR", "-/w/proj"),
            ("DIRENV_DIFF", "x"),
            ("COLUMNS", "80"),
            ("RUSTUP_TOOLCHAIN", "nightly"),
        ]);
        assert_eq!(kept, ["RUSTUP_TOOLCHAIN=nightly"]);
        assert!(told.is_empty(), "{told:?}");
    }
}
