"""What a volume keeps for a limited time: trash and snapshots. Knows no vendor and runs no job."""

from backends.retention import snapshots, trash
from backends.retention.array_snapshots import ArraySnapshot, ArraySnapshots
from backends.retention.snapshots import NAME_MAX, SnapshotExists, SnapshotNotFound, check_name
from backends.retention.trash import TrashRecord

__all__ = [
    "NAME_MAX",
    "ArraySnapshot",
    "ArraySnapshots",
    "SnapshotExists",
    "SnapshotNotFound",
    "TrashRecord",
    "check_name",
    "snapshots",
    "trash",
]
