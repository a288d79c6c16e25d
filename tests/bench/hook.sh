#!/usr/bin/env bash
# Measures what the hook adds to `git commit`: pairs of commits, one in a repository with
# the hooks and one in the same repository without, in turn.
#
# usage: hook.sh [PAIRS [FILES]]          (default 200 1000)
#
# What counts is the median of the differences; the first of a pair alternates, so that
# neither profits from what the other left warm.
# GIT_CI_BIN names the binary (default: target/release/git-ci, built if missing).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
pairs=${1:-200} files=${2:-1000}
if [ -z "${GIT_CI_BIN:-}" ]; then
    cargo build --release --locked --quiet --manifest-path "$here/../../Cargo.toml"
    GIT_CI_BIN=${CARGO_TARGET_DIR:-$here/../../target}/release/git-ci
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME=$work/home GIT_CONFIG_NOSYSTEM=1
mkdir -p "$HOME"
git config --global user.name Bench
git config --global user.email bench@example.com
git config --global gc.auto 0
for kind in plain hooked; do
    git init -q -b main "$work/$kind"
    for n in $(seq "$files"); do echo "$n" >"$work/$kind/$n"; done
    git -C "$work/$kind" add -A
    git -C "$work/$kind" commit -qm start
done
(cd "$work/hooked" && "$GIT_CI_BIN" hook install 2>/dev/null)

# Microseconds that one commit takes.
commit() {
    local start end
    cd "$work/$1"
    echo "new $2" >1
    start=${EPOCHREALTIME/./}
    git commit -qam "$2"
    end=${EPOCHREALTIME/./}
    echo $((end - start))
}
for n in $(seq "$pairs"); do
    if [ $((n % 2)) = 0 ]; then
        a=$(commit plain "$n") b=$(commit hooked "$n")
    else
        b=$(commit hooked "$n") a=$(commit plain "$n")
    fi
    echo "$a $b $((b - a))" >>"$work/times"
done
noted=$(grep -c refs/heads/main "$work/hooked/.git/ci/spool/commits")
[ "$noted" = "$pairs" ] || { echo "only $noted of $pairs commits were noted" >&2; exit 1; }
printf '%s pairs, %s files, load %s\n' "$pairs" "$files" "$(cut -d' ' -f1-3 /proc/loadavg)"
column=0
for what in without with added; do
    column=$((column + 1))
    awk -v c=$column '{ print $c }' "$work/times" | sort -n |
        awk -v what=$what '{ a[NR] = $1 / 1000 }
            END { printf "%-8s median %6.2f ms   90 %% %6.2f ms\n", what, a[int((NR + 1) / 2)], a[int(NR * 0.9)] }'
done
