"""What is kept for a while: trash and snapshots with an end. Knows no vendor."""

from backends.retention import snapshot_expiry, trash
from backends.retention.snapshots import NAME_MAX, SnapshotExists, SnapshotNotFound, check_name
from backends.retention.trash import TrashRecord

__all__ = [
    "NAME_MAX",
    "SnapshotExists",
    "SnapshotNotFound",
    "TrashRecord",
    "check_name",
    "snapshot_expiry",
    "trash",
]
