"""The CephFS backend: quota, snapshots, status. Knows no job and no HTTP."""

from backends.systems.cephfs.backend import CephFsBackend

__all__ = [
    "CephFsBackend",
]
