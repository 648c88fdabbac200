#!/usr/bin/env bash
# A Ceph of one node on 127.0.0.1, without systemd: mon, mgr, one OSD in memory, MDS; CephFS by ceph-fuse.
#   tests/support/ceph.sh up DIRECTORY PORT      uses PORT … PORT+40; mounts at DIRECTORY/mnt
#   tests/support/ceph.sh rgw DIRECTORY PORT KEY SECRET   S3 on PORT+2 of a cluster that is up
#   tests/support/ceph.sh down DIRECTORY
set -euo pipefail
dir=$(realpath -m "$2")
daemons() { for f in "$dir"/run/*.pid; do [ -f "$f" ] && cat "$f" && echo; done; true; }
if [ "$1" = down ]; then
  if mountpoint -q "$dir/mnt"; then fusermount3 -u "$dir/mnt" 2>/dev/null || umount -l "$dir/mnt"; fi
  for pid in $(daemons); do kill "$pid" 2>/dev/null || true; done
  for _ in $(seq 25); do
    alive=0; for pid in $(daemons); do kill -0 "$pid" 2>/dev/null && alive=1; done
    [ $alive = 0 ] && break; sleep 0.2
  done
  for pid in $(daemons); do kill -9 "$pid" 2>/dev/null || true; done
  exit 0
fi
port=$3
if [ "$1" = rgw ]; then
  export CEPH_CONF=$dir/ceph.conf
  timeout 300 ceph auth get-or-create client.rgw mon 'allow rw' osd 'allow rwx' > "$dir/rgw.keyring"
  timeout 300 radosgw -n client.rgw --keyring "$dir/rgw.keyring" \
      --rgw-frontends="beast endpoint=127.0.0.1:$((port+2))" --rgw-dns-name=localhost >/dev/null 2>&1
  for _ in $(seq 600); do curl -s -o /dev/null "http://127.0.0.1:$((port+2))/" && break; sleep 0.2; done
  exec timeout 300 radosgw-admin user create --uid=test --display-name=test --access-key="$4" --secret-key="$5"
fi
mkdir -p "$dir"/{run,log,mon,mgr,osd,mds,mnt}
fsid=$(uuidgen)
cat > "$dir/ceph.conf" <<CONF
[global]
fsid = $fsid
mon_host = [v2:127.0.0.1:$port/0,v1:127.0.0.1:$((port+1))/0]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv6 = false
ms_bind_port_min = $((port+10))
ms_bind_port_max = $((port+40))
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
keyring = $dir/keyring
run_dir = $dir/run
pid_file = $dir/run/\$name.pid
admin_socket = $dir/run/\$name.\$pid.asok
log_file = $dir/log/\$name.log
crash_dir = $dir/log
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
mds_beacon_grace = 300
mon_max_pg_per_osd = 1000
mon_data_avail_warn = 2
mon_data_avail_crit = 1
osd_crush_chooseleaf_type = 0
osd_memory_target = 939524096
osd_class_dir = /usr/lib/$(uname -m)-linux-gnu/rados-classes
plugin_dir = /usr/lib/$(uname -m)-linux-gnu/ceph
mon_data = $dir/mon
mgr_data = $dir/mgr
osd_data = $dir/osd
mds_data = $dir/mds
mgr_initial_modules =
[mon]
mon_cluster_log_file = $dir/log/cluster.log
auth_allow_insecure_global_id_reclaim = false
paxos_propose_interval = 0.05
[osd]
osd_objectstore = memstore
memstore_device_bytes = $((1 << 30))
osd_fast_shutdown = true
[mds]
mds_beacon_interval = 1
mds_tick_interval = 1
[client]
client_mount_timeout = 300
client_acl_type = posix_acl
client_caps_release_delay = 1
fuse_default_permissions = false
CONF
export CEPH_CONF=$dir/ceph.conf
c() { timeout 300 ceph -c "$CEPH_CONF" --connect-timeout 120 "$@"; }
admin=(--cap mon 'allow *' --cap osd 'allow *' --cap mds 'allow *' --cap mgr 'allow *')
ceph-authtool "$dir/keyring" -C --gen-key -n mon. --cap mon 'allow *' >/dev/null
ceph-authtool "$dir/keyring" --gen-key -n client.admin "${admin[@]}" >/dev/null
# The monitor takes these keys with its own: each call of the command `ceph` is a start of Python.
ceph-authtool "$dir/mgr/keyring" -C --gen-key -n mgr.x \
    --cap mon 'allow profile mgr' --cap osd 'allow *' --cap mds 'allow *' >/dev/null
ceph-authtool "$dir/mds/keyring" -C --gen-key -n mds.a \
    --cap mon 'profile mds' --cap osd 'allow rw tag cephfs *=*' --cap mds allow --cap mgr 'profile mds' >/dev/null
cat "$dir"/{keyring,mgr/keyring,mds/keyring} > "$dir/mon.keyring"
monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$port,v1:127.0.0.1:$((port+1))]" "$dir/monmap" >/dev/null
ceph-mon -i a --mkfs --monmap "$dir/monmap" --keyring "$dir/mon.keyring"
ceph-mon -i a
ceph-mgr -i x --keyring "$dir/mgr/keyring" 2>/dev/null
uuid=$(uuidgen) key=$(ceph-authtool --gen-print-key)
id=$(echo "{\"cephx_secret\":\"$key\"}" | c osd new "$uuid" -i -)
ceph-authtool "$dir/osd/keyring" -C -n "osd.$id" --add-key "$key" >/dev/null
ceph-osd -i "$id" --mkfs --osd-uuid "$uuid" --keyring "$dir/osd/keyring" >/dev/null 2>&1
ceph-osd -i "$id" --keyring "$dir/osd/keyring" >/dev/null 2>&1
ceph-mds -i a --keyring "$dir/mds/keyring" >/dev/null
printf '%s\n' 'osd pool create cephfs.meta 4' 'osd pool create cephfs.data 4' \
    'fs new cephfs cephfs.meta cephfs.data' | c >/dev/null 2>&1
# It waits until the MDS is active (client_mount_timeout).
ceph-fuse -n client.admin "$dir/mnt" >/dev/null 2>&1
mountpoint -q "$dir/mnt"
