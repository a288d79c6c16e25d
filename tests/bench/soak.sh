#!/usr/bin/env bash
# Lets the soak test of `git ci watch` (tests/it/watch_soak.rs) run for longer.
#
# usage: soak.sh [SECONDS [SEED]]          (default 180, and a seed of the clock's)
set -euo pipefail
cd "$(dirname "$0")/../.."
export GIT_CI_SOAK_SECONDS=${1:-180} GIT_CI_SOAK_SEED=${2:-$(date +%s%N)}
echo "seed $GIT_CI_SOAK_SEED"
exec cargo test --locked --test it watch_soak -- --nocapture
