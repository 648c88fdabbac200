#!/usr/bin/env bash
# Writes the configuration for compose.yml once: random secrets, doors on all addresses of the
# containers (compose.yml publishes them on 127.0.0.1), the store in a container of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 077
mkdir -p compose
secret() { head -c 24 /dev/urandom | base64 | tr '+/' '-_'; }
if [ ! -e compose/storage-proxy.toml ]; then
    store=$(secret)
    # The server reads it as its own user, so the mode is not 0600; the directory above is private.
    printf 'requirepass "%s"\nappendonly yes\nappendfsync everysec\nsave ""\nmaxmemory-policy noeviction\n' \
        "$store" >compose/store.conf
    chmod 0644 compose/store.conf
    cat >compose/storage-proxy.toml <<TOML
[storage-proxy]
node-id = "compose"
secret = "$(secret)"
session-expire = "1d"
# The user of the doors, which owns uploads; deploy/Dockerfile creates it.
user = "vfolder"

[api.client]
service-addr = "0.0.0.0:6021"

[api.manager]
service-addr = "0.0.0.0:6022"
announce-addr = "127.0.0.1:6022"
internal-addr = "0.0.0.0:16023"
secret = "$(secret)"

[volume.local]
backend = "vfs"
path = "/srv/volumes/local"

[vfolder]
state-dir = "/var/lib/vfolder"

[vfolder.redis]
url = "redis://:$store@store:6379"

[vfolder.flower]
addr = "0.0.0.0:5555"
password = "$(secret)"
TOML
fi
echo "compose/storage-proxy.toml exists; next: docker compose up --build"
