"""The limit of one vfolder, as its access record says."""

import time

from backends.base import Backend
from backends.entries import access_files
from backends.quota import VFolderLimit
from core.access import RecordForged, Seals, VFolderRecord, records
from core.errors import VFolderNotFound
from core.names import VFolderId

#: A limit is not read again for so long: each request of an upload asks for it (seconds).
REMEMBER_SECONDS = 1.0
#: Most limits that a process remembers.
REMEMBERED_MAX = 10_000


class RecordLimits:
    """The limits of the vfolders of one volume, for one process. Safe for threads."""

    def __init__(self, backend: Backend, seals: Seals) -> None:
        self._backend = backend
        self._seals = seals
        self._known: dict[VFolderId, tuple[float, VFolderLimit | None]] = {}

    def __call__(self, vfolder: VFolderId, /, *, fresh: bool = False) -> VFolderLimit | None:
        """Return the limit of a vfolder, or what it was a second ago unless `fresh`."""
        now = time.monotonic()
        at, limit = self._known.get(vfolder, (0.0, None))
        if fresh or not at or now - at >= REMEMBER_SECONDS:
            limit = limit_of_record(self._backend, self._seals, vfolder)
            if len(self._known) >= REMEMBERED_MAX:
                self._known.clear()
            self._known[vfolder] = now, limit
        return limit


def limit_of_record(backend: Backend, seals: Seals, vfolder: VFolderId) -> VFolderLimit | None:
    """Return the limit of a live vfolder; None without one. A forged record limits nothing.

    Costs one small read.
    """
    try:
        file = access_files.read(backend, vfolder)
    except VFolderNotFound:
        return None
    if file.text is None:
        return None
    try:
        place = records.place_of(backend.mount.volume, vfolder)
        record = seals.opened(file.text, place, VFolderRecord)
    except RecordForged:
        return None
    if record.limit_bytes is None:
        return None
    return VFolderLimit(record.limit_bytes, record.owner.id.hex)
