"""Vfolders whose end has passed long ago: a sweep finds them, and a job moves each to the trash."""

import time
from collections.abc import Iterator

from backends.base import MountedBackend
from backends.entries import access_files
from core.access import RecordForged, Seals, VFolderRecord, records
from core.jobs.requests import DeleteRequest
from core.jobs.store import PREFIX, JobStore
from core.names import QuotaScope, VFolderId
from core.settings import Settings

#: All records of a volume are read this often (seconds): a small file each.
LOOK_SECONDS = 3600
#: Deletes that one look submits at most; the next submits the rest.
DELETES_MAX = 200
#: How long an expired vfolder can be restored (seconds): 7 days, as one that its owner deletes.
KEEP_SECONDS = 604_800.0
DAY_SECONDS = 86_400.0


class ExpiredVFolders:
    """The expired vfolders of one volume."""

    def __init__(self, settings: Settings, store: JobStore, backend: MountedBackend) -> None:
        self._settings = settings
        self._store = store
        self._backend = backend
        self._volume = backend.mount.volume

    def due(self) -> list[DeleteRequest]:
        """Return the deletes that are due; none when another look was just made.

        Only a record whose seal is right has an end.
        """
        table = self._settings.vfolder.access
        if table is None or not table.expired_keep_days or not self._is_time():
            return []
        before = time.time() - table.expired_keep_days * DAY_SECONDS
        found = []
        for record in self._records():
            if record.expires_at is not None and record.expires_at <= before:
                vfolder = VFolderId(QuotaScope.parse(record.scope), record.id)
                found.append(
                    DeleteRequest(
                        volume=self._volume, vfolder=str(vfolder), keep_seconds=KEEP_SECONDS
                    )
                )
            if len(found) == DELETES_MAX:
                break
        return found

    def _is_time(self) -> bool:
        key = f"{PREFIX}expiry-looked:{self._volume}"
        return bool(self._store.redis.set(key, "1", nx=True, ex=LOOK_SECONDS))

    def _records(self) -> Iterator[VFolderRecord]:
        """Yield the records of live vfolders in quota scopes that are not forged."""
        seals, after = Seals(self._settings.seal_secrets), ""
        while True:
            page = access_files.page(self._backend, after)
            for file in page.records:
                if file.text is None or not file.exists or file.scope == ".":
                    continue
                scope = QuotaScope.parse(f"project:{file.scope}")  # the kind is no part of a place
                place = records.place_of(self._volume, VFolderId(scope, file.id))
                try:
                    yield seals.opened(file.text, place, VFolderRecord)
                except RecordForged:  # the rescan reports it
                    continue
            if not page.next:
                return
            after = page.next
