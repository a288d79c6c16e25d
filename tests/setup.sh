#!/usr/bin/env bash
# Installs what the tests drive besides git and cargo: on Debian and its kin, as root.
# Elsewhere it says what is missing; the tests that need it then say so, too.
# Hook managers come from npm and PyPI, into the target directory.
set -euo pipefail
cd "$(dirname "$0")/.."

# Each command, and Debian's package that has it.
needs=(
    chattr:e2fsprogs csh:csh fish:fish git:git git-crypt:git-crypt git-lfs:git-lfs
    ip:iproute2 iptables:iptables less:less make:make man:man-db mandoc:mandoc mount:mount
    npm:npm ps:procps pytest-3:python3-pytest python3:python3 script:bsdutils
    slurmctld:slurmctld slurmd:slurmd socat:socat srun:slurm-client ssh:openssh-client
    sshd:openssh-server tmux:tmux unshare:util-linux zsh:zsh
)

PATH=$PATH:/usr/sbin:/sbin
packages=()
for need in "${needs[@]}"; do
    command -v "${need%%:*}" >/dev/null || packages+=("${need##*:}")
done
[ -e /usr/share/bash-completion/completions/git ] || packages+=(bash-completion)
[ -e /usr/lib/*/slurm-wlm/select_cons_tres.so ] || packages+=(slurm-wlm-basic-plugins)
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
python3 -c 'import jsonschema' 2>/dev/null || packages+=(python3-jsonschema)

if [ ${#packages[@]} -eq 0 ]; then
    :
elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null
else
    printf 'please install: %s\n' "${packages[*]}" >&2
fi

node=(husky@9.1.7 lefthook@2.2.2)
python=(pre-commit==4.7.0 prek==0.5.11)
managers=target/hook-managers
if [ "$(cat "$managers/ready" 2>/dev/null)" != "${node[*]} ${python[*]}" ]; then
    rm -rf "$managers"
    mkdir -p "$managers/npm"
    # Their own scripts would install hooks here.
    npm install --ignore-scripts --silent --no-audit --no-fund --prefix "$managers/npm" "${node[@]}"
    python3 -m venv "$managers/venv"
    "$managers/venv/bin/pip" install --quiet --disable-pip-version-check "${python[@]}"
    printf '%s' "${node[*]} ${python[*]}" >"$managers/ready"
fi
