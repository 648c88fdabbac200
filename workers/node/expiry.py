"""Vfolders with an end: a sweep tells their owners before it; long after it they go to the trash.

vf:expiry-notices:<volume>:<vfolder>   hash   days before the end -> that end (seconds)
"""

import time
from collections.abc import Iterator

from backends.base import MountedBackend
from backends.entries import access_files
from core.access import RecordForged, Seals, VFolderRecord, records
from core.jobs.requests import DeleteRequest
from core.jobs.store import PREFIX, JobStore
from core.names import QuotaScope, VFolderId, moment
from core.quota import NoticeStore
from core.settings import Settings

#: All records of a volume are read this often (seconds): a small file each.
LOOK_SECONDS = 3600
#: Deletes that one look submits at most; the next submits the rest.
DELETES_MAX = 200
#: How long an expired vfolder can be restored (seconds): 7 days, as one that its owner deletes.
KEEP_SECONDS = 604_800.0
DAY_SECONDS = 86_400.0
#: An owner gets a notice so many days before the end, the last one first.
NOTICE_DAYS = (1, 7)
#: Which notices there were is known for so long (seconds): longer than before any end.
NOTICES_SECONDS = 8 * 86_400


class ExpiredVFolders:
    """The expired vfolders of one volume."""

    def __init__(self, settings: Settings, store: JobStore, backend: MountedBackend) -> None:
        self._settings = settings
        self._store = store
        self._backend = backend
        self._volume = backend.mount.volume
        posted = bool(settings.vfolder.notices.url)
        self._notices = NoticeStore(store.redis, posted=posted)

    def due(self) -> list[DeleteRequest]:
        """Return the deletes that are due, and tell owners whose vfolders end soon.

        Nothing where another look was just made. Only a record whose seal is right has an end.
        """
        table = self._settings.vfolder.access
        if table is None or not self._is_time():
            return []
        now = time.time()
        before = now - table.expired_keep_days * DAY_SECONDS if table.expired_keep_days else 0.0
        found = list[DeleteRequest]()
        for record in self._records():
            end = record.expires_at
            if end is None:
                continue
            if end > now:
                self._tell(record, end, (end - now) / DAY_SECONDS)
            elif end <= before and len(found) < DELETES_MAX:
                found.append(self._delete(record))
        return found

    def _delete(self, record: VFolderRecord) -> DeleteRequest:
        vfolder = VFolderId(QuotaScope.parse(record.scope), record.id)
        return DeleteRequest(volume=self._volume, vfolder=str(vfolder), keep_seconds=KEEP_SECONDS)

    def _tell(self, record: VFolderRecord, end: float, days_left: float) -> None:
        """Give the owner a notice, once for each of `NOTICE_DAYS` and each end."""
        days = next((one for one in NOTICE_DAYS if days_left <= one), None)
        if days is None:
            return
        key = f"{PREFIX}expiry-notices:{self._volume}:{record.id.hex}"
        redis = self._store.redis
        if redis.hget(key, str(days)) == str(end):
            return
        facts = {"volume": self._volume, "vfolder": str(record.id), "name": record.name}
        notice = {"kind": "expiry", **facts, "expires_at": moment(end), "days": days}
        self._notices.add(record.owner.id.hex, notice)
        redis.hset(key, str(days), str(end))
        redis.expire(key, NOTICES_SECONDS)

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
