"""Limits of project ids by system calls (quotactl_fd(2)); `backends.mounted` sets the ids.

The same calls serve XFS and ext4: the kernel translates the generic commands. No tool runs and no
text is parsed. Every function takes an open descriptor on the file system, which must not be
O_PATH. Needs Linux 5.14 or newer, and CAP_SYS_ADMIN.

Layouts and numbers: <linux/quota.h> (struct if_dqblk), <linux/dqblk_xfs.h> (struct
fs_quota_statv).
"""

import errno
import struct

from backends.fs import linux
from backends.mounted import ProjectUsage

#: The kind of quota that counts per project id.
PROJECT_QUOTA = 2
#: The kernel takes limits in units of this many bytes (QIF_DQBLKSIZE).
UNIT_BYTES = 1024

_Q_GETQUOTA = 0x800007
_Q_SETQUOTA = 0x800008
_Q_XGETQSTATV = ord("X") << 8 | 8
#: Which limits are set; the others stay as they are.
_QIF_BLIMITS = 1
_QIF_ILIMITS = 4
#: A hard and a soft limit that limit nothing.
_NO_LIMITS = (0, 0)
#: bhardlimit, bsoftlimit, curspace, ihardlimit, isoftlimit, curinodes, btime, itime, valid.
_DQBLK = struct.Struct("=8QI4x")
_STATV_BYTES = 256
_STATV_VERSION = 1
_STATV = struct.Struct("=bBH")
_PROJECT_ACCOUNTED = 1 << 4
_PROJECT_ENFORCED = 1 << 5


def usage(fd: int, project: int) -> ProjectUsage:
    """Return the current counts of a project id; an id that was never used has zero.

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN, ESRCH where project quota is off.
    """
    buffer = linux.buffer_of(b"", _DQBLK.size)
    try:
        linux.quotactl(_command(_Q_GETQUOTA), fd, project, buffer)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return ProjectUsage(0, 0, 0)
        raise
    hard, soft, space, *of_inodes, _, _, _ = _DQBLK.unpack(buffer.raw)
    hard_inodes, soft_inodes, inodes = of_inodes
    limits = (soft * UNIT_BYTES, hard_inodes, soft_inodes)
    return ProjectUsage(space, hard * UNIT_BYTES, inodes, *limits)


def set_limit(fd: int, project: int, limit_bytes: int) -> None:
    """Set the limit of a project id, a multiple of `UNIT_BYTES`; 0 removes the limit.

    A soft limit above it is removed too. Other limits stay.

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN, ESRCH where project quota is off, ERANGE.
    """
    soft = soft_below(usage(fd, project).soft_limit_bytes, limit_bytes)
    _set(fd, project, blocks=(limit_bytes // UNIT_BYTES, soft // UNIT_BYTES))


def set_soft_limit(fd: int, project: int, limit_bytes: int) -> None:
    """Set the soft limit of a project id, a multiple of `UNIT_BYTES`; 0 removes it.

    Raises:
        OSError: as `set_limit`.
    """
    hard = usage(fd, project).limit_bytes
    _set(fd, project, blocks=(hard // UNIT_BYTES, limit_bytes // UNIT_BYTES))


def set_inode_limit(fd: int, project: int, limit_inodes: int) -> None:
    """Limit the inodes of a project id; 0 removes that limit, as `set_limit` does with bytes.

    Raises:
        OSError: as `set_limit`.
    """
    soft = soft_below(usage(fd, project).soft_limit_inodes, limit_inodes)
    _set(fd, project, inodes=(limit_inodes, soft))


def forget(fd: int, project: int) -> None:
    """Remove every limit of a project id.

    Raises:
        OSError: as `set_limit`.
    """
    _set(fd, project, blocks=_NO_LIMITS, inodes=_NO_LIMITS)


def soft_below(soft: int, limit: int) -> int:
    """Return the soft limit that can stay beside a limit: 0 for one above it."""
    return 0 if limit and soft > limit else soft


def _set(
    fd: int,
    project: int,
    *,
    blocks: tuple[int, int] | None = None,
    inodes: tuple[int, int] | None = None,
) -> None:
    """Set a hard and a soft limit, of blocks or of inodes or of both."""
    valid = (_QIF_BLIMITS if blocks else 0) | (_QIF_ILIMITS if inodes else 0)
    limits = (*(blocks or _NO_LIMITS), 0, *(inodes or _NO_LIMITS), 0, 0, 0, valid)
    linux.quotactl(_command(_Q_SETQUOTA), fd, project, linux.buffer_of(_DQBLK.pack(*limits)))


def enforced(fd: int) -> bool:
    """Return whether the kernel counts projects on this file system and enforces their limits."""
    buffer = linux.buffer_of(_STATV.pack(_STATV_VERSION, 0, 0), _STATV_BYTES)
    try:
        linux.quotactl(_command(_Q_XGETQSTATV), fd, 0, buffer)
    except OSError:
        return False
    wanted = _PROJECT_ACCOUNTED | _PROJECT_ENFORCED
    return bool(_STATV.unpack_from(buffer.raw)[2] & wanted == wanted)


def known(fd: int) -> bool:
    """Return whether this kernel has quotactl_fd(2)."""
    try:
        linux.quotactl(_command(_Q_XGETQSTATV), fd, 0, linux.buffer_of(b"", _STATV_BYTES))
    except OSError as error:
        return error.errno != errno.ENOSYS
    return True


def _command(number: int) -> int:
    """Return a command for the quota of projects (QCMD of <linux/quota.h>)."""
    return number << 8 | PROJECT_QUOTA
