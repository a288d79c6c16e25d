#!/usr/bin/env bash
# Fuzzes whatever reads bytes that others wrote: each target for a while, with what was found
# before as a start.
#
# usage: run.sh [SECONDS [TARGET...]]          (default 60, all)
#
# What makes a target fail is kept in artifacts/TARGET/; it belongs into corpus/TARGET/ once
# it is mended. Works with the stable compiler, without sanitizers.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-60}
shift || true
if ! command -v cargo-fuzz >/dev/null; then
    echo "cargo-fuzz is not installed: cargo install cargo-fuzz" >&2
    exit 1
fi
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo fuzz list --fuzz-dir .)
export RUSTC_BOOTSTRAP=1
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
for target in "${targets[@]}"; do
    printf '\n== %s\n' "$target"
    mkdir -p "$found/$target"
    # New inputs go to the first directory; those that are kept are read only.
    cargo fuzz run --fuzz-dir . --sanitizer none "$target" "$found/$target" "corpus/$target" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1
done
