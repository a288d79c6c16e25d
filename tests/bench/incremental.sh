#!/usr/bin/env bash
# How warm builds stay: a build command over the last commits of a real project, once
# with `git ci run -j1`, once with `git rebase --exec`, once in a fresh worktree each.
#
# usage: incremental.sh REPOSITORY COMMITS COMMAND
#   e.g. incremental.sh ~/src/lua 30 'make -s lua'
#
# The repository is cloned and not touched. The first commit's build is cold for all
# three and counts for all three. GIT_CI names the binary (default: target/release/git-ci).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$1" && pwd) count=$2 build=$3
ci=$(realpath "${GIT_CI:-${CARGO_TARGET_DIR:-$here/../../target}/release/git-ci}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME=$work/home XDG_CACHE_HOME=$work/cache GIT_CONFIG_NOSYSTEM=1
mkdir -p "$HOME"
git config --global user.name Bench
git config --global user.email bench@example.com
git config --global advice.detachedHead false

for variant in ci rebase; do git clone -q "$source" "$work/$variant"; done
# A straight line, so that a rebase has nothing to change.
first=$(git -C "$work/ci" rev-list --first-parent -n $((count + 1)) HEAD | tail -1)

timed() {
    local start
    start=$(date +%s%N)
    "$@" >"$work/log" 2>&1 || echo "a build failed: see its time with care" >&2
    echo $((($(date +%s%N) - start) / 1000000))
}
ci() { cd "$work/ci" && "$ci" run -j1 --first-parent --order oldest -x "$build" "$first.."; }
rebase() { cd "$work/rebase" && git rebase -q --no-ff --exec "$build" "$first"; }
fresh() {
    cd "$work/ci"
    for commit in $(git rev-list --first-parent --reverse "$first.."); do
        git worktree add -q --detach "$work/fresh" "$commit"
        (cd "$work/fresh" && sh -c "$build")
        git worktree remove --force "$work/fresh"
    done
}
for variant in ci rebase fresh; do
    ms=$(timed $variant)
    printf '%-7s %8d ms  %7d ms/commit\n' $variant "$ms" $((ms / count))
done
