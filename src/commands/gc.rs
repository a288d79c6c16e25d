//! `git ci gc`: what nobody needs any more goes, and what somebody uses stays.
//!
//! It may run beside anything: a running task's log is locked by its writer, a slot by
//! whoever has it, and artifacts go only in a moment in which no task can begin.

use std::process::ExitCode;

use crate::error::{Failure, FailureKind};
use crate::git::Repo;
use crate::model::{JSON_FORMAT, printable_line, size_text};
use crate::settings::{Retention, Settings};

use crate::upkeep::gc::{self, RemovalKind as Kind, Swept};

use super::ui::lines::Line;
use super::ui::output;

/// Remove old logs and artifacts, worktrees that are not used, and litter.
///
/// How long things are kept, and how much of them, is set by `ci.logMaxAge`,
/// `ci.logMaxSize`, `ci.artifactMaxAge`, `ci.artifactMaxSize` and `ci.slotMaxAge` of
/// git's configuration. Where logs take too much space those of passed tasks go first.
/// Nothing goes that is in use, and no results: those are in the notes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Say what would be removed, and remove nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Print what is removed as JSON, one object a line.
    #[arg(long)]
    json: bool,

    /// Name each thing that is removed.
    #[arg(short, long)]
    verbose: bool,
}

/// The kinds of things, with their names for one and for several.
const KINDS: [(Kind, &str, &str); 5] = [
    (Kind::Log, "log", "logs"),
    (Kind::Artifacts, "set of artifacts", "sets of artifacts"),
    (Kind::Worktree, "worktree", "worktrees"),
    (Kind::Checkpoint, "checkpoint", "checkpoints"),
    (Kind::Litter, "left-over file", "left-over files"),
];

/// Looks, removes, and says so.
pub(super) fn execute(args: Args) -> Result<ExitCode, Failure> {
    let repo = Repo::discover()?;
    let settings = Settings::of(&repo)?;
    let retention = Retention::of(&repo)?;
    let Some(swept) = gc::sweep(&repo, &settings, &retention, args.dry_run)? else {
        output::note("another `git ci gc` is at work here already");
        return Ok(ExitCode::SUCCESS);
    };
    report(&args, &swept)?;
    for problem in &swept.problems {
        output::note(&format!("warning: {problem}"));
    }
    Ok(if swept.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FailureKind::Fatal.exit_code())
    })
}

fn report(args: &Args, swept: &Swept) -> Result<(), Failure> {
    let freed: u64 = swept.removed.iter().map(|removal| removal.bytes).sum();
    let mut text = String::new();
    if args.json {
        let first = Line::Gc {
            format: JSON_FORMAT,
            dry_run: args.dry_run,
        };
        text += &first.render();
        text.extend(swept.removed.iter().map(|one| Line::Removed(one).render()));
        text += &Line::GcFinished {
            removed: swept.removed.len(),
            bytes: freed,
            problems: &swept.problems,
            notes: &swept.notes,
        }
        .render();
        return output::print_json(text);
    }
    let verb = if args.dry_run {
        "would remove"
    } else {
        "removed"
    };
    for removal in swept
        .removed
        .iter()
        .filter(|_| args.verbose || args.dry_run)
    {
        let what = printable_line(removal.what.as_bytes());
        text += &format!(
            "{verb} {what} ({}): {}\n",
            size_text(removal.bytes),
            removal.why
        );
    }
    for (kind, one, many) in KINDS {
        let of_kind = swept.removed.iter().filter(|removal| removal.kind == kind);
        let (count, bytes) = of_kind.fold((0, 0), |(n, sum), one| (n + 1, sum + one.bytes));
        if count > 0 {
            let word = if count == 1 { one } else { many };
            text += &format!("{verb} {count} {word}, {}\n", size_text(bytes));
        }
    }
    for note in &swept.notes {
        output::note(note);
    }
    if swept.removed.is_empty() && swept.problems.is_empty() {
        output::note("nothing to remove");
    }
    output::print(&text)
}
