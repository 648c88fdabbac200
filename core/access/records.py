"""Records: what is known of a vfolder, or of a user or group, beside the bytes; and their seal.

A record is one JSON document. Its last member, `hmac`, seals every byte before it: HMAC-SHA-256
(RFC 2104) under a key that HKDF (RFC 5869) derives from the secret of the service. The seal covers
where the record belongs, so a file that was copied to another place is invalid there.
"""

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, Literal, TypeVar
from uuid import UUID

import msgspec
from msgspec import Struct, structs

from core.errors import InvalidParameters
from core.names import QuotaScope, ScopeKind, VFolderId

#: The longest name of a vfolder, in characters.
NAME_MAX = 200
#: The longest record that is read, in bytes: thousands of grants.
RECORD_MAX_BYTES = 4 * 1024 * 1024
#: Binds the derived key to this use of the secret.
_LABEL = b"access-record"
_HASH_BYTES = 32
_SEAL = re.compile(rb',"hmac":"([0-9a-f]{64})"\}\n')
_SEAL_BYTES = len(',"hmac":""}\n') + 2 * _HASH_BYTES

GrantSource = Literal["local", "manager", "break_glass"]
PermissionWord = Literal["none", "ro", "rw", "rwd"]


class RecordOwner(Struct, frozen=True, kw_only=True):
    """The owner of a vfolder: a user or a group."""

    kind: Literal["user", "group"]
    id: UUID
    name: str = ""

    @property
    def word(self) -> str:
        """Return `user:<uuid>` or `group:<uuid>`."""
        return f"{self.kind}:{self.id}"


class Grant(Struct, frozen=True, kw_only=True):
    """A permission on one vfolder for a user or a group; never `owner`."""

    id: str
    #: `user:<uuid>`, `group:<uuid>`, or `operator:<uuid>` for a look with a reason.
    to: str
    permission: Literal["ro", "rw", "rwd"]
    source: GrantSource = "local"
    #: Seconds of the epoch; None is no end.
    expires_at: float | None = None
    note: str = ""
    created_at: float | None = None
    created_by: str = ""

    def live(self, now: float) -> bool:
        """Return whether the grant counts at this moment."""
        return self.expires_at is None or now < self.expires_at


class Link(Struct, frozen=True, kw_only=True):
    """A secret URL; only digests of its secrets are kept."""

    id: str
    #: SHA-256 of the token, in hexadecimal digits.
    digest: str
    kind: Literal["read", "drop"]
    path: str
    maker: str
    note: str = ""
    password: str | None = None
    max_downloads: int | None = None
    max_bytes: int | None = None
    max_file_bytes: int | None = None
    created_at: float | None = None
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None


class VFolderRecord(Struct, frozen=True, kw_only=True):
    """What is known of one vfolder beside its bytes; moments are seconds of the epoch."""

    v: int = 1
    id: UUID
    volume: str
    #: `user:<uuid>` or `project:<uuid>`: whose limit counts the bytes.
    scope: str
    owner: RecordOwner
    name: str | None = None
    created_at: float | None = None
    created_by: str = ""
    #: What members of the owning group have.
    group_permission: PermissionWord = "ro"
    grants: tuple[Grant, ...] = ()
    links: tuple[Link, ...] = ()
    #: Whether links may be made.
    links_allowed: bool = True
    limit_bytes: int | None = None
    expires_at: float | None = None
    #: `user:<uuid>` or `group:<uuid>` that was offered the vfolder.
    next_owner: str = ""
    #: Grows by one with each change; 0 is a vfolder without a file.
    revision: int = 0


class SubjectRecord(Struct, frozen=True, kw_only=True):
    """What is known of a user or a group: the kind of its scope, members, keys, a total limit."""

    v: int = 1
    kind: Literal["user", "group"]
    id: UUID
    name: str = ""
    members: tuple[UUID, ...] = ()
    admins: tuple[UUID, ...] = ()
    #: Whether members and admins are kept here; otherwise tokens or a policy service say them.
    members_kept: bool = False
    blocked: bool = False
    #: API keys, by their own record.
    keys: tuple[dict[str, Any], ...] = ()
    #: Over all volumes; None is no limit.
    total_limit_bytes: int | None = None
    #: Of a group: whether the links of its vfolders count.
    links_allowed: bool = True
    revision: int = 0


Record = TypeVar("Record", VFolderRecord, SubjectRecord)


class RecordForged(Exception):
    """A file is no record of this place: its seal, its form or its revision is wrong."""


class Seals:
    """The keys of the seal, newest first: the one that signs, and those that are still read."""

    def __init__(self, secrets: Sequence[str]) -> None:
        if not secrets or not all(secrets):
            raise ValueError("a seal needs a secret")
        self._keys = [derived_key(secret.encode()) for secret in secrets]

    def seal(self, record: VFolderRecord | SubjectRecord, place: str) -> bytes:
        """Return the text of a record for its place."""
        body = msgspec.json.encode(record)[:-1]
        return body + b',"hmac":"' + _mac(self._keys[0], place, body).encode() + b'"}\n'

    def opened(
        self, text: bytes, place: str, shape: type[Record], *, least_revision: int = 0
    ) -> Record:
        """Return the record of a text that was read at this place.

        Raises:
            RecordForged: the text was not sealed here for this place, or is older than the
                revision that the index knows.
        """
        found = _SEAL.fullmatch(text, max(0, len(text) - _SEAL_BYTES))
        if found is None:
            raise RecordForged("It has no seal.")
        body, given = text[: found.start()], found.group(1).decode()
        if not any(hmac.compare_digest(_mac(key, place, body), given) for key in self._keys):
            raise RecordForged("Its seal is not of this service and place.")
        try:
            record = msgspec.json.decode(body + b"}", type=shape)
        except msgspec.DecodeError as error:
            raise RecordForged("It has another form.") from error
        if record.revision < least_revision:
            raise RecordForged(f"Its revision is {record.revision}, the index has a newer one.")
        return record


def derived_key(secret: bytes, label: bytes = _LABEL) -> bytes:
    """Return a key of 32 bytes for one use of a secret: HKDF-SHA-256 without salt (RFC 5869)."""
    extracted = hmac.digest(b"\0" * _HASH_BYTES, secret, hashlib.sha256)
    return hmac.digest(extracted, label + b"\x01", hashlib.sha256)


def _mac(key: bytes, place: str, body: bytes) -> str:
    where = place.encode("utf-8", "surrogateescape")
    message = len(where).to_bytes(4, "big") + where + body
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def place_of(volume: str, vfolder: VFolderId) -> str:
    """Return the place of a vfolder's record: volume, directory of the scope, id."""
    scope = vfolder.scope.directory if vfolder.scope else ""
    return f"vfolder\0{volume}\0{scope}\0{vfolder.id.hex}"


def subject_place(volume: str, subject: UUID) -> str:
    """Return the place of the record of a user or a group."""
    return f"subject\0{volume}\0{subject.hex}"


def implied(volume: str, vfolder: VFolderId) -> VFolderRecord:
    """Return the record of a vfolder that has no file: its scope owns it, there are no grants."""
    scope = vfolder.scope or QuotaScope(ScopeKind.PROJECT, UUID(int=0))
    kind: Literal["user", "group"] = "user" if scope.kind is ScopeKind.USER else "group"
    return VFolderRecord(
        id=vfolder.id, volume=volume, scope=str(scope), owner=RecordOwner(kind=kind, id=scope.id)
    )


def groups_of(record: VFolderRecord) -> frozenset[UUID]:
    """Return the groups that a record names: the owner, and those that share the vfolder."""
    words = {record.owner.word, *(grant.to for grant in record.grants)}
    groups = (word.removeprefix("group:") for word in words if word.startswith("group:"))
    return frozenset(map(UUID, groups))


def unproven(volume: str, vfolder: VFolderId) -> VFolderRecord:
    """Return what counts where the file of a vfolder is forged: its scope owns it, others nothing.

    The true record may have shut the members of the group out, so they have nothing here.
    """
    return structs.replace(implied(volume, vfolder), group_permission="none")


def at_place(record: VFolderRecord, vfolder: VFolderId) -> VFolderRecord:
    """Return a record whose owner has the kind of its place.

    The name of a scope's directory has no kind. Who writes a first record without a user, as the
    manager does, may take the scope of a user for that of a group. No group has the id of a user.
    """
    scope, owner = vfolder.scope, record.owner
    if scope is None or scope.kind is not ScopeKind.USER or owner.kind == "user":
        return record
    if owner.id != scope.id:  # it was given to another one
        return record
    return structs.replace(record, scope=str(scope), owner=structs.replace(owner, kind="user"))


def checked_name(text: str) -> str:
    """Return the name of a vfolder in its canonical form (NFC).

    Raises:
        InvalidParameters: it is empty, longer than 200 characters, or has a character that names
            may not have.
    """
    name = unicodedata.normalize("NFC", text)
    if not 1 <= len(name) <= NAME_MAX:
        raise InvalidParameters(f"A name of a vfolder has 1 to {NAME_MAX} characters.")
    if "/" in name or any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in name):
        raise InvalidParameters("A name of a vfolder has no slash and no control characters.")
    return name


def name_key(name: str) -> str:
    """Return what two names of one owner may not have in common."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def revoked(record: VFolderRecord, now: float) -> VFolderRecord:
    """Return the record with every link revoked, as the trash keeps it."""
    links = tuple(
        link if link.revoked_at is not None else structs.replace(link, revoked_at=now)
        for link in record.links
    )
    return structs.replace(record, links=links)


def given_to(record: VFolderRecord, owner: RecordOwner, now: float) -> VFolderRecord:
    """Return the record after a change of owner.

    Grants to the new owner go, and the links that the old owner made are revoked.
    """
    old = record.owner.word
    links = tuple(
        structs.replace(link, revoked_at=now)
        if link.maker == old and link.revoked_at is None
        else link
        for link in record.links
    )
    grants = tuple(grant for grant in record.grants if grant.to != owner.word)
    return structs.replace(record, owner=owner, grants=grants, links=links, next_owner="")
