"""Snapshots of an ONTAP volume, read at `.snapshot` at the top of the mount.

ONTAP keeps a whole volume (NetApp: ONTAP REST API, `storage/volumes/{volume.uuid}/snapshots`). Its
time of creation has seconds only, so that the comment says which of two came first.
"""

import time
from contextlib import suppress
from datetime import UTC, datetime

from msgspec import Struct

from backends.retention import ArraySnapshot
from backends.systems.netapp.volume import OntapVolume
from core.errors import BackendFailed

#: The directory that ONTAP adds at the top of a mount; no listing shows it.
DIRECTORY = ".snapshot"
#: The longest name of a snapshot on ONTAP, in characters.
NAME_MAX = 255
_FIELDS = "uuid,name,create_time,comment"
_COMMENT = "vfolder at "
_NS_BITS = 64


class _OntapSnapshot(Struct):
    uuid: str
    name: str
    create_time: datetime | None = None
    comment: str = ""

    @property
    def known(self) -> ArraySnapshot:
        """Return it as other rooms know it."""
        made_ns = 0
        with suppress(ValueError):  # an administrator may change the comment
            made_ns = int(self.comment.removeprefix(_COMMENT))
        at = self.create_time
        seconds = 0 if at is None else int(at.timestamp())
        created = None if at is None else at.astimezone(UTC)
        return ArraySnapshot(self.name, (seconds << _NS_BITS) + made_ns, created)


class OntapSnapshots:
    """The snapshots of one volume."""

    def __init__(self, volume: OntapVolume) -> None:
        self._volume = volume

    def all(self, prefix: str) -> list[ArraySnapshot]:
        """Return the snapshots whose names begin so; one request."""
        return [row.known for row in self._rows(f"{prefix}*") if row.name.startswith(prefix)]

    def make(self, name: str) -> ArraySnapshot:
        """Make a snapshot of the volume by this name, which is new.

        Raises:
            BackendFailed: ONTAP does not list it afterwards.
        """
        body = {"name": name, "comment": f"{_COMMENT}{time.time_ns()}"}
        self._volume.api.make(self._path, body, lambda: self._named(name) is not None)
        made = self._named(name)
        if made is None:
            raise BackendFailed("ONTAP made the snapshot and does not list it.")
        return made.known

    def drop(self, name: str) -> None:
        """Delete a snapshot; a missing one is no error."""
        found = self._named(name)
        if found is not None:
            path = f"{self._path}/{found.uuid}"
            self._volume.api.change("DELETE", path, None, lambda: self._named(name) is None)

    def _named(self, name: str) -> _OntapSnapshot | None:
        return next((row for row in self._rows(name) if row.name == name), None)

    def _rows(self, pattern: str) -> list[_OntapSnapshot]:
        path = self._path
        return list(self._volume.api.records(path, _OntapSnapshot, name=pattern, fields=_FIELDS))

    @property
    def _path(self) -> str:
        return f"{self._volume.path}/snapshots"
