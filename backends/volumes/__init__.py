"""The volumes of this node: backends, proofs and bounded operations. Knows no HTTP."""

from backends.volumes import (
    entry_trash,
    operations,
    quota_views,
    remote,
    scope_records,
    snapshot_content,
)
from backends.volumes.identity import MarkerIdentity
from backends.volumes.mounts import Mounts, MountState, close_inherited
from backends.volumes.node_calls import CONTENT_TYPE, PATH, NodeCalls
from backends.volumes.quota_views import ScopeView
from backends.volumes.registry import (
    BackendFactory,
    Volumes,
    backend_factory,
    check_mount,
    create_backend,
    raised,
)

__all__ = [
    "CONTENT_TYPE",
    "PATH",
    "BackendFactory",
    "MarkerIdentity",
    "MountState",
    "Mounts",
    "NodeCalls",
    "ScopeView",
    "Volumes",
    "backend_factory",
    "check_mount",
    "close_inherited",
    "create_backend",
    "entry_trash",
    "operations",
    "quota_views",
    "raised",
    "remote",
    "scope_records",
    "snapshot_content",
]
