"""Which file system a descriptor lies on (statfs(2)), and what it says is left."""

import ctypes
import os

#: Magic numbers of <linux/magic.h>.
XFS = 0x58465342
EXT4 = 0xEF53
BTRFS = 0x9123683E
CEPH = 0x00C36400
FUSE = 0x65735546

#: Larger than struct statfs on every architecture.
_STATFS_BYTES = 256
_libc = ctypes.CDLL(None, use_errno=True)


def magic(fd: int) -> int:
    """The magic number of the file system.

    Raises:
        OSError: as fstatfs(2).
    """
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc.fstatfs(fd, buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return ctypes.c_long.from_buffer(buffer).value
