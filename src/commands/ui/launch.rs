//! How a run is put together, whatever wants it: who tells the user, where tasks run,
//! and which exit code comes of it.

use std::process::ExitCode;

use crate::engine::Summary;
use crate::error::{Failure, FailureKind};
use crate::git::Repo;
use crate::model::Counts;
use crate::printer::{self, Stream};
use crate::reporter::{self, Reporter, Verbosity};

use super::color::ColorArgs;
use super::{ending, output};

/// How much to say, and how.
#[derive(Debug, clap::Args)]
pub(in crate::commands) struct TalkArgs {
    /// Print events as JSON, one a line.
    #[arg(long)]
    pub(in crate::commands) json: bool,

    /// Say less: failures only.
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,

    /// Say more: cached verdicts, too.
    #[arg(short, long)]
    verbose: bool,

    #[command(flatten)]
    pub(in crate::commands) color: ColorArgs,
}

impl TalkArgs {
    pub(in crate::commands) fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }

    /// Who tells the user what happens. `live` is what a terminal gets.
    ///
    /// # Errors
    /// Where the configuration of colours makes no sense.
    pub(in crate::commands) fn reporter(
        &self,
        repo: &Repo,
        live: Live,
    ) -> Result<Box<dyn Reporter>, Failure> {
        let verbosity = self.verbosity();
        printer::relay();
        if self.json {
            return Ok(Box::new(reporter::Json));
        }
        self.color.resolve(repo)?;
        if !Stream::Err.has_cursor() || verbosity == Verbosity::Quiet {
            return Ok(Box::new(reporter::Plain::new(verbosity)));
        }
        let apart = !Stream::Out.is_terminal();
        Ok(match live {
            Live::Rows => Box::new(reporter::Terminal::new(apart, verbosity)),
            Live::Matrix => Box::new(reporter::LiveMatrix::new(apart, verbosity)),
        })
    }
}

/// What is drawn on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands) enum Live {
    /// A row for each task that runs.
    Rows,
    /// Commits and jobs as a matrix.
    Matrix,
}

/// The exit code, or why there is none. That results could not be stored is told in any
/// case; but a failure is one whether it is on record or not.
///
/// # Errors
/// Where results could not be stored, and what is known is not bad enough.
pub(in crate::commands) fn finish(summary: Summary, fail_flaky: bool) -> Result<ExitCode, Failure> {
    if summary.signal.is_some() {
        ending::hurry();
    }
    let code = match (summary.signal, &summary.counts) {
        (Some(signal), _) => Some(128 + signal as u8),
        (None, Counts { failed: 1.., .. }) => Some(1),
        (None, Counts { flaky: 1.., .. }) if fail_flaky => Some(1),
        _ => None,
    };
    match (summary.error.map(Failure::from), code) {
        (Some(failure), Some(code)) if failure.kind == FailureKind::NoVerdict => {
            output::failure(&failure);
            Ok(ExitCode::from(code))
        }
        (Some(failure), _) => Err(failure),
        (None, Some(code)) => Ok(ExitCode::from(code)),
        // What somebody cancelled has no verdict.
        (None, None) if summary.cancelled > 0 => {
            Ok(ExitCode::from(FailureKind::NoVerdict.exit_code()))
        }
        (None, None) => Ok(ExitCode::from(verdict_code(&summary.counts))),
    }
}

/// What the verdicts mean for the exit code: a failure is worse than no verdict, which
/// is also what a run has where every task was skipped.
fn verdict_code(counts: &Counts) -> u8 {
    match counts {
        Counts { failed: 1.., .. } => 1,
        Counts { errored: 1.., .. } | Counts { unstored: 1.., .. } => {
            FailureKind::NoVerdict.exit_code()
        }
        Counts {
            passed: 0,
            flaky: 0,
            allowed: 0,
            skipped,
            blocked,
            ..
        } if skipped + blocked > 0 => FailureKind::NoVerdict.exit_code(),
        _ => 0,
    }
}
