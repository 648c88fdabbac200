"""The btrfs backend: subvolumes, quota groups, snapshots. Knows no job and no HTTP."""

from backends.systems.btrfs.backend import BtrfsBackend

__all__ = [
    "BtrfsBackend",
]
