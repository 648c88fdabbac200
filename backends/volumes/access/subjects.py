"""Users and groups as their records on the home volume say: API keys, kept groups, blocked users.

The files are the truth. A key is always read from the file of its user. Which user that is, and
which groups a user is in, comes from an index (`subject_index`).
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar
from uuid import UUID

import msgspec
import redis
from msgspec import structs

from backends.base import Backend
from backends.entries import RecordChanged, access_files
from backends.volumes.access.cluster_volumes import OnVolume
from backends.volumes.access.subject_index import IndexView, SubjectIndex
from backends.volumes.access.subject_list import (
    ListedSubject,
    SubjectFilter,
    SubjectPlace,
    Words,
    listed_subjects,
)
from backends.volumes.access.subject_search import (
    FoundSubject,
    KnownGroup,
    found_subjects,
    known_groups,
)
from backends.volumes.registry import Volumes
from core.access import (
    AccessChange,
    PersonClaims,
    RecordForged,
    Seals,
    Subject,
    SubjectRecord,
    records,
)
from core.access.credentials import keys as api_keys
from core.access.credentials.keys import ApiKey, HeldKey
from core.errors import DeadlineExceeded, StorageError, Unavailable
from core.names import QuotaScope, ScopeKind
from core.settings import AccessTable, Settings
from core.telemetry import logger

#: An ended key is in lists for so long (seconds): 90 days.
ENDED_KEPT_SECONDS = 90 * 86_400.0
#: A change is tried again when another one came first, so many times.
TRIES = 5
_log = logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
Change = Callable[[SubjectRecord], SubjectRecord]


class LocalVolumes:
    """The volumes of this node, for a command beside the doors."""

    def __init__(self, settings: Settings) -> None:
        self._volumes = Volumes(settings)

    def on_volume(
        self,
        volume: str,
        operation: Callable[Concatenate[Backend, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Do an operation with the backend of a volume."""
        return operation(self._volumes.get(volume), *args, **kwargs)


class SubjectStore:
    """The records of users and groups, as one process reaches them. Safe for threads."""

    def __init__(
        self,
        home: str,
        secrets: list[str],
        access: OnVolume,
        client: "redis.Redis",
        *,
        announce: Callable[[AccessChange], object] = lambda _change: None,
    ) -> None:
        """Use the volume `home`; `secrets` seal the records, the newest first.

        `announce` drops what caches have of a changed user or group.
        """
        self._home = home
        self._seals = Seals(secrets)
        self._access = access
        self._announce = announce
        self._index = SubjectIndex(client, self._all, self.read)
        #: The ids of keys whose last use is to be written.
        self._used: set[str] = set()
        self._uses = ThreadPoolExecutor(max_workers=1, thread_name_prefix="key-uses")

    # -- Credentials -------------------------------------------------------------------------------
    def held_key(self, key_id: str) -> HeldKey | None:
        """Return a key by its id, and its user with the groups that are kept here.

        For an id that no key has, the record of another user is read: both take the same steps.
        """
        index = self._index.current()
        holder = index.holders.get(key_id) or next(iter(index.holders.values()), None)
        record = None if holder is None else self.read(holder)
        if record is None:
            return None
        key = next((one for one in keys_of(record) if one.id == key_id), None)
        return None if key is None else HeldKey(self._user(record, index), key)

    def completed(self, subject: Subject) -> Subject:
        """Return a user of a token with its groups that are kept here, and whether blocked."""
        if subject.id is None:
            return subject
        index, record = self._index.current(), self.read(subject.id)
        return structs.replace(
            subject,
            groups=subject.groups | index.groups.get(subject.id, frozenset()),
            admin_of=subject.admin_of | index.admin_of.get(subject.id, frozenset()),
            blocked=record is not None and record.blocked,
        )

    def found(self, caller: Subject, text: str, limit: int) -> list[FoundSubject]:
        """Return users and groups to share with; see `found_subjects`."""
        return found_subjects(self._index.current(), caller, text, limit)

    def listed(
        self, words: Words, wanted: SubjectFilter, after: SubjectPlace | None, limit: int
    ) -> list[ListedSubject]:
        """Return a page of all users and groups that are known; see `listed_subjects`."""
        return listed_subjects(self._index.current(), words, wanted, after, limit)

    def groups(self, groups: Iterable[UUID]) -> list[KnownGroup]:
        """Return what is known of groups, by name; see `known_groups`."""
        return known_groups(self._index.current(), groups)

    def links_allowed(self, group: UUID) -> bool:
        """Return whether the links of a group's vfolders count; also of a group without a record.

        Raises:
            StorageError: the home volume is away, and no index was made before.
        """
        summary = self._index.current().summaries.get(group)
        return summary is None or summary.links_allowed

    def names(self, subjects: Iterable[UUID]) -> dict[UUID, str]:
        """Return the names of users and groups, of those that have one here."""
        known = self._index.current().summaries
        return {one: known[one].name for one in subjects if one in known and known[one].name}

    def as_of_now(self, claims: PersonClaims) -> Subject:
        """Return the requester of a job with its present groups; a revoked key blocks it.

        Of its groups at the submission, those count that are not kept here: tokens said them.
        """
        kind, _, identity = claims.sub.partition(":")
        user = UUID(identity)
        subject = Subject(kind="operator" if kind == "operator" else "user", id=user)
        if claims.cid.startswith("key:"):
            held = self.held_key(claims.cid.removeprefix("key:"))
            if held is None or held.user.id != user or held.key.revoked_at is not None:
                return structs.replace(subject, blocked=True)
        kept = {group for group in {*claims.groups, *claims.admin_of} if self._is_kept(group)}
        groups, admin_of = frozenset(claims.groups) - kept, frozenset(claims.admin_of) - kept
        return self.completed(structs.replace(subject, groups=groups, admin_of=admin_of))

    def _is_kept(self, group: UUID) -> bool:
        record = self.read(group)
        return record is not None and record.members_kept

    def note_use(self, held: HeldKey, now: float, address: str) -> None:
        """Write the last use of a key in the background, where the last one is a minute ago.

        One write of a key waits at a time: the home volume may be away for long.
        """
        changed = api_keys.used(held.key, now, address)
        if changed is None or held.user.id is None or changed.id in self._used:
            return
        self._used.add(changed.id)
        self._uses.submit(self._write_use, held.user.id, changed)

    def _write_use(self, user: UUID, used: ApiKey) -> None:
        def change(record: SubjectRecord) -> SubjectRecord:
            at, where = used.last_used_at, used.last_used_from
            keys = [
                structs.replace(key, last_used_at=at, last_used_from=where)
                if key.id == used.id
                else key
                for key in keys_of(record)
            ]
            return with_keys(record, keys)

        try:
            self._change("user", user, change)
        except (StorageError, redis.RedisError) as error:
            _log.warning("use of key not written", key=used.id, reason=str(error))
        finally:
            self._used.discard(used.id)

    def _user(self, record: SubjectRecord, index: IndexView) -> Subject:
        return Subject(
            kind="user",
            id=record.id,
            name=record.name,
            groups=index.groups.get(record.id, frozenset()),
            admin_of=index.admin_of.get(record.id, frozenset()),
            blocked=record.blocked,
        )

    # -- Keys of a user ----------------------------------------------------------------------------
    def add_key(self, user: UUID, key: ApiKey, table: AccessTable, *, name: str = "") -> None:
        """Keep a new key of a user; `name` is that of the user, where it is known.

        Raises:
            Conflict: the user has as many keys as allowed, or they take too much room.
        """

        def change(record: SubjectRecord) -> SubjectRecord:
            keys = [one for one in keys_of(record) if not _is_over(one, key.created_at)]
            api_keys.check_count(keys, table, key.created_at)
            keys = api_keys.fitting([*keys, key], key.created_at)
            return with_keys(structs.replace(record, name=name or record.name), keys)

        self.change("user", user, change)

    def change_key(
        self, user: UUID, key_id: str, change: Callable[[ApiKey], ApiKey]
    ) -> ApiKey | None:
        """Change one key of a user and return it; None when the user has no such key."""
        found: list[ApiKey] = []

        def change_record(record: SubjectRecord) -> SubjectRecord:
            keys = [change(key) if key.id == key_id else key for key in keys_of(record)]
            found[:] = [key for key in keys if key.id == key_id]
            return with_keys(record, keys)

        held = self.read(user)
        if held is None or not any(key.id == key_id for key in keys_of(held)):
            return None
        self.change("user", user, change_record)
        return found[0] if found else None

    # -- Records -----------------------------------------------------------------------------------
    def read(self, subject: UUID) -> SubjectRecord | None:
        """Return the record of a user or group; None when there is none, or it was forged."""
        return self._opened(
            subject, self._access.on_volume(self._home, access_files.read_subject, subject)
        )

    def change(
        self, kind: Literal["user", "group"], subject: UUID, change: Change
    ) -> SubjectRecord:
        """Write a changed record; `change` may run several times. All processes see it within 1 s.

        Raises:
            RecordChanged: others change it all the time.
            Unavailable, NoSpace, QuotaExceeded: the home volume is away or full.
        """
        mark = self._index.begin(subject)
        try:
            record = self._change(kind, subject, change)
        except (DeadlineExceeded, Unavailable):  # it may still be written
            raise
        except StorageError:
            self._index.give_up(mark)
            raise
        whose = (subject,)
        self._announce(AccessChange(users=whose) if kind == "user" else AccessChange(groups=whose))
        self._index.announce(subject, mark)
        return record

    def _change(
        self, kind: Literal["user", "group"], subject: UUID, change: Change
    ) -> SubjectRecord:
        tries = TRIES
        while True:
            text = self._access.on_volume(self._home, access_files.read_subject, subject)
            record = self._opened(subject, text) or SubjectRecord(kind=kind, id=subject)
            changed = structs.replace(change(record), revision=record.revision + 1)
            sealed = self._seals.seal(changed, records.subject_place(self._home, subject))
            scope = QuotaScope(ScopeKind.USER if kind == "user" else ScopeKind.PROJECT, subject)
            try:
                self._access.on_volume(
                    self._home,
                    access_files.replace_subject,
                    scope,
                    sealed,
                    access_files.digest(text),
                )
            except RecordChanged:
                tries -= 1
                if not tries:
                    raise
            else:
                return changed

    def _all(self) -> Iterator[SubjectRecord]:
        """Yield every record of the home volume."""
        texts = self._access.on_volume(self._home, access_files.subjects)
        for directory, text in texts.items():
            record = None if directory == "." else self._opened(UUID(directory), text)
            if record is not None:
                yield record

    def _opened(self, subject: UUID, text: bytes | None) -> SubjectRecord | None:
        if text is None:
            return None
        try:
            return self._seals.opened(
                text, records.subject_place(self._home, subject), SubjectRecord
            )
        except RecordForged as error:
            _log.error("record forged", volume=self._home, subject=str(subject), reason=str(error))
            return None


def keys_of(record: SubjectRecord) -> list[ApiKey]:
    """Return the API keys of a user."""
    return msgspec.convert(record.keys, list[ApiKey])


def with_keys(record: SubjectRecord, keys: Iterable[ApiKey]) -> SubjectRecord:
    """Return the record of a user with these API keys."""
    plain: tuple[dict[str, Any], ...] = tuple(msgspec.to_builtins(key) for key in keys)
    return structs.replace(record, keys=plain)


def _is_over(key: ApiKey, now: float) -> bool:
    """Return whether a key ended so long ago that no list shows it."""
    ended = key.expires_at if key.revoked_at is None else key.revoked_at
    return ended + ENDED_KEPT_SECONDS < now
