"""Snapshots of a file system on FlashBlade, read at `.snapshot` at the top of the mount.

FlashBlade keeps a whole file system (Pure: FlashBlade REST API, `file-system-snapshots`). The name
of a snapshot is `FILESYSTEM.SUFFIX`. One that was destroyed keeps it until it is eradicated.
"""

from datetime import UTC, datetime

from msgspec import Struct

from backends.mounted.rest import ArrayRefused, ArrayRequest, Reason
from backends.retention import ArraySnapshot
from backends.systems.purestorage.api import PureApi
from core.errors import BackendFailed
from core.telemetry import logger

#: The directory of snapshots at the top of the file system, where it is switched on.
DIRECTORY = ".snapshot"
#: The longest suffix, in characters.
SUFFIX_MAX = 63
_LIST = "file-system-snapshots"
_MS_PER_SECOND = 1000
_log = logger(__name__)


class _PureSnapshot(Struct):
    name: str = ""
    suffix: str = ""
    created: int | None = None
    destroyed: bool = False

    @property
    def known(self) -> ArraySnapshot:
        """Return it as other rooms know it."""
        at = self.created
        created = None if at is None else datetime.fromtimestamp(at / _MS_PER_SECOND, UTC)
        return ArraySnapshot(self.suffix, at or 0, created)


class PureSnapshots:
    """The snapshots of the file system that the options name."""

    def __init__(self, api: PureApi, file_system: str) -> None:
        self._api = api
        self._file_system = file_system

    def all(self, prefix: str) -> list[ArraySnapshot]:
        """Return the snapshots whose suffixes begin so; one request."""
        rows = self._rows()
        return [row.known for row in rows if row.suffix.startswith(prefix) and not row.destroyed]

    def make(self, suffix: str) -> ArraySnapshot:
        """Make a snapshot with this suffix, which is new; a destroyed one of it goes first.

        Raises:
            BackendFailed: the array does not list it afterwards.
            ArrayRefused: a destroyed one may not be eradicated yet.
        """
        if any(row.destroyed and row.suffix == suffix for row in self._rows()):
            self._eradicate(suffix)
        sources = "sources" if self._api.is_old() else "source_names"
        query, body = {sources: self._file_system}, {"suffix": suffix}
        request = ArrayRequest("POST", self._api.link(_LIST), query, body)
        self._api.client.create(request, lambda: self._named(suffix))
        made = self._named(suffix)
        if made is None:
            raise BackendFailed("FlashBlade made the snapshot and does not list it.")
        return made.known

    def drop(self, suffix: str) -> None:
        """Destroy and eradicate a snapshot; a missing one is no error.

        Where the array keeps destroyed snapshots for a while, the suffix stays taken until then.
        """
        if self._named(suffix) is None:
            return
        link, query = self._api.link(_LIST), self._named_by(suffix)
        try:
            self._api.client.send(ArrayRequest("PATCH", link, query, {"destroyed": True}))
        except ArrayRefused as refusal:
            if refusal.reason is Reason.NOT_FOUND:
                return
            raise
        try:
            self._eradicate(suffix)
        except ArrayRefused as refusal:
            _log.info("a snapshot waits for its eradication", reason=refusal.detail)

    def _eradicate(self, suffix: str) -> None:
        request = ArrayRequest("DELETE", self._api.link(_LIST), self._named_by(suffix), plain=True)
        try:
            self._api.client.send(request)
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.NOT_FOUND:
                raise

    def _named_by(self, suffix: str) -> dict[str, str]:
        return {"name" if self._api.is_old() else "names": f"{self._file_system}.{suffix}"}

    def _named(self, suffix: str) -> _PureSnapshot | None:
        rows = (row for row in self._rows() if row.suffix == suffix and not row.destroyed)
        return next(rows, None)

    def _rows(self) -> list[_PureSnapshot]:
        names = "names_or_sources" if self._api.is_old() else "names_or_owner_names"
        return list(self._api.items(_LIST, _PureSnapshot, **{names: self._file_system}))
