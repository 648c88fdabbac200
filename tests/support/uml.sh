#!/usr/bin/env bash
# Run a command under a second Linux kernel (Debian's user-mode-linux) whose root is this machine's,
# with what the machine's own kernel may lack: XFS and ext4 with project quota.
#   tests/support/uml.sh DIRECTORY COMMAND ARGUMENT...
# DIRECTORY is an empty one; it holds the disks meanwhile. The command finds UML_XFS and UML_EXT4,
# two mounted file systems. Its exit status is ours.
set -euo pipefail
dir=$(realpath "$1"); shift
MEMORY=${UML_MEMORY:-640M} SECONDS_MAX=${UML_SECONDS:-240}
truncate -s 1G "$dir/xfs.img";   mkfs.xfs -q "$dir/xfs.img"
truncate -s 512M "$dir/ext4.img"; mkfs.ext4 -q -F -b 4096 -O quota,project -E quotatype=prjquota "$dir/ext4.img"
mkdir -p "$dir/xfs" "$dir/ext4"
echo 255 > "$dir/status"
{
  declare -px | grep -v -E '^declare -x (DISPLAY|SSH_|TMPDIR)' || true
  printf 'cd %q\nCOMMAND=(' "$PWD"; printf '%q ' "$@"; echo ')'
} > "$dir/environment"
cat > "$dir/init" <<INIT
#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs run /run; mkdir -p /run/lock
mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts; mount -t tmpfs shm /dev/shm
ln -sf /proc/self/fd /dev/fd; ip link set lo up; hostname uml
mkdir -p /run/root/lib; ln -s /usr/lib/uml/modules /run/root/lib/modules
modprobe -d /run/root quota_v2
mount -o prjquota /dev/ubda $dir/xfs; mount -o prjquota /dev/ubdb $dir/ext4
export UML_XFS=$dir/xfs UML_EXT4=$dir/ext4
( . $dir/environment; exec "\${COMMAND[@]}" ) </dev/null 2>&1; echo \$? > $dir/status
umount $dir/xfs $dir/ext4 2>/dev/null; sync
exec /usr/bin/python3 -Sc 'import ctypes; ctypes.CDLL(None).reboot(0x4321fedc)'   # power off
INIT
chmod +x "$dir/init"
# Without this, user-mode Linux 6.1 aborts at its first process on processors with AMX.
cc -O2 -shared -fPIC -o "$dir/wide_registers.so" "$(dirname "$0")/wide_registers.c"
LD_PRELOAD="$dir/wide_registers.so" timeout -k 5 "$SECONDS_MAX" linux.uml "mem=$MEMORY" root=/dev/root rootfstype=hostfs rootflags=/ rw \
  "init=$dir/init" "ubda=$dir/xfs.img" "ubdb=$dir/ext4.img" con=null con0=null,fd:1 con1=null ssl=null \
  quiet loglevel=0 </dev/null 2>"$dir/stderr" \
  | sed -u -e 's/\r$//' -e '/^mmapper_init - /d' -e '/^reboot: /d' -e '/^SELinux: /d' || true
exit "$(cat "$dir/status")"
