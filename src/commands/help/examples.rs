//! What people type: the examples of every command's manual page and long help.

/// A command line, and what it is for.
type Example = (&'static str, &'static str);

/// The examples of each command.
const EXAMPLES: &[(&str, &[Example])] = &[
    (
        "init",
        &[
            (
                "git ci init",
                "write .git-ci.toml for what the project looks like",
            ),
            ("git ci init --print", "only show what it would be"),
            (
                "git ci init --from-ci",
                "take over what .github/workflows or .gitlab-ci.yml runs",
            ),
        ],
    ),
    (
        "run",
        &[
            ("git ci run", "the configured jobs on HEAD"),
            ("git ci run main..", "on every commit of this branch"),
            ("git ci run -n main..", "only say what would run, and why"),
            (
                "git ci run -x 'make test' HEAD~5..",
                "a command without a jobs file",
            ),
            (
                "git ci run --job test --force",
                "once more, whatever is cached",
            ),
            (
                "git ci run --clean --retry-failed",
                "what failed once more, in fresh worktrees",
            ),
            (
                "git ci run --fail-fast --order=oldest main..",
                "up to the first commit that fails",
            ),
        ],
    ),
    (
        "config",
        &[
            (
                "git ci config check",
                "everything that is wrong with the jobs file",
            ),
            ("git ci config show", "all jobs, as they apply"),
            (
                "git ci config schema",
                "for an editor that checks TOML by a schema",
            ),
        ],
    ),
    (
        "shell",
        &[
            (
                "git ci shell HEAD~3 test",
                "where the job test ran, to look around",
            ),
            (
                "git ci shell -c 'make V=1' HEAD build",
                "one command there, and out again",
            ),
        ],
    ),
    (
        "wait",
        &[
            (
                "git ci wait",
                "until a watcher, a hook or a run has tested HEAD",
            ),
            (
                "git ci wait --timeout 10m main..",
                "each commit of this branch, for ten minutes at most",
            ),
        ],
    ),
    (
        "status",
        &[
            (
                "git ci status",
                "the commits that are not upstream yet, by job",
            ),
            ("git ci status main..topic", "those of a range"),
        ],
    ),
    (
        "log",
        &[
            ("git ci log", "all records, newest first"),
            ("git ci log -5 --oneline", "the last five, in short"),
            (
                "git ci log -- src",
                "those of commits that change something there",
            ),
            (
                "git ci log --job=test main..",
                "those of one job on a branch",
            ),
        ],
    ),
    (
        "show",
        &[
            ("git ci show", "everything about HEAD"),
            ("git ci show HEAD~2", "about another commit"),
        ],
    ),
    (
        "logs",
        &[
            ("git ci logs HEAD test", "what the job test printed on HEAD"),
            ("git ci logs -f HEAD test", "the same while it runs"),
        ],
    ),
    (
        "blame",
        &[
            (
                "git ci blame",
                "since when each job fails, and which commit began it",
            ),
            (
                "git ci blame test --run",
                "the same of one job; runs it where it is not known",
            ),
        ],
    ),
    (
        "flaky",
        &[
            (
                "git ci flaky",
                "the jobs and tests that sometimes fail, and how often",
            ),
            (
                "git ci flaky --job test --since '2 weeks ago'",
                "those of one job, lately",
            ),
        ],
    ),
    (
        "stats",
        &[
            (
                "git ci stats",
                "how often each job passes, how long it takes, what reuse saved",
            ),
            (
                "git ci stats test --since '1 month ago'",
                "the same of one job, lately",
            ),
        ],
    ),
    (
        "artifacts",
        &[
            (
                "git ci artifacts HEAD test",
                "what the job test left on HEAD, and where it is",
            ),
            (
                "git ci artifacts HEAD test --extract report",
                "a copy of it, in the directory report",
            ),
        ],
    ),
    (
        "watch",
        &[
            (
                "git ci watch",
                "test what is new on the local branches, until Ctrl-C",
            ),
            (
                "git ci watch --fetch origin main",
                "and what is new on a remote's main",
            ),
            (
                "git ci watch --until-idle",
                "end once there is nothing left to test",
            ),
        ],
    ),
    (
        "hook",
        &[
            (
                "git ci hook install",
                "note new commits, for the next watch or run --new",
            ),
            ("git ci hook status", "what is installed, and what waits"),
            (
                "git ci hook remove",
                "take our part out again, and leave the rest",
            ),
        ],
    ),
    (
        "forget",
        &[
            (
                "git ci forget --job test HEAD",
                "one job of one commit runs again when it is asked for",
            ),
            (
                "git ci forget -n main..",
                "what would be forgotten of a branch",
            ),
        ],
    ),
    (
        "cancel",
        &[
            (
                "git ci cancel",
                "drop everything that a watch has queued or running",
            ),
            ("git ci cancel HEAD~1 test", "drop one task"),
        ],
    ),
    (
        "hosts",
        &[
            ("git ci hosts", "which machines are configured"),
            (
                "git ci hosts --check",
                "whether they can be used, and what runs there",
            ),
            (
                "git ci hosts --drain mira",
                "send nothing more to one of them",
            ),
        ],
    ),
    (
        "doctor",
        &[(
            "git ci doctor",
            "what is wrong here, and the command that mends it",
        )],
    ),
    (
        "gc",
        &[
            ("git ci gc --dry-run", "what would be removed"),
            ("git ci gc", "remove it"),
        ],
    ),
    (
        "help",
        &[
            ("git ci help", "the commands, by what they are for"),
            ("git ci help run", "the manual page of one"),
            ("git ci help note", "that of the format of notes"),
        ],
    ),
    (
        "version",
        &[(
            "git ci version --build-options",
            "what to tell in a bug report",
        )],
    ),
    (
        "completions",
        &[("git ci completions zsh", "print the script for zsh")],
    ),
    (
        "notify",
        &[(
            "git ci notify HEAD",
            "say that a commit is new, where no hook does",
        )],
    ),
];

/// The examples of a command.
pub(super) fn of(name: &str) -> &'static [Example] {
    let found = EXAMPLES.iter().find(|(command, _)| *command == name);
    found.map_or(&[], |(_, examples)| examples)
}

/// As they stand below the long help of a command.
pub(super) fn text(name: &str) -> String {
    let examples = of(name);
    let width = examples
        .iter()
        .map(|(line, _)| line.len())
        .max()
        .unwrap_or(0);
    let lines = examples.iter();
    let lines: Vec<_> = lines
        .map(|(line, why)| format!("  {line:<width$}  # {why}"))
        .collect();
    format!("Examples:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::help::{command, groups, visible};

    #[test]
    fn every_command_has_its_group_and_examples_that_are_right() {
        let whole = command();
        let mut names: Vec<_> = visible(&whole).map(clap::Command::get_name).collect();
        names.sort_unstable();
        let mut grouped = groups::names();
        grouped.sort_unstable();
        assert_eq!(grouped, names);
        for name in names {
            assert!(!of(name).is_empty(), "{name} has no example");
            for (line, _) in of(name) {
                let words = shell_words::split(line).unwrap();
                assert_eq!(words[..2], ["git", "ci"], "{line}");
                let words = words[1..].iter().map(Into::into);
                let words = crate::commands::ui::slips::spelled_out(words);
                let parsed = command().try_get_matches_from(words);
                assert!(parsed.is_ok(), "{line}: {:?}", parsed.err());
            }
        }
    }
}
