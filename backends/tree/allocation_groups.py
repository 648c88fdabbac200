"""Allocation groups: the parts of a file system in which inodes are freed side by side.

XFS guards the inodes of an allocation group by one buffer, and frees what was unlinked in the
background, on the processor that unlinked it. Helpers that unlink in the same group wait for each
other and for the background work of both; in groups of their own they do not. A new directory goes
to the next group in turn and its files go to its group (XFS Algorithms & Data Structures,
"Allocation Groups"), so most trees lie in all of them.
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
#: Groups are folded into so many shards: their backlogs are kept apart, in memory too.
SHARDS_MAX = 16
#: By so many bits every inode number is shifted to the same group.
ALL_BITS = 63


@dataclass(frozen=True, slots=True)
class Groups:
    """How inodes are told apart: their numbers begin with that of their group, before `bits` bits.

    The default is a file system of a single group.
    """

    count: int = 1
    bits: int = ALL_BITS

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return min(self.count, SHARDS_MAX)

    def shard(self, inode: int) -> int:
        """Tell the shard of an inode: whatever shares a group with it has the same."""
        return (inode >> self.bits) % self.shards


ONE_GROUP = Groups()


def xfs_groups(fd: int) -> Groups:
    """Ask an XFS for its allocation groups, by any descriptor on it; `ONE_GROUP` where it is mute.

    Costs an open(2) and an ioctl(2).
    """
    with suppress(OSError):
        real = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
        try:
            answer = fcntl.ioctl(real, _XFS_IOC_FSGEOMETRY_V1, bytes(_GEOMETRY.size))
        finally:
            os.close(real)
        block_bytes, group_blocks, count, inode_bytes = _GEOMETRY.unpack(answer)
        # Below the group's number are those of the block in it and of the inode in that.
        inodes_bits = (block_bytes // inode_bytes - 1).bit_length()
        return Groups(count, (group_blocks - 1).bit_length() + inodes_bits)
    return ONE_GROUP
