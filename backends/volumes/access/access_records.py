"""Access records as a process reaches them: from the cache, or from a volume here or elsewhere.

Only what its seal proves counts. A forged record is logged, and the vfolder then has the record
that its place implies: the owner of the scope has it, and others have nothing.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import NamedTuple
from uuid import UUID

import msgspec
import redis
from msgspec import structs

from backends.entries import RecordFile, access_files
from backends.volumes.access.cluster_volumes import OnVolume
from core.access import (
    AccessCache,
    AccessChange,
    AccessIndex,
    RecordForged,
    Seals,
    VFolderRecord,
    record_key,
    records,
    subjects_of,
)
from core.errors import (
    DeadlineExceeded,
    StorageError,
    Unavailable,
    UnknownVolume,
    VFolderNotFound,
)
from core.names import QuotaScope, ScopeKind, VFolderId
from core.settings import Settings
from core.telemetry import logger

#: A vfolder in a path: a UUID in any form, with the name of its volume where it is on several.
_REFERENCE = re.compile(
    r"(?:(?P<volume>[A-Za-z0-9][A-Za-z0-9_.-]*):)?"
    r"(?P<id>[0-9a-fA-F]{32}|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12})"
)
#: Texts of references, and vfolders that were made of records, in one process.
REFERENCES_KNOWN = MADE_MAX = 20_000
#: So many records at a time are entered into an index that missed them.
MISSED_MAX = 10
_log = logger(__name__)


class KnownVFolder(NamedTuple):
    """A vfolder that exists, with its record; `digest` names the text of it in a change."""

    volume: str
    vfolder: VFolderId
    record: VFolderRecord
    digest: str


class _Kept(NamedTuple):
    """What the cache has of a vfolder: no record where there is no file, or a forged one."""

    #: The directory of its scope.
    scope: str
    record: VFolderRecord | None
    digest: str


class AccessRecords:
    """The access records of the cluster, for one process."""

    def __init__(
        self,
        settings: Settings,
        access: OnVolume,
        cache: AccessCache,
        others: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        """Reach volumes by `access`; `others` names those that only other nodes have."""
        self._settings = settings
        self._access = access
        self._others = others
        self._seals = Seals(settings.seal_secrets)
        self._cache = cache
        self._index = AccessIndex(settings)
        #: By volume, id and user: what was made of what the cache had.
        self._made: dict[
            tuple[str, UUID, UUID | None], tuple[tuple[_Kept, ...], list[KnownVFolder]]
        ] = {}

    def find(
        self,
        reference: str,
        user: UUID | None = None,
        *,
        fresh: bool = False,
        within: Callable[[], list[str]] | None = None,
    ) -> list[KnownVFolder]:
        """Return the live vfolders that a path names; several where the id is on several volumes.

        The name of a scope's directory has no kind. Without a record, the scope is that of `user`
        where the ids are equal, and that of a group otherwise. Costs no call where the process has
        them, and a round trip to the store once a second. `fresh` reads the files, for a change.

        An id that the process does not know costs a look into each scope of a volume. `within`
        returns the scopes where the caller sees what has no record: then an id that is neither
        there nor in the index costs a look into these alone.
        """
        named = _parsed(reference)
        if named is None:
            return []
        volume, vfolder = named
        volumes = [volume] if volume else self._volumes()
        return [
            known
            for volume in volumes
            for known in self._found(
                volume, vfolder, user, self._of_id(volume, vfolder, within, fresh=fresh)
            )
        ]

    def _found(
        self, volume: str, vfolder: UUID, user: UUID | None, kept: tuple[_Kept, ...]
    ) -> Sequence[KnownVFolder]:
        """Return the vfolders of what the cache has; made once for as long as it has it."""
        if not kept:
            return ()
        place = (volume, vfolder, user)
        made = self._made.get(place)
        if made is None or made[0] is not kept:
            places = [VFolderId(_scope(one.scope, user), vfolder) for one in kept]
            known = [self._known(volume, at, one) for at, one in zip(places, kept, strict=True)]
            if len(self._made) >= MADE_MAX:
                self._made.clear()
            made = self._made[place] = kept, known
        return made[1]

    def _volumes(self) -> list[str]:
        return sorted({*self._settings.volume, *self._others()})

    def _of_id(
        self, volume: str, vfolder: UUID, within: Callable[[], list[str]] | None, *, fresh: bool
    ) -> tuple[_Kept, ...]:
        try:
            if not fresh:
                return self._kept(volume, vfolder, within)
            read = partial(self._read, volume, vfolder, within)
            return self._opened(volume, read(), read)
        except (UnknownVolume, VFolderNotFound):
            return ()

    def _read(
        self, volume: str, vfolder: UUID, within: Callable[[], list[str]] | None
    ) -> list[RecordFile]:
        if within is not None and self._is_out_of_sight(volume, vfolder, within()):
            return []
        return self._access.on_volume(volume, access_files.find, vfolder)

    def _is_out_of_sight(self, volume: str, vfolder: UUID, scopes: list[str]) -> bool:
        """Return whether neither these scopes nor that of its record have a vfolder of the id.

        False where the index was not built, or the store is away.
        """
        try:
            indexed = self._index.scopes_with(volume, vfolder)
        except redis.RedisError:
            return False
        if indexed is None:
            return False
        return not self._access.on_volume(volume, access_files.locate, vfolder, [*scopes, *indexed])

    def read(self, volume: str, vfolder: VFolderId) -> KnownVFolder:
        """Return a live vfolder with its record, or with the one that its place implies.

        Costs as `find`.

        Raises:
            VFolderNotFound: it does not exist.
        """
        here = _directory(vfolder)
        for kept in self._kept(volume, vfolder.id, lambda: [here]):
            if kept.scope == here:
                return self._known(volume, vfolder, kept)
        # It was made in a second scope of the volume since the first one was read.
        file = self._access.on_volume(volume, access_files.read, vfolder)
        return self._known(volume, vfolder, *self._opened(volume, [file]))

    def opened(
        self, volume: str, scope: QuotaScope, files: Sequence[RecordFile]
    ) -> list[KnownVFolder]:
        """Return the live vfolders of a scope whose files were read.

        Costs one round trip to the store for each 1,000 files.
        """
        places = [VFolderId(scope, file.id) for file in files]
        return [
            self._known(volume, place, kept)._replace(vfolder=place)
            for place, kept in zip(places, self._opened(volume, files), strict=True)
        ]

    def opened_in_trash(self, volume: str, vfolder: VFolderId, text: bytes | None) -> KnownVFolder:
        """Return a vfolder of the trash. The index knows revisions of live ones only."""
        file = RecordFile(id=vfolder.id, scope=_directory(vfolder), text=text)
        found = self._known(volume, vfolder, self._proven(volume, file, 0))
        return found._replace(vfolder=vfolder)

    def read_trashed(self, volume: str, vfolder: VFolderId, trash_id: str) -> VFolderRecord:
        """Return the record of a vfolder in the trash, or the one that its place implies."""
        text = self._access.on_volume(volume, access_files.read_trashed, vfolder, trash_id)
        return self.opened_in_trash(volume, vfolder, text).record

    def _known(self, volume: str, vfolder: VFolderId, kept: _Kept) -> KnownVFolder:
        if kept.record is None:
            without = records.unproven if kept.digest else records.implied
            return KnownVFolder(volume, vfolder, without(volume, vfolder), kept.digest)
        record = records.at_place(kept.record, vfolder)
        scope = QuotaScope.parse(record.scope) if vfolder.scope else None
        return KnownVFolder(volume, VFolderId(scope, vfolder.id), record, kept.digest)

    def _kept(
        self, volume: str, vfolder: UUID, within: Callable[[], list[str]] | None = None
    ) -> tuple[_Kept, ...]:
        def load() -> bytes:
            found = self._read(volume, vfolder, within)
            if not found:  # it may be made at any moment, so this is not kept
                raise VFolderNotFound("There is no such vfolder.")
            return msgspec.json.encode(found)

        def parse(text: bytes | None) -> tuple[_Kept, ...]:
            found = msgspec.json.decode(text or b"[]", type=list[RecordFile])
            return self._opened(volume, found, lambda: self._read(volume, vfolder, within))

        return self._cache.get(record_key(volume, vfolder), load, parse)

    def _opened(
        self,
        volume: str,
        files: Sequence[RecordFile],
        again: Callable[[], Sequence[RecordFile]] | None = None,
    ) -> tuple[_Kept, ...]:
        """Open records. A change between the read of a file and that of the index reads `again`."""
        written = [(one.id, one.scope) for one in files if one.text is not None]
        indexed = self._indexed(volume, written)
        newest = dict(zip(written, indexed or [0] * len(written), strict=True))
        least = [newest.get((one.id, one.scope), 0) for one in files]
        if again is not None:
            try:
                for one, revision in zip(files, least, strict=True):
                    self._record(volume, one, revision)
            except RecordForged:
                files = again()
                least = [newest.get((one.id, one.scope), 0) for one in files]
        kept = tuple(
            self._proven(volume, one, revision) for one, revision in zip(files, least, strict=True)
        )
        if indexed is not None:
            self._enter_missed(kept, least)
        return kept

    def _enter_missed(self, kept: Sequence[_Kept], indexed: Sequence[int]) -> None:
        """Enter records that are newer than the index: their writer was killed before it did so.

        A rescan enters many of them: then the index was lost.
        """
        missed = [
            one.record
            for one, revision in zip(kept, indexed, strict=True)
            if one.record is not None and one.record.revision > revision
        ]
        if len(missed) <= MISSED_MAX:
            for record in missed:
                self._enter(record)

    def _record(self, volume: str, file: RecordFile, least_revision: int) -> VFolderRecord | None:
        """Return the record of a file; None where there is none.

        Raises:
            RecordForged: it is none of its place, or older than that.
        """
        if file.text is None:
            return None
        place = records.place_of(volume, VFolderId(_scope(file.scope, None), file.id))
        return self._seals.opened(file.text, place, VFolderRecord, least_revision=least_revision)

    def _proven(self, volume: str, file: RecordFile, least_revision: int) -> _Kept:
        if file.text is None:
            return _Kept(file.scope, None, "")
        digest = access_files.digest(file.text)
        try:
            record = self._record(volume, file, least_revision)
        except RecordForged as error:
            _log.error("record forged", volume=volume, vfolder=file.id.hex, reason=str(error))
            return _Kept(file.scope, None, digest)
        return _Kept(file.scope, record, digest)

    def _revisions(self, volume: str, places: Sequence[tuple[UUID, str]]) -> list[int]:
        """Return the newest revisions that the index knows; 0 for all while the store is away."""
        return self._indexed(volume, places) or [0] * len(places)

    def _indexed(self, volume: str, places: Sequence[tuple[UUID, str]]) -> list[int] | None:
        """Return the newest revisions that the index knows; None while the store is away."""
        if not places:
            return []
        try:
            return self._index.revisions(volume, places)
        except redis.RedisError as error:
            _log.info("index of access not read", reason=type(error).__name__)
            return None

    def change(
        self, known: KnownVFolder, change: Callable[[VFolderRecord], VFolderRecord]
    ) -> KnownVFolder:
        """Write a changed record; it is on disk, and all processes hear of it, when this returns.

        Raises:
            RecordChanged: another request changed it since it was read.
            VFolderNotFound, NoSpace, QuotaExceeded: see `access_files.replace`.
        """
        volume, vfolder = known.volume, known.vfolder
        changed = change(known.record)
        # A former vfolder of the id, or a record that was forged, may have had a higher one.
        (indexed,) = self._revisions(volume, [(vfolder.id, _directory(vfolder))])
        newest = max(known.record.revision, indexed)
        changed = structs.replace(changed, revision=newest + 1)
        text = self._seals.seal(changed, records.place_of(volume, vfolder))
        words = tuple(sorted(subjects_of(known.record) | subjects_of(changed)))
        change_of = AccessChange(vfolders=(vfolder.id,), volumes=(volume,), words=words)
        self._cache.begin_change(record_key(volume, vfolder.id))
        try:
            self._access.on_volume(volume, access_files.replace, vfolder, text, known.digest)
        except (DeadlineExceeded, Unavailable):  # it may still be written
            self._cache.changed(change_of._replace(settled=False))
            raise
        except StorageError:
            self._cache.changed(change_of)
            raise
        self._enter(changed)
        self._cache.changed(change_of)
        return KnownVFolder(volume, vfolder, changed, access_files.digest(text))

    def _enter(self, record: VFolderRecord) -> None:
        """Enter a record into the index, which makes lists; a later read enters a missed one."""
        try:
            self._index.put(record)
        except redis.RedisError as error:
            _log.warning("record not entered into the index", reason=type(error).__name__)


@lru_cache(REFERENCES_KNOWN)
def _parsed(reference: str) -> tuple[str, UUID] | None:
    """Return the volume, empty where none is named, and the id; None for any other text."""
    named = _REFERENCE.fullmatch(reference)
    return None if named is None else (named["volume"] or "", UUID(named["id"]))


def _scope(directory: str, user: UUID | None) -> QuotaScope | None:
    """Return the scope of a directory; its kind is a guess where no record tells it."""
    if directory == ".":
        return None
    scope = UUID(directory)
    return QuotaScope(ScopeKind.USER if scope == user else ScopeKind.PROJECT, scope)


def _directory(vfolder: VFolderId) -> str:
    return vfolder.scope.directory if vfolder.scope else "."
