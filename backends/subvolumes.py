"""btrfs by system calls: subvolumes and the limits of their qgroups (<linux/btrfs.h>).

Every function takes an open descriptor on the file system. Limits are set through the top of the
volume: through the subvolume itself the kernel refuses once its limit is reached.
"""

import errno
import fcntl
import os
import struct
from datetime import UTC, datetime
from typing import NamedTuple

#: The inode number of every subvolume's root directory.
ROOT_INODE = 256
#: qgroups count whole tree blocks of this many bytes, whatever is in them.
NODE_BYTES = 16384

_SUBVOL_CREATE = 0x5000940E
_SNAP_DESTROY = 0x5000940F
_SNAP_CREATE_V2 = 0x50009417
_GET_SUBVOL_INFO = 0x81F8943C
_TREE_SEARCH = 0xD0009411
_INO_LOOKUP = 0xD0009412
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
#: transactions, and two times of which the second is wanted (seconds, nanoseconds).
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
    """What a qgroup counts (as of the last commit) and holds."""

    used_bytes: int
    limit_bytes: int | None


def create(name: str, parent: int) -> None:
    """Make a subvolume.

    Raises:
        OSError: EEXIST, ENOTTY on another file system …
    """
    fcntl.ioctl(parent, _SUBVOL_CREATE, bytearray(_VOL_ARGS.pack(0, os.fsencode(name))))


def snapshot(source: int, name: str, parent: int, *, writable: bool = False) -> None:
    """Make a subvolume that shares everything with another one, whose root `source` is.

    What was written is in it, synced or not; subvolumes inside are empty directories in it.

    Raises:
        OSError: EEXIST, EINVAL when the source is no root of a subvolume …
    """
    flags = 0 if writable else _READ_ONLY
    fcntl.ioctl(
        parent, _SNAP_CREATE_V2, bytearray(_VOL_ARGS_2.pack(source, 0, flags, os.fsencode(name)))
    )


def destroy(name: str, parent: int) -> None:
    """Remove a subvolume with all it holds, at once; its room comes back in the background.

    Raises:
        OSError: ENOENT, ENOTEMPTY with subvolumes inside, EPERM …
    """
    fcntl.ioctl(parent, _SNAP_DESTROY, bytearray(_VOL_ARGS.pack(0, os.fsencode(name))))


def created_at(directory: int) -> datetime:
    """When the subvolume that a directory lies in was made."""
    told = bytearray(_INFO_BYTES)
    fcntl.ioctl(directory, _GET_SUBVOL_INFO, told)
    seconds, nanoseconds = _INFO.unpack_from(told)[-2:]
    return datetime.fromtimestamp(seconds + nanoseconds / 1e9, UTC)


def id_of(directory: int) -> int:
    """The id of the subvolume whose root this directory is; 0 when it is no root."""
    return tree_of(directory) if os.fstat(directory).st_ino == ROOT_INODE else 0


def tree_of(directory: int) -> int:
    """The id of the subvolume that a directory lies in."""
    asked = bytearray(_LOOKUP.pack(0, ROOT_INODE, b""))
    fcntl.ioctl(directory, _INO_LOOKUP, asked)
    return int(_LOOKUP.unpack(asked)[0])


class Counting(NamedTuple):
    """How subvolumes are counted."""

    #: Everything that exists is in the sums; only then do limits hold.
    exact: bool
    #: The sums are being made now.
    rescanning: bool
    #: Simple quotas (Linux 6.7): what was written first owns the bytes, snapshots own none.
    simple: bool


def counting(top: int) -> Counting | None:
    """How subvolumes are counted now; None when they are not.

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN.
    """
    for kind, data in _search(top, 0, _QGROUP_STATUS):
        flags = _STATUS.unpack_from(data)[2]
        if kind == _QGROUP_STATUS and flags & _COUNTING:
            exact = not flags & (_INCONSISTENT | _RESCANNING)
            return Counting(exact, bool(flags & _RESCANNING), bool(flags & _SIMPLE))
    return None


def enable_quota(top: int, *, simple: bool = False) -> None:
    """Count subvolumes from now on, what is there too; success when they are already.

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN, EINVAL where the kernel knows no simple quotas.
    """
    command = _QUOTA_ENABLE_SIMPLE if simple else _QUOTA_ENABLE
    fcntl.ioctl(top, _QUOTA_CTL, struct.pack("=QQ", command, 0))


def recount(top: int) -> None:
    """Have the kernel make its sums anew, in the background; one at work already goes on.

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN.
    """
    try:
        fcntl.ioctl(top, _QUOTA_RESCAN, bytes(_RESCAN_BYTES))
    except OSError as error:
        if error.errno != errno.EINPROGRESS:
            raise


def set_limit(top: int, subvolume: int, limit_bytes: int | None) -> None:
    """Limit what a subvolume refers to; None takes the limit away.

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN; ENOENT or ENOTCONN when subvolumes are not counted.
    """
    value = _NO_LIMIT if limit_bytes is None else limit_bytes
    fcntl.ioctl(top, _QGROUP_LIMIT, _LIMIT.pack(subvolume, _LIMIT_REFERENCED, value, 0, 0, 0))


def counted(directory: int, subvolume: int) -> Counted | None:
    """What is counted and held for a subvolume; None when subvolumes are not counted.

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN.
    """
    used = limit = None
    for kind, data in _search(directory, subvolume, _QGROUP_INFO):
        first, second = _PAIR.unpack_from(data)
        if kind == _QGROUP_INFO:
            used = second
        elif kind == _QGROUP_LIMIT_ITEM and first & _LIMIT_REFERENCED:
            limit = second
    return None if used is None else Counted(used, limit)


def _search(directory: int, qgroup: int, first: int) -> list[tuple[int, bytes]]:
    """The items of a qgroup in the quota tree from one kind on; none when there is no such tree."""
    most = 2**64 - 1
    key = (_QUOTA_TREE, 0, 0, qgroup, qgroup, 0, most, first, _QGROUP_LIMIT_ITEM, 64)
    buffer = bytearray(_KEY.pack(*key).ljust(_SEARCH_BYTES, b"\0"))
    try:
        fcntl.ioctl(directory, _TREE_SEARCH, buffer)
    except FileNotFoundError:
        return []
    items, position = [], _KEY.size
    for _ in range(_KEY.unpack_from(buffer)[9]):
        _, _, offset, kind, size = _HEADER.unpack_from(buffer, position)
        position += _HEADER.size
        if offset == qgroup:
            items.append((kind, bytes(buffer[position : position + size])))
        position += size
    return items
