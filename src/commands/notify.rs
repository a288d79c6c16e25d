//! `git ci notify`: what a hook calls.
//!
//! A commit waits for this, so it does little: it reads `HEAD` or what git wrote to the
//! hook, appends to the spool, and returns. It starts no `git` process (see
//! [`HookRepo`]), opens no object store, and never touches the index.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _};
use std::path::Path;
use std::process::ExitCode;

use crate::error::Failure;
use crate::git::revs;
use crate::git::{HookRepo, Repo};
use crate::hooks::Hook;
use crate::lock;
use crate::model::{Oid, RefName, printable_line};
use crate::private::{self, Sharing};
use crate::process::start_detached;
use crate::settings::{HookMode, SettingsError, is_on};
use crate::spool::{Entry, Notice, Notices, Source, Spool};
use crate::worktree::MARK;

/// More than a hook is ever told: 100,000 refs in one push.
const MAX_INPUT: u64 = 32 * 1024 * 1024;

/// Say which commits are new, for the next `git ci watch` or `git ci run --new`.
///
/// Hooks call this; `git ci hook install` sets them up. It notes the new commits in the
/// repository's spool, wakes a running watcher, and returns in milliseconds. Called by a
/// hook it never fails and prints nothing, whatever happens: set GIT_CI_TRACE=1 to see
/// what went wrong.
///
/// What else happens is up to `ci.hookMode` in git's configuration: `spool`, the
/// default, is all of it; `run` also starts `git ci watch --until-idle` in the
/// background where no watcher runs (its output is in `ci/watch.log` in the git
/// directory, and what fails there is said by the next `git commit`, once, unless
/// `ci.hookNotice` is off); `off` does nothing at all.
///
/// A job that commits does not make work: in a task's worktree this does nothing.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The hook that calls, whose arguments and standard input are read accordingly.
    #[arg(long, value_name = "NAME")]
    hook: Option<String>,

    /// Say on standard error why nothing could be noted.
    #[arg(short, long)]
    verbose: bool,

    /// The hook's own arguments; without --hook, the new commits [default: HEAD].
    #[arg(
        value_name = "ARG|REV",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    args: Vec<OsString>,
}

/// Why a hook's news went nowhere.
#[derive(Debug, thiserror::Error)]
enum NotifyError {
    #[error("find the repository of this hook")]
    HookRepo(#[source] io::Error),
    #[error("read HEAD")]
    Head(#[source] io::Error),
    #[error("read what git tells the hook")]
    Input(#[source] io::Error),
    #[error("read ci.hookMode")]
    Config(#[source] io::Error),
    #[error(transparent)]
    Mode(#[from] SettingsError),
    #[error("write to the spool")]
    Spool(#[source] io::Error),
    #[error("start a watcher in the background")]
    Start(#[source] io::Error),
}

/// Notes what is new.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    let Some(hook) = &args.hook else {
        return by_hand(&args.args);
    };
    if std::env::var_os("GIT_QUARANTINE_PATH").is_some() {
        // Nothing may ever come of what is pushed.
        super::ui::output::note(
            "warning: nothing was noted: git has not accepted what is pushed yet; \
             call this from post-receive",
        );
        return Ok(ExitCode::SUCCESS);
    }
    // A hook that is none of ours tells by being called that HEAD may be new.
    let hook = hook.parse().unwrap_or(Hook::PostCommit);
    if let Err(error) = by_hook(hook)
        && (args.verbose || super::ui::trace::is_wanted())
    {
        super::ui::output::failure(&Failure::of(crate::error::FailureKind::Fatal, &error));
    }
    // Whatever it was: the commit is made, and a failing hook would only alarm its author.
    Ok(ExitCode::SUCCESS)
}

fn by_hook(hook: Hook) -> Result<(), NotifyError> {
    // A job's commits are its own business; testing them could go on for ever.
    if std::env::var_os(MARK).is_some() {
        return Ok(());
    }
    let here = HookRepo::find().map_err(NotifyError::HookRepo)?;
    let value = here.config("ci.hookMode").map_err(NotifyError::Config)?;
    let (mode, bad_mode) = match HookMode::of(value.as_deref()) {
        Ok(mode) => (mode, Ok(())),
        // A slip of the pen must not lose commits.
        Err(error) => (HookMode::default(), Err(error)),
    };
    if mode == HookMode::Off {
        return Ok(());
    }
    let ci_dir = here.ci_dir();
    if hook == Hook::PostCommit {
        show_notices(&here, &ci_dir)?;
    }
    let told = if hook.reads_input() {
        told(hook).map_err(NotifyError::Input)?
    } else {
        Vec::new()
    };
    let entries = match hook {
        Hook::PostReceive => received(&told),
        _ => at_head(&here, &told).map_err(NotifyError::Head)?,
    };
    if entries.is_empty() {
        return Ok(());
    }
    if !ci_dir.is_dir() {
        let sharing = here.config("core.sharedRepository").ok().flatten();
        let sharing = Sharing::parse(sharing.as_deref());
        private::make_ci_dir(&ci_dir, sharing).map_err(NotifyError::Spool)?;
    }
    let spool = Spool::new(&ci_dir);
    spool.append(&entries).map_err(NotifyError::Spool)?;
    if mode == HookMode::Run {
        start_watcher(&here).map_err(NotifyError::Start)?;
    }
    Ok(bad_mode?)
}

/// Says, once and on one line, what went wrong in the background since it was last said.
fn show_notices(here: &HookRepo, ci_dir: &Path) -> Result<(), NotifyError> {
    let notices = Notices::new(ci_dir).take();
    let Some(newest) = notices.last() else {
        return Ok(());
    };
    let wanted = here.config("ci.hookNotice").map_err(NotifyError::Config)?;
    if wanted.is_some_and(|wanted| !is_on(&wanted)) {
        return Ok(());
    }
    let newest = match newest {
        Notice::Task {
            commit,
            job,
            status,
        } => {
            let commit = commit.short();
            format!("{status} {job} on {commit}: `git ci show {commit}`")
        }
        Notice::Watcher { reason } => {
            format!("the watcher in the background {reason}: `git ci watch` says more")
        }
    };
    let more = match notices.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more: `git ci status`)"),
    };
    super::ui::output::note(&format!("git-ci: {newest}{more}"));
    Ok(())
}

/// The lines that git wrote to the hook, as words.
fn told(hook: Hook) -> io::Result<Vec<Vec<Vec<u8>>>> {
    let input = io::stdin();
    // Called by hand there is nothing to read, and nobody to end it.
    if io::IsTerminal::is_terminal(&input) {
        return Ok(Vec::new());
    }
    let mut bytes = Vec::new();
    input.lock().take(MAX_INPUT).read_to_end(&mut bytes)?;
    let words = if hook == Hook::PostReceive { 3 } else { 2 };
    let lines = bytes.split(|&byte| byte == b'\n');
    Ok(lines
        .map(|line| {
            line.splitn(3, |&byte| byte == b' ')
                .map(<[u8]>::to_vec)
                .collect()
        })
        .filter(|line: &Vec<Vec<u8>>| line.len() >= words)
        .collect())
}

fn oid(word: &[u8]) -> Option<Oid> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// What a push brought: the new tips.
fn received(told: &[Vec<Vec<u8>>]) -> Vec<Entry> {
    let entry = |line: &Vec<Vec<u8>>| {
        let new = oid(&line[1])?;
        let name = RefName::parse(&line[2]).filter(|name| !name.is_head())?;
        let deleted = new.as_bytes().iter().all(|&byte| byte == 0);
        // Results are no commits to test.
        let ours = name.starts_with("refs/notes/") || name.starts_with("refs/ci/");
        (!deleted && !ours).then(|| Entry::new(new, Source::Ref(name)))
    };
    told.iter().filter_map(entry).collect()
}

/// What was rewritten, and the commit at `HEAD`.
fn at_head(here: &HookRepo, told: &[Vec<Vec<u8>>]) -> io::Result<Vec<Entry>> {
    let Some(head) = here.head()? else {
        return Ok(Vec::new());
    };
    let source = match head.branch {
        Some(name) => Source::Ref(name),
        None => Source::Detached(here.git_dir().to_owned()),
    };
    let rewritten = told.iter().filter_map(|line| oid(&line[1]));
    let mut commits: Vec<Oid> = rewritten.filter(|&commit| commit != head.commit).collect();
    commits.push(head.commit);
    let entry = |commit| Entry::new(commit, source.clone());
    Ok(commits.into_iter().map(entry).collect())
}

/// Starts a watcher unless one runs. One that ends this moment looks at the spool again
/// after it has given up its lease, so nothing is left lying.
fn start_watcher(here: &HookRepo) -> io::Result<()> {
    let ci_dir = here.ci_dir();
    if is_held(&ci_dir.join("watch.lock"))? {
        return Ok(());
    }
    start_detached(
        &std::env::current_exe()?,
        &["watch", "--until-idle", "--background"],
        &here.top()?,
        &ci_dir.join("watch.log"),
    )
}

/// Whether somebody holds the lease. Asked with a shared lock, so that two hooks at once
/// do not take each other for a watcher.
fn is_held(lease: &std::path::Path) -> io::Result<bool> {
    let file = match std::fs::File::open(lease) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    Ok(!lock::try_shared(&file)?)
}

/// Notes what a person or a script names. There it may fail, and says so.
fn by_hand(names: &[OsString]) -> Result<ExitCode, Failure> {
    let repo = Repo::discover()?;
    repo.refuse_quarantine("tell of new commits")?;
    let head = [OsString::from("HEAD")];
    let names = if names.is_empty() { &head } else { names };
    let mut entries = Vec::new();
    for name in names {
        let commit = revs::resolve(&repo, name)?.id;
        entries.push(Entry::new(commit, source_of(&repo, name)));
    }
    let spool = Spool::new(&repo.ci_dir());
    spool.append(&entries).map_err(|error| {
        let what = printable_line(spool.dir().as_os_str().as_encoded_bytes()).into_owned();
        Failure::failed_to(format!("write to the spool {what}"), error)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The ref that `name` is, else the work tree's `HEAD`.
fn source_of(repo: &Repo, name: &OsStr) -> Source {
    let mut ask = repo.git().as_the_user();
    ask.args(["rev-parse", "--symbolic-full-name", "--end-of-options"]);
    let said = repo.git().output(ask.arg(name));
    let said = said.map(|said| said.stdout).unwrap_or_default();
    let full = said.trim_ascii_end().rsplit(|&byte| byte == b'\n').next();
    let full = RefName::parse(full.unwrap_or_default()).filter(|name| !name.is_head());
    full.map_or_else(|| Source::Detached(repo.git_dir().to_owned()), Source::Ref)
}
