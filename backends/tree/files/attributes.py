"""Read the extended attributes and flags of an entry, and change its flags.

File systems differ in what they support: a call that is not supported is remembered and not made
again (`AttributeSupport`).
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
#: Names that one file system uses internally and that mean nothing on another.
XATTRS_PRIVATE = ("trusted.SGI_ACL_", "trusted.overlay.", "security.evm", "security.ima", "ceph.")

_LONG = struct.Struct("l")

#: Errors of a file system or kernel that does not support an attribute.
UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS, errno.EINVAL})
#: Errors when the attribute is supported but not permitted, or the value does not fit.
REFUSED = UNSUPPORTED | {errno.EPERM, errno.EACCES, errno.E2BIG, errno.ENOSPC, errno.ERANGE}


@dataclass(slots=True)
class AttributeSupport:
    """Which attributes a file system supports, learnt while reading."""

    xattrs: bool = True
    flags: bool = True


def read_xattrs(fd: int | str, support: AttributeSupport) -> dict[str, bytes]:
    """Return all extended attributes of an open file or of a path like /proc/self/fd/N.

    A name that vanishes between listing and reading is left out.
    """
    if not support.xattrs:
        return {}
    try:
        names = os.listxattr(fd)
    except OSError as error:
        if error.errno in UNSUPPORTED:
            support.xattrs = False
            return {}
        raise
    xattrs = {}
    for name in names:
        if name.startswith(XATTRS_PRIVATE):
            continue
        try:
            xattrs[name] = os.getxattr(fd, name)
        except OSError as error:
            if error.errno not in (errno.ENODATA, *UNSUPPORTED):
                raise
    return xattrs


def has_xattrs(fd: int, support: AttributeSupport) -> bool:
    """Return whether an open file has any extended attribute, in one call."""
    if not support.xattrs:
        return False
    try:
        return bool(os.listxattr(fd))
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        support.xattrs = False
        return False


def read_flags(fd: int, support: AttributeSupport) -> int:
    """Return the flags of an open file that are worth keeping (ioctl_iflags(2))."""
    if not support.flags:
        return 0
    try:
        flags = _get_flags(fd)
    except OSError as error:
        if error.errno in UNSUPPORTED:
            support.flags = False
            return 0
        raise
    return flags & FLAGS_KEPT


def _get_flags(fd: int) -> int:
    (flags,) = _LONG.unpack(fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(_LONG.size)))
    return int(flags)


def set_flags(fd: int, flags: int, within: int = FLAGS_KEPT) -> None:
    """Set the flags of `within` to `flags`, and leave the others unchanged.

    Raises:
        OSError: the file system does not support them, or they are not permitted (immutable needs
            a capability).
    """
    present = _get_flags(fd)
    target = present & ~within | flags
    if target != present:
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, _LONG.pack(target))


def unlock(fd: int) -> None:
    """Clear the flags that forbid changes, where they exist and clearing is permitted."""
    try:
        if _get_flags(fd) & FLAGS_LOCKING:
            set_flags(fd, 0, FLAGS_LOCKING)
    except OSError as error:
        if error.errno not in REFUSED:
            raise


def xattr_names(fd: int) -> list[str]:
    """Return the names of an entry's extended attributes; none where they cannot be listed."""
    with suppress(OSError):
        return os.listxattr(fd)
    return []
