"""The XFS and ext4 backends: project quotas. Knows no job and no HTTP."""

from backends.systems.xfs.backend import Ext4Backend, XfsBackend

__all__ = [
    "Ext4Backend",
    "XfsBackend",
]
