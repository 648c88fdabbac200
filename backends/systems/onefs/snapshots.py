"""Snapshots of directories on OneFS (SnapshotIQ), read at `.snapshot` in the directory."""

from msgspec import Struct

from backends.mounted.rest import ArrayRefused, ArrayRequest, Reason
from backends.retention import ArraySnapshot
from backends.systems.onefs.connection import PAGE_SIZE, Platform
from core.errors import BackendFailed
from core.names import utc

#: The directory that OneFS adds to each directory; it is in no listing below the top.
DIRECTORY = ".snapshot"
_DELETING = "deleting"


class _OneFsSnapshot(Struct):
    id: int
    name: str | None = None
    path: str = ""
    created: int | None = None
    state: str = ""

    @property
    def known(self) -> ArraySnapshot:
        """Return it as other rooms know it."""
        created = None if self.created is None else utc(self.created)
        return ArraySnapshot(self.name or "", self.id, created)


class _SnapshotPage(Struct):
    snapshots: list[_OneFsSnapshot]
    resume: str | None = None


class OneFsSnapshots:
    """The snapshots of one cluster; their names are unique in it."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def all(self, prefix: str) -> list[ArraySnapshot]:
        """Return the snapshots whose names begin so; a request per thousand of the cluster."""
        rows = self._platform.rows(
            self._path(), _SnapshotPage, lambda page: (page.snapshots, page.resume), limit=PAGE_SIZE
        )
        return [
            row.known
            for row in rows
            if row.name and row.name.startswith(prefix) and row.state != _DELETING
        ]

    def make(self, path: str, name: str) -> ArraySnapshot:
        """Make a snapshot of a directory.

        Raises:
            BackendFailed: the name belongs to another directory.
        """
        request = ArrayRequest("POST", self._path(), body={"name": name, "path": path})
        try:
            self._platform.client.create(request, lambda: self._named(name))
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.EXISTS:
                raise
        made = self._named(name)
        if made is None or made.path != path:
            raise BackendFailed("OneFS made the snapshot and does not list it under its path.")
        return made.known

    def drop(self, number: int) -> None:
        """Delete a snapshot; a missing one is no error."""
        self._platform.client.remove(self._path(f"/{number}"))

    def _named(self, name: str) -> _OneFsSnapshot | None:
        page = self._platform.client.find(self._path(f"/{name}"), _SnapshotPage)
        return page.snapshots[0] if page and page.snapshots else None

    def _path(self, below: str = "") -> str:
        return self._platform.path(f"snapshot/snapshots{below}", 1)
