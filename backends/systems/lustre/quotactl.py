"""Limits and counts of project ids by the ioctl of Lustre's client, without the tool `lfs`.

Numbers and layouts: `struct if_quotactl`, `struct obd_dqblk` and LL_IOC_QUOTACTL of Lustre's public
header <linux/lustre/lustre_user.h>. Limits are in KiB, counts in bytes, as in quotactl(2).
"""

import errno
import fcntl
import os
import struct

from backends.systems.lustre.answers import UNIT_BYTES, LustreUsage, NotLustre
from core.errors import BackendFailed

#: _IOWR('f', 162, struct if_quotactl) of 176 bytes, in use since Lustre 2.4.
LL_IOC_QUOTACTL = 0xC0B0_66A2
_GET, _SET = 0x800007, 0x800008
_PROJECTS = 2
#: The sum of all targets, not one of them.
_GENERAL = 0
#: Which figures of a block are meant, or known: limits of blocks, blocks, and those of inodes.
_BLOCK_LIMITS, _SPACE, _INODE_LIMITS, _INODES = 1, 2, 4, 8
#: Command, type, id, state, which targets, number of a target; two grace times and their flags.
_HEAD = struct.Struct("=6I2Q2I")
#: Hard, soft limit and count of blocks, the same of inodes, two grace times, which are valid.
_BLOCK = struct.Struct("=8QI4x")
#: The name of a target's kind, and its UUID.
_TAIL = bytes(16 + 40)
#: No such call: another file system.
_NO_CALL = frozenset({errno.ENOTTY, errno.ENOSYS})
#: The server has no quota, or none of projects.
_OFF = frozenset({errno.ESRCH, errno.EOPNOTSUPP})
_RIGHTS = frozenset({errno.EPERM, errno.EACCES})


def counted(fd: int, project: int) -> LustreUsage:
    """Return usage and limit of a project id.

    Raises:
        NotLustre: this file system has no such call.
        BackendFailed: the server did not say the limit, or failed.
        OSError: EPERM without the right, ESRCH where project quota is off.
    """
    hard, _, space, _, _, inodes, _, _, valid = _called(fd, _GET, project, bytes(_BLOCK.size))
    if not valid & _BLOCK_LIMITS:
        raise BackendFailed("The server that keeps the limits of the file system is away.")
    return LustreUsage(
        space if valid & _SPACE else None,
        hard * UNIT_BYTES,
        inodes if valid & _INODES else None,
    )


def set_limit(fd: int, project: int, limit_bytes: int) -> None:
    """Set the hard limit of a project id, a multiple of 1 KiB; 0 removes it.

    Limits of inodes stay, a soft limit goes.

    Raises:
        NotLustre, BackendFailed, OSError: as `counted`.
    """
    limit = limit_bytes // UNIT_BYTES
    _called(fd, _SET, project, _BLOCK.pack(limit, *[0] * 7, _BLOCK_LIMITS))


def forget(fd: int, project: int) -> None:
    """Remove every limit of a project id.

    Raises:
        NotLustre, BackendFailed, OSError: as `counted`.
    """
    _called(fd, _SET, project, _BLOCK.pack(*[0] * 8, _BLOCK_LIMITS | _INODE_LIMITS))


def _called(fd: int, command: int, project: int, block: bytes) -> tuple[int, ...]:
    """Make the call; return the block of the answer."""
    head = _HEAD.pack(command, _PROJECTS, project, 0, _GENERAL, *[0] * 5)
    try:
        answer = fcntl.ioctl(fd, LL_IOC_QUOTACTL, head + block + _TAIL)
    except OSError as error:
        raise _meant(error) from None
    return _BLOCK.unpack_from(answer, _HEAD.size)


def _meant(error: OSError) -> Exception:
    """Return what an errno of the call means."""
    if error.errno in _NO_CALL:
        return NotLustre("This file system has no quota of Lustre.")
    if error.errno in _OFF:
        return OSError(errno.ESRCH, os.strerror(errno.ESRCH))
    if error.errno in _RIGHTS:
        return PermissionError(errno.EPERM, os.strerror(errno.EPERM))
    words = os.strerror(error.errno or errno.EIO)
    return BackendFailed(f"The servers of the file system do not answer for its limits: {words}.")
