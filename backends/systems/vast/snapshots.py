"""Snapshots of directories on VAST, read at `.snapshot` in the directory."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import PurePosixPath

from msgspec import Struct

from backends.mounted.rest import ArrayAnswer, ArrayRefused, ArrayRequest, Reason, jobs
from backends.retention import ArraySnapshot
from backends.systems.vast.api import VastAccepted, VastApi
from core.errors import BackendFailed, Unsupported
from core.names import parsed_moment

#: The directory in each directory that was kept; it is in no listing.
DIRECTORY = ".snapshot"
_KIND = "snapshots"
_ACCEPTED = VastAccepted | None
_LONGEST_PAUSE_SECONDS = 1.0
_TIME = "%Y-%m-%dT%H:%M:%SZ"


class VastSnapshot(Struct):
    """A snapshot of a directory."""

    id: int
    name: str = ""
    path: str = ""
    created: str = ""
    tenant_id: int | None = None

    @property
    def known(self) -> ArraySnapshot:
        """Return it as other rooms know it."""
        try:
            made = parsed_moment(self.created)
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

    def shown_at(self, path: PurePosixPath) -> VastSnapshot | None:
        """Return the snapshot whose kept directory has this path; None for a path of now.

        Raises:
            Unsupported: the path is below a kept directory.
        """
        if DIRECTORY not in path.parts:
            return None
        kept = self._one(path.name) if path.parent.name == DIRECTORY else None
        if kept is None or kept.path.rstrip("/") != str(path.parent.parent):
            raise Unsupported("VAST clones complete snapshots only.")
        return kept

    def make(self, path: str, name: str, until: datetime | None = None) -> VastSnapshot:
        """Make a snapshot of a directory; with `until`, VAST deletes it at this moment.

        Raises:
            BackendFailed: the name belongs to another directory.
        """
        body: dict[str, str | int] = {"name": name, "path": f"{path}/", **self._api.tenant()}
        if until is not None:
            body["expiration_time"] = until.strftime(_TIME)
        request = ArrayRequest("POST", f"{self._api.prefix}/{_KIND}/", body=body, shape=_ACCEPTED)
        try:
            made = self._api.client.create(request, lambda: self._one(name))
            if isinstance(made, ArrayAnswer):
                self._api.finish(made.body)
        except ArrayRefused:
            if self._one(name) is None:
                raise
        found: list[VastSnapshot] = []

        def listed() -> bool:
            found.extend([one] if (one := self._one(name)) else [])
            return bool(found)

        jobs.wait(listed, _LONGEST_PAUSE_SECONDS)
        if found[0].path.rstrip("/") != path:
            raise BackendFailed("VAST made the snapshot and does not list it under its path.")
        return found[0]

    def drop(self, snapshot: ArraySnapshot) -> None:
        """Delete a snapshot; a missing one is fine."""
        path = f"{self._api.prefix}/{_KIND}/{snapshot.number}/"
        answer = self._api.client.remove(path, _ACCEPTED)
        self._api.finish(answer.body if answer else None)
        jobs.wait(lambda: self._one(snapshot.name) is None, _LONGEST_PAUSE_SECONDS)

    def _one(self, name: str) -> VastSnapshot | None:
        return next((row for row in self._rows(name=name) if row.name == name), None)

    def _rows(self, **query: str) -> Iterator[VastSnapshot]:
        return self._api.rows(_KIND, VastSnapshot, **query, **self._api.tenant())
