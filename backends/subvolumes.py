"""btrfs by system calls: subvolumes and the limits of their qgroups (<linux/btrfs.h>).

Every function takes an open descriptor on the file system. Limits are set through the top of the
volume: through the subvolume itself the kernel refuses once its limit is reached.
"""

import fcntl
import os
import struct
from typing import NamedTuple

#: The inode number of every subvolume's root directory.
ROOT_INODE = 256
#: qgroups count whole tree blocks of this many bytes, whatever is in them.
NODE_BYTES = 16384

_SUBVOL_CREATE = 0x5000940E
_TREE_SEARCH = 0xD0009411
_INO_LOOKUP = 0xD0009412
_QUOTA_CTL = 0xC0109428
_QGROUP_LIMIT = 0x8030942B
_QUOTA_ENABLE = 1
_VOL_ARGS = struct.Struct("=q4088s")
_LOOKUP = struct.Struct("=QQ4080s")
_LIMIT = struct.Struct("=QQQQQQ")
_LIMIT_REFERENCED = 1
_NO_LIMIT = 2**64 - 1
#: tree, objectids, offsets, transactions; types, items; unused.
_KEY = struct.Struct("=QQQQQQQIII4x32x")
_SEARCH_BYTES = 4096
_HEADER = struct.Struct("=QQQII")
_QUOTA_TREE = 8
_QGROUP_INFO = 242
_QGROUP_LIMIT_ITEM = 244
#: generation, referenced; and flags, largest referenced.
_PAIR = struct.Struct("=QQ")


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


def id_of(directory: int) -> int:
    """The id of the subvolume whose root this directory is; 0 when it is no root."""
    return tree_of(directory) if os.fstat(directory).st_ino == ROOT_INODE else 0


def tree_of(directory: int) -> int:
    """The id of the subvolume that a directory lies in."""
    asked = bytearray(_LOOKUP.pack(0, ROOT_INODE, b""))
    fcntl.ioctl(directory, _INO_LOOKUP, asked)
    return int(_LOOKUP.unpack(asked)[0])


def enable_quota(top: int) -> None:
    """Count subvolumes from now on; success when they are already (needs root)."""
    fcntl.ioctl(top, _QUOTA_CTL, struct.pack("=QQ", _QUOTA_ENABLE, 0))


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
    for kind, data in _search(directory, subvolume):
        first, second = _PAIR.unpack_from(data)
        if kind == _QGROUP_INFO:
            used = second
        elif kind == _QGROUP_LIMIT_ITEM and first & _LIMIT_REFERENCED:
            limit = second
    return None if used is None else Counted(used, limit)


def _search(directory: int, subvolume: int) -> list[tuple[int, bytes]]:
    """The items of a qgroup in the quota tree; none when there is no such tree."""
    most = 2**64 - 1
    key = (_QUOTA_TREE, 0, 0, subvolume, subvolume, 0, most, _QGROUP_INFO, _QGROUP_LIMIT_ITEM, 64)
    buffer = bytearray(_KEY.pack(*key).ljust(_SEARCH_BYTES, b"\0"))
    try:
        fcntl.ioctl(directory, _TREE_SEARCH, buffer)
    except FileNotFoundError:
        return []
    items, position = [], _KEY.size
    for _ in range(_KEY.unpack_from(buffer)[9]):
        _, _, offset, kind, size = _HEADER.unpack_from(buffer, position)
        position += _HEADER.size
        if offset == subvolume and kind in (_QGROUP_INFO, _QGROUP_LIMIT_ITEM):
            items.append((kind, bytes(buffer[position : position + size])))
        position += size
    return items
