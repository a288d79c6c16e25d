//! `git ci hook`: hooks that notify, installed, removed and looked at.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use crate::error::{Failure, FailureKind};
use crate::git::Repo;
use crate::hooks::{Change, Hook, HookDirError, HookError, Hooks, Standing};
use crate::model::printable_line;
use crate::settings::HookMode;
use crate::spool::Spool;

use super::ui::output;

/// Set up hooks that tell of new commits.
///
/// The hooks post-commit, post-merge, post-rewrite and post-applypatch call `git ci
/// notify`, which notes the new commits and returns at once. A running `git ci watch`
/// sees them immediately; what else they set off is up to `ci.hookMode` (see `git ci notify`).
///
/// The hook pre-commit, which `--pre-commit` installs, runs the jobs with `stage = "commit"`
/// on what is staged before it is committed, and nothing is committed where one fails or
/// cannot be run. The verdicts count for the commit, too.
///
/// Nobody's hook is overwritten. A shell script of yours gets a marked block behind its
/// first line; what belongs to a hook manager (husky, lefthook, pre-commit, overcommit),
/// to the project's tree or, by core.hooksPath, to other repositories as well is left
/// alone, and you are shown what to add.
///
/// Exit codes: 0 when each hook is as asked for, 1 when something is left for you to do.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Install the hooks; those that are there already stay as they are.
    Install {
        /// Install post-receive, for a repository that others push to, instead.
        #[arg(long)]
        server: bool,

        /// Install pre-commit, which runs the jobs of `stage = "commit"` on what is staged and
        /// keeps it from being committed where one fails, instead.
        #[arg(long, conflicts_with = "server")]
        pre_commit: bool,
    },
    /// Remove the hooks; what was there before is again, byte for byte.
    Remove,
    /// Say for each hook whether it is installed and where, and what they noted.
    Status,
}

impl From<HookDirError> for Failure {
    fn from(error: HookDirError) -> Self {
        Failure::of(FailureKind::Fatal, &error)
    }
}

impl From<HookError> for Failure {
    fn from(error: HookError) -> Self {
        Failure::of(FailureKind::Fatal, &error)
    }
}

/// Does it, one hook at a time.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    let repo = Repo::discover()?;
    let hooks = Hooks::of(&repo, &program()?)?;
    let done = match args.action {
        Action::Install { server, pre_commit } => {
            let which: &[Hook] = match (server, pre_commit) {
                (true, _) => &Hook::SERVER,
                (_, true) => &Hook::GATE,
                _ => &Hook::CLIENT,
            };
            install(&repo, &hooks, which)?
        }
        Action::Remove => remove(&hooks)?,
        Action::Status => status(&repo, &hooks)?,
    };
    Ok(if done {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// The program as PATH has it where that is this one: a link there outlives an upgrade.
fn program() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()
        .map_err(|error| Failure::failed_to("find the program that this is", error))?;
    let found = which::which("git-ci").ok();
    let same = found.filter(|found| {
        found.is_absolute() && found.canonicalize().ok() == own.canonicalize().ok()
    });
    Ok(same.unwrap_or(own))
}

fn install(repo: &Repo, hooks: &Hooks, which: &[Hook]) -> Result<bool, Failure> {
    let mut left = Vec::new();
    for &hook in which {
        match hooks.install(hook)? {
            Some(change) => tell(hook, &change),
            None => match hooks.standing(hook)? {
                Standing::Left { why, advice } => left.push((hook, why, advice)),
                standing => output::note(&format!("{hook}: {}", describe(&standing))),
            },
        }
    }
    show_left(&left);
    if left.len() < which.len() {
        show_next(repo, which)?;
    }
    Ok(left.is_empty())
}

/// What happens from now on, how to see it, and what there is to decide.
fn show_next(repo: &Repo, which: &[Hook]) -> Result<(), Failure> {
    if which == Hook::GATE {
        output::note(
            "from now on `git commit` runs the jobs of `stage = \"commit\"` on what is staged, \
             and commits nothing where one fails",
        );
        output::note("`git commit --no-verify` passes over it");
        return Ok(());
    }
    let commit = if which == Hook::SERVER {
        "each pushed commit"
    } else {
        "each new commit"
    };
    let mode = HookMode::of(repo.config("ci.hookmode"))?;
    let lines: &[&str] = match mode {
        HookMode::Spool => &[
            "is noted; a running `git ci watch` tests it at once, the next one later",
            "to have each tested in the background instead: git config ci.hookMode run",
        ],
        HookMode::Run => &[
            "is tested in the background at once (ci.hookMode is run); \
             what fails is said by the next `git commit`",
            "to have them noted only: git config ci.hookMode spool",
        ],
        HookMode::Off => &[
            "is passed over: ci.hookMode is off",
            "to have them noted: git config ci.hookMode spool (or run, which tests them at once)",
        ],
    };
    output::note(&format!("from now on {commit} {}", lines[0]));
    output::note(lines[1]);
    output::note("`git ci status` shows results, `git ci hook status` what was noted");
    Ok(())
}

fn remove(hooks: &Hooks) -> Result<bool, Failure> {
    let (mut nothing, mut done) = (true, true);
    for hook in Hook::ALL {
        for change in hooks.remove(hook)? {
            tell(hook, &change);
            nothing = false;
        }
        if let Standing::ByHand { path } = hooks.standing(hook)? {
            output::note(&format!(
                "{hook}: {} calls `git ci`; you put that there, so it is yours to remove",
                shown(&path)
            ));
            (nothing, done) = (false, false);
        }
    }
    if nothing {
        output::note("no hook of git-ci is installed");
    }
    Ok(done)
}

fn status(repo: &Repo, hooks: &Hooks) -> Result<bool, Failure> {
    let (mut text, mut left) = (String::new(), Vec::new());
    let (mut client, mut server) = (true, false);
    for hook in Hook::ALL {
        let standing = hooks.standing(hook)?;
        match hook {
            Hook::PreCommit => {}
            Hook::PostReceive => server = standing.is_installed(),
            _ => client &= standing.is_installed(),
        }
        text += &format!("{hook:<15}  {}\n", describe(&standing));
        if let Standing::Left { why, advice } = standing {
            left.push((hook, why, advice));
        }
    }
    let mode = HookMode::of(repo.config("ci.hookmode"))?;
    let pending = Spool::new(&repo.ci_dir()).read();
    let pending =
        pending.map_err(|error| Failure::failed_to("read what the hooks noted", error))?;
    text += &format!("{:<15}  {}\n", "ci.hookMode", mode.as_str());
    text += &format!("{:<15}  {} noted\n", "commits", pending.entries.len());
    output::print(&text)?;
    // Who has no use for these need not be told.
    left.retain(|(hook, ..)| Hook::CLIENT.contains(hook));
    if !server {
        show_left(&left);
    }
    Ok(client || server)
}

fn tell(hook: Hook, change: &Change) {
    let said = match change {
        Change::Made(path) => format!("made {}", shown(path)),
        Change::Added(path) => format!("added a block to {}", shown(path)),
        Change::Updated(path) => format!("updated {}", shown(path)),
        Change::Deleted(path) => format!("removed {}", shown(path)),
        Change::TakenOut(path) => format!("took the block out of {}", shown(path)),
    };
    output::note(&format!("{hook}: {said}"));
}

fn describe(standing: &Standing) -> String {
    match standing {
        Standing::Absent { .. } => "not installed".to_owned(),
        Standing::Ours { path, current } | Standing::Within { path, current } => {
            let outdated = match current {
                true => "",
                false => " (outdated: `git ci hook install` renews it)",
            };
            let within = match standing {
                Standing::Within { .. } => "a block in ",
                _ => "",
            };
            format!("installed{outdated}: {within}{}", shown(path))
        }
        Standing::ByHand { path } => format!("installed: by hand in {}", shown(path)),
        Standing::Open { path } => format!(
            "not installed: {} is yours, and can take a block",
            shown(path)
        ),
        Standing::Left { why, .. } => {
            format!("not installed: {}", printable_line(why.as_bytes()))
        }
    }
}

/// What the user has to do, each reason once.
fn show_left(left: &[(Hook, String, String)]) {
    let mut last = None;
    for (hook, why, advice) in left {
        if last != Some(why) {
            output::note(&format!("nothing changed: {why}"));
            last = Some(why);
        }
        output::note(&format!("{hook}: {advice}"));
    }
}

fn shown(path: &std::path::Path) -> String {
    printable_line(path.as_os_str().as_encoded_bytes()).into_owned()
}
