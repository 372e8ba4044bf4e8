#!/usr/bin/env bash
# Makes what compose.yaml needs and no image has: Ray's token, the database's password, and whose these
# files are. What is there already stays.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

umask 077 # for their owner alone
mkdir -p secrets

secret() { # FILE: 64 random hexadecimal digits
    [[ -s secrets/$1 ]] || od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "secrets/$1"
}

secret ray_token
secret postgresql_password
printf 'postgresql:5432:*:ucluster:%s\n' "$(< secrets/postgresql_password)" > secrets/pgpass
# The containers run as you, since nobody else may read the secrets; never as root.
user="${SUDO_UID:-$(id -u)}" group="${SUDO_GID:-$(id -g)}"
if [[ $user == 0 ]]; then
    user=1000 group=1000
fi
if [[ $(id -u) == 0 ]]; then
    chown -R "$user:$group" secrets
fi
[[ -e .env ]] || printf 'UCLUSTER_TUNE_UID=%s\nUCLUSTER_TUNE_GID=%s\n' "$user" "$group" > .env
echo "docker/secrets and docker/.env are there. Next: docker compose -f docker/compose.yaml up --detach --wait"
