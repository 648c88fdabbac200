#!/usr/bin/env bash
# System packages that tests and benchmarks use for real parts (Debian 12; needs root).
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
apt-get update -qq
apt-get install -y -qq --no-install-recommends nginx-light curl chromium-headless-shell acl attr rsync xfsprogs btrfs-progs e2fsprogs fuse3 strace fpart rclone prometheus etcd-server \
    user-mode-linux kmod quota nfs-kernel-server ceph-mon ceph-mgr ceph-osd ceph-mds ceph-fuse ceph-common radosgw uuid-runtime \
    gcc libc6-dev rabbitmq-server iproute2 unzip libarchive-tools wget aria2 axel p7zip-full \
    default-jre-headless systemd libseccomp2 >/dev/null
# Debian's nodejs and npm conflict with a package of another publisher that may be installed.
if ! command -v npm >/dev/null; then
    apt-get install -y -qq --no-install-recommends nodejs npm >/dev/null
fi
for packages in api/http/vendored api/doors/console/app tests/support/npm; do
    npm ci --prefix "$(dirname "$0")/../$packages" --ignore-scripts --no-audit --no-fund --silent
done
