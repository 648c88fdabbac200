"""How much space a file needs: one rule for usage, quota, reservations and copies."""

import os
import stat

from backends.fs import linux

#: The unit of st_blocks in bytes, whatever the block size of the file system (stat(2)).
BLOCK_BYTES = 512


def held_bytes(status: os.stat_result, descriptor: int) -> int:
    """Return the bytes that a regular file holds: its length without holes; 0 for other entries.

    A storage that compresses counts what it stores. Some FUSE file systems count no blocks: there
    a file without blocks holds its length. `descriptor` is open in the same file system; it is
    asked (fstatfs(2)) only for a file that has a length and no blocks. Hard links are the caller's
    to see: each name holds the same bytes. `backends/fs/c_source/scan.c` has the same in C.

    Raises:
        OSError: as fstatfs(2).
    """
    if not stat.S_ISREG(status.st_mode):
        return 0
    blocks_bytes = status.st_blocks * BLOCK_BYTES
    if blocks_bytes == 0 < status.st_size and linux.magic(descriptor) == linux.FUSE:
        return status.st_size
    return min(status.st_size, blocks_bytes)


def freed_bytes(status: os.stat_result, descriptor: int) -> int:
    """Return the bytes that the removal of one name frees: at the last name, what the file holds.

    Raises:
        OSError: as `held_bytes`.
    """
    return held_bytes(status, descriptor) if status.st_nlink == 1 else 0
