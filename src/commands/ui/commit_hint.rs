//! For people whose `git ci` was an alias of `git commit`: a program wins over an alias,
//! and what they type is nothing that we know.

use crate::git::Git;
use crate::model::printable_line;

/// The short options of git-commit(1).
const SHORT: &str = "aceimnopqstuvzCFS";

/// Its long options, as far as somebody may type them.
const LONG: [&str; 26] = [
    "--all",
    "--allow-empty",
    "--allow-empty-message",
    "--amend",
    "--author",
    "--cleanup",
    "--date",
    "--edit",
    "--file",
    "--fixup",
    "--gpg-sign",
    "--include",
    "--interactive",
    "--message",
    "--no-edit",
    "--no-verify",
    "--only",
    "--patch",
    "--quiet",
    "--reedit-message",
    "--reset-author",
    "--reuse-message",
    "--signoff",
    "--squash",
    "--trailer",
    "--verbose",
];

/// What to tell somebody whose words clap did not understand; `args` are without the
/// program's name. Where something else may have been meant (`otherwise`), only those are
/// told who do have such an alias.
pub(in crate::commands) fn hints(args: &[String], otherwise: bool) -> Vec<String> {
    let Some(first) = args.first() else {
        return Vec::new();
    };
    let alias = || Git::find().ok().and_then(|git| git.setting("alias.ci"));
    let alias = match looks_like_commit(first) {
        true if otherwise => match alias() {
            Some(alias) => Some(alias),
            None => return Vec::new(),
        },
        true => alias(),
        // A word may be a file that was to be committed.
        false if !first.starts_with('-') => match alias() {
            Some(alias) => Some(alias),
            None => return Vec::new(),
        },
        false => return Vec::new(),
    };
    let mut hints = Vec::new();
    match &alias {
        Some(alias) => hints.push(format!(
            "git runs git-ci for `git ci`: a program on PATH wins over your alias.ci = {}",
            printable_line(alias.as_bytes())
        )),
        None => hints.push(
            "git runs git-ci for `git ci`: a program on PATH wins over an alias of that name"
                .to_owned(),
        ),
    }
    let command = alias.unwrap_or_else(|| "commit".to_owned());
    let quoted = shell_words::quote(&command);
    hints.push(format!(
        "give the alias another name: git config --global alias.c {quoted}"
    ));
    hints.push("or write it out: git commit".to_owned());
    hints
}

/// Whether an option is one of `git commit` and none of ours.
fn looks_like_commit(arg: &str) -> bool {
    if arg.starts_with("--") {
        let name = arg.split_once('=').map_or(arg, |(name, _)| name);
        return LONG.contains(&name);
    }
    // `-am`, and `-mMessage`, of which only the first letter says something.
    let mut letters = arg.strip_prefix('-').unwrap_or_default().chars();
    letters.next().is_some_and(|letter| SHORT.contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_git_commit_are_known() {
        for yes in [
            "-m",
            "-a",
            "-am",
            "--amend",
            "--message=x",
            "-mfix",
            "-S",
            "--fixup=HEAD",
        ] {
            assert!(looks_like_commit(yes), "{yes}");
        }
        for no in ["-x", "-", "--", "--json", "run", "", "-h", "--am"] {
            assert!(!looks_like_commit(no), "{no}");
        }
    }
}
