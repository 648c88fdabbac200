"""btrfs by system calls: subvolumes and the limits of their qgroups (<linux/btrfs.h>).

Every function takes an open descriptor on the file system. Limits are set through the top of the
volume: through the subvolume itself the kernel refuses when the limit is reached.
"""

import errno
import fcntl
import os
import struct
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from core.names import utc

#: The inode number of every subvolume's root directory.
ROOT_INODE = 256
#: qgroups count metadata in complete blocks of this many bytes.
NODE_BYTES = 16384

_SUBVOL_CREATE = 0x5000940E
_SNAP_DESTROY = 0x5000940F
_SNAP_CREATE_V2 = 0x50009417
_GET_SUBVOL_INFO = 0x81F8943C
_TREE_SEARCH = 0xD0009411
_INO_LOOKUP = 0xD0009412
_FS_INFO = 0x8400941F
_FS_INFO_BYTES = 1024
_QUOTA_CTL = 0xC0109428
_QGROUP_LIMIT = 0x8030942B
_QUOTA_ENABLE = 1
_QUOTA_ENABLE_SIMPLE = 4
_QUOTA_RESCAN = 0x4040942C
_RESCAN_BYTES = 64
_VOL_ARGS = struct.Struct("=q4088s")
#: descriptor, transaction, flags, unused, name.
_VOL_ARGS_2 = struct.Struct("=qQQ32x4040s")
_READ_ONLY = 2
#: Up to the time of its creation: id, name, parent, directory, generation, flags, uuids,
#: transactions, and two times; the second is the one needed (seconds, nanoseconds).
_INFO = struct.Struct("=Q256sQQQQ16s16s16sQQQQQI4xQI4x")
_INFO_BYTES = 504
_LOOKUP = struct.Struct("=QQ4080s")
_LIMIT = struct.Struct("=QQQQQQ")
_LIMIT_REFERENCED = 1
_NO_LIMIT = 2**64 - 1
#: tree, objectids, offsets, transactions; types, items; unused.
_KEY = struct.Struct("=QQQQQQQIII4x32x")
_SEARCH_BYTES = 4096
_HEADER = struct.Struct("=QQQII")
_QUOTA_TREE = 8
_QGROUP_STATUS = 240
_QGROUP_INFO = 242
_QGROUP_LIMIT_ITEM = 244
#: generation, referenced; and flags, largest referenced.
_PAIR = struct.Struct("=QQ")
#: version, generation, flags.
_STATUS = struct.Struct("=QQQ")
_COUNTING = 1
_RESCANNING = 2
_INCONSISTENT = 4
_SIMPLE = 8


class Counted(NamedTuple):
    """The count of a qgroup (as of the last commit) and its limit."""

    used_bytes: int
    limit_bytes: int | None


def create(name: str, parent: int) -> None:
    """Make a subvolume.

    Raises:
        OSError: EEXIST, ENOTTY on another file system …
    """
    fcntl.ioctl(parent, _SUBVOL_CREATE, bytearray(_VOL_ARGS.pack(0, os.fsencode(name))))


def snapshot(source: int, name: str, parent: int, *, writable: bool = False) -> None:
    """Make a snapshot of the subvolume whose root is `source`.

    It has everything that was written, synced or not. Subvolumes inside become empty directories.

    Raises:
        OSError: EEXIST, EINVAL when the source is not the root of a subvolume …
    """
    flags = 0 if writable else _READ_ONLY
    fcntl.ioctl(
        parent, _SNAP_CREATE_V2, bytearray(_VOL_ARGS_2.pack(source, 0, flags, os.fsencode(name)))
    )


def destroy(name: str, parent: int) -> None:
    """Remove a subvolume with all its entries at once.

    The kernel frees the space in the background.

    Raises:
        OSError: ENOENT, ENOTEMPTY with subvolumes inside, EPERM …
    """
    fcntl.ioctl(parent, _SNAP_DESTROY, bytearray(_VOL_ARGS.pack(0, os.fsencode(name))))


def created_at(directory: int) -> datetime:
    """Return when the subvolume of a directory was made."""
    output = bytearray(_INFO_BYTES)
    fcntl.ioctl(directory, _GET_SUBVOL_INFO, output)
    seconds, nanoseconds = _INFO.unpack_from(output)[-2:]
    return utc(seconds + nanoseconds / 1e9)


def id_of(directory: int) -> int:
    """Return the id of the subvolume whose root this directory is; 0 when it is not a root."""
    return tree_of(directory) if os.fstat(directory).st_ino == ROOT_INODE else 0


def tree_of(directory: int) -> int:
    """Return the id of the subvolume that contains a directory."""
    asked = bytearray(_LOOKUP.pack(0, ROOT_INODE, b""))
    fcntl.ioctl(directory, _INO_LOOKUP, asked)
    return int(_LOOKUP.unpack(asked)[0])


class QuotaCounting(NamedTuple):
    """The ways in which btrfs counts subvolumes."""

    #: All existing data is counted; limits are enforced only in this state.
    exact: bool
    #: A recount is running.
    rescanning: bool
    #: Simple quotas (Linux 6.7): the subvolume that wrote the bytes first owns them, snapshots own
    #: none.
    simple: bool


def counting(top: int) -> QuotaCounting | None:
    """Return how subvolumes are counted now; None when they are not counted."""
    try:
        found = _item(top, _QGROUP_STATUS, 0)
    except PermissionError:
        return _shown_counting(_shown(top))
    flags = _STATUS.unpack_from(found)[2] if found else 0
    if not flags & _COUNTING:
        return None
    exact = not flags & (_INCONSISTENT | _RESCANNING)
    return QuotaCounting(exact, bool(flags & _RESCANNING), bool(flags & _SIMPLE))


def enable_quota(top: int, *, simple: bool = False) -> None:
    """Switch counting on, for existing subvolumes too; no error when it is on already.

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN, EINVAL where the kernel knows no simple quotas.
    """
    command = _QUOTA_ENABLE_SIMPLE if simple else _QUOTA_ENABLE
    fcntl.ioctl(top, _QUOTA_CTL, struct.pack("=QQ", command, 0))


def recount(top: int) -> None:
    """Start a recount in the background; a recount that runs already continues.

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN.
    """
    try:
        fcntl.ioctl(top, _QUOTA_RESCAN, bytes(_RESCAN_BYTES))
    except OSError as error:
        if error.errno != errno.EINPROGRESS:
            raise


def set_limit(top: int, subvolume: int, limit_bytes: int | None) -> None:
    """Set the limit of a subvolume's referenced bytes; None removes the limit.

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN; ENOENT or ENOTCONN when subvolumes are not counted.
    """
    value = _NO_LIMIT if limit_bytes is None else limit_bytes
    fcntl.ioctl(top, _QGROUP_LIMIT, _LIMIT.pack(subvolume, _LIMIT_REFERENCED, value, 0, 0, 0))


def counted(directory: int, subvolume: int) -> Counted | None:
    """Return the count and limit of a subvolume; None when subvolumes are not counted."""
    try:
        info = _item(directory, _QGROUP_INFO, subvolume)
        rule = _item(directory, _QGROUP_LIMIT_ITEM, subvolume) or bytes(_PAIR.size)
    except PermissionError:
        return _shown_counted(_shown(directory) / f"0_{subvolume}")
    if info is None:
        return None
    flags, limit = _PAIR.unpack_from(rule)
    return Counted(_PAIR.unpack_from(info)[1], limit if flags & _LIMIT_REFERENCED else None)


def _shown(directory: int) -> Path:
    """Return the sysfs directory where any user can read the counts (Linux 6.1)."""
    output = bytearray(_FS_INFO_BYTES)
    fcntl.ioctl(directory, _FS_INFO, output)
    return Path("/sys/fs/btrfs", str(UUID(bytes=bytes(output[16:32]))), "qgroups")


def _shown_counting(qgroups: Path) -> QuotaCounting | None:
    try:
        if not _number(qgroups / "enabled"):
            return None
        exact = not _number(qgroups / "inconsistent")
        mode = (qgroups / "mode").read_bytes() if (qgroups / "mode").exists() else b""
    except FileNotFoundError:
        return None
    return QuotaCounting(exact, rescanning=False, simple=mode.strip() == b"squota")


def _shown_counted(qgroup: Path) -> Counted | None:
    try:
        limited = _number(qgroup / "limit_flags") & _LIMIT_REFERENCED
        limit = _number(qgroup / "max_referenced") if limited else None
        return Counted(_number(qgroup / "referenced"), limit)
    except FileNotFoundError:
        return None


def _number(file: Path) -> int:
    return int(file.read_bytes(), 0)


def _item(directory: int, kind: int, qgroup: int) -> bytes | None:
    """Return one item of the quota tree; None when the item or the tree is absent.

    The search uses the exact key: a range of kinds would contain the items of all other qgroups.
    """
    most = 2**64 - 1
    key = _KEY.pack(_QUOTA_TREE, 0, 0, qgroup, qgroup, 0, most, kind, kind, 1)
    buffer = bytearray(key.ljust(_SEARCH_BYTES, b"\0"))
    try:
        fcntl.ioctl(directory, _TREE_SEARCH, buffer)
    except FileNotFoundError:
        return None
    if not _KEY.unpack_from(buffer)[9]:
        return None
    size = _HEADER.unpack_from(buffer, _KEY.size)[4]
    start = _KEY.size + _HEADER.size
    return bytes(buffer[start : start + size])
