#!/usr/bin/env bash
# Installs what the tests drive besides git and cargo: on Debian and its kin, as root.
# Elsewhere it says what is missing; the tests that need it then say so, too.
set -euo pipefail

# Each command, and Debian's package that has it.
needs=(fish:fish git:git git-lfs:git-lfs man:man-db mandoc:mandoc ps:procps tmux:tmux unshare:util-linux zsh:zsh)

packages=()
for need in "${needs[@]}"; do
    command -v "${need%%:*}" >/dev/null || packages+=("${need##*:}")
done
[ -e /usr/share/bash-completion/completions/git ] || packages+=(bash-completion)
[ ${#packages[@]} -gt 0 ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null
else
    printf 'please install: %s\n' "${packages[*]}" >&2
fi
