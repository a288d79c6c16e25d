#!/usr/bin/env bash
# Measures `git ci run` as a whole process against a shell loop over one worktree.
#
# usage: run.sh [COMMITS [FILES [ROUNDS]]]          (default 200 1000 5)
#
# Each round runs every variant once, in turn, so that a machine that gets slower or
# faster meanwhile does so for all; what counts is the ratio of the medians.
# GIT_CI names the binary (default: target/release/git-ci, built if missing).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
commits=${1:-200} files=${2:-1000} rounds=${3:-5}
if [ -z "${GIT_CI:-}" ]; then
    cargo build --release --quiet --manifest-path "$here/../../Cargo.toml"
    GIT_CI=${CARGO_TARGET_DIR:-$here/../../target}/release/git-ci
fi
work=$(mktemp -d)
trap 'git -C "$work/repo" worktree prune 2>/dev/null; rm -rf "$work"' EXIT
export HOME=$work/home XDG_CACHE_HOME=$work/cache GIT_CONFIG_NOSYSTEM=1
mkdir -p "$HOME"
git config --global user.name Bench
git config --global user.email bench@example.com
"$here/mkrepo.sh" "$work/repo" "$commits" "$files" 3 >/dev/null
cd "$work/repo"
git worktree add -q --detach "$work/loop" base
git rev-list --reverse base..tip >"$work/list"

# Milliseconds that "$@" takes.
timed() {
    local start end
    start=$(date +%s%N)
    "$@" >/dev/null 2>&1
    end=$(date +%s%N)
    echo $(((end - start) / 1000000))
}
loop() { while read -r c; do git -C "$work/loop" checkout -q --detach "$c" && sh -c true; done <"$work/list"; }
ci() { "$GIT_CI" run -q --order oldest -x true --as bench "$@" base..tip; }
median() { sort -n "$work/$1" | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'; }

ci -j2 --force # Makes the worktrees: their cost is once, not once a run.
for _ in $(seq "$rounds"); do
    timed loop >>"$work/t.loop"
    timed ci -j1 --force >>"$work/t.j1"
    timed ci -j2 --force >>"$work/t.j2"
    timed ci -j2 >>"$work/t.known"
done
printf '%s commits x %s files, %s rounds, load %s\n' "$commits" "$files" "$rounds" "$(cut -d' ' -f1-3 /proc/loadavg)"
base=$(median t.loop)
for variant in loop j1 j2 known; do
    m=$(median t.$variant)
    awk -v v=$variant -v m="$m" -v b="$base" -v n="$commits" \
        'BEGIN { printf "%-6s %7d ms  %6.2f ms/commit  ratio %.2f\n", v, m, m / n, m / b }'
done
/usr/bin/time -f 'peak memory of -j2 (largest process): %M KiB' "$GIT_CI" run -q --force -j2 -x true --as bench base..tip 2>&1 | tail -1 || true
