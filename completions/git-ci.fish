# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_git_ci_global_optspecs
    string join \n h/help V/version
end

function __fish_git_ci_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_git_ci_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_git_ci_using_subcommand
    set -l cmd (__fish_git_ci_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c git-ci -n "__fish_git_ci_needs_command" -s h -l help -d 'Print help'
complete -c git-ci -n "__fish_git_ci_needs_command" -s V -l version -d 'Print version'
complete -c git-ci -n "__fish_git_ci_needs_command" -f -a "init" -d 'Write a starter jobs file that fits what the repository looks like'
complete -c git-ci -n "__fish_git_ci_needs_command" -f -a "run" -d 'Run the jobs on commits, and record the results'
complete -c git-ci -n "__fish_git_ci_needs_command" -f -a "hook" -d 'Set up hooks that tell of new commits'
complete -c git-ci -n "__fish_git_ci_needs_command" -f -a "notify" -d 'Say which commits are new, for the next `git ci watch` or `git ci run --new`'
complete -c git-ci -n "__fish_git_ci_needs_command" -f -a "status" -d 'Show what is known of each commit, and what runs and waits now'
complete -c git-ci -n "__fish_git_ci_needs_command" -f -a "log" -d 'Show the records, newest first'
complete -c git-ci -n "__fish_git_ci_needs_command" -f -a "show" -d 'Show everything about one commit'
complete -c git-ci -n "__fish_git_ci_needs_command" -f -a "logs" -d 'Show the whole log of one task, also while it runs'
complete -c git-ci -n "__fish_git_ci_needs_command" -f -a "artifacts" -d 'List the files that a task left, or copy them out'
complete -c git-ci -n "__fish_git_ci_needs_command" -f -a "blame" -d 'Say since when a job fails, and which commit began it'
complete -c git-ci -n "__fish_git_ci_needs_command" -f -a "flaky" -d 'List the jobs and tests that gave both verdicts on the same content'
complete -c git-ci -n "__fish_git_ci_needs_command" -f -a "stats" -d 'Say how often jobs pass, how long they take, and what reuse has saved'
complete -c git-ci -n "__fish_git_ci_needs_command" -f -a "wait" -d 'Wait until there are verdicts on commits, and say what failed'
complete -c git-ci -n "__fish_git_ci_needs_command" -f -a "shell" -d 'Open a shell in a slot, at a commit'
complete -c git-ci -n "__fish_git_ci_needs_command" -f -a "config" -d 'Check the jobs file, or show what applies'
complete -c git-ci -n "__fish_git_ci_needs_command" -f -a "gc" -d 'Remove old logs and artifacts, worktrees that are not used, and litter'
complete -c git-ci -n "__fish_git_ci_needs_command" -f -a "doctor" -d 'Look for what is wrong with this set-up, and name the command that mends it'
complete -c git-ci -n "__fish_git_ci_needs_command" -f -a "completions" -d 'Print a completion script'
complete -c git-ci -n "__fish_git_ci_needs_command" -f -a "watch" -d 'Watch for new commits and run the jobs on each'
complete -c git-ci -n "__fish_git_ci_needs_command" -f -a "cancel" -d 'Cancel tasks of every `git ci run` and `git ci watch` that works on this repository'
complete -c git-ci -n "__fish_git_ci_needs_command" -f -a "forget" -d 'Make what is on record of commits not count any more'
complete -c git-ci -n "__fish_git_ci_needs_command" -f -a "hosts" -d 'List the machines that tasks are sent to, and look whether they can be used'
complete -c git-ci -n "__fish_git_ci_needs_command" -f -a "help" -d 'Show the commands, or the manual page of one'
complete -c git-ci -n "__fish_git_ci_needs_command" -f -a "version" -d 'Print the version'
complete -c git-ci -n "__fish_git_ci_using_subcommand init" -s n -l dry-run -l print -d 'Print the file to standard output, and write nothing'
complete -c git-ci -n "__fish_git_ci_using_subcommand init" -l from-ci -d 'Take over what another CI runs; what cannot be is a comment that says why'
complete -c git-ci -n "__fish_git_ci_using_subcommand init" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -l order -d 'The order of the commits of a range' -r -f -a "newest\t'Children before their parents'
oldest\t'Parents before their children'"
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -s x -l exec -d 'Run this shell command instead of the configured jobs' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -l as -d 'Record the results of `--exec` under this job name; without it nothing is recorded' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -l job -d 'Only this job, and what it needs; may be given several times' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -l skip -d 'Leave this job out; may be given several times' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -l config -d 'Read the jobs from this file' -r -F
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -l config-from -d 'Which jobs file counts: that of the `worktree`, of each `commit`, or of a revision' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -l stage -d 'Only the jobs of this stage, whether they run by default or not, and what they need' -r -f -a "commit\t''"
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -s j -l slots -d 'How many tasks to run at once [default: `ci.slots`, else the number of CPUs]' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -l color -d 'When to use colours; color.ci and color.ui of git\'s configuration set the default' -r -f -a "always\t'Even into a file or a pipe'
auto\t'On a terminal that can, unless NO_COLOR is set'
never\t'Not at all'"
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -l all -d 'Every commit that a branch, a tag or another ref reaches'
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -l branches -d 'Every commit that a local branch reaches'
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -l first-parent -d 'Follow only the first parent of a merge'
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -l stdin -d 'Read more revisions from standard input, one a line'
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -l new -d 'What is new on the local branches, or on those named, since the last time'
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -l staged -d 'Test what is staged, as if it were committed'
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -l worktree -d 'Test the work tree as it is, with untracked files that are not ignored'
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -l gate -d 'For a hook: fail only where a job failed or could not be run, and say how to go on'
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -l fail-fast -d 'Stop at the first failure, and end what runs; a cached one counts'
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -l fail-flaky -d 'A job that passed only in another try (FLAKY) fails the run'
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -l force -d 'Run again whatever is cached; the newest record counts'
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -l retry-failed -d 'Run again what failed'
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -l clean -d 'Run again whatever is cached, each task in a worktree that holds nothing but the commit, as after a fresh clone'
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -l keep-failed -d 'Keep the slot of a task that fails as it is left, for `git ci shell REV JOB`'
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -s n -l dry-run -d 'Say what would run, what is cached, and why; do nothing'
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -l json -d 'Print events as JSON, one a line'
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -s q -l quiet -d 'Say less: failures only'
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -s v -l verbose -d 'Say more: cached verdicts, too'
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c git-ci -n "__fish_git_ci_using_subcommand hook; and not __fish_seen_subcommand_from install remove status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c git-ci -n "__fish_git_ci_using_subcommand hook; and not __fish_seen_subcommand_from install remove status" -f -a "install" -d 'Install the hooks; those that are there already stay as they are'
complete -c git-ci -n "__fish_git_ci_using_subcommand hook; and not __fish_seen_subcommand_from install remove status" -f -a "remove" -d 'Remove the hooks; what was there before is again, byte for byte'
complete -c git-ci -n "__fish_git_ci_using_subcommand hook; and not __fish_seen_subcommand_from install remove status" -f -a "status" -d 'Say for each hook whether it is installed and where, and what they noted'
complete -c git-ci -n "__fish_git_ci_using_subcommand hook; and __fish_seen_subcommand_from install" -l server -d 'Install post-receive, for a repository that others push to, instead'
complete -c git-ci -n "__fish_git_ci_using_subcommand hook; and __fish_seen_subcommand_from install" -l pre-commit -d 'Install pre-commit, which runs the jobs of `stage = "commit"` on what is staged and keeps it from being committed where one fails, instead'
complete -c git-ci -n "__fish_git_ci_using_subcommand hook; and __fish_seen_subcommand_from install" -s h -l help -d 'Print help'
complete -c git-ci -n "__fish_git_ci_using_subcommand hook; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help'
complete -c git-ci -n "__fish_git_ci_using_subcommand hook; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help'
complete -c git-ci -n "__fish_git_ci_using_subcommand notify" -l hook -d 'The hook that calls, whose arguments and standard input are read accordingly' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand notify" -s v -l verbose -d 'Say on standard error why nothing could be noted'
complete -c git-ci -n "__fish_git_ci_using_subcommand notify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c git-ci -n "__fish_git_ci_using_subcommand status" -l order -d 'The order of the commits of a range' -r -f -a "newest\t'Children before their parents'
oldest\t'Parents before their children'"
complete -c git-ci -n "__fish_git_ci_using_subcommand status" -s n -l max-count -d 'Show this many commits at most; `-5` is the same as `-n 5`' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand status" -l job -d 'Only this job, and what it needs; may be given several times' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand status" -l skip -d 'Leave this job out; may be given several times' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand status" -l config -d 'Read the jobs from this file' -r -F
complete -c git-ci -n "__fish_git_ci_using_subcommand status" -l config-from -d 'Which jobs file counts: that of the `worktree`, of each `commit`, or of a revision' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand status" -l color -d 'When to use colours; color.ci and color.ui of git\'s configuration set the default' -r -f -a "always\t'Even into a file or a pipe'
auto\t'On a terminal that can, unless NO_COLOR is set'
never\t'Not at all'"
complete -c git-ci -n "__fish_git_ci_using_subcommand status" -l all -d 'Every commit that a branch, a tag or another ref reaches'
complete -c git-ci -n "__fish_git_ci_using_subcommand status" -l branches -d 'Every commit that a local branch reaches'
complete -c git-ci -n "__fish_git_ci_using_subcommand status" -l first-parent -d 'Follow only the first parent of a merge'
complete -c git-ci -n "__fish_git_ci_using_subcommand status" -l stdin -d 'Read more revisions from standard input, one a line'
complete -c git-ci -n "__fish_git_ci_using_subcommand status" -l json -d 'Print JSON: one commit a line, then one running task a line, then each run and the watcher'
complete -c git-ci -n "__fish_git_ci_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c git-ci -n "__fish_git_ci_using_subcommand log" -l order -d 'The order of the commits of a range' -r -f -a "newest\t'Children before their parents'
oldest\t'Parents before their children'"
complete -c git-ci -n "__fish_git_ci_using_subcommand log" -s n -l max-count -d 'Show this many records at most; `-5` is the same as `-n 5`' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand log" -l status -d 'Only records with one of these verdicts: error, fail, flaky, pass, skip' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand log" -l since -d 'Only records from this time on, written as for `git log --since`' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand log" -l job -d 'Only this job, and what it needs; may be given several times' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand log" -l skip -d 'Leave this job out; may be given several times' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand log" -l config -d 'Read the jobs from this file' -r -F
complete -c git-ci -n "__fish_git_ci_using_subcommand log" -l config-from -d 'Which jobs file counts: that of the `worktree`, of each `commit`, or of a revision' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand log" -l color -d 'When to use colours; color.ci and color.ui of git\'s configuration set the default' -r -f -a "always\t'Even into a file or a pipe'
auto\t'On a terminal that can, unless NO_COLOR is set'
never\t'Not at all'"
complete -c git-ci -n "__fish_git_ci_using_subcommand log" -l all -d 'Every commit that a branch, a tag or another ref reaches'
complete -c git-ci -n "__fish_git_ci_using_subcommand log" -l branches -d 'Every commit that a local branch reaches'
complete -c git-ci -n "__fish_git_ci_using_subcommand log" -l first-parent -d 'Follow only the first parent of a merge'
complete -c git-ci -n "__fish_git_ci_using_subcommand log" -l stdin -d 'Read more revisions from standard input, one a line'
complete -c git-ci -n "__fish_git_ci_using_subcommand log" -l oneline -d 'Only the commit, the verdict, the job and the subject of each record'
complete -c git-ci -n "__fish_git_ci_using_subcommand log" -l failed -d 'Only what failed: the same as `--status=error,fail`'
complete -c git-ci -n "__fish_git_ci_using_subcommand log" -l tests -d 'Below each record the tests that failed or are flaky, of jobs with `junit`'
complete -c git-ci -n "__fish_git_ci_using_subcommand log" -l json -d 'Print JSON, one record a line'
complete -c git-ci -n "__fish_git_ci_using_subcommand log" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c git-ci -n "__fish_git_ci_using_subcommand show" -l lines -d 'How many lines of a failed log to show: of what looks like the failure, and its end' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand show" -l job -d 'Only this job, and what it needs; may be given several times' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand show" -l skip -d 'Leave this job out; may be given several times' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand show" -l config -d 'Read the jobs from this file' -r -F
complete -c git-ci -n "__fish_git_ci_using_subcommand show" -l config-from -d 'Which jobs file counts: that of the `worktree`, of each `commit`, or of a revision' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand show" -l color -d 'When to use colours; color.ci and color.ui of git\'s configuration set the default' -r -f -a "always\t'Even into a file or a pipe'
auto\t'On a terminal that can, unless NO_COLOR is set'
never\t'Not at all'"
complete -c git-ci -n "__fish_git_ci_using_subcommand show" -l json -d 'Print JSON, one record a line'
complete -c git-ci -n "__fish_git_ci_using_subcommand show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c git-ci -n "__fish_git_ci_using_subcommand logs" -l color -d 'When to use colours; color.ci and color.ui of git\'s configuration set the default' -r -f -a "always\t'Even into a file or a pipe'
auto\t'On a terminal that can, unless NO_COLOR is set'
never\t'Not at all'"
complete -c git-ci -n "__fish_git_ci_using_subcommand logs" -s f -l follow -d 'Show what comes while the task runs, until it ends'
complete -c git-ci -n "__fish_git_ci_using_subcommand logs" -l raw -d 'Show the log as it is, also on a terminal'
complete -c git-ci -n "__fish_git_ci_using_subcommand logs" -l json -d 'Print JSON: what is known of the task, then the log, one line a line'
complete -c git-ci -n "__fish_git_ci_using_subcommand logs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c git-ci -n "__fish_git_ci_using_subcommand artifacts" -l extract -d 'Copy the files of the last try into this directory, over nothing that is there' -r -F
complete -c git-ci -n "__fish_git_ci_using_subcommand artifacts" -l color -d 'When to use colours; color.ci and color.ui of git\'s configuration set the default' -r -f -a "always\t'Even into a file or a pipe'
auto\t'On a terminal that can, unless NO_COLOR is set'
never\t'Not at all'"
complete -c git-ci -n "__fish_git_ci_using_subcommand artifacts" -l json -d 'Print JSON, one file a line'
complete -c git-ci -n "__fish_git_ci_using_subcommand artifacts" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c git-ci -n "__fish_git_ci_using_subcommand blame" -l rev -d 'Begin at this commit' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand blame" -l color -d 'When to use colours; color.ci and color.ui of git\'s configuration set the default' -r -f -a "always\t'Even into a file or a pipe'
auto\t'On a terminal that can, unless NO_COLOR is set'
never\t'Not at all'"
complete -c git-ci -n "__fish_git_ci_using_subcommand blame" -l run -d 'Run the job on commits between that have no verdict, as few as it takes'
complete -c git-ci -n "__fish_git_ci_using_subcommand blame" -l json -d 'Print JSON, one job or test a line'
complete -c git-ci -n "__fish_git_ci_using_subcommand blame" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c git-ci -n "__fish_git_ci_using_subcommand flaky" -l job -d 'Only this job; may be given several times' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand flaky" -l since -d 'Only what finished since then, as `git log --since` understands it' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand flaky" -l color -d 'When to use colours; color.ci and color.ui of git\'s configuration set the default' -r -f -a "always\t'Even into a file or a pipe'
auto\t'On a terminal that can, unless NO_COLOR is set'
never\t'Not at all'"
complete -c git-ci -n "__fish_git_ci_using_subcommand flaky" -l json -d 'Print JSON, one job or test a line'
complete -c git-ci -n "__fish_git_ci_using_subcommand flaky" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c git-ci -n "__fish_git_ci_using_subcommand stats" -l since -d 'Only what finished since then, as `git log --since` understands it' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand stats" -l color -d 'When to use colours; color.ci and color.ui of git\'s configuration set the default' -r -f -a "always\t'Even into a file or a pipe'
auto\t'On a terminal that can, unless NO_COLOR is set'
never\t'Not at all'"
complete -c git-ci -n "__fish_git_ci_using_subcommand stats" -l json -d 'Print JSON, one job a line'
complete -c git-ci -n "__fish_git_ci_using_subcommand stats" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c git-ci -n "__fish_git_ci_using_subcommand wait" -l order -d 'The order of the commits of a range' -r -f -a "newest\t'Children before their parents'
oldest\t'Parents before their children'"
complete -c git-ci -n "__fish_git_ci_using_subcommand wait" -l job -d 'Only this job, and what it needs; may be given several times' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand wait" -l skip -d 'Leave this job out; may be given several times' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand wait" -l config -d 'Read the jobs from this file' -r -F
complete -c git-ci -n "__fish_git_ci_using_subcommand wait" -l config-from -d 'Which jobs file counts: that of the `worktree`, of each `commit`, or of a revision' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand wait" -l timeout -d 'Do not wait for longer than this, such as `10m`' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand wait" -l all -d 'Every commit that a branch, a tag or another ref reaches'
complete -c git-ci -n "__fish_git_ci_using_subcommand wait" -l branches -d 'Every commit that a local branch reaches'
complete -c git-ci -n "__fish_git_ci_using_subcommand wait" -l first-parent -d 'Follow only the first parent of a merge'
complete -c git-ci -n "__fish_git_ci_using_subcommand wait" -l stdin -d 'Read more revisions from standard input, one a line'
complete -c git-ci -n "__fish_git_ci_using_subcommand wait" -l keep-going -d 'Go on after a failure, until there are all verdicts'
complete -c git-ci -n "__fish_git_ci_using_subcommand wait" -l json -d 'Print JSON: a `verdict` for each task, and what failed'
complete -c git-ci -n "__fish_git_ci_using_subcommand wait" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c git-ci -n "__fish_git_ci_using_subcommand shell" -s c -d 'Run this shell command instead of `$SHELL`' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand shell" -l config -d 'Read the jobs from this file' -r -F
complete -c git-ci -n "__fish_git_ci_using_subcommand shell" -l config-from -d 'Which jobs file counts, as for `git ci run`' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand shell" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c git-ci -n "__fish_git_ci_using_subcommand config; and not __fish_seen_subcommand_from check show schema" -s h -l help -d 'Print help'
complete -c git-ci -n "__fish_git_ci_using_subcommand config; and not __fish_seen_subcommand_from check show schema" -f -a "check" -d 'Name everything that is wrong with the jobs file'
complete -c git-ci -n "__fish_git_ci_using_subcommand config; and not __fish_seen_subcommand_from check show schema" -f -a "show" -d 'Show the jobs as they apply, where they are from, and what git configuration sets'
complete -c git-ci -n "__fish_git_ci_using_subcommand config; and not __fish_seen_subcommand_from check show schema" -f -a "schema" -d 'Print the JSON Schema of the jobs file, for editors'
complete -c git-ci -n "__fish_git_ci_using_subcommand config; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c git-ci -n "__fish_git_ci_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c git-ci -n "__fish_git_ci_using_subcommand config; and __fish_seen_subcommand_from schema" -s h -l help -d 'Print help'
complete -c git-ci -n "__fish_git_ci_using_subcommand gc" -s n -l dry-run -d 'Say what would be removed, and remove nothing'
complete -c git-ci -n "__fish_git_ci_using_subcommand gc" -l json -d 'Print what is removed as JSON, one object a line'
complete -c git-ci -n "__fish_git_ci_using_subcommand gc" -s v -l verbose -d 'Name each thing that is removed'
complete -c git-ci -n "__fish_git_ci_using_subcommand gc" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c git-ci -n "__fish_git_ci_using_subcommand doctor" -l color -d 'When to use colours; color.ci and color.ui of git\'s configuration set the default' -r -f -a "always\t'Even into a file or a pipe'
auto\t'On a terminal that can, unless NO_COLOR is set'
never\t'Not at all'"
complete -c git-ci -n "__fish_git_ci_using_subcommand doctor" -l json -d 'Print findings as JSON, one a line'
complete -c git-ci -n "__fish_git_ci_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c git-ci -n "__fish_git_ci_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c git-ci -n "__fish_git_ci_using_subcommand watch" -l exclude -d 'Leave these out' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand watch" -l since -d 'Begin behind this commit: what is on a watched branch and not reachable from it is tested, unless that is cached' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand watch" -l order -d 'Which commits go first' -r -f -a "tips\t'The tips, those that moved last first; then the rest of each branch, newest first'
newest\t'Children before their parents, whatever branch they are on'
oldest\t'Parents before their children'"
complete -c git-ci -n "__fish_git_ci_using_subcommand watch" -l poll -d 'Look for changes this often, and do without events of the file system' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand watch" -l fetch -d 'Fetch this remote again and again, and watch its branches (`refs/remotes/REMOTE/*`) beside what is named, or beside the local branches' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand watch" -l every -d 'How often to fetch' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand watch" -l on-result -d 'Run this shell command for each commit that is done, in the background; not for one whose verdicts were all cached' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand watch" -l job -d 'Only this job, and what it needs; may be given several times' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand watch" -l skip -d 'Leave this job out; may be given several times' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand watch" -l config -d 'Read the jobs from this file' -r -F
complete -c git-ci -n "__fish_git_ci_using_subcommand watch" -l config-from -d 'Which jobs file counts: that of the `worktree`, of each `commit`, or of a revision' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand watch" -s j -l slots -d 'How many tasks to run at once [default: `ci.slots`, else the number of CPUs]' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand watch" -l color -d 'When to use colours; color.ci and color.ui of git\'s configuration set the default' -r -f -a "always\t'Even into a file or a pipe'
auto\t'On a terminal that can, unless NO_COLOR is set'
never\t'Not at all'"
complete -c git-ci -n "__fish_git_ci_using_subcommand watch" -l no-cancel -d 'Let tasks run to their end whose commits are no longer on a watched branch'
complete -c git-ci -n "__fish_git_ci_using_subcommand watch" -l bell -d 'Ring the terminal\'s bell when something fails'
complete -c git-ci -n "__fish_git_ci_using_subcommand watch" -l until-idle -d 'End once there is nothing left to do'
complete -c git-ci -n "__fish_git_ci_using_subcommand watch" -l background -d 'Leave notices for the hook that started this'
complete -c git-ci -n "__fish_git_ci_using_subcommand watch" -l wait -d 'Where another process watches this repository, wait until it ends'
complete -c git-ci -n "__fish_git_ci_using_subcommand watch" -l json -d 'Print events as JSON, one a line'
complete -c git-ci -n "__fish_git_ci_using_subcommand watch" -s q -l quiet -d 'Say less: failures only'
complete -c git-ci -n "__fish_git_ci_using_subcommand watch" -s v -l verbose -d 'Say more: cached verdicts, too'
complete -c git-ci -n "__fish_git_ci_using_subcommand watch" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c git-ci -n "__fish_git_ci_using_subcommand cancel" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c git-ci -n "__fish_git_ci_using_subcommand forget" -l order -d 'The order of the commits of a range' -r -f -a "newest\t'Children before their parents'
oldest\t'Parents before their children'"
complete -c git-ci -n "__fish_git_ci_using_subcommand forget" -l job -d 'Only records of this job; may be given several times' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand forget" -l all -d 'Every commit that a branch, a tag or another ref reaches'
complete -c git-ci -n "__fish_git_ci_using_subcommand forget" -l branches -d 'Every commit that a local branch reaches'
complete -c git-ci -n "__fish_git_ci_using_subcommand forget" -l first-parent -d 'Follow only the first parent of a merge'
complete -c git-ci -n "__fish_git_ci_using_subcommand forget" -l stdin -d 'Read more revisions from standard input, one a line'
complete -c git-ci -n "__fish_git_ci_using_subcommand forget" -s n -l dry-run -d 'Say what would be forgotten, and do nothing'
complete -c git-ci -n "__fish_git_ci_using_subcommand forget" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c git-ci -n "__fish_git_ci_using_subcommand hosts" -l drain -d 'Send no more tasks to this host; what runs there ends in peace' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand hosts" -l undrain -d 'Send tasks to this host again' -r
complete -c git-ci -n "__fish_git_ci_using_subcommand hosts" -l check -d 'Connect to each host: is it reachable, which versions has it, how much space, what runs there now?'
complete -c git-ci -n "__fish_git_ci_using_subcommand hosts" -l json -d 'Print JSON: one host a line'
complete -c git-ci -n "__fish_git_ci_using_subcommand hosts" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c git-ci -n "__fish_git_ci_using_subcommand help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c git-ci -n "__fish_git_ci_using_subcommand version" -l build-options -d 'And what else somebody needs who reads a bug report'
complete -c git-ci -n "__fish_git_ci_using_subcommand version" -s h -l help -d 'Print help'

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

function __fish_git_ci_jobs
    sed -n 's/^ *\[jobs\."\{0,1\}\([^"]*\)"\{0,1\}\] *\(#.*\)\{0,1\}$/\1/p' (git rev-parse --show-toplevel 2>/dev/null)/.git-ci.toml 2>/dev/null
end
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -l job -x -a '(__fish_git_ci_jobs)'
complete -c git-ci -n "__fish_git_ci_using_subcommand run" -f -a '(git for-each-ref --format="%(refname:short)" refs/heads refs/tags refs/remotes 2>/dev/null)'
complete -c git-ci -n "__fish_git_ci_using_subcommand notify" -f -a '(git for-each-ref --format="%(refname:short)" refs/heads refs/tags refs/remotes 2>/dev/null)'
complete -c git-ci -n "__fish_git_ci_using_subcommand status" -l job -x -a '(__fish_git_ci_jobs)'
complete -c git-ci -n "__fish_git_ci_using_subcommand status" -f -a '(git for-each-ref --format="%(refname:short)" refs/heads refs/tags refs/remotes 2>/dev/null)'
complete -c git-ci -n "__fish_git_ci_using_subcommand log" -l job -x -a '(__fish_git_ci_jobs)'
complete -c git-ci -n "__fish_git_ci_using_subcommand log" -f -a '(git for-each-ref --format="%(refname:short)" refs/heads refs/tags refs/remotes 2>/dev/null)'
complete -c git-ci -n "__fish_git_ci_using_subcommand show" -l job -x -a '(__fish_git_ci_jobs)'
complete -c git-ci -n "__fish_git_ci_using_subcommand show" -f -a '(git for-each-ref --format="%(refname:short)" refs/heads refs/tags refs/remotes 2>/dev/null)'
complete -c git-ci -n "__fish_git_ci_using_subcommand logs" -f -a '(git for-each-ref --format="%(refname:short)" refs/heads refs/tags refs/remotes 2>/dev/null)'
complete -c git-ci -n "__fish_git_ci_using_subcommand artifacts" -f -a '(git for-each-ref --format="%(refname:short)" refs/heads refs/tags refs/remotes 2>/dev/null)'
complete -c git-ci -n "__fish_git_ci_using_subcommand flaky" -l job -x -a '(__fish_git_ci_jobs)'
complete -c git-ci -n "__fish_git_ci_using_subcommand wait" -l job -x -a '(__fish_git_ci_jobs)'
complete -c git-ci -n "__fish_git_ci_using_subcommand wait" -f -a '(git for-each-ref --format="%(refname:short)" refs/heads refs/tags refs/remotes 2>/dev/null)'
complete -c git-ci -n "__fish_git_ci_using_subcommand shell" -f -a '(git for-each-ref --format="%(refname:short)" refs/heads refs/tags refs/remotes 2>/dev/null)'
complete -c git-ci -n "__fish_git_ci_using_subcommand watch" -l job -x -a '(__fish_git_ci_jobs)'
complete -c git-ci -n "__fish_git_ci_using_subcommand watch" -f -a '(git for-each-ref --format="%(refname:short)" refs/heads refs/tags refs/remotes 2>/dev/null)'
complete -c git-ci -n "__fish_git_ci_using_subcommand cancel" -f -a '(git for-each-ref --format="%(refname:short)" refs/heads refs/tags refs/remotes 2>/dev/null)'
complete -c git-ci -n "__fish_git_ci_using_subcommand forget" -l job -x -a '(__fish_git_ci_jobs)'
complete -c git-ci -n "__fish_git_ci_using_subcommand forget" -f -a '(git for-each-ref --format="%(refname:short)" refs/heads refs/tags refs/remotes 2>/dev/null)'
