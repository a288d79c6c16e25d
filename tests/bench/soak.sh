#!/usr/bin/env bash
# Lets the soak tests of `git ci watch` (tests/it/watch_soak.rs) run for longer, and
# replays the newest commits of a real repository where one is given.
#
# usage: soak.sh [SECONDS [SEED [REPOSITORY [COMMITS]]]]
#        (default 180, a seed of the clock's, a small made-up history, 400)
set -euo pipefail
cd "$(dirname "$0")/../.."
tests=watch_soak
if [ -n "${3:-}" ]; then
    GIT_CI_SOAK_SOURCE=$(cd "$3" && pwd)
    export GIT_CI_SOAK_SOURCE GIT_CI_SOAK_COMMITS=${4:-400}
    tests=watch_soak::a_real_history
fi
export GIT_CI_SOAK_SECONDS=${1:-180} GIT_CI_SOAK_SEED=${2:-$(date +%s%N)}
echo "seed $GIT_CI_SOAK_SEED"
exec cargo test --locked --test it $tests -- --nocapture
