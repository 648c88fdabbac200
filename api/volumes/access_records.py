"""Access records as a door reaches them: from the cache, or from the volume here or elsewhere.

Only what its seal proves counts. A forged record is logged, and the vfolder then has the record
that its place implies: its owner has it, and no grant counts.
"""

import re
from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from msgspec import structs

from api.volumes.access import VolumeAccess
from backends.entries import access_files
from core.access import (
    AccessCache,
    AccessChange,
    RecordForged,
    Seals,
    VFolderRecord,
    record_key,
    records,
)
from core.errors import UnknownVolume, VFolderNotFound
from core.names import QuotaScope, ScopeKind, VFolderId
from core.settings import Settings
from core.telemetry import logger

#: A vfolder in a path: a UUID in any form, with the name of its volume where it is on several.
_REFERENCE = re.compile(
    r"(?:(?P<volume>[A-Za-z0-9][A-Za-z0-9_.-]*):)?"
    r"(?P<id>[0-9a-fA-F]{32}|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12})"
)
#: Between the scope and the text of a cached record.
_BREAK = b"\n"
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
    """The access records of the cluster, for one process of a door."""

    def __init__(self, settings: Settings, access: VolumeAccess, cache: AccessCache) -> None:
        self._settings = settings
        self._access = access
        self._seals = Seals([settings.storage_proxy.secret])
        self._cache = cache

    def find(self, reference: str, user: UUID | None = None) -> list[KnownVFolder]:
        """Return the live vfolders that a path names; several where the id is on several volumes.

        The name of a scope's directory has no kind. Without a record, the scope is that of `user`
        where the ids are equal, and that of a group otherwise.
        """
        named = _REFERENCE.fullmatch(reference)
        if named is None:
            return []
        vfolder = UUID(named["id"])
        volumes = [named["volume"]] if named["volume"] else self._volumes()
        found = []
        for volume in volumes:
            for scope in self._scopes(volume, vfolder):
                kind = ScopeKind.USER if user is not None and scope == user else ScopeKind.PROJECT
                place = VFolderId(QuotaScope(kind, scope) if scope else None, vfolder)
                try:
                    found.append(self.read(volume, place))
                except VFolderNotFound:  # it was deleted just now
                    continue
        return found

    def _volumes(self) -> list[str]:
        return sorted({*self._settings.volume, *self._access.directory.volumes()})

    def _scopes(self, volume: str, vfolder: UUID) -> list[UUID | None]:
        try:
            names = self._access.on_volume(volume, access_files.locate, vfolder)
        except UnknownVolume:
            return []
        return [None if name == "." else UUID(name) for name in names]

    def read(self, volume: str, vfolder: VFolderId) -> KnownVFolder:
        """Return a live vfolder with its record, or with the one that its place implies.

        Costs no call where the process has it, and a round trip to the store once a second.

        Raises:
            VFolderNotFound: it does not exist.
        """

        def load() -> bytes:
            file = self._access.on_volume(volume, access_files.read, vfolder)
            return file.scope.encode() + _BREAK + (file.text or b"")

        def parse(text: bytes | None) -> _Kept:
            return self._opened(volume, vfolder.id, text or b"")

        kept = self._cache.get(record_key(volume, vfolder.id), load, parse)
        if kept.scope != _directory(vfolder):  # the id is in two scopes of the volume
            kept = parse(load())
        if kept.record is None:
            implied = records.implied(volume, vfolder)
            return KnownVFolder(volume, vfolder, implied, kept.digest)
        scope = QuotaScope.parse(kept.record.scope) if vfolder.scope else None
        return KnownVFolder(volume, VFolderId(scope, vfolder.id), kept.record, kept.digest)

    def _opened(self, volume: str, vfolder: UUID, text: bytes) -> _Kept:
        scope, _, sealed = text.partition(_BREAK)
        directory = scope.decode()
        if not sealed:
            return _Kept(directory, None, "")
        digest = access_files.digest(sealed)
        # A seal covers the directory of the scope, which has no kind.
        known = QuotaScope(ScopeKind.USER, UUID(directory)) if directory != "." else None
        place = records.place_of(volume, VFolderId(known, vfolder))
        try:
            return _Kept(directory, self._seals.opened(sealed, place, VFolderRecord), digest)
        except RecordForged as error:
            _log.error("record forged", volume=volume, vfolder=vfolder.hex, reason=str(error))
            return _Kept(directory, None, digest)

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
        changed = structs.replace(changed, revision=known.record.revision + 1)
        text = self._seals.seal(changed, records.place_of(volume, vfolder))
        try:
            self._access.on_volume(volume, access_files.replace, vfolder, text, known.digest)
        finally:
            self._cache.changed(AccessChange(vfolders=(vfolder.id,), volumes=(volume,)))
        return KnownVFolder(volume, vfolder, changed, access_files.digest(text))


def _directory(vfolder: VFolderId) -> str:
    return vfolder.scope.directory if vfolder.scope else "."
