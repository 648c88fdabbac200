"""Read an entry's attributes and give them to its copy: owner, mode, xattrs, ACLs, flags, times.

The order matters: a change of owner clears set-id bits and capabilities, writing content changes
the times, and an immutable file takes nothing any more. So: owner, xattrs, mode, times, flags.
What the target refuses is counted in the receipt, and the rest goes on.
"""

import errno
import fcntl
import os
import struct
from contextlib import suppress
from dataclasses import dataclass

FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
FLAG_IMMUTABLE = 0x10
FLAG_APPEND = 0x20
#: Flags that mean the same everywhere: sync, immutable, append-only, no dump, no atime, dirsync.
FLAGS_KEPT = 0x08 | FLAG_IMMUTABLE | FLAG_APPEND | 0x40 | 0x80 | 0x10000
#: Flags under which an entry cannot be removed or renamed.
FLAGS_LOCKING = FLAG_IMMUTABLE | FLAG_APPEND

ACL_ACCESS = "system.posix_acl_access"
ACL_DEFAULT = "system.posix_acl_default"
#: Names that belong to one file system's own bookkeeping and mean nothing on another.
XATTRS_PRIVATE = ("trusted.SGI_ACL_", "trusted.overlay.", "security.evm", "security.ima", "ceph.")

_LONG = struct.Struct("l")

#: What a file system or kernel answers to an attribute it does not have.
UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS, errno.EINVAL})
#: What it answers when the attribute is there and may not or cannot be given.
REFUSED = UNSUPPORTED | {errno.EPERM, errno.EACCES, errno.E2BIG, errno.ENOSPC, errno.ERANGE}


@dataclass(slots=True)
class Skills:
    """What the source has, learnt while reading, and what the target gives to new entries."""

    xattrs: bool = True
    flags: bool = True
    uid: int = -1
    gid: int = -1


def read_xattrs(fd: int | str, skills: Skills) -> dict[str, bytes]:
    """Give all extended attributes of an open file or of a path like /proc/self/fd/N.

    A name that vanishes between listing and reading is left out.
    """
    if not skills.xattrs:
        return {}
    try:
        names = os.listxattr(fd)
    except OSError as error:
        if error.errno in UNSUPPORTED:
            skills.xattrs = False
            return {}
        raise
    found = {}
    for name in names:
        if name.startswith(XATTRS_PRIVATE):
            continue
        try:
            found[name] = os.getxattr(fd, name)
        except OSError as error:
            if error.errno not in (errno.ENODATA, *UNSUPPORTED):
                raise
    return found


def has_xattrs(fd: int, skills: Skills) -> bool:
    """Tell whether an open file has any extended attribute, in one call."""
    if not skills.xattrs:
        return False
    try:
        return bool(os.listxattr(fd))
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        skills.xattrs = False
        return False


def read_flags(fd: int, skills: Skills) -> int:
    """Give the flags of an open file that are worth keeping (ioctl_iflags(2))."""
    if not skills.flags:
        return 0
    try:
        flags = _get_flags(fd)
    except OSError as error:
        if error.errno in UNSUPPORTED:
            skills.flags = False
            return 0
        raise
    return flags & FLAGS_KEPT


def _get_flags(fd: int) -> int:
    (flags,) = _LONG.unpack(fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(_LONG.size)))
    return int(flags)


def set_flags(fd: int, flags: int, within: int = FLAGS_KEPT) -> None:
    """Set the flags of `within` to `flags`, leave the others.

    Raises:
        OSError: unknown to the file system, or not permitted (immutable needs a capability).
    """
    now = _get_flags(fd)
    wanted = now & ~within | flags
    if wanted != now:
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, _LONG.pack(wanted))


def unlock(fd: int) -> None:
    """Take away the flags that forbid changes, where they exist and may be taken."""
    try:
        if _get_flags(fd) & FLAGS_LOCKING:
            set_flags(fd, 0, FLAGS_LOCKING)
    except OSError as error:
        if error.errno not in REFUSED:
            raise


def xattr_names(fd: int) -> list[str]:
    """Give the names of an entry's extended attributes; none where they cannot be listed."""
    with suppress(OSError):
        return os.listxattr(fd)
    return []
