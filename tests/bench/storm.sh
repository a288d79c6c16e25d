#!/usr/bin/env bash
# Lets the kill storm (tests/it/storm.rs) strike for longer.
#
# usage: storm.sh [KILLS [SEED]]      (default 300, a seed of the clock's)
set -euo pipefail
cd "$(dirname "$0")/../.."
export GIT_CI_STORM_KILLS=${1:-300} GIT_CI_STORM_SEED=${2:-$(date +%s%N)}
echo "seed $GIT_CI_STORM_SEED"
exec cargo test --locked --test it storm:: -- --nocapture
