"""The volumes of this node: which backend, is it mounted, what may be asked. Knows no HTTP."""

from backends.volumes import operations, remote
from backends.volumes.mounts import Look, Mounts
from backends.volumes.registry import Volumes, backend_class

__all__ = [
    "Look",
    "Mounts",
    "Volumes",
    "backend_class",
    "operations",
    "remote",
]
