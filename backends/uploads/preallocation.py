"""Blocks of a growing file, laid out many at a time before its bytes come (fallocate(2)).

ext4 looks for a place, charges the quota and notes it for every block of a write by itself: a third
of what a write costs, and none of it where the blocks are there already. XFS and btrfs do not gain.
The file stays as long as its bytes.
"""

import os

from backends.fs import linux

#: So much is laid out at once: what an upload that is given up holds for nothing, at most.
STRETCH_BYTES = 16 << 20
#: Less than this is not worth a system call.
LEAST_BYTES = 4 << 20


def lay_out(descriptor: int, start: int, size: int, whole: int) -> None:
    """Lay out the stretch that begins where `size` bytes go, if one does, up to `whole` bytes.

    Only speed: what cannot be laid out is for the write to find, and to be refused for.

    Raises:
        OSError: as fstatfs(2), ftruncate(2).
    """
    at = -(-start // STRETCH_BYTES) * STRETCH_BYTES
    length = min(STRETCH_BYTES, whole - at)
    if at >= start + size or length < LEAST_BYTES:
        return
    if linux.magic(descriptor) != linux.EXT4:
        return
    try:
        linux.preallocate(descriptor, at, length)
    except OSError:
        os.ftruncate(descriptor, os.fstat(descriptor).st_size)  # a part of it was laid out
