"""The volumes of this node: which backend, is it mounted, what may be asked. Knows no HTTP."""

from backends.volumes import operations, remote
from backends.volumes.mounts import Mounts, MountState
from backends.volumes.registry import BackendFactory, Volumes, backend_factory

__all__ = [
    "BackendFactory",
    "MountState",
    "Mounts",
    "Volumes",
    "backend_factory",
    "operations",
    "remote",
]
