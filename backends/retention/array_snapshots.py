"""Snapshots of vfolders that an array makes of directories, under names that are its own.

The array keeps one list of snapshots, so the name there has the vfolder and its place in it. A
snapshot is visible on the mount, in a directory that the array adds. Changes of one vfolder's
snapshots are serialized over all nodes. So a creation whose answer was lost finds its own
snapshot, and no other process made it.
"""

import hashlib
import os
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

from backends.base import Snapshot
from backends.fs import descriptors
from backends.mounted import ArrayQuotaBackend
from backends.mounted.rest import ArrayRefused, Reason
from backends.retention.snapshots import SnapshotExists, SnapshotNotFound, check_name
from core.errors import VFolderNotFound
from core.names import VFolderId
from core.telemetry import logger

#: Begins the array's name of every snapshot that this service makes.
PREFIX = "vfolder"
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class ArraySnapshot:
    """A snapshot as the array knows it; `number` grows with each snapshot that is made."""

    name: str
    number: int
    created_at: datetime | None = None


class ArraySnapshots(ArrayQuotaBackend):
    """The skill `HasSnapshots` of a backend whose array makes snapshots of directories."""

    @abstractmethod
    def _array_path(self, path: str) -> str:
        """Return the path on the array of a path below the volume."""

    @abstractmethod
    def _list_snapshots(self, vfolder: VFolderId, prefix: str) -> list[ArraySnapshot]:
        """Return the snapshots whose names begin with the prefix, except those being deleted."""

    @abstractmethod
    def _make_snapshot(self, vfolder: VFolderId, name: str) -> ArraySnapshot:
        """Make a snapshot by this name, which does not exist yet; it is visible at the end."""

    @abstractmethod
    def _drop_snapshot(self, vfolder: VFolderId, snapshot: ArraySnapshot) -> None:
        """Delete a snapshot; a missing one is fine."""

    @abstractmethod
    def _snapshot_place(self, vfolder: VFolderId, name: str) -> PurePosixPath:
        """Return where the vfolder is shown as the snapshot keeps it, below `_snapshots_top`.

        Raises:
            FileNotFoundError: there is no such snapshot.
        """

    def _snapshots_top(self) -> AbstractContextManager[int]:
        """Open the directory that snapshots are shown below: the volume."""
        return self.root()

    def create_snapshot(self, vfolder: VFolderId, name: str) -> Snapshot:
        """See `HasSnapshots.create_snapshot`."""
        check_name(name)
        with self._changing(vfolder), self.open_vfolder(vfolder):
            prefix = self._prefix(vfolder)
            if any(one.name == prefix + name for one in self._list_snapshots(vfolder, prefix)):
                raise SnapshotExists(f"The vfolder {vfolder} has a snapshot {name} already.")
            made = self._make_snapshot(vfolder, prefix + name)
            return Snapshot(name, made.created_at)

    def list_snapshots(self, vfolder: VFolderId) -> list[Snapshot]:
        """See `HasSnapshots.list_snapshots`: those that this service made."""
        prefix = self._prefix(vfolder)
        with self._within_deadline(), self._explained():
            found = sorted(self._list_snapshots(vfolder, prefix), key=lambda one: one.number)
        return [Snapshot(one.name.removeprefix(prefix), one.created_at) for one in found]

    def delete_snapshot(self, vfolder: VFolderId, name: str) -> None:
        """See `HasSnapshots.delete_snapshot`."""
        check_name(name)
        with self._changing(vfolder):
            prefix = self._prefix(vfolder)
            for one in self._list_snapshots(vfolder, prefix):
                if one.name == prefix + name:
                    self._drop_snapshot(vfolder, one)
                    return
        raise _absent(vfolder, name)

    @contextmanager
    def open_snapshot(self, vfolder: VFolderId, name: str) -> Iterator[int]:
        """See `HasSnapshots.open_snapshot`; asks the mount only."""
        check_name(name)
        with self._snapshots_top() as top:
            try:
                place = self._snapshot_place(vfolder, self._prefix(vfolder) + name)
                descriptor = descriptors.open_directory(place, top)
            except (FileNotFoundError, NotADirectoryError):
                raise _absent(vfolder, name) from None
            try:
                yield descriptor
            finally:
                os.close(descriptor)

    def before_purge(self, parent: int, name: str, vfolder: VFolderId | None = None) -> None:
        """See `MountedBackend.before_purge`: the snapshots of the vfolder go, where they can."""
        del parent, name
        if vfolder is None:
            return
        try:
            self._drop_snapshots(vfolder)
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.DENIED:
                raise
            _log.warning("snapshots are not readable", reason=refusal.detail)

    def _drop_snapshots(self, vfolder: VFolderId) -> None:
        """Delete all snapshots of a vfolder that is purged, unless it was created again."""
        with self._changing(vfolder):
            try:
                with self.open_vfolder(vfolder):
                    return
            except VFolderNotFound:
                self._drop_all(vfolder)

    def _drop_all(self, vfolder: VFolderId) -> None:
        """Delete all snapshots of a vfolder that does not exist."""
        for one in self._list_snapshots(vfolder, self._prefix(vfolder)):
            self._drop_snapshot(vfolder, one)

    def _prefix(self, vfolder: VFolderId) -> str:
        """Return the begin of names: two volumes of one array may have a vfolder of one id."""
        place = self._array_path(str(vfolder.directory))
        digest = hashlib.blake2b(place.encode(), digest_size=4).hexdigest()
        return f"{PREFIX}-{vfolder.id.hex}-{digest}-"

    def _changing(self, vfolder: VFolderId) -> AbstractContextManager[int]:
        """Open the volume's top with the snapshots of the vfolder locked."""
        what = f"The snapshots of vfolder {vfolder}"
        return self._alone(vfolder.id.int, what, self._deadline_seconds)


def _absent(vfolder: VFolderId, name: str) -> SnapshotNotFound:
    return SnapshotNotFound(f"The vfolder {vfolder} has no snapshot {name}.")
