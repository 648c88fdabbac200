"""Snapshots of vfolders that an array makes of directories or volumes, under names of its own.

The array keeps one list of snapshots, so the name there has the vfolder and its place in it. A
snapshot is visible on the mount, in a directory that the array adds. Changes of one vfolder's
snapshots are serialized over all nodes. So a creation whose answer was lost finds its own
snapshot, and no other process made it.
"""

import hashlib
import os
import re
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import ClassVar, Protocol

from backends.base import Snapshot
from backends.fs import descriptors
from backends.mounted import ArrayBackend, ArrayQuotaBackend, await_directory
from backends.mounted.rest import ArrayRefused, Reason, deadline
from backends.retention.snapshots import SnapshotExists, SnapshotNotFound, check_name
from core.errors import Conflict, InvalidName, VFolderNotFound
from core.names import VFolderId
from core.telemetry import logger

#: Begins the array's name of every snapshot that this service makes.
PREFIX = "vfolder"
_DIGEST_BYTES = 4
#: The length of what stands before a snapshot's own name, in characters.
PREFIX_LENGTH = len(PREFIX) + 32 + 2 * _DIGEST_BYTES + 3
#: How characters are spelled that some arrays do not allow in names.
_SPELLED = {"_": "__", ".": "_d", ":": "_c", "+": "_p"}
_READ = {spelled: character for character, spelled in _SPELLED.items()}
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class ArraySnapshot:
    """A snapshot as the array knows it; `number` grows with each snapshot that is made."""

    name: str
    number: int
    created_at: datetime | None = None


class ArraySnapshotSkill(ArrayBackend):
    """The skill `HasSnapshots` of a backend whose array makes snapshots."""

    #: What an operator changes where the mount hides snapshots.
    hidden_advice: ClassVar[str] = (
        "Let the array show snapshots at this mount, or mount it with a shorter attribute cache."
    )

    @property
    def showing_seconds(self) -> float:
        """Return how long the mount may take to show a new snapshot."""
        return self._deadline_seconds / 2

    @abstractmethod
    def _array_path(self, path: str) -> str:
        """Return the path on the array of a path below the volume."""

    @abstractmethod
    def _list_snapshots(self, vfolder: VFolderId, prefix: str) -> list[ArraySnapshot]:
        """Return the snapshots whose names begin with the prefix, except those being deleted."""

    @abstractmethod
    def _make_snapshot(self, vfolder: VFolderId, name: str) -> ArraySnapshot:
        """Make a snapshot by this name, which does not exist yet; the mount may show it later."""

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
        """See `HasSnapshots.create_snapshot`; a snapshot that the mount hides is deleted.

        It may take twice as long as the array and the mount together, so that time is left to
        delete it.
        """
        check_name(name)
        seconds = self._deadline_seconds + self.showing_seconds
        with self._changing(vfolder, 2 * seconds), self.open_vfolder(vfolder):
            prefix, own = self._prefix(vfolder), self._array_name(vfolder, name)
            if any(one.name == own for one in self._list_snapshots(vfolder, prefix)):
                raise SnapshotExists(f"The vfolder {vfolder} has a snapshot {name} already.")
            with deadline.within(seconds):
                made = self._make_snapshot(vfolder, own)
            self._await_shown(vfolder, made)
            return Snapshot(name, made.created_at)

    def _await_shown(self, vfolder: VFolderId, made: ArraySnapshot) -> None:
        with self._snapshots_top() as top:
            try:
                await_directory(
                    top, lambda: self._snapshot_place(vfolder, made.name), self.showing_seconds
                )
            except Conflict:
                self._drop_snapshot(vfolder, made)
                raise Conflict(
                    "The array made the snapshot, and the mount does not show it. It was deleted. "
                    f"{self.hidden_advice}",
                ) from None

    def list_snapshots(self, vfolder: VFolderId) -> list[Snapshot]:
        """See `HasSnapshots.list_snapshots`: those that this service made."""
        prefix = self._prefix(vfolder)
        with self._within_deadline(), self._explained():
            found = sorted(self._list_snapshots(vfolder, prefix), key=lambda one: one.number)
        read = self._read_name
        return [Snapshot(read(one.name.removeprefix(prefix)), one.created_at) for one in found]

    def delete_snapshot(self, vfolder: VFolderId, name: str) -> None:
        """See `HasSnapshots.delete_snapshot`."""
        check_name(name)
        with self._changing(vfolder):
            own = self._array_name(vfolder, name)
            for one in self._list_snapshots(vfolder, self._prefix(vfolder)):
                if one.name == own:
                    self._drop_snapshot(vfolder, one)
                    return
        raise _absent(vfolder, name)

    @contextmanager
    def open_snapshot(self, vfolder: VFolderId, name: str) -> Iterator[int]:
        """See `HasSnapshots.open_snapshot`; asks the mount only."""
        check_name(name)
        with self._snapshots_top() as top:
            try:
                place = self._snapshot_place(vfolder, self._array_name(vfolder, name))
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

    def _array_name(self, vfolder: VFolderId, name: str) -> str:
        return self._prefix(vfolder) + self._spell_name(name)

    def _spell_name(self, name: str) -> str:
        """Return a snapshot's name as the array takes it after the prefix: unchanged.

        Raises:
            InvalidName: the array cannot have this name.
        """
        return name

    def _read_name(self, spelled: str) -> str:
        """Return the name that `_spell_name` gave the array."""
        return spelled

    def _prefix(self, vfolder: VFolderId) -> str:
        """Return the begin of names: two volumes of one array may have a vfolder of one id."""
        place = self._array_path(str(vfolder.directory))
        digest = hashlib.blake2b(place.encode(), digest_size=_DIGEST_BYTES).hexdigest()
        return f"{PREFIX}-{vfolder.id.hex}-{digest}-"

    def _changing(
        self, vfolder: VFolderId, seconds: float | None = None
    ) -> AbstractContextManager[int]:
        """Open the volume's top with the snapshots of the vfolder locked, for so long at most."""
        what = f"The snapshots of vfolder {vfolder}"
        return self._alone(vfolder.id.int, what, seconds or self._deadline_seconds)


class VolumeSnapshots(Protocol):
    """The snapshots of the whole volume, by the array's names."""

    def all(self, prefix: str) -> list[ArraySnapshot]:
        """Return the snapshots whose names begin so, except those being deleted."""

    def make(self, name: str) -> ArraySnapshot:
        """Make a snapshot by this name, which is new."""

    def drop(self, name: str) -> None:
        """Delete a snapshot; a missing one is fine."""


class VolumeSnapshotSkill(ArraySnapshotSkill):
    """The skill `HasSnapshots` of a backend whose array keeps the whole volume each time."""

    _snapshots: VolumeSnapshots

    def _list_snapshots(self, vfolder: VFolderId, prefix: str) -> list[ArraySnapshot]:
        del vfolder
        return self._snapshots.all(prefix)

    def _make_snapshot(self, vfolder: VFolderId, name: str) -> ArraySnapshot:
        del vfolder
        return self._snapshots.make(name)

    def _drop_snapshot(self, vfolder: VFolderId, snapshot: ArraySnapshot) -> None:
        del vfolder
        self._snapshots.drop(snapshot.name)


class ArraySnapshots(ArraySnapshotSkill, ArrayQuotaBackend):
    """The skill `HasSnapshots` of a backend whose array limits quota scopes too."""

    @property
    def showing_seconds(self) -> float:
        """See `ArraySnapshotSkill.showing_seconds`: as long as for a new quota scope."""
        return self.making_seconds or super().showing_seconds


def spelled_plainly(name: str, longest: int) -> str:
    """Return a snapshot's name with letters, digits, `_` and `-` only; `read_plain` reads it.

    Raises:
        InvalidName: it has more than `longest` characters then.
    """
    spelled = "".join(_SPELLED.get(one, one) for one in name)
    if len(spelled) > longest:
        raise InvalidName(
            f"On this storage system a snapshot's name has at most {longest} characters; each of "
            ". _ : + counts twice.",
        )
    return spelled


def read_plain(spelled: str) -> str:
    """Return the name that `spelled_plainly` spelled."""
    return re.sub("_[_dcp]", lambda found: _READ[found[0]], spelled)


def _absent(vfolder: VFolderId, name: str) -> SnapshotNotFound:
    return SnapshotNotFound(f"The vfolder {vfolder} has no snapshot {name}.")
