"""Snapshots of directories on VAST, read at `.snapshot` in the directory."""

from collections.abc import Iterator
from datetime import datetime

from msgspec import Struct

from backends.mounted.rest import ArrayAnswer, ArrayRefused, ArrayRequest, Reason, jobs
from backends.retention import ArraySnapshot
from backends.systems.vast.api import VastAccepted, VastApi
from core.errors import BackendFailed

#: The directory in each directory that was kept; it is in no listing.
DIRECTORY = ".snapshot"
_KIND = "snapshots"
_ACCEPTED = VastAccepted | None
_LONGEST_PAUSE_SECONDS = 1.0


class _VastSnapshot(Struct):
    id: int
    name: str = ""
    path: str = ""
    created: str = ""

    @property
    def known(self) -> ArraySnapshot:
        """Return it as other rooms know it."""
        try:
            made = datetime.fromisoformat(self.created)
        except ValueError:
            made = None
        return ArraySnapshot(self.name, self.id, made)


class VastSnapshots:
    """The snapshots of a tenant; their names are unique in it."""

    def __init__(self, api: VastApi) -> None:
        self._api = api

    def readable(self) -> bool:
        """Return whether the user may read snapshots."""
        try:
            next(self._rows(name="vfolder"), None)
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.DENIED:
                raise
            return False
        return True

    def named(self, prefix: str, path: str | None = None) -> list[ArraySnapshot]:
        """Return the snapshots whose names begin so, of a directory or of the complete tenant."""
        query = {} if path is None else {"path__contains": path}
        return [row.known for row in self._rows(**query) if row.name.startswith(prefix)]

    def make(self, path: str, name: str) -> ArraySnapshot:
        """Make a snapshot of a directory.

        Raises:
            BackendFailed: the name belongs to another directory.
        """
        body = {"name": name, "path": f"{path}/", **self._api.tenant()}
        request = ArrayRequest("POST", f"{self._api.prefix}/{_KIND}/", body=body, shape=_ACCEPTED)
        try:
            made = self._api.client.create(request, lambda: self._one(name))
            if isinstance(made, ArrayAnswer):
                self._api.finish(made.body)
        except ArrayRefused:
            if self._one(name) is None:
                raise
        found: list[_VastSnapshot] = []

        def listed() -> bool:
            found.extend([one] if (one := self._one(name)) else [])
            return bool(found)

        jobs.wait(listed, _LONGEST_PAUSE_SECONDS)
        if found[0].path.rstrip("/") != path:
            raise BackendFailed("VAST made the snapshot and does not list it under its path.")
        return found[0].known

    def drop(self, snapshot: ArraySnapshot) -> None:
        """Delete a snapshot; a missing one is fine."""
        path = f"{self._api.prefix}/{_KIND}/{snapshot.number}/"
        answer = self._api.client.remove(path, _ACCEPTED)
        self._api.finish(answer.body if answer else None)
        jobs.wait(lambda: self._one(snapshot.name) is None, _LONGEST_PAUSE_SECONDS)

    def _one(self, name: str) -> _VastSnapshot | None:
        return next((row for row in self._rows(name=name) if row.name == name), None)

    def _rows(self, **query: str) -> Iterator[_VastSnapshot]:
        return self._api.rows(_KIND, _VastSnapshot, **query, **self._api.tenant())
