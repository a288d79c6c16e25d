//! Slips on the command line: what was meant, and how that is written.
//!
//! What git's own users type out of habit is taken as it is where it has one meaning
//! (`log -1`); everything else is an error that names the nearest right command.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::config::{self, nearest};
use crate::git::{Repo, revs};
use crate::model::printable_line;
use crate::settings::Settings;

use super::commit_hint;
use crate::commands::Cli;

/// The commands for which `-5` means five.
const COUNTED: [&str; 2] = ["log", "status"];

/// Options of git-log(1) that are about commits, and not about records.
const OF_GIT_LOG: [&str; 12] = [
    "--author",
    "--decorate",
    "--follow",
    "--format",
    "--graph",
    "--grep",
    "--name-only",
    "--patch",
    "--pretty",
    "--stat",
    "--until",
    "-p",
];

/// The words of the command line, the program's first, with `-5` of those commands that
/// take a count written out.
pub(in crate::commands) fn spelled_out(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut all: Vec<_> = words.collect();
    let Some(at) = command_at(&all) else {
        return all;
    };
    if !COUNTED.iter().any(|name| all[at] == **name) {
        return all;
    }
    for word in all[at + 1..].iter_mut().take_while(|word| *word != "--") {
        let bytes = word.as_bytes();
        if let Some(count) = bytes.strip_prefix(b"-")
            && !count.is_empty()
            && count.iter().all(u8::is_ascii_digit)
        {
            let count = OsStr::from_bytes(count);
            let mut option = OsString::from("--max-count=");
            option.push(count);
            *word = option;
        }
    }
    all
}

/// Where the subcommand stands among the words.
fn command_at(words: &[OsString]) -> Option<usize> {
    let mut at = 1;
    while let Some(word) = words.get(at) {
        match word.as_bytes() {
            b"-C" => at += 2,
            [b'-', ..] => at += 1,
            _ => return Some(at),
        }
    }
    None
}

/// Takes out what clap advises and does not help: no revision may begin with a dash.
pub(in crate::commands) fn without_bad_advice(error: &mut clap::Error) {
    let Some(ContextValue::StyledStrs(tips)) = error.remove(ContextKind::Suggested) else {
        return;
    };
    let helps = |tip: &String| !tip.contains("as a value, use");
    let tips: Vec<_> = tips
        .into_iter()
        .filter(|tip| helps(&tip.to_string()))
        .collect();
    if !tips.is_empty() {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
}

/// What to tell somebody whose words clap did not understand; the words are without the
/// program's name.
pub(in crate::commands) fn hints(error: &clap::Error, words: &[String]) -> Vec<String> {
    let mut hints = match error.kind() {
        ErrorKind::InvalidSubcommand => unknown_command(error, words),
        ErrorKind::UnknownArgument => unknown_option(error, words),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => bad_value(error),
        _ => Vec::new(),
    };
    let otherwise = !hints.is_empty();
    hints.extend(commit_hint::hints(words, otherwise));
    hints
}

/// A command that may have been meant by a word that is none, where clap has no idea.
fn unknown_command(error: &clap::Error, words: &[String]) -> Vec<String> {
    let (None, Some(word)) = (error.get(ContextKind::SuggestedSubcommand), words.first()) else {
        return Vec::new();
    };
    let meant = job_or_rev(word).or_else(|| {
        let command = Cli::command();
        let names = command.get_subcommands().filter(|sub| !sub.is_hide_set());
        nearest(word, names.map(clap::Command::get_name)).map(str::to_owned)
    });
    let meant = meant.map(|meant| format!("did you mean `git ci {meant}`?"));
    meant.into_iter().collect()
}

/// What runs the job, or tests the commits, of that name.
fn job_or_rev(word: &str) -> Option<String> {
    let repo = Repo::discover().ok()?;
    if is_job(&repo, word) {
        return Some(format!("run --job {}", quoted(word)));
    }
    let rev = if revs::is_range(word) {
        word.split("..").find(|end| !end.is_empty())?
    } else {
        word
    };
    let is_rev = revs::resolve(&repo, rev).is_ok();
    is_rev.then(|| format!("run {}", quoted(word)))
}

/// A command that has the option, or the program that has it.
fn unknown_option(error: &clap::Error, words: &[String]) -> Vec<String> {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else {
        return Vec::new();
    };
    let first = words.first().map_or("", String::as_str);
    let name = option
        .split_once('=')
        .map_or(option.as_str(), |(name, _)| name);
    if first == "log" && OF_GIT_LOG.contains(&name) {
        return vec![format!(
            "`git log --notes=ci {}` shows commits with their records",
            quoted(option)
        )];
    }
    // Before any command: that of the first that has it.
    let command = Cli::command();
    let has = |sub: &&clap::Command| {
        let mut args = sub.get_arguments();
        !sub.is_hide_set()
            && args.any(|arg| {
                let long = arg.get_long().map(|long| format!("--{long}"));
                let short = arg.get_short().map(|short| format!("-{short}"));
                long.as_deref() == Some(name) || short.as_deref() == Some(name)
            })
    };
    let other = if first.starts_with('-') && name.starts_with("--") {
        ["run", "watch", "log"]
            .into_iter()
            .filter_map(|name| command.find_subcommand(name))
            .find(has)
    } else {
        None
    };
    let meant = other.map(|sub| {
        let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
        format!(
            "did you mean `git ci {} {}`?",
            sub.get_name(),
            words.join(" ")
        )
    });
    meant.into_iter().collect()
}

/// `-j test` where a job of that name is there.
fn bad_value(error: &clap::Error) -> Vec<String> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let value = text(ContextKind::InvalidValue);
    if !text(ContextKind::InvalidArg).starts_with("--slots") {
        return Vec::new();
    }
    let job = Repo::discover().is_ok_and(|repo| is_job(&repo, value));
    let meant = job.then(|| format!("`{0}` is a job: did you mean `--job {0}`?", quoted(value)));
    meant.into_iter().collect()
}

/// What to tell somebody whose `word` is no revision, and no slip of one: it may be a job.
pub(in crate::commands) fn no_rev(repo: &Repo, word: &str) -> Option<String> {
    is_job(repo, word).then(|| format!("`{0}` is a job: did you mean `--job {0}`?", quoted(word)))
}

/// What to tell somebody who gave `log` a path without the dashes before it.
pub(in crate::commands) fn path_of(word: &str) -> Option<String> {
    let path = Path::new(word);
    path.symlink_metadata().ok()?;
    Some(format!(
        "`{0}` is a file: `git ci log -- {0}` has the commits that touch it",
        quoted(word)
    ))
}

fn is_job(repo: &Repo, word: &str) -> bool {
    let from = Settings::of(repo).map(|settings| settings.config_from);
    let jobs = from.ok().and_then(|from| config::load(repo, &from).ok());
    jobs.is_some_and(|jobs| jobs.iter().any(|job| job.name.as_str() == word))
}

/// A word as it may be typed into a shell.
fn quoted(word: &str) -> String {
    shell_words::quote(&printable_line(word.as_bytes())).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_spelled_out_where_a_command_takes_one() {
        let spelled = |line: &str| {
            let words = line.split(' ').map(OsString::from);
            let words = spelled_out(words).into_iter();
            let words: Vec<_> = words.map(|word| word.into_string().unwrap()).collect();
            words.join(" ")
        };
        for (typed, meant) in [
            ("git-ci log -1", "git-ci log --max-count=1"),
            (
                "git-ci -C log status -25 a",
                "git-ci -C log status --max-count=25 a",
            ),
            ("git-ci log -- -1", "git-ci log -- -1"),
            ("git-ci log -n 1 -", "git-ci log -n 1 -"),
            ("git-ci run -1", "git-ci run -1"),
            ("git-ci -1 log", "git-ci -1 log"),
            ("git-ci", "git-ci"),
        ] {
            assert_eq!(spelled(typed), meant);
        }
    }
}
