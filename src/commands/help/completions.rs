//! Completion scripts for shells.
//!
//! Those for fish and zsh are clap's, with a few lines for what clap cannot know. The one
//! for bash is our own: git's completion calls a function `_git_ci` in surroundings of
//! its own (the words are the caller's, candidates end in a space), and offers functions
//! that complete revisions, which clap's script has no use for.

use clap::{Arg, Command, CommandFactory as _};

use super::visible;
use crate::commands::Cli;

/// A shell that there is a script for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::commands) enum Shell {
    /// GNU bash.
    Bash,
    /// fish.
    Fish,
    /// zsh.
    Zsh,
}

/// Prints the names of the jobs in the work tree's jobs file: `[jobs.test]`.
const JOBS: &str = r#"sed -n 's/^ *\[jobs\."\{0,1\}\([^"]*\)"\{0,1\}\] *\(#.*\)\{0,1\}$/\1/p' "$(git rev-parse --show-toplevel 2>/dev/null)/.git-ci.toml" 2>/dev/null"#;

impl Shell {
    pub(in crate::commands) const ALL: [Self; 3] = [Self::Bash, Self::Fish, Self::Zsh];

    /// What the shell expects the file to be called.
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::Bash => "git-ci.bash",
            Self::Fish => "git-ci.fish",
            Self::Zsh => "_git-ci",
        }
    }
}

/// The script for a shell.
pub(in crate::commands) fn script(shell: Shell) -> String {
    match shell {
        Shell::Bash => bash(),
        Shell::Fish => fish(),
        Shell::Zsh => zsh(),
    }
}

/// What clap makes, without the commands that are not for people.
fn by_clap(shell: clap_complete::Shell) -> String {
    // Named anew: clap takes the space of "git ci" for the border of a subcommand.
    let cli = Cli::command();
    let mut command = Command::new("git-ci").version(env!("CARGO_PKG_VERSION"));
    command = command.disable_help_subcommand(true);
    for sub in visible(&cli) {
        command = command.subcommand(sub.clone());
    }
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "git-ci", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

fn fish() -> String {
    let jobs = JOBS
        .replace("\"$(", "(")
        .replace(")/.git-ci.toml\"", ")/.git-ci.toml");
    let mut script = by_clap(clap_complete::Shell::Fish);
    script += FISH_GIT;
    script += &format!("function __fish_git_ci_jobs\n    {jobs}\nend\n");
    for sub in visible(&super::command()) {
        let name = sub.get_name();
        let within = format!("complete -c git-ci -n \"__fish_git_ci_using_subcommand {name}\"");
        if sub.get_arguments().any(|arg| arg.get_long() == Some("job")) {
            script += &format!("{within} -l job -x -a '(__fish_git_ci_jobs)'\n");
        }
        if sub
            .get_positionals()
            .any(|arg| takes(arg) == Takes::Revisions)
        {
            let refs =
                "git for-each-ref --format=\"%(refname:short)\" refs/heads refs/tags refs/remotes";
            script += &format!("{within} -f -a '({refs} 2>/dev/null)'\n");
        }
    }
    script
}

fn zsh() -> String {
    let jobs = format!("_git-ci_jobs() {{\n    compadd -- ${{(f)\"$({JOBS})\"}}\n}}\n\n");
    let script = by_clap(clap_complete::Shell::Zsh);
    let line = |line: &str| {
        if line.contains("--job=[") {
            format!("{}\n", line.replace(":NAME:_default", ":NAME:_git-ci_jobs"))
        } else {
            format!("{line}\n")
        }
    };
    let script: String = script.lines().map(line).collect();
    // After the first lines: "#compdef git-ci" and "autoload".
    match script.split_once("_git-ci() {") {
        Some((head, rest)) => format!("{head}{jobs}_git-ci() {{{rest}"),
        None => script,
    }
}

/// What may stand for an argument's value.
#[derive(Debug, PartialEq, Eq)]
enum Takes {
    Nothing,
    OneOf(Vec<String>),
    Revisions,
    Jobs,
    Files,
    /// Something that nobody can guess.
    Anything,
}

fn takes(arg: &Arg) -> Takes {
    if !arg.get_action().takes_values() {
        return Takes::Nothing;
    }
    let values = arg.get_possible_values();
    if !values.is_empty() {
        return Takes::OneOf(
            values
                .iter()
                .map(|value| value.get_name().to_owned())
                .collect(),
        );
    }
    let names = arg.get_value_names().unwrap_or_default();
    let named = |part: &str| names.iter().any(|name| name.contains(part));
    if arg.get_long() == Some("job") || named("JOB") {
        Takes::Jobs
    } else if named("REV") || named("REF") || named("RANGE") || named("GOOD") || named("BAD") {
        Takes::Revisions
    } else if named("FILE") || named("PATH") || named("DIR") {
        Takes::Files
    } else {
        Takes::Anything
    }
}

/// `git ci` is completed as `git-ci`. fish means to do so by itself; 3.6 does not.
const FISH_GIT: &str = r#"
function __fish_git_ci_after_git
    set -l words (commandline -opc)
    set -l at (contains -i -- ci $words)
    or return
    set -e words[1..$at]
    set -l line (string join ' ' -- git-ci (string escape -- $words))
    complete -C "$line "(commandline -ct)
end
complete -c git -f -n '__fish_git_needs_command' -a ci -d 'CI that lives in the repository'
complete -c git -f -n '__fish_git_using_command ci' -a '(__fish_git_ci_after_git)'

"#;

const BASH_BEGIN: &str = r#"# Completion of `git ci` and `git-ci` in bash. Made by the program; do not edit.

# Offers those of the words $1 that begin with what was typed.
__git_ci_offer () {
    local word
    for word in $1; do
        [[ $word == "${cur}"* ]] && COMPREPLY+=("$word ")
    done
}

# Revisions and ranges, as git's own completion knows them, where that is there.
__git_ci_revisions () {
    if ! declare -F __git_complete_revlist >/dev/null; then
        if declare -F _comp_load >/dev/null; then
            _comp_load git
        elif declare -F __load_completion >/dev/null; then
            __load_completion git
        fi
    fi
    if declare -F __git_complete_revlist >/dev/null; then
        __git_complete_revlist
    else
        __git_ci_offer "$(git for-each-ref --format='%(refname:short)' refs/heads refs/tags refs/remotes 2>/dev/null)"
    fi
}

__git_ci_jobs () {
    __git_ci_offer "$(@JOBS@)"
}

__git_ci_files () {
    local file
    while IFS= read -r file; do
        if [ -d "$file" ]; then COMPREPLY+=("$file/"); else COMPREPLY+=("$file "); fi
    done < <(compgen -f -- "$cur")
}

# Completes the word ${cur}; the subcommand, if any, is word number $1.
__git_ci_complete () {
    local at=$1 sub="" option="$prev"
    [ "$cword" -gt "$at" ] && sub="${words[at]}"
    if [[ $cur == --*=* ]]; then
        option="${cur%%=*}="
        cur="${cur#*=}"
    fi
    case "$sub,$option" in
"#;

const BASH_END: &str = r#"    esac
}

# git's completion calls this, with its own variables set.
_git_ci () {
    __git_ci_complete $((${__git_cmd_idx:-1} + 1))
}

# For `git-ci` itself.
__git_ci_main () {
    local cur prev words=() cword __git_repo_path="" __git_cmd_idx=0
    COMPREPLY=()
    if declare -F _get_comp_words_by_ref >/dev/null; then
        _get_comp_words_by_ref -n =: cur prev words cword
    else
        cur="${COMP_WORDS[COMP_CWORD]}"
        prev="${COMP_WORDS[COMP_CWORD-1]}"
        words=("${COMP_WORDS[@]}")
        cword=$COMP_CWORD
    fi
    __git_ci_complete 1
}

complete -o bashdefault -o default -o nospace -F __git_ci_main git-ci
"#;

fn bash() -> String {
    let cli = super::command();
    let mut script = BASH_BEGIN.replace("@JOBS@", JOBS);
    // What follows an option that takes a value, then everything else.
    let mut rest = String::new();
    for sub in visible(&cli) {
        let name = sub.get_name();
        let mut options = Vec::new();
        for arg in sub.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let long = arg.get_long().map(|long| format!("--{long}"));
            let short = arg.get_short().map(|short| format!("-{short}"));
            if arg.is_positional() {
                continue;
            }
            // Of a pair git offers the long one.
            options.extend(long.clone().or_else(|| short.clone()));
            let optional = arg
                .get_num_args()
                .is_some_and(|count| count.min_values() == 0);
            let offer = offer(&takes(arg));
            if takes(arg) == Takes::Nothing {
                continue;
            }
            // With an equals sign; without one only where the value must come.
            let mut spellings: Vec<_> = long.iter().map(|long| format!("{long}=")).collect();
            if !optional {
                spellings.extend([long, short].into_iter().flatten());
            }
            let spellings = spellings.iter();
            let patterns: Vec<_> = spellings.map(|option| format!("{name},{option}")).collect();
            script += &format!("    {})\n        {offer} ;;\n", patterns.join("|"));
        }
        let nested: Vec<_> = visible(sub).map(Command::get_name).collect();
        let mut operands: Vec<_> = sub
            .get_positionals()
            .map(|arg| offer(&takes(arg)))
            .collect();
        if !nested.is_empty() {
            operands.push(format!("__git_ci_offer \"{}\"", nested.join(" ")));
        }
        operands.retain(|offer| offer != ":");
        operands.dedup();
        if operands.is_empty() {
            operands.push(":".to_owned());
        }
        rest += &format!(
            "    {name},*)\n        case \"$cur\" in\n        -*) __git_ci_offer \"{}\" ;;\n        *) {} ;;\n        esac ;;\n",
            options.join(" "),
            operands.join("; "),
        );
    }
    let names: Vec<_> = visible(&cli).map(Command::get_name).collect();
    rest += &format!(
        "    ,*)\n        case \"$cur\" in\n        -*) __git_ci_offer \"--help --version\" ;;\n        *) __git_ci_offer \"{}\" ;;\n        esac ;;\n",
        names.join(" ")
    );
    script + &rest + BASH_END
}

/// The command of the script that offers values.
fn offer(takes: &Takes) -> String {
    match takes {
        Takes::OneOf(words) => format!("__git_ci_offer \"{}\"", words.join(" ")),
        Takes::Revisions => "__git_ci_revisions".to_owned(),
        Takes::Jobs => "__git_ci_jobs".to_owned(),
        Takes::Files => "__git_ci_files".to_owned(),
        Takes::Nothing | Takes::Anything => ":".to_owned(),
    }
}
