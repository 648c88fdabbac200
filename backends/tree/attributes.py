"""Read an entry's attributes and give them to its copy: owner, mode, xattrs, ACLs, flags, times.

The order matters: a change of owner clears set-id bits and capabilities, writing content changes
the times, and an immutable file takes nothing any more. So: owner, xattrs, mode, times, flags.
What the target refuses is counted in the receipt, and the rest goes on.
"""

import errno
import fcntl
import os
import stat
import struct
from contextlib import suppress
from dataclasses import dataclass

from backends.tree.receipt import Loss, Receipt

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

_PERMISSIONS = 0o777
_SPECIAL = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX
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


class AttributeWriter:
    """Gives one entry's attributes to its open copy and notes what was refused."""

    def __init__(self, receipt: Receipt, skills: Skills) -> None:
        self._receipt = receipt
        self._skills = skills

    def give(self, path: str, source: int, target: int, status: os.stat_result) -> None:
        """Make the open `target` like the open `source`, whose attributes are `status`."""
        given = os.fstat(target)
        unlock(target)
        self.owner(path, target, status, given)
        self.xattrs(path, target, read_xattrs(source, self._skills), read_xattrs_of(target))
        self.mode(path, target, status)
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        self.flags(path, target, read_flags(source, self._skills))

    def owner(self, path: str, target: int, status: os.stat_result, given: os.stat_result) -> None:
        """Give owner and group; without the right to, at least the group."""
        if (given.st_uid, given.st_gid) == (status.st_uid, status.st_gid):
            return
        try:
            os.chown(target, status.st_uid, status.st_gid)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            self._receipt.lose(Loss.OWNER, path, f"{status.st_uid}:{status.st_gid}")
            if given.st_gid != status.st_gid:
                self._group(target, status.st_gid)

    def _group(self, target: int, gid: int) -> None:
        try:
            os.chown(target, -1, gid)
        except OSError as error:
            if error.errno not in REFUSED:
                raise

    def xattrs(
        self, path: str, target: int, wanted: dict[str, bytes], given: dict[str, bytes]
    ) -> None:
        """Set what the source has and take away what was inherited."""
        for name, value in wanted.items():
            if given.get(name) != value:
                self._set(path, target, name, value)
        for name in given.keys() - wanted.keys():
            if name in (ACL_ACCESS, ACL_DEFAULT):
                os.removexattr(target, name)

    def _set(self, path: str, target: int, name: str, value: bytes) -> None:
        try:
            os.setxattr(target, name, value)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            loss = Loss.ACL if name in (ACL_ACCESS, ACL_DEFAULT) else Loss.XATTR
            self._receipt.lose(loss, path, f"{name}: {error.strerror}")

    def mode(self, path: str, target: int, status: os.stat_result) -> None:
        """Give the permission bits; set-group-id may be dropped by the kernel without a word."""
        wanted = stat.S_IMODE(status.st_mode)
        try:
            os.fchmod(target, wanted)
        except PermissionError as error:
            self._receipt.lose(Loss.MODE, path, error.strerror or "")
            return
        if wanted & _SPECIAL and stat.S_IMODE(os.fstat(target).st_mode) != wanted:
            self._receipt.lose(Loss.MODE, path, oct(wanted))

    def flags(self, path: str, target: int, flags: int) -> None:
        """Give the flags; the last step, because immutable means it."""
        if not flags:
            return
        try:
            set_flags(target, flags)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            self._receipt.lose(Loss.FLAGS, path, f"{flags:#x}")


def read_xattrs_of(target: int) -> dict[str, bytes]:
    """Give what a new entry inherited from its directory."""
    return read_xattrs(target, Skills())


def xattr_names(fd: int) -> list[str]:
    """Give the names of an entry's extended attributes; none where they cannot be listed."""
    with suppress(OSError):
        return os.listxattr(fd)
    return []
