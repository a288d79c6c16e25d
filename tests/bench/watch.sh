#!/usr/bin/env bash
# Measures `git ci watch`: latency, idle cost, memory, and how fast it sees what is new.
#
# usage: watch.sh [ROUNDS [COMMITS [REFS]]]          (default 15 16000 5000)
#
# GIT_CI names the binary (default: target/release/git-ci, built if missing). Prints
# medians; the load of the machine counts, so it is printed, too.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
rounds=${1:-15} commits=${2:-16000} refs=${3:-5000}
if [ -z "${GIT_CI:-}" ]; then
    cargo build --release --quiet --manifest-path "$here/../../Cargo.toml"
    GIT_CI=${CARGO_TARGET_DIR:-$here/../../target}/release/git-ci
fi
work=$(mktemp -d)
watcher=
finish() {
    if [ -n "$watcher" ]; then kill "$watcher" 2>/dev/null || :; wait "$watcher" 2>/dev/null || :; fi
    rm -rf "$work"
}
trap finish EXIT
export HOME=$work/home XDG_CACHE_HOME=$work/cache GIT_CONFIG_NOSYSTEM=1
mkdir -p "$HOME"
git config --global user.name Bench
git config --global user.email bench@example.com
git config --global gc.auto 0
git config --global maintenance.auto false

now() { date +%s%N; }
median() { sort -n "$1" | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'; }
start() { "$GIT_CI" watch "$@" >"$work/log" 2>&1 & watcher=$!; }
stop() { kill "$watcher"; wait "$watcher" 2>/dev/null || :; watcher=; }
until_there() { while [ ! -s "$1" ]; do sleep 0.002; done; }
checkpoint() { git for-each-ref --format='%(objectname)' refs/ci/checkpoint/heads/main; }
until_seen() { local tip; tip=$(git rev-parse main); while [ "$(checkpoint)" != "$tip" ]; do sleep 0.05; done; }
ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"; }
rss() { awk '/^VmRSS/ { print $2 }' "/proc/$1/status"; }

# 1. From `git commit` returning to the job's process.
"$here/mkrepo.sh" "$work/repo" 200 1000 3 >/dev/null
cd "$work/repo"
echo .git-ci.toml >>.git/info/exclude
printf '[jobs.test]\nrun = "date +%%s%%N > %s/started"\n' "$work" >.git-ci.toml
start -j2
until_seen
for n in $(seq "$rounds"); do
    rm -f "$work/started"
    echo "$n" >n
    git commit -qam "round $n"
    t=$(now)
    until_there "$work/started"
    echo $((($(cat "$work/started") - t) / 1000)) >>"$work/latency"
    until_seen
done

# 2. Idle.
before=$(ticks "$watcher")
sleep 20
idle=$(($(ticks "$watcher") - before))

# 3. Memory after 200 commits, and after each 1,000 more.
flood() {
    local tip
    tip=$(git rev-parse main)
    awk -v from="$tip" -v count="$1" -v mark="$2" 'BEGIN {
        print "feature done"
        for (n = 1; n <= count; n++) {
            printf "commit refs/heads/main\ncommitter B <b@x> %d +0000\ndata 1\nx\n", 1750000000 + mark + n
            if (n == 1) printf "from %s\n", from
            s = mark + n "\n"
            printf "M 644 inline n\ndata %d\n%s\n", length(s), s
        }
        print "done"
    }' | git fast-import --quiet --done
    until_seen
}
printf '[jobs.test]\nrun = ["true"]\n' >.git-ci.toml
flood 200 10000
memory=$(rss "$watcher")
for n in 1 2 3; do
    flood 1000 $((20000 * n))
    memory="$memory $(rss "$watcher")"
done
stop

# 4. From the rewrite to the next job, where the superseded one heeds SIGTERM.
cat >.git-ci.toml <<TOML
[jobs.test]
run = "date +%s%N > $work/started; exec sleep 600"
TOML
git reset -q --hard main
start -j1
rm -f "$work/started"
echo first >n
git commit -qam first
until_there "$work/started"
for n in $(seq "$rounds"); do
    rm -f "$work/started"
    git commit -q --amend -m "again $n"
    t=$(now)
    until_there "$work/started"
    echo $((($(cat "$work/started") - t) / 1000)) >>"$work/cancel"
done
stop

# 5. 61 new commits among many, with many refs: the time from the look to the list.
"$here/mkrepo.sh" "$work/large" "$commits" 50 2 200 >/dev/null
cd "$work/large"
echo .git-ci.toml >>.git/info/exclude
printf '[jobs.test]\nrun = ["true"]\n' >.git-ci.toml
git rev-list main | awk -v most="$refs" 'NR <= most { printf "create refs/heads/many/%d/%d %s\n", NR % 50, NR, $1 }' | git update-ref --stdin
git pack-refs --all
mkdir -p .git/ci
# All was seen: a checkpoint for each.
git for-each-ref --format='create refs/ci/checkpoint/%(refname:lstrip=1) %(objectname)' refs/heads | git update-ref --stdin
git pack-refs --all
for n in $(seq 5); do
    cold=$(now)
    "$GIT_CI" run --new -q
    echo $((($(now) - cold) / 1000)) >>"$work/nothing"
done
start -j1 --json
until_seen
for n in $(seq 5); do flood 61 $((100000 * n)); done
stop
# The first look is not one of them, nor are those after which nothing is new.
grep -o '"took_us":[0-9]*' "$work/log" | cut -d: -f2 | tail -n +2 | sort -u >"$work/found"

printf '%s rounds, %s commits, %s refs, load %s\n' "$rounds" "$commits" "$refs" "$(cut -d' ' -f1-3 /proc/loadavg)"
printf 'commit returned → job started   %6.1f ms\n' "$(median "$work/latency" | awk '{ print $1 / 1000 }')"
printf 'rewrite → slot has the next job %6.1f ms\n' "$(median "$work/cancel" | awk '{ print $1 / 1000 }')"
awk -v t="$idle" -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "idle CPU over 20 s              %6.2f %%\n", 100 * t / hz / 20 }'
printf 'memory after 200, 1200, …       %s KiB\n' "$memory"
printf '61 new among all: found in     %6.1f ms\n' "$(median "$work/found" | awk '{ print $1 / 1000 }')"
printf 'whole `run --new`, nothing new  %6.1f ms\n' "$(median "$work/nothing" | awk '{ print $1 / 1000 }')"
