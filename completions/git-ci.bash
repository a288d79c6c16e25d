# Completion of `git ci` and `git-ci` in bash. Made by the program; do not edit.

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
    __git_ci_offer "$(sed -n 's/^ *\[jobs\."\{0,1\}\([^"]*\)"\{0,1\}\] *\(#.*\)\{0,1\}$/\1/p' "$(git rev-parse --show-toplevel 2>/dev/null)/.git-ci.toml" 2>/dev/null)"
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
    run,--order=|run,--order)
        __git_ci_offer "newest oldest" ;;
    run,--exec=|run,--exec|run,-x)
        : ;;
    run,--as=|run,--as)
        : ;;
    run,--job=|run,--job)
        __git_ci_jobs ;;
    run,--skip=|run,--skip)
        : ;;
    run,--config=|run,--config)
        __git_ci_files ;;
    run,--config-from=|run,--config-from)
        __git_ci_revisions ;;
    run,--stage=|run,--stage)
        __git_ci_offer "commit" ;;
    run,--slots=|run,--slots|run,-j)
        : ;;
    run,--color=)
        __git_ci_offer "always auto never" ;;
    notify,--hook=|notify,--hook)
        : ;;
    status,--order=|status,--order)
        __git_ci_offer "newest oldest" ;;
    status,--max-count=|status,--max-count|status,-n)
        : ;;
    status,--job=|status,--job)
        __git_ci_jobs ;;
    status,--skip=|status,--skip)
        : ;;
    status,--config=|status,--config)
        __git_ci_files ;;
    status,--config-from=|status,--config-from)
        __git_ci_revisions ;;
    status,--color=)
        __git_ci_offer "always auto never" ;;
    log,--order=|log,--order)
        __git_ci_offer "newest oldest" ;;
    log,--max-count=|log,--max-count|log,-n)
        : ;;
    log,--status=|log,--status)
        : ;;
    log,--since=|log,--since)
        : ;;
    log,--job=|log,--job)
        __git_ci_jobs ;;
    log,--skip=|log,--skip)
        : ;;
    log,--config=|log,--config)
        __git_ci_files ;;
    log,--config-from=|log,--config-from)
        __git_ci_revisions ;;
    log,--color=)
        __git_ci_offer "always auto never" ;;
    show,--lines=|show,--lines)
        : ;;
    show,--job=|show,--job)
        __git_ci_jobs ;;
    show,--skip=|show,--skip)
        : ;;
    show,--config=|show,--config)
        __git_ci_files ;;
    show,--config-from=|show,--config-from)
        __git_ci_revisions ;;
    show,--color=)
        __git_ci_offer "always auto never" ;;
    logs,--color=)
        __git_ci_offer "always auto never" ;;
    artifacts,--extract=|artifacts,--extract)
        __git_ci_files ;;
    artifacts,--color=)
        __git_ci_offer "always auto never" ;;
    blame,--rev=|blame,--rev)
        __git_ci_revisions ;;
    blame,--color=)
        __git_ci_offer "always auto never" ;;
    flaky,--job=|flaky,--job)
        __git_ci_jobs ;;
    flaky,--since=|flaky,--since)
        : ;;
    flaky,--color=)
        __git_ci_offer "always auto never" ;;
    stats,--since=|stats,--since)
        : ;;
    stats,--color=)
        __git_ci_offer "always auto never" ;;
    wait,--order=|wait,--order)
        __git_ci_offer "newest oldest" ;;
    wait,--job=|wait,--job)
        __git_ci_jobs ;;
    wait,--skip=|wait,--skip)
        : ;;
    wait,--config=|wait,--config)
        __git_ci_files ;;
    wait,--config-from=|wait,--config-from)
        __git_ci_revisions ;;
    wait,--timeout=|wait,--timeout)
        : ;;
    shell,-c)
        : ;;
    shell,--config=|shell,--config)
        __git_ci_files ;;
    shell,--config-from=|shell,--config-from)
        __git_ci_revisions ;;
    doctor,--color=)
        __git_ci_offer "always auto never" ;;
    watch,--exclude=|watch,--exclude)
        __git_ci_revisions ;;
    watch,--since=|watch,--since)
        __git_ci_revisions ;;
    watch,--order=|watch,--order)
        __git_ci_offer "tips newest oldest" ;;
    watch,--poll=|watch,--poll)
        : ;;
    watch,--fetch=|watch,--fetch)
        : ;;
    watch,--every=|watch,--every)
        : ;;
    watch,--on-result=|watch,--on-result)
        : ;;
    watch,--job=|watch,--job)
        __git_ci_jobs ;;
    watch,--skip=|watch,--skip)
        : ;;
    watch,--config=|watch,--config)
        __git_ci_files ;;
    watch,--config-from=|watch,--config-from)
        __git_ci_revisions ;;
    watch,--slots=|watch,--slots|watch,-j)
        : ;;
    watch,--color=)
        __git_ci_offer "always auto never" ;;
    forget,--order=|forget,--order)
        __git_ci_offer "newest oldest" ;;
    forget,--job=|forget,--job)
        __git_ci_jobs ;;
    hosts,--drain=|hosts,--drain)
        : ;;
    hosts,--undrain=|hosts,--undrain)
        : ;;
    init,*)
        case "$cur" in
        -*) __git_ci_offer "--dry-run --from-ci --help" ;;
        *) : ;;
        esac ;;
    run,*)
        case "$cur" in
        -*) __git_ci_offer "--all --branches --first-parent --stdin --order --new --staged --worktree --exec --as --job --skip --config --config-from --stage --gate --slots --fail-fast --fail-flaky --force --retry-failed --clean --keep-failed --dry-run --json --quiet --verbose --color --help" ;;
        *) __git_ci_revisions ;;
        esac ;;
    hook,*)
        case "$cur" in
        -*) __git_ci_offer "--help" ;;
        *) __git_ci_offer "install remove status" ;;
        esac ;;
    notify,*)
        case "$cur" in
        -*) __git_ci_offer "--hook --verbose --help" ;;
        *) __git_ci_revisions ;;
        esac ;;
    status,*)
        case "$cur" in
        -*) __git_ci_offer "--all --branches --first-parent --stdin --order --max-count --job --skip --config --config-from --json --color --help" ;;
        *) __git_ci_revisions ;;
        esac ;;
    log,*)
        case "$cur" in
        -*) __git_ci_offer "--all --branches --first-parent --stdin --order --max-count --oneline --status --failed --since --tests --job --skip --config --config-from --json --color --help" ;;
        *) __git_ci_revisions; __git_ci_files ;;
        esac ;;
    show,*)
        case "$cur" in
        -*) __git_ci_offer "--lines --job --skip --config --config-from --json --color --help" ;;
        *) __git_ci_revisions ;;
        esac ;;
    logs,*)
        case "$cur" in
        -*) __git_ci_offer "--follow --raw --json --color --help" ;;
        *) __git_ci_revisions; __git_ci_jobs ;;
        esac ;;
    artifacts,*)
        case "$cur" in
        -*) __git_ci_offer "--extract --json --color --help" ;;
        *) __git_ci_revisions; __git_ci_jobs ;;
        esac ;;
    blame,*)
        case "$cur" in
        -*) __git_ci_offer "--rev --run --json --color --help" ;;
        *) __git_ci_jobs ;;
        esac ;;
    flaky,*)
        case "$cur" in
        -*) __git_ci_offer "--job --since --json --color --help" ;;
        *) : ;;
        esac ;;
    stats,*)
        case "$cur" in
        -*) __git_ci_offer "--since --json --color --help" ;;
        *) __git_ci_jobs ;;
        esac ;;
    wait,*)
        case "$cur" in
        -*) __git_ci_offer "--all --branches --first-parent --stdin --order --job --skip --config --config-from --timeout --keep-going --json --help" ;;
        *) __git_ci_revisions ;;
        esac ;;
    shell,*)
        case "$cur" in
        -*) __git_ci_offer "-c --config --config-from --help" ;;
        *) __git_ci_revisions; __git_ci_jobs ;;
        esac ;;
    config,*)
        case "$cur" in
        -*) __git_ci_offer "--help" ;;
        *) __git_ci_offer "check show schema" ;;
        esac ;;
    gc,*)
        case "$cur" in
        -*) __git_ci_offer "--dry-run --json --verbose --help" ;;
        *) : ;;
        esac ;;
    doctor,*)
        case "$cur" in
        -*) __git_ci_offer "--json --color --help" ;;
        *) : ;;
        esac ;;
    completions,*)
        case "$cur" in
        -*) __git_ci_offer "--help" ;;
        *) __git_ci_offer "bash fish zsh" ;;
        esac ;;
    watch,*)
        case "$cur" in
        -*) __git_ci_offer "--exclude --since --order --no-cancel --poll --fetch --every --on-result --bell --until-idle --wait --job --skip --config --config-from --slots --json --quiet --verbose --color --help" ;;
        *) __git_ci_revisions ;;
        esac ;;
    cancel,*)
        case "$cur" in
        -*) __git_ci_offer "--help" ;;
        *) __git_ci_revisions; __git_ci_jobs ;;
        esac ;;
    forget,*)
        case "$cur" in
        -*) __git_ci_offer "--all --branches --first-parent --stdin --order --job --dry-run --help" ;;
        *) __git_ci_revisions ;;
        esac ;;
    hosts,*)
        case "$cur" in
        -*) __git_ci_offer "--check --json --drain --undrain --help" ;;
        *) : ;;
        esac ;;
    help,*)
        case "$cur" in
        -*) __git_ci_offer "--help" ;;
        *) : ;;
        esac ;;
    version,*)
        case "$cur" in
        -*) __git_ci_offer "--build-options --help" ;;
        *) : ;;
        esac ;;
    ,*)
        case "$cur" in
        -*) __git_ci_offer "--help --version" ;;
        *) __git_ci_offer "init run hook notify status log show logs artifacts blame flaky stats wait shell config gc doctor completions watch cancel forget hosts help version" ;;
        esac ;;
    esac
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
