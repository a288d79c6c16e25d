#!/usr/bin/env bash
# Measures runs on other machines: sshd on loopback, agents behind pipes.
#
# usage: hosts.sh [COMMITS [FILES [ROUNDS]]]          (default 200 1000 3)
#
# Each round runs every variant once, in turn; what counts is the ratio of the medians.
# GIT_CI names the binary (default: target/release/git-ci, built if missing).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
beds=$here/../it/beds
commits=${1:-200} files=${2:-1000} rounds=${3:-3}
if [ -z "${GIT_CI:-}" ]; then
    cargo build --release --quiet --manifest-path "$here/../../Cargo.toml"
    GIT_CI=$(cd "${CARGO_TARGET_DIR:-$here/../../target}" && pwd)/release/git-ci
fi
work=$(mktemp -d)
trap '"$beds/sshbed.sh" down "$work/bed" 2>/dev/null; rm -rf "$work"' EXIT
export HOME=$work/home XDG_CACHE_HOME=$work/cache GIT_CONFIG_NOSYSTEM=1
mkdir -p "$HOME"
git config --global user.name Bench
git config --global user.email bench@example.com
"$here/mkrepo.sh" "$work/repo" "$commits" "$files" 3 >/dev/null
"$beds/sshbed.sh" up "$work/bed" 2 >/dev/null
cd "$work/repo"

# ssh_config with so many milliseconds more in each direction.
slow() {
    for h in h1 h2; do
        printf 'Host %s\n    ProxyCommand python3 %s %s %s\n' \
            $h "$beds/delaypipe.py" "$(cat "$work/bed/$h/port")" "$1"
    done
    cat "$work/bed/ssh_config"
}
slow 10 >"$work/slow10"
slow 20 >"$work/slow20"

# Prints milliseconds.
timed() {
    local start end
    start=$(date +%s%N)
    "$@" >>"$work/said" 2>&1 || echo "failed: $*" >&2
    end=$(date +%s%N)
    echo $(((end - start) / 1000000))
}
# NAME SLOTS: use that host, with so many slots.
host() {
    git config ci-host."$1".address "$1"
    git config ci-host."$1".slots "$2"
    git config ci-host."$1".agent "$GIT_CI"
}
none() { for h in $(git config --get-regexp --name-only '^ci-host' | cut -d. -f2 | sort -u); do git config --remove-section ci-host."$h"; done; }
ci() { "$GIT_CI" run -q --force -x "$1" --as bench "${@:2}"; }
local_() { none; git config ci.local true; ci true -j1 base..tip; }
ssh_() { none; host h1 1; git config ci.local false; git config ci.sshCommand "ssh -F $1"; ci true base..tip; }
nap() { git config ci.sshCommand "ssh -F $work/bed/ssh_config"; git config ci.local false; ci 'sleep 0.2' tip~100..tip; }
one() { none; host h1 2; nap; }
two() { none; host h1 2; host h2 2; nap; }
median() { sort -n "$work/t.$1" | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'; }
say() { awk -v n="$1" -v a="$(median "$2")" -v b="$(median "$3")" 'BEGIN { printf "%-44s %6d ms against %6d ms: %.2f\n", n, a, b, a / b }'; }

local_; ssh_ "$work/bed/ssh_config"; two # Caches and worktrees: their cost is once, not once a run.
for _ in $(seq "$rounds"); do
    timed local_ >>"$work/t.local"
    timed ssh_ "$work/bed/ssh_config" >>"$work/t.ssh"
    timed ssh_ "$work/slow10" >>"$work/t.slow10"
    timed ssh_ "$work/slow20" >>"$work/t.slow20"
    timed one >>"$work/t.one"
    timed two >>"$work/t.two"
done
printf '%s commits x %s files, %s rounds, load %s\n' "$commits" "$files" "$rounds" "$(cut -d' ' -f1-3 /proc/loadavg)"
say 'one ssh host, one slot, against local -j1' ssh local
say 'the same with 10 ms more in each direction' slow10 local
say 'the same with 20 ms more in each direction' slow20 local
say 'one host with 2 slots against two, sleep 0.2' one two

# Many hosts: agents behind pipes, so that what is measured is the dispatcher.
none
git config ci.local false
many=${MANY:-50}
for i in $(seq "$many"); do
    git config ci-host.m"$i".command "{}"
    git config ci-host.m"$i".agent "$GIT_CI"
    git config ci-host.m"$i".root "$work/many/$i"
    git config ci-host.m"$i".slots 4
done
for i in 1 2 3 4 5 6; do printf '[jobs.nap%s]\nrun = "sleep 1 # %s"\n' "$i" "$i"; done >.git-ci.toml
"$GIT_CI" run -q --force base..tip >/dev/null 2>&1 # Worktrees.
start=$(date +%s%N)
"$GIT_CI" run -q --force base..tip >/dev/null 2>&1 &
pid=$!
# The dispatcher's own time and memory, as they were last seen.
while ticks=$(awk '{ print $14 + $15 }' "/proc/$pid/stat" 2>/dev/null) &&
    high=$(awk '/VmHWM/ { print $2 }' "/proc/$pid/status" 2>/dev/null) && [ -n "$high" ]; do
    used=$ticks peak=$high
    sleep 0.2
done
wait $pid || echo "failed with $?"
end=$(date +%s%N)
awk -v t="$used" -v hz="$(getconf CLK_TCK)" -v ns=$((end - start)) -v m="$peak" -v n="$many" -v c="$commits" 'BEGIN {
    printf "%d hosts with 4 slots, %d jobs of 1 s: %.1f s, %.0f %% of a core, %d MiB\n",
        n, 6 * c, ns / 1e9, 100 * t / hz / (ns / 1e9), m / 1024 }'

# A pulled cable: from then until its task starts elsewhere.
none
git config ci.local false
for h in h1 h2; do
    git config ci-host.$h.address $h
    git config ci-host.$h.agent "$GIT_CI"
    git config ci-host.$h.root "$work/cut"
done
git config ci.silence 2s
git config ci.lease 5s
cat >.git-ci.toml <<X
[jobs.cut]
run = "if mkdir $work/hit 2>/dev/null; then echo \$GIT_CI_RUNNER >$work/hit/on; sleep 1000; else test -e $work/cut.at && date +%s%N >>$work/started; until test -e $work/cut.at; do sleep 0.02; done; fi"
X
cat >"$work/cut.sh" <<X
export GIT_SSH_COMMAND="ssh -F \$BED/ssh_config"
"$GIT_CI" run -q --force tip~2..tip >/dev/null 2>&1 & run=\$!
until test -s $work/hit/on; do sleep 0.02; done
sleep 1
sh $beds/netbed.sh cut \$(cat $work/hit/on) link
date +%s%N >$work/cut.now; mv $work/cut.now $work/cut.at
wait \$run
X
git config --unset ci.sshCommand
sh "$beds/netbed.sh" run 2 sh "$work/cut.sh"
awk -v a="$(cat "$work/cut.at")" -v b="$(tail -1 "$work/started")" \
    'BEGIN { printf "cable pulled, lease 5 s: its task started elsewhere after %.1f s\n", (b - a) / 1e9 }'
