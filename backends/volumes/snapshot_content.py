"""What a snapshot of a vfolder has: its tree as a directory, and lists of its directories."""

from contextlib import AbstractContextManager

from backends.base import Backend, HasSnapshots
from backends.entries.listing import EntryPage, list_directory
from backends.retention import check_name
from core.errors import Unsupported
from core.names import VFolderId, VFolderPath


def opened(backend: Backend, vfolder: VFolderId, name: str) -> AbstractContextManager[int]:
    """Open the tree of a snapshot as a directory descriptor; it is read-only.

    Raises:
        Unsupported: the volume has no snapshots.
        InvalidName, SnapshotNotFound: there is none of this name.
    """
    check_name(name)
    system = backend.skill(HasSnapshots)
    if system is None:
        raise Unsupported(f"Volume {backend.mount.volume} has no snapshots.")
    return system.open_snapshot(vfolder, name)


def list_snapshot(
    backend: Backend,
    vfolder: VFolderId,
    name: str,
    path: VFolderPath,
    *,
    limit: int = 0,
    after: str | None = None,
) -> EntryPage:
    """Return the entries of a directory of a snapshot, as `list_directory`.

    Raises:
        Unsupported, InvalidName, SnapshotNotFound: see `opened`.
    """
    with opened(backend, vfolder, name) as root:
        return list_directory(root, path, limit, after)
