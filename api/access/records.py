"""VFolders as people's routes find them: live ones, those in the trash, those of a scope."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from uuid import UUID

import redis

from api.volumes import VolumeAccess
from backends.entries import access_files
from backends.retention import trash
from backends.volumes import scope_records
from backends.volumes.access import AccessRecords, KnownVFolder
from core.access import (
    AccessIndex,
    RecordOwner,
    Subject,
    VFolderRecord,
    VFolderResource,
)
from core.errors import (
    Conflict,
    DeadlineExceeded,
    QuotaScopeNotFound,
    Unavailable,
    UnknownVolume,
    VFolderNotFound,
)
from core.names import QuotaScope, ScopeKind, VFolderId
from core.settings import Settings
from core.telemetry import logger

_log = logger(__name__)


class AmbiguousReference(Conflict):
    """The id is on several volumes; `choices` has those that the caller may see."""

    error_code = "vfolder_read_conflict"
    kind = "storage/vfolder/ambiguous-reference"
    title = "The vfolder is on several volumes"


class RevisionChanged(Conflict):
    """`If-Match` names another revision of the record than the present one."""

    error_code = "vfolder_update_conflict"
    kind = "storage/vfolder/revision-changed"
    title = "The record has another revision"
    status = 412


@dataclass(frozen=True, slots=True)
class FoundVFolder:
    """A vfolder with what is known of it."""

    known: KnownVFolder
    #: The id of its deletion; empty for a live one.
    trash: str = ""

    @property
    def volume(self) -> str:
        """Return the name of its volume."""
        return self.known.volume

    @property
    def vfolder(self) -> VFolderId:
        """Return its id; with the volume it is where operations work."""
        return self.known.vfolder

    @property
    def record(self) -> VFolderRecord:
        """Return its record."""
        return self.known.record

    @property
    def resource(self) -> VFolderResource:
        """Return what a decision is about."""
        return VFolderResource(record=self.record, trashed=bool(self.trash))

    @property
    def reference(self) -> str:
        """Return what names it in a path, whatever other volumes have."""
        return f"{self.volume}:{self.vfolder.id}"


class VFolders:
    """The vfolders of the cluster, for one process of a door."""

    def __init__(self, settings: Settings, access: VolumeAccess, live: AccessRecords) -> None:
        self._access = access
        #: Which vfolders a user or group owns or shares.
        self.index = AccessIndex(settings)
        #: Reads and changes records of live vfolders.
        self.live = live

    def trashed_in(self, volume: str, scope: QuotaScope) -> Iterator[FoundVFolder]:
        """Yield the vfolders in the trash of a scope that can be restored, newest first."""
        try:
            kept = self._access.on_volume(volume, trash.kept, scope)
        except (QuotaScopeNotFound, UnknownVolume):
            return
        for one in kept:
            if one.purging:
                continue
            vfolder = VFolderId.parse(one.vfolder)
            text = self._access.on_volume(volume, access_files.read_trashed, vfolder, one.id)
            yield FoundVFolder(self.live.opened_in_trash(volume, vfolder, text), one.id)

    def of_scope(self, volume: str, scope: QuotaScope) -> Iterator[FoundVFolder]:
        """Yield the live vfolders of a scope on a volume; see `records_of_scope`."""
        try:
            found = self._access.on_volume(volume, scope_records.records_of_scope, scope)
        except UnknownVolume:
            return
        for known in self.live.opened(volume, scope, found):
            yield FoundVFolder(known)

    def shared(
        self, subject: Subject, volumes: list[str], away: set[str]
    ) -> Iterator[FoundVFolder]:
        """Yield the vfolders outside a subject's own scopes that others share with it.

        The index of records names them, so a store that is away leaves them out. The names of
        volumes that do not answer are added to `away`.
        """
        own = {str(scope) for scope in scopes_of(subject)}
        try:
            entries = self.index.shared_with(words_of(subject))
        except redis.RedisError as error:
            _log.warning("index of access not read", reason=type(error).__name__)
            return
        for entry in entries:
            if entry.volume not in volumes or entry.volume in away or entry.scope in own:
                continue
            vfolder = VFolderId(QuotaScope.parse(entry.scope), entry.id)
            try:
                yield FoundVFolder(self.live.read(entry.volume, vfolder))
            except (VFolderNotFound, UnknownVolume):  # deleted since the index was built
                continue
            except (Unavailable, DeadlineExceeded):
                away.add(entry.volume)

    def owned(self, owner: RecordOwner, volume: str) -> Iterator[FoundVFolder]:
        """Yield the live vfolders of an owner on a volume: in its own scope, and given ones.

        A store that is away leaves out those that others gave to it.
        """
        of_group = owner.kind == "group"
        groups = frozenset({owner.id} if of_group else ())
        subject = Subject(kind="user", id=None if of_group else owner.id, groups=groups)
        (scope,) = scopes_of(subject)
        for one in chain(self.of_scope(volume, scope), self.shared(subject, [volume], set())):
            if one.record.owner.word == owner.word:
                yield one

    def are_complete(self, volumes: list[str]) -> bool:
        """Return whether the index of each volume was built."""
        try:
            return all(self.index.is_complete(volume) for volume in volumes)
        except redis.RedisError:
            return False


def words_of(subject: Subject) -> list[str]:
    """Return every word by which a record may name a subject."""
    return [
        subject.word.replace("operator:", "user:"),
        *(f"group:{one}" for one in _groups(subject)),
    ]


def scopes_of(subject: Subject) -> list[QuotaScope]:
    """Return the quota scopes of a subject: its own, and those of its groups."""
    own = [QuotaScope(ScopeKind.USER, subject.id)] if subject.id else []
    return [*own, *(QuotaScope(ScopeKind.PROJECT, group) for group in _groups(subject))]


def _groups(subject: Subject) -> list[UUID]:
    return sorted(subject.groups | subject.admin_of, key=str)
