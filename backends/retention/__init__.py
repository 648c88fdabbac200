"""What a volume keeps for a limited time: trash and snapshots. Knows no vendor and runs no job."""

from backends.retention import snapshots, trash
from backends.retention.array_snapshots import (
    PREFIX_LENGTH,
    ArraySnapshot,
    ArraySnapshots,
    ArraySnapshotSkill,
    VolumeSnapshotSkill,
    read_plain,
    spelled_plainly,
)
from backends.retention.snapshots import NAME_MAX, SnapshotExists, SnapshotNotFound, check_name
from backends.retention.trash import TrashContent, TrashRecord

__all__ = [
    "NAME_MAX",
    "PREFIX_LENGTH",
    "ArraySnapshot",
    "ArraySnapshotSkill",
    "ArraySnapshots",
    "SnapshotExists",
    "SnapshotNotFound",
    "TrashContent",
    "TrashRecord",
    "VolumeSnapshotSkill",
    "check_name",
    "read_plain",
    "snapshots",
    "spelled_plainly",
    "trash",
]
