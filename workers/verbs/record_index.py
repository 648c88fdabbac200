"""The index of access records, built again from the files of a volume; forged ones are named.

A rescan of a volume does so where the settings have the table `[vfolder.access]`.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from uuid import UUID

from backends.base import MountedBackend
from backends.entries import RecordFile, access_files
from core.access import (
    AccessIndex,
    RecordForged,
    Seals,
    SubjectRecord,
    VFolderRecord,
    records,
)
from core.names import QuotaScope, VFolderId
from core.quota import TotalLimits
from core.redis import Database, connect
from core.settings import Settings
from workers.verbs.scope_count import Deviation, scope_named

#: Takes the path of a file and what is wrong with it.
Note = Callable[[str, str], None]


class RecordIndex:
    """The index of one volume."""

    def __init__(self, settings: Settings, backend: MountedBackend, note: Note) -> None:
        self._backend = backend
        self._volume = backend.mount.volume
        self._seals = Seals(settings.seal_secrets)
        self._index = AccessIndex(settings)
        access = settings.vfolder.access
        self._home = "" if access is None else access.home_volume(settings.volume)
        self._totals = TotalLimits(connect(settings, Database.JOBS))
        self._note = note
        self._found: Counter[str] = Counter()
        self._repaired: Counter[str] = Counter()
        self._forged: set[UUID] = set()

    def rebuild(self, check: Callable[[], None], *, repair: bool) -> dict[str, dict[str, int]]:
        """Enter all records, and return what is wrong by kind.

        With `repair`, records without a vfolder are removed. May run twice. `check` is called
        before each record; it may raise to stop.

        Raises:
            redis.RedisError: the store is away.
        """
        self._found.clear()
        self._repaired.clear()
        self._forged.clear()
        self._index.rebuild(self._volume, self._records(check, repair=repair), self._forged)
        self._publish_totals()
        return {"found": dict(self._found), "repaired": dict(self._repaired)}

    def _publish_totals(self) -> None:
        """Publish the limits over all volumes, which are on the home volume; this one counts."""
        limits = {}
        if self._volume == self._home:
            for directory, text in access_files.subjects(self._backend).items():
                if (limit := self._total_of(directory, text)) is not None:
                    limits[directory] = limit
        self._totals.set(limits, [self._volume])

    def _total_of(self, directory: str, text: bytes) -> int | None:
        try:
            place = records.subject_place(self._volume, UUID(directory))
            return self._seals.opened(text, place, SubjectRecord).total_limit_bytes
        except (RecordForged, ValueError):
            return None

    def _records(self, check: Callable[[], None], *, repair: bool) -> Iterator[VFolderRecord]:
        after = ""
        while True:
            page = access_files.page(self._backend, after)
            for file in page.records:
                check()
                if not file.exists:
                    self._orphaned(file, repair=repair)
                elif (record := self._opened(file)) is not None:
                    yield record
            after = page.next
            if not after:
                return

    def _opened(self, file: RecordFile) -> VFolderRecord | None:
        place = records.place_of(self._volume, _vfolder(file))
        least = self._index.revision(self._volume, file.id, file.scope)
        try:
            return self._seals.opened(file.text or b"", place, VFolderRecord, least_revision=least)
        except RecordForged as error:
            self._forged.add(file.id)
            self._report(Deviation.RECORD_FORGED, file, str(error))
            return None

    def _orphaned(self, file: RecordFile, *, repair: bool) -> None:
        self._report(Deviation.ORPHANED_RECORD, file, "its vfolder is gone")
        if repair:
            access_files.drop(self._backend, _vfolder(file))
            self._repaired[Deviation.ORPHANED_RECORD] += 1

    def _report(self, kind: Deviation, file: RecordFile, detail: str) -> None:
        self._found[kind] += 1
        self._note(f"{file.scope}/{file.id.hex}", f"{kind}: {detail}")


def _vfolder(file: RecordFile) -> VFolderId:
    """Return the vfolder of a record; the kind of its scope is not known, and not needed here."""
    scope: QuotaScope | None = None if file.scope == "." else scope_named(file.scope)
    return VFolderId(scope, file.id)
