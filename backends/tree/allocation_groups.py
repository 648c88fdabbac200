"""Allocation groups: the parts of a file system in which inodes can be freed in parallel.

XFS protects the inodes of an allocation group by the lock of one buffer. It frees unlinked inodes
in the background, on the processor that unlinked them. Helpers that unlink in the same group wait
for each other and for the background work of both. Helpers in different groups do not. XFS puts a
new directory in the next group in turn, and the files of a directory in the group of the directory
(XFS Algorithms & Data Structures, "Allocation Groups"). So most trees lie in all groups.
"""

import fcntl
import os
import struct
from contextlib import suppress
from dataclasses import dataclass

#: Of `struct xfs_fsop_geom_v1` (ioctl_xfs_fsgeometry(2), which needs no right): bytes of a block,
#: blocks of a group, number of groups, bytes of an inode.
_GEOMETRY = struct.Struct("=I4x2I8xI84x")
_XFS_IOC_FSGEOMETRY_V1 = 0x8000_0000 | _GEOMETRY.size << 16 | ord("X") << 8 | 100
#: Most shards into which groups are folded: each shard has a backlog of its own in memory.
SHARDS_MAX = 16
#: A shift by this many bits maps every inode number to the same group.
ALL_BITS = 63


@dataclass(frozen=True, slots=True)
class Groups:
    """How inode numbers map to groups: the group's number stands above the lowest `bits` bits.

    The default is a file system of a single group.
    """

    count: int = 1
    bits: int = ALL_BITS

    @property
    def shards(self) -> int:
        """The number of shards."""
        return min(self.count, SHARDS_MAX)

    def shard(self, inode: int) -> int:
        """Return the shard of an inode; all inodes of a group have the same shard."""
        return (inode >> self.bits) % self.shards


ONE_GROUP = Groups()


def xfs_groups(fd: int) -> Groups:
    """Return the allocation groups of an XFS, by any descriptor on it.

    Returns `ONE_GROUP` when the file system does not answer. Costs an open(2) and an ioctl(2).
    """
    with suppress(OSError):
        real = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
        try:
            answer = fcntl.ioctl(real, _XFS_IOC_FSGEOMETRY_V1, bytes(_GEOMETRY.size))
        finally:
            os.close(real)
        block_bytes, group_blocks, count, inode_bytes = _GEOMETRY.unpack(answer)
        # Below the group's number are the bits of the block in it and of the inode in the block.
        inodes_bits = (block_bytes // inode_bytes - 1).bit_length()
        return Groups(count, (group_blocks - 1).bit_length() + inodes_bits)
    return ONE_GROUP
