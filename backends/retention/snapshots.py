"""Snapshots of vfolders: their names, their errors, and until when each is kept.

    <scope>/.vfolder/retention/<vfolder hex>.<name>

Each such file has the end of one snapshot's time; it lies beside the data, in the vfolder's quota
scope. A snapshot without a file is kept until a caller deletes it.
"""

import os
import re
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Protocol, runtime_checkable

import msgspec
from msgspec import Struct

from backends.base import Backend, HasSnapshots
from backends.fs import atomic, descriptors, layout
from backends.retention import trash
from core.errors import Conflict, InvalidName, NotFound
from core.names import QuotaScope, VFolderId

#: The longest name, in characters.
NAME_MAX = 128
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]*")
#: Begins the name of a file that is being written; no vfolder has such a name.
DRAFT = "draft."


class SnapshotNotFound(NotFound):
    """The vfolder has no snapshot of this name."""

    error_code = "vfolder_read_not-found"
    kind = "storage/snapshot/not-found"
    title = "No such snapshot"


class SnapshotExists(Conflict):
    """The vfolder has a snapshot of this name."""

    error_code = "vfolder_create_already-exists"
    kind = "storage/snapshot/already-exists"
    title = "The snapshot exists"


@runtime_checkable
class SnapshotsInDirectory(Protocol):
    """A storage system that keeps the snapshots of a vfolder in the vfolder's own directory.

    Another directory in its place has none of them.
    """

    def snapshots_stay_with_directory(self) -> bool:
        """Return True."""


def check_name(name: str) -> None:
    """Refuse a name that no snapshot may have.

    Allowed are letters, digits and `. _ : + -`, a letter or digit first. Such a name is a file name
    everywhere, and never one that a storage system keeps for itself.

    Raises:
        InvalidName: another character is in it, or it is longer than `NAME_MAX`.
    """
    if len(name) > NAME_MAX or not _NAME.fullmatch(name):
        raise InvalidName(
            f"A snapshot's name has at most {NAME_MAX} letters, digits and . _ : + - in it, a "
            "letter or digit first.",
        )


# -- Until when snapshots are kept -----------------------------------------------------------------
class KeptSnapshot(Struct, frozen=True):
    """A snapshot that is kept until a moment (seconds of the epoch)."""

    vfolder: str
    name: str
    expires_at: float


def supported(backend: Backend) -> bool:
    """Return whether the volume keeps snapshots; asks the storage system."""
    return backend.skill(HasSnapshots) is not None and "snapshot" not in backend.lacking()


def stay_with_directory(backend: Backend) -> bool:
    """Return whether snapshots are lost when another directory takes the vfolder's place."""
    return backend.skill(SnapshotsInDirectory) is not None


def keep(root: int, vfolder: VFolderId, name: str, keep_seconds: float) -> float:
    """Record how long a snapshot is kept, from now by the file system's clock; return the end."""
    own = f"{vfolder.id.hex}.{name}"
    with descriptors.made(_directory(vfolder.scope), root, descriptors.HIDDEN_MODE) as directory:
        end = trash.clock(directory) + keep_seconds
        content = msgspec.json.encode(KeptSnapshot(str(vfolder), name, end))
        atomic.replace_file(directory, own, content, draft=DRAFT + own)
    return end


def forget(root: int, vfolder: VFolderId, name: str) -> None:
    """Remove the record of a snapshot that is deleted or kept for good; a missing one is fine."""
    with (
        suppress(FileNotFoundError),
        descriptors.opened(_directory(vfolder.scope), root) as directory,
    ):
        os.unlink(f"{vfolder.id.hex}.{name}", dir_fd=directory)
        os.fsync(directory)  # a note that came back would end the next snapshot of that name


def kept(root: int, scope_directory: str) -> list[KeptSnapshot]:
    """Return all snapshots that a scope keeps for a limited time, the first to end first."""
    try:
        directory = descriptors.open_directory(
            layout.scope_area(scope_directory, layout.RETENTION), root
        )
    except (FileNotFoundError, NotADirectoryError):
        return []
    try:
        names = [name for name in os.listdir(directory) if not name.startswith(DRAFT)]
        records = [atomic.read_record(directory, name, KeptSnapshot) for name in names]
    finally:
        os.close(directory)
    return sorted((one for one in records if one), key=lambda one: one.expires_at)


def expired(root: int, scope_directory: str) -> list[KeptSnapshot]:
    """Return the snapshots of a scope whose time is over."""
    records = kept(root, scope_directory)
    if not records:
        return []
    path = layout.scope_area(scope_directory, layout.RETENTION)
    with descriptors.opened(path, root) as directory:
        now = trash.clock(directory)
    return [one for one in records if one.expires_at <= now]


def _directory(scope: QuotaScope | None) -> PurePosixPath:
    return layout.area(scope, layout.RETENTION)
